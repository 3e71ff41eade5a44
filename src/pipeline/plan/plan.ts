// What pruning a model will take, before any of its weights are read.

import { isFitted, sum, WEIGHT_TYPES, type WeightType } from '../../graph/index.ts';
import { ADDRESS_SPACE_BYTES } from '../../kernel/index.ts';
import { AMOUNT, BYTES, COUNT, type Kind, type Options, oneOf, required } from '../../options.ts';
import { isCorrelation } from '../../solve/index.ts';
import { type TiledJob, tiledPlan, tiledSumBytes, tiledSummingBytes } from '../../tiles/memory.ts';
import { type Amount, parseBytes } from '../budget.ts';
import { searchPasses } from '../course.ts';
import { VERIFIED_WINDOWS } from '../measure/verify.ts';
import { distillBytes, distillFlops } from '../pass/distill.ts';
import { refitBytes, refitFlops } from '../pass/producers.ts';
import {
  isInTiles,
  type PlannedStep,
  rowsThatStay,
  stepBytes,
  stepStatisticsBytes,
  tiledJobs,
} from '../pass/steps.ts';
import type { Profile } from '../profile.ts';
import { type Recipe, refitsProducers } from '../recipe.ts';
import { type ActivationLimits, activationLimit, pairBytes } from '../store/activations.ts';
import { DENSE_MEMORY_BYTES } from '../store/findings.ts';

/** As of the run that is planned. */
export interface PlanOptions extends Pick<ActivationLimits, 'activationBytes'> {
  /** Calibration samples. */
  readonly samples: number;
  /** Dims of one, of a language model: `[tokens]`. */
  readonly sample?: readonly number[];
  /** Threads that the layers are solved on. Default 1. */
  readonly threads?: number;
  /** Bytes of WebAssembly memory that a thread can have. Default: what addresses reach, 4 GiB. */
  readonly maximumBytes?: number;
  /** Bytes that the run may take in all, as `8GiB`. Default: no bound. */
  readonly memory?: Amount;
  /** What weights are stored as in ONNX files. */
  readonly weights?: WeightType;
}

const DIMS: Kind = [
  (dims) => Array.isArray(dims) && dims.every((dim) => Number.isInteger(dim) && dim > 0),
  'dims, a list of whole numbers',
];
export const PLAN_OPTIONS: Options<PlanOptions> = {
  activationBytes: BYTES,
  samples: required(COUNT),
  sample: DIMS,
  threads: COUNT,
  maximumBytes: BYTES,
  memory: AMOUNT,
  weights: oneOf(...WEIGHT_TYPES),
};

/** Bytes that a run may take. @throws {InputError} where it is no amount */
export function memoryLimit({ memory }: Pick<PlanOptions, 'memory'>): number {
  return memory === undefined ? Number.POSITIVE_INFINITY : parseBytes('memory', memory);
}

/** Operations per second, multiply and add counting as two. */
export interface Rates {
  readonly engine: number;
  readonly kernels: number;
}

/** What a run will make and take, before it has read a weight. */
export interface Plan extends Pick<Profile, 'model' | 'parameters' | 'sizes' | 'statement'> {
  /** Where what is left is what there may be at most: the run alone finds what a bound on the loss or on the latency comes to. */
  readonly isBound?: boolean;
  /** Peak, by what holds it. */
  readonly bytes: {
    /** Of one part, in both networks and on the way to the engine, and what the engine keeps of its largest session. */
    readonly weights: number;
    readonly activations: number;
    /** Statistics and factors of the largest layer in the memory of the thread that solves it. */
    readonly wasm: number;
    /** The other threads' part of its statistics, in their memories. */
    readonly helpers: number;
    /** The same layer's statistics, problem and weights outside of it; or what fitting the network as a whole takes, where that is more. */
    readonly heap: number;
    /** What the dense network gives, as far as there is room to keep it for those that ask for it again; of a run without a store. */
    readonly dense: number;
    /** The engine's, the runtime's and the program's own. */
    readonly base: number;
    /** Of these, or of a pass through the last part, where that takes more. */
    readonly total: number;
  };
  /** What goes to files, where `memory` asks for it or the defaults do. */
  readonly files: {
    /** Bytes of activations that are kept in memory, in both networks at once; what is beyond goes to a file. */
    readonly activationBytes: number;
    /** Bytes that a layer in tiles may take; absent: as it likes. */
    readonly layerBytes?: number;
    /** Bytes in files at once, at most. */
    readonly bytes: number;
    /** Bytes that pass to files and back in the whole run. */
    readonly traffic: number;
  };
  /** Operations of the whole run. */
  readonly flops: Rates;
}

