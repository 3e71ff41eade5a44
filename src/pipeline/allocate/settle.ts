// Sizes within a limit that only measuring the model can tell it is within.

import type { Model } from '../../graph/index.ts';
import { widthsOf } from '../budget.ts';
import type { Sizes } from '../keep.ts';
import { type LatencyTable, latencyTable, type TimedFirst, timeOf } from '../measure/latency.ts';
import { firstSample } from '../measure/timing.ts';
import type { Spend } from '../recipe.ts';
import type { Run } from '../run.ts';
import { expectReached, limitOf } from './problem.ts';

/** Sizes for a limit, by the terms of what is limited. */
export type Way = (limit: number) => Sizes;

/** What a budget of latency is held to. */
interface LatencyBudget {
  readonly table: LatencyTable;
  /** Milliseconds of the pruned model; absent where the table is another machine's. */
  measure?(small: Model): Promise<number>;
}

/**
 * Measured where no table is given; only then do times of this machine mean something. A limit that is above the dense model's time, or below
 * that of the smallest widths, ends it when these are timed.
 */
export async function timingOf(run: Run, spend: Spend, given?: LatencyTable): Promise<LatencyBudget> {
  if (given) return { table: given };
  const { engine, signal, findings, session, onProgress, calibration } = run;
  const file = run.subject.file!;
  const input = await firstSample(calibration, file.input);
  const widths = widthsOf(run.subject.structures, spend.widths);
  const first: TimedFirst = {
    sizes: new Map([...widths].map(([name, [least]]) => [name, least])),
    onTimed: (ms, least) => expectReached('latency', limitOf('latency', spend, ms), least, ms),
  };
  const find = () => latencyTable(file, { engine, input, signal, onProgress }, first);
  const table = await findings.once('latency', session.threads, find);
  return { table, measure: (small) => timeOf(small, file, table, { engine, input, signal }) };
}

/** Sizes that were measured. */
export interface Settled {
  /** That they were chosen for. */
  readonly limit: number;
  /** As measured. */
  readonly size: number;
}

const MOST_RESCALED = 4;
/** What is below this part of the limit could have kept more. */
const CLOSE = 0.95;
/** Where in between is aimed at: at the limit itself half of the tries would be above. */
const AIM = (1 + CLOSE) / 2;
/** A single measurement may be of a machine that did something else: on a busy one 1.6 of the dense time was seen. */
const LARGEST_STEP = 1.5;

/**
 * The largest sizes measured within the limit; the smallest ones where none is. The limit for `way` is rescaled by what was
 * wanted over what was measured, and forgets all but the last measurement.
 */
export async function settle(
  wanted: number,
  way: Way,
  measure: (sizes: Sizes) => Promise<number>,
): Promise<{ sizes: Sizes; size: number; tries: Settled[] }> {
  const tries: (Settled & { readonly sizes: Sizes })[] = [];
  const key = (sizes: Sizes) => JSON.stringify([...sizes]);
  let limit = wanted;
  for (let rescaled = 0; rescaled <= MOST_RESCALED; rescaled++) {
    const sizes = way(limit);
    const known = tries.find((it) => key(it.sizes) === key(sizes));
    const size = known?.size ?? (await measure(sizes));
    tries.push({ limit, size, sizes });
    if (size <= wanted && size >= CLOSE * wanted) break;
    limit *= Math.min(LARGEST_STEP, Math.max(1 / LARGEST_STEP, (AIM * wanted) / size));
  }
  const within = tries.filter(({ size }) => size <= wanted).toSorted((a, b) => b.size - a.size);
  const [best] = within.length > 0 ? within : tries.toSorted((a, b) => a.size - b.size);
  const { sizes, size } = best;
  return { sizes, size, tries: tries.map(({ limit, size }) => ({ limit, size })) };
}
