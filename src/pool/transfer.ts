// Plain data between threads. Copied once: to shared memory that is used again and again where threads have it, else
// handed over. Of 32 MiB a structured clone takes 42 ms, a copy to new pages 10 to 18 and to old ones 4 (measured).
// Arrays on shared memory go as they are.

import { transfer } from 'comlink';

type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/**
 * A deep copy whose arrays lie on the stage, and own their buffers where there is none or no room left on it. An array
 * that occurs twice stays one. What lies on the stage must be done with before the next copy.
 */
export function copyOf<T>(value: T, stage?: Stage): T {
  const copies = new Map<unknown, unknown>();
  let top = 0;
  const copyArray = (array: TypedArray): TypedArray => {
    if (isShared(array)) return array;
    const end = top + array.byteLength;
    if (!stage || end > STAGE_BYTES) return array.slice();
    stage.buffer ??= new SharedArrayBuffer(STAGE_BYTES);
    const copy = new (array.constructor as Float64ArrayConstructor)(stage.buffer, top, array.length);
    copy.set(array);
    top = Math.ceil(end / 64) * 64;
    return copy;
  };
  const copyOne = (value: unknown): unknown => {
    if (typeof value !== 'object' || value === null) return value;
    let copy = copies.get(value);
    if (copy) return copy;
    if (ArrayBuffer.isView(value)) copy = copyArray(value as TypedArray);
    else if (Array.isArray(value)) copy = value.map(copyOne);
    else copy = Object.fromEntries(Object.entries(value).map(([key, item]) => [key, copyOne(item)]));
    copies.set(value, copy);
    return copy;
  };
  return copyOne(value) as T;
}

/** What a stage holds of a job; only pages that were written take memory. */
const STAGE_BYTES = 2 ** 26;

/** The buffers in plain data that can be handed over. */
export function buffersOf(value: unknown, found = new Set<ArrayBuffer>()): ArrayBuffer[] {
  if (ArrayBuffer.isView(value)) {
    if (!isShared(value)) found.add(value.buffer as ArrayBuffer);
  } else if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) buffersOf(item, found);
  }
  return [...found];
}

/** To be sent with its buffers, which are gone then. */
export function handedOver<T>(value: T): T {
  return typeof value === 'object' && value !== null ? transfer(value, buffersOf(value)) : value;
}

/** Shared memory to copy to again and again. */
export interface Stage {
  buffer?: SharedArrayBuffer;
}

/** On memory that any number of threads can read; copied to the stage if need be. */
export function onSharedMemory(array: Float32Array, stage: Stage): Float32Array {
  if (isShared(array)) return array;
  if (!stage.buffer || stage.buffer.byteLength < array.byteLength) {
    stage.buffer = new SharedArrayBuffer(array.byteLength);
  }
  const copy = new Float32Array(stage.buffer, 0, array.length);
  copy.set(array);
  return copy;
}

function isShared({ buffer }: ArrayBufferView): boolean {
  return typeof SharedArrayBuffer === 'function' && buffer instanceof SharedArrayBuffer;
}
