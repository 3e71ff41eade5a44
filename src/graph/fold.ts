// Nodes that the weights of a layer can take in: BatchNormalization in inference form, which is a scale and a shift per
// channel, factors of channels before a sum, and a Transpose, a Cast or an Identity that the weights are read through.

import { toBinary } from '@bufbuild/protobuf';
import { bitsOf, isFloat, typeCode } from './dtype.ts';
import type { Use } from './graph.ts';
import type { Model } from './model.ts';
import {
  attribute,
  attributeFloat,
  attributeInt,
  captured,
  copyMessage,
  isRandom,
  isStandard,
  reads,
  removeAttribute,
  transposeOrder,
} from './node.ts';
import { type AttributeProto, AttributeProtoSchema, type NodeProto } from './onnx_pb.ts';
import type { Layer } from './operators/operator.ts';
import { elements, fromFloat32, isOrder, permute, type Tensor, toFloat64, toIntegers } from './tensor.ts';
import { ownTensor, setBias } from './weights.ts';
import { decodeTensor } from './wire.ts';

/**
 * A copy of the model in which each BatchNormalization that is the only reader of a Conv, a Gemm or another linear
 * layer with a bias of its own is folded into it:
 *
 *     s = scale / √(var + ε)      W' = s·W      b' = s·(b − mean) + shift
 *
 * computed in float64 and rounded once to the type of the weights.
 */
export function foldBatchNormalization(model: Model): Model {
  return withoutTaken(model, (folded, norm) => {
    const layer = foldable(folded, norm);
    if (layer) fold(folded, layer, norm);
    return layer !== undefined;
  });
}

/** A copy without the nodes that a layer takes in. @param take  has it done, where it can be */
function withoutTaken(model: Model, take: (folded: Model, node: NodeProto) => boolean): Model {
  const folded = model.clone();
  folded.remove(new Set(folded.nodes.filter((node) => take(folded, node))));
  return folded;
}

type Foldable = NonNullable<ReturnType<typeof foldable>>;

/** The layer that can take this node in, and the input of its bias; undefined if there is none. */
function foldable(model: Model, norm: NodeProto) {
  if (norm.opType !== 'BatchNormalization' || !isStandard(norm)) return undefined;
  if (attributeInt(norm, 'training_mode', 0) !== 0 || norm.output.filter(Boolean).length !== 1)
    return undefined;
  const [input] = norm.input;
  const node = madeForOne(model, input);
  const layer = node && model.operator(node)?.layer;
  if (!node || !layer?.isLinear || layer.bias === undefined) return undefined;
  const weight = model.tensors.get(node.input[1]);
  // Other nodes with the same weights may have other scales: they would have weights of their own from then on.
  if (!weight || !isFloat(weight.type) || isShared(model, weight)) return undefined;
  const channels = weight.dims[layer.outputAxis(node)];
  const perChannel = (name: string) => {
    const tensor = model.tensors.get(name);
    return tensor && isFloat(tensor.type) && tensor.dims.length === 1 && tensor.dims[0] === channels;
  };
  if (norm.input.length !== 5 || !norm.input.slice(1).every(perChannel)) return undefined;
  const bias = node.input[layer.bias];
  return !bias || perChannel(bias) ? { node, layer, bias: layer.bias } : undefined;
}

function fold(model: Model, { node, layer, bias }: Foldable, norm: NodeProto): void {
  const valuesOf = (name: string) => toFloat64(model.tensors.get(name)!);
  const [scale, shift, mean, variance] = norm.input.slice(1).map(valuesOf);
  const epsilon = attributeFloat(norm, 'epsilon', 1e-5);
  const s = scale.map((value, i) => value / Math.sqrt(variance[i] + epsilon));

  scaleWeights(model, node, layer, s);
  const beta = layer.factors ? attributeFloat(node, layer.factors.bias, 1) : 1;
  if (layer.factors) removeAttribute(node, layer.factors.bias);
  const old = node.input[bias] ? valuesOf(node.input[bias]) : new Float64Array(s.length);
  const b = s.map((value, i) => value * (beta * old[i] - mean[i]) + shift[i]);
  setBias(model, [{ node, index: bias }], b);

  // The layer now computes the value that the normalisation did, so its readers need not change.
  model.setOutput(node, 0, norm.output[0]);
}

/** W ← s·W, by the channels that a layer makes. */
function scaleWeights(model: Model, node: NodeProto, layer: Layer, s: Float64Array): void {
  const weight = ownTensor(model, [{ node, index: 1 }]);
  const inner = elements(weight.dims.slice(layer.outputAxis(node) + 1));
  const W = toFloat64(weight).map((value, i) => value * s[Math.floor(i / inner) % s.length]);
  model.tensors.set(weight.name, fromFloat32(W, weight.dims, weight));
}