/** Resident memory of a run on a model of no size: Node, the engine, two workers and garbage (measured). */
const BASE_BYTES = 450 * 2 ** 20;
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
/** How often values of the dense network are kept: of the samples that a trial is fitted to, of those that are held out, and of all. */
const DENSE_COPIES = 3;
/** Strengths of damping that are tried for a layer; at most 5. */
const TRIES = 4;
/** How often a part is run in a pass, in whole forward passes of one network: with and without correction. */
const FORWARDS = { corrected: 2.7, plain: 2.4 };

/** Bytes of activations that memory has room for at least, in both networks at once. */
const LEAST_ACTIVATION_BYTES = 2 ** 26;
/** What is there of a layer's arrays at its peak, for one that is needed: the collector takes its time (measured, 1.05 of the whole run). */
const GARBAGE = 1.1;
/** How often activations between two parts pass to a file and back: written by both networks, read by every run of the part. */
const ACTIVATION_PASSES = 4;

/** @param most  the same where everything is as large as it can become, if sizes are not known yet */
export function planRun(
  profile: Profile,
  recipe: Recipe,
  options: PlanOptions,
  most: Profile = profile,
): Plan {
  const { model, parameters, sizes, statement } = profile;
  const { bytes: needed, files } = within(most, recipe, options);
  const kept = Math.min(DENSE_MEMORY_BYTES, DENSE_COPIES * 4 * options.samples * (most.all ?? Infinity));
  const dense = Math.max(0, Math.min(kept, memoryLimit(options) - needed.total));
  const bytes = { ...needed, dense, total: needed.total + dense };
  return { model, parameters, sizes, statement, bytes, files, flops: flopsOf(profile, recipe, options) };
}

/** What is taken in any case. */
type Needed = Pick<Plan, 'files'> & { readonly bytes: Omit<Plan['bytes'], 'dense'> };

/** The peak within the bound of `memory`, or as near to it as files bring it: first activations go there, then H and G of layers in tiles. */
function within(profile: Profile, recipe: Recipe, options: PlanOptions): Needed {
  const memory = memoryLimit(options);
  const free = bytesOf(profile, recipe, options);
  if (free.bytes.total <= memory) return free;
  const least = bytesOf(profile, recipe, { ...options, activationBytes: LEAST_ACTIVATION_BYTES });
  const left = memory - least.bytes.total;
  if (left >= 0) {
    const activationBytes = Math.floor(LEAST_ACTIVATION_BYTES + left / 2);
    return bytesOf(profile, recipe, { ...options, activationBytes });
  }
  const { wasm, heap } = least.bytes;
  const underWay = 4 * Math.max(0, ...profile.steps.flatMap(tiledJobs).map(({ p, m }) => p * m));
  const layerBytes = Math.max(1, wasm + (heap + left) / GARBAGE - underWay);
  return bytesOf(profile, recipe, { ...options, activationBytes: LEAST_ACTIVATION_BYTES }, layerBytes);
}

