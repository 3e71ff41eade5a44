import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import { selectSamples } from '../../src/pipeline/data/dataset.ts';
import {
  consecutiveWindows,
  type Dataset,
  npyTokens,
  openTokenizer,
  tokenWindows,
} from '../../src/pipeline/data/index.ts';

const tokens = Int32Array.from({ length: 1000 }, (_, i) => i);

/** First token of each window; that they run on is checked too. */
async function starts(windows: Dataset): Promise<number[]> {
  const first: number[] = [];
  const [length] = windows.shape;
  for await (const { inputs, count } of windows.batches(7)) {
    for (let i = 0; i < count; i++) {
      const window = inputs.subarray(i * length, (i + 1) * length);
      expect(Array.from(window)).toEqual(Array.from(window, (_, at) => window[0] + at));
      first.push(window[0]);
    }
  }
  return first;
}

describe('tokenWindows', () => {
  test('spreads starts evenly, the last leaving one token behind it', async () => {
    const windows = tokenWindows(tokens, { samples: 4, seqlen: 100 });
    expect(await starts(windows)).toEqual([0, 299, 599, 899]);
    expect(windows.shape).toEqual([100]);
  });

  test('draws the same windows for the same seed, and others for another', async () => {
    const draw = (seed: number) =>
      starts(tokenWindows(tokens, { samples: 20, seqlen: 50, sampling: 'random', seed }));
    expect(await draw(1)).toEqual(await draw(1));
    expect(await draw(1)).not.toEqual(await draw(2));
    for (const start of await draw(1)) expect(start).toBeLessThanOrEqual(949);
  });

  test('refuses a text shorter than one window, naming it', () => {
    const short = () => tokenWindows(tokens, { samples: 1, seqlen: 1000, name: 'a.txt' });
    expect(short).toThrow(InputError);
    expect(short).toThrow('"a.txt": 1000 tokens, fewer than the 1001 of one window');
  });
});

test('consecutiveWindows takes all whole windows', async () => {
  expect(await starts(consecutiveWindows(tokens, 300))).toEqual([0, 300, 600]);
  expect(() => consecutiveWindows(tokens, 1001)).toThrow('fewer than the 1001 of one window');
});

test('selectSamples gives the samples at some positions, and stops behind the last', async () => {
  const windows = tokenWindows(tokens, { samples: 10, seqlen: 50 });
  const first = selectSamples(windows, (index) => index < 3);
  expect(first.size).toBe(3);
  expect(await starts(first)).toEqual((await starts(windows)).slice(0, 3));
  expect(await starts(selectSamples(windows, (index) => index < 99))).toHaveLength(10);
});

describe('npyTokens', () => {
  test('takes a row of tokens, or windows as they are', async () => {
    expect(npyTokens({ shape: [3], data: Float32Array.of(5, 6, 7) }, 'a.npy')).toEqual(
      Int32Array.of(5, 6, 7),
    );
    const windows = npyTokens({ shape: [2, 3], data: Float32Array.of(1, 2, 3, 7, 8, 9) }, 'a.npy') as Dataset;
    expect(await starts(windows)).toEqual([1, 7]);
  });

  test('refuses what are no token ids', () => {
    expect(() => npyTokens({ shape: [2], data: Float32Array.of(1, 2.5) }, 'a.npy')).toThrow('value 1 is 2.5');
    expect(() => npyTokens({ shape: [2], data: Float32Array.of(-1, 2) }, 'a.npy')).toThrow('value 0 is -1');
  });
});

describe('openTokenizer', () => {
  const folder = join(import.meta.dirname, '../fixtures/opt-kjv');
  const json = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'));

  test('begins a document with its special token and covers the text', () => {
    const encode = openTokenizer(json);
    const ids = encode('In the beginning God created the heaven and the earth.');
    expect(ids[0]).toBe(2);
    expect(ids.length).toBeGreaterThan(8);
    expect(ids.every((id) => id >= 0 && id < 1024)).toBe(true);
    expect(encode('In the beginning')).toEqual(ids.slice(0, encode('In the beginning').length));
  });

  test('refuses a malformed tokenizer', () => {
    expect(() => openTokenizer({ model: { type: 'Nonsense' } })).toThrow(FormatError);
    expect(() => openTokenizer({})).toThrow(FormatError);
    const vocab = [
      ['<unk>', 0],
      ['a', -1],
    ];
    for (const type of ['Unigram', undefined])
      expect(() => openTokenizer({ model: { type, vocab, unk_id: {} } })).toThrow(
        '"model.unk_id" expected the position of a token',
      );
  });

  test('refuses a vocabulary that does not cover all text, which the tokenizer would drop without a word', () => {
    const without = (unknown: string | null) => {
      const vocab: Record<string, number> = { ...json.model.vocab };
      delete vocab.q;
      const merges = (json.model.merges as (string | string[])[]).filter((it) => !String(it).includes('q'));
      return { ...json, model: { ...json.model, vocab, merges, unk_token: unknown } };
    };
    expect(() => openTokenizer(without(null))).toThrow('the vocabulary lacks 1 of the 256 bytes');
    expect(() => openTokenizer(without('<unk>'))).not.toThrow();
  });
});
