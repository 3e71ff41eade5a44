// Loops that go round as often as a constant says become what they do in each round, and sequences of tensors whose places are constants
// these tensors: PyTorch exports in this way what takes a tensor apart at given places.

import { create } from '@bufbuild/protobuf';
import { handedOut, Names, nameOutputs } from './branches.ts';
import { removeUnread } from './fold.ts';
import { underNames } from './inline.ts';
import { checkGraph, type Model, sortNodes } from './model.ts';
import { attribute, attributeInt, attributeOf, captured, isStandard, subgraphs } from './node.ts';
import { type GraphProto, type NodeProto, NodeProtoSchema, type ValueInfoProto } from './onnx_pb.ts';
import { wrapAxis } from './propagation.ts';
import { constantsOf, nameNodes } from './read.ts';
import { fromIntegers, sum, toIntegers } from './tensor.ts';

/** Graphs grow by what a Loop does each time. */
const MOST_ROUNDS = 8;

/** Sequences with more tensors stay: every node that adds one would have a list of all. */
const LONGEST = 256;

/** The model, or a copy without such Loops and without the sequences that come to an end in it. */
export function unrollLoops(model: Model): Model {
  if (!model.nodes.some((node) => roundsOf(model, node) > 0 || isSequence(node))) return model;
  const copy = model.clone();
  const names = new Names(copy);
  const unread: string[] = [];
  copy.graph.node = copy.nodes.flatMap((node) => {
    const rounds = roundsOf(copy, node);
    if (rounds === 0) return [node];
    unread.push(...node.input.slice(0, 2), ...captured(node));
    return unrolled(copy, node, rounds, names);
  });
  nameNodes(copy.nodes);
  copy.graph.node = sortNodes(copy.nodes, model.name);
  copy.edited();
  checkGraph(copy);
  unread.push(...takeApart(copy));
  removeUnread(copy, unread);
  copy.removeUnused(unread);
  return copy;
}

/** How often a Loop goes round, whatever it computes; 0 where that is not known, or where it gives a list of what each round gives. */
function roundsOf(model: Model, node: NodeProto): number {
  const body = node.opType === 'Loop' && isStandard(node) ? attribute(node, 'body')?.g : undefined;
  const [trips, condition] = node.input;
  const count = trips ? integerOf(model, trips) : undefined;
  const carried = node.input.length - 2;
  const isPlain =
    body?.input.length === carried + 2 &&
    body.output.length === carried + 1 &&
    node.output.length === carried &&
    [body, ...body.node.flatMap(subgraphs)].every((graph) => graph.sparseInitializer.length === 0);
  const isShaped = isPlain && body.input.slice(0, 2).every((value) => extentsOf(value) !== undefined);
  if (!isShaped || count === undefined || count < 1 || count > MOST_ROUNDS) return 0;
  return isAlways(model, body, condition) && isAlways(model, body, body.output[0].name) ? count : 0;
}

/** What a graph inside a Loop wants the number of the round and the condition to be: numbers, or lists of one. */
function extentsOf({ type }: ValueInfoProto): number[] | undefined {
  const shape = type?.value.case === 'tensorType' ? type.value.value.shape : undefined;
  return shape && shape.dim.length < 2 ? shape.dim.map(() => 1) : undefined;
}

/** Whether a condition, of a Loop or of the graph inside it, holds in every run. */
function isAlways(model: Model, body: GraphProto, condition: string): boolean {
  const seen = new Set<string>();
  for (let value = condition; !seen.has(value); ) {
    seen.add(value);
    if (value === '' || value === body.input[1].name) return true;
    const node = body.node.find(({ output }) => output.includes(value));
    if (node?.opType === 'Identity' && isStandard(node)) {
      [value] = node.input;
      continue;
    }
    const { tensors } = constantsOf(
      { initializer: body.initializer, node: node ? [node] : [] },
      new Set(),
      model.name,
    );
    const tensor =
      tensors.find(({ name }) => name === value) ?? (node ? undefined : model.tensors.get(value));
    return tensor?.type === 'bool' && tensor.bytes[0] !== 0;
  }
  return false;
}

function integerOf(model: Model, value: string): number | undefined {
  const tensor = model.tensors.get(value);
  const isInteger = tensor?.type === 'int64' || tensor?.type === 'int32';
  const [integer, ...others] = isInteger ? toIntegers(tensor) : [];
  return others.length === 0 ? integer : undefined;
}

