import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import type { Checkpoint } from '../../src/checkpoint/index.ts';
import { FormatError, UnsupportedModelError } from '../../src/errors.ts';
import { Pickle, pickleTensors, rowMajor, type TorchTensor, torchFile } from '../support/torch.ts';
import { bytesOf, open, text } from './support.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures/checkpoint');
const fixture = (name: string) => new Uint8Array(readFileSync(join(FIXTURES, name)));
const openBin = (file: Uint8Array) => open({ 'pytorch_model.bin': file });

/** The error of a file, which must be of the right class and name the file. */
async function errorOf(file: Uint8Array): Promise<string> {
  const error = await openBin(file).catch((it) => it);
  expect(error).toBeInstanceOf(FormatError);
  expect(error.message).toContain('"m/pytorch_model.bin": ');
  return error.message;
}

const view = (changes: Partial<TorchTensor> = {}): TorchTensor => {
  const shape = changes.shape ?? [2, 3];
  return { name: 'w', kind: 'Float', storage: '0', length: 6, shape, strides: rowMajor(shape), ...changes };
};
const six = { 0: bytesOf([0, 1, 2, 3, 4, 5]) };

describe.each(['protocol2.bin', 'protocol5.bin', 'deflated.bin'])('%s, which PyTorch wrote', (name) => {
  const expected: Record<string, number[]> = JSON.parse(
    readFileSync(join(FIXTURES, 'expected.json'), 'utf8'),
  );
  let checkpoint: Checkpoint;
  beforeAll(async () => {
    checkpoint = await openBin(fixture(name));
  });

  test.each(Object.keys(expected))('gives the values of "%s"', async (tensor) => {
    expect(await checkpoint.read(tensor)).toEqual(Float32Array.from(expected[tensor]));
  });

  test('gives types and shapes in the order of the dict', () => {
    const shown = Array.from(checkpoint.tensors.values(), (it) => `${it.name} ${it.dtype} [${it.shape}]`);
    expect(shown).toEqual([
      'weight float32 [3]',
      'bias float32 [3]',
      'whole float32 [3,4]',
      'tail float32 [2,4]',
      'transposed float32 [4,3]',
      'column float32 [3,1]',
      'scalar float32 []',
      'permuted float32 [4,2,3]',
      'half float16 [4]',
      'bfloat bfloat16 [1,3]',
      'double float64 [2]',
      'ids int64 [1,4]',
      'mask bool [2]',
      'empty float32 [0,5]',
    ]);
  });

  test('gives rows of contiguous and of transposed tensors', async () => {
    expect(await checkpoint.readRaw('whole', 1, 3)).toEqual(bytesOf(expected.whole.slice(4, 12)));
    expect(await checkpoint.readRaw('transposed', 1, 3)).toEqual(bytesOf(expected.transposed.slice(3, 9)));
  });

  test('has integers, which are no weights', async () => {
    await expect(checkpoint.read('ids')).rejects.toThrow(UnsupportedModelError);
    expect(await checkpoint.readRaw('ids')).toEqual(
      new Uint8Array(new BigInt64Array([0n, 1n, 2n, 2n ** 40n]).buffer),
    );
  });
});

describe('files laid out as torch lays them out', () => {
  test.each([{}, { zip64: true }, { deflate: true }, { byteorder: 'little' }])(
    'are read: %o',
    async (options) => {
      const tensors = [view(), view({ name: 'last', shape: [2], strides: [1], offset: 4 })];
      const checkpoint = await openBin(torchFile(pickleTensors(tensors), six, options));
      expect(await checkpoint.read('w')).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5));
      expect(await checkpoint.read('last')).toEqual(Float32Array.of(4, 5));
    },
  );

  test('may hold hundreds of tensors: long memo indices', async () => {
    const tensors = Array.from({ length: 400 }, (_, i) => view({ name: `w${i}`, shape: [2], offset: i % 5 }));
    const checkpoint = await openBin(torchFile(pickleTensors(tensors), six));
    expect(checkpoint.tensors.size).toBe(400);
    expect(await checkpoint.read('w399')).toEqual(Float32Array.of(4, 5));
  });

  test('gather a permuted view of three dimensions', async () => {
    const data = Array.from({ length: 24 }, (_, i) => i);
    // x.reshape(2, 3, 4).permute(2, 0, 1)
    const tensor = view({ length: 24, shape: [4, 2, 3], strides: [1, 12, 4] });
    const checkpoint = await openBin(torchFile(pickleTensors([tensor]), { 0: bytesOf(data) }));
    const expected: number[] = [];
    for (let k = 0; k < 4; k++)
      for (let i = 0; i < 2; i++) for (let j = 0; j < 3; j++) expected.push(12 * i + 4 * j + k);
    expect(await checkpoint.read('w')).toEqual(Float32Array.from(expected));
    expect(await checkpoint.readRaw('w', 2, 3)).toEqual(bytesOf(expected.slice(12, 18)));
  });

  test('in big-endian order are refused', async () => {
    const file = torchFile(pickleTensors([view()]), six, { byteorder: 'big' });
    expect(await errorOf(file)).toContain('expected byte order "little", got "big"');
  });
});

