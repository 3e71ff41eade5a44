// The pass over the network, from input to output: each structure's layer is fitted on what the network
// pruned so far gives it, towards a target that the dense network sets.

import type { Engine, FloatTensor } from '../engine/index.ts';
import { InputError, OutOfMemoryError } from '../errors.ts';
import { type LinearMap, linearMaps, readWeights, type Structure, writeWeights } from '../graph/index.ts';
import type { Kernels } from '../kernel/index.ts';
import {
  chooseDamping,
  combineProblems,
  DEFAULT_DAMPING,
  groupsToKeep,
  type LayerProblem,
  type LayerResult,
  type LayerStatistics,
  layerProblem,
  layerWasmBytes,
  type Method,
  mergeStatistics,
  pruneLayer,
  refit,
  refitBias,
  type Search,
  StatisticsAccumulator,
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
  readonly kernels: Kernels;
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
  const { engine, kernels, source, activationBytes, signal } = options;
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
    const { statistics, ahead } = await collect(opened, frontier, maps, next?.value, options);
    signal?.throwIfAborted();
    const damped = maps.map((map, i) => problemOf(opened, map, statistics[i], keep, options));
    const problems = damped.map(({ problem }) => problem);
    const joint = combineProblems(problems);
    const result = structure
      ? pruneLayer(kernels, joint, { ...options, keep })
      : { ...refit(kernels, joint, [...Array(keep).keys()]), kept: [], relativeError: 0 };
    maps.forEach((map, i) => {
      const W = problems.length === 1 ? result.W : partOf(problems[i], result, options);
      const bias = refits(options.method) ? refitBias(problems[i], W) : undefined;
      writeWeights(masked, map, W, bias);
    });
    if (structure) {
      const { kept, relativeError } = result;
      layers.push({ structure, kept, relativeError, damping: damped.map(({ damping }) => damping) });
    }
    if (next) await frontier.advance(next, ahead, signal);
    options.onStep?.(index + 1, steps.length);
  }
  return { masked, layers };
}

/** Whether a method re-solves weights, and so has a target, a damping and a bias to choose. */
export function refits(method: Method): boolean {
  return method === 'osscar' || method === 'magnitude-refit';
}

/** A structure to prune, or a layer that keeps all its inputs and is refitted to what reaches it. */
interface Step {
  /** Of its first layer in the topological order. */
  readonly position: number;
  readonly maps: readonly LinearMap[];
  readonly keep: number;
  readonly structure?: Structure;
}

type PlanOptions = Pick<SequenceOptions, 'structures' | 'keep' | 'method' | 'target' | 'correct'> & {
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
      if (at > start && !pruned.has(map.node))
        steps.push({ maps: [map], position: at, keep: map.p / map.groupSize });
    }
  }
  return steps.sort((a, b) => a.position - b.position);
}

/** Work memory of the kernels: the GEMM's packed panels and an unfolded image. */
export const PACKING_BYTES = 16 * 2 ** 20;

/** Throws before any work where a layer's statistics and factors cannot fit the kernels' memory. */
export function checkMemory(opened: OpenedModel, options: PlanOptions & { kernels: Kernels }): void {
  const { maximumBytes } = options.kernels;
  for (const { maps, structure } of planSteps(opened, options)) {
    const p = maps.reduce((total, map) => total + map.p, 0);
    const m = maps.reduce((total, map) => total + map.m, 0);
    const groupSize = maps.reduce((total, map) => total + map.groupSize, 0);
    // Each layer has two accumulators, for the samples it is fitted on and the held-out ones.
    const statistics = maps.reduce((total, map) => total + 2 * statisticsWasmBytes(map.p, map.m), 0);
    const bytes = PACKING_BYTES + Math.max(statistics, layerWasmBytes(p, m, groupSize));
    if (bytes > maximumBytes) {
      throw new OutOfMemoryError(
        `structure "${structure?.name ?? maps[0].node}" needs ${bytes} bytes of WebAssembly memory (p = ${p}, m = ${m}), more than the ${maximumBytes} there are`,
        bytes,
      );
    }
  }
}

