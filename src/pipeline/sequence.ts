// The pass over the network, from input to output: each structure's layer is fitted on what the network
// pruned so far gives it, towards a target that the dense network sets.

import type { Engine, FloatTensor } from '../engine/index.ts';
import { InputError, OutOfMemoryError } from '../errors.ts';
import { type LinearMap, linearMaps, readWeights, type Structure, writeWeights } from '../graph/index.ts';
import type { Session, SessionStatistics } from '../pool/index.ts';
import {
  addStatistics,
  combineProblems,
  DEFAULT_DAMPING,
  groupsToKeep,
  type LayerProblem,
  type LayerStatistics,
  layerWasmBytes,
  type Method,
  refitBias,
  type Search,
  statisticsWasmBytes,
} from '../solve/index.ts';
import type { BatchSource } from './batches.ts';
import { type Activations, Frontier } from './frontier.ts';
import type { OpenedModel } from './open.ts';
import { FEWEST_TO_SPLIT, HELD_OUT } from './split.ts';

/** What a layer is fitted to. */
export interface Target {
  /**
   * - `self`: the dense weights' output on the pruned network's inputs (the published default)
   * - `dense`: the dense network's output of the layer
   * - `residual`: the dense network's sum after the shortcut minus the pruned network's shortcut, where the
   *   layer feeds one; elsewhere as `dense`
   */
  readonly kind: 'self' | 'dense' | 'residual';
  /** How far towards the target, the rest staying at `self`. 0 for `self`. */
  readonly blend: number;
}

export interface SequenceOptions {
  readonly engine: Engine;
  readonly session: Session;
  readonly source: BatchSource;
  readonly structures: readonly Structure[];
  /** Fraction of a structure's groups to keep. */
  keep(structure: Structure): number;
  readonly method: Method;
  readonly target: Target;
  /** λ; left out, each layer's is chosen by held-out samples. */
  readonly damping?: number;
  readonly groupsPerStep?: number;
  readonly search?: Search;
  /** Bytes of activations that may be kept between layers. */
  readonly activationBytes: number;
  readonly signal?: AbortSignal;
  /** Whether layers behind pruned ones that keep all their inputs are refitted too. */
  readonly correct?: boolean;
  /** Called after each step. */
  onStep?(done: number, total: number): void;
}

export interface PrunedLayer {
  readonly structure: Structure;
  /** λ of each consumer. */
  readonly damping: readonly number[];
  readonly kept: readonly number[];
  readonly relativeError: number;
}

/**
 * Prunes the structures one after the other on a copy of the model, with the removed channels' weights
 * set to zero: the function of the smaller network at the dense one's shapes.
 */
export async function pruneSequence(opened: OpenedModel, options: SequenceOptions) {
  const { engine, session, source, activationBytes, method, signal } = options;
  const masked = opened.model.clone();
  const frontier = new Frontier(
    engine,
    opened.model,
    masked,
    opened.input.name,
    opened.info,
    source,
    activationBytes,
  );
  const layers: PrunedLayer[] = [];

  const steps = planSteps(opened, { ...options, diverged: source.diverged });
  const start = steps.length > 0 ? frontier.cutBefore(steps[0].position) : undefined;
  if (start) await frontier.advance(start, undefined, signal);
  for (const [index, { maps, structure, keep }] of steps.entries()) {
    // While the dense network runs for the targets, it goes on to where the next step starts from.
    const next = index + 1 < steps.length ? frontier.cutBefore(steps[index + 1].position) : undefined;
    const { damped, ahead } = await problemsOf(opened, frontier, maps, keep, next?.value, options);
    const problems = damped.map(({ problem }) => problem);
    let weights: Float64Array[];
    if (structure) {
      const { search, groupsPerStep } = options;
      const joint = combineProblems(problems);
      const result = await session.pruneLayer(
        joint,
        { method, search, groupsPerStep, keep: keep! },
        { signal },
      );
      const { kept, relativeError } = result;
      layers.push({ structure, kept, relativeError, damping: damped.map(({ damping }) => damping) });
      weights = problems.length === 1 ? [result.W] : await partsOf(problems, kept, options);
    } else weights = await partsOf(problems, undefined, options);
    maps.forEach((map, i) => {
      const bias = refits(method) ? refitBias(problems[i], weights[i]) : undefined;
      writeWeights(masked, map, weights[i], bias);
    });
    if (next) await frontier.advance(next, ahead, signal);
    options.onStep?.(index + 1, steps.length);
  }
  return { masked, layers };
}

