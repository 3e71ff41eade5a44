// Least squares with no negative coefficient (Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23), on the
// normal equations. For problems of up to some hundreds of unknowns whose columns are independent.

import { dot } from '../../sum.ts';

/** Gradients below it, as a part of the largest at the start, are rounding. */
const TOLERANCE = 1e-12;

/**
 * The x ≥ 0 with the least |A·x − y|².
 *
 * @param A  by rows
 * @param start  where to begin: an x that is near takes less time
 */
export function nonNegative(
  A: readonly (readonly number[])[],
  y: readonly number[],
  start: readonly number[] = A[0].map(() => 0),
): number[] {
  const n = A[0].length;
  const columns = Array.from({ length: n }, (_, j) => Float64Array.from(A, (row) => row[j]));
  const G = columns.map((a) => Float64Array.from(columns, (b) => dot(a, b)));
  const c = columns.map((a) => dot(a, y));
  const x = [...start];
  const free = new Set([...x.keys()].filter((j) => x[j] > 0));
  const least = TOLERANCE * Math.max(...c.map(Math.abs));
  // Each coefficient may come and go; more often than this it does so by rounding alone.
  for (let step = 0; step < 3 * n; step++) {
    for (let isFalling = free.size > 0; isFalling; ) {
      const order = [...free];
      const found = solve(
        order.map((i) => Float64Array.from(order, (j) => G[i][j])),
        Float64Array.from(order, (i) => c[i]),
      );
      // As far towards the solution as none turns negative; what is at zero then is held there.
      let way = 1;
      order.forEach((j, at) => {
        if (found[at] <= 0) way = Math.min(way, x[j] && x[j] / (x[j] - found[at]));
      });
      isFalling = false;
      order.forEach((j, at) => {
        x[j] += way * (found[at] - x[j]);
        if (found[at] > 0) return;
        isFalling = true;
        if (x[j] > TOLERANCE) return;
        x[j] = 0;
        free.delete(j);
      });
    }
    let [best, gradient] = [-1, least];
    for (let j = 0; j < n; j++) {
      const own = free.has(j) ? 0 : c[j] - dot(G[j], x);
      if (own > gradient) [best, gradient] = [j, own];
    }
    if (best < 0) break;
    free.add(best);
  }
  return x;
}

/** x of G·x = c for a positive definite G, by elimination. */
function solve(G: readonly Float64Array[], c: Float64Array): Float64Array {
  const n = c.length;
  for (let k = 0; k < n; k++) {
    const pivot = G[k];
    for (let i = k + 1; i < n; i++) {
      const row = G[i];
      const factor = row[k] / pivot[k];
      for (let j = k; j < n; j++) row[j] -= factor * pivot[j];
      c[i] -= factor * c[k];
    }
  }
  const x = new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) x[i] = (c[i] - dot(G[i].subarray(i + 1), x.subarray(i + 1))) / G[i][i];
  return x;
}
