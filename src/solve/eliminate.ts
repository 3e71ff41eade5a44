// Greedy backward elimination: from all groups, remove the cheapest again and again (elimination.ts). This file decides
// in which precision, makes H⁻¹ and the solution, and records the error curve.

import { InputError, NotPositiveDefiniteError } from '../errors.ts';
import type { ElementType, Kernels, Matrix, View } from '../kernel/index.ts';
import { CONFIRMED, NEGLIGIBLE, WELL_CONDITIONED } from './constants';
import { type EliminationPath, EliminationState } from './elimination.ts';
import { dampingOf, innerProduct, type LayerProblem } from './problem.ts';
import { type Refit, refit } from './refit.ts';

/** How `eliminate` goes about it. */
export interface EliminationOptions {
  /** Groups to keep; elimination stops there. */
  readonly keep: number;
  /** Groups removed between two rankings, as in the published schedule. Default 1, the better search. */
  readonly groupsPerStep?: number;
  /** Groups that must stay. */
  readonly protect?: readonly number[];
  /** How costs are kept exact; by default the path with the least work. */
  readonly path?: EliminationPath;
  /**
   * `f32`, the default: the search in f32, nearly twice as fast. In f64 instead where H is ill-conditioned, and again in
   * f64 where the refit of the support, always in f64, does not confirm the costs of the removals to 1e-4.
   */
  readonly precision?: ElementType;
  /** Give the weights that the updates alone lead to, as ZipLM does; takes the path `rows`, in f64. */
  readonly weights?: boolean;
  /** Go on below `keep`, one group at a time, for the rest of the curve (not with `weights`). */
  readonly wholeCurve?: boolean;
}

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
  /** The refit in f64 that confirmed a search in f32. */
  readonly refit?: Refit;
  /** p × m, the weights of the updates, where asked for. */
  readonly W?: Float64Array;
}

/**
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 *
 * p³ flops for H⁻¹, 2p²m for the weights (none where the solution is known), up to p³/6 for the columns of H⁻¹ that
 * are needed and about twice as much for those of the costs; in f32, k³/3 + 2k²m in f64 for the refit.
 * `eliminationBytes` of wasm memory, in f32 half as much.
 *
 * @example
 * const { kept, curve } = eliminate(kernels, problem, { keep: 128, wholeCurve: true });
 */
export function eliminate(kernels: Kernels, problem: LayerProblem, options: EliminationOptions): Elimination {
  checkSchedule('eliminate', problem, options);
  const { keep, precision = 'f32', weights = false } = options;
  if (precision === 'f32' && !weights && keep < problem.groups) {
    const found = eliminateInSingle(kernels, problem, options);
    if (found) return found;
  }
  return kernels.scoped(() => {
    return removeGroups(kernels, problem, options, fullSupport(kernels, problem, options, 'f64'));
  });
}

/** The elimination in f32, if that is good enough and f64 confirms it. */
function eliminateInSingle(
  kernels: Kernels,
  problem: LayerProblem,
  options: EliminationOptions,
): Elimination | undefined {
  const found = unlessIndefinite(() =>
    kernels.scoped(() => {
      const full = fullSupport(kernels, problem, options, 'f32');
      if (!(varianceInflation(kernels, problem, full.state.T) <= WELL_CONDITIONED)) return undefined;
      return removeGroups(kernels, problem, options, full);
    }),
  );
  if (!found) return undefined;
  const refitted = refit(kernels, problem, found.kept);
  const { objective } = refitted;
  const lost = found.objective - found.denseObjective;
  const allowed = CONFIRMED * lost - NEGLIGIBLE * objective;
  if (!(Math.abs(found.objective - objective) <= allowed)) return undefined;
  // What was lost is known better than f on all groups, unless the solution there was given.
  const denseObjective = problem.solution ? found.denseObjective : objective - lost;
  return { ...found, objective, denseObjective, refit: refitted };
}

/** max H_jj·T_jj. */
function varianceInflation(kernels: Kernels, { p, H }: LayerProblem, T: Matrix): number {
  const inverse = kernels.view(T);
  let largest = 0;
  for (let at = 0; at < p * p; at += p + 1) {
    const factor = H[at] * inverse[at];
    if (!(factor <= largest)) largest = factor; // NaN too
  }
  return largest;
}

