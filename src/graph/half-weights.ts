// The same model with half the bytes: weights are stored as float16, and cast where they are read. Inputs, outputs and
// what is computed stay float32, so that whatever runs the one runs the other.

import { create } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { typeCode } from './dtype.ts';
import { attributeOf } from './node.ts';
import { type NodeProto, NodeProtoSchema } from './onnx_pb.ts';
import type { ModelOutline } from './stream.ts';
import { fromFloat32, type Tensor, toFloat32 } from './tensor.ts';

/** The largest number of float16. */
const LARGEST = 65504;

/** @throws {InputError} while it is gone through, for a weight beyond float16 */
export function halfWeights({ model, weights }: ModelOutline): ModelOutline {
  const halved = new Map<string, string>();
  const casts: NodeProto[] = [];
  for (const [name, tensor] of [...model.tensors]) {
    // Biases and the weights of norms are few; what has its bytes is no weight, but a table of positions or the like.
    if (tensor.type !== 'float32' || tensor.dims.length < 2 || tensor.bytes.length > 0) continue;
    const stored = `${name}.float16`;
    halved.set(name, stored);
    model.tensors.delete(name);
    model.tensors.set(stored, { ...tensor, name: stored, type: 'float16' });
    casts.push(
      create(NodeProtoSchema, {
        ...{ name: `${stored}.Cast`, opType: 'Cast', input: [stored], output: [name] },
        attribute: [attributeOf('to', typeCode('float32'))],
      }),
    );
  }
  model.graph.node = [...casts, ...model.nodes];
  return { model, weights: eachHalf(weights, halved) };
}

async function* eachHalf(
  weights: AsyncIterable<Tensor>,
  halved: ReadonlyMap<string, string>,
): AsyncGenerator<Tensor> {
  for await (const tensor of weights) {
    const stored = halved.get(tensor.name);
    yield stored === undefined ? tensor : half(tensor, stored);
  }
}

function half(tensor: Tensor, name: string): Tensor {
  const values = toFloat32(tensor);
  const large = values.find((value) => Math.abs(value) > LARGEST);
  if (large !== undefined) throw new InputError(`weight "${tensor.name}": ${large} is beyond float16`);
  return fromFloat32(values, tensor.dims, { name, type: 'float16' });
}
