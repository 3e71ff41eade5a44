// T5 (arXiv 1910.10683), mT5 and what is made from them, as sentence-t5 and Flan: an encoder, and a decoder that reads what it gives; relative positions, RMS
// norms before each half of a block, scores of attention that are not scaled, no biases.

import type { Activation } from './activation.ts';
import {
  commonOfText,
  eitherName,
  flag,
  integer,
  linear,
  positive,
  rmsNorm,
  text,
  withCross,
} from './config.ts';
import { nameOf } from './facts.ts';
import type { Architecture, Block, Config, Description, ModelPart, Relative } from './types.ts';

const GATED = 'gated-';
const TABLE = 'relative_attention_bias';
const OUTPUT = 'lm_head';

export const t5: Architecture = {
  modelTypes: ['t5', 'mt5', 'umt5'],
  describe(config, modelType, names) {
    const encoder = commonOf(config, modelType, 'encoder');
    const isAlone = /EncoderModel$/.test(nameOf(config));
    const tensors = names && [...names];
    return {
      ...encoder,
      head: { norm: encoder.last, readouts: [] },
      fields: isAlone ? encoder.fields : fieldsOfBoth(encoder),
      decoder: isAlone ? undefined : () => decoderOf(config, modelType, tensors),
    };
  },
};

/** @param names  of the tensors */
function decoderOf(config: Config, modelType: string, names?: readonly string[]): Description {
  const { last, ...base } = commonOf(config, modelType, 'decoder');
  const isTied = flag(config, 'tie_word_embeddings', modelType === 't5');
  // Later releases of transformers say that they are tied whether or not they are.
  const hasOutput = names ? names.includes(`${OUTPUT}.weight`) : !isTied;
  return {
    ...withCross(base),
    head: {
      norm: last,
      output: hasOutput ? OUTPUT : undefined,
      scale: flag(config, 'scale_decoder_outputs', isTied) ? base.hidden ** -0.5 : undefined,
    },
    states: { width: base.hidden, areMasked: true },
    fields: fieldsOfBoth(base),
  };
}

/** Of blocks there may be one field for both too, and those of a decoder stay. */
const fieldsOfBoth = ({ fields: { ffn } }: Pick<Description, 'fields'>) => ({ ffn, areOfBoth: true });

/** What both parts have. */
function commonOf(config: Config, modelType: string, part: ModelPart) {
  const isDecoder = part === 'decoder';
  const given = text(config, 'feed_forward_proj', modelType === 't5' ? 'relu' : 'gated-gelu');
  const isGated = given.startsWith(GATED);
  const own = isGated ? given.slice(GATED.length) : given;
  const { base, activation } = commonOfText(
    // As T5 has it: its gelu is another one where there is a gate.
    { ...config, feed_forward_proj: isGated && own === 'gelu' ? 'gelu_new' : own },
    modelType,
    {
      names: {
        hidden: 'd_model',
        heads: 'num_heads',
        blocks: isDecoder ? eitherName(config, 'num_decoder_layers', 'num_layers') : 'num_layers',
        positions: 'n_positions',
        ffn: 'd_ff',
        activation: 'feed_forward_proj',
      },
      activation: own,
      headDim: integer(config, 'd_kv', 64),
      positions: 512,
    },
  );
  const epsilon = positive(config, 'layer_norm_epsilon', 1e-6);
  const buckets = integer(config, 'relative_attention_num_buckets', 32, 4);
  // Beyond those that the table has one by one.
  const least = Math.floor(buckets / (isDecoder ? 2 : 4)) + 1;
  const most = integer(config, 'relative_attention_max_distance', 128, least);
  const attention = (i: number) => `${part}.block.${i}.layer.0.SelfAttention`;
  const relativeOf = (i: number): Relative => ({
    shared: `${attention(modelType === 'umt5' ? i : 0)}.${TABLE}.weight`,
    name: `${attention(i)}.${TABLE}_of_heads.weight`,
    buckets,
    apart: { most, ...(isDecoder && { isOneSided: true }) },
  });
  return {
    ...base,
    prefixes: ['', 'transformer.'],
    embedding: { tokens: 'shared', width: base.hidden },
    block: (i: number) =>
      blockOf(`${part}.block.${i}`, { isDecoder, isGated, activation, epsilon, relative: relativeOf(i) }),
    last: rmsNorm(`${part}.final_layer_norm`, epsilon),
    // Of all heads, beside the tables of those that stay.
    ignored: new RegExp(`${TABLE}\\.weight$`),
  };
}

interface Parts {
  readonly isDecoder: boolean;
  readonly isGated: boolean;
  readonly activation: Activation;
  readonly epsilon: number;
  readonly relative: Relative;
}

function blockOf(block: string, { isDecoder, isGated, activation, epsilon, relative }: Parts): Block {
  const norm = (layer: number) => rmsNorm(`${block}.layer.${layer}.layer_norm`, epsilon);
  const last = isDecoder ? 2 : 1;
  const dense = (name: string) => linear(`${block}.layer.${last}.DenseReluDense.${name}`, false);
  const attention = (module: string): Block['attention'] => ({
    qkv: (label) => linear(`${block}.layer.${module}.${label}`, false),
    out: linear(`${block}.layer.${module}.o`, false),
    scale: 1,
  });
  return {
    order: 'pre',
    attentionNorm: norm(0),
    attention: { ...attention('0.SelfAttention'), relative, isCausal: isDecoder || undefined },
    cross: isDecoder ? { norm: norm(1), attention: attention('1.EncDecAttention') } : undefined,
    mlpNorm: norm(last),
    mlp: {
      up: dense(isGated ? 'wi_1' : 'wi'),
      gate: isGated ? dense('wi_0') : undefined,
      down: dense('wo'),
      activation,
    },
  };
}
