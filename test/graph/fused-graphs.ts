// Attention as single operators of com.microsoft and of the standard.

import type { OnnxBuilder } from '../support/onnx-builder.ts';
import {
  type Case,
  GROUPS,
  HEADS,
  linear,
  MICROSOFT,
  merge,
  NARROW,
  project,
  SIZE,
  split,
  WIDTH,
} from './attention-graphs.ts';

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

export const FUSED: Record<string, Case> = {
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
