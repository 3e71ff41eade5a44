// How much of each structure stays within a budget.
//
// Losses of single structures, added up, are where it starts. They are far below what the network loses that is pruned
// throughout, and not in the same proportions: what later layers can correct costs less. So two numbers are searched, a
// power that losses are raised to and a tilt that makes structures dearer towards the output, by networks that are
// pruned and compared with the dense one on samples that they were not fitted on. Uniform sizes are always tried.

import { InputError } from '../../errors.ts';
import { type Model, sizeAt, type Term } from '../../graph/index.ts';
import { amountText, type BudgetKind, widthsOf } from '../budget.ts';
import type { Prunable, Sizes, Supports } from '../keep.ts';
import type { LatencyTable } from '../latency.ts';
import { passOver } from '../pass.ts';
import { type PrunedPart, shrunk } from '../pruned.ts';
import { fittingOf, type Pass, type Spend, type Target, TRIAL } from '../recipe.ts';
import type { Run } from '../run.ts';
import { isBetter, quarterHeldOut } from '../split.ts';
import type { Subject } from '../subject.ts';
import { chooseTarget, type TargetReport } from '../target.ts';
import { type Alone, aloneLosses, lossAt } from './alone.ts';
import { type Effort, TRIALS } from './effort.ts';
import { type Comparison, compare, distanceFor, lossOf, mean } from './score.ts';
import { type Settled, settle, timingOf, type Way } from './settle.ts';
import { type Point, tradeoff } from './tradeoff.ts';

/** Where on the way from the smallest to the dense model the target and the shape of losses are found for all budgets. */
const REFERENCE = 0.4;

/** How losses are added up. */
interface Shape {
  /** ln of the power. */
  readonly power: number;
  /** ln of how much dearer the last structure is than the first. */
  readonly tilt: number;
  /** ln of what a structure's losses are multiplied with besides. */
  readonly weights?: ReadonlyMap<string, number>;
}

/** A network that was pruned and compared with the dense one. */
export interface Trial {
  /** How its sizes came about. */
  readonly name: string;
  /** Groups that stay, by structure. */
  readonly sizes: Readonly<Record<string, number>>;
  /**
   * Mean distance of its outputs from the dense network's on held-out samples: of text the divergence in nats, else the
   * relative squared error.
   */
  readonly loss: number;
  /** On the same samples: accuracy lost, growth of the perplexity, or the relative error of the outputs. */
  readonly lost: number;
}

/** What a budget was spent on. */
export interface AllocationReport {
  readonly of: BudgetKind;
  /** With `maxLoss` the smallest one that keeps it. */
  readonly limit: number;
  readonly maxLoss?: number;
  /** Of the dense model and of the chosen sizes, by the model's own count. */
  readonly before: number;
  readonly after: number;
  readonly effort: Effort;
  /** At one size for all budgets, by which `power` and `tilt` were chosen to begin with. */
  readonly reference?: { readonly limit: number; readonly trials: readonly Trial[]; readonly chosen: string };
  /** In the order in which they were pruned. */
  readonly trials: readonly Trial[];
  readonly chosen: string;
  /** Of latency that is measured: how the chosen trial's way to sizes was held to the limit. `after` is what was measured. */
  readonly settled?: readonly Settled[];
}

interface Allocation {
  readonly sizes: Sizes;
  /** Heads as in the network of these sizes that was measured. */
  readonly supports: Supports;
  readonly target: TargetReport;
  readonly report: AllocationReport;
}

/** The size that a budget bounds, and the sizes of structures that it may be spent on. */
interface Problem {
  readonly of: BudgetKind;
  readonly terms: readonly Term[];
  readonly before: number;
  /** See `leastOf`. */
  readonly least: number;
  readonly limit: number;
  readonly structures: readonly (Prunable & { readonly widths: readonly number[] })[];
}

