// Multiply-adds of operators whose weights are not ours to solve for, and of those that multiply activations.

import { attributeInt, attributeString } from '../node.ts';
import type { Operator } from '../propagation.ts';
import { elements } from '../tensor.ts';

export type Macs = NonNullable<Operator['macs']>;

/** Each output sums over the channels of its group and the kernel. @param weight  the input that W is */
export const convolution =
  (weight: number): Macs =>
  (node, dims) =>
    elements(dims(node.output[0])) * elements(dims(node.input[weight]).slice(1));

/** (…, M, K) · (…, K, N); Gemm and FusedMatMul may transpose the left operand. */
export const matrixProduct: Macs = (node, dims) => {
  const inner = attributeInt(node, 'transA', 0) !== 0 ? -2 : -1;
  return elements(dims(node.output[0])) * (dims(node.input[0]).at(inner) ?? 1);
};

/** Weights of 2 to 8 bits in blocks: K inputs. */
export const blockedProduct: Macs = (node, dims) =>
  elements(dims(node.output[0])) * attributeInt(node, 'K', 0);

/** Every step multiplies with the weights of all gates: W of the input and R of the hidden state, of each direction. */
export const recurrence: Macs = (node, dims) => {
  const [X, W, R] = node.input.slice(0, 3).map(dims);
  return X[0] * X[1] * (elements(W) + elements(R));
};

/** Every pair of a query and a key: scores over the features of the query, sums over those of the value. */
export const attention: Macs = (node, dims) => {
  const [query, key] = node.input.map((value) => (value ? dims(value) : undefined));
  const output = elements(dims(node.output[0]));
  // Packed (b, t, h, 3, dh), or (b, t, (h + 2·hkv)·dh): as many features as the output has, for each query.
  if (!key) return 2 * output * lengthOf(node, dims, query![1]);
  const isPacked = key.length === 5; // with the values, (b, t, h, 2, dh)
  return (elements(query!) + output) * lengthOf(node, dims, isPacked ? key[1] : key.at(-2)!);
};

/** Keys there are, those of a cache among them: (b, h, t, dh) is what the present keys are. */
function lengthOf(...[node, dims, given]: [...Parameters<Macs>, number]): number {
  return node.output[1] ? dims(node.output[1])[2] : given;
}

/** LinearAttention: what a state has for a key, what is put there, and what it gives to a query. */
export const linearAttention: Macs = (node, dims) => {
  const [query, , value] = node.input.map((it) => (it ? dims(it) : []));
  return (3 * elements(query) * value[2]) / attributeInt(node, 'q_num_heads', 1);
};

/** CausalConvWithState: a kernel at each place of each channel. */
export const causalConvolution: Macs = (node, dims) =>
  elements(dims(node.output[0])) * dims(node.input[1]).at(-1)!;

/** com.microsoft's Attention makes queries, keys and values itself. */
export const projectedAttention: Macs = (node, dims) => {
  const [input, weight] = [dims(node.input[0]), dims(node.input[1])];
  return elements(input.slice(0, 2)) * elements(weight) + 2 * elements(dims(node.output[0])) * input[1];
};

/** Sums over all letters that the output does not have. */
export const einsum: Macs = (node, dims) => {
  const [inputs] = attributeString(node, 'equation', '').replaceAll(' ', '').split('->');
  const extents = new Map<string, number>();
  for (const [i, term] of inputs.split(',').entries()) {
    // An ellipsis stands for the axes that have no letter of their own.
    const [before, behind] = term.split('...');
    const own = dims(node.input[i]);
    const hidden = behind === undefined ? 0 : own.length - before.length - behind.length;
    const letters = [
      ...before,
      ...Array.from({ length: hidden }, (_, at) => `.${hidden - at}`),
      ...(behind ?? ''),
    ];
    for (const [at, letter] of letters.entries())
      extents.set(letter, Math.max(own[at], extents.get(letter) ?? 1));
  }
  return node.input.length < 2 ? 0 : elements([...extents.values()]);
};
