// What a run has found, kept in its store: another run finds it there instead of computing it again.

import { decode, encode } from './store/artefact.ts';
import { contentHash } from './store/hash.ts';
import type { RunStore } from './store/store.ts';

export class Findings {
  readonly #store: RunStore | undefined;
  readonly #origin: string;

  /** @param origin  all that every finding depends on and the store's manifest does not say */
  constructor(store?: RunStore, origin: readonly string[] = []) {
    this.#store = store;
    this.#origin = origin.join('\n');
  }

  /**
   * What was found before, or is found now.
   *
   * @param about  plain data: all that the finding depends on, beside model, data and origin
   */
  async once<T extends object>(kind: string, about: unknown, find: () => Promise<T>): Promise<T> {
    if (!this.#store) return find();
    const key = `${kind}/${await this.hash(about)}`;
    const bytes = await this.#store.read(key);
    const known = bytes && (await decode<T>(bytes));
    if (known) return known;
    const found = await find();
    await this.#store.write(key, await encode(found));
    return found;
  }

  /** A short name for what a finding depends on. */
  async hash(about: unknown): Promise<string> {
    return this.#store ? contentHash([this.#origin, JSON.stringify(about)]) : '';
  }
}
