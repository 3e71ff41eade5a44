// Paths of a disk, for what reads models and data wherever they lie.

import { basename, dirname, join, resolve } from 'node:path';
import { FILE_ADDRESS, type Place } from '../run/index.ts';
import { externalReader, isFile, isFolder, list, named, pathOf, readFileBytes } from './files.ts';
import { openFolder } from './folder.ts';

export function onDisk(at: string | URL): Place {
  const path = typeof at === 'string' && !FILE_ADDRESS.test(at) ? at : pathOf(at);
  return {
    path,
    kind: async () => ((await isFolder(path)) ? 'folder' : (await isFile(path)) ? 'file' : undefined),
    list: () => named(path, list(path)),
    read: () => readFileBytes(path),
    at: (name) => onDisk(join(path, name)),
    // Of a file in the working folder too.
    parent: () => onDisk(basename(path) === path ? dirname(resolve(path)) : dirname(path)),
    openFolder: () => openFolder(path),
    externalReader: (onRead) => externalReader(path, onRead),
  };
}
