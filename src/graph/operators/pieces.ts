// Operators that take an axis apart or put it together: Split, Slice, Concat.

import { type Axis, type EditPlace, splitAxis } from '../labels.ts';
import { attribute, attributeInt, attributeInts } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule, wrapAxis } from '../propagation.ts';
import { fixedIntegers, follows, pinCounted, sizesOf } from '../sizes.ts';
import { pickPlaces } from './shuffle.ts';
import { type Operand, tie } from './tie.ts';

/** Split along the labelled axis makes labels of their own, as of a fused query, key and value projection. */
export const split: Rule = (state, node) => {
  const over = wrapAxis(attributeInt(node, 'axis', 0), state.dims(node.input[0])!.length);
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (place !== over) for (const output of node.output) state.mark(output, place, axis);
    else splitAlong(state, node, place, axis);
  }
};

function splitAlong(state: Propagation, node: NodeProto, place: number, axis: Axis): void {
  const shares = node.output.map((value) => state.dims(value)?.[place] ?? 0);
  const parts = splitAxis(axis, shares);
  const isAttribute = attribute(node, 'split') !== undefined;
  const isEven = !isAttribute && !node.input[1];
  if (!parts || (!isAttribute && !isEven && !state.integers(node, 1))) {
    state.pin(axis, `${called(node)} splits it`);
    return;
  }
  // sizes are an attribute before opset 13, an input since then; even ones may be neither
  const isOld = isAttribute || (isEven && state.model.opset < 13);
  const values = isEven ? shares : undefined;
  for (const [index, part] of parts.entries()) {
    const own = { node: node.name, index, values };
    const edit: EditPlace = isOld
      ? { kind: 'attribute', name: 'split', ...own }
      : { kind: 'constant', input: 1, ...own };
    state.edit(part, edit, node.name);
    state.mark(node.output[index], place, part);
  }
}

/** Slice: other axes, or all of a labelled one, or a piece of it. */
export const slice: Rule = (state, node) => {
  const bounds = boundsOf(state, node);
  const [input, output] = [state.dims(node.input[0])!, state.dims(node.output[0])!];
  for (const [index, size] of (sizesOf(state, node, 2) ?? []).entries()) {
    const place = wrapAxis(bounds.axes[index] ?? index, input.length);
    const axis = input[place] === output[place] ? state.axes(node.input[0])[place] : undefined;
    // as far as another value goes, which has as many channels
    if (size.axis && !(axis && follows(state, node, size, axis))) pinCounted(state, node, [size]);
  }
  for (const [place, axis] of state.labelled(node.input[0])) {
    const stepped = placesOf(place, axis, input.length, bounds);
    if (stepped) {
      pickPlaces(state, node.input[0], place, axis, { node, places: stepped });
      continue;
    }
    if (bounds.isReversed(place)) {
      state.pin(axis, `${called(node)} may reverse the channels`);
      continue;
    }
    const isOpen = !bounds.ends && bounds.axes.some((own) => wrapAxis(own, input.length) === place);
    // As many of a table as there are positions: in other runs there are fewer.
    if (isOpen && state.constant(node, 0)) continue;
    if (input[place] === output[place]) state.mark(node.output[0], place, axis);
    else takePiece(state, node, place, axis, bounds);
  }
};

/** What is taken in steps of one axis alone, as every other channel, or all of them in reverse. */
function placesOf(
  place: number,
  { label, extent, outer, isMerged }: Axis,
  rank: number,
  { starts, ends, axes, steps }: Bounds,
): number[] | undefined {
  const [step = 1] = steps;
  // Lists of sizes, which nodes read as parameters, are turned round too.
  const isMade = label.leaves().some(({ producers }) => producers.length > 0);
  const isOne = axes.length === 1 && wrapAxis(axes[0], rank) === place && outer === 1 && !isMerged;
  if (!isMade || !isOne || step === 1 || step === 0 || !starts || !ends) return undefined;
  const [lowest, highest] = step > 0 ? [0, extent] : [-1, extent - 1];
  const [from, to] = [starts[0], ends[0]].map((bound) =>
    Math.min(Math.max(bound < 0 ? bound + extent : bound, lowest), highest),
  );
  const count = Math.max(0, Math.ceil((to - from) / step));
  return Array.from({ length: count }, (_, i) => from + i * step);
}

