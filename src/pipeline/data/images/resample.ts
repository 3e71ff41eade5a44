// Images of other sizes: bilinear resampling as PIL does it, and rectangles out of them.

import { InputError } from '../../../errors.ts';
import { limits } from '../../../limits.ts';
import type { DecodedImage } from './frame.ts';

/**
 * Bilinear taps, widened to a triangle of ± the ratio when shrinking, as PIL's `precompute_coeffs`: for each output
 * position the first input position and the weights, which sum to 1.
 */
function triangleTaps(from: number, to: number) {
  const ratio = from / to;
  const support = Math.max(ratio, 1);
  return Array.from({ length: to }, (_, i) => {
    const center = (i + 0.5) * ratio;
    const first = Math.max(0, Math.floor(center - support + 0.5));
    const end = Math.min(from, Math.floor(center + support + 0.5));
    const weights = new Float64Array(end - first);
    let sum = 0;
    for (let k = 0; k < weights.length; k++) {
      weights[k] = Math.max(0, 1 - Math.abs(first + k + 0.5 - center) / support);
      sum += weights[k];
    }
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

/** Filters along one axis of rows × from × inner; the result is rounded to 8 bits, as between PIL's two passes. */
function resampleAxis(data: Uint8Array, rows: number, from: number, to: number, inner: number): Uint8Array {
  if (from === to) return data;
  const taps = triangleTaps(from, to);
  const out = new Uint8Array(rows * to * inner);
  for (let r = 0; r < rows; r++) {
    for (let i = 0; i < to; i++) {
      const { first, weights } = taps[i];
      for (let c = 0; c < inner; c++) {
        let sum = 0.5;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * data[(r * from + first + k) * inner + c];
        out[(r * to + i) * inner + c] = sum;
      }
    }
  }
  return out;
}

/** Rows or columns that taps are made for: each takes some 200 bytes. */
const MOST_TAPS = 2 ** 20;

/**
 * Bilinear, antialiased when shrinking; the same as PIL's `resize(…, BILINEAR)` up to one grey level.
 *
 * @throws {InputError} naming the image, where one that is long and thin would take too much memory on the way
 */
export function resizeImage(image: DecodedImage, height: number, width: number): DecodedImage {
  const { name, channels } = image;
  const largest = Math.max(image.height, height) * width * channels;
  if (Math.max(height, width) > MOST_TAPS || largest > limits.sampleValues)
    throw new InputError(
      `"${name}": the image is ${image.height}×${image.width}, too long and thin to be resized to ${height}×${width}; cut it into parts`,
    );
  const rows = resampleAxis(image.data, image.height, image.width, width, channels);
  const data = resampleAxis(rows, 1, image.height, height, width * channels);
  return { ...image, width, height, data };
}

/** A rectangle of the image. */
export function cropped(
  image: DecodedImage,
  { top, left, height, width }: Pick<DecodedImage, 'height' | 'width'> & { top: number; left: number },
): DecodedImage {
  const { channels } = image;
  const data = new Uint8Array(height * width * channels);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * image.width + left) * channels;
    data.set(image.data.subarray(from, from + width * channels), y * width * channels);
  }
  return { ...image, height, width, data };
}
