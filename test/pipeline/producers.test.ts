import { describe, expect, test } from 'vitest';
import type { Engine } from '../../src/engine/index.ts';
import { InputError, NotPositiveDefiniteError, UnsupportedModelError } from '../../src/errors.ts';
import { type Floats, linearMaps, type Model, readModel, readWeights } from '../../src/graph/index.ts';
import { iterableDataset } from '../../src/pipeline/data/index.ts';
import { openModel } from '../../src/pipeline/open/open.ts';
import { inverseWith } from '../../src/pipeline/pass/descent.ts';
import { minimize, minimizeBytes, pairsFor, vectorOf } from '../../src/pipeline/pass/lbfgs.ts';
import { producersOf, refitFlops, sampleStep, withinLimit } from '../../src/pipeline/pass/producers.ts';
import {
  attend,
  concat,
  merge,
  multihead,
  size,
  split,
  transpose,
  WIDTH,
} from '../graph/attention-graphs.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { outputError } from '../support/output-error.ts';
import { toFloat16 } from './edit.ts';
import { engine, fashion, fixtureBytes, openFixture, outputs, prune, session } from './fixtures.ts';

describe('minimize', () => {
  /** A valley: f = Σ cᵢ(xᵢ − 1)² / 2, with a bend. */
  const curvature = [1, 10, 100, 1000];
  const evaluate = async (x: Floats) => {
    const off = Float64Array.from(x, (value) => value - 1);
    const value = off.reduce((total, d, i) => total + curvature[i] * (d ** 2 / 2 + d ** 4 / 4), 0);
    return { value, gradient: off.map((d, i) => curvature[i] * (d + d ** 3)) };
  };

  /** Values where derivatives are asked for, and where it ends; the error on samples held out is the value, or rises. */
  async function path(iterations: number, precondition: (g: Floats) => Floats, rises = (_: number) => false) {
    const values: number[] = [];
    const valueAt = async (point: Floats) => (await evaluate(point)).value;
    const objective = {
      evaluate: async (point: Floats) => {
        const at = await evaluate(point);
        values.push(at.value);
        return at;
      },
      value: valueAt,
      heldOut: async (point: Floats) => {
        const value = await valueAt(point);
        return rises(value) ? Number.POSITIVE_INFINITY : value;
      },
    };
    const { point, left } = await minimize(objective, new Float64Array(4), {
      iterations,
      precondition: async (g: Floats) => precondition(g),
      firstStep: 0.5,
    });
    const last = await valueAt(point);
    expect(left).toBe(last / values[0]);
    return { values, last };
  }

  test('goes down at every step, and to the bottom', async () => {
    const { values, last } = await path(60, (g) => g.map((value) => value / 1000));
    expect(values).toEqual(values.toSorted((a, b) => b - a));
    expect(last).toBeLessThan(1e-10);
    const soon = await path(16, (g) => g.map((value) => value / 1000));
    expect(soon.last).toBeLessThan(1e-6); // by steps along the gradient alone 0.1
  });

  test.each([
    ['the gradient is 0', 0, 1],
    ['no step along it is', 1, 1 + 6],
  ])('stays where nothing is lower: %s', async (_, slope, values) => {
    let tried = 0;
    const objective = {
      evaluate: async () => ({ value: tried++, gradient: Float64Array.of(slope) }),
      value: async () => tried++,
      heldOut: async () => 1,
    };
    const start = Float64Array.of(0);
    const how = { iterations: 4, precondition: async (g: Floats) => g, firstStep: 0.5 };
    expect(await minimize(objective, start, how)).toEqual({ point: start, left: 1 });
    expect(tried).toBe(values);
  });

  test.each<[string, (x: number) => number, (x: number) => number, object, number]>([
    [
      'a third of a step that goes too far',
      (x) => x ** 2,
      (x) => 2 * x,
      { iterations: 1, firstStep: 2.5 },
      -2 / 3,
    ],
    ['steps on where slopes become steeper', (x) => x ** 4 - 8 * x ** 2, (x) => 4 * x ** 3 - 16 * x, {}, 2],
  ])('takes %s', async (_, f, slope, options, end) => {
    const value = async ([x]: Float64Array) => f(x);
    const evaluate = async ([x]: Float64Array) => ({ value: f(x), gradient: Float64Array.of(slope(x)) });
    const how = { iterations: 30, firstStep: 1e-3, precondition: async (g: Floats) => g, ...options };
    const { point } = await minimize(
      { evaluate, value, heldOut: async ([x]) => 100 + f(x) },
      Float64Array.of(1),
      how,
    );
    expect(point[0]).toBeCloseTo(end, 6);
  });

  test('is faster where curvatures are known', async () => {
    const known = await path(6, (g) => g.map((value, i) => value / curvature[i]));
    const unknown = await path(6, (g) => g.map((value) => value / 1000));
    expect(known.last).toBeLessThan(1e-3 * unknown.last);
  });

  test('ends where the error on samples held out rises, at the point before', async () => {
    const slow = (g: Floats) => g.map((value) => value / 1000);
    const { values } = await path(60, slow);
    const short = await path(60, slow, (value) => value <= values[3]);
    expect(short).toEqual({ values: values.slice(0, 3), last: values[2] });
  });

  test.each([
    [0, 3],
    [1, 4],
    [2, 60],
  ])('goes on for %d steps where it rises', async (patience, end) => {
    const values: number[] = [];
    const slow = async (g: Floats) => g.map((value) => value / 1000);
    const objective = {
      evaluate,
      value: async (x: Floats) => (await evaluate(x)).value,
      heldOut: async (x: Floats) => {
        values.push((await evaluate(x)).value);
        const step = values.length - 1;
        return step === 3 || step === 4 ? values[0] : values.at(-1)!; // it rises in two steps
      },
    };
    const steps: number[] = [];
    const how = { iterations: 60, firstStep: 0.5, precondition: slow, patience };
    const { point, left } = await minimize(objective, new Float64Array(4), {
      ...how,
      onStep: (step) => steps.push(step),
    });
    expect(steps).toEqual(Array.from({ length: steps.length }, (_, i) => i + 1));
    const least = patience === 2 ? Math.min(...values) : values[2];
    expect([(await evaluate(point)).value, left]).toEqual([least, least / values[0]]);
    if (end < 60) expect(steps).toHaveLength(end);
    else expect(steps.length).toBeGreaterThan(10);
  });

  test('remembers sixteen steps, and four of many variables', () => {
    expect([1, 2 ** 22, 2 ** 23, 2 ** 24, 2 ** 27].map(pairsFor)).toEqual([16, 16, 8, 4, 4]);
    expect(minimizeBytes(2 ** 22)).toBe(2 ** 22 * 8 * (2 * 16 + 8));
    expect(minimizeBytes(2 ** 24)).toBe(2 ** 24 * 4 * (2 * 4 + 8));
    expect([2 ** 22, 2 ** 22 + 1].map((variables) => vectorOf(variables).byteLength)).toEqual([
      2 ** 22 * 8,
      (2 ** 22 + 1) * 4,
    ]);
  });

  test('goes down in single precision too', async () => {
    const start = new Float32Array(4);
    const objective = {
      evaluate: async (x: Floats) => {
        const { value, gradient } = await evaluate(x);
        return { value, gradient: new Float32Array(gradient) };
      },
      value: async (x: Floats) => (await evaluate(x)).value,
      heldOut: async (x: Floats) => (await evaluate(x)).value,
    };
    const precondition = async (g: Floats) => {
      expect(g).toBeInstanceOf(Float32Array);
      return g.map((value) => value / 1000);
    };
    const { point, left } = await minimize(objective, start, {
      iterations: 60,
      firstStep: 0.5,
      precondition,
    });
    expect(point).toBeInstanceOf(Float32Array);
    expect(left).toBeLessThan(1e-6);
  });

  test('asks for derivatives from where it goes on only', async () => {
    const slow = (g: Floats) => g.map((value) => value / 1000);
    const { values } = await path(60, slow);
    expect(await path(3, slow)).toEqual({ values: values.slice(0, 3), last: values[3] });
  });
});

