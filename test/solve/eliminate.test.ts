import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import {
  eliminate,
  type LayerProblem,
  layerProblem,
  packed,
  pruneLayer,
  refit,
} from '../../src/solve/index.ts';
import { activations, naiveObjective, naiveStatistics, normals, subsets } from '../support/problems.ts';
import { select } from '../support/tableau.ts';

const binaries = [await openKernels({ simd: 'baseline' }), await openKernels({ simd: 'relaxed' })];

/** Relative errors of costs and curves that each precision is held to. */
const TOLERANCE = { f64: 5e-10, f32: 1e-5 };
const PRECISIONS = ['f64', 'f32'] as const;

function problem(
  groups: number,
  groupSize: number,
  m: number,
  seed: number,
  { rows = 4 * groups * groupSize + 20, damping }: { rows?: number; damping?: number } = {},
): LayerProblem {
  const p = groups * groupSize;
  const X = activations(rows, p, seed);
  return layerProblem(binaries[0], naiveStatistics(X, undefined, p, m), normals(p * m, seed + 9), {
    groupSize,
    damping,
  });
}

const allGroups = ({ groups }: LayerProblem) => Array.from({ length: groups }, (_, group) => group);

/** Greedy elimination by the definition: refit every candidate support, take the best. */
function naiveGreedy(layer: LayerProblem, keep: number) {
  let kept = allGroups(layer);
  const removed: number[] = [];
  const objectives = [naiveObjective(layer, kept)];
  while (kept.length > keep) {
    const candidates = kept.map((group) => ({
      group,
      objective: naiveObjective(
        layer,
        kept.filter((g) => g !== group),
      ),
    }));
    const best = candidates.reduce((a, b) => (b.objective < a.objective ? b : a));
    kept = kept.filter((group) => group !== best.group);
    removed.push(best.group);
    objectives.push(best.objective);
  }
  return { kept, removed, objectives };
}

