// GPT-J: both halves of a block side by side behind one norm, rotary positions of features that are neighbours, on the first part of
// each head.

import { common, integer, layerNorm, linear, positive, unsupported } from './config.ts';
import { GPT2_CONVENTIONS } from './gpt2.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';

export const gptJ: Architecture = {
  modelTypes: ['gptj'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, { ...GPT2_CONVENTIONS, tied: false });
    // The output would have the token embeddings' weights and biases of its own.
    if (config.rotary_dim === null) throw unsupported(modelType, 'rotary_dim null');
    const { hidden, headDim, maxPositions } = base;
    const rope = ropeOf(
      {}, // no field but that of their number says anything of these positions
      {
        modelType,
        headDim,
        maxPositions,
        theta: 'rope_theta',
        dims: integer(config, 'rotary_dim', 64),
        pairsNeighbours: true,
      },
    );
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    return {
      ...base,
      prefixes: ['transformer.', ''],
      embedding: { tokens: 'wte', width: hidden },
      block: (i) => ({
        order: 'parallel',
        attentionNorm: layerNorm(`h.${i}.ln_1`, epsilon),
        attention: {
          qkv: (label) => linear(`h.${i}.attn.${label}_proj`, false),
          out: linear(`h.${i}.attn.out_proj`, false),
          rope,
          scale: headDim ** -0.5,
        },
        mlp: { up: linear(`h.${i}.mlp.fc_in`, true), down: linear(`h.${i}.mlp.fc_out`, true), activation },
      }),
      head: { norm: layerNorm('ln_f', epsilon), output: tied ? undefined : 'lm_head', bias: 'lm_head.bias' },
      ignored: /\.attn\.(bias|masked_bias)$/,
    };
  },
};
