import { describe, expect, it } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import { type LayerProblem, layerProblem, refit, solveLayers, unpacked } from '../../src/solve/index.ts';
import { activations, naiveStatistics, normals } from '../support/problems.ts';

const kernels = await openKernels();
const STEPS = 7;

/** A layer of more rows than are rounded between two products, fitted to a target of its own. */
function layer(p: number, m: number, n = 4 * p) {
  const X = activations(n, p, p);
  const target = normals(n * m, 2);
  return { W: normals(p * m, 3), fit: naiveStatistics(X, target, p, m), groupSize: 1 };
}

function inverse(H: Float64Array, p: number): Float64Array {
  return kernels.scoped(() => {
    const T = kernels.matrix(p, p, 'f64', H);
    kernels.potrf(T);
    kernels.potri(T);
    kernels.symmetrize(T);
    return kernels.read(T);
  });
}

/**
 * As published: what is left of the inverse of H after a row says how all later ones make up for its rounding.
 *
 * @param scaleOf  which of the scales a row and an output have
 */
function roundedBy(
  { H, p, m }: LayerProblem,
  best: Float64Array,
  rows: readonly number[],
  scales: readonly number[],
  scaleOf: (row: number, output: number) => number,
): { W: Float64Array; losses: number[] } {
  const full = unpacked(H, p);
  const order = rows.toSorted((a, b) => full[b * p + b] - full[a * p + a]);
  const k = order.length;
  const T = inverse(
    Float64Array.from({ length: k * k }, (_, at) => full[order[Math.floor(at / k)] * p + order[at % k]]),
    k,
  );
  const W = best.slice();
  const losses = scales.map(() => 0);
  for (const [c, row] of order.entries()) {
    for (let j = 0; j < m; j++) {
      const before = W[row * m + j];
      W[row * m + j] = nearest(before, scales[scaleOf(row, j)]);
      const error = (before - W[row * m + j]) / T[c * k + c];
      losses[scaleOf(row, j)] += (error * error * T[c * k + c]) / 2;
      for (let d = c + 1; d < k; d++) W[order[d] * m + j] -= error * T[d * k + c];
    }
    for (let a = c + 1; a < k; a++)
      for (let b = c + 1; b < k; b++) T[a * k + b] -= (T[a * k + c] * T[c * k + b]) / T[c * k + c];
  }
  return { W, losses };
}

/** The same, of the scales that lose least: the largest weight that has one is the largest step, or is cut off. */
function gptq(
  problem: LayerProblem,
  best: Float64Array,
  rows: readonly number[],
  block = problem.p,
): Float64Array {
  const { m } = problem;
  const scaleOf = (row: number, output: number) => Math.floor(row / block) * m + output;
  const largest = largestOf(best, m, block);
  const tried = [1, 0.85, 0.7].map((part) => {
    const scales = largest.map((value) => (part * value) / STEPS);
    return { scales, losses: roundedBy(problem, best, rows, scales, scaleOf).losses };
  });
  const scales = largest.map((_, i) => tried.reduce((a, b) => (b.losses[i] < a.losses[i] ? b : a)).scales[i]);
  return roundedBy(problem, best, rows, scales, scaleOf).W;
}

/** Of each output in each block of rows. */
function largestOf(W: Float64Array, m: number, block = W.length / m): number[] {
  const largest = new Array<number>(Math.ceil(W.length / m / block) * m).fill(0);
  W.forEach((w, at) => {
    const i = Math.floor(at / m / block) * m + (at % m);
    largest[i] = Math.max(largest[i], Math.abs(w));
  });
  return largest;
}

const nearest = (w: number, scale: number) =>
  Math.max(-STEPS, Math.min(STEPS, Math.round(w / scale))) * scale;

/** ½(w − best)ᵀH(w − best) of each output: what is lost to rounding. */
function lossesOf({ H, p, m }: LayerProblem, W: Float64Array, best: Float64Array): number[] {
  const full = unpacked(H, p);
  const losses = new Array<number>(m).fill(0);
  for (let i = 0; i < p; i++)
    for (let k = 0; k < p; k++)
      for (let j = 0; j < m; j++)
        losses[j] +=
          0.5 * full[i * p + k] * (W[i * m + j] - best[i * m + j]) * (W[k * m + j] - best[k * m + j]);
  return losses;
}

const all = (p: number) => [...Array(p).keys()];

