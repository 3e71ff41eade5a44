// Layers of which only some rows are up for removal: those that read a concatenation have rows of other structures,
// and of channels that stay.

import type { Kernels } from '../kernel/index.ts';
import { packed } from './triangle.ts';
import { expectDefinite, type LayerProblem, requireGroups, rowsOf, Workspace } from './workspace.ts';

/** Which rows of W a choice of groups is about. */
export interface LayerRows {
  /** Rows of W per group, b. */
  readonly groupSize: number;
  /** Rows that may go, group by group, as many of each. The others stay and are refitted. Left out: all, in order. */
  readonly free?: Int32Array;
  /** Rows that have gone already: their weights are zero and stay so. */
  readonly gone?: Int32Array;
}

/** Rows that are left where these groups stay, ascending. */
export function rowsLeft(
  p: number,
  { groupSize, free, gone = new Int32Array() }: LayerRows,
  kept: readonly number[],
): Int32Array {
  const isLeft = new Uint8Array(p).fill(free ? 1 : 0);
  const rows = free ?? Int32Array.from({ length: p }, (_, row) => row);
  for (const row of rows) isLeft[row] = 0;
  for (const group of kept) {
    for (const row of rows.subarray(group * groupSize, (group + 1) * groupSize)) isLeft[row] = 1;
  }
  for (const row of gone) isLeft[row] = 0;
  return Int32Array.from(isLeft.keys()).filter((row) => isLeft[row] === 1);
}

/**
 * The problem of the rows that may go, whatever the best weights of those that stay are then: with F the latter,
 *
 *     H ← H − H_:F H_FF⁻¹ H_F:      G ← G − H_:F H_FF⁻¹ G_F
 *
 * so that its objective and that of the whole problem differ by `settled` on every support.
 *
 * @param problem  of all rows, each a group of its own where some of them are free
 * @throws {NotPositiveDefiniteError} where H_FF is not positive definite
 */
export function freePart(kernels: Kernels, problem: LayerProblem, rows: LayerRows): LayerProblem {
  const { groupSize, free, gone } = rows;
  if (!free) return problem;
  requireGroups(free.length, groupSize);
  const { m } = problem;
  const { abi } = kernels;
  const stay = rowsLeft(problem.p, rows, []);
  const [k, p] = [stay.length, free.length];
  return kernels.scoped(() => {
    const { state } = Workspace.of(kernels, problem);
    const T = kernels.matrix(k + p, k + p, 'f64');
    const R = kernels.matrix(k + p, m, 'f64');
    const objective = kernels.matrix(1, 1, 'f64');
    const order = kernels.allocate(4 * (k + p));
    const work = kernels.allocate(abi.workBytes(k + p, m));
    new Int32Array(abi.memory.buffer, order, k + p).set([...stay, ...free]);
    abi.gather(state, order, k + p, T.ptr, T.ld, R.ptr);
    expectDefinite('problem', abi.schurComplement(k + p, m, k, 0, 1, T.ptr, R.ptr, objective.ptr, work));
    const H = packed(kernels.read(kernels.submatrix(T, k, k, p, p)), p);
    const G = kernels.read(kernels.submatrix(R, k, 0, p, m));
    const W0 = rowsOf(problem.W0, free, m);
    const [settled] = kernels.view(objective);
    const solved = problem.solution && !gone?.length && { solution: W0 };
    return { p, m, groupSize, groups: p / groupSize, H, G, W0, settled, ...solved };
  });
}
