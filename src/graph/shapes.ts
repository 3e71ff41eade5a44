// Models that say the shapes of another one's values: a loaded model tells the types and dims of its outputs, so that
// most shapes are known without a run, and without the weights.

import { create } from '@bufbuild/protobuf';
import { valueInfo } from './build.ts';
import { describeValue } from './describe.ts';
import type { DataType } from './dtype.ts';
import type { Shapes } from './linear.ts';
import type { Model } from './model.ts';
import { NodeProtoSchema, ValueInfoProtoSchema } from './onnx_pb.ts';
import { part, type ValueInfo } from './subgraph.ts';
import { elements, type Tensor } from './tensor.ts';
import { writeModel } from './write.ts';

/** Floating-point constants of no more numbers than this may say shapes: the factors of a Resize, the limits of a Range. */
const SMALL = 64;

/** What a shape is computed from stays; weights only have one. */
function isWeight({ type, dims }: Tensor): boolean {
  return elements(dims) > SMALL && type !== 'int64' && type !== 'int32' && type !== 'string';
}

/**
 * A model for inputs of these dims, to be loaded and not to be run: its weights are inputs, its outputs these values.
 *
 * @param ranks  values whose ranks are to be told: each has an output more, behind the others, of as many elements
 */
export function shapeOutline(
  model: Model,
  dims: Shapes,
  values: readonly string[],
  ranks: readonly string[] = [],
): Uint8Array {
  const copy = model.clone();
  const { graph } = copy;
  graph.input = graph.input.map((input) => {
    const [own, { type }] = [dims.get(input.name), describeValue(input)];
    return own ? valueInfo(input.name, type as DataType, own) : input;
  });
  for (const tensor of model.tensors.values()) {
    if (!isWeight(tensor)) continue;
    copy.tensors.delete(tensor.name);
    graph.input.push(valueInfo(tensor.name, tensor.type, tensor.dims));
  }
  const told = addShapes(copy, ranks);
  // What a file says of shapes may be of another input; the engine infers them.
  graph.valueInfo = [];
  graph.output = [...values, ...told].map((name) => create(ValueInfoProtoSchema, { name }));
  return writeModel(copy).model;
}

/** The part of a model that some values need, with their shapes as its outputs, in their order. */
export function shapeReader(model: Model, values: readonly string[], info: ValueInfo): Model {
  const inputs = model.inputs.map(({ name }) => name);
  const reader = part(model, inputs, values, info);
  reader.graph.output = addShapes(reader, values).map((name) => create(ValueInfoProtoSchema, { name }));
  return reader;
}

/** Adds a Shape of each value. */
function addShapes(model: Model, values: readonly string[]): string[] {
  const outputs = values.map((value) => model.fresh(`${value} shape`));
  const nodes = values.map((value, i) =>
    create(NodeProtoSchema, { name: outputs[i], opType: 'Shape', input: [value], output: [outputs[i]] }),
  );
  model.graph.node = [...model.nodes, ...nodes];
  model.edited();
  return outputs;
}
