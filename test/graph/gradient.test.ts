import { describe, expect, test } from 'vitest';
import { openEngine } from '../../src/engine/index.ts';
import { valueInfo } from '../../src/graph/build.ts';
import { typeCode } from '../../src/graph/dtype.ts';
import {
  type GradientModel,
  gradientModel,
  type LinearMap,
  linearMaps,
  lossGradient,
  type Model,
  readModel,
  readWeights,
  samplesOf,
  toFloat32,
  weightTensors,
  writeWeights,
} from '../../src/graph/index.ts';
import { inferShapes, samplePlaces } from '../../src/pipeline/open/shapes.ts';
import { picked } from '../../src/pipeline/pass/statistics.ts';
import { sourceOf } from '../architectures/source.ts';
import { tinyWeights, uniformSizes, VARIANTS } from '../architectures/tiny.ts';
import { describe as describeModel } from '../support/describe.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { attend, concat, merge, multihead, size, split, transpose, WIDTH } from './attention-graphs.ts';
import {
  allValues,
  difference,
  type Feed,
  randomTokens,
  randomValue,
  run,
  shapesOf,
  shapesOfFeeds,
  type Value,
} from './running.ts';

const engine = await openEngine({ threads: 1 });
const IMAGE = [2, 3, 9, 8];
const ROWS = [2, 5, 6];
/** From the first that is derived to the last, with those that changed operators. */
const OPSETS = [11, 13, 18, 21];
const FLOAT = typeCode('float32');

interface Graph {
  readonly dims: number[];
  readonly producers?: number;
  /** Those that have the operators in other forms; else one. */
  readonly opsets?: readonly number[];
  build(b: OnnxBuilder, opset: number): string;
}

type Build = (b: OnnxBuilder, x: string, input: string, opset: number) => string;

/** Of an image of six channels, between two convolutions. */
function between(builds: Record<string, Build>, more: Partial<Graph> = {}): Record<string, Graph> {
  return mapValues(builds, (build) => ({
    dims: IMAGE,
    ...more,
    build: (b, opset) => {
      const input = b.input([3, 9, 8]);
      return b.conv(build(b, b.conv(input, 6, 3), input, opset), 4, 1);
    },
  }));
}

/** Of rows of eight features, between two products. */
function ofRows(builds: Record<string, Build>, more: Partial<Graph> = {}): Record<string, Graph> {
  return mapValues(builds, (build) => ({
    dims: ROWS,
    ...more,
    build: (b, opset) => {
      const input = b.sequence(6);
      return b.matmul(build(b, b.matmul(input, 8), input, opset), 4);
    },
  }));
}

const mapValues = <T, U>(values: Record<string, T>, to: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, to(value)]));

/** Attention of queries, keys and values (n, h, t, dh), with something added to the scores. */
function attention(b: OnnxBuilder, [queries, keys, values]: readonly string[], features = 8) {
  const more = (scores: string) => b.add(scores, b.weight([1, 1, 5, 5], 2));
  return merge(b, attend(b, queries, keys, values, more), features);
}

/** Over axes that keep an extent of 1; they are an input since opset 18, of ReduceSum since 13. */
function reduce(b: OnnxBuilder, opset: number, opType: string, x: string, axes: number[], keepdims = 1) {
  const isInput = opset >= (opType === 'ReduceSum' ? 13 : 18);
  return isInput
    ? b.node(opType, [x, b.integers(axes)], { keepdims })
    : b.node(opType, [x], { axes, keepdims });
}

function resize(
  b: OnnxBuilder,
  x: string,
  [height, width]: number[],
  mode: string,
  place: string,
  nearest = 'floor',
) {
  const attributes = { mode, coordinate_transformation_mode: place, nearest_mode: nearest };
  return b.node('Resize', [x, '', b.floats([1, 1, height, width])], attributes);
}

/** With samples behind positions. */
const BEHIND: Record<string, Graph> = {
  'attention of positions before samples, and of the two merged': {
    dims: [2, 5, WIDTH],
    opsets: OPSETS.slice(1),
    build: (b) => multihead(b, b.sequence(WIDTH)),
  },
  'attention of some positions to all of them, before samples': {
    dims: ROWS,
    producers: 3,
    build: (b) => {
      const x = b.reshape(transpose(b, b.sequence(6), 1, 0, 2), [5, -1, 6], 6);
      const some = b.node(
        'Slice',
        [x, b.integers([1]), b.integers([4]), b.integers([0])],
        {},
        { channels: 6 },
      );
      const [queries, keys, values] = [some, x, x].map((y, i) =>
        transpose(b, b.reshape(b.matmul(y, 8), [i > 0 ? 5 : 3, -1, 4]), 1, 0, 2),
      );
      const scores = b.node('MatMul', [queries, transpose(b, keys, 0, 2, 1)]);
      const read = b.node('MatMul', [b.node('Softmax', [scores]), values]);
      return b.matmul(b.reshape(transpose(b, read, 1, 0, 2), [3, -1, 8], 8), 4);
    },
  },
  'extents of a value before, with positions, of positions and samples merged': {
    dims: ROWS,
    build: (b) => {
      const input = b.sequence(6);
      const before = transpose(b, b.node('Sin', [input]), 1, 0, 2);
      const made = b.matmul(b.reshape(transpose(b, b.relu(input), 1, 0, 2), [-1, 6], 6), 8);
      const shape = concat(b, [size(b, before, 0), size(b, before, 1), b.integers([8])]);
      return b.matmul(b.node('Reshape', [made, shape], {}, { channels: 8 }), 4);
    },
  },
  'rows that a mask lets through, and their extents': {
    dims: ROWS,
    build: (b) => {
      const input = b.sequence(6);
      const total = b.node('ReduceSum', [input, b.integers([2])]);
      const isLow = b.node('Less', [transpose(b, total, 1, 0, 2), b.floats([0])]);
      const made = b.matmul(b.relu(transpose(b, input, 1, 0, 2)), 8);
      const shape = concat(b, [b.node('Shape', [b.node('Cos', [input])]), b.integers([-1])]);
      const masked = transpose(b, b.node('Where', [isLow, made, b.floats([0.5])]), 1, 0, 2);
      const parts = b.node('Slice', [shape, ...[[0], [2]].map((it) => b.integers(it))]);
      const rows = b.node('Reshape', [masked, concat(b, [parts, b.integers([8])])], {}, { channels: 8 });
      return b.matmul(rows, 4);
    },
  },
};