describe('a pickle that is no dict of tensors', () => {
  test('and refers to os.system is refused by name', async () => {
    expect(await errorOf(fixture('attack.bin'))).toMatch(
      /refers to "(posix|os|nt)\.system", and only tensors/,
    );
  });

  test('but a whole module is refused by the name of its class', async () => {
    expect(await errorOf(fixture('module.bin'))).toContain('"torch.nn.modules.normalization.LayerNorm"');
  });

  const dict = () => new Pickle().orderedDict().op('(').string('w');
  const bytes = (...values: number[]) => Uint8Array.from(values);
  test.each<[string, Uint8Array, string]>([
    ['a global of torch that is not known', dict().global('torch', 'device').end(), '"torch.device"'],
    ['a global by stack', dict().string('os').string('system').op(0x93).end(), '"os.system"'],
    [
      'a global with an object as module',
      dict().op('N').string('system').op(0x93).end(),
      'whose name is no string',
    ],
    ['NEWOBJ', dict().global('collections', 'OrderedDict').op(')').op(0x81).end(), 'opcode 0x81 (NEWOBJ)'],
    ['NEWOBJ_EX', dict().op(0x92).end(), 'opcode 0x92 (NEWOBJ_EX)'],
    ['INST', dict().raw(text('ios\nsystem\n')).end(), 'opcode 0x69 (INST)'],
    ['OBJ', dict().op('o').end(), 'opcode 0x6f (OBJ)'],
    ['an extension', dict().op(0x82, 1).end(), 'opcode 0x82 (EXT1)'],
    ['PERSID', dict().raw(text('P0\n')).end(), 'opcode 0x50 (PERSID)'],
    ['a list', dict().op(']').end(), 'opcode 0x5d (EMPTY_LIST)'],
    ['an opcode that does not exist', dict().op(0xff).end(), 'opcode 0xff (unknown)'],
    ['a call of a marker', dict().global('torch', 'FloatStorage').op(')').op('R').end(), 'no known function'],
    ['a call of a string', dict().op(')').op('R').end(), 'no known function'],
    [
      'a call without a tuple',
      dict().global('collections', 'OrderedDict').op('N').op('R').end(),
      'without a tuple',
    ],
    ['state set of a string', dict().op('}').op('b').end(), 'sets the state of what is no dict'],
    ['items set of a string', new Pickle().string('w').op('(').op('N').op('N').op('u').end(), 'no dict'],
    [
      'a key without a value',
      new Pickle().orderedDict().op('(').op('N').op('u').end(),
      'a key without a value',
    ],
    ['a tuple as key', new Pickle().orderedDict().op(')').op('N').op('s').end(), 'a key that is no string'],
    ['a key twice', dict().op('N').string('w').op('N').op('u').end(), 'the key "w" comes twice'],
    ['something else as value', dict().int(7).op('u').end(), 'expected a dict of tensors, but "w" is none'],
    ['a number as value of all', new Pickle().int(7).end(), 'expected a dict of tensors'],
    [
      'a tensor of nothing',
      dict().global('torch._utils', '_rebuild_tensor_v2').op(')').op('R').op('u').end(),
      'make no sense',
    ],
    ['a persistent id that is no storage', dict().int(1).op('Q').end(), 'persistent id that is no storage'],
    ['an empty stack', new Pickle().op('Q').end(), 'the stack is empty'],
    ['a pop below a mark', new Pickle().int(1).op('(').op(0x85).end(), 'the stack is empty'],
    ['no mark', new Pickle().op('t').end(), 'there is no mark'],
    ['a memo never made', new Pickle().op('h', 9).end(), 'nothing is memoised as 9'],
    ['a length of 2^64', new Pickle().op(0x8d, ...new Array(8).fill(255)).end(), 'a length beyond 2^53'],
    ['a string longer than it', new Pickle().op('X', 255, 255, 255, 127).end(), 'truncated'],
    ['an integer of 100 bytes', new Pickle().op(0x8a, 100).end(), 'more than 64 bits'],
    ['an integer beyond 2^53', new Pickle().op(0x8a, 8, ...new Array(7).fill(255), 127).end(), 'beyond 2^53'],
    ['a string that is not UTF-8', new Pickle().op(0x8c, 1, 0xff).end(), 'not UTF-8'],
    ['protocol 0', text('(dp0\n.'), 'does not begin with a protocol'],
    ['protocol 9', bytes(0x80, 9, 0x2e), 'protocol 9, expected 2 to 5'],
    ['no end', bytes(0x80, 2, 0x7d), 'truncated'],
    ['nothing in it', bytes(), 'does not begin with a protocol'],
  ])('with %s is a FormatError that says so', async (_, pickle, message) => {
    expect(await errorOf(torchFile(pickle, six))).toContain(message);
  });
});

