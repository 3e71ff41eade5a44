// tokenizer.json to a function from text to token ids.

import { PrecompiledNormalizer, SequenceNormalizer, Tokenizer, Unigram } from '@huggingface/tokenizers';
import { OsscarError } from '../../../errors.ts';
import { expectObject } from '../../../expect.ts';
import type { JsonObject } from '../../../json.ts';
import { charsmap } from './charsmap.ts';
import { encodeInParts } from './parts.ts';
import { byteToken, checkedTokenizer, isTokenId, malformed, TOKEN_IDS } from './tokenizer-form.ts';

/** Text to token ids, with the special tokens that the tokenizer adds to a document. */
export type Encode = (text: string) => Int32Array;

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
  expectObject('openTokenizer', 'tokenizer', tokenizer);
  const checked = checkedTokenizer(tokenizer as JsonObject, config as JsonObject);
  // The special tokens of the second file are left out of texts only, which are not made here.
  const ways = { ...config, additional_special_tokens: [] };
  const encoder = named('it is malformed', () => new Tokenizer(checked, ways));
  useCharsmaps(encoder.normalizer);
  if (encoder.model instanceof Unigram && (checked.model as JsonObject).byte_fallback === true)
    useBytes(encoder.model);
  const toIds = (special: boolean) => (text: string) => {
    const options = { add_special_tokens: special };
    const { ids } = named('it cannot split the text', () => encoder.encode(text, options));
    for (const id of ids) {
      if (id === undefined)
        throw malformed('it has no token for a piece of the text, and none for unknown text');
      if (!isTokenId(id))
        throw malformed(`it gives the id ${id} to a piece of the text, expected one below ${TOKEN_IDS}`);
    }
    return Int32Array.from(ids);
  };
  const encoders = { whole: toIds(true), bare: toIds(false) };
  return (text) => encodeInParts(text, encoders);
}

/** The library has the same map for all tokenizers, in the place of their own. */
function useCharsmaps(normalizer: object | null): void {
  if (normalizer instanceof SequenceNormalizer) normalizer.normalizers.forEach(useCharsmaps);
  if (normalizer instanceof PrecompiledNormalizer) normalizer.normalize = charsmap(normalizer.charsmap)!;
}

/** The library knows bytes in the place of unknown text in BPE alone. */
function useBytes(model: Unigram): void {
  const [encode, encoder] = [model.encode.bind(model), new TextEncoder()];
  const isToken = (text: string) => model.tokens_to_ids.has(text);
  model.encode = (words) =>
    encode(words).flatMap((piece) => {
      if (isToken(piece)) return [piece];
      const bytes = Array.from(encoder.encode(piece), byteToken);
      return bytes.every(isToken) ? bytes : [piece];
    });
}

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
