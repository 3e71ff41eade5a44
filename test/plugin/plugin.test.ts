// The plug-in module against the TypeScript solver: the same groups, and in the same binary the same bits.

import { describe, expect, test } from 'vitest';
import { type Kernels, openKernels } from '../../src/kernel/index.ts';
import {
  type Elimination,
  eliminate,
  layerProblem,
  magnitudeSupport,
  packed,
  pruneLayer,
  refit,
  refitBias,
  StatisticsAccumulator,
} from '../../src/solve/index.ts';
import { activations, naiveObjective, naiveStatistics, normals, subsets } from '../support/problems.ts';
import { select, Tableau } from '../support/tableau.ts';
import {
  type Binary,
  binaryModule,
  Host,
  type Layer,
  REPORT_BYTES,
  relativeError,
  sameBits,
} from './host.ts';

const STARTS = ['greedy', 'magnitude', 'forward'];
const MANY = 2 ** 31 - 1;

const SHAPES: [p: number, m: number, b: number, target: boolean, bias: boolean][] = [
  [40, 9, 1, false, false],
  [420, 160, 1, true, true],
  [90, 200, 1, true, false],
  [48, 10, 4, false, true],
  [240, 90, 4, true, false],
  [90, 12, 9, true, true],
  [180, 200, 9, false, false],
];
const LAYERS = SHAPES.map((shape) => randomLayer(...shape));

