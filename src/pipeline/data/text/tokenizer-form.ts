// What a tokenizer.json has to be before the library is given it, which trusts the file: what it would trip over, or take for
// something else, is looked for here, and said to it in other words where it has some.

import { FormatError, InputError } from '../../../errors.ts';
import { isObject, said } from '../../../expect.ts';
import type { JsonObject } from '../../../json.ts';
import { charsmap } from './charsmap.ts';

/** Ids are below: samples are float32, which holds whole numbers up to here exactly. */
export const TOKEN_IDS = 2 ** 24;

export function isTokenId(id: unknown): id is number {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < TOKEN_IDS;
}

const MODELS = ['BPE', 'WordPiece', 'Unigram', 'WordLevel'];

/**
 * The tokenizer as the library is to be given it.
 *
 * @throws {FormatError} naming the field that is malformed or of an unknown kind
 */
export function checkedTokenizer(json: JsonObject, config: JsonObject): JsonObject {
  checkModel(json.model);
  const added = (json.added_tokens ?? []) as AddedToken[];
  checkAddedTokens(added);
  checkConfig(config);
  const ids = idsOf(json.model as JsonObject, added);
  const parts = Object.fromEntries(PARTS.map((part) => [part, partOf(json[part], part, ids)]));
  checkCoverage(json);
  // Ids are never turned into text here.
  return { ...json, ...parts, model: modelOf(json.model as JsonObject), added_tokens: added, decoder: null };
}

const PARTS = ['normalizer', 'pre_tokenizer', 'post_processor'];

export const malformed = (problem: string, cause?: unknown) =>
  new FormatError(`tokenizer.json: ${problem}`, { cause });

