import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  blobFolder,
  CheckpointWriter,
  memoryOutput,
  openCheckpoint,
  planSafetensors,
} from '../../src/checkpoint/index.ts';
import type { WeightType } from '../../src/checkpoint/tensor.ts';
import { FormatError, InputError, OsscarError } from '../../src/errors.ts';
import { pickleTensors, rowMajor, torchFile } from '../support/torch.ts';
import { bytesOf, json, open, safetensors } from './support.ts';

/** Opens a damaged folder and reads all that it claims to have. Sums what was read, or says what was thrown. */
async function readAll(files: Record<string, Uint8Array>): Promise<number | Error> {
  try {
    const checkpoint = await open(files);
    let bytes = 0;
    for (const name of checkpoint.tensors.keys()) bytes += (await checkpoint.readRaw(name)).length;
    return bytes;
  } catch (error) {
    return error as Error;
  }
}

/** Whatever comes of it must be one of our errors, or tensors no larger than the file could hold. */
async function expectSane(file: string, bytes: Uint8Array, mayInflate = false): Promise<Error | undefined> {
  const outcome = await readAll({ [file]: bytes });
  if (typeof outcome === 'number') {
    // Tensors may share a storage, so this bounds each one of the few that there are.
    expect(outcome).toBeLessThanOrEqual(bytes.length * (mayInflate ? 1032 : 1) * 20);
    return undefined;
  }
  expect(outcome, String(outcome.stack)).toBeInstanceOf(OsscarError);
  expect([FormatError, InputError]).toContain(outcome.constructor);
  expect(outcome.message).toMatch(/^"m/);
  return outcome;
}

type Edit = { at: number; value: number; kind: 'set' | 'insert' | 'delete' | 'cut' | 'ones' };
const edits = fc.array(
  fc.record({
    at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
    value: fc.nat(255),
    kind: fc.constantFrom<Edit['kind']>('set', 'set', 'set', 'insert', 'delete', 'cut', 'ones'),
  }),
  { minLength: 1, maxLength: 4 },
);

function damage(bytes: Uint8Array, changes: readonly Edit[]): Uint8Array {
  const out = [...bytes];
  for (const { at, value, kind } of changes) {
    const i = Math.floor(at * out.length);
    if (kind === 'set') out[i] = value;
    else if (kind === 'insert') out.splice(i, 0, value);
    else if (kind === 'delete') out.splice(i, 1);
    else if (kind === 'cut') out.length = i;
    else out.fill(255, i, Math.min(i + 8, out.length));
  }
  return Uint8Array.from(out);
}

const header = {
  __metadata__: { format: 'pt' },
  'layer.weight': { dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] },
  'layer.bias': { dtype: 'F16', shape: [3], data_offsets: [24, 30] },
  scalar: { dtype: 'I64', shape: [], data_offsets: [30, 38] },
};
const tensors = [
  { name: 'w', kind: 'Float', storage: '0', length: 6, shape: [2, 3], strides: [3, 1] },
  { name: 'v', kind: 'Float', storage: '0', length: 6, shape: [3, 2], strides: [1, 3] },
];
const pickle = pickleTensors(tensors);
const storages = { 0: bytesOf([0, 1, 2, 3, 4, 5]) };
const fixture = (name: string) =>
  new Uint8Array(readFileSync(join(import.meta.dirname, '../fixtures/checkpoint', name)));

// Of each fuzz/ reads thousands (test/fuzz.test.ts); here what they say is held too, and how much they give.
const RUNS = 150;
const HOW = { numRuns: RUNS, seed: 1 };

