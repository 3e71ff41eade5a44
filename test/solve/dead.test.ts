// Inputs that calibration data leave at zero, or constant where a bias takes the constant: nothing is lost with them.

import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import {
  chooseDamping,
  type LayerStatistics,
  layerProblem,
  METHODS,
  type ProblemOptions,
  pruneLayer,
  pruneLayers,
  refit,
  refitBias,
  SEARCHES,
  StatisticsAccumulator,
  solveLayers,
} from '../../src/solve/index.ts';
import { activations, naiveStatistics, normals } from '../support/problems.ts';
import { select } from '../support/tableau.ts';

const kernels = await openKernels();
const groups = 12;
const m = 3;
const DEAD = [1, 4, 5, 8, 10];
const LIVE = [...Array(groups).keys()].filter((group) => !DEAD.includes(group));

interface Case {
  readonly groupSize?: number;
  readonly rows?: number;
  /** What dead inputs are. */
  readonly value?: number;
  readonly seed?: number;
}

/** Inputs of which those of the dead groups do not move. */
function inputs({ groupSize: b = 1, rows = 10, value = 0, seed = 1 }: Case = {}): Float32Array {
  const p = groups * b;
  return activations(rows, p, seed).map((x, at) => (DEAD.includes(Math.floor((at % p) / b)) ? value : x));
}

/** Dense weights, those of dead groups ten times as large and of falling size. */
function weights({ groupSize: b = 1 }: Case = {}): Float32Array {
  return normals(groups * b * m, 2).map((w, at) => {
    const group = Math.floor(at / (m * b));
    return DEAD.includes(group) ? (10 + groups - group) * (w > 0 ? 1 : -1) : w;
  });
}

function outputs(X: Float32Array, W: ArrayLike<number>, bias: ArrayLike<number>): Float32Array {
  const p = W.length / m;
  return Float32Array.from({ length: (X.length / p) * m }, (_, at) => {
    const [r, j] = [Math.floor(at / m), at % m];
    let sum = bias[j];
    for (let i = 0; i < p; i++) sum += X[r * p + i] * W[i * m + j];
    return sum;
  });
}

/** Sums as the accumulator forms them, in f32 over chunks. */
function accumulated(X: Float32Array, Y?: Float32Array): LayerStatistics {
  const accumulator = new StatisticsAccumulator(kernels, groups, m, Y !== undefined);
  accumulator.addRows(X, Y);
  return accumulator.finish();
}

const row = (W: ArrayLike<number>, i: number) => Array.from({ length: m }, (_, j) => W[i * m + j]);

describe.each([
  { groupSize: 1, blend: 0 },
  { groupSize: 1, blend: 1 },
  { groupSize: 3, blend: 0 },
  { groupSize: 3, blend: 0.5 },
])('dead inputs, $groupSize a group, blend $blend', ({ groupSize, blend }) => {
  const X = inputs({ groupSize });
  const W0 = weights({ groupSize });
  const p = groups * groupSize;
  const disturbed = W0.map((w, at) => w + 0.3 * Math.sin(at));
  const statistics = naiveStatistics(X, outputs(X, disturbed, [0, 0, 0]), p, m);
  const problem = (options: Partial<ProblemOptions> = {}) =>
    layerProblem(kernels, statistics, W0, { groupSize, blend, damping: 0.1, ...options });

  test.each(SEARCHES)('go first, whatever their weights: %s', (search) => {
    for (const keep of [1, 3, 6]) {
      const { kept } = pruneLayer(kernels, problem(), { keep, search });
      expect(kept.filter((group) => DEAD.includes(group))).toEqual([]);
    }
    const { kept, relativeError } = pruneLayer(kernels, problem(), { keep: LIVE.length, search });
    expect(kept).toEqual(LIVE);
    expect(Math.abs(relativeError)).toBeLessThan(1e-6);
    // Damped like the others, they stay while live ones go.
    const published = pruneLayer(kernels, problem({ dampDead: true }), { keep: LIVE.length, search });
    expect(published.kept).toEqual(expect.arrayContaining(DEAD));
  });

  test.each(SEARCHES)('that stay are the largest, and keep their dense weights: %s', (search) => {
    const { kept, W } = pruneLayer(kernels, problem(), { keep: LIVE.length + 3, search });
    const stay = DEAD.slice(0, 3);
    expect(kept).toEqual([...LIVE, ...stay].sort((a, b) => a - b));
    expectDense(W, stay);
    for (const group of DEAD.slice(3)) expect(row(W, group * groupSize)).toEqual([0, 0, 0]);
  });

  test('keep their dense weights in a layer that keeps all its inputs', () => {
    const layer = { W: W0, fit: statistics, groupSize };
    const { layers } = solveLayers(kernels, [layer], { blend, damping: 0.1 });
    expectDense(layers[0].W, DEAD);
  });

  test('come last in a forward selection', () => {
    expect(select(kernels, problem(), LIVE.length).kept).toEqual(LIVE);
  });

  test('leave what the live ones get as it is', () => {
    const [ours, published] = [false, true].map((dampDead) => refit(kernels, problem({ dampDead }), LIVE).W);
    ours.forEach((w, at) => {
      expect(w).toBeCloseTo(published[at], 12);
    });
  });

  test.each(METHODS.filter((method) => method !== 'osscar'))('are to %s what they were', (method) => {
    const layer = { W: W0, fit: statistics, groupSize };
    const published = problem({ dampDead: true });
    for (const keep of [4, LIVE.length, 10]) {
      const { kept, layers } = solveLayers(kernels, [layer], { method, blend, damping: 0.1 }, keep);
      const expected = pruneLayer(kernels, published, { keep, method });
      expect(kept).toEqual(expected.kept);
      expect(layers[0].W).toEqual(expected.W);
    }
  });

  function expectDense(W: Float64Array, which: readonly number[]): void {
    for (const group of which) {
      for (let i = group * groupSize; i < (group + 1) * groupSize; i++) {
        row(W, i).forEach((w, j) => {
          expect(Math.abs(w / W0[i * m + j] - 1)).toBeLessThan(1e-14);
        });
      }
    }
  }
});

