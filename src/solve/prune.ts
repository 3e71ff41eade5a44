// One layer: choose a support by one of the methods and give the weights that go with it.

import { InputError, ShapeError } from '../errors.ts';
import { expectObjects, said } from '../expect.ts';
import type { Kernels } from '../kernel/index.ts';
import { expectOptions, LATER, numberFrom, type Options, oneOf, required } from '../options.ts';
import { sum } from '../sum.ts';
import { GREEDY, hasTableau, swapsAtMost } from './constants';
import {
  checkGroups,
  ELIMINATION_OPTIONS,
  type Elimination,
  type EliminationOptions,
  eliminateIn,
  magnitudeSupport,
} from './eliminate.ts';
import { PACKING_BYTES, problemBytes, pruneBytes } from './memory';
import { dampingOf, dataOf, innerProduct, weightOf } from './problem.ts';
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

/** Pruned layers that share a support. */
export interface SharedResult extends Omit<LayerResult, 'W'> {
  /** Of each layer, p × m; rows of removed groups are zero. */
  readonly W: readonly Float64Array[];
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
  const { W, ...found } = pruneOn('pruneLayer', kernels, [problem], options);
  return { ...found, W: W[0] };
}

/**
 * Prunes layers that share a support, such as all that read the same channels: keeps the groups by which the sum of their objectives,
 * each relative to its own signal, is least. Group j is that of every layer. Each layer has an elimination and a search of its own, so
 * that they take what they take one by one: of wasm memory at most the sum of their `layerWasmBytes`.
 *
 * @throws {ShapeError} where the layers have not the same number of groups
 * @throws {InputError} for an impossible `keep` or an unknown method
 * @throws {NotPositiveDefiniteError} where an H is not positive definite
 *
 * @example
 * const { kept, W } = pruneLayers(kernels, [problem, another], { keep: 128 });
 */
export function pruneLayers(
  kernels: Kernels,
  problems: readonly LayerProblem[],
  options: LayerOptions,
): SharedResult {
  expectObjects('pruneLayers', 'problems', problems);
  if (problems.length === 0) throw new ShapeError('pruneLayers: "problems" expected at least one');
  return pruneOn('pruneLayers', kernels, problems, options);
}

function pruneOn(
  operation: string,
  kernels: Kernels,
  problems: readonly LayerProblem[],
  options: LayerOptions,
): SharedResult {
  expectKernels(operation, kernels);
  for (const problem of problems) expectProblem(operation, problem);
  expectOptions(operation, options, LAYER_OPTIONS);
  const [{ groups }] = problems;
  if (problems.some((problem) => problem.groups !== groups))
    throw new ShapeError(`${operation}: "problems" expected layers of the same number of groups`);
  const { keep, support, method = 'osscar' } = options;
  checkGroups(operation, { groups }, options);
  if (support && !(areGroups(support, groups) && support.length === keep)) {
    throw new InputError(
      `${operation}: "support" expected ${keep} of the groups 0 to ${groups - 1}, ascending, got ${said(support)}`,
    );
  }
  const weights = problems.length === 1 ? [1] : problems.map(weightOf);
  if (method !== 'osscar') return byOthers(kernels, { problems, weights }, options, method);
  return kernels.scoped(() => osscar(operation, kernels, { problems, weights }, options));
}

/** Layers that share a support, and what the objective of each counts for. */
interface Shared {
  readonly problems: readonly LayerProblem[];
  readonly weights: readonly number[];
}

function byOthers(
  kernels: Kernels,
  shared: Shared,
  { keep, protect }: LayerOptions,
  method: Exclude<Method, 'osscar'>,
): SharedResult {
  const { problems, weights } = shared;
  const dense = problems.map((problem): Refit => {
    const { solution, G, groups } = problem;
    if (!solution) return refit(kernels, problem, [...Array(groups).keys()]);
    return {
      W: solution,
      objective: -0.5 * innerProduct(solution, G),
      damping: dampingOf(problem, solution),
    };
  });
  const result = (kept: number[], found: readonly Refit[]) =>
    resultOf(shared, kept, sumOf(weights, found), sumOf(weights, dense), found);
  const judged = (kept: number[], W: readonly Float64Array[]) =>
    result(
      kept,
      problems.map((problem, i) => ({
        W: W[i],
        objective: objectiveOf(kernels, problem, W[i], groupRows(kept, problem.groupSize)),
        damping: dampingOf(problem, W[i]),
      })),
    );
  if (method === 'ziplm') {
    // ZipLM knows no target but the dense layer itself: it starts at W0 whatever G is, and its weights are what the
    // updates W ← W − T_:B T_BB⁻¹ W_B leave. On a self target these are, to rounding, the refitted weights.
    const ownG = (problem: LayerProblem) =>
      kernels.scoped(() => Workspace.of(kernels, problem).aimAtItself());
    const own = problems.map((problem) =>
      problem.solution ? problem : { ...problem, G: ownG(problem), solution: problem.W0 },
    );
    const { kept, curve, W } = kernels.scoped(() =>
      eliminateIn(Workspace.together(kernels, own, weights), own, { keep, protect, weights: true }),
    );
    return { ...judged(kept, W!), curve };
  }
  const kept = magnitudeSupport(kernels, problems, keep);
  if (method === 'magnitude')
    return judged(
      kept,
      problems.map((problem) => denseOn(problem, groupRows(kept, problem.groupSize))),
    );
  return result(
    kept,
    problems.map((problem) => refit(kernels, problem, kept)),
  );
}

