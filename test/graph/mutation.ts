// Models with another number in them: graphs that nobody would write, of which some run.

import type { Model } from '../../src/graph/index.ts';
import { setAttribute } from '../../src/graph/node.ts';
import { AttributeProto_AttributeType } from '../../src/graph/onnx_pb.ts';
import { fromIntegers, toIntegers } from '../../src/graph/tensor.ts';

/** Gives one of the integers in the attributes and constants of a model another value. */
export function changeInteger(model: Model, which: number, value: number): void {
  const change = (list: readonly number[]) => list.map((old, i) => (i === which % list.length ? value : old));
  const edits: (() => void)[] = [];
  for (const node of model.nodes) {
    for (const { name, type, ints } of node.attribute) {
      if (type === AttributeProto_AttributeType.INT) edits.push(() => setAttribute(node, name, value));
      if (ints.length > 0) edits.push(() => setAttribute(node, name, change(ints.map(Number))));
    }
  }
  for (const tensor of model.tensors.values()) {
    if (tensor.type !== 'int64') continue;
    const values = () => fromIntegers(tensor.name, change(toIntegers(tensor)), tensor.dims);
    edits.push(() => model.tensors.set(tensor.name, values()));
  }
  edits[which % edits.length]();
}
