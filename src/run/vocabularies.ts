// What transformers makes of the tokenizers of folders that are older than tokenizer.json. Few folders need it.

import { FormatError, InputError } from '../errors.ts';
import { isObject, said } from '../expect.ts';
import type { JsonObject } from '../json.ts';
import { unloaded } from '../unloaded.ts';
import type { Line } from './lines.ts';
import type { Piece, SentencePieces } from './sentencepiece.ts';

/** The files of a folder, read by who loads this: what it read them by itself would be in every page that imports anything of the library. */
export interface Files {
  readonly name: string;
  path(file: string): string;
  bytes(file: string): Promise<Uint8Array>;
  lines(file: string): Promise<Line[]>;
  json(file: string): Promise<JsonObject>;
}

/** In messages. */
const CONFIG = 'tokenizer_config.json';

/** Those for which transformers writes no tokenizer.json. */
export const WITHOUT_JSON = /^((Marian|M2M100)Tokenizer|marian|m2m_100)$/;

/** A kind of tokenizer: its files, the special tokens that it has where the folder says no others, and what it is made of. */
interface Kind {
  readonly files: readonly string[];
  readonly special: Readonly<Record<string, string>>;
  /** The token of the language that a folder names. */
  readonly languageToken?: (code: string) => string;
  readonly read: (folder: Files, settings: JsonObject) => Promise<Vocabulary>;
  readonly make: (settings: JsonObject, special: (name: string) => SpecialToken) => JsonObject;
}

interface Vocabulary {
  readonly ids: JsonObject;
  /** Parts of tokenizer.json, beside those that are made. */
  readonly parts: JsonObject & { readonly model: JsonObject };
  /** Tokens that are cut out of a text before all else, beside the special ones. */
  readonly whole?: readonly string[];
}

/** A text and its id, as processors have it. */
type SpecialToken = readonly [content: string, id: unknown];

const END = '<|endoftext|>';
const ANGLED = {
  bos_token: '<s>',
  eos_token: '</s>',
  cls_token: '<s>',
  sep_token: '</s>',
  pad_token: '<pad>',
  mask_token: '<mask>',
};
const SQUARE = { sep_token: '[SEP]', pad_token: '[PAD]', cls_token: '[CLS]', mask_token: '[MASK]' };

const MERGED = {
  files: ['vocab.json', 'merges.txt'],
  read: async (folder: Files) => {
    const vocab = await folder.json('vocab.json');
    const lines = await folder.lines('merges.txt');
    // The first line says the version.
    const merges = lines.flatMap(({ line, number }) => (number > 1 ? [line] : []));
    return { ids: vocab, parts: { model: { type: 'BPE', vocab, merges } } };
  },
};
const LISTED = {
  files: ['vocab.txt'],
  read: async (folder: Files) => {
    const lines = await folder.lines('vocab.txt');
    const vocab = Object.fromEntries(lines.map(({ line, number }) => [line, number - 1]));
    return { ids: vocab, parts: { model: { type: 'WordPiece', vocab } } };
  },
};

const byteLevel = ({ add_prefix_space: isPrefixed }: JsonObject) => ({
  type: 'ByteLevel',
  add_prefix_space: isPrefixed ?? false,
});

const gpt2: Kind = {
  ...MERGED,
  special: { bos_token: END, eos_token: END, unk_token: END },
  make: (settings, special) => ({
    pre_tokenizer: byteLevel(settings),
    post_processor:
      settings.add_bos_token === true ? around([special('bos_token')], []) : byteLevel(settings),
  }),
};
const roberta: Kind = {
  ...MERGED,
  special: { ...ANGLED, unk_token: '<unk>' },
  make: (settings, special) => ({
    pre_tokenizer: byteLevel(settings),
    post_processor: around([special('cls_token')], [special('sep_token')]),
  }),
};
const deberta: Kind = { ...roberta, special: { ...SQUARE, unk_token: '[UNK]' } };
/** In small letters, and the last letter of a word is another one. */
const clip: Kind = {
  ...MERGED,
  special: { bos_token: '<|startoftext|>', eos_token: END, unk_token: END, pad_token: END },
  make: (_, special) => ({
    model: { unk_token: special('unk_token')[0], continuing_subword_prefix: '', end_of_word_suffix: '</w>' },
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Lowercase' }] },
    pre_tokenizer: {
      type: 'Sequence',
      pretokenizers: [
        {
          type: 'Split',
          pattern: { Regex: "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+" },
          behavior: 'Removed',
          invert: true,
        },
        byteLevel({}),
      ],
    },
    post_processor: around([special('bos_token')], [special('eos_token')]),
  }),
};
const bert: Kind = {
  ...LISTED,
  special: { ...SQUARE, unk_token: '[UNK]' },
  make: (settings, special) => ({
    model: {
      unk_token: special('unk_token')[0],
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
    },
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: settings.tokenize_chinese_chars ?? true,
      strip_accents: settings.strip_accents ?? null,
      lowercase: settings.do_lower_case ?? true,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: around([special('cls_token')], [special('sep_token')]),
  }),
};