/** W of a layer, by name. */
async function weightsOf(
  model: Model | Uint8Array,
  dense: Awaited<ReturnType<typeof openFixture>>,
  layer: string,
) {
  const map = linearMaps(dense.model, dense.info.shapes).find(({ node }) => node === layer)!;
  return readWeights(model instanceof Uint8Array ? await readModel(model) : model, map).W;
}

describe('layers that make channels', () => {
  test('are found, but for those of residual streams', async () => {
    const opened = await openFixture('fashion-resnet');
    const { structures } = opened.analysis;
    const found = structures.filter((it) => it.prunable).map((it) => producersOf(opened, it));
    expect(found.length).toBeGreaterThan(5);
    for (const maps of found) expect(maps).toHaveLength(1);
    const streams = structures.filter(({ isResidual }) => isResidual);
    expect(streams.map((it) => producersOf(opened, it))).toEqual(streams.map(() => []));
  });

  test('are those before what reads the channels; the last of a gate that is made of them stays', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
    const gate = b.conv(b.relu(b.conv(b.globalAveragePool(x), 2, 1)), 6, 1);
    b.output(b.conv(b.mul(x, b.node('Sigmoid', [gate])), 4, 1));
    const opened = await openModel(b.build(), { engine });
    const structure = opened.analysis.structures.find(({ groups }) => groups === 6)!;
    expect(structure.producers).toHaveLength(2);
    expect(producersOf(opened, structure).map(({ node }) => node)).toEqual([structure.producers[0].node]);
  });

  test('are none where one of them reads them', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
    b.output(b.conv(b.mul(x, b.node('Sigmoid', [b.conv(x, 6, 1)])), 4, 1));
    const opened = await openModel(b.build(), { engine });
    const structure = opened.analysis.structures.find(({ groups }) => groups === 6)!;
    expect(structure.producers.length).toBeGreaterThan(0);
    expect(producersOf(opened, structure)).toEqual([]);
  });

  test('are none where what they read is the same for all samples', async () => {
    const b = new OnnxBuilder();
    const x = b.sequence(6);
    const extents = concat(b, [size(b, x, 0), b.integers([4, 8])]);
    const queries = b.node('Expand', [b.weight([1, 4, 8], 1), extents], {}, { channels: 8 });
    const made = b.matmul(b.relu(b.matmul(queries, 12)), 8);
    const given = b.node(
      'ReduceMean',
      [b.matmul(b.relu(b.matmul(x, 10)), 8)],
      { axes: [1], keepdims: 1 },
      { channels: 8 },
    );
    const bytes = b.output(b.matmul(b.mul(made, given), 3)).build();
    const opened = await openModel(bytes, { engine, size: [5, 6] });
    const found = opened.analysis.structures
      .filter(({ prunable }) => prunable)
      .map((it) => [it.groups, producersOf(opened, it).length]);
    expect(Object.fromEntries(found)).toMatchObject({ 12: 0, 10: 1 });
  });

  test.each<[string, (b: OnnxBuilder, x: string) => string]>([
    [
      'a gate',
      (b, x) => b.mul(x, b.node('Sigmoid', [b.conv(b.relu(b.conv(b.globalAveragePool(x), 4, 1)), 16, 1)])),
    ],
    ['windows that overlap', (b, x) => b.maxPool(x, 3, 2, 1)],
    [
      'other channels beside them',
      (b, x) => b.node('Concat', [x, b.relu(b.conv('input', 6, 3))], { axis: 1 }, { channels: 22 }),
    ],
  ])('are refitted through %s', async (_, between) => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = between(b, b.relu(b.conv(b.input([1, 28, 28]), 16, 5)));
    const y = b.relu(b.conv(x, 12, 3, { stride: 2 }));
    const bytes = b.output(b.gemm(b.flatten(b.globalAveragePool(y)), 10)).build();
    const opened = await openModel(bytes, { engine });
    const [{ node }] = producersOf(opened, opened.analysis.structures.find(({ groups }) => groups === 16)!);
    const own = new Set(await weightsOf(opened.model, opened, node));
    const options = { keep: 0.5, target: 'dense', search: 'greedy', correct: false } as const;
    const { written, report } = await prune(bytes, await fashion('calib', 96), options);
    expect(report.maxDifference).toBeLessThan(1e-3);
    const changed = (await weightsOf(written.model, opened, node)).filter((value) => !own.has(value));
    expect(changed.length).toBeGreaterThan(8 * 25 - 10);
  });

  test.each([
    ['all of them', 2, (b: OnnxBuilder, x: string) => b.relu(x)],
    [
      'those with a derivative',
      1,
      (b: OnnxBuilder, x: string) => b.node('LpPool', [x], { kernel_shape: [1, 1] }),
    ],
  ])(
    'of several structures that the same layer reads are refitted together: %s',
    async (_, count, through) => {
      const b = new OnnxBuilder({ seed: 3 });
      const x = b.input([1, 28, 28]);
      const pieces = [b.relu(b.conv(x, 8, 5)), through(b, b.conv(x, 8, 5))];
      const y = b.conv(b.node('Concat', pieces, { axis: 1 }, { channels: 16 }), 6, 3, { stride: 2 });
      const bytes = b.output(b.gemm(b.flatten(b.globalAveragePool(b.relu(y))), 10)).build();
      const opened = await openModel(bytes, { engine });
      const layers = opened.analysis.structures
        .filter(({ groups }) => groups === 8)
        .flatMap((it) => producersOf(opened, it));
      expect(layers).toHaveLength(2);
      const { written } = await prune(bytes, await fashion('calib', 96), { target: 'dense', correct: false });
      const changed = await Promise.all(
        layers.map(async ({ node }) => {
          const own = new Set(await weightsOf(opened.model, opened, node));
          return (await weightsOf(written.model, opened, node)).some((value) => !own.has(value));
        }),
      );
      expect(changed.filter(Boolean)).toHaveLength(count);
      expect(changed[0]).toBe(true);
    },
  );

  test('of several structures that one layer makes, and another reads, are all refitted', async () => {
    const b = new OnnxBuilder({ seed: 5 });
    const made = b.conv(b.input([1, 28, 28]), 16, 5);
    const [x, z] = b.nodes('Split', [made], { axis: 1 }, { outputs: 2, channels: 8 });
    const both = b.node('Concat', [b.relu(x), b.node('Tanh', [z])], { axis: 1 }, { channels: 16 });
    const y = b.relu(b.conv(both, 12, 3, { stride: 2 }));
    const bytes = b.output(b.gemm(b.flatten(b.globalAveragePool(y)), 10)).build();
    const opened = await openModel(bytes, { engine });
    const pair = opened.analysis.structures.filter(({ groups }) => groups === 8);
    const [[{ node, p }], ...others] = pair.map((it) => producersOf(opened, it));
    expect(others).toMatchObject([[{ node }]]);
    const options = { keep: 0.5, target: 'dense', search: 'greedy', correct: false } as const;
    const { written, report } = await prune(bytes, await fashion('calib', 96), options);
    expect(report.maxDifference).toBeLessThan(1e-3);
    const own = new Set(await weightsOf(opened.model, opened, node));
    const found = await weightsOf(written.model, opened, node);
    expect(found).toHaveLength(p * 8);
    expect(found.filter((value) => !own.has(value)).length).toBeGreaterThan(0.9 * found.length);
  });

  test('keep what they make besides', async () => {
    const b = new OnnxBuilder({ seed: 5 });
    const made = b.relu(b.conv(b.input([1, 28, 28]), 16, 5));
    const [x, other] = b.nodes('Split', [made], { axis: 1 }, { outputs: 2, channels: 8 });
    const both = b.node('Concat', [x, other], { axis: 1 }, { channels: 16 });
    const y = b.gemm(b.flatten(b.globalAveragePool(b.relu(b.conv(both, 12, 3)))), 5);
    const z = b.flatten(b.globalAveragePool(other));
    const bytes = b.output(b.node('Concat', [y, z], { axis: 1 }, { channels: 13 })).build();
    const opened = await openModel(bytes, { engine });
    const structure = opened.analysis.structures.find(({ groups }) => groups === 8)!;
    const [{ node, p }] = producersOf(opened, structure);
    const options = { keep: 0.5, target: 'dense', search: 'greedy', correct: false } as const;
    const { written, report } = await prune(bytes, await fashion('calib', 96), options);
    expect(report.maxDifference).toBeLessThan(1e-3);
    const { kept } = report.layers.find(({ groups }) => groups === 8)!;
    const before = await weightsOf(opened.model, opened, node);
    const after = await weightsOf(written.model, opened, node);
    expect(after).toHaveLength(p * 12);
    for (const [j, column] of [...kept, 8, 9, 10, 11, 12, 13, 14, 15].entries()) {
      const isSame = Array.from({ length: p }, (_, row) => after[row * 12 + j] === before[row * 16 + column]);
      expect(new Set(isSame), `column ${column}`).toEqual(new Set([column >= 8]));
    }
  });

  /** Attention of rows of an image by queries, keys and values (n, h, t, dh), and a mask by head, with two layers behind it. */
  function attending(of: (b: OnnxBuilder, x: string) => readonly string[]): Uint8Array {
    const b = new OnnxBuilder({ seed: 4 });
    const x = b.reshape(b.input([1, 28, 28]), [0, 28, 28], 28);
    const [queries, keys, values, mask] = of(b, x);
    const read = attend(b, queries, keys, values, (scores) => {
      const scaled = b.mul(scores, b.floats([0.1], []));
      return mask ? b.node('Where', [mask, scaled, b.floats([-1e9], [])]) : scaled;
    });
    const y = b.matmul(merge(b, read, 32), 12);
    return b.output(b.matmul(b.relu(y), 5)).build();
  }

  test.each<[string, (b: OnnxBuilder, x: string) => readonly string[], number[]]>([
    [
      'three layers',
      (b, x) => Array.from({ length: 3 }, () => split(b, b.matmul(x, 32), 4, 8)),
      [32, 32, 32],
    ],
    [
      'one layer',
      (b, x) => {
        const parts = b.nodes(
          'Split',
          [b.matmul(x, 96), b.integers([32, 32, 32])],
          { axis: 2 },
          { outputs: 3 },
        );
        return parts.map((part) => split(b, part, 4, 8));
      },
      [96],
    ],
    [
      'three layers beside masks and extents of samples',
      (b, rows) => {
        const x = b.node('Tanh', [rows]);
        const heads = concat(b, [size(b, x, 0), size(b, x, 1), b.integers([4, 8])]);
        const made = [0, 1, 2].map(() => b.node('Reshape', [b.matmul(x, 32), heads]));
        const isBright = b.node('Greater', [b.node('ReduceSum', [rows, b.integers([2])]), b.floats([-12])]);
        // of each head, as torch.nn has it
        const mask = b.node('Expand', [b.reshape(isBright, [0, 1, 1, 28]), b.integers([1, 4, 1, 1])]);
        return [...made.map((y) => transpose(b, y, 0, 2, 1, 3)), mask];
      },
      [32, 32, 32],
    ],
  ])('that are heads are refitted where %s make them', async (_, of, widths) => {
    const bytes = attending(of);
    const opened = await openModel(bytes, { engine });
    const structure = opened.analysis.structures.find(({ kind }) => kind === 'head')!;
    const maps = producersOf(opened, structure);
    expect(maps.map(({ m }) => m)).toEqual(widths);
    const options = { keep: 0.5, target: 'dense', search: 'greedy', correct: false } as const;
    const { written, report } = await prune(bytes, await fashion('calib', 96), options);
    expect(report.maxDifference).toBeLessThan(1e-3);
    for (const { node, m } of maps) {
      const own = new Set(await weightsOf(opened.model, opened, node));
      const found = await weightsOf(written.model, opened, node);
      expect(found).toHaveLength((28 * m) / 2);
      expect(found.filter((value) => !own.has(value)).length).toBeGreaterThan(0.9 * found.length);
    }
  });

  test('are found wherever samples are', async () => {
    const b = new OnnxBuilder();
    const neurons = (x: string, hidden: number) => b.matmul(b.relu(b.matmul(x, hidden)), 9);
    const turn = (x: string) => b.node('Transpose', [x], { perm: [1, 0, 2] });
    const rows = b.reshape(b.input([1, 28, 28]), [0, 28, 28], 28);
    const second = turn(neurons(rows, 12));
    const within = neurons(b.reshape(neurons(second, 16), [-1, 9], 9), 20);
    const again = turn(b.reshape(within, [28, -1, 9], 9));
    const opened = await openModel(b.output(neurons(again, 24)).build(), { engine });
    const found = opened.analysis.structures
      .filter(({ prunable }) => prunable)
      .map((it) => [it.groups, producersOf(opened, it).length]);
    expect(Object.fromEntries(found)).toMatchObject({ 12: 1, 16: 1, 20: 1, 24: 1 });
  });

  test('are refitted where positions come before samples, merged with them or not, as where there is one at a time', async () => {
    const build = (batch: 'n' | 1) => {
      const b = new OnnxBuilder({ seed: 5 });
      const x = b.matmul(b.reshape(b.feed('input', [batch, 1, 28, 28]), [0, 28, 28], 28), WIDTH);
      const last = (y: string) => transpose(b, b.reshape(y, [28, -1, WIDTH]), 1, 0, 2);
      const read = b.add(x, last(multihead(b, b.mul(x, b.floats([0.2])))));
      const neurons = b.relu(b.matmul(b.reshape(transpose(b, read, 1, 0, 2), [28, -1, WIDTH], WIDTH), 40));
      const y = b.add(read, transpose(b, b.matmul(neurons, WIDTH), 1, 0, 2));
      return b.output(b.matmul(b.reshape(y, [0, 28, WIDTH], WIDTH), 5)).build();
    };
    const data = await fashion('calib', 96);
    const target = { kind: 'residual', blend: 0.5 } as const;
    const options = { keep: 0.5, target, search: 'greedy', correct: false } as const;
    const [{ opened, written, report }, single] = [
      await prune(build('n'), data, options),
      await prune(build(1), data, options),
    ];
    expect(report.maxDifference).toBeLessThan(1e-3);
    const [heads, others] = opened.analysis.structures.filter(({ prunable }) => prunable);
    expect([heads.groups, others.groups]).toEqual([6, 40]);
    for (const { consumers } of [heads, others]) expect(consumers[0].residual).toBeDefined();
    const maps = [heads, others].flatMap((it) => producersOf(opened, it));
    expect(maps).toHaveLength(2);
    for (const { node } of maps) {
      const own = new Set(await weightsOf(opened.model, opened, node));
      const found = await weightsOf(written.model, opened, node);
      expect(found.filter((value) => !own.has(value)).length).toBeGreaterThan(0.9 * found.length);
      const alone = await weightsOf(single.written.model, opened, node);
      const apart = Math.hypot(...found.map((value, i) => value - alone[i]));
      expect(apart / Math.hypot(...found), node).toBeLessThan(0.01);
    }
  });

  test('that are heads are planned as the three layers that they mostly are', () => {
    const planned = (groupSize: number, keep: number) => ({
      name: '',
      maps: [{ p: 128, m: 64, groupSize, rows: 32 }],
      cuts: [{ keep, groups: 128 / groupSize, groupSizes: [groupSize] }],
    });
    const [neurons, heads] = [planned(1, 32), planned(16, 2)];
    expect(refitFlops({ ...heads, isHead: true }, 100)).toBe(2 * refitFlops(neurons, 100));
    expect(refitFlops(heads, 100)).toBe(0);
  });

  test('are refitted as far as all their weights that stay are 2²¹, and those that go beyond that keep theirs', () => {
    const of = (...sizes: readonly (readonly [p: number, m: number])[]) =>
      withinLimit(sizes.map(([p, m]) => ({ p, m })));
    expect(of([2 ** 11, 2 ** 10])).toHaveLength(1);
    expect(of([2 ** 11 + 1, 2 ** 10], [9, 8])).toEqual([{ p: 9, m: 8 }]);
    expect(of([2 ** 10, 2 ** 10], [2 ** 10, 2 ** 10 + 1], [2 ** 10, 2 ** 9])).toEqual([
      { p: 2 ** 10, m: 2 ** 10 },
      { p: 2 ** 10, m: 2 ** 9 },
    ]);
  });

  test('are refitted on inputs that hardly vary beside their mean', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = b.relu(b.conv(b.relu(b.conv(b.input([3, 8, 8]), 8, 1)), 8, 1));
    const bytes = b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5)).build();
    const same = Array.from({ length: 48 }, (_, i) => new Float32Array(3 * 8 * 8).fill(0.3 + 1e-7 * (i % 2)));
    const { report } = await prune(bytes, await iterableDataset(same, [3, 8, 8]), { target: 'residual' });
    expect(report.maxDifference).toBeLessThan(1e-3);
  });

  test('are refitted where rounding leaves a covariance that is not positive definite', async () => {
    const A = Float64Array.of(1, 0, 1.0005, 1);
    const inverse = await inverseWith(1e-6, A, 2, { session, signal: undefined });
    // Of A + 1e-3: with 1e-4 it has an eigenvalue below zero.
    const [d, e] = [1.001, 1.0005];
    const expected = [d, -e, -e, d].map((x) => x / (d * d - e * e));
    for (const [i, x] of inverse.entries()) expect(x / expected[i]).toBeCloseTo(1, 9);
    const wrong = inverseWith(1, Float64Array.of(1, 0, 100, 1), 2, { session, signal: undefined });
    await expect(wrong).rejects.toThrow(NotPositiveDefiniteError);
  });

  test('are refitted on no more samples than 125, and rows than 1600 for each input', () => {
    const layer = (rows: number, p: number) => ({ rows, p });
    expect(sampleStep([layer(4096, 144)], 500)).toBe(4);
    expect(sampleStep([layer(1024, 144)], 500)).toBe(2);
    expect(sampleStep([layer(1024, 144), layer(64, 576)], 500)).toBe(1);
    expect(sampleStep([layer(1024, 27)], 200)).toBe(1);
    expect(sampleStep([layer(1, 512)], 10_000)).toBe(1);
  });

  test.each<[string, (bytes: Uint8Array) => Uint8Array | Promise<Uint8Array>]>([
    ['float32', (bytes) => bytes],
    ['float16', (bytes) => toFloat16(bytes, ['n', 1, 28, 28])],
  ])(
    'are refitted to bring the outputs on unseen samples nearer to the dense network’s: %s',
    async (_, of) => {
      const bytes = await of(fixtureBytes('fashion-mobilenet-v2'));
      const calibration = await fashion('calib', 96);
      const unseen = await fashion('test', 200);
      const tensor = (data: Float32Array) => [{ dims: [unseen.size, data.length / unseen.size], data }];
      const dense = tensor(await outputs(bytes, unseen));
      const errors: number[] = [];
      for (const producers of [true, false]) {
        const options = { keep: 0.3, target: 'residual', search: 'greedy', producers } as const;
        const { written, report } = await prune(bytes, calibration, options);
        expect(report.maxDifference).toBeLessThan(5e-3);
        errors.push(outputError(dense, tensor(await outputs(written.model, unseen))));
      }
      expect(errors[0]).toBeLessThan(0.95 * errors[1]);
    },
  );

  test('are refitted again where that has gained much', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = b.maxPool(b.relu(b.conv(b.input([1, 28, 28]), 16, 5)), 4, 4);
    const bytes = b.output(b.conv(x, 6, 3)).build();
    const data = await fashion('calib', 96);
    const rounds = async (keep: number) => {
      let count = 0;
      const counting: Engine = {
        ...engine,
        load: async (model, external) => {
          if (Buffer.from(model).includes('of the gradient')) count++;
          return engine.load(model, external);
        },
      };
      const how = { target: 'dense', search: 'greedy', correct: false } as const;
      await prune(bytes, data, { ...how, keep, engine: counting });
      return count / 2; // one model with derivatives, one without
    };
    expect([await rounds(0.3), await rounds(0.95)]).toEqual([2, 1]);
  });

  test('keep their weights where the engine refuses the derivatives, and the report says so', async () => {
    const [bytes, data] = [fixtureBytes('fashion-mobilenet-v2'), await fashion('calib', 48)];
    const refusing = (error: Error): Engine => ({
      ...engine,
      load: async (model, external) => {
        if (Buffer.from(model).includes('of the gradient')) throw error;
        return engine.load(model, external);
      },
    });
    const options = { keep: 0.5, target: 'dense', search: 'greedy' } as const;
    const by = (error: Error) => prune(bytes, data, { ...options, engine: refusing(error) });
    const refused = await by(new UnsupportedModelError('engine: no'));
    const without = await prune(bytes, data, { ...options, producers: false });
    expect(refused.written.model).toEqual(without.written.model);
    const [first] = refused.report.layers;
    expect(refused.report.warnings).toContain(
      `structure "${first.name}": the layers that make its channels are as they were: engine: no`,
    );
    expect((await by(new InputError('engine: no'))).report.warnings).toEqual(refused.report.warnings);
    await expect(by(new InputError('no option "X"'))).rejects.toThrow('no option "X"'); // a fault of our own
  });

  test('keep their weights where the method, the recipe or too few samples say so', async () => {
    const opened = await openFixture('fashion-mobilenet-v2');
    const bytes = fixtureBytes('fashion-mobilenet-v2');
    const structure = opened.analysis.structures.find((it) => it.prunable)!;
    const [{ node }] = producersOf(opened, structure);
    const dense = await weightsOf(opened.model, opened, node);
    const kept = async (samples: number, options: Parameters<typeof prune>[2]) => {
      const { written } = await prune(bytes, await fashion('calib', samples), {
        ...{ keep: 0.5, target: 'dense', search: 'greedy', correct: false },
        ...options,
      });
      const own = new Set(dense);
      return (await weightsOf(written.model, opened, node)).every((value) => own.has(value));
    };
    expect(await kept(48, {})).toBe(false);
    expect(await kept(48, { producers: false })).toBe(true);
    expect(await kept(48, { method: 'magnitude-refit', search: undefined })).toBe(true);
    expect(await kept(3, {})).toBe(true);
  });
});
