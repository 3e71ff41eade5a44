// Language models that were made classifiers, and those that give features: tokens see those before them, as ever.

import { describe, expect, test } from 'vitest';
import type { Config } from '../../src/checkpoint/architectures/index.ts';
import { UnsupportedModelError } from '../../src/errors.ts';
import { describe as describeModel } from '../support/describe.ts';
import { referenceLogits } from './reference.ts';
import { ids, maxDifference, runOnce, sourceOf, type Weights } from './source.ts';
import { tinyWeights, uniformSizes, VARIANTS } from './tiny.ts';

const TOLERANCE = 1e-4; // of values around 1
const HIDDEN = 32;
const LABELS = 3;
const text = Array.from({ length: 9 }, (_, i) => (7 * i) % 40);

/** What was trained, the same without scores, and the features that it gives of a text. */
function trained(config: Config) {
  const sizes = uniformSizes(config);
  const all = tinyWeights({ ...config, tie_word_embeddings: false, tie_embedding: false }, sizes);
  const [output] = [...all.keys()].filter((name) => /^(lm_head|embed_out)\.weight$/.test(name));
  // As scores of as many words as there are features, each is one of them.
  const one = Float32Array.from({ length: HIDDEN ** 2 }, (_, at) => Number(at % (HIDDEN + 1) === 0));
  const telling: Weights = new Map(all).set(output, { shape: [HIDDEN, HIDDEN], data: one });
  const untied = { ...config, tie_word_embeddings: false, tie_embedding: false };
  const features = (tokens: readonly number[]) => referenceLogits(untied, sizes, telling, tokens);
  const weights = new Map([...all].filter(([name]) => name !== output));
  return { weights, features };
}

const score = {
  shape: [LABELS, HIDDEN],
  data: Float32Array.from({ length: LABELS * HIDDEN }, (_, i) => Math.sin(i * i)),
};
const scored = (features: readonly number[]) =>
  Array.from({ length: LABELS }, (_, c) =>
    features.reduce((total, value, f) => total + value * score.data[c * HIDDEN + f], 0),
  );

const KINDS = [
  'llama',
  'mistral, sliding window',
  'gpt_bigcode',
  'gpt-neox',
  'lfm2',
  'qwen3_5_text',
  'bloom',
  'mixtral',
  'llama4_text',
];

describe.each(KINDS)('%s', (name) => {
  const { config } = VARIANTS[name];
  const { weights, features } = trained(config);

  test('made a classifier gives scores of the last token that is no padding', async () => {
    const own = { ...config, architectures: ['AnyForSequenceClassification'], num_labels: LABELS };
    const source = sourceOf(new Map(weights).set('score.weight', score));
    const model = describeModel(own, undefined, undefined, source);
    model.check(source);
    expect([model.isEncoder, model.givesScores, model.readsFirst]).toEqual([true, true, false]);
    const short = text.slice(0, 5);
    const wanted = [text, short].flatMap((tokens) => scored(features(tokens).at(-1)!));
    const { logits } = await runOnce(await model.whole(source), {
      input_ids: ids([text, [...short, 7, 7, 7, 7]]),
      attention_mask: ids([text.map(() => 1), text.map((_, i) => Number(i < 5))]),
    });
    expect(maxDifference(logits.data, wanted)).toBeLessThan(TOLERANCE);
    // Part by part.
    let { hidden } = await runOnce(await model.embedding(source, { length: 5 }), { input_ids: ids([short]) });
    for (let i = 0; i < model.blocks; i++)
      hidden = (await runOnce(await model.block(source, i, { length: 5 }), { hidden })).hidden_out;
    const parts = await runOnce(await model.head(source), { hidden });
    expect(maxDifference(parts.logits.data, wanted.slice(LABELS))).toBeLessThan(TOLERANCE);
  });

  test('made a classifier of tokens gives scores of each', async () => {
    const own = { ...config, architectures: ['AnyForTokenClassification'], num_labels: LABELS };
    const module = ['bloom', 'gpt_bigcode', 'gpt-neox'].includes(name) ? 'classifier' : 'score';
    const bias = { shape: [LABELS], data: Float32Array.of(1, -2, 3) };
    const maps = [[`${module}.weight`, score] as const, [`${module}.bias`, bias] as const];
    const source = sourceOf(new Map([...weights, ...maps]));
    const model = describeModel(own, undefined, undefined, source);
    model.check(source);
    expect([model.isEncoder, model.givesScores, model.readsFirst]).toEqual([true, false, false]);
    const { logits } = await runOnce(await model.whole(source), {
      input_ids: ids([text]),
      attention_mask: ids([text.map(() => 1)]),
    });
    const wanted = features(text).flatMap((own) => scored(own).map((value, c) => value + bias.data[c]));
    expect(logits.dims).toEqual([1, text.length, LABELS]);
    expect(maxDifference(logits.data, wanted)).toBeLessThan(TOLERANCE);
  });

  test('without scores gives features', async () => {
    const source = sourceOf(weights);
    const model = describeModel({ ...config, architectures: ['AnyModel'] }, undefined, undefined, source);
    model.check(source);
    expect([model.isEncoder, model.givesScores]).toEqual([true, false]);
    const mask = ids([text.map(() => 1)]);
    const outputs = await runOnce(await model.whole(source), {
      input_ids: ids([text]),
      attention_mask: mask,
    });
    expect(maxDifference(outputs.last_hidden_state.data, features(text).flat())).toBeLessThan(TOLERANCE);
  });
});

test('names of models with scores of words stay what they are', () => {
  const { config } = VARIANTS.gpt2;
  const source = sourceOf(tinyWeights(config, uniformSizes(config)));
  const isEncoder = (name: string) =>
    describeModel({ ...config, architectures: [name] }, undefined, undefined, source).isEncoder;
  expect(['GPT2LMHeadModel', 'GPT2DoubleHeadsModel', 'GPT2Model'].map(isEncoder)).toEqual([
    false,
    false,
    true,
  ]);
});

test('a projection behind the blocks is refused', () => {
  const { config } = Object.values(VARIANTS).find(
    ({ config: { word_embed_proj_dim: width } }) => width !== undefined && width !== HIDDEN,
  )!;
  const own = { ...config, architectures: ['OPTForSequenceClassification'] };
  expect(() => describeModel(own)).toThrow(UnsupportedModelError);
  expect(() => describeModel(own)).toThrow(
    '"opt": "OPTForSequenceClassification" with a projection behind the blocks',
  );
});
