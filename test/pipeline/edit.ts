// Models with something changed by hand.

import { create } from '@bufbuild/protobuf';
import { type DataType, typeCode } from '../../src/graph/dtype.ts';
import { type Model, readModel, toFloat32, writeModel } from '../../src/graph/index.ts';
import { TypeProtoSchema } from '../../src/graph/onnx_pb.ts';
import { fromFloat32 } from '../../src/graph/tensor.ts';

export async function edited(bytes: Uint8Array, edit: (model: Model) => void): Promise<Uint8Array> {
  const model = await readModel(bytes);
  edit(model);
  return writeModel(model).model;
}

/** The type and dims of a model's inputs and outputs; names are open dimensions. */
function declare(values: Model['inputs'], type: DataType, dims?: readonly (number | string)[]): void {
  const shape = dims && {
    dim: dims.map((dim) => ({
      value:
        typeof dim === 'string'
          ? { case: 'dimParam' as const, value: dim }
          : { case: 'dimValue' as const, value: BigInt(dim) },
    })),
  };
  for (const value of values) {
    value.type = create(TypeProtoSchema, {
      value: { case: 'tensorType', value: { elemType: typeCode(type), ...(shape && { shape }) } },
    });
  }
}

export const withInputDims = (bytes: Uint8Array, dims: readonly (number | string)[]) =>
  edited(bytes, ({ inputs }) => declare(inputs, 'float32', dims));

/** Everything in float16: weights, input and output. */
export const toFloat16 = (bytes: Uint8Array, dims: readonly (number | string)[]) =>
  edited(bytes, (model) => {
    for (const [name, tensor] of model.tensors) {
      if (tensor.type !== 'float32') continue;
      model.tensors.set(name, fromFloat32(toFloat32(tensor), tensor.dims, { name, type: 'float16' }));
    }
    declare(model.inputs, 'float16', dims);
    declare(model.outputs, 'float16');
    model.graph.valueInfo = [];
  });
