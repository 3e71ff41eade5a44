// Where a smaller model goes: a file or a folder, there when it is whole or not at all.

import { basename } from 'node:path';
import { OsscarError } from '../errors.ts';
import type { FileOptions, FolderOptions, PruneResult } from '../pipeline/index.ts';
import { checkWritable, hashOf, readFileBytes, writeAtomically } from './files.ts';
import { createFolder } from './folder.ts';

export interface Output extends FileOptions, FolderOptions {
  /** @returns what reports say of it */
  save(result: PruneResult): Promise<{ readonly path: string; readonly sha256?: string }>;
  /** Harmless after `save`. */
  close(): Promise<void>;
}

/** @throws {InputError} where nothing can be written there */
export async function openFileOutput(path: string): Promise<Output> {
  await checkWritable(path);
  return {
    externalName: `${basename(path)}.data`,
    async save({ written }) {
      const { model, external } = written!;
      // The data file first: the model must never be there without the weights it names.
      if (external) await writeAtomically(`${path}.data`, external);
      await writeAtomically(path, [model]);
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
export async function openFolderOutput(path: string, options: { overwrite?: boolean }): Promise<Output> {
  const output = await createFolder(path, options);
  return { output, save: async () => ({ path }), close: () => output.abort() };
}
