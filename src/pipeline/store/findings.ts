// What a run has found, kept in its store: another run finds it there instead of computing it again.

import { sum } from '../../graph/index.ts';
import { decode, encode } from './artefact.ts';
import { contentHash } from './hash.ts';
import type { RunStore } from './store.ts';

/** What the dense network gives is kept up to so many bytes for a run: in a store, or in memory. */
const DENSE_BYTES = 2 ** 30;
export const DENSE_MEMORY_BYTES = 2 ** 29;
/** The most of one place of it. */
const DENSE_PLACE_BYTES = 2 ** 28;

/** What of an engine counts: its version does, its threads do not. */
export const engineKind = ({ name }: { readonly name: string }): string => name.split(',')[0];

interface FindingsOptions {
  readonly store?: RunStore;
  /** All that every finding depends on and the store's manifest does not say. */
  readonly origin?: readonly string[];
  /** Whether somebody else keeps what is found. */
  readonly isReader?: boolean;
  /** Where what the dense network gives is kept as it is, and not in the store: the bytes that it may take. */
  readonly memory?: number;
}

/** An artefact says what it is of: a file that was renamed is not taken for another one. */
interface Kept<T> {
  readonly key: string;
  readonly found: T;
}

export class Findings {
  readonly #store: RunStore | undefined;
  readonly #origin: string;
  readonly #isReader: boolean;
  readonly #memory: DenseMemory | undefined;
  #room = DENSE_BYTES;

  constructor({ store, origin = [], isReader = false, memory }: FindingsOptions = {}) {
    this.#store = store;
    this.#origin = origin.join('\n');
    this.#isReader = isReader;
    this.#memory = memory === undefined ? undefined : new DenseMemory(memory);
  }

  /**
   * What was found before, or is found now.
   *
   * @param about  plain data: all that the finding depends on, beside model, data and origin
   */
  async once<T extends object>(kind: string, about: unknown, find: () => Promise<T>): Promise<T> {
    const known = await this.#read<T>(kind, about);
    if (known) return known;
    const found = await find().catch(async (error) => {
      // Where somebody else keeps it: what it was to be made of may be gone because it is there now.
      const kept = this.#isReader ? await this.#read<T>(kind, about) : undefined;
      if (kept) return kept;
      throw error;
    });
    await this.#write(kind, about, found);
    return found;
  }

  /**
   * What the dense network gives for batch after batch, where it was kept, or is to be kept for later passes and runs.
   *
   * @param about  as of `once`
   * @param bytes  of all batches
   */
  async dense<T extends object>(about: unknown, bytes: number): Promise<DenseBatches<T>> {
    if (this.#isReader) return new DenseBatches();
    if (this.#memory) return this.#memory.at<T>(JSON.stringify(about), bytes);
    const known = await this.#read<{ batches: T[] }>('dense', about);
    if (known) return new DenseBatches(known.batches);
    if (!this.#store || bytes > Math.min(DENSE_PLACE_BYTES, this.#room)) return new DenseBatches();
    this.#room -= bytes;
    return new DenseBatches(undefined, (batches) => this.#write('dense', about, { batches }));
  }

  /** Whether what is found is kept beyond this run. */
  get isKept(): boolean {
    return this.#store !== undefined;
  }

  /** Lets go of what is in memory. */
  forget(): void {
    this.#memory?.clear();
  }

  async #read<T extends object>(kind: string, about: unknown): Promise<T | undefined> {
    const key = await this.#key(kind, about);
    const bytes = await this.#store?.read(key);
    const kept = bytes && (await decode<Kept<T>>(bytes));
    return kept?.key === key ? kept.found : undefined;
  }

  async #write<T extends object>(kind: string, about: unknown, found: T): Promise<void> {
    if (this.#isReader) return;
    const key = await this.#key(kind, about);
    await this.#store?.write(key, await encode({ key, found } satisfies Kept<T>));
  }

  async #key(kind: string, about: unknown): Promise<string> {
    return `${kind}/${await this.hash(about)}`;
  }

  /** A short name for what a finding depends on. */
  async hash(about: unknown): Promise<string> {
    return this.#store ? contentHash([this.#origin, JSON.stringify(about)]) : '';
  }
}

/**
 * Passes ask for the same values in the same order, one after the other, or those of a step several times. Where there is no room left,
 * the last ones go: with the oldest, as usual, none would still be there when they are asked for again.
 */
class DenseMemory {
  readonly #limit: number;
  readonly #kept: { readonly key: string; readonly bytes: number; readonly batches: readonly object[] }[] =
    [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  at<T extends object>(key: string, bytes: number): DenseBatches<T> {
    const known = this.#kept.find((it) => it.key === key);
    if (known) return new DenseBatches(known.batches as readonly T[]);
    if (bytes > Math.min(DENSE_PLACE_BYTES, this.#limit)) return new DenseBatches();
    while (bytes > this.#limit - this.#bytes()) this.#kept.pop();
    return new DenseBatches(undefined, async (batches) => void this.#kept.push({ key, bytes, batches }));
  }

  clear(): void {
    this.#kept.length = 0;
  }

  #bytes(): number {
    return sum(this.#kept.map(({ bytes }) => bytes));
  }
}

/** See `Findings.dense`. */
export class DenseBatches<T extends object> {
  readonly #known: readonly T[] | undefined;
  readonly #write: ((batches: readonly T[]) => Promise<void>) | undefined;
  readonly #found: T[] = [];

  constructor(known?: readonly T[], write?: (batches: readonly T[]) => Promise<void>) {
    this.#known = known;
    this.#write = write;
  }

  /** Whether nothing has to be computed. */
  get isKnown(): boolean {
    return this.#known !== undefined;
  }

  /** The values of a batch. */
  async at(index: number, compute: () => Promise<T>): Promise<T> {
    if (this.#known) return this.#known[index];
    const found = await compute();
    if (this.#write) this.#found[index] = found;
    return found;
  }

  /** To be called when all batches were computed. */
  async keep(): Promise<void> {
    await this.#write?.(this.#found);
  }
}
