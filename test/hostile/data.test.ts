// Calibration data and what lies beside them: what says one thing and is another.

import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import type * as Library from '../../src/index.ts';
import { limits } from '../../src/limits.ts';
import {
  arraySamples,
  decodeNpz,
  feedsDataset,
  type ModelInput,
  parsePreprocessing,
  parsePreprocessorConfig,
  preprocess,
} from '../../src/pipeline/index.ts';
import { readFeeds } from '../../src/run/arrays.ts';
import { readSideFiles } from '../../src/run/beside.ts';
import { openDataset } from '../../src/run/images.ts';
import { parseLabels } from '../../src/run/labels.ts';
import { placeOf } from '../../src/run/source.ts';
import { documentsOf, encodedFrom, sentenceSamples, textSamples } from '../../src/run/text.ts';
import { npy } from '../cli/models.ts';
import { fixture, MOBILENET } from '../cli/osscar.ts';
import { writeZip } from '../support/zip.ts';

const { evaluate, prune }: typeof Library = await import(new URL('../../dist/node.js', import.meta.url).href);

const utf8 = (text: string) => new TextEncoder().encode(text);

describe('an .npz', () => {
  test('is refused where a stored array is not what it was when it was written', async () => {
    const bytes = writeZip([{ name: 'x.npy', bytes: npy([100], new Float32Array(100)) }]);
    expect((await decodeNpz(bytes, 'in/a.npz')).size).toBe(1);
    bytes[300] ^= 1;
    const refused = decodeNpz(bytes, 'in/a.npz');
    await expect(refused).rejects.toBeInstanceOf(FormatError);
    await expect(refused).rejects.toThrow(/^"in\/a\.npz": "x\.npy" is damaged/);
  });

  test('is called by its own path where it is no archive', async () => {
    await expect(decodeNpz(utf8('PK and no more'), 'in/a.npz')).rejects.toThrow(/^"in\/a\.npz": broken zip/);
  });
});

test('labels beside arrays are one class number for each sample, and no rows of them', () => {
  const input = { name: 'x', shape: [3], others: [] } as unknown as ModelInput;
  const samples = (...labels: number[]) =>
    arraySamples(
      new Map([
        ['x', { shape: [2, 3], data: new Float32Array(6) }],
        ['labels', { shape: labels, data: Float32Array.from({ length: 2 * (labels[1] ?? 1) }, (_, i) => i) }],
      ]),
      input,
      'a.npz',
    );
  expect(Array.from(samples(2, 1), ({ label }) => label)).toEqual([0, 1]);
  expect(() => [...samples(2, 10)]).toThrow(
    '"a.npz": expected one class number for each sample in "labels", got shape [2, 10]',
  );
});

test('lines of labels end as on any system', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const rows = parseLabels(utf8(['a.png,1', 'b.png,2', ''].join(end)), 'a.csv');
    expect(rows.map(({ file, label }) => [file, label])).toEqual([
      ['a.png', 1],
      ['b.png', 2],
    ]);
  }
});

test('lines are told by their numbers, however many are empty', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const text = `${end.repeat(3)}a.png,1${end}${end}b.png,x${end}`;
    expect(() => parseLabels(utf8(text), 'a.csv')).toThrow('"a.csv" line 6: expected a class number');
    const lines = `${end}{"text": "a"}${end}${end}{}`;
    expect(() => [...documentsOf(lines, 'a.jsonl')]).toThrow('"a.jsonl" line 4: expected an object with');
  }
});

test('a file of nothing but line ends has no more lines than a list holds', () => {
  const ends = '\n'.repeat(2 ** 27);
  expect(parseLabels(utf8(ends), 'a.csv')).toEqual([]);
  expect([...documentsOf(ends, 'a.jsonl')]).toEqual([]);
});

test('more lines than there may be objects of are refused', () => {
  const before = limits.textLines;
  limits.textLines = 3;
  try {
    const message = '": more than 3 lines (limits.textLines); give a part of it';
    expect(parseLabels(utf8('a.png,1\n\n'.repeat(3)), 'a.csv')).toHaveLength(3);
    expect(() => parseLabels(utf8('a.png,1\n'.repeat(4)), 'a.csv')).toThrow(`"a.csv${message}`);
    expect(() => documentsOf('{"text":"a"}\n'.repeat(4), 'a.jsonl').next()).toThrow(`"a.jsonl${message}`);
  } finally {
    limits.textLines = before;
  }
});

