// Encoders against the plain loops of encoders.ts, in parts and whole, and the way back.

import { describe, expect, test } from 'vitest';
import type { Config, LanguageModel, TensorSource } from '../../src/checkpoint/architectures/index.ts';
import { analyse, shrink } from '../../src/graph/index.ts';
import { run, withAllValues } from '../graph/running.ts';
import { describe as describeModel } from '../support/describe.ts';
import { random } from '../support/random.ts';
import {
  AST,
  BEIT,
  BERT,
  CLIP,
  CLIP_TEXT,
  CONVOLVED,
  DEBERTA,
  DINOV2,
  DISTILBERT,
  denseSizes,
  EMBEDDING_GEMMA,
  ENCODERS,
  ESM,
  encoderReference,
  encoderWeights,
  FIRST_DEBERTA,
  GTE,
  JINA,
  MODERNBERT,
  MPNET,
  NEOBERT,
  NOMIC_BERT,
  ROBERTA,
  ROFORMER,
  type Sample,
  SEEING_QWEN3,
  SIGLIP,
  T5,
  VIT,
  VOCABULARY,
  WAV2VEC2,
} from './encoders.ts';
import { MOONSHINE } from './moonshine.ts';
import { ids, maxDifference, open, runOnce, sizesOf, sourceOf, type Value, type Weights } from './source.ts';

const TOLERANCE = 1e-4; // of values around 1

const next = random(5);
const tokens = Array.from({ length: 9 }, () => Math.floor(next() * VOCABULARY));
const types = tokens.map((_, i) => Number(i > 4));
const image = Float32Array.from({ length: 2 * 15 * 15 }, () => next() - 0.5);
const sound = Float32Array.from({ length: 5 * 18 }, () => 2 * next() - 1);
const longer = Float32Array.from({ length: 4000 }, () => 2 * next() - 1);

/** What a model takes of the samples here. */
function sampleFor(model: LanguageModel): { sample: Sample; feeds: Record<string, Value> } {
  if (model.architecture === 'whisper')
    return { sample: { image: sound }, feeds: { input_features: { dims: [1, 5, 18], data: sound } } };
  if (/^(wav2vec2|hubert|unispeech|wavlm)/.test(model.architecture))
    return { sample: { image: sound }, feeds: { input_values: { dims: [1, sound.length], data: sound } } };
  if (model.architecture === 'moonshine')
    return { sample: { image: longer }, feeds: { input_values: { dims: [1, longer.length], data: longer } } };
  if (model.architecture === 'audio-spectrogram-transformer')
    return { sample: { image: sound }, feeds: { input_values: { dims: [1, 10, 9], data: sound } } };
  if (model.vocabulary === 0)
    return { sample: { image }, feeds: { pixel_values: { dims: [1, 2, 15, 15], data: image } } };
  const hasTypes = /^(albert|bert|electra|ernie|nomic_bert|new|roformer)$/.test(model.architecture);
  return {
    sample: { tokens, types: hasTypes ? types : undefined },
    feeds: { input_ids: ids([tokens]), ...(hasTypes && { token_type_ids: ids([types]) }) },
  };
}

