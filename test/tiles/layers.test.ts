import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import type * as Entry from '../../src/layer.ts';
import { solveTiled } from '../../src/tiles/layers.ts';
import { expectFits, positionBytes, tiledMemory, tiledPlan, tileElements } from '../../src/tiles/memory.ts';
import { sharesOf, TiledAccumulator } from '../../src/tiles/statistics.ts';
import { tileStarts } from '../../src/tiles/storage.ts';
import { activations, normals } from '../support/problems.ts';
import { matricesOf } from '../support/tiles.ts';

const { openSession }: typeof Entry = await import(new URL('../../dist/layer.js', import.meta.url).href);

const [n, p, m, edge] = [900, 300, 80, 64];
const X = activations(n, p, 1);
const Y = normals(n * m, 2);
const W0 = normals(p * m, 3);
const bias = normals(m, 4);
const job = { p, m, groupSize: 1, keep: 150, edge };
const recipe = { damping: 0.05, blend: 0.5, search: 'greedy' } as const;

const hashOf = (values: Float64Array) =>
  Buffer.from(new Uint8Array(values.slice().buffer)).toString('base64');

async function sumsIn(session: Entry.Session) {
  const statistics = session.tiledStatistics(p, m, true, edge);
  await statistics.addRows(X.subarray(0, 400 * p), Y.subarray(0, 400 * m));
  await statistics.addRows(X.subarray(400 * p), Y.subarray(400 * m));
  return statistics.finish();
}

async function solvedIn(session: Entry.Session, keep: number | undefined, memory?: number) {
  const layer = { W: W0, bias, groupSize: 1, fit: await sumsIn(session) };
  const { kept, layers, relativeError } = await session.solveTiled(layer, recipe, keep, { memory });
  const [{ W, bias: refitted }] = layers;
  return { kept, W: hashOf(W), bias: hashOf(refitted!), relativeError };
}

describe.each([1, 2])('%i threads', (threads) => {
  let session: Entry.Session;
  beforeAll(async () => {
    session = await openSession({ threads, simd: 'baseline' });
  });
  afterAll(() => session.close());

  test('sums in tiles are those of one memory', async () => {
    const statistics = session.statistics(p, m, true);
    await statistics.addRows(X, Y);
    const whole = await statistics.finish();
    const tiled = await sumsIn(session);
    const { XtY } = matricesOf(tiled);
    expect(tiled.sumX).toEqual(whole.sumX);
    expect(tiled.target!.sumY).toEqual(whole.target!.sumY);
    for (let i = 0; i < p; i += 37) {
      expect(XtY!.row(i)).toEqual(whole.target!.XtY.subarray(i * m, (i + 1) * m));
    }
  });

  test.each([150, undefined])('a layer to %s groups is near what one memory gives', async (keep) => {
    const statistics = session.statistics(p, m, true);
    await statistics.addRows(X, Y);
    const gone = keep === undefined ? Int32Array.of(7, 250) : undefined;
    const layer = { W: W0, bias, groupSize: 1, gone, fit: await statistics.finish() };
    const whole = await session.solveLayers([layer], recipe, keep);
    const tiled = await session.solveTiled({ ...layer, fit: await sumsIn(session) }, recipe, keep);
    expect(tiled.kept).toEqual(whole.kept);
    expect(tiled.relativeError ?? 0).toBeCloseTo(whole.relativeError ?? 0, 7);
    tiled.layers[0].W.forEach((value, at) => {
      expect(Math.abs(value - whole.layers[0].W[at])).toBeLessThan(1e-8);
    });
    tiled.layers[0].bias!.forEach((value, at) => {
      expect(Math.abs(value - whole.layers[0].bias![at])).toBeLessThan(1e-8);
    });
  });

  test('has the same bits with H and G in a file, and on any threads', async () => {
    const { total } = tiledPlan(job, 2 ** 32, Number.POSITIVE_INFINITY).memory;
    const found = await solvedIn(session, 150);
    expect(tiledPlan(job, 2 ** 32, total - 1).spilled).toBeGreaterThan(8 * ((p * p) / 2 + p * m));
    expect(await solvedIn(session, 150, total - 1)).toEqual(found);
    const other = await openSession({ threads: 3 - threads, simd: 'baseline' });
    expect(await solvedIn(other, 150)).toEqual(found);
    await other.close();
  });

  test('a support that is given is refitted', async () => {
    const support = Array.from({ length: 150 }, (_, i) => 2 * i);
    const solve = async (given: readonly number[] | undefined) => {
      const layer = { W: W0, bias, groupSize: 1, fit: await sumsIn(session) };
      return session.solveTiled(layer, { ...recipe, support: given }, 150);
    };
    const [free, bound] = [await solve(undefined), await solve(support)];
    expect(bound.kept).toEqual(support);
    expect(bound.relativeError).toBeGreaterThan(free.relativeError!);
    expect(bound.layers[0].W.subarray(m, 2 * m)).toEqual(new Float64Array(m));
  });

  test('is refused with the numbers where it does not fit', async () => {
    await expect(solvedIn(session, 150, 2 ** 20)).rejects.toThrow(
      /tiles: 300 inputs and 80 outputs take 0\.\d\d GiB with their sums in a file; "memory" is 0\.00 GiB$/,
    );
  });

  test('baselines and layers with rows that stay are refused', async () => {
    const layer = { W: W0, groupSize: 1, fit: await sumsIn(session) };
    await expect(session.solveTiled(layer, { method: 'ziplm' }, 150)).rejects.toThrow('osscar alone');
    const some = { ...layer, free: Int32Array.of(0, 1), fit: await sumsIn(session) };
    await expect(session.solveTiled(some, recipe, 1)).rejects.toThrow(
      'a layer of 300 inputs in tiles has to be free as a whole',
    );
    const another = { ...layer, fit: await sumsIn(session) };
    await expect(session.solveTiled(another, { steps: 7 }, 150)).rejects.toThrow(
      'a layer of 300 inputs in tiles cannot be put on steps; leave out "steps"',
    );
    // A refit of all inputs is the same for whoever refits.
    const { layers } = await session.solveTiled(
      { ...layer, fit: await sumsIn(session) },
      { method: 'magnitude-refit' },
    );
    expect(layers[0].W).toHaveLength(p * m);
  });
});

