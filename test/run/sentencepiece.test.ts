// Tokenizers of folders that have a SentencePiece model in the place of tokenizer.json: the ids are those of sentencepiece 0.2.0.

import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import { openTokenizer } from '../../src/pipeline/data/index.ts';
import { placeOf } from '../../src/run/source.ts';
import { readTokenizer } from '../../src/run/tokenizer.ts';
import { charsmapOf } from '../support/charsmap.ts';

const [NORMAL, UNKNOWN, CONTROL, OWN, BYTE] = [1, 2, 3, 4, 6];
const [UNIGRAM, BPE] = [1, 2];
type Piece = readonly [text: string, score: number, kind?: number];

interface Spec {
  first: readonly Piece[];
  last?: readonly Piece[];
  type?: number;
  hasBytes?: boolean;
  isTrimmed?: boolean;
  charsmap?: Uint8Array;
  isSuffix?: boolean;
  isEscaped?: boolean;
}

const PIECES: readonly Piece[] = [
  ['▁', -2],
  ['▁the', -3],
  ['the', -4],
  ['▁t', -4.5],
  ['he', -4.25],
  ['t', -6],
  ['h', -6.5],
  ['e', -5],
  ['s', -5.5],
  ['▁s', -4.75],
];
const BYTES = Array.from(
  { length: 256 },
  (_, i): Piece => [`<0x${i.toString(16).toUpperCase().padStart(2, '0')}>`, 0, BYTE],
);

/** The bytes of such a file, without what is the default. */
function modelOf({ first, type = UNIGRAM, isTrimmed = true, ...spec }: Spec): Uint8Array<ArrayBuffer> {
  const writer = new BinaryWriter();
  const message = (field: number, write: (to: BinaryWriter) => void) => {
    writer.tag(field, WireType.LengthDelimited).fork();
    write(writer);
    writer.join();
  };
  const flag = (to: BinaryWriter, field: number, value: boolean) =>
    to.tag(field, WireType.Varint).bool(value);
  const all = [...first, ...(spec.hasBytes ? BYTES : []), ...PIECES, ...(spec.last ?? [])];
  for (const [text, score, kind = NORMAL] of all)
    message(1, (to) => {
      to.tag(1, WireType.LengthDelimited).string(text);
      if (score !== 0) to.tag(2, WireType.Bit32).float(score);
      if (kind !== NORMAL) to.tag(3, WireType.Varint).int32(kind);
    });
  message(2, (to) => {
    if (type !== UNIGRAM) to.tag(3, WireType.Varint).int32(type);
    const unknown = first.findIndex(([, , kind]) => kind === UNKNOWN);
    if (unknown !== 0) to.tag(40, WireType.Varint).int32(unknown);
    to.tag(41, WireType.Varint).int32(-1); // bos_id: none
    flag(to, 24, spec.isSuffix ?? false);
    flag(to, 35, spec.hasBytes ?? false);
  });
  message(3, (to) => {
    if (spec.charsmap) to.tag(2, WireType.LengthDelimited).bytes(spec.charsmap);
    flag(to, 4, isTrimmed);
    flag(to, 5, spec.isEscaped ?? true);
  });
  message(5, (to) => flag(to, 5, false)); // how ids become a text again
  return new Uint8Array(writer.finish());
}

const controls = (texts: readonly string[], unknown: string): Piece[] =>
  texts.map((text) => [text, 0, text === unknown ? UNKNOWN : CONTROL]);
const DEBERTA = modelOf({ first: controls(['[PAD]', '[CLS]', '[SEP]', '[UNK]'], '[UNK]') });
const FAIRSEQ = modelOf({ first: controls(['<unk>', '<s>', '</s>'], '<unk>') });
const T5 = modelOf({ first: controls(['<pad>', '</s>', '<unk>'], '<unk>') });
const T5_BYTES = modelOf({ first: controls(['<pad>', '</s>', '<unk>'], '<unk>'), hasBytes: true });
const LLAMA = modelOf({
  first: controls(['<unk>', '<s>', '</s>'], '<unk>'),
  type: BPE,
  hasBytes: true,
  isTrimmed: false,
});

/** What a folder of these files makes of a text. */
async function idsOf(
  file: string,
  model: Uint8Array<ArrayBuffer>,
  type: string,
  text: string,
  config?: object,
  vocab?: object,
): Promise<number[]> {
  const json = (content: object) => new TextEncoder().encode(JSON.stringify(content));
  const files = [
    [file, model],
    ['config.json', json({ model_type: type })],
    ...(config ? [['tokenizer_config.json', json(config)]] : []),
    ...(vocab ? [['vocab.json', json(vocab)]] : []),
  ] as [string, Uint8Array<ArrayBuffer>][];
  const read = await readTokenizer('a.txt', await placeOf(files, 'model'));
  return [...openTokenizer(read.json, read.config)(text)];
}
const TEXT = ' the  sheets\u00e9\u00e9 he ';

