// Flags that several commands share, and what they mean.

import { availableParallelism, constants } from 'node:os';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { InputError, OsscarError } from '../errors.ts';
import { HEADS, type HeadsMode, type WeightType } from '../graph/index.ts';
import type { SimdChoice } from '../kernel/index.ts';
import {
  BUDGETS,
  EFFORTS,
  type KeepRatios,
  type PreprocessingOptions,
  type RecipeOptions,
  SIZES,
  TARGETS,
  type Target,
  type TargetChoice,
} from '../pipeline/index.ts';
import { printable } from '../printable.ts';
import { ENGINES, type EngineName, type Format, MOST_THREADS, type RunSettings } from '../run/index.ts';
import { METHODS, type Method, SEARCHES } from '../solve/index.ts';

/** Of every command. */
export interface ModelFlags extends PreprocessingOptions {
  readonly threads: number;
  readonly simd: SimdChoice;
  /** Seconds for one call of what the files ask to be run. */
  readonly timeout: number;
  readonly engine?: EngineName;
  readonly json?: boolean;
  readonly config?: string;
  readonly labels?: string;
  readonly labelOffset?: number;
  readonly samples?: number;
  readonly seed: number;
  readonly residual?: boolean;
  readonly outputNames?: readonly string[];
  readonly heads?: HeadsMode;
  /** Of inputs that are the same for all samples. */
  readonly input?: Readonly<Record<string, number>>;
  /** Of language models. */
  readonly tokenizer?: string;
  readonly encoder?: string;
  readonly seqlen?: number;
}

/** Of the commands that calibrate. */
export interface RunFlags extends ModelFlags, Omit<RecipeOptions, 'keep'> {
  readonly force?: boolean;
  readonly calibrate?: string;
  readonly sampling: 'even' | 'random';
  readonly augment?: number;
  readonly memory?: string;
  readonly scratch?: string;
  readonly work?: string;
  readonly queue?: string;
  readonly store?: string;
  readonly shards?: number;
}

/** Of `osscar worker`. */
export interface WorkerFlags extends Pick<ModelFlags, 'threads' | 'timeout'> {
  readonly queue: string;
  readonly store: string;
  readonly scratch?: string;
  readonly stalled: number;
  readonly metrics?: string;
}

export interface PruneFlags extends RunFlags {
  readonly output?: string;
  readonly keep?: number;
  readonly keepHeads?: number;
  readonly keepMlp?: number;
  readonly keepLayer?: Readonly<Record<string, number>>;
  readonly data?: string;
  readonly dataLabels?: string;
  readonly format?: Format;
  readonly weights?: WeightType;
  readonly loadable?: boolean;
  readonly overwrite?: boolean;
  readonly latencyTable?: string;
  readonly dryRun?: boolean;
  readonly machines?: number;
  /** Gbit/s. */
  readonly network?: number;
  readonly report?: string;
  readonly compare?: readonly Method[];
}

/** Of `osscar latency`. */
export interface LatencyFlags extends ModelFlags {
  readonly output?: string;
  readonly overwrite?: boolean;
}

/** The options that the library's calls take by other names. */
export function settingsOf(flags: Partial<PruneFlags>) {
  const { calibrate, data: evaluation, dataLabels: evaluationLabels, input: inputs, ...same } = flags;
  const { keep: _, latencyTable: __, store, ...others } = same;
  const { json, config, keepHeads, keepMlp, keepLayer, dryRun, network, report, ...rest } = others;
  if (store !== undefined && rest.queue === undefined)
    throw new InputError('`store` is what workers share, and goes with `queue`; of one machine it is `work`');
  if (store !== undefined && rest.work !== undefined)
    throw new InputError(
      '`store` and `work` are one folder, of several machines or of one; give one of them',
    );
  // What is missing is for the library to say.
  const calibration = calibrate as RunSettings['calibration'];
  return { ...rest, work: store ?? rest.work, calibration, evaluation, evaluationLabels, inputs };
}

/** Headings of the help. Those of images and text say too what flags mean nothing to the other kind of model. */
export const GROUPS = {
  keep: 'What to keep (one of them is required):',
  data: 'Data:',
  images: 'Images and audio:',
  text: 'Text:',
  output: 'Output:',
  machines: 'Many machines:',
  expert: 'Expert:',
} as const;

/** From the environment too: addresses have passwords in them, and other users see what commands are called with. */
export const queueFlag = (what: string) => new Option('--queue <url>', what).env('OSSCAR_QUEUE');
const threadsFlag = () =>
  new Option('--threads <n>', 'threads of onnxruntime and of the solver')
    .argParser(threadCount)
    .default(availableParallelism(), 'all cores');
