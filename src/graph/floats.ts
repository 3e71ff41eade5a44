// Float weights again of those that are stored as fewer bytes (stored.ts), by this library or by others.

import { unpackBlocks, unpackBnb4 } from './blocks.ts';
import { type FloatType, isFloat, typeFromCode } from './dtype.ts';
import { removeUnread } from './fold.ts';
import type { Model } from './model.ts';
import { attributeInt, isStandard, MICROSOFT, transposeOrder } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { channelIn } from './steps.ts';
import { nodeOf, readsRows, STORED_TYPES, type StoredType, scaledIntegers } from './stored.ts';
import { elements, fromFloat32, mapped, sum, type Tensor, toFloat32, toIntegers } from './tensor.ts';

/** The model with float weights in the place of int8 and int4 and their scales, and of what a MatMulNBits multiplies with. */
export function floatWeights(model: Model): Model {
  const copy = model.clone();
  wholeTables(copy);
  const floats = new Map<NodeProto, Tensor>();
  for (const node of copy.nodes) {
    const tensor = scaled(copy, node) ?? turned(copy, node);
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

/** The part of all weights that a type has to have, beside larger ones: tables are in more bits than what is multiplied with. */
const GOOD_PART = 1 / 8;

/** What most of a model's weights are stored as, by this library or by others; undefined where most are as they are computed with. */
export function storedType(model: Model): StoredType | undefined {
  const counts = new Map<StoredType | undefined, number>();
  for (const tensor of model.tensors.values()) {
    const [type, count] = weightsIn(model, tensor);
    counts.set(type, (counts.get(type) ?? 0) + count);
  }
  const all = sum([...counts.values()]);
  if (2 * (counts.get(undefined) ?? 0) >= all) return undefined;
  return STORED_TYPES.findLast((type) => (counts.get(type) ?? 0) >= GOOD_PART * all);
}

/** How many weights a constant holds, and as what. */
function weightsIn(model: Model, { name, type, dims }: Tensor): [StoredType | undefined, number] {
  const uses = model.uses(name);
  const [{ node, index } = {}] = uses;
  if (node && isProduct(node) && index === 1) {
    const [inputs, outputs, bits] = ['K', 'N', 'bits'].map((key) => attributeInt(node, key, 4));
    return [bits > 4 ? 'q8' : 'q4', inputs * outputs];
  }
  const count = elements(dims);
  if (/^u?int4$/.test(type)) return ['int4', count];
  if (/^u?int8$/.test(type)) return node && isPicked(model, node) ? ['int4', 2 * count] : ['int8', count];
  const areCast = uses.length > 0 && uses.every(({ node }) => node.opType === 'Cast');
  if (type === 'float16' && areCast) return ['float16', count];
  return [undefined, isFloat(type) ? count : 0];
}

/** Whether a Cast makes places in a table, of pairs of four bits, of what it reads. */
const isPicked = (model: Model, { opType, output }: NodeProto) =>
  opType === 'Cast' &&
  model.uses(output[0]).some(({ node, index }) => node.opType === 'Gather' && index === 1);

/** Reads rows of a table that is made floats as a whole, where `readRows` makes floats of them, and makes scores with it. */
function wholeTables(model: Model): void {
  const tables = new Map<string, string>();
  const made: NodeProto[] = [];
  for (const { opType, input, output } of model.nodes) {
    const numbers = opType === 'Mul' ? numbersAt(model, input[0]) : undefined;
    if (numbers && model.tensors.has(numbers.name)) tables.set(keyOf(numbers.name, input[1]), output[0]);
  }
  const unread: string[] = [];
  for (const node of model.nodes) {
    const rows = rowsAt(model, node);
    if (!rows) continue;
    const { gather, numbers, scale, zero } = rows;
    const key = keyOf(numbers, scale);
    let table = tables.get(key);
    if (table === undefined) {
      table = model.fresh(numbers.replace(/\.u?int8$/, ''));
      made.push(...scaledIntegers(model, numbers, model.tensors.get(scale)!, table, zero));
      tables.set(key, table);
    }
    unread.push(...node.input);
    const { name, attribute, input } = gather;
    gather.name = node.name;
    Object.assign(node, { name, opType: 'Gather', input: [table, input[1]], attribute });
  }
  if (unread.length === 0) return;
  for (const node of model.nodes) {
    const table = tables.get(scoresAt(model, node) ?? '');
    if (table === undefined) continue;
    unread.push(...node.input);
    const turned = model.fresh(`${table}.turned`);
    made.push(nodeOf(model, 'Transpose', [table], turned));
    asMatMul(node, turned);
  }
  model.graph.node = [...made, ...model.nodes];
  model.edited();
  removeUnread(model, unread);
}

const keyOf = (numbers: string, scale: string) => JSON.stringify([numbers, scale]);

/** What a Mul multiplies that gives rows of a table: what Gathers read of its numbers and of their scales at the same places. */
function rowsAt(model: Model, node: NodeProto) {
  const rows = node.opType === 'Mul' && isStandard(node) && numbersAt(model, node.input[0]);
  const gather = rows && producerOf(model, rows.name, 'Gather');
  const scales = gather && producerOf(model, node.input[1], 'Gather');
  if (!scales || gather.input[1] !== scales.input[1] || !readsRows(gather) || !readsRows(scales))
    return undefined;
  const [numbers, scale] = [gather, scales].map(({ input }) => model.tensors.get(input[0]));
  const isScaled = numbers?.dims.length === scale?.dims.length && numbers?.dims[0] === scale?.dims[0];
  if (!isScaled || !numbers || !scale || !isWhole(numbers, rows.zero)) return undefined;
  return { gather, numbers: numbers.name, scale: scale.name, zero: rows.zero?.name };
}

/** The key of the table that a MatMulNBits makes scores with (`asScores`). */
function scoresAt(model: Model, node: NodeProto): string | undefined {
  if (node.opType !== 'MatMulNBits' || node.domain !== MICROSOFT) return undefined;
  const reshape = producerOf(model, node.input[1], 'Reshape');
  const expand = producerOf(model, node.input[2], 'Expand');
  const isOrdered = node.input.slice(3).some(Boolean) || attributeInt(node, 'bits', 4) !== 8;
  return reshape && expand && !isOrdered ? keyOf(reshape.input[0], expand.input[0]) : undefined;
}

/** What multiplies with weights of few bits in blocks. */
const isProduct = ({ opType, domain }: NodeProto) => domain === MICROSOFT && Object.hasOwn(PRODUCTS, opType);
const PRODUCTS: Readonly<Record<string, typeof unpackBlocks>> = {
  MatMulNBits: unpackBlocks,
  MatMulBnb4: unpackBnb4,
};

/** Makes each of them a MatMul, and an Add of its bias. @returns constants that they had */
function plainProducts(model: Model): string[] {
  const weights = new Map<string, string>();
  const constants: string[] = [];
  model.graph.node = model.nodes.flatMap((node) => {
    if (!isProduct(node)) return [node];
    const [, ...own] = node.input;
    const shape = ['K', 'N', 'bits', 'block_size', 'quant_type'].map((name) => attributeInt(node, name, -1));
    const key = JSON.stringify([node.opType, ...own.slice(0, 3), shape]);
    const weight = weights.get(key) ?? model.fresh((own[0] ?? '').replace(/\.int[48]$/, ''));
    if (!weights.has(key)) {
      const tensor = PRODUCTS[node.opType](model, node, weight);
      if (!tensor) return [node];
      model.tensors.set(weight, tensor);
      weights.set(key, weight);
    }
    constants.push(...own);
    const [, , , , bias] = own;
    const [output] = node.output;
    const product = bias ? model.fresh(`${output}.product`) : output;
    asMatMul(node, weight);
    node.output = [product];
    return bias ? [node, nodeOf(model, 'Add', [product, bias], output)] : [node];
  });
  model.edited();
  return constants;
}

function asMatMul(node: NodeProto, weight: string): void {
  Object.assign(node, { opType: 'MatMul', domain: '', input: [node.input[0], weight], attribute: [] });
}

/** What a Mul makes of whole numbers and of scales along one axis. */
function scaled(model: Model, node: NodeProto): Tensor | undefined {
  if (node.opType !== 'Mul' || !isStandard(node) || model.isOutput(node.output[0])) return undefined;
  const numbers = integersAt(model, node.input[0]) ?? pairsAt(model, node.input[0]);
  const scale = model.tensors.get(node.input[1]);
  if (!numbers || scale?.type !== numbers.type) return undefined;
  const { dims, steps } = numbers;
  const along = scale.dims.flatMap((extent, axis) => (extent > 1 ? [axis] : []));
  const isAlong = along.every((axis) => scale.dims[axis] === dims[axis]);
  if (scale.dims.length !== dims.length || along.length > 1 || !isAlong) return undefined;
  const channelOf = channelIn(dims, scale.dims);
  const scales = toFloat32(scale);
  const values = mapped(Float32Array, steps, (step, i) => step * scales[channelOf(i)]);
  return fromFloat32(values, dims, { name: node.output[0], type: scale.type });
}

/** Whole numbers of a weight, and the floats that they are made. */
interface Steps {
  readonly type: FloatType;
  readonly dims: readonly number[];
  readonly steps: ArrayLike<number>;
}

/** A constant of int8 as floats, or of uint8 less what it is above. */
function integersAt(model: Model, value: string): Steps | undefined {
  const numbers = numbersAt(model, value);
  const integers = model.tensors.get(numbers?.name ?? '');
  const type = numbers?.type;
  if (!type || !integers || !isWhole(integers, numbers.zero)) return undefined;
  const { bytes, dims } = integers;
  if (integers.type === 'int8')
    return { type, dims, steps: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length) };
  const [zero] = toFloat32(numbers.zero!);
  return { type, dims, steps: mapped(Float32Array, bytes, (byte) => byte - zero) };
}

/** What is made floats, and the constant that is then taken away. */
function numbersAt(model: Model, value: string) {
  const less = producerOf(model, value, 'Sub');
  const zero = model.tensors.get(less?.input[1] ?? '');
  const cast = producerOf(model, less?.input[0] ?? value, 'Cast');
  if (!cast || (less && !zero)) return undefined;
  const type = typeFromCode(attributeInt(cast, 'to', 0));
  return { name: cast.input[0], zero, type: type && isFloat(type) ? type : undefined };
}

const isWhole = ({ type }: Tensor, zero: Tensor | undefined) =>
  zero ? type === 'uint8' && isFloat(zero.type) && elements(zero.dims) === 1 : type === 'int8';

/** What `asPairs` makes. */
function pairsAt(model: Model, value: string): Steps | undefined {
  const reshape = producerOf(model, value, 'Reshape');
  const joined = reshape && producerOf(model, reshape.input[0], 'Concat');
  const line = joined?.input.length === 2 ? producerOf(model, joined.input[0], 'Reshape') : reshape;
  const pairs = line && pickedAt(model, line.input[0]);
  const dims = reshape && integersIn(model, reshape.input[1]);
  const last = model.tensors.get(joined?.input[1] ?? '');
  if (!pairs || !dims || (joined && last?.type !== pairs.type)) return undefined;
  const ends = last ? toFloat32(last) : [];
  const steps = new Float32Array(pairs.steps.length + ends.length);
  steps.set(pairs.steps);
  steps.set(ends, pairs.steps.length);
  const isWhole = dims.every((extent) => extent > 0) && elements(dims) === steps.length;
  return isWhole ? { type: pairs.type, dims, steps } : undefined;
}

/** What `asBlocks` makes. */
function turned(model: Model, node: NodeProto): Tensor | undefined {
  if (node.opType !== 'Transpose' || !isStandard(node) || model.isOutput(node.output[0])) return undefined;
  const cut = producerOf(model, node.input[0], 'Slice');
  const reshape = producerOf(model, (cut ?? node).input[0], 'Reshape');
  const product = reshape && producerOf(model, reshape.input[0], 'Mul');
  const pairs = product && pickedAt(model, product.input[0]);
  if (pairs?.dims.length !== 4) return undefined;
  const [outputs, blocks, bytes] = pairs.dims;
  const line = blocks * bytes * 2;
  const scale = model.tensors.get(product!.input[1]);
  const bounds = cut?.input.slice(1).flatMap((it) => integersIn(model, it) ?? []) ?? [0, line, 1];
  const [, inputs] = bounds;
  const found = [integersIn(model, reshape!.input[1]), scale?.dims, bounds, transposeOrder(node, 2)];
  const made = [
    [outputs, line],
    [outputs, blocks, 1, 1],
    [0, inputs, 1],
    [1, 0],
  ];
  const isMade = JSON.stringify(found) === JSON.stringify(made) && inputs > 0 && inputs <= line;
  if (!isMade || scale?.type !== pairs.type) return undefined;
  const scales = toFloat32(scale);
  const values = new Float32Array(inputs * outputs);
  for (let output = 0; output < outputs; output++)
    for (let input = 0; input < inputs; input++) {
      const at = output * line + input;
      values[input * outputs + output] = pairs.steps[at] * scales[Math.floor(at / (2 * bytes))];
    }
  return fromFloat32(values, [inputs, outputs], { name: node.output[0], type: scale.type });
}

/** What a Gather picks from a table of pairs, one for each byte. */
function pickedAt(model: Model, value: string): Steps | undefined {
  const gather = producerOf(model, value, 'Gather');
  const bytes = gather && castAt(model, gather.input[1]);
  const table = model.tensors.get(gather?.input[0] ?? '');
  const isPair = bytes?.type === 'uint8' && String(table?.dims) === '256,2';
  if (!isPair || !table || !isFloat(table.type) || attributeInt(gather!, 'axis', 0) !== 0) return undefined;
  const all = toFloat32(table);
  const steps = new Float32Array(2 * bytes.bytes.length);
  bytes.bytes.forEach((byte, i) => {
    steps.set(all.subarray(2 * byte, 2 * byte + 2), 2 * i);
  });
  return { type: table.type, dims: [...bytes.dims, 2], steps };
}

/** The numbers of a constant of int64. */
function integersIn(model: Model, name: string): number[] | undefined {
  const tensor = model.tensors.get(name);
  return tensor?.type === 'int64' ? toIntegers(tensor) : undefined;
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
