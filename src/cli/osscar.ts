// The `osscar` command as a function: what it can be told, and what is said of errors. Its process is main.ts.

import { Command, CommanderError, Option } from 'commander';
import { disk } from '../disk/host.ts';
import { InputError, OsscarError } from '../errors.ts';
import { WEIGHT_TYPES } from '../graph/index.ts';
import { SIZES } from '../pipeline/index.ts';
import { printable } from '../printable.ts';
import { FORMATS, setHost } from '../run/index.ts';
import { METHODS } from '../solve/index.ts';
import { version } from '../version.ts';
import {
  analyzeModel,
  evaluateModel,
  inspectModel,
  measureModel,
  pruneModel,
  reportRun,
  showStatus,
  workFor,
} from './commands.ts';
import { applyConfig } from './config.ts';
import { flagged } from './flags.ts';
import { asMeant, takeAnyCase, watchValues, withHint } from './mistakes.ts';
import {
  addDataFlags,
  addKeepFlags,
  addModelFlags,
  addRunFlags,
  addSizeFlags,
  addStructureFlags,
  addWorkerFlags,
  GROUPS,
  InterruptedError,
  listing,
  positive,
  positiveInteger,
  queueFlag,
} from './options.ts';

/** As the help lists them. */
const COMMANDS = [addInspect, addPrune, addReport, addAnalyze, addEval, addLatency, addWorker, addStatus];

/** Runs a command line. @returns what the process gives back: 0 done, 2 bad input or usage, 1 our fault, 129, 130 and 143 interrupted */
export async function osscar(given: readonly string[]): Promise<number> {
  const program = new Command('osscar')
    .description('One-shot structured pruning of trained neural networks, without retraining')
    .version(version)
    .exitOverride()
    .configureHelp({ groupItems: inGroups })
    // Commander puts its suggestions on a second line.
    .configureOutput({
      outputError: (text, write) =>
        write(`${printable(oneLine(withHint(text.replace(/^error/, 'osscar'), program, args)))}\n`),
    });
  for (const add of COMMANDS) add(program);
  const args = asMeant(given, program);
  for (const command of program.commands) {
    takeAnyCase(command);
    watchValues(command);
  }
  setHost(disk);
  try {
    expectFolder();
    await applyConfig(program, args);
    await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    return report(error);
  }
}

function addInspect(program: Command): void {
  addStructureFlags(addSizeFlags(addModelFlags(program.command('inspect'))))
    .description('list what can be pruned and what share of the model it is, and why the rest cannot')
    .addHelpText(
      'after',
      examples(
        ['osscar inspect model.onnx'],
        ['osscar inspect opt-125m/', 'a Hugging Face folder, from config.json alone'],
        [
          'osscar inspect detector.onnx --size 320x320 --json',
          'of a model that leaves the size of images open',
        ],
      ),
    )
    .action(inspectModel);
}

function addPrune(program: Command): void {
  addKeepFlags(addRunFlags(addModelFlags(program.command('prune'))))
    .description('write a physically smaller model')
    .optionsGroup(GROUPS.output)
    .option('-o, --output <path>', 'required: where the pruned model goes')
    .addOption(
      new Option(
        '--format <name>',
        'of a language model: safetensors, onnx for model.onnx beside them, transformers.js for what that loads (default: safetensors)',
      ).choices(FORMATS),
    )
    .addOption(
      new Option(
        '--weights <type>',
        'what weights are stored as in ONNX files: float32, float16, int8 or int4 with scales, or q8 or q4, the same for native runtimes and WebGPU (default: as those of the model are)',
      ).choices(WEIGHT_TYPES),
    )
    .option('--loadable', 'of a language model: only sizes that its config.json can say, for stock loaders')
    .option('--no-loadable', 'any sizes with --format transformers.js, for its 4.2 or later')
    .option('--overwrite', 'replace a model that is there; never one that the run reads')
    .option('--report <file.html>', 'a page of what was done, and beside it the same as .json')
    .addOption(
      listing(
        new Option(
          '--compare <method...>',
          'prune by other methods too, to the same sizes, for the report',
        ).choices(METHODS),
      ),
    )
    .option('--dry-run', "say what it takes; of a language model's folder, reads config.json alone")
    .option(
      '--machines <n>',
      'with --dry-run: what it takes on so many machines like this one',
      positiveInteger,
    )
    .option('--network <gbit/s>', 'what they reach their store by (default: 10)', positive)
    .optionsGroup(GROUPS.data)
    .option(
      '--data <path>',
      'labelled samples for the accuracy, text for the perplexity (default: the calibration samples)',
    )
    .optionsGroup(GROUPS.images)
    .option('--data-labels <file.csv>', 'labels of --data, as --labels')
    .addHelpText(
      'after',
      examples(
        [
          'osscar prune model.onnx --calibrate photos/ --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --keep 0.5 -o small.onnx',
        ],
        ['osscar prune opt-125m/ --calibrate text.txt --keep 70% -o small/', 'a language model'],
        [
          'osscar prune model.onnx --calibrate photos/ --macs 0.5 -o small.onnx --report r.html --compare magnitude',
          'a page of it, beside another method',
        ],
        ['osscar prune --config osscar.config.json --macs 0.4', 'options from a file, flags count more'],
      ),
    )
    .action(pruneModel);
}

