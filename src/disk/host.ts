// The disk of Node, Deno and Bun.

import { InputError } from '../errors.ts';
import type { Host } from '../run/index.ts';
import { loadNative } from './engine.ts';
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
  async output(path, kind, replacing) {
    // To the system it is the working folder, which nobody means to replace.
    if (path === '') throw new InputError('`output`: expected a path, got ""');
    if (kind === 'file') return openFileOutput(path, replacing);
    if (kind === 'folder') return openFolderOutput(path, replacing);
    return openModelFolderOutput(path, kind.source.path, kind.file.path, replacing);
  },
};
