// Decoders behind an encoder against the plain loops of decoders.ts, in parts and whole, and the way back.

import { describe, expect, test } from 'vitest';
import type {
  BlockSizes,
  Config,
  LanguageModel,
  SizesRecord,
  TensorSource,
} from '../../src/checkpoint/architectures/index.ts';
import { analyse, shrink } from '../../src/graph/index.ts';
import { run, withAllValues } from '../graph/running.ts';
import { describe as describeModel } from '../support/describe.ts';
import { random } from '../support/random.ts';
import {
  BART,
  DECODERS,
  decoderReference,
  decoderWeights,
  denseSizes,
  HIDDEN,
  T5,
  VOCABULARY,
  WHISPER,
} from './decoders.ts';
import { BERT } from './encoders.ts';
import { isMoonshine, MOONSHINE } from './moonshine.ts';
import { ids, maxDifference, open, runOnce, sourceOf, type Value, type Weights } from './source.ts';
import { isReadAgain, isWriter, readBy } from './writers.ts';

const TOLERANCE = 1e-4; // of values around 1

const next = random(8);
const tokens = Array.from({ length: 13 }, () => Math.floor(next() * VOCABULARY));
/** Of Whisper 7 tokens, of images one for each square and one more. */
const COUNTS: Readonly<Record<string, number>> = { 'vision-encoder-decoder': 10 };
/** What an encoder gives. */
function read(config: Config) {
  const { width, areMasked } = isWriter(config)
    ? readBy(config)
    : { width: HIDDEN, areMasked: !/^(whisper|moonshine)$/.test(String(config.model_type)) };
  const own = random(9);
  const rows = Array.from({ length: COUNTS[String(config.model_type)] ?? 7 }, () =>
    Array.from({ length: width }, () => 2 * own() - 1),
  );
  const states: Value = { dims: [1, rows.length, width], data: Float32Array.from(rows.flat()) };
  return { rows, states, width, areMasked };
}

const decoderOf = (config: Config, record?: SizesRecord, names?: Pick<TensorSource, 'tensors'>) =>
  describeModel(config, record, undefined, names, 'decoder');

/** Part by part. */
async function inParts(model: LanguageModel, source: TensorSource, states: Value): Promise<Float32Array> {
  const { length } = tokens;
  const first = await runOnce(await model.embedding(source, { length }), { input_ids: ids([tokens]) });
  let { hidden } = first;
  for (let i = 0; i < model.blocks; i++) {
    const block = await model.block(source, i, { length });
    hidden = (await runOnce(block, { hidden, encoder_hidden_states: states })).hidden_out as typeof hidden;
  }
  return (await runOnce(await model.head(source), { hidden })).logits.data;
}

