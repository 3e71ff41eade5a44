// Merged decoders are pruned as a whole: the branch that begins, and the one that goes on with a cache.

import { expect, it } from 'vitest';
import { describeValue, ifsOf, readModel } from '../../src/graph/index.ts';
import { feedsDataset, openModel, prune } from '../../src/pipeline/index.ts';
import { prunableOf } from '../../src/pipeline/open/open.ts';
import { difference, randomTokens, randomValue } from '../graph/running.ts';
import { HEADS, mergedDecoder, NEURONS, stepped, VOCABULARY, WIDTH } from '../support/merged.ts';
import { engine, session } from './fixtures.ts';

const [LENGTH, FRAMES] = [6, 5];
const opening = { engine, size: [LENGTH], dims: { encoder_hidden_states: [FRAMES, WIDTH] } };

const textOf = (seed: number) => randomTokens([LENGTH], VOCABULARY, seed).data as BigInt64Array;
const statesOf = (seed: number) => randomValue([FRAMES, WIDTH], seed);
const samples = Array.from({ length: 40 }, (_, i) => ({
  input_ids: { dims: [LENGTH], data: Float32Array.from(textOf(i + 1), Number) },
  encoder_hidden_states: statesOf(i + 1),
}));

it('lose heads and neurons in both branches, and take the same inputs', async () => {
  const bytes = mergedDecoder();
  const opened = await openModel(bytes, opening);
  const block = [HEADS, HEADS, NEURONS];
  expect(
    prunableOf(opened)
      .map(({ groups }) => groups)
      .sort(),
  ).toEqual([...block, ...block].sort());
  const calibration = await feedsDataset(
    samples.map((inputs) => ({ inputs })),
    opened.input,
  );
  const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.6 });
  expect(report.maxDifference).toBeLessThan(1e-5);
  expect(report.warnings.filter((text) => text.includes('branch'))).toEqual([]);
  const [dense, small] = [await readModel(bytes), await readModel(written.model)];
  expect(ifsOf(small)).toHaveLength(1);
  const named = ({ inputs, outputs }: typeof small) => [...inputs, ...outputs].map(({ name }) => name);
  expect(named(small)).toEqual(named(dense));
  const dimsOf = (name: string) =>
    [...small.inputs, ...small.outputs].map(describeValue).find((it) => it.name === name)!.dims;
  expect(dimsOf('present.1.decoder.key')[1]).toBe(2);
  expect(dimsOf('past_key_values.1.decoder.key')[1]).toBe(-1); // hosts begin with what is empty, and has as many heads as before
  // both branches are one network still
  const states = { ...statesOf(3), dims: [1, FRAMES, WIDTH] };
  const whole = await stepped(written.model, textOf(3), states, LENGTH);
  expect(difference(await stepped(written.model, textOf(3), states, 2), whole)).toBeLessThan(1e-5);
  expect(difference(await stepped(bytes, textOf(3), states, LENGTH), whole)).toBeGreaterThan(1e-3);
});

it('are fitted as a whole by the weights that both branches have', async () => {
  const opened = await openModel(mergedDecoder(), opening);
  const calibration = await feedsDataset(
    samples.map((inputs) => ({ inputs })),
    opened.input,
  );
  const how = { engine, session, calibration, keep: 0.6, target: 'self' } as const;
  const { written, report } = await prune(opened, { ...how, distill: 4 });
  expect(report.distilled!.left).toBeLessThan(0.98);
  const states = { ...statesOf(3), dims: [1, FRAMES, WIDTH] };
  const whole = await stepped(written.model, textOf(3), states, LENGTH);
  expect(difference(await stepped(written.model, textOf(3), states, 2), whole)).toBeLessThan(1e-5);
});

it('have each weight once where it is stored in fewer bytes', async () => {
  const opened = await openModel(mergedDecoder(), opening);
  const calibration = await feedsDataset(
    samples.slice(0, 8).map((inputs) => ({ inputs })),
    opened.input,
  );
  const quick = { engine, session, calibration, keep: 0.6, target: 'self', weights: 'int8' } as const;
  const { written, report } = await prune(opened, quick);
  const again = await openModel(written.model, opening);
  expect(report.parameters.after).toBe(again.parameters);
  expect(again.parameters).toBeLessThan(opened.parameters);
  expect(prunableOf(again)).toHaveLength(6);
});

it('are what one branch is where that is said', async () => {
  const opened = await openModel(mergedDecoder(), { ...opening, inputs: { use_cache_branch: 0 } });
  expect(opened.branches).toMatchObject([{ taken: 'else', by: ['use_cache_branch'] }]);
  expect(opened.merged).toBeUndefined();
  const cache = { ...opening, inputs: { 'past_key_values.0.decoder.key': 0 } };
  await expect(openModel(mergedDecoder(), cache)).rejects.toThrow(
    'input "past_key_values.0.decoder.key" has open dimensions',
  );
});
