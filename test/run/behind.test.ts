// A folder of safetensors that has an encoder and a decoder, pruned in one run by pairs: by the built library, with a network that was trained.

import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { type Folder, openCheckpoint } from '../../src/checkpoint/index.ts';
import { openFolder } from '../../src/disk/folder.ts';
import type * as Library from '../../src/index.ts';
import type * as Pieces from '../../src/model.ts';
import { decoderWeights, T5 } from '../architectures/decoders.ts';
import { encoderWeights, WHISPER } from '../architectures/encoders.ts';
import { MOONSHINE } from '../architectures/moonshine.ts';
import { WRITERS } from '../architectures/writers.ts';
import { npy } from '../cli/models.ts';
import { fixture, osscar } from '../cli/osscar.ts';
import { filesOf } from '../pipeline/fixtures.ts';
import { once } from '../support/once.ts';
import { TOKENIZER } from '../support/pairs.ts';
import { randomArray } from '../support/random.ts';
import { wav } from '../support/wav.ts';

const built = (name: string) => import(new URL(`../../dist/${name}.js`, import.meta.url).href);
const { evaluate, inspect, plan, prune }: typeof Library = await built('node');
const { openEngine, openLanguageModel }: typeof Pieces = await built('model');

const folder = mkdtempSync(join(tmpdir(), 'osscar-behind-'));
const opened: Folder[] = [];
afterAll(async () => {
  for (const it of opened) await it.close();
  rmSync(folder, { recursive: true, force: true });
});
const model = fixture('bart-kjv');
const [calibration, all] = ['calib.tsv', 'test.tsv'].map((name) => join(model, name));
/** Enough to tell methods apart, in a sixth of the time. */
const held = join(folder, 'held.tsv');
writeFileSync(held, readFileSync(all, 'utf8').split('\n').slice(0, 50).join('\n'));
const quick = { threads: 1, simd: 'baseline', engine: await openEngine({ threads: 1 }) } as const;
const HOW = { ...quick, calibration, samples: 32, producers: false, target: 'residual' } as const;

const pruned = async (name: string, settings: object) => {
  const output = join(folder, name);
  const { report } = await prune(model, { ...HOW, keep: 0.5, ...settings, output });
  return { output, report, perplexity: (await evaluate(output, held, quick)).value };
};
/** What is read beside ONNX files. */
const BESIDE = ['config.json', 'tokenizer.json', 'tokenizer_config.json'];
const json = (...path: string[]) => JSON.parse(readFileSync(join(...path), 'utf8'));
const half = once(() => pruned('half', {}));

test('the decoder is measured behind the encoder of its folder', async () => {
  const { name, value, samples } = await evaluate(model, all, quick);
  expect({ name, samples }).toEqual({ name: 'perplexity', samples: 300 });
  expect(value).toBeCloseTo(1.316, 2);
});

