// OLMo (arXiv 2402.00838): gated blocks with layer norms without weights, and bounds of queries, keys and values. OLMo 2 (2501.00656) has
// RMS norms behind attention and MLP instead, and norms of queries and keys over all heads together.

import { common, flag, integer, layerNorm, positive } from './config.ts';
import { FREQUENCIES, gatedBlock, HEAD_FIELDS } from './gated.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture, Norm } from './types.ts';

const EPSILON = 1e-5; // the config of the first has no field

export const olmo: Architecture = {
  modelTypes: ['olmo', 'olmo2'],
  describe(config, modelType) {
    const isSecond = modelType === 'olmo2';
    const { base, activation, tied } = common(config, modelType, {
      activation: 'silu',
      tied: false,
      headDim: config.head_dim == null ? undefined : integer(config, 'head_dim'),
    });
    const { hidden, headDim, maxPositions, sizes } = base;
    const rope = wholeRopeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' });
    const epsilon = positive(config, 'rms_norm_eps', EPSILON);
    const norm = (name: string): Norm =>
      isSecond ? { kind: 'rms', name, epsilon, affine: true } : layerNorm(name, EPSILON, false);
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
    return {
      ...base,
      sizes: { ...sizes, kvHeads: integer(config, 'num_key_value_heads', sizes.heads) },
      prefixes: ['model.', ''],
      embedding: { tokens: 'embed_tokens', width: hidden },
      block: (i) => gatedBlock(i, parts),
      head: { norm: norm('norm'), output: tied ? undefined : 'lm_head' },
      ignored: FREQUENCIES,
      fields: { ...base.fields, heads: HEAD_FIELDS },
    };
  },
};
