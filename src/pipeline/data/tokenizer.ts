// tokenizer.json to a function from text to token ids. The library trusts the file; what it would trip over, or take for
// something else, is looked for first.

import { Tokenizer } from '@huggingface/tokenizers';
import { FormatError, InputError, OsscarError } from '../../errors.ts';
import { isObject, type JsonObject } from '../../json.ts';

/** Text to token ids, with the special tokens that the tokenizer adds to a document. */
export type Encode = (text: string) => Int32Array;

/** Ids are below: samples are float32, which holds whole numbers up to here exactly. */
export const TOKEN_IDS = 2 ** 24;

export function isTokenId(id: unknown): id is number {
  return Number.isInteger(id) && (id as number) >= 0 && (id as number) < TOKEN_IDS;
}

const MODELS = ['BPE', 'WordPiece', 'Unigram', 'WordLevel'];

/**
 * A tokenizer from the files of a Hugging Face folder. Its regular expressions may take for ever on some texts: of a file
 * that nobody vouches for, open it with a {@link Guard}.
 *
 * @param tokenizer  of `tokenizer.json`, parsed
 * @param config  of `tokenizer_config.json`, parsed
 * @throws {FormatError} where the tokenizer is malformed or of an unknown kind; later, where it gives no id for a piece
 *   of a text
 *
 * @example
 * const encode = openTokenizer(JSON.parse(await readFile('opt-125m/tokenizer.json', 'utf8')));
 * const tokens = encode('In the beginning');
 */
export function openTokenizer(tokenizer: object, config: object = {}): Encode {
  const json = tokenizer as JsonObject;
  checkModel(json.model);
  checkAddedTokens(json.added_tokens);
  for (const part of ['normalizer', 'pre_tokenizer', 'post_processor']) checkPart(json[part], part);
  // Ids are never turned into text here.
  const encoder = named('it is malformed', () => new Tokenizer({ ...json, decoder: null }, config));
  checkCoverage(json);
  return (text) => {
    const { ids } = named('it cannot split the text', () => encoder.encode(text));
    const bad = ids.find((id) => !isTokenId(id));
    if (bad !== undefined || ids.includes(undefined as never)) {
      throw malformed(
        `it gives the id ${bad} to a piece of the text, expected whole numbers below ${TOKEN_IDS}`,
      );
    }
    return Int32Array.from(ids);
  };
}

const malformed = (problem: string, cause?: unknown) =>
  new FormatError(`tokenizer.json: ${problem}`, { cause });

/** The library's own messages name what is unknown to it; those of V8 are of no use to anybody. */
function named<T>(problem: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    if (cause instanceof OsscarError) throw cause;
    const isSaid = cause instanceof Error && (cause.constructor === Error || cause instanceof SyntaxError);
    throw malformed(isSaid ? `${problem}: ${cause.message}` : problem, cause);
  }
}

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
  const ids = isObject(vocab) && Object.values(vocab).every(isTokenId);
  const isVocabulary =
    type === 'Unigram' || Array.isArray(vocab) ? isListOf(isPairWith(Number.isFinite)) : () => ids;
  check(isVocabulary(vocab), 'model.vocab', `tokens with ids, whole numbers below ${TOKEN_IDS}`);
  // Without a type the library takes one by the form of its vocabulary.
  if (type === 'Unigram' || (isAbsent(type) && Array.isArray(vocab))) {
    const { unk_id: unknown } = model;
    const isIn = isTokenId(unknown) && unknown < (vocab as unknown[]).length;
    check(isIn, 'model.unk_id', 'the position of a token');
  }
  const isMerges = isListOf(isText)(merges) || isListOf(isPairWith(isText))(merges);
  check(type === 'BPE' ? isMerges : isAbsent(merges) || isMerges, 'model.merges', 'pairs of tokens');
}

function checkAddedTokens(tokens: unknown): void {
  const isToken = (it: unknown) =>
    isObject(it) && isTokenId(it.id) && isText(it.content) && it.content !== '';
  check(isAbsent(tokens) || isListOf(isToken)(tokens), 'added_tokens', 'objects with "id" and "content"');
}

/** What the parts of a tokenizer hold beside their type: fields by name, absent or of this form. */
const FIELDS: Readonly<Record<string, readonly [is: (value: unknown) => boolean, expected: string]>> = {
  pattern: [
    (it) => isObject(it) && [it.Regex, it.String].some(isText),
    'an object with a string "Regex" or "String"',
  ],
  single: [isListOf(isPiece), 'a list of "SpecialToken" and "Sequence"'],
  pair: [isListOf(isPiece), 'a list of "SpecialToken" and "Sequence"'],
  cls: [isPairWith(isTokenId), 'a token and its id'],
  sep: [isPairWith(isTokenId), 'a token and its id'],
  length: [(it) => isTokenId(it) && it > 0, 'a whole number above 0'],
  content: [isText, 'a string'],
  prepend: [isText, 'a string'],
  replacement: [isText, 'a string'],
};
/** And what they are made of. */
const LISTS = ['normalizers', 'pretokenizers', 'processors'];
const REQUIRED: ReadonlyMap<unknown, readonly string[]> = new Map([
  ['TemplateProcessing', ['single']],
  ['BertProcessing', ['cls', 'sep']],
  ['RobertaProcessing', ['cls', 'sep']],
  ['Split', ['pattern']],
  ['FixedLength', ['length']],
]);

function isPiece(it: unknown): boolean {
  if (!isObject(it)) return false;
  const { SpecialToken: special, Sequence: sequence } = it;
  return [special, sequence].some((piece) => isObject(piece) && isText(piece.id));
}

function checkPart(part: unknown, at: string): void {
  if (isAbsent(part)) return;
  if (!isObject(part) || !isText(part.type))
    throw malformed(`"${at}" expected an object with a string "type"`);
  for (const [field, [is, expected]] of Object.entries(FIELDS)) {
    const isNeeded = REQUIRED.get(part.type)?.includes(field);
    if (isNeeded || !isAbsent(part[field])) check(is(part[field]), `${at}.${field}`, expected);
  }
  for (const list of LISTS) {
    const parts = part[list];
    if (isAbsent(parts)) continue;
    check(Array.isArray(parts), `${at}.${list}`, 'a list');
    for (const [i, inner] of (parts as unknown[]).entries()) checkPart(inner, `${at}.${list}[${i}]`);
  }
}

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
    const name = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    for (let byte = 0; byte < 256; byte++) if (!Object.hasOwn(vocabulary, name(byte))) missing++;
  }
  if (missing > 0 && !(isText(unknown) && Object.hasOwn(vocabulary, unknown as string))) {
    throw new InputError(
      `tokenizer.json: the vocabulary lacks ${missing} of the 256 bytes that text is made of, and a token for unknown text`,
    );
  }
}
