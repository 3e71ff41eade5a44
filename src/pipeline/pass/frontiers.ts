// The frontiers of a part's shards.

import { type Model, sum } from '../../graph/index.ts';
import type { BatchSource } from '../data/batches.ts';
import { fitOf, type Pass } from '../recipe.ts';
import type { Run } from '../run.ts';
import { activationLimit } from '../store/activations.ts';
import { Frontier } from './frontier.ts';
import type { PartOutputs, Place } from './through.ts';
import { shardOf } from './work.ts';

/** One for each shard, made when it is first needed: what the others were told before, it is told then. */
export class Frontiers {
  readonly #make: (shard: number) => Frontier;
  readonly #open = new Map<number, Frontier>();
  readonly #told: ((frontier: Frontier) => void)[] = [];
  /** Samples that the pass is fitted to, in all shards. */
  readonly samples: number;
  /** What comes of the part, once it is solved. */
  readonly outputs: PartOutputs;

  /** @param pruned  the part, whose weights change while frontiers move */
  constructor({ part, at, source, dense }: Place, run: Run, pass: Pass, pruned: () => Model) {
    const { shards } = run.work;
    const fit = fitOf(pass, run.calibration);
    const sources = Array.from({ length: shards }, (_, shard) => source(fit, shard));
    const samplesOf = (some: readonly BatchSource[]) => sum(some.map(({ samples }) => samples));
    const samples = samplesOf(sources);
    // What may be held is for all shards.
    const within = shards > 1 ? { ...run, activationBytes: activationLimit(run) / shards } : run;
    this.#make = (shard) => {
      const about = { part: at.part, samples: pass.samples, dense, ...shardOf(run.work, shard) };
      const among = { first: samplesOf(sources.slice(0, shard)), samples };
      return new Frontier(within, part.opened!, pruned, sources[shard], about, among);
    };
    this.samples = samples;
    this.outputs = {
      samples: pass.samples,
      fit,
      of: (shard) => this.of(shard).outputs(),
      path: (shard) => this.of(shard).path,
      close: () => this.close(),
    };
  }

  of(shard: number): Frontier {
    const known = this.#open.get(shard);
    if (known) return known;
    const frontier = this.#make(shard);
    for (const tell of this.#told) tell(frontier);
    this.#open.set(shard, frontier);
    return frontier;
  }

  /** All of them, those that come later too. */
  tell(move: (frontier: Frontier) => void): void {
    this.#told.push(move);
    for (const frontier of this.#open.values()) move(frontier);
  }

  async close(): Promise<void> {
    for (const frontier of this.#open.values()) await frontier.close();
  }
}
