#!/usr/bin/env node
// The `osscar` command. Exit codes: 0 done, 2 bad input or usage, 1 our fault, 130 and 143 interrupted.

import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Command, CommanderError, Option } from 'commander';
import { InputError, OsscarError } from '../errors.ts';
import { batchSource, takesTokens } from '../pipeline/batches.ts';
import { type Dataset, stringifyPreprocessing } from '../pipeline/data/index.ts';
import { supplied } from '../pipeline/decoder.ts';
import { accuracy, perplexity } from '../pipeline/evaluate.ts';
import { keepRatio } from '../pipeline/keep.ts';
import { loadModel } from '../pipeline/open.ts';
import { TARGETS } from '../pipeline/options.ts';
import { pruneModel } from '../pipeline/prune.ts';
import { openSession } from '../pool/index.ts';
import { METHODS, SEARCHES } from '../solve/index.ts';
import { version } from '../version.ts';
import { checkWritable, readFileBytes, writeAtomically } from './files.ts';
import { evaluateFolder, inspectFolder, isFolder, pruneFolder } from './language.ts';
import {
  addCommonFlags,
  addDataFlags,
  addTextFlags,
  type CommonFlags,
  type DataFlags,
  datasetFor,
  type EvalFlags,
  InterruptedError,
  interruptSignal,
  keepOf,
  METADATA,
  namedRatio,
  number,
  type Opened,
  openModelFile,
  type PruneFlags,
  positiveInteger,
  print,
  type TextFlags,
  targetOf,
} from './options.ts';
import { inspectText, pruneText } from './print.ts';
import { progressReporter } from './progress.ts';
import { calibrationWindows, evaluationWindows } from './text.ts';

/** Calibration images or windows unless --samples says otherwise. */
const DEFAULT_IMAGES = 512;

const program = new Command('osscar')
  .description('One-shot structured pruning of trained neural networks, without retraining')
  .version(version)
  .exitOverride()
  // Commander puts its suggestions on a second line.
  .configureOutput({ outputError: (text, write) => write(`${oneLine(text.replace(/^error/, 'osscar'))}\n`) });

addTextFlags(addDataFlags(addCommonFlags(program.command('inspect'))))
  .description('list what can be pruned, and why the rest cannot')
  .argument('<model>', 'ONNX file, or folder of a Hugging Face language model')
  .action(inspect);

addTextFlags(addDataFlags(addCommonFlags(program.command('prune'))))
  .description('write a physically smaller model')
  .argument('<model>', 'ONNX file, or folder of a Hugging Face language model')
  .option(
    '--calibrate <path>',
    'folder of PNG or JPEG images, .npy file of model inputs, or for a language model .txt, .jsonl ("text") or .npy of token ids',
  )
  .addOption(
    new Option('--keep <ratio>', 'fraction of the channels of every structure to keep, in (0, 1]').argParser(
      number,
    ),
  )
  .addOption(
    new Option('--keep-heads <ratio>', 'the same for attention heads or key-value groups').argParser(number),
  )
  .addOption(new Option('--keep-mlp <ratio>', 'the same for all but heads').argParser(number))
  .addOption(
    new Option(
      '--keep-layer <name=ratio>',
      'the same for one structure; can be given several times',
    ).argParser(namedRatio),
  )
  .option('-o, --output <path>', 'where the pruned model goes')
  .addOption(new Option('--method <name>', 'how channels are chosen').choices(METHODS).default('osscar'))
  .addOption(
    new Option('--search <name>', 'local search of osscar after its elimination (default: swap)').choices(
      SEARCHES,
    ),
  )
  .addOption(
    new Option(
      '--target <name>',
      `what layers are fitted to: ${TARGETS.join(', ')}, or a blend such as residual:0.5`,
    )
      .argParser(targetOf)
      .default('auto'),
  )
  .addOption(
    new Option(
      '--damping <x>',
      'regularisation relative to the mean of the diagonal (default: chosen for each layer)',
    ).argParser(number),
  )
  .addOption(
    new Option('--samples <n>', 'calibration samples to draw (default: 512 images, 128 windows)').argParser(
      positiveInteger,
    ),
  )
  .addOption(
    new Option('--sampling <how>', 'windows spread evenly over the text, or drawn at random')
      .choices(['even', 'random'])
      .default('even'),
  )
  .option('--no-correct', 'leave layers that keep all their inputs as they are')
  .option(
    '--data <path>',
    'labelled samples for the accuracy, text for the perplexity (default: the calibration samples)',
  )
  .option('--data-labels <file.csv>', 'labels of --data, as --labels')
  .addOption(
    new Option('--format <name>', 'of a language model: safetensors, or onnx for model.onnx beside them')
      .choices(['safetensors', 'onnx'])
      .default('safetensors'),
  )
  .option('--overwrite', "replace a language model's folder that is there")
  .option('--scratch <dir>', 'folder for activations that do not fit the memory (default: the temporary one)')
  .option('--dry-run', 'of a language model: say what it takes; reads config.json alone')
  .action(prune);