describe('by pairs', () => {
  test('both are pruned, and keep far more than by magnitude', async () => {
    const { report, perplexity } = await half();
    const { perplexity: other } = await pruned('magnitude', {
      method: 'magnitude',
      target: undefined,
      producers: undefined,
    });
    expect(perplexity).toBeLessThan(2.7);
    expect(other).toBeGreaterThan(20);
    expect(report.metric!.before).toBeCloseTo(1.1, 1); // of the dense network
    expect(report.encoder!.layers.map(({ name }) => name).sort()).toEqual([
      '0.heads',
      '0.mlp',
      '1.heads',
      '1.mlp',
    ]);
    expect(report.layers.map(({ name }) => name).sort()).toEqual([
      ...['0.cross', '0.heads', '0.mlp', '1.cross', '1.heads', '1.mlp'],
    ]);
    const [dense, after] = await Promise.all([model, join(folder, 'half')].map(valuesIn));
    expect(report.parameters).toEqual({ before: dense, after });
    expect(report.settings.model).toBe(model);
  });

  test('osscar.json says the sizes of both, and what is pruned again begins with these', async () => {
    const { output } = await half();
    const heads = { heads: 3, kvHeads: 3 };
    expect(json(output, 'osscar.json')).toEqual({
      blocks: [0, 1].map(() => ({ ...heads, ffn: 192 })),
      decoder: { blocks: [0, 1].map(() => ({ ...heads, ffn: 192, cross: heads })) },
    });
    const again = await prune(output, { ...HOW, keep: { heads: 1, channels: 0.5 } });
    expect(again.report.sizes!.map(({ ffn, cross }) => [ffn, cross!.heads])).toEqual([
      [96, 3],
      [96, 3],
    ]);
    expect(again.report.encoder!.sizes!.map(({ ffn }) => ffn)).toEqual([96, 96]);
  });

  test('config.json says fewer neurons of both, and heads stay', async () => {
    const { output, report } = await pruned('loadable', { loadable: true });
    expect(json(output, 'config.json')).toMatchObject({
      encoder_ffn_dim: 192,
      decoder_ffn_dim: 192,
      decoder_attention_heads: 6,
    });
    expect(existsSync(join(output, 'osscar.json'))).toBe(false);
    expect(report.isLoadable).toBe(true);
  });

  test('both are written as ONNX files too, which give the same', async () => {
    const { output, perplexity } = await pruned('onnx', { format: 'onnx', heads: 'narrow', weights: 'int8' });
    const beside = join(folder, 'alone', 'onnx'); // a name that says nothing of what lies above
    for (const name of ['encoder_model.onnx', 'decoder_model_merged.onnx', ...BESIDE])
      cpSync(join(output, name), join(beside, name));
    // What decoders begin with may still be said above, where config.json does not.
    const { decoder_start_token_id, eos_token_id, ...config } = json(beside, 'config.json');
    writeFileSync(join(beside, 'config.json'), JSON.stringify(config));
    writeFileSync(
      join(folder, 'alone', 'generation_config.json'),
      JSON.stringify({ decoder_start_token_id, eos_token_id }),
    );
    const { value } = await evaluate(beside, held, quick);
    expect(Math.abs(value / perplexity - 1)).toBeLessThan(0.02);
    expect((await inspect(beside)).file!.stored).toBe('int8');
  });

  test('both are written as transformers.js loads them, in sizes that config.json says', async () => {
    const { output, perplexity } = await pruned('js', { format: 'transformers.js', weights: 'q8' });
    const names = ['decoder_model_merged', 'encoder_model'];
    expect(readdirSync(join(output, 'onnx')).sort()).toEqual(
      names.flatMap((name) => ['', '_fp16', '_quantized'].map((type) => `${name}${type}.onnx`)),
    );
    const config = json(output, 'config.json');
    expect(config).toMatchObject({ decoder_ffn_dim: 192, 'transformers.js_config': { dtype: 'q8' } });
    expect(existsSync(join(output, 'osscar.json'))).toBe(false);
    for (const [type, most] of [
      ['', 1e-4],
      ['_quantized', 0.02],
    ] as const) {
      const files = join(folder, `files${type}`);
      for (const name of BESIDE) cpSync(join(output, name), join(files, name));
      for (const name of names)
        cpSync(join(output, 'onnx', `${name}${type}.onnx`), join(files, `${name}.onnx`));
      const { value } = await evaluate(files, held, quick);
      expect(Math.abs(value / perplexity - 1)).toBeLessThan(most);
    }
    // What is pruned again is found among them.
    const again = await pruned('again', { format: 'transformers.js', loadable: false, samples: 16 });
    expect(json(again.output, 'config.json')['transformers.js_config']).toEqual({ dtype: 'fp32' });
  });

  test('a budget is divided in each of them', async () => {
    const { report, perplexity } = await pruned('budget', {
      keep: undefined,
      params: 0.6,
      samples: 32,
      effort: 'low',
    });
    for (const { allocation } of [report, report.encoder!])
      expect(allocation!.after / allocation!.before).toBeLessThan(0.6);
    expect(perplexity).toBeLessThan(4);
  });

  test('what was left of the distance after pruning becomes less', async () => {
    const { perplexity, report } = await pruned('distilled', { distill: 4 });
    expect(report.distilled!.left).toBeLessThan(1);
    expect(perplexity).toBeLessThan((await half()).perplexity);
  });

  test('a run that was stopped goes on to the same bytes', async () => {
    const work = join(folder, 'work');
    const bytes = async (name: string) =>
      readFileSync(join((await pruned(name, { work })).output, 'model.safetensors'));
    const first = await bytes('first');
    expect(first.equals(readFileSync(join((await half()).output, 'model.safetensors')))).toBe(true);
    expect((await bytes('second')).equals(first)).toBe(true);
  });

  test('the encoder is not called written: that is the folder, once', async () => {
    const { report } = await half();
    const saved = join(folder, 'report.json');
    writeFileSync(saved, JSON.stringify(report));
    const { stdout } = await osscar('report', saved);
    expect(stdout.match(/^.*(?<= in) [\d.]+ s$/gm)).toEqual([
      expect.stringMatching(/^pruned in /),
      `${report.model.path} written in ${report.seconds.toFixed(1)} s`,
    ]);
  });

  test('a plan is of both', async () => {
    const { encoder, parameters, statement } = await plan(model, { ...HOW, keep: 0.5 });
    // What reads the folder is said of it as a whole.
    const { report } = await half();
    expect([statement, encoder!.statement]).toEqual([report.statement, report.encoder!.statement]);
    expect([encoder!.statement, report.encoder!.isLoadable]).toEqual([undefined, undefined]);
    expect(statement).toContain('only osscar');
    expect(encoder!.parameters.before).toBe(334_656);
    expect(parameters.before).toBe(409_536);
    expect(parameters.after).toBeLessThan(0.7 * parameters.before);
  });

  test.each([
    ['latency', { keep: undefined, latency: 0.5 }, '`latency`: is of one model, and "'],
    ['encoder', { encoder: model }, '`encoder`: is of one model, and "'],
    [
      'a size in numbers',
      { keep: undefined, params: 100_000 },
      'has an encoder and a decoder, which pairs are of; give a fraction',
    ],
  ])('%s is refused before the work', async (_, settings, message) => {
    const steps: string[] = [];
    const onProgress = ({ label }: { label: string }) => steps.push(label);
    await expect(pruned('refused', { ...settings, onProgress })).rejects.toThrow(message);
    expect(steps).toEqual([]);
    expect(existsSync(join(folder, 'refused'))).toBe(false);
  });
});

