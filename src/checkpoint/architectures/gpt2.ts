// GPT-2: learned positions, weights stored in × out (Conv1D), q, k and v in one tensor.

import { activationOf } from './activation.ts';
import { evenHeads, flag, integer, positive, text, unsupported } from './config.ts';
import type { Architecture, Config, Linear, Norm, Part } from './types.ts';

export const gpt2: Architecture = {
  modelTypes: ['gpt2'],
  describe(config: Config, modelType: string) {
    if (flag(config, 'add_cross_attention', false)) throw unsupported(modelType, 'cross attention');
    const hidden = integer(config, 'n_embd');
    const heads = integer(config, 'n_head');
    const headDim = evenHeads(hidden, heads, 'n_embd and n_head');
    const maxPositions = integer(config, 'n_positions');
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const activation = activationOf(text(config, 'activation_function', 'gelu_new'), modelType);
    const scale = flag(config, 'scale_attn_weights', true) ? headDim ** -0.5 : 1;
    const byLayer = flag(config, 'scale_attn_by_inverse_layer_idx', false);
    const conv1d = (name: string, label?: Part['label']): Linear => ({
      name,
      bias: true,
      stored: 'in-out',
      ...(label && { part: { label, order: 'whole' } }),
    });
    const norm = (name: string): Norm => ({ kind: 'layer', name, epsilon, affine: true });
    return {
      modelType,
      hidden,
      vocabulary: integer(config, 'vocab_size'),
      maxPositions,
      headDim,
      blocks: integer(config, 'n_layer'),
      sizes: { heads, kvHeads: heads, ffn: integer(config, 'n_inner', 4 * hidden) },
      prefixes: ['transformer.', ''],
      embedding: { tokens: 'wte', width: hidden, positions: { name: 'wpe', offset: 0 } },
      block: (i) => ({
        order: 'pre',
        attentionNorm: norm(`h.${i}.ln_1`),
        attention: {
          q: conv1d(`h.${i}.attn.c_attn`, 'q'),
          k: conv1d(`h.${i}.attn.c_attn`, 'k'),
          v: conv1d(`h.${i}.attn.c_attn`, 'v'),
          out: conv1d(`h.${i}.attn.c_proj`),
          scale: byLayer ? scale / (i + 1) : scale,
        },
        mlpNorm: norm(`h.${i}.ln_2`),
        mlp: { up: conv1d(`h.${i}.mlp.c_fc`), down: conv1d(`h.${i}.mlp.c_proj`), activation },
      }),
      head: {
        norm: norm('ln_f'),
        output: flag(config, 'tie_word_embeddings', true) ? undefined : 'lm_head',
      },
      ignored: /\.attn\.(bias|masked_bias)$/,
      fields: { ffn: 'n_inner' },
    };
  },
};
