// The jobs as a page or a worker runs them, and where that was.

import { prune } from 'osscar-wasm';
import * as osscar from 'osscar-wasm/model';
import { pruneFixture, pruneLayersBySession, runGuarded } from './job.js';
import { wasmPaths } from './paths.js';

const KINDS = {
  model: pruneModel,
  call: pruneInOneCall,
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

/** The model opened on a thread of its own, the layers solved on others. */
async function pruneInOneCall({ images, simd }) {
  const model = [['model.onnx', await read('fashion-mobilenet.onnx')]];
  const calibration = await Promise.all(
    images.map(async ({ name }) => [name.replace('calib/', ''), await read(name)]),
  );
  const { report } = await prune(model, { calibration, simd, mean: 0.286, std: 0.353, keep: 0.5 });
  return { bytes: report.bytes.after };
}

async function read(name) {
  const response = await fetch(`/fixtures/${name}`);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
