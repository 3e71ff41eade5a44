// Numbers that do not fit where they go, and data that inflates.

import { crc32, deflateSync } from 'node:zlib';
import { create } from '@bufbuild/protobuf';
import { encode as encodePng } from 'fast-png';
import { describe, expect, test } from 'vitest';
import { FormatError, InputError, OutOfMemoryError } from '../../src/errors.ts';
import { TensorProtoSchema } from '../../src/graph/onnx_pb.ts';
import { decodeTensor } from '../../src/graph/wire.ts';
import { decodeUtf8, parseJson } from '../../src/json.ts';
import { limits } from '../../src/limits.ts';
import {
  decodeImage,
  decodeNpy,
  imageDataset,
  npyDataset,
  npyTokens,
  parsePreprocessing,
  tokenWindows,
} from '../../src/pipeline/data/index.ts';
import { open } from '../checkpoint/support.ts';
import { torchFile } from '../support/torch.ts';
import { deflatedZeros } from '../support/zip.ts';

/** The error of something that must fail. */
async function errorOf(action: () => unknown): Promise<Error> {
  try {
    await action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('it did not fail');
}

/** With a limit at another value meanwhile. */
async function limited<T>(
  limit: keyof typeof limits,
  value: number,
  action: () => T | Promise<T>,
): Promise<T> {
  const before = limits[limit];
  limits[limit] = value;
  try {
    return await action();
  } finally {
    limits[limit] = before;
  }
}

describe('integers', () => {
  test('of .npy files beyond what samples hold are no token ids', () => {
    const header = `{'descr': '<i8', 'fortran_order': False, 'shape': (2,), }`.padEnd(117);
    const start = [0x93, ...Buffer.from('NUMPY'), 1, 0, 118, 0, ...Buffer.from(`${header}\n`)];
    for (const id of [2n ** 32n + 512n, 2n ** 32n, 2n ** 24n, 2n ** 63n - 1n, -1n]) {
      const ids = new Uint8Array(BigInt64Array.of(5n, id).buffer);
      const array = decodeNpy(Uint8Array.from([...start, ...ids]), 'ids.npy');
      expect(() => npyTokens(array, 'ids.npy')).toThrow(InputError);
      expect(() => npyTokens(array, 'ids.npy')).toThrow(/"ids\.npy": value 1 is -?\d+, expected token ids/);
    }
  });

  test('of labels must be class numbers that 32 bits hold', async () => {
    const data = new Float32Array(3);
    for (const label of [2 ** 32, 0.5, Number.NaN]) {
      expect(() => npyDataset({ shape: [1, 3], data }, [3], 'a.npy', [label])).toThrow(InputError);
    }
    const image = { name: 'a.png', label: 2 ** 32, read: async () => new Uint8Array() };
    expect(() => imageDataset([image], parsePreprocessing({}), [1, 28, 28])).toThrow(
      /a\.png": expected a class/,
    );
  });

  test('of tensors must fit into their elements', () => {
    const tensor = (dataType: number, int32Data: number[], uint64Data: bigint[] = []) =>
      create(TensorProtoSchema, { name: 't', dataType, dims: [1n], int32Data, uint64Data });
    const [UINT8, INT8, UINT16, FLOAT16, UINT32] = [2, 3, 4, 10, 12];
    for (const [type, value] of [
      [UINT8, 256],
      [INT8, -129],
      [UINT16, 65536],
      [FLOAT16, 70000],
    ]) {
      expect(() => decodeTensor(tensor(type, [value]), 'm: tensor "t"')).toThrow(
        /^m: tensor "t": .* does not fit/,
      );
    }
    expect(() => decodeTensor(tensor(UINT32, [], [2n ** 32n]), 'm')).toThrow(FormatError);
    expect(decodeTensor(tensor(INT8, [-1]), 'm').bytes).toEqual(Uint8Array.of(255));
    expect(decodeTensor(tensor(UINT8, [255]), 'm').bytes).toEqual(Uint8Array.of(255));
  });

  test('of windows are checked against memory before it is taken', async () => {
    const tokens = new Int32Array(1000);
    const error = await errorOf(() => tokenWindows(tokens, { samples: 1e9, seqlen: 100, name: 'a.txt' }));
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect(error.message).toMatch(
      /"a\.txt": 1000000000 windows of 100 tokens take 400000000000 bytes.*`samples`/,
    );
    await limited('windowBytes', 399, () => {
      expect(() => tokenWindows(tokens, { samples: 1, seqlen: 100 })).toThrow(OutOfMemoryError);
    });
    expect(tokenWindows(tokens, { samples: 1, seqlen: 100 }).size).toBe(1);
  });
});

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const [length, sum] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(data.length);
  sum.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, sum]);
}

