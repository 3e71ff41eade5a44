// The errors of the public API. Each has a stable `code`, so that callers need no `instanceof` across
// bundles and workers, and the fields a program would want instead of the message. Messages name what files and
// nodes are called, and so are made printable here, for all of them.

import { printableMessage } from './printable.ts';

/** The class that has a code: `ERR_OSSCAR_OUT_OF_MEMORY` is of an OutOfMemoryError, whatever a minifier calls that. */
function nameOf(code: string): string {
  const words = code
    .replace(/^ERR_OSSCAR_/, '')
    .toLowerCase()
    .split('_');
  return `${words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('')}Error`;
}

/** Base of every error that this library throws on purpose. Its message is one line without control characters. */
export class OsscarError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(printableMessage(message), options);
    this.code = code;
    this.name = new.target === OsscarError ? 'OsscarError' : nameOf(code);
  }
}

/** Operands whose shapes or types do not go together. */
export class ShapeError extends OsscarError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_OSSCAR_SHAPE', message, options);
  }
}

/** A Cholesky factorisation met a pivot that is not positive. */
export class NotPositiveDefiniteError extends OsscarError {
  /** 1-based index of the failing pivot, as LAPACK's `info`. */
  readonly pivot: number;
  /** What was left of it: zero, negative or NaN. */
  readonly value?: number;

  constructor(message: string, pivot: number, options?: ErrorOptions & { value?: number }) {
    super('ERR_OSSCAR_NOT_POSITIVE_DEFINITE', message, options);
    this.pivot = pivot;
    this.value = options?.value;
  }
}

/** A job needs more memory than there is or than the caller allows. */
export class OutOfMemoryError extends OsscarError {
  /** Bytes that the job needs. */
  readonly bytes: number;

  constructor(message: string, bytes: number, options?: ErrorOptions) {
    super('ERR_OSSCAR_OUT_OF_MEMORY', message, options);
    this.bytes = bytes;
  }
}

/** Input that cannot be worked with: options, data or calibration values. */
export class InputError extends OsscarError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_OSSCAR_INPUT', message, options);
  }
}

/** A file that is malformed, truncated or not of the format it should be. */
export class FormatError extends OsscarError {
  constructor(message: string, options?: ErrorOptions) {
    super('ERR_OSSCAR_FORMAT', message, options);
  }
}

/** A well-formed model with something that is not supported. */
export class UnsupportedModelError extends OsscarError {
  /** Name of the node, where one is to blame. */
  readonly node?: string;
  /** Operator of that node. */
  readonly op?: string;

  constructor(message: string, options?: ErrorOptions & { node?: string; op?: string }) {
    super('ERR_OSSCAR_UNSUPPORTED_MODEL', message, options);
    this.node = options?.node;
    this.op = options?.op;
  }
}

/** A worker died, or was stopped, before it had answered. */
export class WorkerLostError extends OsscarError {
  /** What it was asked for. */
  readonly operation: string;
  /** How often that was tried. */
  readonly attempts: number;

  constructor(message: string, operation: string, options?: ErrorOptions & { attempts?: number }) {
    super('ERR_OSSCAR_WORKER_LOST', message, options);
    this.operation = operation;
    this.attempts = options?.attempts ?? 1;
  }
}

/** What a file asked to be run took longer than it may. */
export class TimeLimitError extends OsscarError {
  /** How long it may. */
  readonly seconds: number;

  constructor(message: string, seconds: number, options?: ErrorOptions) {
    super('ERR_OSSCAR_TIME_LIMIT', message, options);
    this.seconds = seconds;
  }
}
