import { describe, expect, it, test } from 'vitest';
import {
  foldBatchNormalization,
  foldConstants,
  foldScales,
  linearMaps,
  type Model,
  readModel,
  toFloat32,
  withoutCasts,
  writeModel,
} from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { difference, randomValue, runModel, shapesOf } from './running.ts';

const input = randomValue([2, 3, 6, 6]);
const norms = (model: Model) => model.nodes.filter((node) => node.opType === 'BatchNormalization').length;

async function folded(b: OnnxBuilder) {
  const model = await readModel(b.build());
  const before = writeModel(model).model;
  const result = foldBatchNormalization(model);
  expect(writeModel(model).model).toEqual(before);
  expect(difference(await runModel(model, input), await runModel(result, input))).toBeLessThan(1e-5);
  return result;
}

describe('foldBatchNormalization', () => {
  it('folds into convolutions with and without a bias, grouped and depthwise', async () => {
    const b = new OnnxBuilder();
    let x = b.relu(b.batchNormalization(b.conv(b.input([3, 6, 6]), 8, 3, { bias: false })));
    x = b.relu(b.batchNormalization(b.conv(x, 6, 3, { group: 2 })));
    x = b.batchNormalization(b.depthwise(x, 3, { bias: false }));
    const model = await folded(b.output(x));
    expect(norms(model)).toBe(0);
    expect([...model.tensors.keys()].length).toBe(6);
  });

  it('folds into Gemm, whatever its layout, alpha and beta', async () => {
    const b = new OnnxBuilder();
    let x = b.flatten(b.globalAveragePool(b.input([3, 6, 6])));
    x = b.batchNormalization(b.gemm(x, 7, { transB: 0, alpha: 0.5, beta: 2 }));
    x = b.batchNormalization(b.gemm(x, 5, { bias: false, alpha: 3 }));
    expect(norms(await folded(b.output(x)))).toBe(0);
  });

  it('leaves a normalisation alone behind one of several nodes with the same weights', async () => {
    const b = new OnnxBuilder();
    const W = b.weight([3, 3, 1, 1], 0.5);
    const conv = (x: string) => b.node('Conv', [x, W], {}, { channels: 3 });
    const model = await folded(
      b.output(b.batchNormalization(conv(b.batchNormalization(conv(b.input([3, 6, 6])))))),
    );
    expect(norms(model)).toBe(2);
    const convs = model.nodes.filter(({ opType }) => opType === 'Conv');
    expect(new Set(convs.map((node) => node.input[1])).size).toBe(1);
  });

  it('leaves a normalisation alone whose input someone else needs, or that follows no layer', async () => {
    const b = new OnnxBuilder();
    const x = b.conv(b.batchNormalization(b.input([3, 6, 6])), 4, 3);
    expect(norms(await folded(b.output(b.add(b.batchNormalization(x), x))))).toBe(2);
  });

  it('leaves a normalisation alone behind a layer that is an output, or where a bias or a scale is computed', async () => {
    const b = new OnnxBuilder();
    const x = b.conv(b.input([3, 6, 6]), 4, 3);
    const computed = () => b.node('Abs', [b.weight([5], 0.5)]);
    const y = b.node(
      'Conv',
      [b.batchNormalization(x), b.weight([5, 4, 1, 1], 0.5), computed()],
      {},
      { channels: 5 },
    );
    const z = b.conv(b.batchNormalization(y), 5, 3);
    const scaled = b.node('BatchNormalization', [
      z,
      computed(),
      ...[0, 0.1, 1].map((it) => b.floats(Array(5).fill(it))),
    ]);
    expect(norms(await folded(b.output(scaled).output(x)))).toBe(3);
  });

  it('leaves a normalisation alone behind a transposed convolution in groups, whose weights have the channels of one', async () => {
    const b = new OnnxBuilder();
    const inputs = [b.conv(b.input([3, 6, 6]), 4, 3), b.weight([4, 3, 2, 2], 0.5)];
    const x = b.node('ConvTranspose', inputs, { group: 2 }, { channels: 6 });
    expect(norms(await folded(b.output(b.batchNormalization(x))))).toBe(1);
  });

  it.each<readonly [number, outputs: number]>([
    [1, 1],
    [0, 3],
  ])('leaves one alone that looks at its samples: mode %d, %d outputs', async (training_mode, outputs) => {
    const b = new OnnxBuilder();
    const values = [1, 0, 0, 1].map((value) => b.floats([value, value]));
    const inputs = [b.conv(b.input([3, 6, 6]), 2, 3), ...values];
    const [y] = b.nodes('BatchNormalization', inputs, { training_mode }, { outputs });
    expect(norms(foldBatchNormalization(await readModel(b.output(y).build())))).toBe(1);
  });

  it('keeps half precision', async () => {
    const b = new OnnxBuilder({ type: 'float16' });
    const x = b.batchNormalization(b.conv(b.input([3, 6, 6]), 4, 3));
    const model = foldBatchNormalization(await readModel(b.output(x).build()));
    expect([...model.tensors.values()].map((t) => t.type)).toEqual(['float16', 'float16']);
    expect(toFloat32([...model.tensors.values()][0]).every(Number.isFinite)).toBe(true);
  });
});

