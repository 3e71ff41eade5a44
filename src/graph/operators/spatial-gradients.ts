// The derivatives of operators that move windows over an image, or give it other extents.

import { attributeInt, attributeInts, attributeString, copyMessage, removeAttribute } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { wrapAxis } from '../propagation.ts';
import { elements, toFloat64 } from '../tensor.ts';
import { cropsOf } from './conv-transpose.ts';
import { asFloats, integersOf } from './gradients.ts';
import { among, FAR, fromStart, sliced } from './layout-gradients.ts';
import type { Backward, GradientRule } from './operator.ts';

/** How windows lie, in the attributes of ConvTranspose: it puts back what they read. */
interface Windows {
  readonly strides: number[];
  readonly dilations: number[];
  readonly pads: number[];
  /** Positions at the end that no window reaches. */
  readonly output_padding: number[];
}

interface Placed {
  readonly windows: Windows;
  /** What a Pad takes for an image to have all that windows read and no more, where that differs between samples. */
  readonly around?: string;
}

export const convolution: GradientRule = (graph, node, index, gradient) => {
  const [, weight] = node.input;
  const kernel = graph.constant(weight)?.dims.slice(2);
  const windows = kernel && windowsOf(graph, node, kernel);
  if (index !== 0 || !windows) return undefined;
  return windowed(graph, gradient, weight, windows, attributeInt(node, 'group', 1));
};

export const transposedConvolution: GradientRule = (graph, node, index, gradient) => {
  const [, weight] = node.input;
  const kernel = graph.constant(weight)?.dims.slice(2);
  const crops = kernel && cropsOf(node, kernel, ...extents(graph, node));
  if (index !== 0 || !crops) return undefined;
  const { strides, dilations } = placed(node, kernel.length);
  const pads = [0, 1].flatMap((side) => crops.map((own) => own[side]));
  return graph.node('Conv', [gradient, weight], {
    ...{ strides, dilations, pads, group: attributeInt(node, 'group', 1) },
  });
};

/** The mean of each window. */
export const averagePool: GradientRule = (graph, node, _, gradient) => {
  const [x] = node.input;
  const kernel = attributeInts(node, 'kernel_shape')!;
  const windows = windowsOf(graph, node, kernel);
  if (!windows) return undefined;
  const ones = graph.floats(new Float32Array(elements(kernel)).fill(1), [1, 1, ...kernel]);
  // How many values each window is divided by: fewer on the edge, or those beside the image too.
  const filled = filledAs(graph, x, 1);
  const own = read(graph, filled, ones, windows);
  const isCounted = attributeInt(node, 'count_include_pad', 0) !== 0;
  const count = isCounted ? graph.node('Div', [own, graph.again(node, [filled])]) : own;
  const share = graph.node('Div', [planes(graph, gradient), count]);
  return shapedAs(graph, x, windowed(graph, share, ones, windows));
};

/** The largest value of each window; where several are, each has its part. */
export const maxPool: GradientRule = (graph, node, _, gradient) => {
  const [x] = node.input;
  const kernel = attributeInts(node, 'kernel_shape')!;
  const windows = windowsOf(graph, node, kernel);
  if (!windows) return undefined;
  // A channel for each place in the window, which a convolution copies and its transpose puts back.
  const taps = elements(kernel);
  const unit = new Float32Array(taps * taps);
  for (let tap = 0; tap < taps; tap++) unit[tap * (taps + 1)] = 1;
  const copies = graph.floats(unit, [taps, 1, ...kernel]);
  const values = read(graph, planes(graph, x), copies, windows);
  const mask = asFloats(graph, graph.node('Equal', [values, planes(graph, node.output[0])]));
  const share = graph.node('Div', [planes(graph, gradient), graph.sum(mask, [1], true)]);
  return shapedAs(graph, x, windowed(graph, graph.node('Mul', [mask, share]), copies, windows));
};

/** What windows read, by weights. */
function read(graph: Backward, value: string, weight: string, { windows, around }: Placed): string {
  const { strides, dilations, pads } = windows;
  const image = around ? graph.node('Pad', [value, around]) : value;
  return graph.node('Conv', [image, weight], { strides, dilations, pads });
}

/** All that the windows of a convolution read, of its input with the first two axes in either order. */
export function surrounded(
  graph: Backward,
  node: NodeProto,
  value: string,
  kernel: readonly number[],
): string {
  const { windows, around } = windowsOf(graph, node, kernel)!;
  const before = windows.pads.slice(0, kernel.length);
  const pads = [0, 0, ...before, 0, 0, ...windows.pads.slice(kernel.length)];
  const image = graph.node('Pad', [value, graph.integers(pads)]);
  return around ? graph.node('Pad', [image, around]) : image;
}

