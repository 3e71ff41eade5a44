// An output folder without a file system: Blobs, which a browser may keep on disk.

import { InputError } from '../errors.ts';
import { blobFolder, checkFileName, type Folder, type OutputFolder } from './folder.ts';

export interface MemoryOutput extends OutputFolder {
  /** The files by name. @throws {InputError} unless they are committed */
  files(): Map<string, Blob>;
}

/** The parts, which must lie back to back, as one Blob. */
function join(parts: ReadonlyMap<number, Blob>, path: string): Blob {
  const sorted = [...parts].sort(([a], [b]) => a - b);
  let end = 0;
  for (const [offset, part] of sorted) {
    if (offset !== end) throw new InputError(`"${path}": bytes ${end} to ${offset} are missing or overlap`);
    end += part.size;
  }
  return new Blob(sorted.map(([, part]) => part));
}

/** An output folder in memory. Parts of a file may come in any order, and must neither overlap nor leave holes. */
export function memoryOutput(name = 'model'): MemoryOutput {
  const files = new Map<string, Map<number, Blob>>();
  let state: 'open' | 'committed' | 'aborted' = 'open';
  /** Files that were read, each as a folder; another may have holes still. */
  const joined = new Map<string, Folder>();
  const blobOf = (file: string) => join(files.get(file) ?? new Map(), `${name}/${file}`);
  const whole = () => new Map(Array.from(files.keys(), (file) => [file, blobOf(file)]));
  const folder = (file: string) => {
    const known = joined.get(file) ?? blobFolder(files.has(file) ? [[file, blobOf(file)]] : [], name);
    joined.set(file, known);
    return known;
  };
  return {
    name,
    list: async () => [...files.keys()].sort(),
    size: (file) => folder(file).size(file),
    read: (file, offset, length) => folder(file).read(file, offset, length),
    close: async () => {},
    async writeAt(file, offset, bytes) {
      checkFileName(name, file);
      if (state !== 'open') throw new InputError(`"${name}": it is ${state}`);
      joined.delete(file);
      if (!files.has(file)) files.set(file, new Map());
      if (bytes.length > 0) files.get(file)!.set(offset, new Blob([bytes as Uint8Array<ArrayBuffer>]));
    },
    async commit() {
      whole();
      state = 'committed';
    },
    async abort() {
      if (state === 'committed') return;
      state = 'aborted';
      joined.clear();
      files.clear();
    },
    files() {
      if (state !== 'committed') throw new InputError(`"${name}": it is not committed`);
      return whole();
    },
  };
}
