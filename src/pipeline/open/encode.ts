// What a model gives for samples that go through it one by one, as the encoder before the one that is pruned.

import type { Engine, FloatTensor } from '../../engine/index.ts';
import type { Model } from '../../graph/index.ts';
import { otherFeeds } from './inputs.ts';
import { loadModel, withSessions } from './load.ts';
import { declaredInput, named } from './open.ts';

/**
 * The first output of a model for each sample.
 *
 * @param samples  without the batch
 * @throws {UnsupportedModelError} naming the model, where the engine cannot run it
 */
export async function encodedBy(
  model: Model,
  engine: Engine,
  samples: readonly FloatTensor[],
): Promise<FloatTensor[]> {
  const input = declaredInput(model);
  try {
    return await withSessions([() => loadModel(engine, model)], async (session) => {
      const [{ name: output }] = session.outputs;
      const given: FloatTensor[] = [];
      for (const { dims, data } of samples) {
        const batch = [1, ...dims];
        const feeds = { ...otherFeeds(input, batch), [input.name]: { dims: batch, data } };
        const { [output]: tensor } = await session.run(feeds, [output]);
        given.push({ dims: tensor.dims.slice(1), data: tensor.data });
      }
      return given;
    });
  } catch (error) {
    throw named(model.name, error, model);
  }
}
