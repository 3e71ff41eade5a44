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
 * The convolution that it is of its input with zeros between the values: the kernel turned by 180°. Not where more is cropped than the
 * kernel reaches.
 */
function geometry(node: NodeProto, dims: LayerDims): ConvGeometry | undefined {
  if (!hasAxes(node, dims)) return undefined;
  const [kernel, input, output] = [dims.weight, dims.input, dims.output].map((list) => list.slice(2));
  const { strides, dilations } = steps(node, kernel.length);
  const pads = cropsOf(node, kernel, input, output)?.map((crops, i) =>
    crops.map((crop) => dilations[i] * (kernel[i] - 1) - crop),
  );
  if (!pads?.flat().every((pad) => pad >= 0)) return undefined;
  return inPlanes({ kernel, strides: kernel.map(() => 1), pads, dilations, inputDilations: strides });
}

/**
 * What is cropped before and behind each axis: where extents of the output are said, all that is too much. Undefined where that is not
 * known, or it is too little.
 */
export function cropsOf(
  node: NodeProto,
  kernel: readonly number[],
  input: readonly number[] = [],
  output: readonly number[] = [],
): number[][] | undefined {
  const auto = attributeString(node, 'auto_pad', 'NOTSET');
  const isSame = auto.startsWith('SAME');
  const isSaid = attribute(node, 'output_shape') !== undefined;
  if (!isSame && !isSaid) {
    const pads = auto === 'NOTSET' ? attributeInts(node, 'pads') : undefined;
    return kernel.map((_, i) => [pads?.[i] ?? 0, pads?.[i + kernel.length] ?? 0]);
  }
  const { strides, dilations, added } = steps(node, kernel.length);
  const surplus = kernel.map((size, i) => {
    // as many as strides take, but for what is said
    const more = isSaid ? output[i] - strides[i] * input[i] : 0;
    return dilations[i] * (size - 1) + 1 + added[i] - strides[i] - more;
  });
  if (!surplus.every((all) => all >= 0)) return undefined;
  return surplus.map((all) => {
    const [small, large] = [Math.floor(all / 2), Math.ceil(all / 2)];
    return auto === 'SAME_UPPER' ? [small, large] : [large, small];
  });
}

function steps(node: NodeProto, axes: number) {
  const list = (name: string, otherwise: number) =>
    attributeInts(node, name) ?? new Array<number>(axes).fill(otherwise);
  return { strides: list('strides', 1), dilations: list('dilations', 1), added: list('output_padding', 0) };
}
