// A model: a graph, and all that operators/ tells of its nodes.

import { FormatError } from '../errors.ts';
import { expectMethods } from '../expect.ts';
import { Graph } from './graph.ts';
import { copyMessage, reads, subgraphs } from './node.ts';
import type { ModelProto, NodeProto } from './onnx_pb.ts';
import { operatorOf } from './operators/index.ts';
import type { Operator } from './propagation.ts';
import type { Tensor } from './tensor.ts';

/** An ONNX graph to edit in place, its weights beside it. */
export class Model extends Graph<Operator> {
  /** Operators that `readModel` was told of. */
  readonly operators: readonly Operator[];

  /** Takes what `readModel` has checked; use that instead. */
  constructor(
    name: string,
    proto: ModelProto,
    tensors: Map<string, Tensor>,
    operators: readonly Operator[] = [],
  ) {
    super(name, proto, tensors);
    this.operators = operators;
  }

  operator(node: NodeProto): Operator | undefined {
    return operatorOf(node, this.operators);
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
}

/** Whether every node runs once, whatever the values are: there are no loops, branches and functions. */
export function isStraight({ nodes, proto }: Model): boolean {
  return proto.functions.length === 0 && nodes.every((node) => subgraphs(node).length === 0);
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

/** @throws {InputError} where it is none */
export function expectModel(operation: string, model: unknown): void {
  expectMethods(operation, 'model', model, 'a model (readModel(bytes))', 'clone', 'metadata');
}
