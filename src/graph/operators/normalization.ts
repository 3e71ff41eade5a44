// Operators that normalise: over some axes, or with constants per channel.

import { describeValue } from '../describe.ts';
import type { Axis } from '../labels.ts';
import { attributeInt, attributeInts } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule, wrapAxis } from '../propagation.ts';
import type { Port } from '../structure.ts';
import { carry, unary } from './elementwise.ts';
import { tieBroadcast } from './tie.ts';

const OVER = 'normalises over it';

export const batchNormalization: Rule = (state, node) => {
  const axis = state.axes(node.input[0])[1];
  const training = attributeInt(node, 'training_mode', 0) !== 0 || node.output.filter(Boolean).length > 1;
  const constant = [1, 2, 3, 4].every((input) => state.constant(node, input));
  if (training || !constant) return state.pinAll(node, `${called(node)} is not in inference form`);
  unary(state, node);
  if (axis) for (const input of [1, 2, 3, 4]) state.slice(axis, node, input, 0);
};

export const instanceNormalization: Rule = (state, node) => {
  const axis = state.axes(node.input[0])[1];
  if (!axis) return normaliseAll(state, node);
  state.pinOthers(node.input[0], 1, `${called(node)} normalises the axis`);
  if (!state.constant(node, 1) || !state.constant(node, 2))
    return state.pin(axis, `${called(node)} has computed scales`);
  state.slice(axis, node, 1, 0);
  state.slice(axis, node, 2, 0);
  state.mark(node.output[0], 1, axis);
};

/** MeanVarianceNormalization: without parameters, over axes that are not those of channels. */
export const standardisation: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const over = (attributeInts(node, 'axes') ?? [0, 2, 3]).map((axis) => wrapAxis(axis, rank));
  carry(state, node, (place) => (over.includes(place) ? OVER : place));
};

/** A single group of channels, with the positions of each: what exporters make of a GroupNormalization of one group. */
function normaliseAll(state: Propagation, node: NodeProto): void {
  const isOpen = state.model.inputs.some((input) =>
    describeValue(input).dims.some((dim, place) => place > 0 && typeof dim !== 'number'),
  );
  const last = state.dims(node.input[0])!.length - 1;
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (isOpen && place > 0 && (place < last || axis.outer > 1)) {
      state.pin(axis, `${called(node)} normalises the axis, of a size that is left open`);
      continue;
    }
    const port: Port = { index: 0, axis: place };
    if (place > 0) state.normalise(axis, node, [port], [port], isOpen ? { isOpen } : {});
    state.mark(node.output[0], place, axis);
  }
}

/** GroupNormalization: groups go whole. The scale and the shift are by channel, before opset 21 by group. */
export const groupNormalization: Rule = (state, node) => {
  const axis = state.axes(node.input[0])[1];
  state.pinOthers(node.input[0], 1, `${called(node)} normalises the axis`);
  if (!axis) return;
  const count = attributeInt(node, 'num_groups', 1);
  const parameters = [1, 2].map((input) => state.constant(node, input)?.dims[0] ?? 0);
  if (axis.outer > 1 || parameters.includes(0) || (count > 1 && axis.label.coarsen(count) < 2))
    return state.pin(axis, `${called(node)} ${OVER}`);
  if (count === 1) return normaliseGroup(state, node, axis, parameters);
  for (const [i, extent] of parameters.entries()) state.slice({ ...axis, extent }, node, i + 1, 0);
  state.edit(
    { ...axis, extent: count },
    { kind: 'attribute', node: node.name, name: 'num_groups' },
    node.name,
  );
  state.mark(node.output[0], 1, axis);
};

/** One group of all channels. */
function normaliseGroup(
  state: Propagation,
  node: NodeProto,
  axis: Axis,
  parameters: readonly number[],
): void {
  const ports: Port[] = [{ index: 0, axis: 1 }];
  for (const [i, extent] of parameters.entries()) {
    if (extent === 1) continue; // one for all channels
    state.slice(axis, node, i + 1, 0);
    ports.push({ index: i + 1, axis: 0 });
  }
  state.normalise(axis, node, ports, [{ index: 0, axis: 1 }]);
  state.mark(node.output[0], 1, axis);
}

/** Softmax and its kin. */
export const softmax: Rule = (state, node) => {
  const axes = softmaxAxes(node, state.dims(node.input[0])!.length, state.model.opset);
  carry(state, node, (place) => (axes.includes(place) ? OVER : place));
};

