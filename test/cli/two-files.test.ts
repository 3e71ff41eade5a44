// A model in two ONNX files, as Optimum exports translators and recognisers for transformers.js: one command for both.

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type * as Library from '../../src/index.ts';
import type * as Pieces from '../../src/model.ts';
import { CONFIG, maskedDecoder, pairs, TOKENIZER, textEncoder, tsv } from '../support/pairs.ts';
import { listing, osscar, osscarJson, refused, temporaryFolder } from './osscar.ts';

const built = (name: string) => import(new URL(`../../dist/${name}.js`, import.meta.url).href);
const { evaluate, inspect, plan, prune }: typeof Library = await built('node');
const { openEngine }: typeof Pieces = await built('model');

const folder = temporaryFolder();
const path = (...names: string[]) => join(folder, ...names);
const model = path('model');
const FILES = ['decoder_model_merged.onnx', 'encoder_model.onnx'];

mkdirSync(join(model, 'onnx'), { recursive: true });
const put = (name: string, content: Uint8Array | string) => writeFileSync(join(model, name), content);
put('config.json', CONFIG);
put('tokenizer.json', TOKENIZER);
put('README.md', '---\nlicense: mit\npipeline_tag: translation\n---\n');
put('onnx/encoder_model.onnx', textEncoder(24));
put('onnx/decoder_model_merged.onnx', maskedDecoder());
// As other forms of it are beside it, which are left out.
for (const name of ['encoder_model_fp16', 'decoder_model', 'decoder_with_past_model'])
  put(`onnx/${name}.onnx`, 'another form');

const calib = path('calib.tsv');
writeFileSync(calib, tsv(pairs.slice(0, 16)));
const test_ = path('test.tsv');
writeFileSync(test_, tsv(pairs.slice(16)));

// One engine for all: to load another takes longer than what these do with it.
const engine = await openEngine({ threads: 1 });
const how = { threads: 1, seqlen: 16, target: 'self', search: 'greedy', force: true, engine } as const;
const data = { calibration: calib, evaluation: test_ };

