// The map of characters that SentencePiece compiles into a tokenizer: the bytes of a trie of UTF-8 texts (a double array, as of
// https://github.com/s-yata/darts-clone), and behind it what stands in their places, each with a 0 at its end.

/** Bytes of what is looked up as a whole; what is longer goes character by character. */
const WHOLE = 6;
/** Results that are kept: more than a text of ordinary languages has. */
const KEPT = 2 ** 16;

/**
 * What the map makes of texts, as the tokenizers of Hugging Face apply it: to what a reader takes for one character, or else to each of
 * its code points.
 *
 * @param base64  of `precompiled_charsmap`
 * @returns nothing where it is no such map
 */
export function charsmap(base64: string): ((text: string) => string) | undefined {
  const bytes = bytesOf(base64);
  if (bytes === undefined || bytes.length < 8) return undefined;
  const view = new DataView(bytes.buffer);
  const trieBytes = view.getUint32(0, true);
  if (trieBytes === 0 || trieBytes % 4 !== 0 || 4 + trieBytes > bytes.length) return undefined;
  const units = Uint32Array.from({ length: trieBytes / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
  const replacements = bytes.subarray(4 + trieBytes);
  const [encoder, decoder, segmenter] = [new TextEncoder(), new TextDecoder(), new Intl.Segmenter()];
  const known = new Map<string, string>();

  /** What stands for the shortest text of the map that this one begins with. */
  function replacementOf(text: string): string | undefined {
    let at = offsetOf(units[0]);
    for (const byte of encoder.encode(text)) {
      at ^= byte;
      const unit = units[at] ?? 0;
      if (byte === 0 || labelOf(unit) !== byte) return undefined;
      at ^= offsetOf(unit);
      if (!isEnd(unit)) continue;
      const start = (units[at] ?? 0) & 0x7fff_ffff;
      const end = replacements.indexOf(0, start);
      return decoder.decode(replacements.subarray(start, end < 0 ? undefined : end));
    }
    return undefined;
  }

  function replaced(segment: string): string {
    const whole = encoder.encode(segment).length < WHOLE ? replacementOf(segment) : undefined;
    return whole ?? Array.from(segment, (character) => replacementOf(character) ?? character).join('');
  }

  return (text) => {
    let result = '';
    for (const { segment } of segmenter.segment(text)) {
      let made = known.get(segment);
      if (made === undefined) {
        made = replaced(segment);
        if (known.size < KEPT) known.set(segment, made);
      }
      result += made;
    }
    return result;
  };
}

function bytesOf(base64: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  } catch {
    return undefined; // no base64
  }
}

// Of a unit of the double array.
const offsetOf = (unit: number) => (unit >>> 10) << ((unit & 0x200) >>> 6);
const labelOf = (unit: number) => (unit & 0x8000_00ff) >>> 0;
const isEnd = (unit: number) => (unit & 0x100) !== 0;
