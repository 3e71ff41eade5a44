// Which build of onnxruntime runs the models: the native one where the user has installed it, which is faster, else the
// WebAssembly build that the package brings.

import { type Engine, type OnnxRuntime, openEngine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import type { ModelFlags } from './options.ts';

export const ENGINES = ['web', 'node'] as const;
export type EngineName = (typeof ENGINES)[number];

/** An optional peer of the package, so that no one loads it who does not want it. */
const NATIVE = 'onnxruntime-node';

/** @throws {InputError} where the native build is asked for and cannot be loaded */
export async function openCliEngine(flags: Pick<ModelFlags, 'threads' | 'engine'>): Promise<Engine> {
  const { threads, engine } = flags;
  const native = engine === 'web' ? undefined : await loadNative(engine === 'node');
  if (!native) return openEngine({ threads });
  return openEngine({ runtime: native, session: { intraOpNumThreads: threads } });
}

async function loadNative(isAsked: boolean): Promise<OnnxRuntime | undefined> {
  try {
    const found = await import(NATIVE);
    return found.InferenceSession ? found : found.default;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const isMissing = code === 'ERR_MODULE_NOT_FOUND' && message.includes(`'${NATIVE}'`);
    if (isMissing && !isAsked) return undefined;
    const reason = isMissing ? `is not installed (npm i ${NATIVE})` : `cannot be loaded: ${message}`;
    throw new InputError(`--engine node: ${NATIVE} ${reason}; --engine web needs nothing`, { cause });
  }
}
