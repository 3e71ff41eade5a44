// The command line's files: data sets from folders, the model and its external data, output that is whole or absent.
//
// The only place that knows a file system. Every failure is an InputError of one line that names the path.

import { createHash } from 'node:crypto';
import {
  access,
  constants,
  type FileHandle,
  lstat,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { basename, dirname, extname, isAbsolute, join, relative, resolve, sep } from 'node:path';
import { InputError } from '../errors.ts';
import type { ReadExternal } from '../graph/index.ts';
import { type JsonObject, parseJsonObject } from '../json.ts';
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
import { parseLabels } from './labels.ts';
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
  EDQUOT: 'no space left (quota)',
  EIO: 'the disk failed (I/O error)',
  ELOOP: 'a link that leads to itself',
  ENAMETOOLONG: 'the name is too long',
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

/** @throws {FormatError} naming the path, if it is not a JSON object */
export async function readJsonFile(path: string): Promise<JsonObject> {
  return parseJsonObject(await readFileBytes(path), path);
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

/** Whether a path is the folder, or below it. Both absolute. */
function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way);
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
  if (!(await named(path, stat(real))).isFile()) throw new InputError(`"${path}": not a file`);
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

/** What may be there already, where something is to be written. */
export interface Replacing {
  /** Whether what is there may be replaced. */
  readonly overwrite?: boolean;
  /** What the run reads: never replaced. */
  readonly inputs?: readonly string[];
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
  if (!info) return undefined;
  const real = await realpath(path).catch(() => resolve(path));
  const { dev, ino } = await stat(path).catch(() => info);
  for (const input of inputs) {
    const other = await stat(input).catch(() => undefined);
    if (!other) continue;
    const isSame = ino !== 0 && other.dev === dev && other.ino === ino; // a second name of one file
    if (isSame || isWithin(real, await realpath(input))) {
      throw new InputError(`"${path}": is, or holds, the input "${input}"; choose another output`);
    }
  }
  if (!overwrite)
    throw new InputError(`"${path}": exists already; choose another name or overwrite it (--overwrite)`);
  return info;
}

/**
 * To be called before long work whose result goes to `path`. Removes what dead processes have left in its folder.
 *
 * @throws {InputError} if the folder is missing or cannot be written to, or `path` is there and may not be replaced
 */
export async function checkWritable(path: string, replacing: Replacing = {}): Promise<void> {
  const folder = dirname(resolve(path));
  await checkFolder(folder);
  if (await isFolder(path)) throw new InputError(`"${path}": is a folder`);
  await removeLeftovers(folder);
  await checkReplacing(path, replacing);
  // A device would be replaced by a file of its name.
  const there = await stat(path).catch(() => undefined);
  if (there && !there.isFile()) throw new InputError(`"${path}": is no file, and is not overwritten`);
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

/** Makes the rename of entries of a folder last. Windows cannot open folders, nor needs to. */
export async function syncFolder(path: string): Promise<void> {
  const handle = await open(path).catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close().catch(() => {});
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
  const folder = dirname(resolve(path));
  const temporary = temporaryName(folder);
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
  await syncFolder(folder);
}

/** The flags say which samples are drawn, and what their labels are. */
export interface DataOptions
  extends Partial<Pick<ModelFlags, 'labels' | 'labelOffset' | 'samples' | 'seed'>> {
  preprocessing: Preprocessing;
  /** The model's, without the batch; dimensions that it leaves open are ≤ 0. */
  inputShape: readonly number[];
  /** Told what the user should know and need not mend. */
  onNote?(text: string): void;
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
  const others = top.files.filter((file) => isVisible(file) && !isImage(file));
  const deeper: string[] = [];
  for (const [label, name] of classes.entries()) {
    const inner = join(folder, name);
    const { files, folders } = await named(inner, list(inner));
    for (const file of files.filter(isImage)) nested.push({ path: `${name}/${file}`, label });
    others.push(...files.filter((file) => isVisible(file) && !isImage(file)));
    deeper.push(...folders.filter(isVisible).map((below) => `${name}/${below}`));
  }
  const files = [...direct, ...nested].sort(byPath);
  return { files, direct: direct.length, classes: nested.length > 0 ? classes : undefined, others, deeper };
}

/** How many files of each kind, as `4 .webp, 1 .txt`, the most first. */
function kindsOf(files: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const file of files) {
    const kind = extname(file).toLowerCase() || file;
    counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  const rest = sorted.length > MOST_KINDS ? [`${sorted.length - MOST_KINDS} other kinds`] : [];
  return [...sorted.slice(0, MOST_KINDS).map(([kind, n]) => `${n} ${kind}`), ...rest].join(', ');
}
const MOST_KINDS = 4;

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

/** What a folder without a single image holds instead. */
function noImages(folder: string, others: readonly string[], [below]: readonly string[]): InputError {
  const hint =
    below !== undefined
      ? `; its sub-folders hold folders: is "${join(folder, below, '..')}" meant?`
      : others.length > 0
        ? `, but ${kindsOf(others)}: convert them`
        : '';
  return new InputError(`"${folder}": no PNG or JPEG images in the folder${hint}`);
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
  for (const { file: name, label, at } of parseLabels(await readFileBytes(csv), csv)) {
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

  const { files, direct, classes, others, deeper } = await listImages(path);
  if (files.length === 0) throw noImages(path, others, deeper);
  const ignored = others.filter((file) => labels === undefined || basename(file) !== basename(labels));
  const skipped = [
    ...(ignored.length > 0 ? [`${ignored.length} files (${kindsOf(ignored)})`] : []),
    ...(deeper.length > 0 ? [`${deeper.length} folders within its sub-folders`] : []),
  ];
  if (skipped.length > 0)
    options.onNote?.(
      `"${path}": ignored ${skipped.join(' and ')}; only PNG and JPEG are read (${files.length} images)`,
    );
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
