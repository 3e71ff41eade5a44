// BLOOM (arXiv 2211.05100): a norm behind the embeddings, ALiBi in the place of positions, q, k and v interleaved by heads in one tensor.

import { slopesBelow } from './alibi.ts';
import { common, eitherName, flag, layerNorm, linear, positive, unsupported } from './config.ts';
import type { Architecture } from './types.ts';

export const bloom: Architecture = {
  modelTypes: ['bloom'],
  describe(config, modelType) {
    if (flag(config, 'apply_residual_connection_post_layernorm', false))
      throw unsupported(modelType, 'apply_residual_connection_post_layernorm');
    const { base, activation, tied } = common(config, modelType, {
      names: {
        hidden: eitherName(config, 'hidden_size', 'n_embed'),
        heads: eitherName(config, 'num_attention_heads', 'n_head'),
        blocks: eitherName(config, 'num_hidden_layers', 'n_layer'),
        positions: 'seq_length',
      },
      activation: 'gelu_pytorch_tanh',
      positions: 2048,
      widening: 4,
      tied: true,
    });
    const { hidden, headDim, sizes } = base;
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      prefixes: ['transformer.', ''],
      embedding: { tokens: 'word_embeddings', width: hidden, norm: norm('word_embeddings_layernorm') },
      block: (i) => ({
        order: 'pre',
        attentionNorm: norm(`h.${i}.input_layernorm`),
        attention: {
          qkv: (label) => linear(`h.${i}.self_attention.query_key_value`, true, { label, byHeads: true }),
          out: linear(`h.${i}.self_attention.dense`, true),
          scale: headDim ** -0.5,
          slopes: { name: `h.${i}.self_attention.slopes`, values: () => slopesBelow(sizes.heads) },
        },
        mlpNorm: norm(`h.${i}.post_attention_layernorm`),
        mlp: {
          up: linear(`h.${i}.mlp.dense_h_to_4h`, true),
          down: linear(`h.${i}.mlp.dense_4h_to_h`, true),
          activation,
        },
      }),
      head: { norm: norm('ln_f'), output: tied ? undefined : 'lm_head' },
      fields: { blocks: base.fields.blocks },
    };
  },
};
