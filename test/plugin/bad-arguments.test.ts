// What a host can get wrong: each mistake has a status, a sentence and a number, nothing traps, and the instance
// works on as if nothing had been.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { triangle } from '../../src/solve/index.ts';
import { naiveStatistics, normals } from '../support/problems.ts';
import {
  type Binary,
  binaryModule,
  Host,
  INVALID_ARGUMENT,
  type Layer,
  NOT_FINITE,
  NOT_POSITIVE_DEFINITE,
  OUT_OF_MEMORY,
  REPORT_BYTES,
} from './host.ts';

const [p, m, b, n] = [12, 3, 2, 30];
const groups = p / b;
const layer: Layer = {
  statistics: naiveStatistics(normals(n * p, 1), normals(n * m, 2), p, m),
  W0: normals(p * m, 3),
  groupSize: b,
  bias: normals(m, 4),
};

/** Arguments of every function that are all right together, by name. */
function goodCalls(host: Host) {
  const statistics = host.statistics(layer.statistics);
  const X = host.f32(normals(n * p, 1));
  const Y = host.f32(normals(n * m, 2));
  const W0 = host.f32(layer.W0);
  const bias = host.f32(layer.bias!);
  const problem = host.problem(layer);
  const keep = 3;
  const kept = host.i32([0, 2, 5]);
  const W = host.alloc(8 * p * m);
  const refitted = host.alloc(8 * m);
  const report = host.alloc(REPORT_BYTES);
  const curve = host.alloc(8 * (groups + 1));
  return {
    osscar_statistics_bytes: { p, m },
    osscar_accumulate: { statistics, p, m, n, X, Y },
    osscar_problem: { p, m, b, statistics, W0, bias, damping: 1e-2, blend: 1 },
    osscar_magnitude: { problem, keep, kept },
    osscar_eliminate: { problem, keep, groups_per_step: 1, kept, curve, report },
    osscar_select: { problem, keep, kept, report },
    osscar_swap: { problem, keep, kept, max_swaps: 10, report },
    osscar_refit: { problem, keep, kept, W, bias: refitted, report },
    osscar_prune: { problem, keep, kept, W, bias: refitted, report },
    osscar_prune_bytes: { p, m, b },
  };
}

type Name = keyof ReturnType<typeof goodCalls>;
const NAMES = Object.keys(goodCalls(new Host(binaryModule('baseline')))) as Name[];
const SIZES = ['p', 'm', 'b', 'n', 'keep', 'groups_per_step', 'max_swaps'];
const OPTIONAL = ['Y', 'bias', 'curve', 'report', 'W'];

