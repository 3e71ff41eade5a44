// GPT-NeoX (arXiv 2204.06745) and Pythia: both halves of a block side by side, q, k and v interleaved by heads
// in one tensor, rotary positions on the first part of each head.

import { common, flag, layerNorm, linear, positive } from './config.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';

export const gptNeox: Architecture = {
  modelTypes: ['gpt_neox'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, { activation: 'gelu', tied: false });
    const { hidden, headDim, maxPositions } = base;
    const portion = positive(config, 'rotary_pct', 0.25);
    const rope = ropeOf(config, { modelType, headDim, maxPositions, theta: 'rotary_emb_base', portion });
    const epsilon = positive(config, 'layer_norm_eps', 1e-5);
    const bias = flag(config, 'attention_bias', true);
    const parallel = flag(config, 'use_parallel_residual', true);
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      prefixes: ['gpt_neox.', ''],
      embedding: { tokens: 'embed_in', width: hidden },
      block: (i) => ({
        order: parallel ? 'parallel' : 'pre',
        attentionNorm: norm(`layers.${i}.input_layernorm`),
        attention: {
          qkv: (label) => linear(`layers.${i}.attention.query_key_value`, bias, { label, byHeads: true }),
          out: linear(`layers.${i}.attention.dense`, bias),
          rope,
          scale: headDim ** -0.5,
        },
        mlpNorm: norm(`layers.${i}.post_attention_layernorm`),
        mlp: {
          up: linear(`layers.${i}.mlp.dense_h_to_4h`, true),
          down: linear(`layers.${i}.mlp.dense_4h_to_h`, true),
          activation,
        },
      }),
      head: { norm: norm('final_layer_norm'), output: tied ? undefined : 'embed_out' },
      ignored: /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
    };
  },
};
