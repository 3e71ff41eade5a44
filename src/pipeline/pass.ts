// A pass over a model: its parts one after the other, each pruned and forgotten before the next is opened.

import type { Model } from '../graph/index.ts';
import type { LayerRecipe } from '../solve/index.ts';
import type { Select } from './batches.ts';
import type { Chain, RunOptions } from './chain.ts';
import type { Clock } from './clock.ts';
import type { ProgressStep } from './course.ts';
import type { Findings } from './findings.ts';
import { withGain } from './gain.ts';
import type { LatencyTable } from './latency.ts';
import type { PruneOptions } from './prune.ts';
import { masked, type PrunedPart } from './pruned.ts';
import { corrects, fittingOf, type Recipe, type Sizes, type Supports, type Target } from './recipe.ts';
import { prunePart } from './sequence.ts';
import { type Positions, quarterHeldOut, splitSamples } from './split.ts';
import type { Subject } from './subject.ts';
import { type LastPlace, through, type Visit } from './through.ts';
import type { At, Work } from './work.ts';

/** What all of a run shares. */
export interface Run
  extends RunOptions,
    Required<Pick<PruneOptions, 'engine' | 'session' | 'calibration' | 'evaluation'>> {
  readonly onProgress?: (step: ProgressStep) => void;
  readonly subject: Subject;
  /** The subject's, for the calibration samples. */
  readonly chain: Chain;
  readonly recipe: Recipe;
  readonly findings: Findings;
  readonly clock: Clock;
  readonly work: Work;
  /** Bytes that a layer in tiles may take. Default: no bound. */
  readonly layerBytes?: number;
  /** Where the budget is of latency. */
  readonly timing?: LatencyBudget;
  /** Of the calibration samples, where it can be had. */
  readonly calibrationHash?: string;
}

export interface LatencyBudget {
  readonly table: LatencyTable;
  /** Milliseconds of the pruned model; absent where the table is another machine's. */
  measure?(small: Model): Promise<number>;
}

export interface Pass extends Required<Pick<LayerRecipe, 'search'>>, Pick<LayerRecipe, 'wholeCurve'> {
  /** For progress. */
  readonly label: string;
  readonly sizes: Sizes;
  readonly target: Target;
  /** Groups that stay, of structures where that was decided before. */
  readonly supports?: Supports;
  /** Samples that are fitted to, by a name; the others only go along. */
  readonly samples: 'all' | 'fit of a search' | 'fit';
  /** Whether statistics may leave out positions of convolutions. */
  readonly isThin?: boolean;
  /** Whether the layers that make channels are refitted too. */
  readonly refitsProducers?: boolean;
}

/** Which samples a pass is fitted to. */
export function fitOf({ samples }: Pick<Pass, 'samples'>, positions: Positions): Select | undefined {
  if (samples === 'all') return undefined;
  return (samples === 'fit' ? quarterHeldOut : splitSamples)(positions).isFit;
}

/** How sizes and targets are tried: the local search moves all alike. */
export const TRIAL: Pick<Pass, 'search'> = { search: 'greedy' };

/** Who looks on, and what was done before. */
interface PassOptions {
  /** Called with every part that the pruned network has of its own. */
  onPart?(index: number, pruned: PrunedPart): Promise<void>;
  /** Where it is begun, what lies before having been done elsewhere. */
  readonly at?: At;
}

/** @returns the last part, and the samples of both networks before it */
export async function passOver(run: Run, pass: Pass, { onPart, at }: PassOptions = {}): Promise<LastPlace> {
  const { target, search, samples, label, isThin, refitsProducers } = pass;
  const { chain, calibration, findings, recipe } = run;
  const work = await run.work.of(pass);
  const { shards } = work;
  const about = { ...fittingOf(recipe), target, search, samples, isThin, refitsProducers };
  const name = await findings.hash(shards > 1 ? { ...about, shards } : about);
  const start: At = { part: 0, history: { name, isDense: true } };
  const visit: Visit = async (place) => {
    const { part: index } = place.at;
    if (!place.part.opened) return undefined;
    const { pruned, history, outputs } = await prunePart(place, { ...run, work }, pass);
    try {
      await onPart?.(index, pruned);
    } catch (error) {
      await outputs?.close();
      throw error;
    }
    if (chain.parts > 1)
      run.onProgress?.({ label, done: index, total: chain.parts - 2, layer: `block ${index - 1}` });
    return history.isDense ? undefined : { model: masked(pruned), history, outputs };
  };
  const last = await through(chain, calibration, run, visit, { findings, work, at: at ?? start });
  const { gain } = last.part;
  // What has a gain of its own has nothing else that is pruned.
  if (at || !gain || last.at.history.isDense || !corrects(recipe, target)) return last;
  try {
    const weighted = await withGain(run, last, gain, pass);
    await onPart?.(chain.parts - 1, { weighted, layers: [] });
    return { ...last, pruned: weighted };
  } catch (error) {
    await last.close();
    throw error;
  }
}
