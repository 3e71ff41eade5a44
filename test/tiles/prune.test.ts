import { describe, expect, test } from 'vitest';
import { type ElementType, type Kernels, openKernels, type TilesHost } from '../../src/kernel/index.ts';
import { TILE } from '../../src/solve/constants';
import {
  eliminate,
  type LayerStatistics,
  layerProblem,
  pruneLayer,
  StatisticsAccumulator,
  triangle,
  unpacked,
} from '../../src/solve/index.ts';
import { eliminateTiles } from '../../src/tiles/eliminate.ts';
import { inverseInside, tiledMemory } from '../../src/tiles/memory.ts';
import { tiledProblem } from '../../src/tiles/problem.ts';
import { pruneTiles } from '../../src/tiles/prune.ts';
import { TiledAccumulator, type TiledStatistics } from '../../src/tiles/statistics.ts';
import { RowBlocks, SymmetricTiles } from '../../src/tiles/storage.ts';
import { activations, normals } from '../support/problems.ts';
import { matricesOf, tiledStatistics } from '../support/tiles.ts';

interface Sums {
  readonly whole: LayerStatistics;
  readonly tiles: TiledStatistics;
}

/** Sums over the same rows, whole and in tiles; with columns that are dead or nearly so. */
function sumsOf(kernels: Kernels, n: number, p: number, m: number, edge: number, isFlat = false): Sums {
  const X = activations(n, p, 7);
  for (let i = 0; i < n; i++) for (const j of [0, 1, 2, 3, 4]) X[i * p + 3 + 5 * j] = 0.3 * j;
  if (isFlat) for (let at = 0; at < X.length; at++) X[at] = 5 + 0.01 * X[at];
  const Y = normals(n * m, 8);
  const accumulators = [
    new StatisticsAccumulator(kernels, p, m, true),
    new TiledAccumulator(kernels, p, m, true, { edge }),
  ] as const;
  for (const accumulator of accumulators) {
    const half = Math.floor(n / 3);
    accumulator.addRows(X.subarray(0, half * p), Y.subarray(0, half * m));
    accumulator.addRows(X.subarray(half * p), Y.subarray(half * m));
  }
  const tiles = accumulators[1].finish();
  return { whole: accumulators[0].finish(), tiles };
}

function triangleOf(tiles: SymmetricTiles): Float64Array {
  const all = new Float64Array(triangle(tiles.n));
  const row = new Float64Array(tiles.n);
  for (let i = 0; i < tiles.n; i++) {
    tiles.gather(Int32Array.of(i), row);
    all.set(row.subarray(0, i + 1), triangle(i));
  }
  return all;
}

function valuesOf(blocks: RowBlocks): Float64Array {
  const all = new Float64Array(blocks.n * blocks.m);
  blocks.each(false, (values, first) => all.set(values, first * blocks.m));
  return all;
}

/** How many values differ, in as many; `toEqual` would print all of them. */
function differing(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let count = Math.abs(actual.length - expected.length);
  for (let i = 0; i < expected.length; i++) if (!Object.is(actual[i], expected[i])) count++;
  return count;
}

/** Rows of p × m weights that are not zero throughout. */
function rowsOf(W: Float64Array, m: number, rows: readonly number[]): Float64Array {
  return Float64Array.from(rows.flatMap((row) => Array.from(W.subarray(row * m, (row + 1) * m))));
}

test.each([false, true])('the sums have the bits of whole ones, flat inputs: %s', async (isFlat) => {
  const kernels = await openKernels();
  const { whole, tiles } = sumsOf(kernels, 2200, 70, 9, 32, isFlat);
  const { XtX, XtY } = matricesOf(tiles);
  expect(XtX.count).toBe(3);
  expect(differing(triangleOf(XtX), whole.XtX)).toBe(0);
  expect(differing(tiles.sumX, whole.sumX)).toBe(0);
  expect(differing(valuesOf(XtY!), whole.target!.XtY)).toBe(0);
  expect(tiles.target!.sumY).toEqual(whole.target!.sumY);
  expect(tiles.n).toBe(whole.n);
});