addTextFlags(addDataFlags(addCommonFlags(program.command('eval'))))
  .description(
    'top-1 accuracy on labelled samples (a pruned model remembers its preprocessing), or perplexity on text',
  )
  .argument('<model>', 'ONNX file, or folder of a Hugging Face language model')
  .requiredOption('--data <path>', 'folder of PNG or JPEG images, or .txt, .jsonl or .npy of token ids')
  .addOption(new Option('--samples <n>', 'samples to draw (default: all)').argParser(positiveInteger))
  .action(evaluate);

async function inspect(path: string, flags: CommonFlags & DataFlags & TextFlags): Promise<void> {
  if (await isFolder(path)) return inspectFolder(path, flags);
  const { opened } = await openModelFile(path, flags);
  const { parameters, macs, analysis } = opened;
  const structures = analysis.structures.map(({ name, layer, groups, groupSize, prunable, reason }) => ({
    ...{ name, layer, groups, groupSize, prunable, reason: reason ?? null },
  }));
  print(flags, () => inspectText(opened), { structures, parameters, macs });
}

async function prune(path: string, flags: PruneFlags): Promise<void> {
  const keep = keepOf(flags);
  keepRatio(keep); // says what is wrong with it before the model is opened
  if (await isFolder(path)) return pruneFolder(path, flags);
  if (flags.dryRun) throw new InputError('--dry-run is for folders of language models');
  if (flags.calibrate === undefined) throw new InputError('calibration samples are missing: --calibrate');
  if (flags.output === undefined) throw new InputError('where the pruned model goes is missing: --output');
  const { output, calibrate } = flags;
  await checkWritable(output);
  const model = await openModelFile(path, flags);
  const { preprocessing, labelOffset, opened, engine } = model;
  const { calibration, evaluation } = await samplesFor(model, calibrate, flags);
  const progress = progressReporter(process.stderr);
  const session = await openSession({ threads: flags.threads });
  try {
    const { written, report } = await pruneModel(opened, {
      engine,
      session,
      calibration,
      ...(evaluation && { evaluation }),
      keep,
      method: flags.method,
      target: flags.target,
      search: flags.search,
      damping: flags.damping,
      correct: flags.correct,
      externalName: `${basename(output)}.data`,
      ...(!takesTokens(opened.input) && {
        metadata: {
          [METADATA.preprocessing]: stringifyPreprocessing(preprocessing),
          [METADATA.labelOffset]: String(labelOffset),
        },
      }),
      onProgress: (step) => progress.report(step),
      signal: interruptSignal(),
    });
    // The data file first: the model must never be there without the weights it names.
    if (written.external) await writeAtomically(`${output}.data`, written.external);
    await writeAtomically(output, [written.model]);
    progress.stop();
    const sha256 = createHash('sha256')
      .update(await readFileBytes(output))
      .digest('hex');
    if (sha256 !== createHash('sha256').update(written.model).digest('hex')) {
      throw new OsscarError('ERR_OSSCAR_VERIFY', `${output} does not hold what was written to it`);
    }
    const provenance = {
      preprocessing,
      labelOffset,
      calibration: { path: calibrate, samples: report.samples, seed: flags.seed },
    };
    print(flags, () => pruneText(report, output), {
      ...report,
      ...provenance,
      model: { path: output, sha256 },
    });
  } finally {
    progress.stop();
    await session.close();
  }
}

/** What an ONNX model is calibrated with, and what it is measured on. */
async function samplesFor(
  model: Opened,
  path: string,
  flags: PruneFlags,
): Promise<{ calibration: Dataset; evaluation?: Dataset }> {
  const { data, dataLabels, tokenizer } = flags;
  const { input } = model.opened;
  if (takesTokens(input)) {
    const [seqlen] = input.shape;
    const calibration = await calibrationWindows(path, tokenizer, { ...flags, seqlen });
    return { calibration, ...(data && { evaluation: await evaluationWindows(data, tokenizer, seqlen) }) };
  }
  const calibration = await datasetFor(model, path, { ...flags, samples: flags.samples ?? DEFAULT_IMAGES });
  const evaluated = data && (await datasetFor(model, data, { labels: dataLabels, seed: flags.seed }));
  return { calibration, ...(evaluated && { evaluation: evaluated }) };
}

async function evaluate(path: string, flags: EvalFlags): Promise<void> {
  if (await isFolder(path)) return evaluateFolder(path, flags);
  const model = await openModelFile(path, flags);
  const { input, source } = model.opened;
  const [length] = input.shape;
  const isText = takesTokens(input);
  const dataset = isText
    ? await evaluationWindows(flags.data, flags.tokenizer, length)
    : await datasetFor(model, flags.data, flags);
  const engine = isText ? supplied(model.engine, input.name, length) : model.engine;
  const session = await loadModel(engine, source);
  try {
    const metric = await (isText ? perplexity : accuracy)(session, batchSource(dataset, input));
    if (!metric)
      throw new InputError(`"${flags.data}": no labels; use sub-folders per class or --labels file.csv`);
    const { name, value, samples } = metric;
    print(flags, () => `${name} ${value.toFixed(4)} on ${samples} samples`, { metric: name, value, samples });
  } finally {
    await session.release();
  }
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
    return error instanceof InterruptedError ? error.exitCode : 2;
  }
  process.stderr.write(
    `osscar: internal error: ${error instanceof Error ? (error.stack ?? error.message) : error}\n`,
  );
  return 1;
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}