describe.each(Object.entries(ENCODERS))('%s', (_, config) => {
  const weights = encoderWeights(config);
  const source = sourceOf(weights);
  const model = describeModel(config);
  const { sample, feeds } = sampleFor(model);
  const expected = encoderReference(config, denseSizes(config), weights, sample);
  // Of a block: what depends on where squares are is of a whole image.
  const length = /^(beit|data2vec|dinov3)/.test(model.architecture) ? model.maxPositions : 6;

  test('has the tensors and sizes that its config describes', () => {
    model.check(source);
    expect(model.isEncoder).toBe(true);
    expect(model.sizes).toEqual(denseSizes(config));
    const shapesOf = (of: Iterable<readonly [string, { readonly shape: readonly number[] }]>) =>
      [...of].map(([name, { shape }]) => [name, shape]).sort();
    // RoFormer makes its cosines and sines anew.
    const isUsed = ([name]: readonly [string, unknown]) =>
      model.architecture !== 'roformer' || !name.endsWith('embed_positions.weight');
    expect(shapesOf(model.tensors(source))).toEqual(shapesOf([...weights].filter(isUsed)));
  });

  test('embedding, blocks and head give what the loops give', async () => {
    expect(maxDifference(await inParts(model, source, feeds), expected)).toBeLessThan(TOLERANCE);
    const [, ...dims] = Object.values(feeds)[0].dims;
    expect(model.outputsOf(model.tokensOf(dims))).toBe(expected.length);
  });

  // What scales are becomes a part of the maps.
  if (![...weights.keys()].some((name) => name.includes('lambda')))
    test('an unpruned block gives the tensors of the checkpoint back', async () => {
      const block = await model.block(source, 1, { length });
      for (const { name, data } of model.tensorsOf(1, block))
        expect([name, data]).toEqual([name, weights.get(name)!.data]);
    });

  test('the whole model gives it', async () => {
    const mask = model.vocabulary > 0 && { attention_mask: ids([tokens.map(() => 1)]) };
    const outputs = await runOnce(await model.whole(source), { ...feeds, ...mask });
    expect(maxDifference(Object.values(outputs)[0].data, expected)).toBeLessThan(TOLERANCE);
  });

  // Rotary positions are turned of all tokens together, and a mask of those behind is of all, as is what a block gets again.
  if (
    !/^(albert|modernbert|nomic_bert|new|gte|esm|dinov3_vit|gemma3_text|qwen3|eurobert|clip_text_model|roformer|neobert|moonshine)$/.test(
      model.architecture,
    )
  )
    test('a block can give its first token alone', async () => {
      const data = Float32Array.from({ length: length * model.hidden }, (_, i) => Math.sin(i));
      const hidden = { dims: [1, length, model.hidden], data };
      const [all, first] = await Promise.all(
        [false, true].map(async (isFirst) =>
          runOnce(await model.block(source, 1, { length, isFirst }), { hidden }),
        ),
      );
      expect(first.hidden_out.dims).toEqual([1, 1, model.hidden]);
      const wanted = all.hidden_out.data.slice(0, model.hidden);
      expect(maxDifference(first.hidden_out.data, [...wanted])).toBeLessThan(1e-5);
    });

  test('heads and neurons of a block are prunable, and nothing else, and go back into a checkpoint', async () => {
    const i = config.conv_kernel_size ? 0 : 1; // the block with the convolution
    const data = Float32Array.from({ length: length * model.hidden }, (_, i) => Math.sin(i));
    const hidden = { dims: [1, length, model.hidden], data };
    const block = await model.block(source, i, { length });
    const values = await run(withAllValues(block), { hidden });
    const shapes = new Map(Object.entries({ ...values, hidden }).map(([name, { dims }]) => [name, dims]));
    const prunable = analyse(block, shapes).structures.filter((structure) => structure.prunable);
    expect(prunable.map(({ kind, groups }) => [kind, groups])).toEqual([
      ['head', 4],
      ['channel', model.sizes[i].ffn],
    ]);

    const [kept, neurons] = [
      [0, 2],
      [1, 2, 3, 5, 8, 13],
    ];
    const small = shrink(block, new Map(prunable.map((it, i) => [it, [kept, neurons][i]])));
    const sizes = model.sizes.with(i, sizesOf(small, model));
    expect(sizes[i]).toEqual({ heads: 2, kvHeads: 2, ffn: 6 });
    const pruned: Weights = new Map(weights);
    for (const { name, shape, data } of model.tensorsOf(i, small, sizes[i]))
      pruned.set(name, { shape, data });
    const { config: written, record } = model.configOf(sizes);
    const reopened = describeModel(written, record);
    reopened.check(sourceOf(pruned));
    const wanted = encoderReference(config, sizes, pruned, sample);
    expect(maxDifference(await inParts(reopened, sourceOf(pruned), feeds), wanted)).toBeLessThan(TOLERANCE);
  });
});

