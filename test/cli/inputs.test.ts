// What a user has beside images: texts for an encoder's folder, arrays by input name, sizes that differ.

import { copyFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encode as encodePng } from 'fast-png';
import { describe, expect, test } from 'vitest';
import { elements } from '../../src/graph/index.ts';
import { randomValue, run } from '../graph/running.ts';
import { byRate } from '../support/branches.ts';
import { encoder } from '../support/encoder.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { writeZip } from '../support/zip.ts';
import { npy } from './models.ts';
import { fixture, listing, osscarJson, refused, temporaryFolder } from './osscar.ts';

const folder = temporaryFolder();
const QUICK = ['--keep', '0.5', '--target', 'dense', '--search', 'greedy'];

/** A folder in the layout of transformers.js. */
function transformersFolder(): string {
  const path = join(folder, 'encoder');
  mkdirSync(join(path, 'onnx'), { recursive: true });
  writeFileSync(join(path, 'config.json'), JSON.stringify({ max_position_embeddings: 24 }));
  copyFileSync(fixture('opt-kjv/tokenizer.json'), join(path, 'tokenizer.json'));
  writeFileSync(join(path, 'onnx', 'model.onnx'), encoder({ vocabulary: 1024 }));
  writeFileSync(join(path, 'onnx', 'model_quantized.onnx'), 'another one');
  return path;
}

test('an encoder in a folder of transformers.js goes to another such folder, by lines of text', async () => {
  const out = join(folder, 'smaller');
  const lines = readFileSync(fixture('text/kjv-train.txt'), 'utf8').split('\n').slice(0, 20);
  const text = join(folder, 'lines.jsonl');
  writeFileSync(text, lines.map((line) => JSON.stringify({ text: line })).join('\n'));
  const report = await osscarJson('prune', transformersFolder(), '--calibrate', text, '-o', out, ...QUICK);
  expect(report).toMatchObject({ samples: 20, sample: [24], quality: { data: 'calibration', samples: 20 } });
  expect(report.metric).toBeUndefined();
  expect(report.maxDifference).toBeLessThan(1e-5);
  expect(listing(out)).toEqual(['README.md', 'config.json', 'onnx', 'tokenizer.json']);
  expect(listing(join(out, 'onnx'))).toEqual(['model.onnx']);
  const { parameters } = await osscarJson('inspect', out);
  expect(parameters).toBe(report.parameters.after);
  // A variant alone is what there is.
  const [model, variant, other] = ['', '_quantized', '_q4'].map((it) => join(out, `onnx/model${it}.onnx`));
  renameSync(model, variant);
  expect((await osscarJson('inspect', out)).parameters).toBe(parameters);
  copyFileSync(variant, other);
  await refused(['inspect', out], 'several models (model_q4.onnx, model_quantized.onnx); give the file');
});

test('arrays by input name come from an .npz, and what is the same for all from a flag', async () => {
  const b = new OnnxBuilder();
  const [x, y] = ['left', 'right'].map((name) => b.feed(name, ['n', 6]));
  const scale = b.feed('scale', [1]);
  const sum = b.mul(
    b.node('Gemm', [x, b.weight([6, 12], 1)], {}, { channels: 12 }),
    b.mul(b.node('Gemm', [y, b.weight([6, 12], 1)], {}, { channels: 12 }), scale),
  );
  const model = join(folder, 'two.onnx');
  writeFileSync(model, b.output(b.gemm(b.relu(sum), 3)).build());
  const next = random(4);
  const array = () => npy([16, 6], Float32Array.from({ length: 96 }, next));
  const data = join(folder, 'two.npz');
  writeFileSync(
    data,
    writeZip([
      { name: 'left.npy', bytes: array(), deflate: true },
      { name: 'right.npy', bytes: array() },
    ]),
  );
  const small = join(folder, 'two-small.onnx');
  const flags = ['--calibrate', data, '-o', small, ...QUICK];
  await refused(['prune', model, ...flags], /no values for the input "scale", and no convention/);
  const report = await osscarJson('prune', model, ...flags, '--input', 'scale=0.5');
  expect(report.samples).toBe(16);
  expect(report.maxDifference).toBeLessThan(1e-5);
});

test('a cache that the data gives has its extents of the data', async () => {
  const b = new OnnxBuilder();
  const x = b.node('Gemm', [b.feed('input', ['n', 6]), b.weight([6, 12], 1)], {}, { channels: 12 });
  const keys = b.feed('past_key_values.0.encoder.key', ['n', 's', 6]);
  const mean = b.node('ReduceMean', [keys], { axes: [1], keepdims: 0 }, { channels: 6 });
  const model = join(folder, 'cache.onnx');
  writeFileSync(model, b.output(b.gemm(b.relu(b.add(x, b.gemm(mean, 12))), 3)).build());
  const next = random(4);
  const array = (...dims: number[]) => npy(dims, Float32Array.from({ length: elements(dims) }, next));
  const data = join(folder, 'cache.npz');
  const keysOf = { name: 'past_key_values.0.encoder.key.npy', bytes: array(16, 5, 6) };
  writeFileSync(data, writeZip([{ name: 'input.npy', bytes: array(16, 6) }, keysOf]));
  const out = join(folder, 'cache-out.onnx');
  const report = await osscarJson('prune', model, '--calibrate', data, '-o', out, ...QUICK);
  expect(report.maxDifference).toBeLessThan(1e-5);
});

