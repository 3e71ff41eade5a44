// The same model with fewer bytes: weights are stored as float16, or as int8 or int4 with scales, and made floats where they are read,
// which engines do once, when they load it. Inputs, outputs and what is computed stay of the type they had, float32 or float16, so that
// whatever runs the one runs the other. Only q8 and q4 have another operator, that multiplies with what is stored, for those runtimes
// that are made for it.

import { create } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { blockOf, isFactor, packBlocks, scaleIn } from './blocks.ts';
import { type DataType, typeCode } from './dtype.ts';
import type { Model } from './model.ts';
import { attributeInt, attributeOf, isStandard, MICROSOFT, transposeOrder } from './node.ts';
import { type AttributeProto, type NodeProto, NodeProtoSchema, OperatorSetIdProtoSchema } from './onnx_pb.ts';
import { along, channelIn, largestOf, nearestSteps, type OnSteps, STEPS, scaledAxis } from './steps.ts';
import type { ModelOutline } from './stream.ts';
import { byteLength, elements, fromFloat32, mapped, sum, type Tensor, toFloat32 } from './tensor.ts';

/** What weights can be stored as: q8 and q4 are int8 and int4 whose MatMuls are computed in eight and four bits. */
export const STORED_TYPES = ['float16', 'int8', 'int4', 'q8', 'q4'] as const;
/** One of {@link STORED_TYPES}. */
export type StoredType = (typeof STORED_TYPES)[number];

/** What can be asked for: float32 is for weights as the network computes with them. */
export const WEIGHT_TYPES = ['float32', ...STORED_TYPES] as const;
/** One of {@link WEIGHT_TYPES}. */
export type WeightType = (typeof WEIGHT_TYPES)[number];

/** What weights are stored as, where it is not what the network computes with. @param own  what the source has, which is kept where nothing is asked for */
export const storedAs = (asked?: WeightType, own?: StoredType): StoredType | undefined =>
  asked === 'float32' ? undefined : (asked ?? own);

/** Whether weights that are stored so have four bits, and are fitted to the calibration samples for it, in a pass of its own. */
export const isFitted = (type?: string): type is 'int4' | 'q4' => type === 'int4' || type === 'q4';

/** The type of their numbers, of q8 and q4 in blocks that share a scale. */
const INTEGERS = { q8: 'int8', q4: 'int4' } as const;
const numbersOf = (type: OwnType) => (type === 'q8' || type === 'q4' ? INTEGERS[type] : type);

/** What networks compute with whose weights can be stored as something else. */
const COMPUTED: ReadonlySet<DataType> = new Set(['float32', 'float16']);

/** The largest number of float16. */
const LARGEST = 65504;
/** What the nodes of a stored weight take of the file, at most: its name is in them six times. */
const nodeBytes = ({ name }: Tensor) => 2 ** 7 + 6 * name.length;
/** What makes floats of rows takes besides, by the name of their value. */
const rowsBytes = (value: string) => 2 ** 8 + 12 * value.length;
/** And what makes scores with a table. */
const SCORES_BYTES = 512;
/** Of int4, in which the name is five times. */
const int4Bytes = ({ name, dims }: Tensor) => 240 + 5 * name.length + 8 * dims.length;
/** And of an odd number of them. */
const LAST_BYTES = 256;
/** In blocks, of int4; or else attributes of a MatMulNBits, and the name three times. */
const blocksBytes = ({ name }: Tensor, type: OwnType) =>
  type === 'int4' ? 512 + 5 * name.length : 192 + 3 * name.length;
/** What all share that are unpacked. */
export const TABLE_BYTES = 2 ** 11 + 2 ** 6;

/** A weight in its smaller form. */
interface Stored {
  /** Name, type and dims of the tensors that it becomes: the numbers, and their scales where there are any. */
  readonly parts: readonly Omit<Tensor, 'bytes'>[];
  /** Floats again, under the weight's own name. */
  readonly nodes: readonly NodeProto[];
}

