// Greedy backward elimination: from all groups, remove the cheapest again and again.
// The kernel keeps every cost exact after each removal (assembly/eliminate.ts); this file decides the
// schedule, applies full panels and records the error curve.

import { InputError, NotPositiveDefiniteError } from '../errors.ts';
import {
  type ElementType,
  type EliminationPath,
  EliminationState,
  type Kernels,
  type Matrix,
} from '../kernel/index.ts';
import { dampingOf, innerProduct, type LayerProblem } from './problem.ts';
import { type Refit, refit } from './refit.ts';

/**
 * How ill-conditioned H may be for a search in f32: the largest variance inflation factor H_jj·(H⁻¹)_jj, which no scaling
 * of the inputs changes. Costs of removals are then good to 1e-4: off by 0.15·2⁻²⁴ times the factor (median), at
 * most 20 times as much (measured). Of real layers it is at most some 300 at the default damping.
 */
const WELL_CONDITIONED = 500;

/**
 * How far an f32 search may be off in what its removals cost in all: relative to that, and to f, of which f32 knows the
 * eighth digit at best. Rounding that misleads a choice shows here: what is taken by mistake costs more than was thought.
 */
const CONFIRMED = 1e-4;
const NEGLIGIBLE = 1e-7;

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
 * 8(p² + pm) bytes of wasm memory and `eliminationBytes`; in f32 half as much.
 */
export function eliminate(kernels: Kernels, problem: LayerProblem, options: EliminationOptions): Elimination {
  checkSchedule('eliminate', problem, options);
  const { keep, precision = 'f32', weights = false } = options;
  if (precision === 'f32' && !weights && keep < problem.groups) {
    const found = eliminateInSingle(kernels, problem, options);
    if (found) return found;
  }
  return kernels.scoped(() => removeGroups(kernels, problem, options, fullSupport(kernels, problem, 'f64')));
}

/** The elimination in f32, if that is good enough and f64 confirms it. */
function eliminateInSingle(
  kernels: Kernels,
  problem: LayerProblem,
  options: EliminationOptions,
): Elimination | undefined {
  const found = unlessIndefinite(() =>
    kernels.scoped(() => {
      const full = fullSupport(kernels, problem, 'f32');
      if (!(varianceInflation(kernels, problem, full.T) <= WELL_CONDITIONED)) return undefined;
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

/** H⁻¹ = T, the solution W, the objective on all groups and its damping. On the kernels' stack. */
function fullSupport(kernels: Kernels, problem: LayerProblem, type: ElementType) {
  const { p, m, H, G, solution } = problem;
  const T = kernels.matrix(p, p, type, H);
  const W = kernels.matrix(p, m, type, solution ?? G);
  kernels.potrf(T);
  if (!solution) {
    kernels.trsm('left', false, 1, T, W);
    kernels.trsm('left', true, 1, T, W);
  }
  kernels.potri(T);
  const all = solution ?? kernels.view(W);
  return { T, W, objective: -0.5 * innerProduct(all, G), damping: dampingOf(problem, all) };
}

/** Removes the cheapest again and again. Overwrites T and W, and takes more of the kernels' stack. */
function removeGroups(
  kernels: Kernels,
  { p, m, groupSize, groups, settled = 0 }: LayerProblem,
  { keep, groupsPerStep = 1, protect = [], path, weights = false, wholeCurve = false }: EliminationOptions,
  { T, W, objective: denseObjective, damping: denseDamping }: ReturnType<typeof fullSupport>,
): Elimination {
  const state = new EliminationState(kernels, T, W, groupSize, { path: weights ? 'rows' : path });
  const isProtected = flags(groups, protect);
  const curve = new Float64Array(groups + 1).fill(Number.NaN);
  curve[groups] = 0;
  const signal = -denseObjective - settled;
  const removed: number[] = [];
  let lost = 0;
  const remove = (group: number) => {
    lost += state.remove(group);
    curve[state.order().length] = signal > 0 ? lost / signal : 0;
  };
  for (const count of schedule(groups - keep, groupsPerStep)) {
    for (const group of first(state.costs(), state.order(), count, isProtected, 1)) {
      remove(group);
      removed.push(group);
    }
  }
  const order = state.order();
  const kept = Array.from(order).sort((a, c) => a - c);
  const objective = denseObjective + lost;
  const result = { kept, removed, curve, objective, denseObjective, denseDamping, precision: T.type };
  if (!weights) {
    // What only describes ends where rounding takes it no further.
    unlessIndefinite(() => {
      for (let left = wholeCurve ? keep - new Set(protect).size : 0; left > 0; left--) {
        remove(first(state.costs(), state.order(), 1, isProtected, 1)[0]);
      }
    });
    return result;
  }
  const rows = new Float64Array(p * m);
  const size = groupSize * m;
  const view = kernels.view(W);
  order.forEach((group, at) => {
    rows.set(view.subarray(at * size, (at + 1) * size), group * size);
  });
  return { ...result, W: rows };
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
  const { p, m, groupSize, groups, H, G } = problem;
  const { keep, protect = [], precision = 'f64' } = options;
  checkSchedule('select', problem, options);
  return kernels.scoped(() => {
    const T = kernels.matrix(p, p, precision, H);
    const W = kernels.matrix(p, m, precision, G);
    const state = new EliminationState(kernels, T, W, groupSize, { dearest: true });
    const none = new Uint8Array(groups);
    const must = [...new Set(protect)];
    const kept: number[] = [];
    let objective = 0;
    while (kept.length < keep) {
      const group = must[kept.length] ?? first(state.costs(), state.order(), 1, none, -1)[0];
      objective -= state.remove(group);
      kept.push(group);
    }
    return { kept: kept.sort((a, c) => a - c), objective };
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

export function flags(groups: number, set: readonly number[]): Uint8Array {
  const result = new Uint8Array(groups);
  for (const group of set) result[group] = 1;
  return result;
}

/**
 * Groups per step of the published schedule: n removals over s = max(1, ⌊n / t⌋) steps of ⌊n / s⌋
 * groups, the first n mod s of them one larger.
 */
export function* schedule(n: number, t: number): Generator<number> {
  if (n === 0) return;
  const steps = Math.max(1, Math.floor(n / t));
  for (let step = 0; step < steps; step++) yield Math.floor(n / steps) + (step < n % steps ? 1 : 0);
}

/**
 * The `count` groups that go first: the cheapest (sign 1) or the dearest (−1). Equal costs go by group number,
 * so runs agree everywhere.
 */
export function first(
  costs: ArrayLike<number>,
  order: Int32Array,
  count: number,
  excluded: Uint8Array,
  sign: 1 | -1,
): number[] {
  if (count > 1) {
    return Array.from(order.keys())
      .filter((i) => !excluded[order[i]])
      .sort((i, j) => sign * (costs[i] - costs[j]) || order[i] - order[j])
      .slice(0, count)
      .map((i) => order[i]);
  }
  let best = -1;
  for (let i = 0; i < order.length; i++) {
    if (excluded[order[i]]) continue;
    const lead = best < 0 ? -1 : sign * (costs[i] - costs[best]);
    if (lead < 0 || (lead === 0 && order[i] < order[best])) best = i;
  }
  return [order[best]];
}
