// What every file format gives: named tensors whose bytes can be read in parts. And the elements of those: names of
// their types in safetensors, sizes, conversion from and to float32.
//
// Typed arrays are little-endian wherever WebAssembly runs in practice, and so are both formats.

import { UnsupportedModelError } from '../errors.ts';
import { nonFiniteAt } from '../finite.ts';
import { bitsOf, type DataType, type FloatType, isFloat } from '../graph/dtype.ts';
import { fromHalves, toHalves } from '../graph/half.ts';
import { elements } from '../graph/tensor.ts';

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
  /** It lies in its file in another order, or deflated: every part read costs as much as the whole. */
  readonly inOne?: boolean;
}

/** By their names in safetensors, in the order of its enumeration: its writer sorts tensors by it, the last first. */
export const SAFETENSORS_TYPES: ReadonlyMap<unknown, DataType> = new Map<unknown, DataType>([
  ['BOOL', 'bool'],
  ['F4', 'float4e2m1'],
  ['U8', 'uint8'],
  ['I8', 'int8'],
  ['F8_E5M2', 'float8e5m2'],
  ['F8_E4M3', 'float8e4m3fn'],
  ['F8_E8M0', 'float8e8m0'],
  ['I16', 'int16'],
  ['U16', 'uint16'],
  ['F16', 'float16'],
  ['BF16', 'bfloat16'],
  ['I32', 'int32'],
  ['U32', 'uint32'],
  ['F32', 'float32'],
  ['C64', 'complex64'],
  ['F64', 'float64'],
  ['I64', 'int64'],
  ['U64', 'uint64'],
]);

/** The types that float32 values can be written in. */
export type WeightType = Exclude<FloatType, 'float64'>;

/** @param at  how messages name the tensor. @throws {UnsupportedModelError} unless it holds weights that can be read */
export function expectFloats(at: string, dtype: DataType): asserts dtype is FloatType {
  if (!isFloat(dtype))
    throw new UnsupportedModelError(`${at} has type ${dtype}; expected float32, float16 or bfloat16`);
}

/** Product of the dimensions; `undefined` if one is no whole number ≥ 0 or the product passes 2⁵³. */
export function elementCount(shape: readonly unknown[]): number | undefined {
  if (!shape.every((d): d is number => Number.isSafeInteger(d) && (d as number) >= 0)) return undefined;
  const count = elements(shape);
  return Number.isSafeInteger(count) ? count : undefined;
}

/** Bytes of a tensor; `undefined` if they are not a whole, safe number. */
export function byteCount(shape: readonly unknown[], dtype: DataType): number | undefined {
  const bytes = ((elementCount(shape) ?? Number.NaN) * bitsOf(dtype)) / 8;
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** Converts stored elements into `out`, which is as long; float64 is rounded. `bytes` must be aligned. */
export function decode(bytes: Uint8Array, dtype: FloatType, out: Float32Array): void {
  const { buffer, byteOffset } = bytes;
  if (dtype === 'float32') out.set(new Float32Array(buffer, byteOffset, out.length));
  else if (dtype === 'float64') out.set(new Float64Array(buffer, byteOffset, out.length));
  else fromHalves(new Uint16Array(buffer, byteOffset, out.length), dtype, out);
}

/** Rounds to nearest, ties to even. */
export function encode(values: Float32Array, dtype: WeightType): Uint8Array {
  if (dtype === 'float32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return new Uint8Array(toHalves(values, dtype).buffer);
}

/** Whether an encoded float16 or bfloat16 or float32 has an infinity or NaN: all exponent bits set. */
export function hasNonFinite(bytes: Uint8Array, dtype: WeightType): boolean {
  const { buffer, byteOffset, byteLength } = bytes;
  if (dtype === 'float32') return nonFiniteAt(new Float32Array(buffer, byteOffset, byteLength / 4)) >= 0;
  const mask = dtype === 'float16' ? 0x7c00 : 0x7f80;
  const bits = new Uint16Array(buffer, byteOffset, byteLength / 2);
  for (let i = 0; i < bits.length; i++) if ((bits[i] & mask) === mask) return true;
  return false;
}
