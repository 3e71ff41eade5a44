// Axes of several operands that become one axis of the output.

import type { Axis } from '../labels.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation } from '../propagation.ts';

/** An axis of an operand. */
export type Operand = readonly [input: number, place: number];

/**
 * Ties what operands have on axes that become one axis of the output, of this extent; constants are cut along.
 * Operands of extent 1 are repeated along it.
 */
export function tie(state: Propagation, node: NodeProto, operands: readonly Operand[], extent: number) {
  let joined: Axis | undefined;
  let fixed: string | undefined;
  const constants: Operand[] = [];
  for (const [input, place] of operands) {
    const value = node.input[input];
    const dim = state.dims(value)![place];
    const axis = state.axes(value)[place];
    if (dim !== extent) {
      if (axis) state.pin(axis, `${called(node)} broadcasts it`);
    } else if (axis) {
      joined = joined ? join(state, node, joined, axis) : axis;
    } else if (dim > 1) {
      if (state.constant(node, input)) constants.push([input, place]);
      else fixed = value;
    }
  }
  if (!joined && fixed === undefined && constants.length > 0 && constants.length < operands.length) {
    joined = state.free(extent); // numbers for all channels beside constants by channel
  }
  if (!joined) return undefined;
  if (fixed !== undefined)
    state.pin(joined, `${called(node)} ties it to "${fixed}", whose channels no layer makes`);
  for (const [input, place] of constants) state.slice(joined, node, input, place);
  return joined;
}

/** As `tie`, for an axis of operands that broadcast: `place` counts in the output. */
export function tieBroadcast(state: Propagation, node: NodeProto, inputs: readonly number[], place: number) {
  const output = state.dims(node.output[0])!;
  const own = (input: number) => place - output.length + state.dims(node.input[input])!.length;
  const operands = inputs.map((input): Operand => [input, own(input)]);
  const present = operands.filter(([, place]) => place >= 0);
  return tie(state, node, present, output[place]);
}

/** Two axes whose channels are one from then on, because of this node. */
export function join(state: Propagation, node: NodeProto, a: Axis, b: Axis): Axis {
  const [left, right] = [a.label.root(), b.label.root()];
  if (left === right && a.outer === b.outer) return a;
  const hadGroups = left.groups > 1 && right.groups > 1;
  const areMade = [left, right].every((label) =>
    label.leaves().some(({ producers }) => producers.length > 0),
  );
  if (a.outer !== b.outer || left === right || !left.union(right)) {
    for (const axis of [a, b]) state.pin(axis, `${called(node)} ties channels of different sizes`);
    return a;
  }
  const joined = { ...a, label: left.root() };
  if (hadGroups && joined.label.groups === 1)
    state.pin(joined, `${called(node)} ties channels of different sizes`);
  if (areMade && state.model.operator(node)?.sum) {
    for (const leaf of joined.label.leaves()) leaf.shortcuts.push(called(node));
  }
  return joined;
}
