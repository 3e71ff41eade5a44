// What the kernel tests share: a suite for each binary and type, operands in its memory, guard bands, bounds.

import { afterEach, beforeEach, describe, expect } from 'vitest';
import { type ElementType, type Kernels, type Matrix, openKernels } from '../../src/kernel/index.ts';
import { withUpper } from './oracle.ts';

export const types: ElementType[] = ['f32', 'f64'];
/** One instance per binary for a test file. */
export const baseline = await openKernels({ simd: 'baseline' });
const binaries = [baseline, await openKernels({ simd: 'relaxed' })];

export function onEveryBinary(operation: string, suite: (kernels: Kernels) => void): void {
  for (const kernels of binaries) {
    describe(`${operation} (${kernels.simd})`, () => {
      releaseAfterEach(kernels);
      suite(kernels);
    });
  }
}

export function onEveryCase(operation: string, suite: (kernels: Kernels, type: ElementType) => void): void {
  for (const kernels of binaries) {
    describe.each(types)(`${operation} (${kernels.simd}, %s)`, (type) => {
      releaseAfterEach(kernels);
      suite(kernels, type);
    });
  }
}

/** What a test puts on the stack is the next one's: scratch and outputs are then full of old numbers. */
function releaseAfterEach(kernels: Kernels): void {
  let mark: number;
  beforeEach(() => {
    mark = kernels.mark();
  });
  afterEach(() => kernels.release(mark));
}

/** Half the distance from 1 to the next number. */
export function unitRoundoff(type: ElementType): number {
  return type === 'f32' ? 2 ** -24 : 2 ** -53;
}

export function matrixOf<T extends ElementType>(
  kernels: Kernels,
  rows: number,
  cols: number,
  type: T,
  data: ArrayLike<number>,
): Matrix<T> {
  const matrix = kernels.matrix(rows, cols, type);
  kernels.write(matrix, data);
  return matrix;
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
  /** Checks that too, and the elements. */
  expectWithin(expected: ArrayLike<number>, bound: ArrayLike<number>): void;
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
  return {
    matrix,
    expectIntact,
    expectWithin(expected, bound) {
      expectWithin(kernels.read(matrix), expected, bound);
      expectIntact();
    },
  };
}

/** In a strict upper triangle that must stay as it is. */
export const UPPER = -777;

/** n × n, guarded in the strict upper triangle too. */
export function guardedLower<T extends ElementType>(
  kernels: Kernels,
  n: number,
  type: T,
  data: ArrayLike<number>,
): Guarded<T> {
  const guard = guarded(kernels, n, n, type, withUpper(n, data, UPPER));
  return {
    ...guard,
    expectWithin: (expected, bound) =>
      guard.expectWithin(withUpper(n, expected, UPPER), withUpper(n, bound, 0)),
  };
}
