// Heads of attention that lose features: how they are turned, and whole runs.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { blobFolder, memoryOutput } from '../../src/checkpoint/index.ts';
import { openFolder } from '../../src/disk/folder.ts';
import {
  fromFloat32,
  type Model,
  madeOf,
  type Structure,
  toFloat64,
  writeModel,
} from '../../src/graph/index.ts';
import { couldNarrow, openLanguageModel, openModel, prune, type Warning } from '../../src/pipeline/index.ts';
import { eigen } from '../../src/pipeline/pass/eigen.ts';
import type { Frontier, Values } from '../../src/pipeline/pass/frontier.ts';
import { FeatureMoments } from '../../src/pipeline/pass/narrow.ts';
import { ENCODERS, encoderWeights } from '../architectures/encoders.ts';
import { tinyWeights, uniformSizes, VARIANTS } from '../architectures/tiny.ts';
import {
  attend,
  CASES,
  concat,
  linear,
  merge,
  project,
  SIZE,
  split,
  WIDTH,
} from '../graph/attention-graphs.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { difference, engine, fashion, folderOf, noise, outputs, session, texts } from './fixtures.ts';

describe('eigen', () => {
  const N = 12;
  const next = random(5);
  const A = new Float64Array(N * N);
  for (let i = 0; i < N; i++)
    for (let j = 0; j <= i; j++) {
      A[i * N + j] = next() - 0.5;
      A[j * N + i] = A[i * N + j];
    }

  test('gives vectors that stand on each other, with values that fall, and all of the matrix', () => {
    const { values, vectors } = eigen(A, N);
    expect([...values]).toEqual([...values].sort((a, b) => b - a));
    for (let i = 0; i < N; i++)
      for (let j = 0; j < N; j++) {
        let [dot, sum] = [0, 0];
        for (let k = 0; k < N; k++) {
          dot += vectors[k * N + i] * vectors[k * N + j];
          sum += vectors[i * N + k] * values[k] * vectors[j * N + k];
        }
        expect(dot).toBeCloseTo(i === j ? 1 : 0, 13);
        expect(sum).toBeCloseTo(A[i * N + j], 13);
      }
  });

  test('of nothing is nothing', () => {
    expect([...eigen(new Float64Array(9), 3).values]).toEqual([0, 0, 0]);
  });
});

/** Features that the heads of a test have of their own. */
const RANK = 4;
const TOKENS = 11;

/** Makes what the heads' features hold a mixture of a few, in all layers that make them. */
function mixFeatures(model: Model, { slices, features, groups }: Structure): void {
  const next = random(9);
  const [from, to] = [groups * RANK, RANK * groups].map((length) =>
    Float64Array.from({ length }, () => next() - 0.5),
  );
  const mix = (values: Float64Array, at: (feature: number) => number) => {
    const old = Array.from({ length: groups }, (_, i) => values[at(i)]);
    for (let j = 0; j < groups; j++) {
      let sum = 0;
      for (let i = 0; i < groups; i++)
        for (let r = 0; r < RANK; r++) sum += old[i] * from[i * RANK + r] * to[r * groups + j];
      values[at(j)] = sum;
    }
  };
  const makers = new Set(madeOf(features!).map(({ node }) => node));
  const isMade = ({ node }: { readonly node: string }) =>
    makers.has(node) || model.node(node)!.input.some((it) => makers.has(model.producer(it)?.name ?? ''));
  for (const { tensor, axis, offset } of slices.filter(isMade)) {
    const old = model.tensors.get(tensor)!;
    const values = toFloat64(old);
    const width = old.dims.at(-1)!;
    const rows = axis === old.dims.length - 1 ? values.length / width : 1;
    if (axis === old.dims.length - 1)
      for (let row = 0; row < rows; row++) mix(values, (i) => row * width + offset + i);
    else for (let column = 0; column < width; column++) mix(values, (i) => (offset + i) * width + column);
    model.tensors.set(tensor, fromFloat32(values, old.dims, old));
  }
}

const open = (bytes: Uint8Array) => openModel(bytes, { engine, size: [TOKENS], heads: 'narrow' });

