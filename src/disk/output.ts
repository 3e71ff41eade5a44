// Where a smaller model goes: a file or a folder, there when it is whole or not at all.

import { copyFile, mkdir, readdir, realpath, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { InputError, OsscarError } from '../errors.ts';
import { locationOf } from '../graph/index.ts';
import { CARD_FILE, heldFolder, ONNX, ONNX_DATA, type Output, type Replacing } from '../run/index.ts';
import {
  checkParent,
  checkReplacing,
  checkWritable,
  fileWithin,
  hashOf,
  list,
  named,
  readFileBytes,
  writeAtomically,
} from './files.ts';
import { checkTarget, createFolder, placeFolder } from './folder.ts';
import { removeLeftovers, temporaryName } from './temporary.ts';

/** What a name ends in; the number of a version does not. */
const OTHER_FORMAT = /\.[a-z]\w*$/i;

/** The name for a new data file, the first that is free, so that the model that is there keeps its own; and those that are taken. */
async function dataFilesOf(path: string): Promise<{ free: string; taken: string[] }> {
  const folder = dirname(path);
  const stem = locationOf(basename(path));
  const nameOf = (i: number) => (i === 0 ? `${stem}.data` : `${stem}.${i}.data`);
  const there = new Set(await named(folder, readdir(folder)));
  let first = 0;
  while (there.has(nameOf(first))) first++;
  const isData = (name: string) =>
    name.startsWith(`${stem}.`) && /^(\d+\.)?data$/.test(name.slice(stem.length + 1));
  const pathOf = (name: string) => join(folder, name);
  return { free: pathOf(nameOf(first)), taken: [...there].filter(isData).map(pathOf) };
}

/**
 * A model and, where its weights do not fit into it, a data file that it names. The one rename that counts is the
 * model's: before it the old model is there with its own data, after it the new one.
 *
 * @throws {InputError} where nothing can be written there
 */
export async function openFileOutput(path: string, replacing: Replacing): Promise<Output> {
  await checkWritable(path, replacing);
  if (OTHER_FORMAT.test(path) && !ONNX.test(path))
    throw new InputError(`"${path}": an ONNX file is written; give it a name that ends in .onnx`);
  const { free: data, taken } = await dataFilesOf(path);
  return {
    externalName: basename(data),
    async save({ written }, isRead) {
      const { model, external } = written!;
      // What has come since is another run's.
      await checkReplacing(path, replacing);
      if (external) {
        await checkReplacing(data, {});
        await writeAtomically(data, external);
      }
      try {
        await writeAtomically(path, [model]);
      } catch (cause) {
        if (external) await rm(data, { force: true }).catch(() => {});
        throw cause;
      }
      // Of the model that was there.
      if (replacing.overwrite) {
        const old = taken.filter((file) => !isRead(resolve(file)));
        await Promise.all(old.map((file) => rm(file, { force: true }).catch(() => {})));
      }
      return { path, sha256: await readBack(path, model, path) };
    },
    close: async () => {},
  };
}

/** @returns SHA-256 @throws {OsscarError} where a file does not hold what was written to it */
async function readBack(path: string, written: Uint8Array, target: string): Promise<string> {
  const sha256 = hashOf(await readFileBytes(path));
  if (sha256 === hashOf(written)) return sha256;
  throw new OsscarError('ERR_OSSCAR_VERIFY', `${target} does not hold what was written to it`);
}

/** @throws {InputError} where nothing can be written there */
export const openFolderOutput = async (path: string, replacing: Replacing): Promise<Output> =>
  heldFolder(await createFolder(path, replacing));

/** What is taken along from a model's folder: all but models and their data, also what lies in its folders. */
interface Beside {
  /** In the folder. */
  readonly path: string;
  /** Where that leads: downloads are links into a cache, and the copy is to stand alone. */
  readonly real: string;
}

/**
 * @param parts  models that are taken along, with their data
 * @throws {InputError} naming what cannot be taken along, as a pipe, or a link that leads out of the folder
 */
async function filesBeside(
  source: string,
  parts: readonly string[],
  inside = '',
  seen = new Set<string>(),
): Promise<Beside[]> {
  const folder = join(source, inside);
  const realFolder = await named(folder, realpath(folder));
  if (seen.has(realFolder)) return []; // a link to a folder around it
  seen.add(realFolder);
  const { files, folders } = await named(folder, list(folder));
  const found: Beside[] = [];
  for (const file of files) {
    const path = join(inside, file);
    const isPart = parts.some((part) => join(source, path).startsWith(part));
    if ((ONNX.test(file) || ONNX_DATA.test(file)) && !isPart) continue;
    found.push({ path, real: await fileWithin(source, join(source, path)) });
  }
  const below: Beside[][] = [];
  for (const name of folders) below.push(await filesBeside(source, parts, join(inside, name), seen));
  return [...found, ...below.flat()];
}

/**
 * A folder like `source`, with another model in it: there when it is whole or not at all. Variants of the model that was
 * there are left out.
 *
 * @param file  the model in `source`
 * @param parts  other models in it, which are taken along
 * @throws {InputError} where nothing can be written there, or something in `source` cannot be taken along
 */
export async function openModelFolderOutput(
  target: string,
  source: string,
  file: string,
  replacing: Replacing,
  parts: readonly string[] = [],
): Promise<Output> {
  const parent = dirname(resolve(target));
  await checkParent(target);
  await removeLeftovers(parent);
  await checkTarget(target, replacing);
  const beside = await filesBeside(
    source,
    parts.map((part) => join(part)),
  );
  const temporary = temporaryName(parent);
  await named(parent, mkdir(temporary));
  const place = join(temporary, relative(resolve(source), resolve(file)));
  return {
    externalName: `${basename(file)}_data`,
    async save({ written }, _, card, along = new Map()) {
      const { model, external } = written!;
      for (const { path, real } of beside) {
        const copy = join(temporary, path);
        await named(target, mkdir(dirname(copy), { recursive: true }));
        await named(target, copyFile(real, copy));
      }
      await named(target, mkdir(dirname(place), { recursive: true }));
      for (const [name, content] of along) {
        const bytes = new Uint8Array(await content.arrayBuffer());
        await writeAtomically(join(dirname(place), name), [bytes]);
        await readBack(join(dirname(place), name), bytes, target);
      }
      if (external) await writeAtomically(`${place}_data`, external);
      await writeAtomically(place, [model]);
      await writeAtomically(join(temporary, CARD_FILE), [new TextEncoder().encode(card)]);
      const sha256 = await readBack(place, model, target);
      await checkTarget(target, replacing);
      await (replacing.overwrite
        ? placeFolder(temporary, resolve(target))
        : named(target, rename(temporary, resolve(target))));
      return { path: join(target, relative(resolve(source), resolve(file))), sha256 };
    },
    close: () => rm(temporary, { recursive: true, force: true }),
  };
}
