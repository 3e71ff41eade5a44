// MPT: ALiBi in the place of positions, no biases, q, k and v in one tensor.

import { slopesAbove } from './alibi.ts';
import { common, flag, integer, layerNorm, linear, positive, section, text, unsupported } from './config.ts';
import type { Architecture } from './types.ts';

export const mpt: Architecture = {
  modelTypes: ['mpt'],
  describe(config, modelType) {
    const own = section(config, 'attn_config');
    if (!flag(own, 'alibi', true)) throw unsupported(modelType, 'learned positions (alibi false)');
    if (text(own, 'attn_type', 'multihead_attention') !== 'multihead_attention')
      throw unsupported(modelType, `attn_type ${JSON.stringify(own.attn_type)}`);
    for (const key of ['qk_ln', 'prefix_lm']) if (flag(own, key, false)) throw unsupported(modelType, key);
    if (!flag(config, 'no_bias', true)) throw unsupported(modelType, 'biases (no_bias false)');
    const { base, activation, tied } = common(config, modelType, {
      names: { hidden: 'd_model', heads: 'n_heads', blocks: 'n_layers', positions: 'max_seq_len' },
      activation: 'gelu',
      positions: 2048,
      widening: integer(config, 'expansion_ratio', 4),
      tied: true,
    });
    const { hidden, headDim, sizes } = base;
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const norm = (name: string) => ({ ...layerNorm(name, epsilon), withoutBias: true });
    const most = positive(own, 'alibi_bias_max', 8);
    const clip = own.clip_qkv == null ? undefined : positive(own, 'clip_qkv');
    const scale = own.softmax_scale == null ? headDim ** -0.5 : positive(own, 'softmax_scale');
    return {
      ...base,
      prefixes: ['transformer.', ''],
      embedding: { tokens: 'wte', width: hidden },
      block: (i) => ({
        order: 'pre',
        attentionNorm: norm(`blocks.${i}.norm_1`),
        attention: {
          qkv: (label) => linear(`blocks.${i}.attn.Wqkv`, false, { label }),
          out: linear(`blocks.${i}.attn.out_proj`, false),
          clip,
          scale,
          slopes: { name: `blocks.${i}.attn.slopes`, values: () => slopesAbove(sizes.heads, most) },
        },
        mlpNorm: norm(`blocks.${i}.norm_2`),
        mlp: {
          up: linear(`blocks.${i}.ffn.up_proj`, false),
          down: linear(`blocks.${i}.ffn.down_proj`, false),
          activation,
        },
      }),
      head: { norm: norm('norm_f'), output: tied ? undefined : 'lm_head' },
      fields: { blocks: base.fields.blocks },
    };
  },
};
