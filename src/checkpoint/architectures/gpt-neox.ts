// GPT-NeoX (arXiv 2204.06745) and Pythia: both halves of a block side by side, q, k and v interleaved by heads
// in one tensor, rotary positions on the first part of each head.

import { activationOf } from './activation.ts';
import { evenHeads, flag, integer, positive, text } from './config.ts';
import { ropeOf } from './rope.ts';
import type { Architecture, Config, Linear, Norm, Part } from './types.ts';

export const gptNeox: Architecture = {
  modelTypes: ['gpt_neox'],
  describe(config: Config, modelType: string) {
    const hidden = integer(config, 'hidden_size');
    const heads = integer(config, 'num_attention_heads');
    const headDim = evenHeads(hidden, heads, 'hidden_size and num_attention_heads');
    const maxPositions = integer(config, 'max_position_embeddings');
    const portion = positive(config, 'rotary_pct', 0.25);
    const rope = ropeOf(config, { modelType, headDim, maxPositions, theta: 'rotary_emb_base', portion });
    const epsilon = positive(config, 'layer_norm_eps', 1e-5);
    const activation = activationOf(text(config, 'hidden_act', 'gelu'), modelType);
    const bias = flag(config, 'attention_bias', true);
    const parallel = flag(config, 'use_parallel_residual', true);
    const tied = flag(config, 'tie_word_embeddings', false);
    const linear = (name: string, bias: boolean): Linear => ({ name, bias, stored: 'out-in' });
    const fused = (i: number, label: Part['label']): Linear => ({
      ...linear(`layers.${i}.attention.query_key_value`, bias),
      part: { label, order: 'heads' },
    });
    const norm = (name: string): Norm => ({ kind: 'layer', name, epsilon, affine: true });
    return {
      modelType,
      hidden,
      vocabulary: integer(config, 'vocab_size'),
      maxPositions,
      headDim,
      blocks: integer(config, 'num_hidden_layers'),
      sizes: { heads, kvHeads: heads, ffn: integer(config, 'intermediate_size') },
      prefixes: ['gpt_neox.', ''],
      embedding: { tokens: 'embed_in', width: hidden },
      block: (i) => ({
        order: parallel ? 'parallel' : 'pre',
        attentionNorm: norm(`layers.${i}.input_layernorm`),
        attention: {
          q: fused(i, 'q'),
          k: fused(i, 'k'),
          v: fused(i, 'v'),
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
      fields: { ffn: 'intermediate_size' },
    };
  },
};
