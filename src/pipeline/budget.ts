// What a model may take, and what its structures may be cut down to on the way there.

import { InputError } from '../errors.ts';
import { said } from '../expect.ts';
import { groupsAt, isRatio, knownOf, type Prunable } from './keep.ts';

/** What a model's shapes say. */
export const SIZES = ['macs', 'params', 'bytes'] as const;
/** One of {@link SIZES}. */
export type SizeKind = (typeof SIZES)[number];

/** What can be bounded. `latency` is of one sample of an ONNX file, in milliseconds. */
export const BUDGETS = [...SIZES, 'latency'] as const;
/** One of {@link BUDGETS}. */
export type BudgetKind = (typeof BUDGETS)[number];

/** A number, or one with a unit: `'50%'`, `'20M'` (of multiply-adds or parameters), `'300kB'`, `'4MiB'`, `'12ms'`. */
export type Amount = number | string;

/** At most so much of one of them: up to 1 a fraction of the dense model's, above it an amount of its own. */
type SizeOptions = { readonly [kind in BudgetKind]?: Amount };

/** What a model may take, or what it may lose. */
export interface BudgetOptions extends SizeOptions {
  /**
   * The smallest model that loses no more than this on held-out calibration samples: of the accuracy (`0.01` or `'1%'` is
   * one point), of the perplexity (one percent more), or, without labels and text, the relative error of the outputs.
   */
  readonly maxLoss?: Amount;
  /** What `maxLoss` makes small. Default macs of a file, params of a folder. */
  readonly of?: SizeKind;
}

export interface Budget {
  readonly of?: BudgetKind;
  readonly limit: number;
  /** Whether the limit is a fraction of the dense model's. */
  readonly isFraction: boolean;
  readonly maxLoss?: number;
}

/** How structures may be cut where a budget decides. Patterns are names of structures or layers with `*` for any part. */
export interface WidthOptions {
  /** Widths are multiples of it. Default 8 where a structure has at least 64 channels, else 1. */
  readonly round?: number;
  /** Fraction of a structure's groups that stays at least, by pattern. */
  readonly min?: Readonly<Record<string, number>>;
  /** Fraction that stays at most. */
  readonly max?: Readonly<Record<string, number>>;
  /** Fraction that stays. */
  readonly pin?: Readonly<Record<string, number>>;
  /** Structures that stay whole. */
  readonly exclude?: readonly string[];
}

const FRACTIONS = { '': 1, '%': 0.01 };
const TIME_UNITS: Readonly<Record<string, number>> = { ...FRACTIONS, ms: 1, s: 1e3 };
const SIZE_UNITS: Readonly<Record<string, number>> = {
  ...FRACTIONS,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

/** @throws {InputError} where there are several, or one is no amount */
export function parseBudget(options: BudgetOptions): Budget | undefined {
  const given = [...BUDGETS, 'maxLoss' as const].filter((kind) => options[kind] !== undefined);
  if (given.length > 1)
    throw new InputError(`expected one budget, got ${given.map((it) => `\`${it}\``).join(' and ')}`);
  if (given.length === 0) return undefined;
  const [kind] = given;
  const { value, isPlain } = amountOf(options[kind]!, kind === 'latency' ? TIME_UNITS : SIZE_UNITS);
  if (kind === 'maxLoss') {
    const isPercentage = String(options[kind]).includes('%');
    // Who says 1 may mean 1%.
    if (!(value >= 0 && (value < 1 || isPercentage)))
      throw new InputError(`\`maxLoss\`: expected a fraction such as 1% or 0.01, got "${options[kind]}"`);
    return { of: options.of, limit: 1, isFraction: true, maxLoss: value };
  }
  // Who says 50 means 50%; no model has so little of anything but milliseconds.
  const isMeant = kind === 'latency' || value <= 1 || value > 100;
  if (!(value > 0 && isMeant)) {
    const such = kind === 'latency' ? 'a time such as 12ms' : 'a size such as 20M';
    throw new InputError(`\`${kind}\`: expected a fraction such as 0.5 or ${such}, got "${options[kind]}"`);
  }
  return { of: kind, limit: value, isFraction: value <= 1 && isPlain };
}

/** @throws {InputError} naming the option, where it is no number of bytes, or one that only GiB can be meant by */
export function parseBytes(name: string, amount: Amount): number {
  const { value } = amountOf(amount, SIZE_UNITS);
  if (value >= 2 ** 20) return value;
  throw new InputError(`\`${name}\`: expected bytes such as 8GiB, at least 1MiB, got "${amount}"`);
}

/** NaN where it is no amount; plain without a unit. */
function amountOf(
  amount: Amount,
  units: Readonly<Record<string, number>>,
): { value: number; isPlain: boolean } {
  const [, digits = '', unit = ''] = /^\s*([\d.]+(?:e[+-]?\d+)?)\s*([a-z%]*)\s*$/i.exec(String(amount)) ?? [];
  const value = digits === '' ? Number.NaN : Number(digits) * units[unit.toLowerCase()];
  return {
    value: value < Infinity ? value : Number.NaN,
    isPlain: unit === '' || unit === '%',
  };
}

/**
 * For a person.
 *
 * @example
 * console.log(`${before} -> ${amountText('latency', 0.42)}`);
 */
export function amountText(of: BudgetKind, amount: number): string {
  return of === 'latency' ? `${amount.toPrecision(3)} ms` : String(Math.round(amount));
}