test('some rows of a live group may be dead: it costs what its other rows cost', () => {
  const groupSize = 3;
  const p = groups * groupSize;
  // Of groups 0 to 5 only the first row lives, as of a 3 × 3 kernel on images of one pixel, and hardly moves.
  const X = activations(12, p, 3).map((x, at) => {
    const i = at % p;
    return i >= 18 ? x : i % groupSize === 0 ? x / 50 : 0;
  });
  const W0 = normals(p * m, 4).map((w, at) => {
    const i = Math.floor(at / m);
    return i < 18 && i % groupSize > 0 ? 5 * w : w;
  });
  const statistics = naiveStatistics(X, undefined, p, m);
  const [ours, published] = [false, true].map((dampDead) => {
    const problem = layerProblem(kernels, statistics, W0, { groupSize, damping: 0.1, dampDead });
    return pruneLayer(kernels, problem, { keep: 6 }).kept;
  });
  expect(ours).toEqual([6, 7, 8, 9, 10, 11]);
  expect(published).not.toEqual(ours);
});

describe('constant inputs', () => {
  const bias = normals(m, 5);
  const W0 = weights();
  const VALUES = [0.1, 0.7, 3, 1000, -17.3];

  test.each([7, 300, 512, 5000])('go first where the bias is refitted to %i rows', (rows) => {
    for (const value of VALUES) {
      const X = inputs({ rows, value });
      const Y = outputs(X, W0, bias);
      for (const blend of [0, 1]) {
        const options = { groupSize: 1, bias, blend, damping: 0.1 };
        const problem = layerProblem(kernels, accumulated(X, Y), W0, options);
        const [damping] = problem.rho!;
        for (const i of LIVE) expect(problem.rho![i]).toBe(damping);
        for (const i of DEAD) expect(problem.rho![i]).toBeLessThan(1e-9 * damping);
        for (const search of SEARCHES) {
          expect(pruneLayer(kernels, problem, { keep: LIVE.length, search }).kept).toEqual(LIVE);
        }
      }
    }
  });

  test('leave their part of the output to the bias', () => {
    const X = inputs({ rows: 300, value: 0.7 });
    const problem = layerProblem(kernels, accumulated(X), W0, { groupSize: 1, bias });
    const dense = outputs(X, W0, bias);
    for (const keep of [LIVE.length, LIVE.length + 2]) {
      const { kept, W } = pruneLayer(kernels, problem, { keep });
      for (const i of kept.filter((group) => DEAD.includes(group))) {
        row(W, i).forEach((w, j) => {
          expect(w).toBeCloseTo(W0[i * m + j], 12);
        });
      }
      outputs(X, W, refitBias(problem, W)!).forEach((y, at) => {
        expect(y).toBeCloseTo(dense[at], 3);
      });
    }
  });

  test('are no dead ones without a bias to take their place', () => {
    const X = inputs({ rows: 300, value: 0.7 });
    const { rho } = layerProblem(kernels, accumulated(X), W0, { groupSize: 1 });
    expect(new Set(rho).size).toBe(1);
  });

  test('are told from inputs that move by a fiftieth of their mean', () => {
    const X = activations(512, groups, 6).map((x, at) => (at % groups < 6 ? 1 + 0.02 * x : x));
    const { rho } = layerProblem(kernels, accumulated(X), W0, { groupSize: 1, bias });
    expect(new Set(rho).size).toBe(1);
  });
});

