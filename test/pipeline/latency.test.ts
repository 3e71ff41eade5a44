import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { readModel, sizeAt } from '../../src/graph/index.ts';
import { settle } from '../../src/pipeline/allocate/settle.ts';
import { plan } from '../../src/pipeline/index.ts';
import { checkTable, measureLatency, parseLatencyTable } from '../../src/pipeline/measure/latency.ts';
import { nonNegative } from '../../src/pipeline/measure/nnls.ts';
import { latencies } from '../../src/pipeline/measure/timing.ts';
import { openModel } from '../../src/pipeline/open/open.ts';
import { describe as describeConfig } from '../support/describe.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { engine, fixtureBytes, noise, openFixture, prune } from './fixtures.ts';

describe('nonNegative', () => {
  test('is the solution where that is positive, and holds at zero what would be negative', () => {
    const A = [
      [1, 0],
      [0, 2],
      [1, 1],
    ];
    expect(nonNegative(A, [1, 4, 3])).toEqual([expect.closeTo(1, 12), expect.closeTo(2, 12)]);
    expect(nonNegative(A, [-1, 4, 1])).toEqual([0, expect.closeTo(9 / 5, 12)]);
    expect(nonNegative(A, [-1, -4, -3])).toEqual([0, 0]);
  });

  test.each(Array.from({ length: 30 }, (_, seed) => seed + 1))(
    'meets the conditions of a minimum: gradient 0 where x > 0, else not below (%i)',
    (seed) => {
      const next = random(seed);
      const [rows, n] = [20, 1 + Math.floor(12 * next())];
      const A = Array.from({ length: rows }, () => Array.from({ length: n }, () => next() - 0.3));
      const y = A.map(() => next() - 0.5);
      const x = nonNegative(A, y);
      const residual = A.map((row, i) => row.reduce((sum, a, j) => sum + a * x[j], -y[i]));
      for (let j = 0; j < n; j++) {
        const gradient = A.reduce((sum, row, i) => sum + row[j] * residual[i], 0);
        expect(x[j]).toBeGreaterThanOrEqual(0);
        if (x[j] > 0) expect(gradient).toBeCloseTo(0, 9);
        else expect(gradient).toBeGreaterThan(-1e-9);
      }
      const start = x.map((value) => (next() < 0.5 ? value : 1));
      for (const [j, value] of nonNegative(A, y, start).entries()) expect(value).toBeCloseTo(x[j], 9);
    },
  );
});

/** Three layers in a row, of which two make what the next one reads. */
function chain(): Uint8Array {
  const b = new OnnxBuilder({ seed: 5 });
  const x = b.relu(b.conv(b.relu(b.conv(b.input([3, 12, 12]), 16, 3)), 24, 3));
  return b.output(b.gemm(b.flatten(b.globalAveragePool(b.relu(b.conv(x, 20, 3)))), 10)).build();
}

/**
 * Time passes only while a model runs: so long for the graph, for every channel, and for every product of channels; half
 * as long again where it is not loaded as whoever uses it will.
 */
function clockwork({ drift = 0, interrupted = -1, ofWeights = false } = {}) {
  let ms = 0;
  let loaded = 0;
  let runs = 0;
  const timed: Engine = {
    name: 'clockwork',
    async load(bytes, _, { asUsed } = {}) {
      const model = await readModel(bytes);
      const session = await engine.load(bytes);
      const shapes = [...model.tensors.values()].map(({ dims }) => dims).filter(({ length }) => length > 1);
      const [a, b, c] = shapes.map(([channels]) => channels);
      const weights = shapes.reduce((sum, dims) => sum + dims.reduce((x, y) => x * y), 0);
      const cost =
        (ofWeights ? weights : costOf(a, b, c)) * (loaded++ === interrupted ? 2 : 1) * (asUsed ? 1 : 1.5);
      return {
        ...session,
        run: async () => {
          ms += cost * (1 + drift * runs++);
          return {};
        },
      };
    },
  };
  return { engine: timed, now: () => ms };
}
const costOf = (a: number, b: number, c: number) => 3 + 0.05 * a + 0.02 * a * b + 0.03 * b + 0.005 * b * c;

test('latencies: equal models show equal times, also on a machine that gets slower', async () => {
  const opened = await openModel(chain(), { engine, name: 'chain' });
  const samples = await noise(1, opened.input.shape);
  const steady = costOf(16, 24, 20);
  expect(await latencies([opened, opened], samples, clockwork())).toEqual([steady, steady].map(near));
  const [first, second] = await latencies([opened, opened], samples, clockwork({ drift: 1e-3 }));
  expect(first).toBeGreaterThan(1.02 * steady);
  expect(Math.abs(first / second - 1)).toBeLessThan(0.01);
});

test('latencies: a model that reads an output of its own runs, whatever onnxruntime fuses', async () => {
  const b = new OnnxBuilder({ seed: 5 });
  const x = b.input([3, 12, 12]);
  const inner = b.conv(x, 8, 1);
  const sum = b.add(b.conv(x, 8, 1), inner);
  const opened = await openModel(b.output(sum).output(inner).build(), { engine, name: 'fused' });
  const [ms] = await latencies([opened], await noise(1, opened.input.shape), { engine });
  expect(ms).toBeGreaterThan(0);
});
const near = (value: number) => expect.closeTo(value, 9);

