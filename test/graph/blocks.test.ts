import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import {
  blockOf,
  elements,
  floatWeights,
  fromFloat32,
  GraphBuilder,
  type Model,
  onSteps,
  quantizedLayers,
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
import { NodeProtoSchema, OperatorSetIdProtoSchema } from '../../src/graph/onnx_pb.ts';
import { TABLE_BYTES } from '../../src/graph/stored.ts';
import { fromIntegers } from '../../src/graph/tensor.ts';
import { difference, randomValue, runModel, shapesOf } from './running.ts';

const CHANNELS = 65; // two blocks and one of another

/** Two MatMuls, and no operators but those of the standard. */
function network(width = 64): Model {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', ['n', 5, CHANNELS]);
  const W = (name: string, dims: number[]) => g.floats(name, randomValue(dims, elements(dims)).data, dims);
  const y = g.node('Relu', [g.node('MatMul', [x, W('first', [CHANNELS, width])], {}, 'one')]);
  g.output(g.node('MatMul', [y, W('second', [width, 9])], {}, 'two'), 'y', 'float32', ['n', 5, 9]);
  return g.build('network');
}

const input = randomValue([2, 5, CHANNELS]);
const mapsOf = async (model: Model) => steppedMaps(model, await shapesOf(model, input));
const scaleAt = (row: number, output: number, outputs: number) =>
  0.01 * (1 + output + outputs * Math.floor(row / 32));

describe.each(['int4', 'q4'] as const)('a MatMul as %s', (type) => {
  test('is one of blocks of 32 inputs, with the numbers that the weights are on', async () => {
    const model = network();
    for (const tensor of [...model.tensors.values()]) {
      const [, outputs] = tensor.dims;
      const values = Float32Array.from({ length: elements(tensor.dims) }, (_, i) => {
        const step = ((i * 7919) % 15) - 7;
        return step * scaleAt(Math.floor(i / outputs), i % outputs, outputs);
      });
      model.tensors.set(tensor.name, fromFloat32(values, tensor.dims, tensor));
    }
    const stored = storeWeights(model, type, onSteps(model, await mapsOf(model)));
    const products = stored.nodes.filter(({ opType }) => opType.startsWith('MatMul'));
    const operator = { int4: ':MatMul', q4: 'com.microsoft:MatMulNBits' }[type];
    expect(products.map(({ opType, domain }) => `${domain}:${opType}`)).toEqual([operator, operator]);
    const tensors = [...stored.tensors.values()].map(({ type, dims }) => `${type} ${dims}`);
    const ends = { int4: ',1,1', q4: '' }[type];
    expect(tensors.filter((it) => /uint8|float/.test(it) && it !== 'float32 256,2')).toEqual([
      'uint8 64,3,16',
      `float32 64,3${ends}`,
      'uint8 9,2,16',
      `float32 9,2${ends}`,
    ]);
    const floats = floatWeights(await readModel(writeModel(stored).model));
    expect(floats.nodes.map(({ opType, domain, name }) => [opType, domain, name])).toEqual(
      model.nodes.map(({ opType, domain, name }) => [opType, domain, name]),
    );
    expect([...floats.tensors.keys()].sort()).toEqual(['first', 'second']);
    for (const [name, tensor] of model.tensors) expectClose(toFloat32(floats.tensors.get(name)!), tensor);
    expect(difference(await runModel(stored, input), await runModel(model, input))).toBeLessThan(1e-5);
  });

  test('is the nearest steps of each block where weights are on none', async () => {
    const model = network();
    const floats = floatWeights(storeWeights(model, type, onSteps(model, await mapsOf(model))));
    for (const tensor of model.tensors.values()) expectNearest(tensor, floats, 7);
  });

  test('takes as many bytes as was said, or fewer', async () => {
    const model = network(CHANNELS);
    const stored = storeWeights(model, type, onSteps(model, await mapsOf(model)));
    const said = [...model.tensors.values()].map((tensor) => storedBytes(model, tensor, type)!(tensor.dims));
    const numbers = [...model.tensors.values()].map(({ bytes }) => bytes.length);
    const sum = (list: number[]) => list.reduce((a, b) => a + b);
    const [before, after] = [model, stored].map((it) => writeModel(it).model.length);
    const shared = type === 'int4' ? TABLE_BYTES : 32; // of the operator set
    expect(after - before + sum(numbers)).toBeLessThanOrEqual(sum(said) + shared);
    // And with fewer inputs, of which a last block may hold one.
    const saidOf = storedBytes(model, model.tensors.get('first')!, type)!;
    for (let inputs = 1; inputs <= CHANNELS; inputs++)
      expect(saidOf([inputs, CHANNELS])).toBeGreaterThanOrEqual(CHANNELS * Math.ceil(inputs / 32) * (16 + 4));
  });
});

/** The first node of a type, of those of the first weight. */
const nodeIn = (model: Model, opType: string) => model.nodes.find((node) => node.opType === opType)!;
const constant = (opType: string, index: number, change: (tensor: Tensor) => Tensor) => (model: Model) => {
  const name = nodeIn(model, opType).input[index];
  model.tensors.set(name, change(model.tensors.get(name)!));
};
const bound = (index: number, value: number) =>
  constant('Slice', index, ({ name }) => fromIntegers(name, [value], [1]));
const halves = (tensor: Tensor) =>
  fromFloat32(toFloat32(tensor), tensor.dims, { ...tensor, type: 'float16' });
const attribute = (opType: string, name: string, value: number | number[]) => (model: Model) => {
  nodeIn(model, opType).attribute = [attributeOf(name, value)];
};
test.each<[string, (model: Model) => void]>([
  ['that begin behind the first', bound(1, 1)],
  ['that end before the last', bound(2, -1)],
  ['that end behind the last', bound(2, 97)],
  ['of which every second is taken', bound(3, 2)],
  ['in other lines', constant('Reshape', 1, ({ name }) => fromIntegers(name, [32, 192], [2]))],
  ['that are not turned', attribute('Transpose', 'perm', [0, 1])],
  ['with a scale for each pair', constant('Mul', 1, (it) => ({ ...it, dims: [64, 3, 16, 1] }))],
  ['with scales of half the precision', constant('Mul', 1, halves)],
  ['from a table of single numbers', constant('Gather', 0, (it) => ({ ...it, dims: [512, 1] }))],
  ['from a table of half the precision', constant('Gather', 0, halves)],
  ['from a table along its pairs', attribute('Gather', 'axis', 1)],
  ['with a sign', constant('Cast', 0, (it) => ({ ...it, type: 'int8' }))],
  [
    'that the network gives',
    (model) => {
      const [output] = model.outputs;
      model.graph.output.push({ ...output, name: 'first' });
    },
  ],
])('numbers of int4 in blocks %s are left to the engine', async (_, change) => {
  const model = network();
  const stored = storeWeights(model, 'int4', onSteps(model, await mapsOf(model)));
  expect(floatWeights(stored).tensors.has('first')).toBe(true);
  change(stored);
  stored.edited();
  expect(floatWeights(stored).tensors.has('first')).toBe(false);
});

test('a MatMul as q8 is one of blocks of 32 inputs, whose numbers are within half a step of 127 of the largest', async () => {
  const model = network();
  const stored = storeWeights(model, 'q8');
  expect([...stored.tensors.values()].map(({ type, dims }) => `${type} ${dims}`)).toEqual([
    ...['uint8 64,3,32', 'float32 64,3'],
    ...['uint8 9,2,32', 'float32 9,2'],
  ]);
  const floats = floatWeights(await readModel(writeModel(stored).model));
  expect(floats.nodes.map(({ opType, name }) => [opType, name])).toEqual(
    model.nodes.map(({ opType, name }) => [opType, name]),
  );
  for (const tensor of model.tensors.values()) expectNearest(tensor, floats, 127);
  expect(difference(await runModel(stored, input), await runModel(floats, input))).toBeLessThan(1e-5);
  const wide = network(CHANNELS);
  const tensors = [...wide.tensors.values()];
  const said = tensors.map((tensor) => storedBytes(wide, tensor, 'q8')!(tensor.dims) - tensor.bytes.length);
  const [before, after] = [wide, storeWeights(wide, 'q8')].map((it) => writeModel(it).model.length);
  expect(after - before).toBeLessThanOrEqual(said.reduce((a, b) => a + b) + 32); // of the operator set
});

test('a weight is in blocks where MatMuls alone read it, and as what they multiply with', () => {
  const g = new GraphBuilder();
  const x = g.input('x', 'float32', [9, 9]);
  const names = ['shared', 'first', 'stack', 'strange', 'whole'];
  const [shared, first, stack, strange, whole] = names.map((name) => {
    const dims = name === 'stack' ? [2, 9, 9] : [9, 9];
    return g.floats(name, new Float32Array(elements(dims)), dims);
  });
  g.node('MatMul', [x, shared]);
  g.node('Gemm', [x, shared]);
  g.node('MatMul', [first, x]);
  g.node('MatMul', [x, stack]);
  const own = g.node('MatMul', [x, strange]);
  g.node('MatMul', [x, whole]);
  g.floats('unread', new Float32Array(81), [9, 9]);
  const model = g.build('weights');
  model.producer(own)!.domain = 'my.domain';
  const found = Array.from(model.tensors.values(), (it) => [it.name, blockOf(model, it)]);
  expect(found.filter(([, block]) => block !== undefined)).toEqual([['whole', 32]]);
});

describe('a MatMulNBits of others', () => {
  interface Form {
    bits: number;
    block: number;
    zeros?: 'packed' | 'floats';
    bias?: boolean;
    order?: boolean;
  }

  /** 3 × 65 numbers of so many bits. */
  function quantized({ bits, block, zeros, bias, order }: Form): Model {
    const N = 3;
    const blocks = Math.ceil(CHANNELS / block);
    const g = new GraphBuilder();
    const numbers = (name: string, dims: number[], seed: number) => {
      const bytes = Uint8Array.from(randomValue([elements(dims)], seed).data, (x) => 128 + 127 * x);
      return g.tensor({ name, type: 'uint8', dims, bytes });
    };
    const floats = (name: string, dims: number[], seed: number) =>
      g.floats(
        name,
        randomValue(dims, seed).data.map((x) => 3 + x),
        dims,
      );
    const zerosOf = {
      packed: () => numbers('zeros', [N, Math.ceil((blocks * bits) / 8)], 3),
      floats: () => floats('zeros', [N, blocks], 3),
    };
    const codes = numbers('codes', [N, blocks, (block * bits) / 8], 1);
    const scales = floats('scales', [N * blocks], 2);
    const others = [
      zeros ? zerosOf[zeros]() : '',
      order ? g.integers(Array(CHANNELS).fill(0)) : '',
      bias ? floats('bias', [N], 4) : '',
    ];
    const x = g.input('x', 'float32', ['n', 5, CHANNELS]);
    const attributes = { K: CHANNELS, N, bits, block_size: block };
    const y = g.node('MatMulNBits', [x, codes, scales, ...others], attributes);
    g.output(g.node('Relu', [y]), 'y', 'float32', ['n', 5, N]);
    const model = g.build('quantized');
    model.nodes[0].domain = 'com.microsoft';
    model.proto.opsetImport.push(create(OperatorSetIdProtoSchema, { domain: 'com.microsoft', version: 1n }));
    return model;
  }

  test.each<[string, Form]>([
    ['four bits', { bits: 4, block: 16 }],
    ['zeros of their own', { bits: 4, block: 16, zeros: 'packed' }],
    ['zeros between whole numbers', { bits: 4, block: 32, zeros: 'floats' }],
    ['a bias', { bits: 4, block: 128, bias: true }],
    ['a byte', { bits: 8, block: 32, zeros: 'packed', bias: true }],
  ])('with %s is a layer with float weights', async (_, form) => {
    const model = quantized(form);
    const floats = floatWeights(model);
    expect(floats.nodes.map(({ opType }) => opType)).toEqual([
      'MatMul',
      ...(form.bias ? ['Add'] : []),
      'Relu',
    ]);
    expect(floats.tensors.size).toBe(form.bias ? 2 : 1);
    expect(quantizedLayers(floats)).toEqual([]);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(1e-4);
  });

  test('that is laid out in another way stays, and is told of', () => {
    const model = quantized({ bits: 4, block: 16, order: true });
    expect(floatWeights(model)).toBe(model);
    expect(quantizedLayers(model)).toHaveLength(1);
  });

  const usual = { bits: 4, block: 16 } as const;
  const shorter = (name: string) => (model: Model) => {
    const tensor = model.tensors.get(name)!;
    model.tensors.set(name, {
      ...tensor,
      dims: [elements(tensor.dims) - 1],
      bytes: tensor.bytes.slice(0, -4),
    });
  };
  const typed = (name: string, type: Tensor['type']) => (model: Model) => {
    model.tensors.set(name, { ...model.tensors.get(name)!, type });
  };
  const computed = (index: number) => (model: Model) => {
    model.nodes[0].input[index] = 'x';
  };
  const said = (name: string, value: number) => (model: Model) => {
    const { attribute } = model.nodes[0];
    model.nodes[0].attribute = [...attribute.filter((it) => it.name !== name), attributeOf(name, value)];
  };
  test.each<[string, Form, (model: Model) => void]>([
    ['numbers that lie over two bytes', { bits: 3, block: 16 }, () => {}],
    ['blocks that are shorter than any', { bits: 4, block: 8 }, () => {}],
    ['numbers in an order for one processor', usual, said('weight_prepacked', 1)],
    ['fewer numbers', usual, shorter('codes')],
    ['numbers with a sign', usual, typed('codes', 'int8')],
    ['numbers that are computed', usual, computed(1)],
    ['scales that are computed', usual, computed(2)],
    ['fewer scales', usual, shorter('scales')],
    ['scales that are whole', usual, typed('scales', 'int32')],
    ['zeros that are computed', { ...usual, zeros: 'packed' }, computed(3)],
    ['fewer zeros', { bits: 8, block: 16, zeros: 'packed' }, shorter('zeros')],
    ['fewer zeros between whole numbers', { ...usual, zeros: 'floats' }, shorter('zeros')],
    ['zeros with a sign', { ...usual, zeros: 'packed' }, typed('zeros', 'int8')],
    ['fewer inputs than none', usual, said('K', -16)],
    [
      'a domain of its own',
      usual,
      (model) => {
        model.nodes[0].domain = 'my.domain';
      },
    ],
    [
      'no weights at all',
      usual,
      (model) => {
        model.nodes[0].input = ['x'];
      },
    ],
  ])('with %s stays', (_, form, change) => {
    const model = quantized(form);
    change(model);
    model.edited();
    expect(floatWeights(model)).toBe(model);
  });

  test('has four bits where it says nothing of them', () => {
    const model = quantized(usual);
    const [own] = floatWeights(model).tensors.values();
    model.nodes[0].attribute = model.nodes[0].attribute.filter(({ name }) => name !== 'bits');
    const [found] = floatWeights(model).tensors.values();
    expect(toFloat32(found)).toEqual(toFloat32(own));
  });

  test('shares its floats with others of the same numbers, unless they read them in another shape', () => {
    const model = quantized({ bits: 4, block: 16 });
    const [product] = model.nodes;
    const others = product.attribute.map((it) => attributeOf(it.name, it.name === 'K' ? 66 : Number(it.i)));
    const other = create(NodeProtoSchema, { ...product, name: 'other', output: ['z'], attribute: others });
    const same = create(NodeProtoSchema, { ...product, name: 'same', output: ['same'] });
    model.graph.node = [...model.nodes, same, other];
    model.edited();
    const { tensors } = floatWeights(model);
    expect([...tensors.values()].map(({ dims }) => dims)).toEqual([
      [CHANNELS, 3],
      [66, 3],
    ]);
  });
});

describe('a MatMulBnb4', () => {
  const [OUTPUTS, BLOCK] = [3, 16];
  function bitsAndBytes(kind: number, type: 'float32' | 'float16' = 'float32', attributes = {}): Model {
    const g = new GraphBuilder();
    const count = CHANNELS * OUTPUTS;
    const bytes = Uint8Array.from({ length: Math.ceil(count / 2) }, (_, i) => (i * 7919) % 256);
    const largest = randomValue([Math.ceil(count / BLOCK)], 3).data.map(Math.abs);
    const own = [
      g.tensor({ name: 'codes', type: 'uint8', dims: [bytes.length], bytes }),
      g.tensor(fromFloat32(largest, [largest.length], { name: 'largest', type })),
    ];
    const shape = { K: CHANNELS, N: OUTPUTS, block_size: BLOCK, quant_type: kind, ...attributes };
    const x = g.input('x', 'float32', ['n', 5, CHANNELS]);
    const y = g.node('MatMulBnb4', [x, ...own], shape);
    g.output(g.node('Relu', [y]), 'y', 'float32', ['n', 5, OUTPUTS]);
    const model = g.build('network');
    model.nodes[0].domain = 'com.microsoft';
    model.proto.opsetImport.push(create(OperatorSetIdProtoSchema, { domain: 'com.microsoft', version: 1n }));
    model.edited();
    return model;
  }

  test.each([0, 1])('of kind %i is a layer with float weights, and stored as q4', async (kind) => {
    const model = bitsAndBytes(kind);
    expect(storedType(model)).toBe('q4');
    const floats = floatWeights(model);
    expect(floats.nodes.map(({ opType }) => opType)).toEqual(['MatMul', 'Relu']);
    expect(Array.from(floats.tensors.values(), ({ dims }) => dims)).toEqual([[CHANNELS, OUTPUTS]]);
    expect(quantizedLayers(floats)).toEqual([]);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(1e-6);
  });

  test('has floats of the type of its scales', () => {
    const [{ type }] = floatWeights(bitsAndBytes(1, 'float16')).tensors.values();
    expect(type).toBe('float16');
  });

  test.each<[string, Model]>([
    ['of another kind', bitsAndBytes(2)],
    ['that is turned', bitsAndBytes(1, 'float32', { transB: 0 })],
    ['of more outputs than numbers', bitsAndBytes(1, 'float32', { N: OUTPUTS + 1 })],
    ['of blocks with other scales', bitsAndBytes(1, 'float32', { block_size: 8 })],
    ['of no block', bitsAndBytes(1, 'float32', { block_size: 0 })],
  ])('%s stays, and is told of', (_, model) => {
    expect(floatWeights(model)).toBe(model);
    expect(quantizedLayers(model)).toHaveLength(1);
  });
});

function expectClose(found: Float32Array, tensor: Tensor) {
  const far = toFloat32(tensor).filter((value, i) => Math.abs(found[i] - value) > 1e-6 * Math.abs(value));
  expect(far).toHaveLength(0);
}

/** Within half a step of each weight, of which the largest of its block has so many. */
function expectNearest(tensor: Tensor, { tensors }: Model, steps: number) {
  const [own, found] = [tensor, tensors.get(tensor.name)!].map(toFloat32);
  const [, outputs] = tensor.dims;
  const block = (i: number) => `${Math.floor(Math.floor(i / outputs) / 32)} ${i % outputs}`;
  const largest = new Map<string, number>();
  own.forEach((value, i) => {
    largest.set(block(i), Math.max(largest.get(block(i)) ?? 0, Math.abs(value)));
  });
  const half = (i: number) => (largest.get(block(i))! / steps / 2) * 1.0001;
  expect(own.filter((value, i) => Math.abs(found[i] - value) > half(i))).toHaveLength(0);
  expect(found).not.toEqual(own);
}
