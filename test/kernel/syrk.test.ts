import { expect, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { randomArray, randomIntegers } from '../support/random.ts';
import { product } from './oracle.ts';
import { guarded, guardedLower, matrixOf, onEveryCase, UPPER, unitRoundoff } from './support.ts';

onEveryCase('syrk', (kernels, type) => {
  function check(trans: boolean, alpha: number, beta: number, n: number, k: number): void {
    const a = randomArray(n * k, 1);
    const c = beta === 0 ? new Float64Array(n * n).fill(Number.NaN) : randomArray(n * n, 2);
    const A = guarded(kernels, trans ? k : n, trans ? n : k, type, a);
    const C = guardedLower(kernels, n, type, c);
    kernels.syrk(trans, alpha, A.matrix, beta, C.matrix);

    const { value, magnitude } = product(trans, !trans, [n, n, k], a, a);
    const old = (i: number) => (beta === 0 ? 0 : beta * c[i]);
    const error = 2 * (k + 3) * unitRoundoff(type);
    C.expectWithin(
      value.map((x, i) => alpha * x + old(i)),
      magnitude.map((x, i) => error * (Math.abs(alpha) * x + Math.abs(old(i)))),
    );
  }

  test('gives 2×2 Gram matrices', () => {
    const A = matrixOf(kernels, 2, 2, type, [1, 2, 3, 4]);
    const C = matrixOf(kernels, 2, 2, type, [0, 9, 0, 0]);
    kernels.syrk(true, 1, A, 0, C);
    expect(Array.from(kernels.read(C))).toEqual([10, 9, 14, 20]);
    kernels.syrk(false, 1, A, 0, C);
    expect(Array.from(kernels.read(C))).toEqual([5, 9, 11, 25]);
  });

  test('gives the rows of a second block as a product of those rows alone does', () => {
    const [n, k, rest] = [2057, 3, 7]; // blocks of 2050 or 2052 rows
    const A = matrixOf(kernels, k, n, type, randomArray(k * n, 1));
    const C = kernels.matrix(n, n, type);
    kernels.syrk(true, 1, A, 0, C);
    const expected = kernels.matrix(rest, n, type);
    kernels.gemm(true, false, 1, kernels.submatrix(A, 0, n - rest, k, rest), A, 0, expected);
    for (let r = 0; r < rest; r++) {
      const row = (of: typeof C, i: number) => kernels.submatrix(of, i, 0, 1, n - rest + r + 1);
      expect(kernels.read(row(C, n - rest + r))).toEqual(kernels.read(row(expected, r)));
    }
  });

  test.each([true, false])(
    'agrees with the definition and leaves the strict upper triangle untouched (trans %s)',
    (trans) => {
      for (const n of [1, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 24, 25, 31, 40])
        check(trans, 1, 0, n, 5 + (n % 4));
      for (const n of [126, 191, 192, 193, 384, 385]) check(trans, -1, 1, n, 9);
      for (const k of [255, 256, 257, 511, 512, 513]) check(trans, -0.75, 0.5, 13, k);
    },
  );

  test.each([true, false])(
    'agrees with the definition for few terms, streamed or packed (trans %s)',
    (trans) => {
      for (const k of [1, 2, 3, 4, 5]) {
        for (const n of [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33]) {
          check(trans, 1, 0, n, k);
          check(trans, -1, 1, n, k);
          check(trans, -0.75, 0.5, n, k);
        }
      }
    },
  );

  test.each([1, 5])('does not read A where alpha is 0 (%i terms)', (k) => {
    const A = kernels.matrix(k, 2, type);
    kernels.view(A).fill(Number.NaN);
    const C = matrixOf(kernels, 2, 2, type, [1, 9, 2, 3]);
    kernels.syrk(true, 0, A, 2, C);
    expect(Array.from(kernels.read(C))).toEqual([2, 9, 4, 6]);
  });

  test('overwrites NaN with beta 0 over several blocks of k', () => {
    check(true, 1, 0, 17, 1100);
  });

  test.each([1, 5])('crosses the edge of the column blocks (%i terms)', (k) => {
    const n = 2053;
    const a = randomIntegers(n, 9, 1);
    const A = kernels.matrix(k, n, type);
    const C = kernels.matrix(n, n, type);
    kernels.zero(A);
    kernels.write(kernels.submatrix(A, k - 1, 0, 1, n), a);
    kernels.view(C).fill(UPPER);
    kernels.syrk(true, 1, A, 0, C);
    const c = kernels.view(C);
    let wrong = 0;
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) if (c[i * n + j] !== (j > i ? UPPER : a[i] * a[j])) wrong++;
    }
    expect(wrong).toBe(0);
  });

  test('only scales the lower triangle where k is 0', () => {
    check(true, 1, -2, 9, 0);
    check(true, 1, 0, 9, 0);
  });

  test('names the operand that does not fit', () => {
    const A = kernels.matrix(5, 3, type);
    const C = kernels.matrix(3, 4, type);
    expect(() => kernels.syrk(true, 1, A, 0, C)).toThrow(new ShapeError('syrk: "C" expected 3×3, got 3×4'));
  });
});
