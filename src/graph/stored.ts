// The same model with fewer bytes: weights are stored as float16, or as int8 with a scale for each output, and made float32 where
// they are read, which engines do once, when they load it. Inputs, outputs and what is computed stay float32, so that whatever runs
// the one runs the other.

import { create } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { typeCode } from './dtype.ts';
import { removeUnread } from './fold.ts';
import type { Model } from './model.ts';
import { attributeInt, attributeOf, isStandard } from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import type { ModelOutline } from './stream.ts';
import { byteLength, elements, fromFloat32, type Tensor, toFloat32 } from './tensor.ts';

/** What weights can be stored as. */
export const STORED_TYPES = ['float16', 'int8'] as const;
/** One of {@link STORED_TYPES}. */
export type StoredType = (typeof STORED_TYPES)[number];

/** The largest number of float16. */
const LARGEST = 65504;
/** The largest of int8 whose negative there is too. */
const STEPS = 127;
/** What the nodes of a stored weight take of the file, at most: its name is in them eight times. */
const nodeBytes = ({ name }: Tensor) => 2 ** 7 + 8 * name.length;

/** A weight in its smaller form. */
interface Stored {
  /** Name, type and dims of the tensors that it becomes: the numbers, and their scales where there are any. */
  readonly parts: readonly Omit<Tensor, 'bytes'>[];
  /** Float32 again, under the weight's own name. */
  readonly nodes: readonly NodeProto[];
}

/** @throws {InputError} for a weight beyond float16 */
export function storeWeights(model: Model, type: StoredType): Model {
  const copy = model.clone();
  for (const [name, { parts }] of store(copy, type, () => true))
    for (const tensor of smaller(model.tensors.get(name)!, parts)) copy.tensors.set(tensor.name, tensor);
  return copy;
}

/** The same where weights come one by one. @throws {InputError} while it is gone through, for a weight beyond float16 */
export function storeOutline({ model, weights }: ModelOutline, type: StoredType): ModelOutline {
  // What has its bytes is no weight, but a table of positions or the like.
  const stored = store(model, type, ({ bytes }) => bytes.length === 0);
  return { model, weights: eachSmaller(weights, stored) };
}

async function* eachSmaller(
  weights: AsyncIterable<Tensor>,
  stored: ReadonlyMap<string, Stored>,
): AsyncGenerator<Tensor> {
  for await (const tensor of weights) {
    const parts = stored.get(tensor.name)?.parts;
    if (parts) yield* smaller(tensor, parts);
    else yield tensor;
  }
}

/** Puts the smaller forms, whose bytes are still to come, in the place of weights. */
function store(
  model: Model,
  type: StoredType,
  isWeight: (tensor: Tensor) => boolean,
): ReadonlyMap<string, Stored> {
  const stored = new Map<string, Stored>();
  for (const tensor of [...model.tensors.values()]) {
    if (!isWeight(tensor) || storedBytes(model, tensor, type) === undefined) continue;
    const it = type === 'int8' ? asIntegers(model, tensor) : asHalf(model, tensor);
    model.tensors.delete(tensor.name);
    for (const part of it.parts) model.tensors.set(part.name, { ...part, bytes: new Uint8Array() });
    stored.set(tensor.name, it);
  }
  const nodes = Array.from(stored.values(), (it) => it.nodes);
  model.graph.node = [...nodes.flat(), ...model.nodes];
  model.edited();
  return stored;
}

/**
 * Bytes that a constant takes as a function of its dims, once it is stored as this type; undefined where it stays as it is: biases and
 * the weights of norms are few.
 */
export function storedBytes(
  model: Model,
  tensor: Tensor,
  type: StoredType,
): ((dims: readonly number[]) => number) | undefined {
  if (tensor.type !== 'float32' || tensor.dims.length < 2) return undefined;
  const axis = type === 'int8' ? scaledAxis(model, tensor) : -1;
  if (axis === undefined) return undefined;
  const bytes = (dims: readonly number[]) =>
    byteLength(type, elements(dims)) + (axis < 0 ? 0 : 4 * dims[axis]) + nodeBytes(tensor);
  return bytes(tensor.dims) < byteLength(tensor.type, elements(tensor.dims)) ? bytes : undefined;
}

/** The axis of a weight that counts the outputs of the layer that reads it, or the rows of a table. */
function scaledAxis(model: Model, { name, dims }: Tensor): number | undefined {
  for (const { node, index } of model.uses(name)) {
    const layer = model.operator(node)?.layer;
    if (layer && index === 1) return node.opType === 'MatMul' ? dims.length - 1 : layer.outputAxis(node);
    if (isStandard(node) && node.opType === 'Gather' && index === 0 && attributeInt(node, 'axis', 0) === 0)
      return 0;
  }
  return undefined;
}

function asHalf(model: Model, { name, dims }: Tensor): Stored {
  const half = { name: model.fresh(`${name}.float16`), type: 'float16', dims } as const;
  return { parts: [half], nodes: [cast(model, half.name, name)] };
}

