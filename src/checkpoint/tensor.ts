// What every file format gives: named tensors whose bytes can be read in parts.

import type { DataType } from '../graph/dtype.ts';

/** A tensor of a checkpoint, not yet read. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DataType;
  readonly shape: readonly number[];
  /** Of its elements, row-major and without gaps. */
  readonly bytes: number;
  /** Name of the file it is in. */
  readonly file: string;
}

export interface StoredTensor extends TensorInfo {
  /**
   * Bytes `from` to `to` of the elements in row-major order, little-endian.
   * Both fall between elements, and the result is aligned to them.
   */
  readBytes(from: number, to: number): Promise<Uint8Array<ArrayBuffer>>;
  /** It lies in its file in another order: every part read costs as much as the whole. */
  readonly strided?: true;
}