/**
 * A copy of the model in which the factors of channels that stand between a layer and the sum with its shortcut (LayerScale) are folded
 * into the layer, W and b: what a layer adds to a sum is told by what reads it.
 */
export function foldScales(model: Model): Model {
  return withoutTaken(model, (folded, mul) => {
    const found = scaled(folded, mul);
    if (!found) return false;
    const { node, layer, bias, s, value } = found;
    scaleWeights(folded, node, layer, s);
    if (bias) {
      const b = toFloat64(folded.tensors.get(bias.node.input[bias.index])!).map((old, i) => old * s[i]);
      setBias(folded, [bias], b);
    }
    folded.redirect(mul.output[0], value);
    return true;
  });
}

/** The layer, and where its bias is, whose channels a Mul takes by a constant each on their way to a sum; undefined where there is none. */
function scaled(model: Model, mul: NodeProto) {
  if (mul.opType !== 'Mul' || !isStandard(mul) || !addsTo(model, mul.output[0])) return undefined;
  const factors = constantIn(model, mul);
  if (!factors) return undefined;
  const value = mul.input[1 - factors.index];
  let node = madeForOne(model, value);
  const add = node?.opType === 'Add' && isStandard(node) ? constantIn(model, node) : undefined;
  if (add) node = madeForOne(model, add.node.input[1 - add.index]);
  const layer = node && model.operator(node)?.layer;
  const weight = node && model.tensors.get(node.input[1] ?? '');
  if (!node || !layer?.isLinear || layer.isStacked || layer.isInner) return undefined;
  // LayerScale is small: float16 would lose bits of the weights.
  if (weight?.type !== 'float32' || isShared(model, weight)) return undefined;
  const own = layer.bias !== undefined && node.input[layer.bias] ? { node, index: layer.bias } : undefined;
  if (own && add) return undefined;
  const bias = own ?? add;
  const channels = weight.dims[layer.outputAxis(node)];
  // Channels are the last axis of rows, the second of images, as many as W has extents.
  const place = 1 - weight.dims.length;
  const isOfChannels = (tensor: Tensor | undefined, at: number) =>
    tensor?.type === 'float32' && elements(tensor.dims) === channels && tensor.dims.at(at) === channels;
  const s = model.tensors.get(mul.input[factors.index])!;
  const b = bias && model.tensors.get(bias.node.input[bias.index]);
  if (!isOfChannels(s, place) || (bias && !isOfChannels(b, own ? -1 : place))) return undefined;
  return { node, layer, bias, s: toFloat64(s), value };
}

/** Whether all that reads a value is an Add with another one. */
function addsTo(model: Model, value: string): boolean {
  const [use, ...more] = model.uses(value);
  if (!use || use.index < 0 || more.length > 0 || model.isOutput(value)) return false;
  const { node } = use;
  return node.opType === 'Add' && isStandard(node) && !constantIn(model, node);
}

/** Where a node of two inputs reads a constant. */
function constantIn(model: Model, node: NodeProto): Use | undefined {
  const index = node.input.findIndex((value) => model.tensors.has(value));
  return index < 0 ? undefined : { node, index };
}

/** The node that makes a value which one node reads and nothing else. */
function madeForOne(model: Model, value: string): NodeProto | undefined {
  return model.uses(value).length === 1 && !model.isOutput(value) ? model.producer(value) : undefined;
}

/**
 * A copy of the model without Transpose of constants that nothing else reads: a second copy of a tied embedding would
 * only make the file larger. Nor has it Casts of such constants from half or double precision to float32, Identity of constants, which exporters share equal weights by, lists of
 * whole numbers that are only laid out again, and biases and first states of zeros: made from one shape for all layers, these would tie the units of all, for which those of unrolled layers are made for each of them. Recurrent layers of which only the last step is read give
 * all of them, which are what they read of themselves.
 */
export function foldConstants(model: Model): Model {
  const folded = model.clone();
  dropNodes(folded, ({ opType, input: [value] }) => (opType === 'Identity' ? value : undefined));
  mergeAlike(folded);
  dropNodes(folded, (node) => {
    const tensor = folded.tensors.get(node.input[0]);
    const args = tensor && ([folded, node, tensor] as const);
    const made = args && (transposed(...args) ?? single(...args) ?? listed(...args));
    if (made) folded.tensors.set(made.name, made);
    return made?.name;
  });
  dropZeros(folded);
  partZeros(folded);
  nameSteps(folded);
  openEnds(folded);
  return folded;
}

/**
 * A copy of the model without the CastLike nodes that change no type, as PyTorch writes them before what it knows the type of.
 *
 * @param types  of its values
 */
