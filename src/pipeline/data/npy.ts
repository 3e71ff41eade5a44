// NumPy's .npy files → Float32Array. Reading only, real numbers only, row-major only.
//
// No library: the maintained one (`npyjs`) brings a fetch polyfill along, and the format is one small header.
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html

import { FormatError, InputError } from '../../errors.ts';
import { expectBytes, expectDims, expectObject, said } from '../../expect.ts';
import { otherArray } from '../../formats.ts';
import { float16ToFloat32 } from '../../graph/half.ts';
import { elements } from '../../graph/tensor.ts';

/** Row-major. */
export interface NpyArray {
  shape: number[];
  data: Float32Array;
}

/** @throws {InputError} where it is none */
export function expectArray(operation: string, array: unknown): void {
  expectObject(operation, 'array', array);
  const { shape, data } = array as NpyArray;
  expectDims(operation, 'shape', shape);
  if (!(data instanceof Float32Array))
    throw new InputError(`${operation}: "data" expected a Float32Array, got ${said(data)}`);
  if (data.length !== elements(shape))
    throw new InputError(
      `${operation}: "data" expected ${elements(shape)} values for shape ${formatShape(shape)}, got ${data.length}`,
    );
}

const MAGIC = '\x93NUMPY';

const READERS: Record<string, { bytes: number; read: (view: DataView, at: number) => number }> = {
  '<f2': { bytes: 2, read: (view, at) => float16ToFloat32(view.getUint16(at, true)) },
  '<f4': { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  '<f8': { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  '|b1': { bytes: 1, read: (view, at) => view.getUint8(at) },
  '|i1': { bytes: 1, read: (view, at) => view.getInt8(at) },
  '|u1': { bytes: 1, read: (view, at) => view.getUint8(at) },
  '<i2': { bytes: 2, read: (view, at) => view.getInt16(at, true) },
  '<u2': { bytes: 2, read: (view, at) => view.getUint16(at, true) },
  '<i4': { bytes: 4, read: (view, at) => view.getInt32(at, true) },
  '<i8': { bytes: 8, read: (view, at) => Number(view.getBigInt64(at, true)) },
};

export const formatShape = (shape: readonly (number | string)[]) => `[${shape.join(', ')}]`;

/**
 * `<f2`, `<f4`, `<f8`, `|b1`, `|i1`, `|u1`, `<i2`, `<u2`, `<i4` or `<i8`, C order; values beyond float32 become ±Infinity, integers beyond
 * 2²⁴ are rounded.
 *
 * @throws {FormatError} naming the file, if it is anything else, truncated or too long
 *
 * @example
 * const { shape, data } = decodeNpy(await readFile('inputs.npy'), 'inputs.npy');
 */
export function decodeNpy(bytes: Uint8Array, name: string): NpyArray {
  expectBytes('decodeNpy', bytes);
  const fail = (reason: string) => new FormatError(`"${name}": ${reason}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from: number, to: number) => String.fromCharCode(...bytes.subarray(from, to));

  if (text(0, 6) !== MAGIC) throw fail(`expected a .npy file, got ${otherArray(bytes) ?? 'something else'}`);
  if (bytes.length < 12) throw fail('the .npy header is truncated');
  const version = bytes[6];
  if (version < 1 || version > 3) throw fail(`.npy version ${version} is not supported`);
  const headerStart = version === 1 ? 10 : 12;
  const start = headerStart + (version === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (start > bytes.length) throw fail('the .npy header is truncated');
  // NumPy refuses headers above 10,000 characters, too (`max_header_size`).
  if (start > 10_000) throw fail('the .npy header is too long');

  const header = text(headerStart, start);
  const descr = /'descr'\s*:\s*(?:'([^']*)'|\[)/.exec(header);
  const fortran = /'fortran_order'\s*:\s*(True|False)/.exec(header)?.[1];
  const dims = /'shape'\s*:\s*\(\s*((?:\d+L?\s*,\s*)*(?:\d+L?\s*)?)\)/.exec(header)?.[1];
  if (!descr || fortran === undefined || dims === undefined) throw fail('the .npy header is malformed');
  const [, dtype = 'fields'] = descr;
  const reader = Object.hasOwn(READERS, dtype) ? READERS[dtype] : undefined;
  if (!reader) {
    const known = Object.keys(READERS).join(', ');
    const hint =
      dtype === '|O'
        ? 'samples of several sizes are an array each, in .npz files or lines of JSON'
        : "save it as another, as by astype('float32') of NumPy";
    throw fail(`expected dtype ${known}, got ${dtype}; ${hint}`);
  }
  const shape = (dims.match(/\d+/g) ?? []).map(Number);
  // A vector is the same in both orders, and NumPy writes True for some of them.
  if (fortran === 'True' && shape.length > 1)
    throw fail('expected C order, got Fortran order (numpy.ascontiguousarray)');

  const count = elements(shape);
  const expected = count * reader.bytes;
  const found = bytes.length - start;
  if (found !== expected) {
    throw fail(`expected ${expected} bytes of data for shape ${formatShape(shape)}, got ${found}`);
  }
  const data = new Float32Array(count);
  for (let i = 0; i < count; i++) data[i] = reader.read(view, start + i * reader.bytes);
  return { shape, data };
}