describe.each(binaries)('eliminate, $simd', (kernels) => {
  test('keeps the better of two groups', () => {
    const layer: LayerProblem = {
      ...{ p: 2, m: 1, groupSize: 1, groups: 2 },
      H: Float64Array.of(2, 1, 3),
      G: Float64Array.of(1, 2),
      W0: Float64Array.of(1, 1),
    };
    // Alone, group 0 reaches −½·1²/2 and group 1 −½·2²/3.
    expect(eliminate(kernels, layer, { keep: 1 }).kept).toEqual([1]);
  });

  test.each([
    { groups: 11, groupSize: 1, m: 5 },
    { groups: 9, groupSize: 1, m: 5 },
    { groups: 12, groupSize: 2, m: 3 },
    { groups: 8, groupSize: 9, m: 40 },
    { groups: 6, groupSize: 16, m: 1 },
  ])(
    'removes what refitting every candidate would remove: $groups groups of $groupSize',
    ({ groups, groupSize, m }) => {
      const layer = problem(groups, groupSize, m, groups);
      const expected = naiveGreedy(layer, 1);
      for (const type of PRECISIONS) {
        const { kept, removed, curve, precision } = eliminate(kernels, layer, { keep: 1, precision: type });
        expect(precision).toBe(type);
        expect(removed).toEqual(expected.removed);
        expect(kept).toEqual(expected.kept);
        const dense = expected.objectives[0];
        expected.objectives.forEach((objective, step) => {
          const error = curve[groups - step] - (objective - dense) / -dense;
          expect(Math.abs(error)).toBeLessThan(TOLERANCE[precision]);
        });
      }
    },
  );

  test.each(PRECISIONS)('stays exact over many panels (%s)', (precision) => {
    for (const [groups, groupSize, m] of [
      [210, 1, 40],
      [210, 1, 120],
      [48, 5, 7],
      [48, 5, 130],
    ]) {
      const layer = problem(groups, groupSize, m, 77); // 64 rows to a panel
      const { kept, curve, objective, ...found } = eliminate(kernels, layer, { keep: 10, precision });
      expect(found.precision).toBe(precision);
      const dense = naiveObjective(layer, allGroups(layer));
      const expected = naiveObjective(layer, kept);
      expect(Math.abs(curve[10] - (expected - dense) / -dense)).toBeLessThan(TOLERANCE[precision]);
      expect(Math.abs(found.denseObjective / dense - 1)).toBeLessThan(TOLERANCE[precision]);
      expect(Math.abs(objective / expected - 1)).toBeLessThan(1e-9);
    }
  });

  // Protected groups of a selection go in first, in their order, however little they are worth: never were they staged as
  // likely to go, and after a few of these the panel has no room left.
  test.each([
    { groups: 230, groupSize: 1, m: 6 },
    { groups: 44, groupSize: 5, m: 3 },
    { groups: 120, groupSize: 1, m: 90 },
  ])('has the exact costs however little was foreseen: $groups of $groupSize', (shape) => {
    const layer = problem(shape.groups, shape.groupSize, shape.m, 8);
    const worth = allGroups(layer).map((group) => naiveObjective(layer, [group]));
    const least = allGroups(layer).sort((a, b) => worth[b] - worth[a]);
    for (const precision of PRECISIONS) {
      for (const count of [shape.groups >> 2, shape.groups >> 1]) {
        const protect = least.slice(0, count);
        const { kept, objective } = select(kernels, layer, count, { protect, precision });
        expect(kept).toEqual(protect.sort((a, b) => a - b));
        const error = objective / naiveObjective(layer, kept) - 1;
        expect(Math.abs(error)).toBeLessThan(precision === 'f64' ? 1e-9 : 1e-4);
      }
    }
  });

  test.each([
    { groups: 12, groupSize: 1, m: 5 },
    { groups: 7, groupSize: 3, m: 2 },
  ])('selects forward what refitting every candidate would add: $groups of $groupSize', (shape) => {
    const layer = problem(shape.groups, shape.groupSize, shape.m, 31);
    const kept: number[] = [];
    while (kept.length < 5) {
      const objectives = allGroups(layer).map((g) =>
        kept.includes(g) ? Number.POSITIVE_INFINITY : naiveObjective(layer, [...kept, g]),
      );
      kept.push(objectives.indexOf(Math.min(...objectives)));
    }
    const found = select(kernels, layer, 5);
    expect(found.kept).toEqual(kept.sort((a, b) => a - b));
    expect(found.objective).toBeCloseTo(naiveObjective(layer, kept), 8);
    expect(select(kernels, layer, 3, { protect: [6] }).kept).toContain(6);
    const single = select(kernels, layer, 5, { precision: 'f32' });
    expect(single.kept).toEqual(found.kept);
    expect(Math.abs(single.objective / found.objective - 1)).toBeLessThan(1e-6);
  });

  test('has a curve that never falls as groups go', () => {
    const { curve } = eliminate(kernels, problem(40, 3, 6, 5), { keep: 0, precision: 'f64' });
    for (let k = 0; k < 40; k++) expect(curve[k]).toBeGreaterThanOrEqual(curve[k + 1]);
    expect(curve[40]).toBe(0);
    expect(curve[0]).toBeCloseTo(1, 9);
  });

  test('confirms an f32 search by the refit of its support', () => {
    for (const layer of [problem(150, 1, 40, 3), { ...problem(40, 4, 90, 4), solution: undefined }]) {
      const keep = layer.groups >> 1;
      const double = eliminate(kernels, layer, { keep, precision: 'f64' });
      const single = eliminate(kernels, layer, { keep });
      expect([single.precision, double.precision]).toEqual(['f32', 'f64']);
      expect(single.removed).toEqual(double.removed);
      expect(single.objective).toBe(refit(kernels, layer, single.kept).objective);
      expect(Math.abs(single.denseObjective / double.denseObjective - 1)).toBeLessThan(1e-7);
      expect(Math.abs(single.curve[keep] / double.curve[keep] - 1)).toBeLessThan(1e-5);
    }
  });

  test('confirms removals that cost next to nothing', () => {
    const [n, p, m] = [300, 40, 12];
    // Every other input is all but dead, and without weights; the target is from outside.
    const X = activations(n, p, 8).map((x, at) => (at % 2 === 0 ? x : x / 1000));
    const W0 = normals(p * m, 6).map((w, at) => (Math.floor(at / m) % 2 === 0 ? w : 0));
    const Y = normals(n * m, 5).map((noise, at) => {
      const [row, column] = [Math.floor(at / m), at % m];
      let sum = 0.1 * noise;
      for (let i = 0; i < p; i++) sum += X[row * p + i] * W0[i * m + column];
      return sum;
    });
    const layer = layerProblem(binaries[0], naiveStatistics(X, Y, p, m), W0, { groupSize: 1 });
    const double = eliminate(kernels, layer, { keep: 22, precision: 'f64' });
    expect(double.curve[22]).toBeLessThan(1e-4);
    const single = eliminate(kernels, layer, { keep: 22 });
    expect(single.precision).toBe('f32');
    expect(single.kept).toEqual(double.kept);
    expect(Math.abs(single.curve[22] / double.curve[22] - 1)).toBeLessThan(1e-3);
  });

  test('searches in f64 where H is too ill-conditioned for f32', () => {
    // Fewer rows than inputs: but for the damping, every input is a combination of others.
    for (const damping of [1e-4, 1e-6, 1e-9]) {
      for (let seed = 0; seed < 20; seed++) {
        const layer = problem(60, 1, 12, seed, { rows: 30, damping });
        const expected = eliminate(kernels, layer, { keep: 40, precision: 'f64' });
        expect(eliminate(kernels, layer, { keep: 40 })).toEqual(expected);
      }
    }
    expect(
      eliminate(kernels, problem(60, 1, 12, 5, { rows: 30, damping: 0.1 }), { keep: 30 }).precision,
    ).toBe('f32');
  });

  test('searches again in f64 where that does not confirm what f32 has found', () => {
    const layer = problem(30, 1, 6, 5);
    for (const scale of [2 ** 140, 2 ** -72]) {
      // In f32 W is infinite, or K = WWᵀ next to nothing and coarse.
      const [G, W0] = [layer.G, layer.W0].map((values) => values.map((value) => value * scale));
      for (const solution of [W0, undefined]) {
        const found = eliminate(kernels, { ...layer, G, W0, solution }, { keep: 10 });
        expect(found.precision).toBe('f64');
        expect(found.kept).toEqual(eliminate(kernels, layer, { keep: 10 }).kept);
      }
    }
  });

  test('leaves everything at keep = groups and nothing at keep = 0', () => {
    const layer = problem(7, 2, 3, 1);
    expect(eliminate(kernels, layer, { keep: 7 }).kept).toEqual(allGroups(layer));
    expect(eliminate(kernels, layer, { keep: 0 }).kept).toEqual([]);
  });

  test('never removes a protected group', () => {
    const layer = problem(20, 1, 3, 3);
    const cheapest = eliminate(kernels, layer, { keep: 15 }).removed;
    const { kept } = eliminate(kernels, layer, { keep: 15, protect: cheapest.slice(0, 3) });
    expect(kept).toEqual(expect.arrayContaining(cheapest.slice(0, 3)));
    expect(kept).toHaveLength(15);
  });

  test('gives the memory back', () => {
    const mark = kernels.mark();
    eliminate(kernels, problem(20, 2, 3, 3), { keep: 5 });
    expect(kernels.mark()).toBe(mark);
  });

  test('breaks ties by the lower group number', () => {
    const p = 6;
    const layer: LayerProblem = {
      ...{ p, m: 1, groupSize: 1, groups: p },
      H: packed(
        Float64Array.from({ length: p * p }, (_, i) => (i % (p + 1) === 0 ? 2 : 0)),
        p,
      ),
      G: new Float64Array(p).fill(1),
      W0: new Float64Array(p).fill(0.5),
    };
    expect(eliminate(kernels, layer, { keep: 2 }).removed).toEqual([0, 1, 2, 3]);
  });

  test('is near the best of all supports on small problems', () => {
    for (const seed of [1, 2, 3, 4]) {
      const layer = problem(10, 2, 3, seed * 100);
      const dense = naiveObjective(layer, allGroups(layer));
      const best = Math.min(...Array.from(subsets(10, 5), (kept) => naiveObjective(layer, kept)));
      const { objective } = pruneLayer(kernels, layer, { keep: 5 });
      expect(objective).toBeGreaterThanOrEqual(best - 1e-9 * Math.abs(best));
      expect((objective - best) / -dense).toBeLessThan(0.05);
    }
  });
});

