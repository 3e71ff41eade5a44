// Functions that a model brings along, in the place of the nodes that call them: rules know operators, not these.

import { create, type Message, toBinary } from '@bufbuild/protobuf';
import { FormatError } from '../errors.ts';
import { limits } from '../limits.ts';
import { untaken } from './graph.ts';
import { copyMessage, definedBy, subgraphs } from './node.ts';
import {
  type AttributeProto,
  AttributeProtoSchema,
  type FunctionProto,
  FunctionProtoSchema,
  type GraphProto,
  type ModelProto,
  type NodeProto,
  OperatorSetIdProtoSchema,
} from './onnx_pb.ts';

const keyOf = (domain: string, name: string) => JSON.stringify([domain, name]);

/**
 * Calls of functions become what these consist of. Where functions have operators of another version, or graphs inside call functions,
 * calls stay, and the functions too.
 *
 * @throws {FormatError} naming a function that calls itself, and where all comes to more than `limits.onnxNodes`
 */
export function inlineFunctions(proto: ModelProto, graph: GraphProto, file: string): void {
  const functions = new Map<string, FunctionProto | undefined>();
  for (const it of proto.functions) {
    const key = keyOf(it.domain, it.name);
    functions.set(key, !functions.has(key) && isPlain(it, proto) ? it : undefined);
  }
  if (functions.size === 0) return;
  const endless = callingItself(functions, graph.node);
  if (endless) throw new FormatError(`${file}: its function "${endless.name}" calls itself`);
  const names = namesIn(graph);
  const suffixes = new Map<string, number>();
  const fresh = (base: string) => {
    const name = untaken(base, (it) => names.has(it), suffixes);
    names.add(name);
    return name;
  };
  const done: NodeProto[] = [];
  const again = new Map<FunctionProto, number | undefined>(); // what another call costs, once there is one
  let count = 0;
  const open = [...graph.node].reverse(); // calls may lie deeper than a stack goes
  for (let node = open.pop(); node; node = open.pop()) {
    const called = functions.get(keyOf(node.domain, node.opType));
    if (!called) {
      done.push(node);
      continue;
    }
    const isAgain = again.has(called);
    const cost = again.get(called) ?? (isAgain ? countAgain(called) : countOf(called));
    again.set(called, isAgain ? cost : undefined);
    count += cost;
    if (count > limits.onnxNodes)
      throw new FormatError(
        `${file}: its functions come to more than ${limits.onnxNodes} nodes (limits.onnxNodes)`,
      );
    for (const inner of bodyOf(called, node, fresh).reverse()) open.push(inner);
    for (const { domain, version } of called.opsetImport) {
      if (!proto.opsetImport.some((set) => set.domain === domain))
        proto.opsetImport.push(create(OperatorSetIdProtoSchema, { domain, version }));
    }
  }
  graph.node = done;
  const isCalled = (nodes: readonly NodeProto[]): boolean =>
    nodes.some(
      (node) =>
        functions.has(keyOf(node.domain, node.opType)) ||
        subgraphs(node).some((inner) => isCalled(inner.node)),
    );
  if (!isCalled(done)) proto.functions = [];
}

/** One of the functions that nodes call which calls itself, by others too; calls may lie deeper than a stack goes. */
function callingItself(
  functions: ReadonlyMap<string, FunctionProto | undefined>,
  nodes: readonly NodeProto[],
): FunctionProto | undefined {
  const calledBy = (nodes: readonly NodeProto[]) =>
    new Set(nodes.flatMap(({ domain, opType }) => functions.get(keyOf(domain, opType)) ?? [])).values();
  const [open, over] = [new Set<FunctionProto>(), new Set<FunctionProto>()];
  const path: { readonly it?: FunctionProto; readonly left: Iterator<FunctionProto> }[] = [
    { left: calledBy(nodes) },
  ];
  while (path.length > 0) {
    const { it, left } = path[path.length - 1];
    const { value: next } = left.next();
    if (next === undefined) {
      path.pop();
      if (it) over.add(it);
      if (it) open.delete(it);
    } else if (open.has(next)) return next;
    else if (!over.has(next)) {
      open.add(next);
      path.push({ it: next, left: calledBy(next.node) });
    }
  }
  return undefined;
}

/** Inputs, outputs and attributes that a node has at most; where there are more, it counts for several. */
const USUAL = 8;

/** Nodes that a call comes to, itself among them: what has a thousand inputs, or a long default, takes the memory of many. */
function countOf({ node, input, output, attributeProto }: FunctionProto): number {
  const nodes = [{ input, output, attribute: [] }, ...node];
  const bytes = new Map(
    attributeProto.map((it) => [it.name, toBinary(AttributeProtoSchema, it).length] as const),
  );
  return nodes.reduce((sum, it) => {
    const places = it.input.length + it.output.length + it.attribute.length;
    const written = it.attribute.reduce((sum, own) => sum + (bytes.get(own.refAttrName) ?? 0), 0);
    return sum + Math.max(1, Math.ceil(places / USUAL)) + Math.floor(written / NODE_BYTES);
  }, 0);
}

