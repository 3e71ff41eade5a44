import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { chooseDamping, layerProblem, pruneLayer, refitBias } from '../../src/solve/index.ts';
import { DEFAULT_DAMPING } from '../../src/solve/problem.ts';
import { activations, addStatistics, naiveStatistics, normals } from '../support/problems.ts';

const kernels = await openKernels();
const p = 40;
const m = 6;
const W0 = normals(p * m, 2);
const bias = normals(m, 3);

const N = 4000;
const inputs = activations(N, p, 1); // one draw: other seeds have other correlations
const disturbance = normals(N * m, 51);

/** n rows from `first` on, with targets at the dense layer's output plus noise. */
function rows(n: number, first: number, noise: number): { X: Float32Array; Y: Float32Array } {
  const X = inputs.subarray(first * p, (first + n) * p);
  const Y = Float32Array.from({ length: n * m }, (_, at) => {
    const [r, j] = [Math.floor(at / m), at % m];
    let value = bias[j] + noise * disturbance[first * m + at];
    for (let i = 0; i < p; i++) value += X[r * p + i] * W0[i * m + j];
    return value;
  });
  return { X, Y };
}

/** Mean squared error on rows, by the definition. */
function errorOn({ X, Y }: { X: Float32Array; Y: Float32Array }, W: Float64Array, b: Float64Array): number {
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

const statistics = ({ X, Y }: { X: Float32Array; Y: Float32Array }) => naiveStatistics(X, Y, p, m);

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
