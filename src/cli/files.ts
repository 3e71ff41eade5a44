// The command line's files: data sets from folders, the model and its external data, output that is whole or absent.
//
// The only place that knows a file system. Every failure is an InputError of one line that names the path.

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
import { InputError } from '../errors.ts';
import {
  byPath,
  type Dataset,
  decodeNpy,
  drawEvenly,
  imageDataset,
  type LabeledFile,
  type NpyArray,
  npyDataset,
  type Preprocessing,
  sampleEvenly,
} from '../pipeline/index.ts';
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

/** @throws {InputError} naming the path */
export async function readFileBytes(path: string): Promise<Uint8Array> {
  try {
    const { buffer, byteOffset, byteLength } = await readFile(path);
    // Not a Buffer, whose slice() is a view.
    return new Uint8Array(buffer, byteOffset, byteLength);
  } catch (cause) {
    throw inputError(path, cause);
  }
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

/** Reads `length` bytes at `offset` of an external data file; to its end if `length` is absent. */
export type ExternalReader = (location: string, offset?: number, length?: number) => Promise<Uint8Array>;

/**
 * For the tensors that an ONNX model keeps in files beside it. Locations are relative to the model's folder and
 * must stay inside it: a model is untrusted and may not name other files.
 */
export function externalReader(modelPath: string): ExternalReader {
  const folder = dirname(resolve(modelPath));
  return async (location, offset = 0, length) => {
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
    let file: FileHandle | undefined;
    try {
      file = await open(path);
      const { size } = await file.stat();
      const end = length === undefined ? size : offset + length;
      if (!(offset >= 0 && offset <= end && end <= size)) {
        throw new InputError(
          `"${path}": expected external data at bytes ${offset} to ${end}, the file has ${size}`,
        );
      }
      return await readRange(file, path, offset, end - offset);
    } catch (cause) {
      throw inputError(path, cause);
    } finally {
      await file?.close();
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
  const info = await stat(folder).catch((cause) => {
    throw inputError(folder, cause);
  });
  if (!info.isDirectory()) throw new InputError(`"${folder}": not a folder`);
  if (
    await stat(path).then(
      (it) => it.isDirectory(),
      () => false,
    )
  )
    throw new InputError(`"${path}": is a folder`);
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

export interface DataOptions {
  preprocessing: Preprocessing;
  /** The model's, without the batch; dimensions that it leaves open are ≤ 0. */
  inputShape: readonly number[];
  /** Path of a CSV file of lines `file,label`. */
  labels?: string;
  /** Added to every label, as 1 for models whose class 0 is the background. */
  labelOffset?: number;
  /** How many samples to draw; absent: all. */
  samples?: number;
  seed?: number;
}

const IMAGE = /\.(png|jpe?g)$/i;

/** Files and folders of a folder, without hidden ones, sorted. Links count as what they point to. */
async function list(folder: string): Promise<{ files: string[]; folders: string[] }> {
  const files: string[] = [];
  const folders: string[] = [];
  try {
    for (const entry of await readdir(folder, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      // A dangling link is nothing to read.
      const it = entry.isSymbolicLink() ? await stat(join(folder, entry.name)).catch(() => undefined) : entry;
      if (it?.isDirectory()) folders.push(entry.name);
      else if (it?.isFile()) files.push(entry.name);
    }
  } catch (cause) {
    throw inputError(folder, cause);
  }
  return { files: files.sort(), folders: folders.sort() };
}

/** Paths relative to the folder, with `/`. Sub-folders that hold images make all sub-folders classes. */
async function listImages(
  folder: string,
): Promise<{ files: LabeledFile[]; direct: number; classes?: string[] }> {
  const top = await list(folder);
  const direct: LabeledFile[] = top.files.filter((name) => IMAGE.test(name)).map((path) => ({ path }));
  const nested: LabeledFile[] = [];
  for (const [label, name] of top.folders.entries()) {
    const { files } = await list(join(folder, name));
    for (const file of files) if (IMAGE.test(file)) nested.push({ path: `${name}/${file}`, label });
  }
  const files = [...direct, ...nested].sort(byPath);
  return { files, direct: direct.length, ...(nested.length > 0 && { classes: top.folders }) };
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
  const byName = new Map<string, LabeledFile[]>();
  for (const { path } of files) {
    const file: LabeledFile = { path };
    for (const name of new Set([path, basename(path)])) byName.set(name, [...(byName.get(name) ?? []), file]);
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
  return files.map(({ path }) => {
    const file = byName.get(path)!.find((it) => it.path === path)!;
    if (file.label === undefined) throw new InputError(`"${csv}": no label for "${path}"`);
    return file;
  });
}

/** The drawn rows of an array, in order. */
function takeRows({ shape, data }: NpyArray, rows: readonly number[]): NpyArray {
  const length = data.length / shape[0];
  const out = new Float32Array(rows.length * length);
  rows.forEach((row, i) => {
    out.set(data.subarray(row * length, (row + 1) * length), i * length);
  });
  return { shape: [rows.length, ...shape.slice(1)], data: out };
}

async function openArray(
  path: string,
  { inputShape, labels, samples, seed = 0 }: DataOptions,
): Promise<Dataset> {
  if (labels !== undefined)
    throw new InputError(`"${path}": labels go with a folder of images, not with a .npy file`);
  const array = decodeNpy(await readFileBytes(path), path);
  const n = array.shape[0] ?? 0;
  const rows =
    samples !== undefined && samples < n ? drawEvenly(new Array(n).fill(0), samples, seed) : undefined;
  return npyDataset(rows ? takeRows(array, rows) : array, inputShape, path);
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
  if (samples !== undefined && !(Number.isInteger(samples) && samples > 0)) {
    throw new InputError(`--samples: expected a whole number above 0, got ${samples}`);
  }
  if (!Number.isInteger(labelOffset))
    throw new InputError(`--label-offset: expected a whole number, got ${labelOffset}`);
  const info = await stat(path).catch((cause) => {
    throw inputError(path, cause);
  });
  if (info.isFile() && /\.npy$/i.test(path)) return openArray(path, options);
  if (!info.isDirectory()) throw new InputError(`"${path}": expected a folder of images or a .npy file`);

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
  return imageDataset(entries, preprocessing, inputShape, { name: path, ...(numbered && { classes }) });
}
