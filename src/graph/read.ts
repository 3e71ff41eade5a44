// Bytes of an ONNX file to a checked Model. The file is data from outside: whatever is wrong with it
// becomes a FormatError that names the file and the place.

import { fromBinary } from '@bufbuild/protobuf';
import { FormatError, OsscarError } from '../errors.ts';
import { expectBytes, expectObject } from '../expect.ts';
import { otherFormat } from '../formats.ts';
import { checkValues, limits } from '../limits.ts';
import { brokenField } from './broken.ts';
import { dropIdentities } from './fold.ts';
import { untaken } from './graph.ts';
import { inlineFunctions } from './inline.ts';
import { checkGraph, Model, sortNodes } from './model.ts';
import { attribute, attributeInts, isStandard, subgraphs } from './node.ts';
import {
  type GraphProto,
  ModelProtoSchema,
  type NodeProto,
  type SparseTensorProto,
  type TensorProto,
  type ValueInfoProto,
} from './onnx_pb.ts';
import type { Operator } from './propagation.ts';
import { elements, fromFloat32, fromIntegers, sum, type Tensor, toSafe } from './tensor.ts';
import { decodeSparse, decodeTensor, loadExternal, type ReadExternal } from './wire.ts';

export interface ReadOptions {
  /** What to call the model in messages; default "model". */
  name?: string;
  /** Gives a part of a data file beside the model. Locations are checked to stay inside its folder first. */
  external?: ReadExternal;
  /** Operators beside those that are known, of a domain of your own say; they count before those. */
  operators?: readonly Operator[];
}

/**
 * Reads a model. Large fields are views of `bytes`, so leave those alone afterwards.
 *
 * Some forms of the same thing are made one: Constant nodes, and Identity nodes of constants, become
 * initialisers; initialisers are no graph inputs (as in IR version 4), so they can no longer be overridden;
 * sparse tensors have their zeros; typed data becomes raw data; calls of functions become what these consist of; nodes are sorted and get unique names; extents of inputs and outputs that are declared
 * as 0 or less are left open. Everything else is kept as it is, known or not.
 *
 * @throws {FormatError} if the bytes are no ONNX model or a malformed one
 *
 * @example
 * const model = await readModel(await readFile('model.onnx'));
 * console.log(model.opset, model.nodes.length);
 */
export async function readModel(bytes: Uint8Array, options: ReadOptions = {}): Promise<Model> {
  expectBytes('readModel', bytes);
  expectObject('readModel', 'options', options);
  const name = options.name ?? 'model';
  try {
    return await read(bytes, name, options);
  } catch (error) {
    if (error instanceof OsscarError) throw error;
    // what protobuf throws on broken bytes: end of input, wrong wire type, too deep, …
    const message =
      error instanceof Error && !(error instanceof RangeError) ? error.message : 'it is damaged';
    const other = otherFormat(bytes, name);
    const reason = other ? `it is ${other}` : (brokenField(bytes) ?? message);
    throw new FormatError(`${name}: no readable ONNX model: ${reason}`, { cause: error });
  }
}

async function read(bytes: Uint8Array, name: string, { external, operators }: ReadOptions): Promise<Model> {
  if (bytes.length === 0) throw new FormatError(`${name}: the file is empty`);
  // A Buffer would hand out Buffers, whose slice() does not copy.
  const proto = fromBinary(
    ModelProtoSchema,
    new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    { recursionLimit: limits.onnxDepth },
  );
  const graph = proto.graph;
  if (!graph) {
    const other = otherFormat(bytes, name);
    throw new FormatError(`${name}: no ONNX model: it ${other ? `is ${other}` : 'has no graph'}`);
  }
  const standard = proto.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx');
  if (!standard) throw new FormatError(`${name}: it names no version of the standard operators`);
  if (standard.version < 1n || standard.version > 2n ** 31n)
    throw new FormatError(
      `${name}: its version of the standard operators (opset) is ${standard.version}, and there is none such`,
    );
  checkNames(graph, name);
  inlineFunctions(proto, graph, name);
  await loadExternal(allTensors(graph), name, external);
  // A few bytes could otherwise take any amount of memory.
  const dense = sum(Array.from(sparseTensors(graph), ({ dims }) => Math.abs(elements(dims.map(Number)))));
  checkValues([dense], `${name}: all that its sparse tensors have`);

  const tensors = new Map<string, Tensor>();
  const add = (tensor: Tensor) => {
    if (tensor.name === '') throw new FormatError(`${name}: an initialiser has no name`);
    if (tensors.has(tensor.name))
      throw new FormatError(`${name}: two initialisers are called "${tensor.name}"`);
    tensors.set(tensor.name, tensor);
  };
  const constants = constantsOf(graph, new Set(graph.output.map((output) => output.name)), name);
  for (const tensor of constants.tensors) add(tensor);
  for (const sparse of graph.sparseInitializer) add(decodeSparse(sparse, name));
  graph.initializer = [];
  graph.sparseInitializer = [];
  graph.input = graph.input.filter((input) => !tensors.has(input.name));
  if (proto.irVersion < 4n) proto.irVersion = 4n; // before, initialisers had to be inputs
  graph.node = constants.nodes;
  nameNodes(graph.node);
  const given = new Set([...tensors.keys(), ...graph.input.map((input) => input.name)]);
  graph.node = sortNodes(graph.node, name, given);
  for (const value of [...graph.input, ...graph.output]) openExtents(value);
  const model = new Model(name, proto, tensors, operators);
  checkGraph(model);
  checkKernels(model);
  // torch writes Identity(weight) where modules share a parameter; without the node it is a plain shared constant.
  dropIdentities(model);
  return model;
}

