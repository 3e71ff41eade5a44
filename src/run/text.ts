// Text and token files as samples.

import { FormatError, InputError, OutOfMemoryError } from '../errors.ts';
import { said } from '../expect.ts';
import { otherDocument, TELLING } from '../formats.ts';
import { concatenate } from '../graph/index.ts';
import { type GuardedEncode, type GuardOptions, openGuard } from '../guard/index.ts';
import { decodeUtf8 } from '../json.ts';
import {
  arraySamples,
  consecutiveWindows,
  type Dataset,
  decodeNpy,
  type FeedSample,
  feedsDataset,
  isTokenMask,
  type ModelInput,
  npyTokens,
  spreadSamples,
  tokenWindows,
} from '../pipeline/index.ts';
import { named } from '../printable.ts';
import { drawFeeds, isPair, jsonLines } from './arrays.ts';
import { CLASS, IMAGE } from './labels.ts';
import { columnsOf, linesOf } from './lines.ts';
import type { Drawn } from './options.ts';
import { isFolder, type Place } from './place.ts';
import { readTokenizer } from './tokenizer.ts';

/** Calibration windows for a language model unless `samples` says otherwise: as in the paper. */
export const DEFAULT_WINDOWS = 128;

/**
 * A language model's samples, out of texts (.txt), documents (.jsonl with a field "text") or token ids (.npy).
 *
 * @param tokenizer  a folder with tokenizer.json, or such a file
 * @param seqlen  tokens per window
 * @param guarding  of the thread that the tokenizer runs on
 */
export function textSamples(tokenizer: Place | undefined, seqlen: number, guarding: GuardOptions) {
  async function windows(place: Place, cut: (tokens: Int32Array) => Dataset, samples = Infinity) {
    const tokens = await readTokens(place, tokenizer, guarding);
    const all = tokens instanceof Int32Array ? cut(tokens) : tokens;
    const [length] = all.shape;
    if (length === seqlen) return spreadSamples(all, samples);
    throw new InputError(`"${place.path}": windows of ${length} tokens, expected ${seqlen}; see \`seqlen\``);
  }
  return {
    seqlen,
    calibration: (place: Place, { samples, sampling, seed }: Drawn) => {
      const drawn = { samples: samples ?? DEFAULT_WINDOWS, seqlen, sampling, seed, name: place.path };
      return windows(place, (tokens) => tokenWindows(tokens, drawn), samples);
    },
    /** Windows of a text, one behind the other: all, or so many. */
    evaluation: (place: Place, { samples }: Drawn = {}) =>
      windows(place, (tokens) => consecutiveWindows(tokens, seqlen, place.path), samples),
  };
}

async function readTokens(
  place: Place,
  tokenizer: Place | undefined,
  guarding: GuardOptions,
): Promise<Int32Array | Dataset> {
  const { path } = place;
  const bytes = await readText(place);
  if (/\.npy$/i.test(path)) return npyTokens(decodeNpy(bytes, path), path);
  // As Python reads text files, and so the tokenizer's training did.
  const text = decodeUtf8(bytes, `"${path}"`).replaceAll('\r\n', '\n');
  if (INSTEAD.test(text) && !/\.(html?|xml)$/i.test(path))
    throw new FormatError(
      `"${path}": it is ${otherDocument(new TextEncoder().encode(text.slice(0, TELLING)))}`,
    );
  if (text.trim() === '') throw new InputError(`"${path}": there is no text in it`);
  return encoding(path, tokenizer, guarding, async (encode) => {
    if (!/\.jsonl$/i.test(path)) return (await encode([text]))[0];
    // Together, as they come: each on its own takes more than its tokens.
    const parts: Int32Array[] = [];
    for await (const ids of encodedFrom(documentsOf(text, path), encode))
      parts.push(concatenate(Int32Array, ids));
    return concatenate(Int32Array, parts);
  });
}

/** What a download leaves in the place of a text, or is no text but for its letters. */
const INSTEAD = /^(<!doctype html|<html|version https:\/\/git-lfs|%PDF-)/i;

