// The built package, as its users import it, and the workers that it starts in Node.

import { createHash } from 'node:crypto';
import type * as Layer from '../../src/layer.ts';
import { type LayerProblem, layerProblem, openKernels } from '../../src/layer.ts';
import { random, randomArray } from '../support/random.ts';

export const DIST = new URL('../../dist/', import.meta.url);
export const built: typeof Layer = await import(new URL('layer.js', DIST).href);

const threads = process.getBuiltinModule('node:worker_threads');
type Thread = InstanceType<typeof threads.Worker>;

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
    if (args[0].path?.[0] === 'run') jobs.push(this);
    super.postMessage(...args);
  }
};

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

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
