// Graphs of convolutions with one number changed: whatever still runs is cut right or kept.

import { describe, expect, it } from 'vitest';
import { analyse, readModel, shrink } from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random as seeded } from '../support/random.ts';
import { mask } from './masking.ts';
import { changeInteger } from './mutation.ts';
import { difference, randomChannels, randomValue, runModel, shapesOf } from './running.ts';

const ROUNDING = 2e-5;
const TRIALS = 60;

const concat = (b: OnnxBuilder, ...values: string[]) => {
  const channels = values.reduce((sum, value) => sum + b.channels(value), 0);
  return b.node('Concat', values, { axis: 1 }, { channels });
};
const head = (b: OnnxBuilder, x: string) => b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5));

const GRAPHS: Record<string, (b: OnnxBuilder) => OnnxBuilder> = {
  'concatenations and shortcuts': (b) => {
    const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
    const wide = concat(b, x, b.conv(x, 6, 3), b.maxPool(x, 3, 1, 1), 'input');
    const y = b.add(b.conv(b.relu(b.conv(wide, 6, 1)), 6, 3), x);
    return b.output(b.gemm(b.flatten(b.maxPool(concat(b, y, b.depthwise(y, 3)), 4), 4), 5));
  },
  'pieces of a layer, with computed bounds': (b) => {
    const x = b.relu(b.conv(b.input([3, 8, 8]), 8, 3));
    const count = b.node('Gather', [b.node('Shape', [x]), b.integers([1])]);
    const half = b.node('Div', [b.add(count, b.integers([1])), b.integers([2])]);
    const piece = (from: string, to: string) =>
      b.node('Slice', [x, from, to, b.integers([1])], {}, { channels: 4 });
    const [left, right] = [piece(b.integers([0]), half), piece(half, b.mul(half, b.integers([2])))];
    const [one, other] = b.nodes('Split', [b.conv(right, 4, 3)], { axis: 1 }, { outputs: 2, channels: 2 });
    return head(b, b.conv(concat(b, left, right, other, one), 6, 3));
  },
  'skip connections, transposed convolutions and resizing': (b) => {
    const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
    const deep = b.relu(b.conv(b.maxPool(x, 2), 6, 3));
    const inputs = [deep, b.weight([6, 4, 2, 2], 0.5), b.weight([4], 0.2)];
    const up = b.node('ConvTranspose', inputs, { strides: [2, 2], pads: [0, 0, 0, 0] }, { channels: 4 });
    const front = b.node('Slice', [b.node('Shape', [deep]), b.integers([0]), b.integers([2])]);
    const sizes = b.node('Concat', [front, b.integers([8, 8])], { axis: 0 });
    const large = b.node('Resize', [deep, '', '', sizes], { mode: 'nearest' });
    return head(b, b.relu(b.conv(concat(b, up, x, large), 5, 3)));
  },
};

describe('a graph of convolutions', () => {
  for (const [name, build] of Object.entries(GRAPHS)) {
    it(`is cut right or kept, whatever numbers stand in it: ${name}`, async () => {
      const random = seeded(1);
      const numbers = [-2, -1, 0, 1, 2, 3, 4, 6, 8];
      const input = randomValue([2, 3, 8, 8]);
      let compared = 0;
      for (let trial = 0; trial < TRIALS; trial++) {
        const model = await readModel(build(new OnnxBuilder({ seed: 3 })).build());
        changeInteger(model, Math.floor(random() * 1e6), numbers[Math.floor(random() * numbers.length)]);
        const wanted = await shapesOf(model, input).catch(() => undefined);
        if (!wanted) continue; // the graph is none
        const { structures } = analyse(model, wanted, { residual: true });
        const prunable = structures.filter((structure) => structure.prunable);
        const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, random)]));
        const [a, b] = [await runModel(mask(model, cuts), input), await runModel(shrink(model, cuts), input)];
        expect(difference(a, b)).toBeLessThan(ROUNDING);
        compared += cuts.size;
      }
      expect(compared).toBeGreaterThan(20);
    });
  }
});
