// Text and token files of the command line.

import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { FormatError, InputError } from '../errors.ts';
import {
  consecutiveWindows,
  type Dataset,
  decodeNpy,
  type Encode,
  npyTokens,
  openTokenizer,
  tokenWindows,
} from '../pipeline/index.ts';
import { isFolder, readFileBytes } from './files.ts';
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

async function readTokens(path: string, tokenizer: string | undefined): Promise<Int32Array | Dataset> {
  const bytes = await readFileBytes(path);
  if (/\.npy$/i.test(path)) return npyTokens(decodeNpy(bytes, path), path);
  const encode = await readTokenizer(path, tokenizer);
  const text = decodeText(bytes, path);
  if (!/\.jsonl$/i.test(path)) return encode(text);
  const tokens: number[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    for (const token of encode(documentOf(line, `"${path}" line ${i + 1}`))) tokens.push(token);
  }
  return new Int32Array(tokens);
}

function documentOf(line: string, at: string): string {
  let text: unknown;
  try {
    text = JSON.parse(line)?.text;
  } catch (cause) {
    throw new FormatError(`${at}: not JSON`, { cause });
  }
  if (typeof text !== 'string') throw new FormatError(`${at}: expected an object with a string "text"`);
  return text;
}

function decodeText(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(`"${path}": not UTF-8 text`, { cause });
  }
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
  const hasConfig = (await stat(config).catch(() => undefined))?.isFile();
  return openTokenizer(tokenizer, hasConfig ? await readJsonFile(config) : {});
}

async function readJsonFile(path: string): Promise<object> {
  const text = decodeText(await readFileBytes(path), path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`"${path}": not JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof value === 'object' && value !== null) return value;
  throw new FormatError(`"${path}": expected a JSON object`);
}
