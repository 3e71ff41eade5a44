// The layers whose weights can be re-solved: linear maps with constant weights.

import { isFloat } from './dtype.ts';
import type { Model } from './model.ts';
import { attributeInt, attributeInts, attributeString, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { elements } from './tensor.ts';

/** Concrete dims of every value in a run on some batch. */
export type Shapes = ReadonlyMap<string, readonly number[]>;

export type LinearKind = 'conv' | 'gemm' | 'matmul';

/** A 2-D convolution's sampling of its input; 1-D is a height of 1. `auto_pad` is resolved. */
export interface ConvGeometry {
  kernel: [number, number];
  strides: [number, number];
  /** top, left, bottom, right */
  pads: [number, number, number, number];
  dilations: [number, number];
}

/** Y = X·W + b. Rows of X are samples (and positions); W is p × m, its rows in (channel, ky, kx) order. */
export interface LinearMap {
  /** Name of the node. */
  node: string;
  kind: LinearKind;
  /** Value that the rows of X are taken from. */
  input: string;
  /** Value that holds Y, behind the Add where a MatMul has its bias there. */
  output: string;
  weight: string;
  bias?: string;
  /** Node that adds the bias of a MatMul. */
  biasNode?: string;
  /** Consecutive rows of W per channel: kernel size, times the features per channel where a flatten made them. */
  groupSize: number;
  p: number;
  m: number;
  /** Rows of X per sample, so that a sample costs rows·p·m multiply-adds. */
  rows: number;
  conv?: ConvGeometry;
  /** Where Y goes straight into an Add of equal shapes: sum = Y + shortcut. */
  residual?: { sum: string; shortcut: string; node: string };
}

/** Every linear map with constant weights, in topological order: Conv of one group (1-D, 2-D), Gemm, MatMul. */
export function linearMaps(model: Model, shapes: Shapes): LinearMap[] {
  return model.nodes.flatMap((node) => linearMap(model, node, shapes) ?? []);
}

/** The linear map that a node is; undefined if it is none, or none that can be re-solved. */
export function linearMap(model: Model, node: NodeProto, shapes: Shapes): LinearMap | undefined {
  if (!isStandard(node)) return undefined;
  const weight = model.tensors.get(node.input[1]);
  const input = shapes.get(node.input[0]);
  const output = shapes.get(node.output[0]);
  if (!weight || !isFloat(weight.type) || !input || !output || elements(weight.dims) === 0) return undefined;
  const base = { node: node.name, input: node.input[0], output: node.output[0], weight: weight.name };
  // exporters may merge the batch with positions: (b, t, p) to (b·t, p)
  const batch = shapes.get(model.inputs[0]?.name)?.[0] || 1;
  const rowsOf = (dims: readonly number[]) => Math.ceil(elements(dims.slice(0, -1)) / batch);
  let map: LinearMap | undefined;
  if (node.opType === 'Conv') {
    if (attributeInt(node, 'group', 1) !== 1 || input.length > 4 || !constantBias(model, node))
      return undefined;
    const [m, channels, ...kernel] = weight.dims;
    const groupSize = elements(kernel);
    const rows = elements(output.slice(2));
    const conv = geometry(node, kernel, input.slice(2), output.slice(2));
    map = { ...base, kind: 'conv', groupSize, p: channels * groupSize, m, rows, conv };
  } else if (node.opType === 'Gemm') {
    if (attributeInt(node, 'transA', 0) !== 0 || !constantBias(model, node)) return undefined;
    const [p, m] = attributeInt(node, 'transB', 0) ? [weight.dims[1], weight.dims[0]] : weight.dims;
    map = { ...base, kind: 'gemm', groupSize: 1, p, m, rows: rowsOf(input) };
  } else if (node.opType === 'MatMul' && weight.dims.length === 2 && input.length > 1) {
    const [p, m] = weight.dims;
    map = { ...base, kind: 'matmul', groupSize: 1, p, m, rows: rowsOf(input) };
    addBias(model, map);
  }
  if (!map) return undefined;
  if (node.input[2]) map.bias = node.input[2];
  const residual = shortcut(model, map, shapes);
  return residual ? { ...map, residual } : map;
}

function constantBias(model: Model, node: NodeProto): boolean {
  return !node.input[2] || model.tensors.has(node.input[2]);
}

// A MatMul has no bias of its own; what adds one is the only reader of its output.
function addBias(model: Model, map: LinearMap): void {
  const uses = model.uses(map.output);
  if (uses.length !== 1 || model.isOutput(map.output)) return;
  const { node, index } = uses[0];
  if (node.opType !== 'Add' || !isStandard(node) || index < 0) return;
  const bias = model.tensors.get(node.input[1 - index]);
  if (!bias || !isFloat(bias.type) || elements(bias.dims) !== map.m || bias.dims.at(-1) !== map.m) return;
  map.bias = bias.name;
  map.biasNode = node.name;
  map.output = node.output[0];
}

function shortcut(model: Model, map: LinearMap, shapes: Shapes): LinearMap['residual'] {
  let value = map.output;
  for (;;) {
    const uses = model.uses(value);
    if (uses.length !== 1 || model.isOutput(value)) return undefined;
    const { node, index } = uses[0];
    if (index < 0) return undefined;
    if (isStandard(node) && handsOn(node, index, map, shapes)) {
      value = node.output[0];
      continue;
    }
    const sum = sumOf(node, index);
    const other = node.input[1 - index];
    if (!sum || model.tensors.has(other)) return undefined;
    const same = String(shapes.get(other)) === String(shapes.get(value)) && shapes.has(value);
    return same ? { sum, shortcut: other, node: node.name } : undefined;
  }
}

/** Gives what it reads, in the same order and row by row. */
function handsOn(node: NodeProto, index: number, { kind, m }: LinearMap, shapes: Shapes): boolean {
  if (node.opType === 'Reshape')
    return index === 0 && kind !== 'conv' && shapes.get(node.output[0])?.at(-1) === m;
  return node.opType === 'Identity' || (node.opType === 'Dropout' && index === 0);
}

/** The value that is the sum of the first two inputs; undefined if none is. */
function sumOf(node: NodeProto, index: number): string | undefined {
  if (index > 1) return undefined;
  if (isStandard(node)) {
    const adds = node.opType === 'Add' || (node.opType === 'Sum' && node.input.length === 2);
    return adds ? node.output[0] : undefined;
  }
  const isSkip = node.domain === 'com.microsoft' && /^Skip(Simplified)?LayerNormalization$/.test(node.opType);
  return isSkip && !node.input[4] ? node.output[3] || undefined : undefined;
}

function geometry(
  node: NodeProto,
  kernel: readonly number[],
  input: readonly number[],
  output: readonly number[],
): ConvGeometry {
  const axes = kernel.length;
  const strides = attributeInts(node, 'strides') ?? kernel.map(() => 1);
  const dilations = attributeInts(node, 'dilations') ?? kernel.map(() => 1);
  const explicit = attributeInts(node, 'pads') ?? new Array(2 * axes).fill(0);
  const auto = attributeString(node, 'auto_pad', 'NOTSET');
  const begin: number[] = [];
  const end: number[] = [];
  for (let i = 0; i < axes; i++) {
    if (!auto.startsWith('SAME')) {
      begin.push(auto === 'VALID' ? 0 : explicit[i]);
      end.push(auto === 'VALID' ? 0 : explicit[i + axes]);
      continue;
    }
    const reach = (output[i] - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1;
    const total = Math.max(0, reach - input[i]);
    const small = Math.floor(total / 2);
    begin.push(auto === 'SAME_LOWER' ? total - small : small);
    end.push(auto === 'SAME_LOWER' ? small : total - small);
  }
  const pair = (list: readonly number[], missing: number): [number, number] =>
    axes === 1 ? [missing, list[0]] : [list[0], list[1]];
  const [top, left] = pair(begin, 0);
  const [bottom, right] = pair(end, 0);
  return {
    kernel: pair(kernel, 1),
    strides: pair(strides, 1),
    pads: [top, left, bottom, right],
    dilations: pair(dilations, 1),
  };
}