/** They normalise over an axis; before opset 13 over everything from it on. */
export function softmaxAxes(node: NodeProto, rank: number, opset: number): number[] {
  const isFlat = opset < 13;
  const over = wrapAxis(attributeInt(node, 'axis', isFlat ? 1 : -1), rank);
  return Array.from({ length: isFlat ? rank - over : 1 }, (_, i) => over + i);
}

/** LayerNormalization and its kin; the scale and the shift are of the axes that are normalised. */
export const layerNormalization: Rule = (state, node) => {
  const rank = state.dims(node.input[0])!.length;
  const from = wrapAxis(attributeInt(node, 'axis', -1), rank);
  const parameters = node.input.slice(1).filter((value) => value !== '');
  if (parameters.some((value) => (state.dims(value)?.length ?? rank) > rank - from)) {
    return state.pinAll(node, `${called(node)} scales more axes than it normalises`);
  }
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (place >= from)
      normaliseOver(state, node, axis, { data: [0], outputs: [0], parameters: [1, 2] }, place);
    else state.mark(node.output[0], place, axis);
  }
};

/** LpNormalization: over one axis. */
export const lpNormalization: Rule = (state, node) =>
  normaliseAlong(state, node, attributeInt(node, 'axis', -1));

/** LRN: each channel by those beside it. */
export const localResponse: Rule = (state, node) => normaliseAlong(state, node, 1);

/** Over one axis, without parameters. */
function normaliseAlong(state: Propagation, node: NodeProto, over: number): void {
  const own = wrapAxis(over, state.dims(node.input[0])!.length);
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (place === own) normaliseOver(state, node, axis, { data: [0], outputs: [0], parameters: [] }, place);
    else state.mark(node.output[0], place, axis);
  }
}

/** Inputs and outputs of a normalisation that have the channels. */
interface Shares {
  data: readonly number[];
  outputs: readonly number[];
  /** Their axes are the last ones of the data. */
  parameters: readonly number[];
}

/** The channels go through, and the parameters are cut along; what other outputs say of all channels must be of no use. */
function normaliseOver(state: Propagation, node: NodeProto, axis: Axis, of: Shares, place: number): void {
  const used = (value: string) => state.model.isOutput(value) || state.model.uses(value).length > 0;
  const others = node.output.filter((value, index) => value !== '' && !of.outputs.includes(index));
  const parameters = of.parameters.filter((input) => node.input[input]);
  const isTold = others.some(used);
  if (isTold || parameters.some((input) => !state.constant(node, input))) {
    state.pin(axis, `${called(node)} ${OVER}, with ${isTold ? 'statistics as outputs' : 'computed scales'}`);
    return;
  }
  const rank = state.dims(node.input[of.data[0]])!.length;
  const ports: Port[] = of.data.map((index) => ({ index, axis: place }));
  for (const index of parameters) {
    const { dims } = state.constant(node, index)!;
    const own = place - rank + dims.length;
    if (own < 0 || dims[own] === 1) continue; // one for all channels
    state.slice(axis, node, index, own);
    ports.push({ index, axis: own });
  }
  const outputs = of.outputs.filter((index) => node.output[index]);
  state.normalise(
    axis,
    node,
    ports,
    outputs.map((index) => ({ index, axis: place })),
  );
  for (const index of outputs) state.mark(node.output[index], place, axis);
}

/** com.microsoft: the sum of two operands, normalised over the last axis; the sum is an output too. */
export const skipNormalization: Rule = (state, node) => {
  const dims = state.dims(node.input[0])!;
  const last = dims.length - 1;
  if (node.input.slice(2).some((value) => state.isLabelled(value))) {
    return state.pinAll(node, `${called(node)} has computed scales`);
  }
  // the skip may be one for all of the batch
  const data = [0, 1].filter((input) => state.dims(node.input[input])?.length === dims.length);
  for (const place of dims.keys()) {
    const axis = tieBroadcast(state, node, [0, 1], place);
    if (place === last && axis) {
      if (data.length < 2) state.pin(axis, `${called(node)} ${OVER}`);
      else normaliseOver(state, node, axis, { data, outputs: [0, 3], parameters: [2, 3, 4] }, place);
    } else for (const index of [0, 3]) state.mark(node.output[index], place, axis);
  }
};