/** Whether a method re-solves weights, and so has a target, a damping and a bias to choose. */
export function refits(method: Method): boolean {
  return method === 'osscar' || method === 'magnitude-refit';
}

/** A structure to prune, or layers that read one value, keep all of it and are refitted to what reaches them. */
interface Step {
  /** Of its first layer in the topological order. */
  readonly position: number;
  readonly maps: readonly LinearMap[];
  readonly structure?: Structure;
  /** Groups of the structure that stay. */
  readonly keep?: number;
}

type PlanOptions = Pick<
  SequenceOptions,
  'structures' | 'keep' | 'method' | 'target' | 'correct' | 'search'
> & {
  /** Whether what reaches the first layer has changed already. */
  readonly diverged?: boolean;
};

function planSteps(
  { model, info }: OpenedModel,
  { structures, keep, method, target, correct, diverged }: PlanOptions,
): Step[] {
  const position = new Map(model.nodes.map(({ name }, index) => [name, index]));
  const first = (maps: readonly LinearMap[]) =>
    Math.min(...maps.map(({ node }) => position.get(node) as number));
  const steps: Step[] = structures
    .filter((structure) => keep(structure) < 1)
    .map((structure) => ({
      structure,
      maps: structure.consumers,
      position: first(structure.consumers),
      keep: groupsToKeep(structure.groups, keep(structure)),
    }));
  // Fitted to themselves, layers that keep all their inputs have nothing to correct.
  if (correct && refits(method) && target.kind !== 'self') {
    const pruned = new Set(steps.flatMap(({ maps }) => maps.map(({ node }) => node)));
    const start = diverged ? -1 : Math.min(...steps.map((step) => step.position));
    for (const map of linearMaps(model, info.shapes)) {
      const at = position.get(map.node) as number;
      if (at > start && !pruned.has(map.node)) steps.push({ maps: [map], position: at });
    }
  }
  return together(steps.sort((a, b) => a.position - b.position));
}

/** Joins neighbouring corrections that read the same value: one run of the networks gives the statistics of all. */
function together(steps: readonly Step[]): Step[] {
  const joined: Step[] = [];
  for (const step of steps) {
    const last = joined.at(-1);
    if (last && !last.structure && !step.structure && last.maps[0].input === step.maps[0].input) {
      joined[joined.length - 1] = { ...last, maps: [...last.maps, ...step.maps] };
    } else joined.push(step);
  }
  return joined;
}

/** Work memory of the kernels: the GEMM's packed panels and an unfolded image. */
export const PACKING_BYTES = 16 * 2 ** 20;

/**
 * Bytes of WebAssembly memory that the largest layer takes, in one thread.
 * @throws {OutOfMemoryError} where its statistics and factors cannot fit
 */
export function checkMemory(opened: OpenedModel, options: PlanOptions & { session: Session }): number {
  const { maximumBytes } = options.session;
  const sum = (list: readonly LinearMap[], of: (map: LinearMap) => number) =>
    list.reduce((total, map) => total + of(map), 0);
  const needs = planSteps(opened, options).map(({ maps, structure }) => {
    // Layers that share channels are solved together, corrections one by one.
    const solving = (structure ? [maps] : maps.map((map) => [map])).map((list) => {
      const [p, m, b] = [
        sum(list, (map) => map.p),
        sum(list, (map) => map.m),
        sum(list, (map) => map.groupSize),
      ];
      return layerWasmBytes(p, m, b, options.search);
    });
    // Each layer has two accumulators, for the samples it is fitted on and the held-out ones.
    const statistics = sum(maps, ({ p, m }) => 2 * statisticsWasmBytes(p, m));
    return { maps, structure, bytes: PACKING_BYTES + Math.max(statistics, ...solving) };
  });
  const largest = needs.reduce((a, b) => (b.bytes > a.bytes ? b : a), needs[0]);
  if (!largest) return 0;
  const { bytes, maps, structure } = largest;
  if (bytes > maximumBytes) {
    throw new OutOfMemoryError(
      `structure "${structure?.name ?? maps[0].node}" needs ${bytes} bytes of WebAssembly memory (p = ${sum(maps, ({ p }) => p)}, m = ${sum(maps, ({ m }) => m)}), more than the ${maximumBytes} there are`,
      bytes,
    );
  }
  return bytes;
}

