import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
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
import { charsmapOf } from '../support/charsmap.ts';

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

describe('parts of a tokenizer that the library takes for others', () => {
  const vocab = Object.fromEntries(
    ['-', '$', 'a', 'b', 'c', ' ', '--', 'a-', '-b', 'b-', '-c', '▁'].map((it, i) => [it, i]),
  );
  const merges = ['- -', 'a -', '- b', 'b -', '- c'];
  /** The pieces that a text is split into, as far as merges show them. */
  const pieces = (parts: object, text: string) => {
    const encode = openTokenizer({
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      ...parts,
      model: { type: 'BPE', vocab, merges },
    });
    return [...encode(text)].map((id) => Object.keys(vocab)[id]);
  };
  const dashes = { type: 'Split', pattern: { String: '-' } };

  test.each([
    ['Removed', ['a', 'b', 'c']],
    ['Isolated', ['a', '-', 'b', '-', '-', 'c']],
    ['MergedWithPrevious', ['a-', 'b-', '-', 'c']],
    ['MergedWithNext', ['a', '-b', '-', '-c']],
    ['Contiguous', ['a', '-', 'b', '--', 'c']],
  ])('what matches is %s', (behavior, expected) => {
    expect(pieces({ pre_tokenizer: { ...dashes, behavior } }, 'a-b--c')).toEqual(expected);
  });

  test('nothing is lost where what matches is isolated, inverted or not', () => {
    expect(pieces({ pre_tokenizer: { ...dashes, behavior: 'Isolated', invert: true } }, 'a-b')).toEqual([
      'a',
      '-',
      'b',
    ]);
  });

  test('marks are one by one unless they are said to be contiguous', () => {
    const marks = (behavior?: string) => pieces({ pre_tokenizer: { type: 'Punctuation', behavior } }, 'a--c');
    expect(marks()).toEqual(['a', '-', '-', 'c']);
    expect(marks('Isolated')).toEqual(['a', '-', '-', 'c']);
    expect(marks('Contiguous')).toEqual(['a', '--', 'c']);
  });

  test('words have letters beyond ASCII', () => {
    const model = { type: 'BPE', vocab: { c: 0, é: 1, cé: 2, '!': 3 }, merges: ['c é'] };
    const encode = openTokenizer({ pre_tokenizer: { type: 'Whitespace' }, model });
    expect([...encode('cé c!é')]).toEqual([2, 0, 3, 1]);
  });

  test('a dollar in what replaces is a dollar', () => {
    const normalizer = { type: 'Replace', pattern: { String: 'b' }, content: '$$c' };
    expect(pieces({ normalizer }, 'ab')).toEqual(['a', '$', '$', 'c']);
  });

  test('nothing is put in front where a file of old says so', () => {
    const space = (it: object) =>
      pieces({ pre_tokenizer: { type: 'Metaspace', replacement: '▁', ...it } }, 'a');
    expect(space({ add_prefix_space: false })).toEqual(['a']);
    expect(space({ add_prefix_space: true })).toEqual(['▁', 'a']);
    expect(space({ prepend_scheme: 'never' })).toEqual(['a']);
  });
});

describe('a map of characters', () => {
  const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
  const made = (entries: Readonly<Record<string, string>>, text: string) => {
    const vocab = Array.from(new Set([...Object.values(entries).join(''), ...text]), (it) => [it, -1]);
    const encode = openTokenizer({
      normalizer: {
        type: 'Sequence',
        normalizers: [{ type: 'Precompiled', precompiled_charsmap: base64(charsmapOf(entries)) }],
      },
      pre_tokenizer: null,
      model: { type: 'Unigram', unk_id: 0, vocab: [['<unk>', 0], ...vocab] },
    });
    return Array.from(encode(text), (id) => (id === 0 ? '<unk>' : vocab[id - 1][0])).join('');
  };

  test("is the tokenizer's own, not the usual one", () => {
    expect(made({ A: 'a', É: 'e', 日: 'xyz' }, 'AbÉ日ＡB\t')).toBe('abexyzＡB\t');
  });

  test('is asked for what a reader takes for one character first, then for its code points', () => {
    expect(made({ 'e\u0301': 'é', '\u0301': '' }, 'e\u0301 a\u0301')).toBe('é a');
    // Longer than 5 bytes, and so not as a whole.
    expect(made({ '👍🏽': '+' }, '👍🏽')).toBe('👍🏽');
  });

  test('leaves alone what it has nothing for', () => {
    expect(made({ x: 'y' }, 'ﬁ　～①')).toBe('ﬁ　～①');
  });
});

test('pieces begin with each mark that is put between words, unless it is said otherwise', () => {
  const vocab = { '▁': 0, a: 1, '▁▁': 2, 'a▁': 3 };
  const ids = (split?: boolean) =>
    openTokenizer({
      pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split },
      model: { type: 'BPE', vocab, merges: ['▁ ▁', 'a ▁'] },
    })('a  a a');
  expect([...ids()]).toEqual([1, 0, 0, 1, 0, 1]);
  expect([...ids(true)]).toEqual([1, 0, 0, 1, 0, 1]);
  expect([...ids(false)]).toEqual([1, 2, 3, 1]);
});

