// Hidden states of both networks between two blocks, window by window: in memory up to a limit, beyond it in a file.

import type { FloatTensor } from '../../engine/index.ts';
import { OutOfMemoryError } from '../../errors.ts';
import type { BatchSource } from '../batches.ts';

/** A file of float32 values for as long as a run takes. */
export interface Scratch {
  /** Keeps values. @param at  index of the first one */
  write(at: number, values: Float32Array): Promise<void>;
  /** Values that were written before. @param at  index of the first one */
  read(at: number, length: number): Promise<Float32Array>;
  /** Harmless if called twice. */
  close(): Promise<void>;
}

/** Bytes of the hidden states of `windows` windows of `length` tokens with `width` features, for both networks. */
export function hiddenBytes(windows: number, length: number, width: number): number {
  return 2 * Float32Array.BYTES_PER_ELEMENT * windows * length * width;
}

export class HiddenStates {
  readonly windows: number;
  /** Of one window: tokens × features. */
  readonly dims: readonly [number, number];
  readonly #size: number;
  readonly #kept: { dense: Float32Array; pruned: Float32Array }[] | undefined;
  readonly #scratch: Scratch | undefined;

  /**
   * @param limit  bytes that may be kept in memory
   * @throws {OutOfMemoryError} where they do not fit and there is no scratch file
   */
  constructor(windows: number, dims: readonly [number, number], limit: number, scratch?: () => Scratch) {
    this.windows = windows;
    this.dims = dims;
    this.#size = dims[0] * dims[1];
    const bytes = hiddenBytes(windows, ...dims);
    if (bytes <= limit) this.#kept = [];
    else if (scratch) this.#scratch = scratch();
    else {
      throw new OutOfMemoryError(
        `hidden states of ${windows} windows need ${bytes} bytes, more than the ${limit} allowed, and there is no file for them; fewer samples or shorter windows need less`,
        bytes,
      );
    }
  }

  async set(window: number, dense: Float32Array, pruned: Float32Array): Promise<void> {
    if (this.#kept) {
      const own = dense.slice();
      this.#kept[window] = { dense: own, pruned: dense === pruned ? own : pruned.slice() };
      return;
    }
    const at = 2 * window * this.#size;
    await this.#scratch!.write(at, dense);
    await this.#scratch!.write(at + this.#size, pruned);
  }

  async get(window: number): Promise<{ dense: Float32Array; pruned: Float32Array }> {
    if (this.#kept) return this.#kept[window];
    const at = 2 * window * this.#size;
    const both = await this.#scratch!.read(at, 2 * this.#size);
    return { dense: both.subarray(0, this.#size), pruned: both.subarray(this.#size) };
  }

  /** To be called when they are not needed any more. */
  async close(): Promise<void> {
    await this.#scratch?.close();
  }

  /** The given windows in batches. */
  source(windows: readonly number[], batchSize: number, diverged: boolean): BatchSource {
    const batch = (group: readonly number[], parts: readonly Float32Array[]): FloatTensor => {
      const data = new Float32Array(group.length * this.#size);
      parts.forEach((part, i) => {
        data.set(part, i * this.#size);
      });
      return { dims: [group.length, ...this.dims], data };
    };
    const states = this;
    return {
      samples: windows.length,
      diverged,
      async *batches() {
        for (let first = 0; first < windows.length; first += batchSize) {
          const group = windows.slice(first, first + batchSize);
          const pairs = await Promise.all(group.map((window) => states.get(window)));
          const input = batch(
            group,
            pairs.map(({ dense }) => dense),
          );
          const pruned = diverged
            ? batch(
                group,
                pairs.map((pair) => pair.pruned),
              )
            : input;
          yield { input, pruned, count: group.length };
        }
      },
    };
  }
}
