// Which build of onnxruntime runs the models: the native one where it is installed, which is faster, else the WebAssembly
// build that the package brings.

import { type Engine, openEngine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import type { GuardOptions } from '../guard/index.ts';
import { host } from './host.ts';
import type { ModelOptions } from './options.ts';

/** @throws {InputError} where the native build is asked for and cannot be loaded */
export async function engineFor({
  engine,
  threads,
}: Pick<ModelOptions, 'threads' | 'engine'>): Promise<Engine> {
  if (typeof engine === 'object') return engine;
  const isAsked = engine === 'node';
  if (isAsked && !host.native) throw new InputError("`engine: 'node'`: this environment has no native build");
  const runtime = engine === 'web' ? undefined : await host.native?.(isAsked);
  if (!runtime) return openEngine(webThreads(threads));
  return openEngine({ runtime, session: threads === undefined ? {} : { intraOpNumThreads: threads } });
}

/** For onnxruntime-web, in a guard too. */
export const webThreads = (threads = host.threads) => ({ threads });

/** Of the thread on which what files ask to be run can be ended. */
export const guardOptions = ({
  timeout: seconds,
  signal,
}: Pick<ModelOptions, 'timeout' | 'signal'>): GuardOptions => ({
  seconds,
  signal,
});

/**
 * An engine that ends a guard with its first session: what is compiled of onnxruntime, 14 MB, V8 hands from thread to thread as
 * long as one has it. A transformer of 750 kB is pruned in 6.0 s instead of 7.1 (two cores, onnxruntime-web 1.30).
 */
export function relieving(guard: { close(): Promise<void> }, engine: Engine): Engine {
  return {
    name: engine.name,
    load: async (...args) => {
      const session = await engine.load(...args);
      await guard.close();
      return session;
    },
  };
}
