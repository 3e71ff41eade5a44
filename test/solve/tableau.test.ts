import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { type LayerProblem, layerProblem, refit } from '../../src/solve/index.ts';
import { activations, naiveObjective, naiveStatistics, normals } from '../support/problems.ts';
import { Tableau } from '../support/tableau.ts';

const binaries = [await openKernels({ simd: 'baseline' }), await openKernels({ simd: 'relaxed' })];

function problem(groups: number, groupSize: number, m: number, seed: number): LayerProblem {
  const p = groups * groupSize;
  const X = activations(4 * p + 20, p, seed);
  return layerProblem(binaries[0], naiveStatistics(X, undefined, p, m), normals(p * m, seed + 9), {
    groupSize,
  });
}

const shapes = fc.record({
  groups: fc.integer({ min: 2, max: 9 }),
  groupSize: fc.constantFrom(1, 1, 2, 3, 5, 9),
  m: fc.integer({ min: 1, max: 6 }),
  seed: fc.integer({ min: 1, max: 1e6 }),
});

/** A problem, a support that is neither empty nor full, and moves to try. */
const cases = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    kept: fc.subarray([...Array(shape.groups).keys()], { minLength: 1, maxLength: shape.groups - 1 }),
    moves: fc.array(fc.nat(shape.groups - 1), { minLength: 1, maxLength: 6 }),
  }),
);