/** @throws {InputError} where the smallest widths do not fit the budget, or the dense model does */
export function problemOf(
  subject: Pick<Subject, 'structures' | 'macs' | 'terms'>,
  sample: readonly number[],
  { of = subject.macs === undefined ? 'params' : 'macs', limit: given, isFraction, widths: options }: Spend,
  table?: LatencyTable,
): Problem {
  const terms = of === 'latency' ? table!.terms : subject.terms(of, sample);
  const before = of === 'latency' ? table!.denseMs : sizeAt(terms, () => 1);
  const limit = isFraction ? given * before : given;
  if (limit > before) {
    const [asked, own] = [limit, before].map((size) => amountText(of, size));
    throw new InputError(`\`${of}\`: at most ${asked} keeps all of the dense model, which has ${own}`);
  }
  const widths = widthsOf(subject.structures, options);
  const structures = subject.structures.map((it) => ({ ...it, widths: widths.get(it.name)! }));
  const least = leastOf({ terms, structures });
  if (least > limit) {
    const [asked, reachable] = [limit, least].map(
      (size) => `${amountText(of, size)} (${(size / before).toFixed(3)} of the dense model)`,
    );
    throw new InputError(
      `\`${of}\`: at most ${asked} cannot be reached; the smallest widths take ${reachable}`,
    );
  }
  return { of, terms, before, least, limit, structures };
}

function costOf({ terms, structures }: Pick<Problem, 'terms' | 'structures'>, sizes: Sizes): number {
  const groups = new Map(structures.map((it) => [it.name, it.groups]));
  return sizeAt(terms, (name) => sizes.get(name)! / groups.get(name)!);
}

/** Of the smallest widths. */
function leastOf(problem: Pick<Problem, 'terms' | 'structures'>): number {
  return costOf(problem, new Map(problem.structures.map(({ name, widths }) => [name, widths[0]])));
}

/** What pruning each structure alone costs; a run store keeps it for other budgets. */
export async function analyseStructures(run: Run): Promise<Alone[]> {
  const distance = distanceFor(run);
  const about = fittingOf(run.recipe);
  return (await run.findings.once('alone', about, async () => ({ all: await aloneLosses(run, distance) })))
    .all;
}

const ADDITIVE: Shape = { power: 0, tilt: 0 };
const SUM = 'sum of losses';
const SUM_WHOLE = `${SUM}, streams whole`;

/** By how losses are added up; plainly, where that is not said. */
type Ways = (shape?: Shape) => Way;

/** The sizes with the least sum of losses, for every cost. */
export function curveOf(
  { terms, structures }: Pick<Problem, 'terms' | 'structures'>,
  alone: readonly Alone[],
  { power, tilt, weights }: Shape = ADDITIVE,
): Point[] {
  const byName = new Map(alone.map((it) => [it.name, it]));
  const choices = structures.map(({ name, groups, widths }, at) => ({
    name,
    groups,
    choices: widths.map((kept) => ({
      kept,
      loss:
        Math.exp((tilt * at) / Math.max(1, structures.length - 1) + (weights?.get(name) ?? 0)) *
        lossAt(byName.get(name)!, kept) ** Math.exp(power),
    })),
  }));
  return tradeoff(choices, terms);
}

/** @param table  of latency; default: measured, where the budget is of that */
export async function allocate(run: Run, spend: Spend, table?: LatencyTable): Promise<Allocation> {
  const { clock } = run;
  const isTimed = spend.of === 'latency';
  const timing = isTimed ? await clock.stage('timing', () => timingOf(run, table)) : undefined;
  const problem = problemOf(run.subject, run.calibration.shape, spend, timing?.table);
  const alone = await clock.stage('analysis', () => analyseStructures(run));
  const waysOf =
    (own: Problem): Ways =>
    (shape) => {
      const curve = curveOf(own, alone, shape);
      return (limit) => (curve.findLast(({ cost }) => cost <= limit) ?? curve[0]).sizes;
    };
  const wayFor = waysOf(problem);
  const { maxLoss } = spend;
  const { before, within } = TRIALS[spend.effort];
  // Both change little with the sizes, and another budget finds them in the store.
  const reference = problem.least + REFERENCE * (problem.before - problem.least);
  const target = await clock.stage('target', () => chooseTarget(run, wayFor()(reference)));
  const first = new Search(run, target.chosen, reference, before);
  const search = new Search(run, target.chosen, problem.limit, within);
  let { limit } = problem;
  await clock.stage('allocation', async () => {
    const shape = await bestShape(first, problem, wayFor);
    if (maxLoss !== undefined) limit = await smallestLimit(search, problem, wayFor(shape), maxLoss);
    else {
      const whole = streamsWhole(problem);
      // What comes first stays unless another is better for certain.
      if (whole) await search.attempt(SUM_WHOLE, waysOf(whole)());
      await search.attempt('uniform', (limit) => uniformSizes({ ...problem, limit }));
      if (whole) await search.attempt(SUM, wayFor());
      const own = whole && search.best?.name === SUM_WHOLE ? whole : problem;
      await bestShape(search, own, waysOf(own), shape);
    }
  });
  const { name, way, sizes: tried, supports } = search.best!;
  const { measure: time } = timing ?? {};
  const measure = time && (async (sizes: Sizes) => time(await smallAt(run, sizes, target.chosen)));
  const settled = measure && (await clock.stage('timing', () => settle(problem.limit, way, measure)));
  const sizes = settled?.sizes ?? tried;
  const report: AllocationReport = {
    of: problem.of,
    limit,
    maxLoss,
    before: problem.before,
    after: settled?.size ?? costOf(problem, sizes),
    effort: spend.effort,
    reference: first.best && { limit: reference, trials: first.trials, chosen: first.best.name },
    trials: search.trials,
    chosen: name,
    settled: settled?.tries,
  };
  return { sizes, supports: supportsFor(sizes, supports), target, report };
}

