import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import {
  eliminate,
  type LayerProblem,
  layerProblem,
  METHODS,
  pruneLayer,
  refit,
  SEARCHES,
} from '../../src/solve/index.ts';
import { activations, naiveObjective, naiveStatistics, normals, subsets } from '../support/problems.ts';
import { Tableau } from '../support/tableau.ts';

const binaries = [await openKernels({ simd: 'baseline' }), await openKernels({ simd: 'relaxed' })];

function problem(groups: number, groupSize: number, m: number, seed: number): LayerProblem {
  const p = groups * groupSize;
  const X = activations(2 * p + 20, p, seed);
  const shift = normals(p * m, seed + 5);
  const W0 = normals(p * m, seed + 9);
  const Y = new Float32Array((X.length / p) * m);
  for (let r = 0; r < X.length / p; r++) {
    for (let i = 0; i < p; i++) {
      for (let j = 0; j < m; j++) Y[r * m + j] += X[r * p + i] * (W0[i * m + j] + 0.3 * shift[i * m + j]);
    }
  }
  return layerProblem(binaries[0], naiveStatistics(X, Y, p, m), W0, { groupSize });
}

const cases = fc.record({
  groups: fc.integer({ min: 3, max: 12 }),
  groupSize: fc.constantFrom(1, 2, 3),
  m: fc.integer({ min: 1, max: 5 }),
  keep: fc.integer({ min: 1, max: 11 }),
  seed: fc.integer({ min: 1, max: 1e6 }),
});

/** Exchanges by the definition: every move is ranked by refits. */
function naiveExchanges(
  layer: LayerProblem,
  start: readonly number[],
  protect: readonly number[],
  t: number,
  halves: boolean,
) {
  const all = [...Array(layer.groups).keys()];
  const best = (from: readonly number[], count: number, change: (group: number) => number[]) => {
    const after = new Map(from.map((group) => [group, naiveObjective(layer, change(group))]));
    return [...from].sort((a, b) => after.get(a)! - after.get(b)!).slice(0, count);
  };
  let kept = [...start];
  let steps = 0;
  for (let size = t; size >= 1; ) {
    const mayLeave = kept.filter((group) => !protect.includes(group));
    const count = Math.min(size, mayLeave.length, layer.groups - kept.length);
    const gone = best(mayLeave, count, (group) => kept.filter((other) => other !== group));
    const rest = kept.filter((group) => !gone.includes(group));
    const outside = all.filter((group) => !rest.includes(group));
    const come = best(outside, count, (group) => [...rest, group].sort((a, b) => a - b));
    const next = [...rest, ...come].sort((a, b) => a - b);
    const [before, after] = [kept, next].map((groups) => naiveObjective(layer, groups));
    if (after < before - 1e-10 * Math.abs(before)) {
      kept = next;
      steps++;
    } else size = halves ? size >> 1 : 0;
  }
  return { kept, steps };
}

