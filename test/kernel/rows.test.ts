import { beforeAll, describe, expect, test } from 'vitest';
import type { Kernels } from '../../src/kernel/index.ts';
import { randomIntegers } from '../support/random.ts';
import { guarded, kernelsOf, onStack, simds, withUpper } from './oracle.ts';

describe.each(simds)('rows and columns (%s)', (simd) => {
  let kernels: Kernels;
  beforeAll(async () => {
    kernels = await kernelsOf(simd);
  });

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
        onStack(kernels, () => {
          const A = guarded(kernels, n, n, 'f64', withUpper(n, full, -777));
          kernels.abi.dswapSymmetric(n, b, a, z, A.matrix.ptr, A.matrix.ld);
          const from = (i: number) => {
            const g = Math.floor(i / b);
            return (g === a ? z : g === z ? a : g) * b + (i % b);
          };
          const expected = Float64Array.from(
            { length: n * n },
            (_, at) => full[from(Math.floor(at / n)) * n + from(at % n)],
          );
          expect(kernels.read(A.matrix)).toEqual(withUpper(n, expected, -777));
          A.expectIntact();
        });
      }
    }
  });
});