test.each([
  ['bert', BERT, { keyDim: 5, valueDim: 5 }],
  ['mpnet, other values than keys', MPNET, { keyDim: 5, valueDim: 3 }],
  ['vit', VIT, { keyDim: 3, valueDim: 3 }],
  ['modernbert, values alone', MODERNBERT, { valueDim: 3 }],
  ['deberta-v2, values alone', DEBERTA, { valueDim: 3 }],
])('%s: blocks can have narrow heads', async (_, config, narrow) => {
  const dense = describeModel(config);
  const sizes = dense.sizes.map((size, i) => (i === 0 ? { ...size, ...narrow } : size));
  const weights = encoderWeights(config, sizes);
  const source = sourceOf(weights);
  const { config: written, record } = dense.configOf(sizes);
  const model = describeModel(written, JSON.parse(JSON.stringify(record)));
  model.check(source);
  const { sample, feeds } = sampleFor(model);
  const expected = encoderReference(config, sizes, weights, sample);
  expect(maxDifference(await inParts(model, source, feeds), expected)).toBeLessThan(TOLERANCE);
  const mask = model.vocabulary > 0 && { attention_mask: ids([tokens.map(() => 1)]) };
  const outputs = await runOnce(await model.whole(source), { ...feeds, ...mask });
  expect(maxDifference(Object.values(outputs)[0].data, expected)).toBeLessThan(TOLERANCE);

  const block = await model.block(source, 0, { length: 3 });
  for (const { name, shape, data } of dense.tensorsOf(0, block, sizes[0]))
    expect({ shape, data }).toEqual(weights.get(name));
});

describe('dinov2', () => {
  const said = (config: Config, ffn: number) => {
    const model = describeModel(config);
    return model.configOf(model.sizes.map((size) => ({ ...size, ffn })));
  };

  test('says any number of neurons by their ratio', () => {
    const wide = { ...DINOV2, hidden_size: 384, num_attention_heads: 6, mlp_ratio: 4 };
    for (let ffn = 1; ffn <= 1536; ffn++) {
      const { config, record } = said(wide, ffn);
      expect(record).toBeUndefined();
      expect(describeModel(config).sizes[0].ffn).toBe(ffn);
    }
    expect(said(wide, 768).config.mlp_ratio).toBe(2);
    expect(describeModel({ ...wide, mlp_ratio: undefined }).sizes[0].ffn).toBe(1536);
  });

  test('says gated ones by eights, and leaves others to osscar.json', () => {
    const giant = { ...DINOV2, hidden_size: 1536, use_swiglu_ffn: true, mlp_ratio: 4 };
    expect(describeModel(giant).sizes[0].ffn).toBe(4096);
    for (let ffn = 8; ffn <= 4096; ffn += 8)
      expect(describeModel(said(giant, ffn).config).sizes[0].ffn).toBe(ffn);
    expect(describeModel(giant).saysNeurons(12)).toBe(false);
    const { record, statement } = said(giant, 12);
    expect(record!.blocks![0].ffn).toBe(12);
    expect(statement).toContain('no mlp_ratio is of 12 neurons');
  });

  test('has the factors of what a layer gives in the layer, and ones in their place', async () => {
    const model = describeModel(DINOV2);
    const weights = encoderWeights(DINOV2);
    const block = await model.block(sourceOf(weights), 0, { length: 10 });
    const written = new Map(model.tensorsOf(0, block).map((tensor) => [tensor.name, tensor.data]));
    const factors = weights.get('encoder.layer.0.layer_scale2.lambda1')!.data;
    for (const kind of ['weight', 'bias']) {
      const { data } = weights.get(`encoder.layer.0.mlp.fc2.${kind}`)!;
      const rows = data.length / factors.length;
      const wanted = data.map((value, at) => value * factors[Math.floor(at / rows)]);
      expect(written.get(`encoder.layer.0.mlp.fc2.${kind}`)).toEqual(wanted);
    }
    expect(written.get('encoder.layer.0.layer_scale2.lambda1')).toEqual(new Float32Array(32).fill(1));
  });
});

