import { create } from '@bufbuild/protobuf';
import { describe, expect, test } from 'vitest';
import {
  elements,
  fromFloat32,
  GraphBuilder,
  type Model,
  quantizedLayers,
  type Tensor,
  toFloat32,
  withoutRounding,
} from '../../src/graph/index.ts';
import { MICROSOFT } from '../../src/graph/node.ts';
import { OperatorSetIdProtoSchema } from '../../src/graph/onnx_pb.ts';
import { fromIntegers } from '../../src/graph/tensor.ts';
import { difference, randomTokens, randomValue, runModel } from './running.ts';

/** Half a step of 8 bits, of what is as large as what is compared. */
const ROUNDED = 0.02;

/** Operators of onnxruntime's own. */
const OWN =
  /^(QLinear(Add|Mul|Where|Sigmoid|LeakyRelu|Softmax|AveragePool|GlobalAveragePool|Concat)|QGemm|QAttention|MatMulIntegerToFloat|DynamicQuantize(MatMul|LSTM))$/;

class QuantizedBuilder extends GraphBuilder {
  bytes(name: string, type: Tensor['type'], values: readonly number[], dims: readonly number[]): string {
    const bytes = new Uint8Array(Int8Array.from(values).buffer);
    return this.tensor({ name, type, dims, bytes });
  }

  /** A weight as steps of `scale`, above `zero`. */
  steps(name: string, type: 'int8' | 'uint8', dims: readonly number[], seed = dims.length): string {
    const above = type === 'uint8' ? 120 : 0;
    const values = Array.from(randomValue(dims, seed).data, (x) => Math.round(100 * x) + above);
    return this.bytes(name, type, values, dims);
  }

  list(name: string, values: readonly number[]): string {
    return this.floats(name, Float32Array.from(values), [values.length]);
  }

  zero(name: string, type: 'int8' | 'uint8', value: number): string {
    return this.bytes(name, type, [value], []);
  }

  /** A value in 256 steps between `least` and what is 255 steps above it, as whole numbers and back. */
  rounded(value: string, scale: number, zero = 128): string {
    return this.floatsOf(this.whole(value, scale, zero), scale, zero);
  }

  whole(value: string, scale: number, zero = 128): string {
    return this.node('QuantizeLinear', [value, ...this.places(scale, zero)]);
  }

  floatsOf(value: string, scale: number, zero = 128): string {
    return this.node('DequantizeLinear', [value, ...this.places(scale, zero)]);
  }

  places(scale: number, zero = 128): string[] {
    return [this.scalar(scale), this.zero(`uint8 ${zero}`, 'uint8', zero)];
  }

  override build(name: string): Model {
    const model = super.build(name);
    for (const node of model.nodes) if (OWN.test(node.opType)) node.domain = MICROSOFT;
    model.proto.opsetImport.push(create(OperatorSetIdProtoSchema, { domain: MICROSOFT, version: 1n }));
    return model;
  }
}

const kinds = (model: Model) => model.nodes.map(({ opType }) => opType);

/** A copy, beside which the model is what it was. */
function unrounded(model: Model): Model {
  const before = kinds(model);
  const floats = withoutRounding(model);
  expect(kinds(model)).toEqual(before);
  return floats;
}

