// A run store in a folder of a browser: of the origin's private file system, or one that the user has picked.

import { InputError } from '../../errors.ts';
import { fileOf, keysOf, type RunStore } from './store.ts';

/** The part of FileSystemFileHandle that is used. Not every browser has both ways to write, nor everywhere. */
export interface WritableFile {
  getFile(): Promise<Blob>;
  createWritable?(): Promise<{
    write(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
    close(): Promise<void>;
  }>;
  /** In workers. */
  createSyncAccessHandle?(): Promise<{
    truncate(size: number): void;
    write(bytes: Uint8Array): number;
    flush(): void;
    close(): void;
  }>;
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
 */
export async function opfsStore(name: string): Promise<RunStore> {
  const root = await globalThis.navigator?.storage?.getDirectory?.();
  if (!root) throw new InputError('opfsStore: expected a browser with OPFS, on a secure page');
  return directoryStore(name, await root.getDirectoryHandle(name, { create: true }));
}
