// ALBERT (arXiv 1909.11942): a BERT whose layers share their weights, all of them or by groups, and whose embeddings are narrower than these. A
// block is what a group has, and tokens pass it several times, one after the other.

import { tanh } from './activation.ts';
import {
  classifies,
  commonOfText,
  integer,
  layerNorm,
  linear,
  positive,
  scores,
  text,
  unsupported,
} from './config.ts';
import type { Architecture } from './types.ts';

export const albert: Architecture = {
  modelTypes: ['albert'],
  describe(config, modelType) {
    const { base, activation } = commonOfText(config, modelType, {
      names: { blocks: 'num_hidden_groups' },
      activation: 'gelu_new',
      blocks: 1,
      positions: 512,
    });
    const { headDim, blocks: groups } = base;
    const positions = text(config, 'position_embedding_type', 'absolute');
    if (positions !== 'absolute')
      throw unsupported(modelType, `position_embedding_type "${positions}" is not supported`);
    if (integer(config, 'inner_group_num', 1) > 1)
      throw unsupported(modelType, 'groups of several layers (inner_group_num)');
    const layers = integer(config, 'num_hidden_layers', 12);
    if (layers < groups) throw unsupported(modelType, `${groups} groups for num_hidden_layers ${layers}`);
    // Layer l has the weights of group ⌊l · groups / layers⌋.
    const first = (group: number) => Math.ceil((group * layers) / groups);
    const epsilon = positive(config, 'layer_norm_eps', 1e-12);
    return {
      ...base,
      prefixes: ['albert.', ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width: integer(config, 'embedding_size', 128),
        positions: { name: 'embeddings.position_embeddings', offset: 0 },
        types: { name: 'embeddings.token_type_embeddings', count: integer(config, 'type_vocab_size', 2) },
        norm: layerNorm('embeddings.LayerNorm', epsilon),
        project: linear('encoder.embedding_hidden_mapping_in', true),
        projectsLast: true,
      },
      block: (i) => {
        const layer = `encoder.albert_layer_groups.${i}.albert_layers.0`;
        const names = { q: 'query', k: 'key', v: 'value' };
        return {
          times: first(i + 1) - first(i),
          order: 'post',
          attentionNorm: layerNorm(`${layer}.attention.LayerNorm`, epsilon),
          attention: {
            qkv: (label) => linear(`${layer}.attention.${names[label]}`, true),
            out: linear(`${layer}.attention.dense`, true),
            scale: headDim ** -0.5,
          },
          mlpNorm: layerNorm(`${layer}.full_layer_layer_norm`, epsilon),
          mlp: { up: linear(`${layer}.ffn`, true), down: linear(`${layer}.ffn_output`, true), activation },
        };
      },
      head: {
        readouts: classifies(config)
          ? [
              {
                maps: [
                  { map: linear('pooler', true), columns: base.hidden, activation: tanh },
                  scores(config, 'classifier'),
                ],
              },
            ]
          : [],
      },
    };
  },
};
