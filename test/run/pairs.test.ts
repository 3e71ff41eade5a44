// Pairs of what an encoder reads and what is said of it, as samples of the decoder: by the built library, with files on a disk.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import type * as Library from '../../src/index.ts';
import type * as Pieces from '../../src/model.ts';
import { sourceFeeds } from '../../src/run/pairs.ts';
import { placeOf } from '../../src/run/source.ts';
import { npy } from '../cli/models.ts';
import { fixture } from '../cli/osscar.ts';
import { type Feed, randomValue, run, type Value } from '../graph/running.ts';
import { calibrationImages } from '../runtimes/images.ts';
import { mergedDecoder, VOCABULARY, WIDTH } from '../support/merged.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { CONFIG, maskedDecoder, pairs, TOKENIZER, textEncoder, tsv, wordsOf } from '../support/pairs.ts';
import { wav } from '../support/wav.ts';

const built = (name: string) => import(new URL(`../../dist/${name}.js`, import.meta.url).href);
const { evaluate, plan, prune }: typeof Library = await built('node');
const { imageDataset, openEngine, parsePreprocessing }: typeof Pieces = await built('model');

const folder = mkdtempSync(join(tmpdir(), 'osscar-pairs-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const put = (name: string, content: Uint8Array | string) => {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
};

/** Waveforms become states, one for each 4 of their values. */
function soundEncoder(): Uint8Array {
  const b = new OnnxBuilder({ seed: 6 });
  const x = b.feed('input_values', ['batch', 'time'], 'float32');
  const frames = b.reshape(x, [0, -1, 4]);
  return b.output(b.node('MatMul', [frames, b.weight([4, WIDTH], 1)]), 'last_hidden_state').build();
}

const decoder = put('decoder_model_merged.onnx', maskedDecoder());
const encoder = put('encoder_model.onnx', textEncoder());
put('tokenizer.json', TOKENIZER);
put('config.json', CONFIG);

const nested = ({ dims, data }: { dims: readonly number[]; data: ArrayLike<number> }) =>
  Array.from({ length: dims[0] }, (_, i) => Array.from({ length: dims[1] }, (_, j) => data[i * dims[1] + j]));

/** The same samples as arrays: what the decoder reads, and what the encoder gives. */
async function arrays(
  feeds: (pair: (typeof pairs)[number], i: number) => Record<string, Feed>,
  model: Uint8Array,
) {
  const lines: string[] = [];
  for (const [i, pair] of pairs.entries()) {
    const { last_hidden_state: states } = await run(model, feeds(pair, i));
    const ids = pair.target.filter((id) => id !== 2);
    lines.push(
      JSON.stringify({
        input_ids: [1, ...ids],
        encoder_hidden_states: nested({ dims: states.dims.slice(1), data: states.data }),
      }),
    );
  }
  return put('arrays.jsonl', lines.join('\n'));
}

const textFeeds = ({ source }: (typeof pairs)[number]) => {
  const dims = [1, source.length];
  return {
    input_ids: { dims, data: BigInt64Array.from(source, BigInt) },
    attention_mask: { dims, data: BigInt64Array.from(source, () => 1n) },
  };
};
const quick = { threads: 1, simd: 'baseline', engine: await openEngine({ threads: 1 }) } as const;

describe('pairs', () => {
  test('of texts are what the encoder makes of all tokens of the one, and the other behind the first token', async () => {
    const expected = await evaluate(decoder, await arrays(textFeeds, textEncoder()), quick);
    expect(expected).toMatchObject({ name: 'perplexity', samples: 24 });
    const notes: string[] = [];
    const onNote = (text: string) => notes.push(text);
    expect(await evaluate(decoder, put('pairs.tsv', tsv(pairs)), { ...quick, onNote })).toEqual(expected);
    expect(notes).toContain(`encoder: "${encoder}"`);
    const lines = pairs.map((it) =>
      JSON.stringify({ source: wordsOf(it.source), target: wordsOf(it.target) }),
    );
    expect(await evaluate(decoder, put('pairs.jsonl', lines.join('\n')), quick)).toEqual(expected);
  });

  test('of texts are the same of a decoder with a branch for its cache', async () => {
    const merged = put('decoder_model.onnx', mergedDecoder());
    const expected = await evaluate(merged, await arrays(textFeeds, textEncoder()), quick);
    expect(await evaluate(merged, put('pairs.tsv', tsv(pairs)), quick)).toEqual(expected);
  });

  test('of files are what the encoder makes of these', async () => {
    const sound = (i: number) => randomValue([1, 8 + 4 * (i % 3)], i + 1);
    const expected = await evaluate(
      decoder,
      await arrays((_, i) => ({ input_values: sound(i) }), soundEncoder()),
      quick,
    );
    const rows = pairs.map(({ target }, i) => {
      const { dims, data } = sound(i);
      put(`sound${i}.npy`, npy(dims.slice(1), data));
      return `sound${i}.npy\t${wordsOf(target)}`;
    });
    const how = { ...quick, encoder: put('sound.onnx', soundEncoder()) };
    expect(await evaluate(decoder, put('sounds.tsv', rows.join('\r\n')), how)).toEqual(expected);
    // As a page has them, and a folder.
    const picked = (name: string) => new File([readFileSync(join(folder, name))], name);
    const sounds = pairs.map((_, i) => picked(`sound${i}.npy`));
    const tokenizer = ['tokenizer.json', 'config.json'].map(picked);
    const all = [picked('sounds.tsv'), ...sounds];
    expect(await evaluate(picked('decoder_model_merged.onnx'), all, { ...how, tokenizer })).toEqual(expected);
  });

  test('of WAV files and of images are what these become beside the encoder', async () => {
    const first = pairs.slice(0, 6);
    const both = async (encoder: string, files: readonly string[], of: readonly Value[]) => {
      const rows = (names: readonly string[]) =>
        first.map(({ target }, i) => `${names[i]}\t${wordsOf(target)}`).join('\n');
      const arrays = of.map(({ dims, data }, i) => {
        put(`of${i}.npy`, npy(dims, data));
        return `of${i}.npy`;
      });
      const how = { ...quick, encoder };
      const expected = await evaluate(decoder, put('arrays.tsv', rows(arrays)), how);
      expect(await evaluate(decoder, put('files.tsv', rows(files)), how)).toEqual(expected);
    };
    const speech = put('speech.onnx', soundEncoder());
    const steps = first.map((_, i) =>
      Int16Array.from({ length: 8 + 4 * (i % 3) }, (_, j) => 900 * i - 100 * j),
    );
    const recorded = steps.map((it, i) => put(`speech${i}.wav`, wav(it)));
    const waves = steps.map((it) => ({ dims: [it.length], data: Float32Array.from(it, (x) => x / 2 ** 15) }));
    await both(
      speech,
      recorded.map((path) => basename(path)),
      waves,
    );

    const b = new OnnxBuilder({ seed: 7 });
    const rows = b.reshape(b.feed('pixel_values', ['n', 1, 28, 28]), [0, 28, 28]);
    const seeing = b.output(b.node('MatMul', [rows, b.weight([28, WIDTH], 1)]), 'last_hidden_state').build();
    const told = { image_mean: [0.5], image_std: [0.25], do_rescale: true, rescale_factor: 1 / 255 };
    put('preprocessor_config.json', JSON.stringify(told));
    const images = calibrationImages(fixture(''))
      .slice(0, first.length)
      .map(({ name }) => ({ name, read: async () => readFileSync(fixture(name)) }));
    const prepared = parsePreprocessing({ mean: 0.5, std: 0.25 });
    const values: Value[] = [];
    for await (const { inputs } of imageDataset(images, prepared, [1, 28, 28]).batches(1))
      values.push({ dims: [1, 28, 28], data: inputs });
    const names = images.map(({ name }) => basename(name));
    for (const { name } of images) put(basename(name), readFileSync(fixture(name)));
    await both(put('seeing.onnx', seeing), names, values);
    rmSync(join(folder, 'preprocessor_config.json'));
    await expect(
      evaluate(decoder, put('none.tsv', 'none.png\tw3'), { ...quick, encoder: speech }),
    ).rejects.toThrow(
      'none.tsv line 1": there is no file "none.png" beside it, and what the model reads is no text',
    );
  });

  test('of arrays are samples of the encoder itself', async () => {
    const [one, other] = [Float32Array.of(1, 2), Float32Array.of(3, 4, 5)];
    const files = [
      ['said.tsv', Buffer.from('b.npy\tgood\na.npy\tmorning\n')],
      ['a.npy', npy([2], one)],
      ['b.npy', npy([3], other)],
    ] as const;
    const data = await placeOf(files as never, 'data');
    const feeds = await sourceFeeds(data.at('said.tsv'), { name: 'x' } as never);
    expect(await feeds!.draw(undefined, 0)).toEqual([
      { name: 'data/said.tsv line 1', inputs: { x: { dims: [3], data: other } } },
      { name: 'data/said.tsv line 2', inputs: { x: { dims: [2], data: one } } },
    ]);
    expect(await sourceFeeds(data, { name: 'x' } as never)).toBeUndefined();
    const b = new OnnxBuilder({ seed: 2 });
    const x = b.reshape(b.feed('input_values', ['batch', 'time'], 'float32'), [0, -1, 4]);
    const hidden = b.relu(b.node('MatMul', [x, b.weight([4, 8], 1)], {}, { channels: 8 }));
    const states = b.node('MatMul', [hidden, b.weight([8, WIDTH], 1)], {}, { channels: WIDTH });
    const hearing = new File([b.output(states).build() as Uint8Array<ArrayBuffer>], 'hearing.onnx');
    const rows = Array.from({ length: 12 }, (_, i) => {
      const { dims, data } = randomValue([8 + 4 * (i % 3)], i + 1);
      put(`heard${i}.npy`, npy(dims, data));
      return `heard${i}.npy\tw3`;
    });
    const calibration = put('heard.tsv', rows.join('\n'));
    const how = { ...quick, keep: 0.5, target: 'self', force: true } as const;
    expect((await prune(hearing, { ...how, calibration })).report.samples).toBe(12);
  });

  test('prune a decoder as arrays do, and say what that takes', async () => {
    const settings = {
      ...quick,
      keep: 0.5,
      samples: 20,
      target: 'self',
      search: 'greedy',
      force: true,
    } as const;
    const all = put('pairs.tsv', tsv(pairs));
    const { report, files } = await prune(decoder, { ...settings, calibration: all, evaluation: all });
    const same = await arrays(textFeeds, textEncoder());
    const { report: of } = await prune(decoder, { ...settings, calibration: same, evaluation: same });
    expect(report.layers.map(({ kept }) => kept)).toEqual(of.layers.map(({ kept }) => kept));
    expect(report.metric).toEqual(of.metric);
    expect([...files.keys()]).toEqual(['decoder_model_merged.onnx']);
    expect(report.parameters.after).toBeLessThan(report.parameters.before);
    const planned = await plan(decoder, { ...settings, calibration: all });
    expect(planned.parameters).toEqual(report.parameters);
  });

  test('have the texts that the encoder itself is pruned by, or those of classes', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const words = b.node('Gather', [
      b.weight([VOCABULARY, WIDTH], 1),
      b.feed('input_ids', ['n', 't'], 'int64'),
    ]);
    const mean = b.node('ReduceMean', [words], { axes: [1], keepdims: 0 }, { channels: WIDTH });
    const classifier = put('classifier.onnx', b.output(b.gemm(b.relu(b.gemm(mean, 16)), 3)).build());
    const short = { ...quick, seqlen: 8 };
    const settings = { ...short, keep: 0.5, target: 'self', search: 'greedy' } as const;
    const keptBy = async (name: string, content: string) => {
      const { report } = await prune(classifier, { ...settings, calibration: put(name, content) });
      return report.layers.map(({ kept }) => kept);
    };
    const texts = pairs.map(({ source }) => wordsOf(source));
    const alone = await keptBy('texts.txt', texts.join('\n'));
    expect(await keptBy('pairs.tsv', tsv(pairs))).toEqual(alone);
    const lines = pairs.map(({ target }, i) => JSON.stringify({ source: texts[i], target: wordsOf(target) }));
    expect(await keptBy('pairs.jsonl', lines.join('\n'))).toEqual(alone);

    const classes = texts.map((text, i) => ({ text, label: i % 3 }));
    const expected = await evaluate(
      classifier,
      put('classes.jsonl', classes.map((it) => JSON.stringify(it)).join('\n')),
      short,
    );
    expect(expected).toMatchObject({ name: 'accuracy', samples: 24 });
    const rows = ['sentence\tlabel', ...classes.map(({ text, label }) => `${text}\t${label}`)];
    expect(await evaluate(classifier, put('classes.tsv', rows.join('\n')), short)).toEqual(expected);
  });

  test('are cut to the tokens of a window', async () => {
    const long = put('long.tsv', `${wordsOf([5, 6, 7, 8, 9])}\t${wordsOf([3, 4, 5, 6, 7, 8])}\n`);
    const short = put('short.tsv', `${wordsOf([5, 6, 7, 9])}\t${wordsOf([3, 4, 5])}\n`);
    const cut = await evaluate(decoder, long, { ...quick, seqlen: 4 });
    expect(cut.value).toBe((await evaluate(decoder, short, { ...quick, seqlen: 4 })).value);
    expect(cut.value).not.toBe((await evaluate(decoder, long, quick)).value);
  });

  test.each([
    [
      'a.tsv',
      'w3 w4',
      /a.tsv" line 1: expected two columns with a tab in between, none of them empty, got "w3 w4"$/,
    ],
    ['b.tsv', 'w3\tw4\nw3\tw4\tw5', /b.tsv" line 2: .* got "w3.tw4.tw5"$/],
    ['c.tsv', 'w3\t ', /c.tsv" line 1: .* none of them empty/],
    [
      'd.jsonl',
      '{"source": "w3", "text": "w4"}',
      /d.jsonl" line 1: .*"target", got an object with "source", "text"$/,
    ],
    ['e.txt', 'w3 w4', /e.txt": input "encoder_hidden_states" is what an encoder gives; expected pairs/],
  ])('are told from what is none: %s', async (name, content, message) => {
    await expect(evaluate(decoder, put(name, content), quick)).rejects.toThrow(message);
  });

  test('say what is missing beside them', async () => {
    const all = put('pairs.tsv', tsv(pairs));
    const other = mkdtempSync(join(folder, 'other-'));
    const alone = join(other, 'decoder_model_merged.onnx');
    writeFileSync(alone, maskedDecoder());
    await expect(evaluate(alone, all, quick)).rejects.toThrow(
      'there is no "encoder_model.onnx" beside the decoder; name its ONNX file (`encoder`)',
    );
    const tokenizer = join(folder, 'tokenizer.json');
    await expect(evaluate(alone, all, { ...quick, encoder, tokenizer })).rejects.toThrow(
      /no config.json beside it, or beside the tokenizer, says what it begins with/,
    );
    const expected = await evaluate(decoder, all, quick);
    expect(await evaluate(alone, all, { ...quick, encoder, tokenizer: folder })).toEqual(expected);
    await expect(evaluate(encoder, all, { ...quick, encoder })).rejects.toThrow(
      'encoder_model.onnx: it has no input for what an encoder gives (encoder_hidden_states); give each file by itself, without `encoder`',
    );
    const image = new OnnxBuilder();
    const onlyThree = put('three.onnx', image.output(image.relu(image.feed('x', [1, 3]))).build());
    put('two.npy', npy([2], Float32Array.of(1, 2)));
    await expect(
      evaluate(decoder, put('two.tsv', 'two.npy\tw3'), { ...quick, encoder: onlyThree }),
    ).rejects.toThrow(/^three.onnx: engine: .*(dimensions|shape)/i);
    const sounds = { ...quick, engine: 'web', encoder: put('sound.onnx', soundEncoder()) } as const;
    await expect(evaluate(decoder, all, sounds)).rejects.toThrow(
      'pairs.tsv line 1": there is no file "w3 w6" beside it, and what the model reads is no text',
    );
  });
});
