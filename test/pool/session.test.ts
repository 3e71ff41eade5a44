import { afterEach, describe, expect, test } from 'vitest';
import type { Session } from '../../src/layer.ts';
import { randomArray } from '../support/random.ts';
import { built, definite, hash, layerOf, workers } from './built.ts';

const { openSession } = built;
const sessions: Session[] = [];

async function open(options: Parameters<typeof openSession>[0]): Promise<Session> {
  const session = await openSession(options);
  sessions.push(session);
  return session;
}

afterEach(async () => {
  await Promise.all(sessions.splice(0).map((session) => session.close()));
});

/** Every array in plain data. */
function arraysOf(value: unknown): ArrayBufferView[] {
  if (ArrayBuffer.isView(value)) return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(arraysOf) : [];
}

test('results lie on memory of their own, whatever comes after them', async () => {
  const session = await open({ threads: 2 });
  expect(session.shared).toBe(true);
  const [p, m] = [300, 20];
  const statistics = session.statistics(p, m, true);
  statistics.addRows(Float32Array.from(randomArray(400 * p, 1)), Float32Array.from(randomArray(400 * m, 2)));
  const sums = await statistics.finish();
  const layer = { fit: sums, W: randomArray(p * m, 3), bias: randomArray(m, 4), groupSize: 1 };
  const results = [
    sums,
    await session.solveLayers([layer], { blend: 0.5 }, 9),
    await session.pruneLayer(await layerOf(30, 5, 1, 7), { keep: 9 }),
    await session.inverse(definite(50, 1), 50),
    await session.multiply(definite(50, 3), randomArray(50 * 4, 4), 50),
  ];
  const arrays = results.flatMap(arraysOf);
  expect(arrays.length).toBeGreaterThan(10);
  for (const { buffer } of arrays) expect(buffer).toBeInstanceOf(ArrayBuffer);
});

/** Convolution of 3 × 3 on 7 × 6 without padding. */
const GEOMETRY = {
  ...{ height: 7, width: 6, outHeight: 5, outWidth: 4 },
  ...({ kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0] } as const),
};

const PADDED = { ...GEOMETRY, outHeight: 7, outWidth: 6, pads: [1, 1, 1, 1] } as const;

/** Everything that a session computes, with bits as hashes. */
async function everything(session: Session) {
  const [p, m, n] = [390, 17, 1100];
  const X = Float32Array.from(randomArray(n * p, 1));
  const Y = Float32Array.from(randomArray(n * m, 2));
  const rows = session.statistics(p, m, true);
  rows.addRows(X.subarray(0, 300 * p), Y.subarray(0, 300 * m));
  // Opened later and closed earlier or later: any order will do.
  const images = session.statistics(45 * 9, 3, true);
  await rows.addRows(X.subarray(300 * p), Y.subarray(300 * m));
  const statistics = await rows.finish();
  const imagesOf = (count: number, channels: number, pixels: number, seed: number) =>
    Array.from({ length: count }, (_, i) => {
      return { channels, data: Float32Array.from(randomArray(channels * pixels, seed + i)) };
    });
  images.addImages(GEOMETRY, imagesOf(1, 45, 42, 9), imagesOf(1, 3, 20, 8));
  images.addImages(GEOMETRY, imagesOf(600, 45, 42, 10), imagesOf(600, 3, 20, 700)); // more than one message holds
  const unfolded = await images.finish();
  const correlations = session.statistics(45 * 9, 2, true, PADDED);
  correlations.addImages(PADDED, imagesOf(30, 45, 42, 100), imagesOf(30, 2, 42, 200));
  const correlated = await correlations.finish();
  const W0 = randomArray(p * m, 3);
  const layer = { groupSize: 3, bias: randomArray(m, 4), W: W0, fit: statistics, heldOut: statistics };
  const solved = await session.solveLayers([layer], { blend: 0.5, wholeCurve: true }, 60);
  const shared = await session.solveLayers([layer, { ...layer, W: randomArray(p * m, 9) }], { blend: 1 }, 60);
  const corrected = await session.solveLayers([layer], { blend: 1 });
  const problem = await layerOf(390, m, 3, 11);
  const large = await layerOf(640, 96, 1, 7);
  const [whole, half] = await Promise.all([
    session.pruneLayer(large, { keep: 300, search: 'greedy' }),
    session.pruneLayer(problem, { keep: 65 }),
  ]);
  const H = definite(1000, 5);
  return {
    kept: [solved.kept, shared.kept, corrected.kept.length, whole.kept, half.kept],
    damping: [...solved.layers, ...shared.layers, ...corrected.layers].map(({ damping }) => damping),
    n: [statistics.n, unfolded.n, correlated.n],
    bits: [
      ...[statistics.XtX, statistics.sumX, statistics.target!.XtY, statistics.target!.sumY],
      ...[unfolded.XtX, unfolded.sumX, unfolded.target!.XtY, unfolded.target!.sumY],
      ...[correlated.XtX, correlated.sumX, correlated.target!.XtY, correlated.target!.sumY],
      ...[...solved.layers, ...shared.layers, ...corrected.layers].flatMap(({ W, bias }) => [W, bias!]),
      ...[solved.curve!, shared.curve!, whole.W, half.W],
      await session.inverse(H, 1000),
      await session.multiply(H, randomArray(40_000, 6), 1000),
    ].map(hash),
  };
}

