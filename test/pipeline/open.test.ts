import { expect, test } from 'vitest';
import { type Engine, openEngine } from '../../src/engine/index.ts';
import { describeValue, GraphBuilder, readModel, writeModel } from '../../src/graph/index.ts';
import { declaredInput, openModel } from '../../src/pipeline/index.ts';
import { likelyDims, likelyWindow } from '../../src/pipeline/open/lengths.ts';
import { loadModel } from '../../src/pipeline/open/load.ts';
import { inspect } from '../../src/run/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';

const engine = await openEngine({ threads: 1 });

/** x·W for W rows × columns of which row r holds r. */
function product(rows: number, columns: number) {
  const graph = new GraphBuilder();
  const x = graph.input('x', 'float32', ['n', rows]);
  const W = Float32Array.from({ length: rows * columns }, (_, i) => Math.floor(i / columns));
  graph.output(graph.node('MatMul', [x, graph.floats('W', W, [rows, columns])]), 'y', 'float32', [
    'n',
    columns,
  ]);
  return graph.build('product');
}

test.each([
  ['few weights go to the engine inside the graph', 4, 3, 0],
  ['weights above 64 MiB go beside it', 4, 2 ** 22 + 1, 1],
])('%s and compute the same', async (_, rows, columns, files) => {
  let external = -1;
  const watched: Engine = {
    name: 'watched',
    load: (model, beside = []) => {
      external = beside.length;
      return engine.load(model, beside);
    },
  };
  const session = await loadModel(watched, product(rows, columns));
  const { y } = await session.run({ x: { dims: [1, rows], data: Float32Array.of(1, 2, 3, 4) } });
  await session.release();
  expect(external).toBe(files);
  expect(y.dims).toEqual([1, columns]);
  expect([y.data[0], y.data[columns - 1]]).toEqual([20, 20]);
});

test('what leads to no output is no part of an opened model', async () => {
  const b = new OnnxBuilder();
  const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
  for (let i = 0; i < 3; i++) b.relu(b.conv(x, 5, 1));
  const opened = await openModel(b.output(b.conv(x, 4, 1)).build(), { engine });
  expect(opened.parameters).toBe(6 * (3 * 9 + 1) + 4 * (6 + 1));
  expect([opened.source, opened.model].map(({ nodes }) => nodes.length)).toEqual([3, 3]);
});

test('what is wrong with the inputs is said with the name of the model', () => {
  const graph = new GraphBuilder();
  graph.output(graph.node('Relu', [graph.input('x', 'float32', [4])]), 'y', 'float32', [4]);
  const message = 'a.onnx: input "x" has shape [4]; a leading batch dimension is needed';
  expect(() => declaredInput(graph.build('a.onnx'))).toThrow(message);
  expect(() => declaredInput(product(4, 3), { z: 1 })).toThrow(
    'product: there is no input "z"; the inputs are "x"',
  );
});

test.each(['com.microsoft.extensions', 'ai.onnx.contrib'])(
  'nodes of %s are told where a model is refused',
  async (domain) => {
    const told =
      /; DecodeImage is of onnxruntime-extensions: prune the model without what was added before and behind it$/;
    const opening = (dims: (string | number)[], size?: number[]) => {
      const b = new OnnxBuilder();
      const image = b.node('DecodeImage', [b.feed('image', dims)], {}, { domain, channels: 3 });
      return openModel(b.output(b.relu(image)).build(), { engine, size });
    };
    await expect(opening(['bytes'])).rejects.toThrow(told);
    await expect(opening(['n', 'bytes'], [8])).rejects.toThrow(told);
  },
);

test.each([
  ['TRT', 'EfficientNMS_TRT'],
  ['com.microsoft', 'EfficientNMS_TRT'],
  ['', 'BatchedNMS'],
])(
  'an operator that onnxruntime has not, of %j, is left out by the names of what it reads',
  async (domain, opType) => {
    const b = new OnnxBuilder();
    const boxes = b.conv(b.relu(b.conv(b.input([3, 8, 8]), 6, 3)), 4, 1);
    const scores = b.node('Sigmoid', [boxes]);
    const bytes = b.output(b.node(opType, [boxes, scores, boxes, b.integers([5])], {}, { domain })).build();
    const told = `; what leads to ${opType} can be pruned without it: \`outputNames\` "${boxes}" "${scores}"`;
    await expect(openModel(bytes, { engine })).rejects.toThrow(told);
    const { model, analysis } = await openModel(bytes, { engine, outputNames: [boxes, scores] });
    expect(model.outputs.map(describeValue)).toEqual(
      [boxes, scores].map((name) => ({ name, type: 'float32', dims: [-1, -1, -1, -1] })),
    );
    expect(analysis.structures.map(({ prunable }) => prunable)).toEqual([true, false]);
  },
);

