// Nemotron (arXiv 2402.16819) and what NVIDIA has pruned from it (Minitron): plain MLPs of squared relus, layer norms that scale by
// 1 + weight, rotary positions on the first part of each head.

import { common, flag, givenHeadDim, integer, layerNorm, positive } from './config.ts';
import { gatedModel, HEAD_FIELDS } from './gated.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';

export const nemotron: Architecture = {
  modelTypes: ['nemotron'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, {
      activation: 'relu2',
      tied: false,
      headDim: givenHeadDim(config),
    });
    const { headDim, maxPositions, sizes } = base;
    const portion = positive(config, 'partial_rotary_factor', 0.5);
    const rope = ropeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta', portion });
    const epsilon = positive(config, 'norm_eps', 1e-5);
    const hasBias = flag(config, 'attention_bias', false);
    const parts = {
      norm: (name: string) => ({ ...layerNorm(name, epsilon), centre: 1 }),
      biases: { qkv: hasBias, out: hasBias, mlp: flag(config, 'mlp_bias', false) },
      isPlain: true,
      scale: headDim ** -0.5,
      rope: () => rope,
      window: () => undefined,
      activation,
    };
    return {
      ...gatedModel(base, integer(config, 'num_key_value_heads', sizes.heads), tied, parts),
      fields: { ...base.fields, heads: HEAD_FIELDS },
    };
  },
};
