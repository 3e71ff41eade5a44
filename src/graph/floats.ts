// Float weights again of those that are stored as fewer bytes (stored.ts), by this library or by others.

import { unpackBlocks } from './blocks.ts';
import { removeUnread } from './fold.ts';
import type { Model } from './model.ts';
import { attributeInt, isStandard, MICROSOFT } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { channelIn } from './steps.ts';
import { cast, nodeOf, readsRows } from './stored.ts';
import { elements, fromFloat32, type Tensor, toFloat32, toIntegers } from './tensor.ts';

/** The model with float weights in the place of int8 and int4 and their scales, and of what a MatMulNBits multiplies with. */
export function floatWeights(model: Model): Model {
  const copy = model.clone();
  wholeTables(copy);
  const floats = new Map<NodeProto, Tensor>();
  for (const node of copy.nodes) {
    const tensor = scaled(copy, node);
    if (tensor) floats.set(node, tensor);
  }
  const products = plainProducts(copy);
  if (floats.size + products.length === 0) return model;
  copy.remove(new Set(floats.keys()));
  removeUnread(
    copy,
    Array.from(floats.keys(), ({ input }) => input[0]),
  );
  copy.removeUnused(products);
  for (const tensor of floats.values()) copy.tensors.set(tensor.name, tensor);
  return copy;
}

/** Reads rows of a table that is made floats as a whole, where `readRows` makes floats of them. */
function wholeTables(model: Model): void {
  const keyOf = (numbers: string, scale: string) => JSON.stringify([numbers, scale]);
  const tables = new Map<string, string>();
  for (const { opType, input, output } of model.nodes) {
    const numbers = opType === 'Mul' ? castAt(model, input[0]) : undefined;
    if (numbers) tables.set(keyOf(numbers.name, input[1]), output[0]);
  }
  const made: NodeProto[] = [];
  const unread: string[] = [];
  for (const node of model.nodes) {
    const [gather, scales] = rowsAt(model, node) ?? [];
    if (!gather || !scales) continue;
    const [[numbers, places], [scale]] = [gather.input, scales.input];
    const key = keyOf(numbers, scale);
    let table = tables.get(key);
    if (table === undefined) {
      table = model.fresh(numbers.replace(/\.int8$/, ''));
      const floats = model.fresh(`${table}.steps`);
      made.push(cast(model, numbers, floats), nodeOf(model, 'Mul', [floats, scale], table));
      tables.set(key, table);
    }
    unread.push(...node.input);
    const { name, attribute } = gather;
    gather.name = node.name;
    Object.assign(node, { name, opType: 'Gather', input: [table, places], attribute });
  }
  if (unread.length === 0) return;
  model.graph.node = [...made, ...model.nodes];
  model.edited();
  removeUnread(model, unread);
}

/** The two Gathers that a Mul multiplies, of int8 and of their scales, at the same places. */
function rowsAt(model: Model, node: NodeProto): [NodeProto, NodeProto] | undefined {
  const floats = node.opType === 'Mul' && isStandard(node) && producerOf(model, node.input[0], 'Cast');
  const gather = floats && producerOf(model, floats.input[0], 'Gather');
  const scales = gather && producerOf(model, node.input[1], 'Gather');
  if (!scales || gather.input[1] !== scales.input[1] || !readsRows(gather) || !readsRows(scales))
    return undefined;
  const [numbers, scale] = [gather, scales].map(({ input }) => model.tensors.get(input[0]));
  const isScaled = numbers?.dims.length === scale?.dims.length && numbers?.dims[0] === scale?.dims[0];
  return numbers?.type === 'int8' && scale && isScaled ? [gather, scales] : undefined;
}

