// Phi 1, 1.5 and 2 (arXiv 2309.05463): both halves of a block side by side behind one norm, rotary positions on the first
// part of each head.

import { common, flag, integer, layerNorm, linear, positive, unsupported } from './config.ts';
import { FREQUENCIES } from './gated.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';

export const phi: Architecture = {
  modelTypes: ['phi'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, { activation: 'gelu_new', tied: false });
    if (flag(config, 'qk_layernorm', false)) throw unsupported(modelType, 'qk_layernorm');
    const { hidden, headDim, maxPositions, sizes } = base;
    const portion = positive(config, 'partial_rotary_factor', 0.5);
    const rope = ropeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta', portion });
    const epsilon = positive(config, 'layer_norm_eps', 1e-5);
    return {
      ...base,
      sizes: { ...sizes, kvHeads: integer(config, 'num_key_value_heads', sizes.heads) },
      prefixes: ['model.', ''],
      embedding: { tokens: 'embed_tokens', width: hidden },
      block: (i) => ({
        order: 'parallel',
        attentionNorm: layerNorm(`layers.${i}.input_layernorm`, epsilon),
        attention: {
          qkv: (label) => linear(`layers.${i}.self_attn.${label}_proj`, true),
          out: linear(`layers.${i}.self_attn.dense`, true),
          rope,
          scale: headDim ** -0.5,
        },
        mlp: {
          up: linear(`layers.${i}.mlp.fc1`, true),
          down: linear(`layers.${i}.mlp.fc2`, true),
          activation,
        },
      }),
      head: {
        norm: layerNorm('final_layernorm', epsilon),
        output: tied ? undefined : 'lm_head',
        bias: 'lm_head.bias',
      },
      ignored: FREQUENCIES,
    };
  },
};
