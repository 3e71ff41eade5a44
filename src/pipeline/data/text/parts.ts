// Long texts, tokenised by parts: in one piece a tokenizer takes forty times the text's bytes, and cannot take some at
// all. What a part ends with is decided by the tokenizer itself: the tokens around a cut have to be the same without it.

import { OutOfMemoryError } from '../../../errors.ts';
import { concatenate } from '../../../graph/tensor.ts';

/** A text to token ids. */
type ToIds = (text: string) => Int32Array;

/** Of a text, the ids with the special tokens around it, and without. */
export interface Encoders {
  readonly whole: ToIds;
  readonly bare: ToIds;
}

/** Characters: far fewer than a call may have arguments, of which the library makes one for each token of a word. */
const PART = 2 ** 16;
/** Characters on either side of a cut, tokenised with it and without: far more than a word has. */
const SIDE = 2 ** 10;
/** Characters that are tokenised in one piece, where they cannot be cut: 640 MiB. */
const MOST = 2 ** 24;
/** Of what the tokenizer makes of a character on the way. */
const BYTES = 40;
/** White space between words that is looked at, for each part. */
const TRIED = 16;

interface Cut {
  /** Where the part ends. */
  readonly end: number;
  /** Where the next one begins: behind a space, where the tokenizer puts one in front of every text. */
  readonly next: number;
}

/**
 * The ids of a text as the tokenizer gives them in one piece, which it is asked for where it cannot be cut.
 *
 * @throws {OutOfMemoryError} where that is too long
 */
export function encodeInParts(text: string, encoders: Encoders): Int32Array {
  const [whole, bare] = [encoders.whole, encoders.bare].map(bounded);
  const first = text.length > PART + SIDE ? findCut(text, PART, bare) : undefined;
  const around = first && specialsAround(text.slice(0, SIDE), { whole, bare });
  if (!around) return whole(text);
  const parts: Int32Array[] = [around.before];
  let from = 0;
  for (let cut: Cut | undefined = first; cut; cut = findCut(text, from + PART, bare)) {
    parts.push(bare(text.slice(from, cut.end)));
    from = cut.next;
  }
  return concatenate(Int32Array, [...parts, bare(text.slice(from)), around.after]);
}

const bounded =
  (encode: ToIds): ToIds =>
  (text) => {
    if (text.length <= MOST) return encode(text);
    throw new OutOfMemoryError(
      `${text.length} characters in one piece, which the tokenizer gives no place to cut, more than ${MOST}`,
      BYTES * text.length,
    );
  };

/** Some place behind `at` where the text can be cut; none near its end. */
function findCut(text: string, at: number, bare: ToIds): Cut | undefined {
  for (let from = at; from + SIDE < text.length; from += PART) {
    const near = text.slice(from, from + PART);
    let tried = 0;
    for (const { index } of near.matchAll(/(?<=\S)\s(?=\S)/g)) {
      const cut = cutAt(text, from + index, bare);
      if (cut) return cut;
      if (++tried === TRIED) break;
    }
  }
  return undefined;
}

/** Behind some white space, before it, or in its place. */
function cutAt(text: string, space: number, bare: ToIds): Cut | undefined {
  const [first, last] = [space - SIDE, space + SIDE];
  const uncut = bare(text.slice(first, last));
  const cuts = [
    { end: space + 1, next: space + 1 },
    { end: space, next: space },
    { end: space, next: space + 1 },
  ];
  return cuts.find(({ end, next }) =>
    isEqual(uncut, concatenate(Int32Array, [bare(text.slice(first, end)), bare(text.slice(next, last))])),
  );
}

/** The special tokens that a text gets; nothing, where it cannot be told which these are. */
function specialsAround(text: string, { whole, bare }: Encoders) {
  const [all, inner] = [whole(text), bare(text)];
  if (inner.length === 0) return undefined;
  for (let at = 0; at + inner.length <= all.length; at++) {
    const end = at + inner.length;
    if (isEqual(all.subarray(at, end), inner)) return { before: all.slice(0, at), after: all.slice(end) };
  }
  return undefined;
}

function isEqual(one: Int32Array, other: Int32Array): boolean {
  return one.length === other.length && one.every((id, i) => id === other[i]);
}
