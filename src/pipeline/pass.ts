// A pass over a model: its parts one after the other, each pruned and forgotten before the next is opened.

import type { Session } from '../pool/index.ts';
import type { LayerRecipe } from '../solve/index.ts';
import type { Select } from './batches.ts';
import { type Chain, type LastPlace, type RunOptions, through } from './chain.ts';
import type { Clock } from './clock.ts';
import type { Dataset } from './data/index.ts';
import type { Findings } from './findings.ts';
import type { Recipe, Target } from './recipe.ts';
import { type History, type PrunedPart, prunePart } from './sequence.ts';

/** What all passes of a run share. */
export interface Run extends RunOptions {
  readonly chain: Chain;
  readonly session: Session;
  readonly recipe: Recipe;
  readonly calibration: Dataset;
  readonly findings: Findings;
  readonly clock: Clock;
}

export interface Pass extends Required<Pick<LayerRecipe, 'search'>>, Pick<LayerRecipe, 'wholeCurve'> {
  readonly target: Target;
  /** Samples that are fitted to, by a name; the others only go along. */
  readonly samples: 'all' | 'fit';
  readonly fit?: Select;
  /** Called with every part that structures were pruned of. */
  onPart?(index: number, pruned: PrunedPart): Promise<void>;
  /** Called after each part, or each step of a model of one part. */
  onStep?(done: number, total: number): void;
}

/** @returns the last part, and the samples of both networks before it */
export async function passOver(run: Run, pass: Pass): Promise<LastPlace> {
  const { target, search, samples } = pass;
  const { chain, calibration, findings, recipe } = run;
  const { keep: _, ...others } = recipe;
  const history: History = {
    name: await findings.hash({ ...others, target, search, samples }),
    isDense: true,
  };
  const prunable = Math.max(1, chain.parts - 2);
  return through(chain, calibration, run, async (place, index) => {
    if (!place.part.opened) return undefined;
    const pruned = await prunePart(place, index, run, pass, history);
    await pass.onPart?.(index, pruned);
    if (chain.parts > 1) pass.onStep?.(index, prunable);
    return history.isDense ? undefined : pruned.masked;
  });
}
