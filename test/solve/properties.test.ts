// What must hold for every layer, whatever its shape, target and support. Properties of single moves from a fresh
// tableau are in tableau.test.ts, of the searches from a given start in search.test.ts.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Kernels, openKernels } from '../../src/kernel/index.ts';
import {
  type LayerProblem,
  type LayerStatistics,
  layerProblem,
  METHODS,
  magnitudeSupport,
  packed,
  pruneLayer,
  SEARCHES,
  StatisticsAccumulator,
  unpacked,
} from '../../src/solve/index.ts';
import { activations, addStatistics, naiveObjective, naiveStatistics, normals } from '../support/problems.ts';
import { Tableau } from '../support/tableau.ts';

const binaries = [await openKernels({ simd: 'baseline' }), await openKernels({ simd: 'relaxed' })];

const EVERY_WAY = [...SEARCHES.map((search) => ({ search })), ...METHODS.map((method) => ({ method }))];

interface Shape {
  readonly groups: number;
  readonly groupSize: number;
  readonly m: number;
  readonly seed: number;
  /** Towards the layer's own output, another one, or the middle of both. */
  readonly blend: number;
}

const shapes = fc.record({
  groups: fc.integer({ min: 3, max: 9 }),
  groupSize: fc.constantFrom(1, 1, 2, 3, 5),
  m: fc.integer({ min: 1, max: 6 }),
  seed: fc.integer({ min: 1, max: 1e6 }),
  blend: fc.constantFrom(0, 0.5, 1),
});

/** A shape and a support that is neither empty nor full. */
const cases = shapes.chain((shape) =>
  fc.record({
    shape: fc.constant(shape),
    kept: fc.subarray(allGroups(shape), { minLength: 1, maxLength: shape.groups - 1 }),
    moves: fc.array(fc.nat(shape.groups - 1), { maxLength: 6 }),
  }),
);

function allGroups({ groups }: Pick<Shape, 'groups'>): number[] {
  return Array.from({ length: groups }, (_, group) => group);
}

function without(shape: Shape, kept: readonly number[]): number[] {
  return allGroups(shape).filter((group) => !kept.includes(group));
}

/** Rows of inputs, and of what a layer with other weights would make of them. */
function rowsOf({ groups, groupSize, m, seed }: Shape, n: number): { X: Float32Array; Y: Float32Array } {
  const p = groups * groupSize;
  const X = activations(n, p, seed);
  const W = normals(p * m, seed + 5);
  const Y = new Float32Array(n * m);
  for (let r = 0; r < n; r++) {
    for (let i = 0; i < p; i++) for (let j = 0; j < m; j++) Y[r * m + j] += X[r * p + i] * W[i * m + j];
  }
  return { X, Y };
}

function problemOf(shape: Shape, statistics: LayerStatistics): LayerProblem {
  const { groups, groupSize, m, seed, blend } = shape;
  return layerProblem(binaries[0], statistics, normals(groups * groupSize * m, seed + 9), {
    groupSize,
    blend,
  });
}

function problem(shape: Shape): LayerProblem {
  const p = shape.groups * shape.groupSize;
  const { X, Y } = rowsOf(shape, 2 * p + 20);
  return problemOf(shape, naiveStatistics(X, Y, p, shape.m));
}

/** f of the best weights on all groups: the scale of every objective. */
function scaleOf(layer: LayerProblem): number {
  return Math.abs(naiveObjective(layer, allGroups(layer)));
}

const exchanged = (kept: readonly number[], out: number, into: number) =>
  [...kept.filter((group) => group !== out), into].sort((a, b) => a - b);

