// Operators that normalise: over some axes, or with constants per channel.

import { attributeInt } from '../node.ts';
import { called, wrapAxis } from '../propagation.ts';
import { carry } from './elementwise.ts';
import type { Rule } from './operator.ts';
import { tieBroadcast } from './tie.ts';

const OVER = 'normalises over it';

export const batchNormalization: Rule = (state, node) => {
  const axis = state.axes(node.input[0])[1];
  const training = attributeInt(node, 'training_mode', 0) !== 0 || node.output.filter(Boolean).length > 1;
  const constant = [1, 2, 3, 4].every((input) => state.constant(node, input));
  if (!axis || training || !constant) return state.pinAll(node, `${called(node)} is not in inference form`);
  state.pinOthers(node.input[0], 1, `${called(node)} normalises the axis`);
  for (const input of [1, 2, 3, 4]) state.slice(axis, node, input, 0);
  state.mark(node.output[0], 1, axis);
};

export const instanceNormalization: Rule = (state, node) => {
  const axis = state.axes(node.input[0])[1];
  state.pinOthers(node.input[0], 1, `${called(node)} normalises the axis`);
  if (!axis) return;
  if (!state.constant(node, 1) || !state.constant(node, 2))
    return state.pin(axis, `${called(node)} has computed scales`);
  state.slice(axis, node, 1, 0);
  state.slice(axis, node, 2, 0);
  state.mark(node.output[0], 1, axis);
};

/** Softmax and its kin normalise over an axis; before opset 13 over everything from it on. */
export const softmax: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const flat = state.model.opset < 13;
  const over = wrapAxis(attributeInt(node, 'axis', flat ? 1 : -1), rank);
  carry(state, node, (place) => ((flat ? place >= over : place === over) ? OVER : place));
};

/** LayerNormalization and its kin; the scale and the shift are of the axes that are normalised. */
export const layerNormalization: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const from = wrapAxis(attributeInt(node, 'axis', -1), rank);
  const parameters = node.input.slice(1).filter((value) => value !== '');
  if (parameters.some((value) => (state.dims(value)?.length ?? rank) > rank - from)) {
    return state.pinAll(node, `${called(node)} scales more axes than it normalises`);
  }
  carry(state, node, (place) => (place >= from ? OVER : place));
};

/** com.microsoft: the sum of two operands, normalised over the last axis; the sum is an output too. */
export const skipNormalization: Rule = (state, node) => {
  const dims = state.dims(node.input[0])!;
  const last = dims.length - 1;
  if (node.input.slice(2).some((value) => state.isLabelled(value))) {
    return state.pinAll(node, `${called(node)} has computed scales`);
  }
  for (const place of dims.keys()) {
    const axis = tieBroadcast(state, node, [0, 1], place);
    if (place === last) state.pin(axis, `${called(node)} ${OVER}`);
    else state.mark(node.output[0], place, axis);
    state.mark(node.output[3], place, axis);
  }
};