export function withoutCasts(model: Model, types: ReadonlyMap<string, string>): Model {
  const typeOf = (value: string) => model.tensors.get(value)?.type ?? types.get(value);
  const isCopy = ({ opType, input: [value, like] }: NodeProto) =>
    opType === 'CastLike' && typeOf(value) !== undefined && typeOf(value) === typeOf(like);
  if (!model.nodes.some(isCopy)) return model;
  const copy = model.clone();
  dropNodes(copy, (node) => (isCopy(node) ? node.input[0] : undefined));
  return copy;
}

/**
 * A copy of the model in which what layers take of the same weights by the same numbers is taken once.
 *
 * @param counts  values that are the same in every run of this model
 */
export function takenOnce(model: Model, counts: readonly Tensor[]): Model {
  const copy = model.clone();
  mergeAlike(copy, counts);
  return copy;
}

/** Removes Identity of constants. */
export function dropIdentities(model: Model): void {
  dropNodes(model, ({ opType, input: [value] }) =>
    opType === 'Identity' && model.tensors.has(value) ? value : undefined,
  );
}

/** Has what reads the output of a node read what is the same `instead`, where nothing knows this output by name. */
function dropNodes(model: Model, instead: (node: NodeProto) => string | undefined): void {
  const gone = new Set<NodeProto>();
  for (const node of model.nodes) {
    const [output] = node.output;
    if (!isStandard(node) || !node.input[0] || model.isOutput(output)) continue;
    if (model.uses(output).some(({ index }) => index < 0)) continue; // a graph inside a node names the value
    const same = instead(node);
    if (same === undefined) continue;
    model.redirect(output, same);
    gone.add(node);
  }
  model.remove(gone);
}

/** Inputs of layers that are zero where they are left out: first states, and biases, which PyTorch puts together of zeros where there are none. */
const ZEROS: ReadonlyMap<string, readonly number[]> = new Map([
  ['LSTM', [5, 6]],
  ['GRU', [5]],
  ['RNN', [5]],
  ['Conv', [2]],
  ['ConvTranspose', [2]],
]);

const RECURRENT: ReadonlySet<string> = new Set(['LSTM', 'GRU', 'RNN']);

function dropZeros(model: Model): void {
  const dropped = new Map<string, boolean>();
  for (const node of model.nodes) {
    const inputs = (isStandard(node) && ZEROS.get(node.opType)) || [];
    for (const index of inputs) {
      const value = node.input[index];
      // a bias that is a constant can be solved for
      if (!value || (model.tensors.has(value) && !RECURRENT.has(node.opType))) continue;
      if (!dropped.has(value)) dropped.set(value, isZero(model, value));
      if (dropped.get(value)) model.setInput(node, index, '');
    }
  }
  removeUnread(model, [...dropped.keys()]);
}

/** Zeros that pieces are taken from, as the first states of unrolled layers from those of all, are made for each piece. */
function partZeros(model: Model): void {
  const isMove = ({ node, index }: Use) => index === 0 && isStandard(node) && MOVES.has(node.opType);
  const made = new Map<NodeProto, NodeProto[]>();
  for (const node of model.nodes) {
    const [value, ...others] = node.output;
    const [first, ...more] = model.uses(value);
    if (!first || more.length === 0 || others.length > 0 || model.isOutput(value)) continue;
    if (![first, ...more].every(isMove) || !isZero(model, value)) continue;
    const copies = more.map((use) => {
      const output = model.fresh(value);
      model.setInput(use.node, use.index, output);
      return Object.assign(copyMessage(node), {
        name: model.fresh(`${node.name}.${output}`),
        output: [output],
      });
    });
    made.set(node, copies);
  }
  if (made.size === 0) return;
  model.graph.node = model.nodes.flatMap((node) => [node, ...(made.get(node) ?? [])]);
  model.edited();
}

function nameSteps(model: Model): void {
  for (const node of model.nodes) {
    const isRecurrent = isStandard(node) && RECURRENT.has(node.opType);
    if (isRecurrent && !node.output[0]) model.setOutput(node, 0, model.fresh(`${node.name}.steps`));
  }
}

/** An end beyond every extent. */
const END = 2 ** 31 - 1;

/** Slices that end at the number of all elements, as PyTorch writes a roll, go as far as there are any. */
function openEnds(model: Model): void {
  const ends: string[] = [];
  for (const node of model.nodes) {
    const [data, , end = ''] = node.input;
    let size = model.producer(end);
    if (size?.opType === 'Reshape') size = model.producer(size.input[0]);
    if (node.opType !== 'Slice' || size?.opType !== 'Size' || size.input[0] !== data) continue;
    model.setInput(node, 2, model.integers(end, [END]));
    ends.push(end);
  }
  removeUnread(model, ends);
}

/** Operators that only move or repeat elements, or give them another type. */
const MOVES = new Set([
  'Cast',
  'CastLike',
  'Expand',
  'Slice',
  'Gather',
  'Squeeze',
  'Unsqueeze',
  'Reshape',
  'Transpose',
  'Identity',
  'Tile',
]);

