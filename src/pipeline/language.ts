// A language model's folder: opened, pruned block by block into another folder, and proven by running what was written.

import {
  type BlockSizes,
  describe,
  type LanguageModel,
  type SizesRecord,
} from '../checkpoint/architectures/index.ts';
import {
  type Checkpoint,
  CheckpointWriter,
  type Folder,
  type OutputFolder,
  openCheckpoint,
  planSafetensors,
  readJson,
} from '../checkpoint/index.ts';
import type { Engine } from '../engine/index.ts';
import { InputError, OsscarError } from '../errors.ts';
import { shrink } from '../graph/index.ts';
import type { Kernels } from '../kernel/index.ts';
import { groupsToKeep, METHODS, type Method, type Search } from '../solve/index.ts';
import { type PrunedBlock, pruneBlocks } from './blocks.ts';
import {
  advance,
  type Chain,
  type ChainOptions,
  chainPerplexity,
  embed,
  headLoss,
  openBlock,
  openHead,
} from './chain.ts';
import type { Dataset } from './data/index.ts';
import { firstWindows } from './data/text.ts';
import type { HiddenStates, Scratch } from './hidden.ts';
import { blockRatios, type KeepRatios } from './keep.ts';
import { type BeforeAfter, largestDifference, type Progress, TARGETS, type TargetChoice } from './prune.ts';
import { refits, type Target } from './sequence.ts';
import { splitSamples } from './split.ts';
import { type Candidate, searchTarget } from './target.ts';

/** A folder in Hugging Face's layout that is ready to be pruned or evaluated. */
export interface OpenedLanguageModel {
  readonly folder: Folder;
  readonly checkpoint: Checkpoint;
  readonly language: LanguageModel;
}

/** Beside config.json: the sizes of every block, where config.json cannot say them. */
export const SIZES_FILE = 'osscar.json';
const MAX_SIZES_BYTES = 2 ** 24;

/**
 * @throws {InputError} if a file is missing, or config.json contradicts the tensors
 * @throws {FormatError} naming the malformed file
 * @throws {UnsupportedModelError} naming the model type, or the part of it that is not supported
 */
export async function openLanguageModel(folder: Folder): Promise<OpenedLanguageModel> {
  const checkpoint = await openCheckpoint(folder);
  const hasRecord = (await folder.list()).includes(SIZES_FILE);
  const record = hasRecord
    ? ((await readJson(folder, SIZES_FILE, MAX_SIZES_BYTES)) as unknown as SizesRecord)
    : undefined;
  const language = describe(checkpoint.config, record);
  language.check(checkpoint);
  return { folder, checkpoint, language };
}

/** The model as parts. */
export function chainOf({ folder, checkpoint, language }: OpenedLanguageModel): Chain {
  const { blocks, hidden, vocabulary } = language;
  return {
    ...{ name: folder.name, blocks, hidden, vocabulary },
    embedding: (length) => language.embedding(checkpoint, { length }),
    block: (i, length) => language.block(checkpoint, i, { length }),
    head: () => language.head(checkpoint),
  };
}

