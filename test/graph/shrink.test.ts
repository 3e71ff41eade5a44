import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import {
  analyse,
  countParameters,
  foldBatchNormalization,
  type Model,
  readModel,
  readWeights,
  shrink,
  writeModel,
  writeWeights,
} from '../../src/graph/index.ts';
import { OnnxBuilder, overPlaces, shuffle } from '../support/onnx-builder.ts';
import { random as seeded } from '../support/random.ts';
import { cutDifference, mask } from './masking.ts';
import { difference, randomChannels, randomValue, runModel, shapesOf } from './running.ts';

// Sums over fewer terms are rounded in another order; the nets are a few layers deep.
const ROUNDING = 2e-5;

const head = (b: OnnxBuilder, x: string) => b.output(b.gemm(b.flatten(b.globalAveragePool(x)), 5));
const image = (b: OnnxBuilder) => b.input([3, 8, 8]);

const both = (b: OnnxBuilder, x: string, y: string) =>
  b.node('Concat', [x, y], { axis: 1 }, { channels: b.channels(x) + b.channels(y) });

/** LayerNormalization of the channels of images, as operators of arithmetic. */
function writtenOutNorm(b: OnnxBuilder, x: string): string {
  const mean = (y: string) => b.node('ReduceMean', [y], { axes: [1], keepdims: 1 });
  const scale = (around: number) => b.weight([b.channels(x), 1, 1], 0.4, around);
  const centred = b.node('Sub', [x, mean(x)]);
  const variance = mean(b.node('Pow', [centred, b.floats([2], [])]));
  const normal = b.node('Div', [centred, b.node('Sqrt', [b.add(variance, b.floats([1e-5], []))])]);
  return b.add(b.mul(normal, scale(1)), scale(0));
}

const normal = (b: OnnxBuilder, x: string, dims = [b.channels(x)], axis = -1) =>
  b.node('LayerNormalization', [x, b.weight(dims, 0.4, 1), b.weight(dims, 0.3)], { axis });
const channelsLast = (b: OnnxBuilder, x: string) => b.node('Transpose', [x], { perm: [0, 2, 3, 1] });
const channelsFirst = (b: OnnxBuilder, x: string) => b.node('Transpose', [x], { perm: [0, 3, 1, 2] });

/** A recurrent layer of `h` units over (t, n, d): all that it gives. */
function recurrent(
  b: OnnxBuilder,
  [x, ...states]: readonly string[],
  [operator, gates, directions]: readonly ['LSTM' | 'GRU' | 'RNN', number, number],
  h: number,
): string[] {
  const weights = [[gates * h, b.channels(x)], [gates * h, h], [2 * gates * h]].map((dims) =>
    b.weight([directions, ...dims], 0.5),
  );
  const peepholes = operator === 'LSTM' && states.length > 0 ? [b.weight([directions, 3 * h], 0.3)] : [];
  const inputs = [x, ...weights, '', ...states, ...peepholes];
  const direction = directions === 2 ? 'bidirectional' : 'forward';
  const outputs = operator === 'LSTM' ? 3 : 2;
  return b.nodes(operator, inputs, { hidden_size: h, direction }, { outputs, channels: directions * h });
}

const steps = (b: OnnxBuilder, d: number) => {
  const x = b.feed('input', ['t', 'n', d]);
  return b.add(b.node('MatMul', [x, b.weight([d, 7], 0.5)], {}, { channels: 7 }), b.weight([7], 0.3));
};

const count = (b: OnnxBuilder, x: string, place: number) =>
  b.node('Gather', [b.node('Shape', [x]), b.integers([place])]);

/** LayerNormalization of the last axis as TensorFlow writes it: the scale is multiplied into the deviation first. */
function scaledNorm(b: OnnxBuilder, x: string): string {
  const mean = (y: string) => b.node('ReduceMean', [y], { axes: [2], keepdims: 1 });
  const [m, c] = [mean(x), b.channels(x)];
  const centred = b.node('Sub', [x, m]);
  const deviation = b.node('Sqrt', [b.add(mean(b.mul(centred, centred)), b.floats([1e-5], []))]);
  const scale = b.mul(b.node('Reciprocal', [deviation]), b.weight([c], 0.4, 1));
  return b.add(b.mul(x, scale), b.node('Sub', [b.weight([c], 0.3), b.mul(m, scale)]));
}

/** A product of rows that are merged, as TensorFlow writes it: sizes are multiplied, and taken from the same list. */
function tensordot(b: OnnxBuilder, x: string, m: number): string {
  const [rows, inputs] = [[0, 1], [2]].map((places) =>
    b.node('Gather', [b.node('Shape', [x]), b.integers(places)]),
  );
  const [n, c] = [rows, inputs].map((sizes) => b.node('ReduceProd', [sizes], { axes: [0], keepdims: 1 }));
  const merged = b.node('Reshape', [x, b.node('Concat', [n, c], { axis: 0 })]);
  const product = b.node('MatMul', [merged, b.weight([b.channels(x), m], 0.4)], {}, { channels: m });
  return b.node('Reshape', [product, b.node('Concat', [rows, b.integers([m])], { axis: 0 })]);
}

/** Heads of two features behind each other, (n, t, 8) to (n · 4, t, 2), by a product of both numbers, and back. */
const NUMBER_OF_HEADS = 4;
const merged = (b: OnnxBuilder, x: string, heads = b.integers([NUMBER_OF_HEADS])) => {
  const apart = b.node('Reshape', [x, b.integers([0, 0, NUMBER_OF_HEADS, 2])]);
  const shape = b.node('Concat', [b.mul(count(b, x, 0), heads), b.integers([-1, 2])], { axis: 0 });
  return b.node('Reshape', [b.node('Transpose', [apart], { perm: [0, 2, 1, 3] }), shape]);
};
const unmerged = (b: OnnxBuilder, y: string, x: string) => {
  const shape = b.node('Concat', [count(b, x, 0), b.integers([NUMBER_OF_HEADS, -1, 2])], { axis: 0 });
  const apart = b.node('Transpose', [b.node('Reshape', [y, shape])], { perm: [0, 2, 1, 3] });
  return b.node('Reshape', [apart, b.integers([0, 0, -1])], {}, { channels: 8 });
};
const scoresOf = (b: OnnxBuilder, q: string, k: string) =>
  b.node('MatMul', [q, b.node('Transpose', [k], { perm: [0, 2, 1] })]);
const mixed = (b: OnnxBuilder, scores: string, v: string) =>
  b.node('MatMul', [b.node('Softmax', [scores], { axis: -1 }), v]);

/** Attention with scores of relative positions. @param rows  of the queries, as a shape that their places are expanded to */
const relativeScores = (b: OnnxBuilder, x: string, rows: (x: string, q: string) => string) => {
  const [q, k, v] = [8, 8, 8].map((m) => merged(b, b.matmul(x, m)));
  const table = b.node('MatMul', [b.weight([1, 9, 6], 0.5), b.weight([6, 8], 0.5)], {}, { channels: 8 });
  const times = b.node('Div', [count(b, q, 0), b.integers([NUMBER_OF_HEADS])]);
  const ones = b.integers([1, 1]);
  const positions = b.node('Tile', [merged(b, table), b.node('Concat', [times, ones], { axis: 0 })]);
  const shape = b.node('Concat', [rows(x, q), count(b, x, 1), b.integers([5])], { axis: 0 });
  const places = b.node('Expand', [b.integers([8, 0, 3, 3, 5]), shape]);
  const picked = b.node('GatherElements', [scoresOf(b, q, positions), places], { axis: 2 });
  return b.output(b.matmul(unmerged(b, mixed(b, b.add(scoresOf(b, q, k), picked), v), x), 3));
};

/** Attention of four heads with a bias of the scores. */
const biased = (b: OnnxBuilder, x: string, bias: string, softmaxAxis = -1) => {
  const apart = (m: number, perm: number[]) =>
    b.node('Transpose', [b.node('Reshape', [b.matmul(x, m), b.integers([0, 0, NUMBER_OF_HEADS, 2])])], {
      perm,
    });
  const scores = b.node('MatMul', [apart(8, [0, 2, 1, 3]), apart(8, [0, 2, 3, 1])]);
  const weights = b.node('Softmax', [b.add(scores, bias)], { axis: softmaxAxis });
  const y = b.node('Transpose', [b.node('MatMul', [weights, apart(8, [0, 2, 1, 3])])], {
    perm: [0, 2, 1, 3],
  });
  return b.matmul(b.node('Reshape', [y, b.integers([0, 0, -1])], {}, { channels: 8 }), 6);
};

/** Pads of an image as PyTorch exports them, which lists them from the last axis on. */
function turnedRound(b: OnnxBuilder, pads: readonly number[]): string {
  const rest = b.node('ConstantOfShape', [b.integers([8 - pads.length])], { value: { tensor: 0 } });
  const all = b.node('Concat', [b.integers(pads), rest], { axis: 0 });
  const bounds = [-1, Number.MIN_SAFE_INTEGER, 0, -1].map((value) => b.integers([value]));
  const rows = b.node('Slice', [b.node('Reshape', [all, b.integers([-1, 2])]), ...bounds]);
  const list = b.node('Reshape', [b.node('Transpose', [rows], { perm: [1, 0] }), b.integers([-1])]);
  return b.node('Cast', [list], { to: 7 });
}

/** Graphs by what they exercise, with the number of structures that can be pruned. */
const GRAPHS: Record<
  string,
  { prunable: number; dims?: number[]; opset?: number; build: (b: OnnxBuilder) => OnnxBuilder }
