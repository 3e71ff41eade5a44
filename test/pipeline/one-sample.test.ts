// Networks that take one image, without an axis for samples, as torchvision exports its detectors, or one graph, as PyTorch Geometric does.

import { expect, test } from 'vitest';
import { describeValue, readModel } from '../../src/graph/index.ts';
import { feedsDataset, likelyDims, openModel, prune } from '../../src/pipeline/index.ts';
import { modelInput } from '../../src/pipeline/open/inputs.ts';
import { difference, randomValue, run } from '../graph/running.ts';
import { either, same } from '../support/branches.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { engine, noise, session } from './fixtures.ts';

/** An image that is made a batch of one in the graph, as opsets write it. */
function batched(b: OnnxBuilder, opset: number): string {
  const image = b.feed('image', [3, 'h', 'w']);
  const options = { channels: 3 };
  if (opset < 13) return b.node('Unsqueeze', [image], { axes: [0] }, options);
  return b.node('Unsqueeze', [image, b.integers([0])], {}, options);
}

function detector(opset: number): Uint8Array {
  const b = new OnnxBuilder({ opset });
  const hidden = b.relu(b.conv(b.relu(b.conv(batched(b, opset), 8, 3)), 6, 3));
  return b.output(b.flatten(b.globalAveragePool(b.conv(hidden, 4, 3))), 'scores').build();
}

test.each([11, 17])('one image is a sample, and the written model takes one too: opset %i', async (opset) => {
  const opened = await openModel(detector(opset), { engine, name: 'detector', size: [8, 8] });
  expect(opened.input).toMatchObject({ name: 'image', shape: [3, 8, 8], fixedBatch: 1, single: ['image'] });
  const calibration = await noise(12, [3, 8, 8]);
  const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.layers.map(({ groups, kept }) => [groups, kept.length])).toEqual([
    [8, 4],
    [6, 3],
  ]);
  const small = await readModel(written.model);
  expect(describeValue(small.inputs[0])).toEqual({ name: 'image', type: 'float32', dims: [3, 'h', 'w'] });
  expect(small.nodes.map(({ opType }) => opType)).not.toContain('Gather');
  expect([...small.tensors.keys()].filter((name) => name.includes('.one'))).toEqual([]);
  const image = randomValue([3, 12, 10]);
  const { scores } = await run(written.model, { image });
  expect(scores.dims).toEqual([1, 4]);
  const again = await openModel(written.model, { engine, size: [8, 8] });
  expect(again.parameters).toBe(report.parameters.after);
});

test('weights are stored in such a model too', async () => {
  const opened = await openModel(detector(17), { engine, size: [8, 8] });
  const options = { engine, session, calibration: await noise(12, [3, 8, 8]), keep: 1 };
  const [plain, stored] = [
    await prune(opened, options),
    await prune(opened, { ...options, weights: 'float16' }),
  ];
  const image = randomValue([3, 8, 8]);
  const [one, other] = [
    await run(plain.written.model, { image }),
    await run(stored.written.model, { image }),
  ];
  expect(difference(one.scores, other.scores)).toBeLessThan(1e-2);
});

test('is refused by name where a graph within a node reads it', async () => {
  const b = new OnnxBuilder();
  const image = b.feed('image', [3, 8, 8]);
  const most = b.node('ReduceMax', [image], { keepdims: 0 }, { channels: 1 });
  const condition = b.node('Equal', [most, most]);
  b.output(either(b, condition, image, same, same), 'y');
  await expect(openModel(b.build(), { engine, name: 'detector' })).rejects.toThrow(
    'detector: input "image" has shape [3, 8, 8]; a leading batch dimension is needed',
  );
});

/** Nodes that are told by others what these have, over as many edges as a sample has. */
function graphNetwork(): Uint8Array {
  const b = new OnnxBuilder();
  const edges = b.feed('edge_index', [2, 'edges'], 'int64');
  const [from, to] = [0, 1].map((end) => b.node('Gather', [edges, b.index(end)]));
  const told = (x: string, m: number) => {
    const channels = m;
    const sent = b.node('Gather', [b.relu(b.matmul(x, m)), from], {}, { channels });
    const places = b.node('Expand', [b.node('Unsqueeze', [to, b.integers([1])]), b.node('Shape', [sent])]);
    const own = b.matmul(x, m);
    return b.node('ScatterElements', [own, places, sent], { axis: 0, reduction: 'add' }, { channels });
  };
  const x = b.node('Identity', [b.feed('x', ['nodes', 5])], {}, { channels: 5 });
  return b.output(b.matmul(b.relu(told(b.relu(told(x, 8)), 6)), 3), 'y').build();
}

