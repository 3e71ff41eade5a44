// OLMo (arXiv 2402.00838): gated blocks with layer norms without weights, and bounds of queries, keys and values. OLMo 2 (2501.00656) has
// RMS norms behind attention and MLP instead, and norms of queries and keys over all heads together. OLMoE (2409.02060) has these and the
// bounds, RMS norms before both, and experts.

import { common, flag, givenHeadDim, integer, layerNorm, positive, rmsNorm } from './config.ts';
import { gatedModel, HEAD_FIELDS } from './gated.ts';
import { mixturesOf } from './mixture.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture } from './types.ts';

const EPSILON = 1e-5; // the config of the first has no field

export const olmo: Architecture = {
  modelTypes: ['olmo', 'olmo2', 'olmoe'],
  describe(config, modelType) {
    const [isFirst, isSecond, hasExperts] = ['olmo', 'olmo2', 'olmoe'].map((type) => type === modelType);
    const { base, activation, tied } = common(config, modelType, {
      activation: 'silu',
      tied: false,
      headDim: hasExperts ? undefined : givenHeadDim(config),
    });
    const { headDim, maxPositions, sizes } = base;
    const rope = wholeRopeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' });
    const epsilon = positive(config, 'rms_norm_eps', EPSILON);
    const norm = (name: string) => (isFirst ? layerNorm(name, EPSILON, false) : rmsNorm(name, epsilon));
    const kvHeads = integer(config, 'num_key_value_heads', sizes.heads);
    const experts = hasExperts
      ? mixturesOf(config, { ...base, sizes: { ...sizes, kvHeads } }, activation)
      : undefined;
    const hasBias = flag(config, 'attention_bias', false);
    const parts = {
      norm,
      biases: { qkv: hasBias, out: hasBias, mlp: false },
      norms: isSecond ? ('after' as const) : undefined,
      headNorms: isFirst ? undefined : ('together' as const),
      clip: isSecond || config.clip_qkv == null ? undefined : positive(config, 'clip_qkv'),
      scale: headDim ** -0.5,
      rope: () => rope,
      window: () => undefined,
      activation,
      mixture: experts?.mixture,
    };
    return {
      ...gatedModel(base, kvHeads, tied, parts),
      sizesOf: experts?.sizesOf,
      fields: { ...base.fields, ...experts?.fields, heads: hasExperts ? undefined : HEAD_FIELDS },
    };
  },
};
