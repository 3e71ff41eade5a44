// Model folders on disk: read by range, written as a whole or not at all.

import { type FileHandle, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { checkPathWithin, checkRange, type Folder, type OutputFolder } from '../checkpoint/folder.ts';
import { InputError } from '../errors.ts';
import type { Replacing } from '../run/index.ts';
import {
  checkFolder,
  checkParent,
  checkReplacing,
  fileWithin,
  isWithin,
  list,
  named,
  readRange,
  realPlace,
  syncFolder,
  unlessMissing,
  writeRange,
} from './files.ts';
import { keptName, removeLeftovers, temporaryName } from './temporary.ts';

/** Files opened when first asked for, by name. */
class Handles {
  readonly #open = new Map<string, Promise<FileHandle>>();
  #closed = false;

  async get(file: string, opener: () => Promise<FileHandle>): Promise<FileHandle> {
    if (this.#closed) throw new InputError(`"${file}": its folder is closed`);
    const known = this.#open.get(file);
    if (known) return known;
    const handle = opener();
    this.#open.set(file, handle);
    handle.catch(() => this.#open.delete(file));
    return handle;
  }

  /** Closes all, after `before`; the first failure is thrown when all are closed. */
  async close(before: (handle: FileHandle) => Promise<void> = async () => {}): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const results = await Promise.allSettled(
      Array.from(this.#open.values(), async (it) => {
        const handle = await it.catch(() => undefined); // it did not open, as get() says
        if (!handle) return;
        try {
          await before(handle);
        } finally {
          await handle.close();
        }
      }),
    );
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

const NOTHING = { files: [], dangling: [] };

/**
 * What can be read of a folder called `name`, which is at `path`.
 *
 * @param attempt  runs what is done with a file, or with the folder itself, and says what went wrong
 */
function readable(
  name: string,
  path: string,
  attempt: <T>(at: string, action: () => Promise<T>) => Promise<T>,
  get: (file: string) => Promise<FileHandle>,
): Pick<Folder, 'name' | 'list' | 'size' | 'read'> {
  return {
    name,
    // Links to what is not there are among them: a download that is not whole is no model without these files.
    list: (within = '') =>
      attempt(join(name, within), async () => {
        if (within !== '') checkPathWithin(name, within);
        const listing = list(join(path, within));
        const { files, dangling } = (await (within === '' ? listing : unlessMissing(listing))) ?? NOTHING;
        return [...files, ...dangling].sort();
      }),
    size: (file) => attempt(join(name, file), async () => (await (await get(file)).stat()).size),
    read: (file, offset, length) =>
      attempt(join(name, file), async () => {
        const handle = await get(file);
        checkRange(join(name, file), (await handle.stat()).size, offset, length);
        return readRange(handle, join(name, file), offset, length);
      }),
  };
}

/**
 * A folder for reading. Files stay open until `close`.
 *
 * @throws {InputError} naming the path if it is no folder, and later if a file cannot be read, or is written to meanwhile: a block
 * at a time is read, and the blocks are to be of one model
 */
export async function openFolder(path: string): Promise<Folder> {
  await checkFolder(path);
  const handles = new Handles();
  async function openFile(file: string): Promise<FileHandle> {
    checkPathWithin(path, file);
    return open(await fileWithin(path, join(path, file)));
  }
  const written = new Map<string, number>();
  async function get(file: string): Promise<FileHandle> {
    const handle = await handles.get(file, () => openFile(file));
    const { mtimeMs } = await handle.stat();
    const at = written.get(file) ?? mtimeMs;
    if (mtimeMs !== at)
      throw new InputError(
        `"${join(path, file)}": was written to while it was read; start again on what it is now`,
      );
    written.set(file, at);
    return handle;
  }
  return {
    ...readable(path, path, (at, action) => named(at, action()), get),
    close: () => handles.close(),
  };
}

/** What stands in the way of a new folder at this path, if anything. */
export async function checkTarget(path: string, replacing: Replacing): Promise<void> {
  const info = await checkReplacing(path, replacing);
  // There the next run would take it for another class of images, or along with the model.
  const real = await realPlace(path);
  for (const source of replacing.sources ?? [])
    if (isWithin(await realPlace(source), real))
      throw new InputError(`"${path}": lies in "${source}", which is read and kept; choose another output`);
  if (!info) return;
  if (!info.isDirectory()) throw new InputError(`"${path}": is not a folder, and is not overwritten`);
  if (info.dev !== (await named(path, stat(dirname(resolve(path))))).dev)
    throw new InputError(
      `"${path}": another disk is mounted there, and cannot be replaced; name a new folder in it`,
    );
  // A slip of the pen must not cost a home directory.
  const files = await readdir(path);
  if (files.length > 0 && !files.includes('config.json')) {
    throw new InputError(`"${path}": is not a model's folder (no config.json), and is not overwritten`);
  }
}

/** Puts `from` in the place of `to`, which is kept until that is done and removed only then. */
export async function placeFolder(from: string, to: string): Promise<void> {
  const old = keptName(to);
  const replaced = await unlessMissing(rename(to, old).then(() => true));
  try {
    await rename(from, to);
  } catch (cause) {
    if (replaced) await rename(old, to);
    throw cause;
  }
  // The new one is there; what cannot be removed now, the next run removes.
  if (replaced) await rm(old, { recursive: true, force: true }).catch(() => {});
}

/** An output folder called `name`, under its temporary path until `place` has put it where it belongs. */
function hiddenFolder(name: string, temporary: string, place: () => Promise<void>): OutputFolder {
  const handles = new Handles();
  let state: 'open' | 'committed' | 'aborted' = 'open';

  async function attempt<T>(at: string, action: () => Promise<T>): Promise<T> {
    if (state !== 'open') throw new InputError(`"${name}": it is ${state}`);
    return named(at, action());
  }
  async function get(file: string, flags: 'wx+' | 'r+'): Promise<FileHandle> {
    checkPathWithin(name, file);
    const path = join(temporary, file);
    return handles.get(file, async () => {
      if (file.includes('/')) await mkdir(dirname(path), { recursive: true });
      return open(path, flags);
    });
  }

  return {
    ...readable(name, temporary, attempt, (file) => get(file, 'r+')),
    close: async () => {},
    writeAt: (file, offset, bytes) =>
      attempt(join(name, file), async () => writeRange(await get(file, 'wx+'), offset, bytes)),
    async commit() {
      await attempt(name, async () => {
        await handles.close((handle) => handle.sync());
        await syncFolder(temporary);
        await place();
      });
      state = 'committed';
    },
    async abort() {
      if (state !== 'open') return;
      state = 'aborted';
      await handles.close().catch(() => {});
      await rm(temporary, { recursive: true, force: true });
    },
  };
}

/**
 * A folder that appears at `path` when it is committed, and not before: until then it is a hidden one beside it.
 * With `overwrite` it takes the place of a model's folder that is there, which is untouched until then; of a process that
 * is killed between the two renames, the next one puts the old folder back. What dead processes have left beside it is
 * removed.
 *
 * @throws {InputError} naming the path if it exists (and may not be overwritten), or nothing can be made there
 */
export async function createFolder(path: string, replacing: Replacing = {}): Promise<OutputFolder> {
  const target = resolve(path);
  const parent = dirname(target);
  await checkParent(path);
  await removeLeftovers(parent);
  await checkTarget(path, replacing);
  const temporary = temporaryName(parent);
  await named(parent, mkdir(temporary));
  return hiddenFolder(path, temporary, async () => {
    await checkTarget(target, replacing);
    await (replacing.overwrite ? placeFolder(temporary, target) : rename(temporary, target));
    await syncFolder(parent);
  });
}
