// What the commands do, for files and folders alike.

import type { Command } from 'commander';
import type { Folder } from '../checkpoint/index.ts';
import { InputError } from '../errors.ts';
import { openKernels } from '../kernel/index.ts';
import {
  analyze,
  describeFolder,
  doubtOf,
  evaluate,
  type LatencyTable,
  measureLatency,
  measureRates,
  type OpenedModel,
  type Progress,
  parseLatencyTable,
  parseRecipe,
  plan,
  prune,
  sharesOf,
} from '../pipeline/index.ts';
import { openSession } from '../pool/index.ts';
import { configOf } from './config.ts';
import { openCliEngine } from './engine.ts';
import { checkWritable, type Replacing, readFileBytes, writeAtomically } from './files.ts';
import { openFolder } from './folder.ts';
import { checkFlags, doubtText, type Kind, warningHandler } from './mistakes.ts';
import {
  DEFAULT_IMAGES,
  lengthFor,
  type ModelOnDisk,
  type Opened,
  openModelFile,
  openOnDisk,
} from './model.ts';
import {
  interruptSignal,
  keepOf,
  type LatencyFlags,
  type ModelFlags,
  type PruneFlags,
  print,
  type RunFlags,
} from './options.ts';
import { type Output, openFileOutput, openFolderOutput } from './output.ts';
import { analyzeText, folderText, inspectText, latencyText, planText, pruneText } from './print.ts';
import { progressReporter } from './progress.ts';
import { checkReport, keepReport, readReport } from './report.ts';
import { say } from './say.ts';
import { openScratch } from './scratch.ts';
import { folderStore } from './store.ts';
import { DEFAULT_WINDOWS } from './text.ts';
import { modelFile, openModelFolderOutput } from './transformers.ts';

/** Closes what `run` has opened, the last first. */
async function closing(run: (opened: Opened) => Promise<void>): Promise<void> {
  const open: { close(): unknown }[] = [];
  try {
    await run((it) => {
      open.push(it);
      return it;
    });
  } finally {
    for (const it of open.reverse()) await it.close();
  }
}

export async function inspectModel(path: string, flags: ModelFlags, command: Command): Promise<void> {
  const file = await modelFile(path);
  if (file === undefined) return inspectFolder(path, flags, command);
  await closing(async (opened) => {
    const onDisk = await openModelFile(file, flags, opened);
    checkFlags(path, kindOf(onDisk), command);
    const { model } = onDisk;
    const { parameters, macs, analysis } = model;
    const shares = sharesOf(model);
    const structures = analysis.structures.map((structure) => {
      const { name, layer, groups, groupSize, prunable, reason = null } = structure;
      return { name, layer, groups, groupSize, prunable, reason, ...shares.structures.get(name) };
    });
    const kinds = Object.fromEntries(shares.kinds);
    print(flags, () => inspectText(model, shares), { structures, parameters, macs, kinds });
  });
}

function inspectFolder(path: string, flags: ModelFlags, command: Command): Promise<void> {
  checkFlags(path, 'text', command);
  return closing(async (opened) => {
    const language = await describeFolder(opened(await openFolder(path)));
    const { architecture, blocks, hidden, vocabulary, maxPositions, headDim, sizes } = language;
    const described = { architecture, blocks, hidden, vocabulary, maxPositions, headDim, sizes };
    const shares = sharesOf(language, lengthFor(maxPositions, flags));
    const kinds = Object.fromEntries(shares.kinds);
    print(flags, () => folderText(path, language, shares), { ...described, ...shares.all, kinds });
  });
}

