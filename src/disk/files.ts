// Files of a disk: a model's external data, output that is whole or absent. Every failure is an InputError of one line that
// names the path.

import { createHash } from 'node:crypto';
import type { Stats } from 'node:fs';
import {
  access,
  constants,
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InputError, OutOfMemoryError } from '../errors.ts';
import type { ReadExternal } from '../graph/index.ts';
import { type JsonObject, parseJsonObject } from '../json.ts';
import { ADDRESS, FILE_ADDRESS, type Listing, type Replacing } from '../run/index.ts';
import { inputError } from '../system.ts';
import { meantBy } from './missing.ts';
import { removeLeftovers, temporaryName } from './temporary.ts';

/** An action of the system, whose failures become InputErrors that name the path, and what may be meant by one that leads nowhere. */
export const named = <T>(path: string, action: Promise<T>): Promise<T> =>
  action.catch((cause) => {
    const error = inputError(path, cause);
    throw cause.code === 'ENOENT' ? new InputError(error.message + meantBy(path), { cause }) : error;
  });

/** The same, where undefined stands for what is missing. */
export const unlessMissing = <T>(action: Promise<T>): Promise<T | undefined> =>
  action.catch((cause) => {
    if (cause.code === 'ENOENT') return undefined;
    throw cause;
  });

/** @throws {InputError} where it is of another machine */
export function pathOf(url: string | URL): string {
  try {
    return fileURLToPath(url);
  } catch (cause) {
    throw new InputError(`"${url}": no path on this machine (${(cause as Error).message})`, { cause });
  }
}

/** Of an address of the disk (`file://…`) the path. @throws {InputError} naming the option, where it is no path to write to: of an address, folders would be made */
export function expectPath(option: string, path: string): string {
  if (FILE_ADDRESS.test(path)) return pathOf(path);
  if (path === '' || ADDRESS.test(path))
    throw new InputError(`\`${option}\`: expected a path, got "${path}"`);
  return path;
}

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

/** Whether there is something that is no folder. What is no file either says so when it is read. */
export async function isFile(path: string): Promise<boolean> {
  const info = await stat(path).catch(() => undefined);
  return info !== undefined && !info.isDirectory();
}

/** @throws {InputError} naming the path if there is none, or if it is no folder */
export async function checkFolder(path: string): Promise<void> {
  if (!(await named(path, stat(path))).isDirectory()) throw new InputError(`"${path}": not a folder`);
}

/** The same of a folder that something is to be written into. */
export async function checkParent(path: string): Promise<void> {
  if (path === '-') throw new InputError('"-": nothing goes to standard output; name a file or a folder');
  const folder = dirname(path);
  if (await named(folder, unlessMissing(stat(folder)))) return checkFolder(folder);
  // Also of ~ alone, which is a folder.
  const hint = meantBy(`${folder}/`) || '; make it first, then what goes into it';
  throw new InputError(`"${folder}": no such file or folder${hint}`);
}

/**
 * A file or a folder: reading from anything else may never end, and opening a pipe waits for a writer.
 *
 * @param real  where `path` leads
 * @throws {InputError} naming the path, and what it is
 */
async function checkOrdinary(path: string, real = path): Promise<Stats> {
  const info = await named(path, stat(real));
  expectOrdinary(path, info);
  return info;
}

/** The same of what is there. */
export function expectOrdinary(path: string, info: Stats): void {
  if (info.isFile() || info.isDirectory()) return;
  const kind = info.isFIFO() ? 'a named pipe' : info.isSocket() ? 'a socket' : 'a device';
  throw new InputError(`"${path}": not a file but ${kind}; put what is to be read into a file of that name`);
}

/** @throws {InputError} naming the path */
export async function readFileBytes(path: string): Promise<Uint8Array> {
  await checkOrdinary(path);
  const { buffer, byteOffset, byteLength } = await named(path, readFile(path));
  // Not a Buffer, whose slice() is a view.
  return new Uint8Array(buffer, byteOffset, byteLength);
}

export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** @throws {FormatError} naming the path, if it is not a JSON object */
export async function readJsonFile(path: string): Promise<JsonObject> {
  return parseJsonObject(await readFileBytes(path), path);
}

/**
 * Bytes that the file has, however many.
 *
 * @throws {InputError} if it ends before
 * @throws {OutOfMemoryError} if they are more than an array can have
 */
