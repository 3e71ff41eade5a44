// Operators that treat every element alike: labels go through, operands are tied to each other.

import { expectNode } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule } from '../propagation.ts';
import { tieBroadcast } from './tie.ts';

/**
 * Hands each label of the first input on to the axis of the outputs that `to` gives, or pins it for the reason that it gives.
 *
 * @example
 * const flip: Rule = (state, node) => carry(state, node, (axis) => (axis === 1 ? 'is turned round' : axis));
 */
export function carry(state: Propagation, node: NodeProto, to: (place: number) => number | string): void {
  expectNode(node);
  for (const [place, axis] of state.labelled(node.input[0])) {
    const found = to(place);
    if (typeof found === 'number') for (const value of node.output) state.mark(value, found, axis);
    else state.pin(axis, `${called(node)} ${found}`);
  }
}

/**
 * One labelled operand; parameters beside it are scalars.
 *
 * @example
 * const wave = { domain: 'my.domain', name: 'Wave', kind: 'pass', rule: unary } as const;
 * const model = await openModel(bytes, { engine, operators: [wave] });
 */
export const unary: Rule = (state, node) => carry(state, node, (place) => place);

/**
 * Broadcasting operators of any number of operands, and PRelu, whose slope broadcasts in the same way.
 *
 * @example
 * const blend = { domain: 'my.domain', name: 'Blend', kind: 'pass', rule: broadcast } as const;
 * const model = await openModel(bytes, { engine, operators: [blend] });
 */
export const broadcast: Rule = (state, node) => {
  expectNode(node);
  const output = state.dims(node.output[0])!;
  const inputs = [...node.input.keys()].filter((input) => node.input[input] !== '');
  for (const place of output.keys()) {
    state.mark(node.output[0], place, tieBroadcast(state, node, inputs, place));
  }
};

/** Whether one of these rules says it: the same is done to each number, whatever is on which axis. */
export const isElementwise = (rule: Rule | undefined) => rule === unary || rule === broadcast;
