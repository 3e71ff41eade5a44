// The features of attention's heads: where all heads stay and keep as many of them, these are the channels. Queries and keys are tied
// by the scores that are made of them, values by what the scores mix.

import type { Axis } from '../labels.ts';
import type { NodeProto } from '../onnx_pb.ts';
import type { Propagation } from '../propagation.ts';
import type { Attention, Made, Scores, Side } from '../scores.ts';
import {
  type Features,
  type MadeFeatures,
  madeOf,
  type Reader,
  type Slice,
  type Structure,
} from '../structure.ts';
import { elements } from '../tensor.ts';
import { originOf } from './origin.ts';

/**
 * Whether the axes that a product sums over are features of queries and keys that can go: both come straight from layers, so that what
 * is a rotation of the one is undone by that of the other.
 */
export function sumsFeatures(state: Propagation, node: NodeProto, left: Side, right: Side): boolean {
  if (!state.narrows) return false;
  const apart = apartIn(state, left, right);
  const [asking, asked] = [left, right].map((side) => madeBy(state, side, apart));
  const [a, b] = [left, right].map((side) => axisOf(state, side)?.label.root());
  if (!asking || !asked || !a || !b || a.groups !== b.groups) return false;
  const pairs = paired(asking.offsets, asked.offsets);
  if (!pairs) return false;
  const [queries, keys] = [
    { node: asking.node, heads: pairs.own },
    { node: asked.node, heads: pairs.shared },
  ];
  // what is both cannot be turned for the one and back for the other
  if (a === b && queries.node === keys.node && keys.heads.some((it) => queries.heads.includes(it)))
    return false;
  a.union(b);
  state.scores.set(node.output[0], { label: a, queries, keys });
  return true;
}

/**
 * Notes a product that mixes values, and ties its features to those of the queries and keys that it is made by, where they can go.
 *
 * @param mixed  its output
 */
export function mixesFeatures(
  state: Propagation,
  node: NodeProto,
  left: Side,
  right: Side,
  mixed: Side,
): void {
  if (!state.narrows) return;
  const scores = scoresBehind(state, left.value);
  const values = madeBy(state, right, apartIn(state, left, right));
  const own = axisOf(state, right)?.label.root();
  if (!scores || !values || !own) return;
  own.isHead = true;
  const { label, queries, keys } = scores === 'of others' ? {} : scores;
  const isTied = label !== undefined && label.root().groups === own.groups;
  if (isTied) own.union(label);
  state.attentions.push({ label: own, mix: node, mixed, values, ...(isTied && { queries, keys }) });
}

const axisOf = (state: Propagation, { value, place }: Side): Axis | undefined => state.axes(value)[place];

/** The extents of the axes that a product has apart. */
function apartIn(state: Propagation, left: Side, right: Side): number[] {
  const extent = ({ value, apart }: Side, i: number) =>
    apart[i] === undefined ? 1 : state.dims(value)![apart[i]];
  return left.apart.map((_, i) => Math.max(extent(left, i), extent(right, i)));
}

/** The layer that makes features, where each head has its own, and there is nothing in between but what `originOf` follows. */
function madeBy(state: Propagation, side: Side, counts: readonly number[]): Made | undefined {
  const axis = axisOf(state, side);
  const root = axis?.label.root();
  if (!axis || !root || axis.outer > 1 || root.groups !== axis.extent || root.parts) return undefined;
  const dims = state.dims(side.value)!;
  const first = [...positionsOf(dims)].filter((position) => indexOf(position, dims, side.place) === 0);
  const isLayer = (node: NodeProto) => !!state.model.operator(node)?.layer && !!state.constant(node, 1);
  const origin = originOf(state, side.value, first, isLayer);
  const width = state.dims(origin?.node.output[0] ?? '')?.at(-1);
  if (!origin || !width) return undefined;
  const of = (position: number) =>
    placeAmong(
      side.apart.map((place) => (place === undefined ? 0 : indexOf(position, dims, place))),
      side.apart.map((place) => (place === undefined ? 1 : dims[place])),
    );
  const found = new Map<number, number>();
  for (const [i, position] of origin.positions.entries()) {
    const [key, offset] = [of(first[i]), position % width];
    if ((found.get(key) ?? offset) !== offset) return undefined; // heads are among what is multiplied with all others
    found.set(key, offset);
  }
  const own = side.apart.map((place) => (place === undefined ? 1 : dims[place]));
  const offsets = Array.from(positionsOf(counts), (at) => {
    const places = own.map((extent, i) => (extent === 1 ? 0 : indexOf(at, counts, i)));
    return found.get(placeAmong(places, own)) ?? Number.NaN;
  });
  return offsets.every(Number.isInteger) ? { node: origin.node.name, offsets } : undefined;
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
export const PRODUCTS: ReadonlySet<string> = new Set(['MatMul', 'Einsum']);

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
    const isProduct = PRODUCTS.has(node.opType) && !model.tensors.has(node.input[1]);
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
 * What of an attention's heads can be turned: nothing sees one of their features apart from the others but the layers that make them and
 * one that reads what was mixed, and nothing else; undefined where something does.
 */
export function turnedFeatures(
  state: Propagation,
  attention: Attention,
  own: Pick<Structure, 'groups' | 'producers' | 'consumers' | 'slices' | 'norms'>,
): Features | undefined {
  const { queries, keys, values } = attention;
  const [reader, ...more] = own.consumers;
  if (!reader || more.length > 0 || reader.others || own.norms.length > 0) return undefined;
  const read = readFrom(state, attention, reader);
  if (!read) return undefined;
  const made = { node: values.node, heads: read.shared };
  const features = { ...(queries && keys && { queries, keys }), values: made, read: read.own };
  return areOfLayers(state, madeOf(features), reader, own) ? features : undefined;
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

/** Which of the reader's rows read what is mixed of which values. */
function readFrom(state: Propagation, { mix, mixed, values }: Attention, { input, blocks }: Reader) {
  const [dims, from] = [state.dims(input), state.dims(mixed.value)];
  const width = dims?.at(-1);
  if (!dims || !from || !width) return undefined;
  const offsets = new Set(blocks.map(({ offset }) => offset));
  const first = [...positionsOf(dims)].filter((position) => offsets.has(position % width));
  const origin = originOf(state, input, first, (node) => node === mix);
  const counts = mixed.apart.map((place) => from[place!]);
  const found = origin?.positions.map((position) => {
    const places = mixed.apart.map((place) => indexOf(position, from, place!));
    return indexOf(position, from, mixed.place) === 0
      ? values.offsets[placeAmong(places, counts)]
      : Number.NaN;
  });
  return found?.every(Number.isInteger)
    ? paired(
        first.map((position) => position % width),
        found,
      )
    : undefined;
}