test('baseline SIMD gives the same bits every time', () => {
  const layer = problem(60, 3, 8, 42);
  const [a, b] = [1, 2].map(() => pruneLayer(binaries[0], layer, { keep: 20 }));
  expect(new Uint8Array(a.W.buffer)).toEqual(new Uint8Array(b.W.buffer));
  expect(a.curve).toEqual(b.curve);
});

test.each([
  [10, 23, [12, 11]],
  [10, 7, [7]],
  [2, 5, [3, 2]],
  [3, 11, [4, 4, 3]],
  [2 ** 40, 6, [6]],
])(
  '%d groups per step spread evenly over %i removals: %j, the first steps one larger',
  (groupsPerStep, n, steps) => {
    const keep = 4;
    const layer = problem(n + keep, 1, 3, n);
    let kept = allGroups(layer);
    const expected: number[] = [];
    for (const count of steps) {
      const without = new Map(
        kept.map((group) => [
          group,
          naiveObjective(
            layer,
            kept.filter((g) => g !== group),
          ),
        ]),
      );
      expected.push(...[...kept].sort((a, b) => without.get(a)! - without.get(b)!).slice(0, count));
      kept = kept.filter((group) => !expected.includes(group));
    }
    expect(eliminate(binaries[0], layer, { keep, groupsPerStep }).removed).toEqual(expected);
  },
);

test.each([-1, 8, 2.5, Number.NaN])('refuses to keep %d of 7 groups', (keep) => {
  expect(() => eliminate(binaries[0], problem(7, 1, 2, 1), { keep })).toThrow(
    /"keep" expected a whole number from 0 to 7/,
  );
});

test('refuses a precision that there is not', () => {
  const options = { keep: 3, precision: 'f16' as 'f32' };
  for (const run of [eliminate, pruneLayer]) {
    expect(() => run(binaries[0], problem(7, 1, 2, 1), options)).toThrow(
      /"precision" expected one of f32, f64, got "f16"/,
    );
  }
});
