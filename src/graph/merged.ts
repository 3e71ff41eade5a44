// Merged decoders: an If between a decoder that begins with the tokens of a text and one that goes on behind those whose keys and values
// are in a cache, by the same weights (Optimum's `decoder_model_merged.onnx`). While they are worked with, the second one stands behind
// the first: it reads the last token again, and what the first one's caches have of those before. What is cut in one is cut in both then.

import { create } from '@bufbuild/protobuf';
import { handedOut, ifsOf, takeBranches } from './branches.ts';
import { redeclared, valueInfo } from './build.ts';
import { describeValue } from './describe.ts';
import type { DataType } from './dtype.ts';
import { takenOnce } from './fold.ts';
import { underNames } from './inline.ts';
import { checkGraph, type Model } from './model.ts';
import { captured, copyMessage, reads } from './node.ts';
import {
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type ValueInfoProto,
} from './onnx_pb.ts';
import { nodeOf } from './stored.ts';

/** What two decoders in one graph become an If again by. */
export interface Merged {
  /** The name of the If. */
  readonly node: string;
  readonly condition: string;
  /** Which of its branches begins, and which goes on. */
  readonly branches: Readonly<Record<'first' | 'second', Branch>>;
  /** Of the file. */
  readonly inputs: readonly ValueInfoProto[];
  /** Outputs that hand caches on, by the inputs that take them. */
  readonly caches: ReadonlyMap<string, string>;
  /** The inputs that the second decoder has other values in the place of, by these. */
  readonly given: ReadonlyMap<string, string>;
  /** What it gives, in the order of the first one's outputs. */
  readonly outputs: readonly string[];
}

const THEN = 'then_branch';
const BRANCHES = [THEN, 'else_branch'] as const;
type Branch = (typeof BRANCHES)[number];

/** What the second decoder has in the place of an input: a value of the first one, or some positions of it. */
interface Wire {
  readonly input: string;
  readonly from: string;
  readonly positions?: { readonly start: number; readonly end: number; readonly axis: number };
}
const BEFORE_LAST = { start: 0, end: -1 };
const LAST = { start: -1, end: Number.MAX_SAFE_INTEGER };
/** The version since which bounds of a Slice are inputs. */
const BOUNDS_ARE_INPUTS = 10;

/**
 * A copy in which both decoders stand one behind the other, and what makes a merged one of them; undefined where the model is none.
 *
 * @param tokens  the input that tokens go to; of whatever has an axis of the same name the second decoder reads the last position
 * @param caches  outputs that hand caches on, by the inputs that take them
 */
export function unmerged(
  model: Model,
  tokens: string,
  caches: ReadonlyMap<string, string>,
): { model: Model; merged: Merged } | undefined {
  const [node, ...others] = ifsOf(model);
  if (!node || others.length > 0 || model.opset < BOUNDS_ARE_INPUTS) return undefined;
  const [condition] = node.input;
  const isOnlyRead = (value: string) => model.uses(value).every((use) => use.node === node);
  const readBy = (branch: Branch) => captured(only(node, branch)).filter((value) => caches.has(value));
  const first = BRANCHES.find((branch) => readBy(branch).length === 0);
  const second = BRANCHES.find((branch) => branch !== first && readBy(branch).length > 0);
  const isWhole =
    model.inputs.some(({ name }) => name === condition) &&
    [condition, ...caches.keys()].every(isOnlyRead) &&
    model.outputs.every(({ name }) => node.output.includes(name));
  if (!first || !second || !isWhole) return undefined;

  const copy = model.clone();
  const wires = wiresOf(model, only(node, second), tokens, caches);
  // Whole caches have a name of their own too: in the branch another value may have that of the output.
  const read = new Map(
    wires.map(({ input }) => [input, caches.has(input) ? input : copy.fresh(`${input}.last`)]),
  );
  copy.graph.input = model.inputs.filter(({ name }) => name !== condition && !caches.has(name));
  const whole = Object.assign(only(node, first), { name: copy.fresh(`${node.name}.first`) });
  const behind = underNames(only(node, second), (name) => read.get(name) ?? name);
  const giving = new Map(model.outputs.map(({ name }) => [name, copy.fresh(`${name}.second`)]));
  behind.name = copy.fresh(`${node.name}.second`);
  behind.output = node.output.map((name) => giving.get(name) ?? '');
  copy.graph.output.push(...Array.from(giving, ([from, to]) => typed(model, from, to)));
  const between = wires.map((wire) => wired(copy, wire, read.get(wire.input)!));
  copy.graph.node = copy.nodes.flatMap((it) => (it.name === node.name ? [whole, ...between, behind] : [it]));
  copy.edited();
  const taken = new Map([
    [whole.name, first === THEN],
    [behind.name, second === THEN],
  ]);
  const merged = {
    node: node.name,
    condition,
    branches: { first, second },
    inputs: model.inputs,
    caches,
    given: new Map(
      wires.flatMap(({ input, from, positions }) =>
        [read.get(input)!, ...(positions ? [] : [from])].map((value) => [value, input]),
      ),
    ),
    outputs: [...giving.values()],
  };
  // Each branch has its own node that makes weights of whole numbers.
  const both = takenOnce(takeBranches(copy, taken), []);
  inStep(both, leadingTo(both, [...giving.keys()]));
  return { model: both, merged };
}

/** Puts each node of the second decoder behind what it needs of the first, and what has the same weights: one layer's nodes are near each other then. */
function inStep(model: Model, first: ReadonlySet<NodeProto>): void {
  const place = new Map<NodeProto | undefined, number>();
  for (const [i, node] of model.nodes.entries()) {
    const needed = reads(node).map(
      (value) => place.get(model.producer(value) ?? model.uses(value)[0].node) ?? 0,
    );
    place.set(node, first.has(node) ? i : Math.max(0, ...needed));
  }
  model.nodes.sort((a, b) => place.get(a)! - place.get(b)!);
  model.edited();
}

