// The ports to a model's folder: its files read and written by byte range. Files of a folder on disk are the
// command line's business; here are those that a browser has, made of Blobs, which it may keep on disk.

import { InputError } from '../errors.ts';
import { expectMethods, said } from '../expect.ts';
import { checkJsonBytes, decodeUtf8, type JsonObject, parseJson, parseJsonObject } from '../json.ts';

/**
 * A folder of files that can be read in parts. Their names are plain, without `..`; a file in a folder of the folder has the name of that, and a
 * slash, before its own.
 */
export interface Folder {
  /** What messages call it: a path, say. */
  readonly name: string;
  /** Names of the files, or of those in a folder of the folder, without its name: none where it is not there. */
  list(within?: string): Promise<readonly string[]>;
  /** Bytes. @throws {InputError} if there is no such file */
  size(file: string): Promise<number>;
  /** Exactly these bytes, for the caller to keep. @throws {InputError} if the file has not got them */
  read(file: string, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Lets go of open files. */
  close(): Promise<void>;
}

/** @throws {InputError} where it is none, as a path */
export function expectFolder(operation: string, folder: unknown): void {
  const expected = 'a folder (openFolder(path), blobFolder(files))';
  expectMethods(operation, 'folder', folder, expected, 'list', 'read');
}

/** A folder that is being written, and can be read back before it is committed. */
export interface OutputFolder extends Folder {
  /** Writes into a file, which is made if need be, at any offset. */
  writeAt(file: string, offset: number, bytes: Uint8Array): Promise<void>;
  /** Makes the folder appear under its name, whole. Nothing can be written afterwards. */
  commit(): Promise<void>;
  /** Removes everything that was written. Harmless after `commit` and if called twice. */
  abort(): Promise<void>;
}

/** How much of a file is held at once when it is read from one end to the other. */
export const CHUNK_BYTES = 16 * 2 ** 20;

/** How messages name a file of a folder. */
export const pathIn = (folder: Folder, file: string) => `${folder.name}/${file}`;

/** @throws {InputError} if the name could lead out of a folder */
function checkFileName(folder: string, file: string): void {
  if (file === '' || file === '.' || file === '..' || /[/\\\0]/.test(file)) {
    throw new InputError(`"${folder}": expected the plain name of a file in the folder, got "${file}"`);
  }
}

/** The same for one that may lie in a folder of the folder. @throws {InputError} */
export function checkPathWithin(folder: string, path: string): void {
  for (const part of path.split('/')) checkFileName(folder, part);
}

/** Those of files, by their paths, that lie in the folder itself, or in one of its folders. */
export function namesIn(paths: Iterable<string>, within?: string): string[] {
  const before = within === undefined ? '' : `${within}/`;
  const names = [...paths].filter((path) => path.startsWith(before)).map((path) => path.slice(before.length));
  return names.filter((name) => !name.includes('/')).sort();
}

/** @throws {InputError} if the file does not have these bytes */
export function checkRange(path: string, size: number, offset: number, length: number): void {
  if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
    throw new InputError(`"${path}": expected bytes ${offset} to ${offset + length}, the file has ${size}`);
  }
}

async function readAll(folder: Folder, file: string, maxBytes: number): Promise<Uint8Array> {
  const size = await folder.size(file);
  checkJsonBytes(size, maxBytes, pathIn(folder, file));
  return folder.read(file, 0, size);
}

/** @throws {FormatError} naming the file if it is not a JSON object, or larger than `maxBytes` */
export async function readJson(folder: Folder, file: string, maxBytes: number): Promise<JsonObject> {
  return parseJsonObject(await readAll(folder, file, maxBytes), pathIn(folder, file));
}

/** The same for one that need be no object. @throws {FormatError} naming the file if it is not JSON, or larger than `maxBytes` */
export async function readJsonValue(folder: Folder, file: string, maxBytes: number): Promise<unknown> {
  const where = `"${pathIn(folder, file)}"`;
  return parseJson(decodeUtf8(await readAll(folder, file, maxBytes), where), where);
}

