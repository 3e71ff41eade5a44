// What pruning a language model will take, from its config.json alone.

import { type BlockSizes, describe, type LanguageModel } from '../../checkpoint/architectures/index.ts';
import { groupsToKeep, layerWasmBytes, type Search, statisticsWasmBytes } from '../../solve/index.ts';
import { blockRatios, type KeepRatios } from '../keep.ts';
import { PACKING_BYTES } from '../sequence.ts';
import { hiddenBytes } from './hidden.ts';

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
}

/** Operations per second, multiply and add counting as two. */
export interface Rates {
  readonly engine: number;
  readonly kernels: number;
}

export interface LanguagePlan {
  readonly architecture: string;
  readonly sizes: { readonly before: readonly BlockSizes[]; readonly after: readonly BlockSizes[] };
  readonly parameters: { readonly before: number; readonly after: number };
  /** Who can read the result. */
  readonly statement: string;
  /** Peak, by what holds it. */
  readonly bytes: {
    /** Of one part of the model, in the graph, in both networks' sessions, and on the way there. */
    readonly weights: number;
    readonly activations: number;
    /** Statistics and factors of the largest layer in the kernels' memory. */
    readonly wasm: number;
    /** The same layer's statistics, problem and weights outside of it. */
    readonly heap: number;
    /** The engine's, the runtime's and the program's own. */
    readonly base: number;
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
  readonly pruned: boolean;
}

/** Resident memory of Node with the engine loaded (measured). */
const BASE_BYTES = 300 * 2 ** 20;
/** Copies of a block's weights at the peak: two graphs, two sessions, one on its way into a session. */
const WEIGHT_COPIES = 5;
/** The embedding and the head are in one graph and one session. */
const HEAD_COPIES = 3;
/** Passes of the search for a target, each on three quarters of the windows, beside the pass that counts. */
const SEARCH_PASSES = 5 * 0.75;
/** How often a block is run in a pass, in whole forward passes of one network: with and without correction. */
const FORWARDS = { corrected: 4.5, plain: 3.5 };

/** @throws {InputError} for impossible ratios */
export function planLanguageModel(language: LanguageModel, options: PlanOptions): LanguagePlan {
  const { samples, seqlen, auto, correct, search, activationBytes } = options;
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
    layersOf(language, size, after[i]).filter(({ pruned }) => pruned || correct),
  );
  const wasmOf = ({ p, m, b }: Layer) =>
    Math.max(2 * statisticsWasmBytes(p, m), layerWasmBytes(p, m, b, search));
  const heapOf = ({ p, m }: Layer) => 8 * (4 * p * p + 6 * p * m);
  const weights = 4 * Math.max(WEIGHT_COPIES * largest, HEAD_COPIES * outside);
  const activations = 2 * Math.min(activationBytes, hiddenBytes(samples, seqlen, language.hidden));
  const wasm = PACKING_BYTES + Math.max(0, ...layers.map(wasmOf));
  const heap = Math.max(0, ...layers.map(heapOf));

  const passes = 1 + (auto ? SEARCH_PASSES : 0);
  const tokens = samples * seqlen;
  const blocks = [...perBlock.values()].reduce((sum, parameters) => sum + parameters, 0);
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
      heap,
      base: BASE_BYTES,
      total: weights + activations + wasm + heap + BASE_BYTES,
    },
    flops: {
      engine: 2 * tokens * (passes * forwards * blocks + language.vocabulary * language.hidden),
      kernels: passes * layers.reduce((sum, layer) => sum + solveFlops(layer, tokens), 0),
    },
  };
}

/** Groups and neurons that stay. */
export function keptSizes(
  { heads, kvHeads, ffn }: BlockSizes,
  headRatio: number,
  mlpRatio: number,
): BlockSizes {
  const groups = groupsToKeep(kvHeads, headRatio);
  return { heads: groups * (heads / kvHeads), kvHeads: groups, ffn: groupsToKeep(ffn, mlpRatio) };
}

function layersOf(
  { hidden, headDim }: LanguageModel,
  { heads, kvHeads, ffn }: BlockSizes,
  after: BlockSizes,
): Layer[] {
  const corrected = (m: number): Layer => ({ p: hidden, m, b: 1, pruned: false });
  return [
    corrected(heads * headDim),
    corrected(kvHeads * headDim),
    corrected(kvHeads * headDim),
    { p: heads * headDim, m: hidden, b: (heads / kvHeads) * headDim, pruned: after.kvHeads < kvHeads },
    corrected(ffn),
    { p: ffn, m: hidden, b: 1, pruned: after.ffn < ffn },
  ];
}

/** Gram and cross products, five trial factorisations for the damping, and the elimination or one more factorisation. */
function solveFlops({ p, m, pruned }: Layer, tokens: number): number {
  return tokens * (p * p + 2 * p * m) + 5 * (p ** 3 / 3 + 2 * p * p * m) + (pruned ? 3 * p ** 3 : p ** 3 / 3);
}

function count(tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>): number {
  let total = 0;
  for (const { shape } of tensors.values()) total += elements(shape);
  return total;
}

function elements(shape: readonly number[]): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
