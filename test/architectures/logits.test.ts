// Every variant against the plain loops of reference.ts.

import { describe, expect, test } from 'vitest';
import type { LanguageModel, TensorSource } from '../../src/checkpoint/architectures/index.ts';
import { describe as describeModel } from '../support/describe.ts';
import { random } from '../support/random.ts';
import { emptyPast, pastFrom } from './generate.ts';
import { referenceLogits } from './reference.ts';
import { ids, maxDifference, open, runOnce, sourceOf, type Value } from './source.ts';
import { statesOf, tinyWeights, uniformSizes, VARIANTS } from './tiny.ts';

const TOLERANCE = 1e-4; // of logits around 1
const LENGTH = 12;

const next = random(5);
const tokens = Array.from({ length: LENGTH }, () => Math.floor(next() * 40));

describe.each(Object.entries(VARIANTS))('%s', (_, variant) => {
  const { config } = variant;
  const sizes = variant.sizes ?? uniformSizes(config);
  const weights = tinyWeights(config, sizes);
  const source = sourceOf(weights);
  const model = describeModel(config, variant.sizes && { blocks: variant.sizes }, undefined, source);
  const expected = referenceLogits(config, sizes, weights, tokens).flat();

  test('has the tensors and sizes that its config describes', () => {
    model.check(source);
    expect(model.sizes).toEqual(sizes);
  });

  test('embedding, blocks and head give the reference’s logits', async () => {
    const actual = await inParts(model, source, tokens);
    expect(maxDifference(actual, expected)).toBeLessThan(TOLERANCE);
  });

  test('the whole model gives them', async () => {
    const { logits } = await runOnce(await model.whole(source), { input_ids: ids([tokens]) });
    expect(maxDifference(logits.data, expected)).toBeLessThan(TOLERANCE);
  });

  test('the whole model gives them in two steps, and for a text with padding before it', async () => {
    const session = await open(await model.whole(source, { past: true }));
    // what was kept of the first step is turned by the frequencies of its length, in transformers too
    const { type } = (config.rope_scaling ?? {}) as { type?: string };
    const cut = type === 'dynamic' || type === 'longrope' ? 0 : 5;
    const padding = 3;
    const row = (rest: (i: number) => number, pad: number) =>
      Array.from({ length: padding + LENGTH }, (_, i) => (i < padding ? pad : rest(i - padding)));
    const text = row((i) => tokens[i], 7);
    const mask = row(() => 1, 0);
    const places = row((i) => i, 1);
    let past: Record<string, Value> = emptyPast(model, 1, (i) => statesOf(config, i, sizes[i]));
    const found: number[] = [];
    for (const [from, to] of cut === 0
      ? [[0, text.length]]
      : [
          [0, padding + cut],
          [padding + cut, text.length],
        ]) {
      const outputs = await session.run({
        input_ids: ids([text.slice(from, to)]),
        attention_mask: ids([mask.slice(0, to)]),
        position_ids: ids([places.slice(from, to)]),
        ...past,
      });
      found.push(...outputs.logits.data);
      past = pastFrom(outputs);
    }
    await session.release();
    expect(maxDifference(found.slice(padding * model.vocabulary), expected)).toBeLessThan(TOLERANCE);
  });
});

async function inParts(
  model: LanguageModel,
  source: TensorSource,
  text: readonly number[],
): Promise<Float32Array> {
  const { length } = text;
  let { hidden } = await runOnce(await model.embedding(source, { length }), { input_ids: ids([text]) });
  for (let i = 0; i < model.blocks; i++) {
    hidden = (await runOnce(await model.block(source, i, { length }), { hidden })).hidden_out;
  }
  return (await runOnce(await model.head(source), { hidden })).logits.data;
}
