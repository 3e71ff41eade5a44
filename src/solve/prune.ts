// One layer: choose a support by one of the methods and give the weights that go with it.

import { InputError } from '../errors.ts';
import { said } from '../expect.ts';
import type { Kernels } from '../kernel/index.ts';
import { expectOptions, LATER, numberFrom, type Options, oneOf, required } from '../options.ts';
import { swapsAtMost } from './constants';
import {
  checkGroups,
  ELIMINATION_OPTIONS,
  type Elimination,
  type EliminationOptions,
  eliminate,
  eliminateIn,
  magnitudeSupport,
} from './eliminate.ts';
import { PACKING_BYTES, problemBytes, pruneBytes } from './memory';
import { dampingOf, dataOf, innerProduct } from './problem.ts';
import { areGroups, groupRows, objectiveOf, refit } from './refit.ts';
import {
  denseOn,
  expectDefinite,
  expectKernels,
  expectProblem,
  type LayerProblem,
  type Refit,
  Workspace,
} from './workspace.ts';

/**
 * - `osscar`: greedy elimination of the cheapest group and local search, remaining weights re-solved
 * - `ziplm`: the same elimination from the dense weights, one group at a time, whatever the target; weights as its
 *   updates leave them (ZipLM's structured OBS, arXiv 2302.04089)
 * - `magnitude`: the groups with the smallest weights go, the rest is left as it was (MP)
 * - `magnitude-refit`: the same groups, remaining weights re-solved (MP+)
 */
export const METHODS = ['osscar', 'ziplm', 'magnitude', 'magnitude-refit'] as const;
/** One of METHODS. */
export type Method = (typeof METHODS)[number];

/**
 * What `osscar` does after its greedy elimination:
 * - `greedy`: nothing
 * - `swap`: from the best of the greedy, the magnitude and (up to half the groups kept) the forward selection's
 *   support, the best single swap again and again, at most `maxSwaps` times
 * - `thorough`: `swap` without a bound, from each of the three
 * - `halving`: OSSCAR's exchanges of t groups, t halved where a step does not improve
 * - `published`: the same as the published code does it, ending at the first step that does not improve
 *
 * In the order of their numbers in constants.ts.
 */
export const SEARCHES = ['greedy', 'swap', 'thorough', 'halving', 'published'] as const;
/** One of SEARCHES. */
export type Search = (typeof SEARCHES)[number];

/**
 * What to prune of a layer, and how. Of the elimination's options `ziplm` has only `keep` and `protect`, the magnitude
 * only `keep`.
 */
export interface LayerOptions
  extends Pick<EliminationOptions, 'keep' | 'groupsPerStep' | 'protect' | 'precision' | 'wholeCurve'> {
  /** Default `osscar`. */
  readonly method?: Method;
  /** `osscar` only. Default `swap`. */
  readonly search?: Search;
  /** Groups that stay, ascending, where that is decided already: `keep` of them, and no search (`osscar` only). */
  readonly support?: readonly number[];
  /** t of `halving` and `published`: groups exchanged at once. Default a tenth of the kept ones. */
  readonly swapGroups?: number;
  /** Swaps of `swap` at most. Default 32, and J/16 within 4 … 32 for groups of several rows. */
  readonly maxSwaps?: number;
}

const { weights: _, ...SCHEDULE } = ELIMINATION_OPTIONS;
export const LAYER_OPTIONS: Options<LayerOptions> = {
  ...SCHEDULE,
  method: oneOf(...METHODS),
  search: oneOf(...SEARCHES),
  support: LATER,
  swapGroups: numberFrom(0),
  maxSwaps: numberFrom(0),
};

/** A pruned layer. */
export interface LayerResult extends Pick<Elimination, 'kept'>, Omit<Refit, 'damping'> {
  /**
   * What is lost of the signal: (d(W) − d(all)) / −d(all), with d = f without its damping and d(all) of the best weights
   * on all groups. As those are best for f, weights that are fitted to another target than the layer's own output may
   * lie slightly below them in d, and their error below 0; so may rounding, as sums are formed in f32.
   */
  readonly relativeError: number;
  /**
   * The greedy elimination's relative error of f, damping and all, for every number of groups down to `keep`, or further
   * (`osscar`; `ziplm`, there of the self target).
   */
  readonly curve?: Float64Array;
  /** What the local search did, from the start that led to the result (`osscar`, unless `greedy`). */
  readonly search?: {
    /** Steps that improved: single swaps, or exchanges of t groups. */
    readonly steps: number;
    /** Whether it is certain that no exchange of one kept for one removed group improves. */
    readonly swapOptimal: boolean;
    /** Change of the objective by the best single swap that remains; undefined where none was looked for. */
    readonly bestRemaining?: number;
    /** Objective of each start. */
    readonly starts: Readonly<Record<string, number>>;
    /** Where the result comes from. */
    readonly start: string;
  };
}

/**
 * Prunes one layer (OSSCAR, arXiv 2403.12983).
 *
 * @throws {InputError} for an impossible `keep` or an unknown method
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 *
 * @example
 * const { kept, W, relativeError } = pruneLayer(kernels, problem, { keep: 128 });
 */