/** Bytes of a function that count as a node where it is called again: its constants and texts are written once for each call. */
const NODE_BYTES = 1024;

/** The same of every call but the first, of which the file itself has all bytes. */
function countAgain(called: FunctionProto): number {
  const { length } = toBinary(FunctionProtoSchema, called);
  return Math.max(countOf(called), Math.ceil(length / NODE_BYTES));
}

function isPlain({ node, input, output, opsetImport, domain }: FunctionProto, proto: ModelProto) {
  const versionIn = (sets: ModelProto['opsetImport'], domain: string) =>
    sets.find((set) => (set.domain === 'ai.onnx' ? '' : set.domain) === domain)?.version;
  const isAlike = opsetImport.every(({ domain: own, version }) => {
    const other = versionIn(proto.opsetImport, own === 'ai.onnx' ? '' : own);
    return other === undefined || other === version;
  });
  const made = new Set(node.flatMap(({ output }) => output));
  return (
    domain !== '' &&
    isAlike &&
    output.every((name) => made.has(name)) &&
    !input.some((name) => made.has(name)) &&
    node.every((inner) => subgraphs(inner).every(isDense))
  );
}

/** Whether a graph inside a node, and all within it, have names that can be changed. */
const isDense = ({ sparseInitializer, node }: GraphProto): boolean =>
  sparseInitializer.length === 0 && node.every((inner) => subgraphs(inner).every(isDense));

/** Of a call or of what is inside, in the names that are made of both. */
const LONGEST_NAME = 100;
const short = (name: string) => name.slice(-LONGEST_NAME);

function bodyOf(called: FunctionProto, call: NodeProto, fresh: (base: string) => string): NodeProto[] {
  const values = new Map<string, string>([['', '']]);
  for (const [i, name] of called.input.entries()) values.set(name, call.input[i] ?? '');
  for (const [i, name] of called.output.entries()) if (call.output[i]) values.set(name, call.output[i]);
  const base = short(call.name || call.opType); // it grows with every call inside
  const nameOf = (name: string) => {
    const known = values.get(name);
    if (known !== undefined) return known;
    const own = fresh(`${base}/${short(name)}`);
    values.set(name, own);
    return own;
  };
  return called.node.map((inner) => {
    const node = underNames(inner, nameOf, (own) => attributeOf(own, call, called));
    node.name = `${base}/${short(inner.name || inner.opType)}`;
    return node;
  });
}

/**
 * A copy of a node that knows values under other names, as do the graphs inside it.
 *
 * @param said  what a call says of an attribute. Left out: it is no call, and what graphs inside define themselves keeps its name
 */
export function underNames(node: NodeProto, nameOf: Renaming, said?: Said): NodeProto {
  const copy = copyMessage(node);
  copy.input = node.input.map(nameOf);
  copy.output = node.output.map(nameOf);
  copy.attribute = node.attribute.flatMap((it) => {
    const own = said ? said(it) : it;
    if (!own || (!own.g && own.graphs.length === 0)) return own ?? [];
    const other = copyMessage(own);
    if (own.g) other.g = graphUnder(own.g, nameOf, said);
    if (own.graphs.length > 0) other.graphs = own.graphs.map((graph) => graphUnder(graph, nameOf, said));
    return other;
  });
  return copy;
}

type Renaming = (value: string) => string;
type Said = (own: AttributeProto) => AttributeProto | undefined;

function graphUnder(graph: GraphProto, nameOf: Renaming, said?: Said): GraphProto {
  const own = new Set(said ? [] : definedBy(graph));
  const inner = (value: string) => (own.has(value) ? value : nameOf(value));
  const named = <T extends { name: string } & Message>(it: T): T =>
    Object.assign(copyMessage(it), { name: inner(it.name) });
  const copy = copyMessage(graph);
  copy.node = graph.node.map((node) => underNames(node, inner, said));
  copy.output = graph.output.map(named);
  if (!said) return copy;
  copy.input = graph.input.map(named);
  copy.initializer = graph.initializer.map(named);
  copy.valueInfo = [];
  return copy;
}

/** An attribute, or what the call says in its place, or else the function; undefined where neither says anything. */
function attributeOf(
  own: AttributeProto,
  call: NodeProto,
  { attributeProto }: FunctionProto,
): AttributeProto | undefined {
  if (!own.refAttrName) return own;
  const given = [...call.attribute, ...attributeProto].find(({ name }) => name === own.refAttrName);
  if (!given) return undefined;
  const copy = copyMessage(given);
  copy.name = own.name;
  return copy;
}

/** Of all values, those of graphs within nodes among them. */
function namesIn(graph: GraphProto): Set<string> {
  const names = new Set<string>();
  const open = [graph];
  for (let it = open.pop(); it; it = open.pop()) {
    for (const { name } of [...it.input, ...it.output, ...it.initializer]) names.add(name);
    for (const node of it.node) {
      for (const name of [...node.input, ...node.output]) names.add(name);
      open.push(...subgraphs(node));
    }
  }
  return names;
}