const timeoutFlag = () =>
  new Option('--timeout <s>', 'what an ONNX file or a tokenizer may take for one sample or text')
    .argParser(seconds)
    .default(60, '60 seconds');

/** What every command takes. */
export function addModelFlags(command: Command): Command {
  return command
    .argument('<model>', 'ONNX file, or folder of a Hugging Face language model')
    .optionsGroup(GROUPS.output)
    .option('--json', 'print one JSON object on standard output, nothing else')
    .optionsGroup(GROUPS.expert)
    .addOption(threadsFlag())
    .addOption(
      new Option(
        '--simd <name>',
        'baseline gives the same bits on every machine, auto and relaxed are faster',
      )
        .choices(['auto', 'baseline', 'relaxed'])
        .default('auto'),
    )
    .addOption(timeoutFlag())
    .addOption(
      new Option(
        '--engine <name>',
        'web, the WebAssembly build of onnxruntime, or node, the native one (default: node where onnxruntime-node is installed)',
      ).choices(ENGINES),
    )
    .option('--config <file>', 'options from a JSON file (default: osscar.config.json, where it is there)');
}

/** What opening a model takes that leaves open what its inputs are. */
export function addSizeFlags(command: Command): Command {
  return command
    .optionsGroup(GROUPS.images)
    .option(
      '--size <n>',
      "height and width, as 224 or 192x256, samples of a window of audio, or what else a model leaves open (default: the model's, or each file's own)",
      sides,
    )
    .optionsGroup(GROUPS.text)
    .option(
      '--seqlen <n>',
      'tokens per window of a language model (default: 512, or its positions)',
      positiveInteger,
    )
    .optionsGroup(GROUPS.expert)
    .option(
      '--input <name=value>',
      'an input that is the same for all samples, as sr=16000; can be given several times',
      namedRatio,
    );
}

/** Which structures there are. */
export function addStructureFlags(command: Command): Command {
  return command
    .optionsGroup(GROUPS.expert)
    .option('--residual', 'prune the channels that shortcuts tie too (ONNX files)')
    .option('--output-names <name...>', 'outputs that stay, where not all of them are read (ONNX files)')
    .addOption(
      new Option(
        '--heads <mode>',
        'what goes of attention: fewer heads, or all of them narrow, with fewer features each (default: fewer)',
      ).choices(HEADS),
    );
}

/** How files become a model's inputs. */
export function addDataFlags(command: Command): Command {
  addSizeFlags(command)
    .optionsGroup(GROUPS.images)
    .option(
      '--labels <file.csv>',
      'lines "file,label" (default: sub-folders, in sorted order, are the classes)',
    )
    .option('--label-offset <n>', 'added to every label, 1 for models with a background class', integer)
    .option(
      '--multiple <n>',
      'where images keep their own sizes: what these are multiples of (default: 32)',
      positiveInteger,
    )
    .option(
      '--resize <how>',
      'none, fit (to the size, whatever the aspect), crop (short side to size/0.875, centre crop) or cover (short side to size, centre crop) (default: none)',
      lowerCase,
    )
    .option('--scale <x>', 'input = (pixel / scale - mean) / std (default: 255)', number)
    .option('--mean <list>', 'one number or one per channel (default: 0)', numbers)
    .option('--std <list>', 'one number or one per channel (default: 1)', numbers)
    .option('--layout <order>', 'nchw or nhwc (default: nchw)', lowerCase)
    .option(
      '--color <mode>',
      "rgb, bgr or gray; converts images (default: the model's channels, no conversion)",
      lowerCase,
    )
    .option(
      '--sampling-rate <hz>',
      'samples of audio a second that the model takes (default: 16000)',
      positiveInteger,
    )
    .option('--normalize', 'make the mean of each waveform 0 and its variance 1')
    .optionsGroup(GROUPS.text)
    .option('--tokenizer <path>', "folder with tokenizer.json, or the file (default: the model's folder)")
    .option(
      '--encoder <path>',
      'of a decoder that is given pairs: the ONNX file of its encoder (default: the one beside it)',
    );
  return command.optionsGroup(GROUPS.data).option('--seed <n>', 'for drawing samples', integer, 0);
}