/**
 * @param onSteps  for types of four bits, and for no others
 * @throws {InputError} for a weight beyond float16
 */
export function storeWeights(model: Model, type: StoredType, onSteps?: OnSteps): Model {
  const copy = model.clone();
  for (const [name, { parts }] of store(copy, type, () => true, onSteps))
    for (const tensor of smaller(model.tensors.get(name)!, parts, onSteps))
      copy.tensors.set(tensor.name, tensor);
  return copy;
}

/**
 * The same where weights come one by one.
 * @throws {InputError} while it is gone through, for a weight beyond float16
 */
export function storeOutline(
  { model, weights }: ModelOutline,
  type: StoredType,
  onSteps?: OnSteps,
): ModelOutline {
  // What has its bytes is no weight, but a table of positions or the like.
  const stored = store(model, type, ({ bytes }) => bytes.length === 0, onSteps);
  return { model, weights: eachSmaller(weights, stored, onSteps) };
}

async function* eachSmaller(
  weights: AsyncIterable<Tensor>,
  stored: ReadonlyMap<string, Stored>,
  onSteps?: OnSteps,
): AsyncGenerator<Tensor> {
  for await (const tensor of weights) {
    const parts = stored.get(tensor.name)?.parts;
    if (parts) yield* smaller(tensor, parts, onSteps);
    else yield tensor;
  }
}

/** What one of the weights is stored as: uint8 is a table of q8 or q4 that scores are made with too. */
type OwnType = StoredType | 'uint8';

/** @param onSteps  the names of those that four bits are for */
export function typeOf(
  model: Model,
  tensor: Tensor,
  type: StoredType,
  onSteps: Pick<ReadonlySet<string>, 'has'>,
): OwnType {
  const isOwn = type === 'q8' ? blockOf(model, tensor) : !isFitted(type) || onSteps.has(tensor.name);
  if (isOwn) return type;
  return type !== 'int4' && scoresOf(model, tensor) ? 'uint8' : 'int8';
}

/** Puts the smaller forms, whose bytes are still to come, in the place of weights. */
function store(
  model: Model,
  type: StoredType,
  isWeight: (tensor: Tensor) => boolean,
  onSteps: OnSteps = new Map(),
): ReadonlyMap<string, Stored> {
  const stored = new Map<string, Stored>();
  const tables = new Map<DataType, string>();
  const table = (floats: DataType) => tables.get(floats) ?? addTable(model, floats, tables);
  for (const tensor of [...model.tensors.values()]) {
    const own = typeOf(model, tensor, type, onSteps);
    if (!isWeight(tensor) || storedBytes(model, tensor, own) === undefined) continue;
    const it = FORMS[own](model, tensor, table, onSteps.get(tensor.name)?.block);
    model.tensors.delete(tensor.name);
    for (const part of it.parts) model.tensors.set(part.name, { ...part, bytes: new Uint8Array() });
    stored.set(tensor.name, it);
  }
  const nodes = Array.from(stored.values(), (it) => it.nodes).flat();
  for (const node of nodes) node.name = ''; // of a small model's file they would be a twentieth
  model.graph.node = [...nodes, ...model.nodes];
  model.edited();
  return stored;
}

/** Whether what is stored in four bits is looked up in the table of pairs. */
export const hasTable = (type: StoredType, block?: number): boolean => type === 'int4' || block === undefined;

/** @param table  the name of that of pairs as these floats; @param block  of weights in blocks */
type Form = (model: Model, tensor: Tensor, table: (floats: DataType) => string, block?: number) => Stored;

const FORMS: Readonly<Record<OwnType, Form>> = {
  float16: asHalf,
  int8: asIntegers,
  uint8: asScores,
  int4: (model, tensor, table, block) =>
    block ? asBlocks(model, tensor, table, block) : asPairs(model, tensor, table),
  q8: (model, tensor) => asProduct(model, tensor, blockOf(model, tensor)!, 8),
  q4: (model, tensor, table, block) =>
    block ? asProduct(model, tensor, block, 4) : asPairs(model, tensor, table),
};

