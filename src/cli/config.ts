// osscar.config.json: what would be typed as flags, kept in a file. Values go through the flags' own parsers, so that a
// file can say nothing that a flag cannot.

import { type Command, InvalidArgumentError, type Option } from 'commander';
import { isFile, readJsonFile } from '../disk/files.ts';
import { InputError } from '../errors.ts';
import { isObject } from '../expect.ts';
import type { JsonObject } from '../json.ts';
import type { SavedReport } from '../pipeline/index.ts';
import { flagOf } from './flags.ts';
import { optionOf } from './mistakes.ts';
import { say } from './say.ts';

/** Read where it is in the working folder and no other is named. */
const CONFIG_FILE = 'osscar.config.json';
/** What a configuration calls the argument of commands. */
const MODEL = 'model';
const OVERWRITE = 'overwrite';
/** What is not to be found in a report: addresses have passwords in them. */
const SECRET = new Set(['queue']);
/** Flags that a file cannot hold. */
const NEVER = new Set(['config', 'version', 'help']);

/**
 * Gives the options of the command that is called what a file says of them; flags count more. Options of other commands
 * are passed over, so that one file serves all. Paths are relative to the working folder, as in flags.
 *
 * @throws {InputError} naming file and option
 */
export async function applyConfig(program: Command, args: readonly string[]): Promise<void> {
  const command = program.commands.find((it) => it.name() === args.find((arg) => !arg.startsWith('-')));
  if (!command) return;
  const config = await findConfig(command, args);
  if (config) setOptions(program, command, config);
}

interface Config {
  readonly path: string;
  readonly options: JsonObject;
}

/** @throws {InputError} naming file and option */
export function setOptions(program: Command, command: Command, { path, options }: Config): void {
  for (const [key, value] of Object.entries(options)) {
    if (key === MODEL) setModel(command, path, value);
    else if (!apply(command, path, key, value)) checkKnown(program, path, key);
  }
}

/** @returns nothing where no file is named, and the working folder has none */
async function findConfig(command: Command, args: readonly string[]): Promise<Config | undefined> {
  const at = args.findIndex((arg) => arg === '--config' || arg.startsWith('--config='));
  const named = args[at] === '--config' ? args[at + 1] : args[at]?.slice('--config='.length);
  // A flag, or nothing, in the place of a name is refused with those of other flags.
  if (named === '' || optionOf(command, named)) return undefined;
  if (named !== undefined) return { path: named, options: await readOptions(named) };
  if (!(await isFile(CONFIG_FILE))) return undefined;
  say(`options from ${CONFIG_FILE}`);
  const options = await readOptions(CONFIG_FILE);
  // The folder may be a stranger's, who must not choose what is replaced.
  if (options[OVERWRITE] === true)
    throw new InputError(
      `"${CONFIG_FILE}": "${OVERWRITE}" counts only where it is typed, or where the file is named (--config)`,
    );
  return { path: CONFIG_FILE, options };
}

/** What a person writes is not always what JSON has. */
async function readOptions(path: string): Promise<JsonObject> {
  try {
    return await readJsonFile(path);
  } catch (cause) {
    const { message } = cause as Error;
    if (!message.includes('not valid JSON')) throw cause;
    throw new InputError(`${message} (double quotes, no comments, no comma behind the last)`, { cause });
  }
}

function setModel(command: Command, path: string, value: unknown): void {
  if (typeof value !== 'string') throw new InputError(`"${path}": "${MODEL}": expected a path`);
  // Some commands are about no model.
  command.registeredArguments
    .find((it) => it.name() === MODEL)
    ?.argOptional()
    .default(value);
}

const matches = (key: string) => (option: Option) =>
  !NEVER.has(option.attributeName()) && (option.attributeName() === key || option.long === `--${key}`);

/** @returns whether the command has such an option */
function apply(command: Command, path: string, key: string, value: unknown): boolean {
  const option = command.options.find(matches(key));
  if (!option) return false;
  const name = option.attributeName();
  const set = (to: unknown) => command.setOptionValueWithSource(name, to, 'config');
  if (option.isBoolean() || option.negate) {
    if (typeof value !== 'boolean')
      throw new InputError(`"${path}": "${key}": expected true or false, got ${JSON.stringify(value)}`);
    set(value);
    return true;
  }
  for (const text of textsOf(option, path, key, value)) {
    // What is given several times is gathered, from nothing on.
    const before = command.getOptionValueSource(name) === 'config' ? command.getOptionValue(name) : undefined;
    try {
      const parsed = option.parseArg ? option.parseArg<unknown>(text, before) : text;
      set(option.variadic && !option.parseArg ? [...((before as string[]) ?? []), parsed] : parsed);
    } catch (cause) {
      if (!(cause instanceof InvalidArgumentError)) throw cause;
      throw new InputError(`"${path}": "${key}" cannot be ${JSON.stringify(value)}: ${cause.message}`, {
        cause,
      });
    }
  }
  return true;
}

/** A value as it would be typed, once or several times. */
function textsOf(option: Option, path: string, key: string, value: unknown): string[] {
  const isPlain = (it: unknown) => typeof it === 'string' || typeof it === 'number';
  if (isPlain(value)) return [String(value)];
  if (Array.isArray(value) && value.every(isPlain))
    return option.variadic ? value.map(String) : [value.join(',')];
  if (option.flags.includes('=') && isObject(value))
    return Object.entries(value).map(([name, ratio]) => `${name}=${ratio}`);
  throw new InputError(
    `"${path}": "${key}": expected what ${option.flags} takes, got ${JSON.stringify(value)}`,
  );
}

/** @throws {InputError} where no command has such an option */
function checkKnown(program: Command, path: string, key: string): void {
  if (program.commands.some(({ options }) => options.some(matches(key)))) return;
  throw new InputError(
    `"${path}": unknown option "${key}"; names are those of the flags, such as "${flagOf(key) ?? 'keep'}"`,
  );
}

/** What a command was told, as a configuration that tells it the same. */
export function configOf(command: Command, model: string): SavedReport['settings'] {
  const told = command.options
    .map((option) => option.attributeName())
    .filter((name) => ['cli', 'config'].includes(command.getOptionValueSource(name) ?? ''))
    .filter((name) => !NEVER.has(name) && !SECRET.has(name))
    .map((name) => [name, command.getOptionValue(name)]);
  return { [MODEL]: model, ...Object.fromEntries(told) };
}
