import { describe, expect, test } from 'vitest';
import {
  elements,
  floatWeights,
  foldConstants,
  fromFloat32,
  type Model,
  readModel,
  STORED_TYPES,
  storedBytes,
  storeWeights,
  type Tensor,
  toFloat32,
  writeModel,
} from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomTokens, randomValue, run, runModel } from './running.ts';

/** Layers with their outputs on either axis of their weights, in groups, and with weights that differ much between outputs. */
async function network(opset = 17) {
  const b = new OnnxBuilder({ opset });
  let x = b.relu(b.conv(b.input([4, 8, 8]), 16, 3));
  x = b.relu(b.conv(x, 24, 3, { group: 2 }));
  x = b.node('ConvTranspose', [x, b.weight([24, 16, 3, 3], 0.1)], {}, { channels: 16 });
  x = b.flatten(b.globalAveragePool(x));
  const model = await readModel(b.output(b.gemm(b.matmul(b.gemm(x, 48), 64), 32, { transB: 0 })).build());
  for (const tensor of [...model.tensors.values()]) model.tensors.set(tensor.name, spread(tensor));
  return model;
}

/** Every fifth row is ten times as large, and every fifth column. */
function spread(tensor: Tensor): Tensor {
  if (tensor.type !== 'float32' || tensor.dims.length < 2) return tensor;
  const [, width] = tensor.dims;
  const inner = elements(tensor.dims.slice(2));
  const factor = (i: number) => (i % 5 === 0 ? 10 : 1);
  const values = toFloat32(tensor).map(
    (value, i) => value * factor(Math.floor(i / inner) % width) * factor(Math.floor(i / inner / width)),
  );
  return fromFloat32(values, tensor.dims, tensor);
}

const bytesIn = (tensors: Iterable<Tensor>) => [...tensors].reduce((sum, { bytes }) => sum + bytes.length, 0);

describe.each(STORED_TYPES)('weights as %s', (type) => {
  test.each([9, 17])('are those that the engine computes with, in files of opset %i', async (opset) => {
    const model = await network(opset);
    const before = bytesIn(model.tensors.values());
    const stored = storeWeights(model, type);
    expect([...stored.tensors.values()].filter((it) => it.type === type)).toHaveLength(6);
    expect(bytesIn(stored.tensors.values()) / before).toBeLessThan(type === 'int8' ? 0.3 : 0.52);
    expect(bytesIn(model.tensors.values())).toBe(before);
    const floats = type === 'int8' ? floatWeights(stored) : foldConstants(stored);
    expect(floats.nodes.map(({ name }) => name)).toEqual(model.nodes.map(({ name }) => name));
    const input = randomValue([2, 4, 8, 8]);
    const own = await runModel(stored, input);
    expect(difference(own, await runModel(floats, input))).toBeLessThan(1e-5);
    expect(difference(own, await runModel(model, input))).toBeLessThan(type === 'int8' ? 0.05 : 1e-3);
  });

  test('take as many bytes as was said, or fewer', async () => {
    const model = await network();
    const stored = storeWeights(model, type);
    const said = [...model.tensors.values()].map(
      (tensor) => storedBytes(model, tensor, type)?.(tensor.dims) ?? tensor.bytes.length,
    );
    expect(bytesIn(stored.tensors.values())).toBeLessThanOrEqual(said.reduce((sum, bytes) => sum + bytes));
  });
});

test('int8 is within half a step of each weight, of which its output has 127', async () => {
  const model = await network();
  const floats = floatWeights(storeWeights(model, 'int8'));
  const axes = { Conv: 0, ConvTranspose: 1, Gemm: 0, MatMul: 1 };
  for (const node of model.nodes) {
    const layer = node.opType as keyof typeof axes;
    const tensor = model.tensors.get(node.input[1] ?? '');
    if (!tensor || axes[layer] === undefined) continue;
    const isTurned = layer === 'Gemm' && node.attribute.every((it) => it.name !== 'transB' || it.i === 0n);
    const axis = isTurned ? 1 : axes[layer];
    const { dims } = tensor;
    const inner = elements(dims.slice(axis + 1));
    const values = toFloat32(tensor);
    const largest = new Float64Array(dims[axis]);
    const outputOf = (i: number) => Math.floor(i / inner) % dims[axis];
    values.forEach((value, i) => {
      largest[outputOf(i)] = Math.max(largest[outputOf(i)], Math.abs(value));
    });
    const rounded = toFloat32(floats.tensors.get(tensor.name)!);
    expect(rounded).not.toEqual(values);
    expect(rounded.every((it, i) => Math.abs(it - values[i]) <= (largest[outputOf(i)] / 254) * 1.0001)).toBe(
      true,
    );
  }
});

test('an output without weights stays so', async () => {
  const b = new OnnxBuilder();
  const model = await readModel(b.output(b.gemm(b.flatten(b.input([64, 1, 1])), 32)).build());
  const [weight] = [...model.tensors.values()].filter(({ dims }) => dims.length === 2);
  const values = toFloat32(weight).map((value, i) => (i < 64 ? 0 : value));
  model.tensors.set(weight.name, fromFloat32(values, weight.dims, weight));
  const rounded = toFloat32(floatWeights(storeWeights(model, 'int8')).tensors.get(weight.name)!);
  expect(rounded.subarray(0, 64).every((value) => value === 0)).toBe(true);
  expect(rounded.subarray(64).some((value) => value !== 0)).toBe(true);
});

test('a table that scores are made of too has a scale for each of its rows', async () => {
  const b = new OnnxBuilder();
  const ids = b.feed('ids', [1, 'tokens'], 'int64');
  const table = b.weight([50, 24], 1);
  const x = b.node('Gather', [table, ids]);
  const scores = b.node('MatMul', [x, b.node('Transpose', [table], { perm: [1, 0] })]);
  const model = await readModel(b.output(scores).build());
  const stored = storeWeights(model, 'int8');
  expect([...stored.tensors.values()].map(({ type, dims }) => [type, dims])).toEqual([
    ['int8', [50, 24]],
    ['float32', [50, 1]],
  ]);
  const feeds = { ids: randomTokens([1, 7], 50) };
  const outputsOf = async (it: Model) => (await run(writeModel(it).model, feeds))[scores];
  const [a, c] = [await outputsOf(stored), await outputsOf(floatWeights(stored))];
  expect(difference(a, c)).toBeLessThan(1e-5);
});

test('what is no weight of a layer, or has few numbers, stays as it is', async () => {
  const b = new OnnxBuilder();
  const x = b.mul(b.input([16, 8, 8]), b.weight([16, 8, 8], 1));
  const model = await readModel(b.output(b.conv(x, 2, 1)).build());
  const stored = storeWeights(model, 'int8');
  expect([...stored.tensors.values()].every(({ type }) => type === 'float32')).toBe(true);
  expect(floatWeights(stored)).toBe(stored);
});

test.each([
  ['along more than one axis', [64, 48]],
  ['of another rank', [48]],
])('int8 numbers with scales %s are left to the engine', async (_, dims) => {
  const b = new OnnxBuilder();
  const model = await readModel(b.output(b.matmul(b.flatten(b.input([64, 1, 1])), 48)).build());
  const stored = storeWeights(model, 'int8');
  expect(floatWeights(stored)).not.toBe(stored);
  const scale = [...stored.tensors.values()].find(({ type }) => type === 'float32')!;
  stored.tensors.set(scale.name, fromFloat32(new Float32Array(elements(dims)).fill(0.1), dims, scale));
  expect(floatWeights(stored)).toBe(stored);
});