> = {
  'a chain of convolutions': {
    prunable: 3,
    build: (b) =>
      head(b, b.relu(b.conv(b.relu(b.conv(b.relu(b.conv(image(b), 8, 3)), 6, 3, { stride: 2 })), 7, 1))),
  },
  'a bias of one number for all channels': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const inputs = [b.flatten(b.globalAveragePool(x)), b.weight([6, 8], 0.5), b.weight([1], 0, 0.3)];
      return b.output(b.gemm(b.relu(b.node('Gemm', inputs, {}, { channels: 8 })), 5));
    },
  },
  'unfolded BatchNormalization': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.batchNormalization(b.conv(image(b), 8, 3, { bias: false })));
      return head(b, b.relu(b.batchNormalization(b.conv(x, 6, 3))));
    },
  },
  'LayerNormalization between two layers, RMS behind it': {
    prunable: 4,
    build: (b) => {
      const x = normal(b, channelsLast(b, b.relu(b.conv(image(b), 8, 3))));
      const hidden = b.relu(b.matmul(x, 10));
      const norm = b.node('SimplifiedLayerNormalization', [hidden, b.weight([10], 0.4, 1)]);
      return head(b, b.conv(channelsFirst(b, b.matmul(norm, 6)), 5, 1));
    },
  },
  'LayerNormalization of all that an image is, and one that is written out': {
    prunable: 3,
    build: (b) => {
      const x = normal(b, b.relu(b.conv(image(b), 6, 3)), [6, 8, 8], 1);
      return head(b, b.relu(b.conv(writtenOutNorm(b, b.relu(b.conv(x, 8, 3))), 5, 3)));
    },
  },
  'LayerNormalization of a concatenation that has channels twice': {
    prunable: 3,
    build: (b) => {
      const [x, y] = [6, 4].map((m, i) => b.relu(b.conv(i ? 'input' : image(b), m, 3)));
      const wide = b.node('Concat', [x, y, b.node('Neg', [x])], { axis: 1 }, { channels: 16 });
      const large = channelsFirst(b, normal(b, channelsLast(b, wide)));
      return head(b, b.conv(large, 7, 1));
    },
  },
  'heads of channels that are concatenated with what passed through a convolution': {
    prunable: 1,
    build: (b) => {
      const qkv = b.conv(image(b), 12, 1);
      const scaled = b.conv(b.depthwise(qkv, 3), 12, 1, { group: 6 });
      const both = b.node('Concat', [qkv, scaled], { axis: 1 }, { channels: 24 });
      const apart = b.node('Reshape', [both, b.integers([0, -1, 6, 64])]);
      const [q, k, v] = b.nodes('Split', [apart, b.integers([2, 2, 2])], { axis: 2 }, { outputs: 3 });
      const weights = b.node('MatMul', [b.relu(k), b.node('Transpose', [v], { perm: [0, 1, 3, 2] })]);
      const mixed = b.node('MatMul', [b.node('Transpose', [weights], { perm: [0, 1, 3, 2] }), b.relu(q)]);
      const y = b.node('Reshape', [mixed, b.integers([0, -1, 8, 8])], {}, { channels: 8 });
      return head(b, y);
    },
  },
  'heads that are merged with the batch by a product of both': {
    prunable: 1,
    dims: [2, 5, 6],
    build: (b) => {
      const x = b.sequence(6);
      const [q, k, v] = [8, 8, 8].map((m) => merged(b, b.matmul(x, m)));
      return b.output(b.matmul(unmerged(b, mixed(b, scoresOf(b, q, k), v), x), 3));
    },
  },
  'queries, keys and values that lie apart before they are merged with the batch': {
    prunable: 1,
    dims: [2, 5, 6],
    build: (b) => {
      const x = b.sequence(6);
      const apart = b.node('Reshape', [b.matmul(x, 24), b.integers([0, 0, 3, NUMBER_OF_HEADS, 2])]);
      const sizes = [b.mul(count(b, x, 0), b.integers([NUMBER_OF_HEADS])), count(b, x, 1)];
      const shape = b.node('Concat', [b.integers([3]), ...sizes, b.integers([-1])], { axis: 0 });
      const all = b.node('Reshape', [b.node('Transpose', [apart], { perm: [2, 0, 3, 1, 4] }), shape]);
      const parts = b.nodes('Split', [all, b.integers([1, 1, 1])], { axis: 0 }, { outputs: 3 });
      const [q, k, v] = parts.map((part) => b.node('Squeeze', [part, b.integers([0])]));
      return b.output(b.matmul(unmerged(b, mixed(b, scoresOf(b, q, k), v), x), 3));
    },
  },
  'scores of relative positions that are repeated for the batch and picked for each head': {
    prunable: 1,
    dims: [2, 5, 6],
    build: (b) => relativeScores(b, b.sequence(6), (_, q) => count(b, q, 0)),
  },
  'scores of relative positions that are picked at places of as many as the batch and a number of heads make':
    {
      prunable: 1,
      dims: [2, 5, 6],
      build: (b) =>
        relativeScores(b, b.sequence(6), (x) => b.mul(count(b, x, 0), b.integers([NUMBER_OF_HEADS]))),
    },
  'constants that get as many axes as an image and its number of channels': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const one = b.integers([1]);
      const wide = (of: string) =>
        b.node('Reshape', [of, b.node('Concat', [one, count(b, x, 1), one, one], { axis: 0 })]);
      const y = b.add(b.mul(wide(b.weight([8], 0.4, 1)), x), wide(b.weight([8], 0.3)));
      return head(b, b.relu(b.conv(y, 5, 3)));
    },
  },
  'a table of positions that is resized to an image': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const size = b.node('Concat', [b.integers([1, 6]), count(b, x, 2), count(b, x, 3)], { axis: 0 });
      const positions = b.node('Resize', [b.weight([1, 6, 3, 3], 0.5), '', '', size], { mode: 'linear' });
      return head(b, b.relu(b.conv(b.add(positions, x), 5, 1)));
    },
  },
  'a LayerNormalization and products of merged rows as TensorFlow writes them': {
    prunable: 3,
    dims: [2, 4, 8],
    build: (b) => {
      const x = scaledNorm(b, tensordot(b, b.sequence(8), 6));
      const y = tensordot(b, b.relu(tensordot(b, x, 10)), 7);
      return b.output(b.matmul(scaledNorm(b, b.relu(y)), 3));
    },
  },
  'shapes that copy the extent of another axis, or of other channels where 0 is no mark': {
    prunable: 1,
    dims: [2, 3, 6, 8],
    build: (b) => {
      const layer = (x: string, m = 6) => b.relu(b.conv(x, m, 3));
      const x = b.reshape(b.reshape(layer(b.input([3, 6, 8])), [1, -1, 0, 6, 8], 6), [-1, 6, 6, 8], 6);
      const [y, z] = [layer('input'), layer('input')];
      const like = b.node('Reshape', [y, b.node('Shape', [z])], { allowzero: 1 });
      return head(b, layer(both(b, both(b, x, like), z), 7));
    },
  },
  'a shape of two numbers of channels that is computed in ways not known': {
    prunable: 1,
    build: (b) => {
      const rows = (m: number) => b.reshape(b.relu(b.conv(m === 6 ? image(b) : 'input', m, 1)), [0, 0, -1]);
      const table = b.node('MatMul', [rows(6), b.node('Transpose', [rows(4)], { perm: [0, 2, 1] })]);
      const sizes = [6, 4].map((m) => b.node('Neg', [b.integers([-m])]));
      const y = b.node('Reshape', [table, b.node('Concat', [b.integers([2]), ...sizes], { axis: 0 })]);
      const turned = b.node('Transpose', [b.node('MatMul', [y, b.weight([4, 5], 0.5)])], { perm: [0, 2, 1] });
      return b.output(b.node('MatMul', [turned, b.weight([6, 7], 0.5)]));
    },
  },
  'an even split into a number of pieces, and sizes of some axes': {
    prunable: 3,
    opset: 18,
    build: (b) => {
      const inputs = [b.relu(b.conv(image(b), 8, 3)), '', '', b.integers([4, 4])];
      const x = b.node('Resize', inputs, { axes: [2, 3], mode: 'nearest' });
      const [y, z] = b.nodes('Split', [x], { axis: 1, num_outputs: 2 }, { outputs: 2, channels: 4 });
      return head(b, b.relu(b.add(b.conv(y, 5, 1), b.conv(z, 5, 3))));
    },
  },
  'numbers of channels of 32 bits in a shape': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const mean = b.node('ReduceMean', [x], { axes: [2, 3], keepdims: 0 });
      const int32 = (value: string) => b.node('Cast', [value], { to: 6 });
      const ones = b.integers([1, 1], 'int32');
      const shape = b.node('Concat', [int32(count(b, mean, 0)), b.integers([6], 'int32'), ones], { axis: 0 });
      const scale = b.node('Reshape', [mean, b.node('Cast', [shape], { to: 7 })]);
      return head(b, b.relu(b.conv(b.mul(x, b.node('Sigmoid', [scale])), 5, 1)));
    },
  },
  'gates by a kernel that goes along the means of channels': {
    prunable: 2,
    build: (b) => {
      const gated = (x: string) => {
        const mean = b.node('ReduceMean', [x], { axes: [2, 3], keepdims: 0 });
        const row = b.node('Unsqueeze', [mean, b.integers([1])]);
        const gate = b.node('Conv', [row, b.weight([1, 1, 3], 1)], { pads: [1, 1] });
        const column = b.node('Unsqueeze', [
          b.node('Transpose', [gate], { perm: [0, 2, 1] }),
          b.integers([3]),
        ]);
        return b.mul(x, b.node('Sigmoid', [column]));
      };
      const x = gated(b.relu(b.conv(image(b), 8, 3)));
      return head(b, gated(b.relu(b.conv(x, 6, 3))));
    },
  },
  'normalisations of one group, either way': {
    prunable: 3,
    opset: 21,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const flat = b.node('Reshape', [x, b.integers([0, 1, -1])]);
      const scales = [b.floats([1.5]), b.floats([0.2])];
      const normal = b.node('InstanceNormalization', [flat, ...scales]);
      const y = b.relu(b.conv(b.node('Reshape', [normal, b.node('Shape', [x])]), 8, 3));
      const group = [y, b.weight([8], 0.4, 1), b.weight([8], 0.3)];
      const z = b.conv(b.node('GroupNormalization', group, { num_groups: 1 }), 7, 3);
      return head(b, b.relu(z));
    },
  },
  'GroupNormalization and LpNormalization': {
    prunable: 3,
    opset: 21,
    build: (b) => {
      const inputs = [b.relu(b.conv(image(b), 8, 3)), b.weight([8], 0.4, 1), b.weight([8], 0.3)];
      const x = b.relu(b.conv(b.node('GroupNormalization', inputs, { num_groups: 4 }), 6, 3));
      return head(b, b.conv(b.node('LpNormalization', [x], { axis: 1, p: 2 }), 7, 1));
    },
  },
  'heads of two layers that one table of relative positions is added to, which a third layer reads': {
    prunable: 4,
    dims: [2, 5, 6],
    build: (b) => {
      const places = b.integers(Array.from({ length: 25 }, (_, i) => 4 + (i % 5) - Math.floor(i / 5)));
      const table = b.node('Gather', [b.weight([9, NUMBER_OF_HEADS], 0.5), places]);
      const bias = b.node('Reshape', [
        b.node('Transpose', [table], { perm: [1, 0] }),
        b.integers([1, NUMBER_OF_HEADS, 5, 5]),
      ]);
      const y = b.relu(biased(b, b.sequence(6), bias));
      const scores = b.matmul(biased(b, y, bias), 3);
      const read = b.node('Transpose', [bias], { perm: [0, 2, 3, 1] }, { channels: NUMBER_OF_HEADS });
      const mean = b.node('ReduceMean', [b.matmul(read, 3)], { axes: [1], keepdims: 0 });
      return b.output(b.add(scores, mean));
    },
  },
  'heads of values beside scores that a softmax runs over': {
    prunable: 1,
    dims: [2, 5, 6],
    build: (b) => b.output(biased(b, b.sequence(6), b.weight([1, NUMBER_OF_HEADS, 1, 1], 0.5), 1)),
  },
  'channels that are added to an input, or scaled by what cannot be seen through': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.add(b.conv(image(b), 3, 3), 'input'));
      const mixed = b.node('CumSum', [b.conv(x, 6, 1), b.index(1)]);
      return head(b, b.relu(b.mul(mixed, b.conv(x, 6, 3))));
    },
  },
  'two axes of channels beside values that have both': {
    prunable: 2,
    dims: [2, 7],
    build: (b) => {
      const x = b.input([7]);
      const [left, right] = [5, 4].map((m, i) => b.node('Unsqueeze', [b.gemm(x, m), b.integers([2 - i])]));
      const apart = b.node('Reshape', [b.gemm(x, 20), b.integers([0, 5, 4])]);
      const sum = b.add(b.node('CumSum', [apart, b.index(1)]), b.mul(left, right));
      const rows = b.node('MatMul', [b.relu(sum), b.weight([4, 6], 0.5)], {}, { channels: 6 });
      const turned = b.node('Transpose', [rows], { perm: [0, 2, 1] }, { channels: 5 });
      return b.output(b.matmul(turned, 3));
    },
  },
  'channels along which nothing is picked, summed, cropped or normalised, of regions': {
    prunable: 6,
    build: (b) => {
      const layer = (y: string, m: number) => b.relu(b.conv(y, m, 1));
      const moved = b.node('Pad', [layer(image(b), 6), b.integers([0, 0, 1, 0, 0, 0, -1, 0])]);
      const sum = b.node('CumSum', [layer(moved, 7), b.index(-1)]);
      const [largest] = b.nodes('TopK', [layer(sum, 5), b.integers([3])], { axis: 2 }, { outputs: 2 });
      const normal = b.node('MeanVarianceNormalization', [b.conv(largest, 8, 1)]);
      const boxes = [b.floats([0, 0, 4, 2, 1, 0, 7, 3, 2, 1, 5, 3], [3, 4]), b.integers([1, 0, 1])];
      const regions = b.node('RoiAlign', [layer(normal, 6), ...boxes], { output_height: 2, output_width: 2 });
      return head(b, b.conv(regions, 7, 1));
    },
  },
  'messages that are summed at the nodes of a graph': {
    prunable: 2,
    dims: [5, 6],
    build: (b) => {
      const x = b.matmul(b.input([6]), 8);
      const [from, to] = [b.integers([0, 3, 1, 4, 2, 0]), b.integers([1, 1, 0, 2, 0, 4])];
      const shape = (of: string) => b.node('Shape', [of]);
      const summed = (nodes: string) => {
        const sent = b.relu(b.node('Gather', [nodes, from]));
        const places = b.node('Expand', [b.node('Unsqueeze', [to, b.integers([1])]), shape(sent)]);
        const none = b.node('ConstantOfShape', [shape(nodes)]);
        // as PyTorch has it: as many of them as there are places
        const own = b.node('Slice', [sent, b.integers([0, 0]), shape(places)]);
        return b.node('ScatterElements', [none, places, own], { axis: 0, reduction: 'add' });
      };
      const y = b.relu(b.add(summed(x), b.weight([8], 0.3)));
      return b.output(b.matmul(summed(b.matmul(y, 5)), 3));
    },
  },
  'steps that are put in the place of others, picked and turned round': {
    prunable: 2,
    dims: [5, 2, 6],
    build: (b) => {
      const x = steps(b, 6);
      const y = b.node('MatMul', [x, b.weight([7, 7], 0.4)], {}, { channels: 7 });
      const at = (...places: number[]) => b.reshape(b.integers(places), [-1, 1]);
      const swapped = b.node('ScatterND', [x, at(1, 3), b.node('Gather', [y, b.integers([0, 4])])]);
      const lengths = b.integers([5, 3]);
      const back = b.node('ReverseSequence', [b.relu(swapped), lengths], { time_axis: 0, batch_axis: 1 });
      const each = b.node('Transpose', [b.node('GatherND', [back, at(3, 0, 1)])], { perm: [1, 0, 2] });
      const z = b.relu(b.node('MatMul', [each, b.weight([7, 5], 0.4)], {}, { channels: 5 }));
      const own = b.node('GatherND', [z, at(2, 0)], { batch_dims: 1 });
      return b.output(b.gemm(own, 3));
    },
  },
  'channels that have one length, weighted and summed up for each of some clusters, as NetVLAD has it': {
    prunable: 1,
    build: (b) => {
      const unit = (x: string, axis: number) => {
        const length = b.node('Max', [b.node('ReduceL2', [x], { axes: [axis] }), b.floats([1e-9])]);
        return b.node('Div', [x, b.node('Expand', [length, b.node('Shape', [x])])]);
      };
      const x = unit(b.conv(image(b), 8, 3), 1);
      const weights = b.node('Softmax', [b.reshape(b.conv(x, 4, 1), [0, 0, -1])], { axis: 1 });
      const places = b.node('Unsqueeze', [b.reshape(x, [0, 0, -1]), b.integers([1])]);
      const off = b.node('Sub', [places, b.weight([1, 4, 8, 1], 0.3)]);
      const weighted = b.mul(b.node('Unsqueeze', [weights, b.integers([2])]), off);
      const sums = b.node('ReduceSum', [weighted, b.integers([3])], { keepdims: 0 });
      return b.output(b.gemm(b.flatten(unit(sums, 2), 8), 5));
    },
  },
  'channels that are normalised by those beside them': {
    prunable: 2,
    build: (b) => {
      const near = (x: string) =>
        b.node('LRN', [x], { size: 3, alpha: { float: 2 }, beta: { float: 0.75 }, bias: { float: 1.5 } });
      return head(b, near(b.relu(b.conv(near(b.relu(b.conv(image(b), 8, 3))), 6, 3))));
    },
  },
  'a normalisation whose means are taken axis by axis': {
    prunable: 2,
    dims: [2, 3, 12],
    build: (b) => {
      const mean = (y: string) =>
        [1, 2].reduce((z, axis) => b.node('ReduceMean', [z], { axes: [axis], keepdims: 1 }), y);
      const x = b.relu(b.conv(b.input([3, 12]), 8, 3, { dimensions: 1 }));
      const centred = b.node('Sub', [x, mean(x)]);
      const deviation = b.node('Sqrt', [mean(b.mul(centred, centred))]);
      const y = b.mul(b.node('Div', [centred, deviation]), b.weight([1, 8, 1], 0.4, 1));
      return b.output(b.conv(b.relu(b.conv(y, 6, 1, { dimensions: 1 })), 5, 3, { dimensions: 1 }));
    },
  },
  'channels that hold blocks of pixels, in either order, and pixels that become channels': {
    prunable: 3,
    build: (b) => {
      const blocks = (opType: string, x: string, channels: number, mode?: string) =>
        b.node(opType, [x], { blocksize: 2, ...(mode && { mode }) }, { channels });
      const x = blocks('DepthToSpace', b.relu(b.conv(image(b), 16, 3)), 4, 'CRD');
      const y = blocks('SpaceToDepth', b.relu(b.conv(x, 6, 3)), 24);
      return head(b, blocks('DepthToSpace', b.relu(b.conv(y, 12, 3)), 3, 'DCR'));
    },
  },
  'a shape that names the width of another value, beside an open one': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 12, 3));
      const count = (place: number) => b.node('Gather', [b.node('Shape', [x]), b.integers([place])]);
      const shape = b.node('Concat', [count(0), count(1), b.integers([-1])], { axis: 0 });
      const rows = b.node('Reshape', [b.conv(x, 12, 3), shape], {}, { channels: 12 });
      const tokens = b.matmul(b.node('Transpose', [rows], { perm: [0, 2, 1] }), 5);
      return b.output(b.matmul(b.relu(tokens), 4));
    },
  },
  'towers with the same weights on levels of an image, one made of another': {
    prunable: 5,
    build: (b) => {
      const layer = (m: number, c: number, k: number, group = 1) => {
        const [W, bias] = [b.weight([m, c / group, k, k], 0.4), b.weight([m], 0.2)];
        return (x: string, stride = 1) =>
          b.node('Conv', [x, W, bias], {
            pads: new Array(4).fill((k - 1) / 2),
            strides: [stride, stride],
            group,
          });
      };
      const x = b.relu(b.conv(image(b), 8, 3));
      const levels = [b.conv(x, 6, 3), b.conv(b.relu(b.conv(x, 10, 3, { stride: 2 })), 6, 1)];
      levels.push(b.conv(levels[1], 6, 3, { stride: 2 }));
      const [first, depthwise, second, last] = [
        layer(8, 6, 3),
        layer(8, 8, 3, 8),
        layer(7, 8, 1),
        layer(5, 7, 3),
      ];
      const scale = [b.weight([8], 0.4, 1), b.weight([8], 0.3)];
      const tower = (y: string) => {
        const z = b.node('LpNormalization', [b.relu(depthwise(b.relu(first(y))))], { axis: 1, p: 2 });
        return last(b.relu(second(b.node('InstanceNormalization', [z, ...scale]))));
      };
      const flat = levels.map((level) => b.reshape(tower(level), [0, 5, -1]));
      return b.output(b.node('Concat', flat, { axis: 2 }));
    },
  },
  'weights that read channels, and states that no layer makes before': {
    prunable: 2,
    build: (b) => {
      const W = b.weight([6, 9, 3, 3], 0.4);
      const step = (x: string, state: string) => {
        const both = b.node('Concat', [x, state], { axis: 1 });
        return b.relu(b.node('Conv', [both, W], { pads: [1, 1, 1, 1] }, { channels: 6 }));
      };
      const x = image(b);
      const states = [
        [x, x],
        [b.node('Neg', [x]), x],
      ].map((list) => b.node('Concat', list, { axis: 1 }));
      const [one, other] = states.map((state) => step(x, step(x, state)));
      return head(
        b,
        b.relu(b.conv(b.node('Concat', [step(x, one), other], { axis: 1 }, { channels: 12 }), 5, 1)),
      );
    },
  },
  'a kernel of 1 and a normalisation that go over rows, beside channels': {
    prunable: 3,
    build: (b) => {
      const turned = (x: string, m: number) =>
        b.node('Transpose', [x], { perm: [0, 2, 1, 3] }, { channels: m });
      const x = turned(b.relu(b.conv(image(b), 7, 3)), 8);
      const bare = [b.relu(b.conv(x, 9, 1)), b.weight([6, 9, 1, 1], 0.5)]; // without strides and pads
      const y = b.relu(b.batchNormalization(b.node('Conv', bare, {}, { channels: 6 })));
      return head(b, b.conv(turned(y, 7), 5, 1));
    },
  },
  'groups of channels, merged with samples, of which a layer makes a gate': {
    prunable: 2,
    build: (b) => {
      const x = b.reshape(b.relu(b.conv(image(b), 12, 3)), [-1, 3, 8, 8], 3);
      const gated = b.mul(x, b.node('Sigmoid', [b.conv(x, 1, 3)]));
      return head(b, b.conv(b.reshape(gated, [-1, 12, 8, 8], 12), 5, 1));
    },
  },
  'channels that are flattened behind rows and columns, beside others': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const flat = b.flatten(channelsLast(b, x), 384);
      const pooled = b.flatten(b.globalAveragePool(b.conv(x, 4, 3)));
      return b.output(
        b.gemm(b.relu(b.gemm(b.node('Concat', [flat, pooled], { axis: 1 }, { channels: 388 }), 7)), 5),
      );
    },
  },
  'images that are sampled at places that a layer gives, by head': {
    prunable: 3,
    build: (b) => {
      const x = image(b);
      const [values, offsets] = [12, 6].map((m) => b.reshape(b.conv(x, m, 3), [-1, m / 3, 8, 8], m / 3));
      const grid = b.node('Tanh', [channelsLast(b, offsets)]);
      const sampled = b.reshape(b.node('GridSample', [values, grid]), [-1, 12, 8, 8], 12);
      const places = channelsLast(b, b.node('Tanh', [b.conv(sampled, 2, 3)]));
      const again = b.node('GridSample', [b.relu(b.conv(sampled, 7, 3)), places], {}, { channels: 7 });
      return head(b, b.conv(again, 5, 1));
    },
  },
  'a block with attention, three times over': {
    prunable: 3,
    dims: [2, 4, 8],
    build: (b) => {
      const layer = (p: number, m: number) => {
        const [W, bias] = [b.weight([p, m], 0.4), b.weight([m], 0.2)];
        return (x: string) => b.add(b.node('MatMul', [x, W], {}, { channels: m }), bias);
      };
      const [q, k, v, o] = [layer(8, 12), layer(8, 12), layer(8, 12), layer(12, 8)];
      const [up, down] = [layer(8, 16), layer(16, 8)];
      const heads = (x: string, perm: number[]) =>
        b.node('Transpose', [b.reshape(x, [0, 4, 3, 4], 12)], { perm });
      let x = b.feed('input', ['n', 4, 8]);
      for (let i = 0; i < 3; i++) {
        const scores = b.node('MatMul', [heads(q(x), [0, 2, 1, 3]), heads(k(x), [0, 2, 3, 1])]);
        const mixed = b.node('MatMul', [b.node('Softmax', [scores]), heads(v(x), [0, 2, 1, 3])]);
        const joined = b.reshape(b.node('Transpose', [mixed], { perm: [0, 2, 1, 3] }), [0, 4, 12], 12);
        x = b.add(o(joined), x);
        x = b.add(down(b.relu(up(x))), x);
      }
      return b.output(b.matmul(b.relu(b.matmul(x, 6)), 5));
    },
  },
  'the mask of a Dropout': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const [kept, mask] = b.nodes('Dropout', [x], {}, { outputs: 2 });
      const scale = b.node('Cast', [mask], { to: 1 });
      return head(b, b.conv(b.mul(b.conv(kept, 6, 1), scale), 4, 1));
    },
  },
  'recurrent layers behind each other': {
    prunable: 4,
    dims: [5, 2, 6],
    build: (b) => {
      const [first] = recurrent(b, [steps(b, 6)], ['LSTM', 4, 1], 8);
      const flat = b.node('Squeeze', [first, b.integers([1])]);
      const [, last] = recurrent(b, [flat], ['GRU', 3, 1], 6);
      const row = b.node('Squeeze', [last, b.integers([0])]);
      return b.output(b.gemm(b.relu(b.gemm(row, 9)), 5));
    },
  },
  'recurrent layers of both directions, with peepholes and first states': {
    prunable: 3,
    dims: [5, 2, 6],
    build: (b) => {
      const both = (y: string) =>
        b.reshape(b.node('Transpose', [y], { perm: [0, 2, 1, 3] }), [0, 0, b.channels(y)]);
      const states = [0, 1].map(() => b.weight([2, 2, 8], 0.5));
      const [y] = recurrent(b, [steps(b, 6), ...states], ['LSTM', 4, 2], 8);
      const [z] = recurrent(b, [both(y)], ['RNN', 1, 2], 6);
      return b.output(b.add(b.matmul(both(z), 5), b.weight([5], 0.3)));
    },
  },
  'sums that are repeated along rows, by a shape that names the channels and is made positive': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const sums = b.node('ReduceSum', [x, b.integers([3])], { keepdims: 1 }, { channels: 6 });
      const shape = b.node('Concat', [count(b, x, 0), b.integers([6, 8, 8])], { axis: 0 });
      const repeated = b.node('Expand', [sums, b.node('Abs', [shape])], {}, { channels: 6 });
      return head(b, b.conv(b.mul(x, repeated), 4, 3));
    },
  },
  'steps of gated units one by one, the last first, which are no stream': {
    prunable: 2,
    dims: [3, 2, 6],
    build: (b) => {
      const bounds = [[-1], [-9], [0], [-1]].map((it) => b.integers(it));
      const x = b.node('Slice', [steps(b, 6), ...bounds]);
      const [W, R] = [7, 4].map((width) => b.weight([width, 8], 0.5));
      let units = '';
      for (let step = 0; step < 3; step++) {
        const product = (read: string, weight: string) =>
          b.node('MatMul', [read, weight], {}, { channels: 8 });
        const own = product(b.node('Gather', [x, b.index(step)]), W);
        const sums = units ? b.add(own, product(units, R)) : own;
        const [open, added] = b.nodes('Split', [sums], { axis: 1 }, { outputs: 2, channels: 4 });
        const [gate, fresh] = [b.node('Sigmoid', [open]), b.node('Tanh', [added])];
        units = units ? b.add(b.mul(b.node('Sub', [units, fresh]), gate), fresh) : b.mul(fresh, gate);
      }
      return b.output(b.matmul(units, 5));
    },
  },
  'a recurrent layer that starts from what the graph computes, as another does': {
    prunable: 3,
    dims: [5, 2, 6],
    build: (b) => {
      const x = steps(b, 6);
      const mean = b.node('ReduceMean', ['input'], { axes: [0], keepdims: 1 });
      const [hidden, cell] = [1, 2].map((step) => {
        const units = Array.from({ length: 8 }, (_, unit) => (step * unit) % 6);
        return b.node('Gather', [mean, b.integers(units)], { axis: 2 });
      });
      const [y] = recurrent(b, [x, hidden, cell], ['LSTM', 4, 1], 8);
      const [z] = recurrent(b, [x, hidden], ['GRU', 3, 1], 8);
      const each = [y, z].map((it) =>
        b.matmul(b.node('Squeeze', [it, b.integers([1])], {}, { channels: 8 }), 5),
      );
      return b.output(b.add(each[0], each[1])).output(hidden, 'first');
    },
  },
  'a class token, and embeddings that only layers read': {
    prunable: 2,
    build: (b) => {
      const tokens = b.node('Transpose', [b.reshape(b.conv(image(b), 8, 3), [0, 8, 64], 8)], {
        perm: [0, 2, 1],
      });
      const count = b.node('Slice', [b.node('Shape', ['input']), b.integers([0]), b.integers([1])]);
      const shape = b.node('Concat', [count, b.integers([1, 8])], { axis: 0 });
      const token = b.node('Expand', [b.weight([1, 1, 8], 0.5), shape], {}, { channels: 8 });
      const x = b.matmul(normal(b, b.node('Concat', [token, tokens], { axis: 1 })), 5);
      const ids = b.node('Cast', [b.node('Abs', [b.mul('input', b.floats([4], []))])], { to: 7 });
      const embedded = b.node('Gather', [b.weight([4, 6], 0.5), ids], {}, { channels: 6 });
      const y = b.node('ReduceMean', [b.matmul(embedded, 5)], { axes: [1, 2], keepdims: 0 });
      return b.output(b.add(b.node('ReduceMean', [x], { axes: [1] }), y));
    },
  },
  'channels that are shuffled': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      return head(b, b.conv(b.depthwise(shuffle(b, b.conv(shuffle(b, x, 3), 8, 3), 2), 3), 7, 3));
    },
  },
  'groups of channels that change places, as rows and columns do': {
    prunable: 2,
    build: (b) => {
      const apart = b.reshape(b.relu(b.conv(image(b), 6, 3)), [0, 2, 3, 8, 8]);
      const turned = b.node('Transpose', [apart], { perm: [0, 2, 1, 4, 3] });
      return head(b, b.relu(b.conv(b.reshape(turned, [0, 6, 8, 8], 6), 7, 3)));
    },
  },
  'halves of shuffled channels, of which a layer reads one each time, as in ShuffleNet V2': {
    prunable: 12, // a half and two quarters of what two layers make, two halves of the next one's, and what is between
    build: (b) => {
      let x = shuffle(b, both(b, b.relu(b.conv(image(b), 8, 3)), b.relu(b.conv('input', 8, 1))), 2);
      for (let unit = 0; unit < 2; unit++) {
        const [left, right] = b.nodes('Split', [x], { axis: 1 }, { outputs: 2, channels: 8 });
        const inner = b.depthwise(b.relu(b.conv(right, 6, 1)), 3);
        x = shuffle(b, both(b, left, b.relu(b.conv(inner, 8, 1))), 2);
      }
      return head(b, b.relu(b.conv(b.maxPool(x, 2), 5, 1)));
    },
  },
  'a shuffle by sizes that are computed from the number of channels': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(both(b, b.conv(image(b), 2, 3), b.conv('input', 4, 1)));
      const [n, channels, height, width] = [0, 1, 2, 3].map((place) => count(b, x, place));
      const shape = (...sizes: string[]) => b.node('Concat', sizes, { axis: 0 });
      const third = b.node('Div', [channels, b.integers([3])]);
      const apart = b.node('Reshape', [x, shape(n, b.integers([3]), third, height, width)]);
      const turned = b.node('Transpose', [apart], { perm: [0, 2, 1, 3, 4] });
      const sizes = shape(n, channels, height, width);
      return head(b, b.relu(b.conv(b.node('Reshape', [turned, sizes], {}, { channels: 6 }), 5, 3)));
    },
  },
  'shuffled channels behind rows and columns': {
    prunable: 5,
    build: (b) => {
      const x = b.matmul(b.relu(b.matmul(channelsLast(b, b.relu(b.conv(image(b), 6, 3))), 8)), 12);
      const turned = b.node('Transpose', [b.reshape(x, [0, 8, 8, 3, 4])], { perm: [0, 1, 2, 4, 3] });
      const mixed = b.reshape(turned, [0, 8, 8, 12], 12);
      const halves = [normal(b, b.relu(mixed)), b.integers([5, 7])];
      const [left, right] = b.nodes('Split', halves, { axis: 3 }, { outputs: 2, channels: 5 });
      const y = b.add(
        b.matmul(left, 5),
        b.node('MatMul', [right, b.weight([7, 5], 0.3)], {}, { channels: 5 }),
      );
      return head(b, channelsFirst(b, y));
    },
  },
  'every other channel, and the others, of one image at a time': {
    prunable: 4,
    dims: [1, 3, 8, 8],
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const turned = b.node('Transpose', [b.reshape(x, [4, 2, 64])], { perm: [1, 0, 2] });
      const pieces = b.reshape(turned, [2, -1, 4, 8, 8]);
      const [even, odd] = [0, 1].map((i) => b.node('Gather', [pieces, b.index(i)], {}, { channels: 4 }));
      const y = shuffle(b, both(b, even, b.relu(b.conv(odd, 4, 3))), 4);
      return head(b, b.conv(y, 5, 3));
    },
  },
  'shuffled channels that are added to others and multiplied with weights for each': {
    prunable: 4,
    build: (b) => {
      const x = shuffle(b, both(b, b.conv(image(b), 4, 3), b.conv('input', 4, 1)), 2);
      const y = b.relu(b.add(x, b.conv('input', 8, 3)));
      const z = b.relu(b.add(shuffle(b, b.conv(y, 8, 1), 4), shuffle(b, b.conv('input', 8, 1), 4)));
      const gate = b.node('Sigmoid', [b.conv(b.relu(b.conv(b.globalAveragePool(z), 3, 1)), 8, 1)]);
      return b.output(b.gemm(b.flatten(b.maxPool(b.mul(z, gate), 4), 4), 5));
    },
  },
  'channels that a Gather picks, in another order': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const pick = (...places: number[]) =>
        b.node('Gather', [x, b.integers(places)], { axis: 1 }, { channels: places.length });
      const all = b.conv(pick(3, 1, 0, -1, 2, 6, 5, 4), 4, 3);
      return head(b, b.relu(b.add(all, b.conv(pick(6, 0, 3), 4, 1))));
    },
  },
  'a basic block': {
    prunable: 1,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      return head(b, b.relu(b.add(b.conv(b.relu(b.conv(x, 6, 3)), 8, 3), x)));
    },
  },
  'a bottleneck with a projection': {
    prunable: 4, // the stem, read by two layers, the two inner convolutions, and the sum
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const inner = b.relu(b.conv(b.relu(b.conv(x, 4, 1)), 4, 3, { stride: 2 }));
      return head(b, b.relu(b.add(b.conv(inner, 16, 1), b.conv(x, 16, 1, { stride: 2 }))));
    },
  },
  'depthwise convolution with a multiplier': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.depthwise(b.relu(b.conv(image(b), 6, 3)), 3, { multiplier: 2 }));
      return head(b, b.relu(b.conv(x, 8, 3)));
    },
  },
  'two depthwise convolutions with multipliers': {
    prunable: 1,
    build: (b) => {
      const x = b.depthwise(b.relu(b.conv(image(b), 4, 3)), 3, { multiplier: 2 });
      return head(b, b.depthwise(x, 3, { multiplier: 3, bias: false }));
    },
  },
  'an activation of onnxruntime without the bias that it may have': {
    prunable: 1,
    build: (b) => {
      const x = b.conv(image(b), 6, 3);
      return head(b, b.node('FastGelu', [x, ''], {}, { domain: 'com.microsoft' }));
    },
  },
  'grouped convolutions, group by group': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(b.relu(b.conv(image(b), 8, 3)), 12, 3, { group: 4 }));
      return head(b, b.relu(b.conv(b.conv(x, 6, 1), 6, 3, { group: 2 })));
    },
  },
  'channels that a reshape takes apart': {
    prunable: 1,
    build: (b) => head(b, b.reshape(b.relu(b.conv(image(b), 6, 3)), [0, 2, 24, 8], 2)),
  },
  'channels that are split for two layers': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 7, 3));
      const [left, right] = b.nodes(
        'Split',
        [x, b.integers([3, 4])],
        { axis: 1 },
        { outputs: 2, channels: 3 },
      );
      const wide = b.node('Tanh', [right], {}, { channels: 4 });
      return head(b, b.add(b.conv(left, 5, 3), b.conv(wide, 5, 1)));
    },
  },
  'channels that are sliced for two layers': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 7, 3));
      const slice = (from: number, to: number, channels: number) =>
        b.node('Slice', [x, b.integers([from]), b.integers([to]), b.integers([1])], {}, { channels });
      return head(b, b.add(b.conv(slice(0, 3, 3), 5, 3), b.conv(slice(3, 2 ** 40, 4), 5, 1)));
    },
  },
  'a gated product of one fused layer': {
    prunable: 2,
    build: (b) => {
      const x = b.flatten(b.globalAveragePool(b.relu(b.conv(image(b), 8, 3))));
      const [gate, up] = b.nodes('Split', [b.gemm(x, 20)], { axis: 1 }, { outputs: 2, channels: 10 });
      return b.output(b.matmul(b.mul(b.node('Sigmoid', [gate]), up), 5));
    },
  },
  'an inverted residual': {
    prunable: 2,
    build: (b) => {
      const relu6 = (x: string) => b.node('Clip', [x, b.floats([0], []), b.floats([6], [])]);
      const x = b.conv(image(b), 6, 3);
      const y = relu6(b.depthwise(relu6(b.conv(x, 12, 1)), 3));
      return head(b, relu6(b.conv(b.add(b.conv(y, 6, 1), x), 16, 1)));
    },
  },
  'squeeze and excitation': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const squeeze = b.relu(b.conv(b.globalAveragePool(x), 4, 1));
      const excite = b.node('Sigmoid', [b.conv(squeeze, 8, 1)]);
      return head(b, b.relu(b.conv(b.mul(x, excite), 6, 3)));
    },
  },
  'squeeze and excitation with Gemm': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const squeeze = b.relu(b.gemm(b.reshape(b.globalAveragePool(x), [0, 8]), 4));
      const excite = b.node('HardSigmoid', [b.gemm(squeeze, 8)]);
      return head(b, b.mul(x, b.reshape(excite, [-1, 8, 1, 1])));
    },
  },
  'flatten before Gemm': {
    prunable: 2,
    build: (b) => {
      const x = b.maxPool(b.relu(b.conv(image(b), 6, 3)), 2);
      return b.output(b.gemm(b.relu(b.gemm(b.flatten(x, 16), 10)), 5, { transB: 0 }));
    },
  },
  'Reshape that names the size': {
    prunable: 1,
    build: (b) => {
      const x = b.maxPool(b.relu(b.conv(image(b), 6, 3)), 4);
      return b.output(b.gemm(b.reshape(x, [-1, 24], 24), 5));
    },
  },
  'Reshape that infers the size': {
    prunable: 1,
    build: (b) => {
      const x = b.maxPool(b.relu(b.conv(image(b), 6, 3)), 4);
      return b.output(b.gemm(b.reshape(x, [0, -1], 24), 5));
    },
  },
  'Reshape to a batch read from the graph': {
    prunable: 1,
    build: (b) => {
      const x = b.maxPool(b.relu(b.conv(image(b), 6, 3)), 4);
      const batch = b.node('Unsqueeze', [
        b.node('Gather', [b.node('Shape', [x]), b.index(0)]),
        b.integers([0]),
      ]);
      const shape = b.node('Concat', [batch, b.integers([24])], { axis: 0 });
      return b.output(b.gemm(b.node('Reshape', [x, shape], {}, { channels: 24 }), 5));
    },
  },
  'Reshape there and back': {
    prunable: 1,
    build: (b) => {
      const flat = b.reshape(b.relu(b.conv(image(b), 6, 3)), [0, 384]);
      return head(b, b.reshape(b.node('Tanh', [flat]), [0, 6, 8, 8], 6));
    },
  },
  'a head with channels last': {
    prunable: 3,
    build: (b) => {
      const x = b.node('Transpose', [b.relu(b.conv(image(b), 6, 3))], { perm: [0, 2, 3, 1] });
      const hidden = b.relu(b.add(b.matmul(x, 9), b.weight([9], 0.2)));
      const mean = b.node('ReduceMean', [b.relu(b.matmul(hidden, 7))], { axes: [1, 2], keepdims: 0 });
      return b.output(b.gemm(mean, 5));
    },
  },
  'several layers that read the same channels': {
    prunable: 4,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const paths = [b.conv(x, 4, 1), b.conv(x, 4, 3), b.conv(x, 4, 5)];
      return head(b, b.node('Concat', paths, { axis: 1 }, { channels: 12 }));
    },
  },
  'channels beside those of the input': {
    prunable: 2,
    build: (b) => {
      const wide = b.node('Concat', ['input', b.relu(b.conv(image(b), 5, 3))], { axis: 1 }, { channels: 8 });
      return head(b, b.conv(wide, 4, 3));
    },
  },
  'dense blocks': {
    prunable: 4,
    build: (b) => {
      let x = b.conv(image(b), 6, 3);
      for (let i = 0; i < 3; i++) {
        const grown = b.conv(b.relu(b.batchNormalization(x)), 4, 3);
        x = b.node('Concat', [x, grown], { axis: 1 }, { channels: b.channels(x) + 4 });
      }
      return b.output(b.gemm(b.flatten(b.maxPool(b.relu(b.batchNormalization(x)), 4), 4), 5));
    },
  },
  'the same channels side by side': {
    prunable: 2,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      const [y, z] = [b.maxPool(x, 3, 1, 1), b.maxPool(x, 5, 1, 2)];
      return head(b, b.relu(b.conv(b.node('Concat', [x, y, z], { axis: 1 }, { channels: 12 }), 6, 1)));
    },
  },
  'a fused layer that is split, and put together with what is made of one half': {
    prunable: 5,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 1));
      const [left, right] = b.nodes('Split', [x], { axis: 1 }, { outputs: 2, channels: 4 });
      const y = b.relu(b.conv(b.relu(b.conv(right, 5, 3)), 4, 3));
      const wide = b.node('Concat', [left, right, y], { axis: 1 }, { channels: 12 });
      return head(b, b.conv(wide, 6, 1));
    },
  },
  'a concatenation that is added to a layer': {
    prunable: 2,
    build: (b) => {
      const [x, y] = [b.conv(image(b), 4, 3), b.conv('input', 6, 1)];
      const wide = b.node('Concat', [x, y], { axis: 1 }, { channels: 10 });
      return head(b, b.add(b.conv('input', 10, 3), wide));
    },
  },
  'a concatenation that multiplies a layer': {
    prunable: 2,
    build: (b) => {
      const [x, y] = [b.conv(image(b), 4, 3), b.conv('input', 6, 1)];
      const wide = b.node('Concat', [x, y], { axis: 1 }, { channels: 10 });
      return head(b, b.mul(b.conv('input', 10, 3), b.depthwise(wide, 3)));
    },
  },
  'a layer that is multiplied by another and by the input': {
    prunable: 1,
    build: (b) => {
      const wide = b.node('Concat', [b.conv(image(b), 4, 3), 'input'], { axis: 1 }, { channels: 7 });
      return head(b, b.mul(b.conv('input', 7, 3), wide));
    },
  },
  'an encoder and a decoder with a skip connection': {
    prunable: 4,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 4, 3));
      const deep = b.relu(b.conv(b.maxPool(x, 2), 6, 3));
      const up = b.node('Resize', [deep, '', b.floats([1, 1, 2, 2])], { mode: 'nearest' });
      const wide = b.node('Concat', [up, x], { axis: 1 }, { channels: 10 });
      return head(b, b.relu(b.conv(b.relu(b.conv(wide, 5, 3)), 4, 1)));
    },
  },
  'slices that overlap': {
    prunable: 4,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 7, 3));
      const slice = (from: number, to: number) =>
        b.node(
          'Slice',
          [x, b.integers([0, from]), b.integers([8, to]), b.integers([2, 1])],
          {},
          { channels: to - from },
        );
      return head(b, b.add(b.conv(slice(0, 4), 5, 3), b.conv(slice(2, 7), 5, 1)));
    },
  },
  'pieces whose bounds are counted from the end': {
    prunable: 4,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 9, 3));
      const slice = (from: number, to: number, channels: number) =>
        b.node(
          'Slice',
          [x, b.integers([-9, from]), b.integers([-1, to]), b.integers([2, 1])],
          {},
          { channels },
        );
      const [first, middle, last] = [slice(-20, -5, 4), slice(4, -2, 3), slice(-2, 2 ** 40, 2)];
      return head(b, b.add(b.add(b.conv(first, 5, 3), b.conv(middle, 5, 1)), b.conv(last, 5, 1)));
    },
  },
  'every other channel, and channels in reverse, as flows turn them round': {
    prunable: 6,
    build: (b) => {
      const slice = (x: string, from: number, to: number, step: number, channels: number) =>
        b.node('Slice', [x, ...[from, to, 1, step].map((it) => b.integers([it]))], {}, { channels });
      const x = b.relu(b.conv(image(b), 9, 3));
      const [even, odd] = [slice(x, 0, 2 ** 40, 2, 5), slice(x, -2, -(2 ** 40), -2, 4)];
      const y = both(b, b.conv(even, 3, 3), b.conv(odd, 5, 1));
      const turned = slice(b.relu(y), -1, -(2 ** 40), -1, 8);
      const [first, second] = b.nodes(
        'Split',
        [turned, b.integers([4, 4])],
        { axis: 1 },
        { outputs: 2, channels: 4 },
      );
      const z = b.node('Sub', [b.weight([3, 1, 1], 0.3), b.conv(first, 3, 1)]);
      return head(b, b.relu(b.add(b.conv(z, 5, 1), b.conv(second, 5, 1))));
    },
  },
  'a gated product of two layers': {
    prunable: 2,
    build: (b) => {
      const x = b.flatten(b.globalAveragePool(b.relu(b.conv(image(b), 8, 3))));
      const gate = b.matmul(x, 10);
      return b.output(b.matmul(b.mul(b.mul(gate, b.node('Sigmoid', [gate])), b.matmul(x, 10)), 5));
    },
  },
  'per-channel constants and slopes': {
    prunable: 1,
    build: (b) => {
      let x = b.node('PRelu', [b.conv(image(b), 6, 3), b.weight([6, 1, 1], 0.2)]);
      x = b.mul(b.weight([1, 6, 1, 1], 0.3, 1), b.node('Sub', [x, b.weight([6, 1, 1], 0.3)]));
      x = b.node('Div', [b.add(x, b.weight([8, 8], 0.3)), b.floats([2], [])]);
      return head(b, b.node('InstanceNormalization', [x, b.weight([6], 0.2, 1), b.weight([6], 0.2)]));
    },
  },
  'pads, resizing, pooling and slices of other axes': {
    prunable: 1,
    build: (b) => {
      let x = b.node('Pad', [b.relu(b.conv(image(b), 6, 3)), b.integers([0, 0, 0, 1, 0, 0, 1, 0])]);
      x = b.node('Resize', [x, '', b.floats([1, 1, 2, 2])], { mode: 'nearest' });
      x = b.node('Resize', [x, '', '', b.integers([2, 6, 5, 5])], { mode: 'nearest' });
      x = b.node('Slice', [x, b.integers([1]), b.integers([5]), b.integers([2])]);
      x = b.node('AveragePool', [x], { kernel_shape: [2, 2] });
      return b.output(b.gemm(b.flatten(b.node('ReduceMax', [x], { axes: [2, 3] })), 5));
    },
  },
  'channels that are padded, by named axes': {
    prunable: 2,
    opset: 18,
    build: (b) => {
      const pads = [b.integers([0, 2, 1, 3]), '', b.integers([-1, 1])];
      return head(
        b,
        b.conv(b.node('Pad', [b.relu(b.conv(image(b), 6, 3)), ...pads], {}, { channels: 11 }), 5, 3),
      );
    },
  },
  'channels that are padded, by an attribute': {
    prunable: 2,
    opset: 9,
    build: (b) => {
      const pads = [0, 1, 0, 0, 0, 2, 0, 0];
      return head(b, b.conv(b.node('Pad', [b.conv(image(b), 6, 3)], { pads }, { channels: 9 }), 5, 3));
    },
  },
  'channels that are padded, by numbers from the last axis on that are turned round': {
    prunable: 2,
    build: (b) => {
      const pads = turnedRound(b, [0, 0, 1, 0, 2, 3]);
      return head(
        b,
        b.conv(b.node('Pad', [b.relu(b.conv(image(b), 6, 3)), pads], {}, { channels: 11 }), 5, 3),
      );
    },
  },
  'rows and columns that are padded, by as many numbers as are left out': {
    prunable: 2,
    build: (b) => {
      const pads = turnedRound(b, [0, 1, 0, 1]);
      return head(
        b,
        b.conv(b.node('Pad', [b.relu(b.conv(image(b), 6, 3)), pads], {}, { channels: 6 }), 5, 3),
      );
    },
  },
  'squeezed and unsqueezed axes': {
    prunable: 1,
    build: (b) => {
      const x = b.node('Squeeze', [b.globalAveragePool(b.relu(b.conv(image(b), 6, 3))), b.integers([-1, 2])]);
      const y = b.node('Squeeze', [b.node('Unsqueeze', [x, b.integers([0, 3])]), b.integers([0, 3])]);
      return b.output(b.gemm(y, 5));
    },
  },
  'a one-dimensional convolution': {
    prunable: 2,
    dims: [2, 3, 16],
    build: (b) => {
      const x = b.relu(b.conv(b.input([3, 16]), 6, 3, { dimensions: 1 }));
      const y = b.relu(b.conv(x, 8, 5, { dimensions: 1, stride: 2 }));
      return b.output(b.gemm(b.flatten(b.node('GlobalAveragePool', [y])), 5));
    },
  },
  'transposed convolutions': {
    prunable: 3,
    build: (b) => {
      const up = (x: string, m: number) => {
        const inputs = [x, b.weight([b.channels(x), m, 2, 2], 0.5), b.weight([m], 0.2)];
        return b.relu(b.node('ConvTranspose', inputs, { strides: [2, 2] }, { channels: m }));
      };
      return head(b, up(b.batchNormalization(up(b.relu(b.conv(image(b), 4, 3)), 6)), 3));
    },
  },
  'resizing to the size of another value': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const deep = b.relu(b.conv(b.maxPool(x, 2), 6, 3));
      const front = b.node('Slice', [
        b.node('Shape', [deep]),
        b.integers([0]),
        b.integers([2]),
        b.integers([0]),
      ]);
      const back = b.node('Slice', [b.node('Shape', [x]), b.integers([2]), b.integers([4]), b.integers([0])]);
      const [known, computed] = [b.integers([8, 8]), back].map((sizes) => {
        const shape = b.node('Concat', [front, sizes], { axis: 0 });
        return b.node('Resize', [deep, '', '', shape], { mode: 'nearest' }, { channels: 6 });
      });
      return head(
        b,
        b.relu(b.conv(b.node('Concat', [known, x, computed], { axis: 1 }, { channels: 18 }), 4, 1)),
      );
    },
  },
  'attention gates read from the channels themselves': {
    prunable: 1, // the gate's layer reads and makes the same channels
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      return head(b, b.mul(x, b.node('Sigmoid', [b.conv(x, 6, 1)])));
    },
  },
  'branches of one layer, of which the largest is taken': {
    prunable: 1,
    build: (b) => {
      const branches = b.reshape(b.conv(image(b), 12, 3), [-1, 2, 6, 8, 8], 6);
      return head(b, b.node('ReduceMax', [branches], { axes: [1], keepdims: 0 }, { channels: 6 }));
    },
  },
  'branches of one layer, that are weighted by a softmax over them': {
    prunable: 1,
    build: (b) => {
      const branches = b.reshape(b.conv(image(b), 12, 3), [-1, 2, 6, 8, 8], 6);
      const turned = b.node('Transpose', [branches], { perm: [0, 2, 3, 4, 1] });
      const weights = b.node('Transpose', [b.node('Softmax', [turned])], { perm: [0, 4, 1, 2, 3] });
      const weighted = b.mul(branches, weights);
      return head(b, b.node('ReduceSum', [weighted, b.integers([1])], { keepdims: 0 }, { channels: 6 }));
    },
  },
  'an image that a layer makes, its channels behind rows and columns, as TensorFlow has it': {
    prunable: 3,
    build: (b) => {
      const hidden = b.relu(b.gemm(b.flatten(b.globalAveragePool(b.conv(image(b), 6, 3))), 2 * 3 * 5));
      const rows = b.reshape(hidden, [-1, 2, 3, 5], 2);
      const x = b.node('Transpose', [rows], { perm: [0, 3, 1, 2] }, { channels: 5 });
      return head(b, b.relu(b.conv(x, 4, 3)));
    },
  },
  'masks of two sources that are cut out of one signal': {
    prunable: 3,
    build: (b) => {
      const masks = b.reshape(b.conv(b.relu(b.conv(image(b), 5, 3)), 6, 1), [-1, 2, 3, 8, 8], 3);
      const sources = b.mul(b.node('Sigmoid', [masks]), b.node('Unsqueeze', ['input', b.integers([1])]));
      return head(b, b.relu(b.conv(b.reshape(sources, [-1, 3, 8, 8], 3), 4, 3)));
    },
  },
  'two sources of one layer that are scaled before they are taken one by one': {
    prunable: 3,
    build: (b) => {
      const y = b.reshape(b.conv(b.relu(b.conv(image(b), 5, 3)), 12, 1), [-1, 2, 6, 8, 8], 6);
      const sources = b.mul(b.node('Sigmoid', [y]), b.floats([0.5, 2], [2, 1, 1, 1]));
      const W = b.weight([4, 6, 1, 1], 0.4);
      const decoded = [0, 1].map((place) => {
        const source = b.node('Gather', [sources, b.index(place)], { axis: 1 }, { channels: 6 });
        return b.node('Conv', [source, W], {}, { channels: 4 });
      });
      return head(b, b.node('Concat', decoded, { axis: 1 }, { channels: 8 }));
    },
  },
  'a number of channels that is a computed constant, beside one that is inferred and one of another axis': {
    prunable: 1,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const computed = b.node('Cast', [b.node('Cast', [b.integers([6])], { to: 1 })], { to: 7 });
      const sizes = [b.integers([-1]), computed, count(b, x, 2), b.integers([8])];
      return head(b, b.node('Reshape', [x, b.node('Concat', sizes, { axis: 0 })], {}, { channels: 6 }));
    },
  },
  'channels that are merged with samples and rows, as many as are computed and cast': {
    prunable: 1,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 6, 3));
      const samples = b.node('Cast', [count(b, x, 0)], { to: 6 }); // int32, as all before the last Cast
      const whole = (value: number) => b.integers([value], 'int32');
      const rows = b.node('Mul', [b.node('Mul', [samples, whole(6)]), whole(4)]);
      const to = (...sizes: string[]) => b.node('Cast', [b.node('Concat', sizes, { axis: 0 })], { to: 7 }); // int64
      const merged = b.node('Tanh', [b.node('Reshape', [x, to(rows, whole(2), whole(8))])]);
      const apart = b.node('Reshape', [merged, to(samples, whole(6), whole(8), whole(8))]);
      b.output(b.gemm(b.node('Flatten', [apart], {}, { channels: 384 }), 5));
      return b;
    },
  },
  'attention over places, by means and maxima of the channels': {
    prunable: 2,
    build: (b) => head(b, b.relu(b.conv(overPlaces(b, b.relu(b.conv(image(b), 6, 3))), 5, 3))),
  },
  'sums of layers side by side, up a pyramid': {
    prunable: 5, // no layer that reads the sums makes a part of them
    build: (b) => {
      const lower = b.relu(b.conv(image(b), 6, 3));
      const upper = b.relu(b.conv(lower, 7, 3, { stride: 2 }));
      const top = b.conv(upper, 5, 1);
      const scales = b.floats([1, 1, 2, 2], [4]);
      const wide = b.node('Resize', [top, '', scales], { mode: 'nearest' }, { channels: 5 });
      const sum = b.add(b.conv(lower, 5, 1), wide);
      const levels = [b.conv(top, 4, 3), b.conv(sum, 8, 3, { stride: 2 })];
      return head(b, b.node('Concat', levels, { axis: 1 }, { channels: 12 }));
    },
  },
  'branches that are added with weights read from them': {
    prunable: 2,
    build: (b) => {
      const branches = [b.relu(b.conv(image(b), 6, 3)), b.relu(b.conv('input', 6, 1))];
      const inner = b.relu(b.conv(b.add(branches[0], branches[1]), 4, 1));
      const weighted = branches.map((x) => b.mul(x, b.node('Sigmoid', [b.conv(inner, 6, 1)])));
      return head(b, b.add(weighted[0], weighted[1]));
    },
  },
  'positions that a table repeats as often as there are rows, flattened, behind which a size is divided': {
    prunable: 3,
    build: (b) => {
      const x = b.conv(image(b), 8, 3);
      const times = b.node('Concat', [count(b, x, 2), b.integers([1]), b.integers([1])], { axis: 0 });
      const grid = b.node('Tile', [b.weight([1, 8, 8], 0.5), times]);
      const table = b.node('Unsqueeze', [b.node('Flatten', [grid], { axis: 2 }), b.integers([1])]);
      const rows = b.node('Transpose', [b.node('Reshape', [x, b.integers([0, 0, -1])])], { perm: [2, 0, 1] });
      const y = b.add(table, rows);
      const width = b.node('Div', [count(b, y, 2), b.integers([NUMBER_OF_HEADS])]);
      const shape = b.node('Concat', [b.integers([0, 0, NUMBER_OF_HEADS]), width], { axis: 0 });
      const apart = () => b.node('Reshape', [b.matmul(y, 8), shape]);
      const both = b.node('Reshape', [b.mul(apart(), apart()), b.integers([0, 0, -1])], {}, { channels: 8 });
      return b.output(b.matmul(b.relu(b.matmul(both, 6)), 5));
    },
  },
  'queries that are learned, repeated for each sample, whose number of channels is divided': {
    prunable: 2,
    build: (b) => {
      const times = b.node('Concat', [b.integers([1]), count(b, image(b), 0), b.integers([1])], { axis: 0 });
      const x = b.node('Tile', [b.weight([3, 1, 8], 0.5), times], {}, { channels: 8 });
      const width = b.node('Div', [count(b, x, 2), b.integers([NUMBER_OF_HEADS])]);
      const shape = b.node('Concat', [b.integers([0, 0, NUMBER_OF_HEADS]), width], { axis: 0 });
      const apart = () => b.node('Reshape', [b.matmul(x, 8), shape]);
      const both = b.node('Reshape', [b.mul(apart(), apart()), b.integers([0, 0, -1])], {}, { channels: 8 });
      return b.output(b.matmul(b.relu(b.add(x, b.matmul(both, 8))), 5));
    },
  },
  'two attentions with the same weights for queries, keys and values in one': {
    prunable: 3,
    dims: [2, 3, 5],
    build: (b) => {
      const x = b.relu(b.matmul(b.sequence(5), 8));
      const [W, out] = [b.weight([8, 24], 0.4), b.weight([8, 8], 0.4)];
      const attention = (from: string) => {
        const all = b.reshape(b.node('MatMul', [from, W], {}, { channels: 24 }), [0, 0, 3, 8], 8);
        const [q, k, v] = [0, 1, 2].map((i) =>
          b.reshape(b.node('Gather', [all, b.index(i)], { axis: 2 }), [0, 0, NUMBER_OF_HEADS, 2]),
        );
        const turned = (y: string, perm: number[]) => b.node('Transpose', [y], { perm });
        const scores = b.node('MatMul', [turned(q, [0, 2, 1, 3]), turned(k, [0, 2, 3, 1])]);
        const y = turned(mixed(b, scores, turned(v, [0, 2, 1, 3])), [0, 2, 1, 3]);
        return b.node('MatMul', [b.reshape(y, [0, 0, -1], 8), out], {}, { channels: 8 });
      };
      return b.output(b.matmul(b.mul(attention(x), attention(b.node('Neg', [x]))), 3));
    },
  },
  'transposed convolutions in groups, of a channel and of two, each making two': {
    prunable: 4,
    build: (b) => {
      const up = (x: string, c: number, m: number, group: number) =>
        b.node(
          'ConvTranspose',
          [x, b.weight([c, m / group, 2, 2], 0.5), b.weight([m], 0.3)],
          { group, strides: [2, 2] },
          { channels: m },
        );
      const x = b.relu(up(b.relu(b.conv(image(b), 8, 3)), 8, 8, 8));
      const y = b.relu(up(b.conv(x, 6, 1), 6, 12, 6));
      return head(b, b.relu(b.conv(up(b.conv(y, 8, 1), 8, 8, 4), 7, 1)));
    },
  },
  'scales that are computed of the number of channels, as a fraction, and half of it as 32 and 64 bits': {
    prunable: 2,
    build: (b) => {
      const float = (value: string) => b.node('Cast', [value], { to: 1 });
      const x = float(b.relu(b.conv(image(b), 8, 3)));
      const whole = b.node('Pow', [float(count(b, x, 1)), b.floats([-0.5])]);
      const half = (value: string, type: 'int32' | 'int64') =>
        float(b.mul(b.node('Div', [value, b.integers([2], type)]), b.integers([1], type)));
      const halves = b.mul(
        half(b.node('Cast', [count(b, x, 1)], { to: 6 }), 'int32'),
        half(count(b, x, 1), 'int64'),
      );
      const scalar = float(b.node('Gather', [b.node('Shape', [x]), b.index(1)]));
      const list = b.node('Concat', [b.node('Unsqueeze', [scalar, b.integers([0])]), b.floats([2])], {
        axis: 0,
      });
      const mean = b.node('ReduceMean', [list], { keepdims: 0 });
      return head(b, b.relu(b.conv(b.mul(b.mul(b.mul(x, whole), halves), mean), 6, 3)));
    },
  },
};

