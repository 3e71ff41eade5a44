// XᵀX and XᵀY of tall X, as calibration forms them, against the GEMM that would do the same, and other libraries; and of the
// patches of convolutions, against the same sums of unfolded rows:
//   npm run bench -- gram [--quick] [--json]

import { type Kernels, type Matrix, openKernels } from '../src/kernel/index.ts';
import { ConvolutionAccumulator, StatisticsAccumulator } from '../src/solve/index.ts';
import { randomArray } from '../test/support/random.ts';
import { type Bench, bench, pair, rates, round, SIMDS } from './support/bench.ts';
import { check, lower, unitRoundoff } from './support/check.ts';
import * as naive from './support/naive.ts';
import { checked, productPeers } from './support/peers.ts';
import { crosstab, list } from './support/table.ts';
import type { Contestant } from './support/time.ts';

await bench('gram', async (b) => {
  const kernels = await Promise.all(SIMDS.map((simd) => openKernels({ simd })));
  for (const instance of kernels) checkAll(instance);
  b.emit(await tall(b, kernels));
  b.emit(await peers(b, kernels));
  b.emit(await convolutions(b, kernels));
});

/** X is n × p, Y n × p/4. Flops: half of XᵀX is useful, and counted. */
function operations(kernels: Kernels, n: number, p: number) {
  const m = p >> 2;
  const X = kernels.matrix(n, p, 'f32');
  const X64 = kernels.matrix(n, p, 'f64');
  const Y = kernels.matrix(n, m, 'f32');
  const S = kernels.matrix(p, p, 'f32');
  const H = kernels.matrix(p, p, 'f64');
  const C = kernels.matrix(p, m, 'f64');
  for (const x of [X, X64]) kernels.write(x, randomArray(n * p, 1));
  kernels.write(Y, randomArray(n * m, 2));
  for (const sum of [H, C]) kernels.zero(sum);
  const { abi } = kernels;
  const scratch = kernels.allocate(abi.gramBytes(p, m));
  /** C ← C + AᵀB of rows that are not flat. */
  const add = (A: Matrix, B: Matrix, C: Matrix) =>
    abi.gram(false, n, A.cols, B.cols, A.ptr, A.ld, B.ptr, B.ld, C.ptr, C.ld, scratch);
  const contestants = {
    'gemm f32': { run: () => kernels.gemm(true, false, 1, X, X, 0, S) },
    'syrk f32': { run: () => kernels.syrk(true, 1, X, 0, S) },
    'gram f32 to f64': { run: () => add(X, X, H) },
    'cross f32 to f64': { run: () => add(X, Y, C) },
    'gemm f64': { run: () => kernels.gemm(true, false, 1, X64, X64, 0, H) },
    'syrk f64': { run: () => kernels.syrk(true, 1, X64, 0, H) },
  } satisfies Record<string, Contestant>;
  const half = n * p * p;
  const flops = {
    'gemm f32': 2 * half,
    'syrk f32': half,
    'gram f32 to f64': half,
    'cross f32 to f64': 2 * n * p * m,
    'gemm f64': 2 * half,
    'syrk f64': half,
  };
  return { contestants, flops, matrices: { S, H, C } };
}

/** Entries in [−1, 1) bound |X|ᵀ|X| by n. */
function checkAll(kernels: Kernels): void {
  const [n, p, m] = [700, 132, 33];
  const mark = kernels.mark();
  const { contestants, matrices } = operations(kernels, n, p);
  const X = randomArray(n * p, 1);
  const Xt = X.map((_, at) => X[(at % n) * p + Math.floor(at / n)]);
  const XtX = naive.multiply(p, p, n, Xt, X);
  const XtY = naive.multiply(p, m, n, Xt, randomArray(n * m, 2));
  const expectLower = (name: keyof typeof contestants, out: Matrix, unit: number) => {
    kernels.zero(out);
    contestants[name].run();
    check(name, lower(p, kernels.read(out)), lower(p, XtX), 2 * n * n * unit);
  };
  expectLower('gemm f32', matrices.S, unitRoundoff('f32'));
  expectLower('syrk f32', matrices.S, unitRoundoff('f32'));
  expectLower('gemm f64', matrices.H, unitRoundoff('f64'));
  expectLower('syrk f64', matrices.H, unitRoundoff('f64'));
  expectLower('gram f32 to f64', matrices.H, unitRoundoff('f32'));
  kernels.zero(matrices.C);
  contestants['cross f32 to f64'].run();
  check('cross', kernels.read(matrices.C), XtY, 2 * n * n * unitRoundoff('f32'));
  kernels.release(mark);
}

