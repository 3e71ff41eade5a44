// Writes a checkpoint folder: tensors in any order as they come, headers last, verified before it appears.

import { FormatError, InputError } from '../errors.ts';
import { isObject } from '../expect.ts';
import { nonFiniteAt } from '../finite.ts';
import { isFloat } from '../graph/dtype.ts';
import { limits } from '../limits.ts';
import { openCheckpoint } from './checkpoint.ts';
import {
  checkPathWithin,
  type Folder,
  type OutputFolder,
  pathIn,
  readChunks,
  readJsonValue,
} from './folder.ts';
import type { PlannedTensor, SafetensorsPlan } from './plan.ts';
import { encode, hasNonFinite } from './tensor.ts';

/** Of sentence-transformers: what stands behind the model, as a pooling, in folders of its own. */
const MODULES_FILE = 'modules.json';
/** Of sentence-transformers: how long texts may be, by whatever name of a model. */
const LENGTH_FILE = /^sentence_[\w-]+_config\.json$/;

/** Of MMS: what takes the place of the tensors of one language, by that of another. */
const ADAPTER_FILE = /^adapter\.[\w-]+\.safetensors$/;

/** Files beside the weights that belong to the same model whatever its widths are. */
const SIDE_FILES = new Set([
  'tokenizer.json',
  'tokenizer_config.json',
  'tokenizer.model',
  'spiece.model',
  'spm.model',
  'source.spm',
  'target.spm',
  'sentencepiece.bpe.model',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'vocab.txt',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
  'generation_config.json',
  'preprocessor_config.json',
  'video_preprocessor_config.json',
  'processor_config.json',
  MODULES_FILE,
  'config_sentence_transformers.json',
  'LICENSE',
  'LICENSE.md',
  'LICENSE.txt',
]);

/** The tokenizer's files, adapters, the generation config, what sentence-transformers has behind the model, and the licence, those that there are. */
export async function sideFilesOf(folder: Folder): Promise<string[]> {
  const isOwn = (file: string) =>
    SIDE_FILES.has(file) || [LENGTH_FILE, ADAPTER_FILE].some((it) => it.test(file));
  const own = (await folder.list()).filter(isOwn);
  if (!own.includes(MODULES_FILE)) return own;
  for (const module of await modulesIn(folder))
    own.push(...(await folder.list(module)).map((file) => `${module}/${file}`));
  return own;
}

/** Folders of the modules behind the model. @throws {FormatError} */
async function modulesIn(folder: Folder): Promise<Set<string>> {
  const path = pathIn(folder, MODULES_FILE);
  const modules = await readJsonValue(folder, MODULES_FILE, limits.jsonBytes);
  const paths = Array.isArray(modules)
    ? modules.map((it) => (isObject(it) ? it.path : undefined))
    : [undefined];
  const bad = paths.findIndex((it) => typeof it !== 'string');
  if (bad >= 0) throw new FormatError(`"${path}": expected a list of modules, each with a "path"`);
  const within = new Set(paths as string[]);
  within.delete(''); // the model itself
  for (const it of within) checkPathWithin(path, it);
  return within;
}

/**
 * Writes into an output folder what a plan says. `finish` makes the folder appear; whoever does not get there
 * calls `abort`, and nothing remains. A failing `finish` has aborted already.
 */
export class CheckpointWriter {
  readonly #output: OutputFolder;
  /** Bytes written of each tensor. */
  readonly #done = new Map<string, number>();
  readonly #files = new Set<string>();
  /** All writes so far: one that fails, or is still under way, must not be overlooked by `finish`. */
  #writes: Promise<unknown> = Promise.resolve();

  constructor(
    output: OutputFolder,
    readonly plan: SafetensorsPlan,
  ) {
    this.#output = output;
    for (const { name } of plan.files) this.#files.add(name);
    if (plan.index) this.#files.add(plan.index.name);
  }

  /**
   * A tensor, converted to its planned type (to nearest, ties to even). With `rowStart`, only the rows from there:
   * the parts of a tensor in order.
   *
   * @throws {InputError} if it is not planned, written already, of another size, or has values that are NaN,
   *   infinite or beyond the planned type's range
   */
  async write(name: string, values: Float32Array, rowStart?: number): Promise<void> {
    const tensor = this.#find(name);
    const { dtype } = tensor;
    if (!isFloat(dtype) || dtype === 'float64') {
      throw new InputError(`writing tensor "${name}": its type ${dtype} takes raw bytes only`);
    }
    const bytes = encode(values, dtype);
    if (hasNonFinite(bytes, dtype)) {
      const bad = values[nonFiniteAt(values)] ?? 'values beyond its range';
      throw new InputError(`writing tensor "${name}" as ${dtype}: got ${bad}`);
    }
    await this.#append(tensor, bytes, rowStart);
  }

