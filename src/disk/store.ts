// A run store on disk: one folder, a file for each artefact.

import { open, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileOf, keysOf, type RunStore } from '../pipeline/index.ts';
import {
  checkTakesFiles,
  expectOrdinary,
  expectPath,
  makeFolder,
  named,
  readRange,
  unlessMissing,
  writeAtomically,
} from './files.ts';
import { lockFolder, removeLeftovers } from './temporary.ts';

/**
 * The folder is made if need be, and is this process's until `close`.
 *
 * @param isShared  whether others may use it at the same time, on this machine and others
 * @throws {InputError} naming the path, and the process if another has the folder
 */
export async function folderStore(
  given: string,
  { isShared = false } = {},
): Promise<RunStore & { close(): Promise<void> }> {
  const path = expectPath(isShared ? 'store' : 'work', given);
  await named(path, makeFolder(path));
  if (isShared) {
    await removeLeftovers(path);
    await checkTakesFiles(path);
  }
  const close = isShared ? async () => {} : await named(path, lockFolder(path));
  return {
    name: path,
    close,
    async read(key) {
      const full = join(path, fileOf(key));
      const info = await named(full, unlessMissing(stat(full)));
      if (info) expectOrdinary(full, info);
      const file = info && (await named(full, unlessMissing(open(full))));
      if (!file) return undefined;
      try {
        const { size } = await file.stat();
        return await named(full, readRange(file, full, 0, size));
      } finally {
        await file.close();
      }
    },
    write: async (key, bytes) => writeAtomically(join(path, fileOf(key)), [bytes]),
    list: async (prefix = '') => keysOf(await named(path, readdir(path)), prefix),
    remove: async (key) => named(path, rm(join(path, fileOf(key)), { force: true })),
  };
}
