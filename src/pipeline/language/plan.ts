// What pruning a language model will take, from its config.json alone.

import { type BlockSizes, describe, type LanguageModel } from '../../checkpoint/architectures/index.ts';
import { OutOfMemoryError } from '../../errors.ts';
import { groupsToKeep, layerWasmBytes, type Search, statisticsWasmBytes } from '../../solve/index.ts';
import { blockRatios, type KeepRatios } from '../keep.ts';
import { PACKING_BYTES } from '../sequence.ts';
import { hiddenBytes } from './hidden.ts';
import { VERIFIED_WINDOWS } from './prove.ts';

/** As of the run that is planned. */
export interface PlanOptions {
  readonly keep: number | KeepRatios;
  readonly samples: number;
  /** Tokens per window. */
  readonly seqlen: number;
  /** Whether the target is chosen by trying several. */
  readonly auto: boolean;
  readonly correct: boolean;
  readonly search?: Search;
  readonly activationBytes: number;
  /** Threads that the layers are solved on. Default 1. */
  readonly threads?: number;
}

/** Operations per second, multiply and add counting as two. */
export interface Rates {
  readonly engine: number;
  readonly kernels: number;
}

/** What a run will make and take, before it has read a weight. */
export interface LanguagePlan {
  readonly architecture: string;
  readonly sizes: { readonly before: readonly BlockSizes[]; readonly after: readonly BlockSizes[] };
  readonly parameters: { readonly before: number; readonly after: number };
  /** Who can read the result. */
  readonly statement: string;
  /** Peak, by what holds it. */
  readonly bytes: {
    /** Of one block, in both networks and on the way to the engine, and what the engine keeps of its largest session. */
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
    /** Of these, or of a pass through the head, where that takes more. */
    readonly total: number;
  };
  /** Operations of the whole run. */
  readonly flops: { readonly engine: number; readonly kernels: number };
}

/** A layer that is pruned or corrected: p inputs in groups of b, m outputs. */
interface Layer {
  readonly p: number;
  readonly m: number;
  readonly b: number;
  /** Inputs that stay. */
  readonly k: number;
}

/** Resident memory of a run on a model of no size: Node, the engine, two workers and garbage (measured). */
const BASE_BYTES = 350 * 2 ** 20;
/** Copies of a block's weights: two graphs, one on its way to the engine. */
const BLOCK_COPIES = 3;
/** Copies of weights in the engine, as they are and packed. Its memory never shrinks. */
const ENGINE_COPIES = 2;
/** Copies of the embedding or head on the way to the engine. */
const HEAD_COPIES = 2;
/** A window's scores over the vocabulary: the engine's, ours, and those before them. */
const SCORE_COPIES = 3;
/** Passes of the search for a target, each on three quarters of the windows, beside the pass that counts. */
const SEARCHES = 5;
const SEARCH_PASSES = SEARCHES * 0.75;
/** Windows beyond those of the perplexity before and after that go through the head: both networks' comparison. */
const COMPARED_WINDOWS = 2 * VERIFIED_WINDOWS;
/** Strengths of damping that are tried for a layer; at most 5. */
const TRIES = 4;
/** How often a block is run in a pass, in whole forward passes of one network: with and without correction. */
const FORWARDS = { corrected: 4.5, plain: 3.5 };

