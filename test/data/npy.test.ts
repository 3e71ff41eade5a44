import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FormatError, OsscarError } from '../../src/errors.ts';
import { decodeNpy } from '../../src/pipeline/data/npy.ts';

/** A file as numpy.save writes it. */
function npy(
  descr: string,
  shape: string,
  data: ArrayBufferView,
  { fortran = 'False', version = 1, fields = '' } = {},
): Uint8Array {
  const text = `{'descr': ${fields || `'${descr}'`}, 'fortran_order': ${fortran}, 'shape': (${shape}), }`;
  const start = version === 1 ? 10 : 12;
  const header = `${text.padEnd(Math.ceil((start + text.length + 1) / 64) * 64 - start - 1)}\n`;
  const length =
    version === 1
      ? [header.length & 255, header.length >> 8]
      : [header.length & 255, header.length >> 8, 0, 0];
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return Uint8Array.from([
    0x93,
    ...Buffer.from('NUMPY'),
    version,
    0,
    ...length,
    ...Buffer.from(header),
    ...bytes,
  ]);
}

test('arrays of samples of several sizes are said to go into several', () => {
  expect(() => decodeNpy(npy('|O', '2,', new Uint8Array(4)), 'a.npy')).toThrow(
    /got \|O; samples of several sizes are an array each, in \.npz files or lines of JSON$/,
  );
});

describe('decodeNpy', () => {
  test('reads a 2×2 array of float32', () => {
    const data = Float32Array.of(1, -2, 0.5, 3e38);
    expect(decodeNpy(npy('<f4', '2, 2', data), 'a.npy')).toEqual({ shape: [2, 2], data });
  });

  test('reads float64, bytes and every version of the header', () => {
    expect(decodeNpy(npy('<f8', '3,', Float64Array.of(1, 0.1, -7)), 'a').data).toEqual(
      Float32Array.of(1, 0.1, -7),
    );
    expect(decodeNpy(npy('|u1', '3,', Uint8Array.of(0, 128, 255)), 'a').data).toEqual(
      Float32Array.of(0, 128, 255),
    );
    for (const version of [1, 2, 3]) {
      expect(decodeNpy(npy('<f4', '1,', Float32Array.of(5), { version }), 'a').data).toEqual(
        Float32Array.of(5),
      );
    }
  });

  test('reads float16: normal, subnormal, infinite, NaN', () => {
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x3555, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0xfc00, 0x7e00);
    const want = [1, -2, 0.333251953125, 2 ** -24, -1023 * 2 ** -24, 65504, Infinity, -Infinity, NaN];
    expect([...decodeNpy(npy('<f2', '9,', halves), 'a').data]).toEqual(want);
  });

  test('reads a file that is a view at an odd offset', () => {
    const file = npy('<f4', '2,', Float32Array.of(1, 2));
    const shifted = new Uint8Array(file.length + 1);
    shifted.set(file, 1);
    expect(decodeNpy(shifted.subarray(1), 'a').data).toEqual(Float32Array.of(1, 2));
  });

  const ones = Float32Array.of(1, 1, 1, 1);
  test.each([
    [
      'another kind of file',
      new TextEncoder().encode('PK and more of it'),
      'expected a .npy file, got something else',
    ],
    ['an empty file', new Uint8Array(0), 'expected a .npy file, got an empty file'],
    ['a cut header', npy('<f4', '4,', ones).subarray(0, 40), 'the .npy header is truncated'],
    ['cut data', npy('<f4', '4,', ones).slice(0, -1), 'expected 16 bytes of data for shape [4], got 15'],
    ['surplus data', npy('<f4', '3,', ones), 'expected 12 bytes of data for shape [3], got 16'],
    ['an absurd shape', npy('<f4', '999999999999, 999999999999, 9', ones), 'bytes of data for shape'],
    ['Fortran order', npy('<f4', '2, 2', ones, { fortran: 'True' }), 'expected C order, got Fortran order'],
    [
      'big-endian values',
      npy('>f4', '4,', ones),
      'expected dtype <f2, <f4, <f8, |b1, |i1, |u1, <i2, <u2, <i4, <i8, got >f4',
    ],
    ['records', npy('', '4,', ones, { fields: "[('a', '<f4')]" }), 'got fields; save it as another'],
    ['integers of three bytes', npy('<i3', '4,', ones), 'got <i3'],
    ['a dtype with a name of Object', npy('constructor', '4,', ones), 'got constructor'],
    ['a later version', npy('<f4', '4,', ones, { version: 4 }), '.npy version 4 is not supported'],
    ['a long header', npy('<f4', '4,', ones, { fields: ' '.repeat(10_000) }), 'the .npy header is too long'],
    ['a shape without commas', npy('<f4', '2 2', ones), 'the .npy header is malformed'],
    ['a header without a shape', npy('<f4', 'x', ones), 'the .npy header is malformed'],
    ['one without an order', npy('<f4', '4,', ones, { fortran: '' }), 'the .npy header is malformed'],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => decodeNpy(bytes, 'a.npy')).toThrow(FormatError);
    expect(() => decodeNpy(bytes, 'a.npy')).toThrow(message);
    expect(() => decodeNpy(bytes, 'a.npy')).toThrow(/^"a\.npy": /);
  });

  test('never throws anything but its own errors, whatever the damage', () => {
    const sources = [
      npy('<f4', '2, 2', ones),
      npy('|u1', '16,', ones),
      npy('<f2', '8,', ones, { version: 2 }),
    ];
    const edits = fc.array(fc.tuple(fc.nat(150), fc.nat(255)), { maxLength: 5 });
    fc.assert(
      fc.property(fc.constantFrom(...sources), edits, fc.option(fc.nat(150)), (source, changes, cut) => {
        const bytes = source.slice(0, cut ?? source.length);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        try {
          const { shape, data } = decodeNpy(bytes, 'x');
          expect(data).toHaveLength(shape.reduce((a, b) => a * b, 1));
        } catch (error) {
          expect(error).toBeInstanceOf(OsscarError);
        }
      }),
      { numRuns: 3000, seed: 3 },
    );
  });
});
