// The rules of a graph that everything else relies on: each value is made once, before it is read.

import { FormatError } from '../errors.ts';
import type { Model } from './model.ts';
import { reads } from './node.ts';

/** @throws {FormatError} naming the node or value that breaks the rules */
export function checkGraph(model: Model): void {
  const known = new Set(model.tensors.keys());
  const define = (value: string, by: string) => {
    if (known.has(value))
      throw new FormatError(`${model.name}: ${by} defines "${value}", which exists already`);
    known.add(value);
  };
  for (const sparse of model.graph.sparseInitializer) {
    if (sparse.values?.name) define(sparse.values.name, 'a sparse initialiser');
  }
  for (const input of model.inputs) {
    if (input.name === '') throw new FormatError(`${model.name}: a graph input has no name`);
    define(input.name, 'a graph input');
  }
  for (const node of model.nodes) {
    if (node.opType === '') throw new FormatError(`${model.name}: node "${node.name}" has no operator`);
    for (const value of reads(node)) {
      if (!known.has(value)) throw new FormatError(`${model.name}: ${missing(model, node.name, value)}`);
    }
    for (const value of node.output) if (value !== '') define(value, `node "${node.name}"`);
  }
  const outputs = new Set<string>();
  for (const { name } of model.outputs) {
    if (!known.has(name)) throw new FormatError(`${model.name}: no node computes the output "${name}"`);
    if (outputs.has(name)) throw new FormatError(`${model.name}: two outputs are called "${name}"`);
    outputs.add(name);
  }
}

function missing(model: Model, node: string, value: string): string {
  const later = model.producer(value);
  return later
    ? `nodes are not sorted: "${node}" reads "${value}" before "${later.name}" computes it`
    : `node "${node}" reads "${value}", which nothing computes`;
}
