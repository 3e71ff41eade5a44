// Small tools for protobuf-es messages.

import type { Message } from '@bufbuild/protobuf';

/** A shallow copy that keeps unset fields unset: lists and inner messages are shared with the original. */
export function copyMessage<T extends Message>(message: T): T {
  // Defaults of proto2 fields live on the prototype, what was set is own.
  return Object.assign(Object.create(Object.getPrototypeOf(message)), message);
}
