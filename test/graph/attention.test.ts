// Attention in the forms that exporters give it: what is tied, and that the shrunk graph computes what the masked
// one does.

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { OsscarError } from '../../src/errors.ts';
import {
  analyse,
  countParameters,
  fromIntegers,
  type Model,
  mask,
  readModel,
  type Structure,
  shrink,
  toIntegers,
  writeModel,
} from '../../src/graph/index.ts';
import { setAttributeInt, setAttributeInts } from '../../src/graph/node.ts';
import { AttributeProto_AttributeType } from '../../src/graph/onnx_pb.ts';
import { OnnxBuilder } from '../support/onnx-builder.ts';
import { random as seeded } from '../support/random.ts';
import {
  difference,
  type Feed,
  randomChannels,
  randomValue,
  run,
  shapesOfFeeds,
  type Value,
} from './running.ts';

const ROUNDING = 1e-5;
const SIZE = 16; // of a head: GroupQueryAttention wants multiples of 16
const WIDTH = 6 * SIZE;
const NARROW = 3 * SIZE; // keys and values of three groups
const MICROSOFT = { domain: 'com.microsoft' };

/** x·W, with a bias added if asked for. */
function linear(b: OnnxBuilder, x: string, m: number, bias = false): string {
  const y = b.matmul(x, m);
  return bias ? b.add(b.weight([m], 0.3), y) : y;
}

const transpose = (b: OnnxBuilder, x: string, ...perm: number[]) => b.node('Transpose', [x], { perm });

/** (n, t, h·dh) to (n, h, t, dh) */
function split(b: OnnxBuilder, x: string, heads: number, size = SIZE): string {
  return transpose(b, b.reshape(x, [0, 0, heads, size]), 0, 2, 1, 3);
}

/** (n, h, t, dh) to (n, t, h·dh) */
function merge(b: OnnxBuilder, x: string, width: number): string {
  return b.reshape(transpose(b, x, 0, 2, 1, 3), [0, 0, width], width);
}

/** Softmax of q·kᵀ, times v, for (n, h, t, dh). */
function attend(b: OnnxBuilder, q: string, k: string, v: string, scores = (s: string) => s): string {
  const scaled = b.mul(b.node('MatMul', [q, transpose(b, k, 0, 1, 3, 2)]), b.floats([0.7], []));
  return b.node('MatMul', [b.node('Softmax', [scores(scaled)], { axis: -1 }), v]);
}

function project(b: OnnxBuilder, y: string): OnnxBuilder {
  return b.output(linear(b, y, WIDTH, true));
}

/** The size of an axis, as a vector of one. */
function size(b: OnnxBuilder, x: string, axis: number): string {
  return b.node('Unsqueeze', [b.node('Gather', [b.node('Shape', [x]), b.index(axis)]), b.integers([0])]);
}

const concat = (b: OnnxBuilder, parts: string[], axis = 0) => b.node('Concat', parts, { axis });

const piece = (b: OnnxBuilder, x: string, from: number, to: number, axis: number) =>
  b.node('Slice', [x, b.integers([from]), b.integers([to]), b.integers([axis]), b.integers([1])]);

/** Rotary embedding of the first `turned` features of (n, h, t, dh), with tables of 64 positions. */
function rotate(b: OnnxBuilder, x: string, turned = SIZE): string {
  const table = (f: (angle: number) => number) =>
    b.floats(
      Array.from({ length: 64 * turned }, (_, i) => f(Math.floor(i / turned) * 10 ** -(i % (turned / 2)))),
      [64, turned],
    );
  const rows = (t: string) => b.node('Slice', [t, b.integers([0]), size(b, x, 2), b.integers([0])]);
  const head = turned === SIZE ? x : piece(b, x, 0, turned, 3);
  const swapped = concat(
    b,
    [b.node('Neg', [piece(b, head, turned / 2, 2 ** 40, 3)]), piece(b, head, 0, turned / 2, 3)],
    -1,
  );
  const y = b.add(b.mul(head, rows(table(Math.cos))), b.mul(swapped, rows(table(Math.sin))));
  return turned === SIZE ? y : concat(b, [y, piece(b, x, turned, 2 ** 40, 3)], -1);
}

/** repeat_kv of Hugging Face: every key-value head `times` times. */
function repeat(b: OnnxBuilder, x: string, times: number, kvHeads?: number): string {
  const heads = kvHeads === undefined ? size(b, x, 1) : b.integers([kvHeads]);
  const [n, t, dh] = [size(b, x, 0), size(b, x, 2), size(b, x, 3)];
  const list = concat(b, [n, heads, b.integers([times]), t, dh]);
  const expanded = (shape: string) => b.node('Expand', [b.node('Unsqueeze', [x, b.integers([2])]), shape]);
  const merged = kvHeads === undefined ? b.mul(heads, b.integers([times])) : b.integers([kvHeads * times]);
  const flat = concat(b, [n, merged, t, dh]);
  if (kvHeads !== undefined) return b.node('Reshape', [expanded(list), flat]);
  const shape = b.reshape(list, [-1]); // torch.onnx: sizes of -1 become 1
  const ones = b.node('ConstantOfShape', [b.node('Shape', [shape])], { value: { tensor: 1 } });
  const isOpen = b.node('Equal', [shape, b.mul(ones, b.integers([-1]))]);
  return b.node('Reshape', [expanded(b.node('Where', [isOpen, ones, shape])), flat]);
}

