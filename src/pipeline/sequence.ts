// The pass over the network, from input to output: each structure's layer is fitted on what the network
// pruned so far gives it, towards a target that the dense network sets.

import type { Engine, FloatTensor } from '../engine/index.ts';
import { InputError, OutOfMemoryError } from '../errors.ts';
import { type LinearMap, readWeights, type Structure, writeWeights } from '../graph/index.ts';
import type { Kernels } from '../kernel/index.ts';
import {
  combineProblems,
  groupsToKeep,
  type LayerProblem,
  type LayerResult,
  type LayerStatistics,
  layerProblem,
  layerWasmBytes,
  type Method,
  pruneLayer,
  refit,
  refitBias,
  StatisticsAccumulator,
} from '../solve/index.ts';
import type { BatchSource } from './batches.ts';
import { type Activations, Frontier } from './frontier.ts';
import type { OpenedModel } from './open.ts';

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
  /** Fraction of the groups to keep. */
  readonly keep: number;
  readonly method: Method;
  readonly target: Target;
  readonly damping?: number;
  readonly groupsPerStep?: number;
  /** Bytes of activations that may be kept between layers. */
  readonly activationBytes: number;
  readonly signal?: AbortSignal;
  /** Called after each layer. */
  onLayer?(name: string): void;
}

export interface PrunedLayer {
  readonly structure: Structure;
  readonly kept: readonly number[];
  readonly relativeError: number;
}

/**
 * Prunes the structures one after the other on a copy of the model, with the removed channels' weights
 * set to zero: the function of the smaller network at the dense one's shapes.
 */
export async function pruneSequence(opened: OpenedModel, options: SequenceOptions) {
  const { engine, kernels, source, structures, keep, activationBytes, signal } = options;
  const masked = opened.model.clone();
  const position = new Map(opened.model.nodes.map(({ name }, index) => [name, index]));
  const first = ({ consumers }: Structure) =>
    Math.min(...consumers.map(({ node }) => position.get(node) as number));
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

  const ordered = [...structures].sort((a, b) => first(a) - first(b));
  const start = frontier.cutBefore(first(ordered[0]));
  if (start) await frontier.advance(start, undefined, signal);
  for (const [index, structure] of ordered.entries()) {
    // While the dense network runs for the targets, it goes on to where the next structure starts from.
    const next = index + 1 < ordered.length ? frontier.cutBefore(first(ordered[index + 1])) : undefined;
    const { statistics, ahead } = await collect(opened, frontier, structure.consumers, next?.value, options);
    signal?.throwIfAborted();
    const problems = structure.consumers.map((map, i) => problemOf(opened, map, statistics[i], options));
    const joint = combineProblems(problems);
    const result = pruneLayer(kernels, joint, { ...options, keep: groupsToKeep(joint.groups, keep) });
    structure.consumers.forEach((map, i) => {
      const W = problems.length === 1 ? result.W : partOf(problems[i], result, options);
      const bias = options.method === 'magnitude' ? undefined : refitBias(problems[i], W);
      writeWeights(masked, map, W, bias);
    });
    layers.push({ structure, kept: result.kept, relativeError: result.relativeError });
    if (next) await frontier.advance(next, ahead, signal);
    options.onLayer?.(structure.name);
  }
  return { masked, layers };
}

/** Throws before any work where a layer's statistics and factors cannot fit the kernels' memory. */
export function checkMemory(kernels: Kernels, structures: readonly Structure[]): void {
  for (const { name, groups, consumers } of structures) {
    const groupSize = consumers.reduce((total, map) => total + map.groupSize, 0);
    const m = consumers.reduce((total, map) => total + map.m, 0);
    const bytes = layerWasmBytes(groups * groupSize, m, groupSize);
    if (bytes > kernels.maximumBytes) {
      throw new OutOfMemoryError(
        `structure "${name}" needs ${bytes} bytes of WebAssembly memory (p = ${groups * groupSize}, m = ${m}), more than the ${kernels.maximumBytes} there are`,
        bytes,
      );
    }
  }
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
  { kernels, target, signal }: SequenceOptions,
): Promise<{ statistics: LayerStatistics[]; ahead?: FloatTensor[] }> {
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
  const accumulators = maps.map(
    ({ p, m }) => new StatisticsAccumulator(kernels, p, m, target.kind !== 'self'),
  );
  try {
    for await (const activations of frontier.run([...dense], [...pruned], signal)) {
      maps.forEach((map, i) => {
        accumulate(accumulators[i], opened, map, activations, target);
      });
      if (aheadValue) ahead.push(activations.dense[aheadValue]);
    }
  } catch (error) {
    for (const accumulator of [...accumulators].reverse()) accumulator.dispose();
    throw error;
  }
  // The accumulators lie on a stack: the last one opened is the first to be closed.
  const statistics = accumulators
    .reverse()
    .map((accumulator) => accumulator.finish())
    .reverse();
  return { statistics, ...(aheadValue && { ahead }) };
}

function accumulate(
  accumulator: StatisticsAccumulator,
  opened: OpenedModel,
  map: LinearMap,
  activations: Activations,
  target: Target,
): void {
  const x = activations.pruned[map.input];
  const y = target.kind === 'self' ? undefined : targetOf(map, activations, target);
  const samples = x.dims[0];
  const part = (tensor: FloatTensor, index: number) => {
    const size = tensor.data.length / samples;
    return tensor.data.subarray(index * size, (index + 1) * size);
  };
  for (let i = 0; i < activations.count; i++) {
    if (!map.conv) {
      accumulator.addRows(part(x, i), y && part(y, i));
      continue;
    }
    // A 1-D convolution is one over images of height 1.
    const [height, width] = x.dims.length === 3 ? [1, x.dims[2]] : x.dims.slice(2);
    const output = opened.info.shapes.get(map.output) as readonly number[];
    const [outHeight, outWidth] = output.length === 3 ? [1, output[2]] : output.slice(2);
    const geometry = { ...map.conv, height, width, outHeight, outWidth };
    accumulator.addImage(
      geometry,
      { channels: x.dims[1], data: part(x, i) },
      y && { channels: map.m, data: part(y, i) },
    );
  }
}

function targetOf(map: LinearMap, { dense, pruned }: Activations, target: Target): FloatTensor {
  if (target.kind === 'dense' || !map.residual) return dense[map.output];
  const sum = dense[map.residual.sum];
  const shortcut = pruned[map.residual.shortcut];
  const data = new Float32Array(sum.data.length);
  for (let i = 0; i < data.length; i++) data[i] = sum.data[i] - shortcut.data[i];
  return { dims: sum.dims, data };
}

function problemOf(
  opened: OpenedModel,
  map: LinearMap,
  statistics: LayerStatistics,
  { kernels, target, damping }: SequenceOptions,
): LayerProblem {
  const { W, bias } = readWeights(opened.model, map);
  // Only a bare MatMul has nowhere to put a bias.
  const refittable = bias ?? (map.kind === 'matmul' ? undefined : new Float64Array(map.m));
  try {
    return layerProblem(kernels, statistics, W, {
      groupSize: map.groupSize,
      damping,
      blend: target.blend,
      bias: refittable,
    });
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
