// A model in memory: the ONNX messages as they were read, except that the initialisers of the main graph are
// Tensors in a map. What its nodes mean is told in operators/.

import { create } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { captured, copyMessage, reads, subgraphs } from './node.ts';
import {
  type GraphProto,
  type ModelProto,
  type NodeProto,
  StringStringEntryProtoSchema,
  type ValueInfoProto,
} from './onnx_pb.ts';
import { operatorOf } from './operators/index.ts';
import type { Operator } from './operators/operator.ts';
import { groupBy } from './structure.ts';
import type { Tensor } from './tensor.ts';

/** A place where a value is read: `node.input[index]`, or −1 where a graph inside the node captures it. */
export interface Use {
  node: NodeProto;
  index: number;
}

/** An ONNX graph to edit in place, its weights beside it. */
export class Model {
  /** What to call the model in messages, usually its file name. */
  readonly name: string;
  /** Everything but the initialisers, whose list in here is empty. */
  readonly proto: ModelProto;
  /** Constants by name. Put a new tensor to change one; never write to the bytes of one that is there. */
  readonly tensors: Map<string, Tensor>;
  /** Operators that `readModel` was told of. */
  readonly operators: readonly Operator[];
  #index?: ReturnType<typeof index>;
  readonly #suffixes = new Map<string, number>();

  /** Takes what `readModel` has checked; use that instead. */
  constructor(
    name: string,
    proto: ModelProto,
    tensors: Map<string, Tensor>,
    operators: readonly Operator[] = [],
  ) {
    this.name = name;
    this.proto = proto;
    this.tensors = tensors;
    this.operators = operators;
  }

  get graph(): GraphProto {
    return this.proto.graph!;
  }

  /** Topologically sorted. Every node has a unique name. After changes by hand, call `edited`. */
  get nodes(): NodeProto[] {
    return this.graph.node;
  }

  /** Without the initialisers that older files list here too. */
  get inputs(): ValueInfoProto[] {
    return this.graph.input;
  }

  get outputs(): ValueInfoProto[] {
    return this.graph.output;
  }

  /** Version of the standard operators. */
  get opset(): number {
    const set = this.proto.opsetImport.find((o) => o.domain === '' || o.domain === 'ai.onnx');
    return Number(set?.version ?? 0n);
  }

  /** An entry of `metadata_props`. */
  metadata(key: string): string | undefined {
    return this.proto.metadataProps.find((entry) => entry.key === key)?.value;
  }

  /** Adds or replaces an entry of `metadata_props`. */
  setMetadata(key: string, value: string): void {
    const others = this.proto.metadataProps.filter((entry) => entry.key !== key);
    this.proto.metadataProps = [...others, create(StringStringEntryProtoSchema, { key, value })];
  }

  /** The first node of that name. */
  node(name: string): NodeProto | undefined {
    return this.#indexed().nodes.get(name);
  }

  /** What is known of a node's operator. */
  operator(node: NodeProto): Operator | undefined {
    return operatorOf(node, this.operators);
  }

  /** Place of a node in the topological order. */
  position(node: NodeProto): number {
    return this.#indexed().position.get(node)!;
  }

  /** The node that computes a value; undefined for graph inputs and constants. */
  producer(value: string): NodeProto | undefined {
    return this.#indexed().producers.get(value);
  }

  /** Where nodes read a value, in topological order. Being a graph output is no use. */
  uses(value: string): readonly Use[] {
    return this.#indexed().uses.get(value) ?? [];
  }

  /** Whether a value is an output of the graph. */
  isOutput(value: string): boolean {
    return this.#indexed().outputs.has(value);
  }

  /** A name like `base` that no value and no node has. */
  fresh(base: string): string {
    const { nodes, producers, uses } = this.#indexed();
    const taken = (name: string) =>
      [nodes, producers, uses, this.tensors].some((map) => map.has(name)) ||
      this.inputs.some((input) => input.name === name);
    return untaken(base, taken, this.#suffixes);
  }

  /** Makes `node.input[index]` read another value. */
  setInput(node: NodeProto, index: number, value: string): void {
    const { uses } = this.#indexed();
    const old = node.input[index] ?? '';
    const others = this.uses(old).filter((use) => use.node !== node || use.index !== index);
    uses.set(old, others);
    node.input[index] = value;
    uses.set(value, [...this.uses(value), { node, index }]);
  }

  /** Makes all inputs that read a value read another one. Not for values that graphs inside nodes name. */
  redirect(from: string, to: string): void {
    const { uses } = this.#indexed();
    const moved = uses.get(from) ?? [];
    for (const { node, index } of moved) node.input[index] = to;
    uses.delete(from);
    const list = uses.get(to) ?? [];
    for (const use of moved) list.push(use);
    uses.set(to, list);
  }

  /** Makes `node.output[index]` another value, of which no other node is the producer any more. */
  setOutput(node: NodeProto, index: number, value: string): void {
    const { producers } = this.#indexed();
    producers.delete(node.output[index]);
    node.output[index] = value;
    producers.set(value, node);
  }

  /** Removes nodes, and constants that nothing but them reads. */
  remove(nodes: ReadonlySet<NodeProto>): void {
    this.graph.node = this.nodes.filter((node) => !nodes.has(node));
    this.edited();
    this.removeUnused([...nodes].flatMap(({ input }) => input));
  }

  /** Removes those of some constants that nothing reads. */
  removeUnused(names: Iterable<string>): void {
    for (const name of names) {
      if (this.uses(name).length === 0 && !this.isOutput(name)) this.tensors.delete(name);
    }
  }

  /** To be called after nodes were added, removed or renamed, or inputs and outputs were changed by hand. */
  edited(): void {
    this.#index = undefined;
  }

  /** An independent model that shares the bytes of the tensors and the attributes of the nodes. */
  clone(): Model {
    const proto = copyMessage(this.proto);
    const graph = copyMessage(this.graph);
    proto.graph = graph;
    proto.metadataProps = [...proto.metadataProps];
    graph.input = [...graph.input];
    graph.output = [...graph.output];
    graph.valueInfo = [...graph.valueInfo];
    graph.node = graph.node.map((node) => {
      const copy = copyMessage(node);
      copy.input = [...node.input];
      copy.output = [...node.output];
      copy.attribute = [...node.attribute];
      return copy;
    });
    return new Model(this.name, proto, new Map(this.tensors), this.operators);
  }

  #indexed() {
    this.#index ??= index(this.nodes, this.outputs);
    return this.#index;
  }
}

