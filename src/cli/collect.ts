import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * For the end of a process. Node waits there for the functions that V8 is still optimising, and one of these that finds the heap
 * full waits in turn for the main thread to collect garbage: for ever (https://github.com/nodejs/node/issues/54918). Large
 * arrays make it full long before V8 would collect. Collected now, it is not. Bun has no V8, and no such function.
 */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('globalThis.gc')?.();
}