/** An elimination of H⁻¹ = T and the solution W, the objective on all groups and its damping. On the kernels' stack. */
function fullSupport(
  kernels: Kernels,
  problem: LayerProblem,
  { path, weights, protect }: EliminationOptions,
  type: ElementType,
) {
  const { H, G, solution } = problem;
  const state = new EliminationState(kernels, problem, type, { path: weights ? 'rows' : path, protect });
  const { T, W } = state;
  kernels.write(T, H);
  kernels.write(W, solution ?? G);
  kernels.potrf(T);
  if (!solution) {
    kernels.trsm('left', false, 1, T, W);
    kernels.trsm('left', true, 1, T, W);
  }
  kernels.potri(T);
  const all = solution ?? kernels.view(W);
  return { state, objective: -0.5 * innerProduct(all, G), damping: dampingOf(problem, all) };
}

/** Removes the cheapest again and again. */
function removeGroups(
  kernels: Kernels,
  { groups, settled = 0, ...problem }: LayerProblem,
  { keep, groupsPerStep, protect, weights = false, wholeCurve = false }: EliminationOptions,
  { state, objective: denseObjective, damping: denseDamping }: ReturnType<typeof fullSupport>,
): Elimination {
  state.start();
  state.removeNext(groups - keep, groupsPerStep);
  const order = state.order().slice();
  const kept = Array.from(order.subarray(0, keep)).sort((a, c) => a - c);
  const removed = Array.from(order.subarray(keep)).reverse();
  const W = weights ? byGroup(kernels.view(state.W), order.subarray(0, keep), problem) : undefined;
  if (wholeCurve && !weights) {
    // What only describes ends where rounding takes it no further.
    unlessIndefinite(() => state.removeNext(keep - new Set(protect).size));
  }
  const curve = new Float64Array(groups + 1).fill(Number.NaN);
  curve[groups] = 0;
  const signal = -denseObjective - settled;
  const lost = losses(state);
  for (let k = state.live; k < groups; k++) curve[k] = signal > 0 ? lost[k] / signal : 0;
  const objective = denseObjective + lost[keep];
  return { kept, removed, curve, objective, denseObjective, denseDamping, precision: state.T.type, W };
}

/** By number of groups that were left, what the removals had cost in all. */
function losses(state: EliminationState): Float64Array {
  const costs = state.costs();
  const lost = new Float64Array(costs.length + 1);
  for (let k = costs.length - 1; k >= state.live; k--) lost[k] = lost[k + 1] + costs[k];
  return lost;
}

/** Rows of the first groups by position as rows by group, zeros elsewhere. */
function byGroup(
  rows: View<ElementType>,
  order: Int32Array,
  { p, m, groupSize }: Pick<LayerProblem, 'p' | 'm' | 'groupSize'>,
): Float64Array {
  const W = new Float64Array(p * m);
  const size = groupSize * m;
  order.forEach((group, at) => {
    W.set(rows.subarray(at * size, (at + 1) * size), group * size);
  });
  return W;
}

function unlessIndefinite<R>(run: () => R): R | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof NotPositiveDefiniteError) return undefined;
    throw error;
  }
}

/** As of `EliminationOptions`, but f64 by default: a selection in f32 is not confirmed here. */
type SelectionOptions = Pick<EliminationOptions, 'keep' | 'protect' | 'precision'>;

/**
 * Forward selection: from nothing, adds the group with the largest gain again and again. The elimination's
 * recursion with H and G in the place of H⁻¹ and H⁻¹G, so it needs no inverse.
 *
 * @returns the kept groups, ascending, and f of their refit
 */
export function select(
  kernels: Kernels,
  problem: LayerProblem,
  options: SelectionOptions,
): { readonly kept: number[]; readonly objective: number } {
  const { groups, H, G } = problem;
  const { keep, protect = [], precision = 'f64' } = options;
  checkSchedule('select', problem, options);
  return kernels.scoped(() => {
    const state = new EliminationState(kernels, problem, precision, { dearest: true });
    kernels.write(state.T, H);
    kernels.write(state.W, G);
    state.start();
    const must = new Set(protect);
    for (const group of must) state.remove(group);
    state.removeNext(keep - must.size);
    const kept = Array.from(state.order().subarray(groups - keep)).sort((a, b) => a - b);
    return { kept, objective: -losses(state)[groups - keep] };
  });
}

function checkSchedule(operation: string, { groups }: LayerProblem, options: EliminationOptions): void {
  const { keep, groupsPerStep = 1, protect = [], precision = 'f64' } = options;
  if (!(Number.isInteger(keep) && keep >= 0 && keep <= groups)) {
    throw new InputError(`${operation}: keep must be a whole number from 0 to ${groups}, got ${keep}`);
  }
  if (!(Number.isInteger(groupsPerStep) && groupsPerStep >= 1)) {
    throw new InputError(
      `${operation}: groupsPerStep must be a whole number of at least 1, got ${groupsPerStep}`,
    );
  }
  if (precision !== 'f32' && precision !== 'f64') {
    throw new InputError(`${operation}: precision must be f32 or f64, got ${precision}`);
  }
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
