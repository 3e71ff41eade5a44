// What can be pruned of a model, and how much of it stays.

import { InputError } from '../errors.ts';
import { isObject, said } from '../expect.ts';
import type { Structure } from '../graph/index.ts';
import { named } from '../printable.ts';
import { groupsToKeep } from '../solve/index.ts';

/** Fractions of the groups to keep, in (0, 1]; the most particular one that is given counts. */
export interface KeepRatios {
  /** Of structures that nothing else here names. */
  readonly all?: number;
  /** Of attention heads or key-value groups. */
  readonly heads?: number;
  /** Of neurons and convolution channels. */
  readonly channels?: number;
  /** Of single structures, by their name or, where none has it, their layer's; 0 of those that can go whole. */
  readonly layers?: Readonly<Record<string, number>>;
}

export type Named = Pick<Structure, 'name' | 'layer' | 'kind'>;

/** A structure that can be pruned. */
export interface Prunable
  extends Named,
    Pick<Structure, 'groups' | 'canGo'>,
    Partial<Pick<Structure, 'isResidual'>> {}

/** Groups that stay of every prunable structure, by its name. */
export type Sizes = ReadonlyMap<string, number>;

/** Which groups stay, ascending, by a structure's name. */
export type Supports = ReadonlyMap<string, readonly number[]>;

/**
 * The ratio of a structure.
 * @throws {InputError} for a ratio outside (0, 1], or none at all
 *
 * @example
 * const ratio = keepRatio({ all: 0.5, heads: 1 });
 * const kept = model.analysis.structures.map((structure) => ratio(structure));
 */
export function keepRatio(keep: number | KeepRatios): (structure: Named) => number {
  const ratios: KeepRatios = typeof keep === 'number' ? { all: keep } : keep;
  if (!isObject(ratios as unknown))
    throw new InputError(`\`keep\` must be a number in (0, 1], as 0.5 for half of them, got ${said(ratios)}`);
  const foreign = Object.keys(ratios).find((key) => !['all', 'heads', 'channels', 'layers'].includes(key));
  if (foreign !== undefined)
    throw new InputError(`\`keep.${foreign}\`: expected all, heads, channels or layers`);
  if (Object.keys(ratios).length === 0)
    throw new InputError(
      '`keep`: expected a number, or an object with all, heads, channels or layers in it, got {}',
    );
  const { all = 1, heads = all, channels = all, layers = {} } = ratios;
  if (!isObject(layers as unknown)) throw new InputError('`keep.layers`: expected ratios by name');
  const check = (what: string, value: number, canBeNone = false) => {
    if (!isRatio(value, canBeNone))
      throw new InputError(`${what} must be in (0, 1], as 0.5 for half of them, got ${said(value)}`);
  };
  check('`keep`', all);
  check('`keep.heads`', heads);
  check('`keep.channels`', channels);
  for (const [name, value] of Object.entries(layers)) check(`\`keep.layers\` of "${name}"`, value, true);
  // A structure may be called `constructor`.
  const own = new Map(Object.entries(layers));
  return ({ name, layer, kind }) => own.get(name) ?? own.get(layer) ?? (kind === 'head' ? heads : channels);
}

/**
 * Sizes by the ratios of a recipe; where a budget decides, of a run that prunes as little as it may of everything.
 *
 * @throws {InputError} where a ratio is outside (0, 1], or is given for a structure that is not there
 */
export function sizesOf(
  { keep }: { readonly keep?: number | KeepRatios },
  structures: readonly Prunable[],
): Sizes {
  if (keep === undefined)
    return new Map(structures.map(({ name, groups }) => [name, Math.max(1, groups - 1)]));
  const asked: KeepRatios = typeof keep === 'number' ? {} : keep;
  const [names, layers] = [
    new Set(structures.map(({ name }) => name)),
    new Set(structures.map(({ layer }) => layer)),
  ];
  for (const name of Object.keys(asked.layers ?? {})) {
    if (!names.has(name) && !layers.has(name))
      throw new InputError(
        `\`keep.layers\`: there is no prunable structure "${name}"; ${knownOf(structures)}`,
      );
  }
  for (const [kind, own] of KINDS) {
    if (asked[kind] !== undefined && !structures.some((it) => it.kind === own))
      throw new InputError(`\`keep.${kind}\`: there are no ${kind} that can be pruned`);
  }
  const ratio = keepRatio(keep);
  // What makes channels may read others: its name is theirs that it makes.
  const layerOf = ({ layer }: Prunable) => (names.has(layer) ? '' : layer);
  return new Map(
    structures.map((it) => [it.name, groupsAt(it, ratio({ ...it, layer: layerOf(it) }), 'keep.layers')]),
  );
}

/** Whether it is in (0, 1], or 0 where that is a ratio too. */
export function isRatio(value: unknown, canBeNone: boolean): value is number {
  return typeof value === 'number' && value <= 1 && (value > 0 || (canBeNone && value === 0));
}

/**
 * Groups of a structure that a ratio keeps: 0 none, others at least one.
 * @throws {InputError} where something of it must stay
 */
export function groupsAt({ name, groups, canGo }: Prunable, ratio: number, option: string): number {
  if (ratio > 0) return groupsToKeep(groups, ratio);
  if (canGo) return 0;
  throw new InputError(`\`${option}\` of "${name}" must be in (0, 1]: the model does not do without it`);
}

/** What there is instead of a structure that is not there. */
export function knownOf(structures: readonly Named[]): string {
  return `there are ${named(structures.map(({ name }) => name))} (osscar inspect lists them)`;
}

/** Ratios by kind, and what the kind is called in a structure. */
const KINDS = [
  ['heads', 'head'],
  ['channels', 'channel'],
] as const;
