// A language model behind an embedding, as transformers.js has those that see images or hear: texts go through what lies beside the decoder.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type * as Library from '../../src/index.ts';
import type * as Pieces from '../../src/model.ts';
import { embeddedModel } from '../support/embedded.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { fixture, listing, osscar, refused, temporaryFolder } from './osscar.ts';

const built = (name: string) => import(new URL(`../../dist/${name}.js`, import.meta.url).href);
const { evaluate, inspect, plan, prune }: typeof Library = await built('node');
const { openEngine }: typeof Pieces = await built('model');

const SOURCE = fixture('opt-kjv');
const folder = temporaryFolder();
const path = (...names: string[]) => join(folder, ...names);
const text = path('test.txt');
writeFileSync(text, readFileSync(fixture('text/kjv-test.txt'), 'utf8').slice(0, 6000));
const TRAIN = fixture('text/kjv-train.txt');
const DECODER = 'decoder_model_merged.onnx';
/** What is written beside the decoder as it was read. */
const PARTS = [
  'embed_tokens.onnx',
  'embed_tokens_fp16.onnx',
  'vision_encoder.onnx',
  'vision_encoder.onnx_data',
];
const CONFIG = JSON.stringify({ model_type: 'idefics3', text_config: { max_position_embeddings: 32 } });

// One engine for all: to load another takes longer than what these do with it.
const engine = await openEngine({ threads: 1 });
const how = { threads: 1, engine } as const;
const fast = { ...how, samples: 8, target: 'residual', search: 'greedy', keep: 0.5 } as const;

const plain = await embeddedModel(SOURCE);
const wide = await embeddedModel(SOURCE, { withLists: true });

/** The model's folder. */
function written(name: string, { embedding, decoder }: typeof plain, others: readonly string[] = []): string {
  mkdirSync(path(name, 'onnx'), { recursive: true });
  writeFileSync(path(name, 'config.json'), CONFIG);
  writeFileSync(path(name, 'tokenizer.json'), readFileSync(join(SOURCE, 'tokenizer.json')));
  writeFileSync(path(name, 'onnx', 'embed_tokens.onnx'), embedding);
  writeFileSync(path(name, 'onnx', DECODER), decoder);
  for (const other of others) writeFileSync(path(name, 'onnx', other), 'another file');
  return path(name);
}

const model = written('model', plain, [...PARTS.slice(1), 'decoder_model_merged_q4.onnx']);
const whole = path('whole.onnx');
writeFileSync(whole, plain.whole);
for (const name of ['tokenizer.json', 'config.json'])
  writeFileSync(path(name), readFileSync(join(model, name)));

