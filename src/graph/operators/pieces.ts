// Operators that take an axis apart or put it together: Split, Slice, Concat.

import { type Axis, type EditPlace, splitAxis } from '../labels.ts';
import { attribute, attributeInt } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, wrapAxis } from '../propagation.ts';
import type { Rule } from './operator.ts';
import { sameExtent } from './spatial.ts';
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
  for (const [index, part] of parts.entries()) {
    const at = node.name;
    if (isAttribute) state.edit(part, { kind: 'attribute', node: at, name: 'split', index }, at);
    else if (!isEven) state.edit(part, { kind: 'constant', node: at, input: 1, index }, at);
    state.mark(node.output[index], place, part);
  }
  const labels = parts.map(({ label }) => label);
  if (isEven) state.agreements.push({ labels, reason: `${called(node)} splits it evenly` });
}

/** Slice: other axes, or all of the labelled one, or pieces of it that lie side by side. */
export const slice: Rule = (state, node) => {
  const [input] = node.input;
  const steps = state.integers(node, 4);
  if (node.input[4] && (!steps || steps.some((step) => step < 0))) {
    return state.pinAll(node, `${called(node)} may reverse the channels`);
  }
  const piece = pieceOf(state, node);
  const axis = piece && state.axes(input)[piece.place];
  if (!axis || piece.to - piece.from === axis.extent) return sameExtent(state, node);
  for (const [place, other] of state.labelled(input)) {
    if (place !== piece.place) state.mark(node.output[0], place, other);
  }
  const bounds = cuts(state, input, piece.place, axis.extent);
  const shares = bounds.slice(1).map((bound, i) => bound - bounds[i]);
  const parts = splitAxis(axis, shares);
  const index = bounds.indexOf(piece.from);
  if (!parts || bounds[index + 1] !== piece.to) {
    return state.pin(axis, `${called(node)} changes the number of channels`);
  }
  // both bounds move with all that is cut before them
  for (const [i, part] of parts.slice(0, index + 1).entries()) {
    const place = (input: number): EditPlace => ({ kind: 'constant', node: node.name, input, index: 0 });
    if (i < index) state.edit(part, place(1), node.name);
    if (!piece.isOpen) state.edit(part, place(2), node.name);
  }
  state.mark(node.output[0], piece.place, parts[index]);
};

/** What a Slice of a single axis takes; undefined where that is computed, stepped or counted from the end. */
function pieceOf(state: Propagation, node: NodeProto) {
  const dims = state.dims(node.input[0])!;
  const [starts, ends, axes, steps] = [1, 2, 3, 4].map((input) => state.integers(node, input));
  if (starts?.length !== 1 || ends?.length !== 1 || (node.input[3] && axes?.length !== 1)) return undefined;
  const place = wrapAxis(axes?.[0] ?? 0, dims.length);
  const isOpen = ends[0] > dims[place]; // "as far as it goes" and not a number of channels
  if (starts[0] < 0 || ends[0] < 0 || (steps?.[0] ?? 1) !== 1) return undefined;
  return { place, from: starts[0], to: Math.min(ends[0], dims[place]), isOpen };
}

/** The bounds of all slices that take a value apart along one axis, in order, with 0 and the extent. */
function cuts(state: Propagation, value: string, place: number, extent: number): number[] {
  const bounds = new Set([0, extent]);
  for (const { node, index } of state.model.uses(value)) {
    const piece = node.opType === 'Slice' && index === 0 ? pieceOf(state, node) : undefined;
    if (piece?.place === place) for (const bound of [piece.from, piece.to]) bounds.add(bound);
  }
  return [...bounds].sort((a, b) => a - b);
}

/** Concat along another axis: what the operands have on the others is tied. */
export const concat: Rule = (state, node) => {
  const output = state.dims(node.output[0])!;
  const over = wrapAxis(attributeInt(node, 'axis', 1), output.length);
  for (const [place, extent] of output.entries()) {
    const operands = node.input.map((_, input): Operand => [input, place]);
    if (place !== over) state.mark(node.output[0], place, tie(state, node, operands, extent));
    else
      for (const value of node.input) state.pin(state.axes(value)[place], `${called(node)} concatenates it`);
  }
};