/** A graph of so many nodes and edges. */
function graphOf(nodes: number, edges: number) {
  const ends = Float32Array.from({ length: 2 * edges }, (_, i) => (i * 7 + (i % 3)) % nodes);
  return { x: randomValue([nodes, 5], nodes), edge_index: { dims: [2, edges], data: ends } };
}

test('one graph is a sample, of as many nodes and edges as it has, and the written model takes one too', async () => {
  const bytes = graphNetwork();
  const source = await readModel(bytes);
  const dims = await likelyDims(source, engine, { size: [9, 5] });
  const opened = await openModel(bytes, { engine, name: 'graph', size: [9, 5], dims });
  expect(opened.input).toMatchObject({ name: 'x', shape: [9, 5], single: ['edge_index', 'x'] });
  const samples = Array.from({ length: 24 }, (_, i) => ({ inputs: graphOf(6 + (i % 7), 11 + (i % 5)) }));
  const calibration = await feedsDataset(samples, opened.input);
  const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.5 });
  expect(report.layers.map(({ groups, kept }) => [groups, kept.length])).toEqual([
    [8, 4],
    [6, 3],
  ]);
  const small = await readModel(written.model);
  expect(small.inputs.map(describeValue)).toEqual(source.inputs.map(describeValue));
  const { x, edge_index } = graphOf(13, 20);
  const ends = BigInt64Array.from(edge_index.data, BigInt);
  const { y } = await run(written.model, { x, edge_index: { ...edge_index, data: ends } });
  expect(y.dims).toEqual([13, 3]);
});

/** Of each image of a list the mean of what a network makes of those places that a mask shows. */
function tileEncoder(opset: number, list: string): Uint8Array {
  const b = new OnnxBuilder({ opset, seed: 4 });
  const images = b.feed('pixel_values', ['batch', list, 3, 'height', 'width']);
  const mask = b.feed('pixel_attention_mask', ['batch', list, 'height', 'width'], 'bool');
  const each = (value: string, channels: number, dims: number[]) =>
    b.node('Reshape', [value, b.integers(dims)], {}, { channels });
  const places = (value: string) => each(b.node('Flatten', [value], { axis: 2 }), 1, [-1, 1, 8, 8]);
  const shown = places(b.node('Cast', [mask], { to: 1 }, { channels: 1 }));
  const x = b.relu(b.conv(b.relu(b.conv(each(images, 3, [-1, 3, 8, 8]), 8, 3)), 6, 3));
  const seen = b.node('Mul', [x, shown], {}, { channels: 6 });
  return b.output(b.flatten(b.globalAveragePool(b.conv(seen, 4, 3))), 'image_features').build();
}

test.each([11, 17])(
  'a list of images is of one, and the written model takes any: opset %i',
  async (opset) => {
    const bytes = tileEncoder(opset, 'num_images');
    const opened = await openModel(bytes, { engine, name: 'encoder', size: [8, 8] });
    expect(opened.input).toMatchObject({ name: 'pixel_values', shape: [3, 8, 8] });
    const calibration = await noise(12, [3, 8, 8]);
    const { written, report } = await prune(opened, { engine, session, calibration, keep: 0.5 });
    expect(report.layers.map(({ groups, kept }) => [groups, kept.length])).toEqual([
      [8, 4],
      [6, 3],
    ]);
    const [dense, small] = [await readModel(bytes), await readModel(written.model)];
    expect(small.inputs.map(describeValue)).toEqual(dense.inputs.map(describeValue));
    expect(small.nodes.map(({ opType }) => opType)).not.toContain('Unsqueeze');
    expect([...small.tensors.keys()].filter((name) => name.includes('.one'))).toEqual([]);
    const mask = { dims: [2, 3, 8, 8], data: new Uint8Array(384).fill(1) };
    const { image_features } = await run(written.model, {
      pixel_values: randomValue([2, 3, 3, 8, 8]),
      pixel_attention_mask: mask,
    });
    expect(image_features.dims).toEqual([6, 4]);
  },
);

test('frames of a video are no list', async () => {
  const { inputs } = await readModel(tileEncoder(17, 'num_frames'));
  expect(modelInput(inputs.map(describeValue), []).shape).toEqual([0, 3, 0, 0]);
});
