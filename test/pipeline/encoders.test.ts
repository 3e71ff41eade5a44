// Folders of encoders, pruned part by part and written again.

import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import { blobFolder, memoryOutput } from '../../src/checkpoint/index.ts';
import { openFolder } from '../../src/disk/folder.ts';
import type { Engine } from '../../src/engine/index.ts';
import {
  type Dataset,
  evaluate,
  type FeedSample,
  feedsDataset,
  inputOf,
  type OpenedLanguageModel,
  openLanguageModel,
  type PruneOptions,
  prune,
  sharesOf,
  tokenWindows,
} from '../../src/pipeline/index.ts';
import { folderSubject } from '../../src/pipeline/models/folder.ts';
import { ship, storedFolder } from '../../src/pipeline/queue/snapshot.ts';
import { memoryStore } from '../../src/pipeline/store/store.ts';
import {
  BERT,
  CLIP,
  DEBERTA,
  DINOV2,
  DINOV3,
  DISTILBERT,
  EMBEDDING_GEMMA,
  ENCODERS,
  encoderReference,
  encoderWeights,
  MODERNBERT,
  MPNET,
  SIGLIP,
  T5,
  VOCABULARY,
  WAV2VEC2,
  WHISPER,
} from '../architectures/encoders.ts';
import type { Weights } from '../architectures/source.ts';
import { tinyWeights, uniformSizes, VARIANTS } from '../architectures/tiny.ts';
import { random } from '../support/random.ts';
import { engine, fashion, folderOf, session, weightsOf } from './fixtures.ts';

const VIT = ENCODERS['vit, classifier, without biases of queries, keys and values'];

/** A random encoder's folder, with a tensor that is in no description, as heads of other tasks are. */
async function openTiny(config: Config): Promise<OpenedLanguageModel> {
  const weights: Weights = new Map(encoderWeights(config)).set('cls.other.weight', {
    shape: [3],
    data: Float32Array.of(1, 2, 3),
  });
  return folderOf(config, weights);
}

/** Sentences of these lengths in turn. */
function sentences(count: number, lengths: readonly number[]): FeedSample[] {
  const next = random(3);
  const ids = (length: number) => Float32Array.from({ length }, () => Math.floor(next() ** 2 * VOCABULARY)); // some more often than others
  return Array.from({ length: count }, (_, i) => {
    const length = lengths[i % lengths.length];
    return { inputs: { input_ids: { dims: [length], data: ids(length) } } };
  });
}

function images(count: number): FeedSample[] {
  const next = random(4);
  return Array.from({ length: count }, (_, i) => ({
    inputs: {
      pixel_values: { dims: [2, 15, 15], data: Float32Array.from({ length: 450 }, () => next() - 0.5) },
    },
    label: i % 3,
  }));
}

async function pruned(
  opened: OpenedLanguageModel,
  calibration: Dataset,
  options: Partial<PruneOptions> = {},
) {
  const output = memoryOutput('pruned');
  const target = { kind: 'residual', blend: 1 } as const;
  const how = { engine, session, calibration, keep: 0.5, target, search: 'greedy', onnx: 'beside' } as const;
  const { report } = await prune(opened, { ...how, ...options, output });
  return { report, files: output.files(), again: await openLanguageModel(blobFolder(output.files())) };
}

/** What the loops give of a folder. */
async function loops(
  { checkpoint, language }: OpenedLanguageModel,
  inputs: FeedSample['inputs'],
  sizes: readonly BlockSizes[] = language.sizes,
): Promise<number[]> {
  const weights = await weightsOf(checkpoint);
  const { input_ids: ids, token_type_ids: types, pixel_values, input_features, input_values } = inputs;
  const numbers = (tensor?: { data: Float32Array }) => tensor && Array.from(tensor.data);
  const sample = {
    tokens: numbers(ids),
    types: numbers(types),
    image: (pixel_values ?? input_features ?? input_values)?.data,
  };
  return encoderReference(checkpoint.config, sizes, weights, sample);
}

