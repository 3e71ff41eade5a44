// The file of a SentencePiece model (https://github.com/google/sentencepiece, sentencepiece_model.proto) as the parts of a tokenizer.json.

import { BinaryReader, base64Encode, WireType } from '@bufbuild/protobuf/wire';
import { FormatError } from '../errors.ts';
import type { JsonObject } from '../json.ts';

export type Piece = readonly [text: string, score: number];

/** What such a file says. */
export interface SentencePieces {
  /** In the order of their ids. */
  readonly pieces: readonly Piece[];
  /** The id of text that none of them is of. */
  readonly unknown: number;
  /** Those that are cut out of a text before all else. */
  readonly whole: readonly string[];
  readonly isUnigram: boolean;
  /** Bytes stand for what no other piece is of. */
  readonly hasBytes: boolean;
  /** The map of characters, in base64. */
  readonly charsmap: string;
  /** A text begins with a space. */
  readonly isPrefixed: boolean;
  /** Spaces in a row are one, and there are none around the text. */
  readonly isTrimmed: boolean;
}

/** Fields of the messages, by their numbers. */
const MODEL = { pieces: 1, trainer: 2, normalizer: 3 };
const PIECE = { text: 1, score: 2, kind: 3 };
const TRAINER = { type: 3, isSuffix: 24, hasBytes: 35, unknown: 40 };
const NORMALIZER = { charsmap: 2, isPrefixed: 3, isTrimmed: 4, isEscaped: 5 };

const [UNIGRAM, BPE] = [1, 2];
/** Kinds of pieces: control and user-defined ones. */
const WHOLE: readonly unknown[] = [3, 4];
const SPACE = '▁';
/** Far above those that are made. Of BPE each is looked at by every two parts that make it up. */
const [MOST_PIECES, LONGEST] = [2 ** 22, 128];

/** @throws {FormatError} naming the file, and what of it is not supported */
export function readSentencePieces(bytes: Uint8Array, path: string): SentencePieces {
  const fail = (problem: string, cause?: unknown) => new FormatError(`"${path}": ${problem}`, { cause });
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const pieces: Piece[] = [];
  const whole: string[] = [];
  let [trainer, normalizer]: Fields[] = [new Map(), new Map()];
  try {
    for (const [field, value] of fieldsOf(bytes)) {
      if (typeof value === 'number') continue;
      if (field === MODEL.trainer) trainer = new Map(fieldsOf(value));
      if (field === MODEL.normalizer) normalizer = new Map(fieldsOf(value));
      if (field !== MODEL.pieces) continue;
      const piece: Fields = new Map(fieldsOf(value));
      const text = decoder.decode(piece.get(PIECE.text) as Uint8Array);
      if (pieces.push([text, Number(piece.get(PIECE.score) ?? 0)]) > MOST_PIECES)
        throw fail(`more than ${MOST_PIECES} pieces`);
      if (WHOLE.includes(piece.get(PIECE.kind))) whole.push(text);
    }
  } catch (cause) {
    throw cause instanceof FormatError ? cause : fail('it is no SentencePiece model', cause);
  }
  if (pieces.length === 0) throw fail('it is no SentencePiece model: there are no pieces in it');
  const long = pieces.find(([text]) => text.length > LONGEST);
  if (long) throw fail(`a piece of ${long[0].length} characters, expected at most ${LONGEST}`);
  const type = trainer.get(TRAINER.type) ?? UNIGRAM;
  if (type !== UNIGRAM && type !== BPE)
    throw fail(`model_type ${type} is not supported (unigram, ${UNIGRAM}, and BPE, ${BPE}, are)`);
  if (trainer.get(TRAINER.isSuffix)) throw fail('treat_whitespace_as_suffix is not supported');
  if (normalizer.get(NORMALIZER.isEscaped) === 0) throw fail('escape_whitespaces false is not supported');
  const charsmap = normalizer.get(NORMALIZER.charsmap);
  return {
    pieces,
    unknown: Number(trainer.get(TRAINER.unknown) ?? 0),
    whole,
    isUnigram: type === UNIGRAM,
    hasBytes: trainer.get(TRAINER.hasBytes) === 1,
    charsmap: charsmap instanceof Uint8Array ? base64Encode(charsmap) : '',
    isPrefixed: normalizer.get(NORMALIZER.isPrefixed) !== 0,
    isTrimmed: normalizer.get(NORMALIZER.isTrimmed) !== 0,
  };
}

/** The pieces, and what is done to a text before. */
export function partsOf(model: SentencePieces): JsonObject & { readonly model: JsonObject } {
  const { pieces, unknown, isUnigram, hasBytes, charsmap, isPrefixed, isTrimmed } = model;
  const replace = (pattern: JsonObject, content: string) => ({ type: 'Replace', pattern, content });
  const bytes = { byte_fallback: hasBytes };
  return {
    model: isUnigram
      ? { ...bytes, type: 'Unigram', vocab: pieces, unk_id: unknown }
      : {
          ...bytes,
          type: 'BPE',
          vocab: idsOf(pieces),
          merges: mergesOf(pieces),
          unk_token: pieces[unknown]?.[0],
          fuse_unk: true,
        },
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(charsmap ? [{ type: 'Precompiled', precompiled_charsmap: charsmap }] : []),
        ...(isTrimmed
          ? [replace({ Regex: `\\A +|[ ${SPACE}]+\\z` }, ''), replace({ Regex: ' {2,}' }, ' ')]
          : []),
        ...(isPrefixed ? [replace({ Regex: '\\A(?!\\z)' }, SPACE)] : []),
        replace({ String: ' ' }, SPACE),
      ],
    },
    // No piece goes beyond a space there, and of words the library is quicker than of texts.
    pre_tokenizer:
      isTrimmed && isUnigram
        ? { type: 'Split', pattern: { String: SPACE }, behavior: 'MergedWithNext', invert: false }
        : null,
  };
}

export function idsOf(pieces: readonly Piece[]): Record<string, number> {
  return Object.fromEntries(pieces.map(([text], id) => [text, id]));
}

/** Every two pieces that make up a third, those of the best one first. */
function mergesOf(pieces: readonly Piece[]): (readonly [string, string])[] {
  const known = new Set(pieces.map(([text]) => text));
  const best = [...pieces].sort(([, a], [, b]) => b - a);
  return best.flatMap(([text]) => {
    const pairs = Array.from(
      { length: text.length },
      (_, at) => [text.slice(0, at), text.slice(at)] as const,
    );
    return pairs.filter((pair) => pair.every((part) => known.has(part)));
  });
}

type Fields = Map<number, number | Uint8Array>;

/** What a message has, of the types of wire that are there in such a file. */
function* fieldsOf(bytes: Uint8Array): Generator<[field: number, value: number | Uint8Array]> {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field, type] = reader.tag();
    if (type === WireType.LengthDelimited) yield [field, reader.bytes()];
    else if (type === WireType.Varint) yield [field, reader.int32()];
    else if (type === WireType.Bit32) yield [field, reader.float()];
    else reader.skip(type, field);
  }
}
