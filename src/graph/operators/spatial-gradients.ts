// The derivatives of operators that move windows over an image, or give it other extents.

import { attributeFloat, attributeInt, attributeInts, attributeString } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { elements, toFloat64 } from '../tensor.ts';
import { asFloats, integersOf } from './gradients.ts';
import { among, putBack } from './layout-gradients.ts';
import type { Backward, GradientRule } from './operator.ts';

/** How windows lie, in the attributes of ConvTranspose: it puts back what they read. */
interface Windows {
  readonly strides: number[];
  readonly dilations: number[];
  readonly pads: number[];
  /** Positions at the end that no window reaches; 0 where their number differs between samples. */
  readonly output_padding: number[];
}

export const convolution: GradientRule = (graph, node, index, gradient) => {
  const [, weight] = node.input;
  const kernel = graph.constant(weight)?.dims.slice(2);
  const windows = kernel && windowsOf(graph, node, kernel);
  if (index !== 0 || !windows) return undefined;
  return windowed(graph, node, gradient, weight, windows, attributeInt(node, 'group', 1));
};

export const transposedConvolution: GradientRule = (graph, node, index, gradient) => {
  const [, weight] = node.input;
  const kernel = graph.constant(weight)?.dims.slice(2);
  const auto = attributeString(node, 'auto_pad', 'NOTSET');
  if (index !== 0 || !kernel || auto !== 'NOTSET' || attributeInts(node, 'output_shape')) return undefined;
  const { strides, dilations, pads } = placed(node, kernel.length);
  return graph.node('Conv', [gradient, weight], {
    ...{ strides, dilations, pads, group: attributeInt(node, 'group', 1) },
  });
};

/** The mean of each window. */
export const averagePool: GradientRule = (graph, node, _, gradient) => {
  const kernel = attributeInts(node, 'kernel_shape')!;
  const windows = windowsOf(graph, node, kernel);
  const isCounted = attributeInt(node, 'count_include_pad', 0) !== 0;
  if (!windows || (isCounted && attributeInt(node, 'ceil_mode', 0))) return undefined;
  const ones = graph.floats(new Float32Array(elements(kernel)).fill(1), [1, 1, ...kernel]);
  // How many values each window has: those on the edge have fewer.
  const count = isCounted
    ? graph.scalar(elements(kernel))
    : read(graph, filledAs(graph, node.input[0], 1), ones, windows);
  const share = graph.node('Div', [planes(graph, gradient), count]);
  return shapedAs(graph, node.input[0], windowed(graph, node, share, ones, windows));
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
  return shapedAs(graph, x, windowed(graph, node, graph.node('Mul', [mask, share]), copies, windows));
};

/** What windows read, by weights. */
function read(graph: Backward, value: string, weight: string, { strides, dilations, pads }: Windows): string {
  return graph.node('Conv', [value, weight], { strides, dilations, pads });
}

/** What windows read gets the gradient by what they give, by weights; what none reads gets zeros. */
function windowed(
  graph: Backward,
  node: NodeProto,
  gradient: string,
  weight: string,
  windows: Windows,
  group = 1,
): string {
  const [x] = node.input;
  const { strides } = windows;
  const [input] = extents(graph, node);
  // How far the last window reaches differs then: first all that it does, then as much as there is.
  const isOpen = strides.map((stride, i) => stride > 1 && Number.isNaN(input![i]));
  const pads = windows.pads.map((count, i) => (isOpen[i - strides.length] ? 0 : count));
  let back = graph.node('ConvTranspose', [gradient, weight], { ...windows, pads, group });
  for (const i of isOpen.keys()) if (isOpen[i]) back = among(graph, x, back, i + 2, graph.integers([0]));
  return back;
}

/** Constants around a value, or values of its own. One that is cropped would need its gradient padded. */
export const padded: GradientRule = (graph, node, index, gradient) => {
  const [x, pads, , axes] = node.input;
  const [own, whole] = [x, node.output[0]].map((value) => graph.dims(value));
  if (index !== 0 || !pads || axes || !own || !whole) return undefined;
  const given = integersOf(graph, pads);
  if (!(given?.every((count) => count >= 0) ?? whole.every((extent, axis) => extent >= own[axis])))
    return undefined;
  const mode = attributeString(node, 'mode', 'constant');
  if (mode !== 'constant') return mirrored(graph, node, mode, gradient);
  const start = graph.node('Slice', [pads, graph.integers([0]), graph.integers([own.length])]);
  const end = graph.node('Add', [start, graph.node('Shape', [x])]);
  return graph.node('Slice', [gradient, start, end]);
};

