// ONNX files: networks that are edited anywhere, and graphs that are well formed and contradict themselves.

import { create, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import {
  analyse,
  countParameters,
  foldBatchNormalization,
  foldConstants,
  readModel,
  writeModel,
} from '../../src/graph/index.ts';
import {
  AttributeProtoSchema,
  ModelProtoSchema,
  NodeProtoSchema,
  TensorProtoSchema,
} from '../../src/graph/onnx_pb.ts';
import { OnnxBuilder } from '../../test/support/onnx-builder.ts';
import { damaged } from '../mutate.ts';
import type { Targets } from './target.ts';

function network(): Uint8Array {
  const b = new OnnxBuilder({ seed: 7 });
  const x = b.relu(b.batchNormalization(b.conv(b.input([1, 8, 8]), 4, 3)));
  const y = b.add(b.conv(x, 4, 3), x);
  return b.output(b.gemm(b.flatten(b.globalAveragePool(b.relu(y))), 3)).build();
}

const OPERATORS = [
  'Conv Gemm MatMul Add Mul Relu Reshape Transpose Concat Split Slice Gather Squeeze Unsqueeze Flatten',
  'Shape Constant Identity BatchNormalization Softmax Expand LayerNormalization GroupQueryAttention',
  'MultiHeadAttention Attention Clip Pad MaxPool Cast Loop',
].flatMap((words) => words.split(' '));
const ATTRIBUTES = [
  'axis',
  'axes',
  'perm',
  'group',
  'kernel_shape',
  'pads',
  'strides',
  'transB',
  'num_heads',
  'value',
  'epsilon',
  'shape',
  'split',
  'to',
];
const VALUES = ['x', 'a', 'b', 'c', 'd', 'w', 'v', ''];
const int64 = fc.oneof(
  fc.bigInt(-3n, 9n),
  fc.constantFrom(-(2n ** 63n), 2n ** 31n, 2n ** 32n, 2n ** 62n, 2n ** 63n - 1n),
);
const tensor = fc
  .record({
    name: fc.constantFrom('w', 'v', 'b', ''),
    dataType: fc.nat(27),
    dims: fc.array(int64, { maxLength: 4 }),
    rawData: fc.uint8Array({ maxLength: 64 }),
    floatData: fc.array(fc.float(), { maxLength: 3 }),
    int32Data: fc.array(fc.integer(), { maxLength: 3 }),
  })
  .map((fields) => create(TensorProtoSchema, fields));
const attribute = fc
  .record({
    name: fc.constantFrom(...ATTRIBUTES),
    i: int64,
    ints: fc.array(int64, { maxLength: 5 }),
    f: fc.float(),
    t: fc.option(tensor, { nil: undefined }),
  })
  .map((fields) => create(AttributeProtoSchema, fields));
const node = fc
  .record({
    name: fc.string({ maxLength: 4 }),
    opType: fc.constantFrom(...OPERATORS),
    input: fc.array(fc.constantFrom(...VALUES), { maxLength: 5 }),
    output: fc.array(fc.constantFrom(...VALUES), { maxLength: 2 }),
    attribute: fc.array(attribute, { maxLength: 3 }),
  })
  .map((fields) => create(NodeProtoSchema, fields));
const graph = fc
  .record({
    node: fc.array(node, { maxLength: 5 }),
    initializer: fc.array(tensor, { maxLength: 3 }),
    irVersion: int64,
    version: int64,
    outputs: fc.array(fc.constantFrom(...VALUES), { maxLength: 2 }),
  })
  .map(({ irVersion, version, outputs, ...fields }) =>
    toBinary(
      ModelProtoSchema,
      create(ModelProtoSchema, {
        irVersion,
        opsetImport: [{ domain: '', version }],
        graph: { ...fields, input: [{ name: 'x' }], output: outputs.map((name) => ({ name })) },
      }),
    ),
  );

async function readNetwork(bytes: Uint8Array): Promise<void> {
  const model = foldBatchNormalization(foldConstants(await readModel(bytes, { name: 'm' })));
  countParameters(model);
  analyse(model, new Map());
  writeModel(model);
}

export const onnx: Targets = {
  onnx: { inputs: fc.oneof(damaged([network()]), graph), parse: readNetwork },
};