describe('towers of images', () => {
  test('have the sizes that transformers leaves out', () => {
    const { hidden, headDim, blocks, sizes, maxPositions } = describeModel({ ...CLIP, vision_config: {} });
    expect({ hidden, headDim, blocks, maxPositions }).toEqual({
      hidden: 768,
      headDim: 64,
      blocks: 12,
      maxPositions: 50,
    });
    expect(sizes[0]).toEqual({ heads: 12, kvHeads: 12, ffn: 3072 });
    expect(describeModel({ ...SIGLIP, vision_config: {} }).maxPositions).toBe(196);
  });

  const fewer = (config: Config) => {
    const model = describeModel(config);
    return model.configOf(model.sizes.map((size) => ({ ...size, ffn: 8 })));
  };

  test('say theirs in the section that transformers reads', () => {
    const { vision_config, vision_config_dict, ...others } =
      ENCODERS['clip, with what its files said before'];
    const { config, record } = fewer({ vision_config, vision_config_dict, ...others });
    expect(record).toBeUndefined();
    const { vision_config: written, ...rest } = config;
    expect(rest).toEqual(others);
    expect(written).toMatchObject({
      ...(vision_config_dict as Config),
      intermediate_size: 8,
      layer_norm_eps: 1e-5,
    });
    expect(fewer(CLIP).config).toEqual({
      ...CLIP,
      vision_config: { ...(CLIP.vision_config as Config), intermediate_size: 8 },
    });
  });

  test('leave them to osscar.json where what pools has as many neurons by the same field', () => {
    const { config, record } = fewer(SIGLIP);
    expect(config).toEqual(SIGLIP);
    expect(record!.blocks![0].ffn).toBe(8);
    expect(fewer(ENCODERS['siglip, features alone']).record).toBeUndefined();
  });

  test.each([
    [{ hidden_size: '32' }, '"vision_config.hidden_size" expected an integer of at least 1, got "32"'],
    [{ patch_size: 300 }, '"vision_config.patch_size" expected at most the image_size of 224, got 300'],
    [{ hidden_act: 'mish' }, 'the activation "mish" is not supported'],
  ])('name what is wrong in theirs: %o', (vision_config, message) => {
    expect(() => describeModel({ ...CLIP, vision_config })).toThrow(message);
  });
});

test('what a classifier reads of its last block is the first token alone, where none are turned', () => {
  expect(describeModel(ENCODERS['bert, classifier']).readsFirst).toBe(true);
  const [, esm] = Object.entries(ENCODERS).find(([name]) => name.startsWith('esm, classifier'))!;
  expect(describeModel(esm).readsFirst).toBe(false);
});

test('tables of distances that cannot be meant are refused', () => {
  expect(() => describeModel({ ...T5, relative_attention_max_distance: 2 })).toThrow(
    'config.json: "relative_attention_max_distance" expected an integer of at least 3, got 2',
  );
  expect(() => describeModel({ ...MPNET, relative_attention_num_buckets: 64 })).toThrow(
    '"mpnet": relative_attention_num_buckets 64',
  );
});

