// The features of attention's heads: where all heads stay and keep as many of them, these are the channels. Queries and keys are tied
// by the scores that are made of them, values by what the scores mix.

import type { Axis, Label } from '../labels.ts';
import type { NodeProto } from '../onnx_pb.ts';
import type { Propagation } from '../propagation.ts';
import type { Features, MadeFeatures, Reader, Slice, Structure } from '../structure.ts';
import { elements } from '../tensor.ts';

/** What is known of a product of queries and keys, while a graph is walked. */
export interface Scores extends Required<Pick<Features, 'queries' | 'keys'>> {
  readonly label: Label;
}

/** An attention whose heads can have fewer features. */
export interface Attention {
  readonly label: Label;
  readonly features: Features;
  /** The node that mixes values. */
  readonly mix: NodeProto;
}

/**
 * Whether the axes that a product sums over are features of queries and keys that can go: both come straight from layers, so that what
 * is a rotation of the one is undone by that of the other.
 */
export function sumsFeatures(
  state: Propagation,
  node: NodeProto,
  left: Axis | undefined,
  right: Axis | undefined,
): boolean {
  if (!state.narrows || !left || !right) return false;
  const [queries, keys] = [madeBy(state, node.input[0], left), madeBy(state, node.input[1], right)];
  const [a, b] = [left.label.root(), right.label.root()];
  if (!queries || !keys || a === b || a.groups !== b.groups) return false;
  a.union(b);
  state.scores.set(node.output[0], { label: a, queries, keys });
  return true;
}

/** Notes a product that mixes values, and ties its features to those of the queries and keys that it is made by, where they can go. */
export function mixesFeatures(state: Propagation, node: NodeProto, axis: Axis | undefined): void {
  if (!state.narrows || !axis) return;
  const scores = scoresBehind(state, node.input[0]);
  const values = madeBy(state, node.input[1], axis);
  if (!scores || !values) return;
  const own = axis.label.root();
  own.isHead = true;
  const { label, queries, keys } = scores === 'of others' ? {} : scores;
  const isTied = label !== undefined && label.root() !== own && label.root().groups === own.groups;
  if (isTied) own.union(label);
  state.attentions.push({ label: own, mix: node, features: isTied ? { queries, keys, values } : { values } });
}

/** The layer that makes features, with nothing in between but what moves, copies or scales all of them alike, and where each head has its own. */
function madeBy(state: Propagation, value: string, { label, outer, extent }: Axis): MadeFeatures | undefined {
  const root = label.root();
  if (outer > 1 || root.groups !== extent || root.parts) return undefined;
  for (let own: string | undefined = value; own !== undefined; ) {
    const node: NodeProto | undefined = state.model.producer(own);
    if (!node) return undefined;
    if (state.model.operator(node)?.layer && state.constant(node, 1)) {
      const { name } = node;
      const blocks = root.slices.filter((slice) => slice.node === name && slice.input === 1);
      return { node: name, heads: blocks.map(({ offset }) => offset).sort((a, b) => a - b) };
    }
    own = straightBefore(state, node);
  }
  return undefined;
}

/** The value that a node moves, copies or scales as a whole, or adds a constant to. */
function straightBefore(state: Propagation, node: NodeProto): string | undefined {
  const [input] = node.input;
  switch (node.opType) {
    case 'Transpose':
    case 'Reshape':
    case 'Identity':
    case 'Unsqueeze':
    case 'Squeeze':
    case 'Split':
    case 'Slice':
      return input;
    case 'Expand':
      return repeatsBehind(state, node) ? input : undefined;
    case 'Add':
    case 'Mul':
    case 'Div': {
      const at = node.input.findIndex((_, index) => state.constant(node, index));
      const isPlain = node.opType === 'Add' || elements(state.constant(node, at)?.dims ?? [0]) === 1;
      return at >= 0 && isPlain && !(node.opType === 'Div' && at === 0) ? node.input[1 - at] : undefined;
    }
    default:
      return undefined;
  }
}

/** Whether each of the positions before the axis is repeated in its place, as a head of values is for all query heads that share it. */
function repeatsBehind(state: Propagation, node: NodeProto): boolean {
  const [input, output] = [state.dims(node.input[0]), state.dims(node.output[0])];
  const changed = output?.flatMap((dim, place) => (dim === input?.[place] ? [] : [place])) ?? [];
  return input?.length === output?.length && changed.length === 1 && changed[0] >= 2;
}

