import { test } from 'vitest';
import { randomIntegers } from '../support/random.ts';
import { guardedLower, onEveryBinary } from './support.ts';

onEveryBinary('rows and columns', (kernels) => {
  test.each([1, 3])('swaps groups of %i rows of a symmetric matrix by its lower triangle', (b) => {
    const groups = 5;
    const n = groups * b;
    const half = randomIntegers(n * n, 100, 3);
    const full = Float64Array.from({ length: n * n }, (_, at) => {
      const [i, j] = [Math.floor(at / n), at % n];
      return half[Math.max(i, j) * n + Math.min(i, j)];
    });
    for (let a = 0; a < groups; a++) {
      for (let z = a + 1; z < groups; z++) {
        const A = guardedLower(kernels, n, 'f64', full);
        kernels.abi.dswapSymmetric(n, b, a, z, A.matrix.ptr, A.matrix.ld);
        const from = (i: number) => {
          const g = Math.floor(i / b);
          return (g === a ? z : g === z ? a : g) * b + (i % b);
        };
        const expected = full.map((_, at) => full[from(Math.floor(at / n)) * n + from(at % n)]);
        A.expectWithin(expected, new Float64Array(n * n));
      }
    }
  });
});
