// Tiny random decoders of `vision-encoder-decoder` and `encoder-decoder`, with the names and shapes that Hugging Face gives their tensors, and what they compute in
// plain loops, after modeling_trocr, modeling_gpt2, modeling_bert and modeling_roberta in transformers.

import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import { BERT, VIT } from './encoders.ts';
import { activate, add, attention, conv1d, layerNorm, linear, type Rows, row, sum } from './reference.ts';
import { type Weights, weightMaker } from './source.ts';

/** Of the decoder; what sees images has others. */
const HIDDEN = 32;
const HEADS = 4;
const DH = HIDDEN / HEADS;
const FFN = 20;
const BLOCKS = 2;
const VOCABULARY = 40;
const POSITIONS = 24;
/** Of what sees images. */
const WIDTH = 24;

const SEEN: Config = {
  model_type: 'vision-encoder-decoder',
  architectures: ['VisionEncoderDecoderModel'],
  encoder: { ...VIT, architectures: null, hidden_size: WIDTH },
};
const TROCR: Config = {
  model_type: 'trocr',
  d_model: HIDDEN,
  decoder_layers: BLOCKS,
  decoder_attention_heads: HEADS,
  decoder_ffn_dim: FFN,
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
  cross_attention_hidden_size: WIDTH,
};
const WRITING_BERT: Config = {
  ...BERT,
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
  is_decoder: true,
  add_cross_attention: true,
};
const SAME_WIDTH = { ...SEEN, encoder: { ...VIT, architectures: null, hidden_size: HIDDEN } };

export const WRITERS: Readonly<Record<string, Config>> = {
  trocr: { ...SEEN, decoder: TROCR },
  'trocr, sines, a factor and an output of its own': {
    ...SEEN,
    decoder: {
      ...TROCR,
      use_learned_position_embeddings: false,
      scale_embedding: true,
      layernorm_embedding: false,
      tie_word_embeddings: false,
    },
  },
  'gpt2, captions': {
    ...SAME_WIDTH,
    decoder: {
      model_type: 'gpt2',
      n_embd: HIDDEN,
      n_layer: BLOCKS,
      n_head: HEADS,
      n_inner: FFN,
      n_positions: POSITIONS,
      vocab_size: VOCABULARY,
      add_cross_attention: true,
    },
  },
  'bert, behind images': { ...SAME_WIDTH, decoder: WRITING_BERT },
  'roberta, behind texts': {
    model_type: 'encoder-decoder',
    architectures: ['EncoderDecoderModel'],
    encoder: { ...BERT, architectures: null, hidden_size: HIDDEN },
    decoder: {
      ...WRITING_BERT,
      model_type: 'roberta',
      pad_token_id: 1,
      layer_norm_eps: 1e-5,
      type_vocab_size: 1,
    },
  },
};

const typeOf = ({ decoder }: Config) => (decoder as Config).model_type as string;
export const isWriter = (config: Config) => 'decoder' in config;

/** Features that the decoder reads, and whether some of their tokens may be padding. */
export const readBy = ({ encoder, model_type: type }: Config) => ({
  width: (encoder as Config).hidden_size as number,
  areMasked: type === 'encoder-decoder',
});

/** Whether what it reads of an encoder is in no cache. */
export const isReadAgain = (config: Config) => typeOf(config) === 'gpt2';

interface Names {
  readonly module: string;
  readonly tokens: string;
  readonly positions?: string;
  readonly first?: string;
  readonly last?: string;
  readonly layer: (i: number) => string;
  /** Of both attentions. */
  readonly maps: readonly (readonly string[])[];
  readonly mlp: readonly string[];
  readonly norms: readonly string[];
  readonly output: string;
  /** Before the scores. */
  readonly dense?: readonly [map: string, norm: string, bias: string];
}

