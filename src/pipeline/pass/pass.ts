// A pass over a model: its parts one after the other, each pruned and forgotten before the next is opened.

import { corrects, fittingOf, type Pass } from '../recipe.ts';
import type { Run } from '../run.ts';
import { withGain } from './gain.ts';
import { masked, type PrunedPart } from './pruned.ts';
import { prunePart } from './sequence.ts';
import { type LastPlace, through, type Visit } from './through.ts';
import type { At } from './work.ts';

/** Who looks on, and what was done before. */
interface PassOptions {
  /** Called with every part that the pruned network has of its own. */
  onPart?(index: number, pruned: PrunedPart): Promise<void>;
  /** Where it is begun, what lies before having been done elsewhere. */
  readonly at?: At;
}

/** What is found in the last part, which is closed then. */
export async function lookedAt<R>(last: LastPlace, look: (last: LastPlace) => Promise<R>): Promise<R> {
  try {
    return await look(last);
  } finally {
    await last.close();
  }
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