/** Of the commands that calibrate. */
export function addRunFlags(command: Command): Command {
  addStructureFlags(command)
    .optionsGroup(GROUPS.data)
    .option(
      '--calibrate <path>',
      'required: folder of PNG, JPEG, WebP or AVIF images or of WAV audio, .npy file of model inputs, or for a language model .txt, .jsonl ("text") or .npy of token ids',
    )
    .option(
      '--samples <n>',
      'calibration samples to draw (default: 512 images, 128 windows)',
      positiveInteger,
    );
  addDataFlags(command)
    .optionsGroup(GROUPS.images)
    .option(
      '--augment <n>',
      'samples of each calibration image: itself, its mirror image, random crops; for few photographs (default: 1)',
      positiveInteger,
    )
    .optionsGroup(GROUPS.text)
    .addOption(
      new Option('--sampling <how>', 'windows spread evenly over the text, or drawn at random')
        .choices(['even', 'random'])
        .default('even'),
    );
  return command
    .optionsGroup(GROUPS.expert)
    .option('--force', 'go on where the dense model answers by chance on the data')
    .option(
      '--damping <x>',
      'regularisation relative to the mean of the diagonal (default: chosen for each layer)',
      number,
    )
    .option('--round <n>', 'widths are multiples of it (default: 8 from 64 channels on)', positiveInteger)
    .option('--min <glob=ratio>', 'what stays at least of structures, within a budget', namedRatio)
    .option('--max <glob=ratio>', 'what stays at most', namedRatio)
    .option('--pin <glob=ratio>', 'what stays, whatever the budget; 0 of what can go whole', namedRatio)
    .option('--exclude <glob...>', 'structures that stay whole')
    .option(
      '--memory <size>',
      'what the run may take at its peak, as 8GiB: the rest goes to files (default: no bound)',
    )
    .option('--scratch <dir>', 'folder for what does not fit the memory (default: the temporary one)')
    .option(
      '--work <dir>',
      'folder that keeps what the run finds: a run that was stopped continues there, and one with other sizes begins there',
    )
    .optionsGroup(GROUPS.machines)
    .addOption(
      queueFlag('address of a Redis, as redis://host:6379: osscar worker does the passes over the model'),
    )
    .option('--store <dir>', 'with --queue: folder that the workers share, as --work')
    .option(
      '--shards <n>',
      'parts of the samples that are summed one by one; the last bits depend on it (default: 1, with --queue 8)',
      positiveInteger,
    );
}

/** Of workers. */
export function addWorkerFlags(command: Command): Command {
  return command
    .addOption(queueFlag('required: address of the Redis that the run is given').makeOptionMandatory())
    .requiredOption('--store <dir>', 'required: the folder that the run is given')
    .addOption(threadsFlag())
    .addOption(timeoutFlag())
    .option('--scratch <dir>', 'folder for what does not fit the memory (default: the temporary one)')
    .option(
      '--stalled <seconds>',
      "without a sign of life for so long, a worker is lost, and its job another one's",
      positive,
      30,
    )
    .option('--metrics <port>', 'serve Prometheus metrics at /metrics of this port, or of host:port');
}