/** Letters of proteins, whatever stands between them. */
const esm: Kind = {
  ...LISTED,
  special: {
    cls_token: '<cls>',
    eos_token: '<eos>',
    pad_token: '<pad>',
    mask_token: '<mask>',
    unk_token: '<unk>',
  },
  make: (_, special) => ({
    model: { type: 'BPE', merges: [], unk_token: special('unk_token')[0], fuse_unk: true },
    pre_tokenizer: { type: 'WhitespaceSplit' },
    post_processor: around([special('cls_token')], [special('eos_token')]),
  }),
};

/**
 * Of a SentencePiece model.
 *
 * @param arranged  its pieces where the tokenizer's ids are those of another list
 * @param isListed  whether that is vocab.json
 */
function pieced(
  file: string,
  {
    arranged = (model) => model,
    isListed = false,
    ...kind
  }: Pick<Kind, 'special' | 'make' | 'languageToken'> & { arranged?: Arrangement; isListed?: boolean },
): Kind {
  return {
    ...kind,
    files: [file, ...(isListed ? [LIST] : [])],
    async read(folder, settings) {
      const { idsOf, partsOf, readSentencePieces } = await import('./sentencepiece.ts').catch(
        unloaded('what reads SentencePiece models'),
      ); // which few folders need
      const read = readSentencePieces(await folder.bytes(file), folder.path(file));
      const isPrefixed = read.isPrefixed && settings.add_prefix_space !== false;
      const given = isListed ? listed(read, await folder.json(LIST), folder.path(LIST)) : read;
      const model = arranged({ ...given, isPrefixed }, settings);
      return { ids: idsOf(model.pieces), parts: partsOf(model), whole: model.whole };
    },
  };
}
const LIST = 'vocab.json';

/** A noncharacter, before what no text is to be taken for. */
const UNSAID = '\uffff';

/** With the ids of a list of tokens. Those that are no pieces are of other languages, or told apart from a text before. */
function listed(model: SentencePieces, ids: JsonObject, path: string): SentencePieces {
  const scores = new Map(model.pieces);
  const tokens = Object.entries(ids);
  const pieces: Piece[] = tokens.map((_, id) => [`${UNSAID}${id}`, 0]);
  for (const [token, id] of tokens) {
    if (typeof id !== 'number' || pieces[id] === undefined)
      throw new FormatError(
        `"${path}": the id of ${said(token)} expected a whole number below ${tokens.length}, got ${said(id)}`,
      );
    const score = model.whole.includes(token) ? undefined : scores.get(token);
    pieces[id] = score === undefined ? [UNSAID + token, 0] : [token, score];
  }
  const whole = tokens.flatMap(([token]) => (/^>>.+<<$/.test(token) ? [token] : []));
  return { ...model, pieces, unknown: Number(ids['<unk>']), whole };
}
type Arrangement = (model: SentencePieces, settings: JsonObject) => SentencePieces;

const noScore = (texts: readonly string[]) => texts.map((text): Piece => [text, 0]);
const betweenEnds = (_: JsonObject, special: (name: string) => SpecialToken) => ({
  post_processor: around([special('cls_token')], [special('sep_token')]),
});

/** Pieces of which the first few have other names and places than in the file. */
const begun =
  (first: readonly string[], from: number, last: readonly string[] = []): Arrangement =>
  (model) => ({
    ...model,
    pieces: [...noScore(first), ...model.pieces.slice(from), ...noScore([...last, '<mask>'])],
    unknown: first.indexOf('<unk>'),
    whole: [...model.whole, ...last],
  });