describe('weights in whole numbers', () => {
  /** x · W as a Relu of a MatMul, W of 4 × 6. */
  const network = (weight: (g: QuantizedBuilder) => string) => {
    const g = new QuantizedBuilder();
    const x = g.input('x', 'float32', ['n', 4]);
    g.output(g.node('Relu', [g.node('MatMul', [x, weight(g)])]), 'y', 'float32', ['n', 6]);
    return g.build('network');
  };
  const input = randomValue([3, 4]);

  test.each<[string, (g: QuantizedBuilder) => string]>([
    ['one scale', (g) => g.node('DequantizeLinear', [g.steps('w', 'int8', [4, 6]), g.scalar(0.01)])],
    [
      'a number that stands for 0',
      (g) => {
        const zero = g.zero('z', 'uint8', 120);
        return g.node('DequantizeLinear', [g.steps('w', 'uint8', [4, 6]), g.scalar(0.01), zero]);
      },
    ],
    [
      'scales of outputs',
      (g) => {
        const inputs = [g.steps('w', 'int8', [4, 6]), g.list('s', [1, 2, 3, 4, 5, 6])];
        return g.node('DequantizeLinear', [...inputs, g.steps('z', 'int8', [6])], { axis: -1 });
      },
    ],
    [
      'scales of outputs, turned',
      (g) => {
        const inputs = [g.steps('w', 'int8', [6, 4]), g.list('s', [1, 2, 3, 4, 5, 6])];
        return g.node('Transpose', [g.node('DequantizeLinear', inputs, { axis: 0 })], { perm: [1, 0] });
      },
    ],
    [
      'one scale, turned before they are floats',
      (g) => {
        const turned = g.node('Transpose', [g.steps('w', 'int8', [6, 4])], { perm: [1, 0] });
        return g.node('DequantizeLinear', [turned, g.scalar(0.01)]);
      },
    ],
  ])('and %s are floats', async (_, weight) => {
    const model = network(weight);
    const floats = unrounded(model);
    expect(kinds(floats)).not.toContain('DequantizeLinear');
    expect([...floats.tensors.values()].filter(({ type }) => type !== 'float32')).toEqual([]);
    expect(floats.tensors.size).toBe(1);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(1e-6);
    expect(kinds(model)).toContain('DequantizeLinear');
  });

  test.each(['int4', 'uint4', 'int2'] as const)('of %s have a scale for every block of inputs', (type) => {
    const g = new QuantizedBuilder();
    const bits = type === 'int2' ? 2 : 4;
    const dims = [5, 2]; // blocks of two inputs, and half a one
    const steps = [1, -2, 0, 1, -1, -2, 1, 1, -2, 0];
    const above = type === 'uint4' ? 8 : 0;
    const packed = new Uint8Array(Math.ceil((elements(dims) * bits) / 8));
    steps.forEach((step, i) => {
      packed[Math.floor((i * bits) / 8)] |= ((step + above) & (2 ** bits - 1)) << ((i * bits) % 8);
    });
    g.tensor({ name: 'w', type, dims, bytes: packed });
    const scales = Float32Array.of(1, 2, 3, 4, 5, 6);
    g.floats('s', scales, [3, 2]);
    const zeros = above
      ? [g.tensor({ name: 'z', type, dims: [3, 2], bytes: new Uint8Array(3).fill(0x88) })]
      : [];
    const weight = g.node('DequantizeLinear', ['w', 's', ...zeros], { axis: 0, block_size: 2 });
    g.output(g.node('MatMul', [g.input('x', 'float32', ['n', 5]), weight]), 'y', 'float32');
    const [found] = withoutRounding(g.build('network')).tensors.values();
    const expected = steps.map((step, i) => step * scales[2 * Math.floor(i / 4) + (i % 2)]);
    expect([...toFloat32(found)]).toEqual(expected);
  });

  test('have the type of their scale', () => {
    const model = network((g) => {
      const scale = g.tensor(fromFloat32(Float32Array.of(0.5), [], { name: 's', type: 'float16' }));
      return g.node('DequantizeLinear', [g.steps('w', 'int8', [4, 6]), scale]);
    });
    expect([...withoutRounding(model).tensors.values()].map(({ type }) => type)).toEqual(['float16']);
  });

  test.each<[string, (g: QuantizedBuilder) => string[], Record<string, number>]>([
    ['more scales than outputs', (g) => ['w', g.list('s', [1, 2, 3, 4, 5, 6, 7])], {}],
    ['an axis that there is not', (g) => ['w', g.list('s', [1, 2, 3, 4, 5, 6])], { axis: 2 }],
    [
      'blocks that do not fit',
      (g) => ['w', g.floats('s', new Float32Array(6), [1, 6])],
      { axis: 0, block_size: 2 },
    ],
    ['scales that are computed', (g) => ['w', g.node('Abs', [g.scalar(-1)])], {}],
    ['zeros that are computed', (g) => ['w', g.scalar(1), g.node('Identity', [g.zero('z', 'int8', 0)])], {}],
    ['fewer zeros than scales', (g) => ['w', g.list('s', [1, 2, 3, 4, 5, 6]), g.steps('z', 'int8', [5])], {}],
    ['numbers that come from outside', (g) => [g.input('q', 'int8', [4, 6]), g.scalar(1)], {}],
  ])('with %s stay', (_, inputs, attributes) => {
    const model = network((g) => {
      g.steps('w', 'int8', [4, 6]);
      return g.node('DequantizeLinear', inputs(g), attributes);
    });
    expect(kinds(withoutRounding(model))).toContain('DequantizeLinear');
  });

  test('of a table that rows are read of are one with those that scores are made with', async () => {
    const g = new QuantizedBuilder();
    const table = g.steps('table', 'int8', [9, 4]);
    const ids = g.input('ids', 'int64', ['n', 5]);
    const rows = g.node('DequantizeLinear', [g.node('Gather', [table, ids]), g.scalar(0.01)]);
    const head = g.node('Transpose', [g.node('DequantizeLinear', [table, g.scalar(0.01)])], { perm: [1, 0] });
    g.output(g.node('MatMul', [rows, head]), 'y', 'float32', ['n', 5, 9]);
    const model = g.build('tied');
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(['Gather', 'Transpose', 'MatMul']);
    expect([...floats.tensors.values()].map(({ type, dims }) => `${type} ${dims}`)).toEqual(['float32 9,4']);
    const tokens = randomTokens([2, 5], 9);
    expect(difference(await runModel(floats, tokens), await runModel(model, tokens))).toBeLessThan(1e-6);
  });
});

