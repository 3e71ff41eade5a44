import { expect, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { random, randomArray } from '../support/random.ts';
import { absolute, forwardSubstitution, identity, multiply, transpose, withUpper } from './oracle.ts';
import { expectWithin, guarded, matrixOf, onEveryCase, unitRoundoff } from './support.ts';

type Side = 'left' | 'right';

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

/** op(L)·X, or X·op(L) from the right; X n × w, or w × n. */
function apply(side: Side, trans: boolean, [n, w]: readonly number[], L: Float64Array, X: Float64Array) {
  if (side === 'left') return multiply(trans, false, [n, w, n], L, X);
  return multiply(false, trans, [w, n, n], X, L);
}

onEveryCase('trsm', (kernels, type) => {
  /** B as trsm leaves it, with NaN where L must not be read. */
  function solve(side: Side, trans: boolean, alpha: number, l: Float64Array, b: Float64Array) {
    const n = Math.sqrt(l.length);
    const w = b.length / n;
    const L = guarded(kernels, n, n, type, withUpper(n, l, Number.NaN));
    const B = side === 'left' ? guarded(kernels, n, w, type, b) : guarded(kernels, w, n, type, b);
    kernels.trsm(side, trans, alpha, L.matrix, B.matrix);
    return B;
  }

  function check(side: Side, trans: boolean, alpha: number, n: number, w: number, scaled: boolean): void {
    const l = triangle(n, scaled);
    const b = randomArray(n * w, 2);
    const B = solve(side, trans, alpha, l, b);

    const inverse = forwardSubstitution(n, n, l, identity(n));
    // |L⁻¹||L||L⁻¹||B|: the forward error of a triangular solve by blocks (Higham, ch. 8 and 14).
    const condition = multiply(false, false, [n, n, n], absolute(inverse), absolute(l));
    const growth = multiply(false, false, [n, n, n], condition, absolute(inverse));
    const error = 2 * (n + 2) * unitRoundoff(type) * Math.abs(alpha);
    B.expectWithin(
      apply(side, trans, [n, w], inverse, b).map((x) => alpha * x),
      apply(side, trans, [n, w], growth, absolute(b)).map((x) => error * x),
    );
  }

  test('solves 2×2', () => {
    const L = matrixOf(kernels, 2, 2, type, [2, Number.NaN, 1, 4]);
    const B = matrixOf(kernels, 2, 1, type, [2, 9]);
    kernels.trsm('left', false, 1, L, B);
    expect(Array.from(kernels.read(B))).toEqual([1, 2]);
    kernels.trsm('left', true, 2, L, B);
    expect(Array.from(kernels.read(B))).toEqual([0.5, 1]);
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
    const B = solve(side, trans, 1, l, apply(side, trans, [n, w], l, x));
    B.expectWithin(x, new Float64Array(n * w).fill(n * unitRoundoff(type)));
  });

  test.each(variants)('solves badly scaled systems as accurately (%s, trans %s)', (side, trans) => {
    for (const n of [33, 97]) check(side, trans, 1, n, 5, true);
  });

  test('inverts what it multiplies by', () => {
    const n = 70;
    const l = triangle(n, false);
    const L = matrixOf(kernels, n, n, type, l);
    const B = matrixOf(kernels, n, n, type, transpose(n, n, l));
    kernels.trsm('left', true, 1, L, B);
    expectWithin(kernels.read(B), identity(n), new Float64Array(n * n).fill(64 * n * unitRoundoff(type)));
  });

  test('names the operand that does not fit', () => {
    const L = kernels.matrix(3, 3, type);
    const B = kernels.matrix(3, 4, type);
    expect(() => kernels.trsm('right', false, 1, L, B)).toThrow(
      new ShapeError('trsm: "L" expected 4×4, got 3×3'),
    );
  });
});