/** Of the samples that a layer is fitted on, and of those that its damping is chosen by. */
interface Statistics {
  readonly fit: LayerStatistics;
  heldOut?: LayerStatistics;
}

interface DampedProblem {
  readonly problem: LayerProblem;
  readonly damping: number;
}

/** A function of its own, so that nothing holds the statistics while the problems are solved. */
async function problemsOf(
  opened: OpenedModel,
  frontier: Frontier,
  maps: readonly LinearMap[],
  keep: number | undefined,
  aheadValue: string | undefined,
  options: SequenceOptions,
): Promise<{ damped: DampedProblem[]; ahead?: FloatTensor[] }> {
  const { statistics, ahead } = await collect(opened, frontier, maps, aheadValue, options);
  const damped = await Promise.all(
    maps.map((map, i) => problemOf(opened, map, statistics[i], keep ?? map.p / map.groupSize, options)),
  );
  return { damped, ahead };
}

/**
 * Statistics of several layers over one pass of both networks, and on the way the dense network's
 * activations `ahead`.
 */
async function collect(
  opened: OpenedModel,
  frontier: Frontier,
  maps: readonly LinearMap[],
  aheadValue: string | undefined,
  { session, source, target, signal }: SequenceOptions,
): Promise<{ statistics: Statistics[]; ahead?: FloatTensor[] }> {
  const dense = new Set<string>();
  const pruned = new Set<string>();
  for (const map of maps) {
    pruned.add(map.input);
    if (target.kind === 'self') continue;
    if (target.kind === 'residual' && map.residual) {
      dense.add(map.residual.sum);
      pruned.add(map.residual.shortcut);
    } else dense.add(map.output);
  }
  if (aheadValue) dense.add(aheadValue);
  const ahead: FloatTensor[] = [];
  const isHeldOut = (index: number) => source.samples >= FEWEST_TO_SPLIT && index % HELD_OUT === HELD_OUT - 1;
  const all: SessionStatistics[] = [];
  const open = (map: LinearMap) => {
    all.push(session.statistics(map.p, map.m, target.kind !== 'self'));
    return all[all.length - 1];
  };
  let sample = 0;
  let added: Promise<unknown> = Promise.resolve();
  try {
    const accumulators = maps.map((map) => ({ map, fit: open(map), heldOut: open(map) }));
    for await (const activations of frontier.run([...dense], [...pruned], signal)) {
      // The networks have run on the next batch while this was being added.
      await added;
      const adding = accumulators.flatMap(({ map, fit, heldOut }) => {
        const add = sampleParts(opened, map, activations, target);
        const indices = Array.from({ length: activations.count }, (_, i) => i);
        return indices.map((i) => add(i, isHeldOut(sample + i) ? heldOut : fit));
      });
      added = Promise.all(adding);
      added.catch(() => {}); // awaited above or below
      sample += activations.count;
      if (aheadValue) ahead.push(activations.dense[aheadValue]);
    }
    await added;
    const statistics = accumulators.map(async ({ fit, heldOut }) => {
      const unseen = await heldOut.finish({ shared: true });
      return { fit: await fit.finish({ shared: true }), ...(unseen.n > 0 && { heldOut: unseen }) };
    });
    return { statistics: await Promise.all(statistics), ...(aheadValue && { ahead }) };
  } catch (error) {
    await Promise.all(all.map((it) => it.dispose()));
    throw error;
  }
}

