// Symmetric matrices as their lower triangle, row behind row (packed storage, as BLAS calls it): XᵀX of statistics, H of
// problems. Element (i, j) with j ≤ i is the one at triangle(i) + j.

import { ShapeError } from '../errors.ts';
import { said } from '../expect.ts';
import { triangle } from './memory.ts';

export { triangle };

/**
 * The lower triangle of A, n × n and row-major, or what some of its last rows are of it.
 *
 * @param rows  that A has
 * @param to  may be A itself
 * @throws {ShapeError} where A is no Float64Array of so many rows, or n no whole number
 *
 * @example
 * const XtX = packed(Float64Array.of(4, 2, 2, 3), 2); // 4, 2, 3
 */
export function packed(
  A: Float64Array,
  n: number,
  rows = n,
  to = new Float64Array(triangle(n) - triangle(n - rows)),
): Float64Array {
  expectValues('packed', A, n, rows * n);
  const first = n - rows;
  for (let i = 0; i < rows; i++) {
    to.set(A.subarray(i * n, i * n + first + i + 1), triangle(first + i) - triangle(first));
  }
  return to.subarray(0, triangle(n) - triangle(first));
}

/**
 * The whole matrix, n × n, of its lower triangle.
 *
 * @throws {ShapeError} where A is no Float64Array of one, or n no whole number
 *
 * @example
 * const H = unpacked(Float64Array.of(4, 2, 3), 2); // 4, 2, 2, 3
 */
export function unpacked(A: Float64Array, n: number): Float64Array {
  expectValues('unpacked', A, n, triangle(n));
  const whole = new Float64Array(n * n);
  for (let i = 0; i < n; i++) whole.set(A.subarray(triangle(i), triangle(i + 1)), i * n);
  // In squares that stay in the cache.
  const edge = 32;
  for (let i0 = 0; i0 < n; i0 += edge) {
    for (let j0 = 0; j0 <= i0; j0 += edge) {
      for (let i = i0; i < Math.min(i0 + edge, n); i++) {
        for (let j = j0; j < Math.min(j0 + edge, i); j++) whole[j * n + i] = whole[i * n + j];
      }
    }
  }
  return whole;
}

function expectValues(operation: string, A: unknown, n: number, expected: number): void {
  if (!(Number.isInteger(n) && n >= 0))
    throw new ShapeError(`${operation}: "n" expected a whole number, got ${said(n)}`);
  if (!(A instanceof Float64Array && A.length >= expected))
    throw new ShapeError(
      `${operation}: "A" expected a Float64Array of ${expected} values, got ${A instanceof Float64Array ? A.length : said(A)}`,
    );
}
