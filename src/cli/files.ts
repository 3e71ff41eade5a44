// The command line's files: data sets from folders, the model and its external data, output that is whole or absent.
//
// The only place that knows a file system. Every failure is an InputError of one line that names the path.

import { createHash } from 'node:crypto';
import {
  access,
  constants,
  type FileHandle,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { FormatError, InputError } from '../errors.ts';
import type { ReadExternal } from '../graph/index.ts';
import {
  byPath,
  type Dataset,
  decodeNpy,
  drawEvenly,
  imageDataset,
  imageSize,
  type LabeledFile,
  npyDataset,
  ownSize,
  type Preprocessing,
  sampleEvenly,
} from '../pipeline/index.ts';
import type { ModelFlags } from './options.ts';
import { removeLeftovers, temporaryName } from './temporary.ts';

const REASONS: Record<string, string> = {
  ENOENT: 'no such file or folder',
  ENOTDIR: 'not a folder',
  EISDIR: 'is a folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'read-only file system',
  ENOSPC: 'no space left',
  EMFILE: 'too many open files',
  ERR_FS_FILE_TOO_LARGE: 'larger than 2 GiB',
};

/** What a failed system call on a path is to the user. What is an InputError stays as it is. */
export function inputError(path: string, cause: unknown): InputError {
  if (cause instanceof InputError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  return new InputError(`"${path}": ${REASONS[code ?? ''] ?? message}`, { cause });
}

/** The same, where failures of the system become InputErrors that name the path. */
export const named = <T>(path: string, action: Promise<T>): Promise<T> =>
  action.catch((cause) => {
    throw inputError(path, cause);
  });

/** The same, where undefined stands for what is missing. */
export const unlessMissing = <T>(action: Promise<T>): Promise<T | undefined> =>
  action.catch((cause) => {
    if (cause.code === 'ENOENT') return undefined;
    throw cause;
  });

export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() ?? false;
}

export async function isFile(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isFile() ?? false;
}

/** @throws {InputError} naming the path if there is none, or if it is no folder */
export async function checkFolder(path: string): Promise<void> {
  if (!(await named(path, stat(path))).isDirectory()) throw new InputError(`"${path}": not a folder`);
}

/** @throws {InputError} naming the path */
export async function readFileBytes(path: string): Promise<Uint8Array> {
  const { buffer, byteOffset, byteLength } = await named(path, readFile(path));
  // Not a Buffer, whose slice() is a view.
  return new Uint8Array(buffer, byteOffset, byteLength);
}

export function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A JSON object. @throws {FormatError} naming the path */
export async function readJsonFile(path: string): Promise<object> {
  const text = decodeText(await readFileBytes(path), path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FormatError(`"${path}": not JSON (${(cause as Error).message})`, { cause });
  }
  if (typeof value === 'object' && value !== null) return value;
  throw new FormatError(`"${path}": expected a JSON object`);
}

/** Bytes that the file has, however many. @throws {InputError} if it ends before */
export async function readRange(
  file: FileHandle,
  path: string,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    // One call of the system reads 2 GiB at most.
    const { bytesRead } = await file.read(bytes, done, Math.min(length - done, 2 ** 30), offset + done);
    if (bytesRead === 0) throw new InputError(`"${path}": truncated while being read`);
    done += bytesRead;
  }
  return bytes;
}

/** All of the bytes, from `offset` on. */
export async function writeRange(file: FileHandle, offset: number, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
  }
}

/**
 * For the tensors that an ONNX model keeps in files beside it. Locations are relative to the model's folder and
 * must stay inside it: a model is untrusted and may not name other files.
 */
