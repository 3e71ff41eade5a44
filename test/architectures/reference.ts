// What the architectures compute, in plain loops, after the definitions in Hugging Face transformers
// (modeling_opt, modeling_llama, modeling_mistral, modeling_qwen2, modeling_qwen3, modeling_gpt2,
// modeling_gpt_neox, modeling_rope_utils). Slow, and shares nothing with the code under test.

import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import { ropeReference, turnReference } from './rope-reference.ts';
import type { Weights } from './source.ts';

/** Rows are tokens. */
export type Rows = number[][];

/** Logits of one text, tokens × vocabulary. */
export function referenceLogits(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  switch (config.model_type) {
    case 'opt':
      return opt(config, sizes, weights, tokens);
    case 'gpt2':
      return gpt2(config, sizes, weights, tokens);
    case 'gpt_neox':
      return gptNeox(config, sizes, weights, tokens);
    default:
      return llama(config, sizes, weights, tokens);
  }
}

function opt(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const at = 'model.decoder';
  const before = config.do_layer_norm_before as boolean;
  const affine = config.layer_norm_elementwise_affine as boolean;
  const dh = (config.hidden_size as number) / (config.num_attention_heads as number);
  const ln = (x: Rows, name: string) => layerNorm(x, affine ? weights : undefined, name, 1e-5);
  let x = tokens.map((token) => row(weights, `${at}.embed_tokens.weight`, token));
  if (weights.has(`${at}.project_in.weight`)) x = linear(x, weights, `${at}.project_in`);
  x = x.map((features, p) => sum(features, row(weights, `${at}.embed_positions.weight`, p + 2)));
  for (const [i, { heads }] of sizes.entries()) {
    const layer = `${at}.layers.${i}`;
    const h = before ? ln(x, `${layer}.self_attn_layer_norm`) : x;
    const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    const mixed = attention(q, k, v, { heads, kvHeads: heads, dh, scale: 1 / Math.sqrt(dh) });
    x = add(x, linear(mixed, weights, `${layer}.self_attn.out_proj`));
    if (!before) x = ln(x, `${layer}.self_attn_layer_norm`);
    const g = before ? ln(x, `${layer}.final_layer_norm`) : x;
    const inner = activate(linear(g, weights, `${layer}.fc1`), config.activation_function as string);
    x = add(x, linear(inner, weights, `${layer}.fc2`));
    if (!before) x = ln(x, `${layer}.final_layer_norm`);
  }
  if (before && !config._remove_final_layer_norm) x = ln(x, `${at}.final_layer_norm`);
  if (weights.has(`${at}.project_out.weight`)) x = linear(x, weights, `${at}.project_out`);
  return linear(x, weights, config.tie_word_embeddings === false ? 'lm_head' : `${at}.embed_tokens`);
}

function llama(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.head_dim ??
    (config.hidden_size as number) / (config.num_attention_heads as number)) as number;
  const eps = config.rms_norm_eps as number;
  const rope = ropeReference(config, dh, 1, tokens.length);
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, { heads, kvHeads }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const h = rmsNorm(x, weights, `${layer}.input_layernorm`, eps);
    let q = linear(h, weights, `${layer}.self_attn.q_proj`);
    let k = linear(h, weights, `${layer}.self_attn.k_proj`);
    const v = linear(h, weights, `${layer}.self_attn.v_proj`);
    if (config.model_type === 'qwen3') {
      q = perHead(q, dh, (head) => rmsNorm([head], weights, `${layer}.self_attn.q_norm`, eps)[0]);
      k = perHead(k, dh, (head) => rmsNorm([head], weights, `${layer}.self_attn.k_norm`, eps)[0]);
    }
    q = perHead(q, dh, (head, p) => turnReference(head, p, rope));
    k = perHead(k, dh, (head, p) => turnReference(head, p, rope));
    const mixed = attention(q, k, v, { heads, kvHeads, dh, scale: dh ** -0.5, window: window(config, i) });
    x = add(x, linear(mixed, weights, `${layer}.self_attn.o_proj`));
    const g = rmsNorm(x, weights, `${layer}.post_attention_layernorm`, eps);
    const gate = activate(linear(g, weights, `${layer}.mlp.gate_proj`), config.hidden_act as string);
    const up = linear(g, weights, `${layer}.mlp.up_proj`);
    const inner = gate.map((features, p) => features.map((value, c) => value * up[p][c]));
    x = add(x, linear(inner, weights, `${layer}.mlp.down_proj`));
  }
  x = rmsNorm(x, weights, 'model.norm', eps);
  return linear(x, weights, config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head');
}