describe.each<Binary>(['baseline', 'relaxed'])('%s', (binary) => {
  const module = binaryModule(binary);

  function setUp() {
    const host = new Host(module);
    return { host, calls: goodCalls(host) as Record<Name, Record<string, number>> };
  }
  type SetUp = ReturnType<typeof setUp>;

  /** Calls with some arguments changed and expects the error, and that the right call still works. */
  function expectError(
    { host, calls }: SetUp,
    name: Name,
    change: Record<string, number>,
    status: number,
    text: string,
  ) {
    const good = calls[name];
    const bytes = host.memory.buffer.byteLength;
    const result = host.abi[name](...Object.values({ ...good, ...change }));
    const error = host.error();
    expect(error, `${name} ${JSON.stringify(change)}`).toMatchObject({ status });
    expect(error.text).toContain(`${name}: `);
    expect(error.text).toContain(text);
    if (name === 'osscar_problem') expect(result).toBe(0);
    else if (name.endsWith('_bytes')) expect(result).toBe(-1);
    else expect(result).toBe(status);
    expect(host.memory.buffer.byteLength).toBe(bytes);
    host.succeed(host.abi[name](...Object.values(good)));
    return error;
  }

  test.each(NAMES)('%s works on the arguments that the other tests spoil', (name) => {
    const { host, calls } = setUp();
    host.succeed(host.abi[name](...Object.values(calls[name])));
    expect(host.error()).toEqual({ status: 0, text: '', detail: 0 });
  });

  test.each(NAMES)('%s refuses negative sizes, and names them', (name) => {
    const instance = setUp();
    const { calls } = instance;
    for (const size of SIZES.filter((size) => size in calls[name])) {
      for (const value of [-1, -(2 ** 31)]) {
        const { detail } = expectError(
          instance,
          name,
          { [size]: value },
          INVALID_ARGUMENT,
          `"${size}" expected`,
        );
        expect(detail).toBe(value);
      }
    }
  });

  test.each(NAMES.filter((name) => !name.endsWith('_bytes')))(
    '%s refuses addresses that are null, outside the memory, freed, the problem’s or too near the end of a block',
    (name) => {
      const instance = setUp();
      const { host, calls } = instance;
      const good = calls[name];
      const addresses = Object.keys(good).filter(
        (key) => !SIZES.includes(key) && !['damping', 'blend'].includes(key),
      );
      const freed = host.alloc(4096);
      host.abi.osscar_free(freed);
      for (const address of addresses) {
        const bad = [1, 64, freed, good[address] - 64, 2 ** 31, 2 ** 32 - 8, good.problem ?? 8];
        if (!OPTIONAL.includes(address)) bad.push(0);
        // Into the block, so that its end lies beyond it. The handle has to be met exactly.
        bad.push(good[address] + 8);
        for (const value of bad) {
          if (address === 'problem' && value === good.problem) continue;
          expectError(instance, name, { [address]: value }, INVALID_ARGUMENT, `"${address}" expected`);
        }
      }
    },
  );

  test('keep above the number of groups is refused by every choice', () => {
    const instance = setUp();
    const { calls } = instance;
    for (const name of NAMES.filter((name) => 'keep' in calls[name])) {
      const text = `"keep" expected 0 to ${groups}, got ${groups + 1}`;
      expect(expectError(instance, name, { keep: groups + 1 }, INVALID_ARGUMENT, text).detail).toBe(
        groups + 1,
      );
    }
  });

  test('sizes that no memory holds are refused without an attempt to take it', () => {
    const instance = setUp();
    const { host } = instance;
    const most = 2 ** 31 - 1;
    const sizes: Record<string, number>[] = [{ p: most }, { m: most }, { p: most, m: most, n: most }];
    for (const change of sizes) {
      expectError(instance, 'osscar_accumulate', change, INVALID_ARGUMENT, '"statistics" expected');
    }
    expectError(
      instance,
      'osscar_problem',
      { p: most - 1, m: most },
      INVALID_ARGUMENT,
      '"statistics" expected',
    );
    expectError(instance, 'osscar_problem', { b: 5 }, INVALID_ARGUMENT, '"b" expected a divisor of p, got 5');
    expectError(instance, 'osscar_problem', { b: p + 1 }, INVALID_ARGUMENT, '"b" expected 1 to 12, got 13');
    expect(host.abi.osscar_prune_bytes(most, most, most)).toBeGreaterThan(8 * most ** 2);
    expect(host.abi.osscar_statistics_bytes(most, most)).toBe(8 * (2 + 2 * most + 2 * most ** 2));
  });

  test('damping and blend must be numbers in their range', () => {
    const instance = setUp();
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -1e-3, Number.NEGATIVE_INFINITY]) {
      const damping = expectError(
        instance,
        'osscar_problem',
        { damping: value },
        INVALID_ARGUMENT,
        '"damping" exp',
      );
      expect(damping.detail).toBe(value);
      expectError(instance, 'osscar_problem', { blend: value }, INVALID_ARGUMENT, '"blend" expected');
    }
    expectError(
      instance,
      'osscar_problem',
      { blend: 1.01 },
      INVALID_ARGUMENT,
      '"blend" expected a number from 0 to 1',
    );
  });

  test('NaN and infinity are found wherever they are, and nothing is added to the sums', () => {
    const instance = setUp();
    const { host } = instance;
    const spoilt = (values: ArrayLike<number>, at: number, value: number) =>
      Float32Array.from(values, (x, i) => (i === at ? value : x));
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const statistics = host.statistics(layer.statistics);
      const before = host.doubles(statistics, 2 + p + p * p + m + p * m);
      for (const [name, operand, values, at] of [
        ['osscar_accumulate', 'X', normals(n * p, 1), n * p - 1],
        ['osscar_accumulate', 'Y', normals(n * m, 2), 4],
        ['osscar_problem', 'W0', layer.W0, 7],
        ['osscar_problem', 'bias', layer.bias!, m - 1],
      ] as const) {
        const change = { statistics, [operand]: host.f32(spoilt(values, at, value)) };
        const text = `"${operand}" expected finite values, element ${at} is not`;
        expect(expectError(instance, name, change, NOT_FINITE, text).detail).toBe(at);
      }
      expect(host.doubles(statistics, before.length)).toEqual(before);
      for (const at of [0, 1, 5, before.length - 1]) {
        const sums = host.f64(before.map((x, i) => (i === at ? value : x)));
        expectError(
          instance,
          'osscar_problem',
          { statistics: sums },
          NOT_FINITE,
          `"statistics" expected finite`,
        );
      }
    }
    const huge = naiveStatistics(new Float32Array(p).fill(1), undefined, p, m);
    huge.XtX.fill(1e308);
    const statistics = host.statistics(huge);
    expectError(instance, 'osscar_problem', { statistics, blend: 0 }, NOT_FINITE, 'finite');
  });

  test('statistics must hold rows, and a target with each where one is asked for', () => {
    const instance = setUp();
    const { host } = instance;
    const none = host.alloc(host.abi.osscar_statistics_bytes(p, m));
    expectError(instance, 'osscar_problem', { statistics: none }, INVALID_ARGUMENT, 'one calibration row');
    host.succeed(host.abi.osscar_accumulate(none, p, m, n, host.f32(normals(n * p, 1)), 0));
    const text = 'a target with every row';
    expect(expectError(instance, 'osscar_problem', { statistics: none }, INVALID_ARGUMENT, text).detail).toBe(
      0,
    );
    host.succeed(host.abi.osscar_problem(p, m, b, none, host.f32(layer.W0), 0, 1e-2, 0));
    expectError(instance, 'osscar_accumulate', { m: 0 }, INVALID_ARGUMENT, '"m" expected at least 1, got 0');
  });

  test('supports must name groups, each once', () => {
    const instance = setUp();
    const { host } = instance;
    for (const name of ['osscar_swap', 'osscar_refit'] as const) {
      for (const [kept, text] of [
        [[0, 1, groups], `"kept" expected 0 to ${groups - 1}, got ${groups}`],
        [[0, -1, 2], `"kept" expected 0 to ${groups - 1}, got -1`],
        [[4, 1, 4], '"kept" expected each group once, got twice 4'],
      ] as const) {
        const at = host.i32(kept);
        expectError(instance, name, { kept: at }, INVALID_ARGUMENT, text);
        expect(host.ints(at, 3)).toEqual(kept);
      }
    }
  });

  test('a bias is only refitted where there was one', () => {
    const instance = setUp();
    const { host } = instance;
    const problem = host.problem({ ...layer, bias: undefined });
    for (const name of ['osscar_refit', 'osscar_prune'] as const) {
      expectError(instance, name, { problem }, INVALID_ARGUMENT, '"bias" expected 0');
    }
  });

  test('a matrix that is not positive definite is a status with its pivot', () => {
    const instance = setUp();
    const { host } = instance;
    const { statistics } = layer;
    const XtX = statistics.XtX.slice();
    XtX[triangle(5) + 5] = -1000;
    const problem = host.problem({ ...layer, damping: 0, statistics: { ...statistics, XtX } });
    // Found out at work, so the memory for it is there already.
    host.succeed(host.abi.osscar_prune(...Object.values(instance.calls.osscar_prune)));
    for (const name of ['osscar_eliminate', 'osscar_prune'] as const) {
      const error = expectError(
        instance,
        name,
        { problem },
        NOT_POSITIVE_DEFINITE,
        'pivot 6 is not positive',
      );
      expect(error.detail).toBe(6);
    }
    const kept = host.i32([0, 2, 4]); // rows 0, 1, 4, 5, 8, 9
    for (const name of ['osscar_swap', 'osscar_refit'] as const) {
      expectError(instance, name, { problem, kept }, NOT_POSITIVE_DEFINITE, 'pivot 4 is not positive');
    }
    expectError(
      instance,
      'osscar_select',
      { problem, keep: groups, kept: host.alloc(4 * groups) },
      NOT_POSITIVE_DEFINITE,
      'raise the damping',
    );
  });

  test('free refuses what is no block, and a block twice', () => {
    const { host } = setUp();
    const at = host.alloc(100);
    const behind = host.alloc(100);
    for (const bad of [1, at + 8, at - 64, 2 ** 32 - 1]) {
      expect(host.abi.osscar_free(bad)).toBe(INVALID_ARGUMENT);
      expect(host.error().text).toContain(
        `osscar_free: "address" expected a block not yet freed, got ${bad}`,
      );
    }
    expect(host.abi.osscar_free(0)).toBe(0);
    expect(host.abi.osscar_free(at)).toBe(0);
    expect(host.abi.osscar_free(at)).toBe(INVALID_ARGUMENT);
    expect(host.abi.osscar_free(behind)).toBe(0);
  });

  test('a limit on memory ends every call that needs more, with the bytes it would take', () => {
    const { host, calls } = setUp();
    const entries = Object.entries(calls) as [Name, Record<string, number>][];
    const now = host.memory.buffer.byteLength;
    host.abi.osscar_memory_limit(1);
    for (const [name, good] of entries) {
      if (name.endsWith('_bytes') || name === 'osscar_magnitude') continue; // which take none
      const result = host.abi[name](...Object.values(good));
      const { status, detail, text } = host.error();
      expect(status, name).toBe(OUT_OF_MEMORY);
      expect(result).toBe(name === 'osscar_problem' ? 0 : OUT_OF_MEMORY);
      expect(detail).toBeGreaterThan(1);
      expect(text).toContain(`${name}: expected ${detail} bytes of linear memory`);
    }
    expect(host.abi.osscar_alloc(2 ** 20)).toBe(0);
    expect(host.error().detail).toBeGreaterThan(2 ** 20);
    expect(host.memory.buffer.byteLength).toBe(now);
    host.abi.osscar_memory_limit(2 ** 32 - 1);
    for (const [name, good] of entries) host.succeed(host.abi[name](...Object.values(good)));
  });

  test('outputs of rows without a target take no memory, however many there are', () => {
    const { host, calls } = setUp();
    const X = host.f32(new Float32Array(n * p).fill(1)); // hardly varies: summed in f64
    const { statistics } = calls.osscar_accumulate;
    host.succeed(host.abi.osscar_accumulate(statistics, p, 2 ** 20, n, X, 0));
  });

  test('no rows may lie anywhere, as nothing of them is read', () => {
    const { host, calls } = setUp();
    const { statistics } = calls.osscar_accumulate;
    for (const address of [1, -1, -64, host.memory.buffer.byteLength, 2 ** 31]) {
      host.succeed(host.abi.osscar_accumulate(statistics, p, m, 0, address, address));
    }
  });

  test('whatever numbers come, no call traps, takes memory or harms a problem', () => {
    const { host, calls } = setUp();
    const addresses = Object.values(calls).flatMap((good) => Object.values(good).filter((x) => x > 4096));
    const values = [
      0,
      1,
      2,
      3,
      5,
      6,
      12,
      36,
      -1,
      2 ** 31 - 1,
      -(2 ** 31),
      0.01,
      Number.NaN,
      Number.MAX_VALUE,
    ];
    const value = fc.oneof(fc.constantFrom(...values, ...addresses), fc.double());
    const call = fc.constantFrom(...NAMES).chain((name) => {
      const good = Object.values(calls[name]);
      const spoilt = fc.tuple(...good.map((right) => fc.oneof(fc.constant(right), value)));
      return spoilt.map((args) => ({ name, args }));
    });
    for (const name of NAMES) host.succeed(host.abi[name](...Object.values(calls[name])));
    const expected = host.prune(calls.osscar_prune.problem, layer, 3);
    const statuses = new Set<number>();
    fc.assert(
      fc.property(call, ({ name, args }) => {
        const bytes = host.memory.buffer.byteLength;
        const result = host.abi[name](...args);
        const { status } = host.error();
        statuses.add(status);
        // Problems that happen to be made are given back.
        if (name === 'osscar_problem' && result !== 0) host.succeed(host.abi.osscar_free(result));
        expect(host.memory.buffer.byteLength).toBe(bytes);
      }),
      { numRuns: 5000 },
    );
    expect(statuses).toEqual(new Set([0, INVALID_ARGUMENT, NOT_FINITE]));
    expect(host.prune(calls.osscar_prune.problem, layer, 3)).toEqual(expected);
  });

  test('more than the address space is refused', () => {
    const { host } = setUp();
    expect(host.abi.osscar_alloc(2 ** 32 - 1)).toBe(0);
    expect(host.error()).toMatchObject({ status: OUT_OF_MEMORY });
    expect(host.error().detail).toBeGreaterThan(2 ** 32);
    expect(host.alloc(8)).toBeGreaterThan(0);
  });
});
