// How inputs are made out of good ones, with fast-check as the source of chance: bytes are edited wherever they stand,
// values of JSON by what they mean.

import fc from 'fast-check';

interface Edit {
  /** Where, as a part of the whole. */
  readonly at: number;
  readonly value: number;
  readonly kind: 'set' | 'insert' | 'delete' | 'cut' | 'ones' | 'zeros' | 'repeat' | 'number';
}

/** Evenly from 0 on and below 1: doubles would crowd around 0, where all headers are. */
const position = fc.noBias(fc.nat(2 ** 24 - 1)).map((i) => i / 2 ** 24);
const edit: fc.Arbitrary<Edit> = fc.record({
  at: position,
  value: fc.nat(255),
  kind: fc.constantFrom('set', 'set', 'set', 'insert', 'delete', 'cut', 'ones', 'zeros', 'repeat', 'number'),
});

/** Lengths, counts and dimensions where arithmetic goes wrong. */
const NUMBERS = [
  0n,
  1n,
  127n,
  255n,
  256n,
  65535n,
  2n ** 24n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n - 1n,
  2n ** 53n,
  2n ** 63n,
];

function applied(bytes: Uint8Array, { at, value, kind }: Edit): Uint8Array {
  const i = Math.floor(at * bytes.length);
  const around = (length: number, middle: ArrayLike<number> = []) => {
    const rest = bytes.subarray(i + length);
    const out = new Uint8Array(i + middle.length + rest.length);
    out.set(bytes.subarray(0, i));
    out.set(middle, i);
    out.set(rest, i + middle.length);
    return out;
  };
  switch (kind) {
    case 'set':
      return around(1, [value]);
    case 'insert':
      return around(0, [value]);
    case 'delete':
      return around(1 + (value % 16));
    case 'cut':
      return bytes.slice(0, i);
    case 'ones':
      return around(8, new Array(8).fill(255));
    case 'zeros':
      return around(4, [0, 0, 0, 0]);
    case 'repeat':
      return around(0, bytes.subarray(i, i + value));
    case 'number':
      return around(8, numberBytes(NUMBERS[value % NUMBERS.length], value % 2 === 0));
  }
}

function numberBytes(value: bigint, littleEndian: boolean): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, value, littleEndian);
  return bytes;
}

/** One of the good inputs, damaged in one to six places. */
export function damaged(seeds: readonly Uint8Array[]): fc.Arbitrary<Uint8Array> {
  return fc
    .tuple(fc.constantFrom(...seeds), fc.array(edit, { minLength: 1, maxLength: 6 }))
    .map(([seed, edits]) => edits.reduce(applied, seed));
}

/** Any value that JSON can hold, with a leaning to those that numbers and names go wrong with. */
export const oddValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.constantFrom<unknown[]>(
    null,
    true,
    '',
    '__proto__',
    'constructor',
    '\x1b[2J\n',
    [],
    {},
    [[]],
    '../x',
    '/etc/passwd',
  ),
  fc.constantFrom(0, -1, 0.5, 255, 65536, 2 ** 24, 2 ** 31, 2 ** 32, 2 ** 53, 1e300, -0),
  fc.string({ maxLength: 8 }),
  fc.jsonValue({ maxDepth: 2 }),
);

type Path = readonly (string | number)[];

function pathsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path];
  // A long list is like its first elements.
  const entries = Array.isArray(value)
    ? [...value.entries()].slice(0, 4)
    : Object.entries(value).slice(0, 40);
  return [path, ...entries.flatMap(([key, inner]) => pathsOf(inner, [...path, key]))];
}

function replaced(value: unknown, [key, ...path]: Path, odd: unknown, remove: boolean): unknown {
  if (key === undefined) return odd;
  if (Array.isArray(value)) {
    const copy = [...value];
    if (remove && path.length === 0) copy.splice(Number(key), 1);
    else copy[Number(key)] = replaced(value[Number(key)], path, odd, remove);
    return copy;
  }
  if (typeof value !== 'object' || value === null) return odd;
  const entries = Object.entries(value).filter(([name]) => !(remove && path.length === 0 && name === key));
  return Object.fromEntries(
    entries.map(([name, inner]) => [name, name === key ? replaced(inner, path, odd, remove) : inner]),
  );
}

/** One of the good values with one to three places replaced or taken out. */
export function oddJson(seeds: readonly unknown[]): fc.Arbitrary<unknown> {
  const change = fc.record({ at: position, odd: oddValue, remove: fc.boolean() });
  return fc
    .tuple(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 3 }))
    .map(([seed, changes]) =>
      changes.reduce<unknown>((value, { at, odd, remove }) => {
        const paths = pathsOf(value);
        return replaced(value, paths[Math.floor(at * paths.length)], odd, remove);
      }, seed),
    );
}

const encoder = new TextEncoder();
export const jsonBytes = (value: unknown) => encoder.encode(JSON.stringify(value) ?? '');
