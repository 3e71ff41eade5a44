// A Hugging Face folder as one set of named tensors, whatever files they are in.

import { FormatError, InputError, OutOfMemoryError } from '../errors.ts';
import { isObject } from '../expect.ts';
import { nonFiniteAt } from '../finite.ts';
import { placeholder, TELLING } from '../formats.ts';
import type { JsonObject } from '../json.ts';
import { limits } from '../limits.ts';
import { unloaded } from '../unloaded.ts';
import { CHUNK_BYTES, expectFolder, type Folder, pathIn, readJson } from './folder.ts';
import { readSafetensors } from './safetensors.ts';
import { decode, elementCount, expectFloats, type StoredTensor, type TensorInfo } from './tensor.ts';
import { readTorch } from './torch.ts';

/** A Hugging Face folder whose tensors are read one by one. */
export interface Checkpoint {
  /** The folder's. */
  readonly name: string;
  /** Of config.json. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Names of the files that it is read from. */
  readonly files: ReadonlySet<string>;
  /**
   * A tensor as float32, row-major; float64 is rounded.
   *
   * @throws {InputError} if there is no such tensor, or a value is NaN or infinite
   * @throws {UnsupportedModelError} if it holds no floating-point numbers of 16 bits or more
   */
  read(name: string): Promise<Float32Array<ArrayBuffer>>;
  /**
   * The elements' bytes as they are, little-endian; rows `rowStart` to `rowEnd`, all by default.
   *
   * @throws {InputError} if there is no such tensor or row
   */
  readRaw(name: string, rowStart?: number, rowEnd?: number): Promise<Uint8Array<ArrayBuffer>>;
  /** Closes the folder. */
  close(): Promise<void>;
}

const CONFIG_FILE = 'config.json';

type ReadFile = (folder: Folder, file: string) => Promise<StoredTensor[]>;

/** What may hold the weights, the first that is there. */
const SOURCES: readonly { file: string; read: ReadFile }[] = [
  { file: 'model.safetensors', read: readSafetensors },
  { file: 'model.safetensors.index.json', read: (folder, file) => readShards(folder, file, readSafetensors) },
  { file: 'pytorch_model.bin', read: readTorch },
  { file: 'pytorch_model.bin.index.json', read: (folder, file) => readShards(folder, file, readTorch) },
];

/** What the folder's weights are read from, if there are any. */
async function sourceIn(folder: Folder) {
  const present = new Set(await folder.list());
  return SOURCES.find(({ file }) => present.has(file));
}

/** The tensors of all shards. Every one that the index names must be where it says, and in no other shard. */
async function readShards(folder: Folder, indexFile: string, read: ReadFile): Promise<StoredTensor[]> {
  const path = pathIn(folder, indexFile);
  const fail = (problem: string) => new FormatError(`"${path}": ${problem}`);
  const map = await readIndex(folder, indexFile);
  const present = new Set(await folder.list());
  const tensors = new Map<string, StoredTensor>();
  for (const shard of [...new Set(Object.values(map))].sort()) {
    if (!present.has(shard)) throw new InputError(`"${path}": shard "${shard}" is missing from the folder`);
    for (const tensor of await read(folder, shard)) {
      const other = tensors.get(tensor.name);
      if (other) throw fail(`tensor "${tensor.name}" is in both "${other.file}" and "${shard}"`);
      tensors.set(tensor.name, tensor);
    }
  }
  for (const [name, file] of Object.entries(map)) {
    if (tensors.get(name)?.file !== file) throw fail(`tensor "${name}" is not in "${file}"`);
  }
  return [...tensors.values()];
}

/**
 * By names that transformers knows, whichever they have: BERT's norms have those of TensorFlow in its first checkpoints, and weights that are
 * directions and lengths those of either way in which torch makes them.
 */
function byName(stored: readonly StoredTensor[], folder: Folder): Map<string, StoredTensor> {
  const tensors = new Map<string, StoredTensor>();
  for (const tensor of stored) {
    const name = tensor.name
      .replace(/LayerNorm\.gamma$/, 'LayerNorm.weight')
      .replace(/LayerNorm\.beta$/, 'LayerNorm.bias')
      .replace(/parametrizations\.weight\.original0$/, 'weight_g')
      .replace(/parametrizations\.weight\.original1$/, 'weight_v');
    if (tensors.has(name))
      throw new FormatError(
        `"${pathIn(folder, tensor.file)}": tensor "${name}" is there twice, once as "${tensor.name}"`,
      );
    tensors.set(name, { ...tensor, name });
  }
  return tensors;
}