describe.each(['baseline', 'relaxed'] as const)('%s', (simd) => {
  test('the same kept sets and the same bits for 1, 2 and 4 threads, with and without shared memory', async () => {
    const one = await everything(await open({ threads: 1, simd }));
    for (const threads of [2, 4]) {
      const session = await open({ threads, simd });
      expect(session).toMatchObject({ simd, threads, shared: true, reason: undefined });
      expect(await everything(session)).toEqual(one);
    }
    Object.assign(globalThis, { crossOriginIsolated: false });
    try {
      const session = await open({ threads: 2, simd });
      expect(session).toMatchObject({ threads: 2, shared: false });
      expect(await everything(session)).toEqual(one);
    } finally {
      Reflect.deleteProperty(globalThis, 'crossOriginIsolated');
    }
  });
});

test('renewed workers take the place of those that have memory', async () => {
  const session = await open({ threads: 2 });
  const before = workers.slice(-2);
  const A = definite(300, 3);
  const inverse = await session.inverse(A, 300);
  await session.renew();
  const now = workers.slice(-2);
  expect(now).not.toContain(before[0]);
  expect(now).not.toContain(before[1]);
  expect(session.threads).toBe(2);
  expect(await session.inverse(A, 300)).toEqual(inverse);
});

test('results are right, and what was given stays as it was', async () => {
  const session = await open({ threads: 2 });
  const n = 700;
  const A = definite(n, 9);
  const before = A.slice();
  const inverse = await session.inverse(A, n);
  const B = randomArray(n * 3, 10);
  const columns = B.slice();
  const AB = await session.multiply(A, B, n);
  expect(A).toEqual(before);
  expect(B).toEqual(columns);
  let residual = 0;
  let difference = 0;
  for (let i = 0; i < n; i += 7) {
    for (let j = 0; j < n; j++) {
      let product = 0;
      for (let k = 0; k < n; k++) product += A[i * n + k] * inverse[k * n + j];
      residual = Math.max(residual, Math.abs(product - (i === j ? 1 : 0)));
    }
    for (let j = 0; j < 3; j++) {
      let product = 0;
      for (let k = 0; k < n; k++) product += A[i * n + k] * B[k * 3 + j];
      difference = Math.max(difference, Math.abs(product - AB[i * 3 + j]));
    }
  }
  expect(residual).toBeLessThan(n * 2 ** -50);
  expect(difference).toBeLessThan(n * n * 2 ** -50);
});

test('one thread starts no worker', async () => {
  const before = workers.length;
  const session = await open({ threads: 1 });
  await session.inverse(definite(10, 1), 10);
  expect(session.threads).toBe(1);
  expect(workers.length).toBe(before);
});

test('by default there are as many threads as cores, up to 8', async () => {
  const cores = process.getBuiltinModule('node:os').availableParallelism();
  expect((await open({})).threads).toBe(Math.min(8, cores));
});

