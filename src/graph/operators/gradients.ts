// The derivatives of operators: from the gradient by an output, that by an input. Nodes that all opsets have alike.

import { typeCode } from '../dtype.ts';
import { attributeFloat, attributeInt, attributeInts, attributeString, transposeOrder } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { wrapAxis } from '../propagation.ts';
import { toFloat64, toIntegers } from '../tensor.ts';
import { softmaxAxes } from './normalization.ts';
import type { Backward, GradientRule } from './operator.ts';

/** y = x, or the same values in another shape. */
export const reshaped: GradientRule = (graph, { input: [x] }, index, gradient) =>
  index === 0 ? graph.node('Reshape', [gradient, graph.node('Shape', [x])]) : undefined;

/** Sums: what an operand gets of the gradient of a result of more values is the sum along the axes that repeat it. */
export const summed = (
  graph: Backward,
  { input, output }: NodeProto,
  index: number,
  gradient: string,
): string | undefined => {
  const [own, whole] = [graph.dims(input[index]), graph.dims(output[0])];
  return own && whole && unrepeated(graph, own, whole, gradient);
};

/** The sum of a gradient along the axes that repeat the value that it is by; `whole` are its own dims. */
export function unrepeated(
  graph: Backward,
  own: readonly number[],
  whole: readonly number[],
  gradient: string,
): string | undefined {
  if (own.length !== whole.length) return undefined;
  const axes = whole.flatMap((extent, axis) => (own[axis] === extent ? [] : [axis]));
  if (axes.includes(0)) return undefined; // all samples would share it
  return axes.length === 0 ? gradient : graph.sum(gradient, axes, true);
}

/** An Expand's first operand is its only one. */
export const expanded: GradientRule = (graph, node, index, gradient) =>
  index === 0 ? summed(graph, node, index, gradient) : undefined;

export const subtracted: GradientRule = (graph, node, index, gradient) =>
  summed(graph, node, index, index === 0 ? gradient : graph.node('Neg', [gradient]));

export const multiplied: GradientRule = (graph, node, index, gradient) =>
  summed(graph, node, index, graph.node('Mul', [gradient, node.input[1 - index]]));

export const divided: GradientRule = (graph, node, index, gradient) => {
  const { input, output } = node;
  const part = graph.node('Div', [gradient, input[1]]);
  const own = index === 0 ? part : graph.node('Neg', [graph.node('Mul', [part, output[0]])]);
  return summed(graph, node, index, own);
};

/** x to a constant power. */
export const raised: GradientRule = (graph, { input: [x, exponent] }, index, gradient) => {
  const tensor = index === 0 ? graph.constant(exponent) : undefined;
  if (tensor?.dims.some((extent) => extent !== 1) !== false) return undefined;
  const [power] = toFloat64(tensor);
  const slope = graph.node('Mul', [graph.scalar(power), graph.node('Pow', [x, graph.scalar(power - 1)])]);
  return graph.node('Mul', [gradient, slope]);
};

/** Relu and Clip: where y = x. */
export const cut: GradientRule = (graph, { input: [x], output: [y] }, index, gradient) => {
  if (index !== 0) return undefined;
  const passes = graph.node('Cast', [graph.node('Equal', [x, y])], { to: typeCode('float32') });
  return graph.node('Mul', [gradient, passes]);
};

export const sigmoid: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Mul', [gradient, graph.node('Sub', [y, graph.node('Mul', [y, y])])]);

export const tanh: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Sub', [gradient, graph.node('Mul', [gradient, graph.node('Mul', [y, y])])]);

export const negated: GradientRule = (graph, _, __, gradient) => graph.node('Neg', [gradient]);

export const exponential: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Mul', [gradient, y]);

export const root: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Div', [gradient, graph.node('Mul', [y, graph.scalar(2)])]);

/** ln(1 + eˣ) */
export const softplus: GradientRule = (graph, { input: [x] }, _, gradient) =>
  graph.node('Mul', [gradient, graph.node('Sigmoid', [x])]);

/** x above 0, and below it something of this slope. */
const bent =
  (slopeOf: (graph: Backward, node: NodeProto) => string): GradientRule =>
  (graph, node, index, gradient) => {
    if (index !== 0) return undefined;
    const isAbove = graph.node('Greater', [node.input[0], graph.scalar(0)]);
    return graph.node('Mul', [
      gradient,
      graph.node('Where', [isAbove, graph.scalar(1), slopeOf(graph, node)]),
    ]);
  };

export const leaky = bent((graph, node) => graph.scalar(attributeFloat(node, 'alpha', 0.01)));
/** With slopes of its own by channel. */
export const parametric = bent((_, { input: [, slope] }) => slope);
/** α(eˣ − 1) below 0, of which the slope is α more. */
export const elu = bent((graph, node) =>
  graph.node('Add', [node.output[0], graph.scalar(attributeFloat(node, 'alpha', 1))]),
);

