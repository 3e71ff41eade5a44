// Paths of a disk, for what reads models and data wherever they lie.

import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InputError } from '../errors.ts';
import type { Place } from '../run/index.ts';
import { externalReader, isFile, isFolder, list, named, readFileBytes } from './files.ts';
import { openFolder } from './folder.ts';

/** @throws {InputError} where it is of another machine */
function pathOf(url: URL): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new InputError(`"${url}": no path on this machine (${(cause as Error).message})`, { cause });
  }
}

export function onDisk(at: string | URL): Place {
  const path = typeof at === 'string' ? at : pathOf(at);
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
