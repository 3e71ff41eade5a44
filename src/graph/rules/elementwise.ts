// Operators that treat every element alike: labels go through, operands are tied to each other.

import type { Axis } from '../labels.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule } from '../propagation.ts';

/** One labelled operand; parameters beside it are scalars. */
export const unary: Rule = (state, node) => {
  for (const [place, axis] of state.labelled(node.input[0])) state.mark(node.output[0], place, axis);
};

/** Broadcasting operators of any number of operands, and PRelu, whose slope broadcasts in the same way. */
export const broadcast: Rule = (state, node) => {
  const output = state.dims(node.output[0])!;
  for (const place of output.keys()) {
    const axis = joinAxis(state, node, place, output);
    if (axis) state.mark(node.output[0], place, axis);
  }
};

// What the operands have on one axis of the output, tied together.
function joinAxis(
  state: Propagation,
  node: NodeProto,
  place: number,
  output: readonly number[],
): Axis | undefined {
  let joined: Axis | undefined;
  let fixed: string | undefined;
  const constants: [input: number, place: number][] = [];
  for (const [input, value] of node.input.entries()) {
    const dims = state.dims(value)!;
    const own = place - (output.length - dims.length);
    if (own < 0) continue;
    const axis = state.axes(value)[own];
    if (dims[own] !== output[place]) {
      if (axis) state.pin(axis, `${called(node)} broadcasts it`);
    } else if (axis) {
      joined = joined ? join(state, node, joined, axis) : axis;
    } else if (dims[own] > 1) {
      if (state.constant(node, input)) constants.push([input, own]);
      else fixed = value;
    }
  }
  if (!joined) return undefined;
  if (fixed !== undefined)
    state.pin(joined, `${called(node)} ties it to "${fixed}", whose channels no layer makes`);
  for (const [input, own] of constants) state.slice(joined, node, input, own);
  return joined;
}

function join(state: Propagation, node: NodeProto, a: Axis, b: Axis): Axis {
  const [left, right] = [a.label.root(), b.label.root()];
  if (left === right && a.block === b.block) return a;
  if (a.block !== b.block || left.groups !== right.groups) {
    for (const axis of [a, b]) state.pin(axis, `${called(node)} ties channels of different sizes`);
    return a;
  }
  const label = left.union(right);
  if (node.opType === 'Add' || node.opType === 'Sub' || node.opType === 'Sum')
    label.shortcuts.push(called(node));
  return { label, block: a.block };
}
