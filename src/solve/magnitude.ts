// The magnitude criterion: a group's worth is the size of its weights. Data-free, the baseline of the field.

import type { LayerProblem } from './problem.ts';

/**
 * The `keep` groups with the largest Σ|w| over their rows of W0 (the published code's norm), ascending; ties keep
 * the lower number. Protected groups come first.
 */
export function magnitudeSupport(
  problem: LayerProblem,
  keep: number,
  protect: readonly number[] = [],
): number[] {
  const { groups, groupSize, m, W0 } = problem;
  const norms = new Float64Array(groups);
  for (let g = 0; g < groups; g++) {
    for (let i = g * groupSize * m; i < (g + 1) * groupSize * m; i++) norms[g] += Math.abs(W0[i]);
  }
  for (const group of protect) norms[group] = Number.POSITIVE_INFINITY;
  const order = Array.from(norms.keys()).sort((a, b) => norms[b] - norms[a] || a - b); // also where both are infinite
  return order.slice(0, keep).sort((a, b) => a - b);
}

/** The dense weights of these rows, zeros elsewhere. */
export function denseOn({ W0, m }: LayerProblem, rows: Int32Array): Float64Array {
  const W = new Float64Array(W0.length);
  for (const row of rows) W.set(W0.subarray(row * m, (row + 1) * m), row * m);
  return W;
}