test.each([
  ['bert', BERT],
  ['bert, as Jina has it', JINA],
  ['modernbert', MODERNBERT],
  ['esm', ESM],
  ['deberta-v2', DEBERTA],
  ['deberta-v2, with a convolution', CONVOLVED],
  ['deberta', FIRST_DEBERTA],
  ['clip_text_model', CLIP_TEXT],
  ['embeddinggemma', EMBEDDING_GEMMA],
  ['qwen3', SEEING_QWEN3],
])('%s: a mask hides padding, in each text of a batch', async (_, config) => {
  const weights = encoderWeights(config);
  const session = await open(await describeModel(config).whole(sourceOf(weights)));
  const short = tokens.slice(0, 5);
  const { last_hidden_state: found } = await session.run({
    input_ids: ids([tokens, [...short, 7, 7, 7, 7]]),
    attention_mask: ids([tokens.map(() => 1), tokens.map((_, i) => Number(i < 5))]),
    ...(config.model_type === 'bert' && { token_type_ids: ids([tokens.map(() => 0), tokens.map(() => 0)]) }),
  });
  await session.release();
  const [first, second] = [tokens, short].map((text) =>
    encoderReference(config, denseSizes(config), weights, { tokens: text }),
  );
  expect(maxDifference(found.data.subarray(0, first.length), first)).toBeLessThan(TOLERANCE);
  const own = found.data.subarray(first.length, first.length + second.length);
  expect(maxDifference(own, second)).toBeLessThan(TOLERANCE);
});

test('the mean of a classifier is of the tokens that are no padding', async () => {
  const config = ENCODERS['modernbert, classifier of the mean, with biases'];
  const weights = encoderWeights(config);
  const short = tokens.slice(0, 5);
  const { logits } = await runOnce(await describeModel(config).whole(sourceOf(weights)), {
    input_ids: ids([tokens, [...short, 7, 7, 7, 7]]),
    attention_mask: ids([tokens.map(() => 1), tokens.map((_, i) => Number(i < 5))]),
  });
  const wanted = [tokens, short].flatMap((text) =>
    encoderReference(config, denseSizes(config), weights, { tokens: text }),
  );
  expect(maxDifference(logits.data, wanted)).toBeLessThan(TOLERANCE);
});

