// Records of any size in a store: what is too large for one artefact, which is one buffer, goes into several.

import { InputError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import { decode, encode } from '../store/artefact.ts';
import { contentHash } from '../store/hash.ts';
import { fileOf, type RunStore } from '../store/store.ts';

/** Of an artefact's arrays, about: a quarter of the largest buffer of today's runtimes. */
const VOLUME_BYTES = 2 ** 30;
/** Arrays below it stay in the record. */
const SMALL_BYTES = 2 ** 16;

type View = Float64Array | Float32Array;

/** A record under a key, which it says itself: one that was renamed is not taken for another. */
interface Kept<T> {
  readonly key: string;
  readonly record: T;
  /** Where it is in several: its arrays stand as `{ volume, at }`. */
  readonly volumes?: number;
}

const isLarge = (value: unknown): value is View =>
  (value instanceof Float64Array || value instanceof Float32Array) && value.byteLength >= SMALL_BYTES;
const volumeOf = (key: string, volume: number) => `${key}.${volume}`;

/** A record with others in the place of those of its values that `to` gives any for. */
function replaced(value: unknown, to: (value: unknown) => unknown): unknown {
  const other = to(value);
  if (other !== undefined) return other;
  if (Array.isArray(value)) return value.map((it) => replaced(it, to));
  if (!isObject(value) || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, it]) => [name, replaced(it, to)]));
}

/** The record appears under its key when all of it is there. @param most  bytes of a volume */
export async function writeArtefact(
  store: RunStore,
  key: string,
  record: object,
  most = VOLUME_BYTES,
): Promise<void> {
  const volumes: View[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  const bound = replaced(record, (value) => {
    if (!isLarge(value)) return undefined;
    if (filled + value.byteLength > most) {
      volumes.push([]);
      filled = 0;
    }
    filled += value.byteLength;
    return { volume: volumes.length - 1, at: volumes[volumes.length - 1].push(value) - 1 };
  });
  if (volumes.length <= 1) {
    await write(store, { key, record });
    return;
  }
  for (const [i, arrays] of volumes.entries()) await write(store, { key: volumeOf(key, i), record: arrays });
  await write(store, { key, record: bound as object, volumes: volumes.length });
}

async function write(store: RunStore, kept: Kept<object>): Promise<void> {
  await store.write(kept.key, await encode(kept));
}

/** @throws {InputError} where the store has none, or what it has is damaged or another's */
export async function readArtefact<T extends object>(store: RunStore, key: string): Promise<T> {
  const { record, volumes: count } = await read<T>(store, key);
  if (count === undefined) return record;
  const volumes: (readonly View[])[] = [];
  for (let i = 0; i < count; i++) volumes.push((await read<View[]>(store, volumeOf(key, i))).record);
  const whole = replaced(record, (value) =>
    isObject(value) && typeof value.volume === 'number'
      ? volumes[value.volume][value.at as number]
      : undefined,
  );
  return whole as T;
}

/** With all of its volumes. Harmless where there is none. */
export async function removeArtefact(store: RunStore, key: string): Promise<void> {
  await store.remove(key);
  for (const volume of await store.list(`${key}.`)) await store.remove(volume);
}

async function read<T>(store: RunStore, key: string): Promise<Kept<T>> {
  const bytes = await store.read(key);
  const kept = bytes && (await decode<Kept<T>>(bytes));
  if (kept?.key === key) return kept;
  throw lacking(store, key, bytes);
}

/** What lies under the hash of its bytes. @throws {InputError} where the store has none, or it is damaged or another's */
export async function readContent(store: RunStore, key: string): Promise<Uint8Array> {
  const bytes = await store.read(key);
  if (bytes && key.endsWith(`/${await contentHash([bytes])}`)) return bytes;
  throw lacking(store, key, bytes);
}

/** The same of a record. */
export async function readDescription<T extends object>(store: RunStore, key: string): Promise<T> {
  const bytes = await readContent(store, key);
  const found = await decode<T>(bytes);
  if (found) return found;
  throw lacking(store, key, bytes);
}

function lacking({ name }: RunStore, key: string, bytes: Uint8Array | undefined): InputError {
  return new InputError(
    bytes
      ? `"${name}": "${key}" is damaged in this store; remove it ("${fileOf(key)}"), and the same command makes it again`
      : `"${name}": there is no "${key}" in this store`,
  );
}
