// Activations of both networks at one place of a model: in memory up to a limit, beyond it in a file.

import type { FloatTensor } from '../engine/index.ts';
import { OutOfMemoryError } from '../errors.ts';
import { elements } from '../graph/index.ts';

/** A file of float32 values for as long as a run takes. */
export interface Scratch {
  /** Keeps values. @param at  index of the first one */
  write(at: number, values: Float32Array): Promise<void>;
  /** Values that were written before. @param at  index of the first one */
  read(at: number, length: number): Promise<Float32Array>;
  /** Harmless if called twice. */
  close(): Promise<void>;
}

/** What a run may hold on to. */
export interface ActivationLimits {
  /** Bytes of activations kept in memory. Default 1 GiB. */
  readonly activationBytes?: number;
  /** Makes files for those beyond; without, what can be computed again is, and what cannot is an error. */
  readonly scratch?: () => Scratch;
}

const DEFAULT_ACTIVATION_BYTES = 2 ** 30;

/** The same values in the dense and in the pruned network; one tensor where they do not differ. */
export interface Pair {
  readonly dense: FloatTensor;
  readonly pruned: FloatTensor;
}

export function activationLimit({ activationBytes = DEFAULT_ACTIVATION_BYTES }: ActivationLimits): number {
  return activationBytes;
}

/** Bytes of `values` values in both networks. */
export function pairBytes(values: number): number {
  return 2 * Float32Array.BYTES_PER_ELEMENT * values;
}

/** Pairs by number, of one size but for shorter ones at the end. What is set is given away. */
export class Activations {
  readonly #kept: Pair[] | undefined;
  readonly #scratch: Scratch | undefined;
  readonly #places: { readonly at: number; readonly dims: readonly number[] }[] = [];
  #end = 0;

  /**
   * @param bytes  of all pairs
   * @throws {OutOfMemoryError} where they do not fit and there is no file for them
   */
  constructor(bytes: number, limits: ActivationLimits) {
    const limit = activationLimit(limits);
    if (bytes <= limit) this.#kept = [];
    else if (limits.scratch) this.#scratch = limits.scratch();
    else {
      throw new OutOfMemoryError(
        `activations between two parts of the model need ${bytes} bytes, more than the ${limit} allowed, and there is no file for them; fewer or smaller samples need less`,
        bytes,
      );
    }
  }

  async set(index: number, pair: Pair): Promise<void> {
    if (this.#kept) {
      this.#kept[index] = pair;
      return;
    }
    const { dims, data } = pair.dense;
    this.#places[index] ??= { at: this.#end, dims };
    const { at } = this.#places[index];
    this.#end = Math.max(this.#end, at + 2 * data.length);
    await this.#scratch!.write(at, data);
    await this.#scratch!.write(at + data.length, pair.pruned.data);
  }

  async get(index: number): Promise<Pair> {
    if (this.#kept) return this.#kept[index];
    const { at, dims } = this.#places[index];
    const size = elements(dims);
    const both = await this.#scratch!.read(at, 2 * size);
    return { dense: { dims, data: both.subarray(0, size) }, pruned: { dims, data: both.subarray(size) } };
  }

  /** To be called when they are not needed any more. */
  async close(): Promise<void> {
    await this.#scratch?.close();
  }
}
