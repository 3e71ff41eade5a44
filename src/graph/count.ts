// Sizes: parameters and multiply-adds.

import { InputError } from '../errors.ts';
import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { attributeInt, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
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
 * Multiply-adds of Conv, ConvTranspose, Gemm and MatMul for one sample.
 *
 * @param shapes  dims of every value in a run; the batch is divided out
 * @throws {InputError} if the shape of a value that counts is missing
 */
export function countMacs(model: Model, shapes: Shapes): number {
  const batch = shapes.get(model.inputs[0]?.name)?.[0] ?? 1;
  let total = 0;
  for (const node of model.nodes) if (isStandard(node)) total += nodeMacs(model, node, shapes);
  return total / Math.max(1, batch);
}

function nodeMacs(model: Model, node: NodeProto, shapes: Shapes): number {
  const dims = (value: string) => {
    const found = model.tensors.get(value)?.dims ?? shapes.get(value);
    if (!found) throw new InputError(`countMacs: no shape for the value "${value}"`);
    return found;
  };
  switch (node.opType) {
    case 'Conv': // each output sums over the channels of its group and the kernel
      return elements(dims(node.output[0])) * elements(dims(node.input[1]).slice(1));
    case 'ConvTranspose': // each input goes to the outputs of its group and the kernel
      return elements(dims(node.input[0])) * elements(dims(node.input[1]).slice(1));
    case 'Gemm': {
      const inner = dims(node.input[0])[attributeInt(node, 'transA', 0) ? 0 : 1];
      return elements(dims(node.output[0])) * inner;
    }
    case 'MatMul':
      return elements(dims(node.output[0])) * (dims(node.input[0]).at(-1) ?? 1);
    default:
      return 0;
  }
}
