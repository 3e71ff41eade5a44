// Text and token files of the command line.

import { join } from 'node:path';
import { FormatError, InputError } from '../errors.ts';
import {
  arraySamples,
  consecutiveWindows,
  type Dataset,
  decodeNpy,
  type Encode,
  type FeedSample,
  feedsDataset,
  type ModelInput,
  npyTokens,
  openTokenizer,
  tokenWindows,
} from '../pipeline/index.ts';
import { drawFeeds, jsonLines } from './feeds.ts';
import { decodeText, isFile, isFolder, readFileBytes, readJsonFile } from './files.ts';
import type { RunFlags } from './options.ts';

/** Calibration windows for a language model unless --samples says otherwise: as in the paper. */
export const DEFAULT_WINDOWS = 128;

/**
 * A language model's samples, out of texts (.txt), documents (.jsonl with a field "text") or token ids (.npy).
 *
 * @param tokenizer  a folder with tokenizer.json, or such a file
 * @param seqlen  tokens per window
 */
export function textSamples(tokenizer: string | undefined, seqlen: number) {
  async function windows(path: string, cut: (tokens: Int32Array) => Dataset): Promise<Dataset> {
    const tokens = await readTokens(path, tokenizer);
    if (tokens instanceof Int32Array) return cut(tokens);
    const [length] = tokens.shape;
    if (length === seqlen) return tokens;
    throw new InputError(`"${path}": windows of ${length} tokens, expected ${seqlen}; see --seqlen`);
  }
  return {
    seqlen,
    calibration: (path: string, { samples = DEFAULT_WINDOWS, sampling, seed }: RunFlags) =>
      windows(path, (tokens) => tokenWindows(tokens, { samples, seqlen, sampling, seed, name: path })),
    /** All windows of a text, one behind the other. */
    evaluation: (path: string) => windows(path, (tokens) => consecutiveWindows(tokens, seqlen, path)),
  };
}

/**
 * An encoder's samples: every line of a text, or every document, with the special tokens that the tokenizer puts around it.
 * Each is as long as it is, or padded and masked where the model insists on a length; long ones lose their end.
 */
export function sentenceSamples(tokenizer: string | undefined, input: ModelInput) {
  const [length] = input.shape;
  async function sentences(
    path: string,
    { samples, seed }: Pick<RunFlags, 'samples' | 'seed'>,
  ): Promise<Dataset> {
    const feeds = /\.npy$/i.test(path)
      ? [...arraySamples(new Map([[input.name, decodeNpy(await readFileBytes(path), path)]]), input, path)]
      : await tokenized(path);
    return feedsDataset(drawFeeds(feeds, samples, seed), input, { name: path });
  }
  async function tokenized(path: string): Promise<FeedSample[]> {
    const encode = await readTokenizer(path, tokenizer);
    const text = decodeText(await readFileBytes(path), path);
    const documents = /\.jsonl$/i.test(path)
      ? [...jsonLines(text, path)].map(({ value, at }) => ({
          text: textOf(value, at),
          label: labelOf(value),
        }))
      : text.split('\n').map((line) => ({ text: line, label: undefined }));
    return documents
      .filter((it) => it.text.trim() !== '')
      .map(({ text, label }) => ({ inputs: idsOf(encode(text), input, length), label }));
  }
  return {
    calibration: (path: string, flags: RunFlags) =>
      sentences(path, { ...flags, samples: flags.samples ?? DEFAULT_SENTENCES }),
    evaluation: sentences,
  };
}

/** Calibration sentences for an encoder unless --samples says otherwise. */
const DEFAULT_SENTENCES = 512;

function labelOf(value: object): number | undefined {
  const { label } = value as { readonly label?: unknown };
  return Number.isInteger(label) ? (label as number) : undefined;
}

function idsOf(all: Int32Array, { name, open, others }: ModelInput, length: number): FeedSample['inputs'] {
  // The last one is the special token at the end.
  const ids = all.length > length ? [...all.slice(0, length - 1), all[all.length - 1]] : [...all];
  const { length: count } = ids;
  if (open[0] || count === length) return { [name]: { dims: [count], data: Float32Array.from(ids) } };
  const padded = (value: (i: number) => number) => ({
    dims: [length],
    data: Float32Array.from({ length }, (_, i) => value(i)),
  });
  const mask = others.find((other) => /(attention|input)_mask$/.test(other.name));
  return {
    [name]: padded((i) => ids[i] ?? 0),
    ...(mask && { [mask.name]: padded((i) => Number(i < count)) }),
  };
}

async function readTokens(path: string, tokenizer: string | undefined): Promise<Int32Array | Dataset> {
  const bytes = await readFileBytes(path);
  if (/\.npy$/i.test(path)) return npyTokens(decodeNpy(bytes, path), path);
  const encode = await readTokenizer(path, tokenizer);
  const text = decodeText(bytes, path);
  if (!/\.jsonl$/i.test(path)) return encode(text);
  const tokens: number[] = [];
  for (const { value, at } of jsonLines(text, path)) {
    for (const token of encode(textOf(value, at))) tokens.push(token);
  }
  return new Int32Array(tokens);
}

function textOf(value: object, at: string): string {
  const { text } = value as { readonly text?: unknown };
  if (typeof text !== 'string') throw new FormatError(`${at}: expected an object with a string "text"`);
  return text;
}

async function readTokenizer(text: string, path: string | undefined): Promise<Encode> {
  if (path === undefined) {
    throw new InputError(
      `"${text}": text needs a tokenizer; give a folder with tokenizer.json (--tokenizer)`,
    );
  }
  if (!(await isFolder(path))) return openTokenizer(await readJsonFile(path));
  const tokenizer = await readJsonFile(join(path, 'tokenizer.json'));
  const config = join(path, 'tokenizer_config.json');
  const hasConfig = await isFile(config);
  return openTokenizer(tokenizer, hasConfig ? await readJsonFile(config) : {});
}
