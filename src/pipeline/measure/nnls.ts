// Least squares with no negative coefficient (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23), on the
// normal equations. For problems of tens of unknowns whose columns are independent.

import { sum } from '../../graph/index.ts';

/** Gradients below it, as a part of the largest at the start, are rounding. */
const TOLERANCE = 1e-12;

/**
 * The x ≥ 0 with the least |A·x − y|².
 *
 * @param A  by rows
 */
export function nonNegative(A: readonly (readonly number[])[], y: readonly number[]): number[] {
  const n = A[0].length;
  const columns = Array.from({ length: n }, (_, j) => A.map((row) => row[j]));
  const G = columns.map((a) => columns.map((b) => dot(a, b)));
  const c = columns.map((a) => dot(a, y));
  const x = new Array<number>(n).fill(0);
  const free = new Set<number>();
  const least = TOLERANCE * Math.max(...c.map(Math.abs));
  // Each coefficient may come and go; more often than this it does so by rounding alone.
  for (let step = 0; step < 3 * n; step++) {
    const held = [...x.keys()].filter((j) => !free.has(j));
    const gradient = (j: number) => c[j] - dot(G[j], x);
    const best = held.reduce((a, b) => (gradient(b) > gradient(a) ? b : a), held[0]);
    if (best === undefined || gradient(best) <= least) break;
    free.add(best);
    for (;;) {
      const order = [...free];
      const found = solve(
        order.map((i) => order.map((j) => G[i][j])),
        order.map((i) => c[i]),
      );
      const falling = order.filter((_, at) => found[at] <= 0);
      // As far towards the solution as none turns negative; what is at zero then is held there.
      const way = Math.min(1, ...falling.map((j) => x[j] && x[j] / (x[j] - found[order.indexOf(j)])));
      order.forEach((j, at) => {
        x[j] += way * (found[at] - x[j]);
      });
      if (falling.length === 0) break;
      for (const j of falling) {
        if (x[j] > TOLERANCE) continue;
        x[j] = 0;
        free.delete(j);
      }
    }
  }
  return x;
}

const dot = (a: readonly number[], b: readonly number[]) => sum(a.map((value, i) => value * b[i]));

/** x of G·x = c for a positive definite G, by elimination. */
function solve(G: number[][], c: number[]): number[] {
  const n = c.length;
  for (let k = 0; k < n; k++) {
    for (let i = k + 1; i < n; i++) {
      const factor = G[i][k] / G[k][k];
      for (let j = k; j < n; j++) G[i][j] -= factor * G[k][j];
      c[i] -= factor * c[k];
    }
  }
  const x = new Array<number>(n).fill(0);
  for (let i = n - 1; i >= 0; i--) x[i] = (c[i] - dot(G[i].slice(i + 1), x.slice(i + 1))) / G[i][i];
  return x;
}
