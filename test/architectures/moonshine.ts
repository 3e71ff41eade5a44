// Tiny random parts of Moonshine, with the names and shapes that Hugging Face gives their tensors, and what they compute in plain loops, after
// modeling_moonshine in transformers.

import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import {
  activate,
  add,
  attention,
  convolve,
  layerNorm,
  linear,
  perHead,
  product,
  type Rows,
  row,
  slices,
} from './reference.ts';
import { ropeReference, turnNeighboursReference } from './rope-reference.ts';
import { type Weights, weightMaker } from './source.ts';

const HIDDEN = 32;
const HEADS = 4;
const DH = HIDDEN / HEADS;
const BLOCKS = 2;
const VOCABULARY = 40;
const EPSILON = 1e-5;

export const MOONSHINE: Config = {
  model_type: 'moonshine',
  architectures: ['MoonshineForConditionalGeneration'],
  hidden_size: HIDDEN,
  intermediate_size: 20,
  encoder_num_hidden_layers: BLOCKS,
  encoder_num_attention_heads: HEADS,
  decoder_num_hidden_layers: BLOCKS,
  decoder_num_attention_heads: HEADS,
  partial_rotary_factor: 0.75, // 0.9 of so few features is an odd number
  max_position_embeddings: 24,
  vocab_size: VOCABULARY,
};

export const isMoonshine = ({ model_type: type }: Config) => type === 'moonshine';

const moduleOf = ({ architectures }: Config) =>
  (architectures as string[])[0].endsWith('Model') ? '' : 'model.';

/** What both parts have. @param given  tensors of the blocks' other attention */
function maker(config: Config, seed: number) {
  const { weights, tensor, linear: map } = weightMaker(seed);
  const isBiased = config.attention_bias === true;
  return {
    weights,
    tensor,
    map,
    norm: (name: string) => tensor(`${name}.weight`, [HIDDEN], 0.3, 1),
    attention(at: string, { heads, keyDim = DH, valueDim = DH }: Omit<BlockSizes, 'kvHeads' | 'ffn'>) {
      map(`${at}.q_proj`, heads * keyDim, HIDDEN, isBiased);
      map(`${at}.k_proj`, heads * keyDim, HIDDEN, isBiased);
      map(`${at}.v_proj`, heads * valueDim, HIDDEN, isBiased);
      map(`${at}.o_proj`, HIDDEN, heads * valueDim, false);
    },
  };
}

export function moonshineEncoderWeights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, map, norm, attention } = maker(config, seed);
  const at = `${moduleOf(config)}encoder.`;
  const convolution = (name: string, out: number, width: number, kernel: number) =>
    tensor(`${at}${name}.weight`, [out, width, kernel], 2 * (width * kernel) ** -0.5);
  convolution('conv1', HIDDEN, 1, 127);
  convolution('conv2', 2 * HIDDEN, HIDDEN, 7);
  convolution('conv3', HIDDEN, 2 * HIDDEN, 3);
  tensor(`${at}conv2.bias`, [2 * HIDDEN], 0.3);
  tensor(`${at}conv3.bias`, [HIDDEN], 0.3);
  norm(`${at}groupnorm`);
  tensor(`${at}groupnorm.bias`, [HIDDEN], 0.3);
  for (const [i, { ffn, ...heads }] of sizes.entries()) {
    const layer = `${at}layers.${i}.`;
    attention(`${layer}self_attn`, heads);
    map(`${layer}mlp.fc1`, ffn, HIDDEN);
    map(`${layer}mlp.fc2`, HIDDEN, ffn);
    for (const name of ['input', 'post_attention']) norm(`${layer}${name}_layernorm`);
  }
  norm(`${at}layer_norm`);
  return weights;
}

export function moonshineDecoderWeights(config: Config, sizes: readonly BlockSizes[], seed: number): Weights {
  const { weights, tensor, map, norm, attention } = maker(config, seed);
  const at = `${moduleOf(config)}decoder.`;
  tensor(`${at}embed_tokens.weight`, [VOCABULARY, HIDDEN], 0.5);
  for (const [i, { ffn, cross, ...heads }] of sizes.entries()) {
    const layer = `${at}layers.${i}.`;
    attention(`${layer}self_attn`, heads);
    attention(`${layer}encoder_attn`, cross!);
    map(`${layer}mlp.fc1`, 2 * ffn, HIDDEN);
    map(`${layer}mlp.fc2`, HIDDEN, ffn);
    for (const name of ['input', 'post_attention', 'final']) norm(`${layer}${name}_layernorm`);
  }
  norm(`${at}norm`);
  if (config.tie_word_embeddings === false) tensor('proj_out.weight', [VOCABULARY, HIDDEN], 0.5);
  return weights;
}