/** Of the samples that a layer is fitted on, and of those that its damping is chosen by. */
interface Statistics {
  readonly fit: LayerStatistics;
  readonly heldOut?: LayerStatistics;
}

interface DampedProblem {
  readonly problem: LayerProblem;
  readonly damping: number;
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
  { kernels, source, target, signal }: SequenceOptions,
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
  const mark = kernels.mark();
  const isHeldOut = (index: number) => source.samples >= FEWEST_TO_SPLIT && index % HELD_OUT === HELD_OUT - 1;
  const open = (map: LinearMap) => new StatisticsAccumulator(kernels, map.p, map.m, target.kind !== 'self');
  let sample = 0;
  try {
    const accumulators = maps.map((map) => ({ map, fit: open(map), heldOut: open(map) }));
    for await (const activations of frontier.run([...dense], [...pruned], signal)) {
      for (const { map, fit, heldOut } of accumulators) {
        const part = sampleParts(opened, map, activations, target);
        for (let i = 0; i < activations.count; i++) part(i, isHeldOut(sample + i) ? heldOut : fit);
      }
      sample += activations.count;
      if (aheadValue) ahead.push(activations.dense[aheadValue]);
    }
    // The accumulators lie on a stack: the last one opened is the first to be closed.
    const statistics = accumulators.reverse().map(({ fit, heldOut }) => {
      const unseen = heldOut.finish();
      return { fit: fit.finish(), ...(unseen.n > 0 && { heldOut: unseen }) };
    });
    return { statistics: statistics.reverse(), ...(aheadValue && { ahead }) };
  } catch (error) {
    kernels.release(mark);
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
    return (i: number, to: StatisticsAccumulator) => to.addRows(part(x, i), y && part(y, i));
  }
  // A 1-D convolution is one over images of height 1.
  const [height, width] = x.dims.length === 3 ? [1, x.dims[2]] : x.dims.slice(2);
  const output = opened.info.shapes.get(map.output) as readonly number[];
  const [outHeight, outWidth] = output.length === 3 ? [1, output[2]] : output.slice(2);
  const geometry = { ...map.conv, height, width, outHeight, outWidth };
  const image = (tensor: FloatTensor, i: number) => ({ channels: tensor.dims[1], data: part(tensor, i) });
  return (i: number, to: StatisticsAccumulator) => to.addImage(geometry, image(x, i), y && image(y, i));
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
function problemOf(
  opened: OpenedModel,
  map: LinearMap,
  { fit, heldOut }: Statistics,
  keep: number,
  { kernels, target, damping, method }: SequenceOptions,
): DampedProblem {
  const { W, bias } = readWeights(opened.model, map);
  const options = {
    groupSize: map.groupSize,
    blend: target.blend,
    // Only a bare MatMul has nowhere to put a bias.
    bias: bias ?? (map.kind === 'matmul' ? undefined : new Float64Array(map.m)),
  };
  try {
    let chosen = damping ?? DEFAULT_DAMPING;
    if (damping === undefined && heldOut && refits(method)) {
      chosen = chooseDamping(kernels, fit, heldOut, W, options, keep);
    }
    const all = heldOut ? mergeStatistics(fit, heldOut) : fit;
    return { damping: chosen, problem: layerProblem(kernels, all, W, { ...options, damping: chosen }) };
  } catch (error) {
    if (error instanceof InputError) error.message = `${opened.name}: layer "${map.node}": ${error.message}`;
    throw error;
  }
}

/** The weights of one of several layers that share a support. */
function partOf(
  problem: LayerProblem,
  { kept }: LayerResult,
  { kernels, method }: SequenceOptions,
): Float64Array {
  if (method !== 'magnitude') return refit(kernels, problem, kept).W;
  const W = new Float64Array(problem.W0.length);
  const size = problem.groupSize * problem.m;
  for (const group of kept) W.set(problem.W0.subarray(group * size, (group + 1) * size), group * size);
  return W;
}
