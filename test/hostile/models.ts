// Models as strangers would send them, each the shortest that did harm.

import { create } from '@bufbuild/protobuf';
import { valueInfo } from '../../src/graph/build.ts';
import {
  AttributeProtoSchema,
  GraphProtoSchema,
  AttributeProto_AttributeType as Kind,
  NodeProtoSchema,
} from '../../src/graph/onnx_pb.ts';
import { edited, withInputDims } from '../pipeline/edit.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';

/** Input 1 × 28 × 28, one structure. */
export function small(): Uint8Array {
  const b = new OnnxBuilder({ seed: 3 });
  const x = b.relu(b.conv(b.relu(b.conv(b.input([1, 28, 28]), 8, 3)), 8, 3, { stride: 2 }));
  return b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 10)).build();
}

/** The same with other input dims. */
export const withDims = (dims: readonly (number | string)[]) => withInputDims(small(), dims);

/** The same with other names of its nodes. */
export const withNames = (name: (i: number) => string) =>
  edited(small(), (model) => {
    for (const [i, node] of model.nodes.entries()) node.name = name(i);
    model.edited();
  });

/** A loop of so many turns, which does nothing: `while (true)` where there is no number. */
export async function looping(turns?: bigint): Promise<Uint8Array> {
  const b = new OnnxBuilder();
  const model = b.output(b.relu(b.input([4]))).build();
  return edited(model, (it) => {
    const body = create(GraphProtoSchema, {
      name: 'body',
      node: [
        { opType: 'Identity', input: ['go'], output: ['goes'] },
        { opType: 'Identity', input: ['v'], output: ['w'] },
      ],
      input: [valueInfo('i', 'int64', []), valueInfo('go', 'bool', []), valueInfo('v', 'float32')],
      output: [valueInfo('goes', 'bool', []), valueInfo('w', 'float32')],
    });
    const [relu] = it.nodes;
    const value = relu.output[0];
    relu.output = ['start'];
    const count = new Uint8Array(BigInt64Array.of(turns ?? 0n).buffer);
    it.tensors.set('turns', { name: 'turns', type: 'int64', dims: [], bytes: count });
    it.tensors.set('on', { name: 'on', type: 'bool', dims: [], bytes: Uint8Array.of(1) });
    it.nodes.push(
      create(NodeProtoSchema, {
        name: 'for ever',
        opType: 'Loop',
        input: [turns === undefined ? '' : 'turns', 'on', 'start'],
        output: [value],
        attribute: [create(AttributeProtoSchema, { name: 'body', g: body, type: Kind.GRAPH })],
      }),
    );
    it.edited();
  });
}
