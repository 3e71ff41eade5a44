import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import { redeclared } from '../../src/graph/build.ts';
import { typeCode } from '../../src/graph/dtype.ts';
import {
  elements,
  floatWeights,
  foldConstants,
  fromFloat32,
  isStorable,
  type Model,
  type NodeProto,
  onSteps,
  readModel,
  steppedMaps,
  storedBytes,
  storedType,
  storeWeights,
  type Tensor,
  toFloat32,
  writeModel,
} from '../../src/graph/index.ts';
import { attributeOf } from '../../src/graph/node.ts';
import { ValueInfoProtoSchema } from '../../src/graph/onnx_pb.ts';
import { TABLE_BYTES, typeOf } from '../../src/graph/stored.ts';
import { fromIntegers } from '../../src/graph/tensor.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomTokens, randomValue, run, runModel, shapesOf, shapesOfFeeds } from './running.ts';

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

describe.each(['float16', 'int8'] as const)('weights as %s', (type) => {
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
    const [before, after] = [model, stored].map((it) => writeModel(it).model.length);
    const others = before - bytesIn(model.tensors.values());
    expect(after - others).toBeLessThanOrEqual(said.reduce((sum, bytes) => sum + bytes));
  });
});

test('int8 is within half a step of each weight, of which its output has 127', async () => {
  const model = await network();
  const floats = floatWeights(storeWeights(model, 'int8'));
  const layers = model.nodes.filter(({ opType }) => /Conv|Gemm|MatMul/.test(opType));
  expect(layers).toHaveLength(6);
  for (const node of layers) {
    const tensor = model.tensors.get(node.input[1])!;
    expectNearest(tensor, outputAxis(node), floats, 127);
  }
});

/** The axis of a weight that has its outputs. */
function outputAxis({ opType, attribute }: NodeProto): number {
  const isTurned = opType === 'Gemm' && attribute.every((it) => it.name !== 'transB' || it.i === 0n);
  return isTurned || opType === 'ConvTranspose' || opType === 'MatMul' ? 1 : 0;
}

/** Calls with every number of a weight and the output that it is of. */
function eachOf(
  { dims }: Tensor,
  axis: number,
  values: Float32Array,
  call: (i: number, output: number) => void,
) {
  const inner = elements(dims.slice(axis + 1));
  values.forEach((_, i) => {
    call(i, Math.floor(i / inner) % dims[axis]);
  });
}

/** Within half a step of each weight, of which the largest of its output has so many. */
function expectNearest(tensor: Tensor, axis: number, { tensors }: Model, steps: number) {
  const [values, rounded] = [tensor, tensors.get(tensor.name)!].map(toFloat32);
  const largest = new Float64Array(tensor.dims[axis]);
  eachOf(tensor, axis, values, (i, output) => {
    largest[output] = Math.max(largest[output], Math.abs(values[i]));
  });
  const isFar: number[] = [];
  eachOf(tensor, axis, values, (i, output) => {
    if (Math.abs(rounded[i] - values[i]) > (largest[output] / steps / 2) * 1.0001) isFar.push(i);
  });
  expect(rounded).not.toEqual(values);
  expect(isFar).toEqual([]);
}