/** αx + β between 0 and 1. */
export const hardSigmoid: GradientRule = (graph, node, _, gradient) =>
  graph.node('Mul', [gradient, between(graph, node.output[0], attributeFloat(node, 'alpha', 0.2))]);

/** x·h with h = x/6 + 1/2 between 0 and 1. */
export const hardSwish: GradientRule = (graph, { input: [x] }, _, gradient) => {
  const h = graph.node('HardSigmoid', [x], { alpha: { float: 1 / 6 }, beta: { float: 0.5 } });
  const slope = graph.node('Add', [h, graph.node('Mul', [x, between(graph, h, 1 / 6)])]);
  return graph.node('Mul', [gradient, slope]);
};

/** A factor where y is between 0 and 1, elsewhere 0. */
function between(graph: Backward, y: string, factor: number): string {
  const isInside = graph.node('And', [
    graph.node('Greater', [y, graph.scalar(0)]),
    graph.node('Less', [y, graph.scalar(1)]),
  ]);
  return graph.node('Where', [isInside, graph.scalar(factor), graph.scalar(0)]);
}

export const erf: GradientRule = (graph, { input: [x] }, _, gradient) =>
  graph.node('Mul', [gradient, bell(graph, x, 1, 2 / Math.sqrt(Math.PI))]);

/** x·Φ(x): Φ(x) + x·φ(x). */
export const gelu: GradientRule = (graph, node, _, gradient) => {
  if (attributeString(node, 'approximate', 'none') !== 'none') return undefined;
  const [x] = node.input;
  const error = graph.node('Erf', [graph.node('Mul', [x, graph.scalar(Math.SQRT1_2)])]);
  const below = graph.node('Mul', [graph.node('Add', [error, graph.scalar(1)]), graph.scalar(0.5)]);
  const density = graph.node('Mul', [x, bell(graph, x, 0.5, 1 / Math.sqrt(2 * Math.PI))]);
  return graph.node('Mul', [gradient, graph.node('Add', [below, density])]);
};

/** c·exp(−a·x²) */
function bell(graph: Backward, x: string, a: number, c: number): string {
  const exponent = graph.node('Mul', [graph.node('Mul', [x, x]), graph.scalar(-a)]);
  return graph.node('Mul', [graph.node('Exp', [exponent]), graph.scalar(c)]);
}

/** Each channel times γ / √(σ² + ε). */
export const normalized: GradientRule = (graph, node, index, gradient) => {
  const [x, gamma, , , variance] = node.input;
  const [scale, spread] = [graph.constant(gamma), graph.constant(variance)];
  const rank = graph.dims(x)?.length;
  if (index !== 0 || !scale || !spread || !rank) return undefined;
  const epsilon = attributeFloat(node, 'epsilon', 1e-5);
  const variances = toFloat64(spread);
  const factors = toFloat64(scale).map((value, j) => value / Math.sqrt(variances[j] + epsilon));
  const dims = [factors.length, ...new Array(rank - 2).fill(1)];
  return graph.node('Mul', [gradient, graph.floats(Float32Array.from(factors), dims)]);
};

/** Less the mean and over the deviation: of the positions of each channel, or of each row's last axis; times γ. */
const standardized =
  (isByChannel: boolean): GradientRule =>
  (graph, node, index, gradient) => {
    const [x, gamma] = node.input;
    const rank = graph.dims(x)?.length;
    if (index !== 0 || !rank || graph.constant(gamma)?.dims.length !== 1) return undefined;
    if (!isByChannel && ![-1, rank - 1].includes(attributeInt(node, 'axis', -1))) return undefined;
    const axes = isByChannel ? axesFrom(2, rank) : [rank - 1];
    const count = graph.extent(x, axes);
    const mean = (value: string) => graph.node('Div', [graph.sum(value, axes, true), count]);
    const centred = graph.node('Sub', [x, mean(x)]);
    const variance = graph.node('Add', [
      mean(graph.node('Mul', [centred, centred])),
      graph.scalar(attributeFloat(node, 'epsilon', 1e-5)),
    ]);
    const deviation = graph.node('Sqrt', [variance]);
    const y = graph.node('Div', [centred, deviation]);
    const factors = graph.node('Reshape', [
      gamma,
      graph.integers([-1, ...(isByChannel ? axes.map(() => 1) : [])]),
    ]);
    const own = graph.node('Mul', [gradient, factors]);
    const along = graph.node('Mul', [y, mean(graph.node('Mul', [own, y]))]);
    return graph.node('Div', [graph.node('Sub', [graph.node('Sub', [own, mean(own)]), along]), deviation]);
  };

export const instanceNormalized = standardized(true);
export const layerNormalized = standardized(false);

/** y·(δ − Σ y·δ) */
export const softmax: GradientRule = (graph, node, _, gradient) => {
  const [y] = node.output;
  const axes = softmaxed(graph, node);
  if (!axes) return undefined;
  const mean = graph.sum(graph.node('Mul', [y, gradient]), axes, true);
  return graph.node('Mul', [y, graph.node('Sub', [gradient, mean])]);
};

