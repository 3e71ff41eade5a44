// Plain data between threads. Copied once: to shared memory that is used again and again where threads have it, else
// handed over. Of 32 MiB a structured clone takes 42 ms, a copy to new pages 10 to 18 and to old ones 4 (measured).
// Arrays on shared memory go as they are.

import { transfer } from 'comlink';
import { lines } from '../solve/memory';

type TypedArray = Float32Array | Float64Array | Int32Array | Uint8Array;

/**
 * A deep copy whose arrays lie on the stage, and own their buffers where there is none or no room left on it. An array
 * that occurs twice stays one. What lies on the stage must be done with before the next copy.
 *
 * @param given  a part that is not copied
 */
export function copyOf<T>(value: T, stage?: Stage, given?: object): T {
  const copies = new Map<unknown, unknown>(given && [[given, given]]);
  if (stage) {
    const needed = arraysIn(value, given).reduce((sum, { byteLength }) => sum + lines(byteLength), 0);
    const bytes = Math.min(needed, STAGE_BYTES);
    if ((stage.buffer?.byteLength ?? 0) < bytes) stage.buffer = new SharedArrayBuffer(bytes);
  }
  let top = 0;
  const copyArray = (array: TypedArray): TypedArray => {
    if (isShared(array)) return array;
    const end = top + array.byteLength;
    if (!stage?.buffer || end > stage.buffer.byteLength) return array.slice();
    const copy = new (array.constructor as Float64ArrayConstructor)(stage.buffer, top, array.length);
    copy.set(array);
    top = lines(end);
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

/** What a stage holds of a job at most. */
const STAGE_BYTES = 2 ** 28;

/** Every array in plain data that is not shared, once. @param except  a part that is not looked at */
function arraysIn(value: unknown, except?: object, found = new Set<ArrayBufferView>()): ArrayBufferView[] {
  if (value === except) return [];
  if (ArrayBuffer.isView(value)) {
    if (!isShared(value)) found.add(value);
  } else if (typeof value === 'object' && value !== null) {
    for (const item of Object.values(value)) arraysIn(item, except, found);
  }
  return [...found];
}

/** The buffers in plain data that can be handed over. */
export function buffersOf(value: unknown): ArrayBuffer[] {
  return [...new Set(arraysIn(value).map(({ buffer }) => buffer as ArrayBuffer))];
}

/** To be sent with its buffers, which are gone then. */
export function handedOver<T>(value: T): T {
  return typeof value === 'object' && value !== null ? transfer(value, buffersOf(value)) : value;
}

/** Shared memory to copy to again and again. */
export interface Stage {
  buffer?: SharedArrayBuffer;
}

function isShared({ buffer }: ArrayBufferView): boolean {
  return typeof SharedArrayBuffer === 'function' && buffer instanceof SharedArrayBuffer;
}
