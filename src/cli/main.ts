#!/usr/bin/env node
// The `osscar` command. Exit codes: 0 done, 2 bad input or usage, 1 our fault.

import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Command, CommanderError, Option } from 'commander';
import { InputError, OsscarError } from '../errors.ts';
import { openKernels } from '../kernel/index.ts';
import { batchSource } from '../pipeline/batches.ts';
import { stringifyPreprocessing } from '../pipeline/data/index.ts';
import { accuracy } from '../pipeline/evaluate.ts';
import { loadModel } from '../pipeline/open.ts';
import { pruneModel, TARGETS, type TargetChoice } from '../pipeline/prune.ts';
import { METHODS, type Method, SEARCHES, type Search } from '../solve/index.ts';
import { version } from '../version.ts';
import { checkWritable, readFileBytes, writeAtomically } from './files.ts';
import {
  addCommonFlags,
  addDataFlags,
  type CommonFlags,
  type DataFlags,
  datasetFor,
  METADATA,
  number,
  openModelFile,
  positiveInteger,
} from './options.ts';
import { inspectText, pruneText } from './print.ts';
import { progressReporter } from './progress.ts';

interface PruneFlags extends CommonFlags, DataFlags {
  readonly calibrate: string;
  readonly keep: number;
  readonly output: string;
  readonly method: Method;
  readonly target: TargetChoice;
  readonly search?: Search;
  readonly damping?: number;
  readonly correct: boolean;
  readonly data?: string;
  readonly dataLabels?: string;
  readonly samples: number;
}

const program = new Command('osscar')
  .description('One-shot structured pruning of trained neural networks, without retraining')
  .version(version)
  .exitOverride()
  // Commander puts its suggestions on a second line.
  .configureOutput({ outputError: (text, write) => write(`${oneLine(text.replace(/^error/, 'osscar'))}\n`) });

addDataFlags(addCommonFlags(program.command('inspect')))
  .description('list what can be pruned, and why the rest cannot')
  .argument('<model>', 'ONNX file')
  .action(inspect);

addDataFlags(addCommonFlags(program.command('prune')))
  .description('write a physically smaller model')
  .argument('<model>', 'ONNX file')
  .requiredOption('--calibrate <path>', 'folder of PNG or JPEG images, or a .npy file of model inputs')
  .addOption(
    new Option('--keep <ratio>', 'fraction of the channels of every structure to keep, in (0, 1]')
      .argParser(number)
      .makeOptionMandatory(),
  )
  .requiredOption('-o, --output <file>', 'where the pruned model goes')
  .addOption(new Option('--method <name>', 'how channels are chosen').choices(METHODS).default('osscar'))
  .addOption(
    new Option('--search <name>', 'local search of osscar after its elimination (default: swap)').choices(
      SEARCHES,
    ),
  )
  .addOption(new Option('--target <name>', 'what layers are fitted to').choices(TARGETS).default('auto'))
  .addOption(
    new Option(
      '--damping <x>',
      'regularisation relative to the mean of the diagonal (default: chosen for each layer)',
    ).argParser(number),
  )
  .addOption(
    new Option('--samples <n>', 'calibration samples to draw').argParser(positiveInteger).default(512),
  )
  .option('--no-correct', 'leave layers that keep all their inputs as they are')
  .option('--data <path>', 'labelled samples for the accuracy (default: the calibration samples)')
  .option('--data-labels <file.csv>', 'labels of --data, as --labels')
  .action(prune);

addDataFlags(addCommonFlags(program.command('eval')))
  .description('top-1 accuracy on labelled samples; a pruned model remembers its preprocessing')
  .argument('<model>', 'ONNX file')
  .requiredOption('--data <path>', 'folder of PNG or JPEG images')
  .addOption(new Option('--samples <n>', 'samples to draw (default: all)').argParser(positiveInteger))
  .action(evaluate);

