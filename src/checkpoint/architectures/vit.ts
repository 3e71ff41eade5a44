// ViT (arXiv 2010.11929): squares of an image, a class token before them, norms before each half of a block. DeiT (2012.12877) has a token
// of its teacher behind that of the class; classifiers with two heads give the mean of both scores.

import { InputError } from '../../errors.ts';
import {
  classifies,
  commonOfBlocks,
  flag,
  integer,
  layerNorm,
  linear,
  nameOf,
  positive,
  scores,
} from './config.ts';
import type { Architecture, Config, Readout } from './types.ts';

/** Where a DeiT has the token of its teacher. */
const TEACHER = [[1, 2]] as const;

function readoutsOf(config: Config): readonly Readout[] {
  if (/ForImageClassificationWithTeacher$/.test(nameOf(config)))
    return [
      { maps: [scores(config, 'cls_classifier')] },
      { of: TEACHER, maps: [scores(config, 'distillation_classifier')] },
    ];
  return classifies(config) ? [{ maps: [scores(config, 'classifier')] }] : [];
}

export const vit: Architecture = {
  modelTypes: ['vit', 'deit'],
  describe(config, modelType) {
    const { base, activation } = commonOfBlocks(config, modelType, { activation: 'gelu' });
    const { headDim } = base;
    const firstTokens = [
      'embeddings.cls_token',
      ...(modelType === 'deit' ? ['embeddings.distillation_token'] : []),
    ];
    const epsilon = positive(config, 'layer_norm_eps', 1e-12);
    const bias = flag(config, 'qkv_bias', true);
    const [image, size] = [integer(config, 'image_size', 224), integer(config, 'patch_size', 16)];
    if (size > image)
      throw new InputError(
        `config.json: "patch_size" expected at most the image_size of ${image}, got ${size}`,
      );
    return {
      ...base,
      vocabulary: 0,
      maxPositions: Math.floor(image / size) ** 2 + firstTokens.length,
      prefixes: [`${modelType}.`, ''],
      embedding: {
        patches: 'embeddings.patch_embeddings.projection',
        channels: integer(config, 'num_channels', 3),
        size,
        image,
        firstTokens,
        positions: 'embeddings.position_embeddings',
      },
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        const names = { q: 'query', k: 'key', v: 'value' };
        return {
          order: 'pre',
          attentionNorm: layerNorm(`${layer}.layernorm_before`, epsilon),
          attention: {
            qkv: (label) => linear(`${layer}.attention.attention.${names[label]}`, bias),
            out: linear(`${layer}.attention.output.dense`, true),
            scale: headDim ** -0.5,
          },
          mlpNorm: layerNorm(`${layer}.layernorm_after`, epsilon),
          mlp: {
            up: linear(`${layer}.intermediate.dense`, true),
            down: linear(`${layer}.output.dense`, true),
            activation,
          },
        };
      },
      head: {
        norm: layerNorm('layernorm', epsilon),
        readouts: readoutsOf(config),
      },
    };
  },
};
