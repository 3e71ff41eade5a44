// Attention as exporters write it in plain operators, in all its forms, with what can be pruned of it.

import type { OnnxBuilder } from '../support/onnx-builder.ts';

export const SIZE = 16; // of a head: GroupQueryAttention wants multiples of 16
export const WIDTH = 6 * SIZE;
export const NARROW = 3 * SIZE; // keys and values of three groups
export const MICROSOFT = { domain: 'com.microsoft' };

/** x·W, with a bias added if asked for. */
export function linear(b: OnnxBuilder, x: string, m: number, bias = false): string {
  const y = b.matmul(x, m);
  return bias ? b.add(b.weight([m], 0.3), y) : y;
}

export const transpose = (b: OnnxBuilder, x: string, ...perm: number[]) => b.node('Transpose', [x], { perm });

/** (n, t, h·dh) to (n, h, t, dh) */
export function split(b: OnnxBuilder, x: string, heads: number, size = SIZE): string {
  return transpose(b, b.reshape(x, [0, 0, heads, size]), 0, 2, 1, 3);
}

/** (n, h, t, dh) to (n, t, h·dh) */
export function merge(b: OnnxBuilder, x: string, width: number): string {
  return b.reshape(transpose(b, x, 0, 2, 1, 3), [0, 0, width], width);
}

/** Softmax of q·kᵀ, times v, for (n, h, t, dh). */
export function attend(b: OnnxBuilder, q: string, k: string, v: string, scores = (s: string) => s): string {
  const scaled = b.mul(b.node('MatMul', [q, transpose(b, k, 0, 1, 3, 2)]), b.floats([0.7], []));
  return b.node('MatMul', [b.node('Softmax', [scores(scaled)], { axis: -1 }), v]);
}

export function project(b: OnnxBuilder, y: string): OnnxBuilder {
  return b.output(linear(b, y, WIDTH, true));
}

/** The size of an axis, as a vector of one. */
export function size(b: OnnxBuilder, x: string, axis: number): string {
  return b.node('Unsqueeze', [b.node('Gather', [b.node('Shape', [x]), b.index(axis)]), b.integers([0])]);
}

export const concat = (b: OnnxBuilder, parts: string[], axis = 0) => b.node('Concat', parts, { axis });

export const piece = (b: OnnxBuilder, x: string, from: number, to: number, axis: number) =>
  b.node('Slice', [x, b.integers([from]), b.integers([to]), b.integers([axis]), b.integers([1])]);

