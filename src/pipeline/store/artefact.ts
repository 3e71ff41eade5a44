// Plain data with typed arrays as one buffer: a checksum, a JSON header, the arrays' own bytes. What is damaged does
// not decode, and is computed again.

import { isObject } from '../../expect.ts';
import { bytesOf, contentHash } from './hash.ts';

/** Of arrays, which are views of the whole. */
const ALIGNMENT = 8;
/**
 * Format and version of what artefacts hold; 8 bytes. Of another version they are computed again: in 1, XᵀX was a square.
 */
const MAGIC = 'osscar-2';
/** The checksum, in hexadecimal, is of everything after it. */
const CHECKED = MAGIC.length + 64;
const HEADER = CHECKED + Float64Array.BYTES_PER_ELEMENT;

const TYPES = { Float64Array, Float32Array, Int32Array, Uint8Array };
type View = InstanceType<(typeof TYPES)[keyof typeof TYPES]>;

const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** Values that JSON has not, as objects with the one key `$`; an object that has the key itself becomes one, too. */
function pack(value: unknown, views: { at: number; view: View }[]): unknown {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value;
  if (typeof value === 'number') {
    return Number.isFinite(value) && !Object.is(value, -0)
      ? value
      : { $: Object.is(value, -0) ? '-0' : `${value}` };
  }
  if (Array.isArray(value)) return Array.from(value, (it) => pack(it, views));
  if (ArrayBuffer.isView(value) && value[Symbol.toStringTag as never] in TYPES) {
    const last = views.at(-1);
    const at = last ? aligned(last.at + last.view.byteLength) : 0;
    views.push({ at, view: value as View });
    return { $: [value[Symbol.toStringTag as never], at, (value as View).length] };
  }
  if (typeof value !== 'object' || ![Object.prototype, null].includes(Object.getPrototypeOf(value))) {
    throw new TypeError(`artefact: expected plain data, got ${Object.prototype.toString.call(value)}`);
  }
  const fields = Object.entries(value).filter(([, it]) => it !== undefined);
  const packed = fields.map(([key, it]) => [key, pack(it, views)]);
  return Object.hasOwn(value, '$') ? { $: [packed] } : Object.fromEntries(packed);
}

/**
 * Objects, arrays, strings, booleans, any numbers, null, and Float64Array, Float32Array, Int32Array and Uint8Array, bit
 * for bit. Fields that are undefined are dropped.
 *
 * @throws {TypeError} for anything else
 */
export async function encode(record: object): Promise<Uint8Array<ArrayBuffer>> {
  const views: { at: number; view: View }[] = [];
  const header = new TextEncoder().encode(JSON.stringify(pack(record, views)));
  const data = aligned(HEADER + header.length);
  const last = views.at(-1);
  const bytes = new Uint8Array(data + (last ? last.at + last.view.byteLength : 0));
  new DataView(bytes.buffer).setFloat64(CHECKED, header.length);
  bytes.set(header, HEADER);
  for (const { at, view } of views) bytes.set(bytesOf(view), data + at);
  bytes.set(new TextEncoder().encode(MAGIC + (await contentHash([bytes.subarray(CHECKED)]))));
  return bytes;
}

/**
 * What was encoded; its arrays are views of `bytes`, so they are not to be transferred one by one. Undefined where the
 * bytes are truncated or altered, or of another format.
 */
export async function decode<T extends object>(bytes: Uint8Array): Promise<T | undefined> {
  if (bytes.length < HEADER) return undefined;
  const text = (from: number, to: number) => new TextDecoder().decode(bytes.subarray(from, to));
  if (text(0, CHECKED) !== MAGIC + (await contentHash([bytes.subarray(CHECKED)]))) return undefined;
  const own = bytes.byteOffset % ALIGNMENT === 0 ? bytes : new Uint8Array(bytes);
  const length = new DataView(own.buffer, own.byteOffset).getFloat64(CHECKED);
  const data = own.byteOffset + aligned(HEADER + length);
  const unpacked = (_: string, value: unknown) => {
    if (!isObject(value) || !Object.hasOwn(value, '$')) return value;
    if (typeof value.$ === 'string') return Number(value.$);
    const [type, at, count] = value.$ as [unknown, number, number];
    if (typeof type !== 'string') return Object.fromEntries(type as [string, unknown][]);
    return new TYPES[type as keyof typeof TYPES](own.buffer as ArrayBuffer, data + at, count);
  };
  try {
    return JSON.parse(text(HEADER, HEADER + length), unpacked);
  } catch {
    return undefined; // anybody can make a checksum
  }
}
