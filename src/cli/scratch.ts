// A temporary file for activations that do not fit the memory.

import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError } from '../errors.ts';
import type { Scratch } from '../pipeline/language/hidden.ts';

/** The file appears when it is first written to, and goes with `close`. */
export function scratchFile(folder = tmpdir()): Scratch {
  let opened: Promise<{ file: FileHandle; folder: string }> | undefined;
  const ready = () => {
    opened ??= mkdtemp(join(folder, 'osscar-')).then(async (path) => ({
      folder: path,
      file: await open(join(path, 'activations'), 'w+'),
    }));
    return opened;
  };
  const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  return {
    async write(at, values) {
      const { file } = await ready();
      const bytes = bytesOf(values);
      for (let done = 0; done < bytes.length; ) {
        done += (await file.write(bytes, done, bytes.length - done, 4 * at + done)).bytesWritten;
      }
    },
    async read(at, length) {
      const { file } = await ready();
      const values = new Float32Array(length);
      const bytes = bytesOf(values);
      for (let done = 0; done < bytes.length; ) {
        const { bytesRead } = await file.read(bytes, done, bytes.length - done, 4 * at + done);
        if (bytesRead === 0)
          throw new InputError(`"${folder}": the file of activations is shorter than it was`);
        done += bytesRead;
      }
      return values;
    },
    async close() {
      const it = await opened;
      await it?.file.close();
      if (it) await rm(it.folder, { recursive: true, force: true });
    },
  };
}
