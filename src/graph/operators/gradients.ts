// The derivatives of operators: from the gradient by an output, that by an input. Nodes that all opsets have alike.

import { attributeFloat, attributeInt, attributeInts, attributeString, transposeOrder } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { toFloat64 } from '../tensor.ts';
import type { Backward, GradientRule } from './operator.ts';

/** y = x, or the same values in another shape. */
export const reshaped: GradientRule = (graph, { input: [x] }, index, gradient) =>
  index === 0 ? graph.node('Reshape', [gradient, graph.node('Shape', [x])]) : undefined;

/** Sums: operands of other extents would need the gradient summed. */
export const summed: GradientRule = (graph, node, index, gradient) =>
  isWhole(graph, node, index) ? gradient : undefined;

export const multiplied: GradientRule = (graph, node, index, gradient) =>
  isWhole(graph, node, index) ? graph.node('Mul', [gradient, node.input[1 - index]]) : undefined;

export const divided: GradientRule = (graph, node, index, gradient) =>
  index === 0 && isWhole(graph, node, index) ? graph.node('Div', [gradient, node.input[1]]) : undefined;

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
  const passes = graph.node('Cast', [graph.node('Equal', [x, y])], { to: FLOAT });
  return graph.node('Mul', [gradient, passes]);
};

export const sigmoid: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Mul', [gradient, graph.node('Sub', [y, graph.node('Mul', [y, y])])]);

export const tanh: GradientRule = (graph, { output: [y] }, _, gradient) =>
  graph.node('Sub', [gradient, graph.node('Mul', [gradient, graph.node('Mul', [y, y])])]);

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

/** Of the first operand, the second being weights. */
export const matrix: GradientRule = (graph, { input: [, weight] }, index, gradient) => {
  if (index !== 0 || graph.constant(weight)?.dims.length !== 2) return undefined;
  return graph.node('MatMul', [gradient, graph.node('Transpose', [weight], { perm: [1, 0] })]);
};

export const general: GradientRule = (graph, node, index, gradient) => {
  if (index !== 0 || attributeInt(node, 'transA', 0) || !graph.constant(node.input[1])) return undefined;
  const [, weight] = node.input;
  const isTurned = attributeInt(node, 'transB', 0) !== 0;
  const W = isTurned ? weight : graph.node('Transpose', [weight], { perm: [1, 0] });
  const scaled = graph.node('Mul', [gradient, graph.scalar(attributeFloat(node, 'alpha', 1))]);
  return graph.node('MatMul', [scaled, W]);
};

export const convolution: GradientRule = (graph, node, index, gradient) => {
  const [x, weight] = node.input;
  const [input, output] = [x, node.output[0]].map((value) => graph.dims(value)?.slice(2));
  const kernel = graph.constant(weight)?.dims.slice(2);
  const auto = attributeString(node, 'auto_pad', 'NOTSET');
  if (index !== 0 || !kernel || !input || !output || auto !== 'NOTSET') return undefined;
  const axes = kernel.length;
  const strides = attributeInts(node, 'strides') ?? kernel.map(() => 1);
  const dilations = attributeInts(node, 'dilations') ?? kernel.map(() => 1);
  const pads = attributeInts(node, 'pads') ?? new Array(2 * axes).fill(0);
  // Positions at the end that no step of the kernel reaches.
  const rest = input.map(
    (size, i) =>
      size + pads[i] + pads[i + axes] - (output[i] - 1) * strides[i] - dilations[i] * (kernel[i] - 1) - 1,
  );
  return graph.node('ConvTranspose', [gradient, weight], {
    ...{ strides, dilations, pads, output_padding: rest, group: attributeInt(node, 'group', 1) },
  });
};

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

/** The mean over all positions. */
export const averaged: GradientRule = (graph, { input: [x] }, _, gradient) => {
  const positions = graph.dims(x)?.slice(2);
  if (!positions) return undefined;
  const share = graph.scalar(1 / positions.reduce((product, size) => product * size, 1));
  return graph.node('Expand', [graph.node('Mul', [gradient, share]), graph.node('Shape', [x])]);
};

export const turned: GradientRule = (graph, node, _, gradient) => {
  const rank = graph.dims(node.input[0])?.length;
  if (!rank) return undefined;
  const perm = transposeOrder(node, rank);
  const back = perm.map((__, axis) => perm.indexOf(axis));
  return graph.node('Transpose', [gradient], { perm: back });
};

const FLOAT = 1; // TensorProto.FLOAT

/** Whether an operand has the extents of the result. */
function isWhole(graph: Backward, { input, output }: NodeProto, index: number): boolean {
  return String(graph.dims(input[index])) === String(graph.dims(output[0]));
}
