// What the header of an image says before anything of it is decoded, and what it is then.

import { limits } from '../../../limits.ts';

/** Pixels row by row, channels interleaved. */
export interface DecodedImage {
  /** For messages: the file's name. */
  name: string;
  width: number;
  height: number;
  channels: 1 | 3;
  data: Uint8Array;
}

export interface Frame {
  readonly width: number;
  readonly height: number;
  /** 1 where only one is stored, as of gray JPEG files. */
  readonly channels: 1 | 3;
  /** As EXIF counts: 1 is upright, from 5 on height and width change places. */
  readonly orientation: number;
}

export const viewOf = ({ buffer, byteOffset, length }: Uint8Array) =>
  new DataView(buffer, byteOffset, length);

export const beginsWith = (bytes: Uint8Array, signature: readonly number[]) =>
  signature.every((byte, i) => bytes[i] === byte);

/** The four letters that many containers begin their parts with. */
export const nameAt = (bytes: Uint8Array, at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));

/** @throws {Error} where there are no pixels, or too many */
export function checkSize({ width, height }: Pick<Frame, 'width' | 'height'>): void {
  if (width === 0 || height === 0) throw new Error(`it is ${width}×${height}`);
  if (width * height > limits.imagePixels)
    throw new Error(`${width}×${height} is above the limit of ${limits.imagePixels / 1e6} Mpx`);
}
