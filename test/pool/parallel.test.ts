import { Worker } from 'node:worker_threads';
import { build } from 'esbuild';
import { describe, expect, test } from 'vitest';
import {
  compile,
  type ElementType,
  instance,
  Kernels,
  type Matrix,
  openKernels,
  type Simd,
} from '../../src/kernel/index.ts';
import { scratchBytes, Team } from '../../src/pool/team.ts';
import { packed } from '../../src/solve/index.ts';
import { random, randomArray } from '../support/random.ts';
import { Tableau } from '../support/tableau.ts';
import { definite, until } from './built.ts';

/** Plain kernels, and ones whose parts a crew of four would make, here one after the other in random order. */
async function pair(simd: Simd) {
  const plain = await openKernels({ simd });
  let made = 0;
  let isBusy = false;
  const next = random(5);
  const crew = {
    get helpers() {
      return isBusy ? 0 : 3;
    },
    run: (...[abi, operation, parts, work]: Parameters<Team['run']>) => {
      isBusy = true;
      made += parts;
      const shuffled = Array.from({ length: parts }, (_, part) => ({ part, at: next() }));
      for (const { part } of shuffled.sort((a, b) => a.at - b.at)) abi.part(operation, part, work);
      isBusy = false;
    },
  };
  const abi = await instance(await compile(simd), undefined, crew);
  const shared = new Kernels(abi, simd, plain.maximumBytes);
  return { plain, shared, made: () => made };
}

/** Runs both on the same operands, NaN around whatever is written. */
async function expectSameBits<T extends ElementType>(
  simd: Simd,
  type: T,
  shapes: readonly (readonly [rows: number, cols: number])[],
  run: (kernels: Kernels, operands: Matrix<T>[]) => void,
  fill: (rows: number, cols: number, seed: number) => Float64Array = (rows, cols, seed) =>
    randomArray(rows * cols, seed),
) {
  const { plain, shared, made } = await pair(simd);
  const results = [plain, shared].map((kernels) => {
    const mark = kernels.mark();
    const operands = shapes.map(([rows, cols], i) => {
      const whole = kernels.matrix(rows + 1, cols + 3, type);
      kernels.view(whole).fill(Number.NaN);
      const part = kernels.submatrix(whole, 0, 0, rows, cols);
      kernels.write(part, fill(rows, cols, i + 1));
      return { whole, part };
    });
    run(
      kernels,
      operands.map(({ part }) => part),
    );
    const bits = operands.map(({ whole }) => Buffer.from(kernels.read(whole).buffer));
    kernels.release(mark);
    return bits;
  });
  expect(made()).toBeGreaterThan(3);
  for (const [i, expected] of results[0].entries()) {
    expect(Buffer.compare(results[1][i], expected)).toBe(0);
  }
}

const BINARIES: readonly (readonly [Simd, ElementType])[] = [
  ['baseline', 'f64'],
  ['baseline', 'f32'],
  ['relaxed', 'f64'],
  ['relaxed', 'f32'],
];

describe.each(BINARIES)('%s, %s: shared out, the bits stay those of', (simd, type) => {
  test.each([
    [false, false],
    [true, false],
    [false, true],
    [true, true],
  ])('gemm, transposed %s and %s', async (transA, transB) => {
    const [m, n, k] = [301, 259, 277];
    await expectSameBits(
      simd,
      type,
      [transA ? [k, m] : [m, k], transB ? [n, k] : [k, n], [m, n]],
      (kernels, [A, B, C]) => kernels.gemm(transA, transB, -1.5, A, B, 0.5, C),
    );
  });

  test.each([true, false])('syrk, transposed %s', async (trans) => {
    await expectSameBits(simd, type, [trans ? [130, 403] : [403, 130], [403, 403]], (kernels, [A, C]) =>
      kernels.syrk(trans, -1, A, 1, C),
    );
  });

  test.each([
    ['left', false],
    ['left', true],
    ['right', false],
    ['right', true],
  ] as const)('trsm from the %s, transposed %s', async (side, trans) => {
    const fill = (rows: number, cols: number, seed: number) =>
      rows === cols ? definite(rows, seed) : randomArray(rows * cols, seed);
    // The second triangle is of an order from which on larger inverses are formed.
    for (const [n, w] of [
      [301, 259],
      [1100, 1030],
    ]) {
      await expectSameBits(
        simd,
        type,
        [[n, n], side === 'left' ? [n, w] : [w, n]],
        (kernels, [L, B]) => kernels.trsm(side, trans, 2, L, B),
        fill,
      );
    }
  });

  test.each([513, 700, 1023])('Cholesky and inverse of order %i', async (n) => {
    await expectSameBits(
      simd,
      type,
      [[n, n]],
      (kernels, [A]) => {
        kernels.potrf(A);
        kernels.potri(A);
      },
      definite,
    );
  });

  test('the failing pivot of a Cholesky', async () => {
    const { plain, shared } = await pair(simd);
    const A = definite(600, 1);
    A[500 * 601] = -1;
    const pivots = [plain, shared].map((kernels) => {
      const T = kernels.matrix(600, 600, type);
      kernels.write(T, A);
      try {
        kernels.potrf(T);
      } catch (error) {
        return error;
      }
      return undefined;
    });
    expect(pivots[0]).toMatchObject({ pivot: 501 });
    expect(pivots[1]).toMatchObject({ ...(pivots[0] as object) });
  });
});