describe.each(Object.entries(DECODERS))('%s', (_, config) => {
  const weights = decoderWeights(config);
  const source = sourceOf(weights);
  const model = decoderOf(config, undefined, source);
  const { rows, states, width, areMasked } = read(config);
  const expected = decoderReference(config, denseSizes(), weights, tokens, rows);

  test('has the tensors and sizes that its config describes', () => {
    model.check(source);
    expect(model.isEncoder).toBe(false);
    expect(model.states).toMatchObject({ name: 'encoder_hidden_states', width, areMasked });
    expect(model.sizes).toEqual(denseSizes());
    const shapesOf = (of: Iterable<readonly [string, { readonly shape: readonly number[] }]>) =>
      [...of].map(([name, { shape }]) => [name, shape]).sort();
    expect(shapesOf(model.tensors(source))).toEqual(
      shapesOf([...weights].filter(([name]) => name !== 'final_logits_bias')),
    );
  });

  test('embedding, blocks and head give what the loops give', async () => {
    expect(maxDifference(await inParts(model, source, states), expected)).toBeLessThan(TOLERANCE);
  });

  test('the whole model gives it, and sees nothing of padding', async () => {
    const session = await open(await model.whole(source));
    const padded = {
      dims: [1, rows.length + 2, width],
      data: new Float32Array((rows.length + 2) * width).fill(9),
    };
    padded.data.set(states.data as Float32Array);
    const isMasked = session.inputs.includes('encoder_attention_mask');
    expect(isMasked).toBe(areMasked);
    const { logits } = await session.run({
      input_ids: ids([tokens]),
      encoder_hidden_states: isMasked ? padded : states,
      ...(isMasked && { encoder_attention_mask: ids([[...rows.map(() => 1), 0, 0]]) }),
    });
    await session.release();
    expect(maxDifference(logits.data, expected)).toBeLessThan(TOLERANCE);
  });

  test('with caches it gives it in two steps, of which the second makes no keys of what the encoder gives', async () => {
    const session = await open(await model.whole(source, { past: true }));
    const isCache = (name: string) => name.startsWith('past_key_values.');
    const isAgain = isWriter(config) && isReadAgain(config);
    const kept = isAgain
      ? ['key', 'value']
      : ['decoder.key', 'decoder.value', 'encoder.key', 'encoder.value'];
    expect(session.inputs.filter(isCache).sort()).toEqual(
      denseSizes().flatMap((_, i) => kept.map((name) => `past_key_values.${i}.${name}`)),
    );
    const step = (some: readonly number[], caches: Record<string, Value>, encoder_hidden_states: Value) =>
      session.run({
        input_ids: ids([some]),
        encoder_hidden_states,
        ...(areMasked && { encoder_attention_mask: ids([rows.map(() => 1)]) }),
        ...caches,
      });
    const none: Value = { dims: [1, 4, 0, HIDDEN / 4], data: new Float32Array() };
    const caches = session.inputs.filter(isCache);
    const first = await step(
      tokens.slice(0, 8),
      Object.fromEntries(caches.map((name) => [name, none])),
      states,
    );
    const known = caches.map((name) => [name, first[name.replace('past_key_values', 'present')]] as const);
    expect(known.map(([, { dims }]) => dims[2])).toEqual(
      caches.map((name) => (/encoder/.test(name) ? rows.length : 8)),
    );
    // Nothing of it is read any more, where it is in the caches.
    const other = { ...states, data: new Float32Array(states.data.length).fill(9) };
    const second = await step(tokens.slice(8), Object.fromEntries(known), isAgain ? states : other);
    await session.release();
    if (!isAgain) expect(second['present.1.encoder.value'].dims[2]).toBe(0);
    expect(second[`present.1.${isAgain ? '' : 'decoder.'}value`].dims[2]).toBe(tokens.length);
    const logits = [...first.logits.data, ...second.logits.data];
    expect(maxDifference(Float32Array.from(logits as number[]), expected)).toBeLessThan(TOLERANCE);
  });

  test('an unpruned block gives the tensors of the checkpoint back', async () => {
    const block = await model.block(source, 1, { length: 3 });
    const found = model.tensorsOf(1, block);
    for (const { name, data } of found) expect([name, data]).toEqual([name, weights.get(name)!.data]);
    const own = (name: string) =>
      /\.(layers|block|h|encoder\.layer)\.1\./.test(name) && !name.includes('relative_attention_bias');
    expect(found.map(({ name }) => name).sort()).toEqual([...weights.keys()].filter(own).sort());
  });

  test('heads of both attentions and neurons are prunable, and nothing else, and go back into a checkpoint', async () => {
    const data = Float32Array.from({ length: 6 * HIDDEN }, (_, i) => Math.sin(i));
    const feeds = { hidden: { dims: [1, 6, HIDDEN], data }, encoder_hidden_states: states };
    const block = await model.block(source, 1, { length: 6 });
    const values = await run(withAllValues(block), feeds);
    const shapes = new Map(Object.entries({ ...values, ...feeds }).map(([name, { dims }]) => [name, dims]));
    const prunable = analyse(block, shapes).structures.filter((structure) => structure.prunable);
    expect(prunable.map(({ kind, groups }) => [kind, groups])).toEqual([
      ['head', 4],
      ['head', 4],
      ['channel', 20],
    ]);
    const kept = [
      [0, 2],
      [1, 2, 3],
      [1, 2, 3, 5, 8, 13],
    ];
    const small = shrink(block, new Map(prunable.map((it, i) => [it, kept[i]])));
    const sizes = denseSizes().with(1, { heads: 2, kvHeads: 2, ffn: 6, cross: { heads: 3, kvHeads: 3 } });
    const pruned: Weights = new Map(weights);
    for (const { name, shape, data } of model.tensorsOf(1, small, sizes[1]))
      pruned.set(name, { shape, data });
    const { config: written, record } = model.configOf(sizes);
    expect(record).toEqual({ decoder: { blocks: sizes } });
    const reopened = decoderOf(written, JSON.parse(JSON.stringify(record)), sourceOf(pruned));
    reopened.check(sourceOf(pruned));
    const wanted = decoderReference(config, sizes, pruned, tokens, rows);
    expect(maxDifference(await inParts(reopened, sourceOf(pruned), states), wanted)).toBeLessThan(TOLERANCE);
  });

  test('heads of both attentions can be narrow', async () => {
    const own = { valueDim: 3, ...(!isMoonshine(config) && { keyDim: 5 }) }; // keys that turn stay
    const cross = { heads: 4, kvHeads: 4, keyDim: 4, valueDim: 6 };
    const sizes = denseSizes().map((size, i) => (i === 0 ? { ...size, ...own, cross } : size));
    const narrow = decoderWeights(config, sizes);
    const reopened = decoderOf(config, { decoder: { blocks: sizes } }, sourceOf(narrow));
    reopened.check(sourceOf(narrow));
    const wanted = decoderReference(config, sizes, narrow, tokens, rows);
    expect(maxDifference(await inParts(reopened, sourceOf(narrow), states), wanted)).toBeLessThan(TOLERANCE);
  });
});