const isText = (value: unknown) => typeof value === 'string';
const isAbsent = (value: unknown) => value === undefined || value === null;
const isListOf = (is: (value: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) && value.every(is);
/** A text and something else. */
const isPairWith = (is: (value: unknown) => boolean) => (value: unknown) =>
  Array.isArray(value) && value.length === 2 && isText(value[0]) && is(value[1]);

/** @throws {FormatError} naming the field */
function check(isExpected: boolean, field: string, expected: string): void {
  if (!isExpected) throw malformed(`"${field}" expected ${expected}`);
}

function checkModel(model: unknown): void {
  if (!isObject(model)) throw malformed('"model" expected an object');
  const { type, vocab, merges } = model;
  // The library would take it for another by its fields. Files of old have no type.
  if (!isAbsent(type) && !MODELS.includes(type as string)) {
    throw malformed(`model ${JSON.stringify(type)} is not supported (${MODELS.join(', ')} are)`);
  }
  const isVocabulary =
    type === 'Unigram' || Array.isArray(vocab)
      ? isListOf(isPairWith(Number.isFinite))
      : (it: unknown) => isObject(it) && Object.values(it).every(isTokenId);
  check(isVocabulary(vocab), 'model.vocab', `tokens with ids, whole numbers below ${TOKEN_IDS}`);
  if (isObject(vocab)) checkIdsDiffer(vocab as Record<string, number>);
  // Without a type the library takes one by the form of its vocabulary.
  if (type === 'Unigram' || (isAbsent(type) && Array.isArray(vocab))) {
    const { unk_id: unknown } = model;
    const isIn = isTokenId(unknown) && unknown < (vocab as unknown[]).length;
    check(isIn, 'model.unk_id', 'the position of a token');
  }
  const isMerges = isListOf(isText)(merges) || isListOf(isPairWith(isText))(merges);
  check(type === 'BPE' ? isMerges : isAbsent(merges) || isMerges, 'model.merges', 'pairs of tokens');
  const { continuing_subword_prefix: prefix, max_input_chars_per_word: most } = model;
  if (isMerges) {
    check(isAbsent(prefix) || prefix === '', 'model.continuing_subword_prefix', 'nothing beside merges');
    checkMerges(merges as (string | [string, string])[], vocab as object);
  }
  if (type !== 'WordPiece') return;
  check(isText(prefix), 'model.continuing_subword_prefix', 'a string');
  check(isAbsent(most) || isTokenId(most), 'model.max_input_chars_per_word', 'a whole number');
}

/** Without a token for unknown text the library drops it. What is no token has no id, which is seen. */
const modelOf = (model: JsonObject): JsonObject => ({ ...model, unk_token: model.unk_token ?? false });

/** Two words that are one to the model are none that any tokenizer was saved with. */
function checkIdsDiffer(vocabulary: Readonly<Record<string, number>>): void {
  const taken = new Uint8Array(TOKEN_IDS);
  for (const [token, id] of Object.entries(vocabulary)) {
    if (taken[id]++) throw malformed(`"model.vocab" has the id ${id} twice, once for ${said(token)}`);
  }
}

/** What a merge gives would be dropped from the text, or be unknown text, where the vocabulary lacks it. */
function checkMerges(merges: readonly (string | [string, string])[], vocabulary: object): void {
  for (const [i, merge] of merges.entries()) {
    const pair = isText(merge) ? (merge as string).split(' ') : (merge as [string, string]);
    check(pair.length === 2, `model.merges[${i}]`, `two tokens, got ${said(merge)}`);
    const lacking = [...pair, pair.join('')].find((token) => !Object.hasOwn(vocabulary, token));
    if (lacking !== undefined)
      throw malformed(`"model.merges[${i}]" is of ${said(lacking)}, which is not in the vocabulary`);
  }
}

interface AddedToken {
  readonly id: number;
  readonly content: string;
}

function checkAddedTokens(tokens: unknown): void {
  const isToken = (it: unknown) =>
    isObject(it) && isTokenId(it.id) && isText(it.content) && it.content !== '';
  check(isListOf(isToken)(tokens), 'added_tokens', 'objects with "id" and "content"');
  // The library would find it inside of words too.
  const word = (tokens as (AddedToken & JsonObject)[]).find((it) => it.single_word === true);
  if (word)
    throw malformed(`"added_tokens" has ${said(word.content)} as "single_word", which is not supported`);
}

/** Of all tokens. @throws {FormatError} where one has two */
function idsOf({ vocab }: JsonObject, added: readonly AddedToken[]): Map<string, number> {
  const ids = new Map<string, number>(
    Array.isArray(vocab) ? vocab.map(([token], id) => [token, id]) : Object.entries(vocab as object),
  );
  for (const { id, content } of added) {
    const other = ids.get(content) ?? id;
    if (other !== id)
      throw malformed(`"added_tokens" has ${said(content)} with the id ${id}, elsewhere it is ${other}`);
    ids.set(content, id);
  }
  return ids;
}

/** Of tokenizer_config.json, what the library looks at where it takes text apart. */
function checkConfig(config: JsonObject): void {
  for (const field of ['remove_space', 'do_lowercase_and_remove_accent']) {
    const value = config[field];
    if (!isAbsent(value) && typeof value !== 'boolean')
      throw new FormatError(`tokenizer_config.json: "${field}" expected true or false, got ${said(value)}`);
  }
}

const isOneOf = (...all: readonly string[]) =>
  [(it: unknown) => all.includes(it as string), `one of ${all.join(', ')}`] as const;
const FLAG = [(it: unknown) => typeof it === 'boolean', 'true or false'] as const;
const STRING = [isText, 'a string'] as const;
const TEMPLATE = [isListOf(isPiece), 'a list of "SpecialToken" and "Sequence"'] as const;
const SPECIAL = [isPairWith(isTokenId), 'a token and its id'] as const;

/** What the parts of a tokenizer hold beside their type: fields by name, absent or of this form. */
const FIELDS: Readonly<Record<string, readonly [is: (value: unknown) => boolean, expected: string]>> = {
  pattern: [
    (it) => isObject(it) && [it.Regex, it.String].filter(isText).length === 1,
    'an object with a string "Regex" or "String"',
  ],
  behavior: isOneOf('Removed', 'Isolated', 'MergedWithPrevious', 'MergedWithNext', 'Contiguous'),
  prepend_scheme: isOneOf('always', 'first', 'never'),
  single: TEMPLATE,
  pair: TEMPLATE,
  cls: SPECIAL,
  sep: SPECIAL,
  length: [(it) => isTokenId(it) && it > 0, 'a whole number above 0'],
  content: STRING,
  prepend: STRING,
  replacement: STRING,
  str_rep: STRING,
  precompiled_charsmap: [
    (it) => isText(it) && charsmap(it as string) !== undefined,
    'a map of characters in base64, as SentencePiece compiles it',
  ],
  invert: FLAG,
  use_regex: FLAG,
  add_prefix_space: FLAG,
  individual_digits: FLAG,
  split: FLAG,
  lowercase: FLAG,
  clean_text: FLAG,
  handle_chinese_chars: FLAG,
  strip_accents: FLAG,
  strip_left: FLAG,
  strip_right: FLAG,
};
/** And what they are made of. */
const LISTS = ['normalizers', 'pretokenizers', 'processors'];
const REQUIRED: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['TemplateProcessing', ['single']],
  ['BertProcessing', ['cls', 'sep']],
  ['RobertaProcessing', ['cls', 'sep']],
  ['Replace', ['pattern', 'content']],
  ['Prepend', ['prepend']],
  ['Split', ['pattern', 'behavior']],
  ['FixedLength', ['length']],
  ['Precompiled', ['precompiled_charsmap']],
]);

