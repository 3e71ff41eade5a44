// What of a PNG file is decoded, and whether that is as much as its header says. Colour profiles, texts and animations
// are left out: some are compressed, and a megabyte of them inflates to a gigabyte.
//
// https://www.w3.org/TR/png-3/

import { Unzlib } from 'fflate';
import { concat } from '../../../graph/index.ts';
import { beginsWith, nameAt, viewOf } from './frame.ts';
import { exifOrientation } from './orientation.ts';

/** The fields of IHDR. */
interface PngHeader {
  readonly width: number;
  readonly height: number;
  readonly depth: number;
  readonly color: number;
  readonly isInterlaced: boolean;
}

interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
  /** With length, type and checksum. */
  readonly whole: Uint8Array;
}

const PNG_SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** By colour type. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
/** Beside IHDR; all that the pixels depend on here. */
const ESSENTIAL = ['PLTE', 'tRNS', 'IDAT', 'IEND'];
const PALETTE_BYTES = 3 * 256;
/** Inflated at once, into a thousand times as much in the worst case. */
const STEP_BYTES = 4096;
/** First column and row of Adam7's passes, and the steps to the next ones. */
const PASSES = [
  [0, 0, 8, 8],
  [4, 0, 8, 8],
  [0, 4, 4, 8],
  [2, 0, 4, 4],
  [0, 2, 2, 4],
  [1, 0, 2, 2],
  [0, 1, 1, 2],
];

export const isPng = (bytes: Uint8Array) => beginsWith(bytes, PNG_SIGNATURE);

function* chunksOf(bytes: Uint8Array): Generator<Chunk> {
  const view = viewOf(bytes);
  for (let at = PNG_SIGNATURE.length; at < bytes.length; ) {
    if (at + 12 > bytes.length) throw new Error(`truncated in a chunk at byte ${at}`);
    const length = view.getUint32(at);
    const type = nameAt(bytes, at + 4);
    const end = at + 12 + length;
    if (end > bytes.length) throw new Error(`truncated in its chunk "${type}" of ${length} bytes`);
    yield { type, data: bytes.subarray(at + 8, end - 4), whole: bytes.subarray(at, end) };
    if (type === 'IEND') return;
    at = end;
  }
  throw new Error('truncated: it has no chunk "IEND"');
}

/** @throws {Error} where the file does not begin with a header that makes sense */
export function pngHeader(bytes: Uint8Array): PngHeader {
  const { done, value: chunk } = chunksOf(bytes).next();
  if (done || chunk.type !== 'IHDR' || chunk.data.length !== 13) throw new Error('the header is damaged');
  const view = viewOf(chunk.data);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, color, , , interlace] = chunk.data.subarray(8);
  if (!(color in CHANNELS) || interlace > 1) throw new Error('the header is damaged');
  return { width, height, depth, color, isInterlaced: interlace === 1 };
}

/** Some write EXIF before the pixels, some behind them. @throws {Error} where the file is cut short */
export function pngOrientation(bytes: Uint8Array): number {
  for (const { type, data } of chunksOf(bytes)) if (type === 'eXIf') return exifOrientation(data);
  return 1;
}

/** Bytes of the rows, each with its filter. */
function rowBytes({ width, height, depth, color, isInterlaced }: PngHeader): number {
  const bytes = (w: number, h: number) =>
    w > 0 ? h * (1 + Math.ceil((w * CHANNELS[color] * depth) / 8)) : 0;
  if (!isInterlaced) return bytes(width, height);
  const steps = (size: number, first: number, step: number) => Math.ceil((size - first) / step);
  return PASSES.reduce((sum, [x, y, dx, dy]) => sum + bytes(steps(width, x, dx), steps(height, y, dy)), 0);
}

/** @throws {Error} unless the data inflates to as many bytes as the header says; no more are inflated */
function checkData(data: readonly Uint8Array[], expected: number): void {
  let inflated = 0;
  const stream = new Unzlib((part) => {
    inflated += part.length;
    if (inflated > expected) throw new Error(`its data inflates beyond the ${expected} bytes of its pixels`);
  });
  for (const part of data) {
    for (let at = 0; at < part.length; at += STEP_BYTES) stream.push(part.subarray(at, at + STEP_BYTES));
  }
  if (inflated < expected) throw new Error(`its data ends after ${inflated} of ${expected} bytes`);
}

/**
 * The same image without the chunks that its pixels do not depend on.
 *
 * @throws {Error} where it is cut short, or holds other data than its header says
 */
export function essentialPng(bytes: Uint8Array, header: PngHeader): Uint8Array {
  const [first, ...others] = chunksOf(bytes);
  if (others.some(({ type }) => type === 'IHDR')) throw new Error('it has two headers');
  const kept = others.filter(({ type }) => ESSENTIAL.includes(type));
  for (const { type, data } of kept) {
    if (type === 'PLTE' && data.length > PALETTE_BYTES)
      throw new Error('its palette has more than 256 colours');
  }
  checkData(
    kept.filter(({ type }) => type === 'IDAT').map(({ data }) => data),
    rowBytes(header),
  );
  return concat([bytes.subarray(0, PNG_SIGNATURE.length), first.whole, ...kept.map(({ whole }) => whole)]);
}