async function inspect(path: string, flags: CommonFlags & DataFlags): Promise<void> {
  const { opened } = await openModelFile(path, flags);
  const { parameters, macs, analysis } = opened;
  const structures = analysis.structures.map(({ name, layer, groups, groupSize, prunable, reason }) => ({
    ...{ name, layer, groups, groupSize, prunable, reason: reason ?? null },
  }));
  print(flags, () => inspectText(opened), { structures, parameters, macs });
}

async function prune(path: string, flags: PruneFlags): Promise<void> {
  if (!(flags.keep > 0 && flags.keep <= 1))
    throw new InputError(`--keep must be in (0, 1], got ${flags.keep}`);
  await checkWritable(flags.output);
  const model = await openModelFile(path, flags);
  const calibration = await datasetFor(model, flags.calibrate, flags);
  const evaluation =
    flags.data && (await datasetFor(model, flags.data, { labels: flags.dataLabels, seed: flags.seed }));
  const { preprocessing, labelOffset, opened, engine } = model;
  const interrupt = new AbortController();
  process.once('SIGINT', () => interrupt.abort(new InputError('interrupted; nothing was written')));
  const progress = progressReporter(process.stderr);
  try {
    const { written, report } = await pruneModel(opened, {
      engine,
      kernels: await openKernels(),
      calibration,
      ...(evaluation && { evaluation }),
      keep: flags.keep,
      method: flags.method,
      target: flags.target,
      search: flags.search,
      damping: flags.damping,
      correct: flags.correct,
      externalName: `${basename(flags.output)}.data`,
      metadata: {
        [METADATA.preprocessing]: stringifyPreprocessing(preprocessing),
        [METADATA.labelOffset]: String(labelOffset),
      },
      onProgress: (step) => progress.report(step),
      signal: interrupt.signal,
    });
    // The data file first: the model must never be there without the weights it names.
    if (written.external) await writeAtomically(`${flags.output}.data`, written.external);
    await writeAtomically(flags.output, [written.model]);
    progress.stop();
    const sha256 = createHash('sha256')
      .update(await readFileBytes(flags.output))
      .digest('hex');
    if (sha256 !== createHash('sha256').update(written.model).digest('hex')) {
      throw new OsscarError('ERR_OSSCAR_VERIFY', `${flags.output} does not hold what was written to it`);
    }
    const provenance = {
      preprocessing,
      labelOffset,
      calibration: { path: flags.calibrate, samples: report.samples, seed: flags.seed },
    };
    print(flags, () => pruneText(report, flags.output), {
      ...report,
      ...provenance,
      model: { path: flags.output, sha256 },
    });
  } finally {
    progress.stop();
  }
}

async function evaluate(path: string, flags: CommonFlags & DataFlags & { data: string }): Promise<void> {
  const model = await openModelFile(path, flags);
  const dataset = await datasetFor(model, flags.data, flags);
  const session = await loadModel(model.engine, model.opened.source);
  try {
    const metric = await accuracy(session, batchSource(dataset, model.opened.input));
    if (!metric)
      throw new InputError(`"${flags.data}": no labels; use sub-folders per class or --labels file.csv`);
    const { name, value, samples } = metric;
    print(flags, () => `${name} ${value.toFixed(4)} on ${samples} samples`, { metric: name, value, samples });
  } finally {
    await session.release();
  }
}

function print({ json }: CommonFlags, text: () => string, object: unknown): void {
  process.stdout.write(`${json ? JSON.stringify(object) : text()}\n`);
}

/** Node 20 keeps relaxed SIMD behind a flag; it holds for modules compiled after this. */
if (Number(process.versions.node.split('.')[0]) < 22) setFlagsFromString('--experimental-wasm-relaxed-simd');

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

function report(error: unknown): number {
  // Commander has printed its message already; asking for help or the version is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof OsscarError && error.code !== 'ERR_OSSCAR_VERIFY') {
    process.stderr.write(`osscar: ${oneLine(error.message)}\n`);
    return 2;
  }
  process.stderr.write(
    `osscar: internal error: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
  );
  return 1;
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}
