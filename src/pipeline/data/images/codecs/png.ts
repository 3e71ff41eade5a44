// fast-png. It imports nothing of ours: what both a codec and the rest need would be a chunk that every page loads.

import { convertIndexedToRgb, type DecodedPng, decode as decodePng } from 'fast-png';
import { Unzlib } from 'fflate';
import type { Decoded } from '../codec.ts';

/** What the pixels of a file depend on. */
export interface EssentialPng {
  /** The file without other chunks. */
  readonly bytes: Uint8Array;
  readonly isPalette: boolean;
  /** Of its IDAT chunks. */
  readonly data: readonly Uint8Array[];
  /** That the data is, inflated. */
  readonly dataBytes: number;
}

/** Inflated at once, into a thousand times as much in the worst case. */
const STEP_BYTES = 4096;

export function decode({ bytes, isPalette, data, dataBytes }: EssentialPng): Decoded {
  checkData(data, dataBytes);
  const png = decodePng(bytes, { checkCrc: true });
  const { width, height } = png;
  if (isPalette) {
    // With transparency the palette has four entries per colour.
    const channels = png.palette?.[0]?.length ?? 3;
    return { width, height, channels, depth: 8, data: convertIndexedToRgb(png) };
  }
  return png.depth < 8 ? unpacked(png) : png;
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

/** 1, 2 or 4 bits per gray pixel, rows padded to a byte → 0…255. */
function unpacked({ data, width, height, depth }: DecodedPng): Decoded {
  const pixels = new Uint8Array(width * height);
  const rowBytes = Math.ceil((width * depth) / 8);
  const white = (1 << depth) - 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const value = (data[y * rowBytes + (bit >> 3)] >> (8 - depth - (bit & 7))) & white;
      pixels[y * width + x] = (value * 255) / white;
    }
  }
  return { width, height, channels: 1, depth: 8, data: pixels };
}