/** What windows read gets the gradient by what they give, by weights; what none reads gets zeros. */
function windowed(
  graph: Backward,
  gradient: string,
  weight: string,
  { windows, around }: Placed,
  group = 1,
): string {
  const back = graph.node('ConvTranspose', [gradient, weight], { ...windows, group });
  return around ? graph.node('Pad', [back, graph.node('Neg', [around])]) : back;
}

/** What is around a value, zeros or values of its own, is taken off; what is cropped gets zeros. */
export const padded: GradientRule = (graph, node, index, gradient) => {
  const [, pads, , axes] = node.input;
  if (index !== 0 || !pads) return undefined;
  const mode = attributeString(node, 'mode', 'constant');
  if (mode !== 'constant') return axes ? undefined : mirrored(graph, node, mode, gradient);
  const back = graph.node('Neg', [pads]);
  return graph.node('Pad', axes ? [gradient, back, '', axes] : [gradient, back]);
};

/** Around a value are values of its own: those beside its ends, turned round, or the ends themselves. */
function mirrored(graph: Backward, node: NodeProto, mode: string, gradient: string): string | undefined {
  const [x, pads] = node.input;
  const [given, rank] = [integersOf(graph, pads), graph.dims(x)?.length];
  if (!rank || !given?.every((count) => count >= 0) || !['reflect', 'edge'].includes(mode)) return undefined;
  let back = gradient;
  for (let axis = 0; axis < rank; axis++) {
    const [before, after] = [given[axis], given[axis + rank]];
    const whole = back;
    const part = (from: number, to: number, step = 1) => sliced(graph, whole, axis, { from, to, step });
    const add = (value: string, place: number) => {
      const start = fromStart(graph, x, axis, graph.integers([place]));
      back = graph.node('Add', [back, among(graph, x, value, axis, start)]);
    };
    if (before > 0 || after > 0) back = part(before, after > 0 ? -after : FAR);
    if (mode === 'reflect') {
      if (before > 0) add(part(before - 1, -FAR, -1), 1);
      if (after > 0) add(part(-1, -after - 1, -1), -after - 1);
    } else {
      if (before > 0) add(graph.sum(part(0, before), [axis], true), 0);
      if (after > 0) add(graph.sum(part(-after, FAR), [axis], true), -1);
    }
  }
  return back;
}

/** Of each axis y = A·x, so that the gradient is Aᵀ·g. */
export const resized: GradientRule = (graph, node, index, gradient) => {
  const [[x, , scales, sizes], [y]] = [node.input, node.output];
  const [own, whole] = [x, y].map((value) => graph.dims(value));
  const isOther =
    attributeString(node, 'coordinate_transformation_mode', 'half_pixel') === 'tf_crop_and_resize' ||
    attributeString(node, 'keep_aspect_ratio_policy', 'stretch') !== 'stretch';
  if (index !== 0 || !own || !whole || isOther) return undefined;
  const given = sizes ? undefined : graph.constant(scales);
  const factors = given && toFloat64(given);
  const last = own.length - 1;
  let back = gradient;
  const axes = attributeInts(node, 'axes') ?? [...own.keys()];
  for (const [place, axis] of axes.map((it) => wrapAxis(it, own.length)).entries()) {
    if (factors ? factors[place] === 1 : own[axis] === whole[axis]) continue;
    if (axis === graph.samples(x)) return undefined;
    const perm = [...own.keys()];
    [perm[axis], perm[last]] = [last, axis]; // a MatMul goes over the last one
    const turned = (value: string) => (axis === last ? value : graph.node('Transpose', [value], { perm }));
    back = turned(graph.node('MatMul', [turned(back), interpolation(graph, node, axis, place)]));
  }
  return back;
};

/**
 * A, output × input: what the node makes along an axis of the columns of an identity.
 * @param place  where the axis is in what the node is given
 */
function interpolation(graph: Backward, node: NodeProto, axis: number, place: number): string {
  const [x, region, scales, sizes] = node.input;
  const joined = (...parts: string[]) => graph.node('Concat', parts, { axis: 0 });
  const size = graph.size(x, axis);
  const square = graph.node('EyeLike', [graph.node('ConstantOfShape', [joined(size, size)])]);
  const inputs = [graph.unsqueeze(square, [0, 1]), region];
  if (sizes) inputs.push(scales, joined(graph.integers([1, 1]), graph.size(node.output[0], axis), size));
  else {
    const [one, two] = [1, 2].map((count) => graph.floats(new Float32Array(count).fill(1), [count]));
    const bounds = [place, place + 1].map((it) => graph.integers([it]));
    inputs.push(joined(two, graph.node('Slice', [scales, ...bounds]), one));
  }
  const alike = copyMessage(node);
  removeAttribute(alike, 'axes');
  return graph.node('Reshape', [graph.again(alike, inputs), joined(graph.integers([-1]), size)]);
}