describe('features that the others of a head can make up for', () => {
  const EXACT = { target: 'self', correct: false, producers: false, damping: 0 } as const;

  test.each([
    'heads with biases',
    'queries and keys scaled by what is computed of their size',
    'key-value groups that constant shapes repeat',
    'key-value groups that broadcast',
    'key-value groups that broadcast, each to query heads that lie apart',
    'key-value groups with rotary embedding',
    'heads merged with the batch',
    'a mask and a scale of their own for each head',
    'a fused projection, split in three behind a Gemm',
    'a fused projection, head by head',
    'a fused projection reshaped to three of all heads, as vision transformers have it',
    'torch.nn.MultiheadAttention',
    'products written as Einsum',
  ])('go without a trace: %s', async (name) => {
    const { build, opset } = CASES[name];
    const { source, analysis } = await open(build(new OnnxBuilder({ seed: 3, opset })).build());
    const whole = source.clone();
    const narrow = analysis.structures.filter((it) => it.features);
    for (const structure of narrow) mixFeatures(whole, structure);
    const dense = writeModel(whole).model;
    const model = await open(dense);
    const calibration = await noise(48, [TOKENS, WIDTH]);
    const layers = Object.fromEntries(narrow.map(({ name }) => [name, RANK / SIZE]));
    const keep = { all: 1, layers };
    const { report, written } = await prune(model, { engine, session, calibration, keep, ...EXACT });
    expect(report.layers.map(({ kept }) => kept)).toEqual(narrow.map(() => [0, 1, 2, 3]));
    expect(report.parameters.after).toBeLessThan(report.parameters.before);
    const unseen = await noise(6, [TOKENS, WIDTH], 8);
    const [before, after] = [await outputs(dense, unseen), await outputs(written.model, unseen)];
    expect(difference(before, after)).toBeLessThan(1e-3);
    // One more cannot go, of queries and keys as little as of values.
    for (const { name } of narrow) {
      const less = { all: 1, layers: { ...layers, [name]: (RANK - 1) / SIZE } };
      const { written: small } = await prune(model, { engine, session, calibration, keep: less, ...EXACT });
      expect(difference(before, await outputs(small.model, unseen))).toBeGreaterThan(1e-2);
    }
  });
});

test('of more rows than are needed every second is looked at, from one batch to the next', async () => {
  const { build, opset } = CASES['heads with biases'];
  const opened = await open(build(new OnnxBuilder({ seed: 3, opset })).build());
  const structures = opened.analysis.structures.filter((it) => it.features);
  const [BATCHES, ENOUGH] = [4, 1024 * SIZE];
  const moments = new FeatureMoments(opened, structures, Math.ceil((2 * ENOUGH) / TOKENS));
  const tensor = { dims: [1, TOKENS, WIDTH], data: new Float32Array(TOKENS * WIDTH).fill(1) };
  const values = new Proxy({}, { get: () => tensor });
  const batch = { dense: {}, pruned: values, batch: 1, count: 1 } as unknown as Values;
  const run = async function* () {
    for (let i = 0; i < BATCHES; i++) yield batch;
  };
  await moments.addAll({ run } as unknown as Frontier);
  for (const { rows, sums } of moments.read()) {
    expect(rows).toBe((BATCHES * TOKENS) / 2);
    expect(new Set(sums)).toEqual(new Set([rows]));
  }
});

test.each([
  ['opt', { keyDim: 4, valueDim: 4 }],
  ['gpt2', { keyDim: 4, valueDim: 4 }],
  ['bloom', { keyDim: 4, valueDim: 4 }],
  ['gpt_bigcode', { keyDim: 4, valueDim: 4 }],
  ['llama', { valueDim: 4 }],
  ['falcon, groups', { valueDim: 4 }],
  ['gemma2', { valueDim: 3 }],
  ['mixtral', { valueDim: 4 }],
])('%s: every head has half of its features, and the folder says so', async (name, features) => {
  const { config } = VARIANTS[name];
  const { folder } = await folderOf(config, tinyWeights(config, uniformSizes(config)));
  const opened = await openLanguageModel(folder, { heads: 'narrow' });
  const output = memoryOutput('narrow');
  const how = { engine, session, keep: 0.5, search: 'greedy', onnx: 'beside' } as const;
  const { report } = await prune(opened, { ...how, calibration: texts(40, 1), output });
  // The masked network, the written folder and model.onnx give the same.
  expect(report.maxDifference).toBeLessThan(1e-4);
  const again = await openLanguageModel(blobFolder(output.files()));
  const isFeatures = report.layers.map(({ kind, isFeatures }) => [kind, isFeatures]);
  expect(new Set(isFeatures.map(String))).toEqual(new Set(['head,true', 'channel,']));
  const { heads, kvHeads } = uniformSizes(config)[0];
  expect(again.language.sizes[0]).toMatchObject({ heads, kvHeads, ...features });
});