const FAIRSEQ = ['<s>', '<pad>', '</s>', '<unk>'];
const debertaV2 = pieced('spm.model', {
  special: { ...SQUARE, unk_token: '[UNK]' },
  arranged: (model, settings) => {
    for (const key of ['do_lower_case', 'split_by_punct'])
      if (settings[key] === true) throw new InputError(`${CONFIG}: "${key}" of DeBERTa is not supported`);
    const isThere = model.pieces.some(([text]) => text === SQUARE.mask_token);
    return isThere ? model : { ...model, pieces: [...model.pieces, ...noScore([SQUARE.mask_token])] };
  },
  make: betweenEnds,
});
const xlmRoberta = pieced('sentencepiece.bpe.model', {
  special: { ...ANGLED, unk_token: '<unk>' },
  arranged: begun(FAIRSEQ, 3),
  make: betweenEnds,
});
const camembert = pieced('sentencepiece.bpe.model', {
  special: { ...ANGLED, unk_token: '<unk>' },
  arranged: begun(['<s>NOTUSED', '<pad>', '</s>NOTUSED', '<unk>', '<unk>NOTUSED'], 1),
  make: betweenEnds,
});
const LANGUAGES =
  'ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN'.split(
    ' ',
  );
const OTHER_LANGUAGES =
  'af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI'.split(
    ' ',
  );
/** The language of a text is told behind its end, or before it where there are fifty. */
const mbart = (languages: readonly string[], isBefore: boolean) =>
  pieced('sentencepiece.bpe.model', {
    special: { ...ANGLED, unk_token: '<unk>', src_lang: 'en_XX' },
    arranged: begun(FAIRSEQ, 3, languages),
    make: (_, special) => {
      const [language, end] = [special('src_lang'), special('eos_token')];
      return { post_processor: isBefore ? around([language], [end]) : around([], [end, language]) };
    },
  });
/** Far above those of any T5 and Pegasus. */
const MOST_EXTRA = 10_000;
function extraOf(settings: JsonObject, key: string, otherwise: number): number {
  const extra = settings[key] ?? otherwise;
  const count = Number(extra);
  if (Number.isInteger(count) && count >= 0 && count <= MOST_EXTRA) return count;
  throw new InputError(
    `${CONFIG}: "${key}" expected a whole number of at most ${MOST_EXTRA}, got ${said(extra)}`,
  );
}
const t5 = pieced('spiece.model', {
  special: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' },
  arranged: (model, settings) => {
    const count = extraOf(settings, 'extra_ids', 100);
    const others = Array.from({ length: count }, (_, i) => `<extra_id_${count - 1 - i}>`);
    return { ...model, pieces: [...model.pieces, ...noScore(others)], whole: [...model.whole, ...others] };
  },
  make: (_, special) => ({ post_processor: around([], [special('eos_token')]) }),
});
/** What was masked in training has ids before all pieces but the first two. */
const pegasus = pieced('spiece.model', {
  special: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' },
  arranged: (model, settings) => {
    const offset = extraOf(settings, 'offset', 103);
    const masks = offset === 0 ? [] : ['<mask_1>', '<mask_2>'];
    const others = Array.from({ length: Math.max(offset - 2, 0) }, (_, i) => `<unk_${i + 2}>`);
    const pieces = [...noScore(['<pad>', '</s>', ...masks, ...others]), ...model.pieces.slice(2)];
    return {
      ...model,
      pieces,
      unknown: model.unknown + offset,
      whole: [...model.whole, ...masks, ...others],
    };
  },
  make: (_, special) => ({ post_processor: around([], [special('eos_token')]) }),
});
/** What a text is to be translated into may be said before it, as `>>fra<<`. */
const marian = pieced('source.spm', {
  isListed: true,
  special: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>' },
  make: (_, special) => ({ post_processor: around([], [special('eos_token')]) }),
});
const LANGUAGES_OF_M2M =
  'af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu';
const LANGUAGES_OF_WMT = 'en ha is ja cs ru zh de';
const languageToken = (code: string) => `__${code}__`;
const m2m = pieced('sentencepiece.bpe.model', {
  isListed: true,
  special: { eos_token: '</s>', unk_token: '<unk>', pad_token: '<pad>', src_lang: 'en' },
  languageToken,
  arranged: (model, { language_codes: codes }) => {
    const all = (codes === 'wmt21' ? LANGUAGES_OF_WMT : LANGUAGES_OF_M2M).split(' ').map(languageToken);
    return { ...model, pieces: [...model.pieces, ...noScore(all)], whole: all };
  },
  make: (_, special) => ({ post_processor: around([special('src_lang')], [special('eos_token')]) }),
});
const llama = pieced('tokenizer.model', {
  special: { bos_token: '<s>', eos_token: '</s>', unk_token: '<unk>' },
  make: ({ add_bos_token: begins, add_eos_token: ends }, special) => ({
    post_processor: around(
      begins === false ? [] : [special('bos_token')],
      ends === true ? [special('eos_token')] : [],
    ),
  }),
});