/** What both parts compute. */
function computing(config: Config, weights: Weights, at: string) {
  const map = (x: Rows, name: string) => linear(x, weights, at + name);
  const turned = (x: Rows) => {
    const portion = config.partial_rotary_factor as number;
    const rope = ropeReference({ rope_theta: 10_000 }, DH, portion, x.length);
    return perHead(x, DH, (head, place) => turnNeighboursReference(head, place, rope));
  };
  return {
    map,
    norm: (x: Rows, name: string) => layerNorm(x, weights, at + name, EPSILON),
    /** @param how  that it looks, at itself with its positions */
    attend(module: string, x: Rows, seen: Rows, heads: number, how: { seesAll: boolean }): Rows {
      const [q, k, v] = ['q', 'k', 'v'].map((it) => map(it === 'q' ? x : seen, `${module}.${it}_proj`));
      const [from, to] = x === seen ? [turned(q), turned(k)] : [q, k];
      const all = { heads, kvHeads: heads, scale: DH ** -0.5, ...how };
      return map(attention(from, to, v, all), `${module}.o_proj`);
    },
  };
}

/** The features of all tokens. */
export function moonshineEncoder(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  sound: Float32Array,
): number[] {
  const at = `${moduleOf(config)}encoder.`;
  const { map, norm, attend } = computing(config, weights, at);
  let x: Rows = Array.from(sound, (value) => [value]);
  x = overAll(activate(convolve(x, weights, `${at}conv1`, 64), 'tanh'), weights, `${at}groupnorm`);
  x = activate(convolve(x, weights, `${at}conv2`, 3), 'gelu');
  x = activate(convolve(x, weights, `${at}conv3`, 2), 'gelu');
  for (const [i, { heads }] of sizes.entries()) {
    const layer = `layers.${i}.`;
    const y = norm(x, `${layer}input_layernorm`);
    x = add(x, attend(`${layer}self_attn`, y, y, heads, { seesAll: true }));
    const inner = map(norm(x, `${layer}post_attention_layernorm`), `${layer}mlp.fc1`);
    x = add(x, map(activate(inner, 'gelu'), `${layer}mlp.fc2`));
  }
  return norm(x, 'layer_norm').flat();
}

/** All values of all channels less their mean, by their deviation. */
function overAll(x: Rows, weights: Weights, name: string): Rows {
  const [weight, bias] = ['weight', 'bias'].map((kind) => weights.get(`${name}.${kind}`)!.data);
  const all = x.flat();
  const mean = all.reduce((a, b) => a + b) / all.length;
  const variance = all.reduce((a, b) => a + (b - mean) ** 2, 0) / all.length;
  const deviation = Math.sqrt(variance + EPSILON);
  return x.map((row) => row.map((value, c) => ((value - mean) / deviation) * weight[c] + bias[c]));
}

/** Logits, tokens × vocabulary. */
export function moonshineDecoder(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
  states: Rows,
): number[] {
  const at = `${moduleOf(config)}decoder.`;
  const { map, norm, attend } = computing(config, weights, at);
  let x = tokens.map((token) => row(weights, `${at}embed_tokens.weight`, token));
  for (const [i, { heads, cross, ffn }] of sizes.entries()) {
    const layer = `layers.${i}.`;
    const y = norm(x, `${layer}input_layernorm`);
    x = add(x, attend(`${layer}self_attn`, y, y, heads, { seesAll: false }));
    const asking = norm(x, `${layer}post_attention_layernorm`);
    x = add(x, attend(`${layer}encoder_attn`, asking, states, cross!.heads, { seesAll: true }));
    const wide = map(norm(x, `${layer}final_layernorm`), `${layer}mlp.fc1`);
    const [up, gate] = slices(wide, [ffn, ffn]);
    x = add(x, map(product(activate(gate, 'silu'), up), `${layer}mlp.fc2`));
  }
  const output = weights.get('proj_out.weight') ?? weights.get(`${at}embed_tokens.weight`)!;
  return linear(norm(x, 'norm'), new Map([['output.weight', output]]), 'output').flat();
}
