// The disk of Node, Deno and Bun.

import { platform } from '../pool/platform.ts';
import type { Host } from '../run/index.ts';
import { loadNative } from './engine.ts';
import { expectPath } from './files.ts';
import { openFileOutput, openFolderOutput, openModelFolderOutput } from './output.ts';
import { onDisk } from './place.ts';
import { openScratch } from './scratch.ts';
import { folderStore } from './store.ts';
import { openQueue } from './worker.ts';

export const disk: Host = {
  place: onDisk,
  store: folderStore,
  queue: openQueue,
  scratch: openScratch,
  native: loadNative,
  // onnxruntime-web would take half of them, and four at most.
  get threads() {
    return platform().concurrency;
  },
  async output(given, kind, replacing) {
    // To the system '' is the working folder, which nobody means to replace.
    const path = expectPath('output', given);
    if (kind === 'file') return openFileOutput(path, replacing);
    if (kind === 'folder') return openFolderOutput(path, replacing);
    const { source, file, parts = [] } = kind;
    const along = parts.map((part) => part.path);
    return openModelFolderOutput(path, source.path, file.path, replacing, along);
  },
};