describe('values that are rounded between layers', () => {
  /** x, what is made of it, and a Neg behind. */
  const network = (make: (g: QuantizedBuilder, x: string) => string) => {
    const g = new QuantizedBuilder();
    g.output(g.node('Neg', [make(g, g.input('x', 'float32', ['n', 2, 6, 6]))]), 'y', 'float32');
    return g.build('network');
  };
  const input = randomValue([2, 2, 6, 6]);

  test.each<[string, (g: QuantizedBuilder, x: string) => string, string[]]>([
    ['are what they were', (g, x) => g.rounded(x, 0.01), ['Neg']],
    [
      'go through what moves them',
      (g, x) => {
        const whole = g.node('MaxPool', [g.whole(x, 0.01)], { kernel_shape: [2, 2] });
        return g.floatsOf(g.node('Transpose', [whole], { perm: [0, 2, 3, 1] }), 0.01);
      },
      ['MaxPool', 'Transpose', 'Neg'],
    ],
    [
      'are nothing below 0 where their whole numbers begin there',
      (g, x) => g.rounded(x, 0.004, 0),
      ['Clip', 'Neg'],
    ],
    ['are cut off where their whole numbers end', (g, x) => g.rounded(x, 0.002, 0), ['Clip', 'Neg']],
    [
      'are not cut off again behind a Relu',
      (g, x) => g.rounded(g.node('Relu', [x]), 0.004, 0),
      ['Relu', 'Neg'],
    ],
    [
      'nor behind poolings of what is positive',
      (g, x) => {
        const pooled = g.node('MaxPool', [g.node('Sigmoid', [x])], { kernel_shape: [2, 2] });
        return g.rounded(g.node('GlobalAveragePool', [pooled]), 0.004, 0);
      },
      ['Sigmoid', 'MaxPool', 'GlobalAveragePool', 'Neg'],
    ],
    [
      'nor behind a Clip to numbers from 0 on',
      (g, x) => g.rounded(g.node('Clip', [x, g.scalar(0), g.scalar(0.5)]), 0.002, 0),
      ['Clip', 'Neg'],
    ],
    [
      'are, behind a Clip to numbers below 0 too',
      (g, x) => g.rounded(g.node('Clip', [x, g.scalar(-1), g.scalar(1)]), 0.004, 0),
      ['Clip', 'Clip', 'Neg'],
    ],
    [
      'are, where it is not said what stands for 0',
      (g, x) => {
        const scale = g.scalar(0.004);
        return g.node('DequantizeLinear', [g.node('QuantizeLinear', [x, scale]), scale]);
      },
      ['Clip', 'Neg'],
    ],
    [
      'are cut off where numbers with a sign end',
      (g, x) => {
        const places = [g.scalar(0.002), g.zero('least', 'int8', -128)];
        return g.node('DequantizeLinear', [g.node('QuantizeLinear', [x, ...places]), ...places]);
      },
      ['Clip', 'Neg'],
    ],
    [
      'are cut off once for all that read them',
      (g, x) => g.node('Add', [g.rounded(x, 0.004, 0), g.rounded(x, 0.004, 0)]),
      ['Clip', 'Add', 'Neg'],
    ],
  ])('%s', async (_, make, expected) => {
    const model = network(make);
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(expected);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(ROUNDED);
    expect([...floats.tensors.values()].filter(({ type }) => type !== 'float32')).toEqual([]);
  });

  test.each([
    ['what stands for 0', ['uint8 128', 128]],
    ['another number', ['uint8 40', 40]],
    ['what is beside it', undefined],
  ] as const)('go through a Pad with %s', async (_, fill) => {
    const model = network((g, x) => {
      const pads = g.integers([0, 0, 1, 0, 0, 0, 0, 2]);
      const inputs = [g.whole(x, 0.01), pads, ...(fill ? [g.zero(fill[0], 'uint8', fill[1])] : [])];
      return g.floatsOf(g.node('Pad', inputs, { mode: fill ? 'constant' : 'edge' }), 0.01);
    });
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(['Pad', 'Neg']);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(ROUNDED);
    const types = [...floats.tensors.values()].map(({ type }) => type);
    expect(types.sort()).toEqual(fill ? ['float32', 'int64'] : ['int64']);
  });

  test.each(['constant', 'edge'])(
    'do not go through a Pad of mode %s with what is computed',
    async (mode) => {
      const model = network((g, x) => {
        const fill = g.node('Identity', [g.zero('fill', 'uint8', 40)]);
        const padded = g.node('Pad', [g.whole(x, 0.01), g.integers([0, 0, 1, 0, 0, 0, 0, 2]), fill], {
          mode,
        });
        return g.floatsOf(padded, 0.01);
      });
      const floats = withoutRounding(model);
      expect(kinds(floats)).toContain('DequantizeLinear');
      expect(await runModel(floats, input)).toEqual(await runModel(model, input));
    },
  );

  test('are not cut off where they have −∞, as masks do, and so no steps', () => {
    const model = network((g, x) => g.rounded(x, Number.POSITIVE_INFINITY, 0));
    expect(kinds(withoutRounding(model))).toEqual(['Neg']);
  });

  test('are not cut off where they are weights that were trained for it', () => {
    const g = new QuantizedBuilder();
    const weights = g.rounded(g.floats('w', randomValue([4, 6]).data, [4, 6]), 0.01, 0);
    g.output(g.node('MatMul', [g.input('x', 'float32', ['n', 4]), weights]), 'y', 'float32');
    const model = g.build('network');
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(['MatMul']);
    expect(floats.tensors.get('w')).toBe(model.tensors.get('w'));
  });

  test('of weights may have steps for each output', () => {
    const g = new QuantizedBuilder();
    const weight = g.floats('w', randomValue([4, 6]).data, [4, 6]);
    const places = [g.list('s', [1, 2, 3, 4, 5, 6]), g.bytes('z', 'int8', Array(6).fill(0), [6])];
    const whole = g.node('QuantizeLinear', [weight, ...places], { axis: 1 });
    const weights = g.node('DequantizeLinear', [whole, ...places], { axis: 1 });
    g.output(g.node('MatMul', [g.input('x', 'float32', ['n', 4]), weights]), 'y', 'float32');
    const floats = withoutRounding(g.build('network'));
    expect([kinds(floats), [...floats.tensors.keys()]]).toEqual([['MatMul'], ['w']]);
  });

  test('have attributes for their bounds in files of before opset 11', () => {
    const model = network((g, x) => g.rounded(x, 0.01, 0));
    model.proto.opsetImport[0].version = 10n;
    const [clip] = withoutRounding(model).nodes;
    expect([clip.input, clip.attribute.map(({ name, f }) => [name, f])]).toEqual([
      ['x'],
      [
        ['min', 0],
        ['max', expect.closeTo(2.55)],
      ],
    ]);
  });

  test('keep their names where the network gives them', async () => {
    const g = new QuantizedBuilder();
    const y = g.rounded(g.node('Neg', [g.input('x', 'float32', ['n', 2, 6, 6])]), 0.01);
    g.output(y, 'y', 'float32');
    const model = g.build('network');
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(['Neg', 'Identity']);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(ROUNDED);
  });

  test.each<[string, (g: QuantizedBuilder, x: string) => string]>([
    ['other steps', (g, x) => g.floatsOf(g.whole(x, 0.01), 0.02)],
    ['another number for 0', (g, x) => g.floatsOf(g.whole(x, 0.01), 0.01, 127)],
    [
      'another reader of whole numbers',
      (g, x) => {
        const whole = g.whole(x, 0.01);
        return g.node('Add', [g.floatsOf(whole, 0.01), g.node('Cast', [whole], { to: 1 })]);
      },
    ],
    [
      'whole numbers from outside',
      (g, x) => g.node('Add', [x, g.floatsOf(g.input('q', 'uint8', [1]), 0.01)]),
    ],
    [
      'steps of each channel that change places',
      (g, x) => {
        const scale = g.list('s', [0.01, 0.02]);
        const zero = g.bytes('z', 'uint8', [3, 4], [2]);
        const turned = g.node('Transpose', [g.node('QuantizeLinear', [x, scale, zero])], {
          perm: [1, 0, 2, 3],
        });
        return g.node('DequantizeLinear', [turned, scale, zero]);
      },
    ],
  ])('stay with %s', (_, make) => {
    expect(kinds(withoutRounding(network(make)))).toContain('DequantizeLinear');
  });

  test('are what an output has, where one is a weight', () => {
    const g = new QuantizedBuilder();
    g.output(g.node('DequantizeLinear', [g.steps('w', 'int8', [4, 6]), g.scalar(0.01)]), 'y', 'float32');
    const floats = withoutRounding(g.build('network'));
    expect(floats.nodes.map(({ opType, output }) => [opType, output])).toEqual([['Identity', ['y']]]);
  });

  test('stay where the network gives whole numbers', () => {
    const g = new QuantizedBuilder();
    const whole = g.whole(g.input('x', 'float32', ['n', 2, 6, 6]), 0.01);
    g.output(g.floatsOf(whole, 0.01), 'z', 'float32');
    g.output(whole, 'y', 'uint8');
    expect(kinds(withoutRounding(g.build('network')))).toEqual(['QuantizeLinear', 'DequantizeLinear']);
  });

  test('of a network without any are the same model', () => {
    const model = network((_, x) => x);
    expect(withoutRounding(model)).toBe(model);
  });
});