/** A file from one end to the other, `CHUNK_BYTES` at a time. */
export async function* readChunks(folder: Folder, file: string): AsyncGenerator<Uint8Array> {
  const size = await folder.size(file);
  for (let at = 0; at < size; at += CHUNK_BYTES) {
    yield await folder.read(file, at, Math.min(CHUNK_BYTES, size - at));
  }
}

/** A folder of Blobs by name. */
function folderOf(name: string, blobs: Pick<ReadonlyMap<string, Blob>, 'keys' | 'get'>): Folder {
  const find = (file: string): Blob => {
    const blob = blobs.get(file);
    if (!blob) throw new InputError(`"${name}/${file}": no such file`);
    return blob;
  };
  return {
    name,
    list: async (within) => namesIn(blobs.keys(), within),
    size: async (file) => find(file).size,
    read: async (file, offset, length) => {
      const blob = find(file);
      checkRange(`${name}/${file}`, blob.size, offset, length);
      return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
    },
    close: async () => {},
  };
}

/**
 * A folder of files in memory or picked in a browser: a `FileList`, or a `Map` from names to bytes. Names may have those of folders in it
 * before them.
 *
 * @throws {InputError} if a name could lead out of the folder, or comes twice
 *
 * @example
 * const model = await openLanguageModel(blobFolder(input.files!)); // of <input type="file" webkitdirectory>
 */
export function blobFolder(
  files: Iterable<File | readonly [string, Blob | Uint8Array]>,
  name = 'model',
): Folder {
  expectMethods('blobFolder', 'files', files, 'files, or a Map of their names and bytes', Symbol.iterator);
  const blobs = new Map<string, Blob>();
  for (const it of files) {
    const [file, content] = namedBlob(it);
    checkPathWithin(name, file);
    if (blobs.has(file)) throw new InputError(`"${name}": two files are called "${file}"`);
    blobs.set(file, content);
  }
  return folderOf(name, blobs);
}

/** Where a file lies in the folder that was picked in a page, or its name, where it was picked itself. */
export function pathOfFile(file: File): string {
  const { name, webkitRelativePath } = file; // not in the declaration, which is read without those of the DOM
  const [, ...inside] = webkitRelativePath?.split('/') ?? [];
  return inside.length > 0 ? inside.join('/') : name;
}

/** @throws {InputError} where it is neither a file nor a name and what that holds */
function namedBlob(it: unknown): [string, Blob] {
  const [file, content] = it instanceof Blob ? [pathOfFile(it as File), it] : Array.isArray(it) ? it : [];
  if (typeof file === 'string') {
    if (content instanceof Blob) return [file, content];
    if (content instanceof Uint8Array) return [file, new Blob([content as Uint8Array<ArrayBuffer>])];
  }
  throw new InputError(`blobFolder: "files" expected files, or pairs of a name and bytes, got ${said(it)}`);
}

/** An output folder without a file system. */
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

/**
 * An output folder in memory. Parts of a file may come in any order, and must neither overlap nor leave holes.
 *
 * @example
 * const output = memoryOutput();
 * await prune(language, { engine, calibration, keep: 0.7, output });
 * const weights = output.files().get('model.safetensors');
 */
export function memoryOutput(name = 'model'): MemoryOutput {
  const files = new Map<string, Map<number, Blob>>();
  /** Files that were read; others may have holes still. */
  const joined = new Map<string, Blob>();
  let state: 'open' | 'committed' | 'aborted' = 'open';
  const blobOf = (file: string) => {
    const parts = files.get(file);
    if (parts && !joined.has(file)) joined.set(file, join(parts, `${name}/${file}`));
    return joined.get(file);
  };
  const whole = () => new Map(Array.from(files.keys(), (file) => [file, blobOf(file)!]));
  return {
    ...folderOf(name, { keys: () => files.keys(), get: blobOf }),
    async writeAt(file, offset, bytes) {
      checkPathWithin(name, file);
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
