// The port behind which models are run. Calibration, evaluation and latency see only these types;
// onnxruntime is one adapter (onnxruntime.ts), and a user may hand over another.

import { OsscarError } from '../errors.ts';
import { expectMethods } from '../expect.ts';

/**
 * A tensor, row-major. Its values are float32 numbers whatever the model's type; they are converted at this border:
 * float64 and float16, and integers up to 2²⁴, which float32 holds exactly (token ids, pixels).
 */
export interface FloatTensor {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** What a model says of one of its inputs or outputs; a dynamic dimension is its name or −1. */
export interface ValueDescription {
  readonly name: string;
  readonly type: string;
  readonly dims: readonly (number | string)[];
}

/** A loaded model. */
export interface EngineSession {
  readonly inputs: readonly ValueDescription[];
  readonly outputs: readonly ValueDescription[];
  /** Runs the model and returns the outputs named in `fetches` (all that are numbers, where it is left out). */
  run(
    feeds: Readonly<Record<string, FloatTensor>>,
    fetches?: readonly string[],
  ): Promise<Record<string, FloatTensor>>;
  /** Frees its memory. */
  release(): Promise<void>;
}

export interface ExternalFile {
  /** The location that the model names. */
  readonly path: string;
  readonly data: Uint8Array;
}

export interface LoadOptions {
  /**
   * As whoever uses the model will load it, for timing: with all that the engine does by default to make it fast. No value
   * that the model itself reads is asked for then.
   */
  readonly asUsed?: boolean;
}

/** What runs models: onnxruntime, or whatever else loads ONNX. */
export interface Engine {
  /** For reports, e.g. `onnxruntime-web 1.30.0, 2 threads`. */
  readonly name: string;
  /**
   * @param model  ONNX bytes
   * @param external  the external data files the model refers to
   * @throws {UnsupportedModelError} where the engine refuses the model
   */
  load(model: Uint8Array, external?: readonly ExternalFile[], options?: LoadOptions): Promise<EngineSession>;
}

/** What errors of models that are loaded and run begin with. */
export const ENGINE_SAYS = 'engine: ';

/** Whether it is what onnxruntime says of a model or of a run of it, and no fault of whoever asked. */
export function isOfEngine(error: unknown): error is OsscarError {
  return error instanceof OsscarError && error.message.startsWith(ENGINE_SAYS);
}

/** @throws {InputError} where it is none */
export function expectEngine(operation: string, engine: unknown): void {
  expectMethods(operation, 'engine', engine, 'an engine (openEngine())', 'load');
}