/** Where streams can go and need not: the problem without them, for what each loses alone says little of all that read it. */
function streamsWhole(problem: Problem): Problem | undefined {
  const isFree = ({ isResidual, groups, widths }: Problem['structures'][number]) =>
    isResidual && widths.length > 1 && widths.includes(groups);
  if (!problem.structures.some(isFree)) return undefined;
  const structures = problem.structures.map((it) => (isFree(it) ? { ...it, widths: [it.groups] } : it));
  const least = leastOf({ ...problem, structures });
  return least > problem.limit ? undefined : { ...problem, structures, least };
}

/** Of those structures whose size it is. */
function supportsFor(sizes: Sizes, supports: Supports): Supports {
  return new Map([...supports].filter(([name, kept]) => kept.length === sizes.get(name)));
}

/** Halvings of the interval that the smallest size is in: to a hundredth of the dense model. */
const HALVINGS = 6;

/**
 * The smallest limit whose sizes lose no more than they may, on held-out samples; they become the best of the search.
 * @throws {InputError} where none does
 */
async function smallestLimit(
  search: Search,
  { of, least, before }: Problem,
  way: Way,
  maxLoss: number,
): Promise<number> {
  let [low, high] = [least, before];
  for (let i = 0; i < HALVINGS; i++) {
    const limit = (low + high) / 2;
    const name = `${of} ${(limit / before).toFixed(3)}`;
    const sizes = way(limit);
    const measured = await search.measure(name, sizes);
    if (measured.lost <= maxLoss) {
      search.best = { name, way, sizes, ...measured };
      high = limit;
    } else low = limit;
  }
  if (search.best) return high;
  const { name, lost } = search.trials[search.trials.length - 1];
  throw new InputError(
    `max-loss: at most ${maxLoss} cannot be kept: ${name} of the dense model loses ${lost.toPrecision(2)} already on held-out samples`,
  );
}

/** The pruned model as in a trial. Its weights count: of dense ones the time differs (measured). */
async function smallAt(run: Run, sizes: Sizes, target: Target): Promise<Model> {
  let small: Model;
  const onPart = async (_: number, pruned: PrunedPart) => {
    small = shrunk(pruned);
  };
  await (await passOver(run, trialPass(sizes, target, 'timing'), { onPart })).close();
  return small!;
}

function trialPass(sizes: Sizes, target: Target, name: string): Pass {
  return { label: `trying sizes: ${name}`, sizes, target, samples: 'fit', isThin: true, ...TRIAL };
}

/** Steps of power and tilt, then of the weights of single structures. */
const STEPS = [1, 0.5];

/** From a first guess on, one step of one number at a time, for as long as that helps and trials are left. */
async function bestShape(
  search: Search,
  { structures }: Problem,
  wayFor: Ways,
  guess: Shape = ADDITIVE,
): Promise<Shape> {
  let best = guess;
  const attempt = async (name: string, next: Shape) => {
    if (!search.isLeft || !(await search.attempt(name, wayFor(next)))) return false;
    best = next;
    return true;
  };
  await attempt(guess === ADDITIVE ? SUM : `power ${powerText(guess)}, tilt ${guess.tilt}`, guess);
  for (const step of STEPS) {
    for (let improved = true; improved && search.isLeft; ) {
      improved = false;
      for (const sign of [1, -1])
        improved ||= await attempt(`tilt ${best.tilt + sign * step}`, {
          ...best,
          tilt: best.tilt + sign * step,
        });
      for (const sign of [-1, 1]) {
        const power = best.power + sign * step * Math.LN2;
        improved ||= await attempt(`power ${powerText({ power })}`, { ...best, power });
      }
    }
  }
  for (const step of STEPS) {
    for (const { name, widths } of structures) {
      for (const sign of widths.length > 1 ? [1, -1] : []) {
        const weights = new Map(best.weights).set(name, (best.weights?.get(name) ?? 0) + sign * step);
        if (await attempt(`${name} ${sign > 0 ? 'more' : 'less'}`, { ...best, weights })) break;
      }
    }
  }
  return best;
}

