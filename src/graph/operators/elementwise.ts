// Operators that treat every element alike: labels go through, operands are tied to each other.

import type { Rule } from './operator.ts';
import { tieBroadcast } from './tie.ts';

/** One labelled operand; parameters beside it are scalars. */
export const unary: Rule = (state, node) => {
  for (const [place, axis] of state.labelled(node.input[0])) state.mark(node.output[0], place, axis);
};

/** Broadcasting operators of any number of operands, and PRelu, whose slope broadcasts in the same way. */
export const broadcast: Rule = (state, node) => {
  const output = state.dims(node.output[0])!;
  const inputs = [...node.input.keys()].filter((input) => node.input[input] !== '');
  for (const place of output.keys()) {
    const axis = tieBroadcast(state, node, inputs, place, output);
    if (axis) state.mark(node.output[0], place, axis);
  }
};