/** Of which text is one column among others. */
const TABLE = /\.([ct]sv|parquet|feather|arrow|xlsx?)$/i;

/** The same where a table of two columns is read. */
const OTHER_TABLE = /\.(csv|parquet|feather|arrow|xlsx?)$/i;

/** @throws {InputError} saying what is expected, where it is something else */
async function readText(place: Place, tables = TABLE): Promise<Uint8Array> {
  const other = (await isFolder(place)) ? 'a folder' : IMAGE.test(place.path) && 'an image';
  if (other)
    throw new InputError(
      `"${place.path}": is ${other}; expected a file of text (.txt, .jsonl) or of token ids (.npy)`,
    );
  const kind = /\.json$/i.test(place.path) ? 'JSON' : tables.test(place.path) && 'a table';
  if (kind)
    throw new InputError(
      `"${place.path}": is ${kind}; expected text, or objects with a "text", one a line (.jsonl)`,
    );
  return place.read();
}

/** With the tokenizer, on the thread that can be ended. */
async function encoding<R>(
  path: string,
  tokenizer: Place | undefined,
  guarding: GuardOptions,
  run: (encode: GuardedEncode) => Promise<R>,
): Promise<R> {
  const { json, config } = await readTokenizer(path, tokenizer);
  const guard = openGuard(guarding);
  try {
    return await run(await guard.tokenizer(json, config));
  } catch (cause) {
    if (!(cause instanceof OutOfMemoryError)) throw cause;
    const what = `"${path}": ${cause.message}; give less text, or token ids (.npy)`;
    throw new OutOfMemoryError(what, cause.bytes, { cause });
  } finally {
    await guard.close();
  }
}

/** The tokens of each text. @param path  where they are, for messages */
export function tokensOf(
  texts: readonly string[],
  path: string,
  tokenizer: Place | undefined,
  guarding: GuardOptions,
): Promise<Int32Array[]> {
  return encoding(path, tokenizer, guarding, async (encode) => {
    const ids: Int32Array[] = [];
    for await (const part of encodedFrom(texts, encode)) ids.push(...part);
    return ids;
  });
}

/** Characters that are sent to the tokenizer at a time, and documents, which take their time however short they are. */
const SENT = { characters: 2 ** 20, documents: 2 ** 14 };

/** The tokens of each text, of many at a time. */
export async function* encodedFrom(
  texts: Iterable<string>,
  encode: GuardedEncode,
): AsyncGenerator<Int32Array[]> {
  let documents: string[] = [];
  let length = 0;
  for (const document of texts) {
    documents.push(document);
    length += document.length;
    if (length <= SENT.characters && documents.length < SENT.documents) continue;
    yield await encode(documents);
    [documents, length] = [[], 0];
  }
  yield await encode(documents);
}

/**
 * The texts of a .jsonl.
 *
 * @throws {FormatError} naming the line that has none
 */
export function* documentsOf(text: string, path: string): Generator<string> {
  for (const { value, at } of jsonLines(text, path)) yield textOf(value, at);
}

function textOf(value: object, at: string): string {
  const { text } = value as { readonly text?: unknown };
  if (typeof text === 'string') return text;
  if (text !== undefined) throw new FormatError(`${at}: "text" expected a string, got ${said(text)}`);
  const fields = Object.keys(value);
  const [, hint = ''] = FIELDS.find(([field]) => fields.includes(field)) ?? [];
  const found = fields.length > 0 ? `, got one with ${named(fields)}` : '';
  throw new FormatError(`${at}: expected an object with a string "text"${found}${hint}`);
}

/** What others have in such lines. */
const FIELDS: readonly (readonly [field: string, hint: string])[] = [
  ['messages', '; write each chat as one text, by its chat template'],
  ['conversations', '; write each chat as one text, by its chat template'],
  ['input_ids', '; token ids are given as a .npy file'],
];

/**
 * An encoder's samples: every line of a text, or every document, with the special tokens that the tokenizer puts around it.
 * Each is as long as it is, or padded and masked where the model insists on a length; long ones lose their end.
 */