function takePiece(state: Propagation, node: NodeProto, place: number, axis: Axis, bounds: Bounds): void {
  const { starts, ends, steps, axes } = bounds;
  const index = axes.findIndex((own) => wrapAxis(own, state.dims(node.input[0])!.length) === place);
  const [start, end] = [starts?.[index], ends?.[index]];
  const [from, to] = [start, end].map((bound = Number.NaN) =>
    Math.min(Math.max(bound < 0 ? bound + axis.extent : bound, 0), axis.extent),
  );
  // not those that are computed or stepped
  const isPlain = from < to && (steps[index] ?? 1) === 1;
  const parts = isPlain ? splitAxis(axis, [from, to - from, axis.extent - to]) : undefined;
  if (!parts) {
    state.pin(axis, `${called(node)} changes the number of channels`);
    return;
  }
  const [before, own, behind] = parts;
  // a bound moves with all that is cut before it, one that is counted from the end with what is cut behind it
  const move = (name: 'starts' | 'ends', bound: number, lower: Axis[], upper: Axis[]) => {
    if (bound < -axis.extent || bound > axis.extent) return; // "as far as it goes" and not a number of channels
    const [others, sign] = bound < 0 ? [upper, -1] : [lower, 1];
    for (const part of others) state.edit(part, bounds.place(name, index), node.name, sign);
  };
  move('starts', start!, [before], [own, behind]);
  move('ends', end!, [before, own], [behind]);
  state.mark(node.output[0], place, own);
}

type Bounds = ReturnType<typeof boundsOf>;

/** Where a Slice begins and ends: attributes before opset 10, inputs since then. */
export function boundsOf(state: Propagation, node: NodeProto) {
  const isAttribute = attribute(node, 'starts') !== undefined;
  const list = (name: string, input: number) =>
    isAttribute ? attributeInts(node, name) : fixedIntegers(state, node, input);
  const [starts, ends, axes, steps] = ['starts', 'ends', 'axes', 'steps'].map((name, i) => list(name, i + 1));
  const isStepped = Boolean(node.input[4]);
  const isListed = axes !== undefined || !node.input[3];
  const rank = state.dims(node.input[0])?.length ?? 0;
  return {
    starts,
    ends,
    axes: axes ?? [...(starts ?? []).keys()],
    steps: steps ?? [],
    isReversed: (place: number) =>
      isStepped &&
      (!steps ||
        steps.some((step, i) => step < 0 && (!isListed || wrapAxis(axes?.[i] ?? i, rank) === place))),
    place(name: 'starts' | 'ends', index: number): EditPlace {
      if (isAttribute) return { kind: 'attribute', node: node.name, name, index };
      const input = name === 'starts' ? 1 : 2;
      const values = state.constant(node, input) ? undefined : name === 'starts' ? starts : ends;
      return { kind: 'constant', node: node.name, input, index, values };
    },
  };
}

/** Concat: labels side by side; what the operands have on the other axes is tied. */
export const concat: Rule = (state, node) => {
  const output = state.dims(node.output[0])!;
  const over = wrapAxis(attributeInt(node, 'axis', 1), output.length);
  for (const [place, extent] of output.entries()) {
    if (place === over) {
      const axes = node.input.map((value) => state.axes(value)[place]);
      const extents = node.input.map((value) => state.dims(value)![place]);
      state.mark(node.output[0], place, state.joined(axes, extents, node));
    } else {
      const operands = node.input.map((_, input): Operand => [input, place]);
      state.mark(node.output[0], place, tie(state, node, operands, extent));
    }
  }
};
