// Operators that only rename positions: where does the labelled axis go?

import type { Axis } from '../labels.ts';
import { attributeInt, attributeInts } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule, wrapAxis } from '../propagation.ts';
import { elements } from '../tensor.ts';

export const transpose: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const order = attributeInts(node, 'perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  for (const [place, axis] of state.labelled(node.input[0]))
    state.mark(node.output[0], order.indexOf(place), axis);
};

export const squeeze: Rule = (state, node) => {
  const dims = state.dims(node.input[0])!;
  const axes = node.input[1] ? state.integers(node, 1) : attributeInts(node, 'axes');
  if (node.input[1] && !axes) return state.pinAll(node, `${called(node)} has computed axes`);
  const isGone = (place: number) =>
    axes ? axes.some((a) => wrapAxis(a, dims.length) === place) : dims[place] === 1;
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (isGone(place)) state.pin(axis, `${called(node)} removes it`);
    else state.mark(node.output[0], place - countBelow(place, isGone), axis);
  }
};

export const unsqueeze: Rule = (state, node) => {
  const rank = state.dims(node.output[0])!.length;
  const axes = node.input[1] ? state.integers(node, 1) : attributeInts(node, 'axes');
  if (!axes) return state.pinAll(node, `${called(node)} has computed axes`);
  const added = axes.map((a) => wrapAxis(a, rank));
  const places = Array.from({ length: rank }, (_, i) => i).filter((i) => !added.includes(i));
  for (const [place, axis] of state.labelled(node.input[0])) state.mark(node.output[0], places[place], axis);
};

/** Flatten: (a, b, c, d) to (a…, …d). Nothing in the graph names the extents. */
export const flatten: Rule = (state, node) => {
  const input = state.dims(node.input[0])!;
  const at = wrapAxis(attributeInt(node, 'axis', 1), input.length);
  for (const [place, axis] of state.labelled(node.input[0])) {
    const first = place < at ? 0 : at;
    // Channels stay together only if they are the slowest axis of those that are merged.
    if (elements(input.slice(first, place)) !== 1) {
      state.pin(axis, `${called(node)} interleaves it with other axes`);
      continue;
    }
    const block = axis.block * elements(input.slice(place + 1, place < at ? at : undefined));
    state.mark(node.output[0], place < at ? 0 : 1, { label: axis.label, block });
  }
};

/**
 * Reshape: with P positions before the axis on either side, and the new extent a multiple of the number of
 * channels, channel c owns the positions from c·block on again, where block takes in what was merged from
 * behind or loses what was split off.
 */
export const reshape: Rule = (state, node) => {
  const input = state.dims(node.input[0])!;
  const output = state.dims(node.output[0])!;
  for (const [place, axis] of state.labelled(node.input[0])) {
    const to = target(input, output, place, axis);
    const edit = to === undefined ? undefined : shapeEdit(state, node, place, to, output, axis);
    if (to === undefined || edit === undefined) {
      state.pin(axis, `${called(node)} takes it apart or names its size`);
      continue;
    }
    const moved = { label: axis.label, block: output[to] / axis.label.root().groups };
    if (edit !== 'none') {
      state.edit(moved, { kind: 'constant', node: node.name, ...edit, unit: moved.block });
    }
    state.mark(node.output[0], to, moved);
  }
};

function target(
  input: readonly number[],
  output: readonly number[],
  place: number,
  { label, block }: Axis,
): number | undefined {
  const { groups } = label.root();
  if (groups === 1) return undefined; // any axis is a multiple of one channel: it cannot be told which
  const before = elements(input.slice(0, place));
  const behind = elements(input.slice(place + 1));
  for (let to = 0; to < output.length; to++) {
    if (elements(output.slice(0, to)) !== before || output[to] % groups !== 0) continue;
    const size = output[to] / groups;
    // merged with all or part of what is behind, or split inside a channel
    if (size % block === 0 ? (block * behind) % size === 0 : block % size === 0) return to;
  }
  return undefined;
}

/** The constant that names the new extent; "none" if nothing does; undefined if it is computed. */
function shapeEdit(
  state: Propagation,
  node: NodeProto,
  from: number,
  to: number,
  output: readonly number[],
  axis: Axis,
): { node?: string; input: number; index: number } | 'none' | undefined {
  const shape = state.integers(node, 1);
  const judge = (value: number, edit: { node?: string; input: number; index: number }) => {
    if (value === -1) return 'none';
    if (value === 0 && attributeInt(node, 'allowzero', 0) === 0) return from === to ? 'none' : undefined;
    return value === output[to] && value % axis.label.root().groups === 0 ? edit : undefined;
  };
  if (shape) return judge(shape[to], { input: 1, index: to });

  // torch: Concat of the batch, read from a Shape, and constants
  const concat = state.model.producer(node.input[1]);
  // Another reader of the same shape would be changed with it.
  if (concat?.opType !== 'Concat' || state.model.uses(node.input[1]).length > 1) return undefined;
  let at = 0;
  for (const [input, value] of concat.input.entries()) {
    const length = state.dims(value)?.[0];
    if (length === undefined) return undefined;
    if (to < at + length) {
      const part = state.integers(concat, input);
      return part && judge(part[to - at], { node: concat.name, input, index: to - at });
    }
    at += length;
  }
  return undefined;
}

function countBelow(place: number, isGone: (place: number) => boolean): number {
  let count = 0;
  for (let i = 0; i < place; i++) if (isGone(i)) count++;
  return count;
}
