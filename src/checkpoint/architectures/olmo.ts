// OLMo (arXiv 2402.00838): gated blocks with layer norms without weights, and bounds of queries, keys and values. OLMo 2 (2501.00656) has
// RMS norms behind attention and MLP instead, and norms of queries and keys over all heads together.

import { common, flag, givenHeadDim, integer, layerNorm, positive, rmsNorm } from './config.ts';
import { gatedModel, HEAD_FIELDS } from './gated.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture } from './types.ts';

const EPSILON = 1e-5; // the config of the first has no field

export const olmo: Architecture = {
  modelTypes: ['olmo', 'olmo2'],
  describe(config, modelType) {
    const isSecond = modelType === 'olmo2';
    const { base, activation, tied } = common(config, modelType, {
      activation: 'silu',
      tied: false,
      headDim: givenHeadDim(config),
    });
    const { headDim, maxPositions, sizes } = base;
    const rope = wholeRopeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' });
    const epsilon = positive(config, 'rms_norm_eps', EPSILON);
    const norm = (name: string) => (isSecond ? rmsNorm(name, epsilon) : layerNorm(name, EPSILON, false));
    const hasBias = flag(config, 'attention_bias', false);
    const parts = {
      norm,
      biases: { qkv: hasBias, out: hasBias, mlp: false },
      norms: isSecond ? ('after' as const) : undefined,
      headNorms: isSecond ? ('together' as const) : undefined,
      clip: isSecond || config.clip_qkv == null ? undefined : positive(config, 'clip_qkv'),
      scale: headDim ** -0.5,
      rope: () => rope,
      window: () => undefined,
      activation,
    };
    const kvHeads = integer(config, 'num_key_value_heads', sizes.heads);
    return {
      ...gatedModel(base, kvHeads, tied, parts),
      fields: { ...base.fields, heads: HEAD_FIELDS },
    };
  },
};