const norm = (values: readonly number[]) => Math.hypot(...values);
/** ‖y − ŷ‖ / ‖y‖ of features, averaged over the tokens of each sample. */
async function pooledError(a: OpenedLanguageModel, b: OpenedLanguageModel, samples: readonly FeedSample[]) {
  const pool = (features: readonly number[]) =>
    Array.from({ length: 32 }, (_, c) => {
      const own = features.filter((_, at) => at % 32 === c);
      return own.reduce((x, y) => x + y) / own.length;
    });
  const [error, size]: [number[], number[]] = [[], []];
  for (const { inputs } of samples) {
    const [y, z] = [pool(await loops(a, inputs)), pool(await loops(b, inputs))];
    error.push(...y.map((value, i) => value - z[i]));
    size.push(...y);
  }
  return norm(error) / norm(size);
}

const TABLES = [0, 1].map((i) => `encoder.layer.${i}.attention.attn.relative_attention_bias.weight`);
const TABLES_OF_T5 = [0, 1].map(
  (i) => `encoder.block.${i}.layer.0.SelfAttention.relative_attention_bias_of_heads.weight`,
);

test.each([
  ['bert', BERT, []],
  ['albert', ENCODERS.albert, []],
  ['distilbert', DISTILBERT, []],
  ['mpnet', MPNET, TABLES], // of the heads that stay in each block
  ['t5', T5, TABLES_OF_T5],
  ['modernbert', MODERNBERT, []],
  ['deberta-v2', DEBERTA, []],
  ['embeddinggemma', EMBEDDING_GEMMA, []],
])('%s: a smaller folder and its ONNX file, of texts of different lengths', async (_, config, added) => {
  const opened = await openTiny(config);
  const input = inputOf(opened);
  const calibration = await feedsDataset(sentences(40, [9, 9, 4, 7]), input);
  const held = sentences(12, [6, 9, 3]);
  const evaluation = await feedsDataset(held, input);
  const { report, again, files } = await pruned(opened, calibration, { evaluation });
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  const names = [...opened.checkpoint.tensors.keys(), ...added];
  expect([...again.checkpoint.tensors.keys()].sort()).toEqual(names.sort());
  expect(files.has('model.onnx')).toBe(true);
  expect(report.metric).toBeUndefined();
  expect(report.maxDifference).toBeLessThan(1e-4);
  const { relativeError } = report.quality!;
  expect(relativeError).toBeCloseTo(await pooledError(opened, again, held), 4);
  // The weights that stay make up for those that go.
  const magnitude = await pruned(opened, calibration, { evaluation, method: 'magnitude', onnx: undefined });
  expect(relativeError).toBeLessThan(0.8 * magnitude.report.quality!.relativeError);
});

test('a language model that was made a classifier is pruned as one, of texts of different lengths', async () => {
  const { config } = VARIANTS.llama;
  const { model_type, ...sizes } = config;
  const weights = tinyWeights(config, uniformSizes(config));
  weights.delete('lm_head.weight');
  weights.set('score.weight', {
    shape: [2, 32],
    data: Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * i)),
  });
  const own = { model_type, ...sizes, architectures: ['LlamaForSequenceClassification'], num_labels: 2 };
  const opened = await folderOf(own, weights);
  const samples = sentences(12, [9, 9, 4]).map((it, i) => ({ ...it, label: i % 2 }));
  const calibration = await feedsDataset(samples, inputOf(opened));
  const { report, again, files } = await pruned(opened, calibration, { search: undefined });
  expect(report.maxDifference).toBeLessThan(1e-4);
  expect(report.metric?.before).toBeGreaterThan(0);
  expect(files.has('model.onnx')).toBe(true);
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 1, ffn: 10 }));
});

