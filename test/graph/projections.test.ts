import { describe, expect, it } from 'vitest';
import { analyse, type Model, readModel, separateProjections } from '../../src/graph/index.ts';
import { type Attribute, OnnxBuilder } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { cutDifference } from './masking.ts';
import { difference, randomChannels, randomValue, runModel, shapesOf } from './running.ts';

const MICROSOFT = { domain: 'com.microsoft' };
const WIDTH = 8;
const input = randomValue([2, 5, WIDTH]);
const operators = ({ nodes }: Model) => nodes.map(({ opType }) => opType);

/** Which of the positions of each sample count, and how many. */
function masks(b: OnnxBuilder) {
  const mean = b.node('ReduceMean', ['input'], { axes: [2], keepdims: 0 });
  const places = b.node('Cast', [b.node('Greater', [mean, b.floats([-0.1], [])])], { to: 6 });
  return { places, lengths: b.node('ReduceSum', [places, b.integers([1])], { keepdims: 0 }) };
}

/** A stream that an Attention reads, and what it gives is added to. */
function block(more: (b: OnnxBuilder) => string[], attributes: Record<string, Attribute> = {}, outputs = 1) {
  const b = new OnnxBuilder();
  const x = b.matmul(b.sequence(WIDTH), WIDTH);
  const own = [b.weight([WIDTH, 3 * WIDTH], 0.3), ...more(b)];
  const [y] = b.nodes('Attention', [x, ...own], { num_heads: 4, ...attributes }, { ...MICROSOFT, outputs });
  return b.output(b.matmul(b.add(x, b.matmul(y, WIDTH)), 3));
}

const bias = (b: OnnxBuilder) => b.weight([3 * WIDTH], 0.3);

describe('separateProjections', () => {
  it.each<[string, OnnxBuilder]>([
    ['a bias, in one direction', block((b) => [bias(b)], { unidirectional: 1, scale: { float: 0.4 } })],
    ['positions that count', block((b) => [bias(b), masks(b).places])],
    ['numbers of positions', block((b) => [bias(b), masks(b).lengths], { do_rotary: 0 })],
    [
      'what is added to scores',
      block((b) => {
        const row = b.node('Unsqueeze', [b.node('ReduceMean', ['input'], { axes: [2] }), b.integers([1])]);
        const square = b.node('MatMul', [row, b.node('Transpose', [row], { perm: [0, 1, 3, 2] })]);
        return [bias(b), '', '', square];
      }),
    ],
  ])('makes a layer of the weights of an Attention with %s', async (_, b) => {
    const before = await readModel(b.build());
    const model = separateProjections(before, await shapesOf(before, input));
    expect(operators(model)).not.toContain('Attention');
    expect(difference(await runModel(before, input), await runModel(model, input))).toBeLessThan(1e-6);
    const { structures } = analyse(model, await shapesOf(model, input), { residual: true });
    const prunable = structures.filter((structure) => structure.prunable);
    expect(prunable.map(({ kind, groups }) => [kind, groups])).toEqual([
      ['channel', WIDTH],
      ['head', 4],
    ]);
    const next = random(5);
    const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, next)]));
    for (const dims of [input.dims, [3, 4, WIDTH]])
      expect(await cutDifference(model, cuts, randomValue(dims, 9))).toBeLessThan(2e-5);
  });

  it('leaves what MultiHeadAttention does not do', async () => {
    const past = (b: OnnxBuilder) => b.weight([2, 2, 4, 3, WIDTH / 4], 0.3);
    const builds = [
      block((b) => [bias(b), '', past(b)], {}, 2),
      block((b) => [bias(b)], { qkv_hidden_sizes: [WIDTH, WIDTH, WIDTH] }),
      block((b) => [b.node('Abs', [bias(b)])]),
      block((b) => {
        const { places } = masks(b);
        return [
          bias(b),
          b.node('Expand', [b.node('Unsqueeze', [places, b.integers([1])]), b.integers([1, 5, 1])]),
        ];
      }),
    ];
    for (const b of builds) {
      const model = await readModel(b.build());
      expect(separateProjections(model, await shapesOf(model, input))).toBe(model);
    }
  });
});