function addReport(program: Command): void {
  program
    .command('report')
    .description('what the last finished run of a --work folder, or that of a report, has done')
    .argument('<work>', 'folder that was given as --work, or .json of a report')
    .optionsGroup(GROUPS.output)
    .option('--report <file.html>', 'a page of it, and beside it the same as .json')
    .option('--overwrite', 'replace a page that is there')
    .option('--json', 'print one JSON object on standard output, nothing else')
    .addHelpText(
      'after',
      examples(
        ['osscar report run/'],
        ['osscar report run/ --report report.html'],
        ['osscar report run/ --json', 'as prune --json has it'],
        ['osscar report smaller.json', 'which prune --report smaller.html has written'],
      ),
    )
    .action(reportRun);
}

function addAnalyze(program: Command): void {
  addRunFlags(addModelFlags(program.command('analyze')))
    .description(
      'say what sizes a model can be cut to, and what loss to expect; with --work, budgets begin with it',
    )
    .optionsGroup(GROUPS.expert)
    .addOption(
      new Option('--of <size>', 'what is counted (default: macs of a file, params of a folder)').choices(
        SIZES,
      ),
    )
    .addHelpText(
      'after',
      examples(
        ['osscar analyze model.onnx --calibrate photos/ --work run/'],
        ['osscar analyze model.onnx --calibrate photos/ --of params --json'],
        ['osscar analyze opt-125m/ --calibrate text.txt --samples 32 --work run/', 'a language model'],
      ),
    )
    .action(analyzeModel);
}

function addEval(program: Command): void {
  addDataFlags(addModelFlags(program.command('eval')))
    .description(
      'top-1 accuracy on labelled samples (a pruned model remembers its preprocessing), or perplexity on text',
    )
    .optionsGroup(GROUPS.data)
    .option(
      '--data <path>',
      'required: folder of PNG, JPEG, WebP or AVIF images, or .txt, .jsonl or .npy of token ids',
    )
    .option('--samples <n>', 'samples to draw (default: all)', positiveInteger)
    .addHelpText(
      'after',
      examples(
        ['osscar eval small.onnx --data test/'],
        ['osscar eval model.onnx --data images/ --labels labels.csv --mean 0.286 --std 0.353'],
        ['osscar eval small/ --data other.txt --samples 64', 'perplexity on 64 windows'],
      ),
    )
    .action(evaluateModel);
}

function addLatency(program: Command): void {
  addStructureFlags(addSizeFlags(addModelFlags(program.command('latency'))))
    .description('time of an ONNX model on this machine, as a function of what its structures keep')
    .optionsGroup(GROUPS.output)
    .option('-o, --output <file>', 'the table, for --latency-table')
    .option('--overwrite', 'replace a table that is there')
    .addHelpText(
      'after',
      examples(
        ['osscar latency model.onnx -o table.json'],
        ['osscar latency model.onnx --threads 1 --json', 'on one thread'],
        ['osscar latency detector.onnx --size 320x320 -o table.json'],
      ),
    )
    .action(measureModel);
}

function addWorker(program: Command): void {
  addWorkerFlags(program.command('worker'))
    .description('work for the runs that are given the same --queue and --store, until it is told to stop')
    .addHelpText(
      'after',
      examples(
        ['osscar worker --queue redis://10.0.0.1:6379 --store /mnt/run', 'on every machine'],
        ['osscar worker --queue redis://10.0.0.1:6379 --store /mnt/run --metrics 9464'],
      ),
    )
    .action(workFor);
}

function addStatus(program: Command): void {
  program
    .command('status')
    .description('where the run of a queue is, and what its workers do')
    .addOption(queueFlag('required: address of the Redis that the run is given').makeOptionMandatory())
    .option('--json', 'print one JSON object on standard output, nothing else')
    .addHelpText('after', examples(['osscar status --queue redis://10.0.0.1:6379']))
    .action(showStatus);
}

/** Says what went wrong. @returns the exit code */
export function report(error: unknown): number {
  // Commander has printed its message already; asking for help or the version is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof OsscarError && error.code !== 'ERR_OSSCAR_VERIFY') {
    process.stderr.write(`osscar: ${printable(flagged(error.message))}\n`);
    return error instanceof InterruptedError ? error.exitCode : 2;
  }
  const trace = String(error instanceof Error ? (error.stack ?? error.message) : error);
  process.stderr.write(`osscar: internal error: ${trace.split('\n').map(printable).join('\n')}\n`);
  return 1;
}

/** @throws {InputError} where the working folder was removed, in which threads do not start */
function expectFolder(): void {
  try {
    process.cwd();
  } catch (cause) {
    throw new InputError('the working folder is not there any more; go into another one (cd)', { cause });
  }
}

/** Groups in the order of {@link GROUPS}, within them what is required first; commander has them as they come. */
function inGroups<T extends Command | Option>(
  _: T[],
  items: T[],
  groupOf: (item: T) => string,
): Map<string, T[]> {
  const order: readonly string[] = Object.values(GROUPS);
  const place = (heading: string) => (order.includes(heading) ? order.indexOf(heading) : order.length);
  const headings = [...new Set(items.map(groupOf))].sort((a, b) => place(a) - place(b));
  const isOptional = ({ description }: T) => Number(!String(description).startsWith('required'));
  const inside = (heading: string) => items.filter((item) => groupOf(item) === heading);
  return new Map(
    headings.map((it) => [it, inside(it).sort((a, b) => isOptional(a) - isOptional(b))] as const),
  );
}

/** Lines of a help's end: commands, and what they are for. */
function examples(...lines: readonly (readonly [command: string, what?: string])[]): string {
  const shown = lines.map(([line, what]) => (what === undefined ? `  ${line}` : `  ${line}   # ${what}`));
  return ['', 'Examples:', ...shown].join('\n');
}

function oneLine(text: string): string {
  return text.trim().replace(/\s*\n\s*/g, ' ');
}
