// Operators that change the extent of some axes and leave the others as they are.

import { isFloat } from '../dtype.ts';
import type { Axis, EditPlace } from '../labels.ts';
import { attributeInt, attributeInts, attributeString } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule, wrapAxis } from '../propagation.ts';
import { fixedIntegers, follows, pinCounted, sizesOf } from '../sizes.ts';
import { sum } from '../tensor.ts';
import { carry } from './elementwise.ts';
import { pickPlaces } from './shuffle.ts';
import { type Operand, tie } from './tie.ts';

/** Pooling works on axes from 2 on. */
export const pool: Rule = (state, node) => {
  const indices = node.output[1];
  if (indices && (state.model.uses(indices).length > 0 || state.model.isOutput(indices))) {
    return state.pinAll(node, `${called(node)} gives indices that count over channels`);
  }
  carry(state, node, (place) => (place < 2 ? place : 'pools over it'));
};

/** RoiAlign and MaxRoiPool: regions take the place of images. */
export const poolRegions: Rule = (state, node) =>
  carry(state, node, (place) => (place === 1 ? 1 : 'pools over it'));

/** TopK: the largest of an axis, and where they are. */
export const topK: Rule = (state, node) => {
  const over = wrapAxis(attributeInt(node, 'axis', -1), state.dims(node.input[0])!.length);
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (place === over) state.pin(axis, `${called(node)} picks from it`);
    else for (const value of node.output) state.mark(value, place, axis);
  }
};

/** CumSum: along one axis. */
export const cumulative: Rule = (state, node) => {
  const [over] = state.integers(node, 1) ?? [];
  if (over === undefined) return state.pinAll(node, `${called(node)} has a computed axis`);
  const own = wrapAxis(over, state.dims(node.input[0])!.length);
  carry(state, node, (place) => (place === own ? 'sums over it' : place));
};

/** Axes that keep their extent go through. */
const keepsExtent =
  (otherwise: string): Rule =>
  (state, node) => {
    const [input, output] = [state.dims(node.input[0])!, state.dims(node.output[0])!];
    carry(state, node, (place) => (input[place] === output[place] ? place : otherwise));
  };

const sameExtent = keepsExtent('changes the number of channels');

/** Tile: a labelled axis that is repeated has as many runs more, and in other runs of the model others where these are computed. */
export const tile: Rule = (state, node) => {
  const output = state.dims(node.output[0])!;
  const times = sizesOf(state, node, 1);
  for (const [place, axis] of state.labelled(node.input[0])) {
    const extent = output[place];
    const outer = (axis.outer * extent) / axis.extent;
    const isMerged = axis.isMerged || !times?.[place]?.isFixed;
    state.mark(node.output[0], place, { ...axis, extent, outer, isMerged });
  }
};

/**
 * GatherElements and ScatterElements, as of messages along the edges of a graph: positions of one axis are picked for each of the others,
 * which all operands have.
 */
export const elementsAlong: Rule = (state, node) => {
  const over = wrapAxis(attributeInt(node, 'axis', 0), state.dims(node.input[0])!.length);
  for (const [place, extent] of state.dims(node.output[0])!.entries()) {
    const operands = node.input.map((_, input): Operand => [input, place]);
    if (place !== over) state.mark(node.output[0], place, tie(state, node, operands, extent));
    else for (const value of node.input) state.pin(state.axes(value)[place], `${called(node)} picks from it`);
  }
};

/**
 * GatherND and ScatterND: the numbers along the last axis of the indices are places on the first axes of the data, behind those of the
 * batch. The axes behind these are the last ones of what is picked, and of what is put there.
 */