/** Around a value are values of its own. */
function mirrored(graph: Backward, node: NodeProto, mode: string, gradient: string): string | undefined {
  const [x, pads] = node.input;
  const placeOf = AROUND[mode];
  const before = integersOf(graph, pads);
  if (!placeOf || !before) return undefined;
  const whole = graph.dims(node.output[0])!;
  let back: string | undefined = gradient;
  for (const [axis, extent] of graph.dims(x)!.entries()) {
    if (back === undefined || extent === whole[axis]) continue;
    const places = Array.from({ length: whole[axis] }, (_, at) => placeOf(at - before[axis], extent));
    back = putBack(graph, x, back, { axis, places });
  }
  return back;
}

/** Which value stands at a place around others (https://onnx.ai/onnx/operators/onnx__Pad.html). */
const AROUND: Readonly<Record<string, (at: number, extent: number) => number>> = {
  reflect: (at, extent) => extent - 1 - Math.abs(extent - 1 - Math.abs(at)),
  edge: (at, extent) => Math.min(Math.max(at, 0), extent - 1),
};

/** Of each axis y = A·x, so that the gradient is Aᵀ·g. */
export const resized: GradientRule = (graph, node, index, gradient) => {
  const [x, , scales] = node.input;
  const [input, output] = extents(graph, node);
  const given = scales ? graph.constant(scales) : undefined;
  if (index !== 0 || !input || !output || (scales && !given)) return undefined;
  // Positions are those of the scales that are given, which need not be the extents' own.
  const factors = given && toFloat64(given).slice(2);
  if ([...input, ...output].some(Number.isNaN)) return repeated(graph, node, factors, gradient);
  if (factors?.some((factor, axis) => Math.abs(factor - output[axis] / input[axis]) > 1e-6)) return undefined;
  const matrices = input.map((size, axis) => interpolation(node, size, output[axis]));
  if (matrices.length > 2 || matrices.some((it) => !it)) return undefined;
  const [width, height] = matrices.toReversed().map((values, i) => {
    const axis = input.length - 1 - i;
    return graph.floats(values!, [output[axis], input[axis]]);
  });
  const across = graph.node('MatMul', [planes(graph, gradient), width]);
  const along = height && graph.node('Transpose', [height], { perm: [1, 0] });
  return shapedAs(graph, x, along ? graph.node('MatMul', [along, across]) : across);
};

/** Copies of each position, so many along each axis, whatever the extents are. */
function repeated(
  graph: Backward,
  node: NodeProto,
  factors: Float64Array | undefined,
  gradient: string,
): string | undefined {
  const isCopied = (factor: number) => {
    if (!Number.isInteger(factor)) return false;
    const A = interpolation(node, SOME, SOME * factor);
    return A?.every((value, at) => value === Number(Math.floor(at / SOME / factor) === at % SOME));
  };
  if (!factors || factors.length > 2 || !factors.every(isCopied)) return undefined;
  const kernel = [...factors];
  const ones = graph.floats(new Float32Array(elements(kernel)).fill(1), [1, 1, ...kernel]);
  const sums = graph.node('Conv', [planes(graph, gradient), ones], { strides: kernel });
  return shapedAs(graph, node.input[0], sums);
}

/** Positions that show how a Resize reads. */
const SOME = 4;

/** A, output × input: which positions of the input are read for each of the output. */
function interpolation(node: NodeProto, input: number, output: number): Float32Array | undefined {
  const position = POSITIONS[attributeString(node, 'coordinate_transformation_mode', 'half_pixel')];
  const nearest = NEAREST[attributeString(node, 'nearest_mode', 'round_prefer_floor')];
  const mode = attributeString(node, 'mode', 'nearest');
  const isOther = attributeInt(node, 'antialias', 0) !== 0 || attributeInt(node, 'exclude_outside', 0) !== 0;
  if (!position || !nearest || isOther || !['nearest', 'linear', 'cubic'].includes(mode)) return undefined;
  const A = new Float32Array(output * input);
  const inside = (at: number) => Math.min(Math.max(at, 0), input - 1);
  for (let i = 0; i < output; i++) {
    const at = position(i, input, output);
    if (mode === 'nearest') A[i * input + inside(nearest(at))] = 1;
    else if (mode === 'cubic') {
      const slope = attributeFloat(node, 'cubic_coeff_a', -0.75);
      for (let place = Math.floor(at) - 1; place <= Math.floor(at) + 2; place++)
        A[i * input + inside(place)] += cubic(Math.abs(at - place), slope);
    } else {
      const from = inside(at);
      const share = from - Math.floor(from);
      A[i * input + Math.floor(from)] += 1 - share;
      A[i * input + inside(Math.floor(from) + 1)] += share;
    }
  }
  return A;
}

