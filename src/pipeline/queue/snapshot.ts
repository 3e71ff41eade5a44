// What workers have to know of a run, in its store: the model, the samples, the recipe. Contents lie under their hashes, so
// that what is there already is not written again.

import { CHUNK_BYTES, checkRange, type Folder, namesIn } from '../../checkpoint/folder.ts';
import { InputError } from '../../errors.ts';
import { sum } from '../../graph/index.ts';
import { listed } from '../data/batches.ts';
import { type Batch, type Dataset, joinSamples, pickRows } from '../data/dataset.ts';
import { READ_AT_ONCE, shardRange, sliceOf } from '../data/shards.ts';
import { externalReader, type OpenOptions } from '../open/open.ts';
import type { Pass, Recipe } from '../recipe.ts';
import type { ActivationLimits } from '../store/activations.ts';
import { encode } from '../store/artefact.ts';
import { contentHash } from '../store/hash.ts';
import { holds, type RunStore } from '../store/store.ts';
import type { FileToShip, Opening, Shipment } from '../subject.ts';
import { readContent, readDescription } from './volumes.ts';

/** A file in chunks. */
interface ShippedFile {
  readonly name: string;
  readonly chunks: readonly { readonly key: string; readonly bytes: number }[];
}

/** A run as workers are told of it. */
export interface Snapshot {
  readonly model: Opening<ShippedFile>;
  readonly samples: Omit<Dataset, 'batches' | 'slice'> & { readonly shards: readonly string[] };
  readonly recipe: Recipe;
  readonly simd: string;
  readonly engine: string;
  readonly activationBytes?: ActivationLimits['activationBytes'];
  /** As of `Run`. */
  readonly layerBytes?: number;
}

/** A pass as workers are told of it. */
export interface PassSnapshot extends Omit<Pass, 'label' | 'sizes' | 'supports'> {
  readonly sizes: readonly (readonly [string, number])[];
  readonly supports?: readonly (readonly [string, readonly number[]])[];
}

/** @returns its hash */
export async function writeDescription(
  store: RunStore,
  kind: 'runs' | 'passes',
  it: object,
): Promise<string> {
  const bytes = await encode(it);
  const hash = await contentHash([bytes]);
  const key = `${kind}/${hash}`;
  if (!(await holds(store, key))) await store.write(key, bytes);
  return hash;
}

class Shipper {
  readonly #store: RunStore;
  readonly #there: Set<string>;

  constructor(store: RunStore, there: readonly string[]) {
    this.#store = store;
    this.#there = new Set(there);
  }

  /** @returns its key */
  async bytes(kind: 'chunks' | 'samples', bytes: Uint8Array): Promise<string> {
    const key = `${kind}/${await contentHash([bytes])}`;
    if (!this.#there.has(key)) await this.#store.write(key, bytes);
    this.#there.add(key);
    return key;
  }

  async file({ name, size, read }: FileToShip): Promise<ShippedFile> {
    const chunks: ShippedFile['chunks'][number][] = [];
    for (let at = 0; at < size; at += CHUNK_BYTES) {
      const bytes = await read(at, Math.min(CHUNK_BYTES, size - at));
      chunks.push({ key: await this.bytes('chunks', bytes), bytes: bytes.length });
    }
    return { name, chunks };
  }

  async samples(samples: Dataset): Promise<string> {
    const batches = await listed(samples.batches(READ_AT_ONCE));
    return this.bytes('samples', await encode({ batches }));
  }
}

/** Puts a model and samples where workers find them. */
export async function ship(
  store: RunStore,
  shipment: Shipment,
  samples: Dataset,
  shards: number,
): Promise<Pick<Snapshot, 'model' | 'samples'>> {
  const shipper = new Shipper(store, [...(await store.list('chunks/')), ...(await store.list('samples/'))]);
  const files: ShippedFile[] = [];
  for (const file of shipment.files) files.push(await shipper.file(file));
  const keys: string[] = [];
  for (let shard = 0; shard < shards; shard++)
    keys.push(await shipper.samples(sliceOf(samples, shardRange(samples, shards, shard))));
  const { name, size, shape, smallest, beside, views, tokens, constants } = samples;
  return {
    model: { ...shipment, files },
    samples: { name, size, shape, smallest, beside, views, tokens, constants, shards: keys },
  };
}

/** Samples in a store, of which a shard is read where it alone is asked for. */
export function storedSamples(store: RunStore, { shards, ...about }: Snapshot['samples']): Dataset {
  async function* rows(keys: readonly string[]) {
    for (const key of keys) {
      const { batches } = await readDescription<{ batches: Batch[] }>(store, key);
      for (const batch of batches) for (let i = 0; i < batch.count; i++) yield pickRows(batch, [i]);
    }
  }
  return {
    ...about,
    batches: (batchSize) => joinSamples(rows(shards), batchSize),
    slice(range) {
      const shard = shards.findIndex((_, i) => shardRange(about, shards.length, i).first === range.first);
      const batches = (batchSize: number) => joinSamples(rows([shards[shard]]), batchSize);
      return { ...about, size: range.end - range.first, batches };
    },
  };
}

/** Chunks that are held: tensors are read from one end of a file to the other. */
const HELD_CHUNKS = 4;

/** A folder whose files are chunks in a store. */
export function storedFolder(store: RunStore, name: string, files: readonly ShippedFile[]): Folder {
  const held = new Map<string, Promise<Uint8Array>>();
  const chunk = (key: string) => {
    const known = held.get(key);
    if (known) return known;
    const bytes = readContent(store, key);
    held.set(key, bytes);
    for (const old of held.keys()) if (held.size > HELD_CHUNKS) held.delete(old);
    return bytes;
  };
  const find = (file: string) => {
    const found = files.find((it) => it.name === file);
    if (!found) throw new InputError(`"${name}/${file}": no such file`);
    return found.chunks;
  };
  const sizeOf = (file: string) => sum(find(file).map(({ bytes }) => bytes));
  return {
    name,
    list: async (within) =>
      namesIn(
        files.map((it) => it.name),
        within,
      ),
    size: async (file) => sizeOf(file),
    async read(file, offset, length) {
      checkRange(`${name}/${file}`, sizeOf(file), offset, length);
      const result = new Uint8Array(length);
      let start = 0;
      for (const { key, bytes } of find(file)) {
        const [from, to] = [Math.max(offset, start), Math.min(offset + length, start + bytes)];
        if (from < to) result.set((await chunk(key)).subarray(from - start, to - start), from - offset);
        start += bytes;
      }
      return result;
    },
    async close() {
      held.clear();
    },
  };
}

/** The file, and what reads its external data. */
export async function storedFile(
  store: RunStore,
  files: readonly ShippedFile[],
): Promise<Required<Pick<OpenOptions, 'external'>> & { readonly bytes: Uint8Array }> {
  const folder = storedFolder(store, 'model', files);
  const whole: Uint8Array[] = [];
  for (const { name } of files) whole.push(await folder.read(name, 0, await folder.size(name)));
  const [bytes, ...external] = whole;
  return { bytes, external: externalReader({ external }) };
}
