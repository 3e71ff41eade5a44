// Node's worker threads, which Deno and Bun have too. They are asked of the process, not imported: the same file then
// loads in browsers.

import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { inputError } from '../system.ts';
import type { Platform } from './environment.ts';

const threads = () => process.getBuiltinModule('node:worker_threads');

/** Of any thread: the flags of the process count for all. */
const heapBytes = () => process.getBuiltinModule('node:v8').getHeapStatistics().heap_size_limit;

/** Beside the file this code is built into. Kept apart from `new URL`, which bundlers would take for an asset. */
const here = import.meta.url;

export const node: Platform = {
  get concurrency() {
    return process.getBuiltinModule('node:os').availableParallelism();
  },

  spawn({ name }, url = new URL(name, here)) {
    const { Worker: Thread } = threads();
    const script = typeof url === 'string' && url.startsWith('file:') ? new URL(url) : url;
    // Without the flags of the process: some (--input-type) make no sense for a file, and the worker needs none.
    const worker = new Thread(script, { execArgv: [] });
    worker.unref();
    return {
      endpoint: nodeEndpoint(worker),
      onLost(callback) {
        worker.once('error', (error: NodeJS.ErrnoException) => {
          const isFull = error?.code === 'ERR_WORKER_OUT_OF_MEMORY';
          callback(error instanceof Error ? error.message : String(error), isFull ? heapBytes() : undefined);
        });
        worker.once('messageerror', (error) => callback(error.message));
        worker.once('exit', (code) => callback(`it exited with code ${code}`));
      },
      hold(busy) {
        if (busy) worker.ref();
        else worker.unref();
      },
      async terminate() {
        await worker.terminate();
      },
    };
  },

  parent() {
    const { parentPort } = threads();
    if (!parentPort) throw new Error('worker: expected to be started as a worker thread');
    return nodeEndpoint(parentPort);
  },

  async scratch(folder) {
    const { closeSync, openSync, readSync, rmSync, writeSync } = process.getBuiltinModule('node:fs');
    const path = process
      .getBuiltinModule('node:path')
      .join(folder ?? process.getBuiltinModule('node:os').tmpdir(), `osscar-tiles-${crypto.randomUUID()}`);
    const attempt = <T>(action: () => T): T => {
      try {
        return action();
      } catch (cause) {
        throw inputError(path, cause);
      }
    };
    const file = attempt(() => openSync(path, 'wx+', 0o600));
    // Of a file that has no name nothing is left, however the process ends. Windows keeps names of open files.
    const unlink = () => rmSync(path, { force: true });
    let unlinked = false;
    try {
      unlink();
      unlinked = true;
    } catch {}
    return {
      read: (into, { at }) => attempt(() => readSync(file, into, 0, into.length, at)),
      write(bytes, { at }) {
        // A disk that runs full takes a part, and says why at the next call.
        for (let done = 0; done < bytes.length; )
          done += attempt(() => writeSync(file, bytes, done, bytes.length - done, at + done));
        return bytes.length;
      },
      close() {
        closeSync(file);
        if (!unlinked) unlink();
      },
    };
  },
};
