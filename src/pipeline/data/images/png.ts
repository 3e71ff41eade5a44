// What of a PNG file is decoded, and how much that is. Colour profiles, texts and animations are left out: some are
// compressed, and a megabyte of them inflates to a gigabyte.
//
// https://www.w3.org/TR/png-3/

import { concat } from '../../../graph/index.ts';
import type { Decode } from './codec.ts';
import type { EssentialPng } from './codecs/png.ts';
import { beginsWith, checkSize, type Frame, nameAt, viewOf } from './frame.ts';
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
const COLOR = { gray: 0, rgb: 2, palette: 3, grayAlpha: 4, rgba: 6 };
/** By colour type. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 };
/** Beside IHDR; all that the pixels depend on here. */
const ESSENTIAL = ['PLTE', 'tRNS', 'IDAT', 'IEND'];
const PALETTE_BYTES = 3 * 256;
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
function headerOf(bytes: Uint8Array): PngHeader {
  const { done, value: chunk } = chunksOf(bytes).next();
  if (done || chunk.type !== 'IHDR' || chunk.data.length !== 13) throw new Error('the header is damaged');
  const view = viewOf(chunk.data);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, color, , , interlace] = chunk.data.subarray(8);
  if (!(color in CHANNELS) || interlace > 1) throw new Error('the header is damaged');
  return { width, height, depth, color, isInterlaced: interlace === 1 };
}

/** Of a palette the colours. @throws {Error} where the file is cut short */
export function pngFrame(bytes: Uint8Array): Frame {
  const { width, height, color } = headerOf(bytes);
  checkSize({ width, height });
  const channels = color === COLOR.gray || color === COLOR.grayAlpha ? 1 : 3;
  return { width, height, channels, orientation: orientationOf(bytes) };
}

/** Some write EXIF before the pixels, some behind them. */
function orientationOf(bytes: Uint8Array): number {
  for (const { type, data } of chunksOf(bytes)) if (type === 'eXIf') return exifOrientation(data);
  return 1;
}

/** With packages that the first such file loads. */
export async function pngCodec(): Promise<{ default: Decode }> {
  const { decode } = await import('./codecs/png.ts');
  return { default: async (bytes) => decode(essential(bytes)) };
}

/** Bytes of the rows, each with its filter. */
function rowBytes({ width, height, depth, color, isInterlaced }: PngHeader): number {
  const bytes = (w: number, h: number) =>
    w > 0 ? h * (1 + Math.ceil((w * CHANNELS[color] * depth) / 8)) : 0;
  if (!isInterlaced) return bytes(width, height);
  const steps = (size: number, first: number, step: number) => Math.ceil((size - first) / step);
  return PASSES.reduce((sum, [x, y, dx, dy]) => sum + bytes(steps(width, x, dx), steps(height, y, dy)), 0);
}

/** @throws {Error} where it is cut short, or is what is not read */
function essential(bytes: Uint8Array): EssentialPng {
  const header = headerOf(bytes);
  // fast-png reads the seven passes as if every pixel had whole bytes.
  if (header.isInterlaced && header.depth < 8) throw new Error('interlaced with fewer than 8 bits per pixel');
  const [first, ...others] = chunksOf(bytes);
  if (others.some(({ type }) => type === 'IHDR')) throw new Error('it has two headers');
  const kept = others.filter(({ type }) => ESSENTIAL.includes(type));
  for (const { type, data } of kept) {
    if (type === 'PLTE' && data.length > PALETTE_BYTES)
      throw new Error('its palette has more than 256 colours');
  }
  return {
    bytes: concat([bytes.subarray(0, PNG_SIGNATURE.length), first.whole, ...kept.map(({ whole }) => whole)]),
    isPalette: header.color === COLOR.palette,
    data: kept.filter(({ type }) => type === 'IDAT').map(({ data }) => data),
    dataBytes: rowBytes(header),
  };
}