/** By `tokenizer_class`, or where there is none by `model_type`. */
export const KINDS: ReadonlyMap<unknown, Kind> = new Map<unknown, Kind>([
  ...['GPT2Tokenizer', 'CodeGenTokenizer', 'gpt2', 'gpt_neo', 'gptj', 'opt', 'phi'].map(
    (name) => [name, gpt2] as const,
  ),
  ...['RobertaTokenizer', 'BartTokenizer', 'LongformerTokenizer', 'roberta', 'bart', 'data2vec-text'].map(
    (name) => [name, roberta] as const,
  ),
  ...['DebertaTokenizer', 'deberta'].map((name) => [name, deberta] as const),
  ...['CLIPTokenizer', 'clip_text_model'].map((name) => [name, clip] as const),
  ...[
    'BertTokenizer',
    'DistilBertTokenizer',
    'ElectraTokenizer',
    'ErnieTokenizer',
    'bert',
    'ernie',
    'distilbert',
    'electra',
  ].map((name) => [name, bert] as const),
  ...['MPNetTokenizer', 'mpnet'].map(
    (name) => [name, { ...bert, special: { ...ANGLED, unk_token: '[UNK]' } }] as const,
  ),
  ...['EsmTokenizer', 'esm'].map((name) => [name, esm] as const),
  ...['DebertaV2Tokenizer', 'deberta-v2'].map((name) => [name, debertaV2] as const),
  ...['XLMRobertaTokenizer', 'xlm-roberta', 'xlm-roberta-xl'].map((name) => [name, xlmRoberta] as const),
  ...['CamembertTokenizer', 'camembert'].map((name) => [name, camembert] as const),
  ...['T5Tokenizer', 'MT5Tokenizer', 't5', 'mt5', 'umt5'].map((name) => [name, t5] as const),
  ...['MBartTokenizer', 'mbart'].map((name) => [name, mbart(LANGUAGES, false)] as const),
  ['MBart50Tokenizer', mbart([...LANGUAGES, ...OTHER_LANGUAGES], true)],
  ...['MarianTokenizer', 'marian'].map((name) => [name, marian] as const),
  ...['M2M100Tokenizer', 'm2m_100'].map((name) => [name, m2m] as const),
  ...['PegasusTokenizer', 'pegasus'].map((name) => [name, pegasus] as const),
  ...['LlamaTokenizer', 'InternLM2Tokenizer', 'llama', 'mistral', 'internlm2'].map(
    (name) => [name, llama] as const,
  ),
]);

function around(before: readonly SpecialToken[], behind: readonly SpecialToken[]): JsonObject {
  const pieces = (tokens: readonly SpecialToken[]) =>
    tokens.map(([id]) => ({ SpecialToken: { id, type_id: 0 } }));
  const special = [...before, ...behind].map(([token, id]) => [
    token,
    { id: token, ids: [id], tokens: [token] },
  ]);
  return {
    type: 'TemplateProcessing',
    single: [...pieces(before), { Sequence: { id: 'A', type_id: 0 } }, ...pieces(behind)],
    special_tokens: Object.fromEntries(special),
  };
}

/** What tokenizer.json would say. @param given  what the folder says of special tokens */
export async function made(
  kind: Kind,
  folder: Files,
  given: JsonObject,
  added: JsonObject,
): Promise<JsonObject> {
  const { ids: own, parts, whole = [] } = await kind.read(folder, given);
  // What no text is taken for is there by its name all the same.
  const named = Object.entries(own).map(([token, id]) => [token.replace(UNSAID, ''), id]);
  const ids = { ...Object.fromEntries(named), ...added };
  const contentOf = (name: string) => {
    const token = given[name] ?? kind.special[name];
    const content = isObject(token) ? token.content : token;
    const isCode = name === 'src_lang' && typeof content === 'string';
    return isCode ? (kind.languageToken?.(content) ?? content) : content;
  };
  const special = (name: string): SpecialToken => {
    const content = contentOf(name);
    if (typeof content === 'string' && Object.hasOwn(ids, content)) return [content, ids[content]];
    throw new InputError(`"${folder.name}": its ${name} ${said(content)} is not in ${kind.files[0]}`);
  };
  const names = new Set([...Object.keys(kind.special).map(contentOf), ...whole, ...Object.keys(added)]);
  const known = [...names].filter((token) => Object.hasOwn(ids, String(token)));
  const made = kind.make(given, special);
  return {
    ...parts,
    ...made,
    model: { ...parts.model, ...(made.model as object) },
    added_tokens: known.map((content) => ({ id: ids[String(content)], content, special: true })),
  };
}