/** Everything between the first linear map or maps and the last. */
const graphs: Record<string, Graph> = {
  'MatMul, Add, Relu': {
    dims: ROWS,
    build: (b) => b.matmul(b.relu(b.add(b.matmul(b.sequence(6), 7), b.weight([7], 0.3))), 4),
  },
  'Gemm with alpha, turned or not': {
    dims: [4, 6],
    build: (b) => b.gemm(b.relu(b.gemm(b.input([6]), 7, { transB: 0 })), 4, { alpha: 0.5 }),
  },
  'convolutions with strides, pads and dilations': {
    dims: IMAGE,
    build: (b) => {
      const wide = b.conv(b.input([3, 9, 8]), 5, 3, { stride: 2 });
      return b.conv(b.node('Clip', [wide, b.floats([0], []), b.floats([1], [])]), 4, 3, { dilation: 2 });
    },
  },
  'convolutions that are placed by extents': {
    dims: IMAGE,
    build: (b) => {
      const wide = b.conv(b.input([3, 9, 8]), 5, 4, { stride: 3, autoPad: 'SAME_LOWER' });
      return b.conv(b.relu(wide), 4, 3, { stride: 2, autoPad: 'SAME_UPPER' });
    },
  },
  'a 1-D convolution without bias': {
    dims: [2, 3, 11],
    build: (b) => {
      const x = b.conv(b.input([3, 11]), 5, 3, { dimensions: 1, bias: false, dilation: 2, pad: 1 });
      return b.conv(b.node('Tanh', [x]), 4, 2, { dimensions: 1, stride: 2, pad: 0 });
    },
  },
  'a depthwise convolution and a normalization': {
    dims: IMAGE,
    build: (b) => {
      const x = b.relu(b.batchNormalization(b.conv(b.input([3, 9, 8]), 6, 1)));
      return b.conv(b.node('Sigmoid', [b.depthwise(x, 3, { stride: 2 })]), 4, 1);
    },
  },
  'a mean over positions': {
    dims: IMAGE,
    build: (b) => b.gemm(b.flatten(b.globalAveragePool(b.relu(b.conv(b.input([3, 9, 8]), 6, 3)))), 4),
  },
  'a gate of two layers': {
    dims: ROWS,
    producers: 2,
    build: (b) => {
      const x = b.sequence(6);
      const gate = b.matmul(x, 7);
      return b.matmul(b.mul(b.mul(gate, b.node('Sigmoid', [gate])), b.matmul(x, 7)), 4);
    },
  },
  'GELU as exporters write it': {
    dims: ROWS,
    build: (b) => {
      const x = b.matmul(b.sequence(6), 7);
      const error = b.node('Erf', [b.node('Div', [x, b.floats([Math.SQRT2], [])])]);
      return b.matmul(b.mul(b.mul(x, b.add(error, b.floats([1], []))), b.floats([0.5], [])), 4);
    },
  },
  'a power, other shapes and orders': {
    dims: ROWS,
    build: (b) => {
      const x = b.node('Pow', [b.matmul(b.sequence(6), 7), b.floats([3], [])]);
      const turned = b.node('Transpose', [b.reshape(x, [-1, 5, 7])], { perm: [1, 0, 2] });
      return b.matmul(b.node('Transpose', [turned], { perm: [1, 0, 2] }), 4);
    },
  },
  'attention: products of what three layers make': {
    dims: ROWS,
    producers: 3,
    opsets: OPSETS,
    build: (b) => {
      const x = b.sequence(6);
      const qkv = [0, 1, 2].map(() => split(b, b.matmul(x, 8), 2, 4));
      return b.matmul(attention(b, qkv), 4);
    },
  },
  ...BEHIND,
  'attention to heads that several share': {
    dims: ROWS,
    producers: 3,
    opsets: OPSETS,
    build: (b) => {
      const x = b.sequence(6);
      const repeated = (value: string) => {
        const apart = b.reshape(value, [0, 2, 1, 5, 2]);
        return b.reshape(b.node('Expand', [apart, b.integers([1, 1, 2, 1, 1])]), [0, 4, 5, 2]);
      };
      const queries = split(b, b.matmul(x, 8), 4, 2);
      const others = [0, 1].map(() => repeated(split(b, b.matmul(x, 4), 2, 2)));
      return b.matmul(attention(b, [queries, ...others]), 4);
    },
  },
  'attention to a head that all share': {
    dims: ROWS,
    producers: 3,
    build: (b) => {
      const x = b.sequence(6);
      const qkv = [8, 2, 2].map((width) => split(b, b.matmul(x, width), width / 2, 2));
      return b.matmul(attention(b, qkv), 4);
    },
  },
  ...ofRows({
    'positions that are picked, some several times': (b, x) => {
      const parts = b.reshape(x, [0, 0, 4, 2]);
      const one = b.node('Gather', [parts, b.index(-3)], { axis: 2 });
      const several = b.node('Gather', [parts, b.integers([-1, 0, 0])], { axis: 2 });
      return b.node('Concat', [one, b.reshape(several, [0, 0, 6])], { axis: 2 }, { channels: 8 });
    },
    'queries, keys and values before samples': (b, x) => {
      const apart = b.node('Transpose', [b.reshape(x, [0, 0, 4, 2, 1])], { perm: [2, 0, 3, 1, 4] });
      const qkv = [1, 0, 3].map((part) => b.node('Gather', [apart, b.index(part)], { axis: 0 }));
      const others = b.nodes('Split', [apart, b.integers([1, 3])], {}, { outputs: 2 });
      const [first, last] = [others[0], b.node('Slice', [others[1], b.integers([2]), b.integers([3])])];
      const once = b.node('Transpose', [b.node('Concat', [first, last], { axis: 0 })], {
        perm: [1, 3, 0, 2, 4],
      });
      return b.node(
        'Concat',
        [attention(b, qkv, 2), b.reshape(once, [0, 0, -1])],
        { axis: 2 },
        { channels: 6 },
      );
    },
    'copies side by side': (b, x) => b.node('Tile', [x, b.integers([1, 2, 3])], {}, { channels: 24 }),
    'as many copies as are computed': (b, x) =>
      b.node('Tile', [x, b.node('Mul', [b.integers([1, 2, 3]), b.integers([1])])], {}, { channels: 24 }),
    'pieces of several axes': (b, x) => {
      const [starts, ends, axes] = [b.integers([1, -6]), b.integers([-1, 7]), b.integers([1, -1])];
      return b.node('Slice', [x, starts, ends, axes], {}, { channels: 5 });
    },
    'pieces of the first axes, and bounds of 32 bits': (b, x) => {
      const part = b.node('Slice', [x, b.integers([0, 1]), b.integers([9, 4])]);
      const bounds = [-6, 100, 2].map((it) => b.integers([it], 'int32'));
      return b.node('Slice', [part, ...bounds], {}, { channels: 6 });
    },
    'pieces from before the beginning': (b, x) =>
      b.node('Slice', [x, ...[-100, -2, 2].map((it) => b.integers([it]))], {}, { channels: 6 }),
    'every second row, and features from behind': (b, x) => {
      const rows = b.node('Slice', [x, ...[1, 100, 1, 2].map((it) => b.integers([it]))]);
      const bounds = [-2, -100, -1, -2].map((it) => b.integers([it]));
      return b.node('Slice', [rows, ...bounds], {}, { channels: 4 });
    },
    'one or the other, by constants and by what is made': (b, x) => {
      const mask = b.node('Greater', [b.weight([5, 1], 1), b.floats([0], [])]);
      const kept = b.node('Where', [mask, x, b.floats([-2], [])]);
      return b.node('Where', [b.node('Greater', [x, b.floats([0.1], [])]), b.mul(x, x), kept]);
    },
    'what is above something, as numbers': (b, x) => {
      const isAbove = b.node('Not', [b.node('LessOrEqual', [x, b.floats([0.1], [])])]);
      return b.mul(x, b.add(b.node('Cast', [isAbove], { to: FLOAT }), b.node('Cast', [x], { to: FLOAT })));
    },
    'the larger and the smaller of two': (b, x) => {
      const half = b.mul(x, b.weight([8], 1));
      return b.mul(b.node('Max', [x, half]), b.node('Min', [b.floats([0.3]), half]));
    },
    'waves, logarithms and inverses': (b, x) => {
      const positive = b.add(b.node('Abs', [x]), b.floats([1]));
      const waves = b.mul(b.node('Sin', [x]), b.node('Cos', [x]));
      return b.add(waves, b.mul(b.node('Log', [positive]), b.node('Reciprocal', [positive])));
    },
    'powers of their own': (b, x) => {
      const base = b.node('Exp', [x]);
      return b.node('Pow', [base, b.floats([0.5, 1, 1.5, 2, -1, -0.5, 0, 3])]);
    },
    'a power that is an integer': (b, x) => b.node('Pow', [x, b.index(2)]),
    'a norm without a mean': (b, x) =>
      b.node('SimplifiedLayerNormalization', [x, b.weight([8], 0.3, 1)], { epsilon: { float: 0.01 } }),
    'all rows of a sample less their mean': (b, x) =>
      b.node('LayerNormalization', [x, b.weight([5, 8], 0.3, 1)], { axis: 1 }),
  }),
  ...ofRows(
    {
      'sums, largest and smallest values, lengths': (b, x, _, opset) => {
        const total = reduce(b, opset, 'ReduceSum', x, [1, -1]);
        const [largest, smallest] = ['ReduceMax', 'ReduceMin'].map((opType, i) =>
          reduce(b, opset, opType, x, [i + 1]),
        );
        const length = reduce(b, opset, 'ReduceL2', x, [2]);
        return b.add(b.mul(b.mul(x, total), b.mul(largest, smallest)), b.node('Div', [x, length]));
      },
      'a sum whose axis goes': (b, x, _, opset) =>
        b.mul(x, b.reshape(reduce(b, opset, 'ReduceSum', x, [1], 0), [0, 1, 8])),
    },
    { opsets: OPSETS },
  ),
  ...ofRows(
    {
      'products by letters': (b, x) => {
        const [left, right] = [split(b, x, 2, 4), split(b, b.node('Tanh', [x]), 2, 4)];
        const scores = b.node('Einsum', [left, right], { equation: 'bhid,bhjd->bhij' });
        return merge(b, b.node('Einsum', [scores, right], { equation: 'bhij, bhjd -> bhid' }), 8);
      },
    },
    { opsets: [12, 17, 21] },
  ),
  ...ofRows(
    {
      'a norm without a mean, of the standard': (b, x) =>
        b.node('RMSNormalization', [x, b.weight([8], 0.3, 1)]),
    },
    { opsets: [23] },
  ),
  ...ofRows(
    {
      'GELU, as it is and by a tanh': (b, x) => {
        const small = b.mul(b.node('Gelu', [x]), b.floats([0.3], []));
        return b.node('Gelu', [b.add(small, b.floats([-1.1], []))], { approximate: 'tanh' });
      },
    },
    { opsets: [20, 21] },
  ),
  ...between(
    {
      'values between values, along named axes and smoothed': (b, x) =>
        b.node('Resize', [x, '', b.floats([0.5, 2])], { mode: 'linear', antialias: 1, axes: [-2, 3] }),
      'zeros around named axes': (b, x) =>
        b.node('Pad', [x, b.integers([1, 0, 2, 3]), '', b.integers([-1, 2])]),
    },
    { opsets: [18] },
  ),
  ...between({ 'the largest of all positions': (b, x) => b.mul(x, b.node('GlobalMaxPool', [x])) }),
  ...between(
    {
      'groups of channels less their mean': (b, x, _, opset) => {
        const [gamma, beta] = [b.weight([opset < 21 ? 3 : 6], 1), b.weight([opset < 21 ? 3 : 6], 1)];
        return b.node('GroupNormalization', [x, gamma, beta], { num_groups: 3 });
      },
    },
    { opsets: [18, 21] },
  ),
  ...ofRows({
    'constants times rows, one for all and by head': (b, x) => {
      const mixed = b.node('MatMul', [b.weight([5, 5], 0.5), x]);
      const heads = b.node('MatMul', [split(b, mixed, 4, 2), b.weight([4, 2, 2], 0.5)]);
      return merge(b, b.node('MatMul', [b.weight([4, 5, 5], 0.5), heads]), 8);
    },
  }),
  ...ofRows(
    {
      'a softmax of the last axis': (b, x) => b.node('Softmax', [x], { axis: -1 }),
      'a softmax from an axis on, or along it': (b, x) => b.node('Softmax', [x], { axis: 1 }),
      'a softmax of the axis that is not named': (b, x) => b.node('Softmax', [x]),
      'logarithms of a softmax': (b, x) => b.node('LogSoftmax', [x], { axis: 1 }),
    },
    { opsets: OPSETS },
  ),
  ...between({
    'windows that overlap, and the largest of each': (b, x) =>
      b.node('MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] }),
    'windows with several that are the largest': (b, x) =>
      b.node('MaxPool', [resize(b, x, [2, 2], 'nearest', 'asymmetric')], {
        ...{ kernel_shape: [3, 2], strides: [2, 1] },
      }),
    'windows that reach beyond the end': (b, x) =>
      b.node('MaxPool', [x], { kernel_shape: [2, 2], strides: [2, 2], ceil_mode: 1 }),
    'windows that reach beyond the end, and overlap': (b, x) =>
      b.node('MaxPool', [x], { kernel_shape: [3, 3], strides: [3, 2], pads: [0, 1, 1, 0], ceil_mode: 1 }),
    'windows placed by extents, the largest of each': (b, x) =>
      b.node('MaxPool', [x], { kernel_shape: [3, 3], strides: [2, 2], auto_pad: 'SAME_LOWER' }),
    'windows placed by extents, the mean of each': (b, x) =>
      b.node('AveragePool', [x], { kernel_shape: [3, 2], strides: [2, 3], auto_pad: 'SAME_UPPER' }),
    'windows without padding': (b, x) =>
      b.node('AveragePool', [x], { kernel_shape: [3, 2], strides: [2, 1], auto_pad: 'VALID' }),
    'convolutions placed by extents': (b, x) => {
      const by = (value: string, auto_pad: string, stride: number, kernel: number[]) =>
        b.node(
          'Conv',
          [value, b.weight([6, 1, ...kernel], 1)],
          { auto_pad, strides: [stride, stride], group: 6 },
          { channels: 6 },
        );
      const fine = by(by(x, 'SAME_UPPER', 1, [4, 3]), 'SAME_LOWER', 1, [2, 5]);
      return by(by(fine, 'SAME_LOWER', 2, [3, 4]), 'SAME_UPPER', 3, [1, 2]);
    },
    'windows with holes': (b, x) => b.node('MaxPool', [x], { kernel_shape: [2, 3], dilations: [2, 1] }),
    'means of windows, fewer values at the edge': (b, x) =>
      b.node('AveragePool', [x], { kernel_shape: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1] }),
    'means of windows with zeros around': (b, x) =>
      b.node('AveragePool', [x], { kernel_shape: [3, 3], pads: [1, 1, 1, 1], count_include_pad: 1 }),
    'means of windows that reach beyond the end, with zeros around': (b, x) =>
      b.node('AveragePool', [x], {
        ...{ kernel_shape: [3, 3], strides: [2, 2], pads: [1, 0, 0, 1] },
        ...{ ceil_mode: 1, count_include_pad: 1 },
      }),
    'an image that is cropped on one side and padded on the other': (b, x) =>
      b.node('Pad', [x, b.integers([0, 0, -1, 2, 0, 0, 1, -3])]),
    'zeros around an image': (b, x) => b.node('Pad', [x, b.integers([0, 0, 1, 0, 0, 0, 2, 1])]),
    'zeros around an image, computed': (b, x) =>
      b.node('Pad', [x, b.node('Mul', [b.integers([0, 0, 1, 0, 0, 0, 2, 1]), b.integers([1])])]),
    'values around an image, mirrored and repeated': (b, x) => {
      const more = b.node('Pad', [x, b.integers([0, 0, 2, 0, 0, 0, 1, 3])], { mode: 'reflect' });
      return b.node('Pad', [more, b.integers([0, 0, 0, 1, 0, 0, 0, 2])], { mode: 'edge' });
    },
    'channels by those beside them': (b, x) =>
      b.node('LRN', [x], { size: 3, alpha: { float: 0.7 }, beta: { float: 0.6 }, bias: { float: 0.8 } }),
    'a shape that is computed': (b, x) => {
      const rows = b.node('Reshape', [x, b.integers([0, 0, -1])]);
      return b.node('Reshape', [rows, b.node('Shape', [x])]);
    },
    'two parts, in another order': (b, x) => {
      const [first, second] = b.nodes('Split', [x, b.integers([2, 4])], { axis: 1 }, { outputs: 2 });
      return b.node('Concat', [second, b.relu(first)], { axis: 1 }, { channels: 6 });
    },
    'pieces, from the front and from the end': (b, x) => {
      const part = (start: number, end: number, axis: number) =>
        b.node('Slice', [x, b.integers([start]), b.integers([end]), b.integers([axis])]);
      return b.node('Concat', [part(1, 3, 1), part(-3, 100, 1)], { axis: 1 }, { channels: 5 });
    },
    'each value several times': (b, x) => resize(b, x, [2, 3], 'nearest', 'asymmetric', 'floor'),
    'the nearest of values, by sizes': (b, x) => resize(b, x, [4 / 3, 1.5], 'nearest', 'half_pixel', 'ceil'),
    'values between values': (b, x) => resize(b, x, [2, 2], 'linear', 'half_pixel'),
    'values between values, corners on corners': (b, x) =>
      resize(b, x, [2 / 3, 2], 'linear', 'align_corners'),
    'values between values, by cubes': (b, x) => resize(b, x, [2, 1.5], 'cubic', 'half_pixel'),
    'values between values, by a factor that is rounded': (b, x) =>
      resize(b, x, [1.3, 0.7], 'linear', 'half_pixel'),
    'values between values, to the extents of another': (b, x, input) => {
      const like = b.node('Shape', [b.node('Pad', [input, b.integers([0, 3, 2, 0, 0, 0, 0, 3])])]);
      return b.node('Resize', [x, '', '', like], { mode: 'linear' });
    },
    'values between values, fewer': (b, x) => resize(b, x, [1 / 3, 0.5], 'linear', 'pytorch_half_pixel'),
    'channels as positions': (b, x) => {
      const wide = b.node('Concat', [x, x], { axis: 1 }, { channels: 12 });
      return b.node('DepthToSpace', [wide], { blocksize: 2 }, { channels: 3 });
    },
    'channels as positions, those of a channel side by side': (b, x) => {
      const wide = b.node('Concat', [x, x], { axis: 1 }, { channels: 12 });
      return b.node('DepthToSpace', [wide], { blocksize: 2, mode: 'CRD' }, { channels: 3 });
    },
    'a transposed convolution': (b, x) =>
      b.node(
        'ConvTranspose',
        [x, b.weight([6, 4, 3, 2], 0.3)],
        { strides: [2, 1], pads: [1, 0, 0, 1] },
        { channels: 4 },
      ),
    'transposed convolutions placed by extents': (b, x) => {
      const by = (value: string, auto_pad: string) =>
        b.node('ConvTranspose', [value, b.weight([6, 6, 3, 4], 0.3)], { auto_pad, strides: [2, 1] });
      return by(by(x, 'SAME_LOWER'), 'SAME_UPPER');
    },
    'a transposed convolution to a shape': (b, x) =>
      b.node('ConvTranspose', [x, b.weight([6, 6, 3, 4], 0.3)], { output_shape: [18, 17], strides: [2, 2] }),
    'a gate of the whole image': (b, x) => {
      const gate = b.conv(b.globalAveragePool(x), 6, 1);
      return b.mul(x, b.node('HardSigmoid', [gate], { alpha: { float: 0.6 }, beta: { float: 0.5 } }));
    },
    HardSwish: (b, x) => b.node('HardSwish', [b.mul(x, b.floats([3], []))]),
    'slopes below 0, one and by channel': (b, x) =>
      b.node('LeakyRelu', [b.node('PRelu', [x, b.weight([6, 1, 1], 0.3)])], { alpha: { float: 0.2 } }),
    'Elu and Softplus': (b, x) =>
      b.node('Elu', [b.node('Softplus', [b.node('Neg', [x])])], { alpha: { float: 0.7 } }),
    'ELU below 0': (b, x) =>
      b.node('Elu', [b.node('Sub', [x, b.floats([0.5], [])])], { alpha: { float: 0.7 } }),
    'exponents, roots and quotients': (b, x) => {
      const e = b.node('Exp', [x]);
      return b.node('Div', [x, b.node('Sqrt', [b.add(e, b.node('Sub', [e, b.node('Neg', [b.mul(x, x)])]))])]);
    },
    'instances less their mean': (b, x) =>
      b.add(x, b.node('InstanceNormalization', [x, b.weight([6], 1), b.weight([6], 1)])),
    'groups less their mean': (b, x) => {
      const groups = b.reshape(x, [0, 3, -1]);
      return b.reshape(
        b.node('InstanceNormalization', [groups, b.weight([3], 1), b.weight([3], 1)]),
        [0, 6, 9, 8],
      );
    },
    'rows less their mean': (b, x) => {
      const last = b.node('Transpose', [x], { perm: [0, 2, 3, 1] });
      const y = b.node('LayerNormalization', [last, b.weight([6], 1), b.weight([6], 1)], { axis: -1 });
      return b.node('Transpose', [y], { perm: [0, 3, 1, 2] });
    },
    'means over named axes': (b, x) =>
      b.node('Sub', [x, b.node('ReduceMean', [x], { axes: [1, -1], keepdims: 1 })]),
    'means whose axes go': (b, x) =>
      b.node('Mul', [
        x,
        b.node('Unsqueeze', [b.node('ReduceMean', [x], { axes: [2, 3], keepdims: 0 }), b.integers([2, 3])]),
      ]),
    'what is put together with other values': (b, x, input) => {
      const other = b.relu(b.conv(input, 2, 1));
      return b.node('Concat', [other, x, x], { axis: 1 }, { channels: 14 });
    },
  }),
};

