// Weights as whole numbers of steps: of which layers, along which axis, and which numbers they are.

import { blockOf, packBlocks, scaleIn } from './blocks.ts';
import { type LinearMap, linearMaps, type Shapes, usesOf } from './linear.ts';
import type { Model } from './model.ts';
import { attributeInt, isStandard } from './node.ts';
import { elements, mapped, type Tensor, toFloat32 } from './tensor.ts';

/** The largest of int8 and int4 whose negative there is too. */
export const STEPS = { int8: 127, int4: 7 };

/** A weight as whole numbers from −7 to 7 and scales. */
export interface Packed {
  /** Two numbers in each, the first in the low bits, 8 above what they are: in the weight's order, or in blocks. */
  readonly bytes: Uint8Array;
  /** The last number where there are odd many in the weight's order. */
  readonly last?: number;
  /** For each output, and in blocks for each of its blocks. */
  readonly scales: Float32Array;
  /** Inputs of a block, where it is in blocks. */
  readonly block?: number;
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
  return mapped(Int8Array, values, (value, i) =>
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
      return [weight, packed(tensor, scaledAxis(model, tensor)!, blockOf(model, tensor))];
    }),
  );
}

function packed(tensor: Tensor, axis: number, block?: number): Packed {
  const { dims } = tensor;
  const values = toFloat32(tensor);
  const scaleOf = block ? scaleIn(dims, block) : channelIn(dims, along(dims, axis));
  const blocks = block ? Math.ceil(dims[0] / block) : 1;
  const scales = stepScales(values, scaleOf, dims[axis] * blocks);
  const steps = nearestSteps(values, scales, scaleOf, STEPS.int4);
  if (block) return { bytes: packBlocks(steps, dims, block, 4), scales, block };
  const pairs = Math.floor(steps.length / 2);
  const pairAt = (i: number) => (steps[2 * i] + 8) | ((steps[2 * i + 1] + 8) << 4);
  const bytes = Uint8Array.from({ length: pairs }, (_, i) => pairAt(i));
  return { bytes, scales, last: steps[2 * pairs] };
}

/** The largest scales of which all that have them are whole multiples, 7 at most; without one, the largest weight over 7. */
function stepScales(values: Float32Array, scaleOf: (i: number) => number, count: number): Float32Array {
  const largest = largestOf(values, scaleOf, count);
  const multiples = new Uint8Array(count);
  for (let multiple = 1; multiple <= STEPS.int4; multiple++) {
    const isOff = new Uint8Array(count);
    for (let i = 0; i < values.length; i++) {
      const steps = (values[i] * multiple) / largest[scaleOf(i)];
      if (Math.abs(steps - Math.round(steps)) > ON_STEP) isOff[scaleOf(i)] = 1;
    }
    for (let c = 0; c < count; c++) if (!multiples[c] && !isOff[c]) multiples[c] = multiple;
  }
  return largest.map((value, c) => value / (multiples[c] || STEPS.int4) || 1);
}