/**
 * Bytes that a constant takes as a function of its dims, once it is stored as this type; undefined where it stays as it is: biases and
 * the weights of norms are few.
 */
export function storedBytes(
  model: Model,
  tensor: Tensor,
  type: OwnType,
): ((dims: readonly number[]) => number) | undefined {
  if (!COMPUTED.has(tensor.type) || tensor.dims.length < 2) return undefined;
  const axis = type === 'float16' ? -1 : scaledAxis(model, tensor);
  if (axis === undefined) return undefined;
  const floats = byteLength(tensor.type, elements(tensor.dims));
  const scale = byteLength(tensor.type, 1);
  const block = (isFitted(type) || type === 'q8') && blockOf(model, tensor);
  if (block) {
    // A budget goes by what grows evenly: with a last block that is nearly empty.
    const bytes = ([inputs, outputs]: readonly number[]) =>
      outputs * ((inputs + block - 1) / block) * (byteLength(numbersOf(type), block) + scale) +
      blocksBytes(tensor, type);
    return bytes(tensor.dims) < floats ? bytes : undefined;
  }
  const readers = /int8/.test(type) && axis === 0 ? rowReaders(model, tensor.name) : [];
  const rows = readers.map(({ output: [value] }) => rowsBytes(value));
  const scores = type === 'uint8' ? SCORES_BYTES : 0;
  const nodes = (isFitted(type) ? int4Bytes(tensor) : nodeBytes(tensor)) + sum(rows) + scores;
  const last = (dims: readonly number[]) => (isFitted(type) && elements(dims) % 2 === 1 ? LAST_BYTES : 0);
  const bytes = (dims: readonly number[]) =>
    byteLength(numbersOf(type), elements(dims)) + (axis < 0 ? 0 : scale * dims[axis]) + nodes + last(dims);
  return bytes(tensor.dims) < floats ? bytes : undefined;
}

/** Whether any weight takes fewer bytes as this type. */
export const isStorable = (model: Model, type: StoredType): boolean =>
  Array.from(model.tensors.values()).some((it) => storedBytes(model, it, type));

function asHalf(model: Model, { name, dims, type }: Tensor): Stored {
  const half = { name: model.fresh(`${name}.float16`), type: 'float16', dims } as const;
  return { parts: [half], nodes: [cast(model, half.name, name, type)] };
}

/** Of a table that rows are read of, these alone become floats, each time, and of what else there is the whole of it. */
function asIntegers(model: Model, tensor: Tensor): Stored {
  const { name, dims } = tensor;
  const axis = scaledAxis(model, tensor);
  const integers = { name: model.fresh(`${name}.int8`), type: 'int8', dims } as const;
  const scale = scaleOf(model, tensor, axis);
  const parts = [integers, scale];
  if (axis === 0) for (const node of rowReaders(model, name)) readRows(model, node, integers.name, scale);
  if (model.uses(name).length === 0 && !model.isOutput(name)) return { parts, nodes: [] };
  return { parts, nodes: scaledIntegers(model, integers.name, scale, name) };
}

/** What makes floats of whole numbers, which DequantizeLinear would do in newer files alone, and in every run. @param zero  what they are above */
export function scaledIntegers(
  model: Model,
  integers: string,
  scale: Pick<Tensor, 'name' | 'type'>,
  value: string,
  zero = '',
): NodeProto[] {
  const floats = model.fresh(`${value}.steps`);
  const steps = zero ? model.fresh(`${value}.whole`) : floats;
  const less = zero ? [nodeOf(model, 'Sub', [floats, zero], steps)] : [];
  return [
    cast(model, integers, floats, scale.type),
    ...less,
    nodeOf(model, 'Mul', [steps, scale.name], value),
  ];
}

function rowReaders(model: Model, table: string): NodeProto[] {
  return model.uses(table).flatMap(({ node, index }) => (index === 0 && readsRows(node) ? [node] : []));
}