test('config.json says fewer neurons of the decoder, and the sizes of the encoder stay as they were said', () => {
  const blocks = [{ heads: 1, kvHeads: 1, ffn: 9 }];
  const fewer = denseSizes().map((size) => ({ ...size, ffn: 8 }));
  const { config, record, statement } = decoderOf(BART, { blocks }).configOf(fewer);
  expect(config).toEqual({ ...BART, decoder_ffn_dim: 8 });
  expect(record).toEqual({ blocks });
  expect(statement).toMatch(/^config.json says the sizes of the decoder; those of the encoder are in osscar/);
  expect(describeModel(config, record).sizes).toEqual(blocks);
  expect(decoderOf(config, record).sizes).toEqual(fewer);
  // And the other way round.
  const decoder = { blocks: fewer };
  expect(describeModel(BART, { decoder }).configOf(blocks).record).toEqual({ decoder, blocks });
  const few = describeModel(BART, { decoder }).configOf([{ ...describeModel(BART).sizes[0], ffn: 9 }]);
  expect(few.statement).toMatch(
    /^config.json says the sizes of the encoder; those of the decoder are in osscar/,
  );
});

test('one field says the neurons of both parts where both have as many, and osscar.json those of each until then', () => {
  const whole = { heads: 4, kvHeads: 4, ffn: 20 };
  const fewer = { ...whole, ffn: 8 };
  const cross = { heads: 4, kvHeads: 4 };
  const first = describeModel(T5).configOf([fewer]);
  expect([first.config, first.record]).toEqual([T5, { blocks: [fewer] }]);
  expect(first.statement).toContain('d_ff is of the decoder too, which has others');
  expect(decoderOf(first.config, first.record).sizes).toEqual(denseSizes());
  const after = (decoder: readonly BlockSizes[], record = first.record) =>
    decoderOf(T5, record).configOf(decoder);
  const blocks = denseSizes().map((size) => ({ ...size, ffn: 8 }));
  const both = after(blocks);
  expect([both.config, both.record]).toEqual([{ ...T5, d_ff: 8 }, undefined]);
  expect(both.statement).toMatch(/^config.json says the sizes; stock/);
  expect(decoderOf(T5).behind([fewer]).configOf(blocks)).toEqual(both);
  expect(describeModel(both.config).sizes).toEqual([fewer]);
  expect(decoderOf(both.config).sizes).toEqual(blocks);
  // Others of either part.
  const others = blocks.map((size) => ({ ...size, ffn: 9 }));
  expect(after(others)).toMatchObject({
    config: T5,
    record: { blocks: [fewer], decoder: { blocks: others } },
  });
  const heads = { ...fewer, heads: 3, kvHeads: 3 };
  const said = after(blocks, { blocks: [heads] });
  expect([said.config, said.record]).toEqual([{ ...T5, d_ff: 8 }, { blocks: [heads] }]);
  for (const other of [
    { ...fewer, cross: { heads: 2, kvHeads: 2 } },
    { ...fewer, cross, keyDim: 5 },
    { ...fewer, cross: { ...cross, valueDim: 5 } },
  ]) {
    const decoder = { blocks: [blocks[0], other] };
    expect(describeModel(T5, { decoder }).configOf([fewer]).record).toEqual({ decoder });
  }
  expect(describeModel(T5, { decoder: { blocks } }).configOf([fewer]).record).toBeUndefined();
});

