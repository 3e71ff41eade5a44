// What lies beside a model and belongs to it. Folders may have the layout of transformers.js: an ONNX file in `onnx/`, and
// above it what says how its inputs are made.

import { InputError } from '../errors.ts';
import { isObject } from '../expect.ts';
import { type Model, readModel } from '../graph/index.ts';
import { decodeUtf8 } from '../json.ts';
import { limits } from '../limits.ts';
import { type Preprocessing, parsePreprocessorConfig } from '../pipeline/index.ts';
import { baseName, isFile, isFolder, type Place, readAtMost, readJsonAt } from './place.ts';

/** Weights that make a folder one of PyTorch or safetensors. */
const CHECKPOINT = /\.safetensors$|\.safetensors\.index\.json$|^pytorch_model.*\.bin(\.index\.json)?$/;
export const ONNX = /\.onnx$/i;
export const ONNX_DATA = /\.onnx[._]data/i;
/** Variants of a model in other types, made from it. */
const VARIANT = /_(fp16|q4|q4f16|q8|int8|uint8|bnb4|quantized)\.onnx$/i;

/** The ONNX files of a model. */
export interface ModelFiles {
  /** The whole, or what is behind an encoder, or an embedding. */
  readonly file: Place;
  /** Where the model is in two files, as Optimum exports T5, Whisper and others. */
  readonly encoder?: Place;
  /** Files beside a decoder that make what it reads, of texts, images and recordings: they stay as they are. */
  readonly parts?: readonly Place[];
}

/**
 * The ONNX file that a path is, or those that a folder without other weights holds.
 *
 * @returns nothing for a folder with weights of PyTorch or safetensors, or with no ONNX file
 * @throws {InputError} where a folder holds several models, or there is nothing
 */
export async function modelFiles(place: Place): Promise<ModelFiles | undefined> {
  const { path } = place;
  if (!(await isFolder(place))) return { file: place };
  const { files, folders } = await place.list();
  if (files.some((file) => CHECKPOINT.test(file))) return undefined;
  if (folders.includes('snapshots')) throw await cacheError(place.at('snapshots'));
  for (const folder of [place.at('onnx'), place]) {
    if (!(await isFolder(folder))) continue;
    const all = (await folder.list()).files.filter((file) => ONNX.test(file));
    const behind = behindEmbedding(all);
    if (behind)
      return { file: folder.at(behind.decoder), parts: behind.parts.map((part) => folder.at(part)) };
    const found = plainIn(all);
    const chosen = found.length === 1 ? found[0] : found.find((file) => file === 'model.onnx');
    if (chosen) return { file: folder.at(chosen) };
    const both = bothIn(found);
    if (both) return { file: folder.at(both.decoder), encoder: folder.at(both.encoder) };
    if (found.length > 1)
      throw new InputError(
        `"${path}": several models (${found.join(', ')}); give the file, as ${folder.at(found[0]).path}`,
      );
  }
  return undefined;
}

/** An encoder and a decoder, where all files are forms of these. */
function bothIn(files: readonly string[]): { encoder: string; decoder: string } | undefined {
  if (!files.every((file) => /^(en|de)coder[_.]/.test(file))) return undefined;
  const [encoders, decoders] = [ENCODER, DECODER].map((name) => files.filter((file) => name.test(file)));
  const merged = decoders.filter((file) => file.includes('_merged'));
  const [decoder, ...others] = merged.length > 0 ? merged : decoders;
  const isClear = encoders.length === 1 && decoder !== undefined && others.length === 0;
  return isClear ? { encoder: encoders[0], decoder } : undefined;
}

/** A decoder that reads what an embedding gives, and what else makes something for it to read. */
function behindEmbedding(files: readonly string[]): { decoder: string; parts: string[] } | undefined {
  const decoder = plainest(files.filter((file) => BEHIND.test(file)));
  if (decoder === undefined || !files.some((file) => EMBEDDING.test(file))) return undefined;
  return { decoder, parts: files.filter((file) => !file.startsWith('decoder')) };
}

/** Those in the types that models were trained in; all where there are none. */
function plainIn(files: readonly string[]): readonly string[] {
  const plain = files.filter((file) => !VARIANT.test(file));
  return plain.length > 0 ? plain : files;
}

/** The only one of these. */
function plainest(files: readonly string[]): string | undefined {
  const [only, ...others] = plainIn(files);
  return others.length === 0 ? only : undefined;
}

/** A model that goes with another one. */
export const readBeside = async (place: Place): Promise<Model> =>
  readModel(await place.read(), { name: baseName(place), external: place.externalReader() });

const BEHIND = /^decoder_model_merged(_\w+)?\.onnx$/;
const EMBEDDING = /^embed_tokens(_\w+)?\.onnx$/;

/** What makes of tokens what a decoder reads: beside it, in the same type where there are several. */
export async function embeddingBeside(decoder: Place): Promise<Place | undefined> {
  const folder = decoder.parent();
  const found = (await folder.list()).files.filter((file) => EMBEDDING.test(file));
  const [suffix = ''] = VARIANT.exec(baseName(decoder)) ?? [];
  const alike = found.find((file) => suffix !== '' && file.endsWith(suffix));
  const name = alike ?? plainest(found);
  return name === undefined ? undefined : folder.at(name);
}

