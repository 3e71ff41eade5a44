// Folders in the layout of transformers.js: an ONNX file in `onnx/`, and beside it what says how its inputs are made.

import { cp, mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { InputError, OsscarError } from '../errors.ts';
import { decodeUtf8 } from '../json.ts';
import { type Preprocessing, parsePreprocessorConfig } from '../pipeline/index.ts';
import {
  hashOf,
  isFile,
  isFolder,
  list,
  named,
  type Replacing,
  readFileBytes,
  readJsonFile,
  writeAtomically,
} from './files.ts';
import { checkTarget, placeFolder } from './folder.ts';
import type { Output } from './output.ts';
import { say } from './say.ts';
import { removeLeftovers, temporaryName } from './temporary.ts';

/** Weights that make a folder one of PyTorch or safetensors. */
const CHECKPOINT = /\.safetensors$|\.safetensors\.index\.json$|^pytorch_model.*\.bin(\.index\.json)?$/;
const ONNX = /\.onnx$/i;
const ONNX_DATA = /\.onnx[._]data/i;
/** Variants of a model in other types, made from it. */
const VARIANT = /_(fp16|q4|q4f16|q8|int8|uint8|bnb4|quantized)\.onnx$/i;

/**
 * The ONNX file that a path is, or that a folder without other weights holds.
 *
 * @returns nothing for a folder with weights of PyTorch or safetensors, or with no ONNX file
 * @throws {InputError} where a folder holds several models
 */
export async function modelFile(path: string): Promise<string | undefined> {
  if (!(await isFolder(path))) return path;
  const { files } = await named(path, list(path));
  if (files.some((file) => CHECKPOINT.test(file))) return undefined;
  for (const folder of [join(path, 'onnx'), path]) {
    if (!(await isFolder(folder))) continue;
    const found = (await named(folder, list(folder))).files.filter(
      (file) => ONNX.test(file) && !VARIANT.test(file),
    );
    const chosen = found.length === 1 ? found[0] : found.find((file) => file === 'model.onnx');
    if (chosen) return join(folder, chosen);
    if (found.length > 1)
      throw new InputError(
        `"${path}": several models (${found.join(', ')}); give the file, as ${join(folder, found[0])}`,
      );
  }
  return undefined;
}

/** The folder that says how a model's inputs are made: that of the file, or the one above `onnx/`. */
export function folderOf(file: string): string {
  const folder = dirname(resolve(file));
  return basename(folder) === 'onnx' ? dirname(folder) : folder;
}

/** What is known of a model's inputs from the files beside it. */
export interface SideFiles {
  /** A folder with tokenizer.json. */
  readonly tokenizer?: string;
  /** Positions of a text model. */
  readonly positions?: number;
  readonly preprocessing?: Partial<Preprocessing>;
}

/** @param wantsPreprocessing  whether the model does not say it itself */
export async function readSideFiles(file: string, wantsPreprocessing: boolean): Promise<SideFiles> {
  const folder = folderOf(file);
  const json = async (name: string) => {
    const path = join(folder, name);
    return (await isFile(path)) ? readJsonFile(path) : undefined;
  };
  const positions = (await json('config.json'))?.max_position_embeddings;
  return {
    tokenizer: (await isFile(join(folder, 'tokenizer.json'))) ? folder : undefined,
    positions: Number.isInteger(positions) ? (positions as number) : undefined,
    preprocessing: wantsPreprocessing ? await preprocessingBeside(file) : undefined,
  };
}

/** Where Hugging Face models say how their images are prepared: beside the file, or above its folder `onnx`. */
const PREPROCESSOR = 'preprocessor_config.json';

async function preprocessingBeside(file: string): Promise<Partial<Preprocessing> | undefined> {
  const folders = new Set([dirname(resolve(file)), folderOf(file)]);
  for (const path of [...folders].map((it) => join(it, PREPROCESSOR))) {
    if (!(await isFile(path))) continue;
    const found = parsePreprocessorConfig(decodeUtf8(await readFileBytes(path), `"${path}"`), path);
    say(`preprocessing from "${path}", where no flag says otherwise`);
    return found;
  }
  return undefined;
}

/**
 * A folder like `source`, with another model in it: there when it is whole or not at all. Variants of the model that was
 * there are left out.
 *
 * @param file  the model in `source`
 * @throws {InputError} where nothing can be written there
 */
export async function openModelFolderOutput(
  target: string,
  source: string,
  file: string,
  replacing: Replacing,
): Promise<Output> {
  const parent = dirname(resolve(target));
  await removeLeftovers(parent);
  await checkTarget(target, replacing);
  const temporary = temporaryName(parent);
  await named(parent, mkdir(temporary));
  const place = join(temporary, relative(resolve(source), resolve(file)));
  return {
    externalName: `${basename(file)}_data`,
    async save({ written }) {
      const { model, external } = written!;
      const filter = (path: string) => !ONNX.test(path) && !ONNX_DATA.test(path);
      await named(target, cp(source, temporary, { recursive: true, filter }));
      await named(target, mkdir(dirname(place), { recursive: true }));
      if (external) await writeAtomically(`${place}_data`, external);
      await writeAtomically(place, [model]);
      const sha256 = hashOf(await readFileBytes(place));
      if (sha256 !== hashOf(model))
        throw new OsscarError('ERR_OSSCAR_VERIFY', `${target} does not hold what was written to it`);
      await checkTarget(target, replacing);
      await (replacing.overwrite
        ? placeFolder(temporary, resolve(target))
        : named(target, rename(temporary, resolve(target))));
      return { path: join(target, relative(resolve(source), resolve(file))), sha256 };
    },
    close: () => rm(temporary, { recursive: true, force: true }),
  };
}