export function pruneLayer(kernels: Kernels, problem: LayerProblem, options: LayerOptions): LayerResult {
  expectKernels('pruneLayer', kernels);
  expectProblem('pruneLayer', problem);
  expectOptions('pruneLayer', options, LAYER_OPTIONS);
  const { groups } = problem;
  const { keep, support, method = 'osscar', search = 'swap' } = options;
  checkGroups('pruneLayer', problem, options);
  if (support && !(areGroups(support, groups) && support.length === keep)) {
    throw new InputError(
      `pruneLayer: "support" expected ${keep} of the groups 0 to ${groups - 1}, ascending, got ${said(support)}`,
    );
  }
  if (method !== 'osscar') return byOthers(kernels, problem, options, method);
  return kernels.scoped(() => osscar(Workspace.of(kernels, problem), problem, options, search));
}

function byOthers(
  kernels: Kernels,
  problem: LayerProblem,
  { keep, protect }: LayerOptions,
  method: Exclude<Method, 'osscar'>,
): LayerResult {
  const { groups, groupSize, solution, G, W0 } = problem;
  const dense: Refit = solution
    ? { W: solution, objective: -0.5 * innerProduct(solution, G), damping: dampingOf(problem, solution) }
    : refit(kernels, problem, [...Array(groups).keys()]);
  const denseData = dataOf(dense.objective, dense.damping);
  const result = (kept: number[], W: Float64Array) => {
    const objective = objectiveOf(kernels, problem, W, groupRows(kept, groupSize));
    return resultOf(problem, kept, { W, objective, damping: dampingOf(problem, W) }, denseData);
  };
  if (method === 'ziplm') {
    // ZipLM knows no target but the dense layer itself: it starts at W0 whatever G is, and its weights are what the
    // updates W ← W − T_:B T_BB⁻¹ W_B leave. On a self target these are, to rounding, the refitted weights.
    const ownG = () => kernels.scoped(() => Workspace.of(kernels, problem).aimAtItself());
    const own = solution ? problem : { ...problem, G: ownG(), solution: W0 };
    const { kept, curve, W } = eliminate(kernels, own, { keep, protect, weights: true });
    return { ...result(kept, W!), curve };
  }
  const kept = magnitudeSupport(kernels, problem, keep);
  if (method === 'magnitude') return result(kept, denseOn(problem, groupRows(kept, groupSize)));
  return resultOf(problem, kept, refit(kernels, problem, kept), denseData);
}

/** Names of the supports that a search starts from, in the order of their objectives in a report. */
const STARTS = ['greedy', 'magnitude', 'forward'];

function osscar(space: Workspace, problem: LayerProblem, options: LayerOptions, search: Search): LayerResult {
  const { p, m, groups, groupSize } = problem;
  const { keep, support, protect, groupsPerStep = 1, precision = 'f32', wholeCurve = false } = options;
  if (support) {
    const { curve, denseObjective, denseDamping } = eliminateIn(space, problem, options);
    const refitted = space.refit(groupRows(support, groupSize));
    return { ...resultOf(problem, [...support], refitted, dataOf(denseObjective, denseDamping)), curve };
  }
  const { maxSwaps = search === 'swap' ? swapsAtMost(groups, groupSize) : Number.POSITIVE_INFINITY } =
    options;
  const { swapGroups = Math.max(1, keep / 10) } = options;
  const way = SEARCHES.indexOf(search);
  space.protect(protect);
  return space.working(pruneBytes(p, m, groupSize, way), () => {
    const elimination = [keep, Math.min(groupsPerStep, groups), precision === 'f32', wholeCurve] as const;
    const bounds = [maxSwaps, Math.min(Math.round(swapGroups), groups)] as const;
    expectDefinite('pruneLayer', space.kernels.abi.prune(space.state, ...elimination, way, ...bounds));
    const { dense, denseDamping, swaps, optimal, remaining, start, starts } = space.report;
    const weights = space.refitted(keep * groupSize);
    const found = resultOf(problem, space.kept, weights, dataOf(dense, denseDamping));
    const result = { ...found, curve: space.curve.slice() };
    if (Number.isNaN(swaps)) return result;
    const known = STARTS.map((name, i) => [name, starts[i]] as const).filter(([, f]) => !Number.isNaN(f));
    return {
      ...result,
      search: {
        steps: swaps,
        swapOptimal: optimal === 1,
        ...(!Number.isNaN(remaining) && { bestRemaining: remaining }),
        start: STARTS[start],
        starts: Object.fromEntries(known),
      },
    };
  });
}

function resultOf(
  problem: LayerProblem,
  kept: number[],
  { W, objective, damping }: Refit,
  denseData: number,
): LayerResult {
  const lost = dataOf(objective, damping) - denseData;
  const signal = -denseData - (problem.settled ?? 0);
  return { kept, W, objective, relativeError: signal > 0 ? lost / signal : 0 };
}

/**
 * Groups to keep for a ratio: to the nearest whole number, at least one.
 *
 * @throws {InputError} for a ratio that is none
 *
 * @example
 * groupsToKeep(96, 0.3); // 29
 */
export function groupsToKeep(groups: number, ratio: number): number {
  expectOptions('groupsToKeep', { ratio }, { ratio: required(numberFrom(0, 1)) });
  return Math.max(1, Math.round(groups * ratio));
}

/**
 * Peak bytes of WebAssembly memory that a layer takes, over problem, elimination, search and refit.
 *
 * @example
 * const fits = layerWasmBytes(3072, 768, 1) < session.maximumBytes;
 */
export function layerWasmBytes(p: number, m: number, groupSize: number, search: Search = 'swap'): number {
  expectOptions('layerWasmBytes', { search }, { search: LAYER_OPTIONS.search });
  // No step takes more, forming the problem neither.
  const way = SEARCHES.indexOf(search);
  return problemBytes(p, m, groupSize) + pruneBytes(p, m, groupSize, way) + PACKING_BYTES;
}
