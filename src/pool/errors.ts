// Errors across the border between workers. comlink keeps no more than name, message and stack; here the class,
// the code and the fields come through as well.

import { transferHandlers } from 'comlink';
import {
  FormatError,
  InputError,
  NotPositiveDefiniteError,
  OsscarError,
  OutOfMemoryError,
  ShapeError,
  UnsupportedModelError,
  WorkerLostError,
} from '../errors.ts';

/** By code, which survives a minifier where class names do not. */
const CLASSES: Record<string, { readonly prototype: OsscarError }> = {
  ERR_OSSCAR_FORMAT: FormatError,
  ERR_OSSCAR_INPUT: InputError,
  ERR_OSSCAR_NOT_POSITIVE_DEFINITE: NotPositiveDefiniteError,
  ERR_OSSCAR_OUT_OF_MEMORY: OutOfMemoryError,
  ERR_OSSCAR_SHAPE: ShapeError,
  ERR_OSSCAR_UNSUPPORTED_MODEL: UnsupportedModelError,
  ERR_OSSCAR_WORKER_LOST: WorkerLostError,
};

interface PackedError {
  /** Marks ours among those that comlink packs itself. */
  readonly osscar: true;
  readonly message: string;
  readonly stack?: string;
  /** `code`, `name` and what else the class has. */
  readonly fields: Record<string, unknown>;
}

export function packError(error: OsscarError): PackedError {
  const { message, stack } = error;
  return { osscar: true, message, stack, fields: { ...error } };
}

export function unpackError({ message, stack, fields }: PackedError): Error {
  const error = new Error(message);
  Object.setPrototypeOf(error, (CLASSES[String(fields.code)] ?? OsscarError).prototype);
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
      return value instanceof OsscarError ? [packError(value), []] : plain.serialize(thrown);
    },
    deserialize(packed) {
      if ((packed as Partial<PackedError>).osscar) throw unpackError(packed as PackedError);
      return plain.deserialize(packed);
    },
  });
}