/** @throws {InputError} for impossible ratios */
export function planLanguageModel(language: LanguageModel, options: PlanOptions): LanguagePlan {
  const { samples, seqlen, auto, correct, search, activationBytes, threads = 1 } = options;
  const keep = blockRatios(options.keep, language.blocks);
  const before = language.sizes;
  const after = before.map((size, i) => keptSizes(size, keep(i, 'head'), keep(i, 'channel')));
  const { config, record, statement } = language.configOf(after);
  const nothing = { tensors: new Map() };
  const tensors = { before: language.tensors(nothing), after: describe(config, record).tensors(nothing) };

  const perBlock = new Map<number | undefined, number>();
  for (const { shape, block } of tensors.before.values()) {
    perBlock.set(block, (perBlock.get(block) ?? 0) + elements(shape));
  }
  const outside = perBlock.get(undefined) ?? 0;
  perBlock.delete(undefined);
  const largest = Math.max(...perBlock.values());
  const layers = before.flatMap((size, i) =>
    layersOf(language, size, after[i]).filter(({ p, k }) => k < p || correct),
  );
  const wasmOf = ({ p, m, b }: Layer) =>
    Math.max(2 * statisticsWasmBytes(p, m), layerWasmBytes(p, m, b, search));
  // Lower triangles of fit and held-out samples, H, and of W: both cross products, dense weights, G and attempts.
  const heapOf = ({ p, m }: Layer) => 8 * (2.6 * p * p + 8 * p * m);
  const engine = 4 * ENGINE_COPIES * Math.max(outside, largest);
  const weights = engine + 4 * BLOCK_COPIES * largest;
  const head = engine + 4 * (HEAD_COPIES * outside + SCORE_COPIES * seqlen * language.vocabulary);
  const activations = 2 * Math.min(activationBytes, hiddenBytes(samples, seqlen, language.hidden));
  const wasm = PACKING_BYTES + Math.max(0, ...layers.map(wasmOf));
  const statistics = Math.max(0, ...layers.map(({ p, m }) => 2 * statisticsWasmBytes(p, m)));
  const helpers = Math.round(statistics * (1 - 1 / threads));
  const heap = Math.max(0, ...layers.map(heapOf));

  const passes = 1 + (auto ? SEARCH_PASSES : 0);
  const tokens = samples * seqlen;
  const blocks = [...perBlock.values()].reduce((sum, parameters) => sum + parameters, 0);
  const scored = samples * (2 + (auto ? SEARCHES / 4 : 0)) + COMPARED_WINDOWS;
  const forwards = correct ? FORWARDS.corrected : FORWARDS.plain;
  return {
    architecture: language.architecture,
    sizes: { before, after },
    parameters: { before: count(tensors.before), after: count(tensors.after) },
    statement,
    bytes: {
      weights,
      activations,
      wasm,
      helpers,
      heap,
      base: BASE_BYTES,
      total: BASE_BYTES + activations + Math.max(head, weights + wasm + helpers + heap),
    },
    flops: {
      engine:
        2 * seqlen * (passes * forwards * blocks * samples + scored * language.vocabulary * language.hidden),
      kernels: passes * layers.reduce((sum, layer) => sum + solveFlops(layer, tokens), 0),
    },
  };
}

/** @throws {OutOfMemoryError} where the largest layer does not fit a thread's memory */
export function checkPlan({ bytes: { wasm } }: LanguagePlan, maximumBytes: number): void {
  if (wasm <= maximumBytes) return;
  throw new OutOfMemoryError(
    `the largest layer needs ${wasm} bytes of WebAssembly memory, more than the ${maximumBytes} there are; leave its structure whole (--keep-mlp 1 or --keep-heads 1) and the other layers as they are (--no-correct)`,
    wasm,
  );
}

/** Groups and neurons that stay. */
function keptSizes({ heads, kvHeads, ffn }: BlockSizes, headRatio: number, mlpRatio: number): BlockSizes {
  const groups = groupsToKeep(kvHeads, headRatio);
  return { heads: groups * (heads / kvHeads), kvHeads: groups, ffn: groupsToKeep(ffn, mlpRatio) };
}

function layersOf(
  { hidden, headDim }: LanguageModel,
  { heads, kvHeads, ffn }: BlockSizes,
  after: BlockSizes,
): Layer[] {
  const corrected = (m: number): Layer => ({ p: hidden, m, b: 1, k: hidden });
  return [
    corrected(heads * headDim),
    corrected(kvHeads * headDim),
    corrected(kvHeads * headDim),
    { p: heads * headDim, m: hidden, b: (heads / kvHeads) * headDim, k: after.heads * headDim },
    corrected(ffn),
    { p: ffn, m: hidden, b: 1, k: after.ffn },
  ];
}

/**
 * Gram and cross products (in f32, at twice the speed); the damping's elimination and trials; for a pruned layer the
 * elimination again and a search that takes about as long, else one more refit.
 */
function solveFlops({ p, m, k }: Layer, tokens: number): number {
  const statistics = (tokens * (p * p + 2 * p * m)) / 2;
  const product = 2 * p * p * m;
  const refit = k ** 3 / 3 + 2 * k * k * m;
  const elimination = p ** 3 + product + (2 / 3) * (p ** 3 - k ** 3);
  const damping = elimination + product + TRIES * (refit + product);
  return statistics + damping + (k < p ? 2 * elimination : refit);
}

function count(tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>): number {
  let total = 0;
  for (const { shape } of tensors.values()) total += elements(shape);
  return total;
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
