// The product of two n × n matrices against the machine's peak, plain loops and other libraries:
//   npm run bench -- gemm [--quick] [--json]

import { type ElementType, type Kernels, openKernels } from '../src/kernel/index.ts';
import { randomArray } from '../test/support/random.ts';
import { type Bench, bench, pair, percent, rates, round, SIMDS, TYPES } from './support/bench.ts';
import { check, unitRoundoff } from './support/check.ts';
import * as naive from './support/naive.ts';
import { checked, mlMatrixProduct, productPeers } from './support/peers.ts';
import { crosstab, list } from './support/table.ts';
import type { Contestant } from './support/time.ts';

await bench('gemm', async (b) => {
  const kernels = await Promise.all(SIMDS.map((simd) => openKernels({ simd })));
  b.emit(await sizes(b, kernels));
  b.emit(await peers(b, kernels));
});

/** Both binaries in the given types. */
function ours(kernels: readonly Kernels[], types: readonly ElementType[], n: number) {
  const [a, b] = [randomArray(n * n, 1), randomArray(n * n, 2)];
  return kernels.flatMap((instance) =>
    types.map((type) => {
      const [A, B, C] = [0, 1, 2].map(() => instance.matrix(n, n, type));
      instance.write(A, a);
      instance.write(B, b);
      const run = () => instance.gemm(false, false, 1, A, B, 0, C);
      return {
        simd: instance.simd,
        type,
        name: `${instance.simd} ${type}`,
        run,
        result: () => instance.read(C),
      };
    }),
  );
}

async function sizes({ quick, time, ofPeak }: Bench, kernels: readonly Kernels[]) {
  const rows = [];
  for (const n of quick ? [100] : [100, 333, 512, 1000, 1024, 2048]) {
    const marks = kernels.map((instance) => instance.mark());
    const all = ours(kernels, TYPES, n);
    const expected = n <= 333 && naive.multiply(n, n, n, randomArray(n * n, 1), randomArray(n * n, 2));
    for (const { name, type, run, result } of all) {
      run();
      if (expected) check(name, result(), expected, bound(type, n));
    }
    const timings = await time(Object.fromEntries(all.map((one) => [one.name, one])));
    for (const { simd, type, name } of all) {
      const rate = rates(2 * n ** 3, timings[name]);
      rows.push({
        n,
        type,
        simd,
        ...rate,
        ...ofPeak(type, rate),
      });
    }
    kernels.forEach((instance, i) => void instance.release(marks[i]));
  }
  return {
    name: 'sizes',
    title: 'GFLOP/s, fastest run / median (of the 128-bit peak)',
    rows,
    grid: crosstab(
      rows,
      ['n'],
      ({ type, simd }) => `${type} ${simd}`,
      ({ gflops, medianGflops, ofPeak, medianOfPeak }) =>
        `${pair(gflops, medianGflops)} (${percent(ofPeak)} / ${percent(medianOfPeak)} %)`,
    ),
  };
}

async function peers({ quick, time }: Bench, kernels: readonly Kernels[]) {
  const n = quick ? 100 : 1024;
  const [A, B] = [randomArray(n * n, 1), randomArray(n * n, 2)];
  const expected = naive.multiply(n, n, n, A, B);
  const rows = [];
  for (const type of TYPES) {
    const marks = kernels.map((instance) => instance.mark());
    const others = [
      ...(await productPeers({ type, rows: n, cols: n, A, B })),
      ...(type === 'f64' ? [mlMatrixProduct(n, A, B)] : []),
    ];
    const mine = ours(kernels, [type], n);
    for (const { name, run, result } of mine) {
      run();
      check(name, result(), expected, bound(type, n));
    }
    const [a, b] = type === 'f32' ? [Float32Array.from(A), Float32Array.from(B)] : [A, B];
    const contestants: Record<string, Contestant> = {
      ...Object.fromEntries(mine.map((one) => [one.simd, one])),
      ...(await checked(others, expected, bound(type, n))),
      'naive loop': { run: () => naive.multiply(n, n, n, a, b) },
    };
    const timings = await time(contestants);
    const [relaxed, baseline] = SIMDS.map((simd) => timings[simd]);
    for (const [by, timing] of Object.entries(timings)) {
      rows.push({
        n,
        type,
        by,
        ...rates(2 * n ** 3, timing),
        relaxedFaster: timing.min / relaxed.min,
        relaxedFasterMedian: timing.median / relaxed.median,
        baselineFaster: timing.min / baseline.min,
        baselineFasterMedian: timing.median / baseline.median,
      });
    }
    for (const peer of others) peer.dispose();
    kernels.forEach((instance, i) => void instance.release(marks[i]));
  }
  return {
    name: 'peers',
    title: `n = ${n}, one thread each, by turns; fastest run / median`,
    rows,
    grid: list(rows, {
      type: (row) => row.type,
      by: (row) => row.by,
      ms: (row) => pair(row.minMs, row.medianMs),
      'GFLOP/s': (row) => round(row.gflops),
      'relaxed is faster by': (row) => pair(row.relaxedFaster, row.relaxedFasterMedian),
      'baseline is faster by': (row) => pair(row.baselineFaster, row.baselineFasterMedian),
    }),
  };
}

/** Entries in [−1, 1) bound |A||B| by n. */
function bound(type: ElementType, n: number): number {
  return 2 * n * n * unitRoundoff(type);
}