/** Whether a node gives rows of its first input. */
export function readsRows(node: NodeProto): boolean {
  return node.opType === 'Gather' && isStandard(node) && attributeInt(node, 'axis', 0) === 0;
}

/** Makes floats of the rows that a Gather reads. @param zero  what their numbers are above */
function readRows(
  model: Model,
  gather: NodeProto,
  integers: string,
  scale: Pick<Tensor, 'name' | 'type'>,
  zero = '',
): void {
  const [, places] = gather.input;
  const [value] = gather.output;
  const [rows, scales] = ['int8', 'scale'].map((what) => model.fresh(`${value}.${what}`));
  const after = [
    nodeOf(model, 'Gather', [scale.name, places], scales),
    ...scaledIntegers(model, rows, { name: scales, type: scale.type }, value, zero),
  ];
  Object.assign(gather, { input: [integers, places], output: [rows] });
  model.graph.node = model.nodes.flatMap((node) => (node === gather ? [node, ...after] : [node]));
  model.edited();
}

/** Inputs of a block of eight bits, which nothing gains by being few. */
const SCORE_BLOCKS = [128, 64, 32];

/**
 * Where rows are read of a table and scores are made with it, and nothing else (the embedding that a language model's head is tied to):
 * the Transposes of it, and the MatMuls that read these.
 */
function scoresOf(model: Model, { name, dims }: Tensor) {
  const hasExpand = model.opset >= 8;
  const block = SCORE_BLOCKS.find((size) => hasExpand && dims.length === 2 && dims[1] % size === 0);
  const turned = model.uses(name).flatMap(({ node }) => (readsRows(node) ? [] : [node]));
  const isTurned = (node: NodeProto) =>
    node.opType === 'Transpose' && isStandard(node) && String(transposeOrder(node, 2)) === '1,0';
  if (!block || turned.length === 0 || model.isOutput(name) || !turned.every(isTurned)) return undefined;
  const uses = turned.flatMap(({ output }) => model.uses(output[0]));
  const isTaken = turned.some(({ output }) => model.isOutput(output[0]));
  return !isTaken && uses.every(isFactor)
    ? { block, turned, products: uses.map(({ node }) => node) }
    : undefined;
}

/** The rows and the scores are of the same bytes, 128 above what they are. */
function asScores(model: Model, tensor: Tensor): Stored {
  const { name, dims, type } = tensor;
  const [rows, width] = dims;
  const { block, turned, products } = scoresOf(model, tensor)!;
  const numbers = { name: model.fresh(`${name}.uint8`), type: 'uint8', dims } as const;
  const scale = scaleOf(model, tensor, 0);
  const zero = fromFloat32(Float32Array.of(128), [], { name: model.fresh(`${name}.zero`), type });
  model.tensors.set(zero.name, zero);
  for (const node of rowReaders(model, name)) readRows(model, node, numbers.name, scale, zero.name);
  const [blocks, scales] = ['blocks', 'scales'].map((what) => model.fresh(`${name}.${what}`));
  const shape = [rows, width / block];
  const nodes = [
    nodeOf(model, 'Reshape', [numbers.name, model.integers('dims', [...shape, block])], blocks),
    nodeOf(model, 'Expand', [scale.name, model.integers('dims', shape)], scales),
  ];
  const attributes = { K: width, N: rows, bits: 8, block_size: block, ...ROUNDING[type] };
  for (const node of products) multiply(model, node, [blocks, scales], attributes);
  model.remove(new Set(turned));
  return { parts: [numbers, scale], nodes };
}

function scaleOf(model: Model, { name, dims, type }: Tensor, axis: number | undefined) {
  return { name: model.fresh(`${name}.scale`), type, dims: along(dims, axis) };
}

/**
 * Types of four bits are of newer files alone, so that two numbers lie in a byte, which is where they are in a table of all pairs.
 * @param table  its name
 */
