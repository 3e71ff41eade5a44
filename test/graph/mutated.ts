// Graphs with one number changed: whatever still runs has to be cut right or kept.

import { analyse, readModel, shrink } from '../../src/graph/index.ts';
import { OnnxBuilder, shuffle } from '../support/onnx-builder.ts';
import { random as seeded } from '../support/random.ts';
import { mask } from './masking.ts';
import { changeInteger } from './mutation.ts';
import { difference, randomChannels, randomValue, runModel, shapesOf } from './running.ts';

const concat = (b: OnnxBuilder, ...values: string[]) => {
  const channels = values.reduce((sum, value) => sum + b.channels(value), 0);
  return b.node('Concat', values, { axis: 1 }, { channels });
};
const head = (b: OnnxBuilder, x: string) => b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5));

/** By what they exercise; of images unless they have dims of their own. */
const GRAPHS: Record<string, { dims?: number[]; build: (b: OnnxBuilder) => OnnxBuilder }> = {
  'concatenations and shortcuts': {
    build: (b) => {
      const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
      const wide = concat(b, x, b.conv(x, 6, 3), b.maxPool(x, 3, 1, 1), 'input');
      const y = b.add(b.conv(b.relu(b.conv(wide, 6, 1)), 6, 3), x);
      const padded = b.node('Pad', [y, b.integers([0, 1, 0, 0, 0, 2, 0, 0])], {}, { channels: 9 });
      const z = b.add(b.conv(y, 9, 3), padded);
      return b.output(b.gemm(b.flatten(b.maxPool(concat(b, z, b.depthwise(y, 3)), 4), 4), 5));
    },
  },
  'pieces of a layer, with computed bounds': {
    build: (b) => {
      const x = b.relu(b.conv(b.input([3, 8, 8]), 8, 3));
      const count = b.node('Gather', [b.node('Shape', [x]), b.integers([1])]);
      const half = b.node('Div', [b.add(count, b.integers([1])), b.integers([2])]);
      const piece = (from: string, to: string) =>
        b.node('Slice', [x, from, to, b.integers([1])], {}, { channels: 4 });
      const [left, right] = [piece(b.integers([0]), half), piece(half, b.mul(half, b.integers([2])))];
      const [one, other] = b.nodes('Split', [b.conv(right, 4, 3)], { axis: 1 }, { outputs: 2, channels: 2 });
      return head(b, b.conv(concat(b, left, right, other, one), 6, 3));
    },
  },
  'shuffled channels and halves of them': {
    build: (b) => {
      const x = shuffle(b, b.relu(b.conv(b.input([3, 8, 8]), 8, 3)), 2);
      const [left, right] = b.nodes('Split', [x], { axis: 1 }, { outputs: 2, channels: 4 });
      const y = shuffle(b, concat(b, left, b.relu(b.conv(right, 4, 3))), 4);
      const places = b.integers([3, 1, 0, 7, 2, 6, 5, 4]);
      const picked = b.node('Gather', [b.depthwise(y, 3), places], { axis: 1 }, { channels: 8 });
      return head(b, b.relu(b.conv(b.add(picked, b.conv('input', 8, 1)), 5, 3)));
    },
  },
  'skip connections, transposed convolutions and resizing': {
    build: (b) => {
      const x = b.relu(b.conv(b.input([3, 8, 8]), 6, 3));
      const deep = b.relu(b.conv(b.maxPool(x, 2), 6, 3));
      const inputs = [deep, b.weight([6, 4, 2, 2], 0.5), b.weight([4], 0.2)];
      const up = b.node('ConvTranspose', inputs, { strides: [2, 2], pads: [0, 0, 0, 0] }, { channels: 4 });
      const front = b.node('Slice', [b.node('Shape', [deep]), b.integers([0]), b.integers([2])]);
      const sizes = b.node('Concat', [front, b.integers([8, 8])], { axis: 0 });
      const large = b.node('Resize', [deep, '', '', sizes], { mode: 'nearest' });
      return head(b, b.relu(b.conv(concat(b, up, x, large), 5, 3)));
    },
  },
  'normalisations, fused and written out': {
    build: (b) => {
      const last = (x: string) => b.node('Transpose', [x], { perm: [0, 2, 3, 1] });
      const scale = (around: number, ...dims: number[]) => b.weight(dims, 0.4, around);
      let x = last(b.conv(b.input([3, 8, 8]), 6, 3));
      for (let i = 0; i < 2; i++) {
        const inputs = [x, scale(1, 6), scale(0, 6)];
        const y = b.node('LayerNormalization', inputs, { axis: -1, stash_type: 1 });
        x = b.add(b.matmul(b.relu(b.matmul(y, 8)), 6), x);
      }
      const y = b.relu(b.conv(b.node('Transpose', [x], { perm: [0, 3, 1, 2] }), 8, 3));
      const mean = (z: string) => b.node('ReduceMean', [z], { axes: [1], keepdims: 1 });
      const centred = b.node('Sub', [y, mean(y)]);
      const deviation = b.node('Sqrt', [b.add(mean(b.mul(centred, centred)), b.floats([1e-3], []))]);
      const normal = b.mul(b.node('Div', [centred, deviation]), scale(1, 8, 1, 1));
      return head(b, b.conv(normal, 5, 1));
    },
  },
  'recurrent layers behind each other': {
    dims: [5, 2, 6],
    build: (b) => {
      const layer = (kind: string, gates: number, x: string, ...states: string[]) => {
        const dims = [[gates * 4, b.channels(x)], [gates * 4, 4], [gates * 8]];
        const inputs = [x, ...dims.map((own) => b.weight([2, ...own], 0.5)), '', ...states];
        const resets = kind === 'GRU' && { linear_before_reset: 1 };
        const attributes = { hidden_size: 4, direction: 'bidirectional', ...resets };
        const [y] = b.nodes(kind, inputs, attributes, { outputs: 2, channels: 8 });
        return b.reshape(b.node('Transpose', [y], { perm: [0, 2, 1, 3] }), [0, 0, 8], 8);
      };
      const x = b.node(
        'MatMul',
        [b.feed('input', ['t', 'n', 6]), b.weight([6, 7], 0.5)],
        {},
        { channels: 7 },
      );
      const mean = b.node('ReduceMean', ['input'], { axes: [0], keepdims: 1 });
      const units = [0, 2].map((first) => [0, 1, 2, 3].map((unit) => first + unit));
      const states = units.map((own) => b.node('Gather', [mean, b.integers(own)], { axis: 2 }));
      const start = b.node('Concat', states, { axis: 0 });
      const y = layer('GRU', 3, layer('LSTM', 4, x, start, start));
      return b.output(b.add(b.matmul(y, 5), b.weight([5], 0.3)));
    },
  },
  'tokens: a class token, a piece of them, heads that are shuffled': {
    build: (b) => {
      const x = b.conv(b.input([3, 8, 8]), 8, 3);
      const tokens = b.node('Transpose', [b.reshape(x, [0, 8, 64], 8)], { perm: [0, 2, 1] });
      const count = b.node('Slice', [b.node('Shape', ['input']), b.integers([0]), b.integers([1])]);
      const shape = b.node('Concat', [count, b.integers([1, 8])], { axis: 0 });
      const token = b.node('Expand', [b.weight([1, 1, 8], 0.5), shape], {}, { channels: 8 });
      const all = b.node('Concat', [token, tokens], { axis: 1 });
      const apart = b.node('Transpose', [b.reshape(b.matmul(all, 12), [0, 65, 2, 6], 12)], {
        perm: [0, 1, 3, 2],
      });
      const y = b.relu(b.matmul(b.reshape(apart, [0, 65, 12], 12), 6));
      const first = b.node('Gather', [y, b.index(0)], { axis: 1 }, { channels: 6 });
      return b.output(b.gemm(first, 5));
    },
  },
};