export async function pruneModel(path: string, flags: PruneFlags, command: Command): Promise<void> {
  const recipe = parseRecipe({ ...flags, keep: keepOf(flags) }); // says what is wrong before anything is opened
  if (flags.dryRun) return planModel(path, flags);
  const { output: target, calibrate, seed } = flags;
  if (target === undefined) throw new InputError('where the pruned model goes is missing: --output');
  const latencyTable = flags.latencyTable === undefined ? undefined : await readTable(flags.latencyTable);
  const replacing = { overwrite: flags.overwrite, inputs: inputsOf(path, flags) };
  const signal = interruptSignal(flags); // before there is anything to tidy up
  await checkReport(flags.report, replacing);
  await closing(async (opened) => {
    // First of all, so that an output that cannot be is found at once.
    const output = opened(await openOutput(path, target, replacing));
    const { onDisk, progress, ...run } = await openRun(path, flags, command, opened, signal);
    const result = await prune(onDisk.model as OpenedModel, {
      ...run,
      ...recipe,
      ...output,
      metadata: onDisk.metadata,
      onnx: flags.format === 'onnx',
      latencyTable,
    });
    const model = await output.save(result, (file) => onDisk.files?.has(file) ?? false);
    progress.close();
    const { report } = result;
    const { seqlen } = onDisk;
    const drawn = seqlen === undefined ? {} : { seqlen, sampling: flags.sampling };
    const calibration = { path: calibrate!, samples: report.samples, seed, ...drawn };
    const settings = configOf(command, path);
    const saved = { version: 1, ...report, ...onDisk.inputs, calibration, settings, model } as const;
    await keepReport(saved, flags);
    print(flags, () => pruneText(report, target, process.stdout.isTTY), saved);
  });
}

/** Files and folders that a command reads. */
function inputsOf(path: string, flags: Partial<PruneFlags>): string[] {
  const { calibrate, data, labels, dataLabels, tokenizer, latencyTable, work, scratch } = flags;
  const given = [path, calibrate, data, labels, dataLabels, tokenizer, latencyTable, work, scratch];
  return given.filter((it) => it !== undefined);
}

export async function reportRun(
  work: string,
  flags: Pick<PruneFlags, 'report' | 'json' | 'overwrite'>,
): Promise<void> {
  await checkReport(flags.report, { overwrite: flags.overwrite, inputs: [work] });
  const report = await readReport(work);
  if (flags.report !== undefined) await keepReport(report, { report: flags.report });
  print(flags, () => pruneText(report, report.model.path, process.stdout.isTTY), report);
}

/** Of the kind that the model is: a file, a folder with a model in it, a folder of safetensors. */
async function openOutput(path: string, target: string, replacing: Replacing): Promise<Output> {
  const file = await modelFile(path);
  if (file === undefined) return openFolderOutput(target, replacing);
  return file === path
    ? openFileOutput(target, replacing)
    : openModelFolderOutput(target, path, file, replacing);
}

export async function analyzeModel(path: string, flags: RunFlags, command: Command): Promise<void> {
  const of = flags.of ?? ((await modelFile(path)) === undefined ? 'params' : 'macs');
  const recipe = parseRecipe({ ...flags, of: undefined, [of]: 1 });
  const signal = interruptSignal(flags);
  await closing(async (opened) => {
    const { onDisk, progress, ...run } = await openRun(path, flags, command, opened, signal);
    const report = await analyze(onDisk.model, { ...run, ...recipe });
    progress.close();
    print(flags, () => analyzeText(report, path, flags), report);
  });
}

/** What a run on a model takes, from the flags. */
async function openRun(
  path: string,
  flags: RunFlags & Pick<PruneFlags, 'data' | 'dataLabels'>,
  command: Command,
  opened: Opened,
  signal: AbortSignal,
) {
  const { calibrate, data, dataLabels: labels, seed } = flags;
  if (calibrate === undefined) throw new InputError('calibration samples are missing: --calibrate');
  const store = flags.work === undefined ? undefined : opened(await folderStore(flags.work));
  const onDisk = await openOnDisk(path, flags, opened, signal);
  const kind = kindOf(onDisk);
  checkFlags(path, kind, command);
  const calibration = await onDisk.calibration(calibrate, flags);
  const evaluation = data === undefined ? undefined : await onDisk.evaluation(data, { labels, seed });
  const session = opened(await openSession(flags));
  const scratch = await openScratch(opened, flags.scratch);
  const progress = opened(progressReporter(process.stderr));
  signal.throwIfAborted();
  const { engine } = onDisk;
  const onProgress = (step: Progress) => progress.report(step);
  const onWarning = warningHandler(kind, onDisk.preprocessing, flags.force);
  return {
    onDisk,
    progress,
    engine,
    session,
    calibration,
    evaluation,
    store,
    scratch,
    signal,
    onProgress,
    onWarning,
  };
}

