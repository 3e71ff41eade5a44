// Removing channels without changing a shape, as the pipeline does: what a shrunk model must agree with.

import { type Model, readWeights, rowsOf, type Structure, writeWeights } from '../../src/graph/index.ts';

/** A copy of the model in which the consumers' weights of the channels that go are zero. */
export function mask(model: Model, structure: Structure, kept: readonly number[]): Model {
  const copy = model.clone();
  for (const map of structure.consumers) {
    const { W } = readWeights(copy, map);
    const gone = [...Array(structure.groups).keys()].filter((c) => !kept.includes(c));
    for (const row of rowsOf(map, gone)) W.fill(0, row * map.m, (row + 1) * map.m);
    writeWeights(copy, map, W);
  }
  return copy;
}