describe('measureLatency', async () => {
  const opened = await openModel(chain(), { engine, name: 'chain' });
  const table = await measureLatency(opened, clockwork());
  const names = Object.keys(table.structures);
  const predicted = (a: number, b: number, c: number) =>
    sizeAt(table.terms, (name) => ({ [names[0]]: a / 16, [names[1]]: b / 24, [names[2]]: c / 20 })[name]!);

  test('finds what widths cost, and what their products do', () => {
    expect(table.structures).toEqual({ [names[0]]: 16, [names[1]]: 24, [names[2]]: 20 });
    expect(table).toMatchObject({ version: 1, model: 'chain', engine: 'clockwork', sample: [3, 12, 12] });
    expect(table.denseMs).toBeCloseTo(costOf(16, 24, 20), 9);
    expect(table.error).toBeLessThan(2e-3);
    const next = random(3);
    for (let i = 0; i < 50; i++) {
      const [a, b, c] = [16, 24, 20].map((groups) => Math.ceil(groups * (0.2 + 0.8 * next())));
      const cost = costOf(a, b, c);
      expect(Math.abs(predicted(a, b, c) - cost), `${[a, b, c]}`).toBeLessThan(0.02 * cost);
    }
    for (const { value } of table.terms) expect(value).toBeGreaterThan(0);
  });

  test('finds products together that no measurement tells apart, in proportion to multiply-adds', async () => {
    const b = new OnnxBuilder({ seed: 6 });
    const blocks: string[] = [b.relu(b.conv(b.input([2, 4, 4]), 2, 1))];
    const all = () => b.node('Concat', blocks, { axis: 1 }, { channels: 2 * blocks.length });
    while (blocks.length < 33) blocks.push(b.relu(b.conv(all(), 2, 1)));
    const dense = await openModel(b.output(b.conv(all(), 4, 1)).build(), { engine });
    const { terms, structures, error } = await measureLatency(dense, clockwork({ ofWeights: true }));
    expect(error).toBeLessThan(1e-3);
    const last = Object.keys(structures).at(-1)!;
    const products = terms.filter(({ of }) => of.length > 1 && of.includes(last));
    expect(products).toHaveLength(32);
    for (const { value } of products) expect(value).toBeCloseTo(products[0].value, 12);
  });

  test('is not misled by a machine that gets slower', async () => {
    const slowing = await measureLatency(opened, clockwork({ drift: 1e-3 }));
    const times = slowing.measured.map(({ ms }) => ms / slowing.denseMs);
    table.measured.forEach(({ ms }, i) => {
      expect(Math.abs(times[i] / (ms / table.denseMs) - 1)).toBeLessThan(0.01);
    });
  });

  test('is not misled by a model that was interrupted all the time', async () => {
    const { terms, error, denseMs } = await measureLatency(opened, clockwork({ interrupted: 3 }));
    expect(error).toBeLessThan(0.01);
    const fractions = [0.7, 0.6, 0.8];
    const part = (name: string) => fractions[names.indexOf(name)];
    expect(denseMs).toBe(table.denseMs);
    expect(Math.abs(sizeAt(terms, part) / sizeAt(table.terms, part) - 1)).toBeLessThan(0.03);
  });

  test('gives plain data that reads back the same', () => {
    expect(parseLatencyTable(JSON.stringify(table))).toEqual(table);
    expect(() => checkTable(parseLatencyTable(JSON.stringify(table)), opened)).not.toThrow();
  });

  test('gives a table that is of no other model', async () => {
    const other = await openFixture('fashion-mobilenet');
    expect(() => checkTable(table, other)).toThrow(
      '`latencyTable`: of "chain", whose "structures" are not those of "fashion-mobilenet" here; measure this one (osscar latency)',
    );
  });

  test('gives a table, and nothing else is one', async () => {
    const other = { ...table, terms: undefined };
    expect(() => checkTable(other as never, opened)).toThrow(
      '`latencyTable`: expected structures, terms of them, and times above 0',
    );
  });

  test.each([
    ['{', 'latency table: not valid JSON'],
    ['null', 'expected version 1, got undefined'],
    ['{"version": 2}', 'expected version 1, got 2'],
    ['{"version": 1, "structures": {}, "terms": [], "denseMs": 0}', 'times above 0'],
    ['{"version": 1, "structures": {}, "terms": [null], "denseMs": 1}', 'terms of them'],
    ['{"version": 1, "structures": [], "terms": {}, "denseMs": 1}', 'terms of them'],
    ['{"version": 1, "structures": {}, "terms": [{"value": 1, "of": ["a"]}], "denseMs": 1}', 'terms of them'],
  ])('refuses what is no table: %s', (text, message) => {
    expect(() => parseLatencyTable(text)).toThrow(message);
  });
});