function asIntegers(model: Model, tensor: Tensor): Stored {
  const { name, dims } = tensor;
  const axis = scaledAxis(model, tensor);
  const integers = { name: model.fresh(`${name}.int8`), type: 'int8', dims } as const;
  const ones = dims.map((extent, i) => (i === axis ? extent : 1));
  const scale = { name: model.fresh(`${name}.scale`), type: 'float32', dims: ones } as const;
  const floats = model.fresh(`${name}.steps`);
  // DequantizeLinear would do the same in newer files alone, and in every run.
  const nodes = [cast(model, integers.name, floats), nodeOf(model, 'Mul', [floats, scale.name], name)];
  return { parts: [integers, scale], nodes };
}

function cast(model: Model, from: string, to: string): NodeProto {
  const node = nodeOf(model, 'Cast', [from], to);
  node.attribute = [attributeOf('to', typeCode('float32'))];
  return node;
}

function nodeOf(model: Model, opType: string, input: string[], output: string): NodeProto {
  const name = model.fresh(`${output}.${opType}`);
  return create(NodeProtoSchema, { name, opType, input, output: [output] });
}

/** The tensors that a weight becomes. */
function smaller(tensor: Tensor, [numbers, scale]: Stored['parts']): Tensor[] {
  const values = toFloat32(tensor);
  if (scale) return rounded(values, numbers, scale);
  const large = values.find((value) => Math.abs(value) > LARGEST);
  if (large !== undefined) throw new InputError(`weight "${tensor.name}": ${large} is beyond float16`);
  return [fromFloat32(values, tensor.dims, numbers)];
}

/** Steps of 1/127 of the largest weight of each output. */
function rounded(values: Float32Array, numbers: Stored['parts'][0], scale: Stored['parts'][0]): Tensor[] {
  const channelOf = channelIn(numbers.dims, scale.dims);
  const scales = new Float32Array(elements(scale.dims));
  for (let i = 0; i < values.length; i++)
    scales[channelOf(i)] = Math.max(scales[channelOf(i)], Math.abs(values[i]));
  for (let c = 0; c < scales.length; c++) scales[c] = scales[c] / STEPS || 1;
  const steps = Int8Array.from(values, (value, i) =>
    Math.max(-STEPS, Math.min(STEPS, Math.round(value / scales[channelOf(i)]))),
  );
  return [
    { ...numbers, bytes: new Uint8Array(steps.buffer) },
    fromFloat32(scales, scale.dims, { name: scale.name, type: 'float32' }),
  ];
}

/** Which of the scales along one axis, of extents 1 but for that, the i-th number of a tensor has. */
function channelIn(dims: readonly number[], scales: readonly number[]): (i: number) => number {
  const inner = elements(dims.slice(scales.findIndex((extent) => extent > 1) + 1));
  const channels = elements(scales);
  return (i) => Math.floor(i / inner) % channels;
}

/** The model with float32 weights in the place of int8 and their scales. */
export function floatWeights(model: Model): Model {
  const floats = new Map<NodeProto, Tensor>();
  for (const node of model.nodes) {
    const tensor = scaled(model, node);
    if (tensor) floats.set(node, tensor);
  }
  if (floats.size === 0) return model;
  const copy = model.clone();
  copy.remove(new Set(Array.from(floats.keys(), ({ name }) => copy.node(name)!)));
  removeUnread(
    copy,
    Array.from(floats.keys(), ({ input }) => input[0]),
  );
  for (const tensor of floats.values()) copy.tensors.set(tensor.name, tensor);
  return copy;
}

/** What a Mul makes of a Cast of int8 and of scales along one axis. */
function scaled(model: Model, node: NodeProto): Tensor | undefined {
  if (node.opType !== 'Mul' || !isStandard(node) || model.isOutput(node.output[0])) return undefined;
  const cast = model.producer(node.input[0]);
  const isCast = cast?.opType === 'Cast' && isStandard(cast);
  const integers = isCast ? model.tensors.get(cast.input[0]) : undefined;
  const scale = model.tensors.get(node.input[1]);
  if (integers?.type !== 'int8' || scale?.type !== 'float32') return undefined;
  const { dims } = integers;
  const along = scale.dims.flatMap((extent, axis) => (extent > 1 ? [axis] : []));
  const isAlong = along.every((axis) => scale.dims[axis] === dims[axis]);
  if (scale.dims.length !== dims.length || along.length > 1 || !isAlong) return undefined;
  const channelOf = channelIn(dims, scale.dims);
  const scales = toFloat32(scale);
  const steps = new Int8Array(integers.bytes.buffer, integers.bytes.byteOffset, integers.bytes.length);
  const values = Float32Array.from(steps, (step, i) => step * scales[channelOf(i)]);
  return fromFloat32(values, dims, { name: node.output[0], type: 'float32' });
}
