// A graph in memory: the ONNX messages as they were read, except that the initialisers of the main graph are
// Tensors in a map.

import { create } from '@bufbuild/protobuf';
import { captured } from './node.ts';
import {
  type GraphProto,
  type ModelProto,
  type NodeProto,
  StringStringEntryProtoSchema,
  type ValueInfoProto,
} from './onnx_pb.ts';
import type { Arithmetic } from './operators/operator.ts';
import { fromIntegers, groupBy, type Tensor } from './tensor.ts';

/** A place where a value is read: `node.input[index]`, or −1 where a graph inside the node captures it. */
export interface Use {
  node: NodeProto;
  index: number;
}

/** An ONNX graph to edit in place, its weights beside it. */
export abstract class Graph<Known extends Arithmetic = Arithmetic> {
  /** What to call the model in messages, usually its file name. */
  readonly name: string;
  /** Everything but the initialisers, whose list in here is empty. */
  readonly proto: ModelProto;
  /** Constants by name. Put a new tensor to change one; never write to the bytes of one that is there. */
  readonly tensors: Map<string, Tensor>;
  #index?: ReturnType<typeof index>;
  readonly #suffixes = new Map<string, number>();

  constructor(name: string, proto: ModelProto, tensors: Map<string, Tensor>) {
    this.name = name;
    this.proto = proto;
    this.tensors = tensors;
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
  abstract operator(node: NodeProto): Known | undefined;

  /** Place of a node in the topological order. */
  position(node: NodeProto): number {
    return this.#indexed().position.get(node)!;
  }

  /** The node that computes a value; undefined for graph inputs and constants. */
  producer(value: string): NodeProto | undefined {
    return this.#indexed().producers.get(value);
  }

  /** Whether one of the nodes that are wanted is among those that values are made by. @param isEnd  of nodes before which none is looked for */
  isMadeBy(
    values: readonly string[],
    isWanted: (node: NodeProto) => boolean,
    isEnd: (node: NodeProto) => boolean = () => false,
  ): boolean {
    const seen = new Set<string>();
    const pending = [...values];
    for (let value = pending.pop(); value !== undefined; value = pending.pop()) {
      const producer = seen.has(value) ? undefined : this.producer(value);
      seen.add(value);
      if (!producer) continue;
      if (isWanted(producer)) return true;
      if (!isEnd(producer)) pending.push(...producer.input);
    }
    return false;
  }

  /** Where nodes read a value, in topological order. Being a graph output is no use. */
  uses(value: string): readonly Use[] {
    return this.#indexed().uses.get(value) ?? [];
  }

  /** Whether a value is an output of the graph. */
  isOutput(value: string): boolean {
    return this.#indexed().outputs.has(value);
  }

  /** Whether a value or a node has that name. */
  has(name: string): boolean {
    const { nodes, producers, uses } = this.#indexed();
    return (
      [nodes, producers, uses, this.tensors].some((map) => map.has(name)) ||
      this.inputs.some((input) => input.name === name)
    );
  }

  /** A name like `base` that no value and no node has. */
  fresh(base: string): string {
    return untaken(base, (name) => this.has(name), this.#suffixes);
  }

  /** Of a name in a copy of this model: the one here that it was made of, with something behind it; or the same. */
  origin(name: string): string {
    for (let end = name.length; end > 0; end--) {
      const isWhole = end === name.length || '._'.includes(name[end]);
      if (isWhole && this.has(name.slice(0, end))) return name.slice(0, end);
    }
    return name;
  }

  /** Adds a list of int64, under a name like `base` that it gives. */
  integers(base: string, values: readonly number[]): string {
    const name = this.fresh(base);
    this.tensors.set(name, fromIntegers(name, values, [values.length]));
    return name;
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

/** `base`, or the first of `base_1`, `base_2`, … that is not taken. `suffixes` remembers how far it came. */
export function untaken(base: string, taken: (name: string) => boolean, suffixes: Map<string, number>) {
  let suffix = suffixes.get(base) ?? 0;
  const name = () => (suffix === 0 ? base : `${base}_${suffix}`);
  while (taken(name())) suffix++;
  suffixes.set(base, suffix);
  return name();
}