const HEARING = {
  ...WHISPER,
  ...{ decoder_ffn_dim: 20, decoder_layers: 2, decoder_attention_heads: 4, max_target_positions: 24 },
  ...{ vocab_size: 40, decoder_start_token_id: 1, eos_token_id: 2 },
};
/** As transformers 5 has it, what generating begins with is in a file of its own. */
const GENERATION = JSON.stringify({ decoder_start_token_id: 1, eos_token_id: [2] });

const PREPARED = {
  feature_extractor_type: 'Wav2Vec2FeatureExtractor',
  sampling_rate: 16000,
  do_normalize: false,
};
const arrays = (...dims: number[]) => {
  const values = dims.reduce((a, b) => a * b);
  return (i: number) => ['npy', npy(dims, Float32Array.from(randomArray(values, i + 1)))] as const;
};
/** Each of its own length. */
const recording = (i: number) =>
  ['wav', wav(Int16Array.from(randomArray(3000 + 400 * (i % 3), i + 1), (value) => 9000 * value))] as const;

test.each([
  ['sounds', HEARING, {}, arrays(5, 18)],
  ['images', WRITERS['gpt2, captions'], { 'generation_config.json': GENERATION }, arrays(2, 15, 15)],
  [
    'waves',
    MOONSHINE,
    { 'generation_config.json': GENERATION, 'preprocessor_config.json': JSON.stringify(PREPARED) },
    recording,
  ],
])('what an encoder of %s reads are files that pairs name', async (name, config, others, source) => {
  const weights = new Map([...encoderWeights(config), ...decoderWeights(config)]);
  const beside = { 'tokenizer.json': TOKENIZER, ...others };
  const files = [
    ...(await filesOf(config, weights)),
    ...Object.entries(beside).map(([name, content]) => [name, new Blob([content])] as const),
  ];
  const sources = Array.from({ length: 8 }, (_, i) => {
    const [type, content] = source(i);
    return [`${name}${i}.${type}`, content] as const;
  });
  const rows = sources.map(
    ([name], i) =>
      `${name}\t${Array.from({ length: 4 + (i % 3) }, (_, j) => `w${3 + ((i * 5 + j) % 17)}`).join(' ')}`,
  );
  const table = join(folder, `${name}.tsv`);
  writeFileSync(table, rows.join('\n'));
  for (const [name, content] of sources) writeFileSync(join(folder, name), content);
  const notes: string[] = [];
  const { report, files: smaller } = await prune(files, {
    ...HOW,
    calibration: table,
    keep: 0.5,
    force: true, // nobody has trained it
    onNote: (text) => notes.push(text),
  });
  // What it is measured on was looked at before its encoder was pruned.
  const doubts = notes.filter((text) => text.includes('guessing among the vocabulary'));
  expect(doubts).toEqual([
    expect.stringContaining('is the tokenizer'),
    expect.stringMatching(
      /^warning: behind the smaller encoder, .*: too little of the encoder is left \(`keep`\)$/,
    ),
  ]);
  expect(
    [report.encoder!.sizes, report.sizes].map((sizes) =>
      sizes!.map(({ heads, ffn, cross }) => [heads, ffn, cross?.heads]),
    ),
  ).toEqual([[0, 1].map(() => [2, 10, undefined]), [0, 1].map(() => [2, 10, 2])]);
  const { value, samples } = await evaluate([...smaller], table, quick);
  expect(samples).toBe(8);
  expect(value).toBeCloseTo(report.metric!.after, 4);
});

