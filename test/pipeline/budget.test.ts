import { describe, expect, test } from 'vitest';
import { parseBudget, type WidthOptions, widthsOf } from '../../src/pipeline/budget.ts';
import { type KeepRatios, keepRatio, sizesOf } from '../../src/pipeline/keep.ts';
import { parseRecipe } from '../../src/pipeline/recipe.ts';

describe('parseBudget', () => {
  test.each([
    [0.5, 0.5, true],
    ['50%', 0.5, true],
    ['0.25', 0.25, true],
    [1, 1, true],
    [20e6, 20e6, false],
    ['20M', 20e6, false],
    ['1.5g', 1.5e9, false],
    ['300kB', 300e3, false],
    ['4MiB', 4 * 2 ** 20, false],
    ['512 b', 512, false],
    ['0.5 kB', 500, false],
  ])('takes %s', (amount, limit, isFraction) => {
    expect(parseBudget({ bytes: amount })).toEqual({ of: 'bytes', limit, isFraction });
  });

  test.each([
    [0.6, 0.6, true],
    ['60%', 0.6, true],
    ['12ms', 12, false],
    ['0.5 ms', 0.5, false],
    ['1.5s', 1500, false],
    [12, 12, false],
  ])('takes %s of latency', (amount, limit, isFraction) => {
    expect(parseBudget({ latency: amount })).toEqual({ of: 'latency', limit, isFraction });
  });

  test('refuses units of other budgets', () => {
    expect(() => parseBudget({ latency: '12M' })).toThrow('or a time such as 12ms, got "12M"');
    expect(() => parseBudget({ macs: '12ms' })).toThrow('or a size such as 20M, got "12ms"');
  });

  test.each([
    '',
    'half',
    '-1',
    '0',
    '5 apples',
    '1e',
    'NaN',
    Number.NaN,
    -0.5,
    0,
    50,
    '100',
    '150%',
    '1e999',
  ])('refuses "%s"', (amount) => {
    expect(() => parseBudget({ macs: amount })).toThrow('`macs`: expected a fraction such as 0.5');
  });

  test('takes a loss above all of it as a percentage alone', () => {
    expect(parseBudget({ maxLoss: '150%' })).toMatchObject({ maxLoss: 1.5 });
    expect(parseBudget({ maxLoss: 0 })).toMatchObject({ maxLoss: 0 });
    for (const amount of [50, 1, 'little', '-1%', '1e999'])
      expect(() => parseBudget({ maxLoss: amount })).toThrow(
        `\`maxLoss\`: expected a fraction such as 1% or 0.01, got "${amount}"`,
      );
  });

  test('is one', () => {
    expect(() => parseBudget({ macs: 0.5, maxLoss: 0.1 })).toThrow(
      'expected one budget, got `macs` and `maxLoss`',
    );
  });

  test('is none where none is given', () => {
    expect(parseBudget({})).toBeUndefined();
  });
});

describe('widthsOf', () => {
  const structure = (name: string, groups: number, kind: 'channel' | 'head' = 'channel') => ({
    name,
    layer: `${name}.reader`,
    kind,
    groups,
  });
  const widths = (groups: number, options = {}, kind: 'channel' | 'head' = 'channel') =>
    widthsOf([structure('a', groups, kind)], options).get('a')!;

  test('are multiples of 8 from 64 channels on, else all from a sixteenth on', () => {
    expect(widths(64)).toEqual([8, 16, 24, 32, 40, 48, 56, 64]);
    expect(widths(20)).toEqual(Array.from({ length: 19 }, (_, i) => i + 2));
    expect(widths(100).at(-1)).toBe(100);
    expect(widths(100).at(-2)).toBe(96);
    expect(widths(64, {}, 'head')).toHaveLength(48);
    expect(widths(4, { round: 8 }, 'head')).toEqual([1, 2, 3, 4]);
    expect(widths(16, { round: 4 })).toEqual([4, 8, 12, 16]);
    const beside = widthsOf([structure('a', 4), structure('b', 64)], { round: 8 });
    expect(beside.get('a')).toEqual([4]);
    expect(widths(30, { round: 8, max: { a: 0.9 } })).toEqual([8, 16, 24]);
    expect(widths(64, { round: 1, min: { a: 0.9 } })).toEqual([58, 59, 60, 61, 62, 63, 64]);
    for (const round of [0, -8, 1.5])
      expect(() => widths(16, { round })).toThrow('`round` must be a whole number of at least 1');
    expect(() => widths(16, { round: 16 })).toThrow(
      '`round`: multiples of 16 leave every structure whole; "a", the largest, has 16',
    );
  });

  test('of many channels are thinned, the smallest and the largest left', () => {
    const many = widths(4096);
    expect(many.length).toBeLessThanOrEqual(48);
    expect([many[0], many.at(-1)]).toEqual([256, 4096]);
    for (const width of many) expect(width % 8).toBe(0);
    // As many as a config.json can say.
    for (const kind of ['channel', 'head'] as const) {
      const most = widths(2 ** 31 - 1, {}, kind);
      expect(most).toHaveLength(48);
      expect([most[0], most.at(-1)]).toEqual([2 ** 27, 2 ** 31 - 1]);
    }
  });

  test('follow the last pattern that matches a structure or its layer', () => {
    const structures = [structure('block.0/conv', 16), structure('block.1/conv', 16)];
    const options = { pin: { 'block.*': 0.5, '*.1/conv.reader': 0.25 } };
    expect([...widthsOf(structures, options)]).toEqual([
      ['block.0/conv', [8]],
      ['block.1/conv', [4]],
    ]);
    // A dot is a dot.
    expect(() => widthsOf(structures, { pin: { 'block:0*': 0.5 } })).toThrow('matches');
    expect(() => widthsOf(structures, { pin: { 'blockX0*': 0.5 } })).toThrow('matches');
  });

  test.each([0, -0.5, 1.5, '0.5', Number.NaN])('refuse a bound of %o', (ratio) => {
    for (const what of ['min', 'max', 'pin'])
      expect(() => widths(64, { [what]: { a: ratio } })).toThrow(`\`${what}\` of "a" must be in (0, 1]`);
    expect(widths(64, { pin: { a: 1 } })).toEqual([64]);
  });

  test('are none at all too of what can go whole, unless it is said what stays', () => {
    const branch = { name: 'a', layer: 'b', kind: 'channel', groups: 4, canGo: true } as const;
    const of = (options: WidthOptions) => widthsOf([branch], options).get('a');
    expect(of({})).toEqual([0, 1, 2, 3, 4]);
    expect(of({ max: { a: 0.5 } })).toEqual([0, 1, 2]);
    expect(of({ min: { a: 0.5 } })).toEqual([2, 3, 4]);
    expect(of({ pin: { a: 0 } })).toEqual([0]);
    expect(of({ exclude: ['a'] })).toEqual([4]);
  });

  test('are none where bounds leave none', () => {
    expect(() => widths(64, { min: { a: 0.9 }, max: { a: 0.95 } })).toThrow(
      '`min`, `max` and `round` leave "a" no width: no multiple of 8 from 58 to 60 of 64',
    );
  });
});

