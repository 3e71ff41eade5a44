// The layer problem: from calibration statistics to H and G.
//
//     minimise  f(S, W) = ½ tr(WᵀHW) − tr(WᵀG)   over supports S and weights W supported on S
//
// with H = XᵀX + ρI and G = XᵀY + ρW0 (OSSCAR, arXiv 2403.12983, with the dense weights W0 as the point
// the damping pulls towards; of dead inputs it hardly does). Knows nothing of models: X are n inputs of a linear map, Y
// what it should give.

import { InputError } from '../errors.ts';
import { expectObjects, said } from '../expect.ts';
import { nonFiniteAt } from '../finite.ts';
import type { Kernels } from '../kernel/index.ts';
import {
  expectFields,
  expectOptions,
  type Fields,
  LATER,
  numberFrom,
  type Options,
  SWITCH,
} from '../options.ts';
import { sum } from '../sum.ts';
import { formBytes } from './memory';
import { triangle } from './triangle.ts';
import { expectKernels, type LayerProblem, requireGroups, requireLength, Workspace } from './workspace.ts';

/** Sums over the n calibration rows of a layer's inputs X (n × p) and, with a target, of Y (n × m). */
export interface LayerStatistics {
  readonly p: number;
  readonly m: number;
  /** Rows seen. */
  readonly n: number;
  /** XᵀX: the lower triangle of p × p, row behind row (`packed`). */
  readonly XtX: Float64Array;
  /** Σ x, p. */
  readonly sumX: Float64Array;
  /** Targets from outside the layer; without them only the dense weights' own output can be the target. */
  readonly target?: {
    /** XᵀY, p × m. */
    readonly XtY: Float64Array;
    /** Σ y, m. */
    readonly sumY: Float64Array;
  };
}

/** How statistics become a problem: groups, damping, target, bias. */
export interface ProblemOptions {
  /** Rows of W per group, b. p must be a multiple of it. */
  readonly groupSize: number;
  /** λ in ρ = λ·mean(diag XᵀX). Default 1e-2. */
  readonly damping?: number;
  /**
   * How much of the target comes from outside, a in (1 − a)·X·W0 + a·Y: 0 keeps the layer's own dense
   * output on these inputs, 1 corrects fully towards Y. Default 1 with a target, 0 without.
   */
  readonly blend?: number;
  /** The dense bias, m. With one, X and Y are centred and the bias is refitted. */
  readonly bias?: Float32Array | Float64Array;
  /**
   * Whether dead inputs, those that are zero on all rows (with a bias: constant), are damped like all others, as
   * published. A dead group then costs ½ρ|w|² to remove, and may stay while live ones go. By default it costs nothing:
   * dead groups go first, in the order of their weights, and one that stays keeps the dense weights.
   */
  readonly dampDead?: boolean;
  /** Memory for H, overwritten; for one problem after the other, as it can be the largest array there is. */
  readonly H?: Float64Array;
}

const STATISTICS: Fields<LayerStatistics> = {
  p: true,
  m: true,
  n: true,
  XtX: true,
  sumX: true,
  target: true,
};

export const PROBLEM_OPTIONS: Options<ProblemOptions> = {
  groupSize: LATER,
  damping: numberFrom(0),
  blend: numberFrom(0, 1),
  bias: LATER,
  dampDead: SWITCH,
  H: LATER,
};

export const DEFAULT_DAMPING = 1e-2; // the published value

/** Relative to f: below it, what is left of f without its damping is rounding. */
const NOTHING = 1e-12;

/**
 * H = XᵀX + ρI (centred where a bias is refitted) and G = (1 − a)·H·W0 + a·(XᵀY + ρW0). Rows of dead inputs hold
 * 2⁻⁴⁰ρ on the diagonal of H and that times W0 in G, and nothing else.
 *
 * @param statistics  of all samples, or of parts of them that add up to all
 * @param W0  dense weights, p × m
 * @throws {ShapeError} where sizes contradict each other
 * @throws {InputError} where the statistics or weights hold NaN or infinite values
 *
 * Costs 2p²m flops for the product H·W0 (none at a = 1); of wasm memory `problemBytes` and `formBytes`.
 *
 * @example
 * const problem = layerProblem(kernels, statistics, W0, { groupSize: 9, damping: 0.01 });
 * const { kept, W } = pruneLayer(kernels, problem, { keep: 32 });
 */
