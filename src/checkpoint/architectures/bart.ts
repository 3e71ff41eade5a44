// The encoders of BART (arXiv 1910.13461), mBART (2001.08210), PLBART (2103.06333), Blenderbot (2004.13637), Marian, Pegasus (1912.08777), M2M-100 (2010.11125) and NLLB. The decoder reads
// features of the same width, so its tensors stay as they are.

import { commonOfText, ENCODER_NAMES, flag, layerNorm, linear } from './config.ts';
import { waves } from './positions.ts';
import type { Architecture } from './types.ts';

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
  },
};

export const bart: Architecture = {
  modelTypes: Object.keys(KINDS),
  describe(config, modelType) {
    const { isBefore, hasFirst, offset, values, isScaled = false, ...kind } = KINDS[modelType];
    const { base, activation } = commonOfText(config, modelType, {
      names: ENCODER_NAMES,
      activation: kind.activation ?? 'gelu',
      positions: kind.positions ?? 1024,
    });
    const { hidden } = base;
    const norm = (name: string) => layerNorm(`encoder.${name}`, EPSILON);
    const isShared = flag(config, 'share_encoder_decoder_embeddings', true);
    return {
      ...base,
      prefixes: ['model.', ''],
      embedding: {
        tokens: isShared ? 'shared' : 'encoder.embed_tokens',
        width: hidden,
        scale: flag(config, 'scale_embedding', isScaled) ? Math.sqrt(hidden) : undefined,
        positions: { name: 'encoder.embed_positions', offset, values },
        norm: hasFirst && norm('layernorm_embedding'),
      },
      block: (i) => {
        const layer = `encoder.layers.${i}`;
        return {
          order: isBefore ? 'pre' : 'post',
          attentionNorm: norm(`layers.${i}.self_attn_layer_norm`),
          attention: {
            qkv: (label) => linear(`${layer}.self_attn.${label}_proj`, true),
            out: linear(`${layer}.self_attn.out_proj`, true),
            scale: base.headDim ** -0.5,
          },
          mlpNorm: norm(`layers.${i}.final_layer_norm`),
          mlp: { up: linear(`${layer}.fc1`, true), down: linear(`${layer}.fc2`, true), activation },
        };
      },
      head: { norm: isBefore && norm('layer_norm'), readouts: [] },
    };
  },
};