export function externalReader(modelPath: string): ReadExternal {
  const folder = dirname(resolve(modelPath));
  return async (location, offset, length) => {
    const path = resolve(folder, location);
    const inside = relative(folder, path);
    if (
      isAbsolute(location) ||
      inside === '' ||
      inside === '..' ||
      inside.startsWith(`..${sep}`) ||
      isAbsolute(inside)
    ) {
      throw new InputError(`"${modelPath}": external data "${location}" is outside the model's folder`);
    }
    const file = await named(path, open(path));
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
 * To be called before long work whose result goes to `path`. Removes what dead processes have left in its folder.
 *
 * @throws {InputError} if the folder is missing or cannot be written to, or `path` is a folder
 */
export async function checkWritable(path: string): Promise<void> {
  const folder = dirname(resolve(path));
  await checkFolder(folder);
  if (await isFolder(path)) throw new InputError(`"${path}": is a folder`);
  await removeLeftovers(folder);
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
 * Writes the parts one after the other, so that `path` is the old file or the whole new one at every moment:
 * a temporary file in the same folder, flushed to the disk, renamed. It is removed if anything fails.
 *
 * @throws {InputError} naming the path
 */
export async function writeAtomically(
  path: string,
  parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<void> {
  const temporary = temporaryName(dirname(resolve(path)));
  try {
    const file = await open(temporary, 'wx');
    try {
      for await (const part of parts) await file.appendFile(part);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (cause) {
    await rm(temporary, { force: true }).catch(() => {});
    // What the parts' own iterator throws stays as it is.
    throw (cause as NodeJS.ErrnoException).code?.startsWith('E') && 'syscall' in (cause as object)
      ? inputError(path, cause)
      : cause;
  }
}

/** UTF-8. @throws {FormatError} naming the path */
export function decodeText(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(`"${path}": not UTF-8 text`, { cause });
  }
}

/** The flags say which samples are drawn, and what their labels are. */
export interface DataOptions
  extends Partial<Pick<ModelFlags, 'labels' | 'labelOffset' | 'samples' | 'seed'>> {
  preprocessing: Preprocessing;
  /** The model's, without the batch; dimensions that it leaves open are ≤ 0. */
  inputShape: readonly number[];
  /** Height and width that no image has more of, where each keeps its own. */
  largest?: [number, number];
}

const IMAGE = /\.(png|jpe?g)$/i;
const isVisible = (name: string) => !name.startsWith('.');
const isImage = (name: string) => isVisible(name) && IMAGE.test(name);

/** Files and folders of a folder, sorted. Links count as what they point to: downloads are links into a cache. */
export async function list(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const files: string[] = [];
  const folders: string[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    // A dangling link is nothing to read.
    const it = entry.isSymbolicLink() ? await stat(join(folder, entry.name)).catch(() => undefined) : entry;
    if (it?.isDirectory()) folders.push(entry.name);
    else if (it?.isFile()) files.push(entry.name);
  }
  return { files: files.sort(), folders: folders.sort() };
}

/** Paths relative to the folder, with `/`. Sub-folders that hold images make all sub-folders classes. */
async function listImages(folder: string) {
  const top = await named(folder, list(folder));
  const classes = top.folders.filter(isVisible);
  const direct: LabeledFile[] = top.files.filter(isImage).map((path) => ({ path }));
  const nested: LabeledFile[] = [];
  for (const [label, name] of classes.entries()) {
    const inner = join(folder, name);
    const { files } = await named(inner, list(inner));
    for (const file of files.filter(isImage)) nested.push({ path: `${name}/${file}`, label });
  }
  const files = [...direct, ...nested].sort(byPath);
  return { files, direct: direct.length, classes: nested.length > 0 ? classes : undefined };
}

/** Height and width that no image of a folder has more of, each in the multiples that it will have. */
export async function largestImage(
  folder: string,
  preprocessing: Preprocessing,
): Promise<[number, number] | undefined> {
  if (!(await isFolder(folder))) return undefined;
  const { files } = await listImages(folder);
  let largest: [number, number] | undefined;
  for (const { path } of files) {
    const full = join(folder, path);
    const size = ownSize(imageSize(await readFileBytes(full), full), preprocessing);
    largest = [Math.max(largest?.[0] ?? 0, size[0]), Math.max(largest?.[1] ?? 0, size[1])];
  }
  return largest;
}

const unquote = (text: string) => /^"(.*)"$/.exec(text)?.[1].replaceAll('""', '"') ?? text;

/** Lines `file,label`; a first line whose label is no number and whose file is no image is a header. */
async function readLabels(path: string): Promise<{ file: string; label: number; at: string }[]> {
  const text = new TextDecoder().decode(await readFileBytes(path));
  const rows: { file: string; label: number; at: string }[] = [];
  text.split(/\r?\n/).forEach((line, i) => {
    if (line.trim() === '') return;
    const at = `"${path}" line ${i + 1}`;
    const comma = line.lastIndexOf(',');
    const file = unquote(line.slice(0, comma).trim()).replaceAll('\\', '/').replace(/^\.\//, '');
    const value = unquote(line.slice(comma + 1).trim());
    if (i === 0 && comma > 0 && !IMAGE.test(file) && !/^[-+\d]/.test(value)) return;
    if (comma <= 0) throw new InputError(`${at}: expected file,label, got "${line}"`);
    if (!/^\d{1,9}$/.test(value))
      throw new InputError(`${at}: expected a class number as label, got "${value}"`);
    rows.push({ file, label: Number(value), at });
  });
  return rows;
}

/** Gives every file the label of its row; rows name a file by its path in the folder or by its base name. */
async function labelFiles(
  folder: string,
  files: readonly LabeledFile[],
  csv: string,
): Promise<LabeledFile[]> {
  const labeled: LabeledFile[] = files.map(({ path }) => ({ path }));
  const byName = new Map<string, LabeledFile[]>();
  for (const file of labeled) {
    const names = new Set([file.path, basename(file.path)]);
    for (const name of names) byName.set(name, [...(byName.get(name) ?? []), file]);
  }
  for (const { file: name, label, at } of await readLabels(csv)) {
    const found = byName.get(name) ?? [];
    // A file directly in the folder is meant by its name even if a sub-folder has another of that name.
    const file = found.length > 1 ? found.find(({ path }) => path === name) : found[0];
    if (!file) {
      const reason =
        found.length > 1 ? `"${name}" is in several folders` : `there is no image "${name}" in "${folder}"`;
      throw new InputError(`${at}: ${reason}`);
    }
    if (file.label !== undefined && file.label !== label) {
      throw new InputError(`${at}: "${name}" has label ${file.label} already, got ${label}`);
    }
    file.label = label;
  }
  const missing = labeled.find(({ label }) => label === undefined);
  if (missing) throw new InputError(`"${csv}": no label for "${missing.path}"`);
  return labeled;
}

async function openArray(
  path: string,
  { inputShape, labels, samples, seed = 0 }: DataOptions,
): Promise<Dataset> {
  if (labels !== undefined)
    throw new InputError(`"${path}": labels go with a folder of images, not with a .npy file`);
  const array = decodeNpy(await readFileBytes(path), path);
  const [n = 0, ...dims] = array.shape;
  if (samples === undefined || samples >= n) return npyDataset(array, inputShape, path);
  const length = array.data.length / n;
  const data = new Float32Array(samples * length);
  drawEvenly(new Array(n).fill(0), samples, seed).forEach((row, i) => {
    data.set(array.data.subarray(row * length, (row + 1) * length), i * length);
  });
  return npyDataset({ shape: [samples, ...dims], data }, inputShape, path);
}

/**
 * A folder of PNG and JPEG images, or a .npy file of model inputs.
 *
 * Sub-folders, in sorted order, are the classes 0, 1, 2…, as torchvision's `ImageFolder`; files directly in the
 * folder have no labels. A `labels` file overrides both. Drawn samples are even over the labels.
 *
 * @throws {InputError} of one line that names the file
 */
export async function openDataset(path: string, options: DataOptions): Promise<Dataset> {
  const { preprocessing, inputShape, labels, labelOffset = 0, samples, seed = 0 } = options;
  const info = await named(path, stat(path));
  if (info.isFile() && /\.npy$/i.test(path)) return openArray(path, options);
  if (!info.isDirectory())
    throw new InputError(
      `"${path}": expected a folder of images or a .npy file, or arrays by the names of the inputs (.npz, .jsonl)`,
    );

  const { files, direct, classes } = await listImages(path);
  if (files.length === 0) throw new InputError(`"${path}": no PNG or JPEG images in the folder`);
  if (labels === undefined && classes && direct > 0) {
    throw new InputError(
      `"${path}": images both in the folder and in sub-folders; expected one of the two, or labels`,
    );
  }
  const labeled = labels === undefined ? files : await labelFiles(path, files, labels);
  const drawn = samples === undefined ? labeled : sampleEvenly(labeled, samples, seed);
  const entries = drawn.map(({ path: file, label }) => ({
    name: join(path, file),
    ...(label !== undefined && { label: label + labelOffset }),
    read: () => readFileBytes(join(path, file)),
  }));
  // With an offset or a labels file the labels no longer number the sub-folders.
  const numbered = labels === undefined && labelOffset === 0;
  const described = { name: path, largest: options.largest, ...(numbered && { classes }) };
  return imageDataset(entries, preprocessing, inputShape, described);
}