test('a graph that gives nothing is refused by the name of the model', async () => {
  const graph = product(4, 3);
  graph.graph.output = [];
  const { model } = writeModel(graph);
  await expect(openModel(model, { engine, name: 'a.onnx' })).rejects.toThrow(
    'a.onnx: the graph has no outputs',
  );
});

test('the engine names the node of the file, whatever became of it', async () => {
  const b = new OnnxBuilder({ type: 'float64' });
  const y = b.conv(b.input([8, 5, 5]), 8, 3, { group: 2 }); // two side by side when it is opened
  const bytes = b.output(y).build();
  await expect(openModel(bytes, { engine })).rejects.toThrow(`for Conv(11) node with name '${y}' (`);
});

test('a network of tokens that takes one length alone is opened at that, whatever it declares', async () => {
  const b = new OnnxBuilder();
  const ids = b.feed('input_ids', ['n', 't'], 'int64');
  const x = b.node('Gather', [b.weight([20, 8], 1), ids], {}, { channels: 8 });
  const positions = b.add(x, b.weight([1, 5, 8], 1)); // as they were when it was traced
  const bytes = b.output(b.matmul(b.relu(b.matmul(positions, 12)), 3)).build();
  const { analysis } = await openModel(bytes, { engine, size: [5] });
  expect(analysis.structures.filter(({ prunable }) => prunable).map(({ groups }) => groups)).toContain(12);
  await expect(openModel(bytes, { engine, size: [7] })).rejects.toThrow('onnxruntime cannot load the model');
});

test('so is one whose shapes name that length', async () => {
  const b = new OnnxBuilder();
  const ids = b.feed('input_ids', ['n', 't'], 'int64');
  const x = b.node('Gather', [b.weight([20, 8], 1), ids], {}, { channels: 8 });
  const heads = (y: string) => {
    const n = b.node('Slice', [b.node('Shape', [x]), b.integers([0]), b.integers([1])]);
    const shape = b.node('Concat', [n, b.integers([5]), b.integers([3]), b.integers([4])], { axis: 0 });
    return b.node('Transpose', [b.node('Reshape', [y, shape])], { perm: [0, 2, 1, 3] });
  };
  const [q, k, v] = [1, 2, 3].map(() => heads(b.matmul(x, 12)));
  const scores = b.node('MatMul', [q, b.node('Transpose', [k], { perm: [0, 1, 3, 2] })]);
  const mixed = b.node('MatMul', [b.node('Softmax', [scores], { axis: -1 }), v]);
  const turned = b.node('Transpose', [mixed], { perm: [0, 2, 1, 3] });
  const merged = b.node('Reshape', [turned, b.integers([0, 0, 12])], {}, { channels: 12 });
  const bytes = b.output(b.matmul(merged, 3)).build();
  const { analysis } = await openModel(bytes, { engine, size: [5] });
  const prunable = analysis.structures.filter((structure) => structure.prunable);
  expect(prunable.map(({ kind, groups }) => [kind, groups])).toContainEqual(['head', 3]);
});

test.each([
  ['that the network was traced at', 7],
  ['of any number where it takes them', 16],
])('inputs that nothing is said of have a length %s', async (_, length) => {
  const b = new OnnxBuilder();
  const ids = b.feed('input_ids', ['n', 5], 'int64');
  const memory = b.feed('memory', ['n', 's', 8]);
  const x = b.node('Gather', [b.weight([20, 8], 1), ids], {}, { channels: 8 });
  const apart = (y: string, positions: number) =>
    b.node('Transpose', [b.reshape(y, [0, positions, 3, 4])], { perm: [0, 2, 1, 3] });
  const layer = (y: string) => b.node('MatMul', [y, b.weight([8, 12], 0.5)], {}, { channels: 12 });
  const [k, v] = [1, 2].map(() => apart(layer(memory), length === 7 ? 7 : 0));
  const scores = b.node('MatMul', [apart(layer(x), 0), b.node('Transpose', [k], { perm: [0, 1, 3, 2] })]);
  const mixed = b.node('MatMul', [b.node('Softmax', [scores], { axis: -1 }), v]);
  const merged = b.reshape(b.node('Transpose', [mixed], { perm: [0, 2, 1, 3] }), [0, 0, 12], 12);
  const bytes = b.output(b.matmul(merged, 3)).build();
  const dims = await likelyDims(await readModel(bytes), engine, {});
  expect(dims).toEqual({ memory: [length, length] }); // of which the second is declared
  const { analysis } = await openModel(bytes, { engine, dims });
  const prunable = analysis.structures.filter((structure) => structure.prunable);
  expect(prunable.map(({ kind, groups }) => [kind, groups])).toContainEqual(['head', 3]);
});

