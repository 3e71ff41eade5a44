// The built package, as its users import it, and the workers that it starts in Node.

import { createHash } from 'node:crypto';
import type * as Layer from '../../src/layer.ts';
import { type LayerProblem, layerProblem, openKernels } from '../../src/layer.ts';
import { random, randomArray } from '../support/random.ts';

export const DIST = new URL('../../dist/', import.meta.url);
export const built: typeof Layer = await import(new URL('layer.js', DIST).href);

const threads = process.getBuiltinModule('node:worker_threads');
export type Thread = InstanceType<typeof threads.Worker>;

const JOBS = ['inverse', 'pruneLayer', 'solveLayers'];
/** Every worker that is started from now on, in order. */
export const workers: Thread[] = [];
/** The worker of every job that is sent from now on, in order. */
export const jobs: Thread[] = [];
threads.Worker = class extends threads.Worker {
  constructor(...args: ConstructorParameters<typeof threads.Worker>) {
    super(...args);
    workers.push(this);
  }

  override postMessage(...args: Parameters<Thread['postMessage']>) {
    const { path, argumentList } = args[0];
    if (path?.[0] === 'run' && JOBS.includes(argumentList[0].value)) jobs.push(this);
    super.postMessage(...args);
  }
};

/** For `workerUrl`: workers that can be stopped. */
export const STOPPING_WORKER = new URL('stopping-worker.mjs', import.meta.url);
/** What a Cholesky and a layer begin with, and a part of what is shared out of a large one. */
const KERNELS = ['dpotrf', 'createProblem', 'part'] as const;
const [STOPPED, WAITING] = [1, 2];
/** In place of a thread's number; the main thread has it, which is no worker. */
const EVERY = 0;
/** By the number of the thread: the kernel to stop at, counted from 1, and what has become of it. */
const [stops, states] = [0, 1].map(() => new Int32Array(new SharedArrayBuffer(4096)));
threads.setEnvironmentData('stops', { KERNELS, EVERY, STOPPED, WAITING, stops, states });

/** Lets a worker go on as far as this kernel. */
export function goOn(worker: Thread | 'every', kernel?: (typeof KERNELS)[number]): void {
  const at = worker === 'every' ? EVERY : worker.threadId;
  Atomics.store(stops, at, kernel ? 1 + KERNELS.indexOf(kernel) : 0);
  Atomics.notify(stops, at);
}

/** Waits for as long as it takes. */
export async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

export const isStopped = ({ threadId }: Thread) => Atomics.load(states, threadId) === STOPPED;
export const stopped = (thread: Thread) => until(() => isStopped(thread));
/** Until the worker looks out for what it can help with. */
export const helping = ({ threadId }: Thread) => until(() => Atomics.load(states, threadId) === WAITING);

/** Of the bits. */
export function hash(array: Float64Array): string {
  return createHash('sha256')
    .update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength))
    .digest('hex');
}

/** Symmetric, diagonally dominant and so positive definite, n × n. */
export function definite(n: number, seed: number): Float64Array {
  const next = random(seed);
  const A = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) {
      A[i * n + j] = next() - 0.5;
      A[j * n + i] = A[i * n + j];
    }
    A[i * n + i] = n;
  }
  return A;
}

/** A layer of correlated inputs, p × m. */
export async function layerOf(p: number, m: number, groupSize: number, seed: number): Promise<LayerProblem> {
  const kernels = await openKernels({ simd: 'baseline' });
  const X = Float32Array.from(randomArray(2 * p * p, seed));
  for (let at = 1; at < X.length; at++) X[at] += 0.7 * X[at - 1];
  const accumulator = new built.StatisticsAccumulator(kernels, p, m, false);
  accumulator.addRows(X);
  const W0 = randomArray(p * m, seed + 1);
  return layerProblem(kernels, accumulator.finish(), W0, { groupSize });
}
