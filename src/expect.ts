// What programs without types may hand over: an argument of another kind than its own is named.

import { InputError } from './errors.ts';

/** @throws {InputError} where it is none, or a promise of one */
export function expectObject(operation: string, name: string, value: unknown): void {
  if (typeof value !== 'object' || value === null || value instanceof Promise)
    throw new InputError(`${operation}: "${name}" expected an object, got ${said(value)}`);
}

/** @throws {InputError} where it is no array, or something in it is no object */
export function expectObjects(operation: string, name: string, values: unknown): void {
  if (!Array.isArray(values))
    throw new InputError(`${operation}: "${name}" expected an array, got ${said(values)}`);
  values.forEach((value, i) => void expectObject(operation, `${name}[${i}]`, value));
}

/** @throws {InputError} where it is no array, or something in it is no number */
export function expectDims(operation: string, name: string, dims: unknown): void {
  if (!(Array.isArray(dims) && dims.every((dim) => typeof dim === 'number')))
    throw new InputError(`${operation}: "${name}" expected a list of dims, got ${said(dims)}`);
}

/** An object with fields, as options are, and no list. */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @throws {InputError} where it is something else that bytes may come in */
export function expectBytes(operation: string, bytes: unknown): void {
  if (!(bytes instanceof Uint8Array))
    throw new InputError(`${operation}: "bytes" expected a Uint8Array, got ${said(bytes)}`);
}

/** Whether it was handed to another thread: arrays on it look like empty ones. */
export function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength > 0) return false;
  try {
    new Uint8Array(buffer);
    return false;
  } catch {
    return true;
  }
}

/** Of what is detached. */
export const GONE = 'is empty, as its buffer was transferred to another thread; give a copy';

/** @throws {InputError} where it is no typed array of numbers, or nothing is left of it */
export function expectNumbers(operation: string, name: string, values: unknown): void {
  const isOther = values instanceof DataView || /^Big/.test(Object(values).constructor?.name);
  if (!ArrayBuffer.isView(values) || isOther)
    throw new InputError(`${operation}: "${name}" expected a Float32Array, got ${said(values)}`);
  if (isDetached(values.buffer)) throw new InputError(`${operation}: "${name}" ${GONE}`);
}

/** @throws {InputError} where it is something else than text */
export function expectText(operation: string, name: string, value: unknown): void {
  if (typeof value !== 'string')
    throw new InputError(`${operation}: "${name}" expected text, got ${said(value)}`);
}

/** Whether it is an object of a port, by some of its methods. */
export function hasMethods(value: unknown, ...methods: readonly PropertyKey[]): boolean {
  return (
    Object(value) === value && methods.every((it) => typeof Reflect.get(Object(value), it) === 'function')
  );
}

/** @throws {InputError} saying what is expected, where it has not these methods */
export function expectMethods(
  operation: string,
  name: string,
  value: unknown,
  expected: string,
  ...methods: readonly PropertyKey[]
): void {
  if (!hasMethods(value, ...methods))
    throw new InputError(`${operation}: "${name}" expected ${expected}, got ${said(value)}`);
}

/** Items of a list that say of which kind it is. */
const FEW = 10;

/** Lists within a list are not gone into: it may be one of them. */
function saidOf(list: readonly unknown[]): string {
  const items = list.slice(0, FEW).map((it) => (Array.isArray(it) ? 'a list' : said(it)));
  return `[${[...items, ...(list.length > FEW ? ['…'] : [])].join(', ')}]`;
}

/** What was given, as it is called in an error. */
export function said(value: unknown): string {
  if (typeof value === 'string') return `"${value}"`;
  if (typeof value === 'function') return 'a function';
  if (Array.isArray(value)) return saidOf(value);
  if (typeof value !== 'object' || value === null) return String(value);
  const { name } = value.constructor ?? Object;
  if (name === 'Promise') return 'a promise; await it';
  return name === 'Object' ? 'an object' : `an object of ${name}`;
}
