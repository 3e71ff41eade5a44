// What calls are told by programs without types, or with a typing error: every option has a name that is known, and is of its kind.
// A call says in one table what its options are, and TypeScript whether it says all of them.

import { InputError } from './errors.ts';
import { expectObject, hasMethods, isObject, said } from './expect.ts';

/** What an option may be. */
export type Kind = readonly [fits: (value: unknown) => boolean, expected: string, isRequired?: boolean];

/** What each option of a call may be. */
export type Options<T> = Readonly<Record<keyof T, Kind>>;

/** A number from `least` to `most`. */
export const wholeFrom = (least: number, most = Number.MAX_VALUE): Kind => [
  (value) => Number.isInteger(value) && (value as number) >= least && (value as number) <= most,
  most < Number.MAX_VALUE ? `a whole number from ${least} to ${most}` : `a whole number from ${least} on`,
];
export const COUNT = wholeFrom(1);
/** Of the solver and of the engine, each of which takes 12 MB: more take the memory of the machine, and the process ends where it cannot be had. */
export const MOST_THREADS = 128;
export const THREADS = wholeFrom(1, MOST_THREADS);
/** The same of any number. */
export const numberFrom = (least: number, most = Number.POSITIVE_INFINITY): Kind => [
  (value) => typeof value === 'number' && value >= least && value <= most,
  Number.isFinite(most) ? `a number from ${least} to ${most}` : `a number from ${least} on`,
];
export const INTEGER: Kind = [Number.isInteger, 'a whole number'];
export const NUMBER: Kind = [(value) => typeof value === 'number', 'a number'];
export const POSITIVE: Kind = [
  (value) => Number.isFinite(value) && (value as number) > 0,
  'a number above 0',
];
/** Of bounds, which may be infinite. */
export const BYTES: Kind = [(value) => typeof value === 'number' && value >= 0, 'bytes, a number from 0 on'];
export const SWITCH: Kind = [(value) => typeof value === 'boolean', 'true or false'];
export const FUNCTION: Kind = [(value) => typeof value === 'function', 'a function'];
export const OBJECT: Kind = [isObject, 'an object'];
export const TEXT: Kind = [(value) => typeof value === 'string', 'text'];
export const NAMES: Kind = [
  (value) => Array.isArray(value) && value.every((it) => typeof it === 'string'),
  'a list of names',
];
export const ADDRESS: Kind = [
  (value) => typeof value === 'string' || value instanceof URL,
  'an address (text or URL)',
];
export const ANY: Kind = [(value) => value !== null, 'a value'];
/** Judged in other words, where it is read. */
export const LATER: Kind = [() => true, ''];
export const AMOUNT: Kind = [
  (value) => ['string', 'number'].includes(typeof value),
  'a number, or text such as 50%',
];
export const oneOf = (...choices: readonly string[]): Kind => [
  (value) => choices.includes(value as string),
  `one of ${choices.join(', ')}`,
];
export const or = ([fits, expected]: Kind, [others, more]: Kind): Kind => [
  (value) => fits(value) || others(value),
  `${expected}, or ${more}`,
];
/** The same of what has no default. */
export const required = ([fits, expected]: Kind): Kind => [fits, expected, true];
/** An object of a port, by some of its methods. */
export const having = (expected: string, ...methods: readonly string[]): Kind => [
  (value) => hasMethods(value, ...methods),
  expected,
];
export const SIGNAL = having('an AbortSignal', 'addEventListener', 'throwIfAborted');

/** An option that no call has, or that is of another kind than its own. */
export interface WrongOption {
  readonly name: string;
  readonly value: unknown;
  /** What it may be; absent of a name that is not known. */
  readonly expected?: string;
}

