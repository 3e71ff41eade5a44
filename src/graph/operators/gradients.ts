// The derivatives of operators that take every element alike: from the gradient by an output, that by an input. Nodes that all
// opsets have alike.

import { isFloat, typeCode } from '../dtype.ts';
import { attributeFloat, attributeInt, attributeString } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { toFloat64, toIntegers } from '../tensor.ts';
import type { Backward, GradientRule } from './operator.ts';

/** Sums: what an operand gets of the gradient of a result of more values is the sum along the axes that repeat it. */
export const summed = (
  graph: Backward,
  { input, output: [y] }: NodeProto,
  index: number,
  gradient: string,
): string | undefined => {
  const [own, whole] = [graph.dims(input[index]), graph.dims(y)];
  return own && whole && unrepeated(graph, { own, whole, samples: graph.samples(y) }, gradient);
};

interface Repeated {
  readonly own: readonly number[];
  /** Of the gradient. */
  readonly whole: readonly number[];
  /** The axis that counts them. */
  readonly samples: number;
}

/** The sum of a gradient along the axes that repeat the value that it is by. */
export function unrepeated(
  graph: Backward,
  { own, whole, samples }: Repeated,
  gradient: string,
): string | undefined {
  if (own.length !== whole.length) return undefined;
  const axes = whole.flatMap((extent, axis) => (Object.is(own[axis], extent) ? [] : [axis]));
  if (axes.includes(samples)) return undefined; // all would share it
  return axes.length === 0 ? gradient : graph.sum(gradient, axes, true);
}

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
export const raised: GradientRule = (graph, node, index, gradient) => {
  const [x, exponent] = node.input;
  const tensor = index === 0 ? graph.constant(exponent) : undefined;
  if (!tensor) return undefined;
  const powers = Float64Array.from(isFloat(tensor.type) ? toFloat64(tensor) : toIntegers(tensor));
  const [power, less] = [powers, powers.map((value) => value - 1)].map((values) =>
    graph.floats(Float32Array.from(values), tensor.dims),
  );
  const slope = graph.node('Mul', [power, graph.node('Pow', [x, less])]);
  return summed(graph, node, index, graph.node('Mul', [gradient, slope]));
};

/** Relu, Clip, Max and Min: where y = x. */
export const cut: GradientRule = (graph, node, index, gradient) => {
  const isOwn = graph.node('Equal', [node.input[index], node.output[0]]);
  return summed(graph, node, index, graph.node('Mul', [gradient, asFloats(graph, isOwn)]));
};

export function asFloats(graph: Backward, value: string): string {
  return graph.node('Cast', [value], { to: typeCode('float32') });
}

/** What takes steps, as comparisons do. */
export const flat: GradientRule = () => null;

/** Floats stay what they are; of integers and truth values there is no slope. */
export const cast: GradientRule = (_, node, __, gradient) => {
  const to = attributeInt(node, 'to', 0);
  if (to === typeCode('float32')) return gradient;
  return FLOATS.some((type) => to === typeCode(type)) ? undefined : null;
};

const FLOATS = ['float16', 'bfloat16', 'float64'] as const;

/** Where a condition holds the one operand, elsewhere the other. */
export const chosen: GradientRule = (graph, node, index, gradient) => {
  if (index === 0) return null;
  const none = graph.scalar(0);
  const parts = index === 1 ? [gradient, none] : [none, gradient];
  return summed(graph, node, index, graph.node('Where', [node.input[0], ...parts]));
};

export const sigmoid: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Mul', [gradient, graph.node('Sub', [y, graph.node('Mul', [y, y])])]);

export const tanh: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Sub', [gradient, graph.node('Mul', [gradient, graph.node('Mul', [y, y])])]);

export const negated: GradientRule = (graph, _, __, gradient) => graph.node('Neg', [gradient]);

export const exponential: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Mul', [gradient, y]);

export const logarithm: GradientRule = (graph, { input: [x] }, _, gradient) =>
  graph.node('Div', [gradient, x]);

/** −1/x² */
export const inverted: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Neg', [graph.node('Mul', [gradient, graph.node('Mul', [y, y])])]);

export const absolute: GradientRule = (graph, { input: [x] }, _, gradient) =>
  graph.node('Mul', [gradient, graph.node('Sign', [x])]);

export const sine: GradientRule = (graph, { input: [x] }, _, gradient) =>
  graph.node('Mul', [gradient, graph.node('Cos', [x])]);

export const cosine: GradientRule = (graph, { input: [x] }, _, gradient) =>
  graph.node('Neg', [graph.node('Mul', [gradient, graph.node('Sin', [x])])]);

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

/** x·Φ(x): Φ(x) + x·φ(x), or with a tanh in place of Φ. */
export const gelu: GradientRule = (graph, node, _, gradient) => {
  const [x] = node.input;
  if (attributeString(node, 'approximate', 'none') === 'tanh')
    return graph.node('Mul', [gradient, tanhSlope(graph, x)]);
  const error = graph.node('Erf', [graph.node('Mul', [x, graph.scalar(Math.SQRT1_2)])]);
  const below = graph.node('Mul', [graph.node('Add', [error, graph.scalar(1)]), graph.scalar(0.5)]);
  const density = graph.node('Mul', [x, bell(graph, x, 0.5, 1 / Math.sqrt(2 * Math.PI))]);
  return graph.node('Mul', [gradient, graph.node('Add', [below, density])]);
};

/** Of ½x(1 + t) with t = tanh u and u = √(2/π)·(x + 0.044715x³): ½(1 + t + x(1 − t²)·du/dx). */
function tanhSlope(graph: Backward, x: string): string {
  const root = Math.sqrt(2 / Math.PI);
  const polynomial = (cubic: number) =>
    graph.node('Add', [
      graph.node('Mul', [graph.node('Mul', [x, x]), graph.scalar(root * cubic)]),
      graph.scalar(root),
    ]);
  const t = graph.node('Tanh', [graph.node('Mul', [x, polynomial(CUBIC)])]);
  const slope = graph.node('Mul', [
    graph.node('Sub', [graph.scalar(1), graph.node('Mul', [t, t])]),
    polynomial(3 * CUBIC),
  ]);
  const sum = graph.node('Add', [graph.node('Add', [t, graph.scalar(1)]), graph.node('Mul', [x, slope])]);
  return graph.node('Mul', [sum, graph.scalar(0.5)]);
}

/** https://onnx.ai/onnx/operators/onnx__Gelu.html */
const CUBIC = 0.044715;

/** c·exp(−a·x²) */
function bell(graph: Backward, x: string, a: number, c: number): string {
  const exponent = graph.node('Mul', [graph.node('Mul', [x, x]), graph.scalar(-a)]);
  return graph.node('Mul', [graph.node('Exp', [exponent]), graph.scalar(c)]);
}

export function integersOf(graph: Backward, value: string): number[] | undefined {
  const tensor = graph.constant(value);
  return tensor && toIntegers(tensor);
}

/** All of them from one on. */
export function axesFrom(first: number, rank: number): number[] {
  return Array.from({ length: rank - first }, (_, i) => first + i);
}