test('a layer is its own target where there is no other, whatever the blend', async () => {
  const session = await openSession({ threads: 1, simd: 'baseline' });
  const solve = async (blend: number) => {
    const statistics = session.tiledStatistics(p, m, false, edge);
    await statistics.addRows(X);
    return session.solveTiled(
      { W: W0, groupSize: 1, fit: await statistics.finish() },
      { ...recipe, blend },
      150,
    );
  };
  expect(await solve(1)).toEqual(await solve(0));
  await session.close();
});

test('what goes through a file is no more than the plan says, and the file is closed', async () => {
  const kernels = await openKernels({ simd: 'baseline' });
  const { total } = tiledPlan(job, kernels.maximumBytes, Number.POSITIVE_INFINITY).memory;
  const file = new Uint8Array(2 ** 21);
  let [bytes, closed] = [0, 0];
  const scratch = async () => ({
    read(into: Uint8Array, { at }: { readonly at: number }) {
      into.set(file.subarray(at, at + into.length));
      bytes += into.length;
      return into.length;
    },
    write(from: Uint8Array, { at }: { readonly at: number }) {
      file.set(from, at);
      bytes += from.length;
      return part * from.length;
    },
    close: () => closed++,
  });
  let part = 1;
  const solve = async (weights: Float32Array) => {
    const sums = new TiledAccumulator(kernels, p, m, true, { edge });
    sums.addRows(X, Y);
    const layer = { W: weights, groupSize: 1, fit: sums.finish() };
    return solveTiled(kernels, layer, recipe, 150, { memory: total - 1, scratch });
  };
  await solve(W0);
  const { traffic } = tiledPlan(job, kernels.maximumBytes, total - 1);
  expect([bytes <= traffic, bytes > traffic / 2, closed]).toEqual([true, true, 1]);
  await expect(solve(W0.map(() => Number.NaN))).rejects.toThrow('NaN');
  part = 0.5;
  await expect(solve(W0)).rejects.toThrow('tiles: the scratch file took 16384 of 32768 bytes');
  expect(closed).toBe(3);
});

test('sums that are parts of a larger array, or on memory that threads share, stay there', async () => {
  const session = await openSession({ threads: 1, simd: 'baseline' });
  const { sumX, tiles, ...sums } = await sumsIn(session);
  const all = Float64Array.of(...sumX, 1, 2, 3);
  const shared = new Float64Array(new SharedArrayBuffer(tiles[1].byteLength));
  shared.set(tiles[1]);
  const fit = { ...sums, tiles: tiles.with(1, shared), sumX: all.subarray(0, p) };
  await session.solveTiled({ W: W0, groupSize: 1, fit }, recipe, 150);
  expect([...all]).toEqual([...fit.sumX, 1, 2, 3]);
  expect([tiles[0].length, shared.length]).toEqual([0, edge ** 2]);
  await session.close();
});

