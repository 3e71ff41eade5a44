// Naive oracles in f64, and what the kernel tests share. Matrices are row-major arrays.

import { expect } from 'vitest';
import {
  type ElementType,
  type Kernels,
  type Matrix,
  openKernels,
  type Simd,
} from '../../src/kernel/index.ts';

export const simds: Simd[] = ['baseline', 'relaxed'];
export const types: ElementType[] = ['f32', 'f64'];
export const everyCase = simds.flatMap((simd) => types.map((type) => [simd, type] as const));

const opened = new Map<Simd, Promise<Kernels>>();

/** One instance per binary for a test file. */
export function kernelsOf(simd: Simd): Promise<Kernels> {
  let kernels = opened.get(simd);
  if (!kernels) {
    kernels = openKernels({ simd });
    opened.set(simd, kernels);
  }
  return kernels;
}

/** Half the distance from 1 to the next number. */
export function unitRoundoff(type: ElementType): number {
  return type === 'f32' ? 2 ** -24 : 2 ** -53;
}

/** op(A)·op(B), m × n. */
export function multiply(
  transA: boolean,
  transB: boolean,
  [m, n, k]: readonly [number, number, number],
  A: ArrayLike<number>,
  B: ArrayLike<number>,
): Float64Array {
  const C = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) {
      const a = transA ? A[p * m + i] : A[i * k + p];
      for (let j = 0; j < n; j++) C[i * n + j] += a * (transB ? B[j * k + p] : B[p * n + j]);
    }
  }
  return C;
}

export function transpose(m: number, n: number, A: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: m * n }, (_, i) => A[(i % m) * n + Math.floor(i / m)]);
}

export function absolute(A: ArrayLike<number>): Float64Array {
  return Float64Array.from(A, Math.abs);
}

/** Sets the strict upper triangle. */
export function withUpper(n: number, A: ArrayLike<number>, value: number): Float64Array {
  return Float64Array.from(A, (a, i) => (i % n > Math.floor(i / n) ? value : a));
}

/** X with L·X = B by forward substitution; L lower n × n, B n × w. */
export function forwardSubstitution(
  n: number,
  w: number,
  L: ArrayLike<number>,
  B: ArrayLike<number>,
): Float64Array {
  const X = Float64Array.from(B);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < w; j++) {
      for (let p = 0; p < i; p++) X[i * w + j] -= L[i * n + p] * X[p * w + j];
      X[i * w + j] /= L[i * n + i];
    }
  }
  return X;
}

export function identity(n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0));
}

/** |actual − expected| ≤ bound, element by element; the message names the first that is off. */
export function expectWithin(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  bound: ArrayLike<number>,
): void {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    if (!(Math.abs(actual[i] - expected[i]) <= bound[i])) {
      expect.fail(`element ${i}: expected ${expected[i]} ± ${bound[i]}, got ${actual[i]}`);
    }
  }
}

const GUARD = 12345.5;

export interface Guarded<T extends ElementType> {
  /** Inside a larger matrix: ld > cols, rows not aligned. */
  readonly matrix: Matrix<T>;
  /** Checks that nothing around it was written. */
  expectIntact(): void;
}

export function guarded<T extends ElementType>(
  kernels: Kernels,
  rows: number,
  cols: number,
  type: T,
  data?: ArrayLike<number>,
): Guarded<T> {
  const outer = kernels.matrix(rows + 2, cols + 3, type);
  kernels.view(outer).fill(GUARD);
  const matrix = kernels.submatrix(outer, 1, 1, rows, cols);
  if (data) kernels.write(matrix, data);
  const expectIntact = () => {
    kernels.read(outer).forEach((value, i) => {
      const row = Math.floor(i / (cols + 3)) - 1;
      const col = (i % (cols + 3)) - 1;
      const inside = row >= 0 && row < rows && col >= 0 && col < cols;
      if (!inside && value !== GUARD) expect.fail(`wrote ${value} at (${row}, ${col}) of ${rows}×${cols}`);
    });
  };
  return { matrix, expectIntact };
}

/** Runs on the kernels' stack and leaves it as it was. */
export function onStack(kernels: Kernels, run: () => void): void {
  const mark = kernels.mark();
  try {
    run();
  } finally {
    kernels.release(mark);
  }
}
