// Fields of a config.json, checked. Null counts as absent, as in Python.

import { InputError, UnsupportedModelError } from '../../errors.ts';
import type { Config } from './types.ts';

const LARGEST = 2 ** 31 - 1;

/** @param least  smallest that makes sense */
export function integer(config: Config, key: string, otherwise?: number, least = 1): number {
  const value = config[key] ?? otherwise;
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= LARGEST)
    return value;
  throw wrong(key, `an integer of at least ${least}`, config[key]);
}

export function positive(config: Config, key: string, otherwise?: number): number {
  const value = config[key] ?? otherwise;
  if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value;
  throw wrong(key, 'a positive number', config[key]);
}

export function flag(config: Config, key: string, otherwise: boolean): boolean {
  const value = config[key] ?? otherwise;
  if (typeof value === 'boolean') return value;
  throw wrong(key, 'true or false', value);
}

export function text(config: Config, key: string, otherwise?: string): string {
  const value = config[key] ?? otherwise;
  if (typeof value === 'string') return value;
  throw wrong(key, 'a string', config[key]);
}

/** An object in a config; empty where there is none. */
export function section(config: Config, key: string): Config {
  const value = config[key] ?? {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Config;
  throw wrong(key, 'an object', value);
}

/** Something that config.json asks for and this library does not have. */
export function unsupported(modelType: string, what: string): UnsupportedModelError {
  return new UnsupportedModelError(`config.json: model_type "${modelType}": ${what}`);
}

function wrong(key: string, expected: string, got: unknown): InputError {
  return new InputError(`config.json: "${key}" expected ${expected}, got ${JSON.stringify(got)}`);
}