interface Case {
  build: (b: OnnxBuilder) => OnnxBuilder;
  /** [kind, groups, group size] of what can be pruned. */
  prunable: [string, number, number][];
  opset?: number;
  /** Key-value heads and length of a cache that is fed. */
  past?: [heads: number, length: number];
  /** Batch and length of the run that is analysed, and of others. */
  runs?: [n: number, t: number][];
}

const HEADS: Case['prunable'] = [['head', 6, SIZE]];
const GROUPS: Case['prunable'] = [['head', 3, 2 * SIZE]];

const CASES: Record<string, Case> = {
  'heads with biases': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH, true), 6));
      return project(b, merge(b, attend(b, q, k, v), WIDTH));
    },
  },
  'heads, causal masks, a residual stream and an MLP': {
    prunable: [...HEADS, ['channel', 10, 1]],
    build: (b) => {
      const x = linear(b, b.sequence(7), WIDTH);
      const norm = (y: string) =>
        b.node('LayerNormalization', [y, b.weight([WIDTH], 0.2, 1), b.weight([WIDTH], 0.2)]);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, norm(x), WIDTH, true), 6));
      const masked = (s: string) => {
        const ones = b.node('Expand', [b.floats([1]), concat(b, [size(b, s, 2), size(b, s, 3)])]);
        const below = b.node('Equal', [b.node('Trilu', [ones], { upper: 0 }), b.floats([0])]);
        return b.node('Where', [below, b.floats([-1e9]), s]);
      };
      const y = b.add(x, linear(b, merge(b, attend(b, q, k, v, masked), WIDTH), WIDTH, true));
      return b.output(norm(b.add(y, linear(b, b.relu(linear(b, norm(y), 10, true)), WIDTH, true))));
    },
  },
  'one computed shape for queries, keys and values': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const shape = concat(b, [size(b, x, 0), size(b, x, 1), b.integers([6, SIZE])]);
      const [q, k, v] = [0, 1, 2].map(() =>
        transpose(b, b.node('Reshape', [linear(b, x, WIDTH), shape]), 0, 2, 1, 3),
      );
      const y = transpose(b, attend(b, q, k, v), 0, 2, 1, 3);
      const flat = concat(b, [size(b, x, 0), size(b, x, 1), size(b, x, 2)]);
      return project(b, b.node('Reshape', [y, flat], {}, { channels: WIDTH }));
    },
  },
  'key-value groups with rotary embedding': {
    prunable: GROUPS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = rotate(b, split(b, linear(b, x, WIDTH), 6));
      const k = rotate(b, split(b, linear(b, x, NARROW), 3));
      const v = split(b, linear(b, x, NARROW), 3);
      return project(b, merge(b, attend(b, q, repeat(b, k, 2), repeat(b, v, 2)), WIDTH));
    },
  },
  'key-value groups that constant shapes repeat': {
    prunable: GROUPS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = split(b, linear(b, x, WIDTH), 6);
      const [k, v] = [0, 1].map(() => repeat(b, split(b, linear(b, x, NARROW), 3), 2, 3));
      return project(b, merge(b, attend(b, q, k, v), WIDTH));
    },
  },
  'key-value groups that broadcast': {
    prunable: GROUPS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = transpose(b, b.reshape(linear(b, x, WIDTH), [0, 0, 3, 2, SIZE]), 0, 2, 3, 1, 4);
      const [k, v] = [0, 1].map(() =>
        b.node('Unsqueeze', [split(b, linear(b, x, NARROW), 3), b.integers([2])]),
      );
      const weights = b.node('Softmax', [b.node('MatMul', [q, transpose(b, k, 0, 1, 2, 4, 3)])]);
      const y = transpose(b, b.node('MatMul', [weights, v]), 0, 3, 1, 2, 4);
      return project(b, b.reshape(y, [0, 0, -1], WIDTH));
    },
  },
  'one key-value head for all': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = split(b, linear(b, x, WIDTH), 6);
      const [k, v] = [0, 1].map(() => split(b, linear(b, x, SIZE), 1));
      const below = (s: string) => b.node('Trilu', [s], { upper: 0 });
      return project(b, merge(b, attend(b, q, k, v, below), WIDTH));
    },
  },
  'query and key normalised, part of each head rotated': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const normal = (y: string) => {
        const mean = b.node('ReduceMean', [b.node('Pow', [y, b.floats([2], [])])], { axes: [-1] });
        const scale = b.node('Reciprocal', [b.node('Sqrt', [b.add(mean, b.floats([1e-5], []))])]);
        return b.mul(b.mul(y, scale), b.weight([SIZE], 0.2, 1));
      };
      const q = rotate(b, normal(split(b, linear(b, x, WIDTH), 6)), 2);
      const k = b.node('LayerNormalization', [split(b, linear(b, x, WIDTH), 6), b.weight([SIZE], 0.2, 1)]);
      const v = split(b, linear(b, x, WIDTH, true), 6);
      return project(b, merge(b, attend(b, q, rotate(b, k, 2), v), WIDTH));
    },
  },
  'a fused projection, split in three behind a Gemm': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const conv1d = (y: string, m: number) => {
        const flat = b.gemm(b.reshape(y, [-1, b.channels(y)]), m, { transB: 0 });
        return b.node('Reshape', [flat, concat(b, [size(b, x, 0), size(b, x, 1), b.integers([m])])]);
      };
      const qkv = b.nodes(
        'Split',
        [conv1d(x, 3 * WIDTH), b.integers([WIDTH, WIDTH, WIDTH])],
        { axis: 2 },
        { outputs: 3, channels: WIDTH },
      );
      const [q, k, v] = qkv.map((y) => split(b, y, 6));
      return b.output(b.add(x, conv1d(merge(b, attend(b, q, k, v), WIDTH), WIDTH)));
    },
  },
  'a fused projection, split evenly': {
    prunable: HEADS,
    opset: 12,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const qkv = b.nodes(
        'Split',
        [linear(b, x, 3 * WIDTH, true)],
        { axis: 2, split: [WIDTH, WIDTH, WIDTH] },
        { outputs: 3, channels: WIDTH },
      );
      const [q, k, v] = qkv.map((y) => b.nodes('Split', [split(b, y, 6)], { axis: 3 }, { outputs: 2 }));
      const halves = [0, 1].map((i) => attend(b, q[i], k[i], v[i]));
      return project(b, merge(b, concat(b, halves, 3), WIDTH));
    },
  },
  'a fused projection that slices take apart, with key-value groups': {
    prunable: GROUPS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const qkv = linear(b, x, WIDTH + 2 * NARROW, true);
      const q = split(b, piece(b, qkv, 0, WIDTH, 2), 6);
      const k = split(b, piece(b, qkv, WIDTH, WIDTH + NARROW, 2), 3);
      const v = split(b, piece(b, qkv, WIDTH + NARROW, 2 ** 40, 2), 3);
      return project(b, merge(b, attend(b, q, repeat(b, k, 2), repeat(b, v, 2)), WIDTH));
    },
  },
  'a fused projection, head by head': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const qkv = split(b, linear(b, x, 3 * WIDTH, true), 6, 3 * SIZE);
      const [q, k, v] = b.nodes('Split', [qkv, b.integers([SIZE, SIZE, SIZE])], { axis: 3 }, { outputs: 3 });
      return project(b, merge(b, attend(b, q, k, v), WIDTH));
    },
  },
  'a fused projection reshaped to three of all heads, as vision transformers have it': {
    prunable: HEADS,
    build: (b) => {
      const qkv = b.reshape(linear(b, b.sequence(WIDTH), 3 * WIDTH, true), [0, 0, 3, 6, SIZE]);
      const turned = transpose(b, qkv, 2, 0, 3, 1, 4);
      const [q, k, v] = [0, 1, 2].map((i) => b.node('Gather', [turned, b.index(i)], { axis: 0 }));
      return project(b, merge(b, attend(b, q, k, v), WIDTH));
    },
  },
  'torch.nn.MultiheadAttention': {
    prunable: HEADS,
    build: (b) => {
      const x = transpose(b, b.sequence(WIDTH), 1, 0, 2); // t, n, d
      const parts = b.node('Unsqueeze', [
        b.reshape(linear(b, x, 3 * WIDTH, true), [0, 0, 3, WIDTH]),
        b.integers([0]),
      ]);
      const turned = b.node('Squeeze', [transpose(b, parts, 3, 1, 2, 0, 4), b.integers([3])]);
      const [t, n] = [size(b, x, 0), size(b, x, 1)];
      const rows = b.mul(n, b.integers([6]));
      const [q, k, v] = [0, 1, 2].map((i) => {
        const one = b.node('Gather', [turned, b.index(i)], { axis: 0 });
        return transpose(b, b.node('Reshape', [one, concat(b, [t, rows, b.integers([SIZE])])]), 1, 0, 2);
      });
      const weights = b.node('Softmax', [b.node('MatMul', [q, transpose(b, k, 0, 2, 1)])], { axis: -1 });
      const y = transpose(b, b.node('MatMul', [weights, v]), 1, 0, 2);
      const flat = b.node(
        'Reshape',
        [y, concat(b, [b.mul(t, n), b.integers([WIDTH])])],
        {},
        { channels: WIDTH },
      );
      return b.output(b.gemm(flat, WIDTH));
    },
  },
  'heads merged with the batch': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => {
        const y = split(b, linear(b, x, WIDTH, true), 6);
        return b.node('Reshape', [y, concat(b, [b.integers([-1]), size(b, x, 1), b.integers([SIZE])])]);
      });
      const weights = b.node('Softmax', [b.node('MatMul', [q, transpose(b, k, 0, 2, 1)])], { axis: -1 });
      const shape = concat(b, [size(b, x, 0), b.integers([6]), size(b, x, 1), b.integers([SIZE])]);
      const y = b.node('Reshape', [b.node('MatMul', [weights, v]), shape]);
      return project(b, merge(b, y, WIDTH));
    },
  },
  'products written as Einsum': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => b.reshape(linear(b, x, WIDTH), [0, 0, 6, SIZE]));
      const weights = b.node('Softmax', [b.node('Einsum', [q, k], { equation: 'bqhd,bkhd->bhqk' })]);
      const y = b.node('Einsum', [weights, v], { equation: 'bhqk, bkhd -> bqhd' });
      return project(b, b.reshape(y, [0, 0, WIDTH], WIDTH));
    },
  },
  'a mask and a scale of their own for each head': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
      const scores = (s: string) => b.add(b.mul(s, b.weight([1, 6, 1, 1], 0.3, 1)), b.weight([6, 1, 1], 0.3));
      return project(b, merge(b, attend(b, q, k, v, scores), WIDTH));
    },
  },
  'heads that are mixed before the softmax': {
    prunable: [
      ['head', 6, 1],
      ['head', 6, SIZE],
    ], // queries and keys; values
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
      const mixed = (s: string) =>
        transpose(b, b.node('MatMul', [transpose(b, s, 0, 2, 3, 1), b.weight([6, 6], 0.4)]), 0, 3, 1, 2);
      return project(b, merge(b, attend(b, q, k, v, mixed), WIDTH));
    },
  },
  'heads interleaved with features': {
    prunable: [['channel', SIZE, 6]], // a feature of the values, in all heads
    build: (b) => {
      const x = b.sequence(WIDTH);
      const heads = () => transpose(b, b.reshape(linear(b, x, WIDTH), [0, 0, SIZE, 6]), 0, 3, 1, 2);
      const y = transpose(b, attend(b, heads(), heads(), heads()), 0, 2, 3, 1);
      return project(b, b.reshape(y, [0, 0, WIDTH], WIDTH));
    },
  },
  'keys and values repeated as a whole': {
    prunable: [['head', 2, 3 * SIZE]], // a repetition with its queries: key head h has the queries h and h + 3
    build: (b) => {
      const x = b.sequence(WIDTH);
      const repeated = () => {
        const y = b.node('Unsqueeze', [split(b, linear(b, x, NARROW), 3), b.integers([1])]);
        const wide = b.node('Expand', [y, b.integers([1, 2, 1, 1, 1])]);
        const shape = concat(b, [size(b, x, 0), b.integers([6]), size(b, x, 1), b.integers([SIZE])]);
        return b.node('Reshape', [wide, shape]);
      };
      const q = split(b, linear(b, x, WIDTH), 6);
      return project(b, merge(b, attend(b, q, repeated(), repeated()), WIDTH));
    },
  },
  'a cache of keys and values': {
    prunable: GROUPS,
    past: [3, 5],
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = split(b, linear(b, x, WIDTH), 6);
      const [k, v] = ['key', 'value'].map((which) => {
        const cache = b.feed(`past.0.${which}`, ['n', 3, 'past', SIZE]);
        const all = b.node('Concat', [cache, split(b, linear(b, x, NARROW), 3)], { axis: 2 });
        b.output(all, `present.0.${which}`, ['n', 3, 'all', SIZE]);
        return `present.0.${which}`;
      });
      return project(b, merge(b, attend(b, q, repeat(b, k, 2), repeat(b, v, 2)), WIDTH));
    },
  },
};