  /** The same for bytes that are in the planned type already; they are not looked at. */
  async writeRaw(name: string, bytes: Uint8Array, rowStart?: number): Promise<void> {
    await this.#append(this.#find(name), bytes, rowStart);
  }

  /** Any other file, config.json first of all. */
  async writeFile(file: string, bytes: Uint8Array): Promise<void> {
    if (this.#files.has(file))
      throw new InputError(`writing file "${file}": it is written or planned already`);
    this.#files.add(file);
    await this.#put(file, 0, bytes);
  }

  /** A file of another folder, byte for byte. */
  async copyFile(from: Folder, file: string): Promise<void> {
    await this.writeFile(file, new Uint8Array(0)); // an empty file is a file
    let at = 0;
    for await (const chunk of readChunks(from, file)) {
      await this.#put(file, at, chunk);
      at += chunk.length;
    }
  }

  /** See `sideFilesOf`. */
  async copySideFiles(from: Folder): Promise<void> {
    for (const file of await sideFilesOf(from)) await this.copyFile(from, file);
  }

  /**
   * Writes headers and index, opens the result as any reader would, hands it to `verify`, and commits.
   *
   * @throws {InputError} naming a tensor that is not (wholly) written; whatever `verify` throws
   */
  async finish(verify?: (written: Folder) => Promise<void>): Promise<void> {
    try {
      await this.#writes;
      for (const { name, bytes } of this.plan.tensors.values()) {
        const done = this.#done.get(name) ?? 0;
        if (done !== bytes)
          throw new InputError(`tensor "${name}": ${done} of its ${bytes} bytes are written`);
      }
      const { files, index } = this.plan;
      for (const { name, header } of files) await this.#output.writeAt(name, 0, header);
      if (index) await this.#output.writeAt(index.name, 0, index.bytes);
      const { tensors } = await openCheckpoint(this.#output);
      for (const { name, dtype, shape } of this.plan.tensors.values()) {
        const found = tensors.get(name);
        if (found?.dtype === dtype && found.shape.join() === shape.join()) continue;
        const folder = this.#output.name;
        throw new FormatError(`"${folder}": tensor "${name}" does not read back as it was written`);
      }
      await verify?.(this.#output);
      await this.#output.commit();
    } catch (cause) {
      await this.abort();
      throw cause;
    }
  }

  /** Removes everything that was written. */
  async abort(): Promise<void> {
    await this.#output.abort();
  }

  async #put(file: string, offset: number, bytes: Uint8Array): Promise<void> {
    const write = this.#output.writeAt(file, offset, bytes);
    this.#writes = Promise.all([this.#writes, write]);
    this.#writes.catch(() => {}); // thrown below, and by finish()
    await write;
  }

  #find(name: string): PlannedTensor {
    const tensor = this.plan.tensors.get(name);
    if (!tensor) throw new InputError(`writing tensor "${name}": it is not in the plan`);
    return tensor;
  }

  async #append(tensor: PlannedTensor, bytes: Uint8Array, rowStart?: number): Promise<void> {
    const { name, shape } = tensor;
    const done = this.#done.get(name);
    const rowBytes = tensor.bytes / (shape[0] ?? 1) || 0;
    const from = (rowStart ?? 0) * rowBytes;
    const fail = (problem: string) =>
      new InputError(`writing tensor "${name}" of shape [${shape}]: ${problem}`);
    if (done === tensor.bytes) throw fail('it is written already');
    if (from !== (done ?? 0)) throw fail(`expected the rows from byte ${done ?? 0}, got those from ${from}`);
    const fits = rowStart === undefined ? bytes.length === tensor.bytes : from + bytes.length <= tensor.bytes;
    if (!fits) throw fail(`expected ${tensor.bytes - from} bytes, got ${bytes.length}`);
    // Said before the bytes are out, so that two writers of one tensor cannot both begin.
    this.#done.set(name, from + bytes.length);
    if (bytes.length > 0) await this.#put(tensor.file, tensor.offset + from, bytes);
  }
}
