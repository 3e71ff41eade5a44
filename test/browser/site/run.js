// The jobs as a page or a worker runs them, and where that was.

import * as osscar from 'osscar-wasm/model';
import { pruneFixture, pruneLayersBySession } from './job.js';
import { wasmPaths } from './paths.js';

export async function run({ kind, job }) {
  const result = kind === 'model' ? await pruneModel(job) : await pruneLayersBySession(osscar, job);
  const inWorker = typeof document === 'undefined';
  return { ...result, inWorker, isolated: globalThis.crossOriginIsolated };
}

function pruneModel(job) {
  const engine = job.engine.threads > 1 ? { ...job.engine, wasmPaths } : job.engine;
  return pruneFixture(osscar, read, { ...job, engine });
}

async function read(name) {
  const response = await fetch(`/fixtures/${name}`);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