/** δ − eʸ·Σδ */
export const logSoftmax: GradientRule = (graph, node, _, gradient) => {
  const [y] = node.output;
  const axes = softmaxed(graph, node);
  if (!axes) return undefined;
  const total = graph.sum(gradient, axes, true);
  return graph.node('Sub', [gradient, graph.node('Mul', [graph.node('Exp', [y]), total])]);
};

function softmaxed(graph: Backward, node: NodeProto): number[] | undefined {
  const rank = graph.dims(node.input[0])?.length;
  return rank === undefined ? undefined : softmaxAxes(node, rank, graph.opset);
}

/** A mean over all positions, or over the axes that an attribute or input names. */
export const averaged: GradientRule = (graph, node, index, gradient) => {
  const { input, opType } = node;
  const [x, named] = input;
  const rank = graph.dims(x)?.length;
  if (index !== 0 || !rank) return undefined;
  const tensor = named ? graph.constant(named) : undefined;
  if (named && !tensor) return undefined;
  const given = tensor ? toIntegers(tensor) : attributeInts(node, 'axes');
  const axes =
    opType === 'GlobalAveragePool' ? axesFrom(2, rank) : given?.map((axis) => wrapAxis(axis, rank));
  if (!axes || axes.includes(0)) return undefined;
  const share = graph.node('Div', [gradient, graph.extent(x, axes)]);
  const kept = attributeInt(node, 'keepdims', 1) ? share : graph.unsqueeze(share, axes);
  return graph.node('Expand', [kept, graph.node('Shape', [x])]);
};

/** What an input of a Concat has of it. */
export const joined: GradientRule = (graph, node, index, gradient) => {
  const axis = axisOf(graph, node);
  if (!axis) return undefined;
  const start = total(graph, node.input.slice(0, index), axis);
  const end = total(graph, node.input.slice(0, index + 1), axis);
  return graph.node('Slice', [gradient, start, end, graph.integers([axis])]);
};

/** A Split's output, with zeros for the others. */
export const parted: GradientRule = (graph, node, index, gradient, output) => {
  const axis = axisOf(graph, node);
  if (index !== 0 || !axis) return undefined;
  const before = total(graph, node.output.slice(0, output), axis);
  return among(graph, node.input[0], gradient, axis, before);
};

/** A piece of one axis, with zeros for the rest. */
export const piece: GradientRule = (graph, node, index, gradient) => {
  const [x, start, , named, steps] = node.input;
  const [axes, by] = [named, steps].map((value) => value && graph.constant(value));
  const rank = graph.dims(x)?.length;
  if (index !== 0 || !rank || !axes || (steps && !by)) return undefined;
  const [axis, ...others] = toIntegers(axes).map((it) => wrapAxis(it, rank));
  if (!axis || others.length > 0 || (by && toIntegers(by)[0] !== 1)) return undefined;
  const fromEnd = graph.node('Less', [start, graph.integers([0])]);
  const before = graph.node('Where', [fromEnd, graph.node('Add', [start, graph.size(x, axis)]), start]);
  return among(graph, x, gradient, axis, before);
};

/** Zeros before and behind a gradient, for it to be that of a value with more along an axis. */
function among(graph: Backward, x: string, gradient: string, axis: number, before: string): string {
  const after = graph.node('Sub', [
    graph.node('Sub', [graph.size(x, axis), before]),
    graph.size(gradient, axis),
  ]);
  const none = (axes: number) => (axes > 0 ? [graph.integers(new Array(axes).fill(0))] : []);
  const [first, last] = [none(axis), none(graph.dims(x)!.length - axis - 1)];
  const pads = graph.node('Concat', [...first, before, ...last, ...first, after, ...last], { axis: 0 });
  return graph.node('Pad', [gradient, pads]);
}

/** The axis that a Concat or Split goes by; 0 is that of samples. */
function axisOf(graph: Backward, node: NodeProto): number | undefined {
  const rank = graph.dims(node.output[0])?.length;
  return rank && wrapAxis(attributeInt(node, 'axis', 0), rank);
}

/** How much values have of an axis together. */
function total(graph: Backward, values: readonly string[], axis: number): string {
  return values
    .map((value) => graph.size(value, axis))
    .reduce((some, size) => graph.node('Add', [some, size]), graph.integers([0]));
}

export const turned: GradientRule = (graph, node, _, gradient) => {
  const rank = graph.dims(node.input[0])?.length;
  if (!rank) return undefined;
  const perm = transposeOrder(node, rank);
  const back = perm.map((__, axis) => perm.indexOf(axis));
  return graph.node('Transpose', [gradient], { perm: back });
};

function axesFrom(first: number, rank: number): number[] {
  return Array.from({ length: rank - first }, (_, i) => first + i);
}