describe('a tensor that does not fit its storage', () => {
  test.each<[string, Partial<TorchTensor>[], string]>([
    ['past its end', [{ offset: 1 }], 'tensor "w" reaches element 6 of a storage of 6'],
    ['by its strides', [{ strides: [4, 1] }], 'tensor "w" reaches element 6 of a storage of 6'],
    [
      'by a storage larger than its entry',
      [{ length: 7 }],
      'a storage of 7 × 4 bytes, and 24 bytes are stored',
    ],
    ['by a storage smaller than its entry', [{ length: 5 }], 'a storage of 5 × 4 bytes, and 24 bytes'],
    ['by its type', [{ kind: 'Double' }], 'a storage of 6 × 8 bytes, and 24 bytes'],
    ['as an expanded view', [{ shape: [1000, 6], strides: [0, 1] }], 'tensor "w" is an expanded view'],
    ['by a negative stride', [{ strides: [-3, 1], offset: 3 }], 'make no sense'],
    ['by a negative offset', [{ offset: -1 }], 'make no sense'],
    ['by too few strides', [{ strides: [1] }], 'make no sense'],
    ['by a size beyond 2^53', [{ shape: [2 ** 40, 2 ** 40], strides: [0, 0] }], 'make no sense'],
    ['with a storage that is not there', [{ storage: '7' }], 'storage "7" is missing'],
    ['with a storage of two types', [{}, { name: 'v', kind: 'Int' }], 'storage "0" is described in two ways'],
    ['with a type that is not known', [{ kind: 'Untyped' }], 'refers to "torch.UntypedStorage"'],
  ])('%s is a FormatError that says so', async (_, changes, message) => {
    expect(await errorOf(torchFile(pickleTensors(changes.map(view)), six))).toContain(message);
  });
});

describe('a file that is no such archive', () => {
  test.each([
    ['the pickle format', fixture('legacy.bin')],
    [
      'the tar format',
      (() => {
        const tar = new Uint8Array(1024);
        tar.set(text('ustar'), 257);
        return tar;
      })(),
    ],
  ])('but %s of PyTorch before 1.6 is refused, with the way to convert it', async (_, file) => {
    expect(await errorOf(file)).toMatch(/before 1\.6; convert it with python -c .*torch\.save/);
  });

  test('but anything else is refused', async () => {
    expect(await errorOf(text('a file of other things'))).toContain('not a file of torch.save');
    expect(await errorOf(new Uint8Array(0))).toContain('it is an empty file');
  });

  const good = torchFile(pickleTensors([view()]), six);
  test('but a truncated one is refused, wherever it is cut', async () => {
    for (let length = 4; length < good.length; length += 7) {
      expect(await errorOf(good.slice(0, length))).toContain('broken zip archive');
    }
  });

  test('but a zip without a pickle, or with two, is refused', async () => {
    const { writeZip } = await import('../support/zip.ts');
    expect(await errorOf(writeZip([]))).toContain('expected one data.pkl, got 0');
    const two = ['a', 'b'].map((name) => ({ name: `${name}/data.pkl`, bytes: pickleTensors([]) }));
    expect(await errorOf(writeZip(two))).toContain('expected one data.pkl, got 2');
    const doubled = ['a', 'a'].map((name) => ({ name: `${name}/data.pkl`, bytes: pickleTensors([]) }));
    expect(await errorOf(writeZip(doubled))).toMatch(/twice|ambiguous|duplicate/i);
  });

  test('but one of small tensors at the end of a large storage that is deflated is refused: each would inflate it', async () => {
    const length = 2 ** 23;
    const ends = ['w', 'v', 'u'].map((name) => view({ name, length, offset: length - 6 }));
    const [storage, pickle] = [{ 0: new Uint8Array(4 * length) }, pickleTensors(ends)];
    expect(await errorOf(torchFile(pickle, storage, { deflate: true }))).toContain(
      'its storages are deflated, and 100663296 bytes of them lie before the ends of tensors of 72; save it again with torch.save',
    );
    const [tensor] = (await openBin(torchFile(pickle, storage))).tensors.values();
    expect(tensor.shape).toEqual([2, 3]);
  });

  test('but an entry that cannot inflate to its size is refused before memory is taken', async () => {
    const file = torchFile(pickleTensors([view()]), six, { deflate: true });
    const at = Buffer.from(file).indexOf('archive/data/0', Buffer.from(file).indexOf('PK\u0001\u0002')) - 46;
    new DataView(file.buffer).setUint32(at + 24, 0x7fffffff, true);
    expect(await errorOf(file)).toContain('"archive/data/0" cannot inflate to its size');
  });
});
