// The derivatives of operators that put values elsewhere, repeat them, pick some or leave some out.

import { typeCode } from '../dtype.ts';
import { attributeInt, transposeOrder } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { wrapAxis } from '../propagation.ts';
import { axesFrom, integersOf, summed } from './gradients.ts';
import type { Backward, GradientRule } from './operator.ts';

/** y = x, or the same values in another shape. */
export const reshaped: GradientRule = (graph, { input: [x] }, index, gradient) =>
  index === 0 ? graph.node('Reshape', [gradient, graph.node('Shape', [x])]) : undefined;

export const turned: GradientRule = (graph, node, _, gradient) => {
  const rank = graph.dims(node.input[0])?.length;
  if (!rank) return undefined;
  const perm = transposeOrder(node, rank);
  const back = perm.map((__, axis) => perm.indexOf(axis));
  return graph.node('Transpose', [gradient], { perm: back });
};

/** Copies along axes of extent 1. */
export const expanded: GradientRule = (graph, node, index, gradient) =>
  index === 0 ? summed(graph, node, index, gradient) : undefined;

/** Copies of all that an axis has, one behind the other: they get an axis of their own, and are summed. */
export const tiled: GradientRule = (graph, { input: [x, repeats], output: [y] }, index, gradient) => {
  const [own, whole] = [graph.dims(x), graph.dims(y)];
  if (index !== 0 || !own || !whole) return undefined;
  const given = integersOf(graph, repeats);
  const isRepeated = (axis: number) => (given ? given[axis] !== 1 : own[axis] !== whole[axis]);
  if (isRepeated(graph.samples(x))) return undefined;
  const copies: number[] = [];
  const extents = own.flatMap((_, axis) => {
    const size = graph.size(x, axis);
    if (!isRepeated(axis)) return [size];
    copies.push(axis + copies.length);
    return [graph.node('Div', [graph.size(y, axis), size]), size];
  });
  const apart = graph.node('Reshape', [gradient, graph.node('Concat', extents, { axis: 0 })]);
  return copies.length === 0 ? gradient : graph.sum(apart, copies);
};

/** Positions of an axis by constant indices. */
export const picked: GradientRule = (graph, node, index, gradient) => {
  const [x, indices] = node.input;
  if (index === 1) return null;
  const [dims, given] = [graph.dims(x), integersOf(graph, indices)];
  if (!dims || !given) return undefined;
  const axis = wrapAxis(attributeInt(node, 'axis', 0), dims.length);
  if (axis === graph.samples(x)) return undefined;
  const extents = dims.map((_, at) => (at === axis ? graph.integers([given.length]) : graph.size(x, at)));
  const flat = graph.node('Reshape', [gradient, graph.node('Concat', extents, { axis: 0 })]);
  if (given.length === 1)
    return among(graph, x, flat, axis, fromStart(graph, x, axis, graph.integers(given)));
  const places = given.map((place) => wrapAxis(place, dims[axis]));
  return putBack(graph, x, flat, { axis, places });
};

interface Places {
  readonly axis: number;
  /** Where on the axis of x each one on that of the gradient is. */
  readonly places: readonly number[];
}

/** The sum of a gradient's parts at each place of an axis, by gathering: not all opsets scatter sums. */
function putBack(graph: Backward, x: string, gradient: string, { axis, places }: Places): string | undefined {
  const dims = graph.dims(x)!;
  if (Number.isNaN(dims[axis])) return undefined;
  const parts = Array.from({ length: dims[axis] }, (): number[] => []);
  for (const [part, place] of places.entries()) parts[place].push(part);
  const pads = [0, 1].flatMap((end) => dims.map((_, at) => (at === axis ? end : 0)));
  const padded = graph.node('Pad', [gradient, graph.integers(pads)]); // a part of zeros behind all
  const rounds = Math.max(1, ...parts.map(({ length }) => length));
  return Array.from({ length: rounds }, (_, round) => {
    const used = parts.map((own) => own[round] ?? places.length);
    return graph.node('Gather', [padded, graph.integers(used)], { axis });
  }).reduce((some, more) => graph.node('Add', [some, more]));
}

/** What an input of a Concat has of it. */
export const joined: GradientRule = (graph, node, index, gradient) => {
  const axis = axisOf(graph, node);
  if (axis === undefined) return undefined;
  const start = total(graph, node.input.slice(0, index), axis);
  const end = total(graph, node.input.slice(0, index + 1), axis);
  return graph.node('Slice', [gradient, start, end, graph.integers([axis])]);
};

/** A Split's output, with zeros for the others. */
export const parted: GradientRule = (graph, node, index, gradient, output) => {
  const axis = axisOf(graph, node);
  if (index !== 0 || axis === undefined) return undefined;
  const before = total(graph, node.output.slice(0, output), axis);
  return among(graph, node.input[0], gradient, axis, before);
};