const powerText = ({ power }: Pick<Shape, 'power'>) => Math.exp(power).toPrecision(2);

/**
 * The largest sizes within the limit that keep the same fraction of every structure, rounded down to widths; what is left of the limit goes to
 * those that are rounded up the least.
 */
export function uniformSizes(problem: Pick<Problem, 'terms' | 'structures' | 'limit'>): Sizes {
  const at = (ratio: number): Sizes =>
    new Map(
      problem.structures.map(({ name, groups, widths }) => [
        name,
        widths.findLast((width) => width <= ratio * groups) ?? widths[0],
      ]),
    );
  let best = at(0);
  for (let step = 1; step <= 1000; step++) {
    const sizes = at(step / 1000);
    if (costOf(problem, sizes) <= problem.limit) best = sizes;
  }
  const larger = problem.structures.flatMap(({ name, groups, widths }) =>
    widths.filter((width) => width > best.get(name)!).map((width) => ({ name, width, part: width / groups })),
  );
  for (const { name, width } of larger.sort((a, b) => a.part - b.part)) {
    const sizes = new Map(best).set(name, width);
    if (costOf(problem, sizes) <= problem.limit) best = sizes;
  }
  return best;
}

/** A network that was pruned, compared with the dense one, as a run store keeps it. */
interface Pruned extends Comparison {
  readonly supports: readonly (readonly [string, readonly number[]])[];
}

/** What of it a search goes by. */
interface Measured extends Pick<Trial, 'lost'>, Pick<Comparison, 'distances'> {
  readonly supports: Supports;
}

/** Prunes networks and keeps the best. */
class Search {
  readonly trials: Trial[] = [];
  best?: Measured & { readonly name: string; readonly way: Way; readonly sizes: Sizes };
  readonly #run: Run;
  readonly #target: Target;
  readonly #limit: number;
  readonly #most: number;
  readonly #seen = new Set<string>();

  constructor(run: Run, target: Target, limit: number, most: number) {
    this.#run = run;
    this.#target = target;
    this.#limit = limit;
    this.#most = most;
  }

  get isLeft(): boolean {
    return this.trials.length < this.#most;
  }

  /** @returns whether it is the best so far; not tried again where its sizes were tried before */
  async attempt(name: string, way: Way): Promise<boolean> {
    const sizes = way(this.#limit);
    const key = JSON.stringify([...sizes]);
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    const measured = await this.measure(name, sizes);
    if (this.best && !isBetter(measured.distances, this.best.distances)) return false;
    this.best = { name, way, sizes, ...measured };
    return true;
  }

  /** Prunes to sizes, and compares. */
  async measure(name: string, sizes: Sizes): Promise<Measured> {
    const { recipe, findings, chain } = this.#run;
    const about = { ...fittingOf(recipe), sizes: [...sizes], tried: this.#target };
    const found = await findings.once('trial', about, () => this.#prune(sizes, name));
    const { distances, supports } = found;
    const lost = lossOf(found, chain.predictsTokens);
    this.trials.push({ name, sizes: Object.fromEntries(sizes), loss: mean(distances), lost });
    return { distances, supports: new Map(supports), lost };
  }

  async #prune(sizes: Sizes, name: string): Promise<Pruned> {
    const run = this.#run;
    const { isHeldOut } = quarterHeldOut(run.calibration);
    const supports: [string, readonly number[]][] = [];
    const onPart = async (_: number, { layers }: PrunedPart) => {
      // Of few groups each decides much, while the layers that read them hardly tell two apart.
      for (const { name, kind, kept } of layers) if (kind === 'head') supports.push([name, kept]);
    };
    const last = await passOver(run, trialPass(sizes, this.#target, name), { onPart });
    try {
      return { ...(await compare(run, last, distanceFor(run), isHeldOut)), supports };
    } finally {
      await last.close();
    }
  }
}