/** A gray PNG with a header of this size and these chunks. */
function png(width: number, height: number, ...chunks: Buffer[]): Uint8Array {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8;
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const parts = [signature, chunk('IHDR', header), ...chunks, chunk('IEND', new Uint8Array())];
  return new Uint8Array(Buffer.concat(parts));
}

/** Of which no more than a part may ever be inflated at once. */
const GIBIBYTE = deflatedZeros(1024);
const peakMemory = () => 1024 * process.resourceUsage().maxRSS;

describe('a PNG image', () => {
  const rows = (bytes: number) => chunk('IDAT', deflateSync(new Uint8Array(bytes)));
  const pixels = 28 * 29;

  test('inflates to what its header says and no further', async () => {
    expect((await decodeImage(png(28, 28, rows(pixels)), 'a.png')).data).toEqual(new Uint8Array(784));
    const bomb = png(28, 28, chunk('IDAT', GIBIBYTE));
    const before = peakMemory();
    const error = await errorOf(() => decodeImage(bomb, 'bomb.png'));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/bomb\.png": .*its data inflates beyond the 812 bytes of its pixels$/);
    expect(peakMemory() - before).toBeLessThan(2 ** 26);
  });

  test('is refused where its data ends early: a header alone takes no memory', async () => {
    const error = await errorOf(() => decodeImage(png(6000, 6000, rows(100)), 'a.png'));
    expect(error.message).toMatch(/its data ends after 100 of 36006000 bytes$/);
  });

  test('is read without its colour profile, texts and animation, whatever they inflate to', async () => {
    const before = peakMemory();
    const named = Buffer.concat([Buffer.from('a\0\0', 'latin1'), GIBIBYTE]);
    const image = png(
      28,
      28,
      chunk('iCCP', named),
      chunk('zTXt', named),
      chunk('acTL', Buffer.alloc(8)),
      rows(pixels),
    );
    expect((await decodeImage(image, 'a.png')).data).toEqual(new Uint8Array(784));
    expect(peakMemory() - before).toBeLessThan(2 ** 26);
  });

  test('is refused with a second header, a palette of more than 256 colours, or a chunk beyond its end', async () => {
    const second = png(28, 28, chunk('IHDR', Buffer.alloc(13)), rows(pixels));
    expect((await errorOf(() => decodeImage(second, 'a.png'))).message).toMatch(/two headers/);
    const palette = png(28, 28, chunk('PLTE', Buffer.alloc(3 * 257)), rows(pixels));
    expect((await errorOf(() => decodeImage(palette, 'a.png'))).message).toMatch(/more than 256 colours/);
    const cut = png(28, 28, rows(pixels)).subarray(0, 60);
    expect((await errorOf(() => decodeImage(cut, 'a.png'))).message).toMatch(
      /truncated in its chunk "IDAT" of \d+/,
    );
  });

  test('keeps what its pixels depend on: palettes with transparency, 16 bits, several parts', async () => {
    const data = Uint8Array.of(0, 1, 2, 1);
    const palette: [number, number, number][] = [
      [1, 2, 3],
      [4, 5, 6],
      [7, 8, 9],
    ];
    const indexed = encodePng({ width: 2, height: 2, channels: 1, depth: 8, data, palette } as never);
    expect(await decodeImage(indexed, 'a.png')).toMatchObject({ width: 2, height: 2 });
    const deep = encodePng({
      width: 2,
      height: 2,
      channels: 3,
      depth: 16,
      data: new Uint16Array(12).fill(0x1234),
    });
    expect((await decodeImage(deep, 'a.png')).data).toEqual(new Uint8Array(12).fill(0x12));
    const whole = deflateSync(new Uint8Array(pixels).fill(0));
    const parts = [chunk('IDAT', whole.subarray(0, 5)), chunk('IDAT', whole.subarray(5))];
    expect((await decodeImage(png(28, 28, ...parts), 'a.png')).data).toEqual(new Uint8Array(784));
  });
});

