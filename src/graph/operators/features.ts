// The features of attention's heads: where all heads stay and keep as many of them, these are the channels. Queries and keys are tied
// by the scores that are made of them, values by what the scores mix.

import type { Axis, Label } from '../labels.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation } from '../propagation.ts';
import type { Attention, Made, NarrowHeads, Scores, Side } from '../scores.ts';
import { type Features, madeOf, type Reader, type Slice, type Structure } from '../structure.ts';
import { elements, sum } from '../tensor.ts';
import { originOf } from './origin.ts';

/**
 * Ties the axes that a product sums over where they are features of queries and keys that can go: both come straight from layers, so that
 * what is a rotation of the one is undone by that of the other.
 *
 * @returns why they have to stay, if they have to
 */
export function sumFeatures(
  state: Propagation,
  node: NodeProto,
  left: Side,
  right: Side,
): string | undefined {
  if (!state.narrows(node)) return `${called(node)} sums over it`;
  const scores = scoresOf(state, node, left, right);
  state.scores.set(node.output[0], scores);
  if (typeof scores === 'string') return scores;
  state.narrowed.add(node);
  return undefined;
}

function scoresOf(state: Propagation, node: NodeProto, left: Side, right: Side): Scores | string {
  const apart = apartIn(state, left, right);
  const [asking, asked] = [left, right].map((side) => madeBy(state, side, apart));
  const [a, b] = [left, right].map((side) => axisOf(state, side)?.label.root());
  const reason = `${called(node)} sums over it`;
  if (typeof asking === 'string') return `${reason}, and ${asking}`;
  if (typeof asked === 'string') return `${reason}, and ${asked}`;
  const pairs = paired(asking.offsets, asked.offsets);
  if (!a || !b || a.groups !== b.groups || !pairs) return reason;
  const [queries, keys] = [
    { node: asking.node, heads: pairs.own },
    { node: asked.node, heads: pairs.shared },
  ];
  // what is both cannot be turned for the one and back for the other
  if (a === b && queries.node === keys.node && keys.heads.some((it) => queries.heads.includes(it)))
    return reason;
  a.union(b);
  return { label: a, queries, keys };
}

/** Notes a product that mixes values, and the scores that it is made by. @param mixed  its output */
export function mixFeatures(state: Propagation, node: NodeProto, left: Side, right: Side, mixed: Side): void {
  const scores = state.narrows(node) ? scoresBehind(state, left.value) : undefined;
  if (scores === undefined) return;
  const values = madeBy(state, right, apartIn(state, left, right));
  const own = axisOf(state, right)?.label.root();
  if (typeof values === 'string' || !own) {
    state.attentions.push({ mix: node, mixed, heads: typeof values === 'string' ? values : ONE_BY_ONE });
    return;
  }
  own.markHeads();
  state.narrowed.add(node);
  const known = typeof scores === 'string' ? undefined : scores;
  known?.label.markHeads();
  state.attentions.push({ mix: node, mixed, heads: { label: own, values, scores: known } });
}

/** Ties features of queries and keys to those of the values that their scores mix, wherever both are among labels; whether there are any. */
export function tieFeatures(state: Propagation, labels: Iterable<Label>): boolean {
  const roots = new Set(Array.from(labels, (label) => label.root()));
  let isTied = false;
  for (const { heads } of state.attentions) {
    if (typeof heads === 'string' || !heads.scores) continue;
    const [values, keys] = [heads.label.root(), heads.scores.label.root()];
    if (values === keys || values.groups !== keys.groups || !roots.has(values) || !roots.has(keys)) continue;
    isTied = values.union(keys) || isTied;
  }
  return isTied;
}

/**
 * Whether heads all stay at a product, as features of them go: what operands have on an axis that it has apart, as numbers by head that come of
 * a table (relative positions), then stays too.
 */
export function holdsHeads(
  state: Propagation,
  node: NodeProto,
  axes: readonly (Axis | undefined)[],
): boolean {
  if (!state.narrowed.has(node)) return false;
  for (const axis of axes) state.pin(axis, `${called(node)} has all heads, which lose features`);
  return true;
}

const axisOf = (state: Propagation, { value, place }: Side): Axis | undefined => state.axes(value)[place];

/** The extents of the axes that a product has apart. */
function apartIn(state: Propagation, left: Side, right: Side): number[] {
  const extent = ({ value, apart }: Side, i: number) =>
    apart[i] === undefined ? 1 : state.dims(value)![apart[i]];
  return left.apart.map((_, i) => Math.max(extent(left, i), extent(right, i)));
}

/** Whether a node has weights of its own. */
export function isLayer(state: Propagation, node: NodeProto): boolean {
  return !!state.model.operator(node)?.layer && !!state.constant(node, 1);
}