function asPairs(model: Model, tensor: Tensor, table: (floats: DataType) => string): Stored {
  const { name, dims, type } = tensor;
  const count = elements(dims);
  const pairs = { name: model.fresh(`${name}.int4`), type: 'uint8', dims: [Math.floor(count / 2)] } as const;
  const scale = scaleOf(model, tensor, scaledAxis(model, tensor));
  const parts: Omit<Tensor, 'bytes'>[] = [pairs, scale];
  const shape = model.integers('dims', dims); // a short name, that nothing else has: those of values begin with it
  const [places, numbers, line, all, steps] = ['places', 'pairs', 'line', 'all', 'steps'].map((value) =>
    model.fresh(`${shape}.${value}`),
  );
  const nodes = [
    cast(model, pairs.name, places, 'int32'),
    nodeOf(model, 'Gather', [table(type), places], numbers),
  ];
  const isOdd = count % 2 === 1;
  if (isOdd) {
    const last = { name: model.fresh(`${name}.last`), type, dims: [1] };
    const joined = nodeOf(model, 'Concat', [line, last.name], all, [attributeOf('axis', 0)]);
    nodes.push(nodeOf(model, 'Reshape', [numbers, model.integers(`${shape}.one`, [-1])], line), joined);
    parts.push(last);
  }
  nodes.push(
    nodeOf(model, 'Reshape', [isOdd ? all : numbers, shape], steps),
    nodeOf(model, 'Mul', [steps, scale.name], name),
  );
  return { parts, nodes };
}

/** What both forms of a weight in blocks store: outputs × blocks × bytes, and scales. */
function blocksOf(model: Model, { name, dims: [inputs, outputs], type }: Tensor, block: number, bits: 4 | 8) {
  const dims = [outputs, Math.ceil(inputs / block)];
  const numbers = {
    name: model.fresh(`${name}.int${bits}`),
    type: 'uint8',
    dims: [...dims, (block * bits) / 8],
  } as const;
  return { numbers, scale: { name: model.fresh(`${name}.scale`), type, dims } };
}

/** Blocks that are unpacked: outputs × blocks × pairs, of which the inputs that there are are taken and turned. */
function asBlocks(model: Model, tensor: Tensor, table: (floats: DataType) => string, block: number): Stored {
  const {
    name,
    type,
    dims: [inputs, outputs],
  } = tensor;
  const { numbers, scale: flat } = blocksOf(model, tensor, block, 4);
  const scale = { ...flat, dims: [...flat.dims, 1, 1] };
  const line = flat.dims[1] * block;
  const shape = model.integers('dims', [outputs, line]);
  const [places, pairs, steps, lines, whole] = ['places', 'pairs', 'steps', 'lines', 'whole'].map((value) =>
    model.fresh(`${shape}.${value}`),
  );
  const nodes = [
    cast(model, numbers.name, places, 'int32'),
    nodeOf(model, 'Gather', [table(type), places], pairs),
    nodeOf(model, 'Mul', [pairs, scale.name], steps),
    nodeOf(model, 'Reshape', [steps, shape], lines),
  ];
  if (line > inputs) {
    const bounds = [0, inputs, 1].map((number) => model.integers(`${shape}.cut`, [number]));
    nodes.push(nodeOf(model, 'Slice', [lines, ...bounds], whole));
  }
  const turned = nodeOf(model, 'Transpose', [line > inputs ? whole : lines], name, [
    attributeOf('perm', [1, 0]),
  ]);
  return { parts: [numbers, scale], nodes: [...nodes, turned] };
}

/** Those that read the weight multiply with what is stored. */
function asProduct(model: Model, tensor: Tensor, block: number, bits: 4 | 8): Stored {
  const { numbers, scale } = blocksOf(model, tensor, block, bits);
  const [inputs, outputs] = tensor.dims;
  const attributes = { K: inputs, N: outputs, bits, block_size: block, ...ROUNDING[tensor.type] };
  for (const { node } of model.uses(tensor.name))
    multiply(model, node, [numbers.name, scale.name], attributes);
  return { parts: [numbers, scale], nodes: [] };
}

