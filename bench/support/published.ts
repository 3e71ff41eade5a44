// The arithmetic of the published algorithm (OSSCAR, arXiv 2403.12983), step by step as its PyTorch code has it, with our
// kernels in the place of torch: H⁻¹ and W as whole matrices, updated after every step; H_SS⁻¹ again for every
// exchange. For single rows, and problems whose H is whole. support/published.py is the same in numpy.

import type { Kernels, Matrix } from '../../src/kernel/index.ts';
import type { LayerProblem } from '../../src/solve/index.ts';

export interface Support {
  /** Ascending. */
  readonly kept: readonly number[];
  /** The best weights on them, p × m. */
  readonly W: Float64Array;
}

/** Removes the `perStep` cheapest rows at a time, and solves for what is left. */
export function publishedGreedy(
  kernels: Kernels,
  problem: LayerProblem,
  keep: number,
  perStep: number,
): Support {
  const { p, m, H, G, W0, solution } = problem;
  return kernels.scoped(() => {
    const T = inverse(kernels, kernels.matrix(p, p, 'f64', H));
    const W = kernels.matrix(p, m, 'f64', solution ?? W0);
    if (!solution) kernels.gemm(false, false, 1, T, kernels.matrix(p, m, 'f64', G), 0, W);
    const isOut = new Uint8Array(p);
    const steps = Math.max(1, Math.floor((p - keep) / perStep));
    for (let step = 0; step < steps; step++) {
      const count = Math.floor((p - keep) / steps) + Number(step < (p - keep) % steps);
      remove(kernels, T, W, cheapest(kernels.view(T), kernels.view(W), isOut, count), isOut);
    }
    const kept = Array.from(isOut.keys()).filter((row) => !isOut[row]);
    return { kept, W: refit(kernels, problem, kept) };
  });
}

/** One step of the published local search: the t cheapest go, the t best come, and everything is solved anew. */
export function publishedExchange(
  kernels: Kernels,
  problem: LayerProblem,
  { kept, W: start }: Support,
  t: number,
): Support {
  const { p, m, H, G } = problem;
  return kernels.scoped(() => {
    const isOut = new Uint8Array(p).fill(1);
    for (const row of kept) isOut[row] = 0;
    const T = kernels.matrix(p, p, 'f64');
    scatter(kernels, inverse(kernels, gather(kernels, H, p, kept, kept)), kept, T);
    const W = kernels.matrix(p, m, 'f64', start);
    remove(kernels, T, W, cheapest(kernels.view(T), kernels.view(W), isOut, t), isOut);

    const inside = Array.from(isOut.keys()).filter((row) => !isOut[row]);
    const k = inside.length;
    const all = Array.from({ length: p }, (_, i) => i);
    const [inv, rows] = [
      gather(kernels, kernels.read(T), p, inside, inside),
      gather(kernels, H, p, inside, all),
    ];
    const weights = kernels.matrix(k, m, 'f64');
    kernels.gemm(false, false, 1, inv, gather(kernels, G, m, inside), 0, weights);
    const product = kernels.matrix(k, p, 'f64');
    kernels.gemm(false, false, 1, inv, rows, 0, product);
    const rest = kernels.matrix(p, m, 'f64', G);
    kernels.gemm(true, false, -1, rows, weights, 1, rest);
    const [a, b, r] = [kernels.view(rows), kernels.view(product), kernels.view(rest)];
    const gains = new Float64Array(p);
    for (let j = 0; j < p; j++) {
      if (!isOut[j]) continue;
      let variance = H[j * p + j];
      for (let i = 0; i < k; i++) variance -= a[i * p + j] * b[i * p + j];
      gains[j] = squares(r, j * m, m) / variance / 2;
    }
    const order = Array.from(isOut.keys())
      .filter((row) => isOut[row])
      .sort((x, y) => gains[y] - gains[x]);
    const after = [...inside, ...order.slice(0, t)].sort((x, y) => x - y);
    return { kept: after, W: refit(kernels, problem, after) };
  });
}

