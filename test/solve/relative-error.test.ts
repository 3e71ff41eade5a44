// The relative error is what the data say of the weights, not the damping: by the definition, from rows of X and Y.

import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import {
  layerProblem,
  METHODS,
  pruneLayer,
  pruneLayers,
  refit,
  SEARCHES,
  solveLayers,
} from '../../src/solve/index.ts';
import { activations, naiveStatistics, normals } from '../support/problems.ts';

const kernels = await openKernels();
const [p, m, rows] = [16, 4, 40];
const X = activations(rows, p, 1);
const W0 = normals(p * m, 2);
const bias = normals(m, 3);
const DAMPINGS = [1e-4, 1e-2, 1];
const ALL = [...Array(p).keys()];

/** ½|XW|² − ⟨XW, Y⟩, of centred X and Y where asked for. */
function dataError(W: ArrayLike<number>, Y: ArrayLike<number>, centred: boolean, x = X): number {
  const columns = W.length / m;
  const XW = Float64Array.from({ length: rows * m }, (_, at) => {
    let sum = 0;
    for (let i = 0; i < columns; i++) sum += x[Math.floor(at / m) * columns + i] * W[i * m + (at % m)];
    return sum;
  });
  const mean = (values: ArrayLike<number>, j: number) => {
    let sum = 0;
    for (let r = 0; r < rows; r++) sum += values[r * m + j] / rows;
    return centred ? sum : 0;
  };
  let error = 0;
  for (let j = 0; j < m; j++) {
    const [x0, y0] = [mean(XW, j), mean(Y, j)];
    for (let at = j; at < rows * m; at += m) error += (XW[at] - x0) * (0.5 * (XW[at] - x0) - (Y[at] - y0));
  }
  return error;
}

/** X·W + b in f64. */
function outputs(x: Float32Array, W: ArrayLike<number>): Float64Array {
  const columns = W.length / m;
  return Float64Array.from({ length: rows * m }, (_, at) => {
    let sum = bias[at % m];
    for (let i = 0; i < columns; i++) sum += x[Math.floor(at / m) * columns + i] * W[i * m + (at % m)];
    return sum;
  });
}

const own = outputs(X, W0);
const other = Float32Array.from(own, (y, at) => y + Math.sin(7 * at));

describe.each([false, true])('with a bias that is refitted: %s', (withBias) => {
  const statistics = naiveStatistics(X, other, p, m);
  const problemAt = (damping: number, blend: number) =>
    layerProblem(kernels, statistics, W0, {
      groupSize: 2,
      damping,
      blend,
      ...(withBias && { bias }),
    });
  const ways = [...METHODS.map((method) => ({ method })), ...SEARCHES.map((search) => ({ search }))];

  test.each(ways)('is that of the layer’s own output, whatever λ: %o', (way) => {
    // Without a centred X the target is XW0 alone.
    const Y = withBias ? own : own.map((y, at) => y - bias[at % m]);
    const dense = dataError(W0, Y, withBias);
    for (const damping of DAMPINGS) {
      for (const keep of [0, 2, 5, 7, 8]) {
        const { W, relativeError } = pruneLayer(kernels, problemAt(damping, 0), { keep, ...way });
        expect(relativeError).toBeCloseTo((dataError(W, Y, withBias) - dense) / -dense, 9);
        expect(relativeError).toBeGreaterThan(-1e-12);
      }
    }
  });

  test.each(ways)('is that of another target, next to the best weights on all groups: %o', (way) => {
    const Y = other;
    for (const damping of DAMPINGS) {
      const problem = problemAt(damping, 1);
      const dense = dataError(refit(kernels, problem, ALL.slice(0, p / 2)).W, Y, withBias);
      for (const keep of [0, 2, 5, 8]) {
        const { W, relativeError } = pruneLayer(kernels, problem, { keep, ...way });
        // The search in f32 knows the best weights on all groups to some 1e-6.
        expect(relativeError).toBeCloseTo((dataError(W, Y, withBias) - dense) / -dense, 5);
      }
    }
  });

  test('is to the last digits the same at every λ where the weights are', () => {
    const errors = DAMPINGS.map(
      (damping) => pruneLayer(kernels, problemAt(damping, 0), { keep: 5, method: 'magnitude' }).relativeError,
    );
    for (const error of errors) expect(error).toBeCloseTo(errors[0], 12);
  });

  test('rises with λ at a fixed support, up to that of weights that are not refitted', () => {
    const errorAt = (damping: number, method: 'magnitude' | 'magnitude-refit') =>
      pruneLayer(kernels, problemAt(damping, 0), { keep: 5, method }).relativeError;
    const errors = [1e-8, ...DAMPINGS, 1e6].map((damping) => errorAt(damping, 'magnitude-refit'));
    for (let i = 1; i < errors.length; i++) expect(errors[i]).toBeGreaterThan(errors[i - 1]);
    expect(errors[1] / errors[0]).toBeCloseTo(1, 3);
    expect(errors.at(-1)).toBeCloseTo(errorAt(1, 'magnitude'), 4);
  });
});

test.each([
  ['', 0.3, { groupSize: 2 }],
  // of rows beside others it is that of f
  [', one of them with others', 1e-9, { groupSize: 1, free: Int32Array.of(3, 0, 4, 15, 9, 7, 12, 2) }],
])('of layers that share channels it is the sum, each relative to its signal%s', (_, damping, groups) => {
  const x2 = activations(rows, 24, 8);
  const W2 = normals(24 * m, 9);
  const layers = [
    { X, W: W0, ...groups },
    { X: x2, W: W2, groupSize: 3 },
  ];
  const problems = layers.map(({ X: x, W, groupSize }) =>
    layerProblem(kernels, naiveStatistics(x, undefined, W.length / m, m), W, { groupSize, damping }),
  );
  const fitted = layers.map(({ X: x, ...layer }) => ({
    ...layer,
    fit: naiveStatistics(x, undefined, layer.W.length / m, m),
  }));
  const { relativeError, layers: solved } = solveLayers(kernels, fitted, { damping }, 5);
  let [lost, signal] = [0, 0];
  layers.forEach(({ X: x, W }, i) => {
    const Y = outputs(x, W).map((y, at) => y - bias[at % m]);
    const scale = 1 / problems[i].G.reduce((sum, g, at) => sum + g * problems[i].W0[at], 0);
    const dense = dataError(W, Y, false, x);
    lost += scale * (dataError(solved[i].W, Y, false, x) - dense);
    signal -= scale * dense;
  });
  expect(relativeError).toBeCloseTo(lost / signal, 9);
  if ('free' in groups) return;
  expect(pruneLayers(kernels, problems, { keep: 5 }).relativeError).toBe(relativeError);
});

test('of a layer that gives nothing it is 0', () => {
  for (let seed = 0; seed < 8; seed++) {
    const W = normals(p * m, seed);
    const dead = naiveStatistics(new Float32Array(rows * p), other, p, m);
    const problem = layerProblem(kernels, dead, W, { groupSize: 2 });
    for (const method of METHODS)
      expect(pruneLayer(kernels, problem, { keep: 5, method }).relativeError).toBe(0);
  }
});

test('of a problem that does not say what its damping is, it is that of f', () => {
  const { rho, ...problem } = layerProblem(kernels, naiveStatistics(X, undefined, p, m), W0, {
    groupSize: 1,
  });
  const all = refit(kernels, problem, ALL).objective;
  for (const method of METHODS) {
    const { objective, relativeError } = pruneLayer(kernels, problem, { keep: 6, method });
    expect(relativeError).toBeCloseTo((objective - all) / -all, 9);
  }
});
