// BEiT (arXiv 2106.08254) and data2vec of images (2202.03555): a ViT with a number for each head and each way between two squares in the
// place of positions, scales of what both halves of a block add, and classifiers of the mean of all squares.

import {
  classifies,
  commonOfImages,
  flag,
  layerNorm,
  linear,
  nonNegative,
  positive,
  scores,
  unsupported,
} from './config.ts';
import type { Architecture } from './types.ts';

const TABLE = 'relative_position_bias.relative_position_bias_table';

export const beit: Architecture = {
  modelTypes: ['beit', 'data2vec-vision'],
  describe(config, modelType) {
    const { base, activation } = commonOfImages(
      config,
      modelType,
      { activation: 'gelu' },
      {
        patches: 'embeddings.patch_embeddings.projection',
        firstTokens: ['embeddings.cls_token'],
        positions: flag(config, 'use_absolute_position_embeddings', false)
          ? 'embeddings.position_embeddings'
          : undefined,
      },
    );
    const epsilon = positive(config, 'layer_norm_eps', 1e-12);
    const side = Math.floor(base.embedding.image / base.embedding.size);
    const [isOwn, isShared] = ['use_relative_position_bias', 'use_shared_relative_position_bias'].map((key) =>
      flag(config, key, false),
    );
    if (isOwn && isShared)
      throw unsupported(modelType, 'use_relative_position_bias beside use_shared_relative_position_bias');
    const isScaled = nonNegative(config, 'layer_scale_init_value', 0.1) > 0;
    const isMean = flag(config, 'use_mean_pooling', true);
    const names = { q: 'query', k: 'key', v: 'value' };
    return {
      ...base,
      prefixes: [`${modelType.replace('-', '_')}.`, ''],
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        const factors = (half: number) => (isScaled ? `${layer}.lambda_${half}` : undefined);
        return {
          order: 'pre',
          attentionNorm: layerNorm(`${layer}.layernorm_before`, epsilon),
          attention: {
            qkv: (label) => linear(`${layer}.attention.attention.${names[label]}`, label !== 'k'),
            out: { ...linear(`${layer}.attention.output.dense`, true), factors: factors(1) },
            scale: base.headDim ** -0.5,
            relative:
              isOwn || isShared
                ? {
                    shared: isShared ? `encoder.${TABLE}` : undefined,
                    name: `${layer}.attention.attention.${TABLE}`,
                    buckets: (2 * side - 1) ** 2 + 3,
                    apart: { side },
                  }
                : undefined,
          },
          mlpNorm: layerNorm(`${layer}.layernorm_after`, epsilon),
          mlp: {
            up: linear(`${layer}.intermediate.dense`, true),
            down: { ...linear(`${layer}.output.dense`, true), factors: factors(2) },
            activation,
          },
        };
      },
      head: {
        norm: isMean ? undefined : layerNorm('layernorm', epsilon),
        readouts: classifies(config)
          ? [
              {
                ...(isMean && { of: [[1]], norm: layerNorm('pooler.layernorm', epsilon) }),
                maps: [scores(config, 'classifier')],
              },
            ]
          : [],
      },
      // Which row of a table is for which pair: computed here.
      ignored: /relative_position_index$/,
    };
  },
};
