import { beforeAll, describe, expect, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import type { Kernels } from '../../src/kernel/index.ts';
import { random, randomArray } from '../support/random.ts';
import {
  absolute,
  everyCase,
  expectWithin,
  forwardSubstitution,
  guarded,
  identity,
  kernelsOf,
  multiply,
  onStack,
  transpose,
  unitRoundoff,
  withUpper,
} from './oracle.ts';

/** Lower triangular and well-conditioned; rows scaled over several orders of magnitude if `scaled`. */
function triangle(n: number, scaled: boolean): Float64Array {
  const next = random(n);
  const entries = randomArray(n * n, 1);
  const L = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    const scale = scaled ? Math.fround(10 ** (6 * next() - 3)) : 1;
    for (let j = 0; j < i; j++) L[i * n + j] = Math.fround((scale * entries[i * n + j]) / n);
    L[i * n + i] = Math.fround(scale * (1 + next()));
  }
  return L;
}

const variants = [
  ['left', false],
  ['left', true],
  ['right', false],
  ['right', true],
] as const;

describe.each(everyCase)('trsm (%s, %s)', (simd, type) => {
  let kernels: Kernels;
  beforeAll(async () => {
    kernels = await kernelsOf(simd);
  });

  function check(
    side: 'left' | 'right',
    trans: boolean,
    alpha: number,
    n: number,
    w: number,
    scaled: boolean,
  ): void {
    onStack(kernels, () => {
      const l = triangle(n, scaled);
      const [rows, cols] = side === 'left' ? [n, w] : [w, n];
      const b = randomArray(n * w, 2);
      const L = guarded(kernels, n, n, type, withUpper(n, l, Number.NaN));
      const B = guarded(kernels, rows, cols, type, b);
      kernels.trsm(side, trans, alpha, L.matrix, B.matrix);

      const inverse = forwardSubstitution(n, n, l, identity(n));
      const apply = (x: Float64Array, y: Float64Array) =>
        side === 'left' ? multiply(trans, false, [n, w, n], x, y) : multiply(false, trans, [w, n, n], y, x);
      const expected = apply(inverse, b).map((x) => alpha * x);
      // |L⁻¹||L||L⁻¹||B|: the forward error of a triangular solve by blocks (Higham, ch. 8 and 14).
      const condition = multiply(false, false, [n, n, n], absolute(inverse), absolute(l));
      const growth = multiply(false, false, [n, n, n], condition, absolute(inverse));
      const bound = apply(growth, absolute(b)).map(
        (x) => 2 * (n + 2) * unitRoundoff(type) * Math.abs(alpha) * x,
      );
      expectWithin(kernels.read(B.matrix), expected, bound);
      B.expectIntact();
    });
  }

  test('solves 2×2', () => {
    onStack(kernels, () => {
      const L = kernels.matrix(2, 2, type);
      const B = kernels.matrix(2, 1, type);
      kernels.write(L, [2, Number.NaN, 1, 4]);
      kernels.write(B, [2, 9]);
      kernels.trsm('left', false, 1, L, B);
      expect(Array.from(kernels.read(B))).toEqual([1, 2]);
      kernels.trsm('left', true, 2, L, B);
      expect(Array.from(kernels.read(B))).toEqual([0.5, 1]);
    });
  });

  test.each(variants)('solves for few and many right-hand sides (%s, trans %s)', (side, trans) => {
    for (const n of [1, 2, 5, 8, 31, 32, 33]) for (const w of [1, 7, 33]) check(side, trans, 1, n, w, false);
    for (const n of [63, 64, 65, 96, 97, 130]) check(side, trans, -0.5, n, 19, false);
  });

  // From order 1024 on, triangles are halved down to inverses of order 128, not 32.
  test.each(variants)('solves large systems (%s, trans %s)', (side, trans) => {
    const [n, w] = [1100, 9];
    const l = triangle(n, false);
    const x = randomArray(n * w, 2);
    const b =
      side === 'left' ? multiply(trans, false, [n, w, n], l, x) : multiply(false, trans, [w, n, n], x, l);
    onStack(kernels, () => {
      const L = guarded(kernels, n, n, type, withUpper(n, l, Number.NaN));
      const B = guarded(kernels, side === 'left' ? n : w, side === 'left' ? w : n, type, b);
      kernels.trsm(side, trans, 1, L.matrix, B.matrix);
      expectWithin(kernels.read(B.matrix), x, new Float64Array(n * w).fill(n * unitRoundoff(type)));
      B.expectIntact();
    });
  });

  test.each(variants)('solves badly scaled systems as accurately (%s, trans %s)', (side, trans) => {
    for (const n of [33, 97]) check(side, trans, 1, n, 5, true);
  });

  test('inverts what it multiplies by', () => {
    const n = 70;
    const l = triangle(n, false);
    onStack(kernels, () => {
      const L = kernels.matrix(n, n, type);
      const B = kernels.matrix(n, n, type);
      kernels.write(L, l);
      kernels.write(B, transpose(n, n, l));
      kernels.trsm('left', true, 1, L, B);
      const bound = new Float64Array(n * n).fill(64 * n * unitRoundoff(type));
      expectWithin(kernels.read(B), identity(n), bound);
    });
  });

  test('names the operand that does not fit', () => {
    onStack(kernels, () => {
      const L = kernels.matrix(3, 3, type);
      const B = kernels.matrix(3, 4, type);
      expect(() => kernels.trsm('right', false, 1, L, B)).toThrow(
        new ShapeError('trsm: "L" expected 4×4, got 3×3'),
      );
    });
  });
});
