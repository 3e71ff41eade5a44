// Where a smaller model goes: a file or a folder, there when it is whole or not at all.

import { lstat, rm } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { OsscarError } from '../errors.ts';
import type { FileOptions, FolderOptions, PruneResult } from '../pipeline/index.ts';
import {
  checkReplacing,
  checkWritable,
  hashOf,
  named,
  type Replacing,
  readFileBytes,
  unlessMissing,
  writeAtomically,
} from './files.ts';
import { createFolder } from './folder.ts';

export interface Output extends FileOptions, FolderOptions {
  /**
   * @param isRead  whether the run has read a file, which then stays
   * @returns what reports say of it
   */
  save(
    result: PruneResult,
    isRead: (path: string) => boolean,
  ): Promise<{ readonly path: string; readonly sha256?: string }>;
  /** Harmless after `save`. */
  close(): Promise<void>;
}

/** Of a data file beside the model: the first that is free, so that the model that is there keeps its own. */
function* dataNames(path: string): Generator<string> {
  yield `${path}.data`;
  for (let i = 1; ; i++) yield `${path}.${i}.data`;
}

/** The name for a new data file, and those before it, which are taken. */
async function dataFilesOf(path: string): Promise<{ free: string; taken: string[] }> {
  const taken: string[] = [];
  for (const free of dataNames(path)) {
    if (!(await named(free, unlessMissing(lstat(free))))) return { free, taken };
    taken.push(free);
  }
  throw new Error('unreachable');
}

/**
 * A model and, where its weights do not fit into it, a data file that it names. The one rename that counts is the
 * model's: before it the old model is there with its own data, after it the new one.
 *
 * @throws {InputError} where nothing can be written there
 */
export async function openFileOutput(path: string, replacing: Replacing): Promise<Output> {
  await checkWritable(path, replacing);
  const { free: data, taken } = await dataFilesOf(path);
  return {
    externalName: basename(data),
    async save({ written }, isRead) {
      const { model, external } = written!;
      // What has come since is another run's.
      await checkReplacing(path, replacing);
      if (external) {
        await checkReplacing(data, {});
        await writeAtomically(data, external);
      }
      try {
        await writeAtomically(path, [model]);
      } catch (cause) {
        if (external) await rm(data, { force: true }).catch(() => {});
        throw cause;
      }
      // Of the model that was there.
      if (replacing.overwrite) {
        const old = taken.filter((file) => !isRead(resolve(file)));
        await Promise.all(old.map((file) => rm(file, { force: true }).catch(() => {})));
      }
      const sha256 = hashOf(await readFileBytes(path));
      if (sha256 !== hashOf(model)) {
        throw new OsscarError('ERR_OSSCAR_VERIFY', `${path} does not hold what was written to it`);
      }
      return { path, sha256 };
    },
    close: async () => {},
  };
}

/** @throws {InputError} where nothing can be written there */
export async function openFolderOutput(path: string, replacing: Replacing): Promise<Output> {
  const output = await createFolder(path, replacing);
  return { output, save: async () => ({ path }), close: () => output.abort() };
}
