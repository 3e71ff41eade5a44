// What calls are given for a model or its data, and the place that it is.

import { blobFolder, type Folder, pathOfFile } from '../checkpoint/index.ts';
import { InputError } from '../errors.ts';
import { GONE, hasMethods, isDetached, said } from '../expect.ts';
import { limits } from '../limits.ts';
import { host } from './host.ts';
import { refuseHubName } from './hub.ts';
import type { Listing, Place } from './place.ts';

/** What a file holds. */
export type Content = Blob | Uint8Array | ArrayBuffer;

/** A folder as browsers hand it out: `showDirectoryPicker()`, or the private file system. */
export interface DirectoryHandle {
  readonly kind: 'directory';
  readonly name: string;
  /** Names, with what has them. */
  entries(): AsyncIterable<readonly [string, { readonly kind: string }]>;
}

/**
 * Where a model or data are: a path (in Node), an address (`https://…`, `file://…`), a file or its bytes, several of them (a
 * `FileList`, or names with `/` in them and what they hold), or a folder that was picked in a page.
 */
export type Source =
  | string
  | URL
  | Content
  | Iterable<File | URL | readonly [name: string, content: Content]>
  | DirectoryHandle;

/** Of a model that has no name of its own. */
export const MODEL_NAME = 'model.onnx';

/** What is no path: a kind of address, and where. */
export const ADDRESS = /^([a-z][a-z0-9+.-]*:\/\/|(data|blob):)/i;

/** Of the disk. */
export const FILE_ADDRESS = /^file:\/\//i;

/** Of an address in messages: data: has all of a file in it. */
const MOST_SHOWN = 100;
/** No system has longer paths. */
const LONGEST_PATH = 2 ** 15;
const shown = (text: string) => (text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text);

function urlOf(text: string): URL {
  try {
    return new URL(text);
  } catch (cause) {
    throw new InputError(`"${text}": no valid address (URL)`, { cause });
  }
}

function behind(url: URL, signal?: AbortSignal): Place | Promise<Place> {
  if (url.protocol === 'file:') return host.place(url);
  if (/^https?:$/.test(url.protocol)) return fetched(url, signal);
  const isInside = /^(data|blob):$/.test(url.protocol);
  const instead = isInside ? 'give its bytes, or the blob' : 'download it, and give its path (or https://…)';
  throw new InputError(
    `"${shown(url.href)}": nothing is read from ${url.protocol}${isInside ? '' : '//'} addresses; ${instead}`,
  );
}

/**
 * @param name  for what has none of its own
 * @param signal  ends what is fetched
 * @throws {InputError} where there is nothing at an address, or it is none of these
 */
export async function placeOf(source: Source, name: string, signal?: AbortSignal): Promise<Place> {
  if (typeof source === 'string') {
    if (source.length > LONGEST_PATH && !ADDRESS.test(source))
      throw new InputError(
        `"${shown(source)}": expected a path as the ${wordFor(name)}; text itself is given in a file: new File([text], 'a.txt')`,
      );
    const place = ADDRESS.test(source) ? undefined : host.place(source);
    await refuseHubName(source, [MODEL_NAME, 'tokenizer'].includes(name), place);
    return place ?? behind(urlOf(source), signal);
  }
  if (source instanceof URL) return behind(source, signal);
  if (isContent(source)) {
    const file = 'name' in source ? String(source.name) : name;
    return within(new Map([[file, blobOf(source, file)]]), file);
  }
  if (isDirectory(source)) {
    const blobs = new Map<string, Blob>();
    await gather(source, `${source.name}/`, blobs);
    return within(blobs, source.name);
  }
  // Numbers can be iterated over too.
  if (Symbol.iterator in Object(source) && !ArrayBuffer.isView(source)) {
    const blobs = new Map<string, Blob>();
    for (const it of source as Iterable<File | URL | readonly [string, Content]>) {
      const [path, blob] = await entryOf(it, name, signal);
      if (blobs.has(path)) throw new InputError(`"${path}": two files are called that`);
      blobs.set(path, blob);
    }
    if (blobs.size === 0) throw new InputError(`the list of files for the ${wordFor(name)} is empty`);
    return within(new Map(Array.from(blobs, ([path, blob]) => [`${name}/${path}`, blob])), name);
  }
  throw new InputError(
    `expected a path, an address, a file, its bytes (Uint8Array) or several files as the ${wordFor(name)}, got ${said(source)}${hintOf(source)}`,
  );
}

