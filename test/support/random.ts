// Seeded data, the same in every run and on every machine.

import { mulberry32 as random } from '../../src/pipeline/data/sample.ts';

export { random };

/** Uniform in [−1, 1), rounded to f32 so that both element types hold the same numbers. */
export function randomArray(length: number, seed: number): Float64Array {
  const next = random(seed);
  return Float64Array.from({ length }, () => Math.fround(2 * next() - 1));
}

/** Whole numbers from −limit to limit: sums of their products are exact in f32 while they stay below 2²⁴. */
export function randomIntegers(length: number, limit: number, seed: number): Float64Array {
  const next = random(seed);
  return Float64Array.from({ length }, () => Math.floor(next() * (2 * limit + 1)) - limit);
}
