// Node's worker threads, which Deno and Bun have too. They are asked of the process, not imported: the same file then
// loads in browsers.

import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { Platform } from './platform.ts';

const threads = () => process.getBuiltinModule('node:worker_threads');

/** Beside the file this code is built into. Kept apart from `new URL`, which bundlers would take for an asset. */
const here = import.meta.url;

export const node: Platform = {
  get concurrency() {
    return process.getBuiltinModule('node:os').availableParallelism();
  },

  spawn(url = new URL('./worker.js', here)) {
    const { Worker: Thread } = threads();
    const script = typeof url === 'string' && url.startsWith('file:') ? new URL(url) : url;
    // Without the flags of the process: some (--input-type) make no sense for a file, and the worker needs none.
    const worker = new Thread(script, { execArgv: [] });
    worker.unref();
    return {
      endpoint: nodeEndpoint(worker),
      onLost(callback) {
        worker.once('error', (error) => callback(error instanceof Error ? error.message : String(error)));
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
    const file = openSync(path, 'wx+', 0o600);
    // Of a file that has no name nothing is left, however the process ends. Windows keeps names of open files.
    const unlink = () => rmSync(path, { force: true });
    const isGone = attempt(unlink);
    return {
      read: (into, { at }) => whole(into, (part, done) => readSync(file, part, 0, part.length, at + done)),
      write: (bytes, { at }) =>
        whole(bytes, (part, done) => writeSync(file, part, 0, part.length, at + done)),
      close() {
        closeSync(file);
        if (!isGone) unlink();
      },
    };
  },
};

function attempt(run: () => void): boolean {
  try {
    run();
    return true;
  } catch {
    return false;
  }
}

/** One call moves 2 GiB at most, and may move less. @returns bytes that were moved */
function whole(bytes: Uint8Array, move: (part: Uint8Array, done: number) => number): number {
  let done = 0;
  while (done < bytes.length) {
    const moved = move(bytes.subarray(done, done + 2 ** 30), done);
    if (moved === 0) break;
    done += moved;
  }
  return done;
}