describe('foldConstants', () => {
  const transposed = (b: OnnxBuilder, w: string) => b.node('Transpose', [w], { perm: [1, 0] });

  it('makes transposed and shared weights constants of the layers that read them', async () => {
    const b = new OnnxBuilder();
    const shared = b.weight([6], 0.3);
    const same = b.node('Identity', [shared]);
    let x = b.add(
      b.node('MatMul', [b.input([3, 6, 6]), transposed(b, b.weight([8, 6], 0.4))]),
      b.weight([8], 0.3),
    );
    x = b.node('MatMul', [b.relu(x), transposed(b, b.node('Identity', [b.weight([6, 8], 0.4)]))]);
    const model = await readModel(b.output(b.add(b.mul(x, shared), same)).build());
    const before = writeModel(model).model;
    const folded = foldConstants(model);
    expect(writeModel(model).model).toEqual(before);
    expect(folded.nodes.map((node) => node.opType)).toEqual([
      'MatMul',
      'Add',
      'Relu',
      'MatMul',
      'Mul',
      'Add',
    ]);
    expect(folded.tensors.size).toBe(4);
    expect(await runModel(folded, input)).toEqual(await runModel(model, input));
  });

  it('takes in Casts of weights to float32, unless others read them', async () => {
    const b = new OnnxBuilder({ type: 'float16' });
    const [own, other] = [b.weight([6, 5], 0.5), b.weight([5, 5], 0.5)];
    const single = (w: string) => b.node('Cast', [w], { to: 1 });
    const y = b.node('MatMul', [b.feed('input', ['n', 6], 'float32'), single(own)]);
    const z = b.node('Cast', [b.node('MatMul', [y, single(other)])], { to: 10 });
    const model = await readModel(b.output(b.node('MatMul', [z, other])).build());
    const folded = foldConstants(model);
    expect(folded.nodes.map(({ opType }) => opType)).toEqual(['MatMul', 'Cast', 'MatMul', 'Cast', 'MatMul']);
    expect(folded.tensors.get(folded.nodes.find(({ opType }) => opType === 'MatMul')!.input[1])!.type).toBe(
      'float32',
    );
    const rows = randomValue([3, 6]);
    expect(await runModel(folded, rows)).toEqual(await runModel(model, rows));
  });

  it('has recurrent layers give every step', async () => {
    const b = new OnnxBuilder();
    const x = b.feed('input', [5, 'n', 6]);
    const weights = [6, 4].map((width) => b.weight([1, 12, width], 0.5));
    const [, last] = b.nodes('GRU', [x, ...weights], { hidden_size: 4 }, { outputs: 2 });
    const model = await readModel(b.output(last).build());
    const [node] = model.nodes;
    node.output[0] = '';
    model.edited();
    const folded = foldConstants(model);
    expect(folded.nodes[0].output).toEqual([expect.stringMatching(/./), last]);
    const steps = randomValue([5, 3, 6]);
    expect(await runModel(folded, steps)).toEqual(await runModel(model, steps));
  });

  it('leaves out first states of zeros, and what made them', async () => {
    const b = new OnnxBuilder();
    const x = b.feed('input', [5, 'n', 6]);
    const [W, R] = [6, 4].map((width) => b.weight([1, 16, width], 0.5));
    const count = b.node('Slice', [b.node('Shape', [x]), b.integers([1]), b.integers([2])]);
    const shape = b.node('Concat', [b.integers([2]), count, b.integers([4])], { axis: 0 });
    const piece = (of: string) => b.node('Slice', [of, b.integers([0]), b.integers([1])]);
    const zeros = piece(b.node('ConstantOfShape', [shape]));
    const ones = piece(b.node('Expand', [b.floats([1]), shape]));
    const y = b.node('LSTM', [x, W, R, '', '', ones, zeros], { hidden_size: 4 });
    const model = await readModel(b.output(y).build());
    const folded = foldConstants(model);
    expect(folded.nodes.at(-1)!.input).toEqual([x, W, R, '', '', ones, '']);
    const kinds = (of: typeof model) => of.nodes.map(({ opType }) => opType);
    expect(kinds(model)).toEqual([
      'Shape',
      'Slice',
      'Concat',
      'ConstantOfShape',
      'Slice',
      'Expand',
      'Slice',
      'LSTM',
    ]);
    expect(kinds(folded)).toEqual(['Shape', 'Slice', 'Concat', 'Expand', 'Slice', 'LSTM']);
    const steps = randomValue([5, 3, 6]);
    expect(await runModel(folded, steps)).toEqual(await runModel(model, steps));
  });

  it.each([
    ['GRU', 3],
    ['RNN', 1],
  ])('leaves out a first state of %s that is a constant of zeros', async (kind, gates) => {
    const b = new OnnxBuilder();
    const x = b.feed('input', [5, 3, 6]);
    const [W, R] = [6, 4].map((width) => b.weight([1, 4 * gates, width], 0.5));
    const y = b.node(kind, [x, W, R, '', '', b.floats(new Float32Array(12), [1, 3, 4])], { hidden_size: 4 });
    const { nodes } = foldConstants(await readModel(b.output(y).build()));
    expect(nodes.map((node) => node.input)).toEqual([[x, W, R, '', '', '']]);
  });

  it('leaves out biases of zeros, copies and lists of axes, as PyTorch writes them without its optimiser', async () => {
    const b = new OnnxBuilder({ opset: 18 });
    const [x, W] = [b.input([3, 6, 6]), b.weight([4, 3, 1, 1], 0.5)];
    const zero = b.node('CastLike', [b.floats([0], []), x]);
    const zeros = b.node('Expand', [zero, b.node('Shape', [W], { end: 1 })]);
    const y = b.batchNormalization(b.node('Conv', [x, W, zeros], {}, { channels: 4 }));
    const axes = b.node('Cast', [b.node('Reshape', [b.integers([-1, -2]), b.integers([-1])])], { to: 7 });
    const model = await readModel(
      b.output(b.node('ReduceMean', [b.node('Identity', [y]), axes], {}, { channels: 4 })).build(),
    );
    const folded = foldBatchNormalization(foldConstants(model));
    expect(folded.nodes.map((node) => node.opType)).toEqual(['Conv', 'ReduceMean']);
    expect(difference(await runModel(model, input), await runModel(folded, input))).toBeLessThan(1e-6);
  });

  it('makes zeros that pieces are taken from for each piece', async () => {
    const b = new OnnxBuilder();
    const zeros = b.node('Expand', [b.floats([0], []), b.integers([2, 6])]);
    const [first, second] = [0, 1].map((at) => b.node('Gather', [zeros, b.index(at)]));
    const model = await readModel(b.output(b.add(b.add(b.input([3, 6, 6]), first), second)).build());
    const folded = foldConstants(model);
    const made = folded.nodes.filter(({ opType }) => opType === 'Gather').map((node) => node.input[0]);
    expect(new Set(made).size).toBe(2);
    expect(await runModel(folded, input)).toEqual(await runModel(model, input));
  });

  it('has pieces that end at the number of all elements go to the end, as PyTorch writes a roll', async () => {
    const b = new OnnxBuilder();
    const x = b.input([3, 6, 6]);
    const count = (value: string) => b.node('Reshape', [b.node('Size', [value]), b.integers([-1])]);
    const [from, axis] = [b.integers([2]), b.integers([3])];
    const behind = b.node('Slice', [x, from, count(x), axis], {}, { channels: 3 });
    const before = b.node('Slice', [x, b.integers([0]), from, axis], {}, { channels: 3 });
    const rolled = b.node('Concat', [behind, before], { axis: 3 }, { channels: 3 });
    const other = b.node('Slice', [rolled, from, count(x), axis], {}, { channels: 3 });
    const model = await readModel(b.output(other).build());
    const folded = foldConstants(model);
    const kinds = folded.nodes.map(({ opType }) => opType);
    expect(kinds).toEqual(['Slice', 'Slice', 'Concat', 'Size', 'Reshape', 'Slice']);
    expect(await runModel(folded, input)).toEqual(await runModel(model, input));
  });

  it('leaves out a CastLike of a weight that has the type already, and no other', async () => {
    const b = new OnnxBuilder();
    const [x, scale] = [b.input([3, 6, 6]), b.weight([3, 1, 1], 1)];
    const model = await readModel(b.output(b.mul(x, b.node('CastLike', [scale, x]))).build());
    const kinds = (type: string) => withoutCasts(model, new Map([[x, type]])).nodes.map((it) => it.opType);
    expect(kinds('float32')).toEqual(['Mul']);
    expect(kinds('float16')).toEqual(['CastLike', 'Mul']);
  });

  it('turns the axes of a constant of any rank', async () => {
    const b = new OnnxBuilder();
    const turned = b.node('Transpose', [b.weight([6, 1, 3, 6], 1)], { perm: [1, 2, 3, 0] });
    const model = await readModel(b.output(b.mul(b.input([3, 6, 6]), turned)).build());
    const folded = foldConstants(model);
    expect(folded.nodes.map((node) => node.opType)).toEqual(['Mul']);
    expect(await runModel(folded, input)).toEqual(await runModel(model, input));
  });

  it('turns a constant once that several read turned alike, unless one of them has a name of its own', async () => {
    const b = new OnnxBuilder();
    const tied = b.weight([6, 6], 0.4);
    const [first, second] = [transposed(b, tied), transposed(b, tied)];
    b.output(b.node('MatMul', [b.node('MatMul', [b.input([3, 6, 6]), first]), second]));
    const model = await readModel(b.build());
    const folded = foldConstants(model);
    expect(folded.nodes.map((node) => node.opType)).toEqual(['MatMul', 'MatMul']);
    expect(folded.nodes[0].input[1]).toBe(folded.nodes[1].input[1]);
    expect(await runModel(folded, input)).toEqual(await runModel(model, input));
    const named = foldConstants(await readModel(b.output(second).build()));
    expect(named.nodes.map((node) => node.opType)).toEqual(['Transpose', 'Transpose', 'MatMul', 'MatMul']);
  });

  it('computes once what is made of weights for each node that reads them, through Identity and Cast too', async () => {
    const b = new OnnxBuilder({ type: 'float16' });
    const shared = b.weight([6, 6], 0.4);
    const own = () => transposed(b, b.node('Cast', [b.node('Identity', [shared])], { to: 1 }));
    const x = b.feed('input', ['n', 6], 'float32');
    const y = b.node('MatMul', [b.node('MatMul', [x, own()]), own()]);
    const model = await readModel(b.output(b.node('Cast', [y], { to: 10 })).build());
    const folded = foldConstants(model);
    expect(folded.nodes.map((node) => node.opType)).toEqual(['MatMul', 'MatMul', 'Cast']);
    expect(folded.nodes[0].input[1]).toBe(folded.nodes[1].input[1]);
    const rows = randomValue([3, 6]);
    expect(await runModel(folded, rows)).toEqual(await runModel(model, rows));
  });

  it('leaves a constant of another name to the graphs inside a node that read it by that name', async () => {
    const b = new OnnxBuilder();
    const x = b.node('Identity', [b.weight([6, 6], 0.4)]);
    const branch = (opType: string) => {
      const own = new OnnxBuilder();
      own.feed(x, [6, 6]);
      return { graph: own.output(own.node(opType, [x]), `${opType} of it`).graph() };
    };
    const branches = { then_branch: branch('Relu'), else_branch: branch('Abs') };
    const model = await readModel(b.output(b.node('If', [b.feed('which', [], 'bool')], branches)).build());
    expect(foldConstants(model).nodes.map(({ opType }) => opType)).toEqual(['Identity', 'If']);
  });

  it('computes twice what differs by an attribute, or is several values', async () => {
    const b = new OnnxBuilder();
    const w = b.weight([6, 6], 0.4);
    const [a, z] = [0, 1].map((axis) => b.node('Softmax', [w], { axis }));
    const halves = [0, 0].map((axis) => b.nodes('Split', [w], { axis }, { outputs: 2 })[1]);
    const model = await readModel(b.output(b.node('Concat', [a, z, ...halves], { axis: 0 })).build());
    const kinds = foldConstants(model).nodes.map(({ opType }) => opType);
    expect(kinds).toEqual(['Softmax', 'Softmax', 'Split', 'Split', 'Concat']);
  });

  it('leaves random numbers apart', async () => {
    const b = new OnnxBuilder();
    const like = b.weight([6], 0.4);
    const [one, other] = [0, 1].map(() => b.node('RandomNormalLike', [like]));
    const y = b.add(b.add(b.input([6]), one), other);
    const { nodes } = foldConstants(await readModel(b.output(y).build()));
    expect(nodes.filter(({ opType }) => opType === 'RandomNormalLike')).toHaveLength(2);
  });

  it('leaves a constant that others read too, and one that is an output', async () => {
    const b = new OnnxBuilder();
    const tied = b.weight([6, 6], 0.4);
    const x = b.node('MatMul', [b.node('MatMul', [b.input([3, 6, 6]), tied]), transposed(b, tied)]);
    const model = await readModel(
      b
        .output(x)
        .output(transposed(b, b.weight([2, 3], 1)))
        .build(),
    );
    expect(foldConstants(model).nodes.map((node) => node.opType)).toEqual([
      'MatMul',
      'Transpose',
      'MatMul',
      'Transpose',
    ]);
  });
});

