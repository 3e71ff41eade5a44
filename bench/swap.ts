// One step of the exact best-swap search, half of the groups kept, against a step that re-inverts H on the support, as
// the published code does for every exchange, and the scan of all pairs against plain loops:
//   npm run bench -- swap [--quick] [--json]

import { type Kernels, openKernels } from '../src/kernel/index.ts';
import { type LayerProblem, magnitudeSupport, refit, unpacked } from '../src/solve/index.ts';
import { Tableau } from '../test/support/tableau.ts';
import { type Bench, bench, pair, round } from './support/bench.ts';
import { layerProblems, QUICK, SHAPES } from './support/layer.ts';
import * as naive from './support/naive.ts';
import { crosstab, list } from './support/table.ts';

await bench('swap', async (b) => {
  const kernels = await openKernels();
  const steps = [];
  for (const shape of b.quick ? QUICK : SHAPES) {
    const { own } = await layerProblems(shape);
    steps.push(...(await stepsOf(b, kernels, own)));
  }
  b.emit({
    name: 'steps',
    title: `f64, ${kernels.simd} SIMD, half of the groups kept: ms, fastest run / median (a step goes into it so many times)`,
    rows: steps,
    grid: crosstab(
      steps,
      ['what'],
      (row) => `p = ${row.p}, m = ${row.m}, b = ${row.b}`,
      (row) => `${pair(row.minMs, row.medianMs)} (${round(row.ofStep)} / ${round(row.ofStepMedian)})`,
    ),
  });
  const scans = await scansOf(b, kernels);
  b.emit({
    name: 'scan',
    title: 'The scan of all pairs of a kept and a removed row, b = 1',
    rows: scans,
    grid: list(scans, {
      by: (row) => row.by,
      p: (row) => row.p,
      ms: (row) => pair(row.minMs, row.medianMs),
      'Gpair/s': (row) => round(row.gigapairs),
    }),
  });
});

async function stepsOf({ time }: Bench, kernels: Kernels, problem: LayerProblem) {
  const { p, m, groups, groupSize: b } = problem;
  const start = magnitudeSupport(kernels, [problem], groups >> 1); // leaves much to improve, so that every step is a real one
  checkStep(kernels, problem, start);
  const tableau = new Tableau(kernels, problem, start);
  const pivots = new Tableau(kernels, problem, start);
  const anew = new Tableau(kernels, problem, start);
  const whole = { ...problem, H: unpacked(problem.H, p) };
  let [out, into] = [start[0], pivots.bestSwap()!.in];
  const timings = await time({
    'one step': {
      run() {
        const swap = tableau.bestSwap()!;
        tableau.swap(swap.out, swap.in);
      },
    },
    'best of all swaps': { run: () => tableau.bestSwap() },
    'the swap': {
      run() {
        pivots.swap(out, into);
        [out, into] = [into, out];
      },
    },
    're-inverting the support': { run: () => reinvert(kernels, whole, start) },
    'the tableau anew, as far as the scan reads it': { run: () => anew.factorise() },
    'the rest of it': { prepare: () => anew.factorise(), run: () => anew.matrices },
  });
  anew.dispose();
  pivots.dispose();
  tableau.dispose();
  const step = timings['one step'];
  return Object.entries(timings).map(([what, { min, median }]) => ({
    what,
    p,
    m,
    b,
    simd: kernels.simd,
    minMs: min,
    medianMs: median,
    ofStep: min / step.min,
    ofStepMedian: median / step.median,
  }));
}

/** The change that is promised, made and found by solving anew on both supports. */
function checkStep(kernels: Kernels, problem: LayerProblem, start: readonly number[]): void {
  const tableau = new Tableau(kernels, problem, start);
  const swap = tableau.bestSwap()!;
  const made = tableau.swap(swap.out, swap.in);
  const [before, after] = [start, tableau.kept()].map((kept) => refit(kernels, problem, kept).objective);
  tableau.dispose();
  for (const change of [swap.change, made]) {
    if (!(Math.abs(change - (after - before)) < 1e-9 * Math.abs(before))) {
      throw new Error(`swap: change expected ${after - before}, got ${change}`);
    }
  }
}

/**
 * H_SS⁻¹, by which what leaves is ranked, the weights H_SS⁻¹G_S, and G_P − H_PS·W_S, by which what enters is: the least
 * that a step without updates must do. H is whole.
 */
function reinvert(
  kernels: Kernels,
  { p, m, groupSize: b, H, G }: LayerProblem,
  kept: readonly number[],
): void {
  const rows = kept.flatMap((group) => Array.from({ length: b }, (_, r) => group * b + r));
  const inside = new Set(rows);
  const others = Array.from({ length: p }, (_, i) => i).filter((i) => !inside.has(i));
  const k = rows.length;
  const mark = kernels.mark();
  const [T, B, W] = [kernels.matrix(k, k, 'f64'), kernels.matrix(k, m, 'f64'), kernels.matrix(k, m, 'f64')];
  const [A, R] = [kernels.matrix(p - k, k, 'f64'), kernels.matrix(p - k, m, 'f64')];
  const gather = (
    from: Float64Array,
    width: number,
    list: readonly number[],
    to: Float64Array,
    columns?: readonly number[],
  ) =>
    list.forEach((row, i) => {
      if (!columns) to.set(from.subarray(row * width, (row + 1) * width), i * width);
      else
        for (let j = 0; j < columns.length; j++) to[i * columns.length + j] = from[row * width + columns[j]];
    });
  gather(H, p, rows, kernels.view(T), rows);
  gather(G, m, rows, kernels.view(B));
  gather(H, p, others, kernels.view(A), rows);
  gather(G, m, others, kernels.view(R));
  kernels.potrf(T);
  kernels.potri(T);
  kernels.symmetrize(T);
  kernels.gemm(false, false, 1, T, B, 0, W);
  kernels.gemm(false, false, -1, A, W, 1, R);
  kernels.release(mark);
}

/** `bestSwap` beside the loops, whose result it must have; at the larger sizes alone. */
async function scansOf({ quick, time }: Bench, kernels: Kernels) {
  const rows = [];
  for (const [groups, m] of quick
    ? [[96, 24]]
    : [
        [512, 32],
        [2048, 32],
        [3072, 32],
      ]) {
    const { own } = await layerProblems({ groups, groupSize: 1, m });
    const kept = magnitudeSupport(kernels, [own], groups >> 1);
    const tableau = new Tableau(kernels, own, kept);
    const contestants: Record<string, { run: () => unknown }> = {
      bestSwap: { run: () => tableau.bestSwap() },
    };
    if (groups <= 512) {
      const { T, K } = naive.tableau(own, kept);
      const [expected, found] = [naive.bestSwap(groups, kept, T, K), tableau.bestSwap()!.change];
      if (!(Math.abs(found - expected) < 1e-9 * Math.abs(tableau.objective))) {
        throw new Error(`scan: best change expected ${expected}, got ${found}`);
      }
      contestants['naive loops'] = { run: () => naive.bestSwap(groups, kept, T, K) };
    }
    const timings = await time(contestants);
    tableau.dispose();
    const pairs = kept.length * (groups - kept.length);
    for (const [by, { min, median }] of Object.entries(timings)) {
      rows.push({ by, p: groups, pairs, minMs: min, medianMs: median, gigapairs: pairs / min / 1e6 });
    }
  }
  return rows;
}
