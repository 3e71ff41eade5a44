import { describe, expect, test } from 'vitest';
import { FormatError, InputError, UnsupportedModelError } from '../../src/errors.ts';
import { limits } from '../../src/limits.ts';
import { bytesOf, open, safetensors } from './support.ts';

const openFile = (header: unknown, data: Uint8Array | number) =>
  open({ 'model.safetensors': safetensors(header, data) });

const f32 = (shape: number[], data_offsets: unknown, dtype: unknown = 'F32') => ({
  dtype,
  shape,
  data_offsets,
});

describe('reading safetensors', () => {
  test('gives names, shapes, types and values', async () => {
    const checkpoint = await openFile(
      { __metadata__: { format: 'pt' }, b: f32([2], [4, 12]), a: f32([], [0, 4]) },
      bytesOf([1, 2, 3]),
    );
    expect([...checkpoint.tensors.keys()].sort()).toEqual(['a', 'b']);
    expect(checkpoint.tensors.get('b')).toMatchObject({
      dtype: 'float32',
      shape: [2],
      bytes: 8,
      file: 'model.safetensors',
    });
    expect(await checkpoint.read('a')).toEqual(Float32Array.of(1));
    expect(await checkpoint.read('b')).toEqual(Float32Array.of(2, 3));
  });

  test('reads some rows of a tensor as bytes', async () => {
    const checkpoint = await openFile({ a: f32([3, 2], [0, 24]) }, bytesOf([0, 1, 2, 3, 4, 5]));
    expect(await checkpoint.readRaw('a', 1, 2)).toEqual(bytesOf([2, 3]));
    expect(await checkpoint.readRaw('a', 3)).toEqual(new Uint8Array(0));
    expect(await checkpoint.readRaw('a', 2)).toEqual(bytesOf([4, 5]));
    await expect(checkpoint.readRaw('a', 2, 4)).rejects.toThrow(
      '"m/model.safetensors": tensor "a" has 3 rows, got 2 to 4',
    );
    for (const [from, to] of [
      [-1, 1],
      [2, 1],
      [0.5, 1],
      [0, 1.5],
    ])
      await expect(checkpoint.readRaw('a', from, to)).rejects.toThrow(InputError);
    await expect(checkpoint.read('c')).rejects.toThrow('"m": no tensor "c" in it');
  });

  test('widens float16 and bfloat16 exactly and rounds float64', async () => {
    const data = new Uint8Array(new Float64Array([0.1, -2]).buffer);
    const checkpoint = await openFile(
      { h: f32([3], [16, 22], 'F16'), b: f32([2], [22, 26], 'BF16'), d: f32([2], [0, 16], 'F64') },
      Uint8Array.from([...data, 0x00, 0x3e, 0x01, 0x00, 0x00, 0xc0, 0xc0, 0xbf, 0x01, 0x00]),
    );
    expect(await checkpoint.read('h')).toEqual(Float32Array.of(1.5, 2 ** -24, -2));
    expect(await checkpoint.read('b')).toEqual(Float32Array.of(-1.5, 2 ** -133));
    expect(await checkpoint.read('d')).toEqual(Float32Array.of(0.1, -2));
  });

  test('lists integers, gives their bytes, and refuses them as weights', async () => {
    const checkpoint = await openFile({ ids: f32([2], [0, 16], 'I64') }, new Uint8Array(16).fill(1));
    expect(checkpoint.tensors.get('ids')?.dtype).toBe('int64');
    expect(await checkpoint.readRaw('ids')).toEqual(new Uint8Array(16).fill(1));
    await expect(checkpoint.read('ids')).rejects.toThrow(UnsupportedModelError);
    await expect(checkpoint.read('ids')).rejects.toThrow('tensor "ids" has type int64');
  });

  test.each([
    ['NaN', 'NaN', Number.NaN],
    ['an infinity', '-Infinity', Number.NEGATIVE_INFINITY],
  ])('finds %s and names the tensor; its bytes it gives as they are', async (_, shown, value) => {
    const checkpoint = await openFile({ w: f32([2, 2], [0, 16]) }, bytesOf([1, 2, 3, value]));
    await expect(checkpoint.read('w')).rejects.toThrow(
      `"m/model.safetensors": tensor "w" has ${shown} at element 3`,
    );
    expect(await checkpoint.readRaw('w', 1)).toEqual(bytesOf([3, value]));
  });

  test('reads empty tensors and files without any', async () => {
    const checkpoint = await openFile({ w: f32([1], [0, 4]), e: f32([0, 4], [0, 0]) }, bytesOf([7]));
    expect(await checkpoint.read('e')).toEqual(new Float32Array(0));
    expect(await checkpoint.readRaw('e')).toEqual(new Uint8Array(0));
    expect(await checkpoint.read('w')).toEqual(Float32Array.of(7));
    expect((await openFile({}, 0)).tensors.size).toBe(0);
  });

  test('takes "__proto__" as the name that it is', async () => {
    const checkpoint = await openFile(`{"__proto__":${JSON.stringify(f32([1], [0, 4]))}}`, bytesOf([7]));
    expect(await checkpoint.read('__proto__')).toEqual(Float32Array.of(7));
  });
});

