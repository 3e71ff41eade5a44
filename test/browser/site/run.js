// The jobs as a page or a worker runs them, and where that was.

import * as osscar from 'osscar-wasm/model';
import { pruneFixture, pruneLayersBySession, runGuarded } from './job.js';
import { wasmPaths } from './paths.js';

const KINDS = {
  model: pruneModel,
  layers: (job) => pruneLayersBySession(osscar, job),
  guard: (job) => runGuarded(osscar, read, job),
};

export async function run({ kind, job }) {
  const result = await KINDS[kind](job);
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