test('transformers.js has no class for some', () => {
  const said = (config: Config) => decoderOf(config).transformersJs;
  expect([BART, T5, WHISPER].map(said)).toEqual([undefined, undefined, undefined]);
  for (const type of ['pegasus', 'plbart'])
    expect(said({ ...BART, model_type: type })).toBe('has no class for this model type');
  expect(said({ ...T5, model_type: 'umt5' })).toBe('has no class for this model type');
});

test('Moonshine has rotary positions on 0.9 of a head where config.json says nothing else', () => {
  const wide = {
    ...MOONSHINE,
    hidden_size: 288,
    decoder_num_attention_heads: 8,
    partial_rotary_factor: undefined,
  };
  const { headDim, maxPositions } = decoderOf({ ...wide, max_position_embeddings: undefined });
  expect({ headDim, maxPositions }).toEqual({ headDim: 36, maxPositions: 512 });
  const grouped = { ...wide, decoder_num_key_value_heads: 2 };
  expect(() => decoderOf(grouped)).toThrow('"moonshine": decoder_num_key_value_heads other than');
});

test('fewer heads of the decoder are said by osscar.json alone', () => {
  const sizes = denseSizes().map((size) => ({ ...size, cross: { heads: 3, kvHeads: 3 } }));
  const { record, statement } = decoderOf(WHISPER).configOf(sizes);
  expect(record).toEqual({ decoder: { blocks: sizes } });
  expect(statement).toContain('it has no field for heads of 8 features each');
});

test('attention to what an encoder gives is counted by its tokens', () => {
  const model = decoderOf(WHISPER); // which gives 7 of them
  const self = 5 * 5 * 4 * (8 + 8);
  const cross = 5 * 7 * 4 * (8 + 8) + (7 - 5) * HIDDEN * 4 * (8 + 8);
  expect(model.macsOfHeads(0, model.sizes[0], 5)).toBe(self + cross);
  const few = { ...model.sizes[0], cross: { heads: 1, kvHeads: 1 } };
  expect(model.macsOfHeads(0, few, 5)).toBe(self + cross / 4);
});

test('sizes of an osscar.json that a decoder cannot have are named', () => {
  const said = (cross: unknown) => () =>
    decoderOf(BART, { decoder: { blocks: denseSizes().with(1, { ...denseSizes()[1], cross } as never) } });
  expect(said({ heads: 5, kvHeads: 5 })).toThrow(
    'osscar.json: block 1: "cross.heads" expected at most 4, as in config.json, got 5',
  );
  expect(said(undefined)).toThrow(
    'osscar.json: block 1: "cross.heads" expected a positive integer, got none',
  );
  expect(said({ heads: 4, kvHeads: 4, keyDim: 9 })).toThrow(
    'block 1: "cross.keyDim" expected at most 8, as in config.json, got 9',
  );
  const bad = { blocks: [{ heads: 1, kvHeads: 1, ffn: 9 }], decoder: null } as never;
  expect(() => decoderOf(BART, bad)).toThrow('osscar.json: "blocks" expected the sizes of 2 blocks');
  const encoder = () =>
    describeModel(BART, { blocks: [{ heads: 2, kvHeads: 2, ffn: 24, cross: { heads: 2, kvHeads: 2 } }] });
  expect(encoder).toThrow('"cross" expected none, as there is no attention to what an encoder gives');
});

test.each([
  ['bert', BERT],
  ['a classifier', { ...BART, architectures: ['BartForSequenceClassification'] }],
])('of %s there is no decoder', (_, config) => {
  expect(describeModel(config).hasDecoder).toBe(false);
  expect(() => decoderOf(config)).toThrow('there is no decoder behind it that is known');
});

test('a checkpoint of the encoder alone has no decoder', () => {
  const of = (name: string) =>
    describeModel(BART, undefined, undefined, { tensors: new Map([[name, { shape: [1] }]]) }).hasDecoder;
  expect(of('model.decoder.layers.0.fc1.weight')).toBe(true);
  expect(of('model.encoder.layers.0.fc1.weight')).toBe(false);
});
