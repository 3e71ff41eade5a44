// Networks that are fitted as a whole once they are pruned, to what the dense ones give.

import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { linearMaps, readModel, toFloat32, weightTensors } from '../../src/graph/index.ts';
import { NodeProtoSchema } from '../../src/graph/onnx_pb.ts';
import {
  feedsDataset,
  memoryStore,
  openModel,
  type PruneOptions,
  prune as pruneOpened,
} from '../../src/pipeline/index.ts';
import { distillBytes, imageStep } from '../../src/pipeline/pass/distill.ts';
import { once } from '../support/once.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { edited, toFloat16 } from './edit.ts';
import { engine, fashion, fixtureBytes, noise, outputs, prune, session } from './fixtures.ts';

const HOW = { keep: 0.3, target: 'dense', search: 'greedy', producers: false } as const;

/** Mean KL(softmax a ‖ softmax b) of rows of scores. */
function divergence(a: Float32Array, b: Float32Array, classes: number): number {
  const logs = (row: Float32Array) => {
    const total = Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0));
    return row.map((value) => value - total);
  };
  let sum = 0;
  for (let at = 0; at < a.length; at += classes) {
    const [p, q] = [a, b].map((it) => logs(it.subarray(at, at + classes)));
    sum += p.reduce((total, log, i) => total + Math.exp(log) * (log - q[i]), 0);
  }
  return sum / (a.length / classes);
}

const distance = (a: Float32Array, b: Float32Array) =>
  Math.hypot(...a.map((value, i) => value - b[i])) / Math.hypot(...a);

describe('a classifier', () => {
  const network = fixtureBytes('fashion-mobilenet');
  const pruned = async (options: Partial<PruneOptions>) => {
    const { written, report } = await prune(network, await fashion('calib', 96), { ...HOW, ...options });
    const images = await fashion('test', 128);
    const [dense, own] = await Promise.all([network, written.model].map((it) => outputs(it, images)));
    return { report, model: written.model, left: divergence(dense, own, 10) };
  };
  const plain = once(() => pruned({}));
  const store = memoryStore();
  const distilled = once(() => pruned({ distill: 6, store }));

  test('comes nearer to the scores of the dense network, on other images too', async () => {
    const [{ left, report }, before] = [await distilled(), await plain()];
    expect(report.distilled!.left).toBeLessThan(0.95);
    expect(left).toBeLessThan(0.95 * before.left);
    expect(report.maxDifference).toBeLessThan(1e-4);
    expect(report.layers.map(({ kept }) => kept)).toEqual(before.report.layers.map(({ kept }) => kept));
    expect(report.recipe.distill).toBe(6);
    expect(before.report.distilled).toBeUndefined();
    expect(report.stages.map(({ stage }) => stage)).toEqual([
      'measuring',
      'target',
      'pruning',
      'distilling',
      'proving',
    ]);
  });

  test('is not fitted again where that was found before', async () => {
    const { model } = await distilled();
    const found = await store.list('distilled/');
    const again = await pruned({ distill: 6, store });
    expect(again.model).toEqual(model);
    expect(await store.list('distilled/')).toEqual(found);
    expect(found).toHaveLength(1);
  });

  test('is compared by what its probabilities are made of', async () => {
    const probable = await edited(network, (model) => {
      const [{ name }] = model.outputs;
      model.producer(name)!.output = ['scores'];
      const node = { name: 'softmax', opType: 'Softmax', input: ['scores'], output: [name] };
      model.nodes.push(create(NodeProtoSchema, node));
      model.edited();
    });
    const { report } = await prune(probable, await fashion('calib', 96), { ...HOW, distill: 6 });
    expect(report.distilled!.left).toBeCloseTo((await distilled()).report.distilled!.left, 4);
  });

  test('is fitted in float32 where its weights are float16, and written as it was', async () => {
    const half = await toFloat16(network, ['n', 1, 28, 28]);
    const images = await fashion('calib', 96);
    const { written, report } = await prune(half, images, { ...HOW, distill: 4 });
    expect(report.distilled!.left).toBeLessThan(0.95);
    const { tensors } = await readModel(written.model);
    expect(
      new Set([...tensors.values()].map(({ type }) => type).filter((it) => it.startsWith('float'))),
    ).toEqual(new Set(['float16']));
  });

  test('stays as it is with too few samples to hold some out', async () => {
    const images = await fashion('calib', 3);
    const { report } = await prune(network, images, { ...HOW, distill: 4 });
    expect(report.distilled).toBeUndefined();
    expect(report.warnings).toContain(
      'not fitted as a whole (`distill`): samples are too few to hold some out',
    );
  });
});

test.each([
  [500, 1e6, 1],
  [500, 2 ** 28, 1],
  [500, 3 * 2 ** 28, 3],
  [16, 9 * 2 ** 28, 4],
  [4, 9 * 2 ** 28, 1],
])('of %d images of %d bytes every %d. is looked at, of four at least', (images, bytes, step) => {
  expect(imageStep(images, bytes)).toBe(step);
});

