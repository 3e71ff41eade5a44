// Activations at one place of a model: in memory up to a limit, beyond it in a file.

import type { FloatTensor } from '../../engine/index.ts';
import { OutOfMemoryError } from '../../errors.ts';
import { elements, sum } from '../../graph/index.ts';

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

export function activationLimit({ activationBytes = DEFAULT_ACTIVATION_BYTES }: ActivationLimits): number {
  return activationBytes;
}

/** Bytes of `values` values in both networks. */
export function pairBytes(values: number): number {
  return 2 * Float32Array.BYTES_PER_ELEMENT * values;
}

/** Tensors by number, as many of each and of one size, but for smaller ones at the end. What is set is given away. */
export class Activations {
  readonly #kept: (readonly FloatTensor[])[] | undefined;
  readonly #scratch: Scratch | undefined;
  readonly #places: { readonly at: number; readonly dims: readonly (readonly number[])[] }[] = [];
  #end = 0;

  /**
   * @param bytes  of all tensors
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

  async set(index: number, tensors: readonly FloatTensor[]): Promise<void> {
    if (this.#kept) {
      this.#kept[index] = tensors;
      return;
    }
    this.#places[index] ??= { at: this.#end, dims: tensors.map(({ dims }) => dims) };
    let { at } = this.#places[index];
    for (const { data } of tensors) {
      await this.#scratch!.write(at, data);
      at += data.length;
    }
    this.#end = Math.max(this.#end, at);
  }

  async get(index: number): Promise<readonly FloatTensor[]> {
    if (this.#kept) return this.#kept[index];
    const { at, dims } = this.#places[index];
    const all = await this.#scratch!.read(at, sum(dims.map(elements)));
    let end = 0;
    return dims.map((dims) => {
      const start = end;
      end += elements(dims);
      return { dims, data: all.subarray(start, end) };
    });
  }

  /** To be called when they are not needed any more. */
  async close(): Promise<void> {
    if (this.#kept) this.#kept.length = 0;
    await this.#scratch?.close();
  }
}