/** Whether an axis counts rows, positions or pixels, not samples or channels. */
const isSide = (dims: readonly number[], axis: number) =>
  dims[1] === 3 ? axis > 1 : dims.length === 3 && axis === 1;

/** With extents written into them. */
const WRITTEN = new Set([
  'a transposed convolution to a shape',
  'attention: products of what three layers make',
  'attention to heads that several share',
  'attention to a head that all share',
  'attention of some positions to all of them, before samples',
  'a power, other shapes and orders',
  'queries, keys and values before samples',
  'one or the other, by constants and by what is made',
  'all rows of a sample less their mean',
  'constants times rows, one for all and by head',
  'groups less their mean',
]);

async function opened(build: Graph['build'], dims: readonly number[], opset = 17, isOpen = false) {
  const b = new OnnxBuilder({ opset });
  const model = await readModel(b.output(build(b, opset)).build());
  if (isOpen) {
    model.graph.input = [
      valueInfo(
        'input',
        'float32',
        dims.map((_, axis) => `axis ${axis}`),
      ),
    ];
    model.edited();
  }
  const input = randomValue(dims);
  const values = await allValues(model, input);
  const shapes = new Map([...values].map(([name, value]) => [name, value.dims]));
  const [batch, ...rest] = dims;
  const others = await shapesOf(model, randomValue([batch + 1, ...rest]));
  const samples = samplePlaces(model, shapes, others, [batch, batch + 1]);
  const { types } = await inferShapes(engine, model, { input });
  return {
    model,
    input,
    values,
    info: { shapes, types, samples },
    maps: linearMaps(model, shapes),
  };
}

