// Parts of a model as models of their own, to run them, and where it can be cut with a single activation to hand over.

import { create } from '@bufbuild/protobuf';
import { InputError, UnsupportedModelError } from '../errors.ts';
import { valueInfo } from './build.ts';
import type { DataType } from './dtype.ts';
import type { Shapes } from './linear.ts';
import { Model } from './model.ts';
import { attribute, attributeInt, attributeOf, copyMessage, isStandard, reads } from './node.ts';
import { type AttributeProto, type NodeProto, NodeProtoSchema, ValueInfoProtoSchema } from './onnx_pb.ts';
import { elements, fromIntegers, type Tensor } from './tensor.ts';
import { writeModel } from './write.ts';

/** What a sample run showed of the values of a model. */
export interface ValueInfo {
  shapes: ReadonlyMap<string, readonly number[]>;
  /** Element types as onnxruntime names them; float32 where one is missing. */
  types: ReadonlyMap<string, string>;
  /** Whether other extents than the batch differ between samples. */
  varies?: boolean;
  /** Where the samples of values are that do not have them one after the other: no cut lies there. */
  samples?: ReadonlyMap<string, SamplePlace>;
  /** Inputs whose first axis is not the batch: parts have them as the model does. */
  fixed?: ReadonlySet<string>;
  /** Values that no number of a sample reaches: they may have no axis that counts samples. */
  unreached?: ReadonlySet<string>;
}

/** Where the samples of a value are. */
export interface SamplePlace {
  /** The axis that counts them. */
  readonly axis: number;
  /** Positions that this axis counts too, each with all samples: more than one where a Reshape merged the two. */
  readonly positions: number;
}

const FIRST: SamplePlace = { axis: 0, positions: 1 };

export function samplesOf({ samples }: Pick<ValueInfo, 'samples'>, value: string): SamplePlace {
  return samples?.get(value) ?? FIRST;
}

/** How often all samples come one after the other in a value, a piece of each. */
export function roundsOf(dims: readonly number[], { axis, positions }: SamplePlace): number {
  return elements(dims.slice(0, axis)) * positions;
}

/**
 * The part of a model that computes the values `to` from the values `from`. The axis of the inputs that counts samples is
 * dynamic, the others are as in `info`, or as the model has them. Values in both lists are passed through. The shape of an input that is not
 * in `from` is that of `info` with the batch of a value that is.
 *
 * @param optional  inputs of the model that become inputs of the part where it needs them
 * @throws {InputError} if `to` needs an input of the model that is not in `from`, or a value is not known
 * @throws {UnsupportedModelError} if its weights do not fit one file of 2 GiB
 */
export function subgraph(...args: Parameters<typeof part>): Uint8Array {
  return inOneFile(part(...args));
}

/** As `subgraph`, not yet written: its constants need not have their bytes. */
export function part(
  model: Model,
  from: readonly string[],
  to: readonly string[],
  info: ValueInfo,
  optional: readonly string[] = [],
): Model {
  const given = new Set(from);
  const nodes = new Set<NodeProto>();
  const tensors = new Map<string, Tensor>();
  const seen = new Set<string>();
  const shapeNodes: NodeProto[] = [];
  const pending = [...to];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    if (given.has(value) || seen.has(value)) continue;
    seen.add(value);
    const tensor = model.tensors.get(value);
    const node = model.producer(value);
    if (tensor) tensors.set(value, tensor);
    else if (optional.includes(value)) given.add(value);
    else if (!node) throw new InputError(`subgraph: nothing in "from" leads to "${value}"`);
    else if (!given.has(node.input[0] ?? '') && isInputShape(model, node) && !info.varies) {
      shapeNodes.push(...inputShape(node, from, info, tensors));
    } else if (!nodes.has(node)) {
      nodes.add(node);
      for (const read of reads(node)) pending.push(read);
    }
  }
  const proto = copyMessage(model.proto);
  const graph = copyMessage(model.graph);
  proto.graph = graph;
  graph.node = model.nodes.filter((node) => nodes.has(node));
  // A node kept for one of its outputs must not compute another one that is given.
  graph.node = [...shapeNodes, ...graph.node.map((node) => withoutOutputs(node, given))];
  graph.input = [...given].map((name) => {
    const declared = model.inputs.find((input) => input.name === name);
    const isOwn = declared && (info.fixed?.has(name) || info.varies || !info.shapes.has(name));
    return isOwn ? declared : inputInfo(name, info);
  });
  graph.output = to.map((name) => create(ValueInfoProtoSchema, { name })); // onnxruntime infers the types
  graph.valueInfo = [];
  return new Model(model.name, proto, tensors);
}

function inOneFile(model: Model): Uint8Array {
  const { model: bytes, external } = writeModel(model);
  if (external) throw new UnsupportedModelError(`${model.name}: more than 2 GiB of weights in one part`);
  return bytes;
}

