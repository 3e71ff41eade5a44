// DeBERTa (arXiv 2006.03654) and its versions 2 and 3 (2111.09543): BERT's blocks with scores of how far tokens are apart, made of one table for all
// blocks by the maps of queries and keys themselves, or by others. In the largest of version 2 the first block has a convolution beside it.

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
import type { Architecture, Around, Config, Label, Linear, Ways } from './types.ts';

export const deberta: Architecture = {
  modelTypes: ['deberta', 'deberta-v2'],
  describe(config, modelType) {
    const isFirst = modelType === 'deberta';
    if (!flag(config, 'relative_attention', false)) throw unsupported(modelType, 'relative_attention false');
    if (isFirst && flag(config, 'talking_head', false)) throw unsupported(modelType, 'talking_head');
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
    const other = kinds.find((kind) => !['c2p', 'p2c', 'none'].includes(kind));
    if (other !== undefined) throw unsupported(modelType, `pos_att_type ${JSON.stringify(other)}`);
    const buckets = isFirst ? -1 : integer(config, 'position_buckets', -1, -1);
    if (buckets === 1) throw unsupported(modelType, 'position_buckets 1');
    const given = integer(config, 'max_relative_positions', -1, -1);
    const most = given < 1 ? maxPositions : given;
    const aside = isFirst ? undefined : aroundOf(config, modelType, hidden, epsilon);
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
        const maps = (isFirst ? firstMaps : mapsOf)(config, `${layer}.attention.self`);
        const ways: Ways = {
          table: 'encoder.rel_embeddings.weight',
          norm:
            !isFirst && listOf(config, 'norm_rel_ebd', 'none').includes('layer_norm')
              ? { ...layerNorm('encoder.LayerNorm', epsilon), isShared: true }
              : undefined,
          rows: 2 * (buckets > 0 ? buckets : most),
          most: buckets > 0 ? most : undefined,
          key: hasKeys ? maps.key : undefined,
          query: hasQueries ? maps.query : undefined,
        };
        return {
          order: 'post',
          attentionNorm: layerNorm(`${layer}.attention.output.LayerNorm`, epsilon),
          attention: {
            qkv: maps.qkv,
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
          around: i === 0 ? aside : undefined,
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

/** What makes queries, keys and values of tokens, and keys and queries of distances. */
interface Maps extends Pick<Ways, 'key' | 'query'> {
  readonly qkv: (label: Label) => Linear;
}

/** One tensor, head by head, with biases of queries and values beside it. */
function firstMaps(_: Config, module: string): Maps {
  return {
    qkv: (label) => ({
      ...linear(`${module}.in_proj`, label !== 'k', { label, byHeads: true }),
      biasName: `${module}.${label}_bias`,
    }),
    key: linear(`${module}.pos_proj`, false),
    query: linear(`${module}.pos_q_proj`, true),
  };
}

function mapsOf(config: Config, module: string): Maps {
  const names = { q: 'query_proj', k: 'key_proj', v: 'value_proj' };
  const map = (name: string) => linear(`${module}.${name}`, true);
  const before = flag(config, 'share_att_key', false) ? '' : 'pos_';
  return { qkv: (label) => map(names[label]), key: map(before + names.k), query: map(before + names.q) };
}

function aroundOf(config: Config, modelType: string, hidden: number, epsilon: number): Around | undefined {
  const kernel = integer(config, 'conv_kernel_size', 0, 0);
  if (kernel === 0) return undefined;
  const groups = integer(config, 'conv_groups', 1);
  if (kernel % 2 === 0 || hidden % groups !== 0)
    throw unsupported(modelType, `conv_kernel_size ${kernel} with conv_groups ${groups}`);
  return {
    conv: 'encoder.conv.conv',
    kernel,
    groups,
    activation: activationOf(config, modelType, 'conv_act', 'tanh'),
    norm: layerNorm('encoder.conv.LayerNorm', epsilon),
  };
}

/** Words in a list, or in one text between bars. */
function listOf(config: Config, key: string, otherwise: string): readonly string[] {
  const value = config[key];
  if (Array.isArray(value)) return value.map((it) => String(it));
  return text(config, key, otherwise)
    .split('|')
    .map((it) => it.trim().toLowerCase());
}