/** @param layerBytes  that the layers of a step in tiles may take */
function bytesOf(profile: Profile, recipe: Recipe, options: PlanOptions, layerBytes?: number): Needed {
  const { steps, weights: sizes, batch, scores } = profile;
  const { samples, maximumBytes = ADDRESS_SPACE_BYTES } = options;
  const largest = (values: readonly number[]) => Math.max(0, ...values);
  const engine = 4 * ENGINE_COPIES * Math.max(sizes.outside, sizes.largest);
  const weights = engine + 4 * PART_COPIES * sizes.largest + sizes.files + 2 * 4 * batch;
  const last = engine + 4 * (OUTSIDE_COPIES * sizes.outside + (SCORE_COPIES + VERIFIED_WINDOWS) * scores);
  const between = pairBytes(samples * (profile.between + profile.held));
  const activationBytes = activationLimit(options);
  const activations = 2 * Math.min(activationBytes, between / 2);
  const solved = steps.map((step) =>
    isInTiles(step, recipe, maximumBytes)
      ? tiledBytes(step, options, layerBytes)
      : wholeBytes(step, recipe, options),
  );
  const wasm = largest(solved.map((it) => it.wasm));
  const helpers = Math.round(largest(solved.map((it) => it.helpers)));
  const refits = refitsProducers(recipe) ? steps.map(refitBytes) : [];
  const refitting = largest(solved.map((it, i) => it.heap + (refits[i] ?? 0)));
  const heap = Math.max(refitting, recipe.distill ? distillBytes(profile) : 0);
  const isHeldInFile = activations < between;
  const { passes } = workOf(profile, recipe, options);
  const parts = profile.sizes?.before.length ?? 1;
  return {
    bytes: {
      weights,
      activations,
      wasm,
      helpers,
      heap,
      base: BASE_BYTES,
      // The kernels' memories do not shrink either.
      total: BASE_BYTES + activations + wasm + helpers + Math.max(last, weights + heap),
    },
    files: {
      activationBytes,
      layerBytes,
      bytes: (isHeldInFile ? between : 0) + largest(solved.map(({ spilled }) => spilled)),
      traffic:
        passes *
        ((isHeldInFile ? ACTIVATION_PASSES * parts * between : 0) +
          sum(solved.map(({ traffic }) => traffic))),
    },
  };
}

/** What a step takes of memory while its layers are summed and solved. */
interface StepMemory {
  readonly wasm: number;
  readonly helpers: number;
  readonly heap: number;
  readonly spilled: number;
  readonly traffic: number;
}

function wholeBytes(step: PlannedStep, { search }: Recipe, { threads = 1 }: PlanOptions): StepMemory {
  return {
    wasm: stepBytes(step, search),
    helpers: stepStatisticsBytes(step) * (1 - 1 / threads),
    heap: Math.round(heapBytes(step)),
    spilled: 0,
    traffic: 0,
  };
}

/** Layers are solved one after the other; the sums of those to come wait in memory, and dense weights are there once more on their way. */
function tiledBytes(
  step: PlannedStep,
  { threads = 1, maximumBytes = ADDRESS_SPACE_BYTES }: PlanOptions,
  layerBytes = Number.POSITIVE_INFINITY,
): StepMemory {
  const jobs = tiledJobs(step);
  const waiting = (job: TiledJob) => sum(jobs.map(tiledSumBytes)) - tiledSumBytes(job);
  const solved = jobs.map((job) => {
    const { memory, spilled, traffic } = tiledPlan(job, maximumBytes, layerBytes - waiting(job));
    const underWay = 4 * job.p * job.m;
    const held = memory.total - memory.wasm + waiting(job) + underWay;
    return { ...memory, spilled, traffic, heap: Math.round(GARBAGE * held) };
  });
  const largest = (values: readonly number[]) => Math.max(...values);
  return {
    wasm: largest([tiledSummingBytes(jobs), ...solved.map(({ wasm }) => wasm)]),
    helpers: (threads - 1) * tiledSummingBytes(jobs),
    heap: largest(solved.map(({ heap }) => heap)),
    spilled: largest(solved.map(({ spilled }) => spilled)),
    traffic: sum(solved.map(({ traffic }) => traffic)),
  };
}