/** Of `model.onnx` the model. */
const wordFor = (name: string) => name.replace(/\..*/, '');

/** How what else has a file in it is given. */
function hintOf(source: unknown): string {
  // What can be read once is to be read by whoever has it.
  if (hasMethods(source, 'blob')) return '; give what its `blob()` gives';
  if (hasMethods(source, Symbol.asyncIterator)) return '; read it first: await new Response(stream).blob()';
  if (Object(source).files instanceof Map) return '; give its `files`';
  // Of another realm, or of a kind that this one does not know.
  if (/ArrayBuffer|DataView/.test(said(source))) return '; give a Uint8Array of it';
  return ArrayBuffer.isView(source) ? '; numbers are given as a file: .npy' : '';
}

const isContent = (it: unknown): it is Content =>
  it instanceof Uint8Array || it instanceof Blob || it instanceof ArrayBuffer;

/** @throws {InputError} where nothing is left of the bytes */
function blobOf(content: Content, name: string): Blob {
  if (content instanceof Blob) return content;
  if (isDetached(content instanceof ArrayBuffer ? content : content.buffer))
    throw new InputError(`"${name}": ${GONE}`);
  return new Blob([content as Uint8Array<ArrayBuffer> | ArrayBuffer]);
}

async function entryOf(
  it: File | URL | readonly [string, Content],
  source: string,
  signal?: AbortSignal,
): Promise<[string, Blob]> {
  if (it instanceof URL) {
    const name = fileName(it);
    return [name, blobOf(await (await behind(it, signal)).read(), name)];
  }
  if (it instanceof Blob) {
    return [pathOfFile(it), it];
  }
  if (Array.isArray(it)) {
    const [path, content] = it as readonly unknown[];
    if (typeof path === 'string' && isContent(content)) return [path, blobOf(content, path)];
  }
  const hint = typeof it === 'string' ? '; of paths, give that of the folder' : '';
  throw new InputError(
    `expected files, addresses (URL), or pairs of a name and bytes as the ${wordFor(source)}, got ${said(it)}${hint}`,
  );
}

const isDirectory = (source: unknown): source is DirectoryHandle =>
  Object(source).kind === 'directory' && typeof Object(source).entries === 'function';

async function gather(folder: DirectoryHandle, path: string, blobs: Map<string, Blob>): Promise<void> {
  for await (const [name, handle] of folder.entries()) {
    if (handle.kind === 'directory') await gather(handle as DirectoryHandle, `${path}${name}/`, blobs);
    else blobs.set(path + name, await (handle as unknown as { getFile(): Promise<File> }).getFile());
  }
}

function fileName({ pathname, host }: URL): string {
  const name = pathname.split('/').pop()!;
  try {
    return decodeURIComponent(name) || host;
  } catch {
    return name; // a % that escapes nothing
  }
}

/** Bytes that a server has `limits.downloadSeconds` for. */
const STEP_BYTES = 2 ** 20;

