// Records of any size in a store: what is too large for one artefact, which is one buffer, goes into several.

import { InputError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import { decode, encode } from '../store/artefact.ts';
import type { RunStore } from '../store/store.ts';

/** Of an artefact's arrays, about: a quarter of the largest buffer of today's runtimes. */
const VOLUME_BYTES = 2 ** 30;
/** Arrays below it stay in the record. */
const SMALL_BYTES = 2 ** 16;

type View = Float64Array | Float32Array;

/** A record in volumes: arrays stand as `{ volume, at }`. */
interface Bound {
  readonly volumes: number;
  readonly record: object;
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
    await store.write(key, await encode(record));
    return;
  }
  for (const [i, arrays] of volumes.entries()) await store.write(volumeOf(key, i), await encode({ arrays }));
  await store.write(key, await encode({ volumes: volumes.length, record: bound } as Bound));
}

/** @throws {InputError} where the store has none, or what it has is damaged */
export async function readArtefact<T extends object>(store: RunStore, key: string): Promise<T> {
  const found = await decoded<T | Bound>(store, key);
  if (!('volumes' in found)) return found;
  const volumes: (readonly View[])[] = [];
  for (let i = 0; i < found.volumes; i++) {
    volumes.push((await decoded<{ arrays: View[] }>(store, volumeOf(key, i))).arrays);
  }
  const whole = replaced(found.record, (value) =>
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

async function decoded<T extends object>(store: RunStore, key: string): Promise<T> {
  const bytes = await store.read(key);
  const found = bytes && (await decode<T>(bytes));
  if (found) return found;
  throw new InputError(
    `"${store.name}": ${bytes ? `"${key}" is damaged` : `there is no "${key}"`} in this store`,
  );
}
