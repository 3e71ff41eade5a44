// The curve of size against expected loss.

import type { BudgetKind } from '../budget.ts';
import type { StageTime } from '../clock.ts';
import type { Spend } from '../recipe.ts';
import type { Run } from '../run.ts';
import { analyseStructures, curveOf } from './allocate.ts';
import type { Alone } from './alone.ts';
import { unbounded } from './problem.ts';

/** A size, and the loss that is expected of it. */
export interface SizeAndLoss {
  /** Of the dense model. */
  readonly fraction: number;
  readonly size: number;
  /** Sum of what the structures lose alone (`Trial.loss`); a network that is pruned throughout loses more. */
  readonly loss: number;
}

/** What structures are cut to for it, too. */
export interface TradeoffPoint extends SizeAndLoss {
  /** Groups that stay, by structure. */
  readonly sizes: Readonly<Record<string, number>>;
}

/** Sizes against expected loss. */
export interface Tradeoff<P extends SizeAndLoss = SizeAndLoss> {
  readonly of: BudgetKind;
  /** Of the dense model. */
  readonly before: number;
  /** From the largest on. */
  readonly points: readonly P[];
  /** Of `points`: below it the loss grows faster than the model shrinks. */
  readonly knee: P;
}

/** What `analyze` found. */
export interface TradeoffReport extends Tradeoff<TradeoffPoint> {
  readonly structures: readonly Alone[];
  readonly seconds: number;
  readonly stages: readonly StageTime[];
}

/** Points of a report: one for each hundredth of the dense size. */
const STEPS = 100;

export async function analyzeRun(run: Run, spend: Spend): Promise<TradeoffReport> {
  const { clock } = run;
  const structures = await clock.stage('analysis', () => analyseStructures(run));
  const { seconds, stages } = clock;
  return { ...tradeoffOf(run, spend, structures), structures, seconds, stages };
}

/** The curve of a budget that was spent, whose analysis the run has. */
export async function tradeoffFound(run: Run, spend: Spend): Promise<Tradeoff> {
  const { points, knee, ...of } = tradeoffOf(run, spend, await analyseStructures(run));
  const short = ({ fraction, size, loss }: TradeoffPoint) => ({ fraction, size, loss });
  return { ...of, points: points.map(short), knee: short(knee) };
}

function tradeoffOf(
  { subject, calibration }: Run,
  spend: Spend,
  structures: readonly Alone[],
): Tradeoff<TradeoffPoint> {
  const problem = unbounded(subject, calibration.shape, spend);
  const { of, before } = problem;
  const points = new Map<number, TradeoffPoint>();
  for (const { cost, loss, sizes } of curveOf(problem, structures)) {
    const fraction = cost / before;
    // The last within a step loses least.
    points.set(Math.ceil(fraction * STEPS), { fraction, size: cost, loss, sizes: Object.fromEntries(sizes) });
  }
  const all = [...points.values()].reverse();
  return { of, before, points: all, knee: kneeOf(all) };
}

/**
 * The point that lies furthest below the line from the smallest model to the largest. Losses are taken as √(loss / 2), at
 * most 1: of a divergence it bounds how much probability lies elsewhere (Pinsker).
 */
export function kneeOf<P extends { readonly fraction: number; readonly loss: number }>(
  points: readonly P[],
): P {
  const height = ({ loss }: P) => Math.min(1, Math.sqrt(loss / 2));
  const [largest, smallest] = [points[0], points[points.length - 1]];
  const slope = (height(largest) - height(smallest)) / (largest.fraction - smallest.fraction || 1);
  const below = (point: P) => height(smallest) + slope * (point.fraction - smallest.fraction) - height(point);
  return points.reduce((a, b) => (below(b) > below(a) ? b : a));
}
