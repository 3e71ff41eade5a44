// Arguments of other kinds than theirs, as programs without types hand them over.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OsscarError } from '../../src/errors.ts';
import { type Kernels, openKernels } from '../../src/kernel/index.ts';
import { openSession, type Session } from '../../src/pool/index.ts';
import {
  combineProblems,
  eliminate,
  type LayerProblem,
  type LayerStatistics,
  layerProblem,
  pruneLayer,
  refit,
  refitBias,
  StatisticsAccumulator,
  solveLayers,
} from '../../src/solve/index.ts';
import { randomArray } from '../support/random.ts';

const [p, m, n] = [4, 2, 16];
const [X, Y, W] = [n * p, n * m, p * m].map((length, seed) => new Float32Array(randomArray(length, seed)));
const recipe = { damping: 0.01 };
const geometry = {
  ...{ height: 1, width: n, outHeight: 1, outWidth: n, kernel: [1, 1], strides: [1, 1] },
  ...{ dilations: [1, 1], pads: [0, 0, 0, 0] },
};

let kernels: Kernels;
let session: Session;
let fit: LayerStatistics;
let problem: LayerProblem;
beforeAll(async () => {
  kernels = await openKernels({ simd: 'baseline' });
  session = await openSession({ simd: 'baseline', threads: 1 });
  const accumulator = new StatisticsAccumulator(kernels, p, m, true);
  accumulator.addRows(X, Y);
  fit = accumulator.finish();
  problem = layerProblem(kernels, fit, W, { groupSize: 1, bias: new Float64Array(m) });
});
afterAll(() => session.close());

// biome-ignore lint/suspicious/noExplicitAny: all that types would not let pass
type Call = (it: any) => unknown;
const layer = (changes: object) => ({ W, fit, groupSize: 1, ...changes });
const sums = () => session.statistics(p, m, false);

/** By what the error names. */
const CALLS: Readonly<Record<string, Readonly<Record<string, Call>>>> = {
  layers: {
    solveLayers: (it) => solveLayers(kernels, it, recipe, 2),
    'of a session': (it) => session.solveLayers(it, recipe, 2),
    'a single one': (it) => session.solveLayers([it], recipe, 2),
    'in tiles': (it) => session.solveTiled(it, recipe, 2),
  },
  recipe: {
    solveLayers: (it) => solveLayers(kernels, [layer({})], it, 2),
    'in tiles': (it) => session.solveTiled(layer({}) as never, it, 2),
  },
  fit: {
    solveLayers: (it) => session.solveLayers([layer({ fit: it })], recipe, 2),
    'in tiles': (it) => session.solveTiled(layer({ fit: it }) as never, recipe, 2),
  },
  options: {
    'of a problem': (it) => layerProblem(kernels, fit, W, it),
    pruneLayer: (it) => pruneLayer(kernels, problem, it),
    eliminate: (it) => eliminate(kernels, problem, it),
    'of a session': (it) => session.solveLayers([layer({})], recipe, 2, it ?? null),
    openSession: (it) => openSession(it ?? null),
  },
  problem: {
    pruneLayer: (it) => pruneLayer(kernels, it, { keep: 2 }),
    'of a session': (it) => session.pruneLayer(it, { keep: 2 }),
    refit: (it) => refit(kernels, it, [0]),
    refitBias: (it) => refitBias(it, new Float64Array(W)),
  },
  problems: { combine: (it) => combineProblems(it), 'a single one': (it) => combineProblems([problem, it]) },
  statistics: { 'of a problem': (it) => layerProblem(kernels, it, W, { groupSize: 1 }) },
  W0: {
    solveLayers: (it) => session.solveLayers([layer({ W: it })], recipe, 2),
    'of a problem': (it) => pruneLayer(kernels, { ...problem, W0: it }, { keep: 2 }),
  },
  G: { pruneLayer: (it) => pruneLayer(kernels, { ...problem, G: it }, { keep: 2 }) },
  H: { pruneLayer: (it) => pruneLayer(kernels, { ...problem, H: it }, { keep: 2 }) },
  XtX: { solveLayers: (it) => solveLayers(kernels, [layer({ fit: { ...fit, XtX: it } })], recipe, 2) },
  sumX: { solveLayers: (it) => solveLayers(kernels, [layer({ fit: { ...fit, sumX: it } })], recipe, 2) },
  sumY: {
    solveLayers: (it) =>
      solveLayers(kernels, [layer({ fit: { ...fit, target: { ...fit.target, sumY: it } } })], recipe, 2),
  },
  kept: { refit: (it) => refit(kernels, problem, it) },
  A: {
    inverse: (it) => session.inverse(it, 2),
    multiply: (it) => session.multiply(it, X.slice(4) as never, 2),
  },
  B: { multiply: (it) => session.multiply(new Float64Array(4), it, 2) },
  geometry: { addImages: (it) => sums().addImages(it, [{ channels: p, data: X }]) },
  x: {
    addImages: (it) => sums().addImages(geometry as never, it),
    'a single one': (it) => sums().addImages(geometry as never, [it]),
  },
};
const WRONG = Object.entries(CALLS).flatMap(([name, calls]) =>
  Object.entries(calls).flatMap(([call, run]) =>
    [undefined, null, 5, 'x', (it: unknown) => it].map((it) => [name, call, String(it), run, it] as const),
  ),
);
test.each(WRONG)('"%s" of %s cannot be %s', async (name, _call, _text, run, it) => {
  const error = await (async () => run(it))().then(
    () => undefined,
    (thrown) => thrown,
  );
  expect(error).toBeInstanceOf(OsscarError);
  expect(error.message).toMatch(new RegExp(`^\\w+: "${name}(\\[0\\]|\\[1\\])?" expected `));
});