test('of the lines of a text those alone are tokenised that are drawn', async () => {
  const model = { type: 'BPE', vocab: { a: 0 }, merges: [] };
  const files = await placeOf([['t.json', utf8(JSON.stringify({ model }))]], 't');
  const input: ModelInput = {
    name: 'ids',
    type: 'int64',
    shape: [64],
    open: [true],
    fixedBatch: 0,
    others: [],
  };
  const guarding = { workerUrl: new URL('../../dist/guard.js', import.meta.url) };
  const { calibration } = sentenceSamples(files.at('t.json'), input, guarding);
  const read = async (lines: string[], samples: number) => {
    const place = await placeOf([['a.txt', utf8(lines.join('\n'))]], 'd');
    const lengths: number[] = [];
    for await (const { inputs } of (await calibration(place.at('a.txt'), { samples })).batches(1))
      lengths.push(inputs.length);
    return lengths;
  };
  const [drawn] = await read(
    Array.from({ length: 9 }, (_, i) => 'a'.repeat(i + 1)),
    1,
  );
  const lines = Array.from({ length: 9 }, (_, i) =>
    i + 1 === drawn ? 'a'.repeat(drawn) : 'what it has no token for',
  );
  expect(await read(lines, 1)).toEqual([drawn]);
  await expect(read(lines, 9)).rejects.toThrow('it has no token for a piece of the text');
});

test('text is the same with the line ends of Windows', async () => {
  const text =
    'In the beginning God created the heaven and the earth.\nAnd the earth was without form.\n'.repeat(9);
  const settings = { seqlen: 32, samples: 2 };
  const values = [text, text.replaceAll('\n', '\r\n')].map((it) =>
    evaluate(fixture('opt-kjv'), new File([it], 'a.txt'), settings),
  );
  const [unix, windows] = await Promise.all(values);
  expect(windows.value).toBe(unix.value);
});

test('documents may be more than a call has arguments', async () => {
  const sent: number[] = [];
  const encode = async (texts: readonly string[]) => {
    sent.push(texts.length);
    return texts.map(() => new Int32Array(1));
  };
  const encoded = async (texts: string[]) => {
    let count = 0;
    for await (const ids of encodedFrom(texts, encode)) count += ids.length;
    return count;
  };
  const count = 200_000;
  expect(await encoded(Array(count).fill('a'))).toBe(count);
  expect(Math.max(...sent)).toBe(2 ** 14);
  sent.length = 0;
  expect(await encoded(['a'.repeat(2 ** 20), 'b', 'c'])).toBe(3);
  expect(sent).toEqual([2, 1]);
});

test('files of a folder that are ignored may be so too', async () => {
  const others = Array.from({ length: 200_000 }, (_, i) => [`a/${i}.txt`, new Blob()] as const);
  const notes: string[] = [];
  const refused = openDataset(await placeOf([['a/0.png', new Blob(['x'])], ...others] as never, 'images'), {
    preprocessing: parsePreprocessing({}),
    inputShape: [1, 28, 28],
    onNote: (note) => notes.push(note),
  });
  expect((await refused).size).toBe(1);
  expect(notes[0]).toContain('ignored 200000 files (200000 .txt)');
});

test('an image that is long and thin is not resized beyond what there is memory for', () => {
  const image = (height: number, width: number) => ({
    ...{ name: 'a.png', channels: 1 as const },
    ...{ height, width, data: new Uint8Array(height * width) },
  });
  for (const [height, width] of [
    [1, 3_000_000],
    [39_000_000, 1],
  ]) {
    const resized = () =>
      preprocess(image(height, width), parsePreprocessing({ resize: 'crop' }), [1, 28, 28]);
    expect(resized).toThrow(InputError);
    expect(resized).toThrow(`"a.png": the image is ${height}×${width}, too long and thin to be resized to`);
  }
  const panorama = preprocess(image(60, 9000), parsePreprocessing({ resize: 'crop' }), [1, 28, 28]);
  expect(panorama.length).toBe(28 * 28);
});

test('views of an image are counted before they are made', async () => {
  const settings = { calibration: fixture('calib'), keep: 0.5, mean: 0.286, std: 0.353, samples: 8 };
  await expect(prune(MOBILENET, { ...settings, augment: 1e9 })).rejects.toThrow(
    '`augment`: expected a whole number from 1 to 1000, got 1000000000',
  );
});

