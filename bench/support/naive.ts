// The same work by plain loops in JavaScript: the oracle of the benches, and what they are compared with.

import { type LayerProblem, unpacked } from '../../src/solve/index.ts';

type Reals = Float32Array | Float64Array;

/** C = A·B for A m × k and B k × n, in the order of loops that reads memory row by row. */
export function multiply(m: number, n: number, k: number, A: Reals, B: Reals): Reals {
  const C = zeros(A, m * n);
  for (let i = 0; i < m; i++) {
    for (let p = 0; p < k; p++) {
      const a = A[i * k + p];
      for (let j = 0; j < n; j++) C[i * n + j] += a * B[p * n + j];
    }
  }
  return C;
}

/** C ← C + α·AᵀA, lower triangle, for A k × n. */
export function addGram(n: number, k: number, alpha: number, A: Reals, C: Reals): void {
  for (let p = 0; p < k; p++) {
    for (let i = 0; i < n; i++) {
      const a = alpha * A[p * n + i];
      for (let j = 0; j <= i; j++) C[i * n + j] += a * A[p * n + j];
    }
  }
}

/** L with A = L·Lᵀ in the lower triangle, in place. */
export function cholesky(n: number, A: Reals): void {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = A[i * n + j];
      for (let p = 0; p < j; p++) sum -= A[i * n + p] * A[j * n + p];
      A[i * n + j] = i === j ? Math.sqrt(sum) : sum / A[j * n + j];
    }
  }
}

/** X with L·X = B in place, for L lower n × n and B n × w. */
export function solveLower(n: number, w: number, L: Reals, B: Reals): void {
  for (let i = 0; i < n; i++) {
    for (let p = 0; p < i; p++) {
      const l = L[i * n + p];
      for (let j = 0; j < w; j++) B[i * w + j] -= l * B[p * w + j];
    }
    for (let j = 0; j < w; j++) B[i * w + j] /= L[i * n + i];
  }
}

/** Sweeps every given row of a symmetric positive definite A into the basis; of all rows: −A⁻¹. Both triangles, in place. */
function sweep(n: number, rows: Iterable<number>, A: Reals): void {
  for (const k of rows) {
    const pivot = A[k * n + k];
    const row = A.slice(k * n, (k + 1) * n);
    for (let i = 0; i < n; i++) {
      if (i === k) continue;
      const factor = row[i] / pivot;
      for (let j = 0; j < n; j++) A[i * n + j] -= factor * row[j];
      A[i * n + k] = factor;
    }
    for (let j = 0; j < n; j++) A[k * n + j] = row[j] / pivot;
    A[k * n + k] = -1 / pivot;
  }
}

export function inverse(n: number, A: Reals): Reals {
  const T = A.slice();
  sweep(n, Array(n).keys(), T);
  for (let i = 0; i < n * n; i++) T[i] = -T[i];
  return T;
}

/** Greedy elimination for groups of one row: one at a time, every update at once on all that is live. */
export function eliminate(
  { p, m, H, G }: LayerProblem,
  keep: number,
): { removed: number[]; objective: number } {
  const T = inverse(p, unpacked(H, p));
  const W = multiply(p, m, p, T, G);
  const live = Array.from({ length: p }, (_, i) => i);
  const removed: number[] = [];
  let objective = 0;
  for (let at = 0; at < p * m; at++) objective -= 0.5 * W[at] * G[at];
  while (live.length > keep) {
    let best = { at: -1, cost: Number.POSITIVE_INFINITY };
    live.forEach((i, at) => {
      let square = 0;
      for (let c = 0; c < m; c++) square += W[i * m + c] ** 2;
      const cost = (0.5 * square) / T[i * p + i];
      if (cost < best.cost) best = { at, cost };
    });
    const [gone] = live.splice(best.at, 1);
    objective += best.cost;
    removed.push(gone);
    for (const i of live) {
      const factor = T[i * p + gone] / T[gone * p + gone];
      for (const j of live) T[i * p + j] -= factor * T[gone * p + j];
      for (let c = 0; c < m; c++) W[i * m + c] -= factor * W[gone * m + c];
    }
  }
  return { removed, objective };
}

/**
 * What the exchange of two rows reads: H and G swept on the kept rows, and K = RRᵀ (docs/solver.md, but for the sign of
 * the removed rows, which cancels in every change).
 */
export function tableau({ p, m, H, G }: LayerProblem, kept: readonly number[]): { T: Reals; K: Reals } {
  const q = p + m; // [H G; Gᵀ 0] swept on the support: R stands where G was
  const A = new Float64Array(q * q);
  const whole = unpacked(H, p);
  for (let i = 0; i < p; i++) {
    A.set(whole.subarray(i * p, (i + 1) * p), i * q);
    for (let c = 0; c < m; c++) A[i * q + p + c] = A[(p + c) * q + i] = G[i * m + c];
  }
  sweep(q, kept, A);
  const T = new Float64Array(p * p);
  const R = new Float64Array(p * m);
  for (let i = 0; i < p; i++) {
    for (let j = 0; j < p; j++) T[i * p + j] = -A[i * q + j];
    for (let c = 0; c < m; c++) R[i * m + c] = A[i * q + p + c];
  }
  const K = new Float64Array(p * p);
  for (let i = 0; i < p; i++) {
    for (let j = 0; j < p; j++) for (let c = 0; c < m; c++) K[i * p + j] += R[i * m + c] * R[j * m + c];
  }
  return { T, K };
}

/** The least change that swapping a kept row for a removed one makes: ½ tr(T_BB⁻¹K_BB) over all pairs B. */
export function bestSwap(p: number, kept: readonly number[], T: Reals, K: Reals): number {
  const inside = new Set(kept);
  let best = Number.POSITIVE_INFINITY;
  for (let j = 0; j < p; j++) {
    if (inside.has(j)) continue;
    const [t, k] = [T[j * (p + 1)], K[j * (p + 1)]];
    for (const i of kept) {
      const [ti, ki, tij] = [T[i * (p + 1)], K[i * (p + 1)], T[j * p + i]];
      const change = (0.5 * (t * ki + ti * k - 2 * tij * K[j * p + i])) / (ti * t - tij * tij);
      if (change < best) best = change;
    }
  }
  return best;
}

function zeros(like: Reals, length: number): Reals {
  return like instanceof Float32Array ? new Float32Array(length) : new Float64Array(length);
}
