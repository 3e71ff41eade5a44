// What the commands do: the library's calls, with flags for options, and what a terminal shows of their results.

import type { Command } from 'commander';
import { checkWritable, readFileBytes, writeAtomically } from '../disk/files.ts';
import { readStatus, work } from '../disk/worker.ts';
import { InputError } from '../errors.ts';
import {
  type LatencyTable,
  type ProgressStep,
  parseLatencyTable,
  type SavedReport,
} from '../pipeline/index.ts';
import {
  analyze,
  evaluate,
  type Inspected,
  inspect,
  type Kind,
  latency,
  type Planned,
  plan,
  prune,
} from '../run/index.ts';
import { configOf } from './config.ts';
import { checkFlags } from './mistakes.ts';
import {
  interruptSignal,
  keepOf,
  type LatencyFlags,
  type ModelFlags,
  type PruneFlags,
  print,
  type RunFlags,
  settingsOf,
  type WorkerFlags,
} from './options.ts';
import {
  analyzeText,
  dataText,
  folderText,
  inspectText,
  latencyText,
  planText,
  pruneText,
  statusText,
  textOf,
} from './print.ts';
import { progressReporter } from './progress.ts';
import { checkReport, keepReport, keepTradeoff, readReport, readTradeoff } from './report.ts';
import { say } from './say.ts';

/** What every call is told by a command line. */
function telling(path: string, command: Command) {
  return { onNote: say, onKind: (kind: Kind) => checkFlags(path, kind, command) };
}

/** With progress on standard error, until the call is done. */
async function progressing<R>(
  call: (told: { onProgress(step: ProgressStep): void }) => Promise<R>,
): Promise<R> {
  const progress = progressReporter(process.stderr);
  try {
    return await call({ onProgress: (step) => progress.report(step) });
  } finally {
    progress.close();
  }
}

export async function inspectModel(path: string, flags: ModelFlags, command: Command): Promise<void> {
  const found = await inspect(path, { ...settingsOf(flags), ...telling(path, command) });
  const { folder, encoder } = found;
  if (folder) {
    const text = () => textOf(found, (it) => folderText(it, it.folder!));
    print(flags, text, { ...folderIn(found), encoder: encoder && folderIn(encoder) });
    return;
  }
  const text = () => textOf(found, (it) => inspectText(it, it.file!));
  print(flags, text, { ...fileIn(found), encoder: encoder && fileIn(encoder) });
}

const sharesIn = ({ parameters, macs, kinds, couldNarrow }: Inspected) => ({
  ...{ parameters, macs, kinds, couldNarrow },
});

/** What is printed of a folder as JSON. */
function folderIn(found: Inspected) {
  const { structures: _, ...described } = found.folder!;
  return { ...described, ...sharesIn(found) };
}

/** What is printed of an ONNX file as JSON. */
function fileIn(found: Inspected) {
  const { bytes, pinned, branches, wholeHeads, input, ...file } = found.file!;
  const { name, type, shape } = input;
  const structures = file.structures.map(({ reason = null, ...it }) => {
    const { name, layer, groups, groupSize, prunable, ...share } = it;
    return { name, layer, groups, groupSize, prunable, reason, ...share };
  });
  const described = { name: found.name, input: { name, type, shape }, bytes, ...sharesIn(found) };
  return { ...described, structures, pinned, branches, wholeHeads };
}

export async function pruneModel(path: string, flags: PruneFlags, command: Command): Promise<void> {
  const settings = { ...settingsOf(flags), keep: keepOf(flags), ...telling(path, command) };
  if (flags.dryRun) {
    const { machines, network } = flags;
    if (network !== undefined && machines === undefined)
      throw new InputError('`network` is of `machines`, which is missing; give both');
    const planned = await plan(path, {
      ...settings,
      machines,
      ...(network !== undefined && { storeRate: (network * 1e9) / 8 }),
    });
    print(flags, () => textOf<Planned>(planned, planText), planned);
    return;
  }
  const { output } = flags;
  for (const name of ['machines', 'network'] as const) {
    if (flags[name] !== undefined) throw new InputError(`--${name} is for --dry-run; leave it out`);
  }
  if (output === undefined) throw new InputError('where the pruned model goes is missing: `output`');
  const latencyTable = flags.latencyTable === undefined ? undefined : await readTable(flags.latencyTable);
  const signal = interruptSignal(flags); // before there is anything to tidy up
  const replacing = { overwrite: flags.overwrite, inputs: inputsOf(path, flags) };
  await checkReport(flags.report, replacing, output);
  const analysed = await readTradeoff(settings.work);
  const { report } = await progressing((told) => prune(path, { ...settings, ...told, signal, latencyTable }));
  const tradeoff = report.tradeoff ?? analysed;
  const saved = { ...report, tradeoff, settings: configOf(command, path) };
  // Before the report, whose disk may be full by now.
  print(flags, () => prunedText(saved, output), saved);
  await keepReport(saved, { ...flags, work: settings.work }, replacing);
}

