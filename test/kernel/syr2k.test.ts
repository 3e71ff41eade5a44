import { beforeAll, describe, expect, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import type { Kernels } from '../../src/kernel/index.ts';
import { randomArray } from '../support/random.ts';
import {
  absolute,
  everyCase,
  expectWithin,
  guarded,
  kernelsOf,
  multiply,
  onStack,
  unitRoundoff,
  withUpper,
} from './oracle.ts';

const UPPER = -777;

describe.each(everyCase)('syr2k (%s, %s)', (simd, type) => {
  let kernels: Kernels;
  beforeAll(async () => {
    kernels = await kernelsOf(simd);
  });

  test('adds 2×2 products', () => {
    onStack(kernels, () => {
      const [A, B, C] = [0, 1, 2].map(() => kernels.matrix(2, 2, type));
      kernels.write(A, [1, 2, 3, 4]);
      kernels.write(B, [1, 0, 0, 1]);
      kernels.write(C, [100, 9, 100, 100]);
      // AᵀB + BᵀA = Aᵀ + A = [2 5; 5 8].
      kernels.syr2k(1, A, B, C);
      expect(Array.from(kernels.read(C))).toEqual([102, 9, 105, 108]);
    });
  });

  test('agrees with the definition and leaves the strict upper triangle untouched', () => {
    for (const [n, k] of [
      [1, 1],
      [5, 3],
      [6, 7],
      [13, 64],
      [25, 2],
      [127, 9],
      [13, 257],
      [13, 513],
    ]) {
      onStack(kernels, () => {
        const [a, b, c] = [randomArray(k * n, 1), randomArray(k * n, 2), randomArray(n * n, 3)];
        const [A, B] = [a, b].map((data) => guarded(kernels, k, n, type, data).matrix);
        const C = guarded(kernels, n, n, type, withUpper(n, c, UPPER));
        kernels.syr2k(-0.75, A, B, C.matrix);

        const sum = (x: Float64Array, y: Float64Array) => x.map((value, i) => value + y[i]);
        const product = sum(multiply(true, false, [n, n, k], a, b), multiply(true, false, [n, n, k], b, a));
        const [aa, ab] = [absolute(a), absolute(b)];
        const magnitude = sum(
          multiply(true, false, [n, n, k], aa, ab),
          multiply(true, false, [n, n, k], ab, aa),
        );
        const expected = product.map((x, i) => c[i] - 0.75 * x);
        const bound = magnitude.map((x, i) => 2 * (2 * k + 4) * unitRoundoff(type) * (x + Math.abs(c[i])));
        expectWithin(kernels.read(C.matrix), withUpper(n, expected, UPPER), withUpper(n, bound, 0));
        C.expectIntact();
      });
    }
  });

  test('refuses operands that do not fit', () => {
    onStack(kernels, () => {
      const [A, B, C] = [kernels.matrix(2, 3, type), kernels.matrix(2, 4, type), kernels.matrix(3, 3, type)];
      expect(() => kernels.syr2k(1, A, B, C)).toThrow(new ShapeError('syr2k: "B" expected 2×3, got 2×4'));
      expect(() => kernels.syr2k(1, A, A, B)).toThrow(ShapeError);
    });
  });
});