describe.each(binaries)('local search, $simd', (kernels) => {
  test('of groups of several rows makes few swaps, unless it is thorough or told of more', () => {
    const p = 120;
    const sums = naiveStatistics(activations(p + 5, p, 4), undefined, p, 1);
    const layer = layerProblem(kernels, sums, normals(p, 13), { groupSize: 2 });
    const search = (options: object) =>
      pruneLayer(kernels, layer, { keep: 30, groupsPerStep: 60, ...options }).search!;
    expect(search({})).toMatchObject({ steps: 4, swapOptimal: false });
    expect(search({ maxSwaps: 2 }).steps).toBe(2);
    for (const options of [{ maxSwaps: 100 }, { search: 'thorough' }]) {
      expect(search(options).steps).toBeGreaterThan(4);
      expect(search(options).swapOptimal).toBe(true);
    }
  });

  test('never ends above its start, and ends at what refitting gives', () => {
    fc.assert(
      fc.property(cases, ({ groups, groupSize, m, keep, seed }) => {
        fc.pre(keep < groups);
        const layer = problem(groups, groupSize, m, seed);
        const start = [...Array(keep).keys()];
        const before = naiveObjective(layer, start);
        for (const search of [
          (tableau: Tableau) => tableau.swapWhileBetter(),
          (tableau: Tableau) => tableau.swapWhileBetter(1),
          (tableau: Tableau) => tableau.exchangeWhileBetter(4, true),
          (tableau: Tableau) => tableau.exchangeWhileBetter(2, false),
        ]) {
          const tableau = new Tableau(kernels, layer, start);
          search(tableau);
          const kept = tableau.kept();
          expect(kept).toHaveLength(keep);
          const after = naiveObjective(layer, kept);
          const rounding = 1e-9 * Math.abs(before);
          expect(after).toBeLessThanOrEqual(before + rounding);
          expect(Math.abs(tableau.objective - after)).toBeLessThan(rounding);
          tableau.dispose();
        }
      }),
      { numRuns: 40 },
    );
  });

  test('exchanges the groups that refitting would, halving their number or ending where that does not improve', () => {
    fc.assert(
      fc.property(
        cases,
        fc.integer({ min: 1, max: 5 }),
        fc.boolean(),
        ({ groups, groupSize, m, keep, seed }, t, halves) => {
          fc.pre(keep < groups);
          const layer = problem(groups, groupSize, m, seed);
          const start = [...Array(keep).keys()];
          const protect = keep > 2 ? [1] : [];
          const tableau = new Tableau(kernels, layer, start, protect);
          const steps = tableau.exchangeWhileBetter(t, halves);
          expect({ kept: tableau.kept(), steps }).toEqual(naiveExchanges(layer, start, protect, t, halves));
          tableau.dispose();
        },
      ),
      { numRuns: 40 },
    );
  });

  test('certifies a support that no swap improves', () => {
    fc.assert(
      fc.property(cases, ({ groups, groupSize, m, keep, seed }) => {
        fc.pre(keep < groups);
        const layer = problem(groups, groupSize, m, seed);
        const { kept, search } = pruneLayer(kernels, layer, { keep, search: 'thorough' });
        expect(search!.swapOptimal).toBe(true);
        const objective = naiveObjective(layer, kept);
        for (const out of kept) {
          for (let into = 0; into < groups; into++) {
            if (kept.includes(into)) continue;
            const other = [...kept.filter((g) => g !== out), into].sort((a, b) => a - b);
            expect(naiveObjective(layer, other)).toBeGreaterThan(objective - 1e-8 * Math.abs(objective));
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  test('exchanges a tenth of the kept groups at once, one at least, unless it is told otherwise', () => {
    const layers = Array.from({ length: 20 }, (_, seed) => problem(24, 1, 3, 10 * seed));
    for (const keep of [4, 14]) {
      const found = layers.map((layer) => {
        const own = pruneLayer(kernels, layer, { keep, search: 'published' });
        expect(own).toEqual(pruneLayer(kernels, layer, { keep, search: 'published', swapGroups: 1 }));
        expect(own.search).not.toHaveProperty('bestRemaining');
        return own.search!.steps;
      });
      expect(Math.max(...found)).toBeGreaterThan(0);
    }
  });

  test('stops at its bound and says so', () => {
    const layer = problem(30, 1, 4, 8);
    const tableau = new Tableau(kernels, layer, [...Array(15).keys()]);
    const { steps, swapOptimal, bestRemaining } = tableau.swapWhileBetter(1);
    expect([steps, swapOptimal]).toEqual([1, false]);
    expect(bestRemaining).toBeLessThan(0);
    tableau.dispose();
  });

  test('keeps protected groups in every search', () => {
    const layer = problem(12, 2, 4, 8);
    const worst = pruneLayer(kernels, layer, { keep: 10, search: 'greedy' });
    const protect = [...Array(12).keys()].filter((g) => !worst.kept.includes(g));
    for (const search of SEARCHES) {
      const { kept } = pruneLayer(kernels, layer, { keep: 4, protect, search });
      expect(kept).toEqual(expect.arrayContaining(protect));
    }
  });
});

describe('a support that is given', () => {
  const [kernels] = binaries;
  const layer = problem(12, 2, 4, 8);
  const support = [0, 3, 4, 11];

  test('is what stays, refitted, whatever the search, beside the elimination’s own curve', () => {
    const searched = pruneLayer(kernels, layer, { keep: 4, wholeCurve: true });
    expect(searched.kept).not.toEqual(support);
    for (const search of SEARCHES) {
      const { kept, W, objective, curve } = pruneLayer(kernels, layer, {
        keep: 4,
        support,
        search,
        wholeCurve: true,
      });
      expect(kept).toEqual(support);
      expect(W).toEqual(refit(kernels, layer, support).W);
      expect(objective).toBeGreaterThan(searched.objective);
      expect(curve).toEqual(searched.curve);
    }
  });

  test.each([
    ['of another size', [0, 3, 4]],
    ['out of order', [3, 0, 4, 11]],
    ['with a group twice', [0, 3, 3, 11]],
    ['with a group that is not there', [0, 3, 4, 12]],
  ])('is refused %s', (_, support) => {
    expect(() => pruneLayer(kernels, layer, { keep: 4, support })).toThrow(
      '"support" expected 4 of the groups 0 to 11, ascending',
    );
  });
});

test('comes to the best of all supports of small problems, or close', () => {
  const gaps: number[] = [];
  let worstGreedy = 0;
  for (const [groups, groupSize, m] of [
    [14, 1, 4],
    [12, 2, 3],
    [10, 3, 6],
  ]) {
    for (let seed = 1; seed <= 8; seed++) {
      const layer = problem(groups, groupSize, m, 1000 * seed + groups);
      const keep = groups >> 1;
      const dense = naiveObjective(layer, [...Array(groups).keys()]);
      const best = Math.min(...Array.from(subsets(groups, keep), (kept) => naiveObjective(layer, kept)));
      const gap = (search: 'greedy' | 'thorough') =>
        (pruneLayer(binaries[0], layer, { keep, search }).objective - best) / -dense;
      gaps.push(gap('thorough'));
      worstGreedy = Math.max(worstGreedy, gap('greedy'));
    }
  }
  const missed = gaps.filter((gap) => gap > 1e-9);
  console.log(
    `brute force: ${gaps.length - missed.length} of ${gaps.length} matched, largest gap ${Math.max(...gaps).toExponential(1)} of the signal (greedy alone ${worstGreedy.toExponential(1)})`,
  );
  expect(Math.min(...gaps)).toBeGreaterThan(-1e-9);
  expect(missed.length).toBeLessThanOrEqual(gaps.length / 8);
  expect(Math.max(...gaps)).toBeLessThan(0.01);
});

describe('pruneLayer', () => {
  const kernels = binaries[0];

  test('gives the weights and the objective of a refit, whatever the search', () => {
    const layer = problem(14, 2, 3, 77);
    const greedy = pruneLayer(kernels, layer, { keep: 6, search: 'greedy' }).objective;
    for (const search of SEARCHES) {
      const { kept, W, objective, relativeError } = pruneLayer(kernels, layer, { keep: 6, search });
      expect(W).toEqual(refit(kernels, layer, kept).W);
      expect(Math.abs(objective - naiveObjective(layer, kept))).toBeLessThan(1e-9 * Math.abs(objective));
      expect(objective).toBeLessThanOrEqual(greedy);
      expect(relativeError).toBeGreaterThan(0);
    }
  });

  test('gives the same result run to run', () => {
    const layer = problem(40, 1, 6, 3);
    const [a, b] = [1, 2].map(() => pruneLayer(kernels, layer, { keep: 15 }));
    expect(a).toEqual(b);
  });

  test.each(METHODS)('keeps everything and nothing (%s)', (method) => {
    const layer = problem(6, 2, 3, 5);
    const all = pruneLayer(kernels, layer, { keep: 6, method });
    expect(all.kept).toEqual([0, 1, 2, 3, 4, 5]);
    if (method === 'osscar') expect(all.relativeError).toBeCloseTo(0, 12);
    const none = pruneLayer(kernels, layer, { keep: 0, method });
    expect(none.kept).toEqual([]);
    expect(none.W.every((w) => w === 0)).toBe(true);
    expect([none.objective, none.relativeError]).toEqual([0, 1]);
  });

  test('is ZipLM where only single removals from the dense weights are wanted', () => {
    // Towards its own output the updates keep the weights optimal: ZipLM is the greedy elimination.
    for (const groupSize of [1, 3]) {
      const p = 12 * groupSize;
      const X = activations(3 * p, p, 4);
      const layer = layerProblem(kernels, naiveStatistics(X, undefined, p, 4), normals(4 * p, 6), {
        groupSize,
      });
      const own = pruneLayer(kernels, layer, { keep: 5, method: 'ziplm' });
      const greedy = pruneLayer(kernels, layer, { keep: 5, search: 'greedy' });
      expect(own.kept).toEqual(greedy.kept);
      own.W.forEach((w, i) => {
        expect(w).toBeCloseTo(greedy.W[i], 8);
      });
    }
    // Towards another output it does not follow.
    const layer = problem(12, 1, 4, 9);
    const own = pruneLayer(kernels, layer, { keep: 5, method: 'ziplm' });
    expect(own.objective).toBeGreaterThan(pruneLayer(kernels, layer, { keep: 5 }).objective);
    expect(own.relativeError).toBeGreaterThan(0);
    expect([own.curve![12], own.curve![0]]).toEqual([0, Number.NaN]);
    const whole = pruneLayer(kernels, layer, { keep: 0, method: 'ziplm' });
    expect(whole.curve![0]).toBeCloseTo(1, 9); // of its own output, of which nothing is left
    expect([...own.curve!].slice(5)).toEqual([...whole.curve!].slice(5));
    const updated = eliminate(kernels, layer, { keep: 5, weights: true });
    expect(eliminate(kernels, layer, { keep: 5, weights: true, wholeCurve: true })).toEqual(updated);
  });

  test('refuses unknown names and impossible numbers', () => {
    const layer = problem(6, 1, 3, 5);
    const prune = (options: object) => () => pruneLayer(kernels, layer, { keep: 3, ...options });
    expect(prune({ method: 'obs' })).toThrow(/^pruneLayer: "method" expected one of osscar, ziplm/);
    expect(prune({ search: 'all' })).toThrow(/"search" expected one of greedy, swap/);
    expect(prune({ maxSwaps: -1 })).toThrow(/"maxSwaps" expected a number from 0 on, got -1/);
    expect(prune({ swapGroups: Number.NaN })).toThrow(/"swapGroups" expected a number from 0 on, got NaN/);
    expect(prune({ support: [0, 1.5, 2] })).toThrow(/"support" expected 3 of the groups 0 to 5/);
    for (const method of METHODS)
      expect(prune({ method, protect: [6] })).toThrow(/expected groups from 0 to 5, got 6/);
    expect(prune({ protect: [0, 1, 2, 3] })).toThrow(/4 protected groups do not fit into 3/);
  });
});