describe('settle', () => {
  const sizes = (kept: number) => new Map([['s', kept]]);
  /** Sizes of whole groups, of which each is said to cost 1. */
  const way = (limit: number) => sizes(Math.max(1, Math.floor(limit)));

  test('takes what is within the limit and close to it as it is', async () => {
    const settled = await settle(100, way, async (it) => 0.97 * it.get('s')!);
    expect(settled).toEqual({ sizes: sizes(100), size: 97, tries: [{ limit: 100, size: 97 }] });
  });

  test.each([
    ['more than they are said to, in part whatever the sizes', (kept: number) => 30 + kept],
    ['much less', (kept: number) => 0.4 * kept],
    ['in steps', (kept: number) => 1.2 * 4 * Math.ceil(kept / 4)],
  ])('comes close from below where sizes cost %s', async (_, cost) => {
    const { sizes, size, tries } = await settle(100, way, async (it) => cost(it.get('s')!));
    expect(size).toBe(cost(sizes.get('s')!));
    expect(size).toBeLessThanOrEqual(100);
    expect(size).toBeGreaterThanOrEqual(95);
    expect(tries.length).toBeLessThanOrEqual(5);
  });

  test('keeps the largest that was within the limit, or the smallest where none was', async () => {
    const times = [120, 90, 130, 80, 101];
    const drifting = await settle(100, way, async () => times.shift()!);
    expect(drifting.size).toBe(90);
    expect(drifting.tries.map(({ size }) => size)).toEqual([120, 90, 130, 80, 101]);
    const above = [140, 120, 130, 110, 150];
    expect((await settle(100, way, async () => above.shift()!)).size).toBe(110);
  });

  test('measures no sizes twice', async () => {
    const measured: number[] = [];
    await settle(
      100,
      () => sizes(7),
      async (it) => measured.push(it.get('s')!) && 50,
    );
    expect(measured).toEqual([7]);
  });
});

describe('prune within a budget of latency', () => {
  const images = noise(24, [3, 12, 12]);
  const options = { keep: undefined, target: 'residual', search: 'greedy', effort: 'low' } as const;

  test('given a table, spends what the table says and measures nothing', async () => {
    const opened = await openModel(chain(), { engine });
    const latencyTable = await measureLatency(opened, clockwork());
    const { report } = await prune(chain(), await images, { ...options, latency: 0.6, latencyTable });
    const { of, limit, before, after, settled } = report.allocation!;
    expect([of, before, settled]).toEqual(['latency', latencyTable.denseMs, undefined]);
    expect(limit).toBeCloseTo(0.6 * before, 9);
    const [a, b, c] = [16, 24, 20].map((groups, i) => report.layers[i]?.kept.length ?? groups);
    expect(Math.abs(costOf(a, b, c) - after)).toBeLessThan(0.02 * after);
    expect(after).toBeLessThanOrEqual(limit);
    expect(after).toBeGreaterThan(0.85 * limit);
    const absolute = await prune(chain(), await images, { ...options, latency: `${limit}ms`, latencyTable });
    expect(absolute.report.allocation!.after).toBe(after);
  });

  test('a table beside another budget is refused', async () => {
    const latencyTable = await measureLatency(await openModel(chain(), { engine }), clockwork());
    await expect(prune(chain(), await images, { ...options, macs: 0.6, latencyTable })).rejects.toThrow(
      '`latencyTable` is for `latency`, and says nothing beside what is given; leave it out',
    );
  });

  test('without one, measures and says what it has measured', async () => {
    const { report } = await prune(chain(), await images, { ...options, latency: '80%' });
    const { settled = [], after } = report.allocation!;
    expect(settled.length).toBeGreaterThanOrEqual(1);
    expect(settled.map(({ size }) => size)).toContain(after);
  });

  test.each([
    ['9000s', /`latency`: at most 9\.00e\+6 ms keeps all of the dense model, which has [\d.]+ ms/],
    ['0.001%', /`latency`: at most .* cannot be reached; the smallest widths take [\d.]+ ms \(0\.\d+ of/],
  ])('refuses %s before all sizes are timed', async (latency, message) => {
    const stages: string[] = [];
    const onProgress = ({ label }: { label: string }) => void stages.push(label);
    const pruned = prune(chain(), await images, { ...options, latency, onProgress });
    await expect(pruned).rejects.toThrow(message);
    expect(stages.filter((label) => label.startsWith('timing '))).toEqual([]);
  });

  test('refuses a table of another model, and a folder', async () => {
    const opened = await openModel(chain(), { engine, name: 'chain' });
    const latencyTable = await measureLatency(opened, clockwork());
    await expect(
      prune(fixtureBytes('fashion-mobilenet'), await images, { ...options, latency: 0.6, latencyTable }),
    ).rejects.toThrow('of "chain", whose "structures" are not those');
    const config = JSON.parse(readFileSync('test/fixtures/opt-kjv/config.json', 'utf8'));
    expect(() => plan(describeConfig(config), { latency: 0.5, samples: 8, sample: [64] })).toThrow(
      '`latency` is of ONNX files only',
    );
  });
});