test('digits are those of all scripts', () => {
  const vocab = { a: 0, '١': 1, '٢': 2, '²': 3, '١٢': 4, 'a²': 5 };
  const ids = (each?: boolean) =>
    openTokenizer({
      pre_tokenizer: { type: 'Digits', individual_digits: each },
      model: { type: 'BPE', vocab, merges: ['١ ٢', 'a ²'] },
    })('a²١٢');
  expect([...ids(true)]).toEqual([0, 3, 1, 2]);
  expect([...ids(false)]).toEqual([0, 3, 4]);
  expect([...ids()]).toEqual([0, 3, 4]);
});

describe('a long text, which is tokenised by parts, has the ids of one piece:', () => {
  const folder = join(import.meta.dirname, '../fixtures');
  const json = JSON.parse(readFileSync(join(folder, 'opt-kjv/tokenizer.json'), 'utf8'));
  const text = readFileSync(join(folder, 'text/kjv-train.txt'), 'utf8').slice(0, 200_000);
  const { special_tokens: _, ...ends } = json.post_processor;
  const bare = {
    normalizer: null,
    pre_tokenizer: null,
    post_processor: null,
    added_tokens: [],
    decoder: null,
  };
  const words = [...new Set(text.match(/[a-z]+/g))].slice(0, 2000);
  const letters = [...new Set(text)].filter((it) => /\S/.test(it));
  const scored = ['<unk>', '▁', '\n', ...letters, ...words.map((it) => `▁${it}`)].map((it, i) => [
    it,
    -i / 100,
  ]);
  const prefix = { type: 'Prepend', prepend: '▁' };
  const spaces = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const said = Object.fromEntries(
    ['<unk>', '▁', '\n', ...letters, '▁a', 'th', '▁th', 'an'].map((it, i) => [it, i]),
  );
  const joins = ['▁ a', 't h', '▁ th', 'a n'];

  test.each<[string, object]>([
    ['bytes', json],
    [
      'special tokens at its end',
      { ...json, post_processor: { ...ends, single: [...ends.single].reverse() } },
    ],
    [
      'one word with a space in front of every text',
      {
        ...bare,
        model: { type: 'BPE', vocab: said, merges: joins },
        normalizer: { type: 'Sequence', normalizers: [prefix, spaces] },
      },
    ],
    [
      'one word with a mark in front of it',
      {
        ...bare,
        model: { type: 'BPE', vocab: said, merges: joins },
        pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' },
      },
    ],
    [
      'words',
      {
        ...bare,
        normalizer: { type: 'BertNormalizer', lowercase: true, clean_text: true },
        pre_tokenizer: { type: 'BertPreTokenizer' },
        model: { type: 'WordPiece', unk_token: '<unk>', continuing_subword_prefix: '##', vocab: said },
      },
    ],
    [
      'no place to cut it',
      {
        ...bare,
        model: {
          type: 'WordPiece',
          unk_token: '<unk>',
          continuing_subword_prefix: '##',
          max_input_chars_per_word: 100,
          vocab: said,
        },
      },
    ],
  ])('%s', (_, tokenizer) => {
    const whole = new Tokenizer(tokenizer, {}).encode(text).ids;
    expect(
      Buffer.from(openTokenizer(tokenizer)(text).buffer).equals(Buffer.from(Int32Array.from(whole).buffer)),
    ).toBe(true);
  });

  test('unless it has no place to be cut, and is too long for that', () => {
    const encode = openTokenizer(json);
    expect(encode('a'.repeat(2 ** 17)).length).toBeGreaterThan(1000);
    for (const long of ['a'.repeat(2 ** 24 + 1), `${text} ${'a'.repeat(2 ** 24)}`]) {
      expect(() => encode(long)).toThrow(
        expect.objectContaining({
          code: 'ERR_OSSCAR_OUT_OF_MEMORY',
          message: expect.stringMatching(
            /^167\d{5} characters in one piece, which the tokenizer gives no place to cut, more than 16777216$/,
          ),
        }),
      );
    }
  });

  test('which some tokenizers cannot take at all', () => {
    const tokenizer = {
      ...bare,
      model: { type: 'Unigram', unk_id: 0, vocab: scored },
      pre_tokenizer: { type: 'Metaspace', replacement: '▁' },
    };
    const long = text.repeat(2);
    expect(() => new Tokenizer(tokenizer, {}).encode(long)).toThrow(RangeError);
    const encode = openTokenizer(tokenizer);
    const ids = encode(long);
    const start = encode(text.slice(0, 60_000));
    expect(ids.length).toBeGreaterThan(6 * start.length);
    expect(ids.subarray(0, 10_000)).toEqual(start.subarray(0, 10_000));
  });
});
