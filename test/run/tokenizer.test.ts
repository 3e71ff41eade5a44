// Tokenizers of folders that are older than tokenizer.json.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { openTokenizer } from '../../src/pipeline/data/index.ts';
import { placeOf } from '../../src/run/source.ts';
import { readTokenizer } from '../../src/run/tokenizer.ts';

const OPT = join(import.meta.dirname, '../fixtures/opt-kjv');
const parsed = (file: string) => JSON.parse(readFileSync(join(OPT, file), 'utf8'));
const { model } = parsed('tokenizer.json');
const MERGED = {
  'vocab.json': JSON.stringify(model.vocab),
  'merges.txt': ['#version: 0.2', ...model.merges, ''].join('\n'),
};
const LISTED = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'god', 'God', '##s', 'e', '\u00e9', '\u4e2d', ''].join(
  '\n',
);
const TEXT = 'And God said,  Let there be light:\nand there was light. </s> 1:4';

/** What a folder of these files makes of a text. */
async function idsOf(files: Readonly<Record<string, string>>, text: string): Promise<number[]> {
  const bytes = Object.entries(files).map(
    ([name, content]) => [name, new TextEncoder().encode(content)] as const,
  );
  const { json, config } = await readTokenizer('a.txt', await placeOf(bytes, 'model'));
  return [...openTokenizer(json, config)(text)];
}
const settings = (content: object) => ({ 'tokenizer_config.json': JSON.stringify(content) });

describe('without tokenizer.json', () => {
  test('merges and a vocabulary give the ids that it would give', async () => {
    const config = parsed('tokenizer_config.json');
    const expected = openTokenizer(parsed('tokenizer.json'), config)(TEXT);
    expect(await idsOf({ ...MERGED, ...settings(config) }, TEXT)).toEqual([...expected]);
  });

  test('special tokens have the contents that either file says, and GPT-2 begins with none', async () => {
    const [begin, end] = [model.vocab['<s>'], model.vocab['</s>']];
    const [, ...ids] = openTokenizer(parsed('tokenizer.json'))('light');
    expect(await idsOf({ ...MERGED, 'config.json': '{"model_type":"gpt2"}' }, 'light')).toEqual(ids);
    const roberta = { ...MERGED, 'config.json': '{"model_type":"roberta"}' };
    expect(await idsOf(roberta, 'light')).toEqual([begin, ...ids, end]);
    const others = JSON.stringify({ cls_token: { content: '<unk>' }, sep_token: '<pad>' });
    expect(await idsOf({ ...roberta, 'special_tokens_map.json': others }, 'light</s>')).toEqual([
      model.vocab['<unk>'],
      ...ids,
      end,
      model.vocab['<pad>'],
    ]);
    expect(await idsOf({ ...roberta, 'added_tokens.json': '{"light": 2000}' }, 'light')).toEqual([
      begin,
      2000,
      end,
    ]);
  });

  test('a list of words is BERT’s, in small letters unless the folder says otherwise', async () => {
    const files = { 'vocab.txt': LISTED, 'config.json': '{"model_type":"bert"}' };
    const text = 'Go\u0000ds \u00e9 \u4e2d\u4e2d x [SEP]';
    expect(await idsOf(files, text)).toEqual([2, 4, 6, 7, 9, 9, 1, 3, 3]);
    const kept = settings({ tokenize_chinese_chars: false, strip_accents: false });
    expect(await idsOf({ ...files, ...kept }, text)).toEqual([2, 4, 6, 8, 1, 1, 3, 3]);
    const spaced = LISTED.replaceAll('\n', '\r\n').replace('God', ''); // an empty line has an id, too
    expect(await idsOf({ ...files, 'vocab.txt': spaced }, 'Gods \u00e9')).toEqual([2, 4, 6, 7, 3]);
    const cased = { ...files, ...settings({ do_lower_case: false, tokenizer_class: 'BertTokenizerFast' }) };
    expect(await idsOf(cased, 'Gods \u00e9')).toEqual([2, 5, 6, 8, 3]);
    const mpnet = ['<s>', '<pad>', '</s>', '[UNK]', '<unk>', 'god', ''].join('\n');
    const others = { 'vocab.txt': mpnet, 'config.json': '{"model_type":"mpnet"}' };
    expect(await idsOf(others, 'God e')).toEqual([0, 5, 3, 2]);
  });

  test('merges are CLIP’s, in small letters, with another letter at the end of a word', async () => {
    const pieces = [
      'a',
      'c',
      't',
      'a</w>',
      't</w>',
      'at</w>',
      'cat</w>',
      '!</w>',
      '1</w>',
      '\u00c3',
      '\u00a9</w>',
    ];
    const tokens = [...pieces, '<|startoftext|>', '<|endoftext|>'];
    const files = {
      'vocab.json': JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id]))),
      'merges.txt': '#version: 0.2\na t</w>\nc at</w>\n',
      ...settings({ tokenizer_class: 'CLIPTokenizer' }),
    };
    // An accent that comes behind its letter is one with it: of é there are two bytes.
    expect(await idsOf(files, 'A  Cat! 11\nact e\u0301')).toEqual([11, 3, 6, 7, 8, 8, 0, 1, 4, 9, 10, 12]);
  });

  test('merges are DeBERTa’s, between tokens of their own', async () => {
    const vocab = {
      ...model.vocab,
      '[CLS]': 2000,
      '[SEP]': 2001,
      '[PAD]': 2002,
      '[UNK]': 2003,
      '[MASK]': 2004,
    };
    const [, ...ids] = openTokenizer(parsed('tokenizer.json'))('light');
    const files = {
      ...MERGED,
      'vocab.json': JSON.stringify(vocab),
      'config.json': '{"model_type":"deberta"}',
    };
    expect(await idsOf(files, 'light[MASK]')).toEqual([2000, ...ids, 2004, 2001]);
  });

  test('a list of letters is ESM’s: one id for each, and for what is unknown in a row', async () => {
    const list = ['<cls>', '<pad>', '<eos>', '<unk>', 'L', 'A', 'G', '.', '<mask>', ''].join('\n');
    const files = { 'vocab.txt': list, 'config.json': '{"model_type":"esm"}' };
    expect(await idsOf(files, 'LAx?G A\n.<mask>L')).toEqual([0, 4, 5, 3, 6, 5, 7, 8, 4, 2]);
  });

  test.each<[string, Readonly<Record<string, string>>, string]>([
    [
      'files of another kind',
      { 'vocab.xyz': '', 'config.json': '{"model_type":"xlnet"}' },
      'have transformers write it: python -c',
    ],
    [
      'files that transformers makes nothing of',
      { 'source.spm': '', 'config.json': '{"model_type":"marian"}' },
      'nor source.spm and vocab.json, and transformers writes none for "marian"; add those',
    ],
    [
      'a file too few',
      { 'vocab.json': '{}', 'config.json': '{"model_type":"gpt2"}' },
      '"model": there is no tokenizer.json in it',
    ],
    [
      'a special token that is none',
      { 'vocab.txt': 'a\nb\n', 'config.json': '{"model_type":"bert"}' },
      '"model": its unk_token "[UNK]" is not in vocab.txt',
    ],
  ])('%s is told so', async (_, files, message) => {
    const error = await idsOf(files, 'a').catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(InputError);
    expect(String(error)).toContain(message);
  });
});