/** Tables of cosines and sines as fused operators read them: 64 positions, half the features of a head. */
function tables(b: OnnxBuilder): string[] {
  const half = SIZE / 2;
  return [Math.cos, Math.sin].map((f) =>
    b.floats(
      Array.from({ length: 64 * half }, (_, i) => f(Math.floor(i / half) * 10 ** -(i % half))),
      [64, half],
    ),
  );
}

const lengths = (b: OnnxBuilder) => [b.feed('seqlens', ['n'], 'int32'), b.feed('total', [], 'int32')];

function cache(b: OnnxBuilder, heads: number): string[] {
  return ['key', 'value'].map((which) => b.feed(`past_key_values.0.${which}`, ['n', heads, 'past', SIZE]));
}

const show = (b: OnnxBuilder, presents: readonly string[], heads: number) => {
  const names = ['key', 'value'].map((which) => `present.0.${which}`);
  for (const [i, present] of presents.entries()) b.output(present, names[i], ['n', heads, 'all', SIZE]);
};

const FUSED: Record<string, Case> = {
  'GroupQueryAttention with a cache and its own rotary embedding': {
    prunable: GROUPS,
    past: [3, 5],
    runs: [
      [3, 1],
      [1, 6],
    ], // all that it can do behind a past
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [linear(b, x, WIDTH, true), linear(b, x, NARROW, true), linear(b, x, NARROW)];
      const [y, ...presents] = b.nodes(
        ...(['GroupQueryAttention', [q, k, v, ...cache(b, 3), ...lengths(b), ...tables(b)]] as const),
        ...([
          { num_heads: 6, kv_num_heads: 3, do_rotary: 1 },
          { ...MICROSOFT, outputs: 3 },
        ] as const),
      );
      show(b, presents, 3);
      return project(b, y);
    },
  },
  'GroupQueryAttention with one key-value head for all': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const inputs = [linear(b, x, WIDTH), linear(b, x, SIZE), linear(b, x, SIZE), '', '', ...lengths(b)];
      const attributes = { num_heads: 6, kv_num_heads: 1 };
      const [y] = b.nodes('GroupQueryAttention', inputs, attributes, { ...MICROSOFT, outputs: 3 });
      return project(b, y);
    },
  },
  'GroupQueryAttention of one fused projection': {
    prunable: GROUPS,
    past: [3, 0],
    build: (b) => {
      const qkv = linear(b, b.sequence(WIDTH), WIDTH + 2 * NARROW);
      const [y, ...presents] = b.nodes(
        ...(['GroupQueryAttention', [qkv, '', '', ...cache(b, 3), ...lengths(b)]] as const),
        ...([
          { num_heads: 6, kv_num_heads: 3 },
          { ...MICROSOFT, outputs: 3, channels: WIDTH },
        ] as const),
      );
      show(b, presents, 3);
      return project(b, y);
    },
  },
  'MultiHeadAttention with a bias, a mask per head and a cache': {
    prunable: HEADS,
    runs: [[2, 11]], // the length of the mask
    past: [6, 5],
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => linear(b, x, WIDTH));
      const inputs = [q, k, v, b.weight([3 * WIDTH], 0.3), '', b.weight([1, 6, 11, 16], 0.5), ...cache(b, 6)];
      const [y, ...presents] = b.nodes(
        'MultiHeadAttention',
        inputs,
        { num_heads: 6 },
        { ...MICROSOFT, outputs: 3 },
      );
      show(b, presents, 6);
      return project(b, y);
    },
  },
  'RotaryEmbedding before MultiHeadAttention': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const positions = b.feed('positions', [1], 'int64');
      const [q, k] = [{ num_heads: 6 }, {} as { num_heads: number }].map((attributes) =>
        b.node('RotaryEmbedding', [linear(b, x, WIDTH), positions, ...tables(b)], attributes, MICROSOFT),
      );
      return project(
        b,
        b.node('MultiHeadAttention', [q, k, linear(b, x, WIDTH)], { num_heads: 6 }, MICROSOFT),
      );
    },
  },
  'Attention that makes its own queries, keys and values': {
    prunable: HEADS,
    build: (b) => {
      const inputs = [b.sequence(WIDTH), b.weight([WIDTH, 3 * WIDTH], 0.3), b.weight([3 * WIDTH], 0.3)];
      return project(b, b.node('Attention', inputs, { num_heads: 6, unidirectional: 1 }, MICROSOFT));
    },
  },
  'skipped normalisations, fused products and activations': {
    prunable: [...HEADS, ['channel', 10, 1]],
    build: (b) => {
      const x = linear(b, b.sequence(7), WIDTH);
      const scale = () => b.weight([WIDTH], 0.2, 1);
      const y = b.node('SimplifiedLayerNormalization', [x, scale()], { axis: -1 });
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, y, WIDTH), 6));
      const scores = b.node('FusedMatMul', [q, k], { transB: 1, alpha: { float: 0.5 } }, MICROSOFT);
      const mixed = b.node('MatMul', [b.node('Softmax', [scores]), v]);
      const out = linear(b, merge(b, mixed, WIDTH), WIDTH);
      const [normal, , , sum] = b.nodes(
        ...([
          'SkipSimplifiedLayerNormalization',
          [out, x, scale()],
          {},
          { ...MICROSOFT, outputs: 4 },
        ] as const),
      );
      const hidden = b.node('BiasGelu', [b.matmul(normal, 10), b.weight([10], 0.3)], {}, MICROSOFT);
      const [last] = b.nodes(
        ...([
          'SkipLayerNormalization',
          [sum, b.matmul(b.node('QuickGelu', [hidden], {}, MICROSOFT), WIDTH), scale()],
        ] as const),
        ...([{}, { ...MICROSOFT, outputs: 4 }] as const),
      );
      return b.output(last);
    },
  },
  'the standard’s Attention and RotaryEmbedding, with a cache': {
    prunable: GROUPS,
    past: [3, 5],
    opset: 23,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const turn = (y: string, num_heads: number) =>
        b.node('RotaryEmbedding', [y, ...tables(b), b.feed(`positions${num_heads}`, ['n', 't'], 'int64')], {
          num_heads,
        });
      const [q, k, v] = [turn(linear(b, x, WIDTH), 6), turn(linear(b, x, NARROW), 3), linear(b, x, NARROW)];
      const inputs = [q, k, v, '', ...cache(b, 3)];
      const [y, ...presents] = b.nodes(
        'Attention',
        inputs,
        { q_num_heads: 6, kv_num_heads: 3, is_causal: 1 },
        { outputs: 3 },
      );
      show(b, presents, 3);
      return project(b, y);
    },
  },
  'the standard’s Attention on axes of heads, with RMSNormalization': {
    prunable: GROUPS,
    opset: 23,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = b.node('RMSNormalization', [split(b, linear(b, x, WIDTH), 6), b.weight([SIZE], 0.2, 1)]);
      const [k, v] = [0, 1].map(() => split(b, linear(b, x, NARROW), 3));
      return project(b, merge(b, b.node('Attention', [q, k, v]), WIDTH));
    },
  },
};