/** Graphs with shortcuts, and how many structures can be pruned with those that they tie. */
const RESIDUAL: Record<string, { prunable: number; build: (b: OnnxBuilder) => OnnxBuilder }> = {
  'embeddings that two others are added to': {
    prunable: 1,
    build: (b) => {
      const ids = b.node('Cast', [b.node('Abs', [b.mul(image(b), b.floats([4], []))])], { to: 7 });
      const embedded = () => b.node('Gather', [b.weight([4, 6], 0.5), ids], {}, { channels: 6 });
      const x = embedded();
      const [y, z] = [b.matmul(b.add(x, embedded()), 5), b.matmul(b.add(x, embedded()), 5)];
      return b.output(b.node('ReduceMean', [b.add(y, z)], { axes: [1, 2], keepdims: 0 }));
    },
  },
  'basic blocks and a projection': {
    prunable: 5,
    build: (b) => {
      let x = b.relu(b.conv(image(b), 8, 3));
      x = b.relu(b.add(b.conv(b.relu(b.conv(x, 6, 3)), 8, 3), x));
      x = b.relu(b.add(b.conv(b.relu(b.conv(x, 6, 3, { stride: 2 })), 9, 3), b.conv(x, 9, 1, { stride: 2 })));
      return head(b, b.relu(b.add(b.conv(b.relu(b.conv(x, 6, 3)), 9, 3), x)));
    },
  },
  'blocks with BatchNormalization before the layers': {
    prunable: 3,
    build: (b) => {
      let x = b.conv(image(b), 8, 3);
      for (let i = 0; i < 2; i++) {
        const inner = b.conv(b.relu(b.batchNormalization(x)), 6, 3, { bias: false });
        x = b.add(b.conv(b.relu(b.batchNormalization(inner)), 8, 3), x);
      }
      return head(b, b.relu(b.batchNormalization(x)));
    },
  },
  'a stream that is normalised before every layer, and behind the last': {
    prunable: 4,
    build: (b) => {
      let x = channelsLast(b, b.conv(image(b), 8, 3));
      for (let i = 0; i < 2; i++) x = b.add(b.matmul(b.relu(b.matmul(normal(b, x), 12)), 8), x);
      return head(b, b.conv(channelsFirst(b, normal(b, x)), 7, 1));
    },
  },
  'a stream that is normalised behind every sum': {
    prunable: 3,
    build: (b) => {
      const x = b.relu(b.conv(image(b), 8, 3));
      const y = writtenOutNorm(b, b.add(b.conv(b.relu(b.conv(x, 6, 3)), 8, 3), x));
      return head(b, b.relu(b.conv(writtenOutNorm(b, b.add(b.conv(y, 8, 3), y)), 5, 3)));
    },
  },
  'a stream whose number is divided behind rows that are merged': {
    prunable: 2,
    build: (b) => {
      const x = b.node(
        'Reshape',
        [channelsLast(b, b.conv(image(b), 8, 3)), b.integers([-1, 64, 8])],
        {},
        { channels: 8 },
      );
      const half = b.node('Div', [count(b, x, 2), b.integers([2])]);
      const heads = b.node('Concat', [b.integers([0]), b.integers([0]), b.integers([2]), half], { axis: 0 });
      const y = b.reshape(b.node('Reshape', [b.matmul(x, 8), heads]), [0, 0, 8], 8);
      return b.output(b.matmul(b.add(b.matmul(b.relu(y), 8), x), 5));
    },
  },
  'an inverted residual and a stream that is concatenated': {
    prunable: 4,
    build: (b) => {
      const x = b.conv(image(b), 6, 3);
      const y = b.add(b.conv(b.relu(b.depthwise(b.relu(b.conv(x, 12, 1)), 3)), 6, 1), x);
      const z = b.node('Concat', [b.relu(b.conv(y, 4, 1)), y], { axis: 1 }, { channels: 10 });
      return head(b, b.relu(b.conv(z, 7, 1)));
    },
  },
  'shortcuts that pad channels': {
    prunable: 6,
    build: (b) => {
      const wider = (x: string, ...pads: number[]) => {
        const channels = b.channels(x) + pads[1] + pads[5];
        const short = b.node('Pad', [x, b.integers(pads), b.floats([0.5], [])], {}, { channels });
        return b.relu(b.add(b.conv(b.relu(b.conv(x, 7, 3)), channels, 3), short));
      };
      const x = wider(b.relu(b.conv(image(b), 4, 3)), 0, 2, 0, 0, 0, 3, 0, 0);
      return head(b, wider(x, 0, 0, 0, 0, 0, 3, 0, 0));
    },
  },
};

