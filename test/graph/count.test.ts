import { describe, expect, it } from 'vitest';
import {
  analyse,
  countMacs,
  countParameters,
  readModel,
  shrink,
  sizeAt,
  sizeTerms,
} from '../../src/graph/index.ts';
import { sum } from '../../src/graph/tensor.ts';
import { type NodeOptions, OnnxBuilder, resnet50 } from '../support/onnx-builder.ts';
import { attend, merge, multihead, project, split, WIDTH } from './attention-graphs.ts';
import { randomValue, shapesOf } from './running.ts';

describe('countParameters and countMacs', () => {
  it('count by hand', async () => {
    const b = new OnnxBuilder();
    let x = b.conv(b.input([3, 8, 8]), 4, 3, { stride: 2 }); // 16 positions
    x = b.depthwise(x, 3, { bias: false });
    x = b.node('ConvTranspose', [x, b.weight([4, 2, 2, 2], 1)], { strides: [2, 2] }, { channels: 2 });
    x = b.matmul(b.gemm(b.reshape(b.globalAveragePool(x), [-1, 2]), 5), 7);
    const model = await readModel(b.output(x).build());
    expect(countParameters(model)).toBe(4 * 27 + 4 + 4 * 9 + 32 + 10 + 5 + 35);
    const macs = 16 * 4 * 27 + 16 * 4 * 9 + 16 * 4 * 8 + 10 + 35;
    for (const n of [1, 3])
      expect(countMacs(model, await shapesOf(model, randomValue([n, 3, 8, 8])))).toBe(macs);
    expect(() => countMacs(model, new Map())).toThrow(/no shape for the value "conv_2"/);
  });

  it('count recurrent layers, attention and Einsum', async () => {
    const [t, n, d, h] = [5, 2, 6, 4];
    const recurrent = async (operator: string, gates: number, directions: number) => {
      const b = new OnnxBuilder();
      const weights = [d, h].map((width) => b.weight([directions, gates * h, width], 1));
      const direction = directions === 2 ? 'bidirectional' : 'forward';
      const x = b.node(operator, [b.feed('input', [t, 'n', d]), ...weights], { hidden_size: h, direction });
      const model = await readModel(b.output(x).build());
      // the batch is not the first axis: what is counted is a run of both samples
      return countMacs(model, await shapesOf(model, randomValue([t, n, d]))) * t;
    };
    expect(await recurrent('LSTM', 4, 1)).toBe(t * n * 4 * h * (d + h));
    expect(await recurrent('GRU', 3, 2)).toBe(2 * t * n * 3 * h * (d + h));
    expect(await recurrent('RNN', 1, 1)).toBe(t * n * h * (d + h));

    const b = new OnnxBuilder();
    const x = b.sequence(8);
    const attended = b.node('MultiHeadAttention', [x, x, x], { num_heads: 2 }, { domain: 'com.microsoft' });
    const product = b.node('Einsum', [attended, b.weight([8, 3], 1)], { equation: '...d,de->...e' });
    const model = await readModel(b.output(product).build());
    const shapes = await shapesOf(model, randomValue([2, t, 8]));
    expect(countMacs(model, shapes)).toBe(2 * t * t * 8 + t * 8 * 3);
  });

  const MICROSOFT = { domain: 'com.microsoft' };
  type Dims = readonly number[];
  it.each<[string, string, Dims[], Dims[], number, Record<string, number | string>, NodeOptions?]>([
    [
      'Gemm, which turns its first operand',
      'Gemm',
      [
        [6, 4],
        [6, 5],
      ],
      [[4, 5]],
      4 * 6 * 5,
      { transA: 1 },
    ],
    ['weights in blocks', 'MatMulNBits', [[2, 6], [5, 1, 3], [5]], [[2, 5]], 2 * 6 * 5, { K: 6 }, MICROSOFT],
    [
      'an attention that makes its queries, keys and values',
      'Attention',
      [
        [2, 5, 6],
        [6, 24],
      ],
      [[2, 5, 8]],
      10 * 6 * 24 + 2 * 80 * 5,
      { num_heads: 2 },
      MICROSOFT,
    ],
    [
      'queries, keys and values in one',
      'MultiHeadAttention',
      [[2, 5, 4, 3, 8]],
      [[2, 5, 32]],
      2 * 320 * 5,
      { num_heads: 4 },
      MICROSOFT,
    ],
    [
      'keys and values in one',
      'MultiHeadAttention',
      [
        [2, 3, 32],
        [2, 7, 4, 2, 8],
      ],
      [[2, 3, 32]],
      2 * 192 * 7,
      { num_heads: 4 },
      MICROSOFT,
    ],
    [
      'keys of a cache',
      'MultiHeadAttention',
      [
        [2, 1, 32],
        [2, 1, 32],
        [2, 1, 32],
      ],
      [
        [2, 1, 32],
        [2, 4, 7, 8],
      ],
      2 * 64 * 7,
      { num_heads: 4 },
      MICROSOFT,
    ],
    [
      'Einsum, which repeats an axis of 1',
      'Einsum',
      [
        [3, 4],
        [1, 4],
      ],
      [[3, 4]],
      3 * 4,
      { equation: 'ij,ij->ij' },
    ],
    [
      'Einsum of one operand, which multiplies nothing',
      'Einsum',
      [[3, 4]],
      [[4, 3]],
      0,
      { equation: 'ij->ji' },
    ],
  ])('count %s', async (_, operator, inputs, outputs, expected, attributes, options) => {
    const b = new OnnxBuilder();
    const given = inputs.map((dims, i) => b.feed(`input_${i}`, dims));
    const made = b.nodes(operator, given, attributes, { ...options, outputs: outputs.length });
    const model = await readModel(b.output(made[0]).build());
    const shapes = new Map([...given, ...made].map((name, i) => [name, [...inputs, ...outputs][i]]));
    expect(countMacs(model, shapes) * inputs[0][0]).toBe(expected); // not every first axis is the batch
  });

  it('are as they will be where heads are merged with the batch, of which the run that was analysed had more', async () => {
    const b = new OnnxBuilder();
    const model = await readModel(b.output(multihead(b, b.sequence(WIDTH))).build());
    const [two, one] = [2, 1].map((n) => randomValue([n, 5, WIDTH]));
    const analysis = analyse(model, await shapesOf(model, two));
    const [heads] = analysis.structures.filter(({ prunable }) => prunable);
    const small = shrink(model, new Map([[heads, [0, 4]]]));
    const { macs } = sizeTerms(model, analysis, await shapesOf(model, one));
    const kept = 2 / heads.groups;
    expect(sizeAt(macs, () => kept)).toBeCloseTo(countMacs(small, await shapesOf(small, one)), 6);
  });

  it('have the bias that a layer of queries, keys and values may be given fall with each of them', async () => {
    const b = new OnnxBuilder({ opset: 13 });
    const x = b.sequence(WIDTH);
    const flat = b.gemm(b.reshape(x, [-1, WIDTH]), 3 * WIDTH, { bias: false });
    const fused = b.node('Reshape', [flat, b.integers([-1, 5, 3 * WIDTH])], {}, { channels: 3 * WIDTH });
    const parts = [fused, b.integers([WIDTH, WIDTH, WIDTH])];
    const [q, k, v] = b
      .nodes('Split', parts, { axis: 2 }, { outputs: 3, channels: WIDTH })
      .map((part) => split(b, part, 6));
    const model = await readModel(project(b, merge(b, attend(b, q, k, v), WIDTH)).build());
    const shapes = await shapesOf(model, randomValue([2, 5, WIDTH]));
    const analysis = analyse(model, shapes, { heads: 'narrow' });
    const [keys, values] = analysis.structures.filter(({ features }) => features);
    const { parameters } = sizeTerms(model, analysis, shapes);
    for (const [left, right] of [
      [4, 16],
      [16, 4],
      [3, 7],
    ]) {
      const few = (count: number) => Array.from({ length: count }, (_, i) => i);
      const small = shrink(
        model,
        new Map([
          [keys, few(left)],
          [values, few(right)],
        ]),
      );
      const kept = new Map([
        [keys.name, left / 16],
        [values.name, right / 16],
      ]);
      const biases = 6 * (2 * left + right);
      expect(sizeAt(parameters, (name) => kept.get(name) ?? 1)).toBeCloseTo(
        countParameters(small) + biases,
        6,
      );
    }
  });

  /** Layers of 2, 3 and 4 channels side by side. */
  const sideBySide = (b: OnnxBuilder, branches: number) => {
    const x = b.input([3, 4, 4]);
    const layers = Array.from({ length: branches }, (_, i) => b.conv(x, 2 + (i % 3), 1));
    const channels = sum(layers.map((value) => b.channels(value)));
    return b.node('Concat', layers, { axis: 1 }, { channels });
  };

  it('are told of many structures side by side by few questions', async () => {
    const asked = async (branches: number) => {
      const b = new OnnxBuilder();
      const model = await readModel(b.output(b.conv(sideBySide(b, branches), 2, 3)).build());
      const known = await shapesOf(model, randomValue([1, 3, 4, 4]));
      let count = 0;
      const counting = (value: string) => {
        count++;
        return known.get(value);
      };
      const analysis = analyse(model, known);
      const terms = sizeTerms(model, analysis, Object.assign(new Map(known), { get: counting }));
      const layers = analysis.structures.filter(({ prunable }) => prunable);
      expect(layers).toHaveLength(branches);
      const small = shrink(model, new Map(layers.map((it, i) => [it, i % 2 ? [0] : [0, 1]])));
      const ratios = new Map(layers.map(({ name, groups }, i) => [name, (i % 2 ? 1 : 2) / groups]));
      const kept = (name: string) => ratios.get(name)!;
      const shapes = await shapesOf(small, randomValue([1, 3, 4, 4]));
      expect(sizeAt(terms.macs, kept)).toBeCloseTo(countMacs(small, shapes), 6);
      expect(sizeAt(terms.weights, kept)).toBeCloseTo(countParameters(small), 6);
      return count;
    };
    expect(await asked(40)).toBeLessThan(6 * (await asked(10)));
  });

  it('fall with the square of many structures that are multiplied with themselves', async () => {
    const b = new OnnxBuilder();
    const rows = b.reshape(sideBySide(b, 8), [0, 0, 16]);
    const product = b.node('MatMul', [rows, b.node('Transpose', [rows], { perm: [0, 2, 1] })]);
    const model = await readModel(b.output(product).build());
    const shapes = await shapesOf(model, randomValue([1, 3, 4, 4]));
    const structures = analyse(model, shapes).structures.map((it) => ({ ...it, prunable: true }));
    const { macs } = sizeTerms(model, { structures }, shapes);
    const layers = 16 * 3 * 23; // 8 layers have 23 channels
    expect(sizeAt(macs, () => 1)).toBe(layers + 16 * 23 ** 2);
    expect(sizeAt(macs, () => 0.5)).toBe(layers / 2 + 4 * 23 ** 2);
  });

  it('agree with the published size of ResNet50', async () => {
    const model = await readModel(resnet50());
    expect(countParameters(model) / 1e6).toBeCloseTo(25.53, 1);
    const macs = countMacs(model, await shapesOf(model, randomValue([1, 3, 224, 224])));
    expect(macs / 1e9).toBeCloseTo(4.09, 1); // the stride in the 3x3 convolutions, as torchvision has it
  });
});