export const elementsAt: Rule = (state, node) => {
  const [data, indices, updates = ''] = node.input;
  const [output] = node.output;
  const named = attributeInt(node, 'batch_dims', 0) + state.dims(indices)!.at(-1)!;
  const shift = state.dims(updates || output)!.length - state.dims(data)!.length;
  for (const [place, extent] of state.dims(data)!.entries()) {
    const [axis, put] = [state.axes(data)[place], place + shift];
    const operands = [0, 2].map((input): Operand => [input, input ? put : place]);
    if (place < named) state.pin(axis, `${called(node)} picks from it`);
    else if (updates) state.mark(output, place, tie(state, node, operands, extent));
    else state.mark(output, put, axis);
  }
  for (const [place, axis] of state.labelled(updates))
    if (place < named + shift) state.pin(axis, `${called(node)} picks from it`);
  state.pinOthers(indices, -1, `${called(node)} reads places from it`);
};

/** ReverseSequence: of each sample as many steps as it has. */
export const reverseSequence: Rule = (state, node) => {
  const turned = [attributeInt(node, 'time_axis', 0), attributeInt(node, 'batch_axis', 1)];
  carry(state, node, (place) => (turned.includes(place) ? 'turns it round' : place));
};

export const pad: Rule = (state, node) => {
  const output = state.dims(node.output[0])!;
  const pads = fixedIntegers(state, node, 1) ?? attributeInts(node, 'pads');
  for (const [place, axis] of state.labelled(node.input[0])) {
    const places = placesOfPads(state, node, place);
    // Pads that crop one side and extend the other keep the extent but move the channels.
    if (pads && (places ?? [...pads.keys()]).some((at) => pads[at] < 0)) {
      state.pin(axis, `${called(node)} crops`);
      continue;
    }
    const widened = axis.extent === output[place] ? axis : padded(state, node, place, axis, { pads, places });
    if (widened) state.mark(node.output[0], place, widened);
    else state.pin(axis, `${called(node)} changes the number of channels`);
  }
};

/** Where the pads before and behind an axis are listed; nowhere, where it has none, and undefined where that is not known. */
function placesOfPads(state: Propagation, node: NodeProto, place: number): number[] | undefined {
  const rank = state.dims(node.input[0])!.length;
  const axes = node.input[3] ? state.integers(node, 3) : [...Array(rank).keys()];
  const index = axes?.findIndex((own) => wrapAxis(own, rank) === place) ?? -1;
  return axes && (index < 0 ? [] : [index, index + axes.length]);
}

interface Pads {
  readonly pads: readonly number[] | undefined;
  /** Of the axis. */
  readonly places: readonly number[] | undefined;
}

/** Constants before and behind channels are channels too, which no layer makes: they go with those that they are tied to. */
function padded(
  state: Propagation,
  node: NodeProto,
  place: number,
  axis: Axis,
  { pads, places }: Pads,
): Axis | undefined {
  if (!pads || places?.length !== 2 || attributeString(node, 'mode', 'constant') !== 'constant')
    return undefined;
  const [before, behind] = places.map((at) => {
    const own = state.free(pads[at]);
    const edit: EditPlace = node.input[1]
      ? { kind: 'constant', node: node.name, input: 1, index: at, values: pads }
      : { kind: 'attribute', node: node.name, name: 'pads', index: at };
    state.edit(own, edit, node.name);
    return own;
  });
  const parts = [before, axis, behind];
  const extents = parts.map(({ extent }) => extent);
  const isWhole = sum(extents) === state.dims(node.output[0])![place]; // it is not in a malformed file
  return isWhole ? state.joined(parts, extents, node) : undefined;
}

export const resize: Rule = (state, node) => {
  if (attributeString(node, 'coordinate_transformation_mode', '') === 'tf_crop_and_resize') {
    return state.pinAll(node, `${called(node)} crops`);
  }
  const sizes = node.input[3] ? sizesOf(state, node, 3) : [];
  const axes = attributeInts(node, 'axes');
  const rank = state.dims(node.input[0])!.length;
  const followed = new Set<number>();
  for (const [place, axis] of state.labelled(node.input[0])) {
    // the sizes name the number of channels too
    const index = axes ? axes.findIndex((a) => wrapAxis(a, rank) === place) : place;
    if (!node.input[3] || index < 0) continue;
    followed.add(index);
    if (!follows(state, node, sizes?.[index], axis)) state.pin(axis, `${called(node)} has computed sizes`);
  }
  const left = sizes?.filter((_, index) => !followed.has(index));
  pinCounted(state, node, left);
  sameExtent(state, node);
};