function namesOf(config: Config): Names {
  const type = typeOf(config);
  const own = config.decoder as Config;
  switch (type) {
    case 'trocr': {
      const attention = (at: string) => ['q', 'k', 'v', 'out'].map((map) => `${at}_attn.${map}_proj`);
      return {
        module: 'decoder.model.decoder.',
        tokens: 'embed_tokens',
        positions: own.use_learned_position_embeddings === false ? undefined : 'embed_positions',
        first: own.layernorm_embedding === false ? undefined : 'layernorm_embedding',
        layer: (i) => `layers.${i}.`,
        maps: [attention('self'), attention('encoder')],
        mlp: ['fc1', 'fc2'],
        norms: ['self_attn', 'encoder_attn', 'final'].map((name) => `${name}_layer_norm`),
        output: 'decoder.output_projection',
      };
    }
    case 'gpt2':
      return {
        module: 'decoder.transformer.',
        tokens: 'wte',
        positions: 'wpe',
        last: 'ln_f',
        layer: (i) => `h.${i}.`,
        maps: [
          ['attn.c_attn', 'attn.c_proj'],
          ['crossattention.q_attn', 'crossattention.c_attn', 'crossattention.c_proj'],
        ],
        mlp: ['mlp.c_fc', 'mlp.c_proj'],
        norms: ['ln_1', 'ln_cross_attn', 'ln_2'],
        output: 'decoder.lm_head',
      };
    default: {
      const attention = (at: string) => [
        ...['query', 'key', 'value'].map((map) => `${at}.self.${map}`),
        `${at}.output.dense`,
      ];
      const head = type === 'bert' ? 'decoder.cls.predictions' : 'decoder.lm_head';
      return {
        module: `decoder.${type}.`,
        tokens: 'embeddings.word_embeddings',
        positions: 'embeddings.position_embeddings',
        first: 'embeddings.LayerNorm',
        layer: (i) => `encoder.layer.${i}.`,
        maps: [attention('attention'), attention('crossattention')],
        mlp: ['intermediate.dense', 'output.dense'],
        norms: ['attention.output', 'crossattention.output', 'output'].map((name) => `${name}.LayerNorm`),
        output: `${head}.decoder`,
        dense:
          type === 'bert'
            ? [`${head}.transform.dense`, `${head}.transform.LayerNorm`, `${head}.bias`]
            : [`${head}.dense`, `${head}.layer_norm`, `${head}.bias`],
      };
    }
  }
}

const offsetOf = (type: string) => (type === 'trocr' || type === 'roberta' ? 2 : 0);

/** @param sizes  of every block */
export function writerWeights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const names = namesOf(config);
  const type = typeOf(config);
  const { module } = names;
  const { width } = readBy(config);
  const norm = (name: string) => {
    tensor(`${name}.weight`, [HIDDEN], 0.2, 1);
    tensor(`${name}.bias`, [HIDDEN], 0.2);
  };
  /** GPT-2 has them in × out. */
  const stored = (name: string, out: number, inputs: number) => {
    if (type !== 'gpt2') return map(name, out, inputs);
    tensor(`${name}.weight`, [inputs, out], inputs ** -0.5);
    tensor(`${name}.bias`, [out], 0.3);
  };
  tensor(`${module}${names.tokens}.weight`, [VOCABULARY, HIDDEN], 0.5);
  // RoBERTa counts the rows before the first in what it has.
  const rows = POSITIONS + (type === 'trocr' ? offsetOf(type) : 0);
  if (names.positions) tensor(`${module}${names.positions}.weight`, [rows, HIDDEN], 0.5);
  if (names.dense) {
    const types = (config.decoder as Config).type_vocab_size as number;
    tensor(`${module}embeddings.token_type_embeddings.weight`, [types, HIDDEN], 0.5);
  }
  for (const name of [names.first, names.last]) if (name) norm(module + name);
  for (const [i, { heads, ffn, cross, ...features }] of sizes.entries()) {
    const layer = module + names.layer(i);
    for (const [at, own] of [{ heads, ...features }, cross!].entries()) {
      const { keyDim = DH, valueDim = DH } = own;
      const given = at === 0 ? HIDDEN : width;
      const [q, k, v, out] = [own.heads * keyDim, own.heads * keyDim, own.heads * valueDim, HIDDEN];
      const maps = names.maps[at].map((name) => layer + name);
      if (type === 'gpt2') {
        if (at === 0) stored(maps[0], q + k + v, HIDDEN);
        else {
          stored(maps[0], q, HIDDEN);
          stored(maps[1], k + v, given);
        }
      } else {
        stored(maps[0], q, HIDDEN);
        stored(maps[1], k, given);
        stored(maps[2], v, given);
      }
      stored(maps.at(-1)!, out, v);
    }
    stored(layer + names.mlp[0], ffn, HIDDEN);
    stored(layer + names.mlp[1], HIDDEN, ffn);
    for (const name of names.norms) norm(layer + name);
  }
  if (names.dense) {
    map(names.dense[0], HIDDEN, HIDDEN);
    norm(names.dense[1]);
    tensor(names.dense[2], [VOCABULARY], 0.5);
  }
  if ((config.decoder as Config).tie_word_embeddings === false)
    tensor(`${names.output}.weight`, [VOCABULARY, HIDDEN], 0.5);
  return weights;
}

