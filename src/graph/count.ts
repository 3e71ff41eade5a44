// Sizes: parameters and multiply-adds.

import { InputError } from '../errors.ts';
import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { elements } from './tensor.ts';

// Constants of these types are shapes, indices and switches, not parameters.
const NO_PARAMETERS = new Set(['int64', 'int32', 'bool', 'string']);

/** Numbers in the constants of a model, but for integers that say how to compute. */
export function countParameters(model: Model): number {
  let count = 0;
  for (const { type, dims } of model.tensors.values()) if (!NO_PARAMETERS.has(type)) count += elements(dims);
  return count;
}

/**
 * Multiply-adds for one sample, of the operators whose descriptions say how many: Conv, ConvTranspose, Gemm, MatMul.
 *
 * @param shapes  dims of every value in a run; the batch is divided out
 * @throws {InputError} if the shape of a value that counts is missing
 */
export function countMacs(model: Model, shapes: Shapes): number {
  const batch = shapes.get(model.inputs[0]?.name)?.[0] ?? 1;
  const dims = (value: string) => {
    const found = model.tensors.get(value)?.dims ?? shapes.get(value);
    if (!found) throw new InputError(`countMacs: no shape for the value "${value}"`);
    return found;
  };
  const total = model.nodes.reduce((sum, node) => sum + (model.operator(node)?.macs?.(node, dims) ?? 0), 0);
  return total / Math.max(1, batch);
}
