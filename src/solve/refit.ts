// The best weights on a fixed support: W_S = H_SS⁻¹ G_S, solved afresh in f64.

import { InputError } from '../errors.ts';
import { expectObject, said } from '../expect.ts';
import type { Kernels } from '../kernel/index.ts';
import { triangle } from './triangle.ts';
import {
  expectKernels,
  expectProblem,
  type LayerProblem,
  type Refit,
  type Steps,
  Workspace,
} from './workspace.ts';

/**
 * @param kept  group numbers, ascending
 * @throws {InputError} where these are none of the problem's
 * @throws {NotPositiveDefiniteError} where H is not positive definite on the support
 *
 * k³/3 + 2k²m flops for k kept rows; of wasm memory `problemBytes` and 8(k² + km).
 *
 * @example
 * const { W } = refit(kernels, problem, [0, 2, 5]); // rows of the other groups are zero
 */
export function refit(kernels: Kernels, problem: LayerProblem, kept: readonly number[]): Refit {
  expectKernels('refit', kernels);
  expectProblem('refit', problem);
  const { groups, groupSize } = problem;
  if (!areGroups(kept, groups))
    throw new InputError(
      `refit: "kept" expected groups from 0 to ${groups - 1}, ascending, got ${said(kept)}`,
    );
  return refitRows(kernels, problem, groupRows(kept, groupSize));
}

/** Whether these are numbers of so many groups, each once and ascending. */
export function areGroups(given: readonly number[], groups: number): boolean {
  const isNext = (group: number, at: number) =>
    Number.isInteger(group) && group < groups && group > (at === 0 ? -1 : given[at - 1]);
  return Array.isArray(given) && given.every(isNext);
}

/**
 * As `refit`, of rows instead of groups.
 * @param steps  weights are whole multiples of scales. Rows whose inputs are largest are rounded first, and the others make up for them
 */
export function refitRows(kernels: Kernels, problem: LayerProblem, rows: Int32Array, steps?: Steps): Refit {
  const variance = (row: number) => problem.H[triangle(row) + row];
  const ordered = steps === undefined ? rows : rows.toSorted((a, b) => variance(a) - variance(b));
  return kernels.scoped(() => Workspace.of(kernels, problem).refit(ordered, steps));
}

/** f(S, W) of any weights W (p × m) that vanish outside these rows. k²m flops. */
export function objectiveOf(
  kernels: Kernels,
  problem: LayerProblem,
  W: Float64Array,
  rows: Int32Array,
): number {
  return kernels.scoped(() => Workspace.of(kernels, problem).objectiveOf(rows, W));
}

/**
 * The bias ȳ − Wᵀx̄ that goes with weights W, or nothing where the problem does not refit it.
 *
 * @example
 * const { W } = refit(kernels, problem, kept);
 * const bias = refitBias(problem, W);
 */
export function refitBias(
  problem: Pick<LayerProblem, 'p' | 'm' | 'means'>,
  W: Float64Array,
): Float64Array | undefined {
  expectObject('refitBias', 'problem', problem);
  const { p, m, means } = problem;
  if (!means) return undefined;
  const bias = Float64Array.from(means.y);
  for (let i = 0; i < p; i++) {
    for (let j = 0; j < m; j++) bias[j] -= W[i * m + j] * means.x[i];
  }
  return bias;
}

/** Row numbers of the given groups. */
export function groupRows(groups: readonly number[], groupSize: number): Int32Array {
  const rows = new Int32Array(groups.length * groupSize);
  return rows.map((_, i) => groups[Math.floor(i / groupSize)] * groupSize + (i % groupSize));
}