async function download(url: URL, signal?: AbortSignal): Promise<Blob> {
  signal?.throwIfAborted();
  const { downloadBytes, downloadSeconds } = limits;
  const [fetching, ended] = [new AbortController(), new AbortController()];
  signal?.addEventListener('abort', () => fetching.abort(signal.reason), { signal: ended.signal });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = () =>
    fetching.abort(new InputError(`less than 1 MiB in ${downloadSeconds} s, limits.downloadSeconds`));
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(stop, 1000 * downloadSeconds);
  };
  try {
    wait();
    const response = await fetch(url, { signal: fetching.signal });
    if (!response.ok) throw new InputError(`${response.status} ${response.statusText}`);
    return await new Response(response.body?.pipeThrough(bounded(downloadBytes, wait))).blob();
  } catch (error) {
    signal?.throwIfAborted();
    const { message } = ((error as Error).cause ?? error) as Error;
    throw new InputError(`"${url}": cannot be fetched (${message || 'nothing answers there'})`, {
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    ended.abort();
  }
}

/** What a server sends has no length but what comes, whatever it says before. @param onStep  is called when STEP_BYTES have come */
function bounded(most: number, onStep: () => void): TransformStream<Uint8Array, Uint8Array> {
  let bytes = 0;
  return new TransformStream({
    transform(chunk, to) {
      if (Math.floor(bytes / STEP_BYTES) < Math.floor((bytes + chunk.length) / STEP_BYTES)) onStep();
      bytes += chunk.length;
      if (bytes > most) throw new InputError(`more than ${most} bytes, limits.downloadBytes`);
      to.enqueue(chunk);
    },
  });
}

/** A file behind an address; what it keeps beside it is fetched when it is asked for. */
async function fetched(url: URL, signal?: AbortSignal): Promise<Place> {
  const name = fileName(url);
  const beside = new Map<string, Promise<Blob>>();
  return {
    ...within(new Map([[name, await download(url, signal)]]), name),
    externalReader: () => async (location, offset, length) => {
      if (!beside.has(location)) beside.set(location, download(urlBeside(url, location), signal));
      return slice(await beside.get(location)!, location, offset, length);
    },
  };
}

/** A file's name is no address: %2e%2e would lead above the folder. */
function urlBeside(url: URL, location: string): URL {
  return new URL(`./${location.split('/').map(encodeURIComponent).join('/')}`, url);
}

async function slice(blob: Blob, name: string, offset: number, length: number) {
  if (!(offset >= 0 && offset + length <= blob.size))
    throw new InputError(`"${name}": expected bytes ${offset} to ${offset + length}, it has ${blob.size}`);
  return new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
}

/** Files in memory, or of a page, by their paths. */
function within(blobs: ReadonlyMap<string, Blob>, path: string): Place {
  const inside = path === '' ? '' : `${path}/`;
  const below = () =>
    [...blobs.keys()].filter((it) => it.startsWith(inside)).map((it) => it.slice(inside.length));
  const kind = () => (blobs.has(path) ? 'file' : below().length > 0 ? 'folder' : undefined);
  const list = (): Listing => {
    if (kind() !== 'folder') throw new InputError(`"${path}": not a folder`);
    const names = below().sort();
    return {
      files: names.filter((name) => !name.includes('/')),
      folders: [...new Set(names.filter((name) => name.includes('/')).map((name) => name.split('/')[0]))],
    };
  };
  const find = () => {
    const blob = blobs.get(path);
    if (!blob) throw new InputError(`"${path}": no such file`);
    return blob;
  };
  const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')));
  return {
    path,
    kind: async () => kind(),
    list: async () => list(),
    read: async () => new Uint8Array(await find().arrayBuffer()),
    at: (name) => within(blobs, inside + name),
    parent: () => within(blobs, parent),
    openFolder: async () => {
      list(); // says where it is none
      const files = below().map((name) => [name, blobs.get(inside + name)!] as const);
      return blobFolder(files, path || 'model');
    },
    externalReader: () => async (location, offset, length) => {
      const file = parent === '' ? location : `${parent}/${location}`;
      const blob = blobs.get(file);
      if (!blob) throw new InputError(`"${path}": its external data "${location}" is not among the files`);
      return slice(blob, location, offset, length);
    },
  };
}

/**
 * A folder for the pieces of `osscar-wasm/model`: a path, a folder or files that were picked in a page, or names and what
 * they hold. Files stay open until it is closed.
 *
 * @throws {InputError} where it is no folder
 *
 * @example
 * import { openLanguageModel } from 'osscar-wasm/model';
 *
 * const model = await openLanguageModel(await openFolder('opt-125m/'));
 */
export async function openFolder(source: Source): Promise<Folder> {
  return (await placeOf(source, 'model')).openFolder();
}
