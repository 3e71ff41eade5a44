// Weights that a layer reads through an Identity or a Transpose become plain constants.

import { bitsOf } from './dtype.ts';
import type { Model } from './model.ts';
import { attributeInts, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { elements, type Tensor } from './tensor.ts';

/**
 * A copy of the model without Transpose of constants that nothing else reads: a second copy of a tied embedding would
 * only make the file larger. Nor has it Identity of constants, which exporters share equal weights by.
 */
export function foldConstants(model: Model): Model {
  const folded = model.clone();
  replaceConstants(folded, (node, tensor) =>
    node.opType === 'Identity' ? tensor : transposed(folded, node, tensor),
  );
  return folded;
}

/** Removes nodes of the standard that read a constant and whose output is one too. */
export function replaceConstants(
  model: Model,
  constantOf: (node: NodeProto, tensor: Tensor) => Tensor | undefined,
): void {
  const gone = new Set<NodeProto>();
  for (const node of model.nodes) {
    const tensor = model.tensors.get(node.input[0] ?? '');
    if (!tensor || !isStandard(node) || model.isOutput(node.output[0])) continue;
    const uses = model.uses(node.output[0]);
    if (uses.some(({ index }) => index < 0)) continue; // a graph inside a node names the value
    const constant = constantOf(node, tensor);
    if (!constant) continue;
    model.tensors.set(constant.name, constant);
    for (const { node: reader, index } of uses) model.setInput(reader, index, constant.name);
    gone.add(node);
  }
  model.remove(gone);
}

function transposed(model: Model, node: NodeProto, tensor: Tensor): Tensor | undefined {
  const isShared = model.uses(tensor.name).length > 1 || model.isOutput(tensor.name);
  if (node.opType !== 'Transpose' || isShared || bitsOf(tensor.type) < 8) return undefined;
  const { dims } = tensor;
  const order = attributeInts(node, 'perm') ?? dims.map((_, i) => dims.length - 1 - i);
  const isOrder = order.length === dims.length && dims.every((_, i) => order.includes(i));
  return isOrder ? { ...permute(tensor, order), name: node.output[0] } : undefined;
}

function permute(tensor: Tensor, order: readonly number[]): Tensor {
  const size = bitsOf(tensor.type) / 8;
  const dims = order.map((axis) => tensor.dims[axis]);
  const strides = order.map((axis) => elements(tensor.dims.slice(axis + 1)) * size);
  const bytes = new Uint8Array(tensor.bytes.length);
  const place = dims.map(() => 0);
  let from = 0;
  for (let to = 0; to < bytes.length; to += size) {
    for (let i = 0; i < size; i++) bytes[to + i] = tensor.bytes[from + i];
    // count up, the last axis fastest
    for (let axis = dims.length - 1; axis >= 0; axis--) {
      from += strides[axis];
      if (++place[axis] < dims[axis]) break;
      from -= strides[axis] * dims[axis];
      place[axis] = 0;
    }
  }
  return { ...tensor, dims, bytes };
}