describe('damaged files give one of our errors or something readable, and never hang', () => {
  const run = async (file: string, bytes: Uint8Array, mayInflate = false) => {
    expect(await readAll({ [file]: bytes })).toBeGreaterThan(0);
    let errors = 0;
    await fc.assert(
      fc.asyncProperty(edits, async (changes) => {
        if (await expectSane(file, damage(bytes, changes), mayInflate)) errors++;
      }),
      HOW,
    );
    expect(errors).toBeGreaterThan(RUNS / 20); // or the damage does none
  };

  test('safetensors', () => run('model.safetensors', safetensors(header, 38)));
  test('a torch file', () => run('pytorch_model.bin', torchFile(pickle, storages, { zip64: true })));
  test('a torch file of PyTorch’s', () => run('pytorch_model.bin', fixture('protocol5.bin')));
  test('a deflated torch file', () => run('pytorch_model.bin', fixture('deflated.bin'), true));

  test('a pickle within a sound archive', async () => {
    let errors = 0;
    await fc.assert(
      fc.asyncProperty(edits, async (changes) => {
        const file = torchFile(damage(pickle, changes), storages);
        if (await expectSane('pytorch_model.bin', file)) errors++;
      }),
      HOW,
    );
    expect(errors).toBeGreaterThan(RUNS / 5);
  });

  test('a pickle of random opcodes', async () => {
    const opcodes = [
      ...'(.NJKMXhjqrcRQb)}tsu',
      0x85,
      0x86,
      0x87,
      0x88,
      0x89,
      0x8a,
      0x8c,
      0x8d,
      0x93,
      0x94,
      0x95,
    ];
    const byte = fc.oneof(
      fc.constantFrom(...opcodes.map((it) => (typeof it === 'string' ? it.charCodeAt(0) : it))),
      fc.nat(8),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(byte, { maxLength: 60 }), async (body) => {
        await expectSane('pytorch_model.bin', torchFile(Uint8Array.from([0x80, 2, ...body]), storages));
      }),
      HOW,
    );
  });

  test('a safetensors header of random JSON', async () => {
    const offset = fc.oneof(fc.nat(40), fc.constantFrom(-1, 0.5, 2 ** 53, 1e300));
    const entry = fc.record(
      {
        dtype: fc.constantFrom('F32', 'F16', 'I64', 'F4', 'X'),
        shape: fc.array(offset, { maxLength: 3 }),
        data_offsets: fc.array(offset, { minLength: 1, maxLength: 3 }),
      },
      { noNullPrototype: true, requiredKeys: [] },
    );
    const value = fc.oneof(entry, fc.json());
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string(), value, { maxKeys: 3 }), async (it) => {
        await expectSane('model.safetensors', safetensors(it, 16));
      }),
      HOW,
    );
  });
});

describe('what is written is read back', () => {
  const shape = fc.array(fc.nat(4), { maxLength: 4 });
  const dtype = fc.constantFrom<WeightType>('float32', 'float16', 'bfloat16');

  test('for tensors of any shape, type and name, in any order and any number of shards', async () => {
    const list = fc.uniqueArray(fc.record({ name: fc.string({ unit: 'binary' }), shape, dtype }), {
      selector: ({ name }) => name,
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(
        list,
        fc.integer({ min: 1, max: 2000 }),
        fc.nat(),
        async (specs, maxShardBytes, seed) => {
          const valid = specs.filter(({ name }) => name !== '__metadata__');
          const plan = planSafetensors(valid, { maxShardBytes });
          const output = memoryOutput();
          const writer = new CheckpointWriter(output, plan);
          // Whole numbers up to 256 are exact in all types.
          const values = valid.map(({ shape }, t) =>
            Float32Array.from(
              { length: shape.reduce((a, b) => a * b, 1) },
              (_, i) => ((i * 37 + t * 11 + seed) % 513) - 256,
            ),
          );
          const order = valid.map((_, i) => i).sort((a, b) => ((a * 7 + seed) % 5) - ((b * 7 + seed) % 5));
          for (const i of order) await writer.write(valid[i].name, values[i]);
          await writer.writeFile('config.json', json({}));
          await writer.finish();
          const checkpoint = await openCheckpoint(blobFolder(output.files()));
          expect(checkpoint.tensors.size).toBe(valid.length);
          for (const [i, { name, shape, dtype }] of valid.entries()) {
            expect(checkpoint.tensors.get(name)).toMatchObject({ shape, dtype });
            expect(await checkpoint.read(name)).toEqual(values[i]);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test('for permuted views in torch files', async () => {
    const permuted = fc.array(fc.integer({ min: 0, max: 4 }), { minLength: 1, maxLength: 4 }).chain((dims) =>
      fc.tuple(
        fc.constant(dims),
        fc.shuffledSubarray(
          dims.map((_, i) => i),
          { minLength: dims.length },
        ),
      ),
    );
    await fc.assert(
      fc.asyncProperty(permuted, async ([dims, axes]) => {
        const length = dims.reduce((a, b) => a * b, 1);
        const whole = rowMajor(dims);
        const shape = axes.map((axis) => dims[axis]);
        const strides = axes.map((axis) => whole[axis]);
        const tensor = { name: 'w', kind: 'Float', storage: '0', length, shape, strides };
        const data = bytesOf(Array.from({ length }, (_, i) => i));
        const checkpoint = await open({
          'pytorch_model.bin': torchFile(pickleTensors([tensor]), { 0: data }),
        });
        // The value at each index is its place in the storage.
        const outShape = rowMajor(shape);
        const expected = Float32Array.from({ length }, (_, i) =>
          shape.reduce((sum, d, axis) => sum + (Math.floor(i / outShape[axis]) % d) * strides[axis], 0),
        );
        expect(await checkpoint.read('w')).toEqual(expected);
      }),
      { numRuns: 100 },
    );
  });
});