describe('a folder of an encoder and a decoder', () => {
  test('is pruned as the two are one after the other, into a folder like it', async () => {
    const out = path('small');
    const page = path('page.html');
    const told = { ...how, ...data, keep: 0.5 };
    const { report } = await prune(model, { ...told, output: out, work: path('work') });
    const encoder = await prune(join(model, 'onnx', FILES[1]), told);
    const given = path('given.onnx');
    writeFileSync(given, new Uint8Array(await encoder.files.get(FILES[1])!.arrayBuffer()));
    const decoder = await prune(join(model, 'onnx', FILES[0]), { ...told, encoder: given });
    for (const { files } of [encoder, decoder]) {
      for (const [name, content] of files) {
        const bytes = Buffer.from(await content.arrayBuffer());
        expect(readFileSync(join(out, 'onnx', name)).equals(bytes), name).toBe(true);
      }
    }
    expect(listing(join(out, 'onnx'))).toEqual(FILES);
    expect(readFileSync(join(out, 'tokenizer.json'), 'utf8')).toBe(TOKENIZER);
    expect(report.model.path).toBe(join(out, 'onnx', FILES[0]));
    const { parameters } = report.encoder!;
    expect(parameters).toEqual(encoder.report.parameters);
    expect(parameters.after).toBeLessThan(parameters.before);
    expect(report.layers.map(({ kept }) => kept)).toEqual(decoder.report.layers.map(({ kept }) => kept));
    // Before, both are dense; in the run of the decoder alone its encoder is small already.
    const values = [
      await evaluate(model, test_, { threads: 1, engine }),
      await evaluate(out, test_, { threads: 1, engine }),
    ];
    expect(report.metric).toMatchObject({ before: values[0].value, after: values[1].value, samples: 8 });
    expect(decoder.report.metric!.before).not.toBe(report.metric!.before);

    const card = readFileSync(join(out, 'README.md'), 'utf8');
    expect(card).toContain('pipeline_tag: translation');
    expect(card).toContain(`| parameters of the encoder | ${parameters.before} |`);
    const saved = path('small.json');
    writeFileSync(saved, JSON.stringify(report));
    const { stdout } = await osscar('report', saved, '--report', page);
    expect(readFileSync(page, 'utf8')).toContain('Before and after, of the encoder');
    expect(stdout).toMatch(
      /^encoder: osscar, keep 0.5, 1 structure, .*\n(.*\n)*\ndecoder: osscar, keep 0.5, /,
    );
    expect(existsSync(path('work', 'encoder'))).toBe(true);
  });

  test('is told of as both, where files are picked as well', async () => {
    const settings = { ...how, calibration: new File([tsv(pairs)], 'pairs.tsv'), keep: 0.5 };
    // Weights are random: that is said before either is pruned.
    const onProgress = () => expect.unreachable();
    await expect(prune(model, { ...settings, force: false, onProgress })).rejects.toThrow(
      /^dense perplexity is .*: is the tokenizer \(`tokenizer`\) the one .*\(`force: true` goes on\)$/,
    );
    const picked = ['config.json', 'tokenizer.json', ...FILES.map((name) => `onnx/${name}`)].map(
      (name) => [name, new Uint8Array(readFileSync(join(model, name)))] as const,
    );
    const steps: { label: string; overall: number }[] = [];
    const { report, files } = await prune(picked, { ...settings, onProgress: (step) => steps.push(step) });
    expect([...files.keys()].sort()).toEqual(FILES);
    expect(report.encoder!.metric).toBeUndefined();
    expect(steps.map(({ overall }) => overall)).toEqual(
      steps.map(({ overall }) => overall).sort((a, b) => a - b),
    );
    expect(new Set(steps.map(({ label }) => label.split(',')[0]))).toEqual(new Set(['encoder', 'decoder']));
    expect((await inspect(picked, { engine })).encoder!.parameters).toBe(report.encoder!.parameters.before);
    const planned = await plan(model, { ...how, ...data, keep: 0.5 });
    expect(planned.parameters).toEqual(report.parameters);
    expect(planned.encoder!.parameters).toEqual(report.encoder!.parameters);
  });

  test('is shown by inspect', async () => {
    const found = await osscarJson('inspect', model);
    expect(found).toMatchObject({ name: FILES[0], encoder: { name: FILES[1] } });
    expect(found.encoder.structures.map(({ groups }: { groups: number }) => groups)).toEqual([12, 24]);
  });

  test('of variants alone is that of these', async () => {
    const other = path('variants');
    mkdirSync(other);
    writeFileSync(join(other, 'encoder_model_q8.onnx'), textEncoder());
    writeFileSync(join(other, 'decoder_model_merged_q4.onnx'), maskedDecoder());
    for (const [name, content] of [
      ['config.json', CONFIG],
      ['tokenizer.json', TOKENIZER],
    ])
      writeFileSync(join(other, name), content);
    const { value } = await evaluate(other, test_, { threads: 1, engine });
    const plain = path('plain');
    mkdirSync(plain);
    writeFileSync(join(plain, 'encoder.onnx'), textEncoder());
    expect(value).toBe(
      (
        await evaluate(join(other, 'decoder_model_merged_q4.onnx'), test_, {
          threads: 1,
          engine,
          encoder: plain,
        })
      ).value,
    );
    rmSync(other, { recursive: true });
  });

  const run = ['prune', model, '--calibrate', calib, '-o', path('never')];
  const one = (what: string) =>
    `${what}: is of one file, and in "${model}" are two, encoder_model.onnx and decoder_model_merged.onnx; `;
  test.each<[string, readonly string[], string]>([
    ['a latency', ['--latency', '5ms'], `${one('--latency')}leave it out, or prune one after the other`],
    ['what may be lost', ['--max-loss', '1%'], one('--max-loss')],
    [
      'an amount',
      ['--bytes', '4kB'],
      `${one('--bytes')}give a fraction, as 0.5, or prune one after the other`,
    ],
    ['an encoder', ['--keep', '0.5', '--encoder', model], one('--encoder')],
    ['labels', ['--keep', '0.5', '--labels', calib], one('--labels')],
  ])('is not pruned by %s', async (_, flags, message) => {
    await refused([...run, ...flags], message);
  });

  test('is told from files that are called so, or are more', async () => {
    const images = path('images');
    mkdirSync(images);
    writeFileSync(join(images, 'encoder.onnx'), textEncoder());
    writeFileSync(join(images, 'decoder.onnx'), textEncoder());
    await refused(
      ['prune', images, '--calibrate', calib, '--keep', '0.5', '-o', path('never')],
      'decoder.onnx: it has no input for what an encoder gives (encoder_hidden_states); give each file by itself',
    );
    writeFileSync(join(images, 'joiner.onnx'), textEncoder());
    await refused(
      ['prune', images, '--calibrate', calib, '--keep', '0.5', '-o', path('never')],
      'several models (decoder.onnx, encoder.onnx, joiner.onnx); give the file',
    );
    await refused(['prune', model, '--keep', '0.5', '-o', path('never')], 'calibrat');
  });

  test('is no one file', async () => {
    await refused(
      ['latency', model],
      `"${model}": an encoder and a decoder (encoder_model.onnx, decoder_model_merged.onnx); give one of the files`,
    );
    const file = path('never.onnx');
    await refused(
      ['prune', model, '--calibrate', calib, '--keep', '0.5', '-o', file],
      `"${file}": a folder like "${model}" is written; give it another name`,
    );
    writeFileSync(path('text.txt'), 'w3 w4\n');
    await refused(
      ['prune', model, '--calibrate', path('text.txt'), '--keep', '0.5', '-o', path('never')],
      'is what an encoder gives; expected pairs of what that reads and what is said of it',
    );
    await expect(
      prune(model, { ...how, keep: 0.5, calibration: { batches: () => {}, shape: [1] } as never }),
    ).rejects.toThrow('`calibration`: is of one file');
  });
});
