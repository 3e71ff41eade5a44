// https://onnx.ai/onnx/operators/onnx__ConvTranspose.html

import { attribute, attributeInt, attributeInts, attributeString } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Operator } from '../propagation.ts';
import { elements } from '../tensor.ts';
import { grouped, hasAxes, inPlanes } from './conv.ts';
import { consume, opaque, produce, tieUses, weightOf } from './layer.ts';
import type { ConvGeometry, LayerDims } from './operator.ts';

export const convTranspose: Operator = {
  name: 'ConvTranspose',
  kind: 'source',
  layer: {
    axis: 1,
    outputAxis: () => 1, // W is (c, m / group, kh, kw)
    bias: 2,
    isLinear: (node, dims) => attributeInt(node, 'group', 1) === 1 && geometry(node, dims) !== undefined,
    patches: (node, dims) => geometry(node, dims)!,
  },
  // each input goes to the outputs of its group and the kernel
  macs: (node, dims) => elements(dims(node.input[0])) * elements(dims(node.input[1]).slice(1)),
  rule(state, node) {
    const axis = state.axes(node.input[0])[1];
    state.pinOthers(node.input[0], 1, `${called(node)} mixes the axis`);
    const weight = weightOf(state, node);
    const group = attributeInt(node, 'group', 1);
    if (!weight || (group !== 1 && !axis)) return opaque(state, node);
    if (axis && group !== 1) return grouped(state, node, axis, weight.dims[1] * group);
    if (axis) consume(state, node, axis);
    tieUses(state, node, axis, produce(state, node));
  },
};

/**
 * The convolution that it is of its input with zeros between the values: the kernel turned by 180°. Not where padding is
 * left to be found or crops more than the kernel reaches.
 */
function geometry(node: NodeProto, dims: LayerDims): ConvGeometry | undefined {
  const kernel = dims.weight.slice(2);
  const axes = kernel.length;
  const auto = attributeString(node, 'auto_pad', 'NOTSET');
  if (!hasAxes(node, dims) || auto.startsWith('SAME') || attribute(node, 'output_shape')) return undefined;
  const strides = attributeInts(node, 'strides') ?? kernel.map(() => 1);
  const dilations = attributeInts(node, 'dilations') ?? kernel.map(() => 1);
  const cropped = (auto === 'NOTSET' && attributeInts(node, 'pads')) || new Array(2 * axes).fill(0);
  const pads = kernel.map((size, i) =>
    [cropped[i], cropped[i + axes]].map((crop) => dilations[i] * (size - 1) - crop),
  );
  if (pads.flat().some((pad) => !(pad >= 0))) return undefined;
  return inPlanes({ kernel, strides: kernel.map(() => 1), pads, dilations, inputDilations: strides });
}
