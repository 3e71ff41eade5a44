// The derivatives of operators that normalise.

import { attributeFloat, attributeInt } from '../node.ts';
import type { NodeProto } from '../onnx_pb.ts';
import { wrapAxis } from '../propagation.ts';
import { toFloat64 } from '../tensor.ts';
import { axesFrom } from './gradients.ts';
import { softmaxAxes } from './normalization.ts';
import type { Backward, GradientRule } from './operator.ts';

const epsilonOf = (node: NodeProto) => attributeFloat(node, 'epsilon', 1e-5);

/** Each channel times γ / √(σ² + ε). */
export const normalized: GradientRule = (graph, node, index, gradient) => {
  const [x, gamma, , , variance] = node.input;
  const [scale, spread] = [graph.constant(gamma), graph.constant(variance)];
  const rank = graph.dims(x)?.length;
  if (index !== 0 || !scale || !spread || !rank) return undefined;
  const variances = toFloat64(spread);
  const factors = toFloat64(scale).map((value, j) => value / Math.sqrt(variances[j] + epsilonOf(node)));
  const dims = [factors.length, ...new Array(rank - 2).fill(1)];
  return graph.node('Mul', [gradient, graph.floats(Float32Array.from(factors), dims)]);
};

interface Standardized {
  readonly x: string;
  readonly axes: readonly number[];
  readonly epsilon: number;
  /** Whether the mean is taken off. */
  readonly isCentred: boolean;
}

/** Over the deviation, by the gradient before what scales it: (δ − δ̄ − y·mean(y·δ)) / σ. */
function standardized(
  graph: Backward,
  { x, axes, epsilon, isCentred }: Standardized,
  gradient: string,
): string {
  const count = graph.extent(x, axes);
  const mean = (value: string) => graph.node('Div', [graph.sum(value, axes, true), count]);
  const less = (value: string) => (isCentred ? graph.node('Sub', [value, mean(value)]) : value);
  const centred = less(x);
  const variance = mean(graph.node('Mul', [centred, centred]));
  const deviation = graph.node('Sqrt', [graph.node('Add', [variance, graph.scalar(epsilon)])]);
  const y = graph.node('Div', [centred, deviation]);
  const along = graph.node('Mul', [y, mean(graph.node('Mul', [gradient, y]))]);
  return graph.node('Div', [graph.node('Sub', [less(gradient), along]), deviation]);
}

/** Of the positions of each channel. */
export const instanceNormalized: GradientRule = (graph, node, index, gradient) => {
  const [x, gamma] = node.input;
  const rank = graph.dims(x)?.length;
  if (index !== 0 || !rank) return undefined;
  const axes = axesFrom(2, rank);
  const own = graph.node('Mul', [gradient, column(graph, gamma, axes.length)]);
  return standardized(graph, { x, axes, epsilon: epsilonOf(node), isCentred: true }, own);
};

/** Of groups of channels; γ is by channel, before opset 21 by group. */
export const groupNormalized: GradientRule = (graph, node, index, gradient) => {
  const [x, gamma] = node.input;
  const rank = graph.dims(x)?.length;
  if (index !== 0 || !rank) return undefined;
  const groups = (value: string) =>
    graph.node('Reshape', [value, graph.integers([0, attributeInt(node, 'num_groups', 1), -1])]);
  const own =
    graph.opset < 21
      ? graph.node('Mul', [groups(gradient), column(graph, gamma, 1)])
      : groups(graph.node('Mul', [gradient, column(graph, gamma, rank - 2)]));
  const parts = { x: groups(x), axes: [2], epsilon: epsilonOf(node), isCentred: true };
  return graph.node('Reshape', [standardized(graph, parts, own), graph.node('Shape', [x])]);
};

/** One for each channel, before so many axes. */
function column(graph: Backward, values: string, axes: number): string {
  return graph.node('Reshape', [values, graph.integers([-1, ...new Array<number>(axes).fill(1)])]);
}

/** Of the axes from one on. */
const normalizedFrom =
  (isCentred: boolean): GradientRule =>
  (graph, node, index, gradient) => {
    const [x, gamma] = node.input;
    const [rank, scaled] = [x, gamma].map((value) => graph.dims(value)?.length);
    if (index !== 0 || !rank || scaled === undefined) return undefined;
    const axes = axesFrom(wrapAxis(attributeInt(node, 'axis', -1), rank), rank);
    if (axes.includes(graph.samples(x)) || scaled > axes.length) return undefined;
    const own = graph.node('Mul', [gradient, gamma]);
    return standardized(graph, { x, axes, epsilon: epsilonOf(node), isCentred }, own);
  };

export const layerNormalized = normalizedFrom(true);
export const rootNormalized = normalizedFrom(false);

/** Each channel by those beside it: y = x·s^−β with s = k + α·mean(x²), so that it is δ·s^−β − 2αβ·x·mean(δ·y/s). */
export const localNormalized: GradientRule = (graph, node, _, gradient) => {
  const [[x], [y]] = [node.input, node.output];
  const rank = graph.dims(x)?.length;
  if (!rank) return undefined;
  const size = attributeInt(node, 'size', 1);
  const side = (size - 1) / 2; // engines take odd sizes only
  const [alpha, beta] = [attributeFloat(node, 'alpha', 1e-4), attributeFloat(node, 'beta', 0.75)];
  const others = (value: number) => new Array<number>(rank - 2).fill(value);
  const mean = (value: string) => {
    const pooled = graph.node('AveragePool', [graph.unsqueeze(value, [1])], {
      kernel_shape: [size, ...others(1)],
      pads: [side, ...others(0), side, ...others(0)],
      count_include_pad: 1,
    });
    return graph.node('Reshape', [pooled, graph.node('Shape', [x])]);
  };
  const squares = graph.node('Mul', [mean(graph.node('Mul', [x, x])), graph.scalar(alpha)]);
  const s = graph.node('Add', [squares, graph.scalar(attributeFloat(node, 'bias', 1))]);
  const own = graph.node('Mul', [gradient, graph.node('Pow', [s, graph.scalar(-beta)])]);
  const shares = mean(graph.node('Div', [graph.node('Mul', [gradient, y]), s]));
  const along = graph.node('Mul', [graph.node('Mul', [x, shares]), graph.scalar(2 * alpha * beta)]);
  return graph.node('Sub', [own, along]);
};

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