/** Whether all elements of a value are zero, as far as constants tell. */
function isZero(model: Model, value: string): boolean {
  const isNothing = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);
  let source = value;
  let node = model.producer(source);
  while (node && isStandard(node) && MOVES.has(node.opType)) {
    source = node.input[0];
    node = model.producer(source);
  }
  const constant = model.tensors.get(source);
  if (constant) return isFloat(constant.type) && isNothing(constant.bytes);
  if (!node || !isStandard(node) || node.opType !== 'ConstantOfShape') return false;
  const filling = attribute(node, 'value')?.t;
  return !filling || isNothing(decodeTensor(filling, node.name).bytes);
}

/** Removes the nodes that only led to values which nothing reads any more. */
export function removeUnread(model: Model, values: readonly string[]): void {
  const gone = new Set<NodeProto>();
  const isRead = (output: string) =>
    model.isOutput(output) || model.uses(output).some(({ node }) => !gone.has(node));
  const pending = [...values];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const node = model.producer(value);
    if (!node || gone.has(node) || node.output.some(isRead)) continue;
    gone.add(node);
    for (const input of reads(node)) pending.push(input);
  }
  model.remove(gone);
}

/** Bytes of numbers that nodes take parts by, or lay out by: larger tensors are told apart by their names. */
const LONGEST_LIST = 512;

/**
 * Leaves one of nodes that compute the same of the same constants, as exporters write what is made of weights once for each use.
 *
 * @param known  values that are taken for constants
 */
function mergeAlike(model: Model, known: readonly Tensor[] = []): void {
  const gone = new Set<NodeProto>();
  const first = new Map<string, NodeProto>();
  const made = new Set<string>();
  const counts = new Map(known.map((tensor) => [tensor.name, tensor]));
  const isMade = (value: string) => model.tensors.has(value) || counts.has(value) || made.has(value);
  const contentOf = (value: string) => {
    const tensor = counts.get(value) ?? model.tensors.get(value);
    const isList = tensor?.type === 'int64' && tensor.bytes.byteLength <= LONGEST_LIST;
    return isList ? [tensor.dims, ...tensor.bytes] : value;
  };
  for (const node of model.nodes) {
    const inputs = node.input.filter((value) => value !== '');
    if (!isStandard(node) || isRandom(node) || inputs.length === 0 || !inputs.every(isMade)) continue;
    const [output, ...others] = node.output;
    const isNamed = model.isOutput(output) || model.uses(output).some(({ index }) => index < 0);
    if (isNamed || others.length > 0 || captured(node).length > 0) continue;
    const key = JSON.stringify([node.opType, node.input.map(contentOf), node.attribute.map(textOf).sort()]);
    const alike = first.get(key);
    if (alike) {
      model.redirect(output, alike.output[0]);
      gone.add(node);
    } else {
      first.set(key, node);
      made.add(output);
    }
  }
  model.remove(gone);
  removeUnread(model, [...gone].flatMap(reads));
}

const textOf = (attribute: AttributeProto) =>
  new TextDecoder('latin1').decode(toBinary(AttributeProtoSchema, attribute));

const isShared = (model: Model, { name }: Tensor) => model.uses(name).length > 1 || model.isOutput(name);

/** What a Cast makes of floating-point numbers of another type. */
function single(model: Model, node: NodeProto, tensor: Tensor): Tensor | undefined {
  const isSingle = node.opType === 'Cast' && attributeInt(node, 'to', 0) === typeCode('float32');
  if (!isSingle || !isFloat(tensor.type) || isShared(model, tensor)) return undefined;
  return fromFloat32(toFloat64(tensor), tensor.dims, { name: node.output[0], type: 'float32' });
}

/** Whole numbers in another list, or of the same type, as PyTorch writes axes. */
function listed(model: Model, node: NodeProto, tensor: Tensor): Tensor | undefined {
  if (isFloat(tensor.type)) return undefined;
  const [name] = node.output;
  if (node.opType === 'Cast' && attributeInt(node, 'to', 0) === typeCode(tensor.type))
    return { ...tensor, name };
  const shape = node.opType === 'Reshape' ? model.tensors.get(node.input[1] ?? '') : undefined;
  const [length, ...more] = shape ? toIntegers(shape) : [];
  const count = elements(tensor.dims);
  const isList = more.length === 0 && (length === -1 || length === count);
  return isList ? { ...tensor, dims: [count], name } : undefined;
}

function transposed(model: Model, node: NodeProto, tensor: Tensor): Tensor | undefined {
  if (node.opType !== 'Transpose' || isShared(model, tensor) || bitsOf(tensor.type) < 8) return undefined;
  const order = transposeOrder(node, tensor.dims.length);
  return isOrder(order, tensor.dims.length) ? { ...permute(tensor, order), name: node.output[0] } : undefined;
}