test.each(['mpnet', 't5'])('%s: heads that a table has positions for become narrow', async (name) => {
  const config = ENCODERS[name];
  const { folder } = await folderOf(config, encoderWeights(config));
  const opened = await openLanguageModel(folder, { heads: 'narrow' });
  const output = memoryOutput('narrow');
  const how = { engine, session, keep: 0.5, search: 'greedy', onnx: 'beside' } as const;
  const { report } = await prune(opened, { ...how, calibration: texts(40, 1), output });
  expect(report.maxDifference).toBeLessThan(1e-4);
  expect(report.layers.filter(({ isFeatures }) => isFeatures)).toHaveLength(4);
  const again = await openLanguageModel(blobFolder(output.files()));
  expect(again.language.sizes[0]).toMatchObject({ heads: 4, kvHeads: 4, keyDim: 4, valueDim: 4 });
});

test('heads that bounds keep from becoming narrow go whole, and the report says so', async () => {
  const { config } = VARIANTS['olmo, bounds of queries, keys and values, biases, tied'];
  const { folder } = await folderOf(config, tinyWeights(config, uniformSizes(config)));
  const run = async (heads: 'fewer' | 'narrow') => {
    const opened = await openLanguageModel(folder, { heads });
    const output = memoryOutput(heads);
    const how = { engine, session, keep: 0.5, search: 'greedy' } as const;
    const { report } = await prune(opened, { ...how, calibration: texts(40, 1), output });
    const { language } = await openLanguageModel(blobFolder(output.files()));
    return { report, sizes: language.sizes };
  };
  const [fewer, narrow] = [await run('fewer'), await run('narrow')];
  expect(narrow.sizes).toEqual(fewer.sizes);
  expect(narrow.report.layers).toEqual(fewer.report.layers);
  const more = narrow.report.warnings.filter((text) => !fewer.report.warnings.includes(text));
  expect(more).toEqual([
    'whole heads go of "0.heads", "1.heads", and no features: Clip comes between layer and product; what would help: an export without it there',
  ]);
});

test('in one file attentions lose features, and whole heads where they cannot', async () => {
  const b = new OnnxBuilder({ seed: 3, opset: 13 });
  const x = b.sequence(WIDTH);
  const heads = (of: string) => [0, 1, 2].map(() => split(b, linear(b, of, WIDTH), 6));
  const [q, k, v] = heads(x);
  const y = b.add(x, linear(b, merge(b, attend(b, q, k, v), WIDTH), WIDTH));
  const [a, c, d] = heads(y).map((of) => b.nodes('Split', [of], { axis: 3 }, { outputs: 2 }));
  const halves = [0, 1].map((i) => attend(b, a[i], c[i], d[i]));
  project(b, merge(b, concat(b, halves, 3), WIDTH));
  const model = await open(b.build());
  const calibration = await noise(48, [TOKENS, WIDTH]);
  const keep = { all: 1, heads: 0.5 };
  const told: string[] = [];
  const onWarning = ({ kind, text }: Warning) => kind === 'whole-heads' && told.push(text);
  const { report } = await prune(model, { engine, session, calibration, keep, onWarning });
  const found = report.layers.map(({ groups, kept, isFeatures }) => [groups, kept.length, isFeatures]);
  expect(found).toEqual([
    [SIZE, SIZE / 2, true],
    [SIZE, SIZE / 2, true],
    [6, 3, undefined],
  ]);
  const { name } = report.layers.at(-1)!;
  expect(report.warnings.filter((text) => text.startsWith('whole heads'))).toEqual(told);
  expect(told).toEqual([
    `whole heads go of "${name}", and no features: Concat comes between product and layer; what would help: an export without it there`,
  ]);
});

test('of a trained network more is kept than with half of the heads, at the same size', async () => {
  const folder = await openFolder(join(import.meta.dirname, '../fixtures/fashion-vit'));
  const [calibration, evaluation] = [await fashion('calib', 128), await fashion('test', 250)];
  const of = { fewer: ['heads'], narrow: ['keys', 'values'] };
  const pruned = async (heads: 'fewer' | 'narrow') => {
    const opened = await openLanguageModel(folder, { heads });
    const keep = {
      all: 1,
      layers: Object.fromEntries(
        [0, 1, 2, 3].flatMap((block) => of[heads].map((it) => [`${block}.${it}`, 0.25])),
      ),
    };
    const how = { engine, session, calibration, evaluation, keep, target: 'residual' } as const;
    return (await prune(opened, { ...how, output: memoryOutput('vit') })).report;
  };
  const [fewer, narrow] = [await pruned('fewer'), await pruned('narrow')];
  await folder.close();
  expect(narrow.parameters.after).toBe(fewer.parameters.after);
  expect(narrow.metric!.after).toBeGreaterThan(fewer.metric!.after);
});