test.each([
  [600, 512],
  [40, 32],
])(
  'windows of a model with %i positions are of %i tokens where nothing is said',
  async (positions, tokens) => {
    const b = new OnnxBuilder();
    const ids = b.feed('input_ids', ['n', 't'], 'int64');
    const length = b.node('Gather', [b.node('Shape', [ids]), b.integers([1])]);
    const places = b.node('Slice', [b.weight([positions, 8], 0.5), b.integers([0]), length]);
    const features = b.node(
      'Add',
      [b.node('Gather', [b.weight([30, 8], 0.5), ids]), places],
      {},
      { channels: 8 },
    );
    const bytes = b.output(b.matmul(b.relu(b.matmul(features, 12)), 3)).build();
    expect(await likelyWindow(await readModel(bytes), engine, {})).toEqual([tokens]);
    const { kinds, file } = await inspect(bytes, { engine });
    expect(kinds.channel.parameters).toBeGreaterThan(0);
    expect(file?.input.shape).toEqual([tokens]);
  },
);

test('weights on the left of a product are those of a layer', async () => {
  const b = new OnnxBuilder();
  const left = (x: string, m: number, p: number) => b.node('MatMul', [b.weight([m, p], 0.5), x]);
  const bytes = b.output(left(b.relu(left(b.input([5, 7]), 8, 5)), 3, 8)).build();
  const { analysis, macs } = await openModel(bytes, { engine });
  expect(analysis.structures.filter(({ prunable }) => prunable).map(({ groups }) => groups)).toEqual([8]);
  expect(macs).toBe(7 * 8 * (5 + 3));
});

test('weights by which an Attention makes queries, keys and values are those of a layer, which reads a stream', async () => {
  const b = new OnnxBuilder();
  const x = b.matmul(b.sequence(5), 8);
  const inputs = [x, b.weight([8, 24], 0.3), b.weight([24], 0.3)];
  const y = b.node('Attention', inputs, { num_heads: 4 }, { domain: 'com.microsoft' });
  const bytes = b.output(b.matmul(b.add(x, b.matmul(y, 8)), 3)).build();
  const { analysis } = await openModel(bytes, { engine, size: [7, 5], residual: true });
  const prunable = analysis.structures.filter((structure) => structure.prunable);
  expect(prunable.map(({ kind, groups }) => [kind, groups])).toEqual([
    ['channel', 8],
    ['head', 4],
  ]);
});

test.each([
  ['a linear layer', (b: OnnxBuilder, x: string) => b.matmul(b.relu(b.matmul(x, 8)), 3)],
  [
    'a recurrent one',
    (b: OnnxBuilder, x: string) => {
      const [W, R] = [b.weight([1, 32, 6], 0.3), b.weight([1, 32, 8], 0.3)];
      const steps = b.node('Transpose', [x], { perm: [1, 0, 2] }, { channels: 6 });
      const made = b.node('LSTM', [steps, W, R], { hidden_size: 8 });
      return b.matmul(b.node('Squeeze', [made, b.integers([1])], {}, { channels: 8 }), 3);
    },
  ],
])('rows of %s are those of a window as long as it will be', async (_, layers) => {
  const b = new OnnxBuilder();
  const table = b.weight([50, 6], 1);
  const x = b.node('Gather', [table, b.feed('input_ids', ['n', 't'], 'int64')], {}, { channels: 6 });
  const bytes = b.output(layers(b, x)).build();
  const { analysis } = await openModel(bytes, { engine, size: [40] });
  const readers = analysis.structures.flatMap(({ consumers }) => consumers);
  expect(readers.length).toBeGreaterThan(1);
  expect(readers.map(({ rows }) => rows)).toEqual(readers.map(() => 40));
});