test('what sentence-transformers has behind an encoder goes along, and to workers', async () => {
  const { folder, checkpoint } = await openTiny(BERT);
  const bytes = (text: string) => new TextEncoder().encode(text);
  const behind = new Map([
    ['modules.json', bytes('[{ "path": "" }, { "path": "1_Pooling" }, { "path": "2_Normalize" }]')],
    ['sentence_bert_config.json', bytes('{"max_seq_length": 9}')],
    ['1_Pooling/config.json', bytes('{"word_embedding_dimension": 32}')],
  ]);
  const files: [string, Uint8Array][] = [...behind];
  for (const file of await folder.list())
    files.push([file, await folder.read(file, 0, await folder.size(file))]);
  const opened = await openLanguageModel(blobFolder(files));
  const calibration = await feedsDataset(sentences(20, [9]), inputOf(opened));
  const written = (await pruned(opened, calibration, { onnx: undefined })).files;
  for (const [file, content] of behind)
    expect(new Uint8Array(await written.get(file)!.arrayBuffer())).toEqual(content);
  const shipment = await folderSubject(opened).shipment();
  expect(shipment.files.map(({ name }) => name)).toEqual([...checkpoint.files, ...behind.keys()].sort());
  const store = memoryStore();
  const { model } = await ship(store, shipment, calibration, 1);
  expect(await storedFolder(store, 'm', model.files).list('1_Pooling')).toEqual(['config.json']);
});

test('the ONNX file beside a folder is proved too: one that gives something else is refused', async () => {
  const opened = await openTiny(VIT);
  const load: Engine['load'] = async (model, external) => {
    const loaded = await engine.load(model, external);
    const run: typeof loaded.run = async (feeds, fetches) => {
      const outputs = Object.entries(await loaded.run(feeds, fetches));
      return Object.fromEntries(
        outputs.map(([name, { dims, data }]) => [name, { dims, data: data.map((value) => value + 1) }]),
      );
    };
    // Nothing else says by what it was pruned.
    return Buffer.from(model).includes('osscar.pruning') ? { ...loaded, run } : loaded;
  };
  const calibration = await feedsDataset(images(40), inputOf(opened));
  await expect(pruned(opened, calibration, { engine: { ...engine, load } })).rejects.toMatchObject({
    code: 'ERR_OSSCAR_VERIFY',
  });
});

test('encoders have no caches: narrow ones are written for transformers.js', async () => {
  const opened = await openLanguageModel((await folderOf(BERT, encoderWeights(BERT))).folder, {
    heads: 'narrow',
  });
  const samples = tokenWindows(new Int32Array(10), { samples: 1, seqlen: 9 });
  await folderSubject(opened, { onnx: 'transformers.js' }).check(samples);
});

test('token types come with the data, and padding at the end is left out', async () => {
  const opened = await openTiny(BERT);
  const input = inputOf(opened);
  const plain = sentences(24, [8, 5]).map(({ inputs: { input_ids: ids } }) => ({
    inputs: { input_ids: ids, token_type_ids: { ...ids, data: ids.data.map((_, i) => Number(i > 2)) } },
  }));
  const padded = plain.map(({ inputs }) => {
    const fill = (data: Float32Array, value: number) =>
      Float32Array.from({ length: 8 }, (_, i) => data[i] ?? value);
    const entries = Object.entries(inputs).map(
      ([name, { data }]) => [name, { dims: [8], data: fill(data, 7) }] as const,
    );
    const mask = {
      dims: [8],
      data: fill(
        inputs.input_ids.data.map(() => 1),
        0,
      ),
    };
    return { inputs: { ...Object.fromEntries(entries), attention_mask: mask } };
  });
  const [one, two] = await Promise.all(
    [plain, padded].map(async (samples) => pruned(opened, await feedsDataset(samples, input))),
  );
  const name = 'encoder.layer.1.output.dense.weight';
  expect(await two.again.checkpoint.read(name)).toEqual(await one.again.checkpoint.read(name));
  const untyped = await feedsDataset(
    plain.map(({ inputs: { input_ids } }) => ({ inputs: { input_ids } })),
    input,
  );
  const other = await pruned(opened, untyped);
  expect(await other.again.checkpoint.read(name)).not.toEqual(await one.again.checkpoint.read(name));
});

test('a mask that hides tokens inside a text is refused', async () => {
  const opened = await openTiny(BERT);
  const masked = sentences(4, [5]).map(({ inputs }) => ({
    inputs: { ...inputs, attention_mask: { dims: [5], data: Float32Array.of(1, 0, 1, 1, 1) } },
  }));
  const calibration = await feedsDataset(masked, inputOf(opened));
  await expect(pruned(opened, calibration)).rejects.toThrow(
    '"attention_mask" hides tokens before the last one',
  );
});

