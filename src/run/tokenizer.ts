// The tokenizer in a folder: tokenizer.json, or what transformers makes one of where a model is older than these.

import { type Folder, pathIn, readJson } from '../checkpoint/folder.ts';
import { InputError } from '../errors.ts';
import { isObject, said } from '../expect.ts';
import { checkJsonBytes, decodeUtf8, type JsonObject } from '../json.ts';
import { limits } from '../limits.ts';
import { linesOf } from './lines.ts';
import { isFolder, type Place, readJsonAt } from './place.ts';

const TOKENIZER = 'tokenizer.json';
/** Says which special tokens are added. */
const CONFIG = 'tokenizer_config.json';
const SPECIAL = 'special_tokens_map.json';
const ADDED = 'added_tokens.json';

/** The contents of its two files. */
export interface TokenizerFiles {
  readonly json: object;
  readonly config?: object;
}

/** @param text  that it is for, in messages */
export async function readTokenizer(text: string, place: Place | undefined): Promise<TokenizerFiles> {
  if (place === undefined) {
    throw new InputError(
      `"${text}": text needs a tokenizer; give a folder with tokenizer.json (\`tokenizer\`)`,
    );
  }
  if (!(await isFolder(place))) {
    const json = await readJsonAt(place, limits.tokenizerBytes);
    if (isObject(json.model)) return { json };
    throw new InputError(`"${place.path}": a tokenizer has a "model", and there is none; give ${TOKENIZER}`);
  }
  // As a model's folder: it may have come from a stranger, with links and pipes in it.
  const folder = await place.openFolder();
  try {
    const files = new Set(await folder.list());
    const optional = async (file: string) =>
      files.has(file) ? await readJson(folder, file, limits.jsonBytes) : undefined;
    const config = await optional(CONFIG);
    if (files.has(TOKENIZER))
      return { json: await readJson(folder, TOKENIZER, limits.tokenizerBytes), ...(config && { config }) };
    const named = config?.tokenizer_class ?? (await optional('config.json'))?.model_type;
    const kind = KINDS.get(String(named).replace(/Fast$/, ''));
    if (!kind?.files.every((file) => files.has(file)))
      throw new InputError(
        `"${place.path}": there is no ${TOKENIZER} in it; name one with \`tokenizer\`, give token ids (.npy), or have transformers write it: ` +
          `python -c "import sys, transformers as t; t.AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[1])" FOLDER`,
      );
    const given = { ...(await optional(SPECIAL)), ...config };
    const json = await made(kind, folder, given, (await optional(ADDED)) ?? {});
    return { json, ...(config && { config }) };
  } finally {
    await folder.close();
  }
}

/** A kind of tokenizer: its files, the special tokens that it has where the folder says no others, and what it is made of. */
interface Kind {
  readonly files: readonly string[];
  readonly special: Readonly<Record<string, string>>;
  readonly read: (
    folder: Folder,
  ) => Promise<{ readonly vocab: JsonObject; readonly merges?: readonly string[] }>;
  readonly make: (settings: JsonObject, special: (name: string) => SpecialToken) => JsonObject;
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
  read: async (folder: Folder) => ({
    vocab: await readJson(folder, 'vocab.json', limits.tokenizerBytes),
    // The first line says the version.
    merges: (await readLines(folder, 'merges.txt')).flatMap(({ line, number }) => (number > 1 ? [line] : [])),
  }),
};
const LISTED = {
  files: ['vocab.txt'],
  read: async (folder: Folder) => ({
    vocab: Object.fromEntries(
      (await readLines(folder, 'vocab.txt')).map(({ line, number }) => [line, number - 1]),
    ),
  }),
};

const byteLevel = ({ add_prefix_space: isPrefixed }: JsonObject) => ({
  type: 'ByteLevel',
  add_prefix_space: isPrefixed ?? false,
});

const gpt2: Kind = {
  ...MERGED,
  special: { bos_token: END, eos_token: END, unk_token: END },
  make: (settings, special) => ({
    model: { type: 'BPE' },
    pre_tokenizer: byteLevel(settings),
    post_processor:
      settings.add_bos_token === true ? around([special('bos_token')], []) : byteLevel(settings),
  }),
};
const roberta: Kind = {
  ...MERGED,
  special: { ...ANGLED, unk_token: '<unk>' },
  make: (settings, special) => ({
    model: { type: 'BPE' },
    pre_tokenizer: byteLevel(settings),
    post_processor: around([special('cls_token')], [special('sep_token')]),
  }),
};
const bert: Kind = {
  ...LISTED,
  special: { ...SQUARE, unk_token: '[UNK]' },
  make: (settings, special) => ({
    model: {
      type: 'WordPiece',
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

/** By `tokenizer_class`, or where there is none by `model_type`. */
const KINDS: ReadonlyMap<unknown, Kind> = new Map<unknown, Kind>([
  ...['GPT2Tokenizer', 'CodeGenTokenizer', 'gpt2', 'gpt_neo', 'gptj', 'opt', 'phi'].map(
    (name) => [name, gpt2] as const,
  ),
  ...['RobertaTokenizer', 'BartTokenizer', 'LongformerTokenizer', 'roberta', 'bart'].map(
    (name) => [name, roberta] as const,
  ),
  ...['BertTokenizer', 'DistilBertTokenizer', 'ElectraTokenizer', 'bert', 'distilbert', 'electra'].map(
    (name) => [name, bert] as const,
  ),
  ...['MPNetTokenizer', 'mpnet'].map(
    (name) => [name, { ...bert, special: { ...ANGLED, unk_token: '[UNK]' } }] as const,
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
async function made(kind: Kind, folder: Folder, given: JsonObject, added: JsonObject): Promise<JsonObject> {
  const { vocab, merges } = await kind.read(folder);
  const ids = { ...vocab, ...added };
  const contentOf = (name: string) => {
    const token = given[name] ?? kind.special[name];
    return isObject(token) ? token.content : token;
  };
  const special = (name: string): SpecialToken => {
    const content = contentOf(name);
    if (typeof content === 'string' && Object.hasOwn(ids, content)) return [content, ids[content]];
    throw new InputError(`"${folder.name}": its ${name} ${said(content)} is not in ${kind.files[0]}`);
  };
  const names = new Set([...Object.keys(kind.special).map(contentOf), ...Object.keys(added)]);
  const known = [...names].filter((token) => Object.hasOwn(ids, String(token)));
  const { model, ...parts } = kind.make(given, special);
  return {
    ...parts,
    model: { ...(model as object), vocab, ...(merges && { merges }) },
    added_tokens: known.map((content) => ({ id: ids[String(content)], content, special: true })),
  };
}

async function readLines(folder: Folder, file: string) {
  const path = pathIn(folder, file);
  const size = await folder.size(file);
  checkJsonBytes(size, limits.tokenizerBytes, path);
  return [...linesOf(decodeUtf8(await folder.read(file, 0, size), `"${path}"`), path)];
}