/**
 * How runtimes may round the other operand of a MatMulNBits: at level 4 to int8 with a scale for each block, which takes a third of the time
 * in onnxruntime. Of float16 its release 1.21 gives NaN then, on processors.
 */
const ROUNDING: Readonly<Partial<Record<DataType, { accuracy_level: number }>>> = {
  float32: { accuracy_level: 4 },
};

/** Makes a MatMul one of numbers in blocks and their scales. */
function multiply(
  model: Model,
  node: NodeProto,
  by: readonly string[],
  attributes: Readonly<Record<string, number>>,
): void {
  const attribute = Object.entries(attributes).map(([key, value]) => attributeOf(key, value));
  Object.assign(node, { opType: 'MatMulNBits', domain: MICROSOFT, input: [node.input[0], ...by], attribute });
  importMicrosoft(model);
  model.edited();
}

function importMicrosoft({ proto }: Model): void {
  if (proto.opsetImport.some(({ domain }) => domain === MICROSOFT)) return;
  const set = create(OperatorSetIdProtoSchema, { domain: MICROSOFT, version: 1n });
  proto.opsetImport = [...proto.opsetImport, set];
}

/** −8 to 7 for the low bits of a byte, and for its high ones. */
function addTable(model: Model, type: DataType, tables: Map<DataType, string>): string {
  const name = model.fresh('int4.pairs');
  const numbers = Float32Array.from({ length: 512 }, (_, i) => (((i >> 1) >> (i & 1 ? 4 : 0)) & 15) - 8);
  model.tensors.set(name, fromFloat32(numbers, [256, 2], { name, type }));
  tables.set(type, name);
  return name;
}

function cast(model: Model, from: string, to: string, type: DataType): NodeProto {
  return nodeOf(model, 'Cast', [from], to, [attributeOf('to', typeCode(type))]);
}

/** Under a name of its own. */
export function nodeOf(
  model: Model,
  opType: string,
  input: string[],
  output: string,
  attribute: AttributeProto[] = [],
): NodeProto {
  const name = model.fresh(`${output}.${opType}`);
  return create(NodeProtoSchema, { name, opType, input, output: [output], attribute });
}

/** The tensors that a weight becomes. */
function smaller(tensor: Tensor, [numbers, scale, one]: Stored['parts'], onSteps?: OnSteps): Tensor[] {
  const packed = numbers.type === 'uint8' ? onSteps?.get(tensor.name) : undefined;
  if (packed) {
    const { bytes, scales, last = 0 } = packed;
    const own = [{ ...numbers, bytes }, fromFloat32(scales, scale.dims, scale)];
    return one ? [...own, fromFloat32(Float32Array.of(last), one.dims, one)] : own;
  }
  if (scale) return rounded(tensor, numbers, scale);
  const values = toFloat32(tensor);
  const large = values.find((value) => Math.abs(value) > LARGEST);
  if (large !== undefined) throw new InputError(`weight "${tensor.name}": ${large} is beyond float16`);
  return [fromFloat32(values, tensor.dims, numbers)];
}

/** Steps of 1/127 of the largest weight of each output, or of its block. */
function rounded(tensor: Tensor, numbers: Stored['parts'][0], scale: Stored['parts'][0]): Tensor[] {
  const { dims } = tensor;
  const values = toFloat32(tensor);
  const block = numbers.dims.length > dims.length ? numbers.dims[2] : undefined;
  const channelOf = block ? scaleIn(dims, block) : channelIn(dims, scale.dims);
  const most = STEPS.int8;
  const largest = largestOf(values, channelOf, elements(scale.dims));
  const scales = fromFloat32(
    mapped(Float32Array, largest, (it) => it / most || 1),
    scale.dims,
    scale,
  );
  const steps = nearestSteps(values, toFloat32(scales), channelOf, most);
  const zero = numbers.type === 'uint8' ? 128 : 0;
  const bytes = block ? packBlocks(steps, dims, block, 8) : mapped(Uint8Array, steps, (step) => step + zero);
  return [{ ...numbers, bytes }, scales];
}