test.each<readonly [message: string, call: (options: never) => unknown, options: object]>([
  [
    'pruneLayer: there is no option "serch"; is "search" meant?',
    (it) => pruneLayer(kernels, problem, it),
    { keep: 2, serch: 'swap' },
  ],
  [
    'pruneLayer: "wholeCurve" expected true or false, got 1',
    (it) => pruneLayer(kernels, problem, it),
    { keep: 2, wholeCurve: 1 },
  ],
  [
    'pruneLayer: there is no option "serch"',
    (it) => session.pruneLayer(problem, it),
    { keep: 2, serch: 'swap' },
  ],
  [
    'eliminate: there is no option "weight"; is "weights" meant?',
    (it) => eliminate(kernels, problem, it),
    { keep: 2, weight: true },
  ],
  [
    'layerProblem: there is no option "dampin"; is "damping" meant?',
    (it) => layerProblem(kernels, fit, W, it),
    { groupSize: 1, dampin: 1 },
  ],
  [
    'solveLayers: there is no option "keep"; expected method, search',
    (it) => solveLayers(kernels, [layer({})], it, 2),
    { keep: 2 },
  ],
  [
    'solveLayers: there is no option "sinal"; is "signal" meant?',
    (it) => session.solveLayers([layer({})], recipe, 2, it),
    { sinal: 1 },
  ],
  [
    'solveLayers: "signal" expected an AbortSignal, got 5',
    (it) => session.solveLayers([layer({})], recipe, 2, it),
    { signal: 5 },
  ],
  [
    'solveTiled: "memory" expected bytes, a number from 0 on, got "8GiB"',
    (it) => session.solveTiled(layer({}) as never, recipe, 2, it),
    { memory: '8GiB' },
  ],
])('%s', async (message, call, options) => {
  const error = await (async () => call(options as never))().then(String, (thrown) => thrown);
  expect(error).toBeInstanceOf(OsscarError);
  expect(error.message).toContain(message);
});

describe('what would be read or written beside an array is refused:', () => {
  test.each([0, -1, 1.5, Number.NaN, null])('groups of %s rows', async (groupSize) => {
    const message = `problem: 4 rows are not a multiple of the group size ${groupSize}`;
    const sizes = { groupSize } as never;
    expect(() => layerProblem(kernels, fit, W, sizes)).toThrow(message);
    expect(() => pruneLayer(kernels, { ...problem, groupSize: groupSize as never }, { keep: 2 })).toThrow(
      message,
    );
    const free = Int32Array.of(0, 1, 2, 3);
    expect(() => solveLayers(kernels, [layer({ groupSize, free })], recipe, 2)).toThrow(message);
  });

  test.each([[[4]], [[-1]], [[0.5]]])('a refit on the groups %j', (kept) => {
    expect(() => refit(kernels, problem, kept)).toThrow(`"kept" expected groups from 0 to 3, got ${kept}`);
  });

  test.each(['free', 'gone'])('rows that are %s, and that there are not', (name) => {
    for (const rows of [Int32Array.of(4), Int32Array.of(-1), [0], 5, null]) {
      const solve = () => solveLayers(kernels, [layer({ [name]: rows })], recipe, 0);
      expect(solve).toThrow(`solveLayers: "${name}" expected an Int32Array of rows of 4`);
    }
  });

  test('sums that are not in tiles, where those in tiles are solved', async () => {
    const solved = session.solveTiled(layer({}) as never, recipe, 2);
    await expect(solved).rejects.toThrow('solveTiled: "fit" expected sums in tiles, of `tiledStatistics`');
  });

  test.each([5, {}, [7]])('protected groups: %j', (protect) => {
    expect(() => pruneLayer(kernels, problem, { keep: 2, protect: protect as never })).toThrow(
      '"protect" expected',
    );
  });
});