describe('weights on whole steps', () => {
  it.each([
    [5, 1],
    [40, 3],
    [70, 10],
  ])('of a layer of %i × %i are those of GPTQ', (p, m) => {
    const own = layer(p, m);
    const problem = layerProblem(kernels, own.fit, own.W, { groupSize: 1, damping: 1e-2 });
    const best = refit(kernels, problem, all(p)).W;
    const [{ W }] = solveLayers(kernels, [own], { damping: 1e-2, steps: STEPS }).layers;
    const expected = gptq(problem, best, all(p));
    expect(W.map((w, i) => w - expected[i]).every((difference) => Math.abs(difference) < 1e-9)).toBe(true);
    // They make up for each other: rounded one by one they lose much more.
    const largest = largestOf(best, m);
    const alone = best.map((w, at) => nearest(w, largest[at % m] / STEPS));
    const [lost, others] = [W, alone].map((it) => lossesOf(problem, it, best).reduce((a, b) => a + b));
    expect(lost).toBeLessThan(p > 5 ? 0.4 * others : others * 1.001);
  });

  it.each([
    [40, 3, 16],
    [70, 300, 32],
  ])('of a layer of %i × %i whose scales are of %i rows are those of GPTQ in groups', (p, m, block) => {
    const own = { ...layer(p, m), block };
    const problem = layerProblem(kernels, own.fit, own.W, { groupSize: 1, damping: 1e-2 });
    const best = refit(kernels, problem, all(p)).W;
    const solved = (layer: Parameters<typeof solveLayers>[1][0]) =>
      solveLayers(kernels, [layer], { damping: 1e-2, steps: STEPS }).layers[0].W;
    const W = solved(own);
    const expected = gptq(problem, best, all(p), block);
    expect(W.map((w, i) => w - expected[i]).every((difference) => Math.abs(difference) < 1e-9)).toBe(true);
    // More scales lose less.
    const [lost, others] = [W, solved({ ...own, block: undefined })].map((it) =>
      lossesOf(problem, it, best).reduce((a, b) => a + b),
    );
    expect(lost).toBeLessThan(others);
  });

  it('of rows that have gone are zero, and the others make up for each other alone', () => {
    const [p, m] = [12, 2];
    const own = layer(p, m);
    const gone = Int32Array.of(3, 8);
    const left = all(p).filter((row) => !gone.includes(row));
    const problem = layerProblem(kernels, own.fit, own.W, { groupSize: 1, damping: 1e-2 });
    const [{ W }] = solveLayers(kernels, [{ ...own, gone }], { damping: 1e-2, steps: STEPS }).layers;
    const expected = gptq(problem, refit(kernels, problem, left).W, left);
    expect(W.map((w, i) => w - expected[i]).every((difference) => Math.abs(difference) < 1e-9)).toBe(true);
  });

  it('of an output of zeros stay zero', () => {
    const [p, m] = [6, 2];
    const { W: dense, fit } = layer(p, m);
    const own = { W: dense.map((w, at) => (at % m === 1 ? 0 : w)), fit, groupSize: 1 };
    const [{ W }] = solveLayers(kernels, [own], { blend: 0, damping: 1e-2, steps: STEPS }).layers;
    expect(W.some((w, at) => at % m === 0 && w !== 0)).toBe(true);
    expect(W.every((w, at) => at % m === 0 || w === 0)).toBe(true);
  });

  it('are chosen with the rows that stay, and the bias goes with them', () => {
    const [p, m] = [16, 2];
    const own = { ...layer(p, m), bias: Float32Array.of(1, -1) };
    const recipe = { damping: 1e-2 };
    const [plain, rounded] = [recipe, { ...recipe, steps: STEPS }].map((it) =>
      solveLayers(kernels, [own], it, 8),
    );
    expect(rounded.kept).toEqual(plain.kept);
    const [{ W, bias }] = rounded.layers;
    const values = largestOf(W, m).map(
      (_, j) => new Set(W.filter((_, at) => at % m === j).map((w) => Number(w.toPrecision(9)))),
    );
    for (const steps of values) expect(steps.size).toBeLessThanOrEqual(2 * STEPS + 1);
    expect(W).not.toEqual(plain.layers[0].W);
    const mean = (j: number) =>
      all(p).reduce((sum, i) => sum + (W[i * m + j] * own.fit.sumX[i]) / own.fit.n, bias![j]);
    for (let j = 0; j < m; j++) expect(mean(j)).toBeCloseTo(own.fit.target!.sumY[j] / own.fit.n, 9);
  });
});
