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
import { readFileBytes } from './files.ts';

export interface WindowFlags {
  readonly samples?: number;
  readonly seqlen: number;
  readonly sampling?: 'even' | 'random';
  readonly seed: number;
}

/** Calibration windows for a language model unless --samples says otherwise: as in the paper. */
export const DEFAULT_WINDOWS = 128;

/**
 * Windows to calibrate with, out of a text (.txt), documents (.jsonl with a field "text") or token ids (.npy).
 *
 * @param tokenizer  a folder with tokenizer.json, or such a file
 */
export async function calibrationWindows(
  path: string,
  tokenizer: string | undefined,
  flags: WindowFlags,
): Promise<Dataset> {
  const tokens = await readTokens(path, tokenizer);
  if (!(tokens instanceof Int32Array)) return checkLength(tokens, path, flags.seqlen);
  const { samples = DEFAULT_WINDOWS, seqlen, sampling, seed } = flags;
  return tokenWindows(tokens, { samples, seqlen, sampling, seed, name: path });
}

/** All windows of a text, one behind the other. */
export async function evaluationWindows(
  path: string,
  tokenizer: string | undefined,
  seqlen: number,
): Promise<Dataset> {
  const tokens = await readTokens(path, tokenizer);
  if (!(tokens instanceof Int32Array)) return checkLength(tokens, path, seqlen);
  return consecutiveWindows(tokens, seqlen, path);
}

async function readTokens(path: string, tokenizer: string | undefined): Promise<Int32Array | Dataset> {
  const bytes = await readFileBytes(path);
  if (/\.npy$/i.test(path)) return npyTokens(decodeNpy(bytes, path), path);
  const encode = await readTokenizer(path, tokenizer);
  const text = decodeText(bytes, path);
  if (!/\.jsonl$/i.test(path)) return encode(text);
  const documents: Int32Array[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() !== '') documents.push(encode(documentOf(line, `"${path}" line ${i + 1}`)));
  }
  const all = new Int32Array(documents.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const document of documents) {
    all.set(document, at);
    at += document.length;
  }
  return all;
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
  const isFolder = (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
  const file = isFolder ? join(path, 'tokenizer.json') : path;
  const config = isFolder ? join(path, 'tokenizer_config.json') : undefined;
  const hasConfig = config !== undefined && (await stat(config).catch(() => undefined))?.isFile();
  return openTokenizer(await readJsonFile(file), hasConfig ? await readJsonFile(config) : {});
}

async function readJsonFile(path: string): Promise<object> {
  const bytes = await readFileBytes(path);
  try {
    const value: unknown = JSON.parse(decodeText(bytes, path));
    if (typeof value === 'object' && value !== null) return value;
  } catch (cause) {
    if (cause instanceof FormatError) throw cause;
    throw new FormatError(`"${path}": not JSON (${(cause as Error).message})`, { cause });
  }
  throw new FormatError(`"${path}": expected a JSON object`);
}

function checkLength(windows: Dataset, path: string, seqlen: number): Dataset {
  if (windows.shape[0] === seqlen) return windows;
  throw new InputError(`"${path}": windows of ${windows.shape[0]} tokens, expected ${seqlen}; see --seqlen`);
}
