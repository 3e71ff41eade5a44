import { describe, expect, it } from 'vitest';
import { describeValue, mergedAgain, readModel, unmerged, writeModel } from '../../src/graph/index.ts';
import { cachesOf } from '../../src/pipeline/open/inputs.ts';
import { HEADS, mergedDecoder, SIZE, stepped, VOCABULARY, WIDTH } from '../support/merged.ts';
import { difference, randomTokens, randomValue, run } from './running.ts';

const LENGTH = 6;
const TEXT = randomTokens([1, LENGTH], VOCABULARY).data as BigInt64Array;
const STATES = randomValue([1, 5, WIDTH]);
describe('merged decoders', () => {
  it('are two of which the second goes on where the first one is', async () => {
    const model = await readModel(mergedDecoder());
    const caches = cachesOf(model.inputs.map(describeValue), model.outputs.map(describeValue));
    const { model: both } = unmerged(model, 'input_ids', caches)!;
    expect(both.inputs.map(({ name }) => name)).toEqual(['input_ids', 'encoder_hidden_states']);
    // Both have a layer before one of them has the next.
    const weights = both.nodes
      .map(({ input }) => input[1])
      .filter((name) => both.tensors.get(name)?.dims.length === 2);
    expect(weights.filter((name, i) => name !== weights[i - 1])).toEqual([...new Set(weights)]);
    const feeds = { input_ids: { dims: [1, LENGTH], data: TEXT }, encoder_hidden_states: STATES };
    const given = await run(writeModel(both).model, feeds);
    const last = { dims: [1, 1, VOCABULARY], data: given.logits.data.slice(-VOCABULARY) };
    expect(difference(given['logits.second'], last)).toBeLessThan(1e-6);
    expect(given['present.1.decoder.key.second'].dims).toEqual([1, HEADS, LENGTH, SIZE]);
  });

  it('are put together again', async () => {
    const bytes = mergedDecoder();
    const model = await readModel(bytes);
    const caches = cachesOf(model.inputs.map(describeValue), model.outputs.map(describeValue));
    const { model: both, merged } = unmerged(model, 'input_ids', caches)!;
    const again = mergedAgain(both, merged);
    expect(again.outputs.map(describeValue)).toEqual(model.outputs.map(describeValue));
    // of caches that come out with a name for the number of heads it is not known whether there are fewer
    const opened = ({ name, type, dims }: ReturnType<typeof describeValue>) =>
      name.startsWith('past_key_values.0') ? { name, type, dims: dims.with(1, -1) } : { name, type, dims };
    expect(again.inputs.map(describeValue)).toEqual(model.inputs.map((it) => opened(describeValue(it))));
    expect(again.nodes.map(({ opType }) => opType)).toEqual(['If']);
    expect(again.tensors.size).toBeLessThan(both.tensors.size); // those of what joined the two
    const wanted = await stepped(bytes, TEXT, STATES, LENGTH);
    for (const first of [LENGTH, 4]) {
      expect(difference(await stepped(bytes, TEXT, STATES, first), wanted)).toBeLessThan(1e-6);
      expect(difference(await stepped(writeModel(again).model, TEXT, STATES, first), wanted)).toBeLessThan(
        1e-6,
      );
    }
  });
});
