// What a part of a model is pruned by, as pieces that can be made anywhere: of every shard of the samples, and of all of them
// together. This is where a queue is plugged in. Here, and by default, a piece is made where it is asked for.

import type { Pass } from '../recipe.ts';

/** Everything that was solved so far in a pass. */
export interface History {
  /** As one name. */
  readonly name: string;
  /** Whether the two networks are still one. */
  readonly isDense: boolean;
}

/** Where a pass is: in this part, after all that was solved before it. */
export interface At {
  readonly part: number;
  readonly history: History;
}

/** At the first part, in the dense network. */
export const START: At = { part: 0, history: { name: '', isDense: true } };

/** Of every shard what `Work.each` was told to make of it. */
export interface Pieces<T> {
  read(shard: number): Promise<T>;
  /** Where they are made elsewhere: sees to it that they are there. */
  ready(): Promise<void>;
  /** Nothing more is made of them. */
  forget(): Promise<void>;
}

/** What there is to know of pieces beside what they are made of. */
export interface PieceOptions {
  /** Whether other passes of the run ask for the same. */
  readonly isShared?: boolean;
}

/**
 * Who makes pieces. Programs that ask for the same pieces in the same order get the same: one that runs elsewhere can
 * make one of them by running until it is asked for it.
 */
export interface Work {
  /** Shards that the samples are cut into. They change the order of sums, and so the last bits; who makes them does not. */
  readonly shards: number;
  /** Whether pieces are made here, one after the other, and need not be kept. */
  readonly isHere: boolean;
  /** Of one pass. */
  of(pass: Pass): Promise<Work>;
  /** A part begins. @param states  what comes into it; absent where that is the samples themselves */
  enter(at: At, states?: Pieces<unknown>): void;
  /**
   * Something of each shard, once it is asked for.
   *
   * @param about  plain data: all that it depends on beside the run
   */
  each<T extends object>(
    kind: string,
    about: unknown,
    make: (shard: number) => Promise<T>,
    how?: PieceOptions,
  ): Promise<Pieces<T>>;
  /** Something of all shards. @param needs  what it is made of */
  one<T extends object>(
    kind: string,
    about: unknown,
    make: () => Promise<T>,
    needs: readonly Pieces<unknown>[],
  ): Promise<T>;
  /** What came of the pieces since the last time is kept elsewhere: but for what goes on to the next part, they can go. */
  settle(): Promise<void>;
  /** The run is done: all pieces can go. */
  end(): Promise<void>;
}

/** Everything here. */
export function hereWork(shards = 1): Work {
  return {
    shards,
    isHere: true,
    async of() {
      return this;
    },
    enter() {},
    each: async (_, __, make) => ({ read: make, async ready() {}, async forget() {} }),
    one: (_, __, make) => make(),
    async settle() {},
    async end() {},
  };
}

/** What names of findings say of shards, where there are several. */
export function shardOf({ shards }: Pick<Work, 'shards'>, shard?: number): object {
  return shards > 1 ? { shard, of: shards } : {};
}

/** All pieces, in the order of the shards, one at a time. */
export async function* inOrder<T>(pieces: Pieces<T>, { shards }: Pick<Work, 'shards'>): AsyncGenerator<T> {
  for (let shard = 0; shard < shards; shard++) yield await pieces.read(shard);
}
