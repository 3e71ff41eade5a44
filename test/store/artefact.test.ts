import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decode, encode } from '../../src/pipeline/store/artefact.ts';
import { Findings } from '../../src/pipeline/store/findings.ts';
import { contentHash } from '../../src/pipeline/store/hash.ts';
import { memoryStore } from '../../src/pipeline/store/store.ts';

const record = {
  name: 'layer "0"',
  sums: Float64Array.of(1, 2, 3),
  kept: [1, 2, { nested: [] }],
  none: undefined,
  worst: Number.NaN,
};

/** Any bits, NaNs with a payload among them. */
const arrays = fc
  .tuple(fc.constantFrom(Float64Array, Float32Array, Int32Array, Uint8Array), fc.uint8Array())
  .map(
    ([Type, bytes]) =>
      new Type(
        Uint8Array.from(bytes).buffer.slice(0, bytes.length - (bytes.length % Type.BYTES_PER_ELEMENT)),
      ),
  );
const { value } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc.double(),
    fc.constantFrom(-0, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, null),
    fc.string({ unit: 'binary' }),
    fc.boolean(),
    arrays,
    fc.array(tie('value')),
    fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('$', '__proto__')), tie('value')),
  ),
}));
const records = fc.dictionary(fc.oneof(fc.string(), fc.constantFrom('$', '__proto__')), value);

const bitsOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
  Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength).toString('hex');

/** As a string that differs where anything does, to the last bit. */
function spell(value: unknown): string {
  if (ArrayBuffer.isView(value)) return `${value.constructor.name}:${bitsOf(value)}`;
  if (Array.isArray(value)) return `[${value.map(spell)}]`;
  if (typeof value === 'object' && value !== null) {
    return `{${Object.entries(value).map(([key, it]) => `${JSON.stringify(key)}:${spell(it)}`)}}`;
  }
  return Object.is(value, -0) ? '-0' : typeof value === 'string' ? JSON.stringify(value) : String(value);
}

describe('an artefact', () => {
  test('comes back as it was, without what is undefined', async () => {
    const { none, ...rest } = record;
    expect(await decode(await encode(record))).toEqual(rest);
    expect(Object.keys((await decode(await encode({ none })))!)).toEqual([]);
  });

  test('comes back to the last bit, whatever it holds', async () => {
    await fc.assert(
      fc.asyncProperty(records, async (it) => {
        const bytes = await encode(it);
        expect(spell(await decode(bytes))).toBe(spell(it));
        // Bytes that lie at an odd place of a larger buffer.
        const shifted = Buffer.concat([Uint8Array.of(0), bytes]).subarray(1);
        expect(spell(await decode(shifted))).toBe(spell(it));
      }),
    );
  });

  test('is nothing once it is cut or a bit of it has turned', async () => {
    const bytes = await encode(record);
    for (let length = 0; length < bytes.length; length++) {
      expect(await decode(bytes.slice(0, length)), `${length} bytes`).toBeUndefined();
    }
    for (let bit = 0; bit < 8 * bytes.length; bit++) {
      const altered = bytes.slice();
      altered[bit >> 3] ^= 1 << (bit & 7);
      expect(await decode(altered), `bit ${bit}`).toBeUndefined();
    }
    expect(await decode(Uint8Array.from([...bytes, 0]))).toBeUndefined();
  });

  test('is nothing where what it holds is of an earlier version', async () => {
    const bytes = await encode(record);
    expect(new TextDecoder().decode(bytes.subarray(0, 8))).toBe('osscar-2');
    bytes.set(new TextEncoder().encode('osscar-1')); // the checksum is of what comes after it
    expect(await decode(bytes)).toBeUndefined();
  });

  test('takes views of larger buffers and of shared memory', async () => {
    const shared = new Float64Array(new SharedArrayBuffer(24)).fill(2.5);
    const back = await decode<{ a: Float64Array; b: Float64Array }>(
      await encode({ a: shared.subarray(1), b: Float64Array.of(1, 2, 3).subarray(1, 2) }),
    );
    expect([[...back!.a], [...back!.b]]).toEqual([[2.5, 2.5], [2]]);
  });

  test.each([
    ['a map', new Map([[1, 2]])],
    ['a date', new Date(0)],
    ['an array type of another width', new Int16Array(2)],
    ['a function', () => 1],
    ['a bigint', 1n],
    ['a hole', new Array(2)],
  ])('refuses %s rather than lose it', async (_, it) => {
    await expect(encode({ it })).rejects.toThrow(TypeError);
  });
});

describe('a content hash', () => {
  const bytes = (length: number) => Uint8Array.from({ length }, (_, i) => i % 251);

  test('is the same for the same parts, however they come', async () => {
    async function* streamed() {
      yield 'a';
      yield bytes(9);
      yield 0.5;
    }
    const hash = await contentHash(['a', bytes(9), 0.5]);
    expect(hash).toMatch(/^[0-9a-f]{64}$/);
    expect(await contentHash(streamed())).toBe(hash);
    expect(await contentHash(['a', new DataView(bytes(12).buffer, 0, 9), 0.5])).toBe(hash);
  });

  test('differs where a part, its kind or its border does', async () => {
    const large = new Uint8Array(2 ** 24 + 1);
    const altered = large.slice();
    altered[2 ** 24] ^= 1;
    const of = [
      [],
      [''],
      ['', ''],
      ['ab'],
      ['a', 'b'],
      ['1'],
      [1],
      [0],
      [-0],
      [bytes(0)],
      [bytes(2)],
      [bytes(1), bytes(1)],
    ];
    const hashes = await Promise.all(
      [...of, [new TextEncoder().encode('ab')], [large], [altered], [large.subarray(1)]].map((it) =>
        contentHash(it),
      ),
    );
    expect(new Set(hashes).size).toBe(hashes.length);
  });
});

test('an artefact under the name of another one is not taken for it', async () => {
  const store = memoryStore();
  const findings = new Findings({ store });
  const once = (about: string) => findings.once('solved', about, async () => ({ about }));
  await once('a');
  const [first] = await store.list();
  await once('b');
  const second = (await store.list()).find((key) => key !== first)!;
  expect(await once('b')).toEqual({ about: 'b' });
  await store.write(second, (await store.read(first))!);
  expect(await once('b')).toEqual({ about: 'b' });
  expect(await new Findings({ store }).once('solved', 'b', () => Promise.reject(new Error()))).toEqual({
    about: 'b',
  });
});