/** Names of the supports that a search starts from, in the order of their objectives in a report. */
const STARTS = ['greedy', 'magnitude', 'forward'];

function osscar(operation: string, kernels: Kernels, shared: Shared, options: LayerOptions): SharedResult {
  const { problems, weights } = shared;
  const [{ groups }] = problems;
  const { keep, support, protect, groupsPerStep = 1, precision = 'f32', wholeCurve = false } = options;
  const spaces = Workspace.together(kernels, problems, weights);
  const [space] = spaces;
  if (support) {
    const { curve, denseObjective, denseDamping } = eliminateIn(spaces, problems, options);
    const found = spaces.map((own, i) => own.refit(groupRows(support, problems[i].groupSize)));
    const dense = { objective: denseObjective, damping: denseDamping };
    return { ...resultOf(shared, [...support], sumOf(weights, found), dense, found), curve };
  }
  const { search = 'swap', swapGroups = Math.max(1, keep / 10) } = options;
  const groupSize = sum(problems.map((problem) => problem.groupSize));
  const { maxSwaps = search === 'swap' ? swapsAtMost(groups, groupSize) : Number.POSITIVE_INFINITY } =
    options;
  space.protect(protect);
  return Workspace.working(spaces, pruneBytesOf(problems, search), () => {
    const way = SEARCHES.indexOf(search);
    const elimination = [keep, Math.min(groupsPerStep, groups), precision === 'f32', wholeCurve] as const;
    const bounds = [maxSwaps, Math.min(Math.round(swapGroups), groups)] as const;
    expectDefinite(operation, kernels.abi.prune(space.state, ...elimination, way, ...bounds));
    const { report } = space;
    const { swaps, optimal, remaining, start, starts } = report;
    const all = { objective: report.dense, damping: report.denseDamping };
    const found = spaces.map((own, i) => own.refitted(keep * problems[i].groupSize));
    const result = { ...resultOf(shared, space.kept, report, all, found), curve: space.curve.slice() };
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

/** f of all layers, and what of that is damping. */
type Sum = Omit<Refit, 'W'>;

function sumOf(weights: readonly number[], parts: readonly Sum[]): Sum {
  const of = (field: keyof Sum) => sum(parts.map((part, i) => weights[i] * part[field]));
  return { objective: of('objective'), damping: of('damping') };
}

function resultOf(
  { problems, weights }: Shared,
  kept: number[],
  { objective, damping }: Sum,
  dense: Sum,
  found: readonly Refit[],
): SharedResult {
  const denseData = dataOf(dense.objective, dense.damping);
  const lost = dataOf(objective, damping) - denseData;
  const signal = -denseData - sum(problems.map(({ settled = 0 }, i) => weights[i] * settled));
  return { kept, W: found.map(({ W }) => W), objective, relativeError: signal > 0 ? lost / signal : 0 };
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
  return layersWasmBytes([{ p, m, groupSize }], search);
}

type Size = Pick<LayerProblem, 'p' | 'm' | 'groupSize'>;

/** Peak bytes of WebAssembly memory that layers take which share a support. */
export function layersWasmBytes(layers: readonly Size[], search: Search): number {
  // No step takes more, forming a problem neither.
  const problems = layers.map(({ p, m, groupSize }) => problemBytes(p, m, groupSize));
  return sum([...problems, ...pruneBytesOf(layers, search)]) + PACKING_BYTES;
}

/** The workspace of each: with a tableau where the search has one. */
function pruneBytesOf(layers: readonly Size[], search: Search): number[] {
  const way = SEARCHES.indexOf(search);
  const isSearched = hasTableau(way, Math.sqrt(sum(layers.map(({ p }) => p * p))));
  return layers.map(({ p, m, groupSize }) => pruneBytes(p, m, groupSize, isSearched ? way : GREEDY));
}