describe('a SentencePiece model in the place of tokenizer.json', () => {
  test.each<[string, string, Uint8Array<ArrayBuffer>, number[], object?]>([
    ['deberta-v2', 'spm.model', DEBERTA, [1, 5, 13, 8, 11, 9, 12, 3, 4, 8, 2]],
    ['xlm-roberta', 'sentencepiece.bpe.model', FAIRSEQ, [0, 5, 13, 8, 11, 9, 12, 3, 4, 8, 2]],
    ['camembert', 'sentencepiece.bpe.model', FAIRSEQ, [5, 8, 16, 11, 14, 12, 15, 3, 7, 11, 6]],
    ['mbart', 'sentencepiece.bpe.model', FAIRSEQ, [5, 13, 8, 11, 9, 12, 3, 4, 8, 2, 17]],
    [
      'mbart',
      'sentencepiece.bpe.model',
      FAIRSEQ,
      [39, 5, 13, 8, 11, 9, 12, 3, 4, 8, 2],
      { tokenizer_class: 'MBart50TokenizerFast', src_lang: 'af_ZA' },
    ],
    ['pegasus', 'spiece.model', T5, [107, 115, 110, 113, 111, 114, 105, 106, 110, 1]],
    ['pegasus', 'spiece.model', T5, [4, 12, 7, 10, 8, 11, 2, 3, 7, 1], { offset: 0 }],
    ['mt5', 'spiece.model', T5, [4, 12, 7, 10, 8, 11, 2, 3, 7, 1]],
    ['umt5', 'spiece.model', T5_BYTES, [260, 268, 263, 266, 264, 267, 198, 172, 198, 172, 259, 263, 1]],
    [
      'llama',
      'tokenizer.model',
      LLAMA,
      [1, 259, 260, 259, 268, 263, 266, 264, 267, 198, 172, 198, 172, 259, 263, 259],
    ],
    [
      'mistral',
      'tokenizer.model',
      LLAMA,
      [259, 260, 259, 268, 263, 266, 264, 267, 198, 172, 198, 172, 259, 263, 259, 2],
      { tokenizer_class: 'LlamaTokenizerFast', add_bos_token: false, add_eos_token: true },
    ],
  ])('gives the ids of %s by its %s', async (type, file, model, expected, config) => {
    expect(await idsOf(file, model, type, TEXT, config)).toEqual(expected);
  });

  test('pieces are joined as the model was trained: the likeliest ones, or the best two first', async () => {
    const last: Piece[] = [
      ['es', -4.1],
      ['st', -4.2],
    ];
    const first = controls(['<pad>', '</s>', '<unk>'], '<unk>');
    const [space, he, h, t, es, st] = [3, 7, 9, 8, 13, 14];
    const likeliest = modelOf({ first, last });
    expect(await idsOf('spiece.model', likeliest, 'mt5', 'hest')).toEqual([space, he, st, 1]);
    const joined = modelOf({ first, last, type: BPE });
    expect(await idsOf('spiece.model', joined, 'mt5', 'hest')).toEqual([space, h, es, t, 1]);
    const noBytes = modelOf({
      first: controls(['<unk>', '<s>', '</s>'], '<unk>'),
      type: BPE,
      isTrimmed: false,
    });
    expect(await idsOf('tokenizer.model', noBytes, 'llama', 'é')).toEqual([1, space, 0]);
  });

  test('characters are mapped where the file has a map', async () => {
    const first = controls(['<pad>', '</s>', '<unk>'], '<unk>');
    const ids = (charsmap?: Uint8Array) => idsOf('spiece.model', modelOf({ first, charsmap }), 'mt5', 'THE');
    expect(await ids(charsmapOf({ T: 't', H: 'h', E: 'e' }))).toEqual([4, 1]);
    expect(await ids()).toEqual([3, 2, 1]);
  });

  test('the ids of Marian and M2M-100 are those of vocab.json', async () => {
    // the, he and a letter have other ids than in the file; some are of the other language, and one piece there is not
    const vocab = {
      ...{
        '</s>': 0,
        '<unk>': 1,
        '>>fra<<': 2,
        t: 3,
        '▁the': 4,
        he: 5,
        sh: 6,
        '▁s': 7,
        e: 8,
        s: 9,
        '▁': 10,
        h: 11,
      },
      ...{ '▁t': 12, '<pad>': 13 },
    };
    // "the" and "sheets": "sh" is no piece of this language's model.
    const marian = [4, 7, 5, 8, 3, 9, 1, 10, 5, 0];
    expect(await idsOf('source.spm', FAIRSEQ, 'marian', TEXT, undefined, vocab)).toEqual(marian);
    expect(await idsOf('source.spm', FAIRSEQ, 'marian', '>>fra<< the', undefined, vocab)).toEqual([2, 4, 0]);
    const file = 'sentencepiece.bpe.model';
    const [en, de] = [14 + 18, 14 + 16];
    const m2m = (settings?: object) => idsOf(file, FAIRSEQ, 'm2m_100', 'the</s>', settings, vocab);
    expect(await m2m()).toEqual([en, 4, 0, 0]);
    expect(await m2m({ tokenizer_class: 'M2M100Tokenizer', src_lang: 'de' })).toEqual([de, 4, 0, 0]);
    expect(await m2m({ src_lang: 'de', language_codes: 'wmt21' })).toEqual([14 + 7, 4, 0, 0]);
    await expect(idsOf(file, FAIRSEQ, 'marian', 'a', undefined, { a: 3 })).rejects.toThrow('there is no');
    await expect(idsOf('source.spm', FAIRSEQ, 'marian', 'a', undefined, { a: 3 })).rejects.toThrow(
      '"model/vocab.json": the id of "a" expected a whole number below 1, got 3',
    );
  });

  test('special tokens are cut out of a text, those too that the file lacks', async () => {
    expect(await idsOf('spm.model', DEBERTA, 'deberta-v2', '[MASK][SEP]')).toEqual([1, 14, 2, 2]);
    const masked = controls(['[PAD]', '[CLS]', '[SEP]', '[UNK]', '[MASK]'], '[UNK]');
    expect(await idsOf('spm.model', modelOf({ first: masked }), 'deberta-v2', '[MASK]')).toEqual([1, 4, 2]);
    expect(await idsOf('sentencepiece.bpe.model', FAIRSEQ, 'xlm-roberta', '<mask>')).toEqual([0, 14, 2]);
    expect(await idsOf('sentencepiece.bpe.model', FAIRSEQ, 'mbart', 'de_DE')).toEqual([16, 2, 17]);
    expect(await idsOf('spiece.model', T5, 't5', '<extra_id_0>')).toEqual([112, 1]);
    expect(await idsOf('spiece.model', T5, 't5', '<extra_id_0>', { extra_ids: 1 })).toEqual([13, 1]);
    expect(await idsOf('spiece.model', T5, 'pegasus', '<mask_2><unk_2>')).toEqual([3, 4, 1]);
    expect(await idsOf('tokenizer.model', LLAMA, 'llama', '')).toEqual([1]);
    const own: Piece[] = [...controls(['<pad>', '</s>', '<unk>'], '<unk>'), ['hes', -99, OWN]];
    expect(await idsOf('spiece.model', modelOf({ first: own }), 'mt5', 'hes')).toEqual([3, 1]);
  });

  test('a text begins with a space unless the folder says otherwise', async () => {
    expect(await idsOf('spiece.model', T5, 't5', 'the', { add_prefix_space: false })).toEqual([5, 1]);
  });

  test.each<[string, Uint8Array<ArrayBuffer>, string]>([
    ['no model', new TextEncoder().encode('version https://git-lfs'), 'it is no SentencePiece model'],
    ['nothing', new Uint8Array(), 'there are no pieces in it'],
    ['words', modelOf({ first: [], type: 3 }), 'model_type 3 is not supported'],
    ['spaces behind words', modelOf({ first: [], isSuffix: true }), 'treat_whitespace_as_suffix'],
    ['spaces as they are', modelOf({ first: [], isEscaped: false }), 'escape_whitespaces false'],
    [
      'a piece without an end',
      modelOf({ first: [['a'.repeat(129), 0]] }),
      'a piece of 129 characters, expected at most 128',
    ],
  ])('%s is refused, by the name of the file', async (_, model, message) => {
    const error = await idsOf('spm.model', model, 'deberta-v2', 'a').catch((cause: unknown) => cause);
    expect(error).toBeInstanceOf(FormatError);
    expect(String(error)).toContain('"model/spm.model": ');
    expect(String(error)).toContain(message);
  });

  test('what the folder asks for besides is refused', async () => {
    for (const key of ['do_lower_case', 'split_by_punct'])
      await expect(idsOf('spm.model', DEBERTA, 'deberta-v2', 'a', { [key]: true })).rejects.toThrow(
        new InputError(`tokenizer_config.json: "${key}" of DeBERTa is not supported`),
      );
    await expect(idsOf('spiece.model', T5, 'pegasus', 'a', { offset: 2.5 })).rejects.toThrow(
      '"offset" expected a whole number of at most 10000, got 2.5',
    );
    for (const count of [-1, 10_001])
      await expect(idsOf('spiece.model', T5, 't5', 'a', { extra_ids: count })).rejects.toThrow(
        `"extra_ids" expected a whole number of at most 10000, got ${count}`,
      );
  });
});