/** How much is kept, and how that is chosen. */
export function addKeepFlags(command: Command): Command {
  command
    .optionsGroup(GROUPS.keep)
    .option('--keep <ratio>', 'fraction of the channels of every structure to keep, as 0.5 or 50%', ratio)
    .option('--keep-heads <ratio>', 'the same for attention heads or key-value groups', ratio)
    .option('--keep-mlp <ratio>', 'the same for all but heads', ratio)
    .option(
      '--keep-layer <name=ratio>',
      'the same for one structure, 0 of what can go whole; can be given several times',
      namedRatio,
    )
    .option(
      '--macs <size>',
      'at most so many multiply-adds instead: a fraction of the dense model, or as 20M',
    )
    .option('--params <size>', 'at most so many parameters')
    .option(
      '--bytes <size>',
      'at most so many bytes of the file (of a folder, of its safetensors), or as 300kB',
    )
    .option('--latency <time>', 'at most so much time of one sample, of an ONNX file: a fraction, or as 12ms')
    .option(
      '--max-loss <x>',
      'the smallest model that loses no more: of the accuracy, the perplexity, or the outputs (1% or 0.01)',
    );
  return command
    .optionsGroup(GROUPS.expert)
    .addOption(new Option('--method <name>', 'how channels are chosen').choices(METHODS).default('osscar'))
    .addOption(
      new Option('--search <name>', 'local search of osscar after its elimination (default: swap)').choices(
        SEARCHES,
      ),
    )
    .option(
      '--target <name>',
      `what layers are fitted to: ${TARGETS.join(', ')}, or a blend such as residual:0.5 (default: auto)`,
      targetOf,
    )
    .option('--no-correct', 'leave layers that keep all their inputs as they are')
    .option('--no-producers', 'leave layers that make the kept channels as they are')
    .option(
      '--distill <steps>',
      "fit what is left as a whole to the dense network's outputs, in as many steps at most (default: none)",
      positiveInteger,
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
    .option(
      '--latency-table <file>',
      'of `osscar latency`, from the machine that counts (default: measured here)',
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

/** Of several choices, also behind commas; what follows them must not be taken for one. */
export function listing(option: Option): Option {
  const { parseArg, argChoices } = option;
  return option.argParser((text, before) => {
    try {
      return text.split(',').reduce<unknown>((list, one) => parseArg!(one, list), before);
    } catch {
      throw new InvalidArgumentError(
        `expected some of ${argChoices!.join(', ')}; other arguments go before ${option.long}.`,
      );
    }
  });
}

function threadCount(text: string): number {
  const threads = positiveInteger(text);
  if (threads > MOST_THREADS) throw new InvalidArgumentError(`expected at most ${MOST_THREADS}.`);
  return threads;
}

/** One `NAME=NUMBER` more. */
export function namedRatio(
  text: string,
  before: Readonly<Record<string, number>> = {},
): Record<string, number> {
  const at = text.lastIndexOf('=');
  if (at <= 0) throw new InvalidArgumentError('expected NAME=NUMBER.');
  return { ...before, [text.slice(0, at)]: ratio(text.slice(at + 1)) };
}

/** A target by its name, or a blend of it as `residual:0.5`. */
export function targetOf(typed: string): TargetChoice | Target {
  const text = lowerCase(typed);
  const known = TARGETS.find((name) => name === text);
  if (known) return known;
  const [kind, blend] = [text.slice(0, text.indexOf(':')), text.slice(text.indexOf(':') + 1)];
  if ((kind === 'dense' || kind === 'residual') && DECIMAL.test(blend) && +blend > 0 && +blend <= 1)
    return { kind, blend: +blend };
  throw new InvalidArgumentError(
    `Allowed choices are ${TARGETS.join(', ')}, or a blend such as residual:0.5.`,
  );
}

/** A run that was asked to end. */
export class InterruptedError extends OsscarError {
  /** The process's, as shells give it. */
  readonly exitCode: number;

  constructor(signal: NodeJS.Signals, { store, work = store }: Pick<RunFlags, 'work' | 'store'>) {
    const further = work === undefined ? '' : ', and the same command goes on from here';
    super('ERR_OSSCAR_INTERRUPTED', `interrupted; nothing was written${further}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** Aborted by Ctrl-C, or where the process is asked to end or its terminal is gone. The second time it ends at once, whatever it does. */
export function interruptSignal(flags: Pick<RunFlags, 'work' | 'store'>): AbortSignal {
  const interrupt = new AbortController();
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
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
  // The escapes are JSON's own.
  process.stdout.write(`${json ? printable(JSON.stringify(object)) : text()}\n`);
}

/** Number() reads 0x1 and 0b1 too. */
const DECIMAL = /^\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?\s*$/i;

const parser = (fits: (value: number) => boolean, expected: string) => (text: string) => {
  const value = DECIMAL.test(text) ? Number(text) : Number.NaN;
  if (fits(value)) return value;
  throw new InvalidArgumentError(`expected ${expected}.`);
};
export const number = parser(Number.isFinite, 'a number, as 0.5');
const fraction = parser(Number.isFinite, 'a number, as 0.5 or 50%');
const isPositive = (value: number) => value > 0 && value < Infinity;
export const positive = parser(isPositive, 'a number above 0');
const seconds = parser(isPositive, 'seconds, as 300');
const integer = parser(Number.isInteger, 'a whole number');

const lowerCase = (text: string) => text.toLowerCase();

/** Height and width. */
function sides(text: string): [number, number] {
  const [height, width = height, ...rest] = text
    .trim()
    .split(/\s*[x×*,\s]\s*/i)
    .map(Number);
  if (height > 0 && width > 0 && rest.length === 0) return [height, width];
  throw new InvalidArgumentError('expected pixels, as 224 or 192x256 (height × width).');
}

/** With commas or spaces, and the brackets that Python has around it. */
function numbers(text: string): number[] {
  const items = text
    .replace(/^\s*[[(]|[\])]\s*$/g, '')
    .trim()
    .split(/\s*,\s*|\s+/);
  if (items.every((item) => DECIMAL.test(item))) return items.map(Number);
  throw new InvalidArgumentError('expected one number or one per channel, as 0.485,0.456,0.406.');
}

/** A number, or a percentage. */
export function ratio(text: string): number {
  const [, percent] = /^(.*)%\s*$/.exec(text) ?? [];
  return percent !== undefined && DECIMAL.test(percent) ? fraction(percent) / 100 : fraction(text);
}

export function positiveInteger(text: string): number {
  const value = integer(text);
  if (value < 1) throw new InvalidArgumentError('expected a whole number above 0.');
  return value;
}