describe('a safetensors header that lies', () => {
  test.each<[string, unknown, number, string]>([
    ['an unknown type', { a: f32([1], [0, 4], 'F31') }, 4, 'tensor "a" has the unknown type "F31"'],
    ['a type of the wrong kind', { a: f32([1], [0, 4], {}) }, 4, 'tensor "a" has the unknown type {}'],
    ['a negative dimension', { a: f32([-1], [0, 4]) }, 4, 'impossible shape [-1]'],
    ['a fraction as dimension', { a: f32([0.5, 2], [0, 4]) }, 4, 'impossible shape [0.5,2]'],
    ['a shape beyond 2^53', { a: f32([2 ** 30, 2 ** 30], [0, 4]) }, 4, 'impossible shape'],
    [
      'a dimension beyond 2^53',
      '{"a":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}',
      1,
      'impossible shape',
    ],
    [
      'a size that is not its shape’s',
      { a: f32([2], [0, 4]) },
      4,
      'tensor "a" has 4 bytes; its type F32 and shape [2] need 8',
    ],
    [
      'offsets past the end',
      { a: f32([2], [0, 8]) },
      4,
      'tensor "a" lies at 0 to 8 of 4 bytes of data; the file is not whole: download it again',
    ],
    ['offsets beyond 2^53', { a: f32([1], [2 ** 60, 2 ** 60 + 4]) }, 4, 'tensor "a" has no pair of offsets'],
    ['offsets in reverse', { a: f32([1], [4, 0]) }, 4, 'tensor "a" lies at 4 to 0'],
    ['one offset', { a: f32([1], [0]) }, 4, 'tensor "a" has no pair of offsets'],
    ['overlapping tensors', { a: f32([2], [0, 8]), b: f32([1], [4, 8]) }, 8, 'tensors "a" and "b" overlap'],
    [
      'a hole',
      { a: f32([1], [0, 4]), b: f32([1], [8, 12]) },
      12,
      'tensor "b" begins at 8, after a hole from 4',
    ],
    ['unused bytes at the end', { a: f32([1], [0, 4]) }, 5, 'end at byte 4 of the data, which has 5'],
    ['an entry that is no object', { a: [1] }, 0, 'tensor "a" is not described by an object'],
    ['metadata that are no strings', { __metadata__: { a: 1 } }, 0, '"__metadata__"'],
    ['metadata that are no object', { __metadata__: ['a'] }, 0, '"__metadata__"'],
    ['a name twice', '{"a":{},"\\u0061":{}}', 0, '"a" comes twice'],
    [
      'a field twice',
      '{"a":{"dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4]}}',
      4,
      '"dtype" comes twice',
    ],
    ['an array as header', '[]', 0, 'does not begin with {'],
    ['no JSON', '{"a":', 0, 'not valid JSON'],
  ])('with %s is a FormatError that says so', async (_, header, data, message) => {
    const error = await openFile(header, data).catch((it) => it);
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toContain('"m/model.safetensors": ');
    expect(error.message).toContain(message);
  });

  test('with a length past the end of the file, or absurd, is refused before it is read', async () => {
    const file = safetensors({}, 0);
    for (const length of [3n, 2n ** 53n, 2n ** 64n - 1n]) {
      new DataView(file.buffer).setBigUint64(0, length, true);
      await expect(open({ 'model.safetensors': file })).rejects.toThrow(
        `"m/model.safetensors": its header claims ${length} bytes; the file has 10`,
      );
    }
    await expect(open({ 'model.safetensors': new Uint8Array(7) })).rejects.toThrow('too short');
  });

  test('with more tensors than the limit is a FormatError that names both', async () => {
    limits.headerTensors = 1;
    const header = { a: f32([1], [0, 4]), b: f32([1], [4, 8]) };
    try {
      await expect(openFile(header, 8)).rejects.toThrow(
        '"m/model.safetensors": its header has 2 tensors, at most 1 are read (limits.headerTensors)',
      );
    } finally {
      limits.headerTensors = 2 ** 18;
    }
  });

  test('with bytes that are not UTF-8 is a FormatError', async () => {
    const file = safetensors('{"a":1}', 0);
    file[10] = 0xff;
    await expect(open({ 'model.safetensors': file })).rejects.toThrow(FormatError);
  });
});
