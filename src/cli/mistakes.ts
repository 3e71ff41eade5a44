// What a person may have meant otherwise: flags that do nothing for a model, are misspelt or given again, and words that are in no place.

import { fileURLToPath } from 'node:url';
import { type Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import { named } from '../printable.ts';
import { among, type Kind, ofOthers, type Synonyms } from '../run/index.ts';
import { flagged } from './flags.ts';
import { GROUPS, namedRatio } from './options.ts';
import { say } from './say.ts';

const FOREIGN: Readonly<Record<Kind, string>> = { images: GROUPS.text, text: GROUPS.images };

/** @throws {InputError} naming a flag that means nothing to models of this kind */
export function checkFlags(path: string, kind: Kind, command: Command): void {
  const isGiven = (option: Option) => command.getOptionValueSource(option.attributeName()) === 'cli';
  const foreign = command.options.find((it) => it.helpGroupHeading === FOREIGN[kind] && isGiven(it));
  if (!foreign) return;
  const [other, own] = kind === 'text' ? ['images and audio', 'text'] : ['text', 'images or audio'];
  throw new InputError(`${foreign.long} is for ${other}, and "${path}" is a model of ${own}; leave it out`);
}

/** Choices are those of lower case, however they are typed. */
export function takeAnyCase(command: Command): void {
  for (const option of command.options) {
    const { argChoices, parseArg } = option;
    if (argChoices && parseArg) option.argParser((text, before) => parseArg(text.toLowerCase(), before));
  }
}

/** Of these the first one would be meant too. */
const DATA = ['--calibrate', '--data'];

/**
 * A value that is a flag stands where one is missing. Of a flag that is given again with another value it is said which one counts; data are
 * not left out.
 */
export function watchValues(command: Command): void {
  for (const option of command.options.filter((it) => it.required)) {
    const isGathered = option.variadic || option.parseArg === namedRatio;
    let before: string | undefined;
    command.on(`option:${option.name()}`, (value: string) => {
      if (optionOf(command, value))
        command.error(`error: option '${option.flags}' argument missing: ${value} is a flag itself`);
      if (value === '')
        command.error(`error: option '${option.flags}' argument is empty; is a variable of the shell unset?`);
      const isOther = !isGathered && before !== undefined && before !== value;
      const given = `${option.long} is given as ${before} and as ${value}`;
      if (isOther && DATA.includes(option.long!))
        command.error(`error: ${given}; put both into one file or folder`);
      if (isOther) say(`warning: ${given}; the last counts`);
      before = value;
    });
  }
}

/** The flag that a word of a command line begins with, if it is one. */
export function optionOf(command: Command, word = ''): Option | undefined {
  const [name] = word.split('=');
  return [...command.options, HELP].find((it) => it.long === name || it.short === name);
}
const HELP = new Option('-h, --help');

/**
 * A command line with what can only be meant one way: `-o=small` is `-o small`, the dashes of word processors are those of
 * keyboards, `help prune` is `prune --help`, and `file:///a b` the path `/a b`.
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
    return (flag === undefined ? [dashed] : [flag, value]).map(withoutAddress);
  });
}

/** Of an address of the disk the path, behind a flag too; one that is of no path here is told where it is read. */
function withoutAddress(arg: string): string {
  const [, flag, address] = /^(--[\w-]+=)?(file:\/\/.*)$/is.exec(arg) ?? [];
  try {
    return address === undefined ? arg : `${flag ?? ''}${fileURLToPath(address)}`;
  } catch {
    return arg;
  }
}

const MODEL = 'the model is given without a flag';

/** Flags of others that calls of the library have no words for. */
const NONE: Synonyms<string> = [
  [/^(m|i|onnx|model(-(path|name|id))?)$/, MODEL],
  [/verbose|quiet|^q$|log-level|progress/, 'progress goes to standard error, results to standard output'],
];

/** As ours are written. */
const nameIn = (flag: string) => flag.replaceAll('_', '-').toLowerCase();

/** The value that a flag is given. */
function givenTo(flag: string, given: readonly string[]): string | undefined {
  const at = given.findIndex(
    (it) => it.startsWith('-') && nameIn(it.replace(/^-+/, '').split('=')[0]) === flag,
  );
  const [, value = given[at + 1]] = /=(.*)$/s.exec(given[at] ?? '') ?? [];
  return value;
}

/** What commands of others correspond to. */
const COMMANDS: Synonyms<string> = [
  [/^(quanti[sz]e|convert|export)$/, 'Did you mean prune, with --weights or --format?'],
  [/^(compress|sparsify|shrink|slim|simplify|optimi[sz]e|run)$/, 'Did you mean prune?'],
  [/^(info|list|show|summary|structures)$/, 'Did you mean inspect?'],
  [/^(bench\w*|profile|time|timing)$/, 'Did you mean latency?'],
  [/^(test|validate|perplexity|accuracy)$/, 'Did you mean eval?'],
  [/^(compare|diff)$/, 'eval says how good a model is, prune --compare what other methods do'],
];

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
  const [, word = ''] = /unknown command '(.*)'/.exec(text) ?? [];
  if (/[./\\]/.test(word)) return `a command comes first, as osscar prune ${word}`;
  const name = word.toLowerCase();
  const command = program.commands.find((it) => name.startsWith(it.name()));
  return command ? `Did you mean ${command.name()}?` : among(COMMANDS, name);
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
  const before = optionOf(called, given[at - 1]);
  if (before && !before.required && /^(true|false|yes|no|on|off|[01])$/i.test(excess[0]))
    return `${before.long} takes no value: it is on where it is there`;
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
  const data = DATA.find(has);
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
  const { text = among(NONE, flag), flag: same } = ofOthers(flag, own, givenTo(flag, given));
  if (text !== undefined) return flagged(text);
  if (same === undefined && others.length > 0)
    return `it is a flag of osscar ${others.map((command) => command.name()).join(', ')}`;
  const begun = [
    own.find((it) => it.startsWith(flag)),
    own.findLast((it) => it.length > 1 && flag.startsWith(it)),
  ];
  const near = same ?? begun.find(isOwn);
  return near && `Did you mean ${near.length === 1 ? '-' : '--'}${near}?`;
}