function isPiece(it: unknown): boolean {
  if (!isObject(it)) return false;
  const { SpecialToken: special, Sequence: sequence } = it;
  return [special, sequence].some((piece) => isObject(piece) && isText(piece.id));
}

/** A normalizer, a pre-tokenizer or a post-processor as the library is to be given it. */
function partOf(part: unknown, at: string, ids: ReadonlyMap<string, number>): JsonObject | null {
  if (isAbsent(part)) return null;
  if (!isObject(part) || !isText(part.type))
    throw malformed(`"${at}" expected an object with a string "type"`);
  for (const [field, [is, expected]] of Object.entries(FIELDS)) {
    const isNeeded = REQUIRED.get(part.type)?.includes(field);
    if (isNeeded || !isAbsent(part[field])) check(is(part[field]), `${at}.${field}`, expected);
  }
  checkSpecialTokens(part, at, ids);
  const lists = LISTS.filter((list) => !isAbsent(part[list])).map((list) => {
    const parts = part[list];
    check(Array.isArray(parts), `${at}.${list}`, 'a list');
    const inner = (parts as unknown[]).map((it, i) => partOf(it, `${at}.${list}[${i}]`, ids));
    return [list, inner.filter((it) => it !== null)];
  });
  if (part.type === 'Split') return splitOf(part, at);
  if (part.type === 'Punctuation') return punctuationOf(part, at);
  if (part.type === 'Whitespace') return WORDS;
  if (part.type === 'Replace') return { ...part, content: literally(part.content as string) };
  if (part.type === 'Digits') return digitsOf(part);
  if (part.type === 'Metaspace') return metaspaceOf(part, at);
  return { ...part, ...Object.fromEntries(lists) };
}

/** A special token that is not there, or has another id there, would be another one in every text. */
function checkSpecialTokens(part: JsonObject, at: string, ids: ReadonlyMap<string, number>): void {
  const expectId = (token: string, id: unknown, field: string) => {
    const known = ids.get(token);
    if (known === undefined) throw malformed(`"${at}.${field}" has ${said(token)}, which is no token`);
    check(id === known, `${at}.${field}`, `${said(token)} to be ${known}, got ${said(id)}`);
  };
  for (const field of ['cls', 'sep'])
    if (!isAbsent(part[field])) expectId(...(part[field] as [string, number]), field);
  if (part.type !== 'TemplateProcessing') return;
  const single = part.single as { SpecialToken?: { id: string }; Sequence?: { id: string } }[];
  const texts = single.flatMap(({ Sequence: sequence }) => (sequence ? [sequence.id] : []));
  check(texts.join() === 'A', `${at}.single`, 'the text, "A", once');
  const { special_tokens: meant } = part;
  for (const { SpecialToken: special } of single) {
    if (!special) continue;
    const entry = isObject(meant) && Object.hasOwn(meant, special.id) ? meant[special.id] : undefined;
    const of = isObject(entry) && Array.isArray(entry.ids) ? entry.ids : [ids.get(special.id)];
    expectId(special.id, of.length === 1 ? of[0] : of, 'single');
  }
}

