// https://onnx.ai/onnx/operators/onnx__Conv.html

import type { Axis } from '../labels.ts';
import { attributeInt, attributeInts, attributeString } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { called, type Operator, type Propagation } from '../propagation.ts';
import type { Tensor } from '../tensor.ts';
import { consume, cutBias, opaque, produce, tieUses, weightOf } from './layer.ts';
import { convolution } from './macs.ts';
import type { ConvGeometry, LayerDims } from './operator.ts';

export const conv: Operator = {
  name: 'Conv',
  kind: 'source',
  layer: {
    axis: 1,
    outputAxis: () => 0, // W is (m, c / group, kh, kw)
    bias: 2,
    parts: (node) => attributeInt(node, 'group', 1),
    isLinear: hasAxes,
    patches: geometry,
  },
  macs: convolution(1),
  rule(state, node) {
    const [input] = node.input;
    const axis = state.axes(input)[1];
    const weight = weightOf(state, node);
    for (const [place, other] of state.labelled(input)) {
      if (place === 1) continue;
      if (weight && isApart(node, weight, place)) state.mark(node.output[0], place, other);
      else if (weight && !axis && goesAlong(state, node, place, other)) {
        const port = { index: 0, axis: place };
        state.normalise(other, node, [port], [port]);
        state.mark(node.output[0], place, other);
      } else state.pin(other, `${called(node)} mixes the axis`);
    }
    if (!weight) return opaque(state, node);
    const group = attributeInt(node, 'group', 1);
    const [m, perGroup] = weight.dims;
    if (group === 1) {
      if (axis) consume(state, node, axis);
      tieUses(state, node, axis, produce(state, node));
    } else if (axis) grouped(state, node, axis, m);
    else if (perGroup > 1) state.pin(state.produce(node, 1, m), `${called(node)} is a grouped convolution`);
  },
};

/** Steps and pads that no input is long enough for: places are counted in 32 bits. */
const TOO_FAR = 2 ** 31;

/** Whether weights and attributes are of the axes that the input has, of one to three beside the channels: a stranger's need not be. */
export function hasAxes(node: NodeProto, { input, weight }: LayerDims): boolean {
  const axes = input.length - 2;
  const isOf = (name: string, count: number) => {
    const values = attributeInts(node, name);
    return !values || (values.length === count && values.every((value) => value < TOO_FAR));
  };
  const isKnown = axes >= 1 && axes <= 3 && weight.length === input.length;
  return isKnown && isOf('strides', axes) && isOf('dilations', axes) && isOf('pads', 2 * axes);
}

/** Whether a layer leaves positions of an axis beside the channels apart: samples, and what a kernel of 1 goes over one by one. */
function isApart(node: NodeProto, { dims }: Tensor, place: number): boolean {
  if (place === 0) return true;
  const [axis, axes] = [place - 2, dims.length - 2];
  const stride = attributeInts(node, 'strides')?.[axis] ?? 1;
  const pads = [axis, axis + axes].map((at) => attributeInts(node, 'pads')?.[at] ?? 0);
  return dims[place] === 1 && stride === 1 && pads.every((pad) => pad === 0);
}

/**
 * Whether a kernel gives one value for each position of an axis, of those beside it, as that of an efficient channel attention goes
 * along the channels: of fewer it reads others.
 */
function goesAlong(state: Propagation, node: NodeProto, place: number, axis: Axis): boolean {
  const [read, made] = [node.input[0], node.output[0]].map((value) => state.dims(value)?.[place]);
  const isRow = axis.outer === 1 && !axis.isMerged;
  return isRow && read === made && (attributeInts(node, 'strides')?.[place - 2] ?? 1) === 1;
}