describe.each([0, 0.3, 0.5, 1])('with a blend of %f', (blend) => {
  test.each([false, true])('the problem is that of whole sums, bias refitted: %s', async (centred) => {
    const kernels = await openKernels();
    const [p, m] = [70, 9];
    const { whole, tiles } = sumsOf(kernels, 300, p, m, 32);
    const W0 = normals(p * m, 3);
    const bias = centred ? normals(m, 4) : undefined;
    const expected = layerProblem(kernels, whole, W0, { groupSize: 1, blend, bias });
    const problem = tiledProblem(kernels, tiles, W0, { groupSize: 1, blend, bias });
    expect(differing(triangleOf(problem.H), expected.H)).toBe(0);
    expect(differing(problem.rho, expected.rho!)).toBe(0);
    // Of a dead input's products, rounding: elsewhere sums over tiles of 32 are others than those over 256.
    const [G, exact] = [valuesOf(problem.G), expected.G];
    G.forEach((value, at) => {
      expect(Math.abs(value - exact[at])).toBeLessThan(blend === 1 ? 1e-300 : 1e-9);
    });
    if (centred) expect(problem.means).toEqual(expected.means);
  });

  test('inputs that are all dead are damped as those of whole sums', async () => {
    const kernels = await openKernels();
    const [whole, tiled] = [
      new StatisticsAccumulator(kernels, 40, 2, true),
      new TiledAccumulator(kernels, 40, 2, true, { edge: 32 }),
    ];
    for (const sums of [whole, tiled]) sums.addRows(new Float32Array(400), normals(20, 1));
    const tiles = tiled.finish();
    const [W0, options] = [normals(80, 3), { groupSize: 1, blend }];
    const { rho } = layerProblem(kernels, whole.finish(), W0, options);
    expect(tiledProblem(kernels, tiles, W0, options).rho).toEqual(rho);
  });
});

test.each([
  ['H is too ill-conditioned for f32', 0.03, 1],
  ['f32 overflows', 1, 2 ** 140],
])('the search is in f64 where %s, if there is room', async (_, apart, scale) => {
  const kernels = await openKernels();
  const [p, m, keep] = [120, 4, 40];
  const X = normals(400 * p, 3);
  for (let at = 0; at < X.length; at += 2) X[at + 1] = X[at] + apart * X[at + 1];
  const [whole, tiled] = [
    new StatisticsAccumulator(kernels, p, m, false),
    new TiledAccumulator(kernels, p, m, false, { edge: 64 }),
  ];
  for (const sums of [whole, tiled]) sums.addRows(X);
  const tiles = tiled.finish();
  const W0 = Float64Array.from(normals(p * m, 5), (weight) => scale * weight);
  const options = { groupSize: 1, damping: 1e-9 };
  const expected = eliminate(kernels, layerProblem(kernels, whole.finish(), W0, options), { keep });
  const problem = tiledProblem(kernels, tiles, W0, options);
  const { precision, kept } = pruneTiles(kernels, problem, { keep });
  expect([precision, expected.precision]).toEqual(['f64', 'f64']);
  expect(kept).toEqual(expected.kept);
  const onF64 = () => {
    throw new Error('no room');
  };
  expect(() => pruneTiles(kernels, problem, { keep, onF64 })).toThrow('no room');
});

describe.each(['f32', 'f64'] as const)('%s', (type: ElementType) => {
  test.each([
    [203, 1, 60],
    [120, 3, 260],
  ])(
    'an elimination of %i groups of %i, %i outputs, has the bits of the whole one, whatever memory there is',
    async (groups, b, m) => {
      const kernels = await openKernels();
      const p = groups * b;
      const { whole } = sumsOf(kernels, 2 * p, p, m, 64);
      const problem = layerProblem(kernels, whole, normals(p * m, 3), { groupSize: b });
      const keep = Math.floor(groups / 3);
      const options = { keep, precision: type, protect: [5, 17], groupsPerStep: 2 };
      const expected = eliminate(kernels, problem, { ...options, wholeCurve: true });
      expect(expected.precision).toBe(type);

      // As the elimination has them on the full support.
      const T = kernels.matrix(p, p, type, unpacked(problem.H, p));
      const W = kernels.matrix(p, m, type, problem.G);
      kernels.potrf(T);
      for (const trans of [false, true]) kernels.trsm('left', trans, 1, T, W);
      kernels.potri(T);
      const tiles = new SymmetricTiles(p, type, 64);
      for (let i = 0; i < tiles.count; i++) {
        for (let j = 0; j <= i; j++) {
          const part = kernels.submatrix(T, tiles.starts[i], tiles.starts[j], tiles.rows(i), tiles.rows(j));
          tiles.tile(i, j).save(kernels.read(part));
        }
      }
      const blocks = new RowBlocks(p, m, type, 64);
      blocks.each(true, (values, first, rows) =>
        values.set(kernels.read(kernels.submatrix(W, first, 0, rows, m))),
      );
      const shape = { p, m, groupSize: b, edge: 64, ...options, wholeCurve: true };
      const dense = type === 'f64' ? expected.denseObjective : 0;
      const roomy = await openKernels();
      const found = [eliminateTiles(roomy, tiles, blocks, shape, dense)];
      // What then has no room comes in for every product.
      const tight = await openKernels({ maximumBytes: roomy.bytes - 1e5 });
      found.push(eliminateTiles(tight, tiles, blocks, shape, dense));
      for (const it of found) {
        if (typeof it === 'number') throw new Error(`pivot ${it}`);
        expect(it.kept).toEqual(expected.kept);
        expect(it.removed).toEqual(expected.removed);
        if (type === 'f64') expect(differing(it.curve, expected.curve)).toBe(0);
      }
    },
  );
});