export interface LanguageOptions {
  readonly engine: Engine;
  readonly kernels: Kernels;
  /** Windows of token ids. */
  readonly calibration: Dataset;
  /** Fraction of the groups to keep, in (0, 1]; single structures are named `3.heads` or `3.mlp`, by their block. */
  readonly keep: number | KeepRatios;
  /** Default `osscar`. */
  readonly method?: Method;
  /** Default `auto`: chosen by the loss on held-out calibration windows. */
  readonly target?: TargetChoice | Target;
  /** λ; default: chosen for each layer by held-out calibration windows. */
  readonly damping?: number;
  readonly groupsPerStep?: number;
  /** Default `swap`. */
  readonly search?: Search;
  /** Whether layers that keep all their inputs are refitted to what now reaches them. Default true. */
  readonly correct?: boolean;
  /** Windows for the perplexity before and after. Default: the calibration windows. */
  readonly evaluation?: Dataset;
  /** Bytes of activations kept in memory. Default 1 GiB. */
  readonly activationBytes?: number;
  /** For activations beyond. */
  readonly scratch?: Scratch;
  /** Where the pruned folder goes. Committed once it is verified, aborted where anything fails. */
  readonly output: OutputFolder;
  /** Bytes of a safetensors file before the next is begun. Default 5 GB. */
  readonly maxShardBytes?: number;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

export interface LanguageReport {
  readonly method: Method;
  readonly keep: number | KeepRatios;
  readonly target: {
    readonly requested: TargetChoice | Target;
    readonly chosen: Target;
    readonly candidates?: readonly Candidate[];
  };
  readonly samples: number;
  /** Tokens per window. */
  readonly seqlen: number;
  readonly parameters: BeforeAfter;
  /** Of the weight files. */
  readonly bytes: BeforeAfter;
  readonly metric: BeforeAfter & {
    readonly name: 'perplexity';
    readonly samples: number;
    readonly data: 'evaluation' | 'calibration';
  };
  /** Largest difference between the written model's logits and the masked network's, as a part of their range. */
  readonly maxDifference: number;
  readonly blocks: readonly {
    readonly block: number;
    readonly sizes: BlockSizes;
    readonly seconds: number;
    readonly layers: readonly {
      readonly name: string;
      readonly kind: 'channel' | 'head';
      readonly groups: number;
      readonly kept: readonly number[];
      readonly relativeError: number;
      readonly damping: readonly number[];
    }[];
  }[];
  /** Who can read the written folder. */
  readonly statement: string;
  readonly memory: { readonly wasmBytes: number };
  readonly seconds: number;
  readonly engine: string;
  readonly simd: string;
}

const DEFAULT_ACTIVATION_BYTES = 2 ** 30;
/** Windows on which the written model is compared with the masked one. */
const VERIFIED_WINDOWS = 4;
/** The bound on `maxDifference`, by the type that weights are written in. */
const TOLERANCE: Record<string, number> = { float32: 1e-3, float16: 2e-2, bfloat16: 1e-1 };

/**
 * Prunes attention heads (key-value groups) and MLP neurons of a language model, block by block, and verifies the result.
 *
 * @throws {InputError} for options or data that cannot work
 * @throws {OutOfMemoryError} before any work, where a layer or the activations cannot fit
 */
export async function pruneLanguageModel(
  opened: OpenedLanguageModel,
  options: LanguageOptions,
): Promise<LanguageReport> {
  const { engine, kernels, calibration, output, method = 'osscar', target = 'auto', signal } = options;
  const start = performance.now();
  const { language, checkpoint } = opened;
  const chain = chainOf(opened);
  const keep = blockRatios(options.keep, language.blocks);
  checkChoices(method, target);
  for (const windows of [calibration, options.evaluation]) if (windows) await checkWindows(windows, language);
  const run: ChainOptions = {
    ...{ engine, signal, scratch: options.scratch },
    activationBytes: options.activationBytes ?? DEFAULT_ACTIVATION_BYTES,
  };
  const evaluation = options.evaluation ?? calibration;
  const before = await chainPerplexity(chain, evaluation, run);
  const all = Array.from({ length: calibration.size }, (_, i) => i);
  const pass = (
    fit: readonly number[],
    to: Target,
    label: string,
    search?: Search,
    onBlock?: (block: PrunedBlock) => Promise<void>,
  ) =>
    pruneBlocks(chain, calibration, {
      ...run,
      ...{ kernels, method, fit, onBlock, search, target: to },
      damping: options.damping,
      groupsPerStep: options.groupsPerStep,
      correct: options.correct ?? true,
      keep: (i, { kind }) => keep(i, kind),
      onStep: (done, total) => options.onProgress?.({ label, done, total }),
    });

  let chosen: Target;
  let candidates: Candidate[] | undefined;
  if (!refits(method)) chosen = { kind: 'self', blend: 0 };
  else if (typeof target === 'object') chosen = target;
  else if (target !== 'auto') chosen = { kind: target, blend: target === 'self' ? 0 : 1 };
  else {
    const { isFit, isHeldOut } = splitSamples(calibration.size);
    const [fit, heldOut] = [all.filter(isFit), all.filter(isHeldOut)];
    candidates = await searchTarget(async (to) => {
      const states = await pass(fit, to, `target ${to.kind} ${to.blend}`, 'greedy');
      return headLoss(chain, states, calibration, heldOut, 'pruned', run);
    }, true);
    const [{ kind, blend }] = candidates;
    chosen = { kind, blend };
  }

  const sizes = language.sizes.map((size, i) => keptSizes(size, keep(i, 'head'), keep(i, 'channel')));
  const pruned = language.configOf(sizes);
  const smaller = describe(pruned.config, pruned.record);
  const shapes = smaller.shapes(checkpoint);
  const specs = Array.from(checkpoint.tensors.values(), ({ name, dtype, shape }) => ({
    name,
    dtype,
    shape: shapes.get(name) ?? shape,
  }));
  const writer = new CheckpointWriter(
    output,
    planSafetensors(specs, { maxShardBytes: options.maxShardBytes }),
  );
  const blocks: LanguageReport['blocks'][number][] = [];
  let maxDifference = Number.NaN;
  try {
    const inBlocks = new Set(language.shapes(checkpoint, 'blocks').keys());
    for (const name of checkpoint.tensors.keys()) {
      if (!inBlocks.has(name)) await copyTensor(checkpoint, writer, name);
    }
    const states = await pass(
      all,
      chosen,
      'pruning',
      options.search,
      async ({ index, masked, layers, seconds }) => {
        const small = shrink(masked, new Map(layers.map(({ structure, kept }) => [structure, kept])));
        for (const { name, data } of language.tensorsOf(index, small)) await writer.write(name, data);
        blocks.push({
          ...{ block: index, sizes: sizes[index], seconds },
          layers: layers.map(({ structure: { layer, kind, groups }, kept, relativeError, damping }) => ({
            ...{ name: layer, kind, groups, kept, relativeError, damping },
          })),
        });
      },
    );
    const json = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
    await writer.writeFile('config.json', json(pruned.config));
    if (pruned.record) await writer.writeFile(SIZES_FILE, json(pruned.record));
    await writer.copySideFiles(opened.folder);
    await writer.finish(async (written) => {
      const again = await openLanguageModel(written);
      maxDifference = await compare(chain, states, chainOf(again), calibration, run);
      const types = [...checkpoint.tensors.values()].map(({ dtype }) => TOLERANCE[dtype] ?? 0);
      const tolerance = Math.max(...types);
      if (!(maxDifference <= tolerance)) {
        throw new OsscarError(
          'ERR_OSSCAR_VERIFY',
          `the written model differs from the masked one by ${maxDifference} of its logits' range, more than ${tolerance}`,
        );
      }
    });
  } catch (error) {
    await writer.abort();
    throw error;
  }
  const written = await openLanguageModel(output);
  const after = await chainPerplexity(chainOf(written), evaluation, run);
  return {
    ...{ method, keep: options.keep, samples: calibration.size, seqlen: calibration.shape[0] },
    target: { requested: target, chosen, ...(candidates && { candidates }) },
    parameters: { before: parametersOf(checkpoint), after: parametersOf(written.checkpoint) },
    bytes: { before: bytesOf(checkpoint), after: bytesOf(written.checkpoint) },
    metric: {
      name: 'perplexity',
      before: before.value,
      after: after.value,
      samples: evaluation.size,
      data: options.evaluation ? 'evaluation' : 'calibration',
    },
    ...{ maxDifference, blocks, statement: pruned.statement },
    memory: { wasmBytes: kernels.bytes },
    seconds: (performance.now() - start) / 1000,
    engine: engine.name,
    simd: kernels.simd,
  };
}

function checkChoices(method: Method, target: TargetChoice | Target): void {
  if (!METHODS.includes(method))
    throw new InputError(`method must be one of ${METHODS.join(', ')}, got ${method}`);
  if (typeof target === 'string' && !TARGETS.includes(target)) {
    throw new InputError(`target must be one of ${TARGETS.join(', ')}, got ${target}`);
  }
}

/** @throws {InputError} where windows are longer than the model's positions or hold ids outside its vocabulary */
export async function checkWindows(
  windows: Dataset,
  { maxPositions, vocabulary, architecture }: LanguageModel,
): Promise<void> {
  const [length] = windows.shape;
  if (windows.shape.length !== 1 || length < 2 || length > maxPositions) {
    throw new InputError(
      `windows of 2 to ${maxPositions} tokens expected for this ${architecture}, got [${windows.shape}]; see --seqlen`,
    );
  }
  for await (const { inputs } of windows.batches(64)) {
    const id = inputs.find((value) => !(value >= 0 && value < vocabulary));
    if (id !== undefined)
      throw new InputError(
        `token ${id} is outside the model's vocabulary of ${vocabulary}: the tokenizer is not this model's`,
      );
  }
}

function keptSizes({ heads, kvHeads, ffn }: BlockSizes, headRatio: number, mlpRatio: number): BlockSizes {
  const groups = groupsToKeep(kvHeads, headRatio);
  return { heads: groups * (heads / kvHeads), kvHeads: groups, ffn: groupsToKeep(ffn, mlpRatio) };
}

/** Bytes of a tensor that are held while it is copied. */
const COPY_BYTES = 2 ** 25;

async function copyTensor(checkpoint: Checkpoint, writer: CheckpointWriter, name: string): Promise<void> {
  const { shape, bytes } = checkpoint.tensors.get(name)!;
  const rows = shape[0] ?? 1;
  const step = Math.max(1, Math.floor(COPY_BYTES / (bytes / rows || 1)));
  if (rows <= step) return writer.writeRaw(name, await checkpoint.readRaw(name));
  for (let row = 0; row < rows; row += step) {
    await writer.writeRaw(name, await checkpoint.readRaw(name, row, Math.min(rows, row + step)), row);
  }
}

/** max |a − b| / (max a − min a) over the logits of the first windows. */
async function compare(
  chain: Chain,
  masked: HiddenStates,
  written: Chain,
  windows: Dataset,
  options: ChainOptions,
): Promise<number> {
  const first = firstWindows(windows, VERIFIED_WINDOWS);
  const states = await embed(written, first, options);
  for (let i = 0; i < written.blocks; i++) {
    await advance(
      states,
      await openBlock(written, i, windows.shape[0], options.engine),
      undefined,
      false,
      options,
    );
  }
  const heads: Awaited<ReturnType<typeof openHead>>[] = [];
  try {
    for (const it of [chain, written]) heads.push(await openHead(it, states.dims, options.engine));
    let largest = 0;
    for (let window = 0; window < first.size; window++) {
      const a = await heads[0].logits((await masked.get(window)).pruned);
      const b = await heads[1].logits((await states.get(window)).pruned);
      largest = Math.max(largest, largestDifference(chain.name, 'logits', a.data, b.data));
    }
    return largest;
  } finally {
    for (const head of heads) await head.release();
  }
}

function parametersOf({ tensors }: Checkpoint): number {
  let total = 0;
  for (const { shape } of tensors.values()) total += shape.reduce((product, dim) => product * dim, 1);
  return total;
}

function bytesOf({ tensors }: Checkpoint): number {
  let total = 0;
  for (const { bytes } of tensors.values()) total += bytes;
  return total;
}
