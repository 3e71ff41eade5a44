// Operators with weights: they consume a label, make a new one, or hand it on channel by channel.

import { isFloat } from '../dtype.ts';
import type { Axis } from '../labels.ts';
import { linearMap } from '../linear.ts';
import { attributeInt } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule } from '../propagation.ts';
import { product } from './product.ts';

export const conv: Rule = (state, node) => {
  const input = node.input[0];
  const axis = state.axes(input)[1];
  const weight = state.constant(node, 1);
  const output = state.dims(node.output[0]);
  state.pinOthers(input, 1, `${called(node)} mixes the axis`);
  if (!weight || !isFloat(weight.type) || !output) return opaque(state, node, 1, output, 'conv');
  const group = attributeInt(node, 'group', 1);
  const [m, perGroup] = weight.dims;
  if (group === 1) {
    if (axis) consume(state, node, axis, 1);
    produced(state, node, state.produce(node, 1, m, 'conv'), 0);
  } else if (axis) grouped(state, node, axis, group, m);
  else if (perGroup > 1)
    state.pin(state.produce(node, 1, m, 'conv'), `${called(node)} is a grouped convolution`);
};

// Each group (a channel, if depthwise) is convolved on its own, so the label goes through, no finer than the
// groups; weights, bias and `group` go along.
function grouped(state: Propagation, node: NodeProto, axis: Axis, group: number, m: number): void {
  if (axis.outer > 1 || axis.label.parts || axis.label.coarsen(group) === 1) {
    state.pin(axis, `${called(node)} is a grouped convolution`);
    return;
  }
  const out = { ...axis, extent: m };
  state.slice(out, node, 1, 0);
  bias(state, node, out, 2);
  state.edit({ ...axis, extent: group }, { kind: 'attribute', node: node.name, name: 'group' }, node.name);
  state.mark(node.output[0], 1, out);
}

export const convTranspose: Rule = (state, node) => {
  state.pinAll(node, `${called(node)} is not a linear map that can be re-solved`);
  const weight = state.constant(node, 1);
  const output = state.dims(node.output[0]);
  if (!weight || !isFloat(weight.type) || !output || attributeInt(node, 'group', 1) !== 1) {
    return opaque(state, node, 1, output, 'convtranspose');
  }
  produced(state, node, state.produce(node, 1, weight.dims[1], 'convtranspose'), 1);
};

export const gemm: Rule = (state, node) => {
  const input = node.input[0];
  const axis = state.axes(input)[1];
  const weight = state.constant(node, 1);
  const output = state.dims(node.output[0]);
  if (!weight || !isFloat(weight.type) || !output || attributeInt(node, 'transA', 0) !== 0) {
    return opaque(state, node, 1, output, 'gemm');
  }
  const transposed = attributeInt(node, 'transB', 0) !== 0;
  const rows = state.axes(input)[0];
  if (rows) {
    state.mark(node.output[0], 0, rows);
    const [height, width] = state.constant(node, 2)?.dims ?? [];
    if (height > 1 && width !== undefined) state.pin(rows, `${called(node)} has a bias per row`);
  }
  if (axis) consume(state, node, axis, transposed ? 1 : 0);
  const columns = transposed ? 0 : 1;
  produced(state, node, state.produce(node, 1, weight.dims[columns], 'gemm'), columns);
};

export const matmul: Rule = (state, node) => {
  const [input] = node.input;
  const weight = state.constant(node, 1);
  const dims = state.dims(input);
  const output = state.dims(node.output[0]);
  if (weight && !isFloat(weight.type)) return opaque(state, node, 0, undefined, 'matmul');
  if (weight?.dims.length !== 2 || !dims || dims.length < 2 || !output) return product(state, node);
  const last = dims.length - 1;
  for (const [place, axis] of state.labelled(input)) {
    if (place === last) consume(state, node, axis, 0);
    else state.mark(node.output[0], place, axis); // rows are only rearranged copies of themselves
  }
  produced(state, node, state.produce(node, last, weight.dims[1], 'matmul'), 1);
};

export const batchNormalization: Rule = (state, node) => {
  const axis = state.axes(node.input[0])[1];
  const training = attributeInt(node, 'training_mode', 0) !== 0 || node.output.filter(Boolean).length > 1;
  const constant = [1, 2, 3, 4].every((input) => state.constant(node, input));
  if (!axis || training || !constant) {
    return state.pinAll(node, `${called(node)} is not in inference form`);
  }
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

function consume(state: Propagation, node: NodeProto, axis: Axis, place: number): void {
  const map = linearMap(state.model, node, state.shapes);
  if (!map) {
    state.pin(axis, `${called(node)} is not a linear map that can be re-solved`);
    return;
  }
  state.consume(axis, map);
  state.slice(axis, node, 1, place);
}

function produced(state: Propagation, node: NodeProto, axis: Axis, place: number): void {
  state.slice(axis, node, 1, place);
  bias(state, node, axis, 2);
}

// A bias of one value for all channels (Gemm broadcasts) needs no cut.
function bias(state: Propagation, node: NodeProto, axis: Axis, input: number): void {
  if (!node.input[input]) return;
  const tensor = state.constant(node, input);
  const place = tensor ? tensor.dims.length - 1 : 0;
  if (!tensor) {
    const reason = `${called(node)} has a computed bias`;
    for (const pinned of [axis, ...state.axes(node.input[input])]) if (pinned) state.pin(pinned, reason);
  } else if (tensor.dims.length > 1 && tensor.dims[0] > 1)
    state.pin(axis, `${called(node)} has a bias per row`);
  else if (tensor.dims[place] === axis.extent) state.slice(axis, node, input, place);
}

/** A layer whose weights are computed, quantised or otherwise not ours to change. */
function opaque(
  state: Propagation,
  node: NodeProto,
  place: number,
  output: readonly number[] | undefined,
  kind: 'conv' | 'convtranspose' | 'gemm' | 'matmul',
  why = 'has weights that are not constant floating-point numbers, or an unsupported form',
): void {
  const reason = `${called(node)} ${why}`;
  state.pinAll(node, reason);
  if (output) state.pin(state.produce(node, place, output[place], kind), reason);
}