/** Logits, tokens × vocabulary. */
export function writerReference(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
  states: Rows,
): number[] {
  const names = namesOf(config);
  const type = typeOf(config);
  const own = config.decoder as Config;
  const { module } = names;
  const epsilon = Number(own.layer_norm_eps ?? 1e-5);
  const norm = (x: Rows, name: string) => layerNorm(x, weights, name, epsilon);
  const map = type === 'gpt2' ? conv1d : linear;
  const factor = own.scale_embedding ? Math.sqrt(HIDDEN) : 1;
  let x = tokens.map((token, place) => {
    const word = row(weights, `${module}${names.tokens}.weight`, token).map((value) => value * factor);
    const at = place + offsetOf(type);
    const placed = names.positions ? row(weights, `${module}${names.positions}.weight`, at) : sines(at);
    const both = sum(word, placed);
    return names.dense
      ? sum(both, row(weights, `${module}embeddings.token_type_embeddings.weight`, 0))
      : both;
  });
  if (names.first) x = norm(x, module + names.first);
  for (const [i, { heads, cross, ...features }] of sizes.entries()) {
    const layer = module + names.layer(i);
    const look = (at: number, y: Rows, seen: Rows) => {
      const own = at === 0 ? { heads, ...features } : cross!;
      const maps = names.maps[at].map((name) => layer + name);
      const made = maps.slice(0, -1).map((name, j) => map(j === 0 ? y : seen, weights, name));
      const { keyDim = DH } = own;
      const [q, k, v] = type === 'gpt2' ? apart(made, own.heads * keyDim) : made;
      const how = { heads: own.heads, kvHeads: own.heads, scale: DH ** -0.5, seesAll: at === 1 };
      return map(attention(q, k, v, how), weights, maps.at(-1)!);
    };
    const activation = type === 'gpt2' ? 'gelu_new' : 'gelu';
    const halves = [
      (y: Rows) => look(0, y, y),
      (y: Rows) => look(1, y, states),
      (y: Rows) =>
        map(activate(map(y, weights, layer + names.mlp[0]), activation), weights, layer + names.mlp[1]),
    ];
    for (const [j, half] of halves.entries()) {
      const name = layer + names.norms[j];
      x = type === 'gpt2' ? add(x, half(norm(x, name))) : norm(add(x, half(x)), name);
    }
  }
  if (names.last) x = norm(x, module + names.last);
  if (names.dense) x = norm(activate(linear(x, weights, names.dense[0]), 'gelu'), names.dense[1]);
  const scoring: Weights = new Map([
    [
      'output.weight',
      weights.get(`${names.output}.weight`) ?? weights.get(`${module}${names.tokens}.weight`)!,
    ],
    ...(names.dense ? ([['output.bias', weights.get(names.dense[2])!]] as const) : []),
  ]);
  return linear(x, scoring, 'output').flat();
}

/** Queries, keys and values of one map, or of one for queries and one for both others. */
function apart(made: readonly Rows[], keys: number): Rows[] {
  const part = (rows: Rows, from: number, to?: number) => rows.map((features) => features.slice(from, to));
  const [first, second] = made;
  return second
    ? [first, part(second, 0, keys), part(second, keys)]
    : [part(first, 0, keys), part(first, keys, 2 * keys), part(first, 2 * keys)];
}

function sines(place: number): number[] {
  const half = HIDDEN / 2;
  const angle = (c: number) => place * Math.exp((-c * Math.log(10000)) / (half - 1));
  return Array.from({ length: HIDDEN }, (_, c) =>
    c < half ? Math.sin(angle(c)) : Math.cos(angle(c - half)),
  );
}