/** Rotary embedding of the first `turned` features of (n, h, t, dh), with tables of 64 positions. */
export function rotate(b: OnnxBuilder, x: string, turned = SIZE): string {
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

interface Counts {
  /** Default: computed from a Shape. */
  kvHeads?: number;
  /** Batch and length, where the graph has them as constants, as the heads then. */
  run?: readonly [n: number, t: number];
  /** torch.onnx makes sizes of −1 to 1. */
  isGuarded?: boolean;
}

/** repeat_kv of Hugging Face: every key-value head `times` times. */
export function repeat(b: OnnxBuilder, x: string, times: number, counts: Counts = {}): string {
  const { kvHeads, run, isGuarded = kvHeads === undefined } = counts;
  const count = (axis: number) => (run ? b.integers([run[axis === 0 ? 0 : 1]]) : size(b, x, axis));
  const heads = kvHeads === undefined ? size(b, x, 1) : b.integers([kvHeads]);
  const dh = run ? b.integers([SIZE]) : size(b, x, 3);
  const sizes = run && b.integers([run[0], kvHeads!, times, run[1], SIZE]);
  const list = sizes ?? concat(b, [count(0), heads, b.integers([times]), count(2), dh]);
  const merged = kvHeads === undefined ? b.mul(heads, b.integers([times])) : b.integers([kvHeads * times]);
  const flat = concat(b, [count(0), merged, count(2), dh]);
  const expanded = (shape: string) => b.node('Expand', [b.node('Unsqueeze', [x, b.integers([2])]), shape]);
  if (!isGuarded) return b.node('Reshape', [expanded(list), flat]);
  const shape = sizes ?? b.reshape(list, [-1]);
  const length = sizes ? b.integers([5]) : b.node('Shape', [shape]);
  const ones = b.node('ConstantOfShape', [length], { value: { tensor: 1 } });
  const isOpen = b.node('Equal', [shape, b.mul(ones, b.integers([-1]))]);
  return b.node('Reshape', [expanded(b.node('Where', [isOpen, ones, shape])), flat]);
}

/** The width that an input has, divided by six heads. */
const headSize = (b: OnnxBuilder, x: string) =>
  b.node('Unsqueeze', [
    b.node('Cast', [b.node('Div', [b.node('Gather', [b.node('Shape', [x]), b.index(2)]), b.index(6)])], {
      to: 7,
    }),
    b.integers([0]),
  ]);

/**
 * As torch.onnx exports nn.MultiheadAttention of (n, t, WIDTH): (t·n, WIDTH), samples within positions.
 *
 * @param width, each  of the input, and of a head
 */
export function multihead(
  b: OnnxBuilder,
  input: string,
  width = () => b.integers([WIDTH]),
  each = () => b.integers([SIZE]),
): string {
  const x = transpose(b, input, 1, 0, 2); // t, n, d
  const fused = linear(b, x, 3 * WIDTH, true);
  // unflatten(-1, (3, d)): the dims before the last one, the new ones, those behind it
  const last = b.node('Mod', [b.integers([2]), b.integers([3])]);
  const dims = b.node('Shape', [fused]);
  const shape = concat(b, [
    b.node('Slice', [dims, b.integers([0]), last]),
    concat(b, [b.integers([3]), width()]),
    b.node('Slice', [dims, b.add(last, b.integers([1])), b.integers([2 ** 40])]),
  ]);
  const parts = b.node('Unsqueeze', [b.node('Reshape', [fused, shape]), b.integers([0])]);
  const turned = b.node('Squeeze', [transpose(b, parts, 3, 1, 2, 0, 4), b.integers([3])]);
  const [t, n] = [size(b, x, 0), size(b, x, 1)];
  const rows = b.mul(n, b.integers([6]));
  const [q, k, v] = [0, 1, 2].map((i) => {
    const one = b.node('Gather', [turned, b.index(i)], { axis: 0 });
    return transpose(b, b.node('Reshape', [one, concat(b, [t, rows, each()])]), 1, 0, 2);
  });
  const weights = b.node('Softmax', [b.node('MatMul', [q, transpose(b, k, 0, 2, 1)])], { axis: -1 });
  const y = transpose(b, b.node('MatMul', [weights, v]), 1, 0, 2);
  const flat = b.node('Reshape', [y, concat(b, [b.mul(t, n), b.integers([WIDTH])])], {}, { channels: WIDTH });
  return b.gemm(flat, WIDTH);
}

/** Attention in which key-value heads are repeated for six query heads. */
function grouped(b: OnnxBuilder, kvHeads: number, counts: Counts): OnnxBuilder {
  const x = b.sequence(WIDTH);
  const q = split(b, linear(b, x, WIDTH), 6);
  const [k, v] = [0, 1].map(() =>
    repeat(b, split(b, linear(b, x, kvHeads * SIZE), kvHeads), 6 / kvHeads, counts),
  );
  return project(b, merge(b, attend(b, q, k, v), WIDTH));
}

export interface Case {
  build: (b: OnnxBuilder) => OnnxBuilder;
  /** [kind, groups, group size] of what can be pruned. */
  prunable: [string, number, number][];
  opset?: number;
  /** Key-value heads and length of a cache that is fed. */
  past?: [heads: number, length: number];
  /** Batch and length of the run that is analysed, and of others. */
  runs?: [n: number, t: number][];
}

export const HEADS: Case['prunable'] = [['head', 6, SIZE]];
export const GROUPS: Case['prunable'] = [['head', 3, 2 * SIZE]];

export const CASES: Record<string, Case> = {
  'heads with biases': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH, true), 6));
      return project(b, merge(b, attend(b, q, k, v), WIDTH));
    },
  },
  'queries and keys scaled by what is computed of their size': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH, true), 6));
      const scale = b.node('Sqrt', [b.node('Cast', [size(b, q, 3)], { to: 1 })]);
      return project(b, merge(b, attend(b, b.node('Div', [q, scale]), b.mul(scale, k), v), WIDTH));
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
  'heads that are merged to the shape of what they were made of': {
    prunable: [['channel', WIDTH, 1], ...HEADS],
    build: (b) => {
      const x = b.relu(linear(b, b.sequence(7), WIDTH));
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
      const y = transpose(b, attend(b, q, k, v), 0, 2, 1, 3);
      return project(b, b.node('Reshape', [y, b.node('Shape', [x])], {}, { channels: WIDTH }));
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
      const [k, v] = [0, 1].map(() => repeat(b, split(b, linear(b, x, NARROW), 3), 2, { kvHeads: 3 }));
      return project(b, merge(b, attend(b, q, k, v), WIDTH));
    },
  },
  'key-value groups that constants in a guarded shape repeat': {
    prunable: GROUPS,
    build: (b) => grouped(b, 3, { kvHeads: 3, isGuarded: true }),
  },
  'key-value groups that a Tile repeats': {
    prunable: GROUPS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = split(b, linear(b, x, WIDTH), 6);
      const [k, v] = [0, 1].map(() => {
        const heads = b.node('Unsqueeze', [split(b, linear(b, x, NARROW), 3), b.integers([2])]);
        const tiled = b.node('Tile', [heads, b.integers([1, 1, 2, 1, 1])]);
        return b.node('Reshape', [
          tiled,
          concat(b, [size(b, x, 0), b.integers([6]), size(b, x, 1), b.integers([SIZE])]),
        ]);
      });
      return project(b, merge(b, attend(b, q, k, v), WIDTH));
    },
  },
  'key-value groups of a fixed batch and length': {
    prunable: GROUPS,
    build: (b) => grouped(b, 3, { kvHeads: 3, isGuarded: true, run: [2, 11] }),
    runs: [[2, 11]],
  },
  'one key-value head that constants in a guarded shape repeat': {
    prunable: HEADS,
    build: (b) => grouped(b, 1, { kvHeads: 1, isGuarded: true }),
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
  'key-value groups that broadcast, each to query heads that lie apart': {
    prunable: [['head', 2, 3 * SIZE]],
    build: (b) => {
      const x = b.sequence(WIDTH);
      const q = transpose(b, b.reshape(linear(b, x, WIDTH), [0, 0, 2, 3, SIZE]), 0, 2, 3, 1, 4);
      const [k, v] = [0, 1].map(() =>
        b.node('Unsqueeze', [split(b, linear(b, x, NARROW), 3), b.integers([1])]),
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
  'a fused projection reshaped to three of all heads, of which slices of one take each, as PaddlePaddle has it':
    {
      prunable: HEADS,
      build: (b) => {
        const x = b.sequence(WIDTH);
        const cast = (value: string) => b.node('Cast', [b.node('Cast', [value], { to: 6 })], { to: 7 });
        const sizes = [b.integers([0]), size(b, x, 1), ...[3, 6, SIZE].map((it) => b.integers([it]))];
        const qkv = b.node('Reshape', [linear(b, x, 3 * WIDTH, true), concat(b, sizes.map(cast))]);
        const turned = transpose(b, qkv, 2, 0, 3, 1, 4);
        const [q, k, v] = [0, 1, 2].map((i) =>
          b.node('Squeeze', [piece(b, turned, i, i + 1, 0), b.integers([0])]),
        );
        return project(b, merge(b, attend(b, q, k, v), WIDTH));
      },
    },
  'a fused projection reshaped to three of all heads, of which the keys are taken before the others are turned, as onnxruntime optimises it':
    {
      prunable: HEADS,
      build: (b) => {
        const qkv = b.reshape(linear(b, b.sequence(WIDTH), 3 * WIDTH, true), [0, 0, 3, 6, SIZE]);
        const turned = transpose(b, qkv, 2, 0, 3, 1, 4);
        const [q, v] = [0, 2].map((i) => b.node('Squeeze', [piece(b, turned, i, i + 1, 0), b.integers([0])]));
        const k = b.node('Squeeze', [piece(b, qkv, 1, 2, 2), b.integers([2])]);
        return project(b, merge(b, attend(b, q, transpose(b, k, 0, 2, 1, 3), v), WIDTH));
      },
    },
  'heads in a shape that a Split takes apart': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
      const sizes = b.nodes('Split', [b.node('Shape', [q])], {}, { outputs: 4, channels: 1 });
      const same = b.node('Reshape', [q, concat(b, [...sizes.slice(0, 3), b.integers([SIZE])])]);
      return project(b, merge(b, attend(b, same, k, v), WIDTH));
    },
  },
  'torch.nn.MultiheadAttention': {
    prunable: HEADS,
    build: (b) => b.output(multihead(b, b.sequence(WIDTH))),
  },
  'torch.nn.MultiheadAttention, with arithmetic on shapes': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const y = multihead(
        b,
        x,
        () => size(b, x, 2),
        () => headSize(b, x),
      );
      return b.output(y);
    },
  },
  'torch.nn.MultiheadAttention, of channels that a layer makes': {
    prunable: [['channel', WIDTH, 1], ...HEADS],
    build: (b) => {
      const x = b.relu(linear(b, b.sequence(7), WIDTH));
      const y = multihead(
        b,
        x,
        () => size(b, x, 2),
        () => headSize(b, x),
      );
      return b.output(y);
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
  'heads that come back in another order': {
    prunable: HEADS,
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [q, k, v] = [0, 1, 2].map(() => split(b, linear(b, x, WIDTH), 6));
      return project(b, b.reshape(transpose(b, attend(b, q, k, v), 0, 2, 3, 1), [0, 0, WIDTH], WIDTH));
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
  'heads merged with the batch, which is the quotient of both': {
    prunable: HEADS,
    runs: [
      [1, 6],
      [2, 11],
      [3, 1],
    ],
    build: (b) => {
      const x = b.sequence(WIDTH);
      const [n, t] = [size(b, x, 0), size(b, x, 1)];
      const [q, k, v] = [0, 1, 2].map(() => {
        const heads = split(b, linear(b, x, WIDTH), 6);
        return b.node('Reshape', [heads, concat(b, [b.mul(n, b.integers([6])), t, b.integers([SIZE])])]);
      });
      const weights = b.node('Softmax', [b.node('MatMul', [q, transpose(b, k, 0, 2, 1)])], { axis: -1 });
      const y = b.node('MatMul', [weights, v]);
      const batch = b.node('Div', [size(b, y, 0), b.integers([6])]);
      const apart = b.node('Reshape', [y, concat(b, [batch, b.integers([6]), t, b.integers([SIZE])])]);
      return project(b, merge(b, apart, WIDTH));
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
        b.output(all, `present.0.${which}`, ['n', which === 'key' ? 3 : 'heads', 'all', SIZE]);
        return `present.0.${which}`;
      });
      return project(b, merge(b, attend(b, q, repeat(b, k, 2), repeat(b, v, 2)), WIDTH));
    },
  },
};