test('a classifier of images is measured by its labels, and its class token is what is corrected', async () => {
  const opened = await openTiny(VIT);
  const input = inputOf(opened);
  const calibration = await feedsDataset(images(40), input);
  const { report, again } = await pruned(opened, calibration);
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  expect(report.metric).toMatchObject({ name: 'accuracy', samples: 40 });
  expect(report.maxDifference).toBeLessThan(1e-4);
  let right = 0;
  for (const { inputs, label } of images(40)) {
    const scores = await loops(again, inputs);
    right += Number(scores.indexOf(Math.max(...scores)) === label);
  }
  expect(report.metric!.after).toBe(right / 40);
  const gain = 'vit.layernorm.weight';
  expect(await again.checkpoint.read(gain)).not.toEqual(await opened.checkpoint.read(gain));
});

test('what each half of a block adds is scaled, and both are fitted to what the block is to give', async () => {
  const opened = await openTiny(DINOV2);
  const input = inputOf(opened);
  const calibration = await feedsDataset(images(64), input);
  const [{ report, again }, self] = await Promise.all(
    (['residual', 'self'] as const).map((kind) =>
      pruned(opened, calibration, { target: { kind, blend: kind === 'self' ? 0 : 1 } }),
    ),
  );
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  expect(report.maxDifference).toBeLessThan(1e-4);
  expect(report.quality!.relativeError).toBeLessThan(0.95 * self.report.quality!.relativeError);
});

test.each([
  [
    'numbers for the ways between squares, in one table',
    ENCODERS['beit, numbers that all blocks share, no scales, its first token'],
  ],
  ['squares that are turned by where they are', DINOV3],
])('what depends on where squares are is in the smaller folder and its ONNX file: %s', async (_, config) => {
  const opened = await openTiny(config);
  const { report, again, files } = await pruned(opened, await feedsDataset(images(40), inputOf(opened)));
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  expect(report.maxDifference).toBeLessThan(1e-4);
  const [{ inputs }] = images(1);
  const loaded = await engine.load(new Uint8Array(await files.get('model.onnx')!.arrayBuffer()));
  const outputs = await loaded.run({ pixel_values: { ...inputs.pixel_values, dims: [1, 2, 15, 15] } });
  await loaded.release();
  const wanted = await loops(again, inputs);
  const found = Object.values(outputs)[0].data;
  expect(Math.max(...wanted.map((value, i) => Math.abs(value - found[i])))).toBeLessThan(1e-4);
});

test.each([
  ['clip', CLIP, 'image_embeds', 24],
  ['siglip', SIGLIP, 'pooler_output', 32],
])('%s: the tower of images is pruned, and that of texts stays', async (_, config, name, width) => {
  const weights = encoderWeights(config);
  const text = { shape: [20], data: Float32Array.from({ length: 20 }, (_, i) => Math.sin(i)) };
  weights.set('text_model.encoder.layers.0.mlp.fc1.bias', text);
  const opened = await folderOf(config, weights);
  const calibration = await feedsDataset(images(40), inputOf(opened));
  const { report, again, files } = await pruned(opened, calibration);
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  expect(report.metric).toBeUndefined();
  expect(report.quality!.relativeError).toBeGreaterThan(0);
  expect(await again.checkpoint.read('text_model.encoder.layers.0.mlp.fc1.bias')).toEqual(text.data);
  const [{ inputs }] = images(1);
  const onnx = files.get('model.onnx')!;
  const loaded = await engine.load(new Uint8Array(await onnx.arrayBuffer()));
  const { [name]: embedding } = await loaded.run({
    pixel_values: { ...inputs.pixel_values, dims: [1, 2, 15, 15] },
  });
  await loaded.release();
  const wanted = await loops(again, inputs);
  expect(wanted).toHaveLength(width);
  expect(Math.max(...wanted.map((value, i) => Math.abs(value - embedding.data[i])))).toBeLessThan(1e-4);

  const output = memoryOutput('for-js');
  const how = { engine, session, calibration, keep: 0.5, method: 'magnitude', output } as const;
  await prune(opened, { ...how, onnx: 'transformers.js' });
  const graphs = [...output.files().keys()].filter((file) => file.endsWith('.onnx'));
  expect(graphs.sort()).toEqual(['onnx/vision_model.onnx', 'onnx/vision_model_fp16.onnx']);
});