/** For adding sample i of a batch, the layer's rows and their targets, to an accumulator. */
function sampleParts(opened: OpenedModel, map: LinearMap, activations: Activations, target: Target) {
  const x = activations.pruned[map.input];
  const y = target.kind === 'self' ? undefined : targetOf(map, activations, target);
  // Not dims[0], which may hold samples and positions.
  const part = (tensor: FloatTensor, index: number) => {
    const size = tensor.data.length / activations.batch;
    return tensor.data.subarray(index * size, (index + 1) * size);
  };
  if (!map.conv) {
    return (i: number, to: SessionStatistics) => to.addRows(part(x, i), y && part(y, i));
  }
  // A 1-D convolution is one over images of height 1.
  const [height, width] = x.dims.length === 3 ? [1, x.dims[2]] : x.dims.slice(2);
  const output = opened.info.shapes.get(map.output) as readonly number[];
  const [outHeight, outWidth] = output.length === 3 ? [1, output[2]] : output.slice(2);
  const geometry = { ...map.conv, height, width, outHeight, outWidth };
  const image = (tensor: FloatTensor, i: number) => ({ channels: tensor.dims[1], data: part(tensor, i) });
  return (i: number, to: SessionStatistics) => to.addImage(geometry, image(x, i), y && image(y, i));
}

function targetOf(map: LinearMap, { dense, pruned }: Activations, target: Target): FloatTensor {
  if (target.kind === 'dense' || !map.residual) return dense[map.output];
  const sum = dense[map.residual.sum];
  const shortcut = pruned[map.residual.shortcut];
  const data = new Float32Array(sum.data.length);
  for (let i = 0; i < data.length; i++) data[i] = sum.data[i] - shortcut.data[i];
  return { dims: sum.dims, data };
}

/** The layer's problem on all samples, damped as holds best on the held-out ones. */
async function problemOf(
  opened: OpenedModel,
  map: LinearMap,
  statistics: Statistics,
  keep: number,
  { session, target, damping, method, signal }: SequenceOptions,
): Promise<DampedProblem> {
  const { W, bias } = readWeights(opened.model, map);
  const options = {
    groupSize: map.groupSize,
    blend: target.blend,
    // Only a bare MatMul has nowhere to put a bias.
    bias: bias ?? (map.kind === 'matmul' ? undefined : new Float64Array(map.m)),
  };
  try {
    let chosen = damping ?? DEFAULT_DAMPING;
    if (damping === undefined && statistics.heldOut && refits(method)) {
      const { fit, heldOut } = statistics;
      chosen = await session.chooseDamping(fit, heldOut, W, options, keep, { signal });
    }
    const all = wholeOf(statistics);
    const damped = { ...options, damping: chosen };
    return { damping: chosen, problem: await session.layerProblem(all, W, damped, { signal }) };
  } catch (error) {
    if (error instanceof InputError) error.message = `${opened.name}: layer "${map.node}": ${error.message}`;
    throw error;
  }
}

/** The sums over all samples, in place of those to fit on. */
function wholeOf(statistics: Statistics): LayerStatistics {
  const { fit, heldOut } = statistics;
  if (!heldOut) return fit;
  statistics.heldOut = undefined;
  return addStatistics(fit, heldOut);
}

/** The weights of layers on the groups that they share, or each on all of its own. */
function partsOf(
  problems: readonly LayerProblem[],
  shared: readonly number[] | undefined,
  { session, method, signal }: SequenceOptions,
): Promise<Float64Array[]> {
  return Promise.all(
    problems.map(async (problem) => {
      const kept = shared ?? [...Array(problem.groups).keys()];
      if (method !== 'magnitude') return (await session.refit(problem, kept, { signal })).W;
      const W = new Float64Array(problem.W0.length);
      const size = problem.groupSize * problem.m;
      for (const group of kept) W.set(problem.W0.subarray(group * size, (group + 1) * size), group * size);
      return W;
    }),
  );
}