/** Depth to space: channels as positions, in either order. */
export const spread: GradientRule = (graph, node, _, gradient) => {
  const [x] = node.input;
  const blocksize = attributeInt(node, 'blocksize', 1);
  if (attributeString(node, 'mode', 'DCR') === 'DCR')
    return graph.node('SpaceToDepth', [gradient], { blocksize });
  const [height, width] = [2, 3].map((axis) => graph.size(x, axis));
  const [block, rest] = [blocksize, -1].map((extent) => graph.integers([extent]));
  const shape = graph.node('Concat', [rest, height, block, width, block], { axis: 0 });
  const blocks = graph.node('Reshape', [gradient, shape]);
  return shapedAs(graph, x, graph.node('Transpose', [blocks], { perm: [0, 2, 4, 1, 3] }));
};

/** Positions that a node reads and gives. */
function extents(graph: Backward, { input: [x], output: [y] }: NodeProto) {
  return [x, y].map((value) => graph.dims(value)?.slice(2));
}

function placed(node: NodeProto, axes: number) {
  const alike = (value: number) => new Array<number>(axes).fill(value);
  return {
    strides: attributeInts(node, 'strides') ?? alike(1),
    dilations: attributeInts(node, 'dilations') ?? alike(1),
    pads: attributeInts(node, 'pads') ?? [...alike(0), ...alike(0)],
  };
}

function windowsOf(graph: Backward, node: NodeProto, kernel: readonly number[]): Placed | undefined {
  const [input, output] = extents(graph, node);
  if (!input || !output) return undefined;
  const { strides, dilations, pads } = placed(node, kernel.length);
  const auto = attributeString(node, 'auto_pad', 'NOTSET');
  const isSame = auto.startsWith('SAME');
  const more = auto === 'SAME_LOWER' ? 1 : 0; // of an odd number before the image
  const sides = input.map((size, i) => {
    const reach = dilations[i] * (kernel[i] - 1) + 1;
    const [first, last] = auto === 'VALID' ? [0, 0] : [pads[i], pads[i + kernel.length]];
    if (Number.isNaN(size) && strides[i] > 1)
      return { before: 0, after: 0, rest: 0, open: beside(graph, node, i, { reach, first, isSame, more }) };
    // How far windows reach beyond an image; at a stride of 1 that is the same for each.
    const alike = isSame ? reach - 1 : first + last;
    const beyond = Number.isNaN(size) ? alike : (output[i] - 1) * strides[i] + reach - size;
    const before = isSame ? Math.floor((Math.max(0, beyond) + more) / 2) : first;
    return { before, after: Math.max(0, beyond - before), rest: Math.max(0, before - beyond) };
  });
  const ends = [sides.map(({ before }) => before), sides.map(({ after }) => after)];
  const windows = { strides, dilations, pads: ends.flat(), output_padding: sides.map(({ rest }) => rest) };
  if (!sides.some(({ open }) => open)) return { windows };
  const none = graph.integers([0]);
  const around = ends.flatMap((_, end) => [none, none, ...sides.map(({ open }) => open?.[end] ?? none)]);
  return { windows, around: graph.node('Concat', around, { axis: 0 }) };
}

interface Reach {
  readonly reach: number;
  readonly first: number;
  readonly isSame: boolean;
  readonly more: number;
}

/** How many positions windows read before an image and behind it; below 0 where they leave some out. */
function beside(graph: Backward, node: NodeProto, i: number, { reach, first, isSame, more }: Reach) {
  const [[x], [y]] = [node.input, node.output];
  const stride = attributeInts(node, 'strides')![i];
  const number = (value: number) => graph.integers([value]);
  const before = graph.node('Mul', [graph.node('Sub', [graph.size(y, i + 2), number(1)]), number(stride)]);
  const beyond = graph.node('Sub', [graph.node('Add', [before, number(reach)]), graph.size(x, i + 2)]);
  const total = graph.node('Where', [graph.node('Less', [beyond, number(0)]), number(0), beyond]);
  const half = () => graph.node('Div', [graph.node('Add', [total, number(more)]), number(2)]);
  const start = isSame ? half() : number(first);
  return [start, graph.node('Sub', [beyond, start])];
}

/** Each channel of each sample as an image of its own: how many there are does not matter. */
function planes(graph: Backward, value: string): string {
  return graph.node('Reshape', [value, planesShape(graph, value, -1)]);
}

function planesShape(graph: Backward, value: string, count: number): string {
  const extents = graph.node('Slice', [
    graph.node('Shape', [value]),
    graph.integers([2]),
    graph.integers([FAR]),
  ]);
  return graph.node('Concat', [graph.integers([count, 1]), extents], { axis: 0 });
}

/** A plane with as many positions as those of a value. */
function filledAs(graph: Backward, value: string, number: number): string {
  return graph.node('Expand', [graph.scalar(number), planesShape(graph, value, 1)]);
}

function shapedAs(graph: Backward, x: string, value: string): string {
  return graph.node('Reshape', [value, graph.node('Shape', [x])]);
}
