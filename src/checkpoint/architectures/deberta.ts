// DeBERTa v2 and v3 (arXiv 2006.03654, 2111.09543): BERT's blocks with scores of how far tokens are apart, made of one table for all blocks by the
// maps of queries and keys themselves, or by others.

import {
  activationOf,
  classifies,
  commonOfText,
  denseAndScores,
  flag,
  integer,
  layerNorm,
  linear,
  positive,
  text,
  unsupported,
} from './config.ts';
import type { Architecture, Config, Ways } from './types.ts';

export const deberta: Architecture = {
  modelTypes: ['deberta-v2'],
  describe(config, modelType) {
    if (!flag(config, 'relative_attention', false)) throw unsupported(modelType, 'relative_attention false');
    if (integer(config, 'conv_kernel_size', 0, 0) > 0) throw unsupported(modelType, 'conv_kernel_size');
    const { base, activation } = commonOfText(config, modelType, { activation: 'gelu' });
    const { hidden, headDim, maxPositions } = base;
    for (const [key, expected] of [
      ['embedding_size', hidden],
      ['attention_head_size', headDim],
    ] as const)
      if (integer(config, key, expected) !== expected)
        throw unsupported(modelType, `${key} ${config[key]}, and not ${expected}`);
    const epsilon = positive(config, 'layer_norm_eps', 1e-7);
    const types = integer(config, 'type_vocab_size', 0, 0);
    const kinds = listOf(config, 'pos_att_type', 'none');
    const [hasKeys, hasQueries] = [kinds.includes('c2p'), kinds.includes('p2c')];
    const buckets = integer(config, 'position_buckets', -1, -1);
    if (buckets === 1) throw unsupported(modelType, 'position_buckets 1');
    const given = integer(config, 'max_relative_positions', -1, -1);
    const most = given < 1 ? maxPositions : given;
    const isShared = flag(config, 'share_att_key', false);
    return {
      ...base,
      prefixes: ['deberta.', ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width: hidden,
        positions: flag(config, 'position_biased_input', true)
          ? { name: 'embeddings.position_embeddings', offset: 0 }
          : undefined,
        types: types > 0 ? { name: 'embeddings.token_type_embeddings', count: types } : undefined,
        norm: layerNorm('embeddings.LayerNorm', epsilon),
      },
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        const map = (name: string) => linear(`${layer}.attention.self.${name}`, true);
        const names = { q: 'query_proj', k: 'key_proj', v: 'value_proj' };
        const apart = (name: string) => map(isShared ? name : `pos_${name}`);
        const ways: Ways = {
          table: 'encoder.rel_embeddings.weight',
          norm: listOf(config, 'norm_rel_ebd', 'none').includes('layer_norm')
            ? { ...layerNorm('encoder.LayerNorm', epsilon), isShared: true }
            : undefined,
          rows: 2 * (buckets > 0 ? buckets : most),
          most: buckets > 0 ? most : undefined,
          key: hasKeys ? apart(names.k) : undefined,
          query: hasQueries ? apart(names.q) : undefined,
        };
        return {
          order: 'post',
          attentionNorm: layerNorm(`${layer}.attention.output.LayerNorm`, epsilon),
          attention: {
            qkv: (label) => map(names[label]),
            out: linear(`${layer}.attention.output.dense`, true),
            scale: (headDim * (1 + Number(hasKeys) + Number(hasQueries))) ** -0.5,
            ways: hasKeys || hasQueries ? ways : undefined,
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
          ? [
              {
                maps: denseAndScores(
                  config,
                  hidden,
                  'pooler.dense',
                  activationOf(config, modelType, 'pooler_hidden_act', 'gelu'),
                  'classifier',
                ),
              },
            ]
          : [],
      },
    };
  },
};

/** Words in a list, or in one text between bars. */
function listOf(config: Config, key: string, otherwise: string): readonly string[] {
  const value = config[key];
  if (Array.isArray(value)) return value.map((it) => String(it));
  return text(config, key, otherwise)
    .split('|')
    .map((it) => it.trim().toLowerCase());
}
