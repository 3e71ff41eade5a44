// What a person may have meant otherwise: flags that do nothing for a model, are misspelt or given again, and words that are in no place.

import { type Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import { named } from '../printable.ts';
import type { Kind } from '../run/index.ts';
import { GROUPS, namedRatio } from './options.ts';
import { say } from './say.ts';

const FOREIGN: Readonly<Record<Kind, string>> = { images: GROUPS.text, text: GROUPS.images };

/** @throws {InputError} naming a flag that means nothing to models of this kind */
export function checkFlags(path: string, kind: Kind, command: Command): void {
  const isGiven = (option: Option) => command.getOptionValueSource(option.attributeName()) === 'cli';
  const foreign = command.options.find((it) => it.helpGroupHeading === FOREIGN[kind] && isGiven(it));
  if (!foreign) return;
  const [other, own] = kind === 'text' ? ['images', 'text'] : ['text', 'images'];
  throw new InputError(`${foreign.long} is for ${other}, and "${path}" is a model of ${own}; leave it out`);
}

/** Choices are those of lower case, however they are typed. */
export function takeAnyCase(command: Command): void {
  for (const option of command.options) {
    const { argChoices, parseArg } = option;
    if (argChoices && parseArg) option.argParser((text, before) => parseArg(text.toLowerCase(), before));
  }
}

/** A value that is a flag stands where one is missing. Of a flag that is given again with another value it is said which one counts. */
export function watchValues(command: Command): void {
  for (const option of command.options.filter((it) => it.required)) {
    const isGathered = option.variadic || option.parseArg === namedRatio;
    let before: string | undefined;
    command.on(`option:${option.name()}`, (value: string) => {
      if (optionOf(command, value))
        command.error(`error: option '${option.flags}' argument missing: ${value} is a flag itself`);
      if (value === '')
        command.error(`error: option '${option.flags}' argument is empty; is a variable of the shell unset?`);
      if (!isGathered && before !== undefined && before !== value)
        say(`warning: ${option.long} is given as ${before} and as ${value}; the last counts`);
      before = value;
    });
  }
}

/** The flag that a word of a command line begins with, if it is one. */
function optionOf(command: Command, word = ''): Option | undefined {
  const [name] = word.split('=');
  return [...command.options, HELP].find((it) => it.long === name || it.short === name);
}
const HELP = new Option('-h, --help');

/**
 * A command line with what can only be meant one way: `-o=small` is `-o small`, the dashes of word processors are those of
 * keyboards, and `help prune` is `prune --help`.
 */
export function asMeant(args: readonly string[], program: Command): string[] {
  const [first, second] = args;
  if (['-v', 'version'].includes(first) && second === undefined) return ['--version'];
  const isKnown = program.commands.some((it) => it.name() === second);
  if (first === 'help' && second !== undefined) return isKnown ? [second, '--help'] : [second];
  return args.flatMap((arg) => {
    const [, word] = /^[–—]+-?([a-z].*)$/is.exec(arg) ?? [];
    const dashed = word === undefined ? arg : `${/^.(=|$)/.test(word) ? '-' : '--'}${word}`;
    const [, flag, value] = /^(-[a-z])=(.*)$/is.exec(dashed) ?? [];
    return flag === undefined ? [dashed] : [flag, value];
  });
}

/** What others call flags of ours: of those that a command has, the first is meant. */
const SYNONYMS: readonly (readonly [words: RegExp, flags: readonly string[]])[] = [
  [/^n-?samples$|num-.*samples|calib.*samples/, ['samples']],
  [/calib|data-?set|^(images|c)$/, ['calibrate', 'data']],
  [/perplexity|^(d$|eval|test|val)/, ['data']],
  [/flops/, ['macs']],
  [/speed/, ['latency']],
  [/accuracy|drop/, ['max-loss']],
  [/ignore|skip/, ['exclude']],
  [/^layers?$/, ['keep-layer']],
  [/importance|criterion|pruner|method/, ['method']],
  [/quant|dtype|data-type|precision|bits|int[48]$|fp16|float16|^half$/, ['weights']],
  [/im(a?g|age).*si?ze?|^img$|shape|resolution|input-size/, ['size']],
  [/normali[sz]e/, ['mean']],
  [/^gr[ae]y/, ['color']],
  [/seq.*len|max-length|context/, ['seqlen']],
  [/workers|jobs|^j$/, ['threads']],
  [/seed/, ['seed']],
  [/^(save|out|dest)/, ['output']],
  [/^y(es)?$|overwrite$/, ['overwrite']],
];

const MODEL = 'the model is given without a flag';

/** Flags of others that have nothing to correspond to. */
const NONE: readonly (readonly [words: RegExp, what: string])[] = [
  [/^(m|i|onnx|model(-(path|name|id))?)$/, MODEL],
  [/device|gpu|cuda|provider/, 'it runs on the CPU'],
  [/epochs|iterative|finetune|fine-tune|^lr$|learning-rate/, 'nothing is trained'],
  [/^(batch|bs$)/, 'batches are as large as fits the memory'],
  [/^global/, 'a budget is divided over all layers: --macs 0.5, or --params'],
  [/opset/, "a file keeps the model's own"],
  [/^task$/, 'the model says it itself'],
  [/verbose|quiet|^q$|log-level|progress/, 'progress goes to standard error, results to standard output'],
  [/cache|token$/, 'nothing is downloaded'],
  [/^trust/, 'no code of a model is run'],
];

/** Flags of others that say what goes, or leave open which of both they say. */
const GOING = /sparsity|^amount$|(^|-)prun\w*-(ratio|rate|amount|percent\w*)$|^(compress\w*-)?(ratio|rate)$/;

/** As ours are written. */
const nameIn = (flag: string) => flag.replaceAll('_', '-').toLowerCase();

/** `--keep` is the other part. */
function keepInstead(flag: string, given: readonly string[]): string {
  const at = given.findIndex(
    (it) => it.startsWith('-') && nameIn(it.replace(/^-+/, '').split('=')[0]) === flag,
  );
  const [, value = given[at + 1]] = /=(.*)$/s.exec(given[at] ?? '') ?? [];
  const [, digits, percent] = /^(\d*\.?\d+)(%?)$/.exec(value ?? '') ?? [];
  const goes = Number(digits) / (percent || Number(digits) > 1 ? 100 : 1);
  const example = goes > 0 && goes < 1 ? `: --keep ${Number((1 - goes).toFixed(6))} where ${goes} goes` : '';
  return `--keep is the part that stays${example}`;
}

/** What commands of others correspond to. */
const COMMANDS: readonly (readonly [word: RegExp, what: string])[] = [
  [/^(quanti[sz]e|convert|export)$/, 'Did you mean prune, with --weights or --format?'],
  [/^(compress|sparsify|shrink|slim|simplify|optimi[sz]e|run)$/, 'Did you mean prune?'],
  [/^(info|list|show|summary|structures)$/, 'Did you mean inspect?'],
  [/^(bench\w*|profile|time|timing)$/, 'Did you mean latency?'],
  [/^(test|validate|perplexity|accuracy)$/, 'Did you mean eval?'],
];

const among = <T>(table: readonly (readonly [RegExp, T])[], word: string) =>
  table.find(([words]) => words.test(word))?.[1];

/** Commander's message, and what it leaves open. */
export function withHint(text: string, program: Command, given: readonly string[]): string {
  const called = program.commands.find((it) => it.name() === given[0]);
  const meant = meantIn(text, called, program, given);
  const [message, suggested] = text.split('(Did you mean');
  if (text.includes("'--input <")) return `${message.trim()} (${MODEL})`;
  if (meant !== undefined) return `${message.trim()} (${meant})`;
  if (called && text.includes('too many arguments')) return tooMany(called, given, program);
  const taking = called?.options.find((it) => it.variadic && given.includes(it.long!));
  if (taking && text.includes('missing required'))
    return `${message.trim()} (what follows ${taking.long} is its own; give the ${called!.registeredArguments[0].name()} before it)`;
  return suggested === undefined ? message + whereToLook(message, program, called) : text;
}

/** What is meant by a flag or a command that there is not. */
function meantIn(
  text: string,
  called: Command | undefined,
  program: Command,
  given: readonly string[],
): string | undefined {
  const [, flag] = /unknown option '-+([\w-]+)/.exec(text) ?? [];
  if (flag !== undefined) return meantBy(nameIn(flag), called, program, given);
  const [, name = ''] = /unknown command '(.*)'/.exec(text) ?? [];
  if (/[./\\]/.test(name)) return `a command comes first, as osscar prune ${name}`;
  const command = program.commands.find((it) => name.startsWith(it.name()));
  return command ? `Did you mean ${command.name()}?` : among(COMMANDS, name.toLowerCase());
}

/** Which arguments are too many, and what may have made them so. */
function tooMany(called: Command, given: readonly string[], program: Command): string {
  const name = called.name();
  const excess = called.args.slice(called.registeredArguments.length);
  const hint = clusterHint(called, given, program) ?? valueHint(called, given, excess) ?? placesOf(called);
  return `osscar: too many arguments for '${name}': ${named(excess)} (${hint}; see osscar ${name} --help)`;
}

/** Arguments that a value with spaces may have been; of a pattern the shell makes as many as there are files. */
const MOST_WORDS = 3;

/** `-out a` is `-o ut a`. */
function clusterHint(called: Command, given: readonly string[], program: Command): string | undefined {
  const short = given.find((it) => /^-[a-z]{2,}$/i.test(it));
  const meant = short && meantBy(short.slice(1), called, program, given);
  return meant && `${short} is one letter with a value. ${meant}`;
}

/** Of what stands behind a flag and its value, of which it is a part. */
function valueHint(called: Command, given: readonly string[], excess: readonly string[]): string | undefined {
  const takesNext = (word: string) => !word.includes('=') && optionOf(called, word)?.required;
  const at = given.findIndex((it, i) => it === excess[0] && !takesNext(given[i - 1]));
  const inline = given[at - 1]?.includes('=');
  const [flag, value] = inline
    ? (/^([^=]+)=(.*)$/s.exec(given[at - 1]) ?? []).slice(1)
    : given.slice(at - 2, at);
  const option = optionOf(called, flag);
  if (!option?.required || option.variadic) return undefined;
  const isNumber = (text: string) => text !== '' && Number.isFinite(Number(text));
  const end = given.findIndex((it, i) => i >= at && it.startsWith('-'));
  const parts = [value, ...given.slice(at, end < 0 ? undefined : end)];
  if (parts.every(isNumber)) return `several values are one with commas: ${flag} ${parts.join(',')}`;
  if (parts.length > MOST_WORDS)
    return `the shell makes many arguments of a pattern; give ${flag} the folder itself`;
  return `a value with spaces is quoted: ${flag} "${parts.join(' ')}"`;
}

/** Where goes what is not the command's argument. */
function placesOf({ options, registeredArguments: [argument] }: Command): string {
  const has = (name: string) => options.some(({ long }) => long === name);
  const data = ['--calibrate', '--data'].find(has);
  return [
    argument ? `there is one ${argument.name()}` : 'it takes flags alone',
    ...(data === undefined ? [] : [`data go behind ${data}`]),
    ...(has('--output') ? ['what is written behind --output'] : []),
  ].join(', ');
}

function whereToLook(text: string, program: Command, called: Command | undefined): string {
  if (text.includes('unknown command')) {
    const names = program.commands.map((it) => it.name());
    return ` (there are ${names.join(', ')}; see osscar --help)`;
  }
  return /unknown option|missing required/.test(text)
    ? ` (see osscar ${called ? `${called.name()} ` : ''}--help)`
    : '';
}

/** What is meant by a flag that a command does not have: a longer or a shorter one, or that of another command. */
function meantBy(
  flag: string,
  called: Command | undefined,
  program: Command,
  given: readonly string[],
): string | undefined {
  const flagsOf = (command: Command) =>
    command.options.flatMap(({ long, short }) => [long, short].flatMap((it) => it?.replace(/^-+/, '') ?? []));
  const others = program.commands.filter((command) => flagsOf(command).includes(flag));
  if (!called) {
    const first = program.commands.find((it) => it.name() === flag) ?? others[0];
    return first && `a command comes first, as osscar ${first.name()}`;
  }
  const own = flagsOf(called);
  const isOwn = (it: string | undefined): it is string => it !== undefined && own.includes(it);
  const none = among(NONE, flag);
  if (none !== undefined) return none;
  if (isOwn('keep') && GOING.test(flag)) return keepInstead(flag, given);
  const same = [flag, ...(among(SYNONYMS, flag) ?? [])].find(isOwn);
  if (same === undefined && others.length > 0)
    return `it is a flag of osscar ${others.map((command) => command.name()).join(', ')}`;
  const begun = [
    own.find((it) => it.startsWith(flag)),
    own.findLast((it) => it.length > 1 && flag.startsWith(it)),
  ];
  const near = same ?? begun.find(isOwn);
  return near && `Did you mean ${near.length === 1 ? '-' : '--'}${near}?`;
}
