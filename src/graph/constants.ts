// Weights that a layer reads through an Identity or a Transpose become constants of its own.

import { bitsOf } from './dtype.ts';
import type { Model } from './model.ts';
import { attributeInts, isStandard } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { elements, type Tensor } from './tensor.ts';

/**
 * A copy of the model without Identity of constants (exporters share equal weights so) and without Transpose of
 * constants that nothing else reads: a second copy of a tied embedding would only make the file larger.
 */
export function foldConstants(model: Model): Model {
  const folded = model.clone();
  const gone = new Set<NodeProto>();
  for (const node of folded.nodes) {
    const tensor = folded.tensors.get(node.input[0] ?? '');
    if (!tensor || !isStandard(node) || folded.isOutput(node.output[0])) continue;
    const uses = folded.uses(node.output[0]);
    if (uses.some(({ index }) => index < 0)) continue; // a graph inside a node names the value
    const constant = node.opType === 'Identity' ? tensor : transposed(folded, node, tensor);
    if (!constant) continue;
    folded.tensors.set(constant.name, constant);
    for (const { node: reader, index } of uses) folded.setInput(reader, index, constant.name);
    gone.add(node);
  }
  folded.remove(gone);
  return folded;
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