/** Pieces of some axes; or every so many of an axis, also from its end. */
export const piece: GradientRule = (graph, node, index, gradient) => {
  const [x, start, , named, steps] = node.input;
  const [own, part] = [x, node.output[0]].map((value) => graph.dims(value));
  const axes = named ? integersOf(graph, named) : graph.dims(start) && axesFrom(0, graph.dims(start)![0]);
  const by = steps ? integersOf(graph, steps) : axes?.map(() => 1);
  if (index !== 0 || !own || !part || !axes || !by) return undefined;
  let whole = gradient;
  for (const [i, given] of axes.entries()) {
    const axis = wrapAxis(given, own.length);
    if (by[i] === 1 && part[axis] === own[axis]) continue;
    if (axis === graph.samples(x)) return undefined;
    const first = firstOf(graph, node, i, axis);
    const before = by[i] < 0 ? lastOf(graph, first, whole, axis, by[i]) : first;
    whole = among(graph, x, apart(graph, whole, axis, own.length, by[i]), axis, before);
  }
  return whole;
};

/** Where a piece begins that goes down an axis from `first`. */
function lastOf(graph: Backward, first: string, part: string, axis: number, step: number): string {
  const count = graph.node('Sub', [graph.size(part, axis), graph.integers([1])]);
  return graph.node('Add', [first, graph.node('Mul', [count, graph.integers([step])])]);
}

/** With zeros between what is at every `step`-th place, and turned round where that is below 0. */
function apart(graph: Backward, value: string, axis: number, rank: number, step: number): string {
  const upwards = step < 0 ? sliced(graph, value, axis, { from: -1, to: -FAR, step: -1 }) : value;
  const every = Math.abs(step);
  if (every === 1) return upwards;
  const pads = new Array<number>(2 * (rank + 1)).fill(0);
  pads[rank + 1 + axis + 1] = every - 1;
  const between = graph.node('Pad', [graph.unsqueeze(upwards, [axis + 1]), graph.integers(pads)]);
  const extents = axesFrom(0, rank).map((at) => (at === axis ? graph.integers([-1]) : graph.size(value, at)));
  return graph.node('Reshape', [between, graph.node('Concat', extents, { axis: 0 })]);
}

interface Bounds {
  readonly from: number;
  readonly to: number;
  readonly step: number;
}

/** A piece of one axis. */
export function sliced(graph: Backward, value: string, axis: number, { from, to, step }: Bounds): string {
  return graph.node('Slice', [value, ...[from, to, axis, step].map((it) => graph.integers([it]))]);
}

/** Beyond both ends of every axis. */
export const FAR = 2 ** 31;

/** Where the piece of an axis begins: what is beyond its ends counts as these. */
function firstOf(graph: Backward, { input: [x, starts] }: NodeProto, i: number, axis: number): string {
  const own = graph.node('Slice', [starts, graph.integers([i]), graph.integers([i + 1])]);
  const place = fromStart(graph, x, axis, graph.node('Cast', [own], { to: typeCode('int64') }));
  const [none, last] = [graph.integers([0]), graph.node('Sub', [graph.size(x, axis), graph.integers([1])])];
  const from = graph.node('Where', [graph.node('Less', [place, none]), none, place]);
  return graph.node('Where', [graph.node('Less', [last, from]), last, from]);
}

/** A place on an axis; below 0 it is counted from the end. */
export function fromStart(graph: Backward, x: string, axis: number, place: string): string {
  const isFromEnd = graph.node('Less', [place, graph.integers([0])]);
  return graph.node('Where', [isFromEnd, graph.node('Add', [place, graph.size(x, axis)]), place]);
}

/** Zeros before and behind a gradient, for it to be that of a value with more along an axis. */
export function among(graph: Backward, x: string, gradient: string, axis: number, before: string): string {
  const after = graph.node('Sub', [
    graph.node('Sub', [graph.size(x, axis), before]),
    graph.size(gradient, axis),
  ]);
  const none = (axes: number) => (axes > 0 ? [graph.integers(new Array(axes).fill(0))] : []);
  const [first, last] = [none(axis), none(graph.dims(x)!.length - axis - 1)];
  const pads = graph.node('Concat', [...first, before, ...last, ...first, after, ...last], { axis: 0 });
  return graph.node('Pad', [gradient, pads]);
}

/** The axis that a Concat or Split goes by, unless that is the one of samples. */
function axisOf(graph: Backward, node: NodeProto): number | undefined {
  const [y] = node.output;
  const rank = graph.dims(y)?.length;
  const axis = rank && wrapAxis(attributeInt(node, 'axis', 0), rank);
  return axis === graph.samples(y) ? undefined : axis;
}

/** How much values have of an axis together. */
function total(graph: Backward, values: readonly string[], axis: number): string {
  return values
    .map((value) => graph.size(value, axis))
    .reduce((some, size) => graph.node('Add', [some, size]), graph.integers([0]));
}
