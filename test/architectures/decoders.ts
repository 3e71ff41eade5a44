// Tiny random decoders behind an encoder, with the names and shapes that Hugging Face gives their tensors, and what they compute in plain loops, after
// modeling_bart, modeling_mbart, modeling_marian, modeling_m2m_100, modeling_whisper and modeling_t5 in transformers.

import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import { isMoonshine, MOONSHINE, moonshineDecoder, moonshineDecoderWeights } from './moonshine.ts';
import {
  activate,
  add,
  attention,
  layerNorm,
  linear,
  product,
  type Rows,
  rmsNorm,
  row,
  sum,
} from './reference.ts';
import { type Weights, weightMaker } from './source.ts';
import { isWriter, WRITERS, writerReference, writerWeights } from './writers.ts';

export const HIDDEN = 32;
const HEADS = 4;
const DH = HIDDEN / HEADS;
const FFN = 20;
const BLOCKS = 2;
export const VOCABULARY = 40;
const POSITIONS = 24;
/** Rows of BART's table before that of the first token. */
const OFFSET = 2;

export const BART: Config = {
  model_type: 'bart',
  architectures: ['BartForConditionalGeneration'],
  d_model: HIDDEN,
  encoder_ffn_dim: FFN + 4,
  encoder_layers: 1,
  encoder_attention_heads: 2,
  decoder_ffn_dim: FFN,
  decoder_layers: BLOCKS,
  decoder_attention_heads: HEADS,
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
};

export const WHISPER: Config = {
  ...BART,
  model_type: 'whisper',
  architectures: ['WhisperForConditionalGeneration'],
  num_mel_bins: 5,
  max_source_positions: 7,
  max_target_positions: POSITIONS,
};

export const T5: Config = {
  model_type: 't5',
  architectures: ['T5ForConditionalGeneration'],
  d_model: HIDDEN,
  d_kv: DH,
  d_ff: FFN,
  num_layers: 1,
  num_decoder_layers: BLOCKS,
  num_heads: HEADS,
  relative_attention_num_buckets: 6, // few, so that a tiny text has distances that share one
  relative_attention_max_distance: 10,
  vocab_size: VOCABULARY,
};

export const DECODERS: Readonly<Record<string, Config>> = {
  bart: BART,
  'bart, the factor of its embeddings': { ...BART, scale_embedding: true },
  'mbart, norms before': { ...BART, model_type: 'mbart', architectures: ['MBartForConditionalGeneration'] },
  'marian, sines and embeddings of its own': {
    ...BART,
    model_type: 'marian',
    architectures: ['MarianMTModel'],
    share_encoder_decoder_embeddings: false,
  },
  'm2m_100, no biases of scores': {
    ...BART,
    model_type: 'm2m_100',
    architectures: ['M2M100ForConditionalGeneration'],
  },
  whisper: WHISPER,
  t5: T5,
  'mt5, gates and an output of its own': {
    ...T5,
    model_type: 'mt5',
    architectures: ['MT5ForConditionalGeneration'],
  },
  'umt5, a table in each block': {
    ...T5,
    model_type: 'umt5',
    architectures: ['UMT5ForConditionalGeneration'],
    feed_forward_proj: 'gated-silu',
  },
  moonshine: MOONSHINE,
  'moonshine, biases of attention and an output of its own': {
    ...MOONSHINE,
    attention_bias: true,
    tie_word_embeddings: false,
  },
  ...WRITERS,
};

const isT5 = ({ model_type: type }: Config) => /t5$/.test(String(type));
const isBefore = ({ model_type: type }: Config) => /^(mbart|m2m_100|whisper)$/.test(String(type));
const hasSines = ({ model_type: type }: Config) => /^(marian|m2m_100)$/.test(String(type));