/** As an input of this type. */
const feedOf = ({ dims, data }: Value, type?: string): Feed => ({
  dims,
  data: type === 'bool' ? Uint8Array.from(data) : data,
});

const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Array.from(a).reduce((total, value, i) => total + value * b[i], 0);

/** The gradients, and the loss of the same model with other weights. */
async function gradientsOf(name: string, opset?: number) {
  const { dims, producers = 1, build } = graphs[name];
  const { model, values, info, maps } = await opened(build, dims, opset);
  const [by, to] = [maps.slice(0, producers), maps.slice(-1)];
  const gradient = gradientModel(model, by, to, info)!;
  const target = randomValue(info.shapes.get(to[0].output)!, 11);
  const results = async (of: Model, from = gradient.backward, part = (_: string, value: Value) => value) => {
    const weights = by.flatMap((map) => Object.values(weightTensors(of, map)));
    const feeds = Object.fromEntries(weights.map((it) => [it.name, { dims: it.dims, data: toFloat32(it) }]));
    const [{ target: wanted }] = gradient.layers;
    const given = [
      ...gradient.inputs.map((name) => [name, values.get(name)!] as const),
      [wanted, target] as const,
    ];
    return run(from, {
      ...feeds,
      ...Object.fromEntries(
        given.map(([name, value]) => [name, feedOf(part(name, value), info.types.get(name))]),
      ),
    });
  };
  const [{ squares }] = gradient.layers;
  const loss = async (of: Model) =>
    (await results(of, gradient.forward))[squares].data.reduce((a, b) => a + b) / 2;
  const ofPart = (part: (name: string, value: Value) => Value) => results(model, gradient.backward, part);
  return { model, info, by, to, gradient, found: await results(model), ofPart, loss };
}

