// Errors across the border between workers. comlink keeps no more than name, message and stack; here the class,
// the code and the fields come through as well.

import { transferHandlers } from 'comlink';
import * as errors from '../errors.ts';

/** By code, which survives a minifier where class names do not. */
const CLASSES: Record<string, { readonly prototype: errors.OsscarError }> = {
  ERR_OSSCAR_FORMAT: errors.FormatError,
  ERR_OSSCAR_INPUT: errors.InputError,
  ERR_OSSCAR_NOT_POSITIVE_DEFINITE: errors.NotPositiveDefiniteError,
  ERR_OSSCAR_OUT_OF_MEMORY: errors.OutOfMemoryError,
  ERR_OSSCAR_SHAPE: errors.ShapeError,
  ERR_OSSCAR_UNSUPPORTED_MODEL: errors.UnsupportedModelError,
  ERR_OSSCAR_TIME_LIMIT: errors.TimeLimitError,
  ERR_OSSCAR_WORKER_LOST: errors.WorkerLostError,
};

interface PackedError {
  /** Marks ours among those that comlink packs itself. */
  readonly osscar: true;
  readonly message: string;
  readonly stack?: string;
  /** `code`, `name` and what else the class has. */
  readonly fields: Record<string, unknown>;
}

export function packError(error: errors.OsscarError): PackedError {
  const { message, stack } = error;
  return { osscar: true, message, stack, fields: { ...error } };
}

export function unpackError({ message, stack, fields }: PackedError): Error {
  const error = new Error(message);
  Object.setPrototypeOf(error, (CLASSES[String(fields.code)] ?? errors.OsscarError).prototype);
  Object.defineProperty(error, 'stack', { value: stack, configurable: true, writable: true });
  return Object.assign(error, fields);
}

/** Called on both sides, before anything is sent. */
export function installErrorTransfer(): void {
  const plain = transferHandlers.get('throw')!;
  transferHandlers.set('throw', {
    canHandle: plain.canHandle,
    serialize(thrown) {
      const { value } = thrown as { value: unknown };
      return value instanceof errors.OsscarError ? [packError(value), []] : plain.serialize(thrown);
    },
    deserialize(packed) {
      if ((packed as Partial<PackedError>).osscar) throw unpackError(packed as PackedError);
      return plain.deserialize(packed);
    },
  });
}
