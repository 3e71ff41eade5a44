// Flags that several commands share, and what they mean.

import { availableParallelism, constants } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { InputError, OsscarError } from '../errors.ts';
import {
  BUDGETS,
  type KeepRatios,
  type PreprocessingFlags,
  type RecipeOptions,
  TARGETS,
  type Target,
  type TargetChoice,
} from '../pipeline/index.ts';

/** Of every command. */
export interface ModelFlags extends PreprocessingFlags {
  readonly threads: number;
  readonly json?: boolean;
  readonly labels?: string;
  readonly labelOffset?: number;
  readonly samples?: number;
  readonly seed: number;
  readonly residual?: boolean;
  /** Of inputs that are the same for all samples. */
  readonly input?: Readonly<Record<string, number>>;
  /** Of language models. */
  readonly tokenizer?: string;
  readonly seqlen?: number;
}

/** Of the commands that calibrate. */
export interface RunFlags extends ModelFlags, Omit<RecipeOptions, 'keep'> {
  readonly calibrate?: string;
  readonly sampling: 'even' | 'random';
  readonly scratch?: string;
  readonly work?: string;
}

export interface PruneFlags extends RunFlags {
  readonly output?: string;
  readonly keep?: number;
  readonly keepHeads?: number;
  readonly keepMlp?: number;
  readonly keepLayer?: Readonly<Record<string, number>>;
  readonly data?: string;
  readonly dataLabels?: string;
  readonly format: 'safetensors' | 'onnx';
  readonly overwrite?: boolean;
  readonly latencyTable?: string;
  readonly dryRun?: boolean;
}

/** Of `osscar latency`. */
export interface LatencyFlags extends ModelFlags {
  readonly output?: string;
}

export function addModelFlags(command: Command): Command {
  return command
    .argument('<model>', 'ONNX file, or folder of a Hugging Face language model')
    .addOption(
      new Option('--threads <n>', 'threads of onnxruntime and of the solver')
        .argParser(positiveInteger)
        .default(availableParallelism(), 'all cores'),
    )
    .option('--json', 'print one JSON object on standard output, nothing else')
    .option(
      '--labels <file.csv>',
      'lines "file,label" (default: sub-folders, in sorted order, are the classes)',
    )
    .option('--label-offset <n>', 'added to every label, 1 for models with a background class', integer)
    .option('--residual', 'prune the channels that shortcuts tie too (ONNX files)')
    .option(
      '--size <n>',
      "height and width, as 224 or 192x256, or what else a model leaves open (default: the model's, or each image's own)",
    )
    .option('--multiple <n>', 'where images keep their own sizes: what these are multiples of (default: 32)')
    .option(
      '--input <name=value>',
      'an input that is the same for all samples, as sr=16000; can be given several times',
      namedRatio,
    )
    .option(
      '--resize <how>',
      'none, fit (to the size, whatever the aspect) or crop (short side to size/0.875, centre crop) (default: none)',
    )
    .option('--scale <x>', 'input = (pixel / scale - mean) / std (default: 255)')
    .option('--mean <list>', 'one number or one per channel (default: 0)')
    .option('--std <list>', 'one number or one per channel (default: 1)')
    .option('--layout <order>', 'nchw or nhwc (default: nchw)')
    .option(
      '--color <mode>',
      "rgb, bgr or gray; converts images (default: the model's channels, no conversion)",
    )
    .option('--seed <n>', 'for drawing samples', integer, 0)
    .option('--tokenizer <path>', "folder with tokenizer.json, or the file (default: the model's folder)")
    .option(
      '--seqlen <n>',
      'tokens per window of a language model (default: 512, or its positions)',
      positiveInteger,
    );
}

