// GPT-2: learned positions, weights stored in × out (Conv1D), q, k and v in one tensor. GPT has its norms behind each half of a block. StarCoder and SantaCoder (gpt_bigcode, arXiv
// 2305.06161) store them out × in, and have one head of keys and values for all queries.

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

const BIGCODE = 'gpt_bigcode';
const FIRST = 'openai-gpt';
/** It has no field for its neurons. */
const FIRST_NAMES = { ...GPT2_CONVENTIONS.names, ffn: 'n_inner', activation: 'afn' };

export const gpt2: Architecture = {
  modelTypes: ['gpt2', BIGCODE, FIRST],
  describe(given, modelType) {
    const isFirst = modelType === FIRST;
    // What it calls gelu is the approximation of it.
    const config = isFirst && given.afn === 'gelu' ? { ...given, afn: 'gelu_new' } : given;
    if (flag(config, 'add_cross_attention', false)) throw unsupported(modelType, 'cross attention');
    const isBigcode = modelType === BIGCODE;
    const { base, activation, tied } = common(config, modelType, {
      ...GPT2_CONVENTIONS,
      ...(isFirst && { names: FIRST_NAMES }),
      activation: isBigcode ? 'gelu_pytorch_tanh' : GPT2_CONVENTIONS.activation,
      tied: true,
    });
    const { hidden, headDim, sizes } = base;
    const kvHeads = isBigcode && flag(config, 'multi_query', true) ? 1 : sizes.heads;
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const scale = flag(config, 'scale_attn_weights', true) ? headDim ** -0.5 : 1;
    const byLayer = !isBigcode && flag(config, 'scale_attn_by_inverse_layer_idx', false);
    const map = (name: string): Linear => ({ name, bias: true, transposed: isBigcode });
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      sizes: { ...sizes, kvHeads },
      prefixes: ['transformer.', ''],
      fields: isFirst ? {} : base.fields,
      embedding: {
        tokens: isFirst ? 'tokens_embed' : 'wte',
        width: hidden,
        positions: { name: isFirst ? 'positions_embed' : 'wpe', offset: 0 },
      },
      block: (i) => ({
        order: isFirst ? 'post' : 'pre',
        attentionNorm: norm(`h.${i}.ln_1`),
        attention: {
          qkv: (label) => ({ ...map(`h.${i}.attn.c_attn`), part: { label, byHeads: isBigcode } }),
          out: map(`h.${i}.attn.c_proj`),
          scale: byLayer ? scale / (i + 1) : scale,
        },
        mlpNorm: norm(`h.${i}.ln_2`),
        mlp: { up: map(`h.${i}.mlp.c_fc`), down: map(`h.${i}.mlp.c_proj`), activation },
      }),
      head: { norm: isFirst ? undefined : norm('ln_f'), output: tied ? undefined : 'lm_head' },
      ignored: /\.attn\.(bias|masked_bias)$/,
    };
  },
};