export async function readRange(
  file: FileHandle,
  path: string,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = newBytes(length, path);
  for (let done = 0; done < length; ) {
    // One call of the system reads 2 GiB at most.
    const { bytesRead } = await file.read(bytes, done, Math.min(length - done, 2 ** 30), offset + done);
    if (bytesRead === 0) throw new InputError(`"${path}": truncated while being read`);
    done += bytesRead;
  }
  return bytes;
}

function newBytes(length: number, path: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    const what = `"${path}": ${length} bytes at once are more than there is memory for`;
    throw new OutOfMemoryError(what, length, { cause });
  }
}

/** All of the bytes, from `offset` on. */
export async function writeRange(file: FileHandle, offset: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
  }
}

/** Whether a path is the folder, or below it. Both absolute. */
export function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
}

/** Where a path leads, or will lead once it is there: a work folder may be made by the run. */
export async function realPlace(path: string): Promise<string> {
  const full = resolve(path);
  const up = dirname(full);
  return realpath(full).catch(async () => (up === full ? full : join(await realPlace(up), basename(full))));
}

/** Where the files of a folder may really lie: in it, and of the Hugging Face cache among the blobs it links to. */
async function rootsOf(folder: string): Promise<string[]> {
  const real = await realpath(folder);
  for (let at = real; at !== dirname(at); at = dirname(at)) {
    if (basename(dirname(at)) === 'snapshots') return [real, join(at, '..', '..', 'blobs')];
  }
  return [real];
}

/**
 * The real path of a file that is read because something in a folder names it. Folders come from strangers: links must
 * not lead out of them, and opening a pipe would wait for a writer.
 *
 * @throws {InputError} naming the path, where it is missing, elsewhere or no file
 */
export async function fileWithin(folder: string, path: string, alsoIn?: string): Promise<string> {
  const real = await named(path, realpath(path));
  const roots = await named(folder, rootsOf(folder));
  if (alsoIn !== undefined) roots.push(alsoIn);
  if (!roots.some((root) => isWithin(root, real))) {
    throw new InputError(`"${path}": leads out of its folder, to "${real}"; put the file itself there`);
  }
  if (!(await checkOrdinary(path, real)).isFile()) throw new InputError(`"${path}": not a file`);
  return real;
}

/**
 * For the tensors that an ONNX model keeps in files beside it. Locations are relative to the model's folder and
 * must stay inside it, or where the model really lies: a model is untrusted and may not name other files.
 *
 * @param onRead  is told the real path of every file that is read
 */
export function externalReader(modelPath: string, onRead: (path: string) => void = () => {}): ReadExternal {
  const folder = dirname(resolve(modelPath));
  return async (location, offset, length) => {
    const path = resolve(folder, location);
    if (isAbsolute(location) || path === folder || !isWithin(folder, path)) {
      throw new InputError(`"${modelPath}": external data "${location}" is outside the model's folder`);
    }
    const own = dirname(await realpath(modelPath).catch(() => path)); // a model that was given as bytes has no file
    const real = await fileWithin(folder, path, own);
    onRead(real);
    const file = await named(path, open(real));
    try {
      const { size } = await file.stat();
      const end = offset + length;
      if (!(offset >= 0 && offset <= end && end <= size)) {
        throw new InputError(
          `"${path}": expected external data at bytes ${offset} to ${end}, the file has ${size}`,
        );
      }
      return await named(path, readRange(file, path, offset, length));
    } finally {
      await file.close();
    }
  };
}

/**
 * The one rule for what is there already: it is replaced on request, and never where the run reads from it, by
 * whatever name.
 *
 * @returns what is there
 * @throws {InputError} naming the path
 */
export async function checkReplacing(path: string, { overwrite = false, inputs = [] }: Replacing) {
  const info = await named(path, unlessMissing(lstat(path)));
  const real = await realPlace(path);
  const { dev, ino } = await stat(path).catch(() => info ?? { dev: 0, ino: 0 });
  for (const input of inputs) {
    const other = await stat(input).catch(() => undefined);
    const isSame = ino !== 0 && other?.dev === dev && other.ino === ino; // a second name of one file
    if (isSame || isWithin(real, await realPlace(input))) {
      throw new InputError(
        `"${path}": is, or holds, "${input}", which is read and kept; choose another output`,
      );
    }
  }
  if (!info) return undefined;
  if (!overwrite)
    throw new InputError(
      `"${path}": exists already; choose another name or overwrite it (\`overwrite: true\`)`,
    );
  return info;
}