/** Of the commands that calibrate. */
export function addRunFlags(command: Command): Command {
  return command
    .option(
      '--calibrate <path>',
      'folder of PNG or JPEG images, .npy file of model inputs, or for a language model .txt, .jsonl ("text") or .npy of token ids',
    )
    .option(
      '--samples <n>',
      'calibration samples to draw (default: 512 images, 128 windows)',
      positiveInteger,
    )
    .addOption(
      new Option('--sampling <how>', 'windows spread evenly over the text, or drawn at random')
        .choices(['even', 'random'])
        .default('even'),
    )
    .option(
      '--damping <x>',
      'regularisation relative to the mean of the diagonal (default: chosen for each layer)',
      number,
    )
    .option('--round <n>', 'widths are multiples of it (default: 8 from 64 channels on)', positiveInteger)
    .option('--min <glob=ratio>', 'what stays at least of structures, within a budget', namedRatio)
    .option('--max <glob=ratio>', 'what stays at most', namedRatio)
    .option('--pin <glob=ratio>', 'what stays, whatever the budget', namedRatio)
    .option('--exclude <glob...>', 'structures that stay whole')
    .option(
      '--scratch <dir>',
      'folder for activations that do not fit the memory (default: the temporary one)',
    )
    .option(
      '--work <dir>',
      'folder that keeps what the run finds: a run that was stopped continues there, and one with other sizes begins there',
    );
}

/** @throws {InputError} where neither a ratio nor a budget is given */
export function keepOf(flags: PruneFlags): number | KeepRatios | undefined {
  const { keep, keepHeads, keepMlp, keepLayer } = flags;
  if (keep === undefined && keepHeads === undefined && keepMlp === undefined && keepLayer === undefined) {
    if ([...BUDGETS, 'maxLoss' as const].some((kind) => flags[kind] !== undefined)) return undefined;
    throw new InputError('how much to keep is missing: --keep, or a budget such as --macs 0.5');
  }
  if (keepHeads === undefined && keepMlp === undefined && keepLayer === undefined) return keep!;
  return { all: keep, heads: keepHeads, channels: keepMlp, layers: keepLayer };
}

/** One `NAME=RATIO` more. */
export function namedRatio(
  text: string,
  before: Readonly<Record<string, number>> = {},
): Record<string, number> {
  const at = text.lastIndexOf('=');
  if (at <= 0) throw new InvalidArgumentError('expected NAME=RATIO.');
  return { ...before, [text.slice(0, at)]: number(text.slice(at + 1)) };
}

/** A target by its name, or a blend of it as `residual:0.5`. */
export function targetOf(text: string): TargetChoice | Target {
  const known = TARGETS.find((name) => name === text);
  if (known) return known;
  const [kind, blend] = [text.slice(0, text.indexOf(':')), Number(text.slice(text.indexOf(':') + 1))];
  if ((kind === 'dense' || kind === 'residual') && blend > 0 && blend <= 1) return { kind, blend };
  throw new InvalidArgumentError(
    `Allowed choices are ${TARGETS.join(', ')}, or a blend such as residual:0.5.`,
  );
}

/** A run that was asked to end. */
export class InterruptedError extends OsscarError {
  /** The process's, as shells give it. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals, { work }: Pick<RunFlags, 'work'>) {
    const further = work === undefined ? '' : ', and the same command goes on from here';
    super('ERR_OSSCAR_INTERRUPTED', `interrupted; nothing was written${further}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** Aborted by Ctrl-C, or where the process is asked to end. The second time it ends at once, whatever it does. */
export function interruptSignal(flags: Pick<RunFlags, 'work'>): AbortSignal {
  const interrupt = new AbortController();
  const signals = ['SIGINT', 'SIGTERM'] as const;
  const ignore = () => signals.forEach((signal) => void process.off(signal, listener));
  let interrupted = false;
  function listener(signal: NodeJS.Signals): void {
    if (interrupted) {
      ignore();
      process.kill(process.pid, signal);
    }
    interrupted = true;
    // Both may have come while a kernel kept the event loop waiting, and are then told one after the other.
    setImmediate(() => {
      // Without a listener the system ends the process, and needs no event loop for it.
      ignore();
      interrupt.abort(new InterruptedError(signal, flags));
    });
  }
  for (const signal of signals) process.on(signal, listener);
  return interrupt.signal;
}

export function print({ json }: { readonly json?: boolean }, text: () => string, object: unknown): void {
  process.stdout.write(`${json ? JSON.stringify(object) : text()}\n`);
}

const parser = (fits: (value: number) => boolean, expected: string) => (text: string) => {
  const value = Number(text);
  if (text.trim() !== '' && fits(value)) return value;
  throw new InvalidArgumentError(`expected ${expected}.`);
};
export const number = parser(Number.isFinite, 'a number');
const integer = parser(Number.isInteger, 'a whole number');

export function positiveInteger(text: string): number {
  const value = integer(text);
  if (value < 1) throw new InvalidArgumentError('expected a whole number above 0.');
  return value;
}
