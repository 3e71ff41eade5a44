// Temporary files for activations that do not fit the memory.

import { type FileHandle, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import type { Scratch } from '../pipeline/index.ts';
import type { Opened } from '../run/index.ts';
import { readRange, writeRange } from './files.ts';
import { removeLeftovers, temporaryName } from './temporary.ts';

/** The file appears when it is first written to, and goes with `close`. */
export function scratchFile(folder = tmpdir()): Scratch {
  const path = temporaryName(folder);
  let opened: Promise<FileHandle> | undefined;
  const ready = () => {
    // Nobody else's to read: the folder may be open to all.
    opened ??= open(path, 'wx+', 0o600);
    return opened;
  };
  return {
    async write(at, values) {
      const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
      await writeRange(await ready(), 4 * at, bytes);
    },
    async read(at, length) {
      return new Float32Array((await readRange(await ready(), path, 4 * at, 4 * length)).buffer);
    },
    async close() {
      const file = await opened;
      opened = undefined;
      await file?.close();
      if (file) await rm(path, { force: true });
    },
  };
}

/** Makes scratch files in a folder. Those of dead processes are removed from it. */
export async function openScratch(opened: Opened, folder = tmpdir()): Promise<() => Scratch> {
  await removeLeftovers(folder);
  return () => opened(scratchFile(folder));
}