test('features of queries and keys go alone, and those of values', async () => {
  const { config } = VARIANTS.gpt2;
  const { folder } = await folderOf(config, tinyWeights(config, uniformSizes(config)));
  const opened = await openLanguageModel(folder, { heads: 'narrow' });
  const output = memoryOutput('narrow');
  const keep = { all: 1, layers: { '0.keys': 0.375, '1.values': 0.625 } };
  const how = { engine, session, keep, search: 'greedy', onnx: 'beside' } as const;
  const { report } = await prune(opened, { ...how, calibration: texts(40, 1), output });
  expect(report.maxDifference).toBeLessThan(1e-4);
  expect(report.layers.map(({ name, kept }) => [name, kept.length])).toEqual([
    ['0.keys', 3],
    ['1.values', 5],
  ]);
  const [keys] = report.layers;
  expect(keys.curve![8]).toBe(0);
  expect(keys.relativeError).toBe(keys.curve![3]);
  const { language } = await openLanguageModel(blobFolder(output.files()));
  const [first, second] = language.sizes;
  expect([first.keyDim, first.valueDim, second.keyDim, second.valueDim]).toEqual([
    3,
    undefined,
    undefined,
    5,
  ]);
});

test('a budget divides itself among features and neurons', async () => {
  const { config } = VARIANTS.opt;
  const { folder } = await folderOf(config, tinyWeights(config, uniformSizes(config)));
  const opened = await openLanguageModel(folder, { heads: 'narrow' });
  const output = memoryOutput('narrow');
  const how = { engine, session, params: 0.7, effort: 'low', round: 1 } as const;
  const { report } = await prune(opened, { ...how, calibration: texts(40, 1), output });
  expect(report.maxDifference).toBeLessThan(1e-4);
  const again = await openLanguageModel(blobFolder(output.files()));
  const groups = report.layers.filter(({ kind }) => kind === 'head').map((it) => it.groups);
  expect(new Set(groups)).toEqual(new Set([8]));
  expect(again.language.sizes.every(({ heads }) => heads === 4)).toBe(true);
  expect(report.parameters.after).toBeLessThanOrEqual(0.7 * report.parameters.before);
});

describe('narrow heads are refused', () => {
  test.each(['magnitude', 'ziplm', 'magnitude-refit'] as const)('with %s', async (method) => {
    const { config } = VARIANTS.opt;
    const { folder } = await folderOf(config, tinyWeights(config, uniformSizes(config)));
    const opened = await openLanguageModel(folder, { heads: 'narrow' });
    const how = { engine, session, keep: 0.5, method, output: memoryOutput('narrow') };
    await expect(prune(opened, { ...how, calibration: texts(8, 1) })).rejects.toThrow(
      /only `method: 'osscar'` turns features of heads/,
    );
  });

  test('where no attention has any', async () => {
    const bytes = new Uint8Array(readFileSync(join(import.meta.dirname, '../fixtures/fashion-resnet.onnx')));
    const model = await openModel(bytes, { engine, name: 'resnet.onnx', heads: 'narrow' });
    const how = { engine, session, keep: 0.5, calibration: await fashion('calib', 8) };
    await expect(prune(model, how)).rejects.toThrow(
      /^resnet.onnx: `heads: 'narrow'`: no attention of it can lose features/,
    );
  });

  test('as what stock loaders read', async () => {
    const { config } = VARIANTS.llama;
    const { folder } = await folderOf(config, tinyWeights(config, uniformSizes(config)));
    const opened = await openLanguageModel(folder, { heads: 'narrow' });
    const how = { engine, session, keep: 0.5, loadable: true, output: memoryOutput('narrow') };
    await expect(prune(opened, { ...how, calibration: texts(8, 1) })).rejects.toThrow(
      'config.json has no field for narrower heads',
    );
  });
});

test('heads that are narrow where they can be could not be narrower, though others lose whole heads', async () => {
  const { build, opset } = CASES['heads with biases'];
  const bytes = build(new OnnxBuilder({ seed: 3, opset })).build();
  const opened = await openModel(bytes, { engine, size: [TOKENS, WIDTH] });
  const asked = ['fewer', 'narrow'] as const;
  expect(asked.map((heads) => couldNarrow({ ...opened, heads }))).toEqual([true, false]);
});
