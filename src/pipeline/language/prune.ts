// Prunes a language model's folder block by block into another folder.

import { type BlockSizes, describe } from '../../checkpoint/architectures/index.ts';
import {
  type Checkpoint,
  CheckpointWriter,
  type OutputFolder,
  planSafetensors,
} from '../../checkpoint/index.ts';
import { shrink } from '../../graph/index.ts';
import type { Session } from '../../pool/index.ts';
import type { Method, Search } from '../../solve/index.ts';
import { blockRatios, type KeepRatios } from '../keep.ts';
import {
  type BeforeAfter,
  type CommonOptions,
  checkChoices,
  chooseTarget,
  DEFAULT_ACTIVATION_BYTES,
  type TargetReport,
  withSession,
} from '../options.ts';
import type { Target } from '../sequence.ts';
import { splitSamples } from '../split.ts';
import { searchTarget } from '../target.ts';
import { type PrunedBlock, pruneBlocks } from './blocks.ts';
import { type ChainOptions, chainPerplexity, headLoss } from './chain.ts';
import type { HiddenStates, Scratch } from './hidden.ts';
import { chainOf, checkWindows, type OpenedLanguageModel, openLanguageModel, SIZES_FILE } from './open.ts';
import { checkPlan, planLanguageModel } from './plan.ts';
import { bytesOf, type Proof, parametersOf, prove, writeOnnx } from './prove.ts';

/** Single structures are named `3.heads` and `3.mlp`, by their block. */
export interface LanguageOptions extends CommonOptions {
  /** Makes files for activations beyond `activationBytes`. */
  readonly scratch?: () => Scratch;
  /** Where the pruned folder goes. Committed once it is verified, aborted where anything fails. */
  readonly output: OutputFolder;
  /** Bytes of a safetensors file before the next is begun. Default 5 GB. */
  readonly maxShardBytes?: number;
  /** Whether `model.onnx` is written too: the whole model, with key-value caches as inputs and outputs. */
  readonly onnx?: boolean;
}

/** What was pruned, how, and what it cost. */
export interface LanguageReport {
  readonly method: Method;
  readonly keep: number | KeepRatios;
  readonly target: TargetReport;
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
  readonly memory: {
    /** Peak that was planned for, of the whole process. */
    readonly plannedBytes: number;
  };
  readonly seconds: number;
  readonly engine: string;
  readonly simd: string;
  /** Of the solver. */
  readonly threads: number;
}

/**
 * Prunes attention heads (key-value groups) and MLP neurons of a language model, block by block, and verifies the result.
 *
 * @throws {InputError} for options or data that cannot work
 * @throws {OutOfMemoryError} before any work, where a layer or the activations cannot fit
 */
export function pruneLanguageModel(
  opened: OpenedLanguageModel,
  options: LanguageOptions,
): Promise<LanguageReport> {
  return withSession(options.session, (session) => pruneWith(session, opened, options));
}

async function pruneWith(
  session: Session,
  opened: OpenedLanguageModel,
  options: LanguageOptions,
): Promise<LanguageReport> {
  const { engine, calibration, output, method = 'osscar', signal } = options;
  const start = performance.now();
  const { language, checkpoint } = opened;
  const chain = chainOf(opened);
  const keep = blockRatios(options.keep, language.blocks);
  checkChoices(options);
  for (const windows of [calibration, options.evaluation]) if (windows) await checkWindows(windows, language);
  const correct = options.correct ?? true;
  const { activationBytes = DEFAULT_ACTIVATION_BYTES } = options;
  const plan = planLanguageModel(language, {
    ...{ keep: options.keep, samples: calibration.size, seqlen: calibration.shape[0], activationBytes },
    ...{ auto: options.target === undefined || options.target === 'auto', correct, search: options.search },
    threads: session.threads,
  });
  checkPlan(plan, session.maximumBytes);
  const run: ChainOptions = { engine, signal, scratch: options.scratch, activationBytes };
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
      ...{ session, method, fit, onBlock, search, target: to },
      damping: options.damping,
      groupsPerStep: options.groupsPerStep,
      correct,
      keep: (i, { kind }) => keep(i, kind),
      onStep: (done, total) => options.onProgress?.({ label, done, total }),
    });

  const target = await chooseTarget(options, () => {
    const { isFit, isHeldOut } = splitSamples(calibration.size);
    const [fit, heldOut] = [all.filter(isFit), all.filter(isHeldOut)];
    return searchTarget(async (to) => {
      const states = await pass(fit, to, `target ${to.kind} ${to.blend}`, 'greedy');
      try {
        return await headLoss(chain, states, calibration, heldOut, 'pruned', run);
      } finally {
        await states.close();
      }
    }, true);
  });

  const sizes = plan.sizes.after;
  const pruned = language.configOf(sizes);
  const smaller = describe(pruned.config, pruned.record);
  const shapes = smaller.tensors(checkpoint);
  const specs = Array.from(checkpoint.tensors.values(), ({ name, dtype, shape }) => ({
    name,
    dtype,
    shape: shapes.get(name)?.shape ?? shape,
  }));
  const writer = new CheckpointWriter(
    output,
    planSafetensors(specs, { maxShardBytes: options.maxShardBytes }),
  );
  const blocks: LanguageReport['blocks'][number][] = [];
  let states: HiddenStates | undefined;
  try {
    for (const name of checkpoint.tensors.keys()) {
      if (shapes.get(name)?.block === undefined) await copyTensor(checkpoint, writer, name);
    }
    const behind = await pass(
      all,
      target.chosen,
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
    states = behind;
    const json = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
    await writer.writeFile('config.json', json(pruned.config));
    if (pruned.record) await writer.writeFile(SIZES_FILE, json(pruned.record));
    await writer.copySideFiles(opened.folder);
    let proof: Proof | undefined;
    await writer.finish(async () => {
      const written = await openLanguageModel(output);
      if (options.onnx) await writeOnnx(written, output, options.metadata ?? {});
      proof = await prove(chain, behind, written, { ...options, ...run, evaluation });
    });
    const { maxDifference, after, parameters, bytes } = proof!;
    return {
      ...{ method, keep: options.keep, samples: calibration.size, seqlen: calibration.shape[0] },
      target,
      parameters: { before: parametersOf(checkpoint), after: parameters },
      bytes: { before: bytesOf(checkpoint), after: bytes },
      metric: {
        name: 'perplexity',
        before: before.value,
        after,
        samples: evaluation.size,
        data: options.evaluation ? 'evaluation' : 'calibration',
      },
      ...{ maxDifference, blocks, statement: pruned.statement },
      memory: { plannedBytes: plan.bytes.total },
      seconds: (performance.now() - start) / 1000,
      engine: engine.name,
      simd: session.simd,
      threads: session.threads,
    };
  } catch (error) {
    await writer.abort();
    throw error;
  } finally {
    await states?.close();
  }
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
