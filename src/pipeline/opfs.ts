// Activations that do not fit the memory, in a browser: a file of the origin's private file system.

import { InputError } from '../errors.ts';
import type { Scratch } from './activations.ts';

/** The parts of the File System standard that TypeScript's types for pages leave to workers. */
interface AccessHandle {
  read(into: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  close(): void;
}

/**
 * A scratch file for `prune` in a web worker, the only place where browsers let files be written in parts.
 * It goes with `close`.
 *
 * @throws {InputError} at the first access, where there is no such file system
 */
export function opfsScratch(): Scratch {
  const name = `osscar-${crypto.randomUUID()}`;
  let opened: Promise<AccessHandle> | undefined;
  const open = async (): Promise<AccessHandle> => {
    const root = await globalThis.navigator?.storage?.getDirectory?.();
    const file = await root?.getFileHandle(name, { create: true });
    const access = (file as { createSyncAccessHandle?(): Promise<AccessHandle> })?.createSyncAccessHandle;
    if (!file || !access) throw new InputError('opfsScratch: expected a web worker of a browser with OPFS');
    return access.call(file);
  };
  const ready = () => {
    opened ??= open();
    return opened;
  };
  const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array) =>
    new Uint8Array(buffer, byteOffset, byteLength);
  const check = (done: number, wanted: number) => {
    if (done !== wanted) throw new InputError(`opfsScratch: ${done} of ${wanted} bytes went through`);
  };
  return {
    async write(at, values) {
      const bytes = bytesOf(values);
      check((await ready()).write(bytes, { at: 4 * at }), bytes.length);
    },
    async read(at, length) {
      const values = new Float32Array(length);
      check((await ready()).read(bytesOf(values), { at: 4 * at }), 4 * length);
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