describe('a decoder behind an embedding', () => {
  test('is measured and pruned as the whole is', async () => {
    const values = [];
    for (const it of [model, join(model, 'onnx', DECODER), whole]) values.push(await evaluate(it, text, how));
    expect(values[0]).toEqual(values[1]);
    expect(values[0]).toMatchObject({ name: 'perplexity', seqlen: 32 });
    expect(values[0].value).toBeCloseTo(values[2].value, 4);

    const out = path('small');
    const data = { calibration: TRAIN, evaluation: text };
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    const { report } = await prune(model, { ...fast, ...data, output: out, onNote });
    expect(notes[0]).toBe(
      '"embed_tokens.onnx", "embed_tokens_fp16.onnx", "vision_encoder.onnx" stay as they are; an encoder is pruned as a file of its own',
    );
    const other = await prune(whole, { ...fast, ...data });
    expect(report.layers.map(({ kept }) => kept)).toEqual(other.report.layers.map(({ kept }) => kept));
    // Its scores are not made of the embedding's table, and are refitted, too.
    expect(report.metric!.after).toBeLessThan(other.report.metric!.after);
    expect(report.metric!.after).toBeGreaterThan(0.97 * other.report.metric!.after);
    expect((await evaluate(out, text, how)).value).toBe(report.metric!.after);
    expect(report.sample).toEqual([32, 128]);

    expect(listing(join(out, 'onnx'))).toEqual([DECODER, ...PARTS]);
    for (const part of PARTS)
      expect(
        readFileSync(join(out, 'onnx', part)).equals(readFileSync(join(model, 'onnx', part))),
        part,
      ).toBe(true);
    expect(readFileSync(join(out, 'config.json'), 'utf8')).toBe(CONFIG);
  });

  test('takes all that its embedding gives, of picked files, within a budget too', async () => {
    const place = written('wide', wide);
    const picked = ['config.json', 'tokenizer.json', `onnx/${DECODER}`, 'onnx/embed_tokens.onnx'].map(
      (name) => [name, new Uint8Array(readFileSync(join(place, name)))] as const,
    );
    const { value } = await evaluate(picked, text, how);
    const settings = {
      ...fast,
      keep: undefined,
      macs: 0.7,
      calibration: TRAIN,
      evaluation: text,
      effort: 'low',
    } as const;
    const { report, files } = await prune(picked, settings);
    expect([...files.keys()]).toEqual([DECODER]);
    expect(report.metric).toMatchObject({ name: 'perplexity', before: value });
    expect(report.metric!.after).toBeLessThan(2 * value);
    const planned = await plan(place, { ...settings, macs: undefined, effort: undefined, keep: 0.5 });
    expect(planned.parameters.before).toBe(report.parameters.before);
    const { file } = await inspect(place, { engine });
    expect(file!.structures.filter(({ prunable }) => prunable)).toHaveLength(8);
    expect(file!.input).toMatchObject({ name: 'inputs_embeds', shape: [32, 128] });
  });

  test('goes into a file, where one is named, and into no archive', async () => {
    const out = path('alone.onnx');
    const told = ['prune', model, '--calibrate', TRAIN, '--keep', '0.5', '--samples', '2', '--threads', '1'];
    const { code, stderr } = await osscar(...told, '--method', 'magnitude', '-o', out);
    expect([code, stderr.includes('stay as they are')]).toEqual([0, false]);
    expect(readFileSync(out).length).toBeLessThan(plain.decoder.length);
    await refused(
      [...told, '-o', path('small.zip')],
      `"${path('small.zip')}": a folder like "${model}" is written; give it another name`,
    );
    const table = path('pairs.tsv');
    writeFileSync(table, 'a\tb\n');
    await expect(evaluate(model, table, how)).rejects.toThrow(`"${table}": is a table; expected text`);
  });

  test('of which nothing is read without one', async () => {
    const alone = path(DECODER);
    writeFileSync(alone, plain.decoder);
    await expect(evaluate(alone, text, how)).rejects.toThrow(
      `"${text}": input "inputs_embeds" takes what an embedding makes of tokens; put its file (embed_tokens.onnx) beside the model, or give arrays of all inputs (.npz)`,
    );
  });

  test.each([
    [[20, 64], /embed_tokens\.onnx: it gives \[64\] for a token, and "inputs_embeds" takes 128/],
    [[20, 128], /token \d+ is outside the model's vocabulary of 20: it is of another tokenizer/],
  ])('that does not go with one of %j is refused', async (dims, message) => {
    const b = new OnnxBuilder();
    const ids = b.feed('input_ids', ['batch', 'tokens'], 'int64');
    b.output(b.node('Gather', [b.weight(dims, 1), ids]), 'anything');
    const place = written('other', { ...plain, embedding: b.build() });
    await expect(evaluate(place, text, how)).rejects.toThrow(message);
    rmSync(place, { recursive: true });
  });

  test('of one variant alone is that, with an embedding of its own type where there is one', async () => {
    const [q4, other] = ['decoder_model_merged_q4.onnx', 'embed_tokens_q4.onnx'];
    const place = written('variant', plain);
    const moved = (from: string, to: string) =>
      renameSync(join(place, 'onnx', from), join(place, 'onnx', to));
    moved(DECODER, q4);
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    const { value } = await evaluate(place, text, { ...how, onNote });
    moved('embed_tokens.onnx', other);
    writeFileSync(join(place, 'onnx', 'embed_tokens.onnx'), 'another one');
    expect((await evaluate(place, text, { ...how, onNote })).value).toBe(value);
    expect(notes).toEqual(
      ['embed_tokens.onnx', other].map((name) => `embedding: "${join(place, 'onnx', name)}"`),
    );
  });

  test('is said where it was found', async () => {
    const { stdout, stderr } = await osscar('eval', model, '--data', text, '--threads', '1');
    expect(stdout).toMatch(/^perplexity \d+\.\d+ on \d+ windows of 32 tokens\n$/);
    expect(stderr).toContain(`embedding: "${join(model, 'onnx', 'embed_tokens.onnx')}"`);
  });
});