/** @throws {FormatError} where a name is longer than any that somebody has given */
function checkNames({ input, initializer, node }: GraphProto, file: string): void {
  const check = (name: string) => {
    if (name.length > limits.onnxName)
      throw new FormatError(
        `${file}: the name "${name.slice(0, SHOWN)}…" has ${name.length} characters, more than ${limits.onnxName} (limits.onnxName)`,
      );
  };
  for (const { name } of [...input, ...initializer]) check(name);
  for (const { name, opType, domain, output } of node)
    for (const it of [name, opType, domain, ...output]) check(it);
}
const SHOWN = 40;

/** @throws {FormatError} where a convolution says another kernel than its weights have: engines find it when it runs */
function checkKernels({ name, nodes, tensors }: Model): void {
  for (const node of nodes) {
    const said =
      isStandard(node) && /^Conv(Transpose)?$/.test(node.opType) && attributeInts(node, 'kernel_shape');
    const weight = tensors.get(node.input[1]);
    if (said && weight && String(said) !== String(weight.dims.slice(2)))
      throw new FormatError(
        `${name}: "${node.name}" has a kernel_shape of ${said}, and its weights "${weight.name}" are ${weight.dims.join('×')}`,
      );
  }
}

/**
 * The constants of a graph, and its nodes without those that hold one.
 *
 * @param outputs  values that nodes have to compute
 */
export function constantsOf(
  { initializer, node }: Pick<GraphProto, 'initializer' | 'node'>,
  outputs: ReadonlySet<string>,
  file: string,
): { tensors: Tensor[]; nodes: NodeProto[] } {
  const tensors = initializer.map((it) => decodeTensor(it, `${file}: tensor "${it.name}"`));
  const nodes = node.filter((it) => {
    const constant = it.output.length === 1 && !outputs.has(it.output[0]) && constantOf(it, file);
    if (constant) tensors.push(constant);
    return !constant;
  });
  return { tensors, nodes };
}

/** Exporters write −1 or 0 where an extent is open; the engine would hold inputs to it. */
function openExtents({ type }: ValueInfoProto): void {
  if (type?.value.case !== 'tensorType') return;
  for (const dim of type.value.value.shape?.dim ?? []) {
    if (dim.value.case === 'dimValue' && dim.value.value <= 0n) dim.value = { case: undefined };
  }
}

/** The tensor that a Constant node holds; undefined for other nodes and strings. */
function constantOf(node: NodeProto, file: string): Tensor | undefined {
  if (node.opType !== 'Constant' || !isStandard(node)) return undefined;
  const name = node.output[0];
  const value = attribute(node, 'value')?.t;
  if (value) return { ...decodeTensor(value, `${file}: constant "${name}"`), name };
  const sparse = attribute(node, 'sparse_value')?.sparseTensor;
  if (sparse) return { ...decodeSparse(sparse, `${file}: constant "${name}"`), name };
  const one = attribute(node, 'value_int');
  if (one) return fromIntegers(name, [toSafe(one.i)], []);
  const many = attribute(node, 'value_ints');
  if (many) return fromIntegers(name, many.ints.map(toSafe), [many.ints.length]);
  const like = { name, type: 'float32' } as const;
  const float = attribute(node, 'value_float');
  if (float) return fromFloat32(Float32Array.of(float.f), [], like);
  const floats = attribute(node, 'value_floats');
  if (floats) return fromFloat32(Float32Array.from(floats.floats), [floats.floats.length], like);
  return undefined;
}

/** Gives nodes without a name of their own one. */
export function nameNodes(nodes: readonly NodeProto[]): void {
  const given = new Set(nodes.map((node) => node.name));
  const used = new Set<string>();
  const suffixes = new Map<string, number>();
  for (const [i, node] of nodes.entries()) {
    if (node.name === '' || used.has(node.name)) {
      const base = node.name || `${node.opType}_${i}`;
      node.name = untaken(base, (name) => given.has(name) || used.has(name), suffixes);
    }
    used.add(node.name);
  }
}

function* allTensors(graph: GraphProto): Generator<TensorProto> {
  for (const it of graphsOf(graph)) {
    yield* it.initializer;
    for (const { t, tensors } of it.node.flatMap(({ attribute }) => attribute)) {
      if (t) yield t;
      yield* tensors;
    }
  }
  for (const { values, indices } of sparseTensors(graph)) {
    if (values) yield values;
    if (indices) yield indices;
  }
}

function* sparseTensors(graph: GraphProto): Generator<SparseTensorProto> {
  for (const it of graphsOf(graph)) {
    yield* it.sparseInitializer;
    for (const { sparseTensor } of it.node.flatMap(({ attribute }) => attribute))
      if (sparseTensor) yield sparseTensor;
  }
}

/** A graph and those inside its nodes. */
function* graphsOf(graph: GraphProto): Generator<GraphProto> {
  yield graph;
  for (const node of graph.node) for (const inner of subgraphs(node)) yield* graphsOf(inner);
}
