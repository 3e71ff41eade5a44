// GTE v1.5 and multilingual (arXiv 2407.19669), in the form that they have with their own code, and Snowflake's Arctic Embed M v2.0: BERT's order
// of norms and names with rotary positions and gated MLPs.

import { tanh } from './activation.ts';
import {
  classifies,
  commonOfText,
  flag,
  integer,
  layerNorm,
  linear,
  positive,
  scores,
  section,
  text,
  unsupported,
} from './config.ts';
import { FREQUENCIES } from './gated.ts';
import { ropeOf } from './rope.ts';
import type { Architecture, Config, Label } from './types.ts';

export const gte: Architecture = {
  modelTypes: ['new', 'gte'],
  describe(config, modelType) {
    for (const key of ['logn_attention_scale', 'logn_attention_clip1'])
      if (flag(config, key, false)) throw unsupported(modelType, key);
    for (const [key, expected] of [
      ['position_embedding_type', 'rope'],
      ['layer_norm_type', 'layer_norm'],
    ] as const)
      if (text(config, key, expected) !== expected)
        throw unsupported(modelType, `${key} ${JSON.stringify(config[key])}`);
    const { base, activation } = commonOfText(config, modelType, { activation: 'gelu' });
    const { hidden, headDim, maxPositions } = base;
    const rope = ropeOf(plain(config, modelType, headDim), {
      modelType,
      headDim,
      maxPositions,
      theta: 'rope_theta',
    });
    const epsilon = positive(config, 'layer_norm_eps', 1e-12);
    const types = integer(config, 'type_vocab_size', 1, 0);
    const isPacked = flag(config, 'pack_qkv', true);
    return {
      ...base,
      prefixes: [`${modelType}.`, ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width: hidden,
        types: types > 0 ? { name: 'embeddings.token_type_embeddings', count: types } : undefined,
        norm: layerNorm('embeddings.LayerNorm', epsilon),
      },
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        const qkv = (label: Label) =>
          isPacked
            ? linear(`${layer}.attention.qkv_proj`, true, { label })
            : linear(`${layer}.attention.${label}_proj`, true);
        const wide = (label: 'gate' | 'up') => linear(`${layer}.mlp.up_gate_proj`, false, { label });
        return {
          order: 'post',
          attentionNorm: layerNorm(`${layer}.attn_ln`, epsilon),
          attention: { qkv, out: linear(`${layer}.attention.o_proj`, true), rope, scale: headDim ** -0.5 },
          mlpNorm: layerNorm(`${layer}.mlp_ln`, epsilon),
          // The first half of that tensor is what others have second.
          mlp: {
            up: wide('gate'),
            gate: wide('up'),
            down: linear(`${layer}.mlp.down_proj`, true),
            activation,
          },
        };
      },
      head: {
        readouts: classifies(config)
          ? [
              {
                maps: [
                  { map: linear('pooler.dense', true), columns: hidden, activation: tanh },
                  scores(config, 'classifier'),
                ],
              },
            ]
          : [],
      },
      ignored: FREQUENCIES,
    };
  },
};

/** Its own scaling, of whatever length a text is, in words of the usual: of another base, and slower by one factor. */
function plain(config: Config, modelType: string, headDim: number): Config {
  const scaling = section(config, 'rope_scaling');
  if (scaling.type !== 'ntk') return config;
  if (scaling.mixed_b != null) throw unsupported(modelType, 'mixed_b of rope_scaling');
  const factor = positive(scaling, 'factor');
  if (factor <= 1) return { ...config, rope_scaling: undefined };
  return {
    ...config,
    rope_theta: factor * positive(config, 'rope_theta', 10_000),
    rope_scaling: { type: 'linear', factor: factor ** (2 / headDim) },
  };
}