/** The encoder in a folder: of several that which is expected. */
export async function encoderIn(folder: Place, expected: string): Promise<string | undefined> {
  const found = (await folder.list()).files.filter((file) => ENCODER.test(file));
  return found.find((file) => file === expected) ?? (found.length === 1 ? found[0] : undefined);
}

const ENCODER = /^encoder(_\w+)?\.onnx$/;
/** One that needs a cache (decoder_with_past_model.onnx) begins nothing. */
const DECODER = /^decoder(?!\w*_with_past)(_\w+)?\.onnx$/;

/** The same where a call is about one file. @throws {InputError} where there are two as well */
export async function modelFile(place: Place): Promise<Place | undefined> {
  const { file, encoder } = (await modelFiles(place)) ?? {};
  if (file === undefined || encoder === undefined) return file;
  throw new InputError(
    `"${place.path}": an encoder and a decoder (${baseName(encoder)}, ${baseName(file)}); give one of the files, as ${file.path}`,
  );
}

/** Where Hugging Face's libraries download to. */
async function cacheError(snapshots: Place): Promise<InputError> {
  const versions = (await snapshots.list()).folders.map((version) => `"${snapshots.at(version).path}"`);
  return new InputError(
    `"${snapshots.parent().path}": is a cache of downloads; give the version: ${versions.join(', ')}`,
  );
}

/** Where it is said how a model's inputs are made, the nearest first: beside the file, and above its folder `onnx`. */
function foldersOf(file: Place): readonly Place[] {
  const folder = file.parent();
  return baseName(folder) === 'onnx' ? [folder, folder.parent()] : [folder];
}

async function folderWith(name: string, folders: readonly Place[]): Promise<Place | undefined> {
  for (const folder of folders) if (await isFile(folder.at(name))) return folder;
  return undefined;
}

/** How what a decoder says begins and ends. */
export interface Decoding {
  readonly first?: number;
  readonly ends: readonly number[];
}

/** What is known of a model's inputs from the files beside it. */
export interface SideFiles {
  /** A folder with tokenizer.json. */
  readonly tokenizer?: Place;
  /** Positions of a text model. */
  readonly positions?: number;
  /** Of a decoder behind an encoder. */
  readonly decoding: Decoding;
  readonly preprocessing?: Partial<Preprocessing>;
}

/**
 * @param wantsPreprocessing  whether the model does not say it itself
 * @param onNote  told where preprocessing comes from
 */
export async function readSideFiles(
  file: Place,
  wantsPreprocessing: boolean,
  onNote?: (text: string) => void,
): Promise<SideFiles> {
  const folders = foldersOf(file);
  const { positions, decoding } = await readConfig(...folders);
  return {
    tokenizer: await folderWith('tokenizer.json', folders),
    positions,
    decoding,
    preprocessing: wantsPreprocessing ? await preprocessingIn(folders, onNote) : undefined,
  };
}

const isWhole = (it: unknown): it is number => Number.isInteger(it);

/** Objects of a config.json that are of what reads texts, within a model that sees or hears. */
const TEXTS = ['text_config', 'language_config', 'llm_config', 'decoder'];
/** Where transformers 5 has what generating begins and ends with; before it counts the same. */
const GENERATION = 'generation_config.json';

/** What config.json says, where there is one. @param folders  that may have it, the nearest first */
export async function readConfig(
  ...folders: readonly Place[]
): Promise<Pick<SideFiles, 'positions' | 'decoding'>> {
  const [generation, config] = await Promise.all(
    [GENERATION, 'config.json'].map(async (name): Promise<Record<string, unknown>> => {
      const folder = await folderWith(name, folders);
      return folder ? readJsonAt(folder.at(name), limits.jsonBytes) : {};
    }),
  );
  const told = [config, ...TEXTS.map((name) => config[name])].filter(isObject);
  const all = (key: string) => [generation, ...told].map((it) => it[key]);
  const end = all('eos_token_id').find((it) => it != null);
  return {
    positions: told.map((it) => it.max_position_embeddings).find(isWhole),
    decoding: { first: all('decoder_start_token_id').find(isWhole), ends: [end].flat().filter(isWhole) },
  };
}

/** Where Hugging Face models say how their images are prepared. */
const PREPROCESSOR = 'preprocessor_config.json';

async function preprocessingIn(
  folders: readonly Place[],
  onNote?: (text: string) => void,
): Promise<Partial<Preprocessing> | undefined> {
  const place = (await folderWith(PREPROCESSOR, folders))?.at(PREPROCESSOR);
  if (place === undefined) return undefined;
  const found = parsePreprocessorConfig(
    decodeUtf8(await readAtMost(place, limits.jsonBytes), `"${place.path}"`),
    place.path,
  );
  onNote?.(`preprocessing from "${place.path}", where nothing else is said`);
  return found;
}
