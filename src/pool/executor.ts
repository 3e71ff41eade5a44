// Where a session's work is done: on workers (pool.ts), or on the calling thread (local.ts).

import type { Accumulators } from './accumulators.ts';
import type { Arguments, Operation, Result } from './operations.ts';
import type { Stage } from './transfer.ts';

export interface RunOptions {
  readonly signal?: AbortSignal;
  /** Whether the operation is large enough for idle workers to help. */
  readonly large?: boolean;
}

/** A thread that accumulates statistics. */
export interface Member {
  accumulate<M extends keyof Accumulators>(
    method: M,
    args: Parameters<Accumulators[M]>,
  ): Promise<ReturnType<Accumulators[M]>>;
}

export interface Executor {
  readonly threads: number;
  readonly shared: boolean;
  /** Up to `count` threads, those with the least to do first. */
  members(count: number): Member[];
  /** An array for each of its readers, one call each: handed over, shared by way of the stage, or the array itself. */
  lend(array: Float32Array, readers: number, stage: Stage): () => Float32Array;
  run<N extends Operation>(name: N, args: Arguments<N>, options: RunOptions): Promise<Result<N>>;
  close(): Promise<void>;
}
