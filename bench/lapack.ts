// Factorisations, solves and low-rank updates of an n × n matrix against the GEMM of the same run, plain loops and
// ml-matrix:
//   npm run bench -- lapack [--quick] [--json]

import { CholeskyDecomposition, inverse } from 'ml-matrix';
import { type ElementType, type Kernels, type Matrix, openKernels } from '../src/kernel/index.ts';
import { randomArray } from '../test/support/random.ts';
import { type Bench, bench, pair, percent, rates, round, SIMDS, TYPES } from './support/bench.ts';
import { check, lower, unitRoundoff } from './support/check.ts';
import * as naive from './support/naive.ts';
import { mlMatrix } from './support/peers.ts';
import { crosstab, list } from './support/table.ts';
import type { Contestant } from './support/time.ts';

const DEPTHS = [1, 4, 8, 32, 128];
/** The order of the printed lines. */
const OPERATIONS = ['gemm', 'potrf', 'SPD inverse', 'trsm', 'trsm right', 'syrk', 'symmetrize'];

await bench('lapack', async (b) => {
  const kernels = await Promise.all(SIMDS.map((simd) => openKernels({ simd })));
  for (const instance of kernels) for (const type of TYPES) checkAll(instance, type);
  b.emit(await factorisations(b, kernels));
  b.emit(await updates(b, kernels));
  b.emit(await peers(b, kernels));
});

/** What is timed, with its matrices, and the flops of each over n³. */
function operations(kernels: Kernels, type: ElementType, n: number) {
  const [A, B, C, H, L, X] = Array.from({ length: 6 }, () => kernels.matrix(n, n, type));
  kernels.write(A, randomArray(n * n, 1));
  kernels.write(B, randomArray(n * n, 2));
  spd(kernels, A, H);
  const copy = (from: Matrix, to: Matrix) => kernels.view(to).set(kernels.view(from));
  copy(H, L);
  kernels.potrf(L);
  const factor = kernels.matrix(n, n, type);
  copy(L, factor);
  const contestants = {
    gemm: { run: () => kernels.gemm(false, false, 1, A, B, 0, C) },
    potrf: { prepare: () => copy(H, L), run: () => kernels.potrf(L) },
    'SPD inverse': {
      prepare: () => copy(H, L),
      run() {
        kernels.potrf(L);
        kernels.potri(L);
        kernels.symmetrize(L);
      },
    },
    trsm: { prepare: () => copy(B, X), run: () => kernels.trsm('left', false, 1, factor, X) },
    'trsm right': { prepare: () => copy(B, X), run: () => kernels.trsm('right', true, 1, factor, X) },
  } satisfies Record<string, Contestant>;
  const flops = { gemm: 2, potrf: 1 / 3, 'SPD inverse': 1, trsm: 1, 'trsm right': 1 };
  return { contestants, flops, matrices: { A, B, C, H, L, X, factor } };
}

/** H ← AᵀA + n·I, both triangles. */
function spd(kernels: Kernels, A: Matrix, H: Matrix): void {
  kernels.syrk(true, 1, A, 0, H);
  const view = kernels.view(H);
  for (let i = 0; i < H.rows; i++) view[i * (H.cols + 1)] += H.rows;
  kernels.symmetrize(H);
}

/** Everything at one small size past the tiles; the bounds take |A||B| ≤ n of entries in [−1, 1). */
function checkAll(kernels: Kernels, type: ElementType): void {
  const n = 193;
  const bound = 4 * n * n * unitRoundoff(type);
  const mark = kernels.mark();
  const { contestants, matrices } = operations(kernels, type, n);
  const H = Float64Array.from(kernels.read(matrices.H));
  const [L, X, T] = [H.slice(), randomArray(n * n, 2), naive.inverse(n, H)];
  naive.cholesky(n, L);
  naive.solveLower(n, n, L, X);
  const read = (m: Matrix) => Float64Array.from(kernels.read(m));
  const run = ({ prepare, run }: Contestant) => {
    prepare?.();
    run();
  };
  check('potrf', lower(n, read(matrices.factor)), lower(n, L), bound);
  run(contestants.trsm);
  check('trsm', read(matrices.X), X, bound);
  run(contestants['trsm right']); // B·L⁻ᵀ: its product with Lᵀ is B again
  const L0 = lower(n, L);
  const Lt = L0.map((_, at) => L0[(at % n) * n + Math.floor(at / n)]);
  check('trsm right', naive.multiply(n, n, n, read(matrices.X), Lt), randomArray(n * n, 2), n * bound);
  run(contestants['SPD inverse']);
  check('SPD inverse', read(matrices.L), T, bound);
  for (const k of DEPTHS) {
    const V = kernels.submatrix(matrices.A, 0, 0, k, n);
    const expected = H.slice();
    naive.addGram(n, k, -1, randomArray(n * n, 1).subarray(0, k * n), expected);
    kernels.write(matrices.C, H);
    kernels.syrk(true, -1, V, 1, matrices.C);
    check(`syrk k = ${k}`, lower(n, read(matrices.C)), lower(n, expected), bound);
  }
  kernels.release(mark);
}

