// BART (arXiv 1910.13461), mBART (2001.08210), PLBART (2103.06333), Blenderbot (2004.13637), Marian, Pegasus (1912.08777), M2M-100 (2010.11125) and NLLB: an
// encoder, and a decoder of the same kind that reads what it gives.

import {
  commonOfText,
  crossing,
  DECODER_NAMES,
  ENCODER_NAMES,
  flag,
  integer,
  layerNorm,
  layerOf,
  withCross,
} from './config.ts';
import { waves } from './positions.ts';
import type { Architecture, Config, Description, ModelPart, TokenEmbedding } from './types.ts';

const EPSILON = 1e-5; // the config has no field

/** What the kinds do differently. */
interface Kind {
  /** Norms stand before each half of a block, and one behind all blocks. */
  readonly isBefore?: true;
  /** There is one behind the embeddings. */
  readonly hasFirst?: true;
  /** Rows of the table of positions before that of the first token. */
  readonly offset: number;
  /** The table, where files need not have it. */
  readonly values?: (rows: number, width: number) => Float32Array;
  /** Where config.json leaves them out. */
  readonly activation?: string;
  readonly positions?: number;
  readonly isScaled?: true;
  /** Scores have no biases. */
  readonly withoutBias?: true;
}

const KINDS: Readonly<Record<string, Kind>> = {
  bart: { offset: 2, hasFirst: true },
  mbart: { offset: 2, hasFirst: true, isBefore: true },
  plbart: { offset: 2, hasFirst: true, isScaled: true },
  blenderbot: { offset: 0, isBefore: true, positions: 128 },
  'blenderbot-small': { offset: 0, hasFirst: true, positions: 512 },
  marian: { offset: 0, values: waves((c, half) => c / half) },
  pegasus: { offset: 0, values: waves((c, half) => c / half), isBefore: true },
  m2m_100: {
    offset: 2,
    values: waves((c, half) => c / (half - 1)),
    isBefore: true,
    activation: 'relu',
    isScaled: true,
    withoutBias: true,
  },
};

export const bart: Architecture = {
  modelTypes: Object.keys(KINDS),
  describe(config, modelType) {
    const encoder = commonOf(config, modelType, 'encoder');
    return {
      ...encoder.description,
      head: { norm: encoder.last, readouts: [] },
      decoder: () => decoderOf(config, modelType),
    };
  },
};

function decoderOf(config: Config, modelType: string): Description {
  const { description, last } = commonOf(config, modelType, 'decoder');
  const isTied = flag(config, 'tie_word_embeddings', true);
  return {
    ...withCross(description),
    head: {
      norm: last,
      output: isTied ? undefined : 'lm_head',
      bias: KINDS[modelType].withoutBias ? undefined : 'final_logits_bias',
      isRow: true,
    },
    states: { width: description.hidden, areMasked: true },
    block: (i) => crossing(description.block(i), `decoder.layers.${i}`, description.headDim, EPSILON),
  };
}

/** What both parts have. */
function commonOf(config: Config, modelType: string, part: ModelPart) {
  const { isBefore, hasFirst, offset, values, isScaled = false, ...kind } = KINDS[modelType];
  const { base, activation } = commonOfText(config, modelType, {
    names: part === 'encoder' ? ENCODER_NAMES : DECODER_NAMES,
    activation: kind.activation ?? 'gelu',
    positions: kind.positions ?? 1024,
  });
  const isShared = flag(config, 'share_encoder_decoder_embeddings', true);
  const norm = (name: string) => layerNorm(`${part}.${name}`, EPSILON);
  const { hidden, vocabulary, headDim } = base;
  const description = {
    ...base,
    vocabulary: part === 'decoder' ? integer(config, 'decoder_vocab_size', vocabulary) : vocabulary,
    prefixes: ['model.', ''],
    embedding: {
      tokens: isShared ? 'shared' : `${part}.embed_tokens`,
      width: hidden,
      scale: flag(config, 'scale_embedding', isScaled) ? Math.sqrt(hidden) : undefined,
      positions: { name: `${part}.embed_positions`, offset, values },
      norm: hasFirst && norm('layernorm_embedding'),
    } satisfies TokenEmbedding,
    block: (i: number) =>
      layerOf(`${part}.layers.${i}`, {
        order: isBefore ? 'pre' : 'post',
        activation,
        headDim,
        epsilon: EPSILON,
      }),
  };
  return { description, last: isBefore && norm('layer_norm') };
}
