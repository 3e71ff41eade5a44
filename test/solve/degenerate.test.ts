// Inputs at the edge of what the mathematics allows: defined results, or an error that says what to do.

import { describe, expect, test } from 'vitest';
import { NotPositiveDefiniteError } from '../../src/errors.ts';
import { openKernels } from '../../src/kernel/index.ts';
import {
  type LayerProblem,
  layerProblem,
  METHODS,
  packed,
  pruneLayer,
  SEARCHES,
  StatisticsAccumulator,
  unpacked,
} from '../../src/solve/index.ts';
import { activations, naiveObjective, naiveStatistics, normals } from '../support/problems.ts';

const kernels = await openKernels();
const m = 4;

function problem(X: Float32Array, p: number, options: { groupSize?: number; damping?: number } = {}) {
  return layerProblem(kernels, naiveStatistics(X, undefined, p, m), normals(p * m, 3), {
    groupSize: 1,
    ...options,
  });
}

/** Every method and search gives finite weights and the objective of its support. */
function expectDefined(layer: LayerProblem, keep: number): void {
  for (const method of METHODS) {
    for (const search of SEARCHES) {
      const { kept, W, objective, relativeError } = pruneLayer(kernels, layer, { keep, method, search });
      expect(kept).toHaveLength(keep);
      expect(W.every(Number.isFinite)).toBe(true);
      expect(Number.isFinite(objective) && relativeError > -1e-6).toBe(true);
      if (method === 'osscar') {
        const expected = naiveObjective(layer, kept);
        expect(Math.abs(objective - expected)).toBeLessThan(1e-6 * Math.abs(expected));
      }
    }
  }
}

describe('degenerate inputs', () => {
  test('that vary by a thousandth of their size', () => {
    // Of a rank far below their number, so that only damping keeps H definite.
    const [n, p, rank] = [1300, 96, 12];
    const mix = normals(rank * p, 4);
    const hidden = normals(n * rank, 5);
    const X = Float32Array.from({ length: n * p }, (_, at) => {
      const [r, j] = [Math.floor(at / p), at % p];
      let sum = 0;
      for (let k = 0; k < rank; k++) sum += hidden[r * rank + k] * mix[k * p + j];
      return 20 + 0.01 * sum;
    });
    const accumulator = new StatisticsAccumulator(kernels, p, m, false);
    accumulator.addRows(X);
    const sums = accumulator.finish();
    const options = { groupSize: 1, bias: new Float32Array(m) };
    const found = layerProblem(kernels, sums, normals(p * m, 3), options);
    const exact = layerProblem(kernels, naiveStatistics(X, undefined, p, m), normals(p * m, 3), options);
    const scale = Math.max(...exact.H.map(Math.abs));
    for (const [i, value] of found.H.entries())
      expect(Math.abs(value - exact.H[i])).toBeLessThan(1e-6 * scale);
    expect(pruneLayer(kernels, found, { keep: 40 }).kept).toEqual(
      pruneLayer(kernels, exact, { keep: 40 }).kept,
    );
  });

  test('fewer samples than inputs', () => {
    expectDefined(problem(activations(9, 24, 1), 24), 10);
    expectDefined(problem(activations(9, 24, 1), 24, { groupSize: 3 }), 4);
  });

  test('columns that differ by sixteen orders of magnitude', () => {
    const p = 18;
    const X = activations(100, p, 2).map((x, i) => x * [1e-8, 1, 1e8][(i % p) % 3]);
    expectDefined(problem(X, p, { damping: 1e-4 }), 7);
    // With damping in proportion to each column the scales do not matter at all: the same supports come out.
    const scales = Float64Array.from({ length: p }, (_, i) => 2 ** [-26, 0, 26][i % 3]);
    const plain = problem(activations(100, p, 2), p);
    const scaled: LayerProblem = {
      ...plain,
      H: packed(
        unpacked(plain.H, p).map((h, at) => h * scales[Math.floor(at / p)] * scales[at % p]),
        p,
      ),
      G: plain.G.map((g, at) => g * scales[Math.floor(at / m)]),
      W0: plain.W0.map((w, at) => w / scales[Math.floor(at / m)]),
      solution: undefined,
    };
    for (const search of SEARCHES) {
      const [a, b] = [plain, scaled].map((layer) => pruneLayer(kernels, layer, { keep: 7, search }));
      expect(b.kept).toEqual(a.kept);
      expect(b.objective / a.objective).toBeCloseTo(1, 9);
    }
  });

  test('duplicated features: one of each pair is enough', () => {
    const half = 8;
    const X = activations(100, half, 5);
    const twice = new Float32Array(2 * X.length);
    for (let at = 0; at < X.length; at++) {
      const row = Math.floor(at / half);
      twice[row * 2 * half + (at % half)] = X[at];
      twice[row * 2 * half + half + (at % half)] = X[at];
    }
    const layer = problem(twice, 2 * half, { damping: 1e-6 });
    expectDefined(layer, 5);
    const { kept, relativeError } = pruneLayer(kernels, layer, { keep: half });
    expect(new Set(kept.map((g) => g % half)).size).toBe(half);
    expect(relativeError).toBeLessThan(1e-4);
  });

  test('dead inputs go first, and all of them alike', () => {
    const p = 12;
    const X = activations(100, p, 6).map((x, i) => ([2, 5, 7].includes(i % p) ? 0 : x));
    const layer = problem(X, p, { damping: 1e-6 });
    expectDefined(layer, 4);
    const { kept } = pruneLayer(kernels, layer, { keep: 9 });
    expect(kept).toEqual([0, 1, 3, 4, 6, 8, 9, 10, 11]);
    expectDefined(problem(new Float32Array(50 * p), p), 4);
  });

  test('a target of zero', () => {
    const layer = { ...problem(activations(60, 10, 7), 10), solution: undefined };
    const silent = { ...layer, G: new Float64Array(10 * m) };
    for (const search of SEARCHES) {
      const { kept, W, objective, relativeError } = pruneLayer(kernels, silent, { keep: 4, search });
      expect(kept).toHaveLength(4);
      expect(W.every((w) => w === 0)).toBe(true);
      expect(Math.abs(objective) + Math.abs(relativeError)).toBe(0);
    }
  });

  test('no damping on a singular matrix is an error with the pivot', () => {
    const layer = problem(activations(5, 10, 8), 10, { damping: 0 });
    for (const method of ['osscar', 'ziplm'] as const) {
      expect(() => pruneLayer(kernels, layer, { keep: 4, method })).toThrow(NotPositiveDefiniteError);
    }
  });
});
