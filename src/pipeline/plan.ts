// What pruning a model will take, before any of its weights are read.

import type { BlockSizes } from '../checkpoint/architectures/index.ts';
import { sum } from '../graph/index.ts';
import { type ActivationLimits, activationLimit, pairBytes } from './activations.ts';
import { searchPasses } from './course.ts';
import { refitBytes } from './producers.ts';
import { type Recipe, refitsProducers } from './recipe.ts';
import type { PruneReport } from './report.ts';
import { checkSteps, type PlannedStep, stepBytes, stepStatisticsBytes } from './steps.ts';
import { VERIFIED_WINDOWS } from './verify.ts';

/** What a plan needs to know of a model. */
export interface Profile extends Pick<PruneReport, 'parameters'> {
  /** Its name or architecture. */
  readonly model: string;
  readonly steps: readonly PlannedStep[];
  readonly weights: {
    /** Parameters of the largest part that is pruned, and of all that are not. */
    readonly largest: number;
    readonly outside: number;
    /** Bytes of whole files in memory. */
    readonly files: number;
  };
  /** Values of a sample, of both networks, that are held for the next layer or part, at most. */
  readonly held: number;
  /** Values of a batch in the engine, where the constants below do not cover them. */
  readonly batch: number;
  /** Values that the last part gives for a batch. */
  readonly scores: number;
  /** Multiply-adds for a sample: of the parts that are pruned, and of what comes behind them. */
  readonly macs: { readonly parts: number; readonly last: number };
  /** Of a language model's blocks. */
  readonly sizes?: { readonly before: readonly BlockSizes[]; readonly after: readonly BlockSizes[] };
  /** Who can read the result. */
  readonly statement?: string;
}

/** As of the run that is planned. */
export interface PlanOptions extends Pick<ActivationLimits, 'activationBytes'> {
  /** Calibration samples. */
  readonly samples: number;
  /** Dims of one, of a language model: `[tokens]`. */
  readonly sample?: readonly number[];
  /** Threads that the layers are solved on. Default 1. */
  readonly threads?: number;
}

/** Operations per second, multiply and add counting as two. */
export interface Rates {
  readonly engine: number;
  readonly kernels: number;
}

/** What a run will make and take, before it has read a weight. */
export interface Plan extends Pick<Profile, 'model' | 'parameters' | 'sizes' | 'statement'> {
  /** Peak, by what holds it. */
  readonly bytes: {
    /** Of one part, in both networks and on the way to the engine, and what the engine keeps of its largest session. */
    readonly weights: number;
    readonly activations: number;
    /** Statistics and factors of the largest layer in the memory of the thread that solves it. */
    readonly wasm: number;
    /** The other threads' part of its statistics, in their memories. */
    readonly helpers: number;
    /** The same layer's statistics, problem and weights outside of it. */
    readonly heap: number;
    /** The engine's, the runtime's and the program's own. */
    readonly base: number;
    /** Of these, or of a pass through the last part, where that takes more. */
    readonly total: number;
  };
  /** Operations of the whole run. */
  readonly flops: Rates;
}

/** Resident memory of a run on a model of no size: Node, the engine, two workers and garbage (measured). */
const BASE_BYTES = 350 * 2 ** 20;
/** Copies of a part's weights: two graphs, one on its way to the engine. */
const PART_COPIES = 3;
/** Copies of weights in the engine, as they are and packed. Its memory never shrinks. */
const ENGINE_COPIES = 2;
/** Copies of the embedding or head on the way to the engine. */
const OUTSIDE_COPIES = 2;
/** A batch's scores: the engine's, ours, and those before them, beside those that are kept for the proof. */
const SCORE_COPIES = 3;
/** Samples beyond those of the metric before and after that are run: both networks' comparison. */
const COMPARED = 2 * VERIFIED_WINDOWS;
/** Strengths of damping that are tried for a layer; at most 5. */
const TRIES = 4;
/** How often a part is run in a pass, in whole forward passes of one network: with and without correction. */
const FORWARDS = { corrected: 3.6, plain: 3 };

/** @param most  the same where everything is as large as it can become, if sizes are not known yet */
export function planRun(
  profile: Profile,
  recipe: Recipe,
  options: PlanOptions,
  most: Profile = profile,
): Plan {
  const { model, parameters, sizes, statement } = profile;
  return {
    model,
    parameters,
    sizes,
    statement,
    bytes: bytesOf(most, recipe, options),
    flops: flopsOf(profile, recipe, options),
  };
}

