// Greedy backward elimination: from all groups, remove the cheapest again and again.
// The kernel keeps every cost exact after each removal (assembly/eliminate.ts); this file decides the
// schedule, applies full panels and records the error curve.

import { InputError } from '../errors.ts';
import { type EliminationPath, EliminationState, type Kernels } from '../kernel/index.ts';
import type { LayerProblem } from './problem.ts';

export interface EliminationOptions {
  /** Groups to keep; elimination stops there. */
  readonly keep: number;
  /** Groups removed between two rankings, as in the published schedule. Default 1, the better search. */
  readonly groupsPerStep?: number;
  /** Groups that must stay. */
  readonly protect?: readonly number[];
  /** How costs are kept exact; by default the path with the least work. */
  readonly path?: EliminationPath;
}

export interface Elimination {
  /** Group numbers that stay, ascending. */
  readonly kept: number[];
  /** Removed groups in the order of their removal. */
  readonly removed: number[];
  /** curve[k] = relative error with k groups kept, for keep ≤ k ≤ groups; NaN below. */
  readonly curve: Float64Array;
}

/**
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 *
 * p³ flops for H⁻¹, up to p³/3 for its updates and p²m for the weights'; 8(p² + pm + 64p) bytes of wasm memory.
 */
export function eliminate(kernels: Kernels, problem: LayerProblem, options: EliminationOptions): Elimination {
  const { p, m, groups, groupSize: b, H, G } = problem;
  const { keep, groupsPerStep = 1, protect = [] } = options;
  if (!(Number.isInteger(keep) && keep >= 0 && keep <= groups)) {
    throw new InputError(`eliminate: keep must be a whole number from 0 to ${groups}, got ${keep}`);
  }
  if (!(Number.isInteger(groupsPerStep) && groupsPerStep >= 1)) {
    throw new InputError(
      `eliminate: groupsPerStep must be a whole number of at least 1, got ${groupsPerStep}`,
    );
  }

  if (new Set(protect).size > keep) {
    throw new InputError(`eliminate: ${protect.length} protected groups do not fit into ${keep} kept ones`);
  }

  const mark = kernels.mark();
  try {
    const T = kernels.matrix(p, p, 'f64');
    const W = kernels.matrix(p, m, 'f64');
    kernels.write(T, H);
    kernels.write(W, G);
    kernels.potrf(T);
    kernels.trsm('left', false, 1, T, W);
    kernels.trsm('left', true, 1, T, W);
    kernels.potri(T);
    const denseObjective = -0.5 * innerProduct(kernels.view(W), G);

    const isProtected = new Uint8Array(groups);
    for (const group of protect) isProtected[group] = 1;
    const state = new EliminationState(kernels, T, W, b, { path: options.path });
    const curve = new Float64Array(groups + 1).fill(Number.NaN);
    curve[groups] = 0;
    const removed: number[] = [];
    let lost = 0;
    for (const count of schedule(groups - keep, groupsPerStep)) {
      for (const group of cheapest(state.costs(), state.order(), count, isProtected)) {
        lost += state.remove(group);
        removed.push(group);
        curve[groups - removed.length] = denseObjective < 0 ? lost / -denseObjective : 0;
      }
    }
    return { kept: Array.from(state.order()).sort((a, c) => a - c), removed, curve };
  } finally {
    kernels.release(mark);
  }
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

/** The `count` cheapest groups, cheapest first; equal costs go by group number, so runs agree everywhere. */
function cheapest(costs: Float64Array, order: Int32Array, count: number, isProtected: Uint8Array): number[] {
  if (count > 1) {
    return Array.from(order.keys())
      .filter((i) => !isProtected[order[i]])
      .sort((i, j) => costs[i] - costs[j] || order[i] - order[j])
      .slice(0, count)
      .map((i) => order[i]);
  }
  let best = -1;
  for (let i = 0; i < costs.length; i++) {
    if (isProtected[order[i]]) continue;
    if (best < 0 || costs[i] < costs[best] || (costs[i] === costs[best] && order[i] < order[best])) best = i;
  }
  return [order[best]];
}

function innerProduct(A: Float64Array, B: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < A.length; i++) sum += A[i] * B[i];
  return sum;
}
