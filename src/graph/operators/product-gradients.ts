// The derivatives of products: of activations with weights, and with each other.

import { attributeFloat, attributeInt } from '../node.ts';
import { unrepeated } from './gradients.ts';
import type { Backward, GradientRule } from './operator.ts';
import { termsOf } from './product.ts';

/** Of A·B: δ·Bᵀ and Aᵀ·δ. Axes before the last two are broadcast. */
export const matrix: GradientRule = (graph, { input, output: [y] }, index, gradient) => {
  const [own, other] = [input[index], input[1 - index]].map((value) => graph.dims(value));
  const whole = graph.dims(y);
  if (!own || !other || !whole || own.length < 2 || other.length < 2) return undefined;
  const turned = transposed(graph, input[1 - index], other.length);
  const product = graph.node('MatMul', index === 0 ? [gradient, turned] : [turned, gradient]);
  const dims = { own, whole: [...whole.slice(0, -2), ...own.slice(-2)], samples: graph.samples(y) };
  return unrepeated(graph, dims, product);
};

export const general: GradientRule = (graph, node, index, gradient) => {
  if (index !== 0 || attributeInt(node, 'transA', 0) || !graph.constant(node.input[1])) return undefined;
  const [, weight] = node.input;
  const isTurned = attributeInt(node, 'transB', 0) !== 0;
  const W = isTurned ? weight : transposed(graph, weight, 2);
  const scaled = graph.node('Mul', [gradient, graph.scalar(attributeFloat(node, 'alpha', 1))]);
  return graph.node('MatMul', [scaled, W]);
};

/** The gradient in the place of an operand: what that is summed over comes from the other. */
export const einsum: GradientRule = (graph, node, index, gradient) => {
  const terms = termsOf(node);
  if (!terms) return undefined;
  const { operands, result } = terms;
  const others = operands.filter((_, at) => at !== index);
  // A letter of its own that goes is as long as nothing else says.
  if ([...operands[index]].some((letter) => ![result, ...others].join().includes(letter))) return undefined;
  const values = [gradient, ...node.input.filter((_, at) => at !== index)];
  return graph.node('Einsum', values, { equation: `${[result, ...others].join()}->${operands[index]}` });
};

/** The last two axes change places. */
function transposed(graph: Backward, value: string, rank: number): string {
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  return graph.node('Transpose', [value], { perm: [...perm.slice(0, -2), rank - 1, rank - 2] });
}
