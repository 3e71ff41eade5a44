// DistilBERT (arXiv 1910.01108): BERT without types of tokens, under names of its own.

import { relu } from './activation.ts';
import { classifies, commonOfText, denseAndScores, layerNorm, linear } from './config.ts';
import type { Architecture } from './types.ts';

const EPSILON = 1e-12; // the config has no field

export const distilbert: Architecture = {
  modelTypes: ['distilbert'],
  describe(config, modelType) {
    const { base, activation } = commonOfText(config, modelType, {
      names: {
        hidden: 'dim',
        heads: 'n_heads',
        blocks: 'n_layers',
        ffn: 'hidden_dim',
        activation: 'activation',
      },
      activation: 'gelu',
    });
    const { hidden, headDim } = base;
    const classifier = denseAndScores(config, hidden, 'pre_classifier', relu, 'classifier');
    return {
      ...base,
      prefixes: ['distilbert.', ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width: hidden,
        positions: { name: 'embeddings.position_embeddings', offset: 0 },
        norm: layerNorm('embeddings.LayerNorm', EPSILON),
      },
      block: (i) => {
        const layer = `transformer.layer.${i}`;
        return {
          order: 'post',
          attentionNorm: layerNorm(`${layer}.sa_layer_norm`, EPSILON),
          attention: {
            qkv: (label) => linear(`${layer}.attention.${label}_lin`, true),
            out: linear(`${layer}.attention.out_lin`, true),
            scale: headDim ** -0.5,
          },
          mlpNorm: layerNorm(`${layer}.output_layer_norm`, EPSILON),
          mlp: { up: linear(`${layer}.ffn.lin1`, true), down: linear(`${layer}.ffn.lin2`, true), activation },
        };
      },
      head: { readouts: classifies(config) ? [{ maps: classifier }] : [] },
    };
  },
};