describe('operators of whole numbers', () => {
  const X = [0.01, 128] as const;
  const Y = [0.01, 120] as const;
  const shape = ['n', 4, 6, 6];

  /** What an operator makes of x in whole numbers, as floats. */
  const network = (
    make: (g: QuantizedBuilder, whole: string[]) => string,
    dims: (string | number)[] = shape,
  ) => {
    const g = new QuantizedBuilder();
    const whole = g.whole(g.input('x', 'float32', dims), ...X);
    g.output(g.floatsOf(make(g, [whole, ...g.places(...X)]), ...Y), 'y', 'float32');
    return g.build('network');
  };
  const steps = (g: QuantizedBuilder, name: string, values: number[]) =>
    g.tensor(fromIntegers(name, values, [values.length], 'int32'));
  const matrix = (g: QuantizedBuilder, scales = g.list('s', [0.001, 0.002, 0.003])) => [
    g.steps('w', 'int8', [6, 3]),
    scales,
    g.bytes('z', 'int8', [0, 1, 2], [3]),
  ];

  test.each<[string, (g: QuantizedBuilder, whole: string[]) => string, (string | number)[]?]>([
    [
      'QLinearConv',
      (g, x) => {
        const weight = [
          g.steps('w', 'int8', [3, 4, 3, 3]),
          g.list('s', [0.001, 0.002, 0.003]),
          g.bytes('z', 'int8', [0, 0, 0], [3]),
        ];
        const bias = steps(g, 'bias', [30000, -20000, 10000]);
        return g.node('QLinearConv', [...x, ...weight, ...g.places(...Y), bias], { pads: [1, 1, 1, 1] });
      },
    ],
    ['QLinearMatMul', (g, x) => g.node('QLinearMatMul', [...x, ...matrix(g), ...g.places(...Y)])],
    ['QLinearMatMul', (g, x) => g.node('QLinearMatMul', [...x, ...x, ...g.places(...Y)])],
    [
      'QGemm',
      (g, x) => {
        const bias = steps(g, 'bias', [30000, -20000, 10000]);
        return g.node('QGemm', [...x, ...matrix(g), bias, ...g.places(...Y)], { alpha: { float: 0.5 } });
      },
      ['n', 6],
    ],
    ['QLinearAdd', (g, x) => g.node('QLinearAdd', [...x, ...x, ...g.places(...Y)])],
    ['QLinearMul', (g, x) => g.node('QLinearMul', [...x, ...x, ...g.places(...Y)])],
    [
      'QLinearWhere',
      (g, x) => {
        const other = [g.steps('w', 'uint8', [4, 6, 6]), ...g.places(0.002)];
        const columns = g.bytes('columns', 'bool', [1, 0, 0, 1, 1, 0], [6]);
        return g.node('QLinearWhere', [columns, ...x, ...other, ...g.places(...Y)]);
      },
    ],
    ['QLinearSigmoid', (g, x) => g.node('QLinearSigmoid', [...x, ...g.places(...Y)])],
    [
      'QLinearLeakyRelu',
      (g, x) => g.node('QLinearLeakyRelu', [...x, ...g.places(...Y)], { alpha: { float: 0.3 } }),
    ],
    ['QLinearSoftmax', (g, x) => g.node('QLinearSoftmax', [...x, ...g.places(...Y)], { axis: 1, opset: 13 })],
    [
      'QLinearAveragePool',
      (g, x) => g.node('QLinearAveragePool', [...x, ...g.places(...Y)], { kernel_shape: [3, 3] }),
    ],
    [
      'QLinearGlobalAveragePool',
      (g, x) => g.node('QLinearGlobalAveragePool', [...x, ...g.places(...Y)], { channels_last: 0 }),
    ],
    ['QLinearConcat', (g, x) => g.node('QLinearConcat', [...g.places(...Y), ...x, ...x], { axis: 1 })],
  ])('%s is the operator of floats', async (opType, make, dims) => {
    const model = network(make, dims);
    const floats = unrounded(model);
    const plain = opType.replace(/^Q(Linear)?/, '');
    expect(kinds(floats)).toEqual([plain, 'Identity']);
    expect(quantizedLayers(floats)).toEqual([]);
    const { dims: extents, data } = randomValue([2, ...((dims ?? shape).slice(1) as number[])]);
    const input = { dims: extents, data: data.map((x) => 0.6 * x) };
    const [expected, found] = [await runModel(model, input), await runModel(floats, input)];
    expect(found.dims).toEqual(expected.dims);
    const furthest = Math.max(...found.data.map((y, i) => Math.abs(y - expected.data[i])));
    expect(furthest).toBeLessThan(3 * Y[0]);
    expect(Math.max(...expected.data.map(Math.abs))).toBeGreaterThan(9 * Y[0]);
    expect([...floats.tensors.values()].filter(({ type }) => /int/.test(type))).toEqual([]);
  });

  test.each<[string, (g: QuantizedBuilder, whole: string[]) => string, (string | number)[]?]>([
    [
      'channels last',
      (g, x) => g.node('QLinearGlobalAveragePool', [...x, ...g.places(...Y)], { channels_last: 1 }),
    ],
    [
      'a scale that is computed',
      (g, x) =>
        g.node('QLinearMatMul', [
          ...x,
          ...matrix(g, g.node('Abs', [g.list('s', [1, 2, 3])])),
          ...g.places(...Y),
        ]),
    ],
    [
      'a bias that is computed',
      (g, x) => {
        const bias = g.node('Identity', [steps(g, 'bias', [30000, -20000, 10000])]);
        return g.node('QGemm', [...x, ...matrix(g), bias, ...g.places(...Y)]);
      },
      ['n', 6],
    ],
  ])('with %s stay', (_, make, dims) => {
    const floats = withoutRounding(network(make, dims));
    expect(kinds(floats)).toEqual(expect.arrayContaining([expect.stringMatching(/^Q(Linear|Gemm)/)]));
  });

  /** What is made of x, whose steps are those of its own largest number. */
  const dynamic = (
    make: (g: QuantizedBuilder, x: string, whole: string[]) => string,
    dims: (string | number)[],
  ) => {
    const g = new QuantizedBuilder();
    const x = g.input('x', 'float32', dims);
    // A DynamicQuantizeMatMul has none before it.
    const whole = make.length > 2 ? g.split('DynamicQuantizeLinear', [x], {}, 3) : [];
    const y = make(g, x, whole);
    g.output(g.node('Neg', [y]), 'y', 'float32');
    return g.build('network');
  };
  const cast = (g: QuantizedBuilder, value: string) => g.node('Cast', [value], { to: 1 });
  /** A ConvInteger and a bias in steps that are given, as floats. */
  const withBias = (g: QuantizedBuilder, [x, scale, zero]: string[], steps: string, own: string) => {
    const w = g.steps('w', 'uint8', [3, 4, 3, 3]);
    const product = g.node('ConvInteger', [x, w, zero, g.zero('z', 'uint8', 120)]);
    const floor = g.node('Floor', [g.node('Div', [g.list('b', [3, -2, 1]), steps])]);
    const bias = g.node('Reshape', [g.node('Cast', [floor], { to: 6 }), g.integers([1, 3, 1, 1])]);
    return g.node('Mul', [cast(g, g.node('Add', [product, bias])), g.node('Mul', [scale, own])]);
  };
  const square = (g: QuantizedBuilder) => [g.steps('w', 'uint8', [6, 3]), g.zero('z', 'uint8', 120)];

  test.each<
    [string, (g: QuantizedBuilder, x: string, whole: string[]) => string, (string | number)[], string[]]
  >([
    [
      'MatMulInteger',
      (g, _, [x, scale, zero]) => {
        const [w, z] = square(g);
        const product = cast(g, g.node('MatMulInteger', [x, w, zero, z]));
        return g.node('Mul', [product, g.node('Mul', [scale, g.scalar(0.01)])]);
      },
      ['n', 5, 6],
      ['MatMul', 'Neg'],
    ],
    [
      'MatMulInteger with a scale for each output, one Mul behind the other',
      (g, _, [x, scale, zero]) => {
        const w = g.steps('w', 'int8', [6, 3]);
        const product = cast(g, g.node('MatMulInteger', [x, w, zero]));
        return g.node('Mul', [g.list('s', [0.001, 0.002, 0.003]), g.node('Mul', [scale, product])]);
      },
      ['n', 5, 6],
      ['MatMul', 'Neg'],
    ],
    [
      'ConvInteger',
      (g, _, [x, scale, zero]) => {
        const w = g.steps('w', 'uint8', [3, 4, 3, 3]);
        const z = g.zero('z', 'uint8', 120);
        const product = cast(g, g.node('ConvInteger', [x, w, zero, z], { strides: [2, 2] }));
        return g.node('Mul', [product, g.node('Mul', [scale, g.scalar(0.01)])]);
      },
      shape,
      ['Conv', 'Neg'],
    ],
    [
      'ConvInteger with a bias',
      (g, _, whole) => {
        const own = g.scalar(0.01);
        return withBias(g, whole, g.node('Mul', [whole[1], own]), own);
      },
      shape,
      ['Conv', 'Neg'],
    ],
    [
      'MatMulIntegerToFloat',
      (g, _, [x, scale, zero]) => {
        const [w, z] = square(g);
        return g.node('MatMulIntegerToFloat', [x, w, scale, g.scalar(0.01), zero, z, g.list('b', [1, 2, 3])]);
      },
      ['n', 5, 6],
      ['MatMul', 'Add', 'Neg'],
    ],
    [
      'DynamicQuantizeMatMul',
      (g, x) => {
        const [w, z] = square(g);
        return g.node('DynamicQuantizeMatMul', [x, w, g.scalar(0.01), z, g.list('b', [1, 2, 3])]);
      },
      ['n', 5, 6],
      ['MatMul', 'Add', 'Neg'],
    ],
    [
      'QAttention',
      (g, _, [x, scale, zero]) => {
        const weight = g.steps('w', 'int8', [6, 18]);
        const bias = g.floats('b', randomValue([18]).data, [18]);
        const mask = g.tensor(fromIntegers('mask', [5, 4], [2], 'int32'));
        const inputs = [x, weight, bias, scale, g.scalar(0.01), mask, zero, g.zero('z', 'int8', 0)];
        return g.node('QAttention', inputs, { num_heads: 2 });
      },
      [2, 5, 6],
      ['Attention', 'Neg'],
    ],
  ])('%s is a product of floats', async (_, make, dims, expected) => {
    const model = dynamic(make, dims);
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(expected);
    expect(quantizedLayers(floats)).toEqual([]);
    const input = randomValue([2, ...(dims.slice(1) as number[])]);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(ROUNDED);
    expect([...floats.tensors.values()].filter(({ type }) => /int8/.test(type))).toEqual([]);
  });

  test.each<[string, (g: QuantizedBuilder, name: string) => string[]]>([
    [
      'direction',
      (g, name) => [g.list(`${name}.s`, [0.002, 0.004]), g.bytes(`${name}.z`, 'int8', [5, -9], [2])],
    ],
    [
      'gate',
      (g, name) => {
        const scales = randomValue([2, 12], 5).data.map((x) => 0.004 + 0.003 * x);
        return [
          g.floats(`${name}.s`, scales, [2, 12]),
          g.bytes(`${name}.z`, 'int8', Array(24).fill(0), [2, 12]),
        ];
      },
    ],
  ])('DynamicQuantizeLSTM with a scale for each %s is an LSTM of floats', async (_, stepsOf) => {
    const g = new QuantizedBuilder();
    const x = g.input('x', 'float32', [5, 2, 4]); // steps first
    const weights = [g.steps('W', 'int8', [2, 4, 12]), g.steps('R', 'int8', [2, 3, 12], 9)];
    const inputs = [x, ...weights, g.floats('B', randomValue([2, 24]).data, [2, 24]), '', '', '', ''];
    const places = [...stepsOf(g, 'W'), ...stepsOf(g, 'R')];
    const attributes = { hidden_size: 3, direction: 'bidirectional' };
    g.output(g.node('DynamicQuantizeLSTM', [...inputs, ...places], attributes), 'y', 'float32');
    const model = g.build('recurrent');
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(['Transpose', 'Transpose', 'LSTM']);
    expect([...floats.tensors.values()].filter(({ type }) => type !== 'float32')).toEqual([]);
    const input = randomValue([5, 2, 4]);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(ROUNDED);
  });

  test('give the same with one weight that two of them read in other steps', async () => {
    const model = dynamic(
      (g, _, [x, scale, zero]) => {
        const [w, z] = square(g);
        const product = (own: number) => {
          const whole = cast(g, g.node('MatMulInteger', [x, w, zero, z]));
          return g.node('Mul', [whole, g.node('Mul', [scale, g.scalar(own)])]);
        };
        return g.node('Sub', [product(0.01), product(0.03)]);
      },
      ['n', 5, 6],
    );
    const floats = unrounded(model);
    expect(kinds(floats)).toEqual(['MatMul', 'MatMul', 'Sub', 'Neg']);
    const input = randomValue([2, 5, 6]);
    expect(difference(await runModel(floats, input), await runModel(model, input))).toBeLessThan(ROUNDED);
  });

  test.each<[string, (g: QuantizedBuilder, product: string, scale: string) => string]>([
    ['whole numbers go on', (g, product) => cast(g, product)],
    [
      'something is added before they are floats',
      (g, product, scale) => {
        const sum = g.node('Add', [product, steps(g, 'b', [1, 2, 3])]);
        return g.node('Mul', [cast(g, sum), g.node('Mul', [scale, g.scalar(0.01)])]);
      },
    ],
    [
      'the scale is of another one',
      (g, product) =>
        g.node('Mul', [cast(g, product), g.node('Mul', [g.node('Abs', [g.scalar(-1)]), g.scalar(0.01)])]),
    ],
    [
      'there are two scales',
      (g, product, scale) => {
        const half = g.node('Mul', [g.scalar(0.5), cast(g, product)]);
        return g.node('Mul', [half, g.node('Mul', [scale, g.scalar(0.01)])]);
      },
    ],
  ])('stay where %s', (_, make) => {
    const model = dynamic(
      (g, _, [x, scale, zero]) => {
        const [w, z] = square(g);
        return make(g, g.node('MatMulInteger', [x, w, zero, z]), scale);
      },
      ['n', 5, 6],
    );
    expect(withoutRounding(model)).toBe(model);
    expect(quantizedLayers(model)).toHaveLength(1);
  });

  test.each<[string, (g: QuantizedBuilder, scale: string) => string]>([
    ['the weights', (g, scale) => g.node('Mul', [scale, g.scalar(0.02)])],
    ['the input', (g) => g.node('Mul', [g.node('Abs', [g.scalar(-1)]), g.scalar(0.01)])],
  ])('stay where a bias is in steps of others than %s', (_, make) => {
    const model = dynamic((g, _, whole) => withBias(g, whole, make(g, whole[1]), g.scalar(0.01)), shape);
    expect(withoutRounding(model)).toBe(model);
  });
});