/**
 * Bytes of WebAssembly memory that the largest step takes.
 * @throws {OutOfMemoryError} naming it, where it does not fit
 */
export function checkPlan({ steps }: Profile, { search }: Recipe, maximumBytes: number): number {
  return steps.length > 0 ? checkSteps(steps, search, maximumBytes) : 0;
}

function bytesOf(profile: Profile, recipe: Recipe, options: PlanOptions): Plan['bytes'] {
  const { steps, weights: sizes, held, batch, scores } = profile;
  const { samples, threads = 1 } = options;
  const largest = (of: (step: PlannedStep) => number) => Math.max(0, ...steps.map(of));
  const engine = 4 * ENGINE_COPIES * Math.max(sizes.outside, sizes.largest);
  const weights = engine + 4 * PART_COPIES * sizes.largest + sizes.files + 2 * 4 * batch;
  const last = engine + 4 * (OUTSIDE_COPIES * sizes.outside + (SCORE_COPIES + VERIFIED_WINDOWS) * scores);
  const activations = 2 * Math.min(activationLimit(options), pairBytes(samples * held) / 2);
  const wasm = largest((step) => stepBytes(step, recipe.search));
  const helpers = Math.round(largest(stepStatisticsBytes) * (1 - 1 / threads));
  const heap = largest((step) => heapBytes(step) + (refitsProducers(recipe) ? refitBytesOf(step) : 0));
  return {
    weights,
    activations,
    wasm,
    helpers,
    heap,
    base: BASE_BYTES,
    // The kernels' memories do not shrink either.
    total: BASE_BYTES + activations + wasm + helpers + Math.max(last, weights + heap),
  };
}

/** Lower triangles of fit and held-out samples, H, and of W: both cross products, dense weights, G and attempts. */
function heapBytes({ maps }: PlannedStep): number {
  return maps.reduce((sum, { p, m }) => sum + 8 * (2.6 * p * p + 8 * p * m), 0);
}

/** Of the layers before a structure, whose weights are about as many as those behind it. */
function refitBytesOf({ maps, keep }: PlannedStep): number {
  return keep === undefined ? 0 : refitBytes(sum(maps.map(({ groupSize, m }) => keep * groupSize * m)));
}

function flopsOf(profile: Profile, recipe: Recipe, options: PlanOptions): Rates {
  const { passes, parts, measured } = workOf(profile, recipe, options);
  const solver = profile.steps.map((step) => stepFlops(step, options.samples));
  return {
    engine: passes * parts + measured,
    kernels: passes * sum(solver.map(({ statistics, solving }) => statistics + solving)),
  };
}

/** What a run does: passes over all parts, what the engine does in one of them, and to measure both networks. */
export function workOf(
  { macs }: Pick<Profile, 'macs'>,
  recipe: Pick<Recipe, 'target' | 'spend' | 'correct'>,
  { samples }: Pick<PlanOptions, 'samples'>,
): { readonly passes: number; readonly parts: number; readonly measured: number } {
  const searches = searchPasses(recipe);
  const forwards = recipe.correct ? FORWARDS.corrected : FORWARDS.plain;
  // Of three samples that a search is fitted to, one more is held out, and measured.
  const measured = samples * (2 + searches / 3) + COMPARED;
  return {
    passes: 1 + searches,
    parts: 2 * forwards * macs.parts * samples,
    measured: 2 * measured * macs.last,
  };
}

/**
 * Of the kernels. Gram and cross products (in f32, at twice the speed); then the damping's elimination and trials, each on what
 * is kept; for a pruned layer the elimination again and a search that takes about as long, else one more refit.
 */
export function stepFlops(
  { maps, keep }: PlannedStep,
  samples: number,
): { readonly statistics: number; readonly solving: number } {
  const each = maps.map(({ p, m, groupSize, rows }) => {
    const k = keep === undefined ? p : keep * groupSize;
    const refit = k ** 3 / 3 + 2 * k * k * m;
    const elimination = p ** 3 + 2 * p * p * m + (2 / 3) * (p ** 3 - k ** 3);
    const damping = elimination + 2 * p * p * m + TRIES * (refit + 2 * k * k * m);
    return {
      statistics: (samples * rows * (p * p + 2 * p * m)) / 2,
      solving: damping + (k < p ? 2 * elimination : refit),
    };
  });
  return {
    statistics: sum(each.map(({ statistics }) => statistics)),
    solving: sum(each.map(({ solving }) => solving)),
  };
}
