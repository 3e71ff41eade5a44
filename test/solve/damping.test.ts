import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { chooseDamping, layerProblem, pruneLayer, refitBias } from '../../src/solve/index.ts';
import { DEFAULT_DAMPING } from '../../src/solve/problem.ts';
import { refitRows } from '../../src/solve/refit.ts';
import { activations, addStatistics, naiveStatistics, normals } from '../support/problems.ts';

const kernels = await openKernels();
const p = 40;
const m = 6;
const W0 = normals(p * m, 2);
const bias = normals(m, 3);

const N = 4000;
const inputs = activations(N, p, 1); // one draw: other seeds have other correlations
const disturbance = normals(N * m, 51);

interface Rows {
  readonly X: Float32Array;
  readonly Y: Float32Array;
}

/** n rows from `first` on, with targets at the dense layer's output plus noise, or that of other weights. */
function rows(n: number, first: number, noise: number, weight = 1): Rows {
  const X = inputs.subarray(first * p, (first + n) * p);
  const Y = Float32Array.from({ length: n * m }, (_, at) => {
    const [r, j] = [Math.floor(at / m), at % m];
    let value = bias[j] + noise * disturbance[first * m + at];
    for (let i = 0; i < p; i++) value += weight * X[r * p + i] * W0[i * m + j];
    return value;
  });
  return { X, Y };
}

/** Mean squared error on rows, by the definition. */
function errorOn({ X, Y }: Rows, W: Float64Array, b: Float64Array): number {
  let error = 0;
  for (let r = 0; r < X.length / p; r++) {
    for (let j = 0; j < m; j++) {
      let value = b[j];
      for (let i = 0; i < p; i++) value += X[r * p + i] * W[i * m + j];
      error += (Y[r * m + j] - value) ** 2;
    }
  }
  return error / Y.length;
}

const statistics = ({ X, Y }: Rows) => naiveStatistics(X, Y, p, m);

describe('chooseDamping', () => {
  const keep = 20;

  test('pulls hard where few rows and much noise meet many inputs', () => {
    const few = rows(30, 0, 3);
    const heldOut = rows(200, 100, 3);
    expect(
      chooseDamping(kernels, statistics(few), statistics(heldOut), W0, { groupSize: 1, bias }, keep),
    ).toBeGreaterThan(DEFAULT_DAMPING);
  });

  test('stays near the published value where rows are plenty', () => {
    const [many, heldOut] = [rows(2000, 0, 0.1), rows(300, 2000, 0.1)];
    expect(
      chooseDamping(kernels, statistics(many), statistics(heldOut), W0, { groupSize: 1, bias }, keep),
    ).toBeLessThanOrEqual(3 * DEFAULT_DAMPING);
  });

  test.each([0.5, 1])('errs less on unseen rows than the published value, blend %d', (blend) => {
    const [few, heldOut, unseen] = [rows(30, 0, 3), rows(200, 100, 3), rows(500, 1000, 3)];
    const options = { groupSize: 1, bias, blend };
    const chosen = chooseDamping(kernels, statistics(few), statistics(heldOut), W0, options, keep);
    const [own, published] = [chosen, DEFAULT_DAMPING].map((damping) => {
      const problem = layerProblem(kernels, statistics(few), W0, { ...options, damping });
      const { W } = pruneLayer(kernels, problem, { keep });
      return errorOn(unseen, W, refitBias(problem, W)!);
    });
    expect(own).toBeLessThan(published);
  });

  /** The first of those tried that the next errs no less than on held-out rows, by the definition. */
  function firstLeast(
    fit: Rows,
    heldOut: Rows,
    options: { groupSize: number; blend: number },
    gone?: number[],
  ) {
    const problemOf = (damping: number) =>
      layerProblem(kernels, statistics(fit), W0, { ...options, bias, damping });
    const { kept } = pruneLayer(kernels, problemOf(DEFAULT_DAMPING), { keep, search: 'greedy' });
    const left = Int32Array.from(kept.filter((row) => !gone?.includes(row)));
    const errors = [DEFAULT_DAMPING, 3e-2, 1e-1, 3e-1, 1].map((damping) => {
      const problem = problemOf(damping);
      const { W } = refitRows(kernels, problem, left);
      return { damping, error: errorOn(heldOut, W, refitBias(problem, W)!) };
    });
    const last = errors.findIndex(({ error }, i) => !(errors[i + 1]?.error < error));
    return errors[last].damping;
  }

  test.each([
    ['', undefined],
    [', where inputs have gone before', [0, 3, 4, 11, 17]],
  ])('is the first that a stronger one errs no less than on held-out rows%s', (_, gone) => {
    const options = { groupSize: 1, blend: 1 };
    const found = new Set<number>();
    for (let draw = 0; draw < 20; draw++) {
      const [n, weight] = [25 + 3 * draw, [0, 0.3, 0.6, 0.9][draw % 4]];
      const [fit, heldOut] = [rows(n, 150 * draw, 1, weight), rows(40, 150 * draw + 100, 1, weight)];
      const layer = { groupSize: 1, gone: gone && Int32Array.from(gone) };
      const own = { ...options, bias };
      const chosen = chooseDamping(kernels, statistics(fit), statistics(heldOut), W0, own, keep, layer);
      expect([draw, chosen]).toEqual([draw, firstLeast(fit, heldOut, options, gone)]);
      found.add(chosen);
    }
    expect(found.size).toBeGreaterThan(2); // of those that are tried
  });
});

test('merged statistics are those of all rows', () => {
  const [a, b] = [rows(20, 0, 1), rows(30, 20, 1)];
  const whole = { X: Float32Array.of(...a.X, ...b.X), Y: Float32Array.of(...a.Y, ...b.Y) };
  const merged = addStatistics(statistics(a), statistics(b));
  const expected = statistics(whole);
  expect(merged.n).toBe(50);
  for (const [actual, wanted] of [
    [merged.XtX, expected.XtX],
    [merged.sumX, expected.sumX],
    [merged.target!.XtY, expected.target!.XtY],
    [merged.target!.sumY, expected.target!.sumY],
  ]) {
    actual.forEach((value, i) => {
      expect(value).toBeCloseTo(wanted[i], 6);
    });
  }
});
