// Falcon (arXiv 2311.16867): both halves of a block side by side behind one norm or one each, rotary positions or in the first ones ALiBi, q, k and v in one tensor by
// groups of heads that share keys and values: one group in all of the smaller models. Falcon 3 calls itself llama.

import { slopesBelow } from './alibi.ts';
import { common, eitherName, flag, integer, layerNorm, linear, positive } from './config.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture } from './types.ts';

export const falcon: Architecture = {
  modelTypes: ['falcon'],
  describe(config, modelType) {
    const hasSlopes = flag(config, 'alibi', false);
    const { base, activation, tied } = common(config, modelType, {
      names: {
        hidden: eitherName(config, 'hidden_size', 'n_embed'),
        heads: eitherName(config, 'num_attention_heads', 'n_head'),
        blocks: eitherName(config, 'num_hidden_layers', 'n_layer'),
        ffn: 'ffn_hidden_size',
        activation: 'activation',
      },
      activation: 'gelu',
      widening: 4,
      positions: 2048,
      tied: true,
    });
    const { hidden, headDim, maxPositions, sizes } = base;
    const rope = wholeRopeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' });
    const scale = headDim ** -0.5;
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const bias = flag(config, 'bias', false);
    const isGrouped = flag(config, 'new_decoder_architecture', false);
    const isShared = flag(config, 'multi_query', true);
    const isParallel = isGrouped || flag(config, 'parallel_attn', true);
    const hasTwoNorms = isGrouped && integer(config, 'num_ln_in_parallel_attn', 2) === 2;
    const kvHeads = isGrouped
      ? integer(config, eitherName(config, 'num_kv_heads', 'n_head_kv'), sizes.heads)
      : isShared
        ? 1
        : sizes.heads;
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      sizes: { ...sizes, kvHeads },
      prefixes: ['transformer.', ''],
      embedding: { tokens: 'word_embeddings', width: hidden },
      block: (i) => ({
        order: isParallel ? 'parallel' : 'pre',
        attentionNorm: norm(`h.${i}.${hasTwoNorms ? 'ln_attn' : 'input_layernorm'}`),
        attention: {
          qkv: (label) => linear(`h.${i}.self_attention.query_key_value`, bias, { label, byHeads: true }),
          out: linear(`h.${i}.self_attention.dense`, bias),
          rope: hasSlopes ? undefined : rope,
          scale,
          // transformers has it rounded, which makes neighbours in a long text one.
          slopes: hasSlopes
            ? {
                name: `h.${i}.self_attention.slopes`,
                values: () => slopesBelow(sizes.heads),
                rounded: { factor: scale },
              }
            : undefined,
        },
        mlpNorm: hasTwoNorms
          ? norm(`h.${i}.ln_mlp`)
          : isParallel
            ? undefined
            : norm(`h.${i}.post_attention_layernorm`),
        mlp: {
          up: linear(`h.${i}.mlp.dense_h_to_4h`, bias),
          down: linear(`h.${i}.mlp.dense_4h_to_h`, bias),
          activation,
        },
      }),
      head: { norm: norm('ln_f'), output: tied ? undefined : 'lm_head' },
    };
  },
};