/** Nodes between scores and what they mix values by. */
const BETWEEN: ReadonlySet<string> = new Set([
  'Softmax',
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Where',
  'Cast',
  'Tanh',
  'Clip',
  'Identity',
  'Dropout',
  'Max',
  'Min',
  'IsNaN',
  'Transpose',
  'Reshape',
]);

/** The scores that a mixture is made by; `of others` where their features cannot go; undefined where there is no softmax of a product. */
function scoresBehind(state: Propagation, value: string): Scores | 'of others' | undefined {
  const { model } = state;
  const open = [value];
  const seen = new Set(open);
  let hasSoftmax = false;
  let found: Scores | 'of others' | undefined;
  for (let own = open.pop(); own !== undefined; own = open.pop()) {
    const node = model.producer(own);
    if (!node) continue;
    state.patience.spend();
    const isProduct = node.opType === 'MatMul' && !model.tensors.has(node.input[1]);
    if (isProduct) found ??= state.scores.get(own) ?? 'of others';
    if (!BETWEEN.has(node.opType)) continue;
    hasSoftmax ||= node.opType === 'Softmax';
    for (const input of node.input) {
      if (seen.has(input)) continue;
      seen.add(input);
      open.push(input);
    }
  }
  return hasSoftmax ? found : undefined;
}

/**
 * Whether the features of an attention can be turned within each head: nothing sees one of them apart from the others but the layers that
 * make them and one that reads what was mixed, and nothing else.
 */
export function canTurn(
  state: Propagation,
  { features, mix }: Attention,
  own: Pick<Structure, 'groups' | 'producers' | 'consumers' | 'slices' | 'norms'>,
): boolean {
  const [reader, ...more] = own.consumers;
  if (!reader || more.length > 0 || reader.others || own.norms.length > 0) return false;
  const { queries, keys, values } = features;
  const shares = (few?: MadeFeatures, many = 0) => many % (few?.heads.length ?? 1) === 0;
  if (!shares(keys, queries?.heads.length) || !shares(values, reader.blocks.length)) return false;
  return areOfLayers(state, Object.values(features), reader, own) && isMixedBy(state, mix, reader.input);
}

/** Whether all that hangs on features are the weights and biases of the layers that make them, and of the one that reads them. */
function areOfLayers(
  state: Propagation,
  made: readonly MadeFeatures[],
  reader: Reader,
  { groups, producers, slices }: Pick<Structure, 'groups' | 'producers' | 'slices'>,
): boolean {
  const makers = new Set(made.map(({ node }) => node));
  const outputs = new Set(producers.map(({ output }) => output));
  const isBias = ({ node, tensor }: Slice) =>
    state.dims(tensor)?.length === 1 && state.model.node(node)!.input.some((it) => outputs.has(it));
  const isOfLayer = (slice: Slice) => slice.node === reader.node || makers.has(slice.node) || isBias(slice);
  // features lie on the last axis of what these make and read
  const isRow = ({ kind }: { readonly kind: string }) => kind === 'matmul' || kind === 'gemm';
  const places = made.flatMap(({ node, heads }) => heads.map((offset) => `${node} ${offset}`));
  const found = slices.filter(({ node, input }) => makers.has(node) && input === 1);
  const all = new Set([...places, ...found.map(({ node, offset }) => `${node} ${offset}`)]).size;
  return (
    producers.every((it) => makers.has(it.node) && isRow(it)) &&
    found.length === places.length &&
    all === places.length &&
    isRow(reader) &&
    reader.p === groups * reader.groupSize &&
    [...slices, ...reader.blocks].every(({ block }) => block === 1) &&
    slices.every(isOfLayer)
  );
}

/** Whether a value is what was mixed, moved or scaled as a whole. */
function isMixedBy(state: Propagation, mix: NodeProto, input: string): boolean {
  for (let value: string | undefined = input; value !== undefined; ) {
    const node: NodeProto | undefined = state.model.producer(value);
    if (node === mix) return true;
    value = node && straightBefore(state, node);
  }
  return false;
}
