// Calibration samples that a fit does not see, by which its options are chosen.

import type { Dataset } from './dataset.ts';

/** Samples that a search looks at: more make it slower and choose the same target (measured, docs/architecture.md). */
const SEARCH_SAMPLES = 192;
/** One image or text in so many is held out from a fit. */
const HELD_OUT = 4;
/** Of fewer than this none is a fourth to hold out; all of them then serve both. */
const FEWEST_TO_SPLIT = HELD_OUT;

/** Samples by their positions, those that are views of one image one behind the other. */
export type Positions = Pick<Dataset, 'size' | 'views'>;

/** Whether samples are enough to hold some of them out. */
export function canSplit({ size, views = 1 }: Positions): boolean {
  return size / views >= FEWEST_TO_SPLIT;
}

/** Which image, or text, the sample at a position is of. */
export function imageOf(index: number, { views = 1 }: Pick<Positions, 'views'>): number {
  return Math.floor(index / views);
}

/** Whether an image is held out, in all its views. */
export function isHeldOut(image: number): boolean {
  return image % HELD_OUT === HELD_OUT - 1;
}

/** What a fit sees, and what it is measured on. */
interface Split {
  isFit(index: number): boolean;
  isHeldOut(index: number): boolean;
}

const BOTH: Split = { isFit: () => true, isHeldOut: () => true };

/**
 * Splits samples into those a search fits on and those it measures on, both spread evenly, so that of a folder sorted by
 * class every class is in both.
 */
export function splitSamples(positions: Positions): Split {
  if (!canSplit(positions)) return BOTH;
  const images = imageOf(positions.size - 1, positions) + 1;
  const used = Math.min(images, SEARCH_SAMPLES);
  const role = new Uint8Array(images);
  for (let i = 0; i < used; i++) role[Math.floor((i * images) / used)] = isHeldOut(i) ? 2 : 1;
  const roleOf = (index: number) => role[imageOf(index, positions)];
  return { isFit: (index) => roleOf(index) === 1, isHeldOut: (index) => roleOf(index) === 2 };
}

/** Holds out a quarter of all samples. */
export function quarterHeldOut(positions: Positions): Split {
  if (!canSplit(positions)) return BOTH;
  const isUnseen = (index: number) => isHeldOut(imageOf(index, positions));
  return { isFit: (index) => !isUnseen(index), isHeldOut: isUnseen };
}

/** Whether the mean of `a` is below that of `b` by more than the standard error of their difference. */
export function isBetter(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  const differences = Float64Array.from(a, (value, i) => value - b[i]);
  const n = differences.length;
  const mean = differences.reduce((sum, value) => sum + value, 0) / n;
  const variance = differences.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, n - 1);
  return mean < -Math.sqrt(variance / n);
}