async function tall({ quick, time, ofPeak }: Bench, kernels: readonly Kernels[]) {
  const n = quick ? 520 : 8192;
  const rows = [];
  for (const p of quick ? [64] : [1024, 2048]) {
    for (const instance of kernels) {
      const mark = instance.mark();
      const { contestants, flops } = operations(instance, n, p);
      const timings = await time(contestants);
      for (const operation of Object.keys(flops) as (keyof typeof flops)[]) {
        const type = operation.endsWith(' f64') && !operation.includes('f32') ? 'f64' : 'f32';
        const rate = rates(flops[operation], timings[operation]);
        const gemm = rates(flops[`gemm ${type}`], timings[`gemm ${type}`]);
        rows.push({
          operation,
          n,
          p,
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
  return {
    name: 'rows',
    title: `X of ${n} rows and p columns, GFLOP/s of the fastest run (share of the GEMM rate, fastest run / median)`,
    rows,
    grid: crosstab(
      rows,
      ['operation'],
      ({ p, simd }) => `p = ${p} ${simd}`,
      ({ gflops, ofGemm, ofGemmMedian }) =>
        `${round(gflops)} (${ofGemm.toFixed(2)} / ${ofGemmMedian.toFixed(2)})`,
    ),
  };
}

async function peers({ quick, time }: Bench, kernels: readonly Kernels[]) {
  const [n, p] = quick ? [520, 64] : [8192, 1024];
  const A = randomArray(n * p, 1);
  const rows = [];
  for (const type of ['f32', 'f64'] as const) {
    const marks = kernels.map((instance) => instance.mark());
    const ours = kernels.map((instance) => ({ instance, ...operations(instance, n, p) }));
    const peers = await productPeers({ type, rows: n, cols: p, A });
    const expected = ours[0].matrices[type === 'f32' ? 'S' : 'H'];
    ours[0].contestants[`gemm ${type}`].run(); // checked above
    const all = ours[0].instance.read(expected);
    const X = type === 'f32' ? Float32Array.from(A) : A;
    const sum = type === 'f32' ? new Float32Array(p * p) : new Float64Array(p * p);
    const operation = type === 'f32' ? 'gram f32 to f64' : 'syrk f64';
    const contestants: Record<string, Contestant> = {
      ...Object.fromEntries(
        ours.map(({ instance, contestants }) => [`${instance.simd}, ${operation}`, contestants[operation]]),
      ),
      ...(await checked(peers, all, 2 * n * n * unitRoundoff(type))),
      'naive loop': { run: () => naive.addGram(p, n, 1, X, sum) },
    };
    const timings = await time(contestants);
    const [relaxed] = Object.values(timings);
    for (const [by, timing] of Object.entries(timings)) {
      rows.push({
        type,
        n,
        p,
        by,
        ...rates(n * p * p, timing),
        relaxedFaster: timing.min / relaxed.min,
        relaxedFasterMedian: timing.median / relaxed.median,
      });
    }
    for (const peer of peers) peer.dispose();
    kernels.forEach((instance, i) => void instance.release(marks[i]));
  }
  return {
    name: 'peers',
    title: `XᵀX, n = ${n}, p = ${p}, one thread each, by turns; fastest run / median`,
    rows,
    grid: list(rows, {
      type: (row) => row.type,
      by: (row) => row.by,
      ms: (row) => pair(row.minMs, row.medianMs),
      'relaxed is faster by': (row) => pair(row.relaxedFaster, row.relaxedFasterMedian),
    }),
  };
}

/** 3×3 convolutions of ResNets, c to c channels, over 4096 positions of square images and a target. */
async function convolutions({ quick, time }: Bench, kernels: readonly Kernels[]) {
  const layers = [
    [16, 32],
    [32, 16],
    [64, 8],
    [64, 56],
    [128, 28],
    [256, 14],
    [512, 7],
  ];
  const rows = [];
  for (const [c, side] of quick ? layers.slice(2, 3) : layers) {
    const geometry = {
      ...{ height: side, width: side, outHeight: side, outWidth: side },
      ...({ kernel: [3, 3], strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1] } as const),
    };
    const image = (seed: number) => ({
      channels: c,
      data: Float32Array.from(randomArray(c * side * side, seed)),
    });
    const images = Array.from({ length: Math.ceil(4096 / side ** 2) }, (_, i) => [
      image(2 * i),
      image(2 * i + 1),
    ]);
    for (const instance of kernels) {
      const sumsOf = (Sums: typeof StatisticsAccumulator | typeof ConvolutionAccumulator) => {
        const sums = new Sums(instance, 9 * c, c, true);
        for (const [x, y] of images) sums.addImage(geometry, x, y);
        return sums.finish();
      };
      const contestants = {
        unfolded: { run: () => sumsOf(StatisticsAccumulator) },
        correlations: { run: () => sumsOf(ConvolutionAccumulator) },
      };
      const [expected, found] = [contestants.unfolded.run(), contestants.correlations.run()];
      check(`${c} channels`, found.XtX, expected.XtX, 4096 * 512 * unitRoundoff('f32'));
      check(
        `${c} channels, target`,
        found.target!.XtY,
        expected.target!.XtY,
        4096 * 512 * unitRoundoff('f32'),
      );
      const timings = await time(contestants);
      const faster = timings.unfolded.min / timings.correlations.min;
      const fasterMedian = timings.unfolded.median / timings.correlations.median;
      rows.push({ c, side, simd: instance.simd, ms: timings.correlations.min, faster, fasterMedian });
    }
  }
  return {
    name: 'convolutions',
    title:
      'XᵀX, XᵀY and sums of 3×3 convolutions, 4096 positions of square images and as many outputs as channels: ms of the fastest run by ' +
      'correlations (faster than unfolded rows by, fastest run / median)',
    rows,
    grid: crosstab(
      rows.map((row) => ({ ...row, channels: `${row.c}, ${row.side} × ${row.side}` })),
      ['channels'],
      ({ simd }) => simd,
      ({ ms, faster, fasterMedian }) => `${round(ms)} (${faster.toFixed(2)} / ${fasterMedian.toFixed(2)})`,
    ),
  };
}
