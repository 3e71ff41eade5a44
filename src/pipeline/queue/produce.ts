// A run whose pieces are made by the workers of a queue. What has been made stays in the store until the run is done, so that
// one that was stopped goes on; what is not needed any more is not made again.

import { OsscarError } from '../../errors.ts';
import { version } from '../../version.ts';
import { type At, type PieceOptions, type Pieces, START, type Work } from '../pass/work.ts';
import type { Pass } from '../recipe.ts';
import type { Findings } from '../store/findings.ts';
import { holds, type RunStore } from '../store/store.ts';
import { type Job, KINDS, keyOf, pieceOf, type Queue } from './queue.ts';
import { type PassSnapshot, writeDescription } from './snapshot.ts';
import { readArtefact, removeArtefact } from './volumes.ts';

/** What is asked for again and again. */
interface Asked {
  readonly queue: Queue;
  readonly store: RunStore;
  readonly findings: Findings;
  /** Hash of the run's description. */
  readonly run: string;
  readonly shards: number;
  readonly signal?: AbortSignal;
}

export class QueuedWork implements Work {
  readonly isHere = false;
  readonly shards: number;
  readonly #asked: Asked;
  readonly #pass: string;
  #at = START;
  #states: Pieces<unknown> | undefined;
  /** Pieces that nobody needs once what they were made for is kept. */
  #passing: string[] = [];

  constructor(asked: Asked, pass = '') {
    this.shards = asked.shards;
    this.#asked = asked;
    this.#pass = pass;
  }

  async of(pass: Pass): Promise<Work> {
    const { label: _, sizes, supports, ...rest } = pass;
    const told: PassSnapshot = { ...rest, sizes: [...sizes], supports: supports && [...supports] };
    return new QueuedWork(this.#asked, await writeDescription(this.#asked.store, 'passes', told));
  }

  enter(at: At, states?: Pieces<unknown>): void {
    this.#at = at;
    this.#states = states;
  }

  async each<T extends object>(
    kind: string,
    about: unknown,
    _: (shard: number) => Promise<T>,
    { isShared = false }: PieceOptions = {},
  ): Promise<Pieces<T>> {
    const { store, findings } = this.#asked;
    const piece = await pieceOf(kind, about, this.shards, findings);
    const [at, states] = [this.#at, this.#states];
    const all = Array.from({ length: this.shards }, (_, shard) => ({ piece, shard }));
    let making: Promise<void> | undefined;
    const make = async () => {
      const there = new Set(await store.list(`${piece}-`));
      const missing = all.filter((it) => !there.has(keyOf(it)));
      if (missing.length === 0) return;
      await states?.ready();
      await Promise.all(missing.map((it) => this.#run(it, at)));
      // Who is behind a part does not come back to it.
      if (kind === 'behind') await states?.forget();
    };
    const ready = () => (making ??= make());
    if (!isShared && kind !== 'behind') this.#passing.push(...all.map(keyOf));
    return {
      ready,
      async forget() {
        if (!isShared) for (const it of all) await removeArtefact(store, keyOf(it));
      },
      async read(shard) {
        await ready();
        return readArtefact<T>(store, keyOf({ piece, shard }));
      },
    };
  }

  async one<T extends object>(
    kind: string,
    about: unknown,
    _: () => Promise<T>,
    needs: readonly Pieces<unknown>[],
  ): Promise<T> {
    const { store, findings } = this.#asked;
    const piece = await pieceOf(kind, about, this.shards, findings);
    if (!(await holds(store, piece))) {
      for (const it of needs) await it.ready();
      await this.#run({ piece }, this.#at);
    }
    this.#passing.push(piece);
    return readArtefact<T>(store, piece);
  }

  async settle(): Promise<void> {
    for (const key of this.#passing.splice(0)) await removeArtefact(this.#asked.store, key);
  }

  async end(): Promise<void> {
    const { store } = this.#asked;
    for (const kind of KINDS) for (const key of await store.list(`${kind}/`)) await store.remove(key);
  }

  async #run(made: Pick<Job, 'piece' | 'shard'>, { part, history }: At): Promise<void> {
    const { queue, store, run, signal } = this.#asked;
    const key = keyOf(made);
    const job: Job = {
      version,
      run,
      pass: this.#pass,
      part,
      before: history.name,
      isDense: history.isDense,
      ...made,
    };
    const isDone = () => holds(store, key);
    await queue.run(key, job, isDone, signal);
    if (!(await isDone()))
      throw new OsscarError(
        'ERR_OSSCAR_QUEUE',
        `a worker has made "${key}", and "${store.name}" has it not; is it the folder that the workers were given?`,
      );
  }
}