describe('weights as int4', () => {
  /** With weights that are whole multiples of a scale of their output: of some outputs they are multiples of 3 or of 7. */
  async function onGrid(opset?: number) {
    const model = await network(opset);
    const maps = steppedMaps(model, await shapesOf(model, randomValue([2, 4, 8, 8])));
    for (const weight of new Set(maps.map((map) => map.weight))) {
      const tensor = model.tensors.get(weight)!;
      const values = new Float32Array(elements(tensor.dims));
      eachOf(tensor, outputAxis(model.uses(weight)[0].node), values, (i, output) => {
        const factor = [1, 3, 1, 7][output % 4];
        values[i] = factor * Math.round((((i * 7919) % 15) - 7) / factor) * 0.01 * (1 + output);
      });
      model.tensors.set(weight, fromFloat32(values, tensor.dims, tensor));
    }
    return { model, steps: onSteps(model, maps) };
  }

  test.each([
    [9, 'int4'],
    [17, 'int4'],
    [17, 'q4'],
  ] as const)('are those that the engine computes with, in files of opset %i, as %s', async (opset, type) => {
    const { model, steps } = await onGrid(opset);
    const stored = storeWeights(model, type, steps);
    expect([...stored.tensors.values()].filter(({ type }) => type === 'uint8')).toHaveLength(6);
    const floats = floatWeights(stored);
    expect(floats.nodes.map(({ name }) => name)).toEqual(model.nodes.map(({ name }) => name));
    expect(floats.tensors.size).toBe(model.tensors.size);
    for (const [name, tensor] of model.tensors) {
      const [found, values] = [floats.tensors.get(name)!, tensor].map(toFloat32);
      expect(found.every((value, i) => Math.abs(value - values[i]) <= 1e-6 * Math.abs(values[i]))).toBe(true);
    }
    const input = randomValue([2, 4, 8, 8]);
    expect(difference(await runModel(stored, input), await runModel(model, input))).toBeLessThan(1e-5);
  });

  test.each([9, 17])('may be odd many, in files of opset %i', async (opset) => {
    const b = new OnnxBuilder({ opset });
    const model = await readModel(b.output(b.conv(b.relu(b.conv(b.input([3, 8, 8]), 15, 3)), 9, 3)).build());
    const maps = steppedMaps(model, await shapesOf(model, randomValue([2, 3, 8, 8])));
    const stored = storeWeights(model, 'int4', onSteps(model, maps));
    const packed = [...stored.tensors.values()].filter(({ type }) => type === 'uint8');
    expect(packed.map(({ dims }) => dims)).toEqual([[(15 * 3 * 9 - 1) / 2], [(9 * 15 * 9 - 1) / 2]]);
    const floats = floatWeights(stored);
    expect(floats.nodes.map(({ name }) => name)).toEqual(model.nodes.map(({ name }) => name));
    for (const { weight } of maps) expectNearest(model.tensors.get(weight)!, 0, floats, 7);
    const input = randomValue([2, 3, 8, 8]);
    expect(difference(await runModel(stored, input), await runModel(floats, input))).toBeLessThan(1e-5);
    const [said] = maps.map(({ weight }) => storedBytes(model, model.tensors.get(weight)!, 'int4')!);
    const added = writeModel(stored).model.length - writeModel(floats).model.length;
    const floatBytes = 4 * 15 * 9 * (3 + 9);
    expect(added).toBeLessThanOrEqual(said([15, 3, 3, 3]) + said([9, 15, 3, 3]) - floatBytes + TABLE_BYTES);
  });

  test('take as many bytes as was said, or fewer', async () => {
    const { model, steps } = await onGrid();
    const said = [...model.tensors.values()].map((tensor) => {
      const type = steps.has(tensor.name) ? 'int4' : 'int8';
      return storedBytes(model, tensor, type)?.(tensor.dims) ?? tensor.bytes.length;
    });
    const [before, after] = [model, storeWeights(model, 'int4', steps)].map(
      (it) => writeModel(it).model.length,
    );
    const numbers = bytesIn(model.tensors.values());
    expect(after - TABLE_BYTES - (before - numbers)).toBeLessThanOrEqual(
      said.reduce((sum, bytes) => sum + bytes),
    );
    expect(after - TABLE_BYTES).toBeLessThan(before * 0.25);
  });

  test('are the nearest steps where weights are on none, and int8 where nobody has put them on steps', async () => {
    const model = await network();
    const maps = steppedMaps(model, await shapesOf(model, randomValue([2, 4, 8, 8])));
    const [first] = maps;
    const stored = storeWeights(model, 'int4', onSteps(model, [first]));
    const types = [...stored.tensors.values()].map(({ type }) => type);
    expect(types.filter((type) => type === 'uint8')).toHaveLength(1);
    expect(types.filter((type) => type === 'int8')).toHaveLength(5);
    expectNearest(model.tensors.get(first.weight)!, 0, floatWeights(stored), 7);
  });

  test.each([
    ['other numbers than its bytes', (shape: Tensor) => fromIntegers(shape.name, [16, 4, 3, 4], [4])],
    ['lengths below 0', (shape: Tensor) => fromIntegers(shape.name, [16, -4, -3, 3], [4])],
  ])('a shape of %s is left to the engine', async (_, other) => {
    const { model, steps } = await onGrid();
    const stored = storeWeights(model, 'int4', steps);
    const { input } = stored.nodes.find(({ opType }) => opType === 'Reshape')!;
    const before = stored.nodes.length - floatWeights(stored).nodes.length;
    stored.tensors.set(input[1], other(stored.tensors.get(input[1])!));
    expect(stored.nodes.length - floatWeights(stored).nodes.length).toBe(before - 4);
  });
});

