#!/usr/bin/env node
// The `osscar` command. Exit codes: 0 done, 2 bad input or usage, 1 our fault, 130 and 143 interrupted.

import { setFlagsFromString } from 'node:v8';
import { Command, CommanderError, Option } from 'commander';
import { OsscarError } from '../errors.ts';
import { EFFORTS, SIZES, TARGETS } from '../pipeline/index.ts';
import { printable } from '../printable.ts';
import { METHODS, SEARCHES } from '../solve/index.ts';
import { version } from '../version.ts';
import { analyzeModel, evaluateModel, inspectModel, measureModel, pruneModel } from './commands.ts';
import {
  addModelFlags,
  addRunFlags,
  InterruptedError,
  namedRatio,
  number,
  positiveInteger,
  targetOf,
} from './options.ts';

const program = new Command('osscar')
  .description('One-shot structured pruning of trained neural networks, without retraining')
  .version(version)
  .exitOverride()
  // Commander puts its suggestions on a second line.
  .configureOutput({
    outputError: (text, write) => write(`${printable(oneLine(text.replace(/^error/, 'osscar')))}\n`),
  });

addModelFlags(program.command('inspect'))
  .description('list what can be pruned, and why the rest cannot')
  .action(inspectModel);

addRunFlags(addModelFlags(program.command('prune')))
  .description('write a physically smaller model')
  .option('--keep <ratio>', 'fraction of the channels of every structure to keep, in (0, 1]', number)
  .option('--keep-heads <ratio>', 'the same for attention heads or key-value groups', number)
  .option('--keep-mlp <ratio>', 'the same for all but heads', number)
  .option('--keep-layer <name=ratio>', 'the same for one structure; can be given several times', namedRatio)
  .option('--macs <size>', 'at most so many multiply-adds instead: a fraction of the dense model, or as 20M')
  .option('--params <size>', 'at most so many parameters')
  .option(
    '--max-loss <x>',
    'the smallest model that loses no more: of the accuracy, the perplexity, or the outputs (1% or 0.01)',
  )
  .option('--bytes <size>', 'at most so many bytes of the file, or as 300kB')
  .option('--latency <time>', 'at most so much time of one sample, of an ONNX file: a fraction, or as 12ms')
  .option(
    '--latency-table <file>',
    'of `osscar latency`, from the machine that counts (default: measured here)',
  )
  .addOption(
    new Option(
      '--of <size>',
      'what --max-loss makes small (default: macs of a file, params of a folder)',
    ).choices(SIZES),
  )
  .addOption(
    new Option('--effort <name>', 'search for the best sizes within a budget (default: medium)').choices(
      EFFORTS,
    ),
  )
  .option('-o, --output <path>', 'where the pruned model goes')
  .addOption(new Option('--method <name>', 'how channels are chosen').choices(METHODS).default('osscar'))
  .addOption(
    new Option('--search <name>', 'local search of osscar after its elimination (default: swap)').choices(
      SEARCHES,
    ),
  )
  .option(
    '--target <name>',
    `what layers are fitted to: ${TARGETS.join(', ')}, or a blend such as residual:0.5`,
    targetOf,
    'auto',
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
  .option('--overwrite', 'replace a model that is there; never one that the run reads')
  .option('--dry-run', "say what it takes; of a language model's folder, reads config.json alone")
  .action(pruneModel);

addRunFlags(addModelFlags(program.command('analyze')))
  .description(
    'say what sizes a model can be cut to, and what loss to expect; with --work, budgets begin with it',
  )
  .addOption(
    new Option('--of <size>', 'what is counted (default: macs of a file, params of a folder)').choices(SIZES),
  )
  .action(analyzeModel);

addModelFlags(program.command('eval'))
  .description(
    'top-1 accuracy on labelled samples (a pruned model remembers its preprocessing), or perplexity on text',
  )
  .requiredOption('--data <path>', 'folder of PNG or JPEG images, or .txt, .jsonl or .npy of token ids')
  .option('--samples <n>', 'samples to draw (default: all)', positiveInteger)
  .action(evaluateModel);

addModelFlags(program.command('latency'))
  .description('time of an ONNX model on this machine, as a function of what its structures keep')
  .option('-o, --output <file>', 'the table, for --latency-table')
  .option('--overwrite', 'replace a table that is there')
  .action(measureModel);

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
    process.stderr.write(`osscar: ${printable(error.message)}\n`);
    return error instanceof InterruptedError ? error.exitCode : 2;
  }
  const trace = String(error instanceof Error ? (error.stack ?? error.message) : error);
  process.stderr.write(`osscar: internal error: ${trace.split('\n').map(printable).join('\n')}\n`);
  return 1;
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}