async function factorisations({ quick, time, ofPeak }: Bench, kernels: readonly Kernels[]) {
  const rows = [];
  for (const n of quick ? [96] : [512, 1000, 1024, 2048]) {
    for (const type of TYPES) {
      for (const instance of kernels) {
        const mark = instance.mark();
        const { contestants, flops } = operations(instance, type, n);
        const timings = await time(contestants);
        for (const operation of Object.keys(flops) as (keyof typeof flops)[]) {
          const rate = rates(flops[operation] * n ** 3, timings[operation]);
          const gemm = rates(flops.gemm * n ** 3, timings.gemm);
          rows.push({
            operation,
            n,
            type,
            simd: instance.simd,
            ...rate,
            ...ofPeak(type, rate),
            ofGemm: rate.gflops / gemm.gflops,
            ofGemmMedian: rate.medianGflops / gemm.medianGflops,
          });
        }
        instance.release(mark);
      }
    }
  }
  return {
    name: 'factorisations',
    title: 'GFLOP/s of the fastest run (share of the GEMM rate beside it, fastest run / median)',
    rows,
    grid: crosstab(
      rows.toSorted((a, b) => OPERATIONS.indexOf(a.operation) - OPERATIONS.indexOf(b.operation)),
      ['operation', 'n'],
      ({ type, simd }) => `${type} ${simd}`,
      ({ operation, gflops, ofPeak, medianOfPeak, ofGemm, ofGemmMedian }) =>
        operation === 'gemm'
          ? `${round(gflops)} (${percent(ofPeak)} / ${percent(medianOfPeak)} % of peak)`
          : `${round(gflops)} (${ofGemm.toFixed(2)} / ${ofGemmMedian.toFixed(2)})`,
    ),
  };
}

/** C ← C − AᵀA for few rows: bound by memory, so bytes count as well as flops. */
async function updates({ quick, time }: Bench, kernels: readonly Kernels[]) {
  const n = quick ? 128 : 2048;
  const rows = [];
  for (const type of TYPES) {
    for (const instance of kernels) {
      const mark = instance.mark();
      const C = instance.matrix(n, n, type);
      const A = instance.matrix(Math.max(...DEPTHS), n, type);
      const small = randomArray(A.rows * n, 1).map((x) => x / n); // so that C stays finite
      instance.write(A, small);
      instance.zero(C);
      const bytes = n * n * (type === 'f32' ? 4 : 8); // half of C, read and written
      const runs = [
        ...DEPTHS.map((k) => {
          const a = instance.submatrix(A, 0, 0, k, n);
          return { operation: 'syrk', k, flops: k * n * n, run: () => instance.syrk(true, -1, a, 1, C) };
        }),
        { operation: 'symmetrize', k: 0, flops: 0, run: () => instance.symmetrize(C) },
      ];
      const name = ({ operation, k }: (typeof runs)[number]) => `${operation} ${k}`;
      const timings = await time(Object.fromEntries(runs.map((one) => [name(one), one])), { budgetMs: 200 });
      for (const one of runs) {
        const { operation, k, flops } = one;
        const rate = rates(flops, timings[name(one)]);
        const gigabytes = bytes / rate.minMs / 1e6;
        rows.push({ operation, k, n, type, simd: instance.simd, ...rate, gigabytes });
      }
      instance.release(mark);
    }
  }
  return {
    name: 'updates',
    title: `n = ${n}, depth k, lower triangle: ms, fastest run / median (GFLOP/s, GB/s read and written)`,
    rows,
    grid: crosstab(
      rows.toSorted((a, b) => OPERATIONS.indexOf(a.operation) - OPERATIONS.indexOf(b.operation)),
      ['operation', 'k'],
      ({ type, simd }) => `${type} ${simd}`,
      ({ minMs, medianMs, gflops, gigabytes }) =>
        `${pair(minMs, medianMs)} (${gflops > 0 ? `${round(gflops)}, ` : ''}${round(gigabytes)})`,
    ),
  };
}

/** In f64: ml-matrix knows no other. It has no SPD inverse; its `inverse` is that of any matrix. */
async function peers({ quick, time }: Bench, kernels: readonly Kernels[]) {
  const n = quick ? 96 : 1024;
  const marks = kernels.map((instance) => instance.mark());
  const ours = kernels.map((instance) => ({ instance, ...operations(instance, 'f64', n) }));
  const H = ours[0].instance.read(ours[0].matrices.H as Matrix<'f64'>);
  const T = naive.inverse(n, H);
  const L = H.slice();
  naive.cholesky(n, L);
  const theirs = mlMatrix(n, H);
  const bound = 4 * n * n * unitRoundoff('f64');
  const { lowerTriangularMatrix } = new CholeskyDecomposition(theirs);
  check('ml-matrix Cholesky', lower(n, lowerTriangularMatrix.to1DArray()), lower(n, L), bound);
  check('ml-matrix inverse', inverse(theirs).to1DArray(), T, bound);
  const work = H.slice();
  const rows = [];
  for (const operation of ['potrf', 'SPD inverse'] as const) {
    const contestants: Record<string, Contestant> = {
      ...Object.fromEntries(ours.map(({ instance, contestants }) => [instance.simd, contestants[operation]])),
      'ml-matrix': {
        run: () => (operation === 'potrf' ? new CholeskyDecomposition(theirs) : inverse(theirs)),
      },
      'naive loop': {
        prepare: () => work.set(H),
        run: () => (operation === 'potrf' ? naive.cholesky(n, work) : naive.inverse(n, work)),
      },
    };
    const timings = await time(contestants);
    for (const [by, timing] of Object.entries(timings)) {
      rows.push({
        operation,
        n,
        by,
        ...rates(n ** 3 * ours[0].flops[operation], timing),
        relaxedFaster: timing.min / timings.relaxed.min,
        relaxedFasterMedian: timing.median / timings.relaxed.median,
      });
    }
  }
  kernels.forEach((instance, i) => void instance.release(marks[i]));
  return {
    name: 'peers',
    title: `f64, n = ${n}, by turns; fastest run / median`,
    rows,
    grid: list(rows, {
      operation: (row) => row.operation,
      by: (row) => row.by,
      ms: (row) => pair(row.minMs, row.medianMs),
      'relaxed is faster by': (row) => pair(row.relaxedFaster, row.relaxedFasterMedian),
    }),
  };
}