function index(list: readonly NodeProto[], outputs: readonly ValueInfoProto[]) {
  const nodes = new Map<string, NodeProto>();
  const position = new Map<NodeProto, number>();
  const producers = new Map<string, NodeProto>();
  const all: (Use & { value: string })[] = [];
  for (const [place, node] of list.entries()) {
    nodes.set(node.name, node);
    position.set(node, place);
    for (const output of node.output) if (output) producers.set(output, node);
    for (const [index, value] of node.input.entries()) if (value) all.push({ node, index, value });
    for (const value of captured(node)) all.push({ node, index: -1, value });
  }
  const uses: Map<string, Use[]> = groupBy(all, ({ value }) => value);
  return { nodes, position, producers, uses, outputs: new Set(outputs.map((output) => output.name)) };
}

/** Whether every node runs once, whatever the values are: there are no loops, branches and functions. */
export function isStraight({ nodes, proto }: Model): boolean {
  return proto.functions.length === 0 && nodes.every((node) => subgraphs(node).length === 0);
}

/** `base`, or the first of `base_1`, `base_2`, … that is not taken. `suffixes` remembers how far it came. */
export function untaken(base: string, taken: (name: string) => boolean, suffixes: Map<string, number>) {
  let suffix = suffixes.get(base) ?? 0;
  const name = () => (suffix === 0 ? base : `${base}_${suffix}`);
  while (taken(name())) suffix++;
  suffixes.set(base, suffix);
  return name();
}

/**
 * The rules of a graph that everything else relies on: each value is made once, before it is read.
 *
 * @throws {FormatError} naming the node or value that breaks them
 */
export function checkGraph(model: Model): void {
  const fail = (problem: string) => new FormatError(`${model.name}: ${problem}`);
  const known = new Set(model.tensors.keys());
  const define = (value: string, by: string) => {
    if (known.has(value)) throw fail(`${by} defines "${value}", which exists already`);
    // Engines take and give objects by names of values.
    if (value === '__proto__')
      throw fail(`${by} defines "${value}", which is no name for a value here; rename it`);
    known.add(value);
  };
  for (const sparse of model.graph.sparseInitializer) {
    if (sparse.values?.name) define(sparse.values.name, 'a sparse initialiser');
  }
  for (const input of model.inputs) {
    if (input.name === '') throw fail(`a graph input has no name`);
    define(input.name, 'a graph input');
  }
  const hint = [...model.tensors.values()].every(({ type }) => !type.includes('float'))
    ? ' (the file holds no weights; export it with them)'
    : '';
  for (const node of model.nodes) {
    if (node.opType === '') throw fail(`node "${node.name}" has no operator`);
    for (const value of reads(node)) {
      if (known.has(value)) continue;
      const later = model.producer(value)?.name;
      throw later === undefined
        ? fail(`node "${node.name}" reads "${value}", which nothing computes${hint}`)
        : fail(`"${node.name}" reads "${value}" before "${later}" computes it`);
    }
    for (const value of node.output) if (value !== '') define(value, `node "${node.name}"`);
  }
  const outputs = new Set<string>();
  for (const { name } of model.outputs) {
    if (!known.has(name)) throw fail(`no node computes the output "${name}"`);
    if (outputs.has(name)) throw fail(`two outputs are called "${name}"`);
    outputs.add(name);
  }
}

/**
 * The nodes in an order in which each value is made before it is read; those that are in such an order stay as they are.
 *
 * @param given  values that are there before any node, whatever nodes say that they make
 * @throws {FormatError} naming two nodes of a cycle
 */
export function sortNodes(
  nodes: readonly NodeProto[],
  file: string,
  given: ReadonlySet<string> = new Set(),
): NodeProto[] {
  const producers = new Map<string, NodeProto>();
  for (const node of nodes)
    for (const value of node.output)
      if (!producers.has(value) && !given.has(value)) producers.set(value, node);
  const sorted = new Set<NodeProto>();
  const open = new Map<NodeProto, Iterator<string>>(); // in the order of descent
  const enter = (node: NodeProto) => open.set(node, reads(node).values());
  for (const start of nodes) {
    if (!sorted.has(start)) enter(start);
    for (const path = [...open.keys()]; path.length > 0; ) {
      const node = path[path.length - 1];
      const { value, done } = open.get(node)!.next();
      const before = done ? undefined : producers.get(value);
      if (done) {
        sorted.add(node);
        open.delete(node);
        path.pop();
      } else if (before && open.has(before)) {
        throw new FormatError(
          `${file}: the graph has a cycle: "${node.name}" reads "${value}" of "${before.name}", which depends on it`,
        );
      } else if (before && !sorted.has(before)) {
        enter(before);
        path.push(before);
      }
    }
  }
  return [...sorted];
}