/** @param output  where the model is, or the folder that its files are in */
const prunedText = (report: SavedReport, output: string) => {
  const ofEncoder = report.sizes ? undefined : report.encoder?.model.path; // in a folder it is no file of its own
  return textOf(report, (it) => pruneText(it, it === report ? output : ofEncoder, process.stdout.columns));
};

/** Files and folders that a command reads. */
function inputsOf(path: string, flags: Partial<PruneFlags>): string[] {
  const { calibrate, data, labels, dataLabels, tokenizer, encoder, latencyTable, work, store, scratch } =
    flags;
  const given = [
    ...[path, calibrate, data, labels, dataLabels, tokenizer, encoder],
    ...[latencyTable, work, store, scratch],
  ];
  return given.filter((it) => it !== undefined);
}

export async function reportRun(
  work: string,
  flags: Pick<PruneFlags, 'report' | 'json' | 'overwrite'>,
): Promise<void> {
  const replacing = { overwrite: flags.overwrite, inputs: [work] };
  await checkReport(flags.report, replacing);
  const report = await readReport(work);
  if (flags.report !== undefined) await keepReport(report, { report: flags.report }, replacing);
  print(flags, () => prunedText(report, report.model.path), report);
}

export async function analyzeModel(path: string, flags: RunFlags, command: Command): Promise<void> {
  const settings = { ...settingsOf(flags), ...telling(path, command) };
  const signal = interruptSignal(flags);
  const report = await progressing((told) => analyze(path, { ...settings, ...told, signal }));
  await keepTradeoff(report, flags.work);
  print(flags, () => analyzeText(report, path, flags), report);
}

export async function evaluateModel(
  path: string,
  flags: ModelFlags & { data?: string },
  command: Command,
): Promise<void> {
  if (flags.data === undefined) throw new InputError('labelled samples, or text, are missing: `evaluation`');
  const { evaluation, ...settings } = settingsOf(flags);
  const { name, value, samples, seqlen } = await evaluate(path, flags.data, {
    ...settings,
    ...telling(path, command),
  });
  const text = `${name} ${value.toFixed(4)} on ${dataText(samples, seqlen)}`;
  print(flags, () => text, { metric: name, value, samples, seqlen });
}

export async function measureModel(path: string, flags: LatencyFlags): Promise<void> {
  const { output, overwrite, ...measured } = flags;
  if (output !== undefined) await checkWritable(output, { overwrite, inputs: inputsOf(path, flags) });
  const signal = interruptSignal({});
  const table = await progressing((told) => latency(path, { ...settingsOf(measured), ...told, signal }));
  if (output !== undefined)
    await writeAtomically(output, [new TextEncoder().encode(`${JSON.stringify(table)}\n`)]);
  print(flags, () => latencyText(table), table);
}

export async function workFor({ queue, ...flags }: WorkerFlags): Promise<void> {
  const signal = interruptSignal({});
  signal.addEventListener('abort', () => say('ending after the job that it is at; the second time at once'));
  const onReady = () => say(`working for ${flags.store}`);
  await work(queue, { ...flags, signal, onNote: say, onReady });
}

export async function showStatus(flags: { queue: string; json?: boolean }): Promise<void> {
  const status = await readStatus(flags.queue);
  print(flags, () => statusText(status), status);
}

async function readTable(path: string): Promise<LatencyTable> {
  const text = new TextDecoder().decode(await readFileBytes(path));
  return parseLatencyTable(text, `"${path}": latency table`);
}
