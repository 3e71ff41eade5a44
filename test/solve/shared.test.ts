import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import {
  eliminate,
  type LayerProblem,
  layerProblem,
  layersWasmBytes,
  METHODS,
  pruneLayer,
  pruneLayers,
  refit,
  SEARCHES,
  solveLayers,
} from '../../src/solve/index.ts';
import {
  activations,
  jointProblem,
  naiveObjective,
  naiveStatistics,
  normals,
  signalOf,
} from '../support/problems.ts';

const kernels = await openKernels();

const GROUPS = 24;

/** A layer of `groupSize` rows a group and m outputs, towards its own outputs or others. */
function layerOf(groupSize: number, m: number, seed: number, hasTarget: boolean): LayerProblem {
  const p = GROUPS * groupSize;
  const X = activations(6 * p, p, seed);
  const Y = hasTarget ? normals(6 * p * m, seed + 5) : undefined;
  return layerProblem(kernels, naiveStatistics(X, Y, p, m), normals(p * m, seed + 9), { groupSize });
}

const KINDS: readonly (readonly [string, readonly LayerProblem[]])[] = [
  ['one row a group', [1, 2, 3].map((seed) => layerOf(1, 3 + seed, seed, false))],
  ['other targets', [1, 2].map((seed) => layerOf(1, 5, seed, true))],
  ['groups of several sizes', [layerOf(2, 6, 4, true), layerOf(1, 3, 5, false), layerOf(9, 4, 6, true)]],
  ['larger groups first', [layerOf(4, 2, 7, false), layerOf(1, 8, 8, false)]],
];

describe.each(KINDS)('layers that share a support, %s', (_, problems) => {
  const whole = jointProblem(problems);

  test.each(SEARCHES.flatMap((search) => (['f32', 'f64'] as const).map((type) => [search, type] as const)))(
    'keep what one layer of all their rows does: %s, %s',
    (search, precision) => {
      for (const keep of [4, 12, 19]) {
        const options = { keep, search, precision, protect: [3, 17], wholeCurve: keep === 12 } as const;
        const shared = pruneLayers(kernels, problems, options);
        const one = pruneLayer(kernels, whole, options);
        expect(shared.kept).toEqual(one.kept);
        expect(shared.objective).toBeCloseTo(one.objective, 9);
        expect(shared.relativeError).toBeCloseTo(one.relativeError, precision === 'f64' ? 9 : 6);
        shared.curve!.forEach((error, k) => {
          if (Number.isNaN(error)) expect(one.curve![k]).toBeNaN();
          else expect(error).toBeCloseTo(one.curve![k], 4);
        });
        expect(shared.search?.steps).toBe(one.search?.steps);
        expect(shared.search?.start).toBe(one.search?.start);
        expect(shared.search?.swapOptimal).toBe(one.search?.swapOptimal);
        if (one.search?.bestRemaining !== undefined)
          expect(shared.search!.bestRemaining).toBeCloseTo(one.search.bestRemaining, 9);
      }
    },
  );

  test.each(METHODS)('are given the weights of their own: %s', (method) => {
    const { kept, W, objective, relativeError } = pruneLayers(kernels, problems, { keep: 9, method });
    const one = pruneLayer(kernels, whole, { keep: 9, method });
    expect(kept).toEqual(one.kept);
    expect(objective).toBeCloseTo(one.objective, 9);
    expect(relativeError).toBeCloseTo(one.relativeError, method === 'osscar' ? 6 : 9);
    problems.forEach((problem, i) => {
      expect(W[i]).toHaveLength(problem.p * problem.m);
      if (method !== 'osscar' && method !== 'magnitude-refit') return;
      refit(kernels, problem, kept).W.forEach((w, at) => {
        expect(W[i][at]).toBeCloseTo(w, 9);
      });
    });
  });

  test('lose the sum of what each does, relative to its signal', () => {
    const { kept, objective } = pruneLayers(kernels, problems, { keep: 7 });
    const expected = problems.reduce((sum, it) => sum + naiveObjective(it, kept) / signalOf(it), 0);
    expect(objective).toBeCloseTo(expected, 9);
  });

  test('where the groups that stay are given', () => {
    const support = [1, 4, 5, 11, 20];
    const { kept, objective, curve } = pruneLayers(kernels, problems, { keep: 5, support });
    expect(kept).toEqual(support);
    expect(objective).toBeCloseTo(refit(kernels, whole, support).objective, 9);
    expect(curve![5]).toBeCloseTo(eliminate(kernels, whole, { keep: 5 }).curve[5], 4);
  });
});

test('of a single layer are pruned as it is', () => {
  const problem = layerOf(2, 5, 3, true);
  const { W, ...found } = pruneLayers(kernels, [problem], { keep: 8 });
  expect({ ...found, W: W[0] }).toEqual(pruneLayer(kernels, problem, { keep: 8 }));
});

test('take layers of the same number of groups', () => {
  const [a, b] = [layerOf(1, 2, 1, false), layerOf(2, 2, 2, false)];
  expect(() => pruneLayers(kernels, [a, { ...b, groupSize: 1, groups: 2 * GROUPS }], { keep: 3 })).toThrow(
    'pruneLayers: "problems" expected layers of the same number of groups',
  );
  expect(() => pruneLayers(kernels, [], { keep: 3 })).toThrow('"problems" expected at least one');
});

test('are refused where an H is not positive definite, by the name of the call', () => {
  const [a, b] = [layerOf(1, 2, 1, false), layerOf(1, 2, 2, false)];
  const wrong = { ...b, H: b.H.map((h) => -h) };
  expect(() => pruneLayers(kernels, [a, wrong], { keep: 3 })).toThrow(
    /^pruneLayers: expected a positive definite H/,
  );
  expect(() => pruneLayer(kernels, wrong, { keep: 3 })).toThrow(
    /^pruneLayer: expected a positive definite H/,
  );
});

test('take the memory that is stated, which is not that of all their rows', async () => {
  const problems = Array.from({ length: 12 }, (_, seed) => layerOf(4, 6, seed, true));
  for (const search of ['greedy', 'swap'] as const) {
    const fresh = await openKernels();
    pruneLayers(fresh, problems, { keep: 10, search });
    const stated = layersWasmBytes(problems, search);
    expect(fresh.bytes).toBeLessThanOrEqual(stated);
    expect(stated).toBeLessThan(layersWasmBytes([jointProblem(problems)], search) - 8 * (12 * 96) ** 2);
  }
});

test.each(METHODS)(
  'layers that are solved together have the weights that their groups were chosen with: %s',
  (method) => {
    const layers = [1, 2].map((seed) => {
      const X = activations(6 * GROUPS, GROUPS, seed);
      const [Y, W] = [normals(6 * GROUPS * 4, seed + 5), normals(GROUPS * 4, seed + 9)];
      return { W, fit: naiveStatistics(X, Y, GROUPS, 4), groupSize: 1 };
    });
    const solved = solveLayers(kernels, layers, { method, blend: 1, damping: 0.01 }, 9);
    const dampDead = method !== 'osscar';
    const problems = layers.map(({ W, fit }) =>
      layerProblem(kernels, fit, W, { groupSize: 1, blend: 1, damping: 0.01, dampDead }),
    );
    const pruned = pruneLayers(kernels, problems, { method, keep: 9 });
    expect(solved.kept).toEqual(pruned.kept);
    expect(solved.layers.map(({ W }) => W)).toEqual(pruned.W);
  },
);
