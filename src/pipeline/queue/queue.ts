// The port to a queue of jobs, and what a job is. All that is large lies in a run store that whoever works on it shares:
// a job names its piece, its run and its pass by hashes.

import { OsscarError } from '../../errors.ts';
import type { Progress } from '../course.ts';
import type { Findings } from '../store/findings.ts';

/** A piece of a run that is to be made, and where in the run it is asked for. */
export interface Job {
  /** Of osscar: another may compute other bits. */
  readonly version: string;
  /** Key of the run's description in the store, behind `runs/`. */
  readonly run: string;
  /** Of the pass's, behind `passes/`. */
  readonly pass: string;
  readonly part: number;
  /** Everything that was solved before this part, as one name, and whether that is nothing yet. */
  readonly before: string;
  readonly isDense: boolean;
  /** Key of the piece, without its shard. */
  readonly piece: string;
  readonly shard?: number;
}

/** Key of a piece, without its shard: the same for who asks for it and who makes it. */
export async function pieceOf(
  kind: string,
  about: unknown,
  shards: number,
  findings: Findings,
): Promise<string> {
  return `${kind}/${await findings.hash({ shards, about })}`;
}

/** Where a piece lies in the store. */
export function keyOf({ piece, shard }: Pick<Job, 'piece' | 'shard'>): string {
  return shard === undefined ? piece : `${piece}-${shard}`;
}

/** Kinds of pieces: what stands in front of their keys. */
export const KINDS = [
  'sums',
  'solve',
  'examples',
  'producers',
  'lines',
  'moments',
  'features',
  'behind',
] as const;

/** A worker that cannot work on a run: its jobs are for others. */
export class UnfitError extends OsscarError {
  constructor(message: string) {
    super('ERR_OSSCAR_UNFIT', message);
  }
}

/** Hands jobs to workers that share the run's store. */
export interface Queue {
  /**
   * Has a job done, once, however often and by whomever it is asked for.
   *
   * @param isDone  whether what it makes is in the store: queues may forget
   * @returns when it is done
   * @throws where it failed for good, with the worker's own words
   */
  run(key: string, job: Job, isDone: () => Promise<boolean>, signal?: AbortSignal): Promise<void>;
  /** Where the run is, for whoever asks. */
  tell?(progress: Progress): void;
}
