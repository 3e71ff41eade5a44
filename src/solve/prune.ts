// One layer: choose a support by one of the methods and give the weights that go with it.

import { InputError } from '../errors.ts';
import type { Kernels } from '../kernel/index.ts';
import { eliminate } from './eliminate.ts';
import { magnitudeSupport } from './magnitude.ts';
import type { LayerProblem } from './problem.ts';
import { groupRows, objectiveOf, refit } from './refit.ts';

/**
 * - `osscar`: greedy elimination of the cheapest group, remaining weights re-solved
 * - `magnitude`: the groups with the smallest weights go, the rest is left as it was (MP)
 * - `magnitude-refit`: the same groups, remaining weights re-solved (MP+)
 */
export const METHODS = ['osscar', 'magnitude', 'magnitude-refit'] as const;
export type Method = (typeof METHODS)[number];

export interface LayerOptions {
  /** Groups to keep, 0 … groups. */
  readonly keep: number;
  /** Default `osscar`. */
  readonly method?: Method;
  /** Groups removed between two rankings (`osscar` only). Default 1. */
  readonly groupsPerStep?: number;
  /** Groups that must stay (`osscar` only). */
  readonly protect?: readonly number[];
}

export interface LayerResult {
  /** Group numbers that stay, ascending. */
  readonly kept: number[];
  /** p × m; rows of removed groups are zero. */
  readonly W: Float64Array;
  /** f(S, W), at most 0 after a refit. */
  readonly objective: number;
  /** (f(S, W) − f(all)) / −f(all), with f(all) the objective of the best weights on all groups. */
  readonly relativeError: number;
  /** Relative error for every number of groups down to `keep` (`osscar` only); see `Elimination`. */
  readonly curve?: Float64Array;
}

/**
 * Prunes one layer (OSSCAR, arXiv 2403.12983).
 *
 * @throws {InputError} for an impossible `keep`
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 */
export function pruneLayer(kernels: Kernels, problem: LayerProblem, options: LayerOptions): LayerResult {
  const { groups } = problem;
  const { keep, method = 'osscar', groupsPerStep, protect } = options;
  if (!(Number.isInteger(keep) && keep >= 0 && keep <= groups)) {
    throw new InputError(`prune: keep must be a whole number from 0 to ${groups}, got ${keep}`);
  }
  const all = refit(
    kernels,
    problem,
    Array.from({ length: groups }, (_, group) => group),
  ).objective;
  const relative = (objective: number) => (all < 0 ? (objective - all) / -all : 0);

  if (method === 'osscar') {
    const { kept, curve } = eliminate(kernels, problem, { keep, groupsPerStep, protect });
    const { W, objective } = refit(kernels, problem, kept);
    return { kept, W, objective, relativeError: relative(objective), curve };
  }
  const kept = magnitudeSupport(problem, keep);
  if (method === 'magnitude-refit') {
    const { W, objective } = refit(kernels, problem, kept);
    return { kept, W, objective, relativeError: relative(objective) };
  }
  const W = new Float64Array(problem.p * problem.m);
  for (const row of groupRows(kept, problem.groupSize)) {
    W.set(problem.W0.subarray(row * problem.m, (row + 1) * problem.m), row * problem.m);
  }
  const objective = objectiveOf(problem, W, kept);
  return { kept, W, objective, relativeError: relative(objective) };
}

/** Groups to keep for a ratio: to the nearest whole number, at least one. */
export function groupsToKeep(groups: number, ratio: number): number {
  return Math.max(1, Math.round(groups * ratio));
}

/**
 * Peak bytes of WebAssembly memory that a layer takes, over statistics, problem, elimination and refit:
 * two p × p matrices never live at once.
 */
export function layerWasmBytes(p: number, m: number, groupSize: number): number {
  const packing = 8 * 2 ** 20; // the GEMM's packing buffers
  const panel = 64 * p + p * groupSize;
  return 8 * (p * p + 2 * p * m + panel) + 4 * 512 * (p + m) + packing;
}