/** Slope of the loss along a direction of a layer's weights, by two losses. */
async function slope(
  model: Model,
  map: LinearMap,
  loss: (of: Model) => Promise<number>,
  W: Float32Array,
  bias?: Float32Array,
) {
  const dense = readWeights(model, map);
  const [up, down] = await Promise.all(
    [1e-3, -1e-3].map((step) => {
      const moved = model.clone();
      const along = (a: Float32Array, d: Float32Array) => a.map((value, i) => value + step * d[i]);
      writeWeights(moved, map, along(dense.W, W), bias && along(dense.bias!, bias));
      return loss(moved);
    }),
  );
  return (up - down) / 2e-3;
}

describe('gradients', () => {
  const cases = Object.entries(graphs).flatMap(([name, { opsets = [17] }]) =>
    opsets.map((opset) => [name, opset] as const),
  );
  test.each(cases)('are those of differences: %s, opset %d', async (name, opset) => {
    const { model, by, gradient, found, loss } = await gradientsOf(name, opset);
    for (const [i, map] of by.entries()) {
      const direction = randomValue([map.p * map.m], 5).data;
      const { weight, bias } = gradient.gradients[i];
      const W = found[weight].data;
      expect(W).toHaveLength(map.p * map.m);
      const scale = Math.sqrt(dot(W, W));
      expect(Math.abs(dot(W, direction) - (await slope(model, map, loss, direction))) / scale).toBeLessThan(
        0.02,
      );
      if (!bias) continue;
      const shift = randomValue([map.m], 6).data;
      const none = new Float32Array(map.p * map.m);
      const own = found[bias].data;
      const error = dot(own, shift) - (await slope(model, map, loss, none, shift));
      expect(Math.abs(error) / Math.sqrt(dot(own, own))).toBeLessThan(0.02);
    }
  });

  test.each(Object.keys(BEHIND))('add up over samples wherever these are: %s', async (name) => {
    const { gradient, info, to, found, ofPart } = await gradientsOf(name);
    const places = new Map(gradient.inputs.map((it) => [it, samplesOf(info, it)]));
    places.set(gradient.layers[0].target, samplesOf(info, to[0].output));
    const parts = [0, 1].map((i) => ofPart((it, value) => picked(value, [i], 2, places.get(it)!)));
    const [one, other] = await Promise.all(parts);
    for (const { weight } of gradient.gradients) {
      const whole = found[weight].data;
      const largest = Math.max(...whole.map(Math.abs));
      whole.forEach((value, i) => {
        expect(Math.abs(one[weight].data[i] + other[weight].data[i] - value)).toBeLessThan(1e-5 * largest);
      });
    }
  });

  describe('where samples have several sizes', () => {
    const named = Object.keys(graphs).filter((name) => !WRITTEN.has(name));
    test.each(named)('are those of each size: %s', async (name) => {
      const { dims, producers = 1, opsets = [17], build } = graphs[name];
      const least = dims.map((extent, axis) => (isSide(dims, axis) ? extent - 3 : extent));
      const [large, small] = await Promise.all(
        [dims, least].map((extents) => opened(build, extents, opsets[0], true)),
      );
      const layers = ({ maps }: typeof large) => [maps.slice(0, producers), maps.slice(-1)] as const;
      const info = { ...large.info, varies: true, smallest: small.info.shapes };
      const ofAll = gradientModel(large.model, ...layers(large), info);
      expect(ofAll).toBeDefined();
      for (const own of [large, small]) {
        const { model, values, info, maps } = own;
        const target = randomValue(info.shapes.get(maps.at(-1)!.output)!, 11);
        const weights = layers(own)[0].flatMap((map) => Object.values(weightTensors(model, map)));
        const results = ({ backward, inputs, layers: [layer] }: GradientModel) =>
          run(backward, {
            ...Object.fromEntries(weights.map((it) => [it.name, { dims: it.dims, data: toFloat32(it) }])),
            ...Object.fromEntries(inputs.map((it) => [it, feedOf(values.get(it)!, info.types.get(it))])),
            [layer.target]: target,
          });
        const ofOne = gradientModel(model, ...layers(own), info)!;
        const [found, expected] = await Promise.all([ofAll!, ofOne].map(results));
        for (const [i, { weight }] of ofOne.gradients.entries())
          expect(difference(found[ofAll!.gradients[i].weight], expected[weight])).toBeLessThan(1e-5);
      }
    });

    test('are not given where nobody knows which extents differ', async () => {
      const { model, maps, info } = await opened(graphs['MatMul, Add, Relu'].build, ROWS);
      const of = (more: object) =>
        gradientModel(model, maps.slice(0, 1), maps.slice(1), { ...info, ...more });
      expect(of({ varies: true })).toBeUndefined();
      expect(of({ varies: true, smallest: info.shapes })).toBeDefined();
    });

    test('are not given where some of them are picked', async () => {
      const { model, maps, info } = await opened(
        (b) => b.matmul(b.node('Gather', [b.matmul(b.sequence(6), 8), b.integers([0, 2])], { axis: 1 }), 4),
        ROWS,
      );
      const of = (least: number) => {
        const smallest = new Map([...info.shapes].map(([value, dims]) => [value, dims.with(1, least)]));
        return gradientModel(model, maps.slice(0, 1), maps.slice(1), { ...info, varies: true, smallest });
      };
      expect([of(4), of(5)?.inputs]).toEqual([undefined, ['input']]);
    });
  });

  test('are not given before opset 11', async () => {
    const { model, maps, info } = await opened(graphs['MatMul, Add, Relu'].build, ROWS, 10);
    expect(gradientModel(model, maps.slice(0, 1), maps.slice(1), info)).toBeUndefined();
  });

  test.each([
    ['alone', (_: OnnxBuilder, __: string, ___: string, y: string) => y],
    ['and others too', (b: OnnxBuilder, _: string, x: string, y: string) => b.add(x, y)],
    [
      'and others what that is made of',
      (b: OnnxBuilder, made: string, _: string, y: string) => b.add(made, y),
    ],
  ])('are not given by layers of which one reads what another makes, it %s', async (_, put) => {
    const build = (b: OnnxBuilder) => {
      const made = b.matmul(b.sequence(6), 8);
      const x = b.relu(made);
      return b.matmul(put(b, made, x, b.relu(b.matmul(x, 8))), 4);
    };
    const { model, maps, info } = await opened(build, ROWS);
    const by = (from: number) => gradientModel(model, maps.slice(from, 2), maps.slice(2), info);
    expect([by(0), by(1)]).toEqual([undefined, expect.anything()]);
  });

  test.each(OPSETS)('run as nodes of opset %d', async (opset) => {
    const build = (b: OnnxBuilder) => {
      const input = b.input([3, 9, 8]);
      const x = b.relu(b.batchNormalization(b.conv(input, 6, 3)));
      const gated = b.mul(x, b.node('Sigmoid', [b.conv(b.globalAveragePool(x), 6, 1)]));
      const window = { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] };
      const pools = [b.node('MaxPool', [gated], window), b.node('AveragePool', [gated], window)];
      const both = b.node('Concat', pools, { axis: 1 }, { channels: 12 });
      const deviation = b.node('InstanceNormalization', [both, b.weight([12], 1), b.weight([12], 1)]);
      return b.conv(
        b.node(
          'Slice',
          [deviation, b.integers([1]), b.integers([11]), b.integers([1])],
          {},
          { channels: 10 },
        ),
        4,
        1,
      );
    };
    const { model, values, info, maps } = await opened(build, IMAGE, opset);
    const gradient = gradientModel(model, maps.slice(0, 1), maps.slice(-1), info)!;
    const weights = Object.values(weightTensors(model, maps[0]));
    const feeds = Object.fromEntries(weights.map((it) => [it.name, { dims: it.dims, data: toFloat32(it) }]));
    const target = { [gradient.layers[0].target]: randomValue(info.shapes.get(maps.at(-1)!.output)!, 11) };
    const found = await run(gradient.backward, {
      ...feeds,
      ...target,
      input: values.get('input')!,
    });
    const [{ weight }] = gradient.gradients;
    expect(found[weight].data).toHaveLength(maps[0].p * maps[0].m);
    expect(Math.max(...found[weight].data)).toBeGreaterThan(0);
  });

  test.each(['opt', 'llama', 'gemma2', 'gpt-neox'])('go through whole language models: %s', async (name) => {
    const { config } = VARIANTS[name];
    const sizes = uniformSizes(config);
    const model = await describeModel(config).whole(sourceOf(tinyWeights(config, sizes)));
    const shapes = await shapesOfFeeds(model, { input_ids: randomTokens([2, 12], 40) });
    const maps = linearMaps(model, shapes);
    const to = maps.slice(-1);
    for (const map of maps.slice(0, -1))
      expect(gradientModel(model, [map], to, { shapes, types: new Map() }), map.node).toBeDefined();
  });

  test('are given what else is read before it has lost channels, unless it is the same for all samples', async () => {
    let [before, cut] = ['', ''];
    const { model, info, maps } = await opened(
      (b) => {
        const input = b.input([6]);
        before = b.node('Sin', [b.node('ReduceMean', [input], { axes: [1], keepdims: 1 })]);
        cut = b.node('Mul', [before, b.weight([7], 1)]);
        return b.gemm(b.mul(b.gemm(b.relu(input), 7), cut), 4);
      },
      [2, 6],
    );
    const [by, to] = [maps.slice(0, 1), maps.slice(1)];
    const own = by[0].input;
    expect(gradientModel(model, by, to, info)!.inputs).toEqual([own, cut]);
    expect(gradientModel(model, by, to, info, [cut])!.inputs).toEqual([own, before]);
    expect(gradientModel(model, by, to, { ...info, fixed: new Set(['input']) })).toBeUndefined();
  });

  /** Of an image of six channels: what is not derived, and what puts one sample in the place of another. */
  const UNKNOWN: Record<string, (b: OnnxBuilder, x: string) => string> = {
    'a transposed convolution to a shape that it does not reach': (b, x) =>
      b.node('ConvTranspose', [x, b.weight([6, 6, 3, 3], 0.3)], { output_shape: [20, 15], strides: [2, 2] }),
    'a part of an image, resized': (b, x) =>
      b.node('Resize', [x, b.floats([0, 0, 0, 0, 1, 1, 0.5, 0.7]), b.floats([1, 1, 2, 2])], {
        mode: 'linear',
        coordinate_transformation_mode: 'tf_crop_and_resize',
      }),
    'an image resized within bounds': (b, x) =>
      b.node('Resize', [x, '', '', b.integers([20, 12])], {
        ...{ mode: 'linear', keep_aspect_ratio_policy: 'not_larger', axes: [2, 3] },
      }),
    'an image cropped as it is mirrored': (b, x) =>
      b.node('Pad', [x, b.integers([0, 0, 1, -1, 0, 0, 0, 1])], { mode: 'edge' }),
    'an image mirrored along some axes': (b, x) =>
      b.node('Pad', [x, b.integers([1, 2]), '', b.integers([3])], { mode: 'reflect' }),
    'numbers of half the precision': (b, x) =>
      b.add(x, b.node('Cast', [b.node('Cast', [x], { to: typeCode('float16') })], { to: FLOAT })),
    'samples one behind the other': (b, x) => b.node('Tile', [x, b.integers([2, 1, 1, 1])]),
    'samples picked': (b, x) => b.node('Gather', [x, b.integers([1, 0])], { axis: 0 }),
    'some samples': (b, x) => b.node('Slice', [x, b.integers([0]), b.integers([1]), b.integers([0])]),
    'samples and samples': (b, x) => b.node('Concat', [x, x], { axis: 0 }),
    'samples resized': (b, x) =>
      b.node('Resize', [x, '', b.floats([2, 1, 1, 1])], {
        ...{ mode: 'nearest', coordinate_transformation_mode: 'asymmetric', nearest_mode: 'floor' },
      }),
    'a norm of all samples': (b, x) => b.node('LayerNormalization', [x, b.weight([1], 0.3, 1)], { axis: 0 }),
    'a norm with more scales than it has axes': (b, x) =>
      b.node('LayerNormalization', [x, b.weight([6, 1, 8], 0.3, 1)], { axis: 3 }),
  };
  test.each(Object.keys(UNKNOWN))('are not given through %s', async (name) => {
    const build = (b: OnnxBuilder) => b.conv(UNKNOWN[name](b, b.conv(b.input([3, 9, 8]), 6, 3)), 4, 1);
    const { model, maps, info } = await opened(build, IMAGE, 19);
    expect(gradientModel(model, maps.slice(0, 1), maps.slice(-1), info)).toBeUndefined();
  });

  describe('of an output, by layers of which one reads what another makes', () => {
    const chain = (between: (b: OnnxBuilder, x: string) => string) =>
      opened((b) => {
        const x = b.relu(b.matmul(b.relu(b.matmul(b.sequence(6), 7)), 8));
        return b.matmul(b.add(b.matmul(between(b, x), 8), x), 5);
      }, ROWS);
    const targetOf = (dims: readonly number[]) => randomValue(dims, 11);

    /** The layer in the middle is there twice. */
    const twice = () =>
      opened((b) => {
        const w = b.weight([7, 7], 1);
        const again = (x: string) => b.node('Tanh', [b.node('MatMul', [x, w], {}, { channels: 7 })]);
        return b.matmul(again(again(b.relu(b.matmul(b.sequence(6), 7)))), 5);
      }, ROWS);

    test.each([
      ['squares', () => chain((b, x) => b.relu(x)), 4],
      ['divergence', () => chain((b, x) => b.relu(x)), 4],
      ['squares', twice, 3],
    ] as const)('are those of differences: %s', async (loss, make, count) => {
      const { model, info, maps, values } = await make();
      expect(maps).toHaveLength(count);
      const output = maps.at(-1)!.output;
      const { gradient, by } = lossGradient(model, maps, output, info, loss)!;
      expect(by).toEqual(maps);
      const [{ target, squares }] = gradient.layers;
      const results = (of: Model, from = gradient.backward) => {
        const weights = maps.flatMap((map) => Object.values(weightTensors(of, map)));
        return run(from, {
          ...Object.fromEntries(weights.map((it) => [it.name, { dims: it.dims, data: toFloat32(it) }])),
          ...Object.fromEntries(gradient.inputs.map((name) => [name, values.get(name)!])),
          [target]: targetOf(info.shapes.get(output)!),
        });
      };
      const found = await results(model);
      const lossOf = async (of: Model) =>
        (await results(of, gradient.forward))[squares].data.reduce((a, b) => a + b) / 2;
      for (const [i, map] of maps.entries()) {
        const W = found[gradient.gradients[i].weight].data;
        const direction = randomValue([map.p * map.m], 5).data;
        const error = dot(W, direction) - (await slope(model, map, lossOf, direction));
        expect(Math.abs(error) / Math.sqrt(dot(W, W)), map.node).toBeLessThan(0.02);
      }
    });

    test('a divergence is twice that of softmax from softmax, and nothing from itself', async () => {
      const { model, info, maps, values } = await chain((b, x) => b.relu(x));
      const output = maps.at(-1)!.output;
      const { gradient } = lossGradient(model, maps, output, info, 'divergence')!;
      const [{ target, squares }] = gradient.layers;
      const weights = maps.flatMap((map) => Object.values(weightTensors(model, map)));
      const from = async (wanted: Value) => {
        const results = await run(gradient.forward, {
          ...Object.fromEntries(weights.map((it) => [it.name, { dims: it.dims, data: toFloat32(it) }])),
          ...Object.fromEntries(gradient.inputs.map((name) => [name, values.get(name)!])),
          [target]: wanted,
        });
        return results[squares].data.reduce((a, b) => a + b);
      };
      const own = values.get(output)!;
      expect(Math.abs(await from(own))).toBeLessThan(1e-5);
      const wanted = targetOf(own.dims);
      const logs = (scores: Float32Array) => {
        const rest = Math.log(scores.reduce((sum, it) => sum + Math.exp(it), 0));
        return scores.map((it) => it - rest);
      };
      let expected = 0;
      for (let at = 0; at < own.data.length; at += 5) {
        const [p, q] = [wanted, own].map(({ data }) => logs(data.subarray(at, at + 5)));
        expected += 2 * p.reduce((sum, log, i) => sum + Math.exp(log) * (log - q[i]), 0);
      }
      expect((await from(wanted)) / expected).toBeCloseTo(1, 4);
    });

    test('are given by those behind which derivatives are known', async () => {
      const { model, info, maps } = await chain((b, x) =>
        b.node('Mod', [x, b.weight([8], 1)], { fmod: 1 }, { channels: 8 }),
      );
      const output = maps.at(-1)!.output;
      expect(lossGradient(model, maps, output, info, 'squares')!.by).toEqual(maps.slice(2));
      expect(lossGradient(model, maps.slice(0, 2), output, info, 'squares')).toBeUndefined();
    });
  });

  test('are given floats and truth values, and what other numbers are made of', async () => {
    let [before, cut] = ['', ''];
    const { model, info, maps } = await opened(
      (b) => {
        const input = b.input([6]);
        before = b.node('ReduceMean', [input], { axes: [1], keepdims: 1 });
        cut = b.node('Cast', [b.node('Cast', [before], { to: typeCode('int64') })], { to: FLOAT });
        return b.gemm(b.mul(b.gemm(b.relu(input), 7), cut), 4);
      },
      [2, 6],
    );
    const [by, to] = [maps.slice(0, 1), maps.slice(1)];
    expect(gradientModel(model, by, to, info, [cut])!.inputs).toEqual([by[0].input, before]);
  });

  test('are given what a value of all samples together is made of', async () => {
    const { model, info, maps } = await opened(
      (b) => {
        const input = b.input([6]);
        const mean = b.node('ReduceMean', [input], { axes: [0], keepdims: 1 });
        return b.gemm(b.mul(b.gemm(b.relu(input), 6), mean), 4);
      },
      [2, 6],
    );
    const [by, to] = [maps.slice(0, 1), maps.slice(1)];
    expect(gradientModel(model, by, to, info)!.inputs).toEqual([by[0].input, 'input']);
  });

  test('are not given where what layers make is one of more axes', async () => {
    const { model, info, maps } = await opened(
      (b) => b.matmul(b.add(b.gemm(b.input([6]), 2), b.weight([5, 1, 2], 1)), 4),
      [2, 6],
    );
    expect(gradientModel(model, maps.slice(0, 1), maps.slice(1), info)).toBeUndefined();
  });

  test('are given no shape of a value that has lost channels', async () => {
    let cut = '';
    const { model, info, maps } = await opened((b) => {
      const input = b.sequence(6);
      cut = b.mul(input, b.weight([6], 1));
      const made = b.matmul(b.relu(input), 6);
      return b.matmul(b.node('Reshape', [made, b.node('Shape', [cut])]), 4);
    }, ROWS);
    const inputs = (values: string[]) =>
      gradientModel(model, maps.slice(0, 1), maps.slice(1), info, values)?.inputs;
    expect(inputs([])).toHaveLength(1);
    expect(inputs([cut])).toBeUndefined();
  });

  test('go through positions of the first axis where no axis counts samples', async () => {
    const { model, info, maps } = await opened(
      (b) => {
        const made = transpose(b, b.matmul(b.sequence(6), 8), 1, 0, 2);
        return b.matmul(b.node('Gather', [made, b.integers([3, 0])], { axis: 0 }), 4);
      },
      [1, 5, 6],
    );
    const { shapes, types } = info;
    const of = (isSingle: boolean) =>
      gradientModel(model, maps.slice(0, 1), maps.slice(1), { shapes, types, isSingle });
    expect([of(false), of(true)?.inputs]).toEqual([undefined, ['input']]);
  });

  test('by outputs are squared and summed by channel', async () => {
    const { by, gradient, found } = await gradientsOf('MatMul, Add, Relu');
    expect(found[gradient.layers[0].squares].dims).toEqual([2]); // of each sample
    const { power, bias } = gradient.gradients[0];
    expect(found[power].dims).toEqual([by[0].m]);
    // (Σδ)² ≤ n·Σδ² for the n = 10 rows, and equal only where all are alike.
    found[power].data.forEach((square, j) => {
      expect(found[bias!].data[j] ** 2).toBeLessThan(10 * square);
    });
  });

  test('are not given where a derivative is not known, or one layer reads what another makes', async () => {
    const other = await opened(
      (b) => b.conv(b.node('LpPool', [b.conv(b.input([3, 9, 8]), 5, 3)], { kernel_shape: [3, 3] }), 4, 3),
      IMAGE,
    );
    expect(
      gradientModel(other.model, other.maps.slice(0, 1), other.maps.slice(1), other.info),
    ).toBeUndefined();
    const chain = await opened((b) => b.gemm(b.gemm(b.gemm(b.input([6]), 7), 5), 4), [2, 6]);
    expect(
      gradientModel(chain.model, chain.maps.slice(0, 2), chain.maps.slice(2), chain.info),
    ).toBeUndefined();
    expect(gradientModel(chain.model, chain.maps.slice(1, 2), chain.maps.slice(2), chain.info)).toBeDefined();
  });
});
