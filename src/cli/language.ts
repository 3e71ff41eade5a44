// The commands on a language model's folder.

import { stat } from 'node:fs/promises';
import { openEngine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { openKernels } from '../kernel/index.ts';
import { chainPerplexity } from '../pipeline/language/chain.ts';
import {
  chainOf,
  checkWindows,
  describeFolder,
  type OpenedLanguageModel,
  openLanguageModel,
} from '../pipeline/language/open.ts';
import { planLanguageModel } from '../pipeline/language/plan.ts';
import { pruneLanguageModel } from '../pipeline/language/prune.ts';
import { measureRates } from '../pipeline/language/rates.ts';
import { DEFAULT_ACTIVATION_BYTES } from '../pipeline/options.ts';
import { openSession } from '../pool/index.ts';
import { createFolder, openFolder } from './folder.ts';
import { type EvalFlags, interruptSignal, keepOf, type PruneFlags, print } from './options.ts';
import { languagePlanText, languageText } from './print.ts';
import { progressReporter } from './progress.ts';
import { scratchFiles } from './scratch.ts';
import { calibrationWindows, DEFAULT_WINDOWS, evaluationWindows } from './text.ts';

/** Tokens per window, unless the model has fewer positions. */
const DEFAULT_LENGTH = 512;

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

export async function pruneFolder(path: string, flags: PruneFlags): Promise<void> {
  if (flags.dryRun) return planFolder(path, flags);
  const { output: target, calibrate } = flags;
  if (target === undefined) throw new InputError('where the pruned model goes is missing: --output');
  if (calibrate === undefined) throw new InputError('calibration text is missing: --calibrate');
  const signal = interruptSignal();
  await withModel(path, async (opened) => {
    // First of all, so that an output that cannot be is found at once.
    const output = await createFolder(target, { overwrite: flags.overwrite });
    const session = await openSession({ threads: flags.threads });
    const progress = progressReporter(process.stderr);
    const files = scratchFiles(flags.scratch);
    try {
      const seqlen = lengthFor(opened, flags);
      const tokenizer = flags.tokenizer ?? path;
      const calibration = await calibrationWindows(calibrate, tokenizer, { ...flags, seqlen });
      const evaluation =
        flags.data === undefined ? undefined : await evaluationWindows(flags.data, tokenizer, seqlen);
      signal.throwIfAborted();
      const report = await pruneLanguageModel(opened, {
        ...{ session, calibration, evaluation, output, signal },
        ...{ method: flags.method, target: flags.target, search: flags.search, damping: flags.damping },
        engine: await openEngine({ threads: flags.threads }),
        keep: keepOf(flags),
        correct: flags.correct,
        onnx: flags.format === 'onnx',
        scratch: files.open,
        onProgress: (step) => progress.report(step),
      });
      progress.stop();
      const { seed, sampling } = flags;
      print(flags, () => languageText(report, target), {
        ...report,
        calibration: { path: calibrate, samples: report.samples, seqlen, seed, sampling },
        model: { path: target },
      });
    } finally {
      progress.stop();
      await output.abort();
      await session.close();
      await files.close();
    }
  });
}

export async function evaluateFolder(path: string, flags: EvalFlags): Promise<void> {
  await withModel(path, async (opened) => {
    const windows = await evaluationWindows(flags.data, flags.tokenizer ?? path, lengthFor(opened, flags));
    await checkWindows(windows, opened.language);
    const files = scratchFiles();
    try {
      const { name, value, samples } = await chainPerplexity(chainOf(opened), windows, {
        engine: await openEngine({ threads: flags.threads }),
        activationBytes: DEFAULT_ACTIVATION_BYTES,
        scratch: files.open,
      });
      print(flags, () => `${name} ${value.toFixed(4)} on ${samples} windows of ${windows.shape[0]} tokens`, {
        ...{ metric: name, value, samples, seqlen: windows.shape[0] },
      });
    } finally {
      await files.close();
    }
  });
}

/** What a run would take; only config.json is read. */
async function planFolder(path: string, flags: PruneFlags): Promise<void> {
  const folder = await openFolder(path);
  try {
    const language = await describeFolder(folder);
    const engine = await openEngine({ threads: flags.threads });
    const kernels = await openKernels();
    const seqlen = flags.seqlen ?? Math.min(DEFAULT_LENGTH, language.maxPositions);
    const plan = planLanguageModel(language, {
      ...{ keep: keepOf(flags), samples: flags.samples ?? DEFAULT_WINDOWS, seqlen },
      ...{ auto: flags.target === 'auto', correct: flags.correct, search: flags.search },
      ...{ activationBytes: DEFAULT_ACTIVATION_BYTES, threads: flags.threads },
    });
    const rates = await measureRates(engine, kernels);
    // The engine was timed on all threads, the kernels on one.
    const seconds = plan.flops.engine / rates.engine + plan.flops.kernels / (rates.kernels * flags.threads);
    const limit = kernels.maximumBytes;
    print(flags, () => languagePlanText(plan, seconds, limit), {
      ...plan,
      seconds,
      wasmLimit: limit,
      fits: plan.bytes.wasm <= limit,
    });
  } finally {
    await folder.close();
  }
}

export async function inspectFolder(path: string, flags: { readonly json?: boolean }): Promise<void> {
  const folder = await openFolder(path);
  try {
    const { architecture, blocks, hidden, vocabulary, maxPositions, headDim, sizes } =
      await describeFolder(folder);
    const model = { architecture, blocks, hidden, vocabulary, maxPositions, headDim, sizes };
    const lines = sizes.map(
      ({ heads, kvHeads, ffn }, i) =>
        `${i}.heads  ${kvHeads} groups of ${heads / kvHeads} heads of ${headDim}\n${i}.mlp    ${ffn} neurons`,
    );
    print(
      flags,
      () =>
        [
          `${path}: ${architecture}, ${blocks} blocks, ${hidden} features, vocabulary ${vocabulary}`,
          ...lines,
        ].join('\n'),
      model,
    );
  } finally {
    await folder.close();
  }
}

async function withModel(path: string, run: (opened: OpenedLanguageModel) => Promise<void>): Promise<void> {
  const folder = await openFolder(path);
  try {
    await run(await openLanguageModel(folder));
  } finally {
    await folder.close();
  }
}

function lengthFor({ language }: OpenedLanguageModel, { seqlen }: { readonly seqlen?: number }): number {
  return seqlen ?? Math.min(DEFAULT_LENGTH, language.maxPositions);
}