/** The first that is wrong, or missing. What is undefined is not given. */
export function wrongOption(options: object, table: Readonly<Record<string, Kind>>): WrongOption | undefined {
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(table, name)) return { name, value };
    const [fits, expected] = table[name];
    if (!fits(value)) return { name, value, expected };
  }
  const missing = Object.keys(table).find(
    (name) => table[name][2] && options[name as keyof object] === undefined,
  );
  return missing === undefined ? undefined : { name: missing, value: undefined, expected: table[missing][1] };
}

/** @throws {InputError} naming the call and the option, and what is meant by a name that is not known */
export function expectOptions<T extends object>(operation: string, options: T, table: Options<T>): void {
  expectObject(operation, 'options', options);
  const wrong = wrongOption(options, table);
  if (wrong === undefined) return;
  const { name, value, expected } = wrong;
  if (expected === undefined) throw unknownOption(operation, name, table);
  throw new InputError(`${operation}: "${name}" expected ${expected}, got ${said(value)}`);
}

/** The same of names alone, where values are judged in other words. */
export function expectNames<T extends object>(operation: string, options: T, table: Options<T>): void {
  expectObject(operation, 'options', options);
  const name = unknownName(options, table);
  if (name !== undefined) throw unknownOption(operation, name, table);
}

function unknownName(record: object, table: object): string | undefined {
  return Object.keys(record).find((it) => !Object.hasOwn(table, it));
}

function unknownOption(operation: string, name: string, table: object): InputError {
  return new InputError(`${operation}: there is no option "${name}"; ${hintOf(name, Object.keys(table))}`);
}

function hintOf(name: string, known: readonly string[]): string {
  const meant = nearest(name, known);
  return meant === undefined ? `expected ${known.join(', ')}` : `is "${meant}" meant?`;
}

/** The fields that a record of data may have. Their values are judged where they are read. */
export type Fields<T> = Readonly<Record<keyof T, true>>;

/** @throws {InputError} naming the call, the record and a field that is none of its own */
export function expectFields<T extends object>(
  operation: string,
  place: string,
  record: T,
  fields: Fields<T>,
): void {
  expectObject(operation, place, record);
  const name = unknownName(record, fields);
  if (name === undefined) return;
  const hint = hintOf(name, Object.keys(fields));
  throw new InputError(`${operation}: "${place}" has no field "${name}"; ${hint}`);
}

/**
 * The same of records that callers may keep more in: only what is taken for one of these fields, which is not there.
 *
 * @throws {InputError} naming both
 */
export function expectNoSlip(place: string, record: object, fields: readonly string[]): void {
  const missing = fields.filter((field) => record[field as keyof object] === undefined);
  for (const name of Object.keys(record)) {
    const meant = fields.includes(name) ? undefined : nearest(name, missing);
    if (meant !== undefined)
      throw new InputError(`${place}: there is no field "${name}"; is "${meant}" meant?`);
  }
}

/** Letters that may be wrong, missing or too many. */
const SLIPS = 2;

/** A name however it is written: `max-loss`, `max_loss` and `maxLoss` are one. */
const plain = (name: string): string => name.replace(/[-_]/g, '').toLowerCase();

/** The known name that is meant by another one, with a slip or two in it. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const given = plain(name);
  // A name in a file can be as long as the file.
  const [first] = known
    .filter((option) => Math.abs(plain(option).length - given.length) <= SLIPS)
    .map((option) => ({ option, slips: slipsBetween(plain(option), given) }))
    .sort((a, b) => a.slips - b.slips);
  return first && first.slips <= Math.min(SLIPS, name.length / 2) ? first.option : undefined;
}

/** Levenshtein's distance. */
function slipsBetween(one: string, other: string): number {
  let row = Array.from({ length: other.length + 1 }, (_, i) => i);
  for (const [i, letter] of [...one].entries()) {
    const next = [i + 1];
    for (let j = 0; j < other.length; j++)
      next.push(Math.min(row[j] + Number(letter !== other[j]), row[j + 1] + 1, next[j] + 1));
    row = next;
  }
  return row[other.length];
}