const ROUNDING = 2e-5;
const NUMBERS = [-2, -1, 0, 1, 2, 3, 4, 6, 8];
const IMAGES = [2, 3, 8, 8];

/** What came of a mutated graph: not run by the engine, or its structures cut and compared. */
export interface Trial {
  readonly graph: string;
  /** Of the random numbers, to see it again. */
  readonly seed: number;
  readonly isGraph: boolean;
  /** Structures that were cut. */
  readonly cuts: number;
  /** Whether what was cut and what was masked give the same. */
  readonly isAlike: boolean;
}

export const PATTERNS = Object.keys(GRAPHS);

/** Changes one number in a graph, cuts whatever is said to be prunable, and compares with the masked network. */
export async function tryMutation(graph: string, seed: number): Promise<Trial> {
  const { build, dims = IMAGES } = GRAPHS[graph];
  const random = seeded(seed);
  const model = await readModel(build(new OnnxBuilder({ seed: 3 })).build());
  changeInteger(model, Math.floor(random() * 1e6), NUMBERS[Math.floor(random() * NUMBERS.length)]);
  const input = randomValue(dims);
  const shapes = await shapesOf(model, input).catch(() => undefined);
  if (!shapes) return { graph, seed, isGraph: false, cuts: 0, isAlike: true };
  const { structures } = analyse(model, shapes, { residual: true });
  const prunable = structures.filter((structure) => structure.prunable);
  const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, random)]));
  const [masked, small] = [
    await runModel(mask(model, cuts), input),
    await runModel(shrink(model, cuts), input),
  ];
  const isAlike = difference(masked, small) < ROUNDING;
  return { graph, seed, isGraph: true, cuts: cuts.size, isAlike };
}