test('a model of images and texts is inspected as it is, and is given texts of the length of the data', async () => {
  const b = new OnnxBuilder();
  const pixels = b.feed('image', ['i', 3, 8, 8]);
  const convolved = b.node('Conv', [pixels, b.weight([8, 3, 3, 3], 1)], {}, { channels: 8 });
  const image = b.flatten(b.globalAveragePool(b.relu(convolved)));
  const ids = b.feed('input_ids', ['t', 'length'], 'int64');
  const text = b.node('Gather', [b.weight([16, 8], 1), ids], {}, { channels: 8 });
  const hidden = b.node('ReduceMean', [b.relu(b.matmul(text, 12))], { axes: [1], keepdims: 0 });
  const model = join(folder, 'towers.onnx');
  writeFileSync(model, b.output(b.add(b.gemm(image, 4), b.gemm(hidden, 4))).build());
  expect((await osscarJson('inspect', model)).structures).toHaveLength(4);
  const next = random(4);
  const array = (dims: number[], draw: () => number) =>
    npy(dims, Float32Array.from({ length: dims.reduce((a, c) => a * c, 1) }, draw));
  const images = array([16, 3, 8, 8], next);
  const texts = array([16, 5], () => Math.floor(16 * next()));
  const data = join(folder, 'towers.npz');
  writeFileSync(
    data,
    writeZip([
      { name: 'image.npy', bytes: images },
      { name: 'input_ids.npy', bytes: texts },
    ]),
  );
  const small = join(folder, 'towers-small.onnx');
  const report = await osscarJson('prune', model, '--calibrate', data, '-o', small, ...QUICK);
  expect(report.maxDifference).toBeLessThan(1e-5);
});

describe('images of different sizes', () => {
  const b = new OnnxBuilder();
  const x = b.node(
    'Conv',
    [b.feed('image', ['n', 1, 'h', 'w']), b.weight([8, 1, 3, 3], 1)],
    { pads: [1, 1, 1, 1] },
    { channels: 8 },
  );
  const bytes = b.output(b.conv(b.relu(x), 2, 3)).build();

  test('keep them, in multiples', async () => {
    const [model, images] = [join(folder, 'open.onnx'), join(folder, 'images')];
    writeFileSync(model, bytes);
    mkdirSync(images);
    const next = random(6);
    for (let i = 0; i < 12; i++) {
      const [width, height] = i % 2 === 0 ? [17, 9] : [8, 15];
      const data = Uint8Array.from({ length: width * height }, () => 255 * next());
      writeFileSync(join(images, `${i}.png`), encodePng({ width, height, data, channels: 1 }));
    }
    const out = join(folder, 'open-small.onnx');
    const flags = ['--calibrate', images, '--multiple', '8', '-o', out, ...QUICK];
    const report = await osscarJson('prune', model, ...flags);
    expect(report.sample).toEqual([1, 16, 16]);
    expect(report.maxDifference).toBeLessThan(1e-5);
    expect(report.quality.relativeError).toBeLessThan(1);
    await refused(
      ['prune', model, '--calibrate', images, '--resize', 'crop', '-o', out, '--overwrite', ...QUICK],
      'osscar: --resize crop is to a size, and the model leaves it open, so that images keep their own; give --size\n',
    );
  });

  test('have that of the model where its channels alone are open', async () => {
    const net = new OnnxBuilder();
    const image = net.feed('image', ['n', 'c', 28, 28]);
    const hidden = net.node('Conv', [image, net.weight([8, 1, 3, 3], 1)], {}, { channels: 8 });
    const model = join(folder, 'open-channels.onnx');
    writeFileSync(model, net.output(net.conv(net.relu(hidden), 2, 3)).build());
    const { samples } = await osscarJson('eval', model, '--data', fixture('test'), '--samples', '4');
    expect(samples).toBe(4);
  });

  test('a size that the model does not have is refused', async () => {
    const refusal = /open dimensions|of a fixed size, \[1, 28, 28\]/;
    await refused(['inspect', fixture('fashion-mobilenet.onnx'), '--size', '32'], refusal);
  });
});

test('eval takes what an input is for all samples, which decides an If', async () => {
  const [model, data] = [join(folder, 'scores.onnx'), join(folder, 'labelled.npz')];
  writeFileSync(model, byRate());
  const samples = randomValue([24, 8]);
  const sr = { dims: [], data: BigInt64Array.of(8000n) };
  const { y } = await run(byRate(), { input: samples, sr });
  const labels = Float32Array.from({ length: 24 }, (_, i) => {
    const scores = y.data.slice(8 * i, 8 * i + 8);
    return scores.indexOf(Math.max(...scores));
  });
  const arrays = Object.entries({ input: npy([24, 8], samples.data), labels: npy([24], labels) });
  writeFileSync(data, writeZip(arrays.map(([name, bytes]) => ({ name: `${name}.npy`, bytes }))));
  const [own, other] = [8000, 16000].map((value) =>
    osscarJson('eval', model, '--data', data, '--input', `sr=${value}`),
  );
  expect((await own).value).toBe(1);
  expect((await other).value).toBeLessThan(0.8);
});
