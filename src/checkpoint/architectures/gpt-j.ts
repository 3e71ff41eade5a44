// GPT-J and CodeGen (arXiv 2203.13474): both halves of a block side by side behind one norm, rotary positions of features that are neighbours, on the first
// part of each head. CodeGen has queries, values and keys in one tensor, as the four processors had them that it was trained on.

import { common, integer, layerNorm, linear, positive, unsupported } from './config.ts';
import { GPT2_CONVENTIONS } from './gpt2.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';

const PROCESSORS = 4;

export const gptJ: Architecture = {
  modelTypes: ['gptj', 'codegen'],
  describe(config, modelType) {
    const isFused = modelType === 'codegen';
    const { base, activation, tied } = common(config, modelType, { ...GPT2_CONVENTIONS, tied: false });
    // The output would have the token embeddings' weights and biases of its own.
    if (config.rotary_dim === null) throw unsupported(modelType, 'rotary_dim null');
    const { hidden, headDim, maxPositions, sizes } = base;
    if (isFused && sizes.heads % PROCESSORS !== 0)
      throw unsupported(modelType, `n_head that is no multiple of ${PROCESSORS}`);
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
          qkv: (label) =>
            isFused
              ? linear(`h.${i}.attn.qkv_proj`, false, { label, groups: PROCESSORS })
              : linear(`h.${i}.attn.${label}_proj`, false),
          out: linear(`h.${i}.attn.out_proj`, false),
          rope,
          scale: headDim ** -0.5,
        },
        mlp: { up: linear(`h.${i}.mlp.fc_in`, true), down: linear(`h.${i}.mlp.fc_out`, true), activation },
      }),
      head: { norm: layerNorm('ln_f', epsilon), output: tied ? undefined : 'lm_head', bias: 'lm_head.bias' },
      ignored: /\.attn\.(bias|masked_bias|causal_mask)$/,
    };
  },
};
