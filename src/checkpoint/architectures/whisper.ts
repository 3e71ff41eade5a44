// The encoder of Whisper (arXiv 2212.04356): two convolutions over a spectrogram, norms before each half of a block. The decoder reads
// features of the same width, so its tensors stay as they are.

import { ACTIVATIONS } from './activation.ts';
import { commonOfBlocks, ENCODER_NAMES, integer, layerNorm, linear } from './config.ts';
import type { Architecture } from './types.ts';

const EPSILON = 1e-5; // the config has no field

export const whisper: Architecture = {
  modelTypes: ['whisper'],
  describe(config, modelType) {
    const { base, activation } = commonOfBlocks(config, modelType, {
      names: ENCODER_NAMES,
      activation: 'gelu',
    });
    return {
      ...base,
      vocabulary: 0,
      maxPositions: integer(config, 'max_source_positions', 1500),
      prefixes: ['model.encoder.', 'encoder.'],
      embedding: {
        frames: ['conv1', 'conv2'],
        activation: ACTIVATIONS.get('gelu')!,
        channels: integer(config, 'num_mel_bins', 80),
        positions: 'embed_positions.weight',
      },
      block: (i) => {
        const layer = `layers.${i}`;
        return {
          order: 'pre',
          attentionNorm: layerNorm(`${layer}.self_attn_layer_norm`, EPSILON),
          attention: {
            qkv: (label) => linear(`${layer}.self_attn.${label}_proj`, label !== 'k'),
            out: linear(`${layer}.self_attn.out_proj`, true),
            scale: base.headDim ** -0.5,
          },
          mlpNorm: layerNorm(`${layer}.final_layer_norm`, EPSILON),
          mlp: { up: linear(`${layer}.fc1`, true), down: linear(`${layer}.fc2`, true), activation },
        };
      },
      head: { norm: layerNorm('layer_norm', EPSILON), readouts: [] },
    };
  },
};