function window(config: Config, i: number): number | undefined {
  const slides =
    config.model_type === 'mistral' ||
    (config.use_sliding_window &&
      (config.layer_types
        ? (config.layer_types as string[])[i] === 'sliding_attention'
        : i >= (config.max_window_layers as number)));
  return slides && config.sliding_window ? (config.sliding_window as number) : undefined;
}

function gpt2(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.n_embd as number) / (config.n_head as number);
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, config.layer_norm_epsilon as number);
  let x = tokens.map((token, p) =>
    sum(row(weights, 'transformer.wte.weight', token), row(weights, 'transformer.wpe.weight', p)),
  );
  for (const [i, { heads }] of sizes.entries()) {
    const layer = `transformer.h.${i}`;
    const fused = conv1d(ln(x, `${layer}.ln_1`), weights, `${layer}.attn.c_attn`);
    const split = (part: number) =>
      fused.map((features) => features.slice(part * heads * dh, (part + 1) * heads * dh));
    let scale = config.scale_attn_weights === false ? 1 : 1 / Math.sqrt(dh);
    if (config.scale_attn_by_inverse_layer_idx) scale /= i + 1;
    const mixed = attention(split(0), split(1), split(2), { heads, kvHeads: heads, dh, scale });
    x = add(x, conv1d(mixed, weights, `${layer}.attn.c_proj`));
    const inner = conv1d(ln(x, `${layer}.ln_2`), weights, `${layer}.mlp.c_fc`);
    x = add(x, conv1d(activate(inner, config.activation_function as string), weights, `${layer}.mlp.c_proj`));
  }
  return linear(ln(x, 'transformer.ln_f'), weights, 'transformer.wte');
}

function gptNeox(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.hidden_size as number) / (config.num_attention_heads as number);
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, config.layer_norm_eps as number);
  const rope = ropeReference(config, dh, config.rotary_pct as number, tokens.length);
  let x = tokens.map((token) => row(weights, 'gpt_neox.embed_in.weight', token));
  for (const [i, { heads }] of sizes.entries()) {
    const layer = `gpt_neox.layers.${i}`;
    const fused = linear(ln(x, `${layer}.input_layernorm`), weights, `${layer}.attention.query_key_value`);
    // viewed as heads × 3·dh, then split within each head
    const split = (part: number) =>
      fused.map((features) =>
        Array.from({ length: heads }, (_, h) =>
          features.slice(h * 3 * dh + part * dh, h * 3 * dh + (part + 1) * dh),
        ).flat(),
      );
    const q = perHead(split(0), dh, (head, p) => turnReference(head, p, rope));
    const k = perHead(split(1), dh, (head, p) => turnReference(head, p, rope));
    const mixed = attention(q, k, split(2), { heads, kvHeads: heads, dh, scale: dh ** -0.5 });
    const attended = linear(mixed, weights, `${layer}.attention.dense`);
    const mlp = (h: Rows) => {
      const inner = linear(ln(h, `${layer}.post_attention_layernorm`), weights, `${layer}.mlp.dense_h_to_4h`);
      return linear(activate(inner, config.hidden_act as string), weights, `${layer}.mlp.dense_4h_to_h`);
    };
    if (config.use_parallel_residual === false) {
      x = add(x, attended);
      x = add(x, mlp(x));
    } else {
      x = add(add(x, attended), mlp(x));
    }
  }
  x = ln(x, 'gpt_neox.final_layer_norm');
  return linear(x, weights, config.tie_word_embeddings ? 'gpt_neox.embed_in' : 'embed_out');
}

interface Heads {
  heads: number;
  kvHeads: number;
  dh: number;
  scale: number;
  window?: number;
  /** Whether tokens see those behind them. */
  seesAll?: boolean;
}

