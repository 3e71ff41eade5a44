import { describe, expect, it } from 'vitest';
import { analyse, countParameters, readModel, separateGroups } from '../../src/graph/index.ts';
import { OnnxBuilder, shuffle } from '../support/onnx-builder.ts';
import { random } from '../support/random.ts';
import { cutDifference } from './masking.ts';
import { difference, randomChannels, randomValue, runModel, shapesOf } from './running.ts';

const IMAGE = [2, 3, 8, 8];
const head = (b: OnnxBuilder, x: string) => b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5));

async function apart(b: OnnxBuilder) {
  const before = await readModel(b.build());
  const model = separateGroups(before);
  const input = randomValue(IMAGE);
  expect(difference(await runModel(before, input), await runModel(model, input))).toBeLessThan(1e-6);
  return { before, model, input, operators: model.nodes.map(({ opType }) => opType) };
}

/** What can be pruned before and behind it; halves of it are right. */
async function separated(b: OnnxBuilder) {
  const { before, model, input } = await apart(b);
  expect(countParameters(model)).toBe(countParameters(before));
  const prunable = async (of: typeof model) =>
    analyse(of, await shapesOf(of, input), { residual: true }).structures.filter(({ prunable }) => prunable);
  const [old, own] = [await prunable(before), await prunable(model)];
  const next = random(3);
  const cuts = new Map(own.map((structure) => [structure, randomChannels(structure, next)]));
  expect(await cutDifference(model, cuts, input)).toBeLessThan(2e-5);
  return { model, groups: [old, own].map((list) => list.map(({ groups }) => groups)) };
}

describe('separateGroups', () => {
  for (const opset of [11, 18]) {
    it(`lets each group lose channels of its own, behind a shuffle too: opset ${opset}`, async () => {
      const b = new OnnxBuilder({ opset });
      const x = b.relu(b.conv(b.input([3, 8, 8]), 12, 3));
      const inner = b.depthwise(shuffle(b, b.relu(b.conv(x, 6, 1, { group: 2 })), 2), 3);
      const y = b.relu(b.add(x, b.conv(inner, 12, 1, { group: 2, bias: false })));
      const { groups } = await separated(head(b, y));
      expect(groups).toEqual([[], [6, 6, 2, 1, 1, 2].filter((it) => it > 1)]);
    });
  }

  it('leaves shared weights shared', async () => {
    const b = new OnnxBuilder();
    const [W, bias] = [b.weight([6, 3, 3, 3], 0.3), b.weight([6], 0.3)];
    const conv = (x: string) =>
      b.relu(b.node('Conv', [x, W, bias], { group: 2, pads: [1, 1, 1, 1] }, { channels: 6 }));
    const { model } = await separated(head(b, conv(conv(b.conv(b.input([3, 8, 8]), 6, 3)))));
    const weights = model.nodes.flatMap(({ opType, input }) => (opType === 'Conv' ? [input[1]] : []));
    expect([weights.length, new Set(weights).size]).toEqual([5, 3]);
  });

  it('divides weights that convolutions in other groups share for each of them', async () => {
    const b = new OnnxBuilder();
    const W = b.weight([6, 3, 3, 3], 0.3);
    const conv = (x: string, group: number) =>
      b.relu(b.node('Conv', [x, W], { group, pads: [1, 1, 1, 1] }, { channels: 6 }));
    const x = b.input([3, 8, 8]);
    const { operators } = await apart(head(b, b.add(conv(b.conv(x, 6, 3), 2), conv(b.conv(x, 9, 3), 3))));
    expect(operators.filter((it) => it === 'Split').length).toBe(2);
  });

  it('leaves convolutions whose bias is computed', async () => {
    const b = new OnnxBuilder();
    const [W, bias] = [b.weight([6, 3, 1, 1], 0.3), b.node('Abs', [b.weight([6], 0.3)])];
    const x = b.node('Conv', [b.conv(b.input([3, 8, 8]), 6, 3), W, bias], { group: 2 }, { channels: 6 });
    const model = await readModel(head(b, x).build());
    expect(separateGroups(model)).toBe(model);
  });

  it('leaves one channel for each group, and many groups, as they are', async () => {
    const b = new OnnxBuilder();
    const x = b.conv(b.depthwise(b.conv(b.input([3, 8, 8]), 20, 3), 3), 20, 3, { group: 10 });
    const model = await readModel(head(b, x).build());
    expect(separateGroups(model)).toBe(model);
  });
});
