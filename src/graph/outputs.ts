// What a model gives.

import { create } from '@bufbuild/protobuf';
import { InputError } from '../errors.ts';
import { valueInfo } from './build.ts';
import type { DataType } from './dtype.ts';
import { removeUnread } from './fold.ts';
import type { Model } from './model.ts';
import { ValueInfoProtoSchema } from './onnx_pb.ts';
import type { ValueInfo } from './subgraph.ts';

/** A copy without the nodes that lead to no output and the constants that nothing reads, or the same where there are none. */
export function withoutUnread(model: Model): Model {
  const isUnread = (value: string) => !model.isOutput(value) && model.uses(value).length === 0;
  const unread = model.nodes.filter(({ output }) => output.every(isUnread)).flatMap(({ output }) => output);
  const constants = [...model.tensors.keys()].filter(isUnread);
  if (unread.length === 0 && constants.length === 0) return model;
  const copy = model.clone();
  copy.removeUnused(constants);
  removeUnread(copy, unread);
  return copy;
}

/**
 * A copy that gives only these outputs, in the order of the model, and behind them values within it that are named too, and has only what
 * leads to them.
 *
 * @throws {InputError} for a name that is neither, or for none
 */
export function onlyOutputs(model: Model, names: readonly string[]): Model {
  const known = model.outputs.map(({ name }) => name);
  const missing = names.find((name) => !known.includes(name) && !model.producer(name));
  if (missing !== undefined || names.length === 0)
    throw new InputError(
      `${model.name}: \`outputNames\`: expected some of its outputs (${known.join(', ')}) or of the values of its nodes, got ${missing === undefined ? 'none' : `"${missing}"`}`,
    );
  const inner = new Set(names.filter((name) => !known.includes(name)));
  const copy = model.clone();
  copy.graph.output = copy.outputs.filter(({ name }) => names.includes(name));
  for (const name of inner) copy.outputs.push(create(ValueInfoProtoSchema, { name }));
  copy.edited();
  removeUnread(copy, known);
  return copy;
}

/** Declares what outputs are that were values within, of any extents. What is no tensor has no shape, and stays as it is. */
export function declareOutputs(model: Model, { shapes, types }: Pick<ValueInfo, 'shapes' | 'types'>): void {
  model.graph.output = model.outputs.map((output) => {
    const { name, type } = output;
    const open = shapes.get(name)?.map(() => '');
    return type || !open ? output : valueInfo(name, types.get(name) as DataType, open);
  });
}
