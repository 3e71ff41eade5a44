// The one thing that differs between environments: how a worker is started. Chosen at run time without importing
// anything, so that a bundler for browsers never meets a module of Node's.

import type { Endpoint } from 'comlink';
import type { ScratchFile } from '../tiles/scratch.ts';
import { browser } from './platform.browser.ts';
import { node } from './platform.node.ts';

export interface WorkerHandle {
  readonly endpoint: Endpoint;
  /** Calls back once the worker has failed or ended, with the reason; `memory`: the bytes that it had, where they were too few. */
  onLost(callback: (reason: string, memory?: number) => void): void;
  /** Whether the process must wait for this worker. Only Node has a process that could end. */
  hold(busy: boolean): void;
  /** Stops the worker wherever it is, in the middle of a computation too. */
  terminate(): Promise<void>;
}

export interface Platform {
  /** Threads that the machine runs at once. */
  readonly concurrency: number;
  /** Starts dist/worker.js, or what is at `url`. May throw where workers are refused. */
  spawn(url?: string | URL): WorkerHandle;
  /** In a worker: the way to the thread that started it. */
  parent(): Endpoint;
  /** In a worker: a file of its own, which is gone when it is closed. @param folder  where paths are files */
  scratch(folder?: string): Promise<ScratchFile & { close(): void }>;
}

/**
 * Node's workers where a runtime offers them (Node 20.16 and newer, Deno, Bun), web workers elsewhere. The global Worker
 * is not asked: there, onnxruntime-web puts Node's own in its place.
 */
export function platform(): Platform {
  const hasNodeWorkers = typeof process === 'object' && typeof process.getBuiltinModule === 'function';
  return hasNodeWorkers ? node : browser;
}

/** Whether workers may share memory: never in a page without cross-origin isolation. */
export function canShareMemory(): boolean {
  return typeof SharedArrayBuffer === 'function' && globalThis.crossOriginIsolated !== false;
}
