import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { packed, StatisticsAccumulator, triangle, unpacked } from '../../src/solve/index.ts';
import { normals } from '../support/problems.ts';

const A = Float64Array.of(1, 9, 9, 2, 3, 9, 4, 5, 6);

describe('packed', () => {
  test('has the lower triangle, row behind row', () => {
    expect(packed(A, 3)).toEqual(Float64Array.of(1, 2, 3, 4, 5, 6));
  });

  test('has what the last rows of a matrix are of it', () => {
    expect(packed(A.subarray(3), 3, 2)).toEqual(Float64Array.of(2, 3, 4, 5, 6));
  });

  test('can be made in place', () => {
    const own = A.slice();
    expect(packed(own, 3, 3, own)).toEqual(Float64Array.of(1, 2, 3, 4, 5, 6));
    expect(own.subarray(0, 6)).toEqual(packed(A, 3));
  });
});

describe('unpacked', () => {
  test.each([1, 2, 31, 32, 33, 70])('has both triangles of order %i', (n) => {
    const lower = Float64Array.from({ length: triangle(n) }, (_, at) => at + 1);
    const whole = unpacked(lower, n);
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < n; j++) {
        expect(whole[i * n + j]).toBe(lower[triangle(Math.max(i, j)) + Math.min(i, j)]);
      }
    }
    expect(packed(whole, n)).toEqual(lower);
  });
});

test('panels of sums are rows of the same triangle, copied out or left in place', async () => {
  const kernels = await openKernels();
  const [p, m] = [40, 3];
  const X = normals(700 * p, 1);
  const sums = (panel: { first: number; end: number }, inPlace: boolean) =>
    kernels.scoped(() => {
      const accumulator = new StatisticsAccumulator(kernels, p, m, false, panel);
      accumulator.addRows(X);
      return accumulator.read({ inPlace }).XtX.slice();
    });
  const whole = sums({ first: 0, end: p }, false);
  expect(whole.length).toBe(triangle(p));
  for (const inPlace of [false, true]) {
    const parts = [0, 17, 18, p].slice(1).map((end, i) => sums({ first: [0, 17, 18][i], end }, inPlace));
    expect(Float64Array.of(...parts.flatMap((part) => Array.from(part)))).toEqual(whole);
  }
});