/** GridSample: channels go through; rows and columns are those of the grid, whose last axis is coordinates. */
export const gridSample: Rule = (state, node) => {
  const [data, grid] = node.input;
  const last = state.dims(grid)!.length - 1;
  for (const place of state.dims(data)!.keys())
    if (place > 1) state.pin(state.axes(data)[place], `${called(node)} samples along it`);
  state.pin(state.axes(grid)[last], `${called(node)} reads coordinates from it`);
  const samples: Operand[] = [
    [0, 0],
    [1, 0],
  ];
  state.mark(node.output[0], 0, tie(state, node, samples, state.dims(data)![0]));
  state.mark(node.output[0], 1, state.axes(data)[1]);
  for (let place = 1; place < last; place++) state.mark(node.output[0], place + 1, state.axes(grid)[place]);
};

/** Reductions over other axes than the labelled one, or over that one where they are part of a normalisation. */
export const reduce: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const given = node.input[1] ? state.integers(node, 1) : (attributeInts(node, 'axes') ?? []);
  if (!given) return state.pinAll(node, `${called(node)} has computed axes`);
  const isAll = given.length === 0 && attributeInt(node, 'noop_with_empty_axes', 0) === 0;
  const gone = isAll ? undefined : given.map((a) => wrapAxis(a, rank));
  dropAxes(state, node, gone, (place, axis, reason) => {
    const [value] = node.output;
    if (!gone || attributeInt(node, 'keepdims', 1) === 0) return state.pin(axis, reason);
    state.normalise(axis, node, [{ index: 0, axis: place }], []);
    state.reductions.push({ value, fromEnd: rank - place, axis, reason });
  });
};

/** ArgMax and ArgMin: one axis. */
export const argReduce: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const gone = [wrapAxis(attributeInt(node, 'axis', 0), rank)];
  dropAxes(state, node, gone, (_, axis, reason) => state.pin(axis, reason));
};

/**
 * @param gone  axes that are reduced; all, if left out
 * @param over  what to do where these are labelled
 */
function dropAxes(
  state: Propagation,
  node: NodeProto,
  gone: readonly number[] | undefined,
  over: (place: number, axis: Axis, reason: string) => void,
): void {
  const keep = attributeInt(node, 'keepdims', 1) !== 0;
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (!gone || gone.includes(place)) over(place, axis, `${called(node)} reduces over it`);
    else {
      const to = keep ? place : place - gone.filter((a) => a < place).length;
      state.mark(node.output[0], to, axis);
    }
  }
}

/** Trilu: the last two axes are those of the triangle. */
export const trilu: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  carry(state, node, (place) => (place < rank - 2 ? place : 'cuts a triangle out of it'));
};

/** Gather: the axes of the indices take the place of the one that is picked from. A table of embeddings makes channels. */
export const gatherRule: Rule = (state, node) => {
  const [data, indices] = [state.dims(node.input[0]), state.dims(node.input[1])];
  const over = wrapAxis(attributeInt(node, 'axis', 0), data?.length ?? 0);
  const to = (place: number) => (place < over ? place : place + indices!.length - 1);
  if (!data || !indices || !state.dims(node.output[0]) || state.isLabelled(node.input[1]))
    return state.pinAll(node, `${called(node)} cannot be seen through`);
  const table = state.constant(node, 0);
  if (table && isFloat(table.type)) {
    for (const [place, extent] of data.entries()) {
      if (place === over || extent < 2) continue;
      const made = state.produce(node, to(place), extent, { weight: 0 });
      state.slice(made, node, 0, place);
    }
    return;
  }
  const places =
    indices.length === 1 ? state.integers(node, 1)?.map((at) => wrapAxis(at, data[over])) : undefined;
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (place !== over) state.mark(node.output[0], to(place), axis);
    else if (places && places.length > 1) pickPlaces(state, node.input[0], place, axis, { node, places });
    else state.pin(axis, `${called(node)} picks from it`);
  }
};
