// How this environment starts workers. Chosen at run time without importing anything, so that a bundler for browsers never
// meets a module of Node's.

import type { Platform } from './environment.ts';
import { browser } from './platform.browser.ts';
import { node } from './platform.node.ts';

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
