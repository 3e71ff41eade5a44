// Greedy elimination of half the groups against the SPD inverse of the same H and against plain loops, and the memory
// it takes against what is stated beforehand:
//   npm run bench -- eliminate [--quick] [--json]

import { type Kernels, openKernels } from '../src/kernel/index.ts';
import {
  eliminate,
  type LayerProblem,
  layerWasmBytes,
  pruneLayer,
  refit,
  unpacked,
} from '../src/solve/index.ts';
import { type Bench, bench, pair, round } from './support/bench.ts';
import { layerProblems, QUICK, SHAPES } from './support/layer.ts';
import * as naive from './support/naive.ts';
import { crosstab, list } from './support/table.ts';
import type { Contestant } from './support/time.ts';

await bench('eliminate', async (b) => {
  const kernels = await openKernels();
  await checkOrder(kernels);
  const times = [];
  const memory = [];
  for (const [at, shape] of (b.quick ? QUICK : SHAPES).entries()) {
    const problems = await layerProblems(shape);
    times.push(...(await timesOf(b, kernels, problems, at === 0)));
    memory.push(...(await memoryOf(problems.own)));
  }
  b.emit({
    name: 'times',
    title: `${kernels.simd} SIMD, to half the groups: ms, fastest run / median (times the SPD inverse of the same H in f64)`,
    rows: times,
    grid: crosstab(
      times,
      ['what'],
      (row) => `p = ${row.p}, m = ${row.m}, b = ${row.b}`,
      (row) =>
        `${pair(row.minMs, row.medianMs)} (${row.ofInverse.toFixed(2)} / ${row.ofInverseMedian.toFixed(2)})`,
    ),
  });
  b.emit({
    name: 'memory',
    title: 'Peak of wasm memory, MB',
    rows: memory,
    grid: list(memory, {
      what: (row) => row.what,
      'p, m, b': (row) => `${row.p}, ${row.m}, ${row.b}`,
      measured: (row) => round(row.bytes / 1e6),
      layerWasmBytes: (row) => round(row.stated / 1e6),
      '2.6·8p² + 4·8pm': (row) => round(row.bound / 1e6),
    }),
  });
});

/** Removal by removal, against loops without panels. */
async function checkOrder(kernels: Kernels): Promise<void> {
  const { outside } = await layerProblems({ groups: 96, groupSize: 1, m: 24 });
  const expected = naive.eliminate(outside, 48);
  for (const precision of ['f64', 'f32'] as const) {
    const { removed, objective } = eliminate(kernels, outside, { keep: 48, precision });
    if (removed.join() !== expected.removed.join())
      throw new Error(`eliminate: removes other groups in ${precision} than loops do`);
    expectSame('eliminate', objective, expected.objective);
  }
}

function expectSame(what: string, actual: number, expected: number): void {
  if (!(Math.abs(actual / expected - 1) < 1e-9)) {
    throw new Error(`${what}: objective expected ${expected}, got ${actual}`);
  }
}

async function timesOf(
  { time }: Bench,
  kernels: Kernels,
  { own, outside }: { own: LayerProblem; outside: LayerProblem },
  withLoops: boolean,
) {
  const { p, m, groups, groupSize: b } = own;
  const keep = groups >> 1;
  for (const problem of [own, outside]) {
    const { kept, objective } = eliminate(kernels, problem, { keep, precision: 'f64' });
    expectSame('eliminate', objective, refit(kernels, problem, kept).objective);
    const single = eliminate(kernels, problem, { keep });
    if (single.precision !== 'f32') throw new Error('eliminate: f32 was not confirmed');
    expectSame('eliminate in f32', single.objective, objective);
  }
  const mark = kernels.mark();
  const T = kernels.matrix(p, p, 'f64');
  const H = unpacked(own.H, p);
  const contestants: Record<string, Contestant> = {
    'SPD inverse': {
      prepare: () => kernels.write(T, H),
      run() {
        kernels.potrf(T);
        kernels.potri(T);
        kernels.symmetrize(T);
      },
    },
  };
  for (const [target, problem] of [
    ['self', own],
    ['outside', outside],
  ] as const) {
    for (const groupsPerStep of [1, 10]) {
      contestants[`f64, ${groupsPerStep} per step, ${target} target`] = {
        run: () => eliminate(kernels, problem, { keep, groupsPerStep, precision: 'f64' }),
      };
    }
    contestants[`f32 with the f64 refit, ${target} target`] = {
      run: () => pruneLayer(kernels, problem, { keep, search: 'greedy' }),
    };
    contestants[`the default search, ${target} target`] = {
      run: () => pruneLayer(kernels, problem, { keep }),
    };
  }
  if (withLoops) contestants['naive loops, 1 per step'] = { run: () => naive.eliminate(own, keep) };
  const timings = await time(contestants, { warmUp: 1, budgetMs: 2000 });
  kernels.release(mark);
  const inverse = timings['SPD inverse'];
  return Object.entries(timings).map(([what, { min, median }]) => ({
    what,
    p,
    m,
    b,
    simd: kernels.simd,
    minMs: min,
    medianMs: median,
    ofInverse: min / inverse.min,
    ofInverseMedian: median / inverse.median,
  }));
}

/** Each in an instance of its own, which has done nothing before. */
async function memoryOf(problem: LayerProblem) {
  const { p, m, groups, groupSize: b } = problem;
  const keep = groups >> 1;
  const bound = 2.6 * 8 * p * p + 4 * 8 * p * m;
  const greedy = await openKernels();
  eliminate(greedy, problem, { keep });
  const swap = await openKernels();
  pruneLayer(swap, problem, { keep, maxSwaps: 1 });
  const row = { p, m, b, bound };
  const stated = layerWasmBytes(p, m, b, 'greedy');
  return [
    { what: 'elimination', ...row, bytes: greedy.bytes, stated },
    { what: 'with swaps', ...row, bytes: swap.bytes, stated: layerWasmBytes(p, m, b, 'swap') },
  ];
}
