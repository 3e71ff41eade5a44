// StableLM (arXiv 2402.17834): Llama's gated blocks with layer norms, rotary positions on the first part of each head, and, in the
// larger ones, both halves of a block side by side behind one norm, with norms of each query and key head.

import { common, flag, integer, layerNorm, positive } from './config.ts';
import { gatedModel } from './gated.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';

export const stablelm: Architecture = {
  modelTypes: ['stablelm'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, { activation: 'silu', tied: false });
    const { headDim, maxPositions } = base;
    const portion = positive(config, 'partial_rotary_factor', 0.25);
    const rope = ropeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta', portion });
    const epsilon = positive(config, 'layer_norm_eps', 1e-5);
    const norm = (name: string) => layerNorm(name, epsilon);
    const parts = {
      norm,
      biases: { qkv: flag(config, 'use_qkv_bias', false), out: false, mlp: false },
      names: { qNorm: 'self_attn.q_layernorm', kNorm: 'self_attn.k_layernorm' },
      headNorms: flag(config, 'qk_layernorm', false) ? ('apart' as const) : undefined,
      isParallel: flag(config, 'use_parallel_residual', false),
      scale: headDim ** -0.5,
      rope: () => rope,
      window: () => undefined,
      activation,
    };
    return gatedModel(base, integer(config, 'num_key_value_heads', 32), tied, parts);
  },
};