/** The weight of a value at this distance (Keys' kernel). */
function cubic(distance: number, a: number): number {
  return distance <= 1
    ? ((a + 2) * distance - (a + 3)) * distance ** 2 + 1
    : ((distance - 5) * distance + 8) * distance * a - 4 * a;
}

/** Where a position of the output lies in the input (https://onnx.ai/onnx/operators/onnx__Resize.html). */
const POSITIONS: Readonly<Record<string, (i: number, input: number, output: number) => number>> = {
  half_pixel: (i, input, output) => ((i + 0.5) * input) / output - 0.5,
  pytorch_half_pixel: (i, input, output) => (output > 1 ? ((i + 0.5) * input) / output - 0.5 : 0),
  align_corners: (i, input, output) => (output > 1 ? (i * (input - 1)) / (output - 1) : 0),
  asymmetric: (i, input, output) => (i * input) / output,
};

const NEAREST: Readonly<Record<string, (at: number) => number>> = {
  round_prefer_floor: (at) => Math.ceil(at - 0.5),
  round_prefer_ceil: (at) => Math.floor(at + 0.5),
  floor: Math.floor,
  ceil: Math.ceil,
};

/** Depth to space: channels as positions, in either order. */
export const spread: GradientRule = (graph, node, _, gradient) => {
  const [x] = node.input;
  const [input] = extents(graph, node);
  const blocksize = attributeInt(node, 'blocksize', 1);
  if (input?.length !== 2) return undefined;
  if (attributeString(node, 'mode', 'DCR') === 'DCR')
    return graph.node('SpaceToDepth', [gradient], { blocksize });
  if (input.some(Number.isNaN)) return undefined;
  const [height, width] = input;
  const blocks = graph.node('Reshape', [gradient, graph.integers([-1, height, blocksize, width, blocksize])]);
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

function windowsOf(graph: Backward, node: NodeProto, kernel: readonly number[]): Windows | undefined {
  const [input, output] = extents(graph, node);
  if (!input || !output || attributeString(node, 'auto_pad', 'NOTSET') !== 'NOTSET') return undefined;
  const axes = kernel.length;
  const { strides, dilations, pads } = placed(node, axes);
  if (input.some(Number.isNaN) && attributeInt(node, 'ceil_mode', 0) !== 0) return undefined;
  const rest = input.map((size, i) => {
    if (Number.isNaN(size)) return 0;
    return (
      size + pads[i] + pads[i + axes] - (output[i] - 1) * strides[i] - dilations[i] * (kernel[i] - 1) - 1
    );
  });
  // With ceil_mode the last windows reach beyond the padding.
  const wider = pads.map((count, i) => (i < axes ? count : count + Math.max(0, -rest[i - axes])));
  return { strides, dilations, pads: wider, output_padding: rest.map((count) => Math.max(0, count)) };
}

/** Each channel of each sample as an image of its own: how many there are does not matter. */
function planes(graph: Backward, value: string): string {
  return graph.node('Reshape', [value, planesShape(graph, value, -1)]);
}

function planesShape(graph: Backward, value: string, count: number): string {
  const extents = graph.node('Slice', [
    graph.node('Shape', [value]),
    graph.integers([2]),
    graph.integers([MOST_AXES]),
  ]);
  return graph.node('Concat', [graph.integers([count, 1]), extents], { axis: 0 });
}

const MOST_AXES = 2 ** 10;

/** A plane with as many positions as those of a value. */
function filledAs(graph: Backward, value: string, number: number): string {
  return graph.node('Expand', [graph.scalar(number), planesShape(graph, value, 1)]);
}

function shapedAs(graph: Backward, x: string, value: string): string {
  return graph.node('Reshape', [value, graph.node('Shape', [x])]);
}
