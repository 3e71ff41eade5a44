// What the rules of operators with weights share: they consume a label and make a new one.

import { isFloat } from '../dtype.ts';
import type { Axis } from '../labels.ts';
import { linearMap, sharedKey } from '../linear.ts';
import { attributeInt, expectNode } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Propagation, type Rule, wrapAxis } from '../propagation.ts';
import { isQuantized, quantizedText } from '../quantized.ts';
import type { Tensor } from '../tensor.ts';
import type { Layer } from './operator.ts';
import { join, pick } from './tie.ts';

/**
 * Y = X·W + b row by row: labels on other axes of X go through.
 *
 * @example
 * const rule: Rule = (state, node) => linear(state, node); // of a layer of one's own
 */
export const linear: Rule = (state, node) => {
  expectNode(node);
  const layer = layerOf(state, node);
  const weight = weightOf(state, node);
  const [input = [], output = []] = [state.dims(node.input[0]), state.dims(node.output[0])];
  if (!weight || !layer.isLinear?.(node, { input, output, weight: weight.dims })) return opaque(state, node);
  const [height, width] = biasOf(state, node)?.dims ?? [];
  let read: Axis | undefined;
  for (const [place, axis] of state.labelled(node.input[0])) {
    if (place === wrapAxis(layer.axis, output.length)) {
      consume(state, node, axis);
      read = axis;
    } else {
      state.mark(node.output[0], place, axis);
      if (height > 1 && width !== undefined) state.pin(axis, `${called(node)} has a bias per row`);
    }
  }
  tieUses(state, node, read, produce(state, node));
};

/** The weights, where they are constant floating-point numbers and the dims of the output are known. */
export function weightOf(state: Propagation, node: NodeProto): Tensor | undefined {
  const weight = state.constant(node, 1);
  return weight && isFloat(weight.type) && state.dims(node.output[0]) ? weight : undefined;
}

/** The layer reads the channels; its weights are cut along. */
export function consume(state: Propagation, node: NodeProto, axis: Axis): void {
  const map = linearMap(state.model, node, state.shapes, state.sample);
  if (!map) {
    state.pin(axis, `${called(node)} is not a linear map that can be re-solved`);
    return;
  }
  state.consume(axis, map);
  const { outputAxis, isStacked } = layerOf(state, node);
  state.slice(axis, node, 1, isStacked ? 2 : 1 - outputAxis(node));
}

/** The layer makes channels; its weights and its bias are cut along. */
export function produce(state: Propagation, node: NodeProto): Axis {
  const { axis, outputAxis } = layerOf(state, node);
  const place = outputAxis(node);
  const rank = state.dims(node.output[0])!.length;
  const made = state.produce(node, wrapAxis(axis, rank), state.constant(node, 1)!.dims[place]);
  state.slice(made, node, 1, place);
  cutBias(state, node, made);
  return made;
}

/**
 * Nodes with the same weights are one layer: what they read, and what they make, loses the same channels. What no layer makes stays
 * whole, as the state that a recurrence begins with: of it a node reads what stays of the others' channels.
 */
export function tieUses(state: Propagation, node: NodeProto, read: Axis | undefined, made: Axis): void {
  const { model, layers } = state;
  if (model.uses(node.input[1]).length === 1) return;
  const map = linearMap(model, node, state.shapes);
  // In groups it is none.
  const key = map
    ? sharedKey(model, map)
    : JSON.stringify([node.input.slice(1), attributeInt(node, 'group', 1)]);
  const uses = layers.get(key) ?? { read, made, unlabelled: [] };
  layers.set(key, uses);
  uses.made = join(state, node, uses.made, made);
  if (!read) uses.unlabelled.push(node);
  else uses.read = uses.read ? join(state, node, uses.read, read) : read;
  if (!uses.read) return;
  for (const own of uses.unlabelled.splice(0)) {
    const place = wrapAxis(layerOf(state, own).axis, state.dims(own.input[0])!.length);
    pick(state, own, uses.read, 0, place);
    consume(state, own, uses.read);
  }
}

/** A bias of one value for all channels (Gemm broadcasts) needs no cut. */
export function cutBias(state: Propagation, node: NodeProto, axis: Axis): void {
  const input = layerOf(state, node).bias;
  if (input === undefined || !node.input[input]) return;
  const tensor = biasOf(state, node);
  if (!tensor) {
    const reason = `${called(node)} has a computed bias`;
    for (const pinned of [axis, ...state.axes(node.input[input])]) state.pin(pinned, reason);
  } else if (tensor.dims.length > 1 && tensor.dims[0] > 1)
    state.pin(axis, `${called(node)} has a bias per row`);
  else if (tensor.dims.at(-1) === axis.extent) state.slice(axis, node, input, tensor.dims.length - 1);
}

/** Why nothing is done to a layer whose weights are computed, quantised or otherwise not ours to change. */
function unsolvable({ model }: Propagation, node: NodeProto): string {
  const quantized = isQuantized(model, node) ? quantizedText([node.name]) : undefined;
  if (quantized) return `${node.opType} has ${quantized}`;
  return `${called(node)} has weights that are not constant floating-point numbers, or an unsupported form`;
}

/** Pins what such a layer reads and what it makes. */
export function opaque(state: Propagation, node: NodeProto): void {
  const reason = unsolvable(state, node);
  state.pinAll(node, reason);
  const output = state.dims(node.output[0]);
  if (!output) return;
  const place = wrapAxis(layerOf(state, node).axis, output.length);
  state.pin(state.produce(node, place, output[place]), reason);
}

function layerOf(state: Propagation, node: NodeProto): Layer {
  return state.model.operator(node)!.layer!;
}

function biasOf(state: Propagation, node: NodeProto): Tensor | undefined {
  return state.constant(node, layerOf(state, node).bias ?? -1);
}