describe('weights of a network that computes in float16', () => {
  /** Rows of a tied table, convolutions and products in float16, between inputs and outputs of other types. */
  async function halves() {
    const b = new OnnxBuilder({ type: 'float16' });
    const [single, half] = (['float32', 'float16'] as const).map((type) => ({ to: typeCode(type) }));
    const table = b.weight([50, 64], 1);
    const rows = b.node('Gather', [table, b.feed('ids', [1, 'tokens'], 'int64')]);
    const turned = b.node('Transpose', [rows], { perm: [0, 2, 1] });
    const features = b.node('Transpose', [b.node('Conv', [turned, b.weight([63, 64, 1], 0.1)])], {
      perm: [0, 2, 1],
    });
    const again = b.relu(b.node('Cast', [b.node('Cast', [features], single)], half));
    const x = b.node('MatMul', [again, b.weight([63, 64], 0.1)]);
    const head = b.node('Transpose', [table], { perm: [1, 0] });
    const scores = b.node('Cast', [b.node('MatMul', [x, head])], single);
    const model = await readModel(b.output(scores, scores, [1, 'tokens', 50]).build());
    model.graph.output = model.outputs.map((it) => redeclared(it, ({ dims }) => ({ type: 'float32', dims })));
    return { model, scores };
  }

  test.each(['int8', 'int4', 'q8', 'q4'] as const)('as %s have scales of float16', async (type) => {
    const { model, scores } = await halves();
    const before = [...model.tensors.values()];
    expect(before.map((tensor) => tensor.type)).toEqual(['float16', 'float16', 'float16']);
    const feeds = { ids: randomTokens([1, 7], 50) };
    const shapes = await shapesOfFeeds(model, feeds);
    const steps = /4/.test(type) ? onSteps(model, steppedMaps(model, shapes)) : undefined;
    const stored = storeWeights(model, type, steps);
    const types = new Set(Array.from(stored.tensors.values(), (tensor) => tensor.type));
    expect(types).not.toContain('float32');
    const products = stored.nodes.filter(({ opType }) => opType === 'MatMulNBits');
    expect(products).toHaveLength(/q/.test(type) ? 2 : 0);
    for (const { attribute } of products)
      expect(attribute.map(({ name }) => name)).not.toContain('accuracy_level');
    const floats = floatWeights(await readModel(writeModel(stored).model));
    expect(Array.from(floats.tensors.values(), (tensor) => tensor.type)).toEqual(before.map(() => 'float16'));
    const outputsOf = async (it: Model) => (await run(writeModel(it).model, feeds))[scores];
    const [own, of, dense] = [await outputsOf(stored), await outputsOf(floats), await outputsOf(model)];
    expect(difference(own, of)).toBeLessThan(2e-3);
    expect(difference(own, dense)).toBeLessThan(/4/.test(type) ? 0.3 : 0.02);
    expect(storedType(stored)).toBe(type);
    const said = before.map((tensor) => {
      const kind = typeOf(model, tensor, type, steps ?? new Map());
      return storedBytes(model, tensor, kind)?.(tensor.dims) ?? tensor.bytes.length;
    });
    const added = writeModel(stored).model.length - writeModel(model).model.length;
    const most = said.reduce((a, b) => a + b) + (type === 'int4' ? TABLE_BYTES : 0) - bytesIn(before);
    expect(added).toBeLessThanOrEqual(most);
    expect(added).toBeLessThan(0);
  });

  test('are not stored as float16 once more', async () => {
    const { model } = await halves();
    expect(isStorable(model, 'float16')).toBe(false);
    expect(isStorable(model, 'int8')).toBe(true);
  });
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

/** Rows of a table, and of another that nothing else reads. @param isTied  scores are made of the first too */
async function tables(isTied: boolean, { opset = 17, width = 24 } = {}) {
  const b = new OnnxBuilder({ opset });
  const ids = b.feed('ids', [1, 'tokens'], 'int64');
  const table = b.weight([50, width], 1);
  const x = b.add(
    b.node('Gather', [table, ids]),
    b.node('Gather', [b.weight([50, width], 1), ids], { axis: 0 }),
  );
  const head = isTied ? b.node('Transpose', [table], { perm: [1, 0] }) : b.weight([width, 50], 1);
  const scores = b.node('MatMul', [x, head]);
  return { model: await readModel(b.output(scores).build()), scores };
}

/** Has the stored model and its floats compared with it, and its bytes with what was said of them. */
async function expectTables({ model, scores }: Awaited<ReturnType<typeof tables>>, stored: Model) {
  const floats = floatWeights(await readModel(writeModel(stored).model));
  const isTurn = ({ opType }: NodeProto) => opType === 'Transpose'; // it has another name and place
  const told = ({ nodes }: Model) =>
    nodes.map((it) => (isTurn(it) ? it.opType : `${it.opType} ${it.name}`)).sort();
  expect(told(floats)).toEqual(told(model));
  expect([...floats.tensors.keys()].sort()).toEqual([...model.tensors.keys()].sort());
  const feeds = { ids: randomTokens([1, 7], 50) };
  const outputsOf = async (it: Model) => (await run(writeModel(it).model, feeds))[scores];
  const [own, of, before] = [await outputsOf(stored), await outputsOf(floats), await outputsOf(model)];
  expect(difference(own, of)).toBeLessThan(1e-5);
  expect(difference(own, before)).toBeLessThan(0.05);
}

describe('a table as int8', () => {
  test.each([
    [true, 9],
    [false, 17],
  ])(
    'is read by rows, of which each has a scale (scores are made of it: %o, opset %i)',
    async (isTied, opset) => {
      const network = await tables(isTied, { opset });
      const { model } = network;
      const stored = storeWeights(model, 'int8');
      const constants = [...stored.tensors.values()].map(({ type, dims }) => `${type} ${dims}`);
      const rows = ['int8 50,24', 'float32 50,1'];
      expect(constants).toEqual([...rows, ...rows, ...(isTied ? [] : ['int8 24,50', 'float32 1,50'])]);
      // Nothing makes floats of a whole table but for the scores.
      const casts = stored.nodes.filter(
        ({ opType, input }) => opType === 'Cast' && stored.tensors.has(input[0]),
      );
      expect(casts).toHaveLength(1);
      await expectTables(network, stored);
      const said = [...model.tensors.values()].map((tensor) =>
        storedBytes(model, tensor, 'int8')!(tensor.dims),
      );
      const added = writeModel(stored).model.length - writeModel(model).model.length;
      expect(added).toBeLessThanOrEqual(said.reduce((a, b) => a + b) - bytesIn(model.tensors.values()));
    },
  );

  test('that the network gives goes on being given', async () => {
    const { model, scores } = await tables(false);
    const [output] = model.outputs;
    const [{ name }] = [...model.tensors.values()];
    model.graph.output = [...model.outputs, create(ValueInfoProtoSchema, { ...output, name })];
    model.edited();
    const stored = storeWeights(model, 'int8');
    for (const it of [stored, floatWeights(stored)]) {
      const outputs = await run(writeModel(it).model, { ids: randomTokens([1, 7], 50) });
      expect(outputs[scores].dims).toEqual([1, 7, 50]);
      expect(outputs[name].dims).toEqual([50, 24]);
    }
  });

  test('is left to the engine where its scales are of other rows', async () => {
    const { model } = await tables(false);
    const stored = storeWeights(model, 'int8');
    const before = floatWeights(stored).nodes.length;
    const scale = [...stored.tensors.values()].find(({ dims }) => String(dims) === '50,1')!;
    stored.tensors.set(scale.name, fromFloat32(new Float32Array(51), [51, 1], scale));
    expect(floatWeights(stored).nodes).toHaveLength(before + 3);
  });

  const along = (gather: NodeProto) => {
    gather.attribute = [attributeOf('axis', 1)];
  };
  const elsewhere = (gather: NodeProto) => {
    gather.input[1] = 'elsewhere';
  };
  test.each([
    ['its numbers are not read by rows', 'int8', along],
    ['its scales are not', 'float32', along],
    ['its scales are read of other rows', 'float32', elsewhere],
  ])('is left to the engine where %s', async (_, type, change) => {
    const { model } = await tables(false);
    const stored = storeWeights(model, 'int8');
    const before = floatWeights(stored).nodes.length;
    const isRead = ({ opType, input }: NodeProto) =>
      opType === 'Gather' && stored.tensors.get(input[0])?.type === type;
    change(stored.nodes.find(isRead)!);
    stored.edited();
    expect(floatWeights(stored).nodes).toHaveLength(before + 3);
  });
});

describe.each(['q8', 'q4'] as const)('a table as %s', (type) => {
  test.each([9, 17])(
    'makes scores with the bytes that its rows are of, in files of opset %i',
    async (opset) => {
      const network = await tables(true, { opset, width: 96 });
      const { model } = network;
      const stored = storeWeights(model, type);
      const weights = [...stored.tensors.values()].filter(({ dims }) => dims.length > 1);
      const [tied, other] = [
        ['uint8 50,96', 'float32 50,1'],
        ['int8 50,96', 'float32 50,1'],
      ];
      expect(weights.map(({ type, dims }) => `${type} ${dims}`)).toEqual([...tied, ...other]);
      expect(stored.nodes.map(({ opType }) => opType)).toContain('MatMulNBits');
      expect(stored.nodes.map(({ opType }) => opType)).not.toContain('Transpose');
      await expectTables(network, stored);
      const said = [...model.tensors.values()].map((tensor) =>
        storedBytes(model, tensor, typeOf(model, tensor, type, new Set()))!(tensor.dims),
      );
      const added = writeModel(stored).model.length - writeModel(model).model.length;
      expect(added).toBeLessThanOrEqual(said.reduce((a, b) => a + b) - bytesIn(model.tensors.values()));
    },
  );

  test.each<[string, (stored: Model, zero: Tensor, numbers: Tensor) => void]>([
    [
      'its numbers are not all above the same',
      ({ tensors }, zero) => tensors.set(zero.name, fromFloat32(new Float32Array(96), [96], zero)),
    ],
    [
      'its numbers have a sign',
      ({ tensors }, _, numbers) => tensors.set(numbers.name, { ...numbers, type: 'int8' }),
    ],
  ])('is left to the engine where %s', async (_, change) => {
    const stored = storeWeights((await tables(true, { width: 96 })).model, type);
    const operators = () => floatWeights(stored).nodes.map(({ opType }) => opType);
    expect(operators()).not.toContain('Sub');
    const found = [...stored.tensors.values()];
    const zero = found.find(({ type, dims }) => type === 'float32' && dims.length === 0)!;
    change(stored, zero, found.find(({ type }) => type === 'uint8')!);
    expect(operators()).toContain('Sub');
  });

  test.each<[string, (stored: Model) => readonly string[]]>([
    [
      'numbers that are above others',
      ({ tensors }) => {
        const bytes = new Uint8Array(50 * 3).fill(100);
        tensors.set('above', { name: 'above', type: 'uint8', dims: [50 * 3], bytes });
        return ['above'];
      },
    ],
    [
      'a bias',
      ({ tensors }) => {
        const { data } = randomValue([50], 9);
        tensors.set('bias', fromFloat32(data, [50], { name: 'bias', type: 'float32' }));
        return ['', '', 'bias'];
      },
    ],
  ])('whose scores have %s is left to the engine', async (_, others) => {
    const { model, scores } = await tables(true, { width: 96 });
    const stored = storeWeights(model, type);
    const product = stored.nodes.find(({ opType }) => opType === 'MatMulNBits')!;
    product.input.push(...others(stored));
    stored.edited();
    const floats = floatWeights(stored);
    expect(floats).not.toBe(stored);
    const feeds = { ids: randomTokens([1, 7], 50) };
    const [own, found] = [
      await run(writeModel(stored).model, feeds),
      await run(writeModel(floats).model, feeds),
    ];
    expect(difference(own[scores], found[scores])).toBeLessThan(1e-5);
  });

  test('is of int8 where its width is no whole number of blocks, something else reads it turned, or the file is older than Expand', async () => {
    const narrow = await tables(true);
    const old = await tables(true, { opset: 7, width: 96 }); // of before Expand
    await expectTables(old, storeWeights(old.model, type));
    await expectTables(narrow, storeWeights(narrow.model, type));
    const read = await tables(true, { width: 96 });
    const { model } = read;
    const turned = model.nodes.find(({ opType }) => opType === 'Transpose')!;
    const [output] = model.outputs;
    model.graph.output = [
      ...model.outputs,
      create(ValueInfoProtoSchema, { ...output, name: turned.output[0] }),
    ];
    model.edited();
    await expectTables(read, storeWeights(model, type));
    for (const { tensors } of [narrow.model, old.model, model].map((it) => storeWeights(it, type)))
      expect([...tensors.values()].map(({ type }) => type)).not.toContain('uint8');
    // Nor with int4, which has no products of integers.
    const { tensors } = storeWeights((await tables(true, { width: 96 })).model, 'int4');
    expect([...tensors.values()].map(({ type }) => type)).not.toContain('uint8');
  });
});

test('weights that something else reads too are not put on steps, nor those of recurrent units, which are not fitted', async () => {
  const b = new OnnxBuilder();
  const table = b.weight([50, 24], 1);
  const x = b.flatten(b.node('Gather', [table, b.feed('ids', [1, 1], 'int64')]));
  const own = b.node('MatMul', [x, b.weight([24, 24], 1)]);
  const model = await readModel(b.output(b.node('Gemm', [own, table], { transB: 1 })).build());
  const feeds = { ids: randomTokens([1, 1], 50) };
  const shapes = await shapesOfFeeds(model, feeds);
  expect(steppedMaps(model, shapes).map(({ weight }) => weight)).toEqual([model.producer(own)!.input[1]]);

  const r = new OnnxBuilder();
  const weights = [
    [1, 16, 6],
    [1, 16, 4],
  ].map((dims) => r.weight(dims, 0.5));
  const steps = r.node(
    'LSTM',
    [r.feed('input', [3, 'n', 6]), ...weights],
    { hidden_size: 4 },
    { channels: 4 },
  );
  const head = r.matmul(steps, 5);
  const recurrent = await readModel(r.output(head).build());
  const all = await shapesOf(recurrent, randomValue([3, 2, 6]));
  expect(steppedMaps(recurrent, all).map(({ weight }) => weight)).toEqual([
    recurrent.producer(head)!.input[1],
  ]);
});

test('what is no weight of a layer, or has few numbers, stays as it is', async () => {
  const b = new OnnxBuilder();
  const x = b.mul(b.input([16, 8, 8]), b.weight([16, 8, 8], 1));
  const model = await readModel(b.output(b.conv(x, 2, 1)).build());
  const stored = storeWeights(model, 'int8');
  expect([...stored.tensors.values()].every(({ type }) => type === 'float32')).toBe(true);
  expect(floatWeights(stored)).toBe(stored);
  // Of a half of the bytes every table is worth it, but no bias.
  const halves = (it: Model) =>
    [...storeWeights(it, 'float16').tensors.values()].map(({ type, dims }) => [type, dims]);
  expect(halves(model)).toContainEqual(['float16', [16, 8, 8]]);
  const w = new OnnxBuilder();
  const wide = await readModel(w.output(w.gemm(w.flatten(w.input([4, 1, 1])), 512)).build());
  expect(halves(wide)).toEqual([
    ['float32', [512]],
    ['float16', [512, 4]],
  ]);
});

const named = (nodes: readonly NodeProto[], opType: string) => nodes.find((node) => node.opType === opType)!;
const scales = (dims: readonly number[]) => (stored: Model, scale: string) => {
  const values = new Float32Array(elements(dims)).fill(0.1);
  stored.tensors.set(scale, fromFloat32(values, dims, { name: scale, type: 'float32' }));
};
test.each<[string, (stored: Model, scale: string, numbers: string) => void]>([
  ['with scales along more than one axis', scales([48, 48])],
  ['with scales of another rank', scales([48])],
  ['with scales of other outputs', scales([1, 47])],
  [
    'with scales of half the precision',
    ({ tensors }, scale) =>
      tensors.set(
        scale,
        fromFloat32(toFloat32(tensors.get(scale)!), [1, 48], { name: scale, type: 'float16' }),
      ),
  ],
  ['with scales that are computed', ({ tensors }, scale) => tensors.delete(scale)],
  ['that are added to others', ({ nodes }) => Object.assign(named(nodes, 'Mul'), { opType: 'Add' })],
  ['that another operator takes', ({ nodes }) => Object.assign(named(nodes, 'Mul'), { domain: 'my.domain' })],
  [
    'without a sign',
    ({ tensors }, _, numbers) => tensors.set(numbers, { ...tensors.get(numbers)!, type: 'uint8' }),
  ],
])('numbers of eight bits %s are left to the engine', async (_, change) => {
  const b = new OnnxBuilder();
  const model = await readModel(b.output(b.matmul(b.flatten(b.input([48, 1, 1])), 48)).build());
  const stored = storeWeights(model, 'int8');
  expect(floatWeights(stored)).not.toBe(stored);
  const tensorOf = (of: string) => [...stored.tensors.values()].find(({ type }) => type === of)!.name;
  change(stored, tensorOf('float32'), tensorOf('int8'));
  expect(floatWeights(stored)).toBe(stored);
});

test('int8 numbers of one output have one scale', async () => {
  const b = new OnnxBuilder();
  const model = await readModel(b.output(b.matmul(b.flatten(b.input([512, 1, 1])), 1)).build());
  const [weight] = model.tensors.values();
  expectNearest(weight, 1, floatWeights(storeWeights(model, 'int8')), 127);
});
