// Nodes that take positions of an axis.

import type { Model } from './model.ts';
import { attributeOf } from './node.ts';
import type { NodeProto } from './onnx_pb.ts';
import { nodeOf } from './stored.ts';

/** To be put among the others. */
export function gatherNode(
  model: Model,
  value: string,
  axis: number,
  places: readonly number[],
  output: string,
): NodeProto {
  const input = [value, model.integers(`${output}.places`, places)];
  return nodeOf(model, 'Gather', input, output, [attributeOf('axis', axis)]);
}

/** Puts nodes right behind the one that makes a value. */
export function insertBehind(model: Model, value: string, nodes: readonly NodeProto[]): void {
  const producer = model.producer(value);
  model.nodes.splice(producer ? model.position(producer) + 1 : 0, 0, ...nodes);
  model.edited();
}
