// What programs without types may hand over: an argument of another kind than its own is named.

import { InputError } from './errors.ts';

/** @throws {InputError} where it is none */
export function expectObject(operation: string, name: string, value: unknown): void {
  if (typeof value !== 'object' || value === null)
    throw new InputError(`${operation}: "${name}" expected an object, got ${said(value)}`);
}

/** @throws {InputError} where it is no array, or something in it is no object */
export function expectObjects(operation: string, name: string, values: unknown): void {
  if (!Array.isArray(values))
    throw new InputError(`${operation}: "${name}" expected an array, got ${said(values)}`);
  values.forEach((value, i) => void expectObject(operation, `${name}[${i}]`, value));
}

const said = (value: unknown) => (typeof value === 'function' ? 'a function' : String(value));
