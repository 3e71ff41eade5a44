import { describe, expect, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { randomArray } from '../support/random.ts';
import { product, type Sizes } from './oracle.ts';
import { baseline, guarded, matrixOf, onEveryCase, types, unitRoundoff } from './support.ts';

// One short of, at and past the edges of tiles (5 or 6 × 4 or 8), of vectors and of blocks
// (MC 2050 or 2052, KC 256 or 512, NC 192).
const tileEdges: Sizes[] = [4, 5, 6, 7, 11, 12, 13].flatMap((m) =>
  [1, 3, 4, 5, 7, 8, 9, 15, 16, 17].map((n): Sizes => [m, n, 1 + ((m * n) % 6)]),
);
const blockEdges: Sizes[] = [
  ...[2049, 2050, 2051, 2052, 2053].map((m): Sizes => [m, 9, 5]),
  ...[255, 256, 257, 511, 512, 513].map((k): Sizes => [7, 9, k]),
  ...[191, 192, 193, 384].map((n): Sizes => [7, n, 3]),
  // Products with Bᵀ of up to 48 rows and a depth of up to 8192 read B in place.
  ...[8192, 8193].map((k): Sizes => [3, 7, k]),
  [130, 200, 520],
];

onEveryCase('gemm', (kernels, type) => {
  function check(transA: boolean, transB: boolean, alpha: number, beta: number, [m, n, k]: Sizes): void {
    const a = randomArray(m * k, 1);
    const b = randomArray(k * n, 2);
    const c = beta === 0 ? new Float64Array(m * n).fill(Number.NaN) : randomArray(m * n, 3);
    const A = guarded(kernels, transA ? k : m, transA ? m : k, type, a);
    const B = guarded(kernels, transB ? n : k, transB ? k : n, type, b);
    const C = guarded(kernels, m, n, type, c);
    kernels.gemm(transA, transB, alpha, A.matrix, B.matrix, beta, C.matrix);

    const { value, magnitude } = product(transA, transB, [m, n, k], a, b);
    const old = (i: number) => (beta === 0 ? 0 : beta * c[i]);
    // k terms, the scalings by α and β and the last addition; twice, for the oracle rounds as well.
    const error = 2 * (k + 3) * unitRoundoff(type);
    C.expectWithin(
      value.map((x, i) => alpha * x + old(i)),
      magnitude.map((x, i) => error * (Math.abs(alpha) * x + Math.abs(old(i)))),
    );
  }

  test('multiplies 2×2', () => {
    const A = matrixOf(kernels, 2, 2, type, [1, 2, 3, 4]);
    const B = matrixOf(kernels, 2, 2, type, [5, 6, 7, 8]);
    const C = kernels.matrix(2, 2, type);
    kernels.gemm(false, false, 1, A, B, 0, C);
    expect(Array.from(kernels.read(C))).toEqual([19, 22, 43, 50]);
    kernels.gemm(true, false, 2, A, B, -1, C);
    expect(Array.from(kernels.read(C))).toEqual([33, 38, 33, 38]);
  });

  const transpositions = [
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ] as const;

  test.each(transpositions)(
    'agrees with the definition at the edges of tiles (transA %s, transB %s)',
    (tA, tB) => {
      for (const sizes of tileEdges) check(tA, tB, 1, 0, sizes);
    },
  );

  test.each(transpositions)(
    'agrees with the definition at the edges of blocks (transA %s, transB %s)',
    (tA, tB) => {
      for (const sizes of blockEdges) check(tA, tB, -0.75, 0.5, sizes);
    },
  );

  test('gives few rows the bits that they have among many', () => {
    const [m, n, k] = [53, 101, 1100];
    const A = matrixOf(kernels, m, k, type, randomArray(m * k, 1));
    const B = matrixOf(kernels, n, k, type, randomArray(n * k, 2));
    const start = randomArray(m * n, 3);
    const rowsOf = (rows: number) => {
      const C = matrixOf(kernels, rows, n, type, start.subarray(0, rows * n));
      kernels.gemm(false, true, -0.75, kernels.submatrix(A, 0, 0, rows, k), B, 1, C);
      return kernels.read(C);
    };
    const all = rowsOf(m);
    for (const rows of [1, 8, 29, 48]) expect(rowsOf(rows)).toEqual(all.subarray(0, rows * n));
  });

  test('overwrites NaN with beta 0 over several blocks of k', () => {
    check(false, false, 1, 0, [13, 17, 1100]);
  });

  test('only scales C where k or alpha is 0', () => {
    check(false, false, 1, 0, [7, 9, 0]);
    check(false, false, 1, 0.5, [7, 9, 0]);
    check(false, false, 0, 0, [7, 9, 3]);
    check(false, false, 0, -2, [7, 9, 3]);
  });

  test('does nothing to an empty C', () => {
    check(false, false, 1, 1, [0, 5, 3]);
    check(false, false, 1, 1, [5, 0, 3]);
  });

  test('gives the same bits twice', () => {
    const A = matrixOf(kernels, 70, 90, type, randomArray(70 * 90, 4));
    const C1 = kernels.matrix(70, 70, type);
    const C2 = kernels.matrix(70, 70, type);
    kernels.gemm(false, true, 1, A, A, 0, C1);
    kernels.gemm(false, true, 1, A, A, 0, C2);
    expect(kernels.read(C1)).toEqual(kernels.read(C2));
  });

  test('names the operand that does not fit', () => {
    const A = kernels.matrix(3, 2, type);
    const B = kernels.matrix(2, 4, type);
    const other = kernels.matrix(3, 4, type === 'f32' ? 'f64' : 'f32');
    expect(() => kernels.gemm(false, false, 1, A, A, 0, A)).toThrow(
      new ShapeError('gemm: "B" expected 2×2, got 3×2'),
    );
    expect(() => kernels.gemm(false, false, 1, A, B, 0, A)).toThrow(
      new ShapeError('gemm: "C" expected 3×4, got 3×2'),
    );
    expect(() => kernels.gemm(false, false, 1, A, B, 0, other)).toThrow(`gemm: "C" expected ${type}, got`);
  });
});

describe('gemm (baseline)', () => {
  /** Sums of plain products in order of k, begun anew at each block: what the baseline binary is to give. */
  function inOrder(type: 'f32' | 'f64', k: number, a: Float64Array, b: Float64Array): number {
    const round = type === 'f32' ? Math.fround : (x: number) => x;
    const blockDepth = type === 'f32' ? 512 : 256;
    let sum = 0;
    for (let p0 = 0; p0 < k; p0 += blockDepth) {
      let block = 0;
      for (let p = p0; p < Math.min(k, p0 + blockDepth); p++) block = round(block + round(a[p] * b[p]));
      sum = p0 === 0 ? block : round(sum + block);
    }
    return sum;
  }

  test.each(types)('gives the bits of plain multiplications and additions in order (%s)', (type) => {
    const [m, n, k] = [7, 9, 600];
    const a = randomArray(m * k, 5);
    const b = randomArray(n * k, 6);
    const A = matrixOf(baseline, m, k, type, a);
    const B = matrixOf(baseline, n, k, type, b);
    const C = baseline.matrix(m, n, type);
    baseline.gemm(false, true, 1, A, B, 0, C);
    const row = (x: Float64Array, i: number) => x.subarray(i * k, (i + 1) * k);
    const expected = Array.from({ length: m * n }, (_, i) =>
      inOrder(type, k, row(a, Math.floor(i / n)), row(b, i % n)),
    );
    expect(Array.from(baseline.read(C))).toEqual(expected);
  });
});