describe.each<Binary>(['baseline', 'relaxed'])('%s', (simd) => {
  const module = binaryModule(simd);

  test('has no imports, and exports its functions and memory alone', () => {
    expect(WebAssembly.Module.imports(module)).toEqual([]);
    for (const { name, kind } of WebAssembly.Module.exports(module)) {
      if (kind === 'memory') expect(name).toBe('memory');
      else expect([kind, name.slice(0, 7)]).toEqual(['function', 'osscar_']);
    }
    expect(new Host(module).abi.osscar_version()).toBe(1);
  });

  test.each(SHAPES.map((shape, i) => [...shape, LAYERS[i]] as const))(
    'prunes p = %i, m = %i, b = %i (target %s, bias %s) to the bits of pruneLayer',
    async (...shape) => {
      const kernels = await openKernels({ simd });
      const host = new Host(module);
      const layer = shape[5];
      const expected = problemOf(kernels, layer);
      const problem = host.problem(layer);
      const { groups } = expected;
      const starts = new Set<string>();
      for (const keep of [0, groups >> 2, groups >> 1, groups - 1, groups]) {
        const ours = host.prune(problem, layer, keep);
        const theirs = pruneLayer(kernels, expected, { keep });
        expect(ours.kept).toEqual(theirs.kept);
        expect(sameBits(ours.W, theirs.W)).toBe(true);
        expect(ours.bias).toEqual(refitBias(expected, theirs.W));
        expect(ours.objective).toBe(theirs.objective);
        expect(relativeError(ours)).toBe(theirs.relativeError);
        const { search } = theirs;
        expect(ours.swaps).toBe(search?.steps ?? Number.NaN);
        expect(ours.optimal).toBe(search ? Number(search.swapOptimal) : Number.NaN);
        expect(ours.remaining).toBe(search?.bestRemaining ?? Number.NaN);
        expect(STARTS[ours.start]).toBe(search?.start ?? 'greedy');
        starts.add(STARTS[ours.start]);
      }
      expect(starts.has('greedy')).toBe(true);
    },
  );

  test.each([1, 3, 10])(
    'eliminates %i groups per step as the TypeScript API, with its curve',
    async (groupsPerStep) => {
      const kernels = await openKernels({ simd });
      const host = new Host(module);
      for (const layer of LAYERS) {
        const problem = problemOf(kernels, layer);
        const keep = problem.groups >> 1;
        const expected = eliminate(kernels, problem, { keep, groupsPerStep });
        expect(expected.precision).toBe('f32');
        expectElimination(host, layer, groupsPerStep, expected);
      }
    },
  );

  test('searches in f64 where the TypeScript API does', async () => {
    const kernels = await openKernels({ simd });
    const host = new Host(module);
    const deficient = Array.from({ length: 20 }, (_, m) => ({
      ...randomLayer(60, 10 + m, 1, false, false, 30),
      damping: 1e-4,
    }));
    const layer = randomLayer(60, 20, 4, false, false);
    const faint = { ...layer, W0: layer.W0.map((w) => w * 2 ** -74) }; // WWᵀ underflows in f32
    for (const layer of [...deficient, faint]) {
      const problem = problemOf(kernels, layer);
      const keep = Math.round(problem.groups / 1.5);
      const expected = eliminate(kernels, problem, { keep });
      expect(expected.precision).toBe('f64');
      expectElimination(host, layer, 1, expected);
      const ours = host.prune(host.problem(layer), layer, keep);
      expect(sameBits(ours.W, pruneLayer(kernels, problem, { keep }).W)).toBe(true);
    }
  });

  test('selects, ranks by magnitude and refits as the TypeScript API', async () => {
    const kernels = await openKernels({ simd });
    const host = new Host(module);
    for (const layer of LAYERS) {
      const expected = problemOf(kernels, layer);
      const problem = host.problem(layer);
      const keep = Math.ceil(expected.groups / 3);
      const kept = host.alloc(4 * keep);
      const report = host.alloc(REPORT_BYTES);
      host.succeed(host.abi.osscar_select(problem, keep, kept, report));
      const forward = select(kernels, expected, keep);
      expect(host.ints(kept, keep)).toEqual(forward.kept);
      expect(host.report(report).objective).toBe(forward.objective);

      host.succeed(host.abi.osscar_magnitude(problem, keep, kept));
      const support = host.ints(kept, keep);
      expect(support).toEqual(magnitudeSupport(kernels, [expected], keep));

      // In any order; the answer is ascending.
      const ours = host.refit(problem, layer, [...support].reverse());
      const { W, objective } = refit(kernels, expected, support);
      expect(ours.kept).toEqual(support);
      expect(sameBits(ours.W, W)).toBe(true);
      expect(ours.objective).toBe(objective);
      expect(ours.bias).toEqual(refitBias(expected, W));
    }
  });

  test.each([0, 3, MANY])(
    'swaps at most %i times, as the TypeScript API, and certifies the end',
    async (maxSwaps) => {
      const kernels = await openKernels({ simd });
      const host = new Host(module);
      let longest = 0;
      for (const layer of LAYERS) {
        const problem = problemOf(kernels, layer);
        const keep = problem.groups >> 1;
        const start = Array.from({ length: keep }, (_, i) => problem.groups - 1 - i);
        const tableau = new Tableau(kernels, problem, start);
        const expected = tableau.swapWhileBetter(maxSwaps);
        const kept = host.i32(start);
        const report = host.alloc(REPORT_BYTES);
        host.succeed(host.abi.osscar_swap(host.problem(layer), keep, kept, maxSwaps, report));
        const found = host.report(report);
        expect(host.ints(kept, keep)).toEqual(tableau.kept());
        expect(found.objective).toBe(refit(kernels, problem, tableau.kept()).objective);
        expect(found.swaps).toBe(expected.steps);
        expect(found.optimal).toBe(Number(expected.swapOptimal));
        expect(found.remaining).toBe(expected.bestRemaining);
        longest = Math.max(longest, found.swaps);
        tableau.dispose();
      }
      // Beyond 128 pivots the tableau is factorised anew.
      if (maxSwaps === MANY) expect(longest).toBeGreaterThan(128);
      else expect(longest).toBe(maxSwaps);
    },
  );

  test.each([
    ['inputs', 0],
    ['inputs that hardly vary', 100],
  ])('accumulates what the TypeScript API accumulates, of %s, in any number of calls', async (_, offset) => {
    const kernels = await openKernels({ simd });
    const host = new Host(module);
    const [n, p, m] = [1300, 37, 11];
    const X = activations(n, p, 5).map((x) => x + offset);
    const Y = normals(n * m, 6);
    const accumulator = new StatisticsAccumulator(kernels, p, m, true);
    accumulator.addRows(X, Y);
    const { XtX, sumX, target } = accumulator.finish();
    const statistics = host.alloc(host.abi.osscar_statistics_bytes(p, m));
    const [x, y] = [host.f32(X), host.f32(Y)];
    host.succeed(host.abi.osscar_accumulate(statistics, p, m, n, x, y));
    const whole = host.doubles(statistics, 2 + p + p * p + m + p * m);
    const [triangles, squares] = [2 + p, 2 + p + p * p];
    expect(whole.subarray(0, triangles)).toEqual(Float64Array.of(n, n, ...sumX));
    expect(packed(whole.subarray(triangles, squares), p)).toEqual(XtX);
    expect(whole.subarray(squares)).toEqual(Float64Array.of(...target!.sumY, ...target!.XtY));

    // Twice the rows, split elsewhere: twice the sums, to rounding in f32.
    for (const [first, rows] of [
      [0, 1],
      [1, 700],
      [701, 599],
      [0, 0],
    ]) {
      host.succeed(host.abi.osscar_accumulate(statistics, p, m, rows, x + 4 * first * p, y + 4 * first * m));
    }
    const twice = host.doubles(statistics, whole.length);
    for (let i = 0; i < whole.length; i++) {
      expect(Math.abs(twice[i] - 2 * whole[i])).toBeLessThanOrEqual(1e-4 * Math.abs(whole[i]) + 1e-3);
    }
    expect(Array.from(twice.subarray(0, 2))).toEqual([2 * n, 2 * n]);
  });

  test('blends the own and the outside target as the TypeScript API', async () => {
    const kernels = await openKernels({ simd });
    const host = new Host(module);
    const layer = { ...randomLayer(60, 20, 1, true, true), blend: 0.3, damping: 0.1 };
    const expected = problemOf(kernels, layer);
    const theirs = pruneLayer(kernels, expected, { keep: 20 });
    const ours = host.prune(host.problem(layer), layer, 20);
    expect(sameBits(ours.W, theirs.W)).toBe(true);
    expect(ours.bias).toEqual(refitBias(expected, theirs.W));
  });

  test.each(SHAPES)(
    'takes dead inputs first as the TypeScript API: p = %i, m = %i, b = %i (target %s, bias %s)',
    async (p, m, b, target, withBias) => {
      const kernels = await openKernels({ simd });
      const host = new Host(module);
      const dead = [0, 2, 3];
      const value = withBias ? 0.7 : 0;
      const layer = randomLayer(p, m, b, target, withBias, 30, (input, x) =>
        dead.includes(Math.floor(input / b)) ? value : x,
      );
      const expected = problemOf(kernels, layer);
      const problem = host.problem(layer);
      const { groups } = expected;
      for (const keep of [groups >> 1, groups - dead.length, groups - 1]) {
        const ours = host.prune(problem, layer, keep);
        const theirs = pruneLayer(kernels, expected, { keep });
        expect(ours.kept).toEqual(theirs.kept);
        expect(ours.kept.filter((group) => dead.includes(group))).toHaveLength(
          Math.max(0, keep - groups + dead.length),
        );
        expect(sameBits(ours.W, theirs.W)).toBe(true);
        expect(ours.bias).toEqual(refitBias(expected, theirs.W));
        expect(relativeError(ours)).toBe(theirs.relativeError);
      }
    },
  );

  test('finds supports whose refit no swap improves, and mostly the best of all', async () => {
    const kernels = await openKernels({ simd });
    const host = new Host(module);
    let best = 0;
    let tried = 0;
    for (const b of [1, 4, 9]) {
      for (const target of [false, true]) {
        const groups = 9;
        const layer = randomLayer(groups * b, 5, b, target, false);
        const problem = host.problem(layer);
        const oracle = problemOf(kernels, layer);
        for (const keep of [2, 4, 7]) {
          const { kept, objective, optimal } = host.prune(problem, layer, keep);
          const close = 1e-9 * Math.abs(objective);
          expect(Math.abs(naiveObjective(oracle, kept) - objective)).toBeLessThan(close);
          const optimum = Math.min(...[...subsets(groups, keep)].map((set) => naiveObjective(oracle, set)));
          expect(objective).toBeGreaterThan(optimum - close);
          tried++;
          if (objective < optimum + close) best++;
          expect(optimal).toBe(1);
          for (const out of kept) {
            for (let into = 0; into < groups; into++) {
              if (kept.includes(into)) continue;
              const swapped = [...kept.filter((group) => group !== out), into].sort((a, c) => a - c);
              expect(naiveObjective(oracle, swapped)).toBeGreaterThan(objective - 2 * close);
            }
          }
        }
      }
    }
    expect(best).toBeGreaterThanOrEqual(tried - 2);
  });

  test('gives the same answers from two instances at once, whatever lies in their memory', () => {
    const layer = randomLayer(60, 20, 4, true, true);
    const [one, other] = [new Host(module), new Host(module)];
    other.f64(new Float64Array(5000).fill(1e300));
    const first = one.problem(layer);
    const second = other.problem(layer);
    other.prune(second, layer, 3);
    expect(other.prune(second, layer, 8)).toEqual(one.prune(first, layer, 8));
    expect(one.prune(first, layer, 8)).toEqual(one.prune(first, layer, 8));
  });
});