/** Feeds for whatever inputs a case has: n × t rows, a cache of so many heads. */
function feedsOf(model: Model, n: number, t: number, [heads, past]: readonly number[]): Record<string, Feed> {
  const integers = (dims: number[], value: (i: number) => number): Feed => ({
    ...{ dims, data: BigInt64Array.from({ length: n * t }, (_, i) => BigInt(value(i))) },
  });
  const known: Record<string, () => Feed> = {
    seqlens: () => ({ dims: [n], data: new Int32Array(n).fill(past + t - 1) }),
    total: () => ({ dims: [], data: Int32Array.of(past + t) }),
    positions: () => ({ dims: [1], data: BigInt64Array.of(0n) }),
  };
  const feed = (name: string): Feed => {
    if (known[name]) return known[name]();
    if (name.startsWith('positions')) return integers([n, t], (i) => past + (i % t));
    const width = model.inputs[0].name === name ? [n, t, widthOf(model)] : [n, heads, past, SIZE];
    return randomValue(width, name.length);
  };
  return Object.fromEntries(model.inputs.map(({ name }) => [name, feed(name)]));
}

function widthOf(model: Model): number {
  const type = model.inputs[0].type!.value;
  const dim = type.case === 'tensorType' ? type.value.shape!.dim[2].value : undefined;
  return Number(dim?.value);
}

