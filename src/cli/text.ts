// Text and token files of the command line.

import { readJson } from '../checkpoint/index.ts';
import { FormatError, InputError } from '../errors.ts';
import { type GuardedEncode, type GuardOptions, openGuard } from '../guard/index.ts';
import { decodeUtf8, isObject, parseJson } from '../json.ts';
import { limits } from '../limits.ts';
import {
  consecutiveWindows,
  type Dataset,
  decodeNpy,
  npyTokens,
  selectSamples,
  tokenWindows,
} from '../pipeline/index.ts';
import { isFolder, readFileBytes } from './files.ts';
import { openFolder } from './folder.ts';
import type { ModelFlags, RunFlags } from './options.ts';

/** Calibration windows for a language model unless --samples says otherwise: as in the paper. */
export const DEFAULT_WINDOWS = 128;

/**
 * A language model's samples, out of texts (.txt), documents (.jsonl with a field "text") or token ids (.npy).
 *
 * @param tokenizer  a folder with tokenizer.json, or such a file
 * @param seqlen  tokens per window
 * @param guarding  of the thread that the tokenizer runs on
 */
export function textSamples(tokenizer: string | undefined, seqlen: number, guarding: GuardOptions) {
  async function windows(path: string, cut: (tokens: Int32Array) => Dataset): Promise<Dataset> {
    const tokens = await readTokens(path, tokenizer, guarding);
    if (tokens instanceof Int32Array) return cut(tokens);
    const [length] = tokens.shape;
    if (length === seqlen) return tokens;
    throw new InputError(`"${path}": windows of ${length} tokens, expected ${seqlen}; see --seqlen`);
  }
  return {
    seqlen,
    calibration: async (path: string, { samples, sampling, seed }: RunFlags) => {
      const drawn = { samples: samples ?? DEFAULT_WINDOWS, seqlen, sampling, seed, name: path };
      return spread(await windows(path, (tokens) => tokenWindows(tokens, drawn)), samples);
    },
    /** Windows of a text, one behind the other: all, or so many. */
    evaluation: async (path: string, { samples }: Pick<ModelFlags, 'samples'> = {}) =>
      spread(await windows(path, (tokens) => consecutiveWindows(tokens, seqlen, path)), samples),
  };
}

/** So many of the windows, from the whole of the text; all where it has no more. */
function spread(all: Dataset, samples = all.size): Dataset {
  if (samples >= all.size) return all;
  const chosen = new Set(Array.from({ length: samples }, (_, i) => Math.floor((i * all.size) / samples)));
  return selectSamples(all, (index) => chosen.has(index));
}

async function readTokens(
  path: string,
  tokenizer: string | undefined,
  guarding: GuardOptions,
): Promise<Int32Array | Dataset> {
  const bytes = await readFileBytes(path);
  if (/\.npy$/i.test(path)) return npyTokens(decodeNpy(bytes, path), path);
  const { json, config } = await readTokenizer(path, tokenizer);
  const text = decodeUtf8(bytes, `"${path}"`);
  const guard = openGuard(guarding);
  try {
    const encode = await guard.tokenizer(json, config);
    if (!/\.jsonl$/i.test(path)) return (await encode([text]))[0];
    return await encodeLines(text, path, encode);
  } finally {
    await guard.close();
  }
}

/** Characters that are sent to the tokenizer at a time. */
const SENT = 2 ** 20;

/** The documents of a .jsonl, one behind the other. */
async function encodeLines(text: string, path: string, encode: GuardedEncode): Promise<Int32Array> {
  const parts: Int32Array[] = [];
  let documents: string[] = [];
  let length = 0;
  const send = async () => {
    parts.push(...(await encode(documents)));
    [documents, length] = [[], 0];
  };
  for (const document of documentsOf(text, path)) {
    documents.push(document);
    length += document.length;
    if (length > SENT) await send();
  }
  await send();
  const tokens = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    tokens.set(part, at);
    at += part.length;
  }
  return tokens;
}

/**
 * The texts of a .jsonl.
 *
 * @throws {FormatError} naming the line that has none
 */
export function* documentsOf(text: string, path: string): Generator<string> {
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const at = `"${path}" line ${i + 1}`;
    const value = parseJson(line, at);
    const document = isObject(value) && value.text;
    if (typeof document !== 'string') {
      throw new FormatError(`${at}: expected an object with a string "text"`);
    }
    yield document;
  }
}

async function readTokenizer(
  text: string,
  path: string | undefined,
): Promise<{ readonly json: object; readonly config?: object }> {
  if (path === undefined) {
    throw new InputError(
      `"${text}": text needs a tokenizer; give a folder with tokenizer.json (--tokenizer)`,
    );
  }
  if (!(await isFolder(path))) return { json: await readJsonFile(path) };
  // As a model's folder: it may have come from a stranger, with links and pipes in it.
  const folder = await openFolder(path);
  try {
    const hasConfig = (await folder.list()).includes(CONFIG);
    return {
      json: await readJson(folder, 'tokenizer.json', limits.tokenizerBytes),
      ...(hasConfig && { config: await readJson(folder, CONFIG, limits.jsonBytes) }),
    };
  } finally {
    await folder.close();
  }
}

/** Says which special tokens are added. */
const CONFIG = 'tokenizer_config.json';

/** A tokenizer.json under any name. */
async function readJsonFile(path: string): Promise<object> {
  const value = parseJson(decodeUtf8(await readFileBytes(path), `"${path}"`), `"${path}"`);
  if (isObject(value)) return value;
  throw new FormatError(`"${path}": expected a JSON object`);
}
