// How far a run is, as one number. What a stage takes beside the others is known well enough from what it does; how long
// that is, only the run itself can tell.

import { hasMethods } from '../expect.ts';
import { sum } from '../graph/index.ts';
import { refits } from '../solve/index.ts';
import { TRIALS } from './effort.ts';
import type { Recipe } from './recipe.ts';

/** A step of whatever is being done. */
export interface ProgressStep {
  /** What is being done, for a person. */
  readonly label: string;
  readonly done: number;
  readonly total: number;
  /** What was done last: a structure, layer or block. */
  readonly layer?: string;
}

/** Where a run is. */
export interface Progress extends ProgressStep {
  /** Of the run, as in its report's `stages`. */
  readonly stage: string;
  /** Of the whole run, from 0 to below 1, which the end of the call stands for; never falls. */
  readonly overall: number;
}

/**
 * Tells a caller by the functions that it has given, and does not wait. What one of them throws ends the work at once; where it is
 * async, what its promise is rejected with ends it when any of them is told something the next time.
 */
export function telling(): <T>(on: ((it: T) => unknown) | undefined) => (it: T) => void {
  let failed: { readonly reason: unknown } | undefined;
  return (on) => (it) => {
    if (failed) throw failed.reason;
    const told = on?.(it);
    if (!hasMethods(told, 'then')) return;
    Promise.resolve(told).catch((reason) => {
      failed ??= { reason };
    });
  };
}

/** Passes over the model that a stage makes about: forward alone is a third of one. */
interface Expected {
  readonly stage: string;
  readonly passes: number;
  /** Of one of them, beside a pass over all samples. */
  readonly weight: number;
}

/** Passes of the search for a target: two blends, their neighbours, and the dense target. */
const TARGETS_TRIED = 4;
/** Searches see 192 samples at most, and three quarters of them are fitted to. */
const SEARCH_WEIGHT = 0.6;

/** A step in which the network is fitted as a whole: of stories260K 1.9 s, where a pass takes 29, of opt-kjv 4.5 and 34 (measured). */
const DISTILL_WEIGHT = 0.1;

type Searching = Pick<Recipe, 'method' | 'target' | 'spend' | 'distill'>;

/** @param isRounded  whether weights are put on whole steps */
function expected({ method, target, spend, distill }: Searching, isRounded = false): Expected[] {
  const trials = spend && TRIALS[spend.effort];
  return [
    { stage: 'measuring', passes: 1, weight: 0.3 },
    ...(spend?.of === 'latency' ? [{ stage: 'timing', passes: 1, weight: 2 }] : []),
    ...(spend ? [{ stage: 'analysis', passes: 1, weight: 4 }] : []),
    ...(target === 'auto' && refits(method)
      ? [{ stage: 'target', passes: TARGETS_TRIED, weight: SEARCH_WEIGHT }]
      : []),
    ...(trials
      ? [{ stage: 'allocation', passes: trials.before + trials.within, weight: SEARCH_WEIGHT }]
      : []),
    { stage: 'pruning', passes: 1, weight: 1 },
    ...(distill ? [{ stage: 'distilling', passes: 1, weight: DISTILL_WEIGHT * distill }] : []),
    { stage: 'proving', passes: 1, weight: 0.5 },
    // Begun once what is to be proven is known.
    ...(isRounded ? [{ stage: 'rounding', passes: 1, weight: 1 }] : []),
  ];
}

const sizeOf = (stages: readonly Expected[]) => sum(stages.map(({ passes, weight }) => passes * weight));

/** What is searched before the pass that counts, in passes over all samples. */
export function searchPasses(recipe: Searching): number {
  const searches = ['analysis', 'target', 'allocation'];
  return sizeOf(expected(recipe).filter(({ stage }) => searches.includes(stage)));
}

/** Of a run by this recipe, and then others by what it found: what each of them tells, as a share of the whole. */
export function sharing(
  recipe: Recipe,
  others: number,
  onProgress: ((progress: Progress) => void) | undefined,
): (run: number) => ((progress: Progress) => void) | undefined {
  const again = sizeOf(expected({ method: recipe.method, target: 'self' }));
  const sizes = [sizeOf(expected(recipe)), ...Array<number>(others).fill(again)];
  const before = (run: number) => sum(sizes.slice(0, run));
  const all = before(sizes.length);
  return (run) =>
    onProgress &&
    ((progress) => onProgress({ ...progress, overall: (before(run) + progress.overall * sizes[run]) / all }));
}

export class Course {
  readonly #stages: readonly Expected[];
  #stage = '';
  #label = '';
  #passes = 0;
  #within = 0;
  #overall = 0;

  /** @param isRounded  as of `expected` */
  constructor(recipe: Recipe, isRounded = false) {
    this.#stages = expected(recipe, isRounded);
  }

  /** A stage begins. */
  enter(stage: string): Progress {
    this.#stage = stage;
    this.#label = '';
    this.#passes = 0;
    this.#within = 0;
    return this.#at({ label: stage, done: 0, total: 1 });
  }

  step(step: ProgressStep): Progress {
    // Each pass over the model has a label of its own, or begins anew.
    const within = step.done / Math.max(1, step.total);
    if (this.#label !== '' && (step.label !== this.#label || within < this.#within)) this.#passes++;
    this.#label = step.label;
    this.#within = within;
    return this.#at(step);
  }

  #at(step: ProgressStep): Progress {
    const at = this.#stages.findIndex(({ stage }) => stage === this.#stage);
    const before = sizeOf(this.#stages.slice(0, Math.max(0, at)));
    const all = sizeOf(this.#stages);
    const current = this.#stages[at];
    const done = current ? Math.min(current.passes, this.#passes + this.#within) * current.weight : 0;
    // A stage that comes again, or one not foreseen, moves nothing back.
    this.#overall = Math.max(this.#overall, (before + done) / all);
    return { ...step, stage: this.#stage, overall: this.#overall };
  }
}