export function layerProblem(
  kernels: Kernels,
  statistics: LayerStatistics | readonly LayerStatistics[],
  W0: Float32Array | Float64Array,
  options: ProblemOptions,
): LayerProblem {
  expectKernels('layerProblem', kernels);
  const parts: readonly LayerStatistics[] = [statistics].flat();
  expectObjects('layerProblem', 'statistics', parts);
  expectOptions('layerProblem', options, PROBLEM_OPTIONS);
  if (parts.length === 0)
    throw new InputError('layerProblem: "statistics" expected calibration rows, got none');
  expectSums(parts);
  const [{ p, m, target }] = parts;
  const { groupSize, bias, blend = target ? 1 : 0, damping = DEFAULT_DAMPING, dampDead = false } = options;
  const { H = new Float64Array(triangle(p)) } = options;
  requireLength('H', H, triangle(p));
  requireLength('W0', W0, p * m);
  if (bias) requireLength('bias', bias, m);
  requireGroups(p, groupSize);
  requireSums(parts, blend);
  const dense = new Float64Array(W0);
  if (nonFiniteAt(dense) >= 0)
    throw new InputError('layerProblem: the dense weights hold NaN or infinite values');
  return kernels.scoped(() => {
    const space = new Workspace(kernels, { p, m, groupSize });
    const [sumX, sumY] = [p, m].map((length) => kernels.matrix(1, length, 'f64'));
    const given = space.views;
    given.W0.set(dense);
    if (bias) given.means.y.set(bias);
    addUp(given.H, parts, ({ XtX }) => XtX);
    addUp(kernels.view(sumX), parts, ({ sumX }) => sumX);
    if (blend > 0) {
      addUp(given.G, parts, ({ target }) => target!.XtY);
      addUp(kernels.view(sumY), parts, ({ target }) => target!.sumY);
    }
    space.working(formBytes(p, m), () => {
      const n = sum(parts.map((part) => part.n));
      const how = [bias !== undefined, damping, blend, dampDead] as const;
      const trace = kernels.abi.formProblem(space.state, n, sumX.ptr, sumY.ptr, ...how);
      if (!Number.isFinite(trace))
        throw new InputError('layerProblem: the calibration inputs hold NaN or infinite values');
    });
    const { views } = space; // the memory may have grown
    const [G, rho] = [views.G.slice(), views.rho.slice()];
    if (nonFiniteAt(G) >= 0)
      throw new InputError('layerProblem: the calibration targets hold NaN or infinite values');
    H.set(views.H);
    const means = bias && { x: views.means.x.slice(), y: views.means.y.slice() };
    const groups = p / groupSize;
    const solved = blend === 0 && { solution: dense };
    return { p, m, groupSize, groups, H, G, W0: dense, rho, ...solved, ...(means && { means }) };
  });
}

/** The sum of what the parts hold, in their order. */
function addUp<T>(to: Float64Array, [first, ...others]: readonly T[], of: (part: T) => Float64Array): void {
  to.set(of(first));
  for (const values of others.map(of)) for (let i = 0; i < to.length; i++) to[i] += values[i];
}

/** @throws {InputError} where these are no sums, but what makes them say */
function expectSums(parts: readonly LayerStatistics[]): void {
  for (const part of parts) {
    const hint = 'tiles' in part ? '; those in tiles are for `solveTiled`' : '';
    if (hint || ![part.p, part.m, part.n].every((size) => Number.isInteger(size) && size >= 0))
      throw new InputError(
        `layerProblem: "statistics" expected sums (what \`finish\` gives), got ${said(part)}${hint}`,
      );
    expectFields('layerProblem', 'statistics', part, STATISTICS);
  }
}

/** @throws {ShapeError} where parts of the statistics contradict the first of them */
function requireSums(parts: readonly LayerStatistics[], blend: number): void {
  const [{ p, m }] = parts;
  for (const { XtX, sumX, target } of parts) {
    requireLength('XtX', XtX, triangle(p));
    requireLength('sumX', sumX, p);
    if (!(blend > 0 && target)) continue;
    requireLength('XtY', target.XtY, p * m);
    requireLength('sumY', target.sumY, m);
  }
  expectRows(parts, blend);
}

/** @throws {InputError} where these parts of the statistics have no rows, or not the targets that are blended in */
export function expectRows(
  parts: readonly { readonly n: number; readonly target?: object }[],
  blend: number,
): void {
  if (blend > 0 && !parts.every(({ target }) => target))
    throw new InputError('layerProblem: a "blend" above 0 needs target statistics');
  if (!parts.some(({ n }) => n >= 1))
    throw new InputError('layerProblem: "statistics" expected calibration rows, got none');
}

/**
 * What the objective of a layer counts for beside those of others on the same support: each is relative to its own signal.
 */
export function weightOf(problem: LayerProblem): number {
  const { G, W0, settled = 0 } = problem;
  const signal = innerProduct(G, W0) - 2 * settled;
  const isSilent = dataOf(-0.5 * signal, dampingOf(problem, W0)) === 0; // all its inputs are dead
  return signal > 0 && !isSilent ? 1 / signal : 1;
}

/** ½Σρᵢ(|Wᵢ − W0ᵢ|² − |W0ᵢ|²): the damping in f(S, W), of W p × m. @param before  that of other rows, which it is added to */
export function dampingOf(
  { m, W0, rho }: { readonly m: number; readonly W0: ArrayLike<number>; readonly rho?: Float64Array },
  W: ArrayLike<number>,
  before = 0,
): number {
  let sum = 2 * before;
  for (let i = 0; i < (rho?.length ?? 0); i++) {
    for (let at = i * m; at < (i + 1) * m; at++) sum += rho![i] * W[at] * (W[at] - 2 * W0[at]);
  }
  return 0.5 * sum;
}

/** f without its damping: what weights are worth on the data. 0 where only rounding is left. */
export function dataOf(objective: number, damping: number): number {
  const data = objective - damping;
  return Math.abs(data) > NOTHING * Math.abs(objective) ? data : 0;
}

/** before + Σ AᵢBᵢ. */
export function innerProduct(A: ArrayLike<number>, B: ArrayLike<number>, before = 0): number {
  let sum = before;
  for (let i = 0; i < A.length; i++) sum += A[i] * B[i];
  return sum;
}
