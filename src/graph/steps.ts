// Weights as whole numbers of steps: of which layers, along which axis, and which numbers they are.

import { type LinearMap, linearMaps, type Shapes, usesOf } from './linear.ts';
import type { Model } from './model.ts';
import { attributeInt, isStandard } from './node.ts';
import { elements, type Tensor, toFloat32 } from './tensor.ts';

/** The largest of int8 and int4 whose negative there is too. */
export const STEPS = { int8: 127, int4: 7 };

/** A weight as whole numbers from −7 to 7 and a scale for each output. */
export interface Packed {
  /** Two numbers in each, the first in the low bits, 8 above what they are. */
  readonly bytes: Uint8Array;
  /** The last number where there are odd many. */
  readonly last?: number;
  readonly scales: Float32Array;
}

/** Weights on whole steps, by their names: int4 is for these, what else there is becomes int8. */
export type OnSteps = ReadonlyMap<string, Packed>;

/** The axis of a weight that counts the outputs of the layer that reads it, or the rows of a table. */
export function scaledAxis(model: Model, { name, dims }: Tensor): number | undefined {
  for (const { node, index } of model.uses(name)) {
    const layer = model.operator(node)?.layer;
    if (layer && index === 1) return node.opType === 'MatMul' ? dims.length - 1 : layer.outputAxis(node);
    if (isStandard(node) && node.opType === 'Gather' && index === 0 && attributeInt(node, 'axis', 0) === 0)
      return 0;
  }
  return undefined;
}

/** The extents of scales along an axis of a weight: 1 but for that. */
export function along(dims: readonly number[], axis: number | undefined): number[] {
  return dims.map((extent, i) => (i === axis ? extent : 1));
}

/** Which of the scales along one axis, of extents 1 but for that, the i-th number of a tensor has. */
export function channelIn(dims: readonly number[], scales: readonly number[]): (i: number) => number {
  const inner = elements(dims.slice(scales.findIndex((extent) => extent > 1) + 1));
  const channels = elements(scales);
  return (i) => Math.floor(i / inner) % channels;
}

export function largestOf(
  values: Float32Array,
  channelOf: (i: number) => number,
  channels: number,
): Float32Array {
  const largest = new Float32Array(channels);
  for (let i = 0; i < values.length; i++)
    largest[channelOf(i)] = Math.max(largest[channelOf(i)], Math.abs(values[i]));
  return largest;
}

export function nearestSteps(
  values: Float32Array,
  scales: Float32Array,
  channelOf: (i: number) => number,
  most: number,
): Int8Array {
  return Int8Array.from(values, (value, i) =>
    Math.max(-most, Math.min(most, Math.round(value / scales[channelOf(i)]))),
  );
}

/**
 * Layers whose weights can be put on whole steps together: those that are fitted, and whose weights nothing else reads.
 * @param shapes  as of `linearMaps`
 */
export function steppedMaps(model: Model, shapes: Shapes): LinearMap[] {
  return linearMaps(model, shapes).filter(
    (map) => !map.isInner && model.uses(map.weight).length === usesOf(map).length,
  );
}

/** How far a number may be from a whole step, of those that weights are on: rounding to float32 leaves 1e-6. */
const ON_STEP = 1e-3;

/** The weights of layers as int4: the steps that they are on, where they are on some, or else the nearest. */
export function onSteps(model: Model, maps: readonly LinearMap[]): OnSteps {
  return new Map(
    Array.from(new Set(maps.map(({ weight }) => weight)), (weight) => {
      const tensor = model.tensors.get(weight)!;
      const [values, axis] = [toFloat32(tensor), scaledAxis(model, tensor)!];
      const channelOf = channelIn(tensor.dims, along(tensor.dims, axis));
      const scales = stepScales(values, channelOf, tensor.dims[axis]);
      const steps = nearestSteps(values, scales, channelOf, STEPS.int4);
      const pairs = Math.floor(steps.length / 2);
      const pairAt = (i: number) => (steps[2 * i] + 8) | ((steps[2 * i + 1] + 8) << 4);
      const bytes = Uint8Array.from({ length: pairs }, (_, i) => pairAt(i));
      return [weight, { bytes, scales, last: steps.length > 2 * pairs ? steps[2 * pairs] : undefined }];
    }),
  );
}

/** For each channel, the largest scale of which all its weights are whole multiples, 7 at most; without one, the largest weight over 7. */
function stepScales(values: Float32Array, channelOf: (i: number) => number, channels: number): Float32Array {
  const largest = largestOf(values, channelOf, channels);
  const counts = new Uint8Array(channels);
  for (let count = 1; count <= STEPS.int4; count++) {
    const isOff = new Uint8Array(channels);
    for (let i = 0; i < values.length; i++) {
      const steps = (values[i] * count) / largest[channelOf(i)];
      if (Math.abs(steps - Math.round(steps)) > ON_STEP) isOff[channelOf(i)] = 1;
    }
    for (let c = 0; c < channels; c++) if (!counts[c] && !isOff[c]) counts[c] = count;
  }
  return largest.map((value, c) => value / (counts[c] || STEPS.int4) || 1);
}