// Each group (a channel, if depthwise) is convolved on its own, so the label goes through, no finer than the
// groups; weights, bias and `group` go along. The first axis of the weights counts the channels of all groups: of the output, or of
// the input where the convolution is transposed.
export function grouped(state: Propagation, node: NodeProto, axis: Axis, m: number): void {
  const group = attributeInt(node, 'group', 1);
  if (group % axis.outer > 0 || axis.label.coarsen(group / axis.outer) === 1) {
    state.pin(axis, `${called(node)} is a grouped convolution`);
    return;
  }
  const out = { ...axis, extent: m };
  state.slice(state.constant(node, 1)!.dims[0] === m ? out : axis, node, 1, 0);
  cutBias(state, node, out);
  state.edit({ ...axis, extent: group }, { kind: 'attribute', node: node.name, name: 'group' }, node.name);
  state.mark(node.output[0], 1, out);
  tieUses(state, node, axis, out);
}

function geometry(node: NodeProto, dims: LayerDims): ConvGeometry {
  const [kernel, input] = [dims.weight, dims.input].map((list) => list.slice(2));
  const axes = kernel.length;
  const strides = attributeInts(node, 'strides') ?? kernel.map(() => 1);
  const dilations = attributeInts(node, 'dilations') ?? kernel.map(() => 1);
  const explicit = attributeInts(node, 'pads') ?? new Array(2 * axes).fill(0);
  const auto = attributeString(node, 'auto_pad', 'NOTSET');
  const placed = auto === 'SAME_UPPER' || auto === 'SAME_LOWER' ? auto : undefined;
  const pads = kernel.map((size, i) => {
    if (placed) return padsAlong(input[i], size, strides[i], dilations[i], placed);
    return auto === 'VALID' ? [0, 0] : [explicit[i], explicit[i + axes]];
  });
  const conv = inPlanes({ kernel, strides, pads, dilations });
  return placed && strides.some((stride) => stride > 1) ? { ...conv, placed } : conv;
}

type Placement = NonNullable<ConvGeometry['placed']>;

/** What is put before and behind an axis for windows to be at every `stride`-th position. */
function padsAlong(size: number, kernel: number, stride: number, dilation: number, placed: Placement) {
  const reach = (Math.ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1;
  const total = Math.max(0, reach - size);
  const small = Math.floor(total / 2);
  return placed === 'SAME_LOWER' ? [total - small, small] : [small, total - small];
}

/** The same convolution of images of these extents, (h, w), (d, h, w) or (w). */
export function padsFor(conv: ConvGeometry, extents: readonly number[]): ConvGeometry {
  const { placed, kernel, strides, dilations, depth } = conv;
  if (!placed) return conv;
  const [[top, bottom], [left, right]] = [extents.at(-2) ?? 1, extents.at(-1)!].map((size, i) =>
    padsAlong(size, kernel[i], strides[i], dilations[i], placed),
  );
  const own: ConvGeometry = { ...conv, pads: [top, left, bottom, right] };
  if (!depth) return own;
  const [front, back] = padsAlong(extents[0], depth.kernel, depth.stride, depth.dilation, placed);
  return { ...own, depth: { ...depth, pads: [front, back] } };
}

/** A convolution by axis, in the order of the image's. */
interface Sampling {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  /** Before and behind. */
  readonly pads: readonly (readonly number[])[];
  readonly dilations: readonly number[];
  /** Of a transposed convolution. */
  readonly inputDilations?: readonly number[];
}

/** Of one to three dimensions: the last two, and what is before them. */
export function inPlanes({ kernel, strides, pads, dilations, inputDilations }: Sampling): ConvGeometry {
  const [[left, right], [top, bottom] = [0, 0], depthPads] = pads.toReversed();
  const two = (list: readonly number[]): [number, number] => [list.at(-2) ?? 1, list.at(-1)!];
  const plane = {
    kernel: two(kernel),
    strides: two(strides),
    pads: [top, left, bottom, right] as ConvGeometry['pads'],
    dilations: two(dilations),
    ...(inputDilations && { inputDilations: two(inputDilations) }),
  };
  if (!depthPads) return plane;
  const [front, back] = depthPads;
  const depth = {
    kernel: kernel[0],
    stride: strides[0],
    pads: [front, back] as [number, number],
    dilation: dilations[0],
    inputDilation: inputDilations?.[0] ?? 1,
  };
  return { ...plane, depth };
}