/**
 * Triangles: XᵀX of fit and held-out samples, H of each. And of W: both cross products, dense weights, G and attempts; of layers that share
 * channels those that the choice for all has left, too.
 */
function heapBytes({ maps, cuts }: PlannedStep): number {
  const ofW = cuts.length > 0 && maps.length > 1 ? 9 : 8;
  return sum(maps.map(({ p, m }) => 8 * (2 * p ** 2 + ofW * p * m)));
}

function flopsOf(profile: Profile, recipe: Recipe, options: PlanOptions): Rates {
  const { passes, parts, measured, refits } = workOf(profile, recipe, options);
  const solver = profile.steps.map((step) => stepFlops(step, recipe, options));
  return {
    engine: passes * parts + measured + refits,
    kernels: passes * sum(solver.map(({ statistics, solving }) => statistics + solving)),
  };
}

/** What a run does: passes over all parts, what the engine does in one of them, to measure both networks, and to refit producers and the whole. */
export function workOf(
  profile: Pick<Profile, 'macs' | 'steps' | 'parameters'>,
  recipe: Recipe,
  { samples, weights }: Pick<PlanOptions, 'samples' | 'weights'>,
): {
  readonly passes: number;
  readonly parts: number;
  readonly measured: number;
  readonly refits: number;
} {
  const { macs, steps } = profile;
  const searches = searchPasses(recipe);
  const forwards = recipe.correct ? FORWARDS.corrected : FORWARDS.plain;
  // Of three samples that a search is fitted to, one more is held out, and measured.
  const measured = samples * (2 + searches / 3) + COMPARED;
  return {
    passes: 1 + searches + (isFitted(weights) ? 1 : 0),
    parts: 2 * forwards * macs.parts * samples,
    measured: 2 * measured * (macs.parts + macs.last),
    refits:
      (refitsProducers(recipe) ? sum(steps.map((step) => refitFlops(step, samples))) : 0) +
      distillFlops(profile, recipe, samples),
  };
}

/**
 * Of the kernels. Gram and cross products (in f32, at twice the speed); then the damping's elimination and trials, each on what
 * is kept; for what is pruned the elimination again and a search that takes about as long, else one more refit. In tiles one elimination, or one refit.
 */
export function stepFlops(
  step: PlannedStep,
  recipe: Pick<Recipe, 'method' | 'search'>,
  { samples, maximumBytes = ADDRESS_SPACE_BYTES }: PlanOptions,
): { readonly statistics: number; readonly solving: number } {
  const { maps, cuts } = step;
  const inTiles = isInTiles(step, recipe, maximumBytes);
  const isWhole = cuts.length === 0;
  const stay = maps.map(({ p }, i) => (isWhole ? p : rowsThatStay(step, i)));
  const each = maps.map((map, i) => {
    const { p, m, rows, conv } = map;
    const blocks = !inTiles && conv && isCorrelation(p, conv) ? 26 / 81 : 1; // 13 of 81 / 2
    const k = stay[i];
    const refit = k ** 3 / 3 + 2 * k * k * m;
    const elimination = p ** 3 + 2 * p * p * m + (2 / 3) * (p ** 3 - k ** 3);
    const damping = elimination + 2 * p * p * m + TRIES * (refit + 2 * k * k * m);
    const whole = damping + (k < p ? 2 * elimination : refit);
    return {
      statistics: (samples * rows * (blocks * p * p + 2 * p * m)) / 2,
      solving: inTiles ? refit + (isWhole ? 0 : elimination) : whole * Math.max(1, cuts.length),
    };
  });
  return {
    statistics: sum(each.map(({ statistics }) => statistics)),
    solving: sum(each.map(({ solving }) => solving)),
  };
}
