// Greedy backward elimination: from all groups, remove the cheapest again and again.
// The kernel keeps every cost exact after each removal (assembly/eliminate.ts); this file decides the
// schedule, applies full panels and records the error curve.

import { InputError } from '../errors.ts';
import { type EliminationPath, EliminationState, type Kernels } from '../kernel/index.ts';
import type { LayerProblem } from './problem.ts';

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
  /** Give the weights that the updates alone lead to, as ZipLM does; takes the path `rows`. */
  readonly weights?: boolean;
}

/** The support that a greedy elimination leaves, and its error on the way there. */
export interface Elimination {
  /** Group numbers that stay, ascending. */
  readonly kept: number[];
  /** Removed groups in the order of their removal. */
  readonly removed: number[];
  /** curve[k] = relative error with k groups kept, for keep ≤ k ≤ groups; NaN below. */
  readonly curve: Float64Array;
  /** f on the kept groups, from the sum of the costs. */
  readonly objective: number;
  /** f on all groups. */
  readonly denseObjective: number;
  /** p × m, where asked for. */
  readonly W?: Float64Array;
}

/**
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 *
 * p³ flops for H⁻¹, 2p²m for the weights (none where the solution is known), up to p³/3 for the updates of H⁻¹
 * and about as much for those of the costs; `eliminationBytes` more than 8(p² + pm) bytes of wasm memory.
 */
export function eliminate(kernels: Kernels, problem: LayerProblem, options: EliminationOptions): Elimination {
  const { groups, m } = problem;
  const { keep, groupsPerStep = 1, protect = [] } = options;
  checkSchedule('eliminate', problem, options);
  const mark = kernels.mark();
  try {
    const { state, W, objective } = fullState(kernels, problem, options.weights ? 'rows' : options.path);
    const isProtected = flags(groups, protect);
    const curve = new Float64Array(groups + 1).fill(Number.NaN);
    curve[groups] = 0;
    const removed: number[] = [];
    let lost = 0;
    for (const count of schedule(groups - keep, groupsPerStep)) {
      for (const group of first(state.costs(), state.order(), count, isProtected, 1)) {
        lost += state.remove(group);
        removed.push(group);
        curve[groups - removed.length] = objective < 0 ? lost / -objective : 0;
      }
    }
    const order = state.order();
    const kept = Array.from(order).sort((a, c) => a - c);
    const result = { kept, removed, curve, objective: objective + lost, denseObjective: objective };
    if (!options.weights) return result;
    const weights = new Float64Array(problem.p * m);
    const size = problem.groupSize * m;
    const view = kernels.view(W);
    order.forEach((group, at) => {
      weights.set(view.subarray(at * size, (at + 1) * size), group * size);
    });
    return { ...result, W: weights };
  } finally {
    kernels.release(mark);
  }
}

/**
 * Forward selection: from nothing, adds the group with the largest gain again and again. The elimination's
 * recursion with H and G in the place of H⁻¹ and H⁻¹G, so it needs no inverse.
 *
 * @returns the kept groups, ascending, and f of their refit
 */
export function select(
  kernels: Kernels,
  problem: LayerProblem,
  options: { readonly keep: number; readonly protect?: readonly number[] },
): { readonly kept: number[]; readonly objective: number } {
  const { p, m, groupSize, groups, H, G } = problem;
  const { keep, protect = [] } = options;
  checkSchedule('select', problem, options);
  const mark = kernels.mark();
  try {
    const T = kernels.matrix(p, p, 'f64');
    const W = kernels.matrix(p, m, 'f64');
    kernels.write(T, H);
    kernels.write(W, G);
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
  } finally {
    kernels.release(mark);
  }
}

/** The state from which elimination starts, on the kernels' stack; its own memory comes after T and W. */
function fullState(kernels: Kernels, problem: LayerProblem, path?: EliminationPath) {
  const { p, m, groupSize, H, G, solution } = problem;
  const T = kernels.matrix(p, p, 'f64');
  const W = kernels.matrix(p, m, 'f64');
  kernels.write(T, H);
  kernels.write(W, solution ?? G);
  kernels.potrf(T);
  if (!solution) {
    kernels.trsm('left', false, 1, T, W);
    kernels.trsm('left', true, 1, T, W);
  }
  kernels.potri(T);
  const objective = -0.5 * innerProduct(kernels.view(W), G);
  return { state: new EliminationState(kernels, T, W, groupSize, { path }), W, objective };
}

function checkSchedule(
  operation: string,
  { groups }: LayerProblem,
  options: Pick<EliminationOptions, 'keep' | 'groupsPerStep' | 'protect'>,
): void {
  const { keep, groupsPerStep = 1, protect = [] } = options;
  if (!(Number.isInteger(keep) && keep >= 0 && keep <= groups)) {
    throw new InputError(`${operation}: keep must be a whole number from 0 to ${groups}, got ${keep}`);
  }
  if (!(Number.isInteger(groupsPerStep) && groupsPerStep >= 1)) {
    throw new InputError(
      `${operation}: groupsPerStep must be a whole number of at least 1, got ${groupsPerStep}`,
    );
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

export function innerProduct(A: Float64Array, B: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < A.length; i++) sum += A[i] * B[i];
  return sum;
}