/** Why features stay of which no more is known. */
const ONE_BY_ONE = 'features of its heads are seen one by one';

/**
 * The layer that makes features, where each head has its own, and there is nothing in between but what `originOf` follows; otherwise why
 * they stay.
 */
function madeBy(state: Propagation, side: Side, counts: readonly number[]): Made | string {
  const axis = axisOf(state, side);
  const root = axis?.label.root();
  const dims = state.dims(side.value)!;
  const isApart = axis?.outer === 1 && root?.groups === axis.extent && !root.parts;
  // one position is enough to say what is in between
  const first = isApart
    ? [...positionsOf(dims)].filter((position) => indexOf(position, dims, side.place) === 0)
    : [0];
  const origin = originOf(state, side.value, first, (node) => isLayer(state, node));
  if (typeof origin === 'string') return `${origin} comes between layer and product`;
  const width = state.dims(origin.node.output[0])?.at(-1);
  if (!isApart || !width) return ONE_BY_ONE;
  const of = (position: number) =>
    placeAmong(
      side.apart.map((place) => (place === undefined ? 0 : indexOf(position, dims, place))),
      side.apart.map((place) => (place === undefined ? 1 : dims[place])),
    );
  const found = new Map<number, number>();
  for (const [i, position] of origin.positions.entries()) {
    const [key, offset] = [of(first[i]), position % width];
    if ((found.get(key) ?? offset) !== offset) return ONE_BY_ONE; // heads are among what is multiplied with all others
    found.set(key, offset);
  }
  const own = side.apart.map((place) => (place === undefined ? 1 : dims[place]));
  const offsets = Array.from(positionsOf(counts), (at) => {
    const places = own.map((extent, i) => (extent === 1 ? 0 : indexOf(at, counts, i)));
    return found.get(placeAmong(places, own)) ?? Number.NaN;
  });
  return offsets.every(Number.isInteger) ? { node: origin.node.name, offsets } : ONE_BY_ONE;
}

function* positionsOf(dims: readonly number[]): Generator<number> {
  for (let at = 0, count = elements(dims); at < count; at++) yield at;
}

/** Where a position is on an axis. */
const indexOf = (position: number, dims: readonly number[], place: number): number =>
  Math.floor(position / elements(dims.slice(place + 1))) % dims[place];

/** The position that is there on each axis. */
const placeAmong = (places: readonly number[], dims: readonly number[]): number =>
  places.reduce((at, place, i) => at * dims[i] + place, 0);

/**
 * Which of one list meet which of another, where each has one and all of these are met by as many: in order, those that meet the same
 * behind each other.
 */
function paired(
  list: readonly number[],
  others: readonly number[],
): { own: number[]; shared: number[] } | undefined {
  const met = new Map<number, number>();
  for (const [i, own] of list.entries()) {
    if ((met.get(own) ?? others[i]) !== others[i]) return undefined;
    met.set(own, others[i]);
  }
  const shared = [...new Set(met.values())].sort((a, b) => a - b);
  const groups = shared.map((other) => [...met.keys()].filter((own) => met.get(own) === other));
  if (groups.some((own) => own.length !== groups[0].length)) return undefined;
  return { own: groups.flatMap((own) => own.sort((a, b) => a - b)), shared };
}

/** Of two activations. */
export const PRODUCTS: ReadonlySet<string> = new Set(['MatMul', 'FusedMatMul', 'Einsum']);

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