describe.each(binaries)('moves, $simd', (kernels) => {
  test('any swap changes the objective as refitting does, wherever moves have led', () => {
    fc.assert(
      fc.property(cases, ({ shape, kept, moves }) => {
        const layer = problem(shape);
        const rounding = 1e-9 * scaleOf(layer);
        const tableau = new Tableau(kernels, layer, kept);
        for (const group of moves) tableau.move(group);
        const support = tableau.kept();
        const before = naiveObjective(layer, support);
        for (const out of support) {
          for (const into of without(shape, support)) {
            const change = naiveObjective(layer, exchanged(support, out, into)) - before;
            expect(Math.abs(tableau.swap(out, into) - change)).toBeLessThan(rounding);
            expect(Math.abs(tableau.swap(into, out) + change)).toBeLessThan(rounding);
            expect(tableau.kept()).toEqual(support);
          }
        }
        tableau.dispose();
      }),
      { numRuns: 40 },
    );
  });

  test('the best partner of each kept group is the one that refitting finds', () => {
    fc.assert(
      fc.property(cases, ({ shape, kept, moves }) => {
        const layer = problem(shape);
        const rounding = 1e-9 * scaleOf(layer);
        for (const out of allGroups(shape)) {
          const protect = allGroups(shape).filter((group) => group !== out);
          const tableau = new Tableau(kernels, layer, kept, protect);
          for (const group of moves) tableau.move(group);
          const [swap, support] = [tableau.bestSwap(), tableau.kept()];
          tableau.dispose();
          const outside = without(shape, support);
          if (!support.includes(out) || outside.length === 0) {
            expect(swap).toBeUndefined();
            continue;
          }
          const before = naiveObjective(layer, support);
          const changes = outside.map(
            (into) => naiveObjective(layer, exchanged(support, out, into)) - before,
          );
          const best = Math.min(...changes);
          expect(swap!.out).toBe(out);
          expect(Math.abs(swap!.change - best)).toBeLessThan(rounding);
          expect(Math.abs(changes[outside.indexOf(swap!.in)] - best)).toBeLessThan(rounding);
        }
      }),
      { numRuns: 30 },
    );
  });

  test('a move leads to the tableau of the other support, and the move back restores T and RRᵀ', () => {
    fc.assert(
      fc.property(cases, ({ shape, kept }) => {
        const layer = problem(shape);
        // Groups at the border keep their places: the last kept and the first removed one.
        const [rest, last] = [kept.slice(0, -1), kept.at(-1)!];
        const [next, ...others] = without(shape, kept);
        const order = [...rest, last, next, ...others];
        const { tableau, entries } = openTableau(kernels, layer, kept);
        const before = entries(order);
        const remove = () => tableau.move(last);
        const add = () => tableau.move(next);
        for (const { there, back, moved } of [
          { there: remove, back: remove, moved: order },
          { there: add, back: add, moved: order },
          {
            there: () => tableau.swap(last, next),
            back: () => tableau.swap(next, last),
            moved: [...rest, next, last, ...others],
          },
        ]) {
          there();
          const support = tableau.kept();
          const fresh = openTableau(kernels, layer, support);
          expectSame(entries(moved), fresh.entries([...support, ...without(shape, support)]));
          fresh.tableau.dispose();
          back();
          expect(tableau.kept()).toEqual(kept);
          expectSame(entries(order), before);
        }
        tableau.dispose();
      }),
      { numRuns: 40 },
    );
  });
});

/** A tableau, and the entries of its two p × p matrices by group, whatever the order of the groups inside. */
function openTableau(kernels: Kernels, layer: LayerProblem, kept: readonly number[]) {
  const { p, groupSize: b } = layer;
  const tableau = new Tableau(kernels, layer, kept);
  const entries = (order: readonly number[]) =>
    Object.values(tableau.matrices).map((matrix) => {
      const A = kernels.view(matrix);
      const at = allGroups(layer).flatMap((group) =>
        Array.from({ length: b }, (_, r) => order.indexOf(group) * b + r),
      );
      return at.flatMap((i) => at.map((j) => A[Math.max(i, j) * p + Math.min(i, j)]));
    });
  return { tableau, entries };
}

function expectSame(actual: readonly number[][], expected: readonly number[][]): void {
  expect(actual).toHaveLength(2);
  actual.forEach((entries, which) => {
    const scale = Math.max(...expected[which].map(Math.abs));
    expect(scale).toBeGreaterThan(0);
    const difference = Math.max(...entries.map((value, i) => Math.abs(value - expected[which][i])));
    expect(difference).toBeLessThan(1e-9 * scale);
  });
}

