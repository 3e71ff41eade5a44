// What a budget is spent on: the size that it bounds, and the sizes of structures that there may be.

import { InputError } from '../../errors.ts';
import { byStructure, sizeAt, type Term } from '../../graph/index.ts';
import { amountText, type BudgetKind, widthsOf } from '../budget.ts';
import type { Prunable, Sizes } from '../keep.ts';
import type { LatencyTable } from '../measure/latency.ts';
import type { Spend } from '../recipe.ts';
import type { Subject } from '../subject.ts';

/** A size, and the sizes of structures that it may be spent on. */
interface Unbounded {
  readonly of: BudgetKind;
  readonly terms: readonly Term[];
  /** Of the dense model, and of what is written of it where all stays. */
  readonly before: number;
  readonly all: number;
  readonly structures: readonly (Prunable & { readonly widths: readonly number[] })[];
}

/** The same where a budget bounds it. */
export interface Problem extends Unbounded {
  /** See `leastOf`. */
  readonly least: number;
  readonly limit: number;
}

type Sized = Pick<Subject, 'structures' | 'macs' | 'terms' | 'denseBytes'>;

export function unbounded(
  subject: Sized,
  sample: readonly number[],
  { of = subject.macs === undefined ? 'params' : 'macs', widths: options }: Spend,
  table?: LatencyTable,
): Unbounded {
  const terms = of === 'latency' ? table!.terms : subject.terms(of, sample);
  const all = of === 'latency' ? table!.denseMs : sizeAt(terms, () => 1);
  const before = (of === 'bytes' && subject.denseBytes) || all;
  const widths = widthsOf(subject.structures, options);
  const structures = subject.structures.map((it) => ({ ...it, widths: widths.get(it.name)! }));
  return { of, terms, before, all, structures };
}

/**
 * @param before, all  as of `Unbounded`
 * @throws {InputError} where it bounds nothing
 */
export function limitOf(of: BudgetKind, spend: Spend, before: number, all = before): number {
  const limit = spend.isFraction ? spend.limit * before : spend.limit;
  if (limit <= all) return limit;
  const [asked, own] = [limit, all].map((size) => amountText(of, size));
  const has = all < before ? 'is written with' : 'has';
  throw new InputError(`\`${of}\`: at most ${asked} keeps all of the dense model, which ${has} ${own}`);
}

/**
 * @param least, before  of the smallest widths, and of the dense model
 * @throws {InputError} where the smallest widths do not fit the budget
 */
export function expectReached(of: BudgetKind, limit: number, least: number, before: number): void {
  if (least <= limit) return;
  const [asked, reachable] = [limit, least].map(
    (size) => `${amountText(of, size)} (${(size / before).toFixed(3)} of the dense model)`,
  );
  throw new InputError(
    `\`${of}\`: at most ${asked} cannot be reached; the smallest widths take ${reachable}`,
  );
}

/** @throws {InputError} where the smallest widths do not fit the budget, or the dense model does */
export function problemOf(
  subject: Sized,
  sample: readonly number[],
  spend: Spend,
  table?: LatencyTable,
): Problem {
  const problem = unbounded(subject, sample, spend, table);
  const { of, before, all } = problem;
  const limit = limitOf(of, spend, before, all);
  const least = leastOf(problem);
  expectReached(of, limit, least, before);
  return { ...problem, least, limit };
}

export function costOf({ terms, structures }: Pick<Problem, 'terms' | 'structures'>, sizes: Sizes): number {
  const groups = new Map(structures.map((it) => [it.name, it.groups]));
  return sizeAt(terms, (name) => sizes.get(name)! / groups.get(name)!);
}

/** Of the smallest widths. */
function leastOf(problem: Pick<Problem, 'terms' | 'structures'>): number {
  return costOf(problem, smallestSizes(problem));
}

function smallestSizes({ structures }: Pick<Problem, 'structures'>): Sizes {
  return new Map(structures.map(({ name, widths }) => [name, widths[0]]));
}

/** The same where nothing goes whole that need not. */
export function leastOfAll(problem: Pick<Problem, 'terms' | 'structures'>): number {
  return costOf(problem, new Map(problem.structures.map(({ name, widths }) => [name, leastKept(widths)])));
}

function leastKept(widths: readonly number[]): number {
  return widths.find((width) => width > 0) ?? 0;
}

/** Where streams can go and need not: the problem without them, for what each loses alone says little of all that read it. */
export function streamsWhole(problem: Problem): Problem | undefined {
  const isFree = ({ isResidual, groups, widths }: Problem['structures'][number]) =>
    isResidual && widths.length > 1 && widths.includes(groups);
  if (!problem.structures.some(isFree)) return undefined;
  const structures = problem.structures.map((it) => (isFree(it) ? { ...it, widths: [it.groups] } : it));
  const least = leastOf({ ...problem, structures });
  return least > problem.limit ? undefined : { ...problem, structures, least };
}

/**
 * The largest sizes within the limit that keep the same fraction of every structure, rounded down to widths; what is left of the limit goes to
 * those that are rounded up the least.
 */
export function uniformSizes(problem: Pick<Problem, 'terms' | 'structures' | 'limit'>): Sizes {
  const at = (ratio: number): Sizes =>
    new Map(
      problem.structures.map(({ name, groups, widths }) => [
        name,
        widths.findLast((width) => width > 0 && width <= ratio * groups) ?? leastKept(widths),
      ]),
    );
  let best = smallestSizes(problem);
  for (let step = 1; step <= 1000; step++) {
    const sizes = at(step / 1000);
    if (costOf(problem, sizes) <= problem.limit) best = sizes;
  }
  const larger = problem.structures.flatMap(({ name, groups, widths }) =>
    widths.filter((width) => width > best.get(name)!).map((width) => ({ name, width, part: width / groups })),
  );
  const groupsOf = new Map(problem.structures.map(({ name, groups }) => [name, groups]));
  const terms = byStructure(problem.terms);
  const sizes = new Map(best);
  const own = (name: string) => sizeAt(terms.get(name) ?? [], (it) => sizes.get(it)! / groupsOf.get(it)!);
  let cost = costOf(problem, sizes);
  for (const { name, width } of larger.sort((a, b) => a.part - b.part)) {
    const [before, without] = [sizes.get(name)!, own(name)];
    sizes.set(name, width);
    // Of all terms only where it may fit: experts are thousands of structures.
    const about = cost - without + own(name);
    const after = about > problem.limit * (1 + ROUNDING) ? about : costOf(problem, sizes);
    if (after <= problem.limit) cost = after;
    else sizes.set(name, before);
  }
  return sizes;
}

/** What sums of the same terms in other orders differ by, at most. */
const ROUNDING = 1e-9;
