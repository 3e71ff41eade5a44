// Text as windows of token ids, the samples of a language model.

import { Tokenizer } from '@huggingface/tokenizers';
import { FormatError, InputError } from '../../errors.ts';
import { type Dataset, npyDataset } from './dataset.ts';
import type { NpyArray } from './npy.ts';
import { mulberry32 } from './sample.ts';

/** Text to token ids, with the special tokens that the tokenizer adds to a document. */
export type Encode = (text: string) => Int32Array;

const MODELS = ['BPE', 'WordPiece', 'Unigram', 'WordLevel'];

/**
 * A tokenizer from the files of a Hugging Face folder.
 *
 * @param tokenizer  of `tokenizer.json`, parsed
 * @param config  of `tokenizer_config.json`, parsed
 * @throws {FormatError} where the tokenizer is malformed or of an unknown kind
 */
export function openTokenizer(tokenizer: object, config: object = {}): Encode {
  const type = (tokenizer as TokenizerJson).model?.type;
  // The library would take it for another by its fields. Files of old have no type.
  if (type !== undefined && !MODELS.includes(type)) {
    throw new FormatError(`tokenizer.json: model "${type}" is not supported (${MODELS.join(', ')} are)`);
  }
  let encoder: Tokenizer;
  try {
    encoder = new Tokenizer(tokenizer, config);
  } catch (cause) {
    throw new FormatError(`tokenizer.json: ${(cause as Error).message}`, { cause });
  }
  checkCoverage(tokenizer as TokenizerJson);
  return (text) => Int32Array.from(encoder.encode(text).ids);
}

/** What is read here of a tokenizer.json. */
interface TokenizerJson {
  readonly model?: {
    readonly type?: string;
    readonly vocab?: object;
    readonly unk_token?: string | null;
    readonly byte_fallback?: boolean;
  };
  readonly pre_tokenizer?: PreTokenizerJson | null;
}

interface PreTokenizerJson {
  readonly type?: string;
  readonly pretokenizers?: readonly PreTokenizerJson[];
}

/**
 * Bytes that a byte-level vocabulary lacks would be dropped without a word.
 * @throws {InputError} where a text may hold what the vocabulary has no entry for, not even one for unknown text
 */
function checkCoverage({ model, pre_tokenizer }: TokenizerJson): void {
  const vocabulary = model?.vocab;
  if (!vocabulary || Array.isArray(vocabulary)) return; // Unigram always has an unknown token
  const isByteLevel = (it: PreTokenizerJson | null | undefined): boolean =>
    it?.type === 'ByteLevel' || (it?.pretokenizers?.some(isByteLevel) ?? false);
  let missing = 0;
  if (isByteLevel(pre_tokenizer)) {
    // Printable Latin-1 stands for itself, the other bytes for the characters from 256 on.
    let other = 256;
    for (let byte = 0; byte < 256; byte++) {
      const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
      if (!Object.hasOwn(vocabulary, String.fromCharCode(printable ? byte : other++))) missing++;
    }
  } else if (model.byte_fallback) {
    const name = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
    for (let byte = 0; byte < 256; byte++) if (!Object.hasOwn(vocabulary, name(byte))) missing++;
  }
  const { unk_token: unknown } = model;
  if (missing > 0 && !(unknown && Object.hasOwn(vocabulary, unknown))) {
    throw new InputError(
      `tokenizer.json: the vocabulary lacks ${missing} of the 256 bytes that text is made of, and a token for unknown text`,
    );
  }
}

/** How many windows of which length, and where in the text. */
export interface WindowOptions {
  /** Windows to draw. */
  readonly samples: number;
  /** Tokens per window. */
  readonly seqlen: number;
  /** `even`: starts spread evenly over the tokens. `random`: drawn uniformly. Default `even`. */
  readonly sampling?: 'even' | 'random';
  /** For `random`. Default 0. */
  readonly seed?: number;
  /** For messages. */
  readonly name?: string;
}

/**
 * Calibration windows out of the tokens of a text: the same for the same options. Every window has a token behind it,
 * as its last prediction.
 *
 * @throws {InputError} where the text is shorter than one window
 */
export function tokenWindows(tokens: Int32Array, options: WindowOptions): Dataset {
  const { samples, seqlen, sampling = 'even', seed = 0, name = 'text' } = options;
  const room = tokens.length - seqlen - 1;
  if (room < 0) throw tooShort(name, tokens.length, seqlen + 1);
  const random = mulberry32(seed);
  const start = (i: number) => {
    if (sampling === 'random') return Math.floor(random() * (room + 1));
    return samples > 1 ? Math.floor((i * room) / (samples - 1)) : 0;
  };
  return windowsFrom(tokens, samples, seqlen, start, name);
}

/**
 * All whole windows of a text, one behind the other, for evaluation.
 *
 * @throws {InputError} where the text is shorter than one window
 */
export function consecutiveWindows(tokens: Int32Array, seqlen: number, name = 'text'): Dataset {
  const count = Math.floor(tokens.length / seqlen);
  if (count === 0) throw tooShort(name, tokens.length, seqlen);
  return windowsFrom(tokens, count, seqlen, (i) => i * seqlen, name);
}

/** Token ids from a `.npy` file: n × t windows as they are, or one row of tokens for the functions above. */
export function npyTokens({ shape, data }: NpyArray, name: string): Int32Array | Dataset {
  const bad = data.findIndex((id) => !(Number.isInteger(id) && id >= 0));
  if (bad >= 0) throw new InputError(`"${name}": value ${bad} is ${data[bad]}, expected token ids`);
  if (shape.length === 1) return Int32Array.from(data);
  return npyDataset({ shape, data }, [0], name);
}

function windowsFrom(
  tokens: Int32Array,
  count: number,
  seqlen: number,
  startOf: (window: number) => number,
  name: string,
): Dataset {
  const data = new Float32Array(count * seqlen);
  for (let i = 0; i < count; i++) {
    const start = startOf(i);
    data.set(tokens.subarray(start, start + seqlen), i * seqlen);
  }
  return npyDataset({ shape: [count, seqlen], data }, [seqlen], name);
}

function tooShort(name: string, tokens: number, needed: number): InputError {
  return new InputError(
    `"${name}": ${tokens} tokens, fewer than the ${needed} of one window; give more text or a smaller window (--seqlen)`,
  );
}