describe('JSON is not parsed beyond what is read of its kind:', () => {
  const read = async (name: string) => {
    const folder = await placeOf(
      [
        ['model.onnx', utf8('')],
        [name, new Uint8Array(limits.jsonBytes + 1)],
      ],
      'm',
    );
    await readSideFiles(folder.at('model.onnx'), true);
  };

  test.each(['config.json', 'preprocessor_config.json'])('%s beside an ONNX file', async (name) => {
    await expect(read(name)).rejects.toThrow(`"m/${name}": expected at most 16777216 bytes, got 16777217`);
  });

  test('a tokenizer that is a file, or is made of a SentencePiece model', async () => {
    const before = limits.tokenizerBytes;
    limits.tokenizerBytes = 10;
    try {
      const tokenizer = await placeOf([['t.json', utf8('{         }')]], 't');
      const model: [string, Uint8Array<ArrayBuffer>] = ['spiece.model', new Uint8Array(11)];
      const folder = await placeOf([['config.json', utf8('{"model_type": "t5"}')], model], 't');
      const text = await placeOf([['a.txt', utf8('In the beginning')]], 'd');
      for (const [name, place] of [
        ['t.json', tokenizer.at('t.json')],
        ['spiece.model', folder],
      ] as const)
        await expect(textSamples(place, 8, {}).evaluation(text.at('a.txt'))).rejects.toThrow(
          `"t/${name}": expected at most 10 bytes, got 11`,
        );
    } finally {
      limits.tokenizerBytes = before;
    }
  });
});

describe('preprocessor_config.json', () => {
  const parse = (fields: object) => parsePreprocessorConfig(JSON.stringify(fields), 'p.json');

  test.each([
    [{ do_rescale: 'false' }, '"p.json": "do_rescale" expected true or false, got "false"'],
    [{ do_normalize: 0 }, '"p.json": "do_normalize" expected true or false, got 0'],
    [{ size: '224' }, '"p.json": "size" expected whole numbers above 0, got "224"'],
    [{ size: { height: '28', width: 28 } }, '"p.json": "size" expected whole numbers above 0, got "28"'],
    [{ crop_size: 0 }, '"p.json": "crop_size" expected whole numbers above 0, got 0'],
    [{ crop_size: -1 }, '"p.json": "crop_size" expected whole numbers above 0, got -1'],
    [{ size: { height: 1e9, width: 1e9 } }, '"p.json": "size": expected pixels'],
    [{ rescale_factor: 1e-320 }, '"p.json": "scale": expected a number above 0, got Infinity'],
  ])('is named where it says %j', (fields, message) => {
    expect(() => parse(fields)).toThrow(FormatError);
    expect(() => parse(fields)).toThrow(message);
  });

  test('may give height and width as a list, and nothing', () => {
    expect(parse({ size: [28, 32], do_resize: null })).toMatchObject({ size: [28, 32], resize: 'fit' });
    expect(parse({ size: { longest_edge: 800 }, crop_size: null })).not.toHaveProperty('size');
  });
});

test('an array of any number of rows of nothing is empty', async () => {
  const bytes = npy([1e12, 0, 2], new Float32Array(0));
  const place = await placeOf([['in/none.npy', bytes]], 'data');
  const options = { samples: 5, inputShape: [0, 2], preprocessing: parsePreprocessing({}) };
  await expect(openDataset(place.at('in').at('none.npy'), options)).rejects.toThrow(
    '"data/in/none.npy": the array is empty (shape [1000000000000, 0, 2])',
  );
});

test('samples of lines are called by these, and lines of nothing by their file', async () => {
  const input = { name: 'x', shape: [3], open: [false], others: [] } as unknown as ModelInput;
  const lines = await placeOf([['a.jsonl', utf8('\n{"x": [1, 2]}\n')]], 'data');
  const read = await readFeeds(lines.at('a.jsonl'), input);
  await expect(feedsDataset(read!, input)).rejects.toThrow(
    /^"data\/a\.jsonl line 2": input "x" expected shape \[3\], got \[2\]$/,
  );
  await expect(feedsDataset([], input, { name: 'b.jsonl' })).rejects.toThrow(
    /^"b\.jsonl": the data set is empty$/,
  );
});
