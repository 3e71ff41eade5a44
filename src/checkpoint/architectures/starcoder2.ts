// StarCoder2 (arXiv 2402.19173): layer norms and a plain MLP under Llama's names, biases, grouped queries, a window.

import { common, flag, givenHeadDim, integer, layerNorm, linear, positive } from './config.ts';
import { FREQUENCIES, HEAD_FIELDS } from './gated.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture } from './types.ts';
import { givenWindow } from './window.ts';

export const starcoder2: Architecture = {
  modelTypes: ['starcoder2'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, {
      activation: 'gelu_pytorch_tanh',
      tied: true,
      headDim: givenHeadDim(config),
    });
    const { hidden, headDim, maxPositions, sizes } = base;
    const rope = wholeRopeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' });
    const epsilon = positive(config, 'norm_epsilon', 1e-5);
    const bias = flag(config, 'use_bias', true);
    const window = givenWindow(config);
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      sizes: { ...sizes, kvHeads: integer(config, 'num_key_value_heads', 2) },
      prefixes: ['model.', ''],
      embedding: { tokens: 'embed_tokens', width: hidden },
      block: (i) => {
        const layer = `layers.${i}`;
        return {
          order: 'pre',
          attentionNorm: norm(`${layer}.input_layernorm`),
          attention: {
            qkv: (label) => linear(`${layer}.self_attn.${label}_proj`, bias),
            out: linear(`${layer}.self_attn.o_proj`, bias),
            rope,
            scale: headDim ** -0.5,
            window,
          },
          mlpNorm: norm(`${layer}.post_attention_layernorm`),
          mlp: {
            up: linear(`${layer}.mlp.c_fc`, bias),
            down: linear(`${layer}.mlp.c_proj`, bias),
            activation,
          },
        };
      },
      head: { norm: norm('norm'), output: tied ? undefined : 'lm_head' },
      ignored: FREQUENCIES,
      fields: { ...base.fields, heads: HEAD_FIELDS },
    };
  },
};
