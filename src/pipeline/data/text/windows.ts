// Text as windows of token ids, the samples of a language model.

import { InputError, OutOfMemoryError } from '../../../errors.ts';
import { said } from '../../../expect.ts';
import { limits } from '../../../limits.ts';
import { COUNT, expectOptions, INTEGER, type Options, oneOf, required, TEXT } from '../../../options.ts';
import { type Dataset, npyDataset } from '../dataset.ts';
import { expectArray, type NpyArray } from '../npy.ts';
import { mulberry32 } from '../sample.ts';
import { isTokenId, TOKEN_IDS } from './tokenizer-form.ts';

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

const OPTIONS: Options<WindowOptions> = {
  samples: required(COUNT),
  seqlen: required(COUNT),
  sampling: oneOf('even', 'random'),
  seed: INTEGER,
  name: TEXT,
};

/**
 * Calibration windows out of the tokens of a text: the same for the same options. Every window has a token behind it,
 * as its last prediction.
 *
 * @throws {InputError} where the text is shorter than one window
 *
 * @example
 * const calibration = tokenWindows(encode(text), { samples: 128, seqlen: 512 });
 */
export function tokenWindows(tokens: Int32Array, options: WindowOptions): Dataset {
  expectOptions('tokenWindows', options, OPTIONS);
  const { samples, seqlen, sampling = 'even', seed = 0, name = 'text' } = options;
  expectTokens(tokens, name);
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
 *
 * @example
 * const evaluation = consecutiveWindows(encode(text), 512);
 */
export function consecutiveWindows(tokens: Int32Array, seqlen: number, name = 'text'): Dataset {
  expectTokens(tokens, name);
  if (!(Number.isInteger(seqlen) && seqlen > 0))
    throw new InputError(`consecutiveWindows: "seqlen" expected a whole number above 0, got ${said(seqlen)}`);
  const count = Math.floor(tokens.length / seqlen);
  if (count === 0) throw tooShort(name, tokens.length, seqlen);
  return windowsFrom(tokens, count, seqlen, (i) => i * seqlen, name);
}

/**
 * Token ids from a `.npy` file: n × t windows as they are, or one row of tokens for the functions above.
 *
 * @example
 * const tokens = npyTokens(decodeNpy(bytes, 'ids.npy'), 'ids.npy');
 * const calibration = tokens instanceof Int32Array ? tokenWindows(tokens, { samples: 128, seqlen: 512 }) : tokens;
 */
export function npyTokens(array: NpyArray, name: string): Int32Array | Dataset {
  expectArray('npyTokens', array);
  const { shape, data } = array;
  const bad = data.findIndex((id) => !isTokenId(id));
  if (bad >= 0) {
    throw new InputError(
      `"${name}": value ${bad} is ${data[bad]}, expected token ids: whole numbers below ${TOKEN_IDS}`,
    );
  }
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
  const bytes = 4 * count * seqlen;
  if (bytes > limits.windowBytes) {
    throw new OutOfMemoryError(
      `"${name}": ${count} windows of ${seqlen} tokens take ${bytes} bytes, more than ${limits.windowBytes} (limits.windowBytes); fewer do (\`samples\`)`,
      bytes,
    );
  }
  const data = new Float32Array(count * seqlen);
  for (let i = 0; i < count; i++) {
    const start = startOf(i);
    data.set(tokens.subarray(start, start + seqlen), i * seqlen);
  }
  return npyDataset({ shape: [count, seqlen], data }, [seqlen], name);
}

function expectTokens(tokens: unknown, name: string): void {
  if (!(tokens instanceof Int32Array))
    throw new InputError(`"${name}": expected an Int32Array of token ids, got ${said(tokens)}`);
}

function tooShort(name: string, tokens: number, needed: number): InputError {
  return new InputError(
    `"${name}": ${tokens} tokens, fewer than the ${needed} of one window; give more text or a smaller window (\`seqlen\`)`,
  );
}