/** The dims that a model declares for its inputs and outputs with heads. */
function declaredHeads(model: Model): number[] {
  return [...model.inputs, ...model.outputs].flatMap(({ name, type }) => {
    const dim = type?.value.case === 'tensorType' ? type.value.value.shape?.dim[1]?.value : undefined;
    return /past|present/.test(name) ? [Number(dim?.value)] : [];
  });
}

/** Without the heads of a cache that are gone. */
function keepHeads({ dims, data }: Feed, kept: readonly number[]): Feed {
  const size = dims[2] * dims[3];
  const rows = Array.from({ length: dims[0] }, (_, n) => kept.map((h) => (n * dims[1] + h) * size)).flat();
  const values = rows.flatMap((start) => [...(data as Float32Array).subarray(start, start + size)]);
  return { dims: [dims[0], kept.length, dims[2], dims[3]], data: Float32Array.from(values) };
}

/** Gives one of the integers in the attributes and constants of a model another value. */
function changeInteger(model: Model, which: number, value: number): void {
  const change = (list: readonly number[]) => list.map((old, i) => (i === which % list.length ? value : old));
  const edits: (() => void)[] = [];
  for (const node of model.nodes) {
    for (const { name, type, ints } of node.attribute) {
      if (type === AttributeProto_AttributeType.INT) edits.push(() => setAttributeInt(node, name, value));
      if (ints.length > 0) edits.push(() => setAttributeInts(node, name, change(ints.map(Number))));
    }
  }
  for (const tensor of model.tensors.values()) {
    if (tensor.type !== 'int64') continue;
    const values = () => fromIntegers(tensor.name, change(toIntegers(tensor)), tensor.dims);
    edits.push(() => model.tensors.set(tensor.name, values()));
  }
  edits[which % edits.length]();
}

