// GPT-2: learned positions, weights stored in × out (Conv1D), q, k and v in one tensor.

import { type Conventions, common, flag, layerNorm, positive, unsupported } from './config.ts';
import type { Architecture, Linear } from './types.ts';

/** What config.json says, of GPT-J too. */
export const GPT2_CONVENTIONS = {
  names: {
    hidden: 'n_embd',
    heads: 'n_head',
    blocks: 'n_layer',
    positions: 'n_positions',
    ffn: 'n_inner',
    activation: 'activation_function',
  },
  activation: 'gelu_new',
  widening: 4,
} satisfies Conventions;

export const gpt2: Architecture = {
  modelTypes: ['gpt2'],
  describe(config, modelType) {
    if (flag(config, 'add_cross_attention', false)) throw unsupported(modelType, 'cross attention');
    const { base, activation, tied } = common(config, modelType, { ...GPT2_CONVENTIONS, tied: true });
    const { hidden, headDim } = base;
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const scale = flag(config, 'scale_attn_weights', true) ? headDim ** -0.5 : 1;
    const byLayer = flag(config, 'scale_attn_by_inverse_layer_idx', false);
    const conv1d = (name: string): Linear => ({ name, bias: true, transposed: false });
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      prefixes: ['transformer.', ''],
      embedding: { tokens: 'wte', width: hidden, positions: { name: 'wpe', offset: 0 } },
      block: (i) => ({
        order: 'pre',
        attentionNorm: norm(`h.${i}.ln_1`),
        attention: {
          qkv: (label) => ({ ...conv1d(`h.${i}.attn.c_attn`), part: { label } }),
          out: conv1d(`h.${i}.attn.c_proj`),
          scale: byLayer ? scale / (i + 1) : scale,
        },
        mlpNorm: norm(`h.${i}.ln_2`),
        mlp: { up: conv1d(`h.${i}.mlp.c_fc`), down: conv1d(`h.${i}.mlp.c_proj`), activation },
      }),
      head: { norm: norm('ln_f'), output: tied ? undefined : 'lm_head' },
      ignored: /\.attn\.(bias|masked_bias)$/,
    };
  },
};