export function sentenceSamples(tokenizer: Place | undefined, input: ModelInput, guarding: GuardOptions) {
  const [length] = input.shape;
  async function sentences(place: Place, drawn: Drawn = {}): Promise<Dataset> {
    const { path } = place;
    const feeds = /\.npy$/i.test(path) ? await rows(place, drawn) : await tokenized(place, drawn);
    return feedsDataset(feeds, input, { name: path });
  }
  async function rows(place: Place, { samples, seed = 0 }: Drawn): Promise<FeedSample[]> {
    const { path } = place;
    const arrays = new Map([[input.name, decodeNpy(await place.read(), path)]]);
    return drawFeeds([...arraySamples(arrays, input, path)], samples, seed);
  }
  async function tokenized(place: Place, { samples, seed = 0 }: Drawn): Promise<FeedSample[]> {
    const { path } = place;
    const text = decodeUtf8(await readText(place, OTHER_TABLE), `"${path}"`);
    const [, kind = ''] = /\.(jsonl|tsv)$/i.exec(path) ?? [];
    const documents = (SENTENCES[kind.toLowerCase()] ?? linesOfText)(text, path);
    const said = documents.filter((it) => it.text.trim() !== '');
    // Drawn before they are tokenised, which takes far longer.
    const chosen = drawFeeds(said, samples, seed);
    const texts = chosen.map((it) => it.text);
    const ids = await tokensOf(texts, path, tokenizer, guarding);
    return chosen.map(({ label }, i) => ({ inputs: idsOf(ids[i], input, length), label }));
  }
  return {
    calibration: (place: Place, drawn: Drawn) =>
      sentences(place, { ...drawn, samples: drawn.samples ?? DEFAULT_SENTENCES }),
    evaluation: sentences,
  };
}

interface Sentence {
  readonly text: string;
  readonly label?: number;
}

/** How the sentences of files are found that have more than one in each line. */
const SENTENCES: Readonly<Record<string, (text: string, path: string) => Sentence[]>> = {
  jsonl: (text, path) =>
    Array.from(jsonLines(text, path), ({ value, at }) => ({
      text: textOf(isPair(value) ? { text: value.source } : value, at),
      label: labelOf(value),
    })),
  // What is beside a text is the number of its class, or what is said of it behind a decoder.
  tsv(text, path) {
    const rows = Array.from(columnsOf(text, path), ({ columns }) => columns);
    const isLabelled = rows.length > 1 && rows.slice(1).every(([, label]) => CLASS.test(label));
    if (!isLabelled) return rows.map(([text]) => ({ text }));
    return rows.flatMap(([text, label]) => (CLASS.test(label) ? [{ text, label: Number(label) }] : []));
  },
};

const linesOfText = (text: string, path: string): Sentence[] =>
  Array.from(linesOf(text, path), ({ line }) => ({ text: line }));

/** Calibration sentences for an encoder unless `samples` says otherwise. */
const DEFAULT_SENTENCES = 512;

function labelOf(value: object): number | undefined {
  const { label } = value as { readonly label?: unknown };
  return Number.isInteger(label) ? (label as number) : undefined;
}

/** So many tokens at most, of which the last one is the special token at the end. */
export function cutTo(ids: Int32Array, length: number): Int32Array {
  if (ids.length <= length) return ids;
  const cut = ids.slice(0, length);
  cut[length - 1] = ids[ids.length - 1];
  return cut;
}

function idsOf(all: Int32Array, { name, open, others }: ModelInput, length: number): FeedSample['inputs'] {
  const ids = cutTo(all, length);
  const { length: count } = ids;
  if (open[0] || count === length) return { [name]: { dims: [count], data: Float32Array.from(ids) } };
  const padded = (value: (i: number) => number) => ({
    dims: [length],
    data: Float32Array.from({ length }, (_, i) => value(i)),
  });
  const mask = others.find((other) => isTokenMask(other.name));
  return {
    [name]: padded((i) => ids[i] ?? 0),
    ...(mask && { [mask.name]: padded((i) => Number(i < count)) }),
  };
}
