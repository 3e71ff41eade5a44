// Web workers: browsers.

import type { Endpoint } from 'comlink';
import { InputError } from '../errors.ts';
import type { ScratchFile } from '../tiles/scratch.ts';
import type { Platform } from './environment.ts';

export const browser: Platform = {
  get concurrency() {
    return globalThis.navigator?.hardwareConcurrency ?? 1;
  },

  spawn(script, url) {
    const worker = url ? new Worker(url, { type: 'module' }) : script.start();
    return {
      endpoint: worker,
      onLost(callback) {
        worker.addEventListener('error', (event) => {
          event.preventDefault?.();
          callback(event.message || 'the script did not load');
        });
        worker.addEventListener('messageerror', () => callback('a message could not be read'));
      },
      hold() {},
      async terminate() {
        worker.terminate();
      },
    };
  },

  parent: () => globalThis as unknown as Endpoint,

  async scratch() {
    const name = `osscar-tiles-${crypto.randomUUID()}`;
    const root: FileSystemDirectoryHandle | undefined = await navigator.storage?.getDirectory?.();
    const file = (await root?.getFileHandle(name, { create: true })) as WorkerFile | undefined;
    if (!file?.createSyncAccessHandle) {
      throw new InputError('tiles: what does not fit the memory needs a web worker of a browser with OPFS');
    }
    const access = await file.createSyncAccessHandle();
    return {
      read: (into, options) => access.read(into, options),
      write: (bytes, options) => access.write(bytes, options),
      close() {
        access.close();
        root!.removeEntry(name).catch(() => {}); // as a tab that is closed may leave it
      },
    };
  },
};

/** What workers have of a file. */
interface WorkerFile {
  createSyncAccessHandle?(): Promise<ScratchFile & { close(): void }>;
}
