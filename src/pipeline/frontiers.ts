// The frontiers of a part's shards.

import type { Frontier } from './frontier.ts';

/** One for each shard, made when it is first needed: what the others were told before, it is told then. */
export class Frontiers {
  readonly #make: (shard: number) => Frontier;
  readonly #open = new Map<number, Frontier>();
  readonly #told: ((frontier: Frontier) => void)[] = [];

  constructor(make: (shard: number) => Frontier) {
    this.#make = make;
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