/** Names of what has one in each kind of model. */
function namesOf(config: Config) {
  const type = String(config.model_type);
  if (isT5(config))
    return {
      tokens: 'shared',
      last: 'decoder.final_layer_norm',
      of: (i: number) => {
        const layer = (part: number) => `decoder.block.${i}.layer.${part}`;
        return {
          self: `${layer(0)}.SelfAttention.`,
          cross: `${layer(1)}.EncDecAttention.`,
          mlp: `${layer(2)}.DenseReluDense.`,
          norms: [0, 1, 2].map((part) => `${layer(part)}.layer_norm`),
        };
      },
      ...{ maps: ['q', 'k', 'v', 'o'] },
    };
  const hasOwn = config.share_encoder_decoder_embeddings === false || type === 'whisper';
  return {
    tokens: hasOwn ? 'model.decoder.embed_tokens' : 'model.shared',
    last: 'model.decoder.layer_norm',
    of: (i: number) => {
      const layer = `model.decoder.layers.${i}.`;
      return {
        self: `${layer}self_attn.`,
        cross: `${layer}encoder_attn.`,
        mlp: layer,
        norms: ['self_attn', 'encoder_attn', 'final'].map((name) => `${layer}${name}_layer_norm`),
      };
    },
    maps: ['q_proj', 'k_proj', 'v_proj', 'out_proj'],
  };
}

const isGated = ({ model_type: type }: Config) => /^u?mt5$/.test(String(type));

/** @param sizes  of every block */
export function decoderWeights(
  config: Config,
  sizes: readonly BlockSizes[] = denseSizes(),
  seed = 4,
): Weights {
  if (isWriter(config)) return writerWeights(config, sizes, seed);
  if (isMoonshine(config)) return moonshineDecoderWeights(config, sizes, seed);
  const { weights, tensor, linear: map } = weightMaker(seed);
  const { tokens, last, of, maps } = namesOf(config);
  const hasBias = !isT5(config);
  const norm = (name: string) => {
    tensor(`${name}.weight`, [HIDDEN], 0.2, 1);
    if (hasBias) tensor(`${name}.bias`, [HIDDEN], 0.2);
  };
  tensor(`${tokens}.weight`, [VOCABULARY, HIDDEN], 0.5);
  const type = String(config.model_type);
  if (hasBias && !hasSines(config))
    tensor(
      'model.decoder.embed_positions.weight',
      [POSITIONS + (type === 'whisper' ? 0 : OFFSET), HIDDEN],
      0.5,
    );
  if (/bart/.test(type)) norm('model.decoder.layernorm_embedding');
  for (const [i, { heads, ffn, cross, ...features }] of sizes.entries()) {
    const { self, mlp, norms, ...names } = of(i);
    for (const [at, own] of [
      [self, { heads, ...features }],
      [names.cross, cross!],
    ] as const) {
      const { keyDim = DH, valueDim = DH } = own;
      const [q, k, v, o] = maps.map((name) => at + name);
      map(q, own.heads * keyDim, HIDDEN, hasBias);
      map(k, own.heads * keyDim, HIDDEN, hasBias && type !== 'whisper');
      map(v, own.heads * valueDim, HIDDEN, hasBias);
      map(o, HIDDEN, own.heads * valueDim, hasBias);
    }
    if (isT5(config)) {
      if (i === 0 || type === 'umt5') tensor(`${self}relative_attention_bias.weight`, [6, HEADS], 1);
      if (heads < HEADS) tensor(`${self}relative_attention_bias_of_heads.weight`, [6, heads], 1);
      for (const name of isGated(config) ? ['wi_0', 'wi_1'] : ['wi']) map(mlp + name, ffn, HIDDEN, false);
      map(`${mlp}wo`, HIDDEN, ffn, false);
    } else {
      map(`${mlp}fc1`, ffn, HIDDEN);
      map(`${mlp}fc2`, HIDDEN, ffn);
    }
    for (const name of norms) norm(name);
  }
  if (isT5(config) || isBefore(config)) norm(last);
  if (isGated(config)) tensor('lm_head.weight', [VOCABULARY, HIDDEN], 0.5);
  if (/^(m?bart)$/.test(type)) tensor('final_logits_bias', [1, VOCABULARY], 0.5); // Marian's may be left out
  return weights;
}

export function denseSizes(): BlockSizes[] {
  return Array.from({ length: BLOCKS }, () => {
    const heads = { heads: HEADS, kvHeads: HEADS };
    return { ...heads, ffn: FFN, cross: heads };
  });
}

