// A model in memory: the ONNX messages as they were read, except that the initialisers of the main graph are
// Tensors in a map. What its nodes mean is told in operators/.

import { create } from '@bufbuild/protobuf';
import { copyMessage } from './message.ts';
import { captured } from './node.ts';
import {
  type GraphProto,
  type ModelProto,
  type NodeProto,
  StringStringEntryProtoSchema,
  type ValueInfoProto,
} from './onnx_pb.ts';
import { operatorOf } from './operators/index.ts';
import type { Operator } from './operators/operator.ts';
import type { Tensor } from './tensor.ts';

/** A place where a value is read: `node.input[index]`, or −1 where a graph inside the node captures it. */
export interface Use {
  node: NodeProto;
  index: number;
}

interface Index {
  nodes: Map<string, NodeProto>;
  position: Map<NodeProto, number>;
  producers: Map<string, NodeProto>;
  uses: Map<string, Use[]>;
  outputs: Set<string>;
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
  #index?: Index;
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
      nodes.has(name) ||
      producers.has(name) ||
      uses.has(name) ||
      this.tensors.has(name) ||
      this.inputs.some((input) => input.name === name);
    if (!taken(base)) return base;
    let suffix = this.#suffixes.get(base) ?? 1;
    while (taken(`${base}_${suffix}`)) suffix++;
    this.#suffixes.set(base, suffix + 1);
    return `${base}_${suffix}`;
  }

  /** Makes `node.input[index]` read another value. */
  setInput(node: NodeProto, index: number, value: string): void {
    const old = this.uses(node.input[index] ?? '');
    const { uses } = this.#indexed();
    if (old.length > 0) {
      uses.set(
        node.input[index],
        old.filter((use) => use.node !== node || use.index !== index),
      );
    }
    node.input[index] = value;
    uses.set(value, [...this.uses(value), { node, index }]);
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
    for (const name of [...nodes].flatMap(({ input }) => input)) {
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

  #indexed(): Index {
    this.#index ??= index(this.nodes, this.outputs);
    return this.#index;
  }
}

function index(list: readonly NodeProto[], outputs: readonly ValueInfoProto[]): Index {
  const nodes = new Map<string, NodeProto>();
  const position = new Map<NodeProto, number>();
  const producers = new Map<string, NodeProto>();
  const uses = new Map<string, Use[]>();
  for (const [place, node] of list.entries()) {
    nodes.set(node.name, node);
    position.set(node, place);
    for (const output of node.output) if (output) producers.set(output, node);
    const add = (value: string, at: number) => {
      const list = uses.get(value);
      if (list) list.push({ node, index: at });
      else uses.set(value, [{ node, index: at }]);
    };
    for (const [at, value] of node.input.entries()) if (value) add(value, at);
    for (const value of captured(node)) add(value, -1);
  }
  return { nodes, position, producers, uses, outputs: new Set(outputs.map((output) => output.name)) };
}