/** The node with one of its branches. */
function only(node: NodeProto, branch: Branch): NodeProto {
  const copy = copyMessage(node);
  copy.attribute = node.attribute.filter(({ name }) => name === branch);
  return copy;
}

/** What becomes of the inputs that the second decoder reads. */
function wiresOf(model: Model, second: NodeProto, tokens: string, caches: Merged['caches']): Wire[] {
  const described = (list: readonly ValueInfoProto[], name?: string) =>
    list.filter((it) => it.name === name).map(describeValue)[0];
  const counted = described(model.inputs, tokens)?.dims[1];
  return captured(second).flatMap((input): Wire[] => {
    const { dims } = described(model.inputs, input) ?? {};
    const from = caches.get(input);
    if (!dims) return [];
    if (from === undefined) {
      const axis = input === tokens ? 1 : typeof counted === 'string' ? dims.indexOf(counted) : -1;
      return axis > 0 ? [{ input, from: input, positions: { ...LAST, axis } }] : [];
    }
    const after = described(model.outputs, from)!.dims;
    // What became smaller (`mergedAgain`) is open and has no name.
    const named = dims.findIndex((dim, i) => i > 0 && typeof dim === 'string');
    const axis = named < 0 ? dims.indexOf(-1, 1) : named;
    // An encoder's states do not grow.
    const grows = axis >= 0 && (dims[axis] === -1 || dims[axis] !== after[axis]);
    return [{ input, from, ...(grows && { positions: { ...BEFORE_LAST, axis } }) }];
  });
}

function wired(model: Model, { from, positions }: Wire, to: string): NodeProto {
  if (!positions) return nodeOf(model, 'Identity', [from], to);
  const bounds = Object.entries(positions).map(([base, number]) => model.integers(`${to}.${base}`, [number]));
  return nodeOf(model, 'Slice', [from, ...bounds], to);
}

/** The inverse of `unmerged`, whatever else became of its copy. What became smaller in caches is left open: none is read at first. */
export function mergedAgain(model: Model, merged: Merged): Model {
  const { node: name, condition, branches, inputs, caches, given } = merged;
  const copy = model.clone();
  copy.graph.output = model.outputs.filter((output) => !merged.outputs.includes(output.name));
  const outputs = copy.outputs.map((output) => output.name);
  const inside = new Map(outputs.map((value) => [value, copy.fresh(`${value}.first`)]));
  const graphs = {
    [branches.first]: graphTo(model, outputs, inside),
    [branches.second]: graphTo(model, merged.outputs, given, given),
  };
  const type = AttributeProto_AttributeType.GRAPH;
  const attribute = BRANCHES.map((branch) =>
    create(AttributeProtoSchema, { name: branch, g: graphs[branch], type }),
  );
  copy.graph.node = [
    create(NodeProtoSchema, { name, opType: 'If', input: [condition], output: outputs, attribute }),
  ];
  const declared = new Map([...copy.inputs, ...copy.outputs].map((value) => [value.name, value]));
  copy.graph.input = inputs.map((input) => {
    const cache = declared.get(caches.get(input.name) ?? '');
    return cache ? asLarge(input, cache) : (declared.get(input.name) ?? input);
  });
  copy.edited();
  copy.removeUnused(model.tensors.keys());
  checkGraph(copy);
  return copy;
}

/**
 * A graph inside a node that gives these values.
 *
 * @param names  of values, where these have others in there
 * @param given  values that are made outside
 */
function graphTo(
  model: Model,
  outputs: readonly string[],
  names: ReadonlyMap<string, string>,
  given?: Pick<ReadonlySet<string>, 'has'>,
): GraphProto {
  const nodes = leadingTo(model, outputs, given);
  const nameOf = (value: string) => names.get(value) ?? value;
  const made = new Set([...nodes].flatMap(({ output }) => output));
  const others = outputs.filter((value) => !made.has(value));
  const handed = new Map(others.map((value) => [value, model.fresh(`${value}.given`)]));
  return create(GraphProtoSchema, {
    name: 'decoder',
    node: [
      ...model.nodes.filter((node) => nodes.has(node)).map((node) => underNames(node, nameOf)),
      ...handedOut([...handed], nameOf),
    ],
    output: outputs.map((value) => typed(model, value, handed.get(value) ?? nameOf(value))),
  });
}

/** All nodes that values are made by. @param given  values that these need not make */
function leadingTo(
  model: Model,
  values: readonly string[],
  given: Pick<ReadonlySet<string>, 'has'> = new Set(),
): Set<NodeProto> {
  const nodes = new Set<NodeProto>();
  const pending = [...values];
  for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
    const node = given.has(value) ? undefined : model.producer(value);
    if (!node || nodes.has(node)) continue;
    nodes.add(node);
    pending.push(...reads(node));
  }
  return nodes;
}

/** The description of a value of the same type as an output, of any extents. */
function typed(model: Model, output: string, name: string): ValueInfoProto {
  const declared = model.outputs.find((it) => it.name === output)!;
  return valueInfo(name, describeValue(declared).type as DataType);
}

/** A cache as it comes in: extents stay that it comes out with for certain. */
function asLarge(past: ValueInfoProto, present: ValueInfoProto): ValueInfoProto {
  const extents = describeValue(present).dims;
  return redeclared(past, ({ type, dims }) => ({
    type,
    dims: dims.map((dim, i) => (typeof dim === 'string' || dim === extents[i] ? dim : '')),
  }));
}