/** The scores that a mixture is made by, or why their features stay; undefined where there is no softmax of a product. */
function scoresBehind(state: Propagation, value: string): Scores | string | undefined {
  const { model } = state;
  const open = [value];
  const seen = new Set(open);
  let hasSoftmax = false;
  let found: Scores | string | undefined;
  for (let own = open.pop(); own !== undefined; own = open.pop()) {
    const node = model.producer(own);
    if (!node) continue;
    state.patience.spend();
    const isProduct = PRODUCTS.has(node.opType) && !model.tensors.has(node.input[1]);
    if (isProduct) found ??= state.scores.get(own) ?? ONE_BY_ONE;
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
 * What of the heads whose features are these channels can be turned: nothing sees one of them apart from the others but the layers that make
 * them and one that reads what was mixed, and nothing else; otherwise what does. Undefined where they are no features.
 */
export function turnedFeatures(
  state: Propagation,
  label: Label,
  own: Pick<Structure, 'groups' | 'producers' | 'consumers' | 'slices' | 'norms'>,
): Features | string | undefined {
  const products = [...state.scores.values()].filter((scores) => isOf(label, scores));
  const mixing = state.attentions.filter(({ heads }) => isOf(label, heads));
  const weighing = state.attentions.filter(({ heads }) => isOf(label, scoresIn(heads)));
  const [attention, ...others] = new Set([...mixing, ...weighing]);
  if (!attention && products.length === 0) return undefined;
  if (others.length > 0) return `${others.length + 1} attentions have the same features`;
  if (typeof attention?.heads !== 'object' || products.length !== weighing.length) return ONE_BY_ONE;
  const { values, scores } = attention.heads;
  const [reader] = own.consumers;
  const readers = sum(own.consumers.map(({ others = [] }) => 1 + others.length));
  if (readers !== 1) return `${readers || 'no'} layers read it`;
  const read = mixing.length > 0 ? readFrom(state, attention, values, reader) : undefined;
  if (typeof read === 'string') return read;
  const features: Features = {
    ...(weighing.length > 0 && scores && { scores: { queries: scores.queries, keys: scores.keys } }),
    ...(read && { mixture: { values: { node: values.node, heads: read.shared }, read: read.own } }),
  };
  return seenBeside(state, features, reader, own) ?? features;
}

const isOf = (label: Label, it?: Scores | NarrowHeads | string) =>
  typeof it === 'object' && it.label.root() === label;

const scoresIn = (heads: NarrowHeads | string) => (typeof heads === 'object' ? heads.scores : undefined);

/** The values that scores of these queries and keys mix, where their features are others. */
export function mixedBy(state: Propagation, label: Label): Label[] {
  return state.attentions.flatMap(({ heads }) =>
    typeof heads === 'object' && isOf(label, heads.scores) && !isOf(label, heads) ? [heads.label.root()] : [],
  );
}

/** What hangs on features beside the weights and biases of the layers that make them, and of the one that reads them, if anything does. */
function seenBeside(
  state: Propagation,
  features: Features,
  reader: Reader,
  { groups, producers, slices, norms }: Pick<Structure, 'groups' | 'producers' | 'slices' | 'norms'>,
): string | undefined {
  const nameOf = ({ node }: { readonly node: string }) => called(state.model.node(node)!);
  const made = madeOf(features);
  const makers = new Set(made.map(({ node }) => node));
  const outputs = new Set(producers.map(({ output }) => output));
  const isBias = ({ node, tensor }: Slice) =>
    state.dims(tensor)?.length === 1 && state.model.node(node)!.input.some((it) => outputs.has(it));
  const isOfLayer = (slice: Slice) => slice.node === reader.node || makers.has(slice.node) || isBias(slice);
  // features lie on the last axis of what these make and read
  const isRow = ({ kind }: { readonly kind: string }) => kind === 'matmul' || kind === 'gemm';
  const other = [...producers.filter((it) => !makers.has(it.node)), ...norms, ...slices].find(
    (it) => !('tensor' in it && isOfLayer(it)),
  );
  if (other) return `${nameOf(other)} sees features of heads one by one`;
  const unlike = [...producers, reader].find((it) => !isRow(it));
  if (unlike) return `${nameOf(unlike)} is neither MatMul nor Gemm`;
  const places = made.flatMap(({ node, heads }) => heads.map((offset) => `${node} ${offset}`));
  const found = slices.filter(({ node, input }) => makers.has(node) && input === 1);
  const all = new Set([...places, ...found.map(({ node, offset }) => `${node} ${offset}`)]).size;
  const isWhole = found.length === places.length && all === places.length;
  const isInOrder = [...slices, ...reader.blocks].every(({ block }) => block === 1);
  if (!isInOrder || (features.mixture && reader.p !== groups * reader.groupSize))
    return `${nameOf(reader)} reads features of several heads side by side`;
  return isWhole ? undefined : ONE_BY_ONE;
}

/** Which of the reader's rows read what is mixed of which values, or why it cannot be told. */
function readFrom(
  state: Propagation,
  { mix, mixed }: Attention,
  { offsets: made }: Made,
  { input, blocks }: Reader,
): { own: number[]; shared: number[] } | string {
  const [dims, from] = [state.dims(input), state.dims(mixed.value)];
  const width = dims?.at(-1);
  if (!dims || !from || !width) return ONE_BY_ONE;
  const offsets = new Set(blocks.map(({ offset }) => offset));
  const first = [...positionsOf(dims)].filter((position) => offsets.has(position % width));
  const origin = originOf(state, input, first, (node) => node === mix);
  if (typeof origin === 'string') return `${origin} comes between product and layer`;
  const counts = mixed.apart.map((place) => from[place!]);
  const found = origin.positions.map((position) => {
    const places = mixed.apart.map((place) => indexOf(position, from, place!));
    return indexOf(position, from, mixed.place) === 0 ? made[placeAmong(places, counts)] : Number.NaN;
  });
  const places = first.map((position) => position % width);
  return (found.every(Number.isInteger) && paired(places, found)) || ONE_BY_ONE;
}
