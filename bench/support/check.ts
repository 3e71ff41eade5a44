// Nothing is timed before its result has been compared with an oracle.

/** |actual − expected| ≤ bound in every element. */
export function check(
  what: string,
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: number,
): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: expected ${expected.length} elements, got ${actual.length}`);
  }
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(actual[i] - expected[i]) <= bound)) {
      throw new Error(`${what}: element ${i} expected ${expected[i]} ± ${bound}, got ${actual[i]}`);
    }
  }
}

/** The lower triangle, zeros above. */
export function lower(n: number, A: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: n * n }, (_, at) => (at % n <= Math.floor(at / n) ? A[at] : 0));
}

export function unitRoundoff(type: 'f32' | 'f64'): number {
  return type === 'f32' ? 2 ** -24 : 2 ** -53;
}
