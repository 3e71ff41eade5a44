// Removing channels without changing a shape, as the pipeline does: what a shrunk model must agree with.

import {
  type Model,
  maskInner,
  readWeights,
  rowsOf,
  type Structure,
  shrink,
  writeWeights,
} from '../../src/graph/index.ts';
import { difference, runModel, type Value } from './running.ts';

/** A copy of the model in which the consumers' weights of the channels that go are zero, and norms are of those that stay. */
export function mask(model: Model, cuts: ReadonlyMap<Structure, readonly number[]>): Model {
  const copy = model.clone();
  for (const [{ consumers, groups }, kept] of cuts) {
    const gone = [...Array(groups).keys()].filter((c) => !kept.includes(c));
    for (const map of consumers) {
      const { W } = readWeights(copy, map);
      for (const row of rowsOf(map, gone)) W.fill(0, row * map.m, (row + 1) * map.m);
      writeWeights(copy, map, W);
    }
  }
  return maskInner(copy, cuts);
}

/** How far the outputs of the shrunk model are off those of the masked one: see `difference`. */
export async function cutDifference(
  model: Model,
  cuts: ReadonlyMap<Structure, readonly number[]>,
  input: Value,
): Promise<number> {
  return difference(await runModel(mask(model, cuts), input), await runModel(shrink(model, cuts), input));
}
