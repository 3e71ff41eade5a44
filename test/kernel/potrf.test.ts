import { expect, test } from 'vitest';
import { NotPositiveDefiniteError, ShapeError } from '../../src/errors.ts';
import { random, randomArray } from '../support/random.ts';
import {
  absolute,
  forwardSubstitution,
  identity,
  isUpper,
  multiply,
  product,
  transpose,
  withUpper,
} from './oracle.ts';
import { expectWithin, guarded, matrixOf, onEveryCase, unitRoundoff } from './support.ts';

const sizes = [1, 2, 3, 5, 8, 9, 31, 32, 33, 63, 64, 65, 96, 97, 130];

/** XᵀX + I with p rows of X; D(XᵀX + I)D with D over six orders of magnitude if `scaled`. In f32. */
function positiveDefinite(n: number, rows: number, scaled: boolean): Float64Array {
  const x = randomArray(rows * n, n);
  const next = random(n);
  const d = Float64Array.from({ length: n }, () => (scaled ? 10 ** (6 * next() - 3) : 1));
  return multiply(true, false, [n, n, rows], x, x).map((value, i) => {
    const [row, col] = [Math.floor(i / n), i % n];
    return Math.fround((value + (row === col ? 1 : 0)) * d[row] * d[col]);
  });
}

function lower(n: number, A: ArrayLike<number>): Float64Array {
  return withUpper(n, A, 0);
}

const shapes = [
  ['a full Gram matrix', (n: number) => positiveDefinite(n, n + 3, false)],
  ['a rank-deficient Gram matrix with damping', (n: number) => positiveDefinite(n, Math.ceil(n / 3), false)],
  ['a badly scaled matrix', (n: number) => positiveDefinite(n, n + 3, true)],
] as const;

onEveryCase('potrf', (kernels, type) => {
  function factor(n: number, a: Float64Array): Float64Array {
    const A = guarded(kernels, n, n, type, withUpper(n, a, Number.NaN));
    kernels.potrf(A.matrix);
    A.expectIntact();
    return Float64Array.from(kernels.read(A.matrix));
  }

  test('factors 2×2', () => {
    const A = matrixOf(kernels, 2, 2, type, [4, 7, 2, 10]);
    kernels.potrf(A);
    expect(Array.from(kernels.read(A))).toEqual([2, 7, 1, 3]);
  });

  test.each(shapes)('reproduces %s', (_, make) => {
    for (const n of sizes) {
      const a = make(n);
      const L = lower(n, factor(n, a));
      const { value, magnitude } = product(false, true, [n, n, n], L, L);
      // (n + 1)·u·|L||Lᵀ| (Higham, theorem 10.3), with room for the inverted diagonal blocks.
      const error = 4 * (n + 1) * unitRoundoff(type);
      expectWithin(
        lower(n, value),
        lower(n, a),
        magnitude.map((x) => error * x),
      );
    }
  });

  test('neither reads nor writes the strict upper triangle', () => {
    const n = 97;
    const L = factor(n, positiveDefinite(n, n, false));
    expect(L.every((value, i) => Number.isNaN(value) === isUpper(n, i))).toBe(true);
  });

  test('names the first pivot that is not positive', () => {
    const n = 100;
    for (const pivot of [1, 2, 31, 32, 33, 64, 65, 97, 100]) {
      for (const value of [-2, 0, Number.NaN]) {
        const A = matrixOf(kernels, n, n, type, identity(n));
        kernels.view(A)[(pivot - 1) * (n + 1)] = value;
        expect(() => kernels.potrf(A)).toThrow(
          expect.objectContaining({ name: 'NotPositiveDefiniteError', pivot, value }),
        );
      }
    }
  });

  test('refuses a matrix of rank one at its second pivot', () => {
    const A = kernels.matrix(5, 5, type);
    kernels.view(A).fill(1);
    expect(() => kernels.potrf(A)).toThrow(
      new NotPositiveDefiniteError('potrf: "A" expected a positive pivot 2 of 5, got 0', 2, { value: 0 }),
    );
  });

  test('refuses a matrix that is not square', () => {
    const A = kernels.matrix(3, 4, type);
    expect(() => kernels.potrf(A)).toThrow(new ShapeError('potrf: "A" expected 3×3, got 3×4'));
  });
});

onEveryCase('potri', (kernels, type) => {
  test('inverts 2×2', () => {
    const A = matrixOf(kernels, 2, 2, type, [4, 7, 2, 2]);
    kernels.potrf(A);
    kernels.potri(A);
    expect(Array.from(kernels.read(A))).toEqual([0.5, 7, -0.5, 1]);
  });

  test.each(shapes)('inverts %s and leaves the strict upper triangle untouched', (_, make) => {
    for (const n of sizes) {
      const A = guarded(kernels, n, n, type, withUpper(n, make(n), Number.NaN));
      kernels.potrf(A.matrix);
      const L = lower(n, kernels.read(A.matrix));
      kernels.potri(A.matrix);
      A.expectIntact();

      const W = forwardSubstitution(n, n, L, identity(n));
      const inverse = multiply(true, false, [n, n, n], W, W);
      // WᵀW with |δW| ≤ n·u·|W||L||W|: n·u·(|Wᵀ||W||L||W| and its transpose), and the product's own.
      const growth = multiply(false, false, [n, n, n], absolute(W), absolute(L));
      const error = multiply(false, false, [n, n, n], growth, absolute(W));
      const half = multiply(true, false, [n, n, n], absolute(W), error);
      const other = transpose(n, n, half);
      const bound = half.map((x, i) => 2 * (n + 2) * unitRoundoff(type) * (x + other[i]));
      const result = kernels.read(A.matrix);
      expectWithin(lower(n, result), lower(n, inverse), bound);
      expect(result.every((x, i) => Number.isNaN(x) === isUpper(n, i))).toBe(true);
    }
  });
});

onEveryCase('symmetrize', (kernels, type) => {
  test('mirrors the lower triangle and nothing else', () => {
    for (const n of [1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 65, 67]) {
      const a = randomArray(n * n, n);
      const A = guarded(kernels, n, n, type, withUpper(n, a, Number.NaN));
      kernels.symmetrize(A.matrix);
      const mirrored = a.map((_, i) => {
        const [row, col] = [Math.floor(i / n), i % n];
        return a[Math.max(row, col) * n + Math.min(row, col)];
      });
      A.expectWithin(mirrored, new Float64Array(n * n));
    }
  });
});