/** What a run would take. Of a folder only config.json is read. */
async function planModel(path: string, flags: PruneFlags): Promise<void> {
  await closing(async (opened) => {
    const file = await modelFile(path);
    const { model, seqlen, engine } =
      file === undefined
        ? await describedOnDisk(opened(await openFolder(path)), flags)
        : await openModelFile(file, flags, opened);
    const { samples = seqlen === undefined ? DEFAULT_IMAGES : DEFAULT_WINDOWS } = flags;
    const sample = seqlen === undefined ? [] : [seqlen];
    const planned = plan(model, { ...flags, keep: keepOf(flags), samples, sample });
    const kernels = await openKernels(flags);
    const rates = await measureRates(engine, kernels);
    // The engine was timed on all threads, the kernels on one.
    const { flops, bytes } = planned;
    const seconds = flops.engine / rates.engine + flops.kernels / (rates.kernels * flags.threads);
    const wasmLimit = kernels.maximumBytes;
    const fits = bytes.wasm <= wasmLimit;
    print(flags, () => planText(planned, seconds, wasmLimit), { ...planned, seconds, wasmLimit, fits });
  });
}

async function describedOnDisk(folder: Folder, flags: PruneFlags) {
  const model = await describeFolder(folder);
  return { model, seqlen: lengthFor(model.maxPositions, flags), engine: await openCliEngine(flags) };
}

const kindOf = ({ seqlen }: Pick<ModelOnDisk, 'seqlen'>): Kind => (seqlen === undefined ? 'images' : 'text');

export async function evaluateModel(
  path: string,
  flags: ModelFlags & { data: string },
  command: Command,
): Promise<void> {
  await closing(async (opened) => {
    const onDisk = await openOnDisk(path, flags, opened);
    checkFlags(path, kindOf(onDisk), command);
    const samples = await onDisk.evaluation(flags.data, flags);
    const { engine, model, seqlen } = onDisk;
    const metric = await evaluate(model, samples, { engine, scratch: await openScratch(opened) });
    if (!metric)
      throw new InputError(`"${flags.data}": no labels; use sub-folders per class or --labels file.csv`);
    const doubt = doubtOf(metric);
    if (doubt !== undefined) say(`warning: ${doubtText(doubt, kindOf(onDisk), onDisk.preprocessing)}`);
    const { name, value, samples: count } = metric;
    const what = seqlen === undefined ? 'samples' : `windows of ${seqlen} tokens`;
    const text = `${name} ${value.toFixed(4)} on ${count} ${what}`;
    print(flags, () => text, { metric: name, value, samples: count, seqlen });
  });
}

export async function measureModel(path: string, flags: LatencyFlags): Promise<void> {
  const file = await modelFile(path);
  if (file === undefined) throw new InputError('latency: only of ONNX files');
  const { output, overwrite } = flags;
  if (output !== undefined) await checkWritable(output, { overwrite, inputs: inputsOf(path, flags) });
  const signal = interruptSignal({});
  await closing(async (opened) => {
    const { model, engine } = await openModelFile(file, flags, opened, signal);
    const progress = opened(progressReporter(process.stderr));
    const table = await measureLatency(model, {
      engine,
      signal,
      onProgress: (step) => progress.report(step),
    });
    progress.close();
    if (output !== undefined)
      await writeAtomically(output, [new TextEncoder().encode(`${JSON.stringify(table)}\n`)]);
    print(flags, () => latencyText(table), table);
  });
}

async function readTable(path: string): Promise<LatencyTable> {
  return parseLatencyTable(new TextDecoder().decode(await readFileBytes(path)));
}
