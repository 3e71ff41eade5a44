// The orientation that cameras write beside the pixels (EXIF 2.3, 4.6.4 A): they store what the sensor saw, and say how it was
// held. Viewers turn the picture, and so did whoever trained on what they saw.

import { type DecodedImage, viewOf } from './frame.ts';

/** Tag of the orientation in the first directory of an EXIF block, and the type of its value. */
const ORIENTATION = 0x0112;
const SHORT = 3;
const ENTRY_BYTES = 12;

/** The byte order of a TIFF structure, and its mark in it. */
const LITTLE = 0x49492a00;
const BIG = 0x4d4d002a;

/**
 * 1 (upright) to 8, of a block of EXIF, with or without the name that JPEG files put before it; 1 where it says nothing, or
 * nothing that makes sense: an image without orientation is upright.
 */
export function exifOrientation(block: Uint8Array): number {
  const isNamed = String.fromCharCode(...block.subarray(0, 6)) === 'Exif\0\0';
  const tiff = viewOf(isNamed ? block.subarray(6) : block);
  const has = (at: number, bytes: number) => at + bytes <= tiff.byteLength;
  if (!has(0, 8) || ![LITTLE, BIG].includes(tiff.getUint32(0))) return 1;
  const little = tiff.getUint32(0) === LITTLE;
  const directory = tiff.getUint32(4, little);
  if (!has(directory, 2)) return 1;
  const entries = tiff.getUint16(directory, little);
  for (let i = 0; i < entries; i++) {
    const at = directory + 2 + ENTRY_BYTES * i;
    if (!has(at, ENTRY_BYTES)) return 1;
    if (tiff.getUint16(at, little) !== ORIENTATION) continue;
    const value = tiff.getUint16(at + 8, little);
    return tiff.getUint16(at + 2, little) === SHORT && value >= 1 && value <= 8 ? value : 1;
  }
  return 1;
}

/** Rows are stored as columns. */
export const isTransposed = (orientation: number) => orientation >= 5;

/** The image as it is meant to be seen. */
export function turned(image: DecodedImage, orientation: number): DecodedImage {
  if (orientation === 1) return image;
  const { width: w, height: h, channels, data } = image;
  const transposes = isTransposed(orientation);
  const [width, height] = transposes ? [h, w] : [w, h];
  // Where the pixel at (x, y) of the upright picture is stored.
  const mirrorsX = [2, 3, 7, 8].includes(orientation);
  const mirrorsY = [3, 4, 6, 7].includes(orientation);
  const out = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [column, row] = transposes ? [y, x] : [x, y];
      const from = (mirrorsY ? h - 1 - row : row) * w + (mirrorsX ? w - 1 - column : column);
      for (let c = 0; c < channels; c++) out[(y * width + x) * channels + c] = data[from * channels + c];
    }
  }
  return { ...image, width, height, data: out };
}
