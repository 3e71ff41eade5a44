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
  /** Shapes for the smallest samples then, where these are known: extents that are others there differ. */
  smallest?: Shapes;
  /** Where the samples of values are that do not have them one after the other, or have none. */
  samples?: ReadonlyMap<string, SamplePlace>;
  /** Whether the model takes one sample at a time: no axis counts them, all extents are those of the sample run. */
  isSingle?: boolean;
  /** Inputs whose first axis is not the batch: parts have them as the model does. */
  fixed?: ReadonlySet<string>;
  /** Values that no number of a sample reaches: they may have no axis that counts samples. */
  unreached?: ReadonlySet<string>;
}

/** Where the samples of a value are. */
export interface SamplePlace {
  /** The axis that counts them; −1 where none does. */
  readonly axis: number;
  /** Positions that this axis counts too, each with all samples: more than one where a Reshape merged the two. */
  readonly positions: number;
}

const FIRST: SamplePlace = { axis: 0, positions: 1 };

export function samplesOf({ samples }: Pick<ValueInfo, 'samples'>, value: string): SamplePlace {
  return samples?.get(value) ?? FIRST;
}

/** The axis of a value that counts samples; −1 where none does. */
export function sampleAxis(info: Pick<ValueInfo, 'samples' | 'isSingle'>, value: string): number {
  return info.isSingle ? -1 : samplesOf(info, value).axis;
}

/** The extent of that axis in the sample run, 0 where there is none. */
function samplesIn(info: ValueInfo, value: string): number {
  return info.shapes.get(value)?.[sampleAxis(info, value)] ?? 0;
}

/** Whether samples can be told apart in a value, if there are several. */
export function hasSamples(info: ValueInfo, value: string): boolean {
  return info.isSingle || samplesIn(info, value) > 0;
}

/** How often all samples come one after the other in a value, a piece of each. */
export function roundsOf(dims: readonly number[], { axis, positions }: SamplePlace): number {
  return elements(dims.slice(0, axis)) * positions;
}

/**
 * The part of a model that computes the values `to` from the values `from`. The axis of the inputs that counts samples is
 * dynamic, the others are as in `info`, or as the model has them. Values in both lists are passed through. The shape of a value that the
 * part does not compute is that of `info` with the batch of a value in `from`.
 *
 * @param optional  values that become inputs of the part where it needs them
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
  optional: Iterable<string> = [],
): Model {
  const given = new Set(from);
  const possible = new Set(optional);
  const nodes = new Set<NodeProto>();
  const tensors = new Map<string, Tensor>();
  const seen = new Set<string>();
  const asked: NodeProto[] = [];
  const add = (node: NodeProto) => {
    nodes.add(node);
    return reads(node);
  };
  const follow = (...pending: string[]) => {
    for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
      if (given.has(value) || seen.has(value)) continue;
      seen.add(value);
      const tensor = model.tensors.get(value);
      const node = model.producer(value);
      if (tensor) tensors.set(value, tensor);
      else if (possible.has(value)) given.add(value);
      else if (!node) throw new InputError(`subgraph: nothing in "from" leads to "${value}"`);
      else if (isKnownShape(node, info)) asked.push(node);
      else if (!nodes.has(node)) pending.push(...add(node));
    }
  };
  follow(...to);
  const known = new KnownShapes(model, from, info, tensors);
  for (const shape of asked) {
    const [value] = shape.input;
    if (given.has(value) || seen.has(value) || !known.add(shape)) follow(...add(shape));
  }
  const proto = copyMessage(model.proto);
  const graph = copyMessage(model.graph);
  proto.graph = graph;
  graph.node = model.nodes.filter((node) => nodes.has(node));
  // A node kept for one of its outputs must not compute another one that is given.
  graph.node = [...known.nodes, ...graph.node.map((node) => withoutOutputs(node, given))];
  graph.input = [...given].map((name) => {
    const declared = model.inputs.find((input) => input.name === name);
    const isOwn = declared && (info.fixed?.has(name) || info.varies || !info.shapes.has(name));
    return isOwn ? declared : inputInfo(name, info);
  });
  graph.output = to.map((name) => create(ValueInfoProtoSchema, { name })); // onnxruntime infers the types
  graph.valueInfo = [];
  return new Model(model.name, proto, tensors);
}

/** A copy of the model that gives some values too. */
export function withOutputs(model: Model, values: readonly string[]): Model {
  const copy = model.clone();
  const more = values.filter((value) => !copy.isOutput(value));
  copy.graph.output.push(...more.map((name) => create(ValueInfoProtoSchema, { name })));
  copy.edited();
  return copy;
}

function inOneFile(model: Model): Uint8Array {
  const { model: bytes, external } = writeModel(model);
  if (external) throw new UnsupportedModelError(`${model.name}: more than 2 GiB of weights in one part`);
  return bytes;
}

