// OPT (arXiv 2205.01068): learned positions, biases, layer norms before or (350m) after each half of a block.

import { common, flag, integer, layerNorm, linear } from './config.ts';
import type { Architecture } from './types.ts';

const POSITION_OFFSET = 2; // rows 0 and 1 are left over from padding
const EPSILON = 1e-5; // torch's default; the config has no field

export const opt: Architecture = {
  modelTypes: ['opt'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, {
      names: { ffn: 'ffn_dim', activation: 'activation_function' },
      activation: 'relu',
      tied: true,
    });
    const { hidden, headDim } = base;
    const width = integer(config, 'word_embed_proj_dim', hidden);
    const bias = flag(config, 'enable_bias', true);
    const affine = flag(config, 'layer_norm_elementwise_affine', true);
    const before = flag(config, 'do_layer_norm_before', true);
    const last = before && !flag(config, '_remove_final_layer_norm', false);
    const projection = (name: string) => (width === hidden ? undefined : linear(name, false));
    const norm = (name: string) => layerNorm(name, EPSILON, affine);
    return {
      ...base,
      prefixes: ['model.decoder.', 'decoder.'],
      embedding: {
        tokens: 'embed_tokens',
        width,
        positions: { name: 'embed_positions', offset: POSITION_OFFSET },
        project: projection('project_in'),
      },
      block: (i) => ({
        order: before ? 'pre' : 'post',
        attentionNorm: norm(`layers.${i}.self_attn_layer_norm`),
        attention: {
          qkv: (label) => linear(`layers.${i}.self_attn.${label}_proj`, bias),
          out: linear(`layers.${i}.self_attn.out_proj`, bias),
          scale: headDim ** -0.5,
        },
        mlpNorm: norm(`layers.${i}.final_layer_norm`),
        mlp: { up: linear(`layers.${i}.fc1`, bias), down: linear(`layers.${i}.fc2`, bias), activation },
      }),
      head: {
        norm: last ? norm('final_layer_norm') : undefined,
        project: projection('project_out'),
        output: tied ? undefined : 'lm_head',
      },
    };
  },
};