/** Makes MatMulNBits a MatMul, and an Add of its bias. @returns constants that it had */
function plainProducts(model: Model): string[] {
  const weights = new Map<string, string>();
  const constants: string[] = [];
  model.graph.node = model.nodes.flatMap((node) => {
    if (node.opType !== 'MatMulNBits' || node.domain !== MICROSOFT) return [node];
    const [x, ...own] = node.input;
    const shape = ['K', 'N', 'bits', 'block_size'].map((name) => attributeInt(node, name, 0));
    const key = JSON.stringify([...own.slice(0, 3), shape]);
    const weight = weights.get(key) ?? model.fresh((own[0] ?? '').replace(/\.int4$/, ''));
    if (!weights.has(key)) {
      const tensor = unpackBlocks(model, node, weight);
      if (!tensor) return [node];
      model.tensors.set(weight, tensor);
      weights.set(key, weight);
    }
    constants.push(...own.slice(0, 3));
    const [, , , , bias] = own;
    const [output] = node.output;
    const product = bias ? model.fresh(`${output}.product`) : output;
    Object.assign(node, {
      opType: 'MatMul',
      domain: '',
      input: [x, weight],
      output: [product],
      attribute: [],
    });
    return bias ? [node, nodeOf(model, 'Add', [product, bias], output)] : [node];
  });
  model.edited();
  return constants;
}

/** What a Mul makes of whole numbers and of scales along one axis. */
function scaled(model: Model, node: NodeProto): Tensor | undefined {
  if (node.opType !== 'Mul' || !isStandard(node) || model.isOutput(node.output[0])) return undefined;
  const numbers = integersAt(model, node.input[0]) ?? pairsAt(model, node.input[0]);
  const scale = model.tensors.get(node.input[1]);
  if (!numbers || scale?.type !== 'float32') return undefined;
  const { dims, steps } = numbers;
  const along = scale.dims.flatMap((extent, axis) => (extent > 1 ? [axis] : []));
  const isAlong = along.every((axis) => scale.dims[axis] === dims[axis]);
  if (scale.dims.length !== dims.length || along.length > 1 || !isAlong) return undefined;
  const channelOf = channelIn(dims, scale.dims);
  const scales = toFloat32(scale);
  const values = Float32Array.from(steps, (step, i) => step * scales[channelOf(i)]);
  return fromFloat32(values, dims, { name: node.output[0], type: 'float32' });
}

/** Whole numbers of a weight. */
interface Steps {
  readonly dims: readonly number[];
  readonly steps: Iterable<number> & ArrayLike<number>;
}

/** A Cast of int8. */
function integersAt(model: Model, value: string): Steps | undefined {
  const integers = castAt(model, value);
  if (integers?.type !== 'int8') return undefined;
  const { bytes, dims } = integers;
  return { dims, steps: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length) };
}

/** What `asPairs` makes. */
function pairsAt(model: Model, value: string): Steps | undefined {
  const reshape = producerOf(model, value, 'Reshape');
  const joined = reshape && producerOf(model, reshape.input[0], 'Concat');
  const line = joined?.input.length === 2 ? producerOf(model, joined.input[0], 'Reshape') : reshape;
  const gather = line && producerOf(model, line.input[0], 'Gather');
  const constantAt = (node: NodeProto | undefined, index: number) =>
    model.tensors.get(node?.input[index] ?? '');
  const [bytes, table] = [gather && castAt(model, gather.input[1]), constantAt(gather, 0)];
  const [shape, last] = [constantAt(reshape, 1), constantAt(joined, 1)];
  const isPair = bytes?.type === 'uint8' && table?.type === 'float32' && String(table.dims) === '256,2';
  if (!isPair || shape?.type !== 'int64' || (joined && last?.type !== 'float32')) return undefined;
  const dims = toIntegers(shape);
  const ends = last ? toFloat32(last) : [];
  const count = 2 * bytes.bytes.length + ends.length;
  if (dims.some((extent) => extent < 1) || elements(dims) !== count) return undefined;
  const steps = new Float32Array(count);
  const all = toFloat32(table);
  bytes.bytes.forEach((byte, i) => {
    steps.set(all.subarray(2 * byte, 2 * byte + 2), 2 * i);
  });
  steps.set(ends, count - ends.length);
  return { dims, steps };
}

/** The constant that a Cast reads. */
function castAt(model: Model, value: string): Tensor | undefined {
  const cast = producerOf(model, value, 'Cast');
  return cast && model.tensors.get(cast.input[0]);
}

function producerOf(model: Model, value: string, opType: string): NodeProto | undefined {
  const node = model.producer(value);
  return node?.opType === opType && isStandard(node) ? node : undefined;
}