test('sums that were handed over are refused', async () => {
  const session = await openSession({ threads: 2, simd: 'baseline' });
  const layer = { W: W0, groupSize: 1, fit: await sumsIn(session) };
  await session.solveTiled(layer, recipe, 150);
  await expect(session.solveTiled(layer, recipe, 150)).rejects.toThrow(
    'solveTiled: the sums have been handed over before',
  );
  await session.close();
});

test('a convolution gives the sums of one memory', async () => {
  const session = await openSession({ threads: 1, simd: 'baseline' });
  const geometry = {
    ...{ kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1] },
    ...{ height: 30, width: 25, outHeight: 30, outWidth: 25 },
  } as const;
  const image = { channels: 10, data: Float32Array.from(normals(10 * 750, 5)) };
  const target = { channels: 4, data: Float32Array.from(normals(4 * 750, 6)) };
  const [whole, tiled] = [session.statistics(90, 4, true), session.tiledStatistics(90, 4, true, 32)];
  for (const statistics of [whole, tiled]) await statistics.addImages(geometry as never, [image], [target]);
  const [expected, found] = [await whole.finish(), await tiled.finish()];
  expect(found.n).toBe(750);
  expect(found.sumX).toEqual(expected.sumX);
  const { XtY } = matricesOf(found);
  for (let i = 0; i < 90; i++) expect(XtY!.row(i)).toEqual(expected.target!.XtY.subarray(4 * i, 4 * i + 4));
  await session.close();
});

test('rows of tiles are shared out whole, with about as much work for each', () => {
  const shares = sharesOf(28_672, 7_168, 2048, 3);
  expect(shares.flat().sort((a, b) => a - b)).toEqual([...Array(14).keys()]);
  const work = shares.map((rows) => rows.reduce((sum, i) => sum + 2048 * (i + 1) + 2 * 7_168, 0));
  expect(Math.max(...work)).toBeLessThan(1.15 * Math.min(...work));
});

test('fc2 of OPT-30B fits 15 GB, and 11 with its sums in a file', () => {
  const layer = { p: 28_672, m: 7_168, groupSize: 1, keep: 14_336 };
  expect(tiledPlan(layer, 2 ** 32, 15e9)).toMatchObject({ spilled: 0 });
  const spilled = tiledPlan(layer, 2 ** 32, 11e9);
  expect(spilled.spilled).toBeGreaterThan(8 * ((28_672 * 28_673) / 2 + 28_672 * 7_168));
  expect(() => expectFits(layer, spilled, 11e9)).not.toThrow();
  expect(() => expectFits(layer, tiledPlan(layer, 2 ** 32, 9e9), 9e9)).toThrow('28672 inputs');
});

test('the inverse and the factor lie in wasm memory where there is room for them besides what works on them', () => {
  const [roomy, inFile] = [tiledMemory(job, 2 ** 32), tiledMemory(job, 2 ** 32, 4, true)];
  expect(inFile.search - roomy.search).toBe(4 * tileElements(p, edge));
  expect(inFile.refit - roomy.refit).toBe(8 * tileElements(150, edge));
  const large = { p: 8192, m: 64, groupSize: 1 };
  for (const layer of [job, { ...job, m: 8 * p }, { ...large, keep: 8000 }, large]) {
    const least = tiledMemory(layer, 0, 4, true).wasm;
    for (let bytes = least; bytes < 2 ** 32; bytes = Math.ceil(1.003 * bytes))
      expect(tiledMemory(layer, bytes).wasm).toBeLessThanOrEqual(bytes);
  }
});

test('plans count the elements that there are, of any number of inputs', () => {
  const total = (starts: readonly number[], of: (first: number, rows: number) => number) =>
    starts.slice(1).reduce((sum, end, i) => sum + of(starts[i], end - starts[i]), 0);
  for (const [n, edge] of [
    [1, 32],
    [34, 32],
    [35, 32],
    [67, 32],
    [4098, 2048],
    [28_672, 2048],
  ]) {
    expect(tileElements(n, edge)).toBe(total(tileStarts(n, edge), (first, rows) => rows * (first + rows)));
  }
  for (const [p, groupSize, keep, edge] of [
    [300, 1, 150, 64],
    [300, 3, 10, 64],
    [203, 1, 203, 32],
    [576, 6, 0, 128],
  ]) {
    const removed = p - keep * groupSize;
    const starts = tileStarts(p, Math.floor(edge / groupSize) * groupSize);
    const elements = total(starts, (first, rows) => rows * (9 + Math.min(removed, p - first)));
    const bytes = positionBytes({ p, m: 9, groupSize, keep, edge }, 4);
    expect(bytes).toBe(4 * elements + 128 * (starts.length - 1)); // all in whole cache lines
  }
  expect(tileElements(2 ** 40, 2048)).toBeGreaterThan(2 ** 79);
});
