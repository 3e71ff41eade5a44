// Where onnxruntime finds its files: its threads need them by their URLs, as the chunk that a bundler makes of it cannot be
// a worker.

import mjs from 'onnxruntime-web/ort-wasm-simd-threaded.mjs?url';
import wasm from 'onnxruntime-web/ort-wasm-simd-threaded.wasm?url';
import type { EngineOptions } from 'osscar-wasm/model';

/** More than one thread needs shared memory, which pages have that are isolated from other origins. */
export function engineOptions(): EngineOptions {
  const threads = globalThis.crossOriginIsolated ? navigator.hardwareConcurrency : 1;
  return { threads, wasmPaths: { mjs, wasm } };
}
