// The one thing that differs between environments: how a worker is started.

import type { Endpoint } from 'comlink';
import type { ScratchFile } from '../tiles/scratch.ts';

export interface WorkerHandle {
  readonly endpoint: Endpoint;
  /** Calls back once the worker has failed or ended, with the reason; `memory`: the bytes that it had, where they were too few. */
  onLost(callback: (reason: string, memory?: number) => void): void;
  /** Whether the process must wait for this worker. Only Node has a process that could end. */
  hold(busy: boolean): void;
  /** Stops the worker wherever it is, in the middle of a computation too. */
  terminate(): Promise<void>;
}

/** A script of the package, in a file of its own beside all others. */
export interface Script {
  readonly name: string;
  /** Starts it in a page, from a `new URL(…, import.meta.url)` in the same expression: in this form bundlers see it and bring it along. */
  start(): Worker;
}

export interface Platform {
  /** Threads that the machine runs at once. */
  readonly concurrency: number;
  /** Starts a script, where it is said to be. May throw where workers are refused. */
  spawn(script: Script, url?: string | URL): WorkerHandle;
  /** In a worker: the way to the thread that started it. */
  parent(): Endpoint;
  /** In a worker: a file of its own, which is gone when it is closed. @param folder  where paths are files */
  scratch(folder?: string): Promise<ScratchFile & { close(): void }>;
}