describe('layers that share channels', () => {
  const p = groups;
  const one = { W0: weights(), X: inputs() };
  const other = {
    X: activations(10, p, 7),
    // What is dead in the first layer is next to nothing here.
    W0: normals(p * m, 8).map((w, at) => (DEAD.includes(Math.floor(at / m)) ? w / 100 : w)),
  };
  const problemOf = ({ X, W0 }: typeof one, dampDead = false) =>
    layerProblem(kernels, naiveStatistics(X, undefined, p, m), W0, { groupSize: 1, damping: 0.1, dampDead });

  test('a group that is dead in one costs what it costs the other', () => {
    const [a, b] = [problemOf(one), problemOf(other)];
    expect(pruneLayers(kernels, [a, b], { keep: LIVE.length }).kept).toEqual(LIVE);
    const published = [problemOf(one, true), problemOf(other, true)];
    expect(pruneLayers(kernels, published, { keep: LIVE.length }).kept).not.toEqual(LIVE);

    const both = [one, other].map(({ X, W0 }) => ({
      W: W0,
      fit: naiveStatistics(X, undefined, p, m),
      groupSize: 1,
    }));
    const { kept, layers } = solveLayers(kernels, both, { damping: 0.1 }, LIVE.length + 1);
    const [stays] = kept.filter((group) => DEAD.includes(group));
    row(layers[0].W, stays).forEach((w, j) => {
      expect(Math.abs(w / one.W0[stays * m + j] - 1)).toBeLessThan(1e-14);
    });
  });

  test('a layer whose inputs are all dead has no say', () => {
    const silent = { W0: normals(p * m, 9), X: new Float32Array(one.X.length) };
    const [a, b] = [problemOf(silent), problemOf(other)];
    for (const keep of [3, 6, 9]) {
      expect(pruneLayers(kernels, [a, b], { keep }).kept).toEqual(pruneLayer(kernels, b, { keep }).kept);
    }
  });
});

test('NaN and infinite inputs are not taken for dead ones', () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
    for (const bias of [undefined, normals(m, 5)]) {
      const X = inputs();
      X[DEAD[0]] = value;
      const statistics = naiveStatistics(X, undefined, groups, m);
      const solve = () => layerProblem(kernels, statistics, weights(), { groupSize: 1, bias });
      expect(solve).toThrow(/NaN or infinite/);
    }
  }
});

test('the damping is the one that trying each finds, at a support without dead inputs', () => {
  // In the held-out rows they live, and the weights of those that stay count.
  const W0 = weights().map((w, at) => (DEAD.includes(Math.floor(at / m)) ? w / 20 : w));
  const noise = normals(60 * m, 13);
  const [fit, heldOut] = [inputs({ rows: 14, seed: 11 }), activations(60, groups, 12)].map((X) => {
    const Y = outputs(X, W0, [0, 0, 0]).map((y, at) => y + 0.1 * noise[at]);
    return { X, Y, statistics: naiveStatistics(X, Y, groups, m) };
  });
  const problem = (damping?: number) => layerProblem(kernels, fit.statistics, W0, { groupSize: 1, damping });
  const dampings = [1e-2, 3e-2, 1e-1, 3e-1, 1];
  const found = [4, 6, 9, 11].map((keep) => {
    const { kept } = pruneLayer(kernels, problem(), { keep, search: 'greedy' });
    const errors = dampings.map((damping) => {
      const y = outputs(heldOut.X, refit(kernels, problem(damping), kept).W, [0, 0, 0]);
      return y.reduce((sum, value, at) => sum + (value - heldOut.Y[at]) ** 2, 0);
    });
    const rise = errors.findIndex((error, i) => i > 0 && !(error < errors[i - 1]));
    const options = { groupSize: 1 };
    const chosen = chooseDamping(kernels, fit.statistics, heldOut.statistics, W0, options, keep);
    expect(chosen).toBe(dampings.at(rise < 0 ? -1 : rise - 1));
    return chosen;
  });
  expect(new Set(found).size).toBeGreaterThan(2);
});