describe('a network without classes', () => {
  /** Two layers, something between, and two more. */
  const built = (between: (b: OnnxBuilder, x: string) => string) => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = b.relu(b.conv(b.relu(b.conv(b.input([3, 8, 8]), 12, 3)), 10, 3));
    return b.output(b.conv(b.relu(b.conv(between(b, x), 12, 3)), 4, 1)).build();
  };
  const changedOf = async (bytes: Uint8Array) => {
    const data = await noise(64, [3, 8, 8]);
    const options = { ...HOW, keep: 0.5, correct: false };
    const { written: before } = await prune(bytes, data, options);
    const { written, report } = await prune(bytes, data, { ...options, distill: 8 });
    const [dense, a, b] = await Promise.all(
      [bytes, before.model, written.model].map(async (it) => outputs(it, await noise(32, [3, 8, 8], 7))),
    );
    const { model, info } = await openModel(written.model, { engine });
    const old = await readModel(before.model);
    const changed = linearMaps(model, info.shapes).map((map) => {
      const [own, was] = [model, old].map((it) => toFloat32(weightTensors(it, map).weight));
      return own.some((value, i) => value !== was[i]);
    });
    return { changed, report, gained: distance(dense, b) / distance(dense, a) };
  };

  test('comes nearer to the outputs of the dense one', async () => {
    const { changed, report, gained } = await changedOf(built((b, x) => b.relu(x)));
    expect(changed).toEqual([true, true, true, true]);
    expect(gained).toBeLessThan(0.95);
    expect(report.distilled!.left).toBeLessThan(0.9);
  });

  test('of which outputs take much room, the dense one is run once, and from then on what is behind what is kept', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = b.conv(b.input([1, 256, 256]), 4, 1);
    const y = b.add(x, b.conv(b.relu(b.conv(x, 12, 1)), 4, 1));
    const bytes = b.output(b.conv(b.relu(y), 16, 1), 'scores').build();
    const runs: string[] = [];
    const watched: typeof engine = {
      ...engine,
      load: async (...given) => {
        const own = await engine.load(...given);
        const names = own.inputs.map(({ name }) => name).join();
        const run: typeof own.run = (feeds, fetches) => {
          if (fetches?.join() === 'scores') runs.push(names);
          return own.run(feeds, fetches);
        };
        return { inputs: own.inputs, outputs: own.outputs, run, release: () => own.release() };
      },
    };
    const opened = await openModel(bytes, { engine: watched });
    const calibration = await noise(65, [1, 256, 256]); // 260 MiB of outputs
    const options = { ...HOW, keep: 0.5, correct: false, distill: 3 };
    const { report } = await pruneOpened(opened, { engine: watched, session, calibration, ...options });
    expect(report.distilled!.left).toBeLessThan(1);
    const behind = runs.filter((names) => names !== 'input');
    expect(behind.length).toBeGreaterThan(0);
    expect(new Set(behind).size).toBe(1);
  });

  test('is fitted behind what has no derivative', async () => {
    const { changed, gained } = await changedOf(
      built((b, x) => b.node('LpPool', [x], { kernel_shape: [1, 1] }, { channels: 10 })),
    );
    expect(changed).toEqual([false, false, true, true]);
    expect(gained).toBeLessThan(1);
  });

  test('takes memory for the weights that move, of which it remembers steps, and for copies of the others', () => {
    const bytes = (before: number, after: number, outside: number) =>
      distillBytes({ parameters: { before, after }, weights: { largest: 0, outside, files: 0 } });
    const M = 2 ** 20;
    const few = bytes(0, 0, 0);
    expect(bytes(2 * M, M, 0) - few).toBe(M * (3 * 16 + 8 * 40)); // of steps 16 pairs and 8 vectors, double
    expect(bytes(80 * M, 64 * M, 32 * M) - few).toBe(M * (144 * 16 + 32 * 4 * 16)); // 4 pairs, single
  });

  test('stays as it is where nothing has one, and says so', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = b.conv(b.relu(b.conv(b.input([3, 8, 8]), 12, 3)), 4, 3);
    const bytes = b.output(b.node('LpPool', [x], { kernel_shape: [1, 1] }, { channels: 4 })).build();
    const { changed, report } = await changedOf(bytes);
    expect(changed).toEqual([false, false]);
    expect(report.warnings).toContain(
      'not fitted as a whole (`distill`): no derivative of its outputs by its layers is known',
    );
  });

  test('has samples of several sizes', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const x = b.relu(b.matmul(b.relu(b.matmul(b.sequence(6), 16)), 12));
    const bytes = b.output(b.matmul(x, 4)).build();
    const sample = (rows: number, seed: number) => {
      const data = Float32Array.from({ length: rows * 6 }, (_, i) => Math.sin(seed * 17 + i * 1.3));
      return { inputs: { input: { dims: [rows, 6], data } } };
    };
    const opened = await openModel(bytes, { engine, size: [6] });
    const samples = Array.from({ length: 24 }, (_, i) => sample(3 + (i % 4), i));
    const calibration = await feedsDataset(samples, opened.input);
    expect(calibration.smallest).toEqual([3, 6]);
    const options = { ...HOW, keep: 0.5, correct: false, distill: 8 };
    const { report } = await pruneOpened(opened, { engine, session, calibration, ...options });
    expect(report.distilled!.left).toBeLessThan(0.95);
  });
});
