// Files of a browser: a run store in a folder of the origin's private file system or in one that the user has picked,
// and scratch files for activations that do not fit the memory.

import { InputError } from '../../errors.ts';
import type { Scratch } from './activations.ts';
import { bytesOf } from './hash.ts';
import { fileOf, keysOf, type RunStore } from './store.ts';

/** The part of FileSystemSyncAccessHandle that is used: TypeScript's types for pages leave it to workers. */
interface AccessHandle {
  truncate(size: number): void;
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options?: { at: number }): number;
  flush(): void;
  close(): void;
}

/** The part of FileSystemFileHandle that is used. Not every browser has both ways to write, nor everywhere. */
export interface WritableFile {
  getFile(): Promise<Blob>;
  createWritable?(): Promise<{
    write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
    close(): Promise<void>;
  }>;
  /** In workers. */
  createSyncAccessHandle?(): Promise<AccessHandle>;
}

/** The part of FileSystemDirectoryHandle that is used. */
export interface Directory {
  getFileHandle(name: string, options?: { create: boolean }): Promise<WritableFile>;
  removeEntry(name: string): Promise<void>;
  keys(): AsyncIterable<string>;
}

/** A file is an artefact once an empty one of its name with this ending is beside it: there is no rename everywhere. */
const DONE = '!';

async function writeFile(file: WritableFile, bytes: Uint8Array<ArrayBuffer>, name: string): Promise<void> {
  if (file.createWritable) {
    const stream = await file.createWritable();
    await stream.write(bytes);
    return stream.close();
  }
  const access = await file.createSyncAccessHandle?.();
  if (!access) throw new InputError(`"${name}": this browser writes files in web workers only`);
  try {
    access.truncate(0);
    const done = access.write(bytes);
    if (done !== bytes.length)
      throw new InputError(`"${name}": ${done} of ${bytes.length} bytes were written`);
    access.flush();
  } finally {
    access.close();
  }
}

/** What an action gives, or undefined where the file is missing. */
const unlessMissing = <T>(action: Promise<T>) =>
  action.catch((cause) => {
    if (cause.name !== 'NotFoundError') throw cause;
    return undefined;
  });

/** The origin's private file system, where there is one. */
const originFolder = () => globalThis.navigator?.storage?.getDirectory?.();

export function directoryStore(name: string, directory: Directory): RunStore {
  return {
    name,
    async read(key) {
      const file = fileOf(key);
      if (!(await unlessMissing(directory.getFileHandle(file + DONE)))) return undefined;
      return new Uint8Array(await (await (await directory.getFileHandle(file)).getFile()).arrayBuffer());
    },
    async write(key, bytes) {
      await this.remove(key);
      const file = await directory.getFileHandle(fileOf(key), { create: true });
      await writeFile(file, bytes as Uint8Array<ArrayBuffer>, `${name}/${key}`);
      await directory.getFileHandle(fileOf(key) + DONE, { create: true });
    },
    async list(prefix = '') {
      const done: string[] = [];
      for await (const file of directory.keys()) if (file.endsWith(DONE)) done.push(file.slice(0, -1));
      return keysOf(done, prefix);
    },
    async remove(key) {
      await unlessMissing(directory.removeEntry(fileOf(key) + DONE));
      await unlessMissing(directory.removeEntry(fileOf(key)));
    },
  };
}

/**
 * A folder of the origin's private file system, made if need be. Two tabs must not use one at once.
 *
 * @throws {InputError} where there is no such file system
 *
 * @example
 * const store = await opfsStore('my-run'); // a page that is closed goes on there
 * await prune(model, { engine, calibration, keep: 0.5, store });
 */
export async function opfsStore(name: string): Promise<RunStore> {
  const root = await originFolder();
  if (!root) throw new InputError('opfsStore: expected a browser with OPFS, on a secure page');
  return directoryStore(name, await root.getDirectoryHandle(name, { create: true }));
}

/**
 * A scratch file for `prune` in a web worker, the only place where browsers let files be written in parts.
 * It goes with `close`.
 *
 * @throws {InputError} at the first access, where there is no such file system
 *
 * @example
 * await prune(model, { engine, calibration, keep: 0.5, scratch: opfsScratch });
 */
export function opfsScratch(): Scratch {
  const name = `osscar-${crypto.randomUUID()}`;
  let opened: Promise<AccessHandle> | undefined;
  async function open(): Promise<AccessHandle> {
    const file: WritableFile | undefined = await (await originFolder())?.getFileHandle(name, {
      create: true,
    });
    if (file?.createSyncAccessHandle) return file.createSyncAccessHandle();
    throw new InputError('opfsScratch: expected a web worker of a browser with OPFS');
  }
  async function pass(way: 'read' | 'write', at: number, values: Float32Array): Promise<void> {
    opened ??= open();
    const access = await opened;
    const done = access[way](bytesOf(values), { at: 4 * at });
    if (done !== values.byteLength)
      throw new InputError(`opfsScratch: ${done} of ${values.byteLength} bytes went through`);
  }
  return {
    write: (at, values) => pass('write', at, values),
    async read(at, length) {
      const values = new Float32Array(length);
      await pass('read', at, values);
      return values;
    },
    async close() {
      const access = await opened;
      if (!access) return;
      opened = undefined;
      access.close();
      await (await navigator.storage.getDirectory()).removeEntry(name);
    },
  };
}