/** @throws {InputError} where the budget bounds nothing */
export function expectBound(budget: Budget | undefined): void {
  if (budget?.isFraction && budget.limit === 1 && budget.maxLoss === undefined)
    throw new InputError(`\`${budget.of}\`: 1 is all of the dense model; expected a fraction such as 0.5`);
}

/** @throws {InputError} where the budget is of what only files have */
export function checkBudget(budget: Budget | undefined, isFile: boolean): void {
  if (budget?.of === 'latency' && !isFile)
    throw new InputError('`latency` is of ONNX files only; of a folder, give `params` or `macs`');
}

/**
 * @param most  what there is to lose: of accuracies and of outputs, while that of a perplexity has no bound
 * @throws {InputError} where the budget may lose all of it, which bounds nothing
 */
export function checkLoss(budget: Budget | undefined, most: number, what: string): void {
  if (!budget?.maxLoss || budget.maxLoss < most) return;
  const [all, got] = [most, budget.maxLoss].map((it) => `${Number((100 * it).toPrecision(6))}%`);
  throw new InputError(`\`maxLoss\`: expected less than ${all}, which is all of ${what}, got ${got}`);
}

/** Widths below it lose more than they are worth, and no kernel runs them well. */
const SMALLEST = 1 / 16;
/** Channels from which widths are multiples of 8: what SIMD and threads of the usual runtimes work in. */
const ROUNDED_FROM = 64;
const ROUND = 8;
/** More widths of one structure are not told apart. */
const MOST_CHOICES = 48;

/**
 * The widths that each structure may be given, ascending; 0 of those that can go whole, where no pattern of `min` says more.
 * @throws {InputError} where a pattern matches nothing, or a fraction is outside (0, 1]
 */
export function widthsOf(structures: readonly Prunable[], options: WidthOptions): Map<string, number[]> {
  const { round, exclude = [] } = options;
  if (round !== undefined && !(Number.isInteger(round) && round >= 1)) {
    throw new InputError(`\`round\` must be a whole number of at least 1, got ${round}`);
  }
  const rounded = structures.filter(({ kind }) => kind !== 'head');
  if (round !== undefined && rounded.length > 0 && rounded.every(({ groups }) => groups <= round)) {
    const { name, groups } = rounded.reduce((a, b) => (b.groups > a.groups ? b : a));
    throw new InputError(
      `\`round\`: multiples of ${round} leave every structure whole; "${name}", the largest, has ${groups}`,
    );
  }
  const [min, max, pin] = (['min', 'max', 'pin'] as const).map((what) =>
    ratiosOf(what, structures, options[what] ?? {}),
  );
  const whole = ratiosOf('exclude', structures, Object.fromEntries(exclude.map((pattern) => [pattern, 1])));
  return new Map(
    structures.map((structure) => {
      const { name, groups, kind, canGo } = structure;
      const fixed = whole.get(name) ?? pin.get(name);
      if (fixed !== undefined) return [name, [groupsAt(structure, fixed, 'pin')]];
      const step = kind === 'head' ? 1 : (round ?? (groups >= ROUNDED_FROM ? ROUND : 1));
      const none = canGo && !min.has(name) ? [0] : [];
      const least = Math.max(1, Math.ceil(groups * (min.get(name) ?? SMALLEST)));
      const most = Math.floor(groups * (max.get(name) ?? 1));
      // Of a config.json from a stranger there may be too many to be listed.
      const [first, last] = [Math.ceil(least / step), Math.floor(most / step)];
      const multiples = Math.max(0, last - first + 1);
      const isWhole = most === groups && groups % step !== 0;
      if (multiples === 0 && !isWhole) {
        throw new InputError(
          `\`min\`, \`max\` and \`round\` leave "${name}" no width: no multiple of ${step} from ${least} to ${most} of ${groups}`,
        );
      }
      const widths = evenPlaces(multiples + Number(isWhole), MOST_CHOICES);
      return [
        name,
        [...none, ...widths.map((place) => (place < multiples ? (first + place) * step : groups))],
      ];
    }),
  );
}

/** By structure what the last pattern says that matches its name, or where a pattern matches no name, its layer's. */
function ratiosOf(
  what: string,
  structures: readonly Prunable[],
  byPattern: Readonly<Record<string, number>>,
): Map<string, number> {
  const found = new Map<string, number>();
  for (const [pattern, ratio] of Object.entries(byPattern)) {
    if (!isRatio(ratio, what === 'pin')) {
      throw new InputError(`\`${what}\` of "${pattern}" must be in (0, 1], got ${said(ratio)}`);
    }
    const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\/]/g, '\\$&'));
    const expression = new RegExp(`^${parts.join('.*')}$`);
    const named = structures.filter(({ name }) => expression.test(name));
    const matching = named.length > 0 ? named : structures.filter(({ layer }) => expression.test(layer));
    if (matching.length === 0)
      throw new InputError(`\`${what}\`: no prunable structure matches "${pattern}"; ${knownOf(structures)}`);
    for (const { name } of matching) found.set(name, ratio);
  }
  return found;
}

/** At most so many of the items, at even distances; the first and the last stay. */
export function evenly<T>(items: T[], most: number): T[] {
  return evenPlaces(items.length, most).map((place) => items[place]);
}

/** Places of those among so many. */
function evenPlaces(count: number, most: number): number[] {
  const length = Math.min(count, most);
  return Array.from({ length }, (_, i) => Math.round((i * (count - 1)) / Math.max(1, length - 1)));
}
