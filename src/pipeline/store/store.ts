// The port to what a run keeps: a folder on disk, a browser's private file system, memory; an object store would do.

import { InputError } from '../../errors.ts';

/**
 * Named artefacts, each written whole or not at all. Keys are segments of lower-case letters, digits, `-`, `_` and,
 * inside, `.`, joined by `/`: at most 200 characters, since implementations may make one file name of them.
 */
export interface RunStore {
  /** For messages: the folder's path, or `memory`. */
  readonly name: string;
  /** Bytes for the caller to keep; undefined where there is no such artefact. */
  read(key: string): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Appears under its key, in the place of an older one, only when complete. */
  write(key: string, bytes: Uint8Array): Promise<void>;
  /** Sorted. @param prefix  any beginning of keys */
  list(prefix?: string): Promise<string[]>;
  /** Harmless where there is no such artefact. */
  remove(key: string): Promise<void>;
}

/** Whether there is an artefact of this key. */
export async function holds(store: Pick<RunStore, 'list'>, key: string): Promise<boolean> {
  return (await store.list(key)).includes(key);
}

// File systems may take `A` for `a`, and drop a dot at the end; hidden names are left to locks and temporary files.
const KEY = /^(?=.{1,200}$)[a-z0-9_-]+(\.+[a-z0-9_-]+)*(\/[a-z0-9_-]+(\.+[a-z0-9_-]+)*)*$/;

/**
 * The name of a key's file in a flat folder.
 *
 * @throws {InputError} if the key is none
 */
export function fileOf(key: string): string {
  if (!KEY.test(key))
    throw new InputError(`run store: expected a key such as "layers/0.heads", got "${key}"`);
  return key.replaceAll('/', '~');
}

/** The keys of such files, other files left out. */
export function keysOf(files: Iterable<string>, prefix: string): string[] {
  return Array.from(files, (file) => file.replaceAll('~', '/'))
    .filter((key) => KEY.test(key) && key.startsWith(prefix))
    .sort();
}

/**
 * A run store for as long as the process lives.
 *
 * @example
 * const store = memoryStore(); // the second run begins with what the first has found
 * for (const keep of [0.7, 0.5]) await prune(model, { engine, calibration, keep, store });
 */
export function memoryStore(): RunStore {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  return {
    name: 'memory',
    read: async (key) => files.get(fileOf(key))?.slice(),
    write: async (key, bytes) => void files.set(fileOf(key), new Uint8Array(bytes)),
    list: async (prefix = '') => keysOf(files.keys(), prefix),
    remove: async (key) => void files.delete(fileOf(key)),
  };
}
