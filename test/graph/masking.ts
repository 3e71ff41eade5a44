// Removing channels without changing a shape, as the pipeline does: what a shrunk model must agree with.

import { type Model, readWeights, type Structure, writeWeights } from '../../src/graph/index.ts';

/** A copy of the model in which the consumers' weights of the channels that go are zero. */
export function mask(model: Model, structure: Structure, kept: readonly number[]): Model {
  const copy = model.clone();
  for (const map of structure.consumers) {
    const { W } = readWeights(copy, map);
    const size = map.groupSize * map.m;
    for (let c = 0; c < structure.groups; c++) {
      if (!kept.includes(c)) W.fill(0, c * size, (c + 1) * size);
    }
    writeWeights(copy, map, W);
  }
  return copy;
}
