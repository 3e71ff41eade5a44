// Constants that several nodes read are given a copy before one of them changes.

import type { Model } from './model.ts';
import type { NodeProto } from './onnx_pb.ts';
import type { Tensor } from './tensor.ts';

/** The constant at `node.input[index]` under a name that nothing else reads. Bytes stay shared until replaced. */
export function ownTensor(model: Model, node: NodeProto, index: number): Tensor {
  const tensor = model.tensors.get(node.input[index])!;
  if (model.uses(tensor.name).length === 1 && !model.isOutput(tensor.name)) return tensor;
  const copy = { ...tensor, name: model.fresh(`${tensor.name}_own`) };
  model.tensors.set(copy.name, copy);
  model.setInput(node, index, copy.name);
  return copy;
}