/** The nodes of each round, by names that nothing else has. */
function unrolled(model: Model, node: NodeProto, rounds: number, names: Names): NodeProto[] {
  const body = attribute(node, 'body')!.g!;
  for (const graph of subgraphs(node)) names.addAll(graph, -1);
  const own = (base: string) => {
    const name = names.free(base);
    names.add(name);
    return name;
  };
  // Weights are the same in each round.
  const { tensors, nodes } = constantsOf(body, new Set(), model.name);
  const constants = tensors.map((tensor) => [tensor.name, own(tensor.name)] as const);
  for (const [i, [, name]] of constants.entries()) model.tensors.set(name, { ...tensors[i], name });
  const made = new Set(nodes.flatMap(({ output }) => output));
  const [counter, condition, ...inputs] = body.input.map(({ name }) => name);
  let carried = node.input.slice(2);
  const result: NodeProto[] = [];
  for (let round = 0; round < rounds; round++) {
    const [countDims, conditionDims] = body.input.slice(0, 2).map((value) => extentsOf(value)!);
    const count = fromIntegers(own(counter), [round], countDims);
    const goesOn = {
      name: own(condition),
      type: 'bool',
      dims: conditionDims,
      bytes: Uint8Array.of(1),
    } as const;
    for (const tensor of [count, goesOn]) model.tensors.set(tensor.name, tensor);
    const renamed = new Map([
      [counter, count.name],
      [condition, goesOn.name],
      ...constants,
      ...inputs.map((name, i) => [name, carried[i]] as const),
    ]);
    const given = body.output.slice(1);
    const others = round === rounds - 1 ? nameOutputs(given, node.output, made, renamed) : [];
    for (const name of made) if (name !== '' && !renamed.has(name)) renamed.set(name, own(name));
    const nameOf = (name: string) => renamed.get(name) ?? name;
    const inner = nodes.map((it) => underNames(it, nameOf));
    for (const it of inner) for (const graph of subgraphs(it)) names.addAll(graph);
    result.push(...inner.flatMap((it) => [...scalarsOf(model, it, own), it]), ...handedOut(others, nameOf));
    carried = given.map(({ name }) => nameOf(name));
  }
  return result;
}

/**
 * Nodes that make numbers of a Range's inputs: lists of one do in a run, and in a graph inside a node, but where their extent is known the
 * engine refuses them.
 */
function scalarsOf(model: Model, node: NodeProto, own: (base: string) => string): NodeProto[] {
  if (node.opType !== 'Range' || !isStandard(node)) return [];
  const none = fromIntegers(own(`${node.name}.dims`), [], [0]);
  model.tensors.set(none.name, none);
  return node.input.map((value, i) => {
    const name = own(value);
    node.input[i] = name;
    return create(NodeProtoSchema, { name, opType: 'Reshape', input: [value, none.name], output: [name] });
  });
}

const isSequence = ({ opType }: NodeProto) => opType.includes('Sequence');

/** Lets nodes read the tensors of sequences that are known. @returns what need not be made any more, where nothing else reads it */
function takeApart(model: Model): string[] {
  const lists = new Map<string, readonly string[]>();
  const splits = new Map<string, NodeProto>();
  for (const node of model.nodes) {
    const [first, second, third] = node.input;
    const [output] = node.output;
    const list = lists.get(first);
    if (!isStandard(node)) continue;
    const split = splits.get(first);
    if (node.opType === 'SequenceEmpty') lists.set(output, []);
    else if (node.opType === 'SplitToSequence') splits.set(output, node);
    else if (node.opType === 'SequenceAt' && split) cutOut(model, node, split);
    else if (node.opType === 'SequenceConstruct') lists.set(output, [...node.input]);
    else if (!list || list.length >= LONGEST) continue;
    else if (node.opType === 'Identity') lists.set(output, list);
    else if (node.opType === 'SequenceInsert') {
      const place = third ? integerOf(model, third) : list.length;
      if (place !== undefined) lists.set(output, list.toSpliced(wrapAxis(place, list.length), 0, second));
    } else if (node.opType === 'SequenceAt') {
      const place = integerOf(model, second);
      const value = place === undefined ? undefined : list[wrapAxis(place, list.length)];
      const isNamed = model.isOutput(output) || model.uses(output).some(({ index }) => index < 0);
      if (value !== undefined && !isNamed) model.redirect(output, value);
    } else if (node.opType === 'ConcatFromSequence' && attributeInt(node, 'new_axis', 0) === 0) {
      Object.assign(node, { opType: 'Concat', input: [...list] });
      node.attribute = [attributeOf('axis', attributeInt(node, 'axis', 0))];
      model.edited();
    }
  }
  model.edited();
  return [
    ...splits.keys(),
    ...lists.keys(),
    ...model.nodes.flatMap(({ opType, output }) => (opType === 'SequenceAt' ? output : [])),
  ];
}

/** Has a SequenceAt take its piece out of what a SplitToSequence splits, where constants say which it is. */
function cutOut(model: Model, node: NodeProto, whole: NodeProto): void {
  const [value, split] = whole.input;
  const sizes = split ? model.tensors.get(split) : fromIntegers('', [1], []);
  const place = integerOf(model, node.input[1]);
  if (!sizes || place === undefined) return;
  const all = toIntegers(sizes);
  const isListed = sizes.dims.length > 0;
  const at = isListed ? wrapAxis(place, all.length) : place;
  const size = isListed ? all[at] : all[0];
  if (at < 0 || size === undefined) return; // how many there are of one size is not known
  const start = isListed ? sum(all.slice(0, at)) : at * size;
  const axis = attributeInt(whole, 'axis', 0);
  const constant = (base: string, integer: number, dims: readonly number[] = [1]) => {
    const name = model.fresh(`${node.name}.${base}`);
    model.tensors.set(name, fromIntegers(name, [integer], dims));
    return name;
  };
  // PyTorch says the 1 that is the default; the standard has it keep the axis then, onnxruntime has not
  if (!isListed && size === 1 && attributeInt(whole, 'keepdims', 1) === 0) {
    Object.assign(node, { opType: 'Gather', input: [value, constant('place', at, [])] });
    node.attribute = [attributeOf('axis', axis)];
  } else {
    const bounds = [constant('start', start), constant('end', start + size), constant('axis', axis)];
    Object.assign(node, { opType: 'Slice', input: [value, ...bounds], attribute: [] });
  }
}
