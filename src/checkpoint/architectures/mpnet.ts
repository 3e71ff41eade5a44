// MPNet (arXiv 2004.09297), which all-mpnet-base is made of: BERT's blocks under names of their own, and relative positions, from one table
// for all blocks.

import { tanh } from './activation.ts';
import {
  classifies,
  commonOfText,
  denseAndScores,
  integer,
  layerNorm,
  linear,
  positive,
  unsupported,
} from './config.ts';
import type { Architecture } from './types.ts';

const OFFSET = 2; // positions begin behind the row of padding
const [BUCKETS, FARTHEST] = [32, 128]; // transformers counts so whatever config.json says
const TABLE = 'relative_attention_bias';

export const mpnet: Architecture = {
  modelTypes: ['mpnet'],
  describe(config, modelType) {
    const { base, activation } = commonOfText(config, modelType, { activation: 'gelu' });
    const { hidden, headDim, maxPositions } = base;
    const epsilon = positive(config, 'layer_norm_eps', 1e-12);
    const buckets = integer(config, 'relative_attention_num_buckets', BUCKETS);
    if (buckets !== BUCKETS) throw unsupported(modelType, `relative_attention_num_buckets ${buckets}`);
    return {
      ...base,
      maxPositions: maxPositions - OFFSET,
      prefixes: ['mpnet.', ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width: hidden,
        positions: { name: 'embeddings.position_embeddings', offset: OFFSET },
        norm: layerNorm('embeddings.LayerNorm', epsilon),
      },
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        return {
          order: 'post',
          attentionNorm: layerNorm(`${layer}.attention.LayerNorm`, epsilon),
          attention: {
            qkv: (label) => linear(`${layer}.attention.attn.${label}`, true),
            out: linear(`${layer}.attention.attn.o`, true),
            scale: headDim ** -0.5,
            relative: {
              shared: `encoder.${TABLE}.weight`,
              name: `${layer}.attention.attn.${TABLE}.weight`,
              buckets,
              apart: { most: FARTHEST },
            },
          },
          mlpNorm: layerNorm(`${layer}.output.LayerNorm`, epsilon),
          mlp: {
            up: linear(`${layer}.intermediate.dense`, true),
            down: linear(`${layer}.output.dense`, true),
            activation,
          },
        };
      },
      head: {
        readouts: classifies(config)
          ? [{ maps: denseAndScores(config, hidden, 'classifier.dense', tanh, 'classifier.out_proj') }]
          : [],
      },
    };
  },
};
