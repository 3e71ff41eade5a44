// Arguments of other kinds than theirs, as programs without types hand them over.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { OsscarError } from '../../src/errors.ts';
import { type Kernels, openKernels } from '../../src/kernel/index.ts';
import { openSession, type Session } from '../../src/pool/index.ts';
import {
  chooseDamping,
  eliminate,
  groupsToKeep,
  type LayerProblem,
  type LayerStatistics,
  layerProblem,
  layerWasmBytes,
  packed,
  pruneLayer,
  pruneLayers,
  refit,
  refitBias,
  StatisticsAccumulator,
  solveLayers,
  unpacked,
} from '../../src/solve/index.ts';
import { tiledPlan } from '../../src/tiles/memory.ts';
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
const GONE = 'is empty, as its buffer was transferred to another thread; give a copy';
/** What a caller is left with who has handed a copy of it to a worker. */
function transferred(values: Float32Array): Float32Array {
  const copy = values.slice();
  structuredClone(copy, { transfer: [copy.buffer] });
  return copy;
}
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
  heldOut: { solveLayers: (it) => solveLayers(kernels, [layer({ heldOut: it ?? 5 })], recipe, 2) },
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
  problems: {
    pruneLayers: (it) => pruneLayers(kernels, it, { keep: 2 }),
    'a single one': (it) => pruneLayers(kernels, [problem, it], { keep: 2 }),
  },
  statistics: { 'of a problem': (it) => layerProblem(kernels, it, W, { groupSize: 1 }) },
  W: { solveLayers: (it) => session.solveLayers([layer({ W: it })], recipe, 2) },
  W0: {
    'of a problem': (it) => pruneLayer(kernels, { ...problem, W0: it }, { keep: 2 }),
  },
  G: { pruneLayer: (it) => pruneLayer(kernels, { ...problem, G: it }, { keep: 2 }) },
  H: {
    pruneLayer: (it) => pruneLayer(kernels, { ...problem, H: it }, { keep: 2 }),
    'of a problem to be': (it) => layerProblem(kernels, fit, W, { groupSize: 1, H: it ?? [] }),
  },
  bias: { 'of a problem': (it) => layerProblem(kernels, fit, W, { groupSize: 1, bias: it ?? [] }) },
  rho: { pruneLayer: (it) => pruneLayer(kernels, { ...problem, rho: it ?? [] }, { keep: 2 }) },
  XtX: { solveLayers: (it) => solveLayers(kernels, [layer({ fit: { ...fit, XtX: it } })], recipe, 2) },
  sumX: { solveLayers: (it) => solveLayers(kernels, [layer({ fit: { ...fit, sumX: it } })], recipe, 2) },
  XtY: {
    solveLayers: (it) =>
      solveLayers(kernels, [layer({ fit: { ...fit, target: { ...fit.target, XtY: it } } })], recipe, 2),
  },
  sumY: {
    solveLayers: (it) =>
      solveLayers(kernels, [layer({ fit: { ...fit, target: { ...fit.target, sumY: it } } })], recipe, 2),
  },
  kernels: {
    pruneLayer: (it) => pruneLayer(it, problem, { keep: 2 }),
    eliminate: (it) => eliminate(it, problem, { keep: 2 }),
    layerProblem: (it) => layerProblem(it, fit, W, { groupSize: 1 }),
    refit: (it) => refit(it, problem, [0]),
    solveLayers: (it) => solveLayers(it, [layer({})], recipe, 2),
    chooseDamping: (it) => chooseDamping(it, fit, fit, W, { groupSize: 1 }, 2),
    accumulator: (it) => new StatisticsAccumulator(it, p, m, true),
  },
  p: {
    statistics: (it) => session.statistics(it === 5 ? 0 : it, m, false),
    'in tiles': (it) => session.tiledStatistics(it === 5 ? 0 : it, m, false),
    accumulator: (it) => new StatisticsAccumulator(kernels, it === 5 ? -1 : it, m, false),
  },
  m: { statistics: (it) => session.statistics(p, it === 5 ? 1.5 : it, false) },
  hasTarget: { statistics: (it) => session.statistics(p, m, it) },
  keep: { chooseDamping: (it) => chooseDamping(kernels, fit, fit, W, { groupSize: 1 }, it === 5 ? 0.5 : it) },
  ratio: { groupsToKeep: (it) => groupsToKeep(8, it) },
  search: { layerWasmBytes: (it) => layerWasmBytes(p, m, 1, it ?? null) },
  groups: { pruneLayer: (it) => pruneLayer(kernels, { ...problem, groups: it }, { keep: 2 }) },
  wasmBytes: { tiledPlan: (it) => tiledPlan({ p, m, groupSize: 1 }, it === 5 ? -1 : it, 2 ** 32) },
  memory: { tiledPlan: (it) => tiledPlan({ p, m, groupSize: 1 }, 2 ** 32, it === 5 ? Number.NaN : it) },
  kept: { refit: (it) => refit(kernels, problem, it) },
  A: {
    inverse: (it) => session.inverse(it, 2),
    multiply: (it) => session.multiply(it, X.slice(4) as never, 2),
    packed: (it) => packed(it, 2),
    unpacked: (it) => unpacked(it, 2),
  },
  n: {
    packed: (it) => packed(new Float64Array(64), it === 5 ? 5.5 : (it as never)),
    unpacked: (it) => unpacked(new Float64Array(64), it === 5 ? -5 : (it as never)),
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

const layers = () => ({ W, groupSize: 1, fit: {} });
const CALLS_OF_PROBLEMS: Readonly<Record<string, (it: LayerProblem) => unknown>> = {
  pruneLayer: (it) => pruneLayer(kernels, it, { keep: 2 }),
  eliminate: (it) => eliminate(kernels, it, { keep: 2 }),
  refit: (it) => refit(kernels, it, [0]),
  pruneLayers: (it) => pruneLayers(kernels, [it], { keep: 2 }),
};

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
    'solveLayers: "layers[0]" has no field "bais"; is "bias" meant?',
    (it) => session.solveLayers([it], recipe, 2),
    { ...layers(), bais: 1 },
  ],
  [
    'solveLayers: "layers[0]" has no field "outputs"; expected W, fit, heldOut, damping, bias, groupSize, free, gone, block',
    (it) => solveLayers(kernels, [it], recipe, 2),
    { ...layers(), outputs: 1 },
  ],
  [
    'layerProblem: "statistics" has no field "targets"; is "target" meant?',
    (it) => layerProblem(kernels, { ...fit, ...(it as object) }, W, { groupSize: 1 }),
    { targets: 1 },
  ],
  ...(['pruneLayer', 'eliminate', 'refit', 'pruneLayers'] as const).map(
    (name) =>
      [
        `${name}: "problem" has no field "mean"; is "means" meant?`,
        (it: object) => CALLS_OF_PROBLEMS[name]({ ...problem, ...it }),
        { mean: 1 },
      ] as const,
  ),
  [
    'solveLayers: "steps" expected a whole number from 1 on, got 0',
    (it) => solveLayers(kernels, [layer({})], it, 2),
    { ...recipe, steps: 0 },
  ],
  [
    'solveLayers: "steps" is for methods that re-solve weights, which magnitude does not',
    (it) => session.solveLayers([layer({})], it, 2),
    { ...recipe, method: 'magnitude', steps: 7 },
  ],
  [
    'solveLayers: "block" expected a whole number from 16 on, got 8',
    (it) => solveLayers(kernels, [it], recipe, 2),
    { ...layers(), block: 8 },
  ],
  [
    'solveLayers: "damping" expected a number from 0 on, got -1',
    (it) => solveLayers(kernels, [it], recipe, 2),
    { ...layers(), damping: -1 },
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

  test.each([[[4]], [[-1]], [[0.5]], [[1, 1]], [[2, 0]]])('a refit on the groups %j', (kept) => {
    expect(() => refit(kernels, problem, kept)).toThrow(
      `"kept" expected groups from 0 to 3, ascending, got [${kept.join(', ')}]`,
    );
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

  test('targets that would not be summed', async () => {
    const of = 'statistics: "Y" is a target, and they were opened without one (`hasTarget`)';
    await expect(sums().addRows(X, Y)).rejects.toThrow(of);
    expect(() => new StatisticsAccumulator(kernels, p, m, false).addRows(X, Y)).toThrow(of);
    const images = [{ channels: p, data: X }];
    await expect(sums().addImages(geometry as never, images, images)).rejects.toThrow('"y" is a target');
  });

  test('sums that are not there yet, or are others', () => {
    const options = { groupSize: 1 };
    const expected =
      'layerProblem: "statistics" expected sums (what `finish` gives), got an object of SessionStatistics';
    expect(() => layerProblem(kernels, sums() as never, W, options)).toThrow(expected);
    expect(() => layerProblem(kernels, { p, m, n, tiles: [] } as never, W, options)).toThrow(
      'for `solveTiled`',
    );
    expect(() => layerProblem(kernels, Promise.resolve(fit) as never, W, options)).toThrow(
      'got a promise; await it',
    );
  });

  test.each<[string, unknown, string]>([
    ['of another size', new Float32Array(p * m - 1), '"W" expected 4×2 values (inputs × outputs), got 7'],
    ['that are missing', undefined, '"W" expected 4×2 values (inputs × outputs), got undefined'],
    ['of whole numbers that are none of JavaScript', new BigInt64Array(p * m), '"W" expected a Float32Array'],
    ['that were transferred', transferred(W), `"W" ${GONE}`],
    ['that are no number somewhere', W.with(3, Number.NaN), 'layerProblem: the dense weights hold NaN'],
  ])('weights %s', async (_, weights, message) => {
    const changed = layer({ W: weights }) as never;
    expect(() => solveLayers(kernels, [changed], recipe, 2)).toThrow(message);
    await expect(session.solveLayers([changed], recipe, 2)).rejects.toThrow(message);
  });

  test.each<[string, unknown, string]>([
    ['in a list', [...Y], 'expected a Float32Array, got ['],
    ['of whole numbers that are none of JavaScript', new BigInt64Array(n * m), 'expected a Float32Array'],
    ['that were transferred', transferred(Y), GONE],
  ])('rows %s', async (_, rows, message) => {
    const accumulator = new StatisticsAccumulator(kernels, p, m, true);
    const [x, y] = [`statistics: "X" ${message}`, `statistics: "Y" ${message}`];
    expect(() => accumulator.addRows(rows as never, Y)).toThrow(x);
    expect(() => accumulator.addRows(X, rows as never)).toThrow(y);
    await expect(sums().addRows(rows as never)).rejects.toThrow(x);
    await expect(session.statistics(p, m, true).addRows(X, rows as never)).rejects.toThrow(y);
  });

  test.each(['H', 'G', 'W0'] as const)('a problem whose %s is no number somewhere', (name) => {
    const changed = { ...problem, [name]: problem[name].with(3, Number.NaN) };
    const message = `"${name}" expected finite values, got NaN at 3`;
    expect(() => pruneLayer(kernels, changed, { keep: 2 })).toThrow(message);
    expect(() => eliminate(kernels, changed, { keep: 2 })).toThrow(message);
    expect(() => refit(kernels, changed, [0])).toThrow(message);
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'a problem with %d at any place, of which the first is named',
    (bad) => {
      for (const name of ['H', 'G', 'W0'] as const) {
        const { length } = problem[name];
        for (let at = 0; at < length; at++) {
          const changed = { ...problem, [name]: problem[name].with(length - 1, Number.NaN).with(at, bad) };
          expect(() => refit(kernels, changed, [0])).toThrow(
            `problem: "${name}" expected finite values, got ${bad} at ${at}`,
          );
        }
      }
    },
  );

  test('sums in tiles that were handed over before, on one thread too', async () => {
    const tiled = session.tiledStatistics(p, m, false);
    await tiled.addRows(X);
    const own = { W, groupSize: 1, fit: await tiled.finish() };
    await session.solveTiled(own, recipe, 2);
    await expect(session.solveTiled(own, recipe, 2)).rejects.toThrow('the sums have been handed over before');
  });

  test.each([5, {}, [7]])('protected groups: %j', (protect) => {
    expect(() => pruneLayer(kernels, problem, { keep: 2, protect: protect as never })).toThrow(
      '"protect" expected',
    );
  });

  test('more groups protected than kept, of which each counts once', () => {
    expect(eliminate(kernels, problem, { keep: 1, protect: [2, 2] }).kept).toEqual([2]);
    expect(() => eliminate(kernels, problem, { keep: 1, protect: [2, 3] })).toThrow(
      '2 protected groups do not fit into 1',
    );
  });
});