test.each([
  [300, 1, 80, 150, 2 ** 32],
  [300, 1, 400, 20, 2 ** 32],
  [96, 6, 30, 48, 2 ** 32],
  [1500, 1, 64, 700, 2 ** 32],
  [1500, 1, 600, 700, 2 ** 24 + 2 ** 21],
])(
  '%i groups of %i, %i outputs, to %i: wasm memory stays below what is stated, of at most %i bytes',
  async (...shape) => {
    const [groups, groupSize, m, keep, maximumBytes] = shape;
    const [p, edge] = [groups * groupSize, 128];
    const [kernels, bound] = [await openKernels(), await openKernels({ maximumBytes })];
    const accumulator = new TiledAccumulator(kernels, p, m, true, { edge });
    accumulator.addRows(normals(600 * p, 1), normals(600 * m, 2));
    const problem = tiledProblem(kernels, accumulator.finish(), normals(p * m, 3), {
      ...{ groupSize, blend: 0.5, damping: 0.5 },
    });
    expect(pruneTiles(bound, problem, { keep }).precision).toBe('f32');
    const layer = { p, m, groupSize, keep, edge };
    const [stated, unbound] = [tiledMemory(layer, maximumBytes), tiledMemory(layer, 2 ** 32)];
    expect(kernels.bytes).toBeLessThanOrEqual(unbound.wasm);
    expect(bound.bytes).toBeLessThanOrEqual(Math.min(stated.wasm, maximumBytes));
    // Room for all that lies by position, or not for all of it.
    if (maximumBytes < 2 ** 32) expect(stated.search).toBeGreaterThan(unbound.search);
  },
);

test.each([
  [0, 2 ** 32],
  [1, 2 ** 32],
  [1, 110 * 2 ** 20],
])(
  'a layer of two tiles and more has the bits of the whole one, blend %i, in %i bytes',
  async (blend, maximumBytes) => {
    const [kernels, bound] = [await openKernels(), await openKernels({ maximumBytes })];
    const [p, m] = [TILE + 102, 60];
    const groups = p;
    const keep = p / 2;
    const whole = structured(p, m);
    const W0 = normals(p * m, 3);
    const problem = layerProblem(kernels, whole, W0, { groupSize: 1, blend });
    const expected = pruneLayer(kernels, problem, { keep, search: 'greedy' });
    const tiled = tiledProblem(kernels, tiledStatistics(whole, TILE), W0, { groupSize: 1, blend });
    const found = pruneTiles(bound, tiled, { keep });
    // Whether the inverse lies inside wasm memory or comes in tile by tile.
    expect(inverseInside({ p, m, groupSize: 1, keep }, maximumBytes, 4) > 0).toBe(maximumBytes === 2 ** 32);
    expect(found.precision).toBe('f32');
    expect(found.kept).toEqual(expected.kept);
    expect(found.curve.subarray(keep, groups)).toEqual(expected.curve!.subarray(keep, groups));
    expect(found.objective).toBe(expected.objective);
    expect(found.relativeError).toBe(expected.relativeError);
    expect(differing(valuesOf(found.W), rowsOf(expected.W, m, expected.kept))).toBe(0);
  },
);

/** Sums of correlated inputs in pairs, without the rows: half of p, and for each of them itself with noise. */
function structured(p: number, m: number): LayerStatistics {
  const XtX = new Float64Array(triangle(p));
  const factors = normals(8 * p, 5);
  for (let i = 0; i < p; i++) {
    for (let j = 0; j <= i; j++) {
      let sum =
        i % (p / 2) === j % (p / 2) ? 1 + (i === j && i >= p / 2 ? 0.1 : 0) + (i === j ? 0.05 : 0) : 0;
      for (let f = 0; f < 8; f++) sum += 0.01 * factors[f * p + i] * factors[f * p + j];
      XtX[triangle(i) + j] = sum;
    }
  }
  const target = { XtY: Float64Array.from(normals(p * m, 6)), sumY: new Float64Array(m) };
  return { p, m, n: p, XtX, sumX: new Float64Array(p), target };
}

test('groups that are staged come along into the next panel: few rows are brought up to date again', async () => {
  const kernels = await openKernels();
  const [p, m, keep] = [600, 20, 200];
  const { tiles } = sumsOf(kernels, 2 * p, p, m, 256);
  const problem = tiledProblem(kernels, tiles, normals(p * m, 3), { groupSize: 1 });
  const stage = 1; // Event.Stage of assembly/solve/tiles.ts
  let staged = 0;
  let answer: TilesHost | undefined;
  Object.defineProperty(kernels.abi.host, 'tiles', {
    get: () => (event: number, a: number, rows: number, x: number, y: number) => {
      if (event === stage) staged += rows;
      answer!(event, a, rows, x, y);
    },
    set: (host: TilesHost | undefined) => {
      answer = host;
    },
  });
  const { precision } = pruneTiles(kernels, problem, { keep });
  expect(precision).toBe('f32');
  expect(staged).toBeGreaterThanOrEqual(p - keep);
  expect(staged).toBeLessThan(1.8 * (p - keep)); // 2.3 times, where panels begin with nothing
});