describe.each([1, 2])('%i threads: errors keep their class, code and fields', (threads) => {
  test('a matrix that is not positive definite', async () => {
    const session = await open({ threads });
    const A = definite(600, 1);
    A[550 * 601] = -1;
    const error = await session.inverse(A, 600).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(built.NotPositiveDefiniteError);
    expect(error).toMatchObject({ code: 'ERR_OSSCAR_NOT_POSITIVE_DEFINITE', pivot: 551 });
    expect(error.value).toBeLessThan(0);
    expect(await session.inverse(definite(3, 1), 3)).toHaveLength(9);
  });

  test('impossible options and shapes', async () => {
    const session = await open({ threads });
    const problem = await layerOf(8, 4, 2, 1);
    await expect(session.pruneLayer(problem, { keep: 5 })).rejects.toThrow(built.InputError);
    const rows = session.statistics(2, 1, false).addRows([1, 2] as unknown as Float32Array);
    await expect(rows).rejects.toThrow('statistics: "X" expected a Float32Array, got');
    await expect(session.inverse(new Float64Array(8), 3)).rejects.toThrow(
      new built.ShapeError('inverse: "A" expected 3×3 = 9 values, got 8'),
    );
    await expect(session.multiply(new Float64Array(8), new Float64Array(6), 3)).rejects.toThrow(
      new built.ShapeError('multiply: "A" expected 3×3 = 9 values, got 8'),
    );
    await expect(session.multiply(new Float64Array(9), new Float64Array(7), 3)).rejects.toThrow(
      new built.ShapeError('multiply: "B" expected 3 rows, got 7 values'),
    );
    const statistics = session.statistics(4, 2, true);
    await expect(statistics.addRows(new Float32Array(8))).rejects.toThrow(built.ShapeError);
    await expect(statistics.finish()).rejects.toThrow(built.ShapeError);
    await statistics.dispose();
    const images = session.statistics(4, 2, true);
    const image = { channels: 1, data: new Float32Array(9) };
    await expect(images.addImages(GEOMETRY, [image], [])).rejects.toThrow(
      new built.ShapeError('statistics: "y" expected 1 images, got 0'),
    );
    await images.dispose();
    expect(await session.inverse(Float64Array.of(4), 1)).toEqual(Float64Array.of(0.25));
  });

  test('too little memory', async () => {
    const session = await open({ threads, maximumBytes: 2 ** 20 });
    const error = await session.inverse(definite(400, 1), 400).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(built.OutOfMemoryError);
    expect(error.bytes).toBeGreaterThan(8 * 400 * 400);
    const statistics = session.statistics(400, 0, false);
    await expect(statistics.addRows(new Float32Array(400))).rejects.toThrow(built.OutOfMemoryError);
    await statistics.dispose();
  });

  test('finished statistics take nothing more', async () => {
    const session = await open({ threads });
    const statistics = session.statistics(3, 1, false);
    await statistics.addRows(Float32Array.of(1, 2, 3));
    expect((await statistics.finish()).n).toBe(1);
    await expect(statistics.addRows(Float32Array.of(1, 2, 3))).rejects.toThrow(built.InputError);
  });

  test('a closed session', async () => {
    const session = await open({ threads });
    await session.close();
    await expect(session.inverse(definite(3, 1), 3)).rejects.toThrow('session: closed');
    expect(() => session.statistics(4, 0, false)).toThrow('session: closed');
  });
});

test('closing rejects what is still running', async () => {
  const session = await open({ threads: 2 });
  const running = session.inverse(definite(1500, 1), 1500).catch((error) => error);
  await session.close();
  expect(await running).toEqual(new built.InputError('session: closed'));
});

test.each([
  [{ threads: 0 }, '"threads" expected a whole number from 1 to 128, got 0'],
  [{ threads: 1.5 }, '"threads" expected a whole number from 1 to 128, got 1.5'],
  [{ threads: 1e9 }, '"threads" expected a whole number from 1 to 128, got 1000000000'],
  [{ maximumBytes: 0 }, '"maximumBytes" expected a number from 1 on, got 0'],
  [{ simd: 'fast' as 'auto' }, '"simd" expected one of auto, baseline, relaxed, got "fast"'],
])('%j is refused', async (options, message) => {
  await expect(openSession(options)).rejects.toThrow(message);
});
