// What a run has found, kept in its store: another run finds it there instead of computing it again.

import { decode, encode } from './store/artefact.ts';
import { contentHash } from './store/hash.ts';
import type { RunStore } from './store/store.ts';

/** What the dense network gives is kept up to so many bytes for a run, and no more of one place of it. */
export const DENSE_BYTES = 2 ** 30;
const DENSE_PLACE_BYTES = 2 ** 28;

/** What of an engine counts: its version does, its threads do not. */
export const engineKind = ({ name }: { readonly name: string }): string => name.split(',')[0];

export class Findings {
  readonly #store: RunStore | undefined;
  readonly #origin: string;
  readonly #isReader: boolean;
  #room = DENSE_BYTES;

  /**
   * @param origin  all that every finding depends on and the store's manifest does not say
   * @param isReader  whether somebody else keeps what is found
   */
  constructor(store?: RunStore, origin: readonly string[] = [], isReader = false) {
    this.#store = store;
    this.#origin = origin.join('\n');
    this.#isReader = isReader;
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
    const known = await this.#read<{ batches: T[] }>('dense', about);
    if (known) return new DenseBatches(known.batches, undefined);
    if (!this.#store || bytes > Math.min(DENSE_PLACE_BYTES, this.#room)) return new DenseBatches();
    this.#room -= bytes;
    return new DenseBatches(undefined, (batches) => this.#write('dense', about, { batches }));
  }

  async #read<T extends object>(kind: string, about: unknown): Promise<T | undefined> {
    const bytes = await this.#store?.read(`${kind}/${await this.hash(about)}`);
    return bytes && decode<T>(bytes);
  }

  async #write(kind: string, about: unknown, found: object): Promise<void> {
    if (this.#isReader) return;
    await this.#store?.write(`${kind}/${await this.hash(about)}`, await encode(found));
  }

  /** A short name for what a finding depends on. */
  async hash(about: unknown): Promise<string> {
    return this.#store ? contentHash([this.#origin, JSON.stringify(about)]) : '';
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
