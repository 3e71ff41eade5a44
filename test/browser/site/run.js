// The job as a page or a worker runs it, and where that was.

import * as osscar from 'osscar-wasm';
import { pruneFixture } from './job.js';
import { wasmPaths } from './paths.js';

export async function run(job) {
  const engine = job.engine.threads > 1 ? { ...job.engine, wasmPaths } : job.engine;
  const result = await pruneFixture(osscar, read, { ...job, engine });
  const inWorker = typeof document === 'undefined';
  return { ...result, inWorker, isolated: globalThis.crossOriginIsolated };
}

async function read(name) {
  const response = await fetch(`/fixtures/${name}`);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
