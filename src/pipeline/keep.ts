// How much of which structure is kept.

import { InputError } from '../errors.ts';
import type { Structure } from '../graph/index.ts';

/** Fractions of the groups to keep, in (0, 1]; the most particular one that is given counts. */
export interface KeepRatios {
  /** Of structures that nothing else here names. */
  readonly all?: number;
  /** Of attention heads or key-value groups. */
  readonly heads?: number;
  /** Of neurons and convolution channels. */
  readonly channels?: number;
  /** Of single structures, by their name or their layer's. */
  readonly layers?: Readonly<Record<string, number>>;
}

export type Named = Pick<Structure, 'name' | 'layer' | 'kind'>;

/**
 * The ratio of a structure.
 * @throws {InputError} for a ratio outside (0, 1], or none at all
 */
export function keepRatio(keep: number | KeepRatios): (structure: Named) => number {
  const ratios: KeepRatios = typeof keep === 'number' ? { all: keep } : keep;
  const { all = 1, heads = all, channels = all, layers = {} } = ratios;
  for (const [name, value] of Object.entries({ '': all, heads, channels, ...layers })) {
    if (!(value > 0 && value <= 1)) {
      throw new InputError(`keep${name && ` of "${name}"`} must be in (0, 1], got ${value}`);
    }
  }
  return ({ name, layer, kind }) => layers[name] ?? layers[layer] ?? (kind === 'head' ? heads : channels);
}

/** @throws {InputError} where a ratio is given for a structure that is not there */
export function checkNames(keep: number | KeepRatios, structures: readonly Named[]): void {
  const names = new Set(structures.flatMap(({ name, layer }) => [name, layer]));
  for (const name of Object.keys(typeof keep === 'number' ? {} : (keep.layers ?? {}))) {
    if (!names.has(name)) throw new InputError(`keep: there is no prunable structure "${name}"`);
  }
}