/** Each tensor's file. @throws {FormatError} */
async function readIndex(folder: Folder, indexFile: string): Promise<Record<string, string>> {
  const { weight_map: map } = await readJson(folder, indexFile, limits.indexBytes);
  if (isObject(map) && Object.values(map).every((file) => typeof file === 'string'))
    return map as Record<string, string>;
  throw new FormatError(`"${pathIn(folder, indexFile)}": expected "weight_map" to give each tensor's file`);
}

/** Whether the weights are there with all of their files, and not what a download left in the place of one. */
export async function hasWeights(folder: Folder): Promise<boolean> {
  const source = await sourceIn(folder);
  if (!source) return false;
  const isIndex = source.file.endsWith('.index.json');
  const files = isIndex ? Object.values(await readIndex(folder, source.file)) : [source.file];
  const present = new Set(await folder.list());
  for (const file of new Set(files)) {
    if (!present.has(file)) return false;
    const first = await folder.read(file, 0, Math.min(await folder.size(file), TELLING));
    if (placeholder(first) !== undefined) return false;
  }
  return true;
}

function newFloat32Array(length: number, at: string): Float32Array<ArrayBuffer> {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw new OutOfMemoryError(`${at} needs ${4 * length} bytes`, 4 * length, { cause });
  }
}

/**
 * What config.json says of the model in a folder.
 *
 * @throws {InputError} where there is none, saying what else the folder may be
 */
export async function readConfig(folder: Folder): Promise<JsonObject> {
  const files = await folder.list();
  if (files.includes(CONFIG_FILE)) return readJson(folder, CONFIG_FILE, limits.jsonBytes);
  const { folderHint } = await import('./others.ts').catch(unloaded('what tells folders apart'));
  throw new InputError(`"${folder.name}": there is no config.json in it; ${folderHint(files)}`);
}

/**
 * Opens a folder as Hugging Face's libraries write it: config.json beside model.safetensors or pytorch_model.bin,
 * whole or in shards with an index; safetensors are preferred. Only headers are read, tensors when asked for.
 *
 * @throws {InputError} if a file is missing
 * @throws {FormatError} naming the file, and the tensor where there is one, if anything contradicts itself
 *
 * @example
 * const checkpoint = await openCheckpoint(folder);
 * console.log([...checkpoint.tensors.keys()]);
 */
export async function openCheckpoint(folder: Folder): Promise<Checkpoint> {
  expectFolder('openCheckpoint', folder);
  const config = await readConfig(folder);
  const source = await sourceIn(folder);
  if (!source) {
    const files = SOURCES.map(({ file }) => file).join(', ');
    const { weightsHint } = await import('./others.ts').catch(unloaded('what tells weights apart'));
    throw new InputError(
      `"${folder.name}": no weights in it; expected one of ${files}${await weightsHint(folder)}`,
    );
  }
  const tensors = byName(await source.read(folder, source.file), folder);

  /** The tensor, the range of its bytes that the rows are, and how messages name it. */
  function find(name: string, rowStart: number, rowEnd?: number) {
    const tensor = tensors.get(name);
    if (!tensor) throw new InputError(`"${folder.name}": no tensor "${name}" in it`);
    const at = `"${pathIn(folder, tensor.file)}": tensor "${name}"`;
    const rows = tensor.shape[0] ?? 1; // a scalar is one row
    const end = rowEnd ?? rows;
    const ok = [rowStart, end].every(Number.isInteger) && 0 <= rowStart && rowStart <= end && end <= rows;
    if (!ok) throw new InputError(`${at} has ${rows} rows, got ${rowStart} to ${end}`);
    const rowBytes = rows === 0 ? 0 : tensor.bytes / rows;
    if (!Number.isInteger(rowBytes)) throw new InputError(`${at} has rows that are no whole bytes`);
    return { tensor, at, from: rowStart * rowBytes, to: end * rowBytes };
  }

  return {
    name: folder.name,
    config,
    tensors,
    files: new Set([CONFIG_FILE, source.file, ...Array.from(tensors.values(), ({ file }) => file)]),
    async read(name) {
      const { tensor, at } = find(name, 0);
      const { dtype, bytes, shape } = tensor;
      expectFloats(at, dtype);
      const size = bytes / elementCount(shape)! || 1;
      const out = newFloat32Array(bytes / size, at);
      const step = tensor.inOne ? bytes : CHUNK_BYTES;
      for (let start = 0; start < bytes; start += step) {
        const end = Math.min(start + step, bytes);
        const part = out.subarray(start / size, end / size);
        decode(await tensor.readBytes(start, end), dtype, part);
        const bad = nonFiniteAt(part);
        if (bad >= 0) throw new InputError(`${at} has ${part[bad]} at element ${start / size + bad}`);
      }
      return out;
    },
    async readRaw(name, rowStart = 0, rowEnd) {
      const { tensor, from, to } = find(name, rowStart, rowEnd);
      return tensor.readBytes(from, to);
    },
    close: () => folder.close(),
  };
}
