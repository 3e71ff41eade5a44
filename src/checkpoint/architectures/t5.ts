// The encoder of T5 (arXiv 1910.10683), mT5 and what is made from them, as sentence-t5 and Flan: relative positions, RMS norms before each half
// of a block, scores that are not scaled, no biases. The decoder reads features that are as wide as before.

import { commonOfText, integer, linear, positive, rmsNorm, text } from './config.ts';
import { nameOf } from './facts.ts';
import type { Architecture } from './types.ts';

const GATED = 'gated-';
const TABLE = 'relative_attention_bias';

export const t5: Architecture = {
  modelTypes: ['t5', 'mt5', 'umt5'],
  describe(config, modelType) {
    const given = text(config, 'feed_forward_proj', modelType === 't5' ? 'relu' : 'gated-gelu');
    const isGated = given.startsWith(GATED);
    const own = isGated ? given.slice(GATED.length) : given;
    const { base, activation } = commonOfText(
      // As T5 has it: its gelu is another one where there is a gate.
      { ...config, feed_forward_proj: isGated && own === 'gelu' ? 'gelu_new' : own },
      modelType,
      {
        names: {
          hidden: 'd_model',
          heads: 'num_heads',
          blocks: 'num_layers',
          positions: 'n_positions',
          ffn: 'd_ff',
          activation: 'feed_forward_proj',
        },
        activation: own,
        headDim: integer(config, 'd_kv', 64),
        positions: 512,
      },
    );
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-6);
    const buckets = integer(config, 'relative_attention_num_buckets', 32, 4);
    // Beyond those that the table has one by one.
    const most = integer(config, 'relative_attention_max_distance', 128, Math.floor(buckets / 4) + 1);
    const norm = (name: string) => rmsNorm(name, epsilon);
    const attention = (i: number) => `encoder.block.${i}.layer.0.SelfAttention`;
    const dense = (i: number, name: string) =>
      linear(`encoder.block.${i}.layer.1.DenseReluDense.${name}`, false);
    // A decoder has as many neurons by the same field.
    const isAlone = /EncoderModel$/.test(nameOf(config));
    return {
      ...base,
      prefixes: ['', 'transformer.'],
      embedding: { tokens: 'shared', width: base.hidden },
      block: (i) => ({
        order: 'pre',
        attentionNorm: norm(`encoder.block.${i}.layer.0.layer_norm`),
        attention: {
          qkv: (label) => linear(`${attention(i)}.${label}`, false),
          out: linear(`${attention(i)}.o`, false),
          scale: 1,
          relative: {
            shared: `${attention(modelType === 'umt5' ? i : 0)}.${TABLE}.weight`,
            name: `${attention(i)}.${TABLE}_of_heads.weight`,
            buckets,
            apart: { most },
          },
        },
        mlpNorm: norm(`encoder.block.${i}.layer.1.layer_norm`),
        mlp: {
          up: dense(i, isGated ? 'wi_1' : 'wi'),
          gate: isGated ? dense(i, 'wi_0') : undefined,
          down: dense(i, 'wo'),
          activation,
        },
      }),
      head: { norm: norm('encoder.final_layer_norm'), readouts: [] },
      // Of all heads, beside the tables of those that stay.
      ignored: new RegExp(`${TABLE}\\.weight$`),
      fields: isAlone ? base.fields : {},
    };
  },
};
