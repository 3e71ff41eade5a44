// Errors across the border between workers. comlink keeps no more than name, message and stack; here the class,
// the code and the fields come through as well.

import { transferHandlers } from 'comlink';
import * as errors from '../errors.ts';

interface PackedError {
  /** The class, by its name in errors.ts, which survives a minifier; marks ours among those that comlink packs itself. */
  readonly osscar: string;
  readonly message: string;
  readonly stack?: string;
  /** `code`, `name` and what else the class has. */
  readonly fields: object;
}

const CLASSES: Record<string, { readonly prototype: errors.OsscarError }> = errors;

export function packError(error: errors.OsscarError): PackedError {
  const { message, stack } = error;
  const osscar = Object.keys(CLASSES).find((name) => CLASSES[name] === error.constructor)!;
  return { osscar, message, stack, fields: { ...error } };
}

export function unpackError({ osscar, message, stack, fields }: PackedError): Error {
  const error = new Error(message);
  Object.setPrototypeOf(error, CLASSES[osscar].prototype);
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
