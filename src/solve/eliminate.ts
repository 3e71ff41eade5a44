// Greedy backward elimination: from all groups, remove the cheapest again and again. The mathematics and the order of work
// are in assembly/solve/; this file says what is to be done, and what came of it.

import { InputError } from '../errors.ts';
import { said } from '../expect.ts';
import type { ElementType, Kernels } from '../kernel/index.ts';
import { COUNT, expectOptions, LATER, type Options, oneOf, required, SWITCH, wholeFrom } from '../options.ts';
import { eliminationBytes } from './memory';
import { groupRows } from './refit.ts';
import {
  expectDefinite,
  expectKernels,
  expectProblem,
  type LayerProblem,
  spread,
  Workspace,
} from './workspace.ts';

/** How `eliminate` goes about it. */
export interface EliminationOptions {
  /** Groups to keep; elimination stops there. */
  readonly keep: number;
  /** Groups removed between two rankings, as in the published schedule. Default 1, the better search. */
  readonly groupsPerStep?: number;
  /** Groups that must stay. */
  readonly protect?: readonly number[];
  /**
   * `f32`, the default: the search in f32, nearly twice as fast. In f64 instead where H is ill-conditioned, and again in
   * f64 where the refit of the support, always in f64, does not confirm the costs of the removals to 1e-4.
   */
  readonly precision?: ElementType;
  /** Give the weights that the updates alone lead to, as ZipLM does; in f64. */
  readonly weights?: boolean;
  /** Go on below `keep`, one group at a time, for the rest of the curve (not with `weights`). */
  readonly wholeCurve?: boolean;
}

export const ELIMINATION_OPTIONS: Options<EliminationOptions> = {
  keep: LATER,
  groupsPerStep: COUNT,
  protect: LATER,
  precision: oneOf('f32', 'f64'),
  weights: SWITCH,
  wholeCurve: SWITCH,
};

/** The support that a greedy elimination leaves, and its error on the way there. */
export interface Elimination {
  /** Group numbers that stay, ascending. */
  readonly kept: number[];
  /** Removed groups in the order of their removal. */
  readonly removed: number[];
  /**
   * curve[k] = relative error of f, damping and all, with k groups kept, for keep ≤ k ≤ groups, or of a whole curve from
   * the protected ones on; NaN below.
   */
  readonly curve: Float64Array;
  /** f on the kept groups. */
  readonly objective: number;
  /** f on all groups. */
  readonly denseObjective: number;
  /** What of that is damping. */
  readonly denseDamping: number;
  /** Of the search, as it was accepted. */
  readonly precision: ElementType;
  /** p × m, the weights of the updates, where asked for. */
  readonly W?: Float64Array;
}

/**
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 *
 * p³ flops for H⁻¹, 2p²m for the weights (none where the solution is known), up to p³/6 for the columns of H⁻¹ that
 * are needed and about twice as much for those of the costs; in f32, k³/3 + k²m in f64 for the refit.
 * `eliminationBytes` of wasm memory.
 *
 * @example
 * const { kept, curve } = eliminate(kernels, problem, { keep: 128, wholeCurve: true });
 */
export function eliminate(kernels: Kernels, problem: LayerProblem, options: EliminationOptions): Elimination {
  expectKernels('eliminate', kernels);
  expectProblem('eliminate', problem);
  expectOptions('eliminate', options, ELIMINATION_OPTIONS);
  return kernels.scoped(() => {
    const { W, ...found } = eliminateIn([Workspace.of(kernels, problem)], [problem], options);
    return { ...found, W: W?.[0] };
  });
}

/** As `eliminate`, of problems in wasm memory that share the support. */
export function eliminateIn(
  spaces: readonly Workspace[],
  problems: readonly LayerProblem[],
  options: EliminationOptions,
): Omit<Elimination, 'W'> & { readonly W?: Float64Array[] } {
  const [space] = spaces;
  const [{ groups }] = problems;
  checkGroups('eliminate', { groups }, options);
  const { keep, groupsPerStep = 1, protect, precision = 'f32' } = options;
  const { weights = false, wholeCurve = false } = options;
  const { abi } = space.kernels;
  space.protect(protect);
  const bytes = problems.map(({ p, m, groupSize }) => eliminationBytes(p, m, groupSize, 8, p));
  return Workspace.working(spaces, bytes, () => {
    const step = Math.min(groupsPerStep, groups);
    const how = [precision === 'f32' && !weights, wholeCurve && !weights] as const;
    expectDefinite('eliminate', abi.greedy(space.state, keep, step, ...how));
    const { objective, dense: denseObjective, denseDamping } = space.report;
    return {
      kept: space.kept,
      removed: Array.from(space.order.subarray(keep)).reverse(),
      curve: space.curve.slice(),
      objective,
      denseObjective,
      denseDamping,
      precision: abi.problemIsSingle(space.state) ? 'f32' : 'f64',
      W: weights ? spaces.map((own, i) => byGroup(own, problems[i], keep)) : undefined,
    };
  });
}

/** The weights that updates have led to, p × m, of removed groups zero. */
function byGroup(space: Workspace, { p, m, groupSize }: LayerProblem, keep: number): Float64Array {
  const rows = groupRows(Array.from(space.order.subarray(0, keep)), groupSize);
  return spread(space.matrix(space.kernels.abi.eliminated(space.state), rows.length, m), rows, p, m);
}

/**
 * The `keep` groups with the largest Σ|w| over their rows of W0 (the published code's norm), of all problems, ascending; ties keep
 * the lower number. Data-free, the baseline of the field.
 */
export function magnitudeSupport(
  kernels: Kernels,
  problems: readonly LayerProblem[],
  keep: number,
): number[] {
  return kernels.scoped(() => {
    const [space] = Workspace.together(kernels, problems, new Array(problems.length).fill(1));
    kernels.abi.keepLargest(space.state, keep);
    return space.kept;
  });
}

/** @throws {InputError} for groups to keep, or to protect, that there are not */
export function checkGroups(
  operation: string,
  { groups }: Pick<LayerProblem, 'groups'>,
  { keep, protect = [] }: Pick<EliminationOptions, 'keep' | 'protect'>,
): void {
  expectOptions(operation, { keep }, { keep: required(wholeFrom(0, groups)) });
  if (!Array.isArray(protect) && !ArrayBuffer.isView(protect))
    throw new InputError(`${operation}: "protect" expected an array of groups, got ${said(protect)}`);
  const stranger = protect.find((group) => !(Number.isInteger(group) && group >= 0 && group < groups));
  if (stranger !== undefined) {
    throw new InputError(`${operation}: "protect" expected groups from 0 to ${groups - 1}, got ${stranger}`);
  }
  if (new Set(protect).size > keep) {
    throw new InputError(
      `${operation}: ${protect.length} protected groups do not fit into ${keep} kept ones`,
    );
  }
}