async function opened(bytes: Uint8Array, dims: readonly number[], residual = false) {
  const model = await readModel(bytes);
  const input = randomValue(dims);
  const { structures } = analyse(model, await shapesOf(model, input), { residual });
  return { model, input, prunable: structures.filter((s) => s.prunable), structures };
}

/** Whether what a node reads is there before it, as the format wants it; onnxruntime runs others too. */
function isInOrder(model: Model): boolean {
  const isBefore = (value: string, place: number) => model.nodes.indexOf(model.producer(value)!) < place;
  return model.nodes.every(({ input }, place) => input.every((value) => isBefore(value, place)));
}

describe('shrink', () => {
  const cases = [
    ...Object.entries(GRAPHS).map(([name, { dims = [2, 3, 8, 8], ...graph }]) => ({
      name,
      dims,
      residual: false,
      opset: 17,
      ...graph,
    })),
    ...Object.entries(RESIDUAL).map(([name, graph]) => ({
      name,
      dims: [2, 3, 8, 8],
      residual: true,
      opset: 17,
      ...graph,
    })),
  ];
  for (const { name, build, prunable: expected, dims, residual, opset } of cases) {
    it(`computes what the masked model computes: ${name}${residual ? ', with its shortcuts' : ''}`, async () => {
      const { model, input, prunable, structures } = await opened(
        build(new OnnxBuilder({ seed: 3, opset })).build(),
        dims,
        residual,
      );
      expect(prunable.length, JSON.stringify(structures.map((s) => [s.name, s.reason]))).toBe(expected);
      const random = seeded(11);
      const selections = prunable.map(
        (structure) => new Map([[structure, randomChannels(structure, random)]]),
      );
      // each on its own, all together, and down to one channel
      selections.push(new Map(prunable.map((structure) => [structure, randomChannels(structure, random)])));
      selections.push(new Map(prunable.map((structure) => [structure, [structure.groups - 1]])));
      for (const cuts of selections) {
        const small = shrink(model, cuts);
        const [wanted, got] = [await runModel(mask(model, cuts), input), await runModel(small, input)];
        expect(difference(wanted, got)).toBeLessThan(ROUNDING);
        expect(isInOrder(small)).toBe(true);
        if ([...cuts].some(([s, kept]) => kept.length < s.groups)) {
          expect(countParameters(small)).toBeLessThan(countParameters(model));
        }
      }
    });
  }

  for (const file of ['fashion-resnet', 'fashion-resnet-bn', 'fashion-mobilenet', 'fashion-mobilenet-v2']) {
    for (const [how, folded, residual] of [
      ['', false, false],
      [', folded', true, false],
      [', with its shortcuts', false, true],
    ] as const) {
      it(`computes what the masked model computes: ${file}${how}`, async () => {
        const bytes = readFileSync(new URL(`../fixtures/${file}.onnx`, import.meta.url));
        const read = await readModel(bytes);
        const model = folded ? foldBatchNormalization(read) : read;
        const { input, prunable, structures } = await opened(
          writeModel(model).model,
          [3, 1, 28, 28],
          residual,
        );
        const others = structures.filter((it) => !it.prunable && (residual || !it.isResidual));
        expect(others.map(({ reason }) => reason)).toEqual(['it is the graph output "logits"']);
        const random = seeded(5);
        const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, random)]));
        expect(await cutDifference(model, cuts, input)).toBeLessThan(ROUNDING);
      });
    }
  }

  it('normalises one group of channels in images of every size', async () => {
    const b = new OnnxBuilder({ seed: 3 });
    const flat = (value: string) => b.reshape(value, [0, 1, -1]);
    const input = b.input([3, 'height', 'width']);
    const [x, y] = [b.relu(b.conv(input, 6, 3)), b.relu(b.conv(input, 4, 3))];
    const both = b.node('Concat', [x, y], { axis: 1 }, { channels: 10 });
    const scales = [b.floats([1.5]), b.floats([0.2])];
    const normal = b.node('InstanceNormalization', [flat(both), ...scales]);
    const z = b.node('Reshape', [normal, b.node('Shape', [both])], {}, { channels: 10 });
    const { model, prunable } = await opened(head(b, b.conv(z, 8, 3)).build(), [2, 3, 8, 6]);
    expect(prunable).toHaveLength(3);
    const random = seeded(11);
    const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, random)]));
    for (const sides of [
      [8, 6],
      [5, 9],
      [1, 1],
    ])
      expect(await cutDifference(model, cuts, randomValue([2, 3, ...sides]))).toBeLessThan(ROUNDING);
  });

  it.each([
    ['that counts rows of each channel', 2, 2],
    ['that would count parts of channels', 16, 1],
  ])(
    'cuts in batches of every size what the batch is merged with, divided by a number %s',
    async (_, by, expected) => {
      const b = new OnnxBuilder({ seed: 3 });
      const x = b.relu(b.conv(image(b), 16, 3));
      const [n, c, h, w] = [0, 1, 2, 3].map((place) => count(b, x, place));
      const list = (...sizes: string[]) => b.node('Concat', sizes, { axis: 0 });
      const parts = b.node('Div', [b.mul(b.mul(n, c), h), b.integers([by])]);
      const patches = b.node('Reshape', [x, list(parts, b.integers([by]), w)]);
      const together = b.node('Reshape', [patches, list(n, c, b.mul(h, w))]);
      const rows = b.node('Transpose', [together], { perm: [0, 2, 1] }, { channels: 16 });
      const mean = b.node('ReduceMean', [b.relu(b.matmul(rows, 8))], { axes: [1], keepdims: 0 });
      const { model, prunable } = await opened(b.output(b.matmul(mean, 5)).build(), [1, 3, 8, 8]);
      expect(prunable).toHaveLength(expected);
      const random = seeded(11);
      const cuts = new Map(prunable.map((structure) => [structure, randomChannels(structure, random)]));
      expect(await cutDifference(model, cuts, randomValue([3, 3, 8, 8]))).toBeLessThan(ROUNDING);
    },
  );

  it('makes one Gather of a shuffle where channels go, and leaves it as it is elsewhere', async () => {
    const b = new OnnxBuilder();
    const x = shuffle(b, b.relu(b.conv(image(b), 8, 3)), 2);
    const bytes = head(b, b.relu(b.conv(x, 6, 3))).build();
    const { model, prunable } = await opened(bytes, [2, 3, 8, 8]);
    const cut = (kept: readonly number[][]) =>
      shrink(model, new Map(prunable.map((structure, i) => [structure, kept[i]])));
    const operators = (kept: readonly number[][]) => cut(kept).nodes.map((it) => it.opType);
    const first = [...Array(8).keys()];
    expect(
      operators([
        [1, 2, 4, 7],
        [0, 1],
      ]).slice(0, 4),
    ).toEqual(['Conv', 'Relu', 'Gather', 'Conv']);
    expect(operators([first, [0, 1]]).slice(2, 5)).toEqual(['Reshape', 'Transpose', 'Reshape']);
    const again = await opened(
      writeModel(
        cut([
          [1, 2, 4, 7],
          [0, 1],
        ]),
      ).model,
      [2, 3, 8, 8],
    );
    expect(again.prunable.map(({ groups }) => groups)).toEqual([4, 2]);
  });

  it('keeps channels that are added to themselves in another order', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(image(b), 8, 3));
    const { structures } = await opened(
      head(b, b.conv(b.add(x, shuffle(b, x, 2)), 5, 3)).build(),
      [2, 3, 8, 8],
    );
    expect(structures[0].reason).toMatch(/ties channels of different sizes or in another order/);
  });

  it('cuts a bias that writeWeights gave to a layer after the analysis', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(b.relu(b.conv(image(b), 6, 3, { bias: false })), 8, 3, { bias: false }));
    const { model, input, prunable } = await opened(head(b, x).build(), [2, 3, 8, 8]);
    const edited = model.clone();
    for (const { consumers } of prunable) {
      for (const map of consumers) {
        writeWeights(
          edited,
          map,
          readWeights(model, map).W,
          Float32Array.from({ length: map.m }, (_, i) => i / 10),
        );
      }
    }
    const cuts = new Map(prunable.map((structure) => [structure, [0, 2, 5]]));
    const [wanted, got] = [
      await runModel(mask(edited, cuts), input),
      await runModel(shrink(edited, cuts), input),
    ];
    expect(difference(wanted, got)).toBeLessThan(ROUNDING);
  });

  it('cuts a new bias where the weights of a fused layer are cut', async () => {
    const b = new OnnxBuilder();
    const x = b.flatten(b.globalAveragePool(b.relu(b.conv(image(b), 8, 3))));
    const fused = b.gemm(x, 20, { transB: 0, bias: false });
    const [gate, up] = b.nodes('Split', [fused], { axis: 1 }, { outputs: 2, channels: 10 });
    const bytes = b.output(b.matmul(b.mul(b.node('Sigmoid', [gate]), up), 5)).build();
    const { model, input, prunable } = await opened(bytes, [2, 3, 8, 8]);
    const gemm = prunable[0].consumers[0];
    const edited = model.clone();
    const bias = Float32Array.from({ length: gemm.m }, (_, i) => i / 10);
    writeWeights(edited, gemm, readWeights(model, gemm).W, bias);
    const cuts = new Map([[prunable[1], [0, 2, 5]]]);
    const [wanted, got] = [
      await runModel(mask(edited, cuts), input),
      await runModel(shrink(edited, cuts), input),
    ];
    expect(gemm.m).toBe(20);
    expect(difference(wanted, got)).toBeLessThan(ROUNDING);
  });

  it('cuts slices and even splits that are told by attributes', async () => {
    const b = new OnnxBuilder({ opset: 9 });
    const x = b.relu(b.conv(image(b), 8, 3));
    const slice = (from: number, to: number, channels: number) =>
      b.node('Slice', [x], { starts: [from], ends: [to], axes: [1] }, { channels });
    const [left, right] = b.nodes('Split', [slice(2, 8, 6)], { axis: 1 }, { outputs: 2, channels: 3 });
    const sum = b.add(b.conv(slice(0, -6, 2), 5, 3), b.add(b.conv(left, 5, 1), b.conv(right, 5, 3)));
    const { model, input, prunable } = await opened(head(b, sum).build(), [2, 3, 8, 8]);
    expect(prunable.map(({ groups }) => groups)).toEqual([2, 3, 3, 5]);
    const cuts = new Map(prunable.map((structure, i) => [structure, [[1], [0, 2], [1], [0, 3]][i]]));
    expect(await cutDifference(model, cuts, input)).toBeLessThan(ROUNDING);
  });

  it('cuts pieces whose bounds are computed from the number of channels, as torch.chunk exports them', async () => {
    const b = new OnnxBuilder();
    const x = b.relu(b.conv(image(b), 8, 3));
    const count = b.node('Gather', [b.node('Shape', [x]), b.integers([1])]);
    const half = b.node('Div', [b.add(count, b.integers([1])), b.integers([2])]);
    const [first, second] = [1, 2].map((i) => b.mul(half, b.integers([i])));
    const slice = (from: string, to: string) =>
      b.node('Slice', [x, from, to, b.integers([1])], {}, { channels: 4 });
    const sum = b.add(b.conv(slice(b.integers([0]), first), 5, 3), b.conv(slice(first, second), 5, 1));
    const { model, input, prunable } = await opened(head(b, sum).build(), [2, 3, 8, 8]);
    expect(prunable.map(({ groups }) => groups)).toEqual([4, 4, 5]);
    const all = [0, 1, 2, 3, 4];
    for (const kept of [
      [[1], [0, 2, 3], all],
      [[0, 1, 2, 3], [2], [1, 4]],
      [[1, 3], [0, 1, 2, 3], all],
    ]) {
      const cuts = new Map(prunable.map((structure, i) => [structure, kept[i]]));
      expect(await cutDifference(model, cuts, input)).toBeLessThan(ROUNDING);
    }
  });

  it('gives nodes that share a constant their own version of it, and leaves it to who else reads it', async () => {
    const b = new OnnxBuilder();
    const scale = b.weight([1, 6, 1, 1], 0.3, 1);
    const x = b.mul(b.conv(image(b), 6, 3), scale);
    const y = b.mul(b.conv(x, 6, 3), scale);
    head(b, y);
    for (const isOutput of [false, true]) {
      if (isOutput) b.output(scale);
      const { model, input, prunable } = await opened(b.build(), [2, 3, 8, 8]);
      const each = [
        [1, 2],
        [0, 3, 4],
      ].map((kept, i) => [prunable[i], kept] as const);
      for (const cuts of [new Map(each), new Map(each.slice(1))]) {
        expect(await cutDifference(model, cuts, input)).toBeLessThan(ROUNDING);
        if (isOutput) expect(shrink(model, cuts).tensors.get(scale)).toEqual(model.tensors.get(scale));
      }
    }
  });

  it('cuts nodes with the same weights alike, and has these once', async () => {
    const b = new OnnxBuilder();
    const W = b.weight([6, 6, 1, 1], 0.5);
    const shared = (x: string) => b.node('Conv', [x, W], {}, { channels: 6 });
    const x = b.relu(shared(b.relu(shared(b.relu(b.conv(image(b), 6, 3))))));
    const { model, input, prunable } = await opened(head(b, x).build(), [2, 3, 8, 8]);
    expect(prunable.length).toBe(1);
    const cuts = new Map([[prunable[0], [1, 4]]]);
    const small = shrink(model, cuts);
    expect(difference(await runModel(mask(model, cuts), input), await runModel(small, input))).toBeLessThan(
      ROUNDING,
    );
    expect(small.tensors.size).toBe(model.tensors.size);
    expect(small.tensors.get(W)!.dims).toEqual([2, 2, 1, 1]);
  });

  it('leaves the model it was given as it was', async () => {
    const { model, prunable } = await opened(
      GRAPHS['a basic block'].build(new OnnxBuilder()).build(),
      [2, 3, 8, 8],
    );
    const before = writeModel(model).model;
    shrink(model, new Map([[prunable[0], [0]]]));
    mask(model, new Map([[prunable[0], [0]]]));
    expect(writeModel(model).model).toEqual(before);
  });

  it('leaves heads that are merged with the batch beside values that no layer makes', async () => {
    const b = new OnnxBuilder();
    const x = b.sequence(6);
    const [q, k, v, query, key] = [8, 8, 8, 8, 8].map((m) => merged(b, b.matmul(x, m)));
    const scores = b.add(
      scoresOf(b, q, k),
      b.node('Einsum', [scoresOf(b, query, key)], { equation: '...i->...i' }),
    );
    const y = b.output(b.matmul(unmerged(b, mixed(b, scores, v), x), 3));
    const { structures, prunable } = await opened(y.build(), [1, 5, 6]);
    expect(prunable).toEqual([]);
    const reasons = structures.map(({ reason }) => reason).join('; ');
    expect(reasons).toMatch(/Add "[^"]+" ties it to "[^"]+", whose channels no layer makes/);
  });

  it('refuses structures that cannot be cut and channels that are none', async () => {
    const { model, prunable, structures } = await opened(
      GRAPHS['a basic block'].build(new OnnxBuilder()).build(),
      [2, 3, 8, 8],
    );
    const residual = structures.find((s) => s.isResidual)!;
    expect(() => shrink(model, new Map([[residual, [0]]]))).toThrow(/cannot be cut: residual stream/);
    for (const kept of [[1, 0], [0, 0], [-1], [6], [0.5]]) {
      expect(() => shrink(model, new Map([[prunable[0], kept]]))).toThrow(/ascending channels/);
    }
  });
});