test('features are measured by how near they stay, whatever labels their images have', async () => {
  const opened = await openTiny({ ...VIT, architectures: ['ViTModel'] });
  const calibration = await feedsDataset(images(40), inputOf(opened));
  const warned: string[] = [];
  const { report } = await pruned(opened, calibration, { onWarning: ({ text }) => warned.push(text) });
  expect(report.metric).toBeUndefined();
  expect(report.quality!.relativeError).toBeGreaterThan(0);
  expect(warned).toEqual([]);
  expect(await evaluate(opened, calibration, { engine })).toBeUndefined();
});

test('the encoder of a speech model is pruned, and its decoder stays', async () => {
  const opened = await openTiny(WHISPER);
  const input = inputOf(opened);
  expect(input).toMatchObject({ name: 'input_features', shape: [5, 18] });
  const next = random(8);
  const sounds = Array.from({ length: 40 }, () => ({
    inputs: {
      input_features: { dims: [5, 18], data: Float32Array.from({ length: 90 }, () => 2 * next() - 1) },
    },
  }));
  const { report, again, files } = await pruned(opened, await feedsDataset(sounds, input));
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  expect(report.maxDifference).toBeLessThan(1e-4);
  expect([...again.checkpoint.tensors.keys()]).toEqual([...opened.checkpoint.tensors.keys()]);
  const { inputs } = sounds[0];
  const session = await engine.load(new Uint8Array(await files.get('model.onnx')!.arrayBuffer()));
  const { last_hidden_state: features } = await session.run({
    input_features: { ...inputs.input_features, dims: [1, 5, 18] },
  });
  await session.release();
  const wanted = await loops(again, inputs);
  expect(Math.max(...wanted.map((value, i) => Math.abs(value - features.data[i])))).toBeLessThan(1e-4);
  // two convolutions over 18 and 9 frames
  expect(opened.language.macsAround(9)).toBe(32 * 3 * (18 * 5 + 9 * 32));
});

test.each([
  ['as it is', {}],
  ['with adapters', { do_stable_layer_norm: true, adapter_attn_dim: 3 }],
])('the encoder of waveforms is pruned, of any length, by the scores of every token: %s', async (_, more) => {
  const config = { ...WAV2VEC2, architectures: ['Wav2Vec2ForCTC'], vocab_size: 7, ...more };
  const opened = await openTiny(config);
  const { language } = opened;
  const input = inputOf(opened);
  expect(input).toMatchObject({ name: 'input_values', shape: [0], open: [true] });
  const next = random(8);
  const waves = (count: number, lengths: readonly number[]) =>
    Array.from({ length: count }, (_, i) => {
      const length = lengths[i % lengths.length];
      const data = Float32Array.from({ length }, () => 2 * next() - 1);
      return { inputs: { input_values: { dims: [length], data } } };
    });
  const [calibration, evaluation] = await Promise.all(
    [waves(40, [90, 61]), waves(8, [75])].map((samples) => feedsDataset(samples, input)),
  );
  const { report, again, files } = await pruned(opened, calibration, { evaluation });
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  expect(report.maxDifference).toBeLessThan(1e-4);
  expect([...again.checkpoint.tensors.keys()]).toEqual([...opened.checkpoint.tensors.keys()]);
  const adapters = async ({ checkpoint }: OpenedLanguageModel) =>
    [...(await weightsOf(checkpoint))].filter(([name]) => name.includes('adapter'));
  const stay = await adapters(again);
  expect(stay).toHaveLength('adapter_attn_dim' in more ? 2 * 6 : 0);
  expect(stay).toEqual(await adapters(opened));
  const magnitude = await pruned(opened, calibration, { evaluation, method: 'magnitude', onnx: undefined });
  expect(report.quality!.relativeError).toBeLessThan(0.8 * magnitude.report.quality!.relativeError);
  const session = await engine.load(new Uint8Array(await files.get('model.onnx')!.arrayBuffer()));
  for (const { inputs } of waves(2, [90, 40])) {
    const { input_values: wave } = inputs;
    const { logits } = await session.run({ input_values: { ...wave, dims: [1, ...wave.dims] } });
    expect(logits.dims).toEqual([1, language.tokensOf(wave.dims), 7]);
    const wanted = await loops(again, inputs);
    expect(Math.max(...wanted.map((value, i) => Math.abs(value - logits.data[i])))).toBeLessThan(1e-4);
  }
  await session.release();

  // Convolutions to 29, 14 and 13 tokens, the map to features, those around, letters.
  const convolutions = 29 * 6 * 4 + 14 * 8 * 6 * 3 + 13 * 10 * 8 * 2;
  expect(language.macsAround(13)).toBe(convolutions + 13 * 32 * (10 + 16 * 4 + 7));
  // Of 89 samples the last is in none of these.
  expect([language.tokensOf([89]), language.tokensOf([88]), language.lengthOf(13)]).toEqual([13, 13, 88]);
  const short = await feedsDataset(waves(40, [90, 12]), input);
  await expect(pruned(opened, short)).rejects.toThrow(
    'waveforms of at least 16 samples expected for this wav2vec2, got [12]',
  );
});

