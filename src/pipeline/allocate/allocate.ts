// How much of each structure stays within a budget.
//
// Losses of single structures, added up, are where it starts. They are far below what the network loses that is pruned
// throughout, and not in the same proportions: what later layers can correct costs less. So two numbers are searched, a
// power that losses are raised to and a tilt that makes structures dearer towards the output, by networks that are
// pruned and compared with the dense one on samples that they were not fitted on. Uniform sizes are always tried.

import { InputError } from '../../errors.ts';
import type { BudgetKind } from '../budget.ts';
import { type Effort, TRIALS } from '../effort.ts';
import type { Sizes, Supports } from '../keep.ts';
import type { LatencyTable } from '../measure/latency.ts';
import { fittingOf, type Spend } from '../recipe.ts';
import type { Run } from '../run.ts';
import { chooseTarget, type TargetReport } from '../target.ts';
import { type Alone, aloneLosses, lossAt } from './alone.ts';
import { costOf, leastOfAll, type Problem, problemOf, streamsWhole, uniformSizes } from './problem.ts';
import { distanceFor } from './score.ts';
import { Search, smallAt, type Trial } from './search.ts';
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
  const { clock, findings } = run;
  const isTimed = spend.of === 'latency';
  const timing = isTimed ? await clock.stage('timing', () => timingOf(run, spend, table)) : undefined;
  const problem = problemOf(run.subject, run.calibration.shape, spend, timing?.table);
  const alone = await clock.stage('analysis', () => analyseStructures(run));
  findings.forget(); // no later stage fits to these samples, and trials need the room
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
  const least = leastOfAll(problem);
  const reference = least + REFERENCE * (problem.all - least);
  const target = await clock.stage('target', () => chooseTarget(run, wayFor()(reference)));
  findings.forget();
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
