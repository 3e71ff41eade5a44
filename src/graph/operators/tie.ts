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
  const constants: Operand[] = [];
  const fixed: Operand[] = [];
  const axisOf = ([input, place]: Operand) => state.axes(node.input[input])[place];
  const areHeads = operands.some((operand) => axisOf(operand)?.label.root().isHead);
  for (const operand of operands) {
    const [input, place] = operand;
    const value = node.input[input];
    const dim = state.dims(value)![place];
    const axis = axisOf(operand);
    if (dim !== extent) {
      if (axis) state.pin(axis, `${called(node)} broadcasts it`);
    } else if (axis && areHeads && isSharedTable(state, value, axis)) {
      state.pin(axis, `${called(node)} picks from it what its heads need`);
      fixed.push(operand);
    } else if (axis) {
      // Nothing is merged into an axis that is as long as one into which nothing is.
      const isMerged = axis.isMerged === true && joined?.isMerged !== false;
      joined = { ...(joined ? join(state, node, joined, axis) : axis), isMerged };
    } else if (dim > 1) {
      (state.constant(node, input) ? constants : fixed).push(operand);
    }
  }
  if (!joined && fixed.length === 0 && constants.length > 0) {
    // Numbers for all channels beside constants by channel, or these times numbers by what lies on other axes.
    const isVector = ([input]: Operand) =>
      state.dims(node.input[input])!.filter((dim) => dim > 1).length === 1;
    if (constants.length < operands.length || constants.every(isVector)) joined = state.free(extent);
  }
  if (!joined) return undefined;
  for (const [input, place] of fixed) pick(state, node, joined, input, place);
  for (const [input, place] of constants) state.slice(joined, node, input, place);
  return joined;
}

/** What no layer makes stays whole; of it the node reads what stays of the others. */
export function pick(state: Propagation, node: NodeProto, axis: Axis, input: number, place: number): void {
  if (axis.outer > 1 || axis.isMerged)
    state.pin(axis, `${called(node)} ties it to "${node.input[input]}", whose channels no layer makes`);
  else state.slice(axis, node, input, place, 0, { whole: axis.extent });
}

/** Numbers by head that come of a table, for several layers (relative positions): the heads of these need not be the same. */
function isSharedTable({ model }: Propagation, value: string, { label }: Axis): boolean {
  const isTable = label
    .leaves()
    .every(
      ({ producers, consumers }) =>
        consumers.length === 0 && producers.length > 0 && producers.every(({ kind }) => kind === 'gather'),
    );
  return isTable && model.uses(value).length > 1;
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
    const what = 'of different sizes or in another order';
    for (const axis of [a, b]) state.pin(axis, `${called(node)} ties channels ${what}`);
    return a;
  }
  const joined = { ...a, label: left.root() };
  if (hadGroups && joined.label.groups === 1)
    state.pin(joined, `${called(node)} ties channels of different sizes`);
  if (areMade && state.model.operator(node)?.sum) {
    for (const leaf of joined.label.leaves()) leaf.sums.push(node);
  }
  return joined;
}