describe('sizesOf', () => {
  const channels = [{ name: 'a', layer: 'b', kind: 'channel', groups: 8 }] as const;
  const sizes = (keep: object) => sizesOf(parseRecipe({ keep }), channels).get('a');

  test('refuses a ratio of heads where there are none, whatever is beside it', () => {
    for (const other of [{}, { layers: { a: 0.25 } }, { channels: 0.75 }, { all: 0.5 }])
      expect(() => sizes({ heads: 0.5, ...other })).toThrow(
        '`keep.heads`: there are no heads that can be pruned',
      );
    expect(sizes({ channels: 0.75, all: 0.5 })).toBe(6);
  });

  test('are of a structure’s name, of its layer, of its kind, or of all, whichever says most', () => {
    const structures = [
      { name: 'a', layer: 'b', kind: 'channel', groups: 8 },
      { name: 'c', layer: 'd', kind: 'head', groups: 8 },
    ] as const;
    const of = (keep: number | KeepRatios | undefined) => [...sizesOf({ keep }, structures).values()];
    expect(of(0.5)).toEqual([4, 4]);
    expect(of({ all: 0.5 })).toEqual([4, 4]);
    expect(of({ heads: 0.25 })).toEqual([8, 2]);
    expect(of({ all: 0.5, channels: 0.25 })).toEqual([2, 4]);
    expect(of({ all: 0.5, layers: { d: 0.75, a: 0.25, b: 1 } })).toEqual([2, 6]);
    expect(of(undefined)).toEqual([7, 7]); // what a budget decides, at the least
    expect(() => of({ layers: { e: 0.5 } })).toThrow('`keep.layers`: there is no prunable structure "e"');
  });

  test('are 0 of what can go whole alone, and of a structure before a layer of that name', () => {
    const structures = [
      { name: 'a', layer: 'b', kind: 'channel', groups: 8 },
      { name: 'b', layer: 'c', kind: 'channel', groups: 8, canGo: true },
    ] as const;
    const of = (keep: object) => [...sizesOf(parseRecipe({ keep }), structures).values()];
    expect(of({ all: 0.5, layers: { b: 0 } })).toEqual([4, 0]);
    expect(of({ all: 0.5, layers: { c: 0 } })).toEqual([4, 0]);
    expect(of({ all: 0.5, layers: { a: 0.001 } })).toEqual([1, 4]);
    expect(() => of({ layers: { a: 0 } })).toThrow(
      '`keep.layers` of "a" must be in (0, 1]: the model does not',
    );
  });

  test.each<[object, string]>([
    [{ all: 0 }, '`keep` must be in (0, 1]'],
    [{ all: '0.5' }, '`keep` must be in (0, 1]'],
    [{ heads: 1.5 }, '`keep.heads` must be in (0, 1]'],
    [{ channels: Number.NaN }, '`keep.channels` must be in (0, 1]'],
    [{ layers: { a: -0.1 } }, '`keep.layers` of "a" must be in (0, 1]'],
    [{ layers: 0.5 }, '`keep.layers`: expected ratios by name'],
    [{ head: 0.5 }, '`keep.head`: expected all, heads, channels or layers'],
    [{}, '`keep`: expected a number, or an object'],
  ])('refuse %o', (keep, message) => {
    expect(() => keepRatio(keep as KeepRatios)).toThrow(message);
  });
});