describe.each(binaries)('Tableau, $simd', (kernels) => {
  const using = <R>(layer: LayerProblem, kept: readonly number[], run: (tableau: Tableau) => R): R => {
    const mark = kernels.mark();
    const tableau = new Tableau(kernels, layer, kept);
    try {
      return run(tableau);
    } finally {
      tableau.dispose();
      expect(kernels.mark()).toBe(mark);
    }
  };

  test('moves between the two supports of one group out of two', () => {
    const layer: LayerProblem = {
      ...{ p: 2, m: 1, groupSize: 1, groups: 2 },
      H: Float64Array.of(2, 1, 3),
      G: Float64Array.of(1, 2),
      W0: Float64Array.of(1, 1),
    };
    using(layer, [0], (tableau) => {
      expect(tableau.objective).toBeCloseTo(-1 / 4, 12);
      const swap = tableau.bestSwap()!;
      expect(swap).toMatchObject({ out: 0, in: 1 });
      expect(swap.change).toBeCloseTo(1 / 4 - 2 / 3, 12);
      expect(tableau.swap(0, 1)).toBeCloseTo(swap.change, 12);
      expect(tableau.kept()).toEqual([1]);
      expect(tableau.bestSwap()!.change).toBeGreaterThan(0);
    });
  });

  test('predicts the change of any move as refitting does', () => {
    fc.assert(
      fc.property(cases, ({ shape, kept, moves }) => {
        const layer = problem(shape.groups, shape.groupSize, shape.m, shape.seed);
        const scale = Math.abs(naiveObjective(layer, [...Array(shape.groups).keys()]));
        using(layer, kept, (tableau) => {
          for (const group of moves) {
            const before = naiveObjective(layer, tableau.kept());
            const predicted = tableau.costs();
            for (let g = 0; g < shape.groups; g++) {
              const other = tableau.has(g) ? tableau.kept().filter((k) => k !== g) : [...tableau.kept(), g];
              const change =
                naiveObjective(
                  layer,
                  other.sort((a, b) => a - b),
                ) - before;
              expect(Math.abs(predicted[g] - change)).toBeLessThan(1e-9 * scale);
            }
            expect(Math.abs(tableau.move(group) - predicted[group])).toBeLessThan(1e-9 * scale);
            expect(Math.abs(tableau.objective - naiveObjective(layer, tableau.kept()))).toBeLessThan(
              1e-9 * scale,
            );
          }
        });
      }),
      { numRuns: 60 },
    );
  });

  test('finds the best of all swaps', () => {
    fc.assert(
      fc.property(cases, ({ shape, kept }) => {
        const layer = problem(shape.groups, shape.groupSize, shape.m, shape.seed);
        const scale = Math.abs(naiveObjective(layer, [...Array(shape.groups).keys()]));
        const before = naiveObjective(layer, kept);
        let best = Number.POSITIVE_INFINITY;
        for (const out of kept) {
          for (let into = 0; into < shape.groups; into++) {
            if (kept.includes(into)) continue;
            const other = [...kept.filter((k) => k !== out), into].sort((a, b) => a - b);
            best = Math.min(best, naiveObjective(layer, other) - before);
          }
        }
        using(layer, kept, (tableau) => {
          const swap = tableau.bestSwap()!;
          expect(Math.abs(swap.change - best)).toBeLessThan(1e-9 * scale);
          expect(Math.abs(tableau.swap(swap.out, swap.in) - swap.change)).toBeLessThan(1e-9 * scale);
          expect(Math.abs(tableau.objective - naiveObjective(layer, tableau.kept()))).toBeLessThan(
            1e-9 * scale,
          );
        });
      }),
      { numRuns: 60 },
    );
  });

  test('comes back where it was after a move there and back', () => {
    fc.assert(
      fc.property(cases, ({ shape, kept, moves }) => {
        const layer = problem(shape.groups, shape.groupSize, shape.m, shape.seed);
        using(layer, kept, (tableau) => {
          const { objective } = tableau;
          const costs = tableau.costs();
          const swap = tableau.bestSwap()!;
          for (const group of [...moves, ...moves.toReversed()]) tableau.move(group);
          expect(tableau.kept()).toEqual(kept);
          const scale = Math.abs(objective);
          expect(Math.abs(tableau.objective - objective)).toBeLessThan(1e-9 * scale);
          tableau.costs().forEach((cost, g) => {
            expect(Math.abs(cost - costs[g])).toBeLessThan(1e-9 * scale);
          });
          expect(Math.abs(tableau.bestSwap()!.change - swap.change)).toBeLessThan(1e-9 * scale);
        });
      }),
      { numRuns: 60 },
    );
  });

  test.each([
    { groups: 170, groupSize: 1, m: 20, leave: 100 },
    { groups: 40, groupSize: 5, m: 30, leave: 17 },
    { groups: 5, groupSize: 70, m: 4, leave: 2 },
  ])(
    'moves $leave of $groups groups of $groupSize as one after the other, and back',
    ({ leave, ...shape }) => {
      const layer = problem(shape.groups, shape.groupSize, shape.m, 3);
      const kept = [...Array(shape.groups).keys()].filter((group) => group % 4 !== 1);
      const some = kept.filter((_, i) => (7 * i) % kept.length < leave).slice(0, leave);
      const rest = kept.filter((group) => !some.includes(group));
      using(layer, kept, (tableau) => {
        const { objective } = tableau;
        const scale = Math.abs(objective);
        const costs = tableau.costs();
        const change = tableau.move(...some);
        expect(tableau.kept()).toEqual(rest);
        const expected = refit(kernels, layer, rest).objective;
        expect(Math.abs(objective + change - expected)).toBeLessThan(1e-9 * scale);
        expect(Math.abs(tableau.objective - expected)).toBeLessThan(1e-9 * scale);
        using(layer, rest, (fresh) => {
          const anew = fresh.costs();
          tableau.costs().forEach((cost, g) => {
            expect(Math.abs(cost - anew[g])).toBeLessThan(1e-9 * scale);
          });
          expect(Math.abs(tableau.bestSwap()!.change - fresh.bestSwap()!.change)).toBeLessThan(1e-9 * scale);
        });
        tableau.move(...some.toReversed());
        expect(tableau.kept()).toEqual(kept);
        expect(Math.abs(tableau.objective - objective)).toBeLessThan(1e-9 * scale);
        tableau.costs().forEach((cost, g) => {
          expect(Math.abs(cost - costs[g])).toBeLessThan(1e-9 * scale);
        });
      });
    },
  );

  test('reaches the empty and the full support and has no swap there', () => {
    const layer = problem(4, 2, 3, 7);
    using(layer, [], (tableau) => {
      expect(tableau.objective).toBe(0);
      expect(tableau.bestSwap()).toBeUndefined();
      tableau.move(2, 0, 3, 1);
      expect(tableau.objective).toBeCloseTo(naiveObjective(layer, [0, 1, 2, 3]), 9);
      expect(tableau.bestSwap()).toBeUndefined();
    });
  });

  test('drifts by no more than rounding over many moves', () => {
    const layer = problem(40, 1, 8, 11);
    using(layer, [...Array(20).keys()], (tableau) => {
      for (let round = 0; round < 3; round++) {
        // As many as there are between two factorisations.
        for (let i = 0; i < 128; i++) tableau.swap(tableau.kept()[i % 20], pick());
        const tracked = tableau.objective;
        tableau.factorise();
        expect(Math.abs(tableau.objective - tracked)).toBeLessThan(1e-10 * Math.abs(tracked));
      }
      function pick(): number {
        return [...Array(40).keys()].find((g) => !tableau.has(g))!;
      }
    });
  });

  test('never takes out a protected group', () => {
    for (const groupSize of [1, 3]) {
      const layer = problem(8, groupSize, 4, 21);
      const tableau = new Tableau(kernels, layer, [0, 1, 2], [0, 1]);
      expect(tableau.bestSwap()!.out).toBe(2);
      tableau.dispose();
    }
  });
});
