// wav2vec 2.0 (arXiv 2006.11477), HuBERT (2106.07447), UniSpeech, UniSpeech-SAT and WavLM (2110.13900): convolutions over a waveform, positions by another one
// over the tokens, norms before or after each half of a block. They give scores of letters for every token (CTC), of classes, or features.

import { InputError } from '../../errors.ts';
import { relu } from './activation.ts';
import {
  activationOf,
  classifies,
  commonOfBlocks,
  flag,
  integer,
  integers,
  layerNorm,
  linear,
  positive,
  scores,
  text,
  unsupported,
} from './config.ts';
import { nameOf, tokensOfWave, USUAL_SAMPLES } from './facts.ts';
import type { Architecture, Block, Config, EncoderHead, Relative, WaveEmbedding } from './types.ts';

const WAVLM = 'wavlm';

export const wav2vec2: Architecture = {
  modelTypes: ['wav2vec2', 'hubert', 'unispeech', 'unispeech-sat', WAVLM],
  describe(config, modelType) {
    for (const key of ['add_adapter', 'conv_pos_batch_norm'])
      if (flag(config, key, false)) throw unsupported(modelType, key);
    const { base, activation } = commonOfBlocks(config, modelType, { activation: 'gelu' });
    const epsilon = positive(config, 'layer_norm_eps', 1e-5);
    const norm = (name: string) => layerNorm(name, epsilon);
    const isBefore = flag(config, 'do_stable_layer_norm', false);
    const last = norm('encoder.layer_norm');
    // Of MMS; transformers has them where norms stand before each half alone.
    const neurons =
      modelType === 'wav2vec2' && isBefore && config.adapter_attn_dim != null
        ? integer(config, 'adapter_attn_dim')
        : undefined;
    const embedding = {
      ...embeddingOf(config, modelType, base.hidden, epsilon),
      last: isBefore ? undefined : last,
    };
    return {
      ...base,
      vocabulary: 0,
      maxPositions: tokensOfWave(embedding, USUAL_SAMPLES),
      prefixes: [`${modelType.replace('-', '_')}.`, ''],
      embedding,
      block: (i) => {
        const layer = `encoder.layers.${i}`;
        return {
          order: isBefore ? 'pre' : 'post',
          attentionNorm: norm(`${layer}.layer_norm`),
          attention: {
            qkv: (label) => linear(`${layer}.attention.${label}_proj`, true),
            out: linear(`${layer}.attention.out_proj`, true),
            scale: base.headDim ** -0.5,
            relative: modelType === WAVLM ? relativeOf(config, i) : undefined,
          },
          mlpNorm: norm(`${layer}.final_layer_norm`),
          mlp: {
            up: linear(`${layer}.feed_forward.intermediate_dense`, true),
            down: linear(`${layer}.feed_forward.output_dense`, true),
            activation,
          },
          adapter: neurons === undefined ? undefined : adapterOf(`${layer}.adapter_layer`, neurons),
        };
      },
      // Of all heads, beside the tables of those that stay.
      ignored: /rel_attn_embed\.weight$/,
      head: { norm: isBefore ? last : undefined, ...headOf(config, modelType) },
    };
  },
};

function adapterOf(module: string, neurons: number): Block['adapter'] {
  return {
    norm: layerNorm(`${module}.norm`, 1e-5), // the config has no field
    mlp: {
      up: linear(`${module}.linear_1`, true),
      down: linear(`${module}.linear_2`, true),
      activation: relu,
    },
    neurons,
  };
}

/** One table for all blocks, and a gate in each. */
function relativeOf(config: Config, i: number): Relative {
  const own = (block: number, name: string) => `encoder.layers.${block}.attention.${name}`;
  const buckets = integer(config, 'num_buckets', 320, 4);
  return {
    shared: own(0, 'rel_attn_embed.weight'),
    name: own(i, 'rel_attn_embed_of_heads.weight'),
    buckets,
    apart: { most: integer(config, 'max_bucket_distance', 800, Math.floor(buckets / 4) + 1) },
    gate: {
      map: own(i, 'gru_rel_pos_linear'),
      constants: own(i, 'gru_rel_pos_const'),
      places: own(i, 'places_of_heads'),
    },
  };
}

function embeddingOf(config: Config, modelType: string, hidden: number, epsilon: number): WaveEmbedding {
  const count = integer(config, 'num_feat_extract_layers', 7);
  const channels = integers(config, 'conv_dim', count, [512, 512, 512, 512, 512, 512, 512]);
  const kernels = integers(config, 'conv_kernel', count, [10, 3, 3, 3, 3, 2, 2]);
  const strides = integers(config, 'conv_stride', count, [5, 2, 2, 2, 2, 2, 2]);
  const normal = text(config, 'feat_extract_norm', 'group');
  if (normal !== 'group' && normal !== 'layer')
    throw unsupported(modelType, `feat_extract_norm ${JSON.stringify(normal)}`);
  const bias = flag(config, 'conv_bias', false);
  const groups = integer(config, 'num_conv_pos_embedding_groups', 16);
  if (hidden % groups !== 0)
    throw new InputError(
      `config.json: hidden_size and num_conv_pos_embedding_groups: ${hidden} features cannot be shared out to ${groups} groups`,
    );
  const activation = activationOf(config, modelType, 'feat_extract_activation', 'gelu');
  return {
    waves: channels.map((channels, i) => {
      const layer = `feature_extractor.conv_layers.${i}`;
      const of = normal === 'layer' ? 'token' : i === 0 ? 'channel' : undefined;
      return {
        name: `${layer}.conv`,
        channels,
        kernel: kernels[i],
        stride: strides[i],
        bias,
        norm: of && { name: `${layer}.layer_norm`, of },
        activation,
      };
    }),
    // HuBERT alone has a field that leaves it out.
    norm: flag(config, 'feat_proj_layer_norm', true)
      ? layerNorm('feature_projection.layer_norm', epsilon)
      : undefined,
    project: linear('feature_projection.projection', true),
    around: {
      name: 'encoder.pos_conv_embed.conv',
      kernel: integer(config, 'num_conv_pos_embeddings', 128),
      groups,
      activation,
    },
  };
}

function headOf(config: Config, modelType: string): Pick<EncoderHead, 'readouts' | 'each'> {
  const map = (name: string) => ({ ...linear(name, true), isFullName: true });
  if (/ForCTC$/.test(nameOf(config)))
    return { readouts: [], each: [{ map: map('lm_head'), columns: integer(config, 'vocab_size', 32) }] };
  if (!classifies(config)) return { readouts: [] };
  if (flag(config, 'use_weighted_layer_sum', false)) throw unsupported(modelType, 'use_weighted_layer_sum');
  const projector = { map: map('projector'), columns: integer(config, 'classifier_proj_size', 256) };
  return { readouts: [{ of: [[0]], maps: [projector, scores(config, 'classifier')] }] };
}
