// tokenizer.json of the three kinds of models. Small, so that thousands take seconds: the parts that the fixture's has,
// and those of other models.

import { parseJsonObject } from '../../src/json.ts';
import { openTokenizer } from '../../src/pipeline/index.ts';
import { jsonInputs, type Targets } from './target.ts';

const BYTES = Object.fromEntries(
  Array.from({ length: 256 }, (_, byte) => byte).map((byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
    const others = [...Array(byte).keys()].filter(
      (it) => !((it >= 33 && it <= 126) || (it >= 161 && it !== 173)),
    ).length;
    return [String.fromCharCode(printable ? byte : 256 + others), byte];
  }),
);
const TOKENIZERS = [
  {
    added_tokens: [{ id: 256, content: '</s>', special: true }],
    normalizer: {
      type: 'Sequence',
      normalizers: [{ type: 'NFC' }, { type: 'Replace', pattern: { String: 'x' }, content: 'y' }],
    },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        { type: 'Split', pattern: { Regex: '\\w+|\\s' }, behavior: 'Isolated', invert: false },
        { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
      ],
    },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '</s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
    },
    model: { type: 'BPE', unk_token: null, vocab: { ...BYTES, '</s>': 256, th: 257 }, merges: [['t', 'h']] },
  },
  {
    added_tokens: [],
    normalizer: { type: 'Prepend', prepend: '▁' },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always' },
    post_processor: null,
    model: {
      type: 'Unigram',
      unk_id: 0,
      vocab: [
        ['<unk>', 0],
        ['▁', -1],
        ['a', -2],
        ['th', -2.5],
      ],
    },
  },
  {
    added_tokens: [],
    normalizer: { type: 'BertNormalizer', lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: { type: 'BertProcessing', sep: ['[SEP]', 1], cls: ['[CLS]', 2] },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: { '[UNK]': 0, '[SEP]': 1, '[CLS]': 2, a: 3, '##b': 4 },
    },
  },
];

export const tokenizers: Targets = {
  tokenizer: {
    inputs: jsonInputs(...TOKENIZERS),
    parse: (bytes) => openTokenizer(parseJsonObject(bytes, 'tokenizer.json'))('the abacus\n😀'),
  },
};