test('what an image takes is counted: its patches, its tokens in the blocks, one of them in the classifier', async () => {
  const { language } = await openTiny(VIT);
  const [patches, classifier] = [9 * 32 * (2 * 4 * 4), 32 * 3];
  // maps with their biases and norms, as of language models; queries, keys and values have no bias
  const block = 4 * 32 * 32 + 32 + 2 * 32 * 20 + 20 + 32 + 4 * 32;
  const scores = 2 * 10 * 10 * 32;
  const tokens = language.tokensOf([2, 15, 15]);
  expect(sharesOf(language, tokens).all.macs).toBe(patches + 2 * (10 * block + scores) + classifier);
});

test('the last block of a classifier is fitted by the tokens that scores are made of, where samples suffice', async () => {
  const opened = await openTiny(VIT);
  const tokensGiven = async (model: OpenedLanguageModel, block: number, samples: number) => {
    const data = await feedsDataset(images(samples), inputOf(opened));
    const { opened: part } = await folderSubject(model)
      .chain(engine, data)
      .open(1 + block);
    return part!.info.shapes.get('hidden_out')![1];
  };
  // 32 inputs of the widest layer
  expect(await tokensGiven(opened, 1, 64)).toBe(1);
  expect(await tokensGiven(opened, 1, 63)).toBe(10);
  expect(await tokensGiven(opened, 0, 64)).toBe(10);
  expect(await tokensGiven(await openTiny({ ...VIT, architectures: ['ViTModel'] }), 1, 64)).toBe(10);
  const { report, again } = await pruned(opened, await feedsDataset(images(64), inputOf(opened)));
  expect(again.language.sizes).toEqual(Array(2).fill({ heads: 2, kvHeads: 2, ffn: 10 }));
  expect(report.maxDifference).toBeLessThan(1e-4);
});

test('a trained ViT keeps most of its accuracy at half its heads and neurons, and without a refit does not', async () => {
  const folder = await openFolder(join(import.meta.dirname, '../fixtures/fashion-vit'));
  const opened = await openLanguageModel(folder);
  const [calibration, evaluation] = [await fashion('calib', 256), await fashion('test', 250)];
  const how = { evaluation, onnx: undefined };
  const { report, again } = await pruned(opened, calibration, how);
  const magnitude = await pruned(opened, calibration, { ...how, method: 'magnitude' });
  await folder.close();
  expect(again.language.sizes).toEqual(Array(4).fill({ heads: 2, kvHeads: 2, ffn: 96 }));
  expect(report.metric!.before).toBeGreaterThan(0.65);
  expect(report.metric!.after).toBeGreaterThan(0.85 * report.metric!.before);
  expect(magnitude.report.metric!.after).toBeLessThan(0.6 * report.metric!.before);
});
