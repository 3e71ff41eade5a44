// One layer: choose a support by one of the methods and give the weights that go with it.

import { InputError } from '../errors.ts';
import type { Kernels } from '../kernel/index.ts';
import { eliminationPath, SEARCHABLE_ROWS, swapsAtMost } from './constants';
import {
  type Elimination,
  type EliminationOptions,
  eliminate,
  eliminateIn,
  magnitudeIn,
  magnitudeSupport,
  selectIn,
} from './eliminate.ts';
import { eliminationBytes, problemBytes, tableauBytes } from './memory';
import { dampingOf, dataOf, innerProduct, type LayerProblem } from './problem.ts';
import { denseOn, groupRows, objectiveOf, type Refit, refit } from './refit.ts';
import { halvingSearch, publishedSearch } from './search.ts';
import { type LocalSearch, Tableau } from './tableau.ts';
import { Workspace } from './workspace.ts';

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
  readonly search?: LocalSearch & {
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
  const { groups } = problem;
  const { keep, method = 'osscar', search = 'swap' } = options;
  if (!(Number.isInteger(keep) && keep >= 0 && keep <= groups)) {
    throw new InputError(`prune: keep must be a whole number from 0 to ${groups}, got ${keep}`);
  }
  if (!METHODS.includes(method)) {
    throw new InputError(`prune: method must be one of ${METHODS.join(', ')}, got ${method}`);
  }
  if (!SEARCHES.includes(search)) {
    throw new InputError(`prune: search must be one of ${SEARCHES.join(', ')}, got ${search}`);
  }
  for (const name of ['swapGroups', 'maxSwaps'] as const) {
    if (!((options[name] ?? 1) >= 0)) {
      throw new InputError(`prune: ${name} must be at least 0, got ${options[name]}`);
    }
  }
  if (options.support) checkSupport(options.support, keep, groups);
  if (method !== 'osscar') return byOthers(kernels, problem, options, method);
  return kernels.scoped(() => {
    return osscar({ ...problem, space: Workspace.of(kernels, problem) }, options, search);
  });
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
  const result = (kept: number[], W: Float64Array, objective?: number) => {
    const f = objective ?? objectiveOf(kernels, problem, W, groupRows(kept, groupSize));
    const weights = { W, objective: f, damping: dampingOf(problem, W) };
    return resultOf(problem, kept, weights, dataOf(dense.objective, dense.damping));
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
  const { W, objective } = refit(kernels, problem, kept);
  return result(kept, W, objective);
}

/** A problem, in wasm memory too. */
interface PlacedProblem extends LayerProblem {
  readonly space: Workspace;
}

function refitOf({ space, groupSize }: PlacedProblem, kept: readonly number[]): Refit {
  return space.refit(groupRows(kept, groupSize));
}

/** @throws {InputError} where it is not `keep` of the groups, in their order */
function checkSupport(support: readonly number[], keep: number, groups: number): void {
  const isGroup = (group: number, at: number) =>
    Number.isInteger(group) && group < groups && group > (at === 0 ? -1 : support[at - 1]);
  if (support.length !== keep || !support.every(isGroup)) {
    throw new InputError(
      `prune: support must be ${keep} of the groups 0 to ${groups - 1}, ascending, got ${support}`,
    );
  }
}

function osscar(layer: PlacedProblem, options: LayerOptions, search: Search): LayerResult {
  const { keep, support } = options;
  const goesOn = !support && search !== 'greedy' && keep > 0 && keep < layer.groups;
  const greedy = eliminateIn(layer.space, layer, options, !goesOn);
  const { curve, kept } = greedy;
  const denseData = dataOf(greedy.denseObjective, greedy.denseDamping);
  if (support) return { ...resultOf(layer, [...support], refitOf(layer, support), denseData), curve };
  if (!goesOn) {
    return { ...resultOf(layer, kept, greedy.refit ?? refitOf(layer, kept), denseData), curve };
  }
  const starts = startsOf(layer, greedy, options.protect, search);
  let best: Candidate | undefined;
  for (const start of search === 'thorough' ? starts.filter(isNew) : [lowest(starts)]) {
    const candidate = searchFrom(layer, start, options, search);
    if (!best || candidate.objective < best.objective) best = candidate;
  }
  const { start, done } = best!;
  const objectives = Object.fromEntries(starts.map(({ name, objective }) => [name, objective]));
  const result = resultOf(layer, best!.kept, best!, denseData);
  return { ...result, curve, search: { ...done, start, starts: objectives } };
}

/** A support to start from, with its objective in f64. */
interface Start extends Pick<Elimination, 'kept' | 'objective'> {
  readonly name: string;
}

function startsOf(
  layer: PlacedProblem,
  greedy: Elimination,
  protect: readonly number[] | undefined,
  search: Search,
): Start[] {
  const keep = greedy.kept.length;
  const starts: Start[] = [{ ...greedy, name: 'greedy' }];
  const add = (name: string, kept: number[]) => {
    starts.push({ name, kept, objective: layer.space.objectiveOn(groupRows(kept, layer.groupSize)) });
  };
  if (search === 'swap' || search === 'thorough') add('magnitude', magnitudeIn(layer.space, keep, protect));
  if (search === 'thorough' || (search === 'swap' && 2 * keep <= layer.groups)) {
    const { kept } = selectIn(layer.space, layer, { keep, protect, precision: greedy.precision });
    const best = lowest(starts);
    if (sameGroups(kept, best.kept)) starts.push({ ...best, name: 'forward' });
    else add('forward', kept);
  }
  return starts;
}

function lowest(starts: readonly Start[]): Start {
  return starts.reduce((a, b) => (b.objective < a.objective ? b : a));
}

/** Whether none before it has the same groups. */
function isNew({ kept }: Start, at: number, starts: readonly Start[]): boolean {
  return starts.findIndex((start) => sameGroups(start.kept, kept)) === at;
}

function sameGroups(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((group, at) => group === b[at]);
}

/** What a search makes of a start. */
interface Candidate extends Refit, Pick<LayerResult, 'kept'> {
  readonly start: string;
  readonly done: LocalSearch;
}

function searchFrom(layer: PlacedProblem, start: Start, options: LayerOptions, search: Search): Candidate {
  const { maxSwaps = search === 'swap' ? swapsAtMost(layer.groups, layer.groupSize) : undefined, protect } =
    options;
  const t = Math.round(options.swapGroups ?? Math.max(1, options.keep / 10));
  let { kept } = start;
  let done: LocalSearch = { steps: 0, swapOptimal: false };
  let refitted: Refit | undefined;
  if (search === 'thorough' || layer.p <= SEARCHABLE_ROWS) {
    layer.space.kernels.scoped(() => {
      const tableau = new Tableau(layer.space.kernels, layer, kept, protect, layer.space);
      if (search === 'published') done = publishedSearch(tableau, t);
      else if (search === 'halving') done = halvingSearch(tableau, t);
      else done = tableau.swapWhileBetter(maxSwaps);
      kept = tableau.kept();
      const W = tableau.weights();
      if (W) refitted = { W, objective: tableau.objective, damping: dampingOf(layer, W) };
    });
  }
  return { kept, ...(refitted ?? refitOf(layer, kept)), start: start.name, done };
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
 * @example
 * groupsToKeep(96, 0.3); // 29
 */
export function groupsToKeep(groups: number, ratio: number): number {
  return Math.max(1, Math.round(groups * ratio));
}

/**
 * Peak bytes of WebAssembly memory that a layer takes, over problem, elimination, search and refit.
 *
 * @example
 * const fits = layerWasmBytes(3072, 768, 1) < session.maximumBytes;
 */
export function layerWasmBytes(p: number, m: number, groupSize: number, search: Search = 'swap'): number {
  const packing = 6 * 2 ** 20; // the GEMM's packing buffers in f64, at most 4.4 MiB, and what the module itself holds
  const elimination = eliminationBytes(p, m, groupSize, eliminationPath(p, m), 8, p);
  const searched = search !== 'greedy' && (search !== 'swap' || p <= SEARCHABLE_ROWS);
  const problem = problemBytes(p, m, groupSize);
  const tableau = searched ? tableauBytes(p, m, groupSize) : 0;
  return problem + Math.max(elimination, tableau) + packing; // no step takes more, forming the problem neither
}