describe.each(binaries)('searches, $simd', (kernels) => {
  test('the objective falls at every swap and ends at none above its starts', () => {
    fc.assert(
      fc.property(cases, ({ shape, kept }) => {
        const layer = problem(shape);
        const rounding = 1e-9 * scaleOf(layer);
        const keep = kept.length;
        const tableau = new Tableau(kernels, layer, magnitudeSupport(kernels, [layer], keep));
        for (let before = naiveObjective(layer, tableau.kept()); ; ) {
          const { steps, bestRemaining = 0 } = tableau.swapWhileBetter(1);
          const after = naiveObjective(layer, tableau.kept());
          expect(after).toBeLessThanOrEqual(before + rounding);
          expect(Math.abs(tableau.objective - after)).toBeLessThan(rounding);
          if (steps === 0) {
            expect(after).toBe(before);
            expect(bestRemaining).toBeGreaterThan(-rounding);
            break;
          }
          before = after;
        }
        tableau.dispose();
        for (const protect of [[], kept.slice(1)]) {
          const greedy = pruneLayer(kernels, layer, { keep, protect, search: 'greedy' });
          for (const search of SEARCHES) {
            const result = pruneLayer(kernels, layer, { keep, protect, search, swapGroups: 3 });
            expect(result.kept).toHaveLength(keep);
            expect(result.kept).toEqual(expect.arrayContaining(protect));
            for (const start of [greedy.objective, ...Object.values(result.search?.starts ?? {})]) {
              expect(result.objective).toBeLessThanOrEqual(start + rounding);
            }
            expect(result.objective).toBeGreaterThanOrEqual(-scaleOf(layer) - rounding);
          }
        }
      }),
      { numRuns: 40 },
    );
  });

  test('the outcome follows its groups when they are put in another order', () => {
    fc.assert(
      fc.property(
        shapes.chain((shape) =>
          fc.record({
            shape: fc.constant(shape),
            keep: fc.integer({ min: 1, max: shape.groups - 1 }),
            order: fc.shuffledSubarray(allGroups(shape), { minLength: shape.groups }),
          }),
        ),
        ({ shape, keep, order }) => {
          const layer = problem(shape);
          const shuffled = reordered(layer, order);
          for (const options of EVERY_WAY) {
            const expected = pruneLayer(kernels, layer, { keep, ...options });
            const actual = pruneLayer(kernels, shuffled, { keep, ...options });
            expect(actual.kept.map((group) => order[group]).sort((a, b) => a - b)).toEqual(expected.kept);
            expect(Math.abs(actual.objective - expected.objective)).toBeLessThan(1e-9 * scaleOf(layer));
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  test('gives the same bits in a new instance as in one with anything in its memory', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ shape, kept: { length: keep } }) => {
        const layer = problem(shape);
        const used = await openKernels({ simd: kernels.simd });
        const mark = used.mark();
        used.view(used.matrix(200, 200, 'f64')).fill(Number.NaN);
        used.release(mark);
        used.view(used.matrix(1, 37, 'f64')).fill(Number.NaN); // moves all that comes after
        for (const options of EVERY_WAY) {
          const fresh = await openKernels({ simd: kernels.simd });
          const expected = pruneLayer(fresh, layer, { keep, ...options });
          expect(pruneLayer(used, layer, { keep, ...options })).toEqual(expected);
        }
      }),
      { numRuns: 15 },
    );
  });
});

/** The layer with its groups in another order: its group g is the given one's order[g]. */
function reordered({ H, G, W0, solution, ...sizes }: LayerProblem, order: readonly number[]): LayerProblem {
  const { p, m, groupSize: b } = sizes;
  const row = (i: number) => order[Math.floor(i / b)] * b + (i % b);
  const rows = (A: Float64Array) => A.map((_, at) => A[row(Math.floor(at / m)) * m + (at % m)]);
  const whole = unpacked(H, p);
  const own = rows(W0);
  return {
    ...sizes,
    H: packed(
      whole.map((_, at) => whole[row(Math.floor(at / p)) * p + row(at % p)]),
      p,
    ),
    G: rows(G),
    W0: own,
    ...(solution && { solution: own }),
  };
}

describe.each(binaries)('statistics, $simd', (kernels) => {
  /** More than two of the accumulator's chunks of 512 rows, cut anywhere. */
  const splits = fc.record({
    shape: shapes,
    rows: fc.integer({ min: 30, max: 1200 }),
    cuts: fc.array(fc.nat(1200), { maxLength: 6 }),
  });

  function partsOf({ X, Y }: ReturnType<typeof rowsOf>, p: number, m: number, cuts: readonly number[]) {
    const n = X.length / p;
    const bounds = [0, ...cuts.map((cut) => Math.min(cut, n)), n].sort((a, b) => a - b);
    return bounds.slice(1).map((to, i) => ({
      X: X.subarray(bounds[i] * p, to * p),
      Y: Y.subarray(bounds[i] * m, to * m),
    }));
  }

  function accumulate(parts: readonly { X: Float32Array; Y: Float32Array }[], p: number, m: number) {
    const accumulator = new StatisticsAccumulator(kernels, p, m, true);
    for (const { X, Y } of parts) accumulator.addRows(X, Y);
    return accumulator.finish();
  }

  test('the outcome is the same however the rows were split, to the bit in one accumulator', () => {
    fc.assert(
      fc.property(splits, ({ shape, rows, cuts }) => {
        const [p, m] = [shape.groups * shape.groupSize, shape.m];
        const data = rowsOf(shape, rows);
        const parts = partsOf(data, p, m, cuts);
        const whole = accumulate([data], p, m);
        expect(accumulate(parts, p, m)).toEqual(whole);

        const merged = parts.map((part) => accumulate([part], p, m)).reduce(addStatistics);
        const exact = problemOf(shape, naiveStatistics(data.X, data.Y, p, m));
        const keep = Math.ceil(shape.groups / 2);
        const scale = scaleOf(exact);
        // f32 sums of 512 rows: relative 512 · 2⁻²⁴ at most, ten times that for what the solve makes of it.
        const rounding = 10 * 512 * 2 ** -24 * scale;
        const best = pruneLayer(kernels, exact, { keep });
        for (const statistics of [whole, merged]) {
          expect(statistics.n).toBe(rows);
          const { kept, objective } = pruneLayer(kernels, problemOf(shape, statistics), { keep });
          // Another support may come out only where both are as good.
          expect(Math.abs(naiveObjective(exact, kept) - best.objective)).toBeLessThan(rounding);
          expect(Math.abs(objective - best.objective)).toBeLessThan(rounding);
        }
      }),
      { numRuns: 30 },
    );
  });
});