describe('foldScales', () => {
  /** Channels of a kind by a constant each, in one of its forms, between a layer and a sum. */
  const blocks: Record<string, (b: OnnxBuilder, x: string) => string> = {
    'a MatMul and its bias': (b, x) =>
      b.mul(b.add(b.node('MatMul', [x, b.weight([6, 6], 1)], {}), b.weight([6], 1)), b.weight([6], 1)),
    'a MatMul without one, the constant in front': (b, x) =>
      b.mul(b.weight([1, 1, 6], 1), b.node('MatMul', [x, b.weight([6, 6], 1)], {})),
    'a bias that is read by others': (b, x) => {
      const bias = b.weight([6], 1);
      const y = b.mul(b.add(b.node('MatMul', [x, b.weight([6, 6], 1)], {}), bias), b.weight([6], 1));
      return b.add(y, b.mul(x, bias));
    },
  };

  test.each(Object.entries(blocks))('takes them into %s', async (_, block) => {
    const b = new OnnxBuilder();
    const x = b.input([5, 6]);
    const model = await readModel(b.output(b.add(x, block(b, x))).build());
    const muls = (it: Model) => it.nodes.filter(({ opType }) => opType === 'Mul').length;
    const result = foldScales(model);
    expect(muls(result)).toBe(muls(model) - 1);
    const input = randomValue([2, 5, 6]);
    expect(difference(await runModel(model, input), await runModel(result, input))).toBeLessThan(1e-5);
  });

  test.each([
    [[6, 1, 1], 1],
    [[1, 6, 1, 1], 1],
    [[6], 0], // of columns of images
  ])('of a convolution by a constant of %j', async (dims, count) => {
    const b = new OnnxBuilder();
    const x = b.input([6, 6, 6]);
    const model = await readModel(b.output(b.add(b.mul(b.conv(x, 6, 1), b.weight(dims, 1)), x)).build());
    const result = foldScales(model);
    expect(result.nodes).toHaveLength(model.nodes.length - count);
    const input = randomValue([2, 6, 6, 6]);
    expect(difference(await runModel(model, input), await runModel(result, input))).toBeLessThan(1e-5);
    const [map] = linearMaps(result, await shapesOf(result, input));
    expect(map.residual !== undefined).toBe(count === 1);
  });

  const matmul = (b: OnnxBuilder, x: string) => b.node('MatMul', [x, b.weight([6, 6], 1)], {});
  test.each<[string, (b: OnnxBuilder, x: string) => string]>([
    ['no sum reads them', (b, x) => b.relu(b.mul(matmul(b, x), b.weight([6], 1)))],
    ['a constant is added', (b, x) => b.add(b.mul(matmul(b, x), b.weight([6], 1)), b.weight([6], 1))],
    ['they are one for all', (b, x) => b.add(b.mul(matmul(b, x), b.weight([1], 1)), x)],
    ['they are of rows', (b, x) => b.add(b.mul(matmul(b, x), b.weight([6, 1], 1)), x)],
    [
      'others read the layer',
      (b, x) => {
        const y = matmul(b, x);
        return b.add(b.mul(y, b.weight([6], 1)), y);
      },
    ],
    [
      'others have its weights',
      (b, x) => {
        const W = b.weight([6, 6], 1);
        const y = b.node('MatMul', [x, W], {});
        return b.add(b.mul(b.node('MatMul', [b.relu(y), W], {}), b.weight([6], 1)), y);
      },
    ],
    ['there is no layer', (b, x) => b.add(b.mul(b.relu(x), b.weight([6], 1)), x)],
    [
      'the layer has two biases',
      (b, x) => {
        const y = b.node('Conv', [x, b.weight([6, 6, 1], 1), b.weight([6], 1)]);
        return b.add(b.mul(b.add(y, b.weight([6, 1], 1)), b.weight([6, 1], 1)), x);
      },
    ],
    [
      'what they make is an output',
      (b, x) => {
        const y = b.mul(matmul(b, x), b.weight([6], 1));
        b.output(y);
        return b.add(y, x);
      },
    ],
  ])('leaves them where %s', async (_, build) => {
    const b = new OnnxBuilder();
    const model = await readModel(b.output(build(b, b.input([6, 6]))).build());
    expect(foldScales(model).nodes).toHaveLength(model.nodes.length);
  });
});
