// Temporary files for activations that do not fit the memory.

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Scratch } from '../pipeline/language/hidden.ts';
import { readRange, writeRange } from './files.ts';

/** The file appears when it is first written to, and goes with `close`. */
export function scratchFile(folder = tmpdir()): Scratch {
  let opened: Promise<{ file: FileHandle; folder: string; path: string }> | undefined;
  const ready = () => {
    opened ??= mkdtemp(join(folder, 'osscar-')).then(async (folder) => {
      const path = join(folder, 'activations');
      return { folder, path, file: await open(path, 'w+') };
    });
    return opened;
  };
  return {
    async write(at, values) {
      const { file } = await ready();
      await writeRange(file, 4 * at, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    },
    async read(at, length) {
      const { file, path } = await ready();
      return new Float32Array((await readRange(file, path, 4 * at, 4 * length)).buffer);
    },
    async close() {
      const it = await opened;
      opened = undefined;
      await it?.file.close();
      if (it) await rm(it.folder, { recursive: true, force: true });
    },
  };
}

/** Makes scratch files and closes them all, whoever has not. */
export function scratchFiles(folder?: string): { open(): Scratch; close(): Promise<void> } {
  const files: Scratch[] = [];
  return {
    open() {
      const file = scratchFile(folder);
      files.push(file);
      return file;
    },
    async close() {
      for (const file of files) await file.close();
    },
  };
}