/** The library leaves out what a text of `invert` does not match, and knows no merging. */
function splitOf(part: JsonObject, at: string): JsonObject {
  const { pattern, behavior, invert } = part;
  const { String: text } = pattern as { readonly String?: string };
  const given = (source: string, isInverted: boolean): JsonObject => ({
    ...part,
    pattern: { Regex: source },
    behavior: 'Removed',
    invert: isInverted,
  });
  const literal = text?.replaceAll(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
  if (behavior === 'Isolated') return { ...part, invert: false };
  if (behavior === 'Removed') return literal === undefined ? part : given(literal, invert === true);
  if (literal === undefined || literal === '' || invert === true)
    throw malformed(`"${at}.behavior" ${said(behavior)} is supported of a "String" alone, not inverted`);
  const other = `(?:(?!${literal})[\\s\\S])`;
  if (behavior === 'Contiguous') return given(`(?:${literal})+|${other}+`, true);
  const merged = behavior === 'MergedWithNext' ? `${literal}${other}*` : `${other}*${literal}`;
  return given(`${merged}|${other}+`, true);
}

/** The library replaces as JavaScript does, where a dollar means something. */
const literally = (content: string) => content.replaceAll('$', '$$$$');

/** The library does not know the field of old, nor that each mark begins a piece. */
function metaspaceOf(part: JsonObject, at: string): JsonObject {
  const { prepend_scheme: scheme, add_prefix_space: isPrefixed, replacement = '▁', split } = part;
  const marked = { ...part, prepend_scheme: scheme ?? (isPrefixed === false ? 'never' : 'always') };
  if (split === false) return marked;
  const pieces = splitOf({ type: 'Split', pattern: { String: replacement }, behavior: 'MergedWithNext' }, at);
  return { type: 'Sequence', pretokenizers: [marked, pieces] };
}

/** The library knows no digits but those of ASCII there. */
function digitsOf({ individual_digits: isEach }: JsonObject): JsonObject {
  const pattern = { Regex: isEach === true ? '\\p{N}' : '\\p{N}+' };
  return { type: 'Split', pattern, behavior: 'Isolated', invert: false };
}

/** The library knows no letters but those of ASCII there. */
const WORDS: JsonObject = {
  type: 'Split',
  pattern: { Regex: '\\w+|[^\\w\\s]+' },
  behavior: 'Removed',
  invert: true,
};

/** The library takes a row of marks as one. */
function punctuationOf(part: JsonObject, at: string): JsonObject {
  const { behavior } = part;
  if (behavior === 'Contiguous') return part;
  const isKnown = isAbsent(behavior) || behavior === 'Isolated';
  check(isKnown, `${at}.behavior`, 'Isolated or Contiguous of Punctuation');
  return { type: 'Split', pattern: { Regex: PUNCTUATION }, behavior: 'Isolated', invert: false };
}

/** A mark: Unicode's, and what else is printable ASCII and neither letter nor digit. */
const PUNCTUATION = '[\\p{P}\\u0021-\\u002F\\u003A-\\u0040\\u005B-\\u0060\\u007B-\\u007E]';

/** What stands for a byte of text that no other token is of. */
export const byteToken = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

/**
 * Bytes that a byte-level vocabulary lacks would be dropped without a word.
 * @throws {InputError} where a text may hold what the vocabulary has no entry for, not even one for unknown text
 */
function checkCoverage({ model, pre_tokenizer }: JsonObject): void {
  const { vocab: vocabulary, unk_token: unknown, byte_fallback: fallback } = model as JsonObject;
  if (!isObject(vocabulary)) return; // Unigram always has an unknown token
  const isByteLevel = (it: unknown): boolean =>
    isObject(it) &&
    (it.type === 'ByteLevel' || (Array.isArray(it.pretokenizers) && it.pretokenizers.some(isByteLevel)));
  let missing = 0;
  if (isByteLevel(pre_tokenizer)) {
    // Printable Latin-1 stands for itself, the other bytes for the characters from 256 on.
    let other = 256;
    for (let byte = 0; byte < 256; byte++) {
      const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
      if (!Object.hasOwn(vocabulary, String.fromCharCode(printable ? byte : other++))) missing++;
    }
  } else if (fallback) {
    for (let byte = 0; byte < 256; byte++) if (!Object.hasOwn(vocabulary, byteToken(byte))) missing++;
  }
  if (missing > 0 && !(isText(unknown) && Object.hasOwn(vocabulary, unknown as string))) {
    throw new InputError(
      `tokenizer.json: the vocabulary lacks ${missing} of the 256 bytes that text is made of, and a token for unknown text`,
    );
  }
}
