import { expect, test } from 'vitest';
import type { Kernels, Matrix } from '../../src/kernel/index.ts';
import { randomArray } from '../support/random.ts';
import { product } from './oracle.ts';
import { expectWithin, guarded, guardedLower, matrixOf, onEveryBinary, unitRoundoff } from './support.ts';

/** Terms that are summed in f32 before they go to f64. */
const CHUNK = 512;

/** Of a sum over so many rows, times its magnitude; in f32 what f64 adds is far below. */
function error(rows: number, isFlat = false): number {
  return 1.01 * (isFlat ? rows * unitRoundoff('f64') : Math.min(rows, CHUNK) * unitRoundoff('f32'));
}

/** C ← C + AᵀB. */
function add(kernels: Kernels, A: Matrix, B: Matrix, C: Matrix, isFlat = false): void {
  const { abi } = kernels;
  const [n, m] = [A.cols, B.cols];
  kernels.scoped(() => {
    const scratch = kernels.allocate(abi.gramBytes(n, A === B ? 0 : m));
    abi.gram(isFlat, A.rows, n, m, A.ptr, A.ld, B.ptr, B.ld, C.ptr, C.ld, scratch);
  });
}

onEveryBinary('gram', (kernels) => {
  function check(rows: number, p: number, isFlat = false): void {
    const x = Float32Array.from(randomArray(rows * p, 1));
    const h = randomArray(p * p, 2);
    const X = guarded(kernels, rows, p, 'f32', x);
    const H = guardedLower(kernels, p, 'f64', h);
    add(kernels, X.matrix, X.matrix, H.matrix, isFlat);
    const { value, magnitude } = product(true, false, [p, p, rows], x, x);
    H.expectWithin(
      value.map((sum, i) => sum + h[i]),
      magnitude.map((sum) => error(rows, isFlat) * sum + 1e-15),
    );
  }

  test('adds a 2×2 Gram matrix', () => {
    const X = matrixOf(kernels, 2, 2, 'f32', [1, 2, 3, 4]);
    const H = matrixOf(kernels, 2, 2, 'f64', [1, 9, 1, 1]);
    add(kernels, X, X, H);
    expect(Array.from(kernels.read(H))).toEqual([11, 9, 15, 21]);
  });

  test('agrees with the definition and leaves the strict upper triangle untouched', () => {
    for (const p of [1, 4, 5, 6, 7, 8, 9, 15, 16, 17, 40, 191, 192, 193]) check(3, p);
    for (const rows of [1, 511, 512, 513, 1100]) check(rows, 13);
  });

  test('gives the same Gram matrix however the rows are split', () => {
    const [rows, p] = [1500, 21];
    const x = randomArray(rows * p, 3);
    const bound = product(true, false, [p, p, rows], x, x).magnitude.map((sum) => 2 * error(rows) * sum);
    const X = matrixOf(kernels, rows, p, 'f32', x);
    const gramOf = (...splits: number[]) => {
      const H = kernels.matrix(p, p, 'f64');
      kernels.zero(H);
      [0, ...splits].forEach((from, i) => {
        const part = kernels.submatrix(X, from, 0, (splits[i] ?? rows) - from, p);
        add(kernels, part, part, H);
      });
      return kernels.read(H);
    };
    const whole = gramOf();
    for (const splits of [[1], [512, 1024], [100, 101, 900], [1499]])
      expectWithin(gramOf(...splits), whole, bound);
    // At multiples of the chunk nothing changes at all.
    expect(gramOf(512, 1024)).toEqual(whole);
  });

  test('keeps small terms that f32 sums would lose', () => {
    const rows = 1024;
    const X = kernels.matrix(rows, 1, 'f32');
    const H = matrixOf(kernels, 1, 1, 'f64', [2 ** 30]);
    kernels.view(X).fill(1);
    add(kernels, X, X, H);
    expect(kernels.read(H)[0]).toBe(2 ** 30 + rows);
  });

  test('of flat rows is summed in f64', () => {
    for (const [rows, p] of [
      [1, 5],
      [2, 1],
      [66, 9],
      [512, 17],
      [700, 8],
    ])
      check(rows, p, true);
  });
});

onEveryBinary('a cross product', (kernels) => {
  test.each([
    [2, 2, 2],
    [3, 5, 8],
    [3, 6, 7],
    [513, 13, 17],
    [1100, 127, 9],
    [7, 3, 193],
  ])('agrees with the definition on %i rows of %i and %i columns', (rows, p, m) => {
    const [x, y] = [rows * p, rows * m].map((length, i) => Float32Array.from(randomArray(length, i + 1)));
    const c = randomArray(p * m, 3);
    const X = guarded(kernels, rows, p, 'f32', x);
    const Y = guarded(kernels, rows, m, 'f32', y);
    const { value, magnitude } = product(true, false, [p, m, rows], x, y);
    for (const isFlat of [false, true]) {
      const C = guarded(kernels, p, m, 'f64', c);
      add(kernels, X.matrix, Y.matrix, C.matrix, isFlat);
      C.expectWithin(
        value.map((sum, i) => sum + c[i]),
        magnitude.map((sum) => error(rows, isFlat) * sum + 1e-15),
      );
    }
  });
});

onEveryBinary('isFlat', (kernels) => {
  const isFlat = ({ rows, cols, ptr, ld }: Matrix) => kernels.abi.isFlat(rows, cols, ptr, ld) !== 0;
  /** Columns of mean 1 and alternating ± d: d² / (1 + d²) of their squares varies. */
  const alternating = (rows: number, columns: readonly number[]) => {
    const X = guarded(
      kernels,
      rows,
      columns.length,
      'f32',
      Array.from({ length: rows * columns.length }, (_, at) => {
        const [i, j] = [Math.floor(at / columns.length), at % columns.length];
        return 1 + (i % 2 ? columns[j] : -columns[j]);
      }),
    );
    return isFlat(X.matrix);
  };
  const [above, below] = [0.19, 0.17]; // 0.18² is a 32nd of what is not varying, nearly

  test.each([1, 3, 4, 5, 8, 11])('looks at all of %i columns', (p) => {
    expect(alternating(200, Array(p).fill(below))).toBe(true);
    expect(alternating(200, Array(p).fill(above))).toBe(false);
    for (let j = 0; j < p; j++) {
      const columns = Array(p).fill(below);
      columns[j] = 0.19 * Math.sqrt(p);
      expect(alternating(200, columns)).toBe(false);
    }
  });

  test('is not said of nothing', () => {
    const X = kernels.matrix(4, 5, 'f32');
    kernels.zero(X);
    expect(isFlat(X)).toBe(false);
  });
});