/** Nodes that give the shape of a graph input where the input itself is not given. */
function inputShape(
  shape: NodeProto,
  from: readonly string[],
  { shapes }: ValueInfo,
  tensors: Map<string, Tensor>,
): NodeProto[] {
  const [output] = shape.output;
  const dims = shapes.get(shape.input[0]) ?? [];
  const given = from.find((value) => shapes.get(value)?.[0] === dims[0]);
  if (given === undefined || dims.length === 0) {
    throw new InputError(`subgraph: nothing in "from" has the batch of "${shape.input[0]}"`);
  }
  const integers = (stem: string, values: readonly number[]) => {
    const name = `${output}.${stem}`;
    tensors.set(name, fromIntegers(name, values, [values.length]));
    return name;
  };
  const node = (opType: string, input: string[], result: string, attribute: AttributeProto[] = []) =>
    create(NodeProtoSchema, { name: `${result}.${opType}`, opType, input, output: [result], attribute });
  const [whole, batch] = [`${output}.given`, `${output}.batch`];
  const end = attribute(shape, 'end') ? attributeInt(shape, 'end', 0) : undefined;
  const shown = dims.map((_, axis) => axis).slice(attributeInt(shape, 'start', 0), end);
  const others = shown.filter((axis) => axis > 0).map((axis) => dims[axis]);
  const parts = [...(shown.includes(0) ? [batch] : []), integers('others', others)];
  return [
    node('Shape', [given], whole),
    node('Gather', [whole, integers('first', [0])], batch),
    node('Concat', parts, output, [attributeOf('axis', 0)]),
  ];
}

function withoutOutputs(node: NodeProto, given: ReadonlySet<string>): NodeProto {
  if (!node.output.some((name) => given.has(name))) return node;
  const copy = copyMessage(node);
  copy.output = node.output.map((name) => (given.has(name) ? `${name}.unused` : name));
  return copy;
}

function inputInfo(name: string, info: ValueInfo) {
  const { shapes, types, varies } = info;
  const dims = shapes.get(name);
  if (!dims) throw new InputError(`subgraph: no shape for the value "${name}"`);
  // a batch of its own name: not all need have the same extent
  const open = dims.map((size, axis) => {
    if (axis === samplesOf(info, name).axis) return `batch of ${name}`;
    return varies ? `axis ${axis} of ${name}` : size;
  });
  return valueInfo(name, (types.get(name) ?? 'float32') as DataType, open);
}

/** A place between two nodes. */
export interface Live {
  /** Position of the last node before it. */
  readonly after: number;
  /** The values that nodes behind it read, not all of them inputs of the model. */
  readonly values: readonly string[];
}

export interface Cut extends Pick<Live, 'after'> {
  /** The only computed value that nodes behind the cut read. */
  readonly value: string;
}

/** The places where a single value is live: see `liveValues`. */
export function segments(...args: Parameters<typeof liveValues>): Cut[] {
  return liveValues(...args).flatMap(({ after, values }) =>
    values.length === 1 ? [{ after, value: values[0] }] : [],
  );
}

/**
 * All places in topological order behind which everything can be computed from the values that are live there. Values that
 * depend on constants, or on other inputs than `input`, alone cross for free: they can be computed again.
 *
 * @param shapes  dims of every value in a run; with them, what depends on constants and the shapes of the graph's
 *   inputs alone (positions, causal masks) crosses for free too, where a value that crosses has the same batch:
 *   `subgraph` takes it from there
 * @param samples  those of `ValueInfo`
 */
export function liveValues(
  model: Model,
  shapes?: Shapes,
  input = model.inputs[0]?.name,
  samples: ReadonlyMap<string, SamplePlace> = new Map(),
): Live[] {
  const inputs = new Set(model.inputs.map(({ name }) => name));
  const batches = new Set<number | undefined>();
  const computed = new Set([input]);
  const lastUse = new Map<string, number>();
  for (const [place, node] of model.nodes.entries()) {
    if (shapes && isInputShape(model, node)) {
      batches.add(shapes.get(node.input[0])?.[0]);
      continue;
    }
    const values = reads(node);
    if (values.some((value) => computed.has(value))) {
      for (const output of node.output) if (output !== '') computed.add(output);
    }
    for (const value of values) if (computed.has(value)) lastUse.set(value, place);
  }
  const live = new Set([...inputs].filter((name) => lastUse.has(name)));
  const places: Live[] = [];
  for (const [after, node] of model.nodes.entries()) {
    for (const output of node.output) if (lastUse.has(output)) live.add(output);
    for (const value of reads(node)) if (lastUse.get(value) === after) live.delete(value);
    const values = [...live];
    const isOfBatch = [...batches].every((batch) => values.some((it) => shapes?.get(it)?.[0] === batch));
    const isComputed = values.some((value) => !inputs.has(value));
    if (isComputed && isOfBatch && !values.some((it) => samples.has(it))) places.push({ after, values });
  }
  return places;
}

/**
 * Values that depend on constants and shapes alone: learned queries, positions, and what layers make of them.
 *
 * @param inputs  whose numbers may not reach them
 * @param throughShapes  whether extents reach what is computed of them
 */
export function unreachedValues(
  model: Model,
  inputs: Iterable<string> = model.inputs.map(({ name }) => name),
  throughShapes = false,
): Set<string> {
  const reached = new Set(inputs);
  const others = new Set<string>();
  for (const node of model.nodes) {
    const isShape = !throughShapes && isStandard(node) && (node.opType === 'Shape' || node.opType === 'Size');
    const isReached = !isShape && reads(node).some((value) => reached.has(value));
    for (const output of node.output) if (output !== '') (isReached ? reached : others).add(output);
  }
  return others;
}

/** True for a Shape of a graph input. */
function isInputShape(model: Model, node: NodeProto): boolean {
  const isShape = node.opType === 'Shape' && isStandard(node);
  return isShape && model.inputs.some(({ name }) => name === node.input[0]);
}