test('a JPEG image of few bytes takes no minutes: it cannot hold the pixels that it claims', async () => {
  const frame = [0xff, 0xd8, 0xff, 0xc2, 0, 11, 8, 0x17, 0x70, 0x17, 0x70, 1, 1, 0x11, 0, 0xff, 0xd9];
  const error = await errorOf(() => decodeImage(Uint8Array.from(frame), 'a.jpg'));
  expect(error).toBeInstanceOf(FormatError);
  expect(error.message).toMatch(/17 bytes cannot hold 6000×6000 pixels$/);
});

describe('a pickle', () => {
  const openPickle = (opcodes: Uint8Array) => {
    const pickle = Buffer.concat([Buffer.from([0x80, 2]), opcodes, Buffer.from('.')]);
    return open({ 'pytorch_model.bin': torchFile(new Uint8Array(pickle), {}, { deflate: true }) });
  };

  test.each([
    ['empty dictionaries', '}'],
    ['empty tuples', ')'],
    ['tuples within each other', '\x85', ')'],
    ['what is remembered', '\x94', ')'],
  ])('of millions of objects is refused, with little memory: %s', async (_, opcode, start = '') => {
    const code = opcode.charCodeAt(0);
    const bytes = Buffer.concat([Buffer.from(start), Buffer.alloc(6e6, code)]);
    const error = await errorOf(() => openPickle(bytes));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/pickle byte \d+: more than 1048576 objects \(limits\.pickleObjects\)$/);
  });

  test('of too many open marks is refused', async () => {
    const error = await errorOf(() => openPickle(Buffer.alloc(5000, '(')));
    expect(error.message).toMatch(/more than 1000 marks are open/);
  });

  test('that calls for something by a name that doubles at every step is refused at once', async () => {
    // t = ((x, x), (x, x)), …: sixty doublings as the name of a module.
    const steps = 60;
    const body: number[] = [0x29, 0x94];
    for (let i = 0; i < steps; i++) body.push(0x68, i, 0x68, i, 0x86, 0x94);
    body.push(0x68, steps, 0x68, steps, 0x93);
    const error = await errorOf(() => openPickle(Buffer.from(body)));
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/it refers to something whose name is no string$/);
  });

  test('may be larger where the limit is', async () => {
    const bytes = Buffer.alloc(1000, '}');
    expect((await openPickle(bytes)).tensors.size).toBe(0);
    await limited('pickleObjects', 100, async () => {
      expect((await errorOf(() => openPickle(bytes))).message).toMatch(/more than 100 objects/);
    });
  });
});

test('text that is more than a string holds is said to be too much of it, and not to be no UTF-8', () => {
  expect(() => decodeUtf8(new Uint8Array(2 ** 29).fill(32), '"a"')).toThrow(
    /^"a": 536870912 bytes are more than one text may have; give a part of it$/,
  );
});

test('JSON that is nested without end is refused, and so never walked', () => {
  expect(() => parseJson(`${'['.repeat(1e6)}${']'.repeat(1e6)}`, '"a"')).toThrow(
    /^"a": nested more than 64 times$/,
  );
  expect(parseJson('["[[[", {"a": ["\\"["]}]', '"a"')).toEqual(['[[[', { a: ['"['] }]);
});