test.each([
  ['baseline', 1300, 1],
  ['relaxed', 1300, 1],
  ['baseline', 64, 9],
  ['relaxed', 64, 9],
] as const)(
  '%s: shared out, a search by swaps among %i groups of %i makes the same ones',
  async (simd, groups, groupSize) => {
    const { plain, shared, made } = await pair(simd);
    const [p, m] = [groups * groupSize, 2];
    const [H, G, W0] = [packed(definite(p, 1), p), randomArray(p * m, 2), randomArray(p * m, 3)];
    const kept = Array.from({ length: groups >> 1 }, (_, group) => 2 * group);
    const [expected, found] = [plain, shared].map((kernels) => {
      const tableau = new Tableau(kernels, { p, m, groupSize, groups, H, G, W0 }, kept);
      const before = made();
      const search = tableau.swapWhileBetter(3);
      if (kernels === shared) expect(made()).toBeGreaterThan(before);
      return { ...search, kept: tableau.kept(), costs: tableau.costs(), objective: tableau.objective };
    });
    expect(expected.steps).toBe(3);
    expect(found).toEqual(expected);
  },
);

test('no kernel of a part needs more scratch than a member has', async () => {
  const { abi } = await openKernels({ simd: 'baseline' });
  const scratch = scratchBytes(abi);
  for (const m of [1, 31, 256, 2048, 16384]) {
    for (const n of [1, 31, 256, 2048, 16384]) {
      expect(abi.workBytes(m, n)).toBeLessThanOrEqual(scratch);
    }
  }
});

test('a team makes every part once, helpers take part, and leave when asked', async () => {
  const source = `
    import { workerData } from 'node:worker_threads';
    import { Team } from './src/pool/team.ts';
    const log = new Int32Array(workerData.log);
    const part = (operation, index) => { Atomics.add(log, operation + index, 1); Atomics.add(log, 1000, 1); };
    new Team(workerData.team).assist({ part }, 2, 0);
  `;
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: process.cwd() },
    bundle: true,
    format: 'cjs',
    platform: 'node',
    write: false,
  });
  const team = Team.create(3);
  const log = new Int32Array(new SharedArrayBuffer(4 * 1001));
  const helper = new Worker(outputFiles[0].text, {
    eval: true,
    workerData: { team: team.buffer, log: log.buffer },
  });
  const ended = new Promise((resolve) => helper.once('exit', resolve));
  await until(() => team.helpers === 1);
  const abi = {
    part(operation: number, index: number) {
      expect(team.helpers).toBe(0); // what a part is made of is not shared out again
      Atomics.add(log, operation + index, 1);
    },
  };
  // On a busy machine it may take long until the helper has its turn.
  for (let round = 0; round < 3000 || log[1000] === 0; round++) {
    if (round >= 3000) await new Promise(setImmediate);
    const count = 1 + (round % 40);
    const operation = round % 3 === 0 ? 0 : 999 - count;
    const before = log.slice();
    team.run(abi, operation, count, 0);
    for (let at = operation; at < operation + count; at++) expect(log[at]).toBe(before[at] + 1);
  }
  expect(team.helpers).toBe(1);
  team.dismiss(2);
  expect(await ended).toBe(0);
  expect(team.helpers).toBe(0);
});