export function attention(
  q: Rows,
  k: Rows,
  v: Rows,
  { heads, kvHeads, dh, scale, window, seesAll = false }: Heads,
): Rows {
  return q.map((query, i) => {
    const out = new Array<number>(heads * dh).fill(0);
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads)) * dh;
      const seen = k
        .map((_, j) => j)
        .filter((j) => seesAll || (j <= i && (window === undefined || j > i - window)));
      const scores = seen.map((j) => {
        let score = 0;
        for (let c = 0; c < dh; c++) score += query[h * dh + c] * k[j][kv + c];
        return score * scale;
      });
      const top = Math.max(...scores);
      const exponentials = scores.map((score) => Math.exp(score - top));
      const total = exponentials.reduce((a, b) => a + b);
      for (const [at, j] of seen.entries()) {
        for (let c = 0; c < dh; c++) out[h * dh + c] += (exponentials[at] / total) * v[j][kv + c];
      }
    }
    return out;
  });
}

/** nn.Linear: weight out × in. */
export function linear(x: Rows, weights: Weights, name: string): Rows {
  const { shape, data } = weights.get(`${name}.weight`)!;
  const bias = weights.get(`${name}.bias`)?.data;
  const [m, p] = shape;
  return x.map((features) =>
    Array.from({ length: m }, (_, o) => {
      let value = bias ? bias[o] : 0;
      for (let c = 0; c < p; c++) value += data[o * p + c] * features[c];
      return value;
    }),
  );
}

/** GPT-2's Conv1D: weight in × out. */
function conv1d(x: Rows, weights: Weights, name: string): Rows {
  const { shape, data } = weights.get(`${name}.weight`)!;
  const bias = weights.get(`${name}.bias`)!.data;
  const [p, m] = shape;
  return x.map((features) =>
    Array.from({ length: m }, (_, o) => {
      let value = bias[o];
      for (let c = 0; c < p; c++) value += features[c] * data[c * m + o];
      return value;
    }),
  );
}

export function layerNorm(x: Rows, weights: Weights | undefined, name: string, eps: number): Rows {
  const weight = weights?.get(`${name}.weight`)?.data;
  const bias = weights?.get(`${name}.bias`)?.data;
  return x.map((features) => {
    const mean = features.reduce((a, b) => a + b) / features.length;
    const variance = features.reduce((a, b) => a + (b - mean) ** 2, 0) / features.length;
    return features.map(
      (value, c) => ((value - mean) / Math.sqrt(variance + eps)) * (weight?.[c] ?? 1) + (bias?.[c] ?? 0),
    );
  });
}

function rmsNorm(x: Rows, weights: Weights, name: string, eps: number): Rows {
  const weight = weights.get(`${name}.weight`)!.data;
  return x.map((features) => {
    const square = features.reduce((a, b) => a + b * b, 0) / features.length;
    return features.map((value, c) => (value / Math.sqrt(square + eps)) * weight[c]);
  });
}

export function activate(x: Rows, name: string): Rows {
  const f = ACTIVATIONS[name];
  return x.map((features) => features.map(f));
}

const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const ACTIVATIONS: Record<string, (x: number) => number> = {
  relu: (x) => Math.max(x, 0),
  tanh: Math.tanh,
  silu: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_new: tanhGelu,
  gelu_pytorch_tanh: tanhGelu,
};

// Taylor series: 2/√π Σ (−1)ⁿ x²ⁿ⁺¹ / (n! (2n + 1)); beyond 4 it is 1 to 1e-8.
function erf(x: number): number {
  if (Math.abs(x) > 4) return Math.sign(x);
  let term = x;
  let total = x;
  for (let n = 1; n < 80; n++) {
    term *= (-x * x) / n;
    total += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * total;
}

function perHead(x: Rows, dh: number, f: (head: number[], position: number) => number[]): Rows {
  return x.map((features, p) =>
    Array.from({ length: features.length / dh }, (_, h) => f(features.slice(h * dh, (h + 1) * dh), p)).flat(),
  );
}

export function row(weights: Weights, name: string, index: number): number[] {
  const { shape, data } = weights.get(name)!;
  return Array.from(data.subarray(index * shape[1], (index + 1) * shape[1]));
}

export const sum = (a: readonly number[], b: readonly number[]) => a.map((value, c) => value + b[c]);
export const add = (a: Rows, b: Rows) => a.map((features, p) => sum(features, b[p]));