/** T ← T − T_:B T_BB⁻¹ T_B:, W ← W − T_:B T_BB⁻¹ W_B, and zeros in what is removed. */
function remove(
  kernels: Kernels,
  T: Matrix<'f64'>,
  W: Matrix<'f64'>,
  rows: readonly number[],
  isOut: Uint8Array,
): void {
  const { rows: p } = T;
  const { cols: m } = W;
  kernels.scoped(() => {
    const block = inverse(kernels, gather(kernels, T, p, rows, rows));
    const [TB, WB] = [gather(kernels, T, p, rows), gather(kernels, W, m, rows)];
    const V = kernels.matrix(p, rows.length, 'f64');
    kernels.gemm(true, false, 1, TB, block, 0, V);
    kernels.gemm(false, false, -1, V, WB, 1, W);
    kernels.gemm(false, false, -1, V, TB, 1, T);
  });
  const [t, w] = [kernels.view(T), kernels.view(W)];
  for (const row of rows) {
    isOut[row] = 1;
    w.fill(0, row * m, (row + 1) * m);
    t.fill(0, row * p, (row + 1) * p);
    for (let i = 0; i < p; i++) t[i * p + row] = 0;
  }
}

function cheapest(T: Float64Array, W: Float64Array, isOut: Uint8Array, count: number): number[] {
  const p = isOut.length;
  const m = W.length / p;
  const costs = Float64Array.from({ length: p }, (_, j) =>
    isOut[j] ? Number.POSITIVE_INFINITY : squares(W, j * m, m) / T[j * p + j] / 2,
  );
  return Array.from(costs.keys())
    .sort((x, y) => costs[x] - costs[y])
    .slice(0, count);
}

function refit(kernels: Kernels, { p, m, H, G }: LayerProblem, kept: readonly number[]): Float64Array {
  return kernels.scoped(() => {
    const found = kernels.matrix(kept.length, m, 'f64');
    const T = inverse(kernels, gather(kernels, H, p, kept, kept));
    kernels.gemm(false, false, 1, T, gather(kernels, G, m, kept), 0, found);
    const W = new Float64Array(p * m);
    const values = kernels.view(found);
    kept.forEach((row, i) => {
      W.set(values.subarray(i * m, (i + 1) * m), row * m);
    });
    return W;
  });
}

/** In place, both triangles: by Cholesky, a third of the time of the published LU. */
function inverse(kernels: Kernels, A: Matrix<'f64'>): Matrix<'f64'> {
  kernels.potrf(A);
  kernels.potri(A);
  kernels.symmetrize(A);
  return A;
}

/** Some rows of a matrix of `width` columns, and some of these: all where none are named. */
function gather(
  kernels: Kernels,
  from: Float64Array | Matrix<'f64'>,
  width: number,
  rows: readonly number[],
  columns?: readonly number[],
): Matrix<'f64'> {
  const count = columns?.length ?? width;
  const to = kernels.matrix(rows.length, count, 'f64');
  const values = kernels.view(to);
  const source = from instanceof Float64Array ? from : kernels.view(from); // only now: allocating may move it
  rows.forEach((row, i) => {
    if (!columns) values.set(source.subarray(row * width, (row + 1) * width), i * width);
    else for (let j = 0; j < count; j++) values[i * count + j] = source[row * width + columns[j]];
  });
  return to;
}

function scatter(kernels: Kernels, from: Matrix<'f64'>, rows: readonly number[], to: Matrix<'f64'>): void {
  const [a, b] = [kernels.view(from), kernels.view(to)];
  b.fill(0);
  rows.forEach((row, i) => {
    for (let j = 0; j < rows.length; j++) b[row * to.cols + rows[j]] = a[i * rows.length + j];
  });
}

function squares(values: Float64Array, from: number, count: number): number {
  let sum = 0;
  for (let at = from; at < from + count; at++) sum += values[at] ** 2;
  return sum;
}
