// Whisper (arXiv 2212.04356): an encoder of two convolutions over a spectrogram, and a decoder of text that reads what it gives; norms before each half of a
// block.

import { ACTIVATIONS, type Activation } from './activation.ts';
import {
  commonOfBlocks,
  commonOfText,
  crossing,
  DECODER_NAMES,
  ENCODER_NAMES,
  integer,
  layerNorm,
  layerOf,
  withCross,
} from './config.ts';
import type { Architecture, Block, Config, Description } from './types.ts';

const EPSILON = 1e-5; // the config has no field

export const whisper: Architecture = {
  modelTypes: ['whisper'],
  describe(config, modelType) {
    const { base, activation } = commonOfBlocks(config, modelType, {
      names: ENCODER_NAMES,
      activation: 'gelu',
    });
    const tokens = integer(config, 'max_source_positions', 1500);
    return {
      ...base,
      vocabulary: 0,
      maxPositions: tokens,
      prefixes: ['model.encoder.', 'encoder.'],
      embedding: {
        frames: ['conv1', 'conv2'],
        activation: ACTIVATIONS.get('gelu')!,
        channels: integer(config, 'num_mel_bins', 80),
        positions: 'embed_positions.weight',
      },
      block: (i) => blockOf(`layers.${i}`, base.headDim, activation),
      head: { norm: layerNorm('layer_norm', EPSILON), readouts: [] },
      decoder: () => decoderOf(config, modelType, tokens),
    };
  },
};

/** @param tokens  that the encoder gives */
function decoderOf(config: Config, modelType: string, tokens: number): Description {
  const { base, activation } = commonOfText(config, modelType, {
    names: { ...DECODER_NAMES, positions: 'max_target_positions' },
    activation: 'gelu',
    positions: 448,
  });
  const { hidden, headDim } = base;
  return {
    ...withCross(base),
    prefixes: ['model.decoder.', 'decoder.'],
    embedding: { tokens: 'embed_tokens', width: hidden, positions: { name: 'embed_positions', offset: 0 } },
    states: { width: hidden, tokens, areMasked: false },
    block: (i) =>
      crossing(blockOf(`layers.${i}`, headDim, activation), `layers.${i}`, headDim, EPSILON, false),
    head: { norm: layerNorm('layer_norm', EPSILON) },
  };
}

/** Keys have no biases. */
const blockOf = (layer: string, headDim: number, activation: Activation): Block =>
  layerOf(layer, { order: 'pre', activation, headDim, epsilon: EPSILON, isBiased: false });
