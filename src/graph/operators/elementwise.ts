// Operators that treat every element alike: labels go through, operands are tied to each other.

import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation } from '../propagation.ts';
import type { Rule } from './operator.ts';
import { tieBroadcast } from './tie.ts';

/** Hands each label of the first input on to the axis of the output that `to` gives, or pins it for the reason that it gives. */
export function carry(state: Propagation, node: NodeProto, to: (place: number) => number | string): void {
  for (const [place, axis] of state.labelled(node.input[0])) {
    const found = to(place);
    if (typeof found === 'number') state.mark(node.output[0], found, axis);
    else state.pin(axis, `${called(node)} ${found}`);
  }
}

/** One labelled operand; parameters beside it are scalars. */
export const unary: Rule = (state, node) => carry(state, node, (place) => place);

/** Broadcasting operators of any number of operands, and PRelu, whose slope broadcasts in the same way. */
export const broadcast: Rule = (state, node) => {
  const output = state.dims(node.output[0])!;
  const inputs = [...node.input.keys()].filter((input) => node.input[input] !== '');
  for (const place of output.keys()) {
    state.mark(node.output[0], place, tieBroadcast(state, node, inputs, place));
  }
};