describe('what encoders cannot be is refused:', () => {
  test.each([
    [{ ...BERT, position_embedding_type: 'relative_key' }, 'position_embedding_type "relative_key"'],
    [{ ...JINA, feed_forward_type: 'original' }, '"bert": ALiBi with feed_forward_type "original"'],
    [{ ...BERT, is_decoder: true }, 'is_decoder is not supported'],
    [{ ...ENCODERS.albert, inner_group_num: 2 }, '"albert": groups of several layers'],
    [{ ...ENCODERS.albert, num_hidden_groups: 6 }, '"albert": 6 groups for num_hidden_layers 5'],
    [{ ...ROBERTA, hidden_act: 'mish' }, 'the activation "mish"'],
    [{ ...VIT, patch_size: 16 }, '"patch_size" expected at most the image_size of 15'],
    [{ ...DISTILBERT, dim: 30 }, '30 features cannot be shared out to 4 heads'],
    [{ ...DEBERTA, relative_attention: false }, '"deberta-v2": relative_attention false'],
    [{ ...DEBERTA, conv_kernel_size: 4 }, '"deberta-v2": conv_kernel_size 4 with conv_groups 1'],
    [{ ...DEBERTA, pos_att_type: 'p2p' }, '"deberta-v2": pos_att_type "p2p"'],
    [{ ...FIRST_DEBERTA, talking_head: true }, '"deberta": talking_head'],
    [{ ...DEBERTA, embedding_size: 16 }, '"deberta-v2": embedding_size 16, and not 32'],
    [{ ...ESM, position_embedding_type: 'absolute' }, '"esm": position_embedding_type "absolute"'],
    [
      { ...ENCODERS['modernbert, classifier of its first token'], classifier_pooling: 'max' },
      '"modernbert": classifier_pooling "max"',
    ],
    [
      { ...AST, patch_size: 10 },
      '"patch_size" expected at most the num_mel_bins of 9 and the max_length of 10',
    ],
    [{ ...ESM, is_folding_model: true }, '"esm": is_folding_model'],
    [
      { ...BEIT, use_shared_relative_position_bias: true },
      'use_relative_position_bias beside use_shared_relative_position_bias',
    ],
    [{ ...ROFORMER, rotary_value: true }, '"roformer": rotary_value is not supported'],
    [{ ...NEOBERT, hidden_act: 'gelu' }, '"neobert": hidden_act "gelu"'],
    [{ ...NEOBERT, ngpt: true }, '"neobert": ngpt true'],
    [{ ...NEOBERT, rope: false }, '"neobert": rope false'],
    [{ ...NEOBERT, architectures: ['NeoBERTForTokenClassification'] }, '"neobert": classes of tokens'],
    [{ ...GTE, logn_attention_scale: true }, '"new": logn_attention_scale'],
    [{ ...GTE, position_embedding_type: 'absolute' }, '"new": position_embedding_type "absolute"'],
    [{ ...GTE, layer_norm_type: 'rms_norm' }, '"new": layer_norm_type "rms_norm"'],
    [{ ...GTE, rope_scaling: { type: 'ntk', factor: 2, mixed_b: 1 } }, '"new": mixed_b of rope_scaling'],
    [{ ...NOMIC_BERT, prenorm: true }, '"nomic_bert": prenorm'],
    [{ ...NOMIC_BERT, num_experts: 8 }, '"nomic_bert": num_experts'],
    [{ ...NOMIC_BERT, rotary_scaling_factor: 2 }, '"nomic_bert": rotary_scaling_factor'],
    [{ ...NOMIC_BERT, rotary_emb_fraction: 0.5 }, 'on a part of the head (rotary_emb_fraction)'],
    [{ ...NOMIC_BERT, activation_function: 'gelu' }, 'activation_function "gelu"'],
    [{ ...WAV2VEC2, add_adapter: true }, '"wav2vec2": add_adapter'],
    [{ ...WAV2VEC2, model_type: 'hubert', conv_pos_batch_norm: true }, '"hubert": conv_pos_batch_norm'],
    [{ ...WAV2VEC2, feat_extract_norm: 'batch' }, 'feat_extract_norm "batch"'],
    [{ ...WAV2VEC2, conv_dim: [6, 8] }, '"conv_dim" expected a list of 3 integers of at least 1, got [6,8]'],
    [{ ...WAV2VEC2, conv_stride: [3, 2, 0.5] }, '"conv_stride" expected a list of 3 integers'],
    [{ ...WAV2VEC2, num_conv_pos_embedding_groups: 5 }, '32 features cannot be shared out to 5 groups'],
    [
      { ...ENCODERS['wav2vec2, classifier'], use_weighted_layer_sum: true },
      '"wav2vec2": use_weighted_layer_sum',
    ],
    [
      { ...MOONSHINE, encoder_num_key_value_heads: 2 },
      'encoder_num_key_value_heads other than encoder_num_att',
    ],
    [{ ...MOONSHINE, partial_rotary_factor: undefined }, 'rotary positions over 7 of 8 features of a head'],
  ])('%#: %s', (config, message) => {
    expect(() => describeModel(config)).toThrow(message);
  });

  test('texts longer than their positions', async () => {
    const model = describeModel(ROBERTA);
    await expect(model.embedding(sourceOf(encoderWeights(ROBERTA)), { length: 25 })).rejects.toThrow(
      'roberta: windows of 1 to 24 tokens expected, got 25',
    );
  });
});

async function inParts(
  model: LanguageModel,
  source: TensorSource,
  feeds: Record<string, Value>,
): Promise<Float32Array> {
  const length = 9;
  let { hidden } = await runOnce(await model.embedding(source, { length }), feeds);
  for (let i = 0; i < model.blocks; i++)
    hidden = (await runOnce(await model.block(source, i, { length }), { hidden })).hidden_out;
  return Object.values(await runOnce(await model.head(source), { hidden }))[0].data;
}
