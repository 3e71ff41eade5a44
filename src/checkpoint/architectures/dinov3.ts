// DINOv3 (arXiv 2508.10104): a ViT whose squares are turned by where they are in the image, with registers, and scales of what both halves of a
// block add.

import { commonOfImages, flag, integer, layerNorm, linear, positive, unsupported } from './config.ts';
import type { Architecture, Rope } from './types.ts';

export const dinov3: Architecture = {
  modelTypes: ['dinov3_vit'],
  describe(config, modelType) {
    const count = integer(config, 'num_register_tokens', 0, 0);
    const { base, activation } = commonOfImages(
      config,
      modelType,
      { activation: 'gelu' },
      {
        patches: 'embeddings.patch_embeddings',
        firstTokens: ['embeddings.cls_token'],
        registers: count > 0 ? { name: 'embeddings.register_tokens', count } : undefined,
      },
    );
    const { headDim, embedding } = base;
    if (headDim % 4 !== 0) throw unsupported(modelType, `heads of ${headDim} features, which are no fours`);
    const theta = positive(config, 'rope_theta', 100);
    const rope: Rope = {
      dims: headDim,
      frequencies: () =>
        Float32Array.from({ length: headDim / 4 }, (_, i) => 2 * Math.PI * theta ** ((-4 * i) / headDim)),
      factor: 1,
      squares: { side: Math.floor(embedding.image / embedding.size), before: 1 + count },
    };
    const epsilon = positive(config, 'layer_norm_eps', 1e-5);
    const biases = { q: 'query_bias', k: 'key_bias', v: 'value_bias' };
    const [outBias, mlpBias] = ['proj_bias', 'mlp_bias'].map((key) => flag(config, key, true));
    const isGated = flag(config, 'use_gated_mlp', false);
    return {
      ...base,
      prefixes: [''],
      block: (i) => ({
        order: 'pre',
        attentionNorm: layerNorm(`layer.${i}.norm1`, epsilon),
        attention: {
          qkv: (label) =>
            linear(`layer.${i}.attention.${label}_proj`, flag(config, biases[label], label !== 'k')),
          out: {
            ...linear(`layer.${i}.attention.o_proj`, outBias),
            factors: `layer.${i}.layer_scale1.lambda1`,
          },
          rope,
          scale: headDim ** -0.5,
        },
        mlpNorm: layerNorm(`layer.${i}.norm2`, epsilon),
        mlp: {
          up: linear(`layer.${i}.mlp.up_proj`, mlpBias),
          gate: isGated ? linear(`layer.${i}.mlp.gate_proj`, mlpBias) : undefined,
          down: {
            ...linear(`layer.${i}.mlp.down_proj`, mlpBias),
            factors: `layer.${i}.layer_scale2.lambda1`,
          },
          activation,
        },
      }),
      head: { norm: layerNorm('norm', epsilon), readouts: [] },
    };
  },
};
