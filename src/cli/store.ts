// A run store on disk: one folder, a file for each artefact.

import { mkdir, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileOf, keysOf, type RunStore } from '../pipeline/index.ts';
import { inputError, readRange, writeAtomically } from './files.ts';
import { lockFolder } from './temporary.ts';

export interface FolderStore extends RunStore {
  /** Lets other processes use the folder. */
  close(): Promise<void>;
}

/**
 * The folder is made if need be, and is this process's until `close`.
 *
 * @throws {InputError} naming the path, and the process if another has the folder
 */
export async function folderStore(path: string): Promise<FolderStore> {
  const failed = (cause: unknown) => {
    throw inputError(path, cause);
  };
  await mkdir(path, { recursive: true }).catch(failed);
  const close = await lockFolder(path).catch(failed);
  return {
    name: path,
    close,
    async read(key) {
      const full = join(path, fileOf(key));
      const file = await open(full).catch((cause) => {
        if (cause.code !== 'ENOENT') throw inputError(full, cause);
      });
      if (!file) return undefined;
      try {
        return await readRange(file, full, 0, (await file.stat()).size);
      } catch (cause) {
        throw inputError(full, cause);
      } finally {
        await file.close();
      }
    },
    write: async (key, bytes) => writeAtomically(join(path, fileOf(key)), [bytes]),
    list: async (prefix = '') => keysOf((await readdir(path).catch(failed)) as string[], prefix),
    remove: async (key) => rm(join(path, fileOf(key)), { force: true }).catch(failed),
  };
}
