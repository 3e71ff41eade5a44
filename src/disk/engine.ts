// The native build of onnxruntime, where the user has installed it.

import type { OnnxRuntime } from '../engine/index.ts';
import { InputError } from '../errors.ts';

/** An optional peer of the package, so that no one loads it who does not want it. */
const NATIVE = 'onnxruntime-node';

/**
 * @param isAsked  whether nothing else will do
 * @throws {InputError} where it is asked for and not there, or is there and cannot be loaded
 */
export async function loadNative(isAsked: boolean): Promise<OnnxRuntime | undefined> {
  try {
    const found = await import(NATIVE);
    return found.InferenceSession ? found : found.default;
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    // Vite's servers put a stub in the place of an optional peer that is not there.
    const isStub = message.startsWith(`Could not resolve "${NATIVE}"`);
    const isMissing = isStub || (code === 'ERR_MODULE_NOT_FOUND' && message.includes(`'${NATIVE}'`));
    if (isMissing && !isAsked) return undefined;
    const reason = isMissing ? `is not installed (npm i ${NATIVE})` : `cannot be loaded: ${message}`;
    throw new InputError(`\`engine: 'node'\`: ${NATIVE} ${reason}; \`engine: 'web'\` needs nothing`, {
      cause,
    });
  }
}
