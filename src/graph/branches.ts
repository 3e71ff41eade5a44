// Branches of Ifs in the place of the nodes, where it is known which one is taken.

import { create } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { removeUnread } from './fold.ts';
import { untaken } from './graph.ts';
import { underNames } from './inline.ts';
import { checkGraph, type Model, sortNodes } from './model.ts';
import { attribute, captured, copyMessage, definedBy, isStandard, subgraphs } from './node.ts';
import { type GraphProto, type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import { constantsOf, nameNodes } from './read.ts';

/** Nodes of the main graph that compute one of two branches, of which any can take its place. */
export function ifsOf({ nodes }: Model): NodeProto[] {
  const isDense = (node: NodeProto) => subgraphs(node).every((graph) => graph.sparseInitializer.length === 0);
  return nodes.filter(
    (node) => isStandard(node) && node.opType === 'If' && node.input[0] !== undefined && isDense(node),
  );
}

/**
 * A copy of the model without some Ifs: what their branches compute is computed by nodes of the main graph. Values and nodes
 * keep their names, where nothing else has these.
 *
 * @param taken  whether the condition holds, by the name of the If
 * @throws {FormatError} where an If has no such branch, or one that is malformed
 */
export function takeBranches(model: Model, taken: ReadonlyMap<string, boolean>): Model {
  const copy = model.clone();
  const outputs = new Set(copy.outputs.map(({ name }) => name));
  const names = new Names(copy);
  const unread: string[] = [];
  copy.graph.node = copy.nodes.flatMap((node) => {
    const holds = taken.get(node.name);
    if (holds === undefined) return [node];
    unread.push(node.input[0], ...captured(node));
    const branch = attribute(node, holds ? 'then_branch' : 'else_branch')?.g;
    if (branch?.output.length !== node.output.length)
      throw new FormatError(`${model.name}: If "${node.name}" has a branch without its outputs`);
    const { tensors, nodes } = constantsOf(inPlaceOf(node, branch, names), outputs, model.name);
    for (const tensor of tensors) copy.tensors.set(tensor.name, tensor);
    return nodes;
  });
  nameNodes(copy.nodes);
  copy.graph.node = sortNodes(copy.nodes, model.name);
  copy.edited();
  checkGraph(copy);
  removeUnread(copy, unread);
  copy.removeUnused(unread);
  return copy;
}

/** How many values of a model have a name, in the main graph and in those inside nodes. */
export class Names {
  readonly #count = new Map<string, number>();
  readonly #suffixes = new Map<string, number>();

  constructor({ graph, tensors }: Model) {
    for (const name of tensors.keys()) this.add(name);
    this.addAll(graph);
  }

  add(name: string, more = 1): void {
    this.#count.set(name, (this.#count.get(name) ?? 0) + more);
  }

  /** Adds all that a graph defines, and the graphs inside it. */
  addAll(graph: GraphProto, more = 1): void {
    const open = [graph];
    for (let it = open.pop(); it; it = open.pop()) {
      for (const name of definedBy(it)) this.add(name, more);
      for (const node of it.node) open.push(...subgraphs(node));
    }
  }

  /** The name, or one like it where something has it. */
  free(name: string): string {
    return untaken(name, (it) => (this.#count.get(it) ?? 0) > 0, this.#suffixes);
  }
}

/** A branch whose values have names of the main graph, those of its outputs the names that the If gives them. */
function inPlaceOf(node: NodeProto, branch: GraphProto, names: Names): GraphProto {
  for (const graph of subgraphs(node)) names.addAll(graph, -1);
  const made = new Set(branch.node.flatMap(({ output }) => output));
  const renamed = new Map<string, string>();
  const others = nameOutputs(branch.output, node.output, made, renamed);
  for (const name of definedBy(branch)) {
    if (name === '' || renamed.has(name)) continue;
    const own = names.free(name);
    names.add(own);
    renamed.set(name, own);
  }
  const nameOf = (name: string) => renamed.get(name) ?? name;
  const result = copyMessage(branch);
  result.initializer = branch.initializer.map((it) =>
    Object.assign(copyMessage(it), { name: nameOf(it.name) }),
  );
  result.node = [...branch.node.map((it) => underNames(it, nameOf)), ...handedOut(others, nameOf)];
  for (const it of result.node) for (const graph of subgraphs(it)) names.addAll(graph);
  return result;
}

/** What goes out of a graph inside a node, by its names inside and outside. */
type Outgoing = readonly (readonly [inner: string, outer: string])[];

/**
 * Names what a graph inside a node makes as the node does.
 *
 * @param outer  the node's names; empty where nothing reads a value
 * @param made  values that the graph's nodes make
 * @param renamed  names so far, by those inside
 * @returns what comes from outside, is constant or goes out twice: it has a name already
 */
export function nameOutputs(
  outputs: readonly { readonly name: string }[],
  outer: readonly string[],
  made: ReadonlySet<string>,
  renamed: Map<string, string>,
): Outgoing {
  const others: [string, string][] = [];
  for (const [i, { name }] of outputs.entries()) {
    if (outer[i] === '') continue;
    if (made.has(name) && !renamed.has(name)) renamed.set(name, outer[i]);
    else others.push([name, outer[i]]);
  }
  return others;
}

/** Nodes that give them their names outside. */
export function handedOut(others: Outgoing, nameOf: (name: string) => string): NodeProto[] {
  return others.map(([inner, name]) =>
    create(NodeProtoSchema, { name, opType: 'Identity', input: [nameOf(inner)], output: [name] }),
  );
}
