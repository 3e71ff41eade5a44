// Removing channels without changing a shape, as the pipeline does: what a shrunk model must agree with.

import {
  fromFloat32,
  type Model,
  maskInner,
  ownTensor,
  readWeights,
  rowsOf,
  type Structure,
  shrink,
  toFloat64,
  writeWeights,
} from '../../src/graph/index.ts';
import { difference, runModel, type Value } from './running.ts';

/**
 * A copy of the model in which the consumers' weights of the channels that go are zero, and norms are of those that stay. Of features of
 * heads those that make queries are zero too, whose products with keys are summed up before any layer reads them.
 */
export function mask(model: Model, cuts: ReadonlyMap<Structure, readonly number[]>): Model {
  const copy = model.clone();
  for (const [structure, kept] of cuts) {
    const { consumers, groups, features } = structure;
    const gone = [...Array(groups).keys()].filter((c) => !kept.includes(c));
    const queries = features && copy.node(features.scores?.queries.node ?? '');
    for (const { node, tensor: _, axis, input, ...block } of queries ? structure.slices : []) {
      const isMade = node === queries!.name || copy.node(node)!.input.includes(queries!.output[0]);
      if (isMade) clear(copy, { node, input, axis }, rowsOf({ blocks: [block] }, gone));
    }
    for (const map of consumers) {
      const { W } = readWeights(copy, map);
      for (const row of rowsOf(map, gone)) W.fill(0, row * map.m, (row + 1) * map.m);
      writeWeights(copy, map, W);
    }
  }
  return maskInner(copy, cuts);
}

/** Makes positions of an axis of a constant zero. */
function clear(
  model: Model,
  at: { node: string; input: number; axis: number },
  places: readonly number[],
): void {
  const tensor = ownTensor(model, [{ node: model.node(at.node)!, index: at.input }]);
  const values = toFloat64(tensor);
  const inner = tensor.dims.slice(at.axis + 1).reduce((a, b) => a * b, 1);
  const dim = tensor.dims[at.axis];
  const gone = new Set(places);
  const kept = values.map((value, i) => (gone.has(Math.floor(i / inner) % dim) ? 0 : value));
  model.tensors.set(tensor.name, fromFloat32(kept, tensor.dims, tensor));
}

/** How far the outputs of the shrunk model are off those of the masked one: see `difference`. */
export async function cutDifference(
  model: Model,
  cuts: ReadonlyMap<Structure, readonly number[]>,
  input: Value,
): Promise<number> {
  return difference(await runModel(mask(model, cuts), input), await runModel(shrink(model, cuts), input));
}