describe('of T5, which has one field for the neurons of both', () => {
  const config = { ...T5, num_layers: 2, decoder_start_token_id: 1, eos_token_id: 2 };
  const weights = new Map([...encoderWeights(config), ...decoderWeights(config)]);
  const files = once(async () => [
    ...(await filesOf(config, weights)),
    ['tokenizer.json', new Blob([TOKENIZER])] as const,
  ]);
  const words = (count: number, from: number) =>
    Array.from({ length: count }, (_, j) => `w${3 + ((from * 5 + j * 3) % 17)}`).join(' ');
  const texts = Array.from({ length: 8 }, (_, i) => [words(3 + (i % 4), i + 2), words(4 + (i % 3), i)]);
  const told = { ...HOW, calibration: join(folder, 't5.tsv'), force: true, loadable: true };
  writeFileSync(told.calibration, texts.map((pair) => pair.join('\t')).join('\n'));

  test('config.json says fewer of both, and stock loaders read it', async () => {
    const { report, files: smaller } = await prune(await files(), { ...told, keep: 0.5 });
    expect(report.isLoadable).toBe(true);
    expect(JSON.parse(await smaller.get('config.json')!.text())).toMatchObject({ d_ff: 10, num_heads: 4 });
    expect(smaller.has('osscar.json')).toBe(false);
    expect(report.statement).toMatch(/^config.json says the sizes; stock/);
    expect((await plan(await files(), { ...told, keep: 0.5 })).statement).toBe(report.statement);
    const { value } = await evaluate([...smaller], told.calibration, quick);
    expect(value).toBeCloseTo(report.metric!.after, 4);
  });

  test('what would give them others is refused before the work', async () => {
    const steps: string[] = [];
    const onProgress = ({ label }: { label: string }) => steps.push(label);
    await expect(prune(await files(), { ...told, params: 0.5, onProgress })).rejects.toThrow(
      'config.json says the neurons of both parts by "d_ff", and a budget is divided in each of them; give `keep`',
    );
    const calibration = join(folder, 't5.txt');
    writeFileSync(calibration, texts.map(([text]) => text).join('\n'));
    const alone = { ...told, calibration, keep: 0.5, onProgress };
    await expect(prune(await files(), alone)).rejects.toThrow(
      'config.json has one field for both, "d_ff"; calibrate by pairs',
    );
    const js = { ...alone, format: 'transformers.js', loadable: false } as const;
    await expect(prune(await files(), js)).rejects.toThrow(
      'transformers.js runs the decoder too; calibrate by pairs',
    );
    expect(steps).toEqual([]);
  });
});

test('by texts the encoder is pruned alone, also within a budget where they differ in length', async () => {
  const texts = join(folder, 'texts.txt');
  const lines = readFileSync(calibration, 'utf8').split('\n').slice(0, 40);
  writeFileSync(texts, lines.map((line) => line.split('\t')[0]).join('\n'));
  const notes: string[] = [];
  const onNote = (text: string) => notes.push(text);
  const how = { calibration: texts, keep: undefined, params: 0.7, effort: 'low', onNote };
  const { report, output } = await pruned('encoder', how);
  expect(notes).toContain(
    'the decoder stays as it is: pairs of what its encoder reads and what is said of it (.tsv) are of both',
  );
  expect(report.encoder).toBeUndefined();
  expect(report.allocation!.after / report.allocation!.before).toBeLessThan(0.7);
  const [before, after] = await Promise.all([model, output].map(tensorsOf));
  const name = 'model.decoder.layers.1.fc1.weight';
  expect(await after.readRaw(name)).toEqual(await before.readRaw(name));
  expect(after.tensors.get('model.encoder.layers.1.fc1.weight')!.shape[0]).toBeLessThan(384);
});

test('a folder without one has no decoder to open', async () => {
  await expect(openLanguageModel(await openFolder(fixture('opt-kjv')), { part: 'decoder' })).rejects.toThrow(
    'config.json: model_type "opt": there is no decoder behind it that is known',
  );
});

test('inspect says what can be pruned of either', async () => {
  const { folder: decoder, encoder } = await inspect(model);
  expect([...decoder!.structures.keys()].sort()).toEqual([
    ...['0.cross', '0.heads', '0.mlp', '1.cross', '1.heads', '1.mlp'],
  ]);
  expect([...encoder!.folder!.structures.keys()].sort()).toEqual(['0.heads', '0.mlp', '1.heads', '1.mlp']);
});

async function tensorsOf(path: string) {
  const folder = await openFolder(path);
  opened.push(folder);
  return openCheckpoint(folder);
}

async function valuesIn(path: string): Promise<number> {
  const { tensors } = await tensorsOf(path);
  return [...tensors.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
}