/**
 * To be called before long work whose result goes to `path`. Removes what dead processes have left in its folder.
 *
 * @throws {InputError} if the folder is missing or cannot be written to, or `path` is there and may not be replaced
 */
export async function checkWritable(path: string, replacing: Replacing = {}): Promise<void> {
  const folder = dirname(resolve(path));
  await checkParent(path);
  if ((await isFolder(path)) || /[\\/]$/.test(path))
    throw new InputError(`"${path}": is a folder; expected the name of a file in it`);
  await removeLeftovers(folder);
  // A device would be replaced by a file of its name.
  const there = await stat(path).catch(() => undefined);
  if (there && !there.isFile()) throw new InputError(`"${path}": is no file, and is not overwritten`);
  await checkReplacing(path, replacing);
  await checkTakesFiles(folder);
}

/** @throws {InputError} if it is no folder, or none that files can be made in */
export async function checkTakesFiles(folder: string): Promise<void> {
  await checkFolder(folder);
  // access() alone says yes to root, whatever the permissions and mounts.
  const probe = temporaryName(folder);
  try {
    await access(folder, constants.W_OK);
    const file = await open(probe, 'wx');
    await file.close();
  } catch (cause) {
    // The folder is there, so this is how one like /proc says that it takes no files.
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT')
      throw new InputError(`"${folder}": no file can be made in this folder`, { cause });
    throw inputError(folder, cause);
  } finally {
    await rm(probe, { force: true }).catch(() => {});
  }
}

/**
 * Makes a folder, and those above it, where they are missing. Node's `recursive` calls a read-only file system a missing
 * folder, and never ends in /proc.
 */
export async function makeFolder(path: string): Promise<void> {
  const make = () =>
    mkdir(path).catch(async (cause) => {
      if (cause.code !== 'EEXIST' || !(await isFolder(path))) throw cause;
    });
  try {
    await make();
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ENOENT' || dirname(path) === path) throw cause;
    await makeFolder(dirname(path));
    await make();
  }
}

/** Makes the rename of entries of a folder last. Windows cannot open folders, nor needs to. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path).catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close().catch(() => {});
}

type Parts = Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/**
 * Writes the parts one after the other, so that `path` is the old file or the whole new one at every moment:
 * a temporary file in the same folder, flushed to the disk, renamed. It is removed if anything fails.
 *
 * @throws {InputError} naming the path
 */
export function writeAtomically(path: string, parts: Parts): Promise<void> {
  return writeTogether([[path, parts]]);
}

/** The same of files that belong together: all are on the disk before the first has its name. */
export async function writeTogether(
  files: readonly (readonly [path: string, parts: Parts])[],
): Promise<void> {
  const written = files.map(([path]) => ({ path, temporary: temporaryName(dirname(resolve(path))) }));
  let at = '';
  try {
    for (const [i, [path, parts]] of files.entries()) {
      at = path;
      const file = await open(written[i].temporary, 'wx');
      try {
        for await (const part of parts) await file.appendFile(part);
        await file.sync();
      } finally {
        await file.close();
      }
    }
    for (const { path, temporary } of written) {
      at = path;
      await rename(temporary, path);
    }
  } catch (cause) {
    for (const { temporary } of written) await rm(temporary, { force: true }).catch(() => {});
    // What the parts' own iterator throws stays as it is.
    throw (cause as NodeJS.ErrnoException).code?.startsWith('E') && 'syscall' in (cause as object)
      ? inputError(at, cause)
      : cause;
  }
  for (const folder of new Set(files.map(([path]) => dirname(resolve(path))))) await syncFolder(folder);
}

/**
 * Files and folders of a folder, sorted. Links count as what they point to: downloads are links into a cache. Pipes and
 * other special files are among the files: who reads one is told what it is, and not that it is missing.
 */
export async function list(folder: string): Promise<Required<Listing>> {
  const files: string[] = [];
  const folders: string[] = [];
  const dangling: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const it = entry.isSymbolicLink() ? await stat(join(folder, entry.name)).catch(() => undefined) : entry;
    if (it?.isDirectory()) folders.push(entry.name);
    else (it ? files : dangling).push(entry.name);
  }
  return { files: files.sort(), folders: folders.sort(), dangling };
}