/** Logits, tokens × vocabulary. */
export function decoderReference(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
  states: Rows,
): number[] {
  if (isWriter(config)) return writerReference(config, sizes, weights, tokens, states);
  if (isMoonshine(config)) return moonshineDecoder(config, sizes, weights, tokens, states);
  const { tokens: table, last, of, maps } = namesOf(config);
  const type = String(config.model_type);
  const isPost = !isT5(config) && !isBefore(config);
  const norm = (x: Rows, name: string) =>
    isT5(config) ? rmsNorm(x, weights, name, 1e-6) : layerNorm(x, weights, name, 1e-5);
  let x = tokens.map((token) => row(weights, `${table}.weight`, token));
  if (config.scale_embedding ?? type === 'm2m_100')
    x = x.map((features) => features.map((value) => value * Math.sqrt(HIDDEN)));
  if (!isT5(config)) x = x.map((features, p) => sum(features, placeOf(config, weights, p)));
  if (/bart/.test(type)) x = norm(x, 'model.decoder.layernorm_embedding');
  for (const [i, { heads, cross }] of sizes.entries()) {
    const { self, mlp, norms, ...names } = of(i);
    const look = (at: string, own: number, y: Rows, seen: Rows, how: object) => {
      const [q, k, v] = maps.slice(0, 3).map((name, j) => linear(j === 0 ? y : seen, weights, at + name));
      // Of narrow heads scores have the factor that they had.
      const scale = isT5(config) ? 1 : DH ** -0.5;
      return linear(attention(q, k, v, { heads: own, kvHeads: own, scale, ...how }), weights, at + maps[3]);
    };
    const halves = [
      (y: Rows) => look(self, heads, y, y, isT5(config) ? { bias: biasOf(config, weights, self) } : {}),
      (y: Rows) => look(names.cross, cross!.heads, y, states, { seesAll: true }),
      (y: Rows) => thought(config, weights, mlp, y),
    ];
    for (const [j, half] of halves.entries())
      x = isPost ? norm(add(x, half(x)), norms[j]) : add(x, half(norm(x, norms[j])));
  }
  if (!isPost) x = norm(x, last);
  if (type === 't5') x = x.map((features) => features.map((value) => value / Math.sqrt(HIDDEN)));
  const output = weights.get('lm_head.weight') ?? weights.get(`${table}.weight`)!;
  const bias = weights.get('final_logits_bias');
  const own: Weights = new Map([
    ['output.weight', output],
    ...(bias ? ([['output.bias', bias]] as const) : []),
  ]);
  return linear(x, own, 'output').flat();
}

function placeOf(config: Config, weights: Weights, place: number): number[] {
  const type = String(config.model_type);
  const at = type === 'marian' || type === 'whisper' ? place : place + OFFSET;
  if (!hasSines(config)) return row(weights, 'model.decoder.embed_positions.weight', at);
  const half = HIDDEN / 2;
  const steps = type === 'm2m_100' ? half - 1 : half;
  const angle = (c: number) => at * Math.exp((-c * Math.log(10000)) / steps);
  return Array.from({ length: HIDDEN }, (_, c) =>
    c < half ? Math.sin(angle(c)) : Math.cos(angle(c - half)),
  );
}

/** All rows are for tokens before the query, half of them one by one. */
function biasOf(config: Config, weights: Weights, self: string) {
  const own = [
    `${self}relative_attention_bias_of_heads`,
    `${self}relative_attention_bias`,
    'decoder.block.0.layer.0.SelfAttention.relative_attention_bias',
  ].find((name) => weights.has(`${name}.weight`))!;
  const { data, shape } = weights.get(`${own}.weight`)!;
  const [buckets, heads] = shape;
  const [exact, most] = [buckets / 2, config.relative_attention_max_distance as number];
  return (head: number, key: number, query: number) => {
    const distance = query - key;
    const wide =
      exact + Math.floor((Math.log(distance / exact) / Math.log(most / exact)) * (buckets - exact));
    return data[(distance < exact ? distance : Math.min(wide, buckets - 1)) * heads + head];
  };
}

function thought(config: Config, weights: Weights, at: string, x: Rows): Rows {
  const map = (y: Rows, name: string) => linear(y, weights, at + name);
  const type = String(config.model_type);
  if (!isT5(config)) return map(activate(map(x, 'fc1'), type === 'm2m_100' ? 'relu' : 'gelu'), 'fc2');
  if (!isGated(config)) return map(activate(map(x, 'wi'), 'relu'), 'wo');
  const gate = activate(map(x, 'wi_0'), type === 'umt5' ? 'silu' : 'gelu_new');
  return map(product(gate, map(x, 'wi_1')), 'wo');
}