/** Largest relative difference between the outputs of a model with channels masked and with them cut out. */
async function maskedAgainstShrunk(
  model: Model,
  cuts: ReadonlyMap<Structure, readonly number[]>,
  feeds: Record<string, Feed>,
): Promise<number> {
  let masked = model;
  for (const [structure, kept] of cuts) masked = mask(masked, structure, kept);
  // caches lose their heads too
  const lessHeads = <T extends Feed>(name: string, value: T) => {
    const isCut = ([s]: [Structure, unknown]) => s.edits.some((e) => e.kind === 'dim' && e.value === name);
    const kept = [...cuts].find(isCut)?.[1];
    return kept ? keepHeads(value, kept) : value;
  };
  const cutFeeds = Object.entries(feeds).map(([name, feed]) => [name, lessHeads(name, feed)]);
  const wanted = await run(writeModel(masked).model, feeds);
  const got = await run(writeModel(shrink(model, cuts)).model, Object.fromEntries(cutFeeds));
  const values = Object.entries(wanted).map(([name, value]) => [lessHeads(name, value), got[name]] as const);
  return Math.max(...values.map(([a, b]) => difference(a as Value, b)));
}

const RUNS: [number, number][] = [
  [2, 11],
  [1, 6],
  [3, 1],
];

describe('attention', () => {
  for (const [name, { build, prunable: expected, opset, past = [0, 0], runs = RUNS }] of Object.entries({
    ...CASES,
    ...FUSED,
  })) {
    it(`is cut head by head: ${name}`, async () => {
      const model = await readModel(build(new OnnxBuilder({ seed: 3, opset })).build());
      const { structures } = analyse(model, await shapesOfFeeds(model, feedsOf(model, ...runs[0], past)));
      const prunable = structures.filter((s) => s.prunable);
      const outline = prunable.map((s) => [s.kind, s.groups, s.groupSize]);
      expect(outline, JSON.stringify(structures.map((s) => [s.name, s.reason]))).toEqual(expected);
      const random = seeded(11);
      const choose = (kept: (s: Structure) => number[]) => new Map(prunable.map((s) => [s, kept(s)]));
      const selections = [
        ...prunable.map((s) => new Map([[s, randomChannels(s, random)]])),
        choose((s) => randomChannels(s, random)),
        choose((s) => [s.groups - 1]),
      ];
      for (const cuts of selections) {
        const small = shrink(model, cuts);
        const isCut = [...cuts].some(([s, kept]) => kept.length < s.groups);
        if (isCut) expect(countParameters(small)).toBeLessThan(countParameters(model));
        const heads = [...cuts].find(([s]) => s.kind === 'head')?.[1];
        if (heads) expect(declaredHeads(small)).toEqual(declaredHeads(model).map(() => heads.length));
        for (const [n, t] of runs) {
          expect(await maskedAgainstShrunk(model, cuts, feedsOf(model, n, t, past))).toBeLessThan(ROUNDING);
        }
      }
    });
  }

  it('is cut right or kept, whatever numbers stand in the graph', async () => {
    const names = ['one computed shape for queries, keys and values', 'torch.nn.MultiheadAttention'];
    const random = seeded(1);
    const numbers = [-2, -1, 0, 1, 2, 3, 6, SIZE, NARROW, WIDTH];
    let compared = 0;
    for (const { build } of names.map((name) => CASES[name])) {
      for (let trial = 0; trial < 60; trial++) {
        const model = await readModel(build(new OnnxBuilder({ seed: 3 })).build());
        changeInteger(model, Math.floor(random() * 1e6), numbers[Math.floor(random() * numbers.length)]);
        const feeds = feedsOf(model, 2, 11, [0, 0]);
        const shapes = await shapesOfFeeds(model, feeds).catch(() => undefined);
        if (!shapes) continue; // the graph is none
        for (const structure of analyse(model, shapes).structures.filter((s) => s.prunable)) {
          const cuts = new Map([[structure, randomChannels(structure, random)]]);
          expect(await maskedAgainstShrunk(model, cuts, feeds)).toBeLessThan(ROUNDING);
          compared++;
        }
      }
    }
    expect(compared).toBeGreaterThan(20);
  });

  describe('keeps the heads', () => {
    const attention = (b: OnnxBuilder, scores?: (s: string) => string, mixed?: (y: string) => string) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
      const y = attend(b, q, k, v, scores);
      return project(b, merge(b, mixed ? mixed(y) : y, WIDTH));
    };
    const pinned: Record<string, [RegExp, (b: OnnxBuilder) => OnnxBuilder]> = {
      'that a softmax runs over': [
        /Softmax "[^"]+" normalises over it/,
        (b) => attention(b, (s) => b.node('Softmax', [s], { axis: 1 })),
      ],
      'that a reduction runs over': [
        /ReduceMean "[^"]+" reduces over it/,
        (b) => attention(b, (s) => b.node('Sub', [s, b.node('ReduceMean', [s], { axes: [1] })])),
      ],
      'that a product of activations mixes': [
        /MatMul "[^"]+" sums over it/,
        (b) =>
          attention(b, undefined, (y) => {
            const last = transpose(b, y, 0, 2, 3, 1);
            const similar = b.node('Sigmoid', [b.node('MatMul', [transpose(b, last, 0, 1, 3, 2), last])]);
            return transpose(b, b.node('MatMul', [last, similar]), 0, 3, 1, 2);
          }),
      ],
      'that come back in another order': [
        /reads it together with others/,
        (b) => {
          const x = b.sequence(WIDTH);
          const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
          return project(b, b.reshape(transpose(b, attend(b, q, k, v), 0, 2, 3, 1), [0, 0, WIDTH], WIDTH));
        },
      ],
      'whose mask is given from outside': [
        /Add "[^"]+" ties it to "mask", whose channels no layer makes/,
        (b) => attention(b, (s) => b.add(s, b.feed('mask', [1, 6, 1, 1]))),
      ],
      'whose number is computed with': [
        /Div "[^"]+" reads the number of channels/,
        (b) => attention(b, (s) => b.node('Div', [s, b.node('Cast', [size(b, s, 1)], { to: 1 })])),
      ],
      'whose number is compared with that of others': [
        /Div "[^"]+" divides numbers of channels/,
        (b) => {
          return attention(b, (s) => {
            const other = split(b, b.node('MatMul', ['input', b.weight([WIDTH, WIDTH], 0.2)]), 6);
            const one = b.node('Cast', [b.node('Div', [size(b, s, 1), size(b, other, 1)])], { to: 1 });
            return b.mul(s, one);
          });
        },
      ],
      'that are a graph output': [
        /it is the graph output "scores"/,
        (b) =>
          attention(b, (s) => {
            b.output(s, 'scores');
            return 'scores';
          }),
      ],
      'whose count another node reads in a shared shape': [
        /Concat "[^"]+" gives a shape that other nodes read too/,
        (b) => {
          const x = b.sequence(WIDTH);
          const shape = concat(b, [size(b, x, 0), size(b, x, 1), b.integers([6, SIZE])]);
          const heads = (y: string) => transpose(b, b.node('Reshape', [y, shape]), 0, 2, 1, 3);
          const [q, k, v] = [0, 1, 2].map(() => heads(linear(b, x, WIDTH)));
          const own = b.node('ReduceMean', [heads(x)], { axes: [1] });
          return project(b, merge(b, b.add(attend(b, q, k, v), own), WIDTH));
        },
      ],
      'of fused attention with a mask per head from outside': [
        /MultiHeadAttention "[^"]+" has a mask per head/,
        (b) => {
          const x = b.sequence(WIDTH);
          const [q, k, v] = [0, 1, 2].map(() => linear(b, x, WIDTH));
          const inputs = [q, k, v, '', '', b.feed('mask', [1, 6, 11, 11])];
          return project(b, b.node('MultiHeadAttention', inputs, { num_heads: 6 }, MICROSOFT));
        },
      ],
      'of fused attention to keys from outside': [
        /MultiHeadAttention "[^"]+" attends with values that no layer makes/,
        (b) => {
          const x = b.sequence(WIDTH);
          const q = linear(b, x, WIDTH);
          return project(b, b.node('MultiHeadAttention', [q, x, x], { num_heads: 6 }, MICROSOFT));
        },
      ],
    };
    for (const [which, [message, build]] of Object.entries(pinned)) {
      it(which, async () => {
        const model = await readModel(build(new OnnxBuilder({ seed: 4 })).build());
        const mask = randomValue(which.startsWith('of fused') ? [1, 6, 11, 11] : [1, 6, 1, 1]);
        const { data, dims } = randomValue([2, 11, WIDTH]);
        const feeds: Record<string, Feed> = { input: { data, dims }, mask };
        const given = Object.fromEntries(model.inputs.map(({ name }) => [name, feeds[name]]));
        const { structures } = analyse(model, await shapesOfFeeds(model, given));
        expect(structures.filter((s) => s.prunable)).toEqual([]);
        expect(structures.map((s) => s.reason).join('; ')).toMatch(message);
      });
    }
  });

  it('gives an analysis and a smaller model, or an error of this library, whatever attributes and shapes say', async () => {
    const cases = [
      CASES['key-value groups with rotary embedding'],
      CASES['a fused projection that slices take apart, with key-value groups'],
      CASES['torch.nn.MultiheadAttention'],
      FUSED['GroupQueryAttention of one fused projection'],
      FUSED['MultiHeadAttention with a bias, a mask per head and a cache'],
    ];
    let cut = 0;
    for (const { build, past = [0, 0] } of cases) {
      const model = await readModel(build(new OnnxBuilder()).build());
      const shapes = await shapesOfFeeds(model, feedsOf(model, 2, 11, past));
      const number = fc.oneof(fc.integer({ min: -3, max: 50 }), fc.integer());
      const changes = fc.array(fc.tuple(fc.nat(), number), { minLength: 1, maxLength: 3 });
      const property = fc.property(changes, (list) => {
        const copy = model.clone();
        for (const [which, value] of list) changeInteger(copy, which, value);
        try {
          const prunable = analyse(copy, shapes).structures.filter((s) => s.prunable);
          writeModel(shrink(copy, new Map(prunable.map((structure) => [structure, [0]]))));
          cut += prunable.length;
        } catch (error) {
          expect(error).toBeInstanceOf(OsscarError);
        }
      });
      fc.assert(property, { numRuns: 400, seed: 2 });
    }
    expect(cut).toBeGreaterThan(100);
  });
});