/** Nodes that give the shapes of values that a part does not compute: as in the sample run, but for the batch. */
class KnownShapes {
  readonly nodes: NodeProto[] = [];
  readonly #info: ValueInfo;
  readonly #tensors: Map<string, Tensor>;
  readonly #sampled: ReadonlySet<string>;
  /** A value that has the batch. */
  readonly #given: string | undefined;

  constructor(model: Model, from: readonly string[], info: ValueInfo, tensors: Map<string, Tensor>) {
    this.#info = info;
    this.#tensors = tensors;
    this.#sampled = sampledValues(model, info);
    this.#given = from.find((value) => this.#sampled.has(value) && samplesIn(info, value) > 0);
  }

  /** @returns false for the shape of what constants alone lead to, or where nothing has the batch */
  add(shape: NodeProto): boolean {
    const [[value], [output]] = [shape.input, shape.output];
    const counted = sampleAxis(this.#info, value);
    if (!this.#sampled.has(value) || (counted >= 0 && this.#given === undefined)) return false;
    const dims = this.#info.shapes.get(value)!;
    const end = attribute(shape, 'end') ? attributeInt(shape, 'end', 0) : undefined;
    const shown = dims.map((_, axis) => axis).slice(attributeInt(shape, 'start', 0), end);
    const extents = shown.map((axis) =>
      axis === counted ? this.#batch(output, dims[axis]) : this.#integer(`${output}.${axis}`, dims[axis]),
    );
    this.#node('Concat', extents, output, [attributeOf('axis', 0)]);
    return true;
  }

  /** Of a value that has this extent in the sample run. */
  #batch(output: string, extent: number): string {
    const given = this.#given!;
    const whole = this.#node('Shape', [given], `${output}.given`);
    const axis = this.#integer(`${output}.axis`, sampleAxis(this.#info, given));
    const own = this.#node('Gather', [whole, axis], `${output}.samples`);
    const other = samplesIn(this.#info, given);
    if (extent === other) return own;
    const times = this.#node('Mul', [own, this.#integer(`${output}.extent`, extent)], `${output}.times`);
    return this.#node('Div', [times, this.#integer(`${output}.other`, other)], `${output}.batch`);
  }

  #node(opType: string, input: string[], output: string, attribute: AttributeProto[] = []): string {
    const name = `${output}.${opType}`;
    this.nodes.push(create(NodeProtoSchema, { name, opType, input, output: [output], attribute }));
    return output;
  }

  #integer(name: string, value: number): string {
    this.#tensors.set(name, fromIntegers(name, [value], [1]));
    return name;
  }
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
    if (axis === sampleAxis(info, name)) return `batch of ${name}`;
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
 * @param info  with it, what depends on constants and shapes alone (positions, causal masks) crosses for free too: `subgraph`
 *   knows these
 */
export function liveValues(model: Model, info?: ValueInfo, input = model.inputs[0]?.name): Live[] {
  const inputs = new Set(model.inputs.map(({ name }) => name));
  // Where extents vary, those of inputs alone are known before they are computed.
  const known = info?.varies ? inputs : info?.shapes;
  const computed = new Set([input]);
  const lastUse = new Map<string, number>();
  for (const [place, node] of model.nodes.entries()) {
    if (isShape(node) && known?.has(node.input[0])) continue;
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
    const isPlace = (value: string) => !inputs.has(value) && (!info || hasSamples(info, value));
    if (values.some(isPlace)) places.push({ after, values });
  }
  return places;
}

/** What is computed of some values, and these. @param throughShapes  whether of their extents too */
export function madeOf(
  nodes: readonly NodeProto[],
  sources: Iterable<string>,
  throughShapes = false,
): Set<string> {
  const made = new Set(sources);
  for (const node of nodes) {
    const isExtent =
      !throughShapes && isStandard(node) && (node.opType === 'Shape' || node.opType === 'Size');
    if (isExtent || !reads(node).some((value) => made.has(value))) continue;
    for (const value of node.output) if (value !== '') made.add(value);
  }
  return made;
}

/** Values that samples reach. @param throughShapes  whether their extents do too */
export function sampledValues(
  { nodes, inputs }: Model,
  { fixed }: Pick<ValueInfo, 'fixed'>,
  throughShapes = false,
): Set<string> {
  const own = inputs.flatMap(({ name }) => (fixed?.has(name) ? [] : [name]));
  return madeOf(nodes, own, throughShapes);
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
  const { nodes } = model;
  const reached = madeOf(nodes, inputs, throughShapes);
  return new Set(nodes.flatMap(({ output }) => output.filter((it) => it !== '' && !reached.has(it))));
}

const isShape = (node: NodeProto) => node.opType === 'Shape' && isStandard(node);

function isKnownShape(node: NodeProto, { shapes, varies }: ValueInfo): boolean {
  return isShape(node) && !varies && shapes.has(node.input[0]);
}
