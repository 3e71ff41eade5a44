// Temporary files for activations that do not fit the memory.

import { type FileHandle, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { Scratch } from '../pipeline/index.ts';
import type { Opened } from '../run/index.ts';
import { checkTakesFiles, named, readRange, writeRange } from './files.ts';
import { removeLeftovers, temporaryName } from './temporary.ts';

/** The file appears when it is first written to, and goes with `close`. */
export function scratchFile(folder = tmpdir()): Scratch {
  const path = temporaryName(folder);
  let opened: Promise<FileHandle> | undefined;
  const ready = () => {
    // Nobody else's to read: the folder may be open to all.
    opened ??= named(path, open(path, 'wx+', 0o600));
    return opened;
  };
  return {
    async write(at, values) {
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      const file = await ready();
      await named(path, writeRange(file, 4 * at, bytes));
    },
    async read(at, length) {
      const file = await ready();
      return new Float32Array((await named(path, readRange(file, path, 4 * at, 4 * length))).buffer);
    },
    async close() {
      const file = await opened;
      opened = undefined;
      await file?.close();
      if (file) await rm(path, { force: true });
    },
  };
}

/**
 * Makes scratch files in a folder. Those of dead processes are removed from it.
 *
 * @throws {InputError} where a folder that is given takes none, before hours of work; the temporary one may not be needed
 */
export async function openScratch(opened: Opened, given?: string): Promise<() => Scratch> {
  if (given !== undefined) await checkTakesFiles(given);
  const folder = given ?? tmpdir();
  await removeLeftovers(folder);
  return () => opened(scratchFile(folder));
}