function expectElimination(host: Host, layer: Layer, groupsPerStep: number, expected: Elimination): void {
  const keep = expected.kept.length;
  const kept = host.alloc(4 * keep);
  const curve = host.alloc(8 * expected.curve.length);
  const report = host.alloc(REPORT_BYTES);
  host.succeed(host.abi.osscar_eliminate(host.problem(layer), keep, groupsPerStep, kept, curve, report));
  expect(host.ints(kept, keep)).toEqual(expected.kept);
  expect(host.doubles(curve, expected.curve.length)).toEqual(expected.curve);
  const { objective, dense, denseDamping } = host.report(report);
  expect([objective, dense]).toEqual([expected.objective, expected.denseObjective]);
  expect(denseDamping).toBe(expected.denseDamping);
}

function randomLayer(
  p: number,
  m: number,
  b: number,
  target: boolean,
  withBias: boolean,
  n = 2 * p,
  change = (_input: number, x: number) => x,
): Layer {
  const seed = p + 7 * m + b;
  const X = activations(n, p, seed).map((x, at) => change(at % p, x));
  const W0 = normals(p * m, seed + 10);
  const bias = withBias ? normals(m, seed + 11) : undefined;
  // The dense layer's output and something that no weights explain.
  const Y = normals(n * m, seed + 12);
  for (let r = 0; r < n; r++) {
    for (let j = 0; j < m; j++) {
      let sum = bias?.[j] ?? 0;
      for (let i = 0; i < p; i++) sum += X[r * p + i] * W0[i * m + j];
      Y[r * m + j] += sum;
    }
  }
  const statistics = naiveStatistics(X, target ? Y : undefined, p, m);
  return { statistics, W0, groupSize: b, ...(bias && { bias }) };
}

function problemOf(kernels: Kernels, { statistics, W0, groupSize, bias, damping, blend }: Layer) {
  return layerProblem(kernels, statistics, W0, {
    groupSize,
    ...(bias && { bias }),
    ...(damping !== undefined && { damping }),
    ...(blend !== undefined && { blend }),
  });
}
