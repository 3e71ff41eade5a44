// Seeded data, the same in every run and on every machine.

/** mulberry32 (Tommy Ettinger, public domain): uniform in [0, 1). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = Math.imul(state ^ (state >>> 15), state | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

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
