// Moonshine (arXiv 2410.15608): an encoder of three convolutions over a waveform, and a decoder of text that reads what it gives; rotary positions on the first
// part of each head, norms without biases before each half of a block.

import { ACTIVATIONS, type Activation, tanh } from './activation.ts';
import {
  commonOfBlocks,
  commonOfText,
  flag,
  integer,
  layerNorm,
  linear,
  positive,
  unsupported,
  withCross,
} from './config.ts';
import { tokensOfWave, USUAL_SAMPLES } from './facts.ts';
import { FREQUENCIES } from './gated.ts';
import { ropeOf } from './rope.ts';
import type {
  Architecture,
  Block,
  Config,
  Description,
  ModelPart,
  Norm,
  Part,
  Rope,
  WaveEmbedding,
} from './types.ts';

export const moonshine: Architecture = {
  modelTypes: ['moonshine'],
  describe(config, modelType) {
    const names = namesOf('encoder');
    const { base, activation } = commonOfBlocks(config, modelType, { names, activation: 'gelu' });
    const embedding = embeddingOf(base.hidden);
    const maxPositions = tokensOfWave(embedding, USUAL_SAMPLES);
    return {
      ...partOf(config, 'encoder', { ...base, maxPositions }, activation),
      vocabulary: 0,
      embedding,
      head: { norm: norm('layer_norm'), readouts: [] },
      decoder: () => decoderOf(config, modelType),
    };
  },
};

function decoderOf(config: Config, modelType: string): Description {
  const { base, activation } = commonOfText(config, modelType, {
    names: namesOf('decoder'),
    activation: 'silu',
    positions: 512,
  });
  const isTied = flag(config, 'tie_word_embeddings', true);
  return {
    ...partOf(config, 'decoder', withCross(base), activation),
    embedding: { tokens: 'embed_tokens', width: base.hidden },
    head: { norm: norm('norm'), output: isTied ? undefined : 'proj_out' },
    states: { width: base.hidden, areMasked: false },
  };
}

const namesOf = (part: ModelPart) => ({
  heads: `${part}_num_attention_heads`,
  blocks: `${part}_num_hidden_layers`,
  activation: `${part}_hidden_act`,
});

const norm = (name: string): Norm => ({ ...layerNorm(name, 1e-5), withoutBias: true }); // the config has no field

/** Always the same three. */
function embeddingOf(hidden: number): WaveEmbedding {
  const first = {
    channels: hidden,
    kernel: 127,
    stride: 64,
    bias: false,
    activation: tanh,
    all: 'groupnorm',
  };
  const others = { bias: true, activation: ACTIVATIONS.get('gelu')! };
  return {
    waves: [
      { name: 'conv1', ...first },
      { name: 'conv2', channels: 2 * hidden, kernel: 7, stride: 3, ...others },
      { name: 'conv3', channels: hidden, kernel: 3, stride: 2, ...others },
    ],
  };
}

/** What both parts have. */
function partOf<B extends Pick<Description, 'modelType' | 'headDim' | 'maxPositions' | 'sizes' | 'fields'>>(
  config: Config,
  part: ModelPart,
  base: B,
  activation: Activation,
) {
  const { modelType, headDim, maxPositions, sizes, fields } = base;
  const kvHeads = `${part}_num_key_value_heads`;
  if (integer(config, kvHeads, sizes.heads) !== sizes.heads)
    throw unsupported(modelType, `${kvHeads} other than ${part}_num_attention_heads`);
  const portion = positive(config, 'partial_rotary_factor', 0.9);
  const theta = 'rope_theta';
  const how = {
    rope: ropeOf(config, { modelType, headDim, maxPositions, theta, portion, pairsNeighbours: true }),
    scale: headDim ** -0.5,
  };
  const isBiased = flag(config, 'attention_bias', false);
  return {
    ...base,
    fields: { ...fields, areOfBoth: true },
    prefixes: [`model.${part}.`, `${part}.`],
    block: (i: number): Block => blockOf(`layers.${i}`, part, activation, { ...how, isBiased }),
    ignored: FREQUENCIES,
  };
}

function blockOf(
  layer: string,
  part: ModelPart,
  activation: Activation,
  { isBiased, rope, scale }: { isBiased: boolean; rope: Rope; scale: number },
): Block {
  const attention = (module: string): Block['attention'] => ({
    qkv: (label) => linear(`${layer}.${module}.${label}_proj`, isBiased),
    out: linear(`${layer}.${module}.o_proj`, false),
    scale,
  });
  const [first, second, third] = ['input', 'post_attention', 'final'].map((name) =>
    norm(`${layer}.${name}_layernorm`),
  );
  const wide = (half?: Part) => linear(`${layer}.mlp.fc1`, true, half);
  const down = linear(`${layer}.mlp.fc2`, true);
  const self = { ...attention('self_attn'), rope };
  if (part === 'encoder')
    return {
      order: 'pre',
      attentionNorm: first,
      attention: self,
      mlpNorm: second,
      mlp: { up: wide(), down, activation },
    };
  return {
    order: 'pre',
    attentionNorm: first,
    attention: { ...self, isCausal: true },
    cross: { norm: second, attention: attention('encoder_attn') },
    mlpNorm: third,
    mlp: { up: wide({ label: 'up', place: 0 }), gate: wide({ label: 'gate', place: 1 }), down, activation },
  };
}
