// The native build of onnxruntime, where the user has installed it.

import type { OnnxRuntime } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { isNotInstalled } from './optional.ts';

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
    const isMissing = isNotInstalled(NATIVE, cause);
    if (isMissing && !isAsked) return undefined;
    const why = isMissing
      ? `is not installed (npm i ${NATIVE})`
      : `cannot be loaded: ${(cause as Error).message}`;
    throw new InputError(`\`engine: 'node'\`: ${NATIVE} ${why}; \`engine: 'web'\` needs nothing`, {
      cause,
    });
  }
}
