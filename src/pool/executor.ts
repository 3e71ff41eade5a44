// Where a session's work is done: on workers (pool.ts), or on the calling thread.

import { InputError } from '../errors.ts';
import type { Kernels } from '../kernel/index.ts';
import { turn } from '../turn.ts';
import { type Arguments, answer, Calculator, type Request, type Result } from './calculator.ts';
import type { Stage } from './transfer.ts';

export interface RunOptions {
  readonly signal?: AbortSignal;
  /** Whether the operation is large enough for idle workers to help. */
  readonly large?: boolean;
  /** One of the arguments, or a part of one, whose arrays are handed over and gone then, so that the operation is tried once. */
  readonly given?: object;
}

/** Asks one and the same thread, whatever it is doing: for statistics. */
export type Member = <N extends Request>(name: N, ...args: Arguments<N>) => Promise<Result<N>>;

export interface Executor {
  readonly threads: number;
  readonly shared: boolean;
  /** Up to `count` threads, those with the least to do first. */
  members(count: number): Member[];
  /** Plain data for each of its readers, one call each: handed over, shared by way of the stage, or itself. */
  lend<T>(value: T, stage: Stage): () => T;
  run<N extends Request>(name: N, args: Arguments<N>, options: RunOptions): Promise<Result<N>>;
  renew(): Promise<void>;
  close(): Promise<void>;
}

export function localExecutor(kernels: Kernels): Executor {
  const calculator = new Calculator(kernels);
  let isClosed = false;
  const ask: Member = (name, ...args) =>
    isClosed ? Promise.reject(closed()) : answer(calculator, name, args);
  return {
    threads: 1,
    shared: false,
    members() {
      if (isClosed) throw closed();
      return [ask];
    },
    lend: (value) => () => value,
    async run<N extends Request>(name: N, args: Arguments<N>, { signal }: RunOptions): Promise<Result<N>> {
      signal?.throwIfAborted();
      await turn(signal);
      return ask(name, ...args);
    },
    async renew() {},
    async close() {
      isClosed = true;
    },
  };
}

export function closed(): InputError {
  return new InputError('session: closed');
}
