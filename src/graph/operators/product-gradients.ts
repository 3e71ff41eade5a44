// The derivatives of products: of activations with weights, and with each other.

import { attributeFloat, attributeInt } from '../node.ts';
import { unrepeated } from './gradients.ts';
import type { Backward, GradientRule } from './operator.ts';

/** Of A·B: δ·Bᵀ and Aᵀ·δ. Axes before the last two are broadcast. */
export const matrix: GradientRule = (graph, { input, output: [y] }, index, gradient) => {
  const [own, other] = [input[index], input[1 - index]].map((value) => graph.dims(value));
  const whole = graph.dims(y);
  if (!own || !other || !whole || own.length < 2 || other.length < 2) return undefined;
  const turned = transposed(graph, input[1 - index], other.length);
  const product = graph.node('MatMul', index === 0 ? [gradient, turned] : [turned, gradient]);
  return unrepeated(graph, own, [...whole.slice(0, -2), ...own.slice(-2)], product);
};

export const general: GradientRule = (graph, node, index, gradient) => {
  if (index !== 0 || attributeInt(node, 'transA', 0) || !graph.constant(node.input[1])) return undefined;
  const [, weight] = node.input;
  const isTurned = attributeInt(node, 'transB', 0) !== 0;
  const W = isTurned ? weight : transposed(graph, weight, 2);
  const scaled = graph.node('Mul', [gradient, graph.scalar(attributeFloat(node, 'alpha', 1))]);
  return graph.node('MatMul', [scaled, W]);
};

/** The last two axes change places. */
function transposed(graph: Backward, value: string, rank: number): string {
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  return graph.node('Transpose', [value], { perm: [...perm.slice(0, -2), rank - 1, rank - 2] });
}
