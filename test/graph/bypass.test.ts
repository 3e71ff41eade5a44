// Branches beside a shortcut that go whole: which they are, and what is left.

import { describe, expect, it } from 'vitest';
import {
  analyse,
  type Model,
  readModel,
  readWeights,
  type Structure,
  shrink,
  writeWeights,
} from '../../src/graph/index.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { attend, linear, merge, split, WIDTH } from './attention-graphs.ts';
import { difference, randomValue, runModel, shapesOf } from './running.ts';

const ROUNDING = 2e-5;

const image = (b: OnnxBuilder) => b.input([3, 8, 8]);
const head = (b: OnnxBuilder, x: string) => b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5));
/** Two convolutions of `c` channels between them. */
const branch = (b: OnnxBuilder, x: string, c = 6) => b.conv(b.relu(b.conv(x, c, 3)), b.channels(x), 3);

async function opened(b: OnnxBuilder, dims: readonly number[], residual = false) {
  const model = await readModel(b.build());
  const input = randomValue(dims);
  const { structures } = analyse(model, await shapesOf(model, input), { residual });
  return { model, input, structures, going: structures.filter(({ canGo }) => canGo) };
}

/** With nothing where structures are read. */
function silent(model: Model, structures: readonly Structure[]): Model {
  const silenced = model.clone();
  for (const reader of structures.flatMap(({ consumers }) => consumers)) {
    const { W, bias } = readWeights(silenced, reader);
    writeWeights(silenced, reader, new Float64Array(W.length), bias && new Float64Array(bias.length));
  }
  return silenced;
}

const without = (model: Model, structures: readonly Structure[]) =>
  shrink(model, new Map(structures.map((structure) => [structure, []])));

const GOING: Readonly<
  Record<string, { build: (b: OnnxBuilder) => OnnxBuilder; dims: number[]; count: number; left: number }>
> = {
  'a basic block': {
    build: (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      return head(b, b.relu(b.add(x, branch(b, x))));
    },
    dims: [2, 3, 8, 8],
    count: 1,
    left: 2, // layers
  },
  'blocks one behind the other, shortcuts on either side': {
    build: (b) => {
      let x = b.relu(b.conv(image(b), 4, 3));
      x = b.relu(b.add(branch(b, x), x));
      x = b.add(x, branch(b, x, 5));
      return head(b, b.relu(b.add(branch(b, x, 3), x)));
    },
    dims: [2, 3, 8, 8],
    count: 3,
    left: 2,
  },
  'the end of a bottleneck': {
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const narrow = b.relu(b.conv(b.relu(b.conv(x, 4, 1)), 4, 3));
      return head(b, b.relu(b.add(x, b.conv(narrow, 8, 1))));
    },
    dims: [2, 3, 8, 8],
    count: 1,
    left: 2,
  },
  'a block whose shortcut is a layer': {
    build: (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      const other = b.conv(b.relu(b.conv(x, 6, 3)), 8, 3);
      return head(b, b.relu(b.add(b.conv(x, 8, 1), other)));
    },
    dims: [2, 3, 8, 8],
    count: 1,
    left: 3,
  },
  'attention and MLP': {
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [x, x, x].map((it) => split(b, linear(b, it, WIDTH, true), 6));
      const y = b.add(x, linear(b, merge(b, attend(b, q, k, v), WIDTH), WIDTH, true));
      const z = b.add(y, linear(b, b.relu(linear(b, y, 20)), WIDTH));
      return b.output(linear(b, b.relu(z), 3));
    },
    dims: [1, 5, WIDTH],
    count: 2,
    left: 1,
  },
};

describe('what can go whole', () => {
  for (const [name, { build, dims, count, left }] of Object.entries(GOING))
    it(`is ${name}, and leaves what its shortcut gives`, async () => {
      const { model, input, going } = await opened(build(new OnnxBuilder()), dims);
      expect(going).toHaveLength(count);
      for (const structures of [going.slice(0, 1), going.slice(-1), going]) {
        const small = without(model, structures);
        expect(
          difference(await runModel(silent(model, structures), input), await runModel(small, input)),
        ).toBeLessThan(ROUNDING);
        expect(small.nodes.length).toBeLessThan(model.nodes.length);
      }
      const layers = without(model, going).nodes.filter(({ opType }) => /Conv|Gemm|MatMul/.test(opType));
      expect(layers).toHaveLength(left);
    });

  it('goes beside channels that go', async () => {
    const { model, input, structures, going } = await opened(
      GOING['blocks one behind the other, shortcuts on either side'].build(new OnnxBuilder()),
      [2, 3, 8, 8],
      true,
    );
    const stream = structures.find(({ isResidual, prunable }) => isResidual && prunable)!;
    const [first, second, third] = going;
    const cuts = (whole: readonly number[]) =>
      new Map([
        [stream, [0, 2]],
        [first, whole],
        [second, [1, 3, 4]],
        [third, whole],
      ]);
    // What is zero may as well be there with one channel.
    const masked = shrink(silent(model, [first, third]), cuts([0]));
    const small = shrink(model, cuts([]));
    expect(difference(await runModel(masked, input), await runModel(small, input))).toBeLessThan(ROUNDING);
    expect(small.nodes.filter(({ opType }) => opType === 'Conv')).toHaveLength(3);
  });

  it('is one of two branches that a sum is of', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(image(b), 4, 3));
    const { going } = await opened(head(b, b.relu(b.add(branch(b, x), branch(b, x)))), [2, 3, 8, 8]);
    expect(going).toHaveLength(1);
  });

  const STAYS: Readonly<Record<string, (b: OnnxBuilder) => OnnxBuilder>> = {
    'a chain': (b) => head(b, b.relu(branch(b, image(b)))),
    'channels that are given too': (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      const inner = b.relu(b.conv(x, 6, 3));
      head(b, b.relu(b.add(x, b.conv(inner, 4, 3))));
      return b.output(b.globalAveragePool(b.conv(inner, 2, 1)));
    },
    'a branch whose sum the network gives': (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      return b.output(b.add(x, branch(b, x)));
    },
    'a branch that is taken away': (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      return head(b, b.relu(b.node('Sub', [x, branch(b, x)])));
    },
    'channels that one layer reads beside others': (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      const inner = [6, 5].map((c) => b.relu(b.conv(x, c, 3)));
      const both = b.node('Concat', inner, { axis: 1 }, { channels: 11 });
      return head(b, b.relu(b.add(x, b.conv(both, 4, 3))));
    },
    'channels that a norm is over': (b) => {
      const x = b.sequence(8);
      const wide = linear(b, x, 12);
      const normal = b.node('LayerNormalization', [wide, b.weight([12], 0.4, 1), b.weight([12], 0.3)], {
        axis: -1,
      });
      return b.output(linear(b, b.relu(b.add(x, linear(b, normal, 8))), 3));
    },
  };
  for (const [name, build] of Object.entries(STAYS))
    it(`is not ${name}`, async () => {
      const dims = name.includes('norm') ? [1, 5, 8] : [2, 3, 8, 8];
      const { model, structures, going } = await opened(build(new OnnxBuilder()), dims);
      expect(going).toEqual([]);
      const [first] = structures.filter(({ prunable }) => prunable);
      expect(() => without(model, [first])).toThrow(/expected 1 to \d+ ascending channels/);
    });
});
