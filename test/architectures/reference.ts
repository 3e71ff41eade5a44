// What the architectures compute, in plain loops, after the definitions in Hugging Face transformers
// (modeling_opt, modeling_biogpt, modeling_xglm, modeling_openai, modeling_llama, modeling_mistral, modeling_ministral3, modeling_mixtral, modeling_phimoe, modeling_qwen2, modeling_qwen2_moe, modeling_qwen3,
// modeling_qwen3_moe, modeling_qwen3_vl_moe, modeling_olmoe, modeling_smollm3,
// modeling_nanochat, modeling_vaultgemma, modeling_youtu, modeling_solar_open, modeling_afmoe, modeling_mistral4, modeling_llama4, modeling_modernbert_decoder, modeling_granite, modeling_granitemoe, modeling_granitemoeshared, modeling_granitemoehybrid, modeling_bamba, modeling_falcon_h1, modeling_nemotron_h, modeling_mamba2, modeling_deepseek_v2, modeling_deepseek_v3, modeling_glm4_moe, modeling_glm4_moe_lite, modeling_dots1, modeling_ministral, modeling_ernie4_5_moe, modeling_gpt_oss, modeling_apertus, modeling_lfm2, modeling_lfm2_moe, modeling_qwen3_next, modeling_qwen3_5, modeling_qwen3_5_moe, modeling_hunyuan_v1_dense, modeling_glm, modeling_glm4, modeling_ernie4_5, modeling_helium, modeling_arcee, modeling_seed_oss, modeling_nemotron,
// modeling_olmo3, modeling_olmo_hybrid, modeling_exaone4, modeling_gpt_bigcode, modeling_falcon, modeling_bloom, modeling_mpt, modeling_phi, modeling_phi3, modeling_gemma, modeling_gemma2, modeling_gemma3, modeling_gpt2, modeling_gpt_neo,
// modeling_gpt_neo, modeling_gptj, modeling_codegen, modeling_olmo, modeling_olmo2, modeling_stablelm, modeling_starcoder2, modeling_cohere, modeling_cohere2,
// modeling_rope_utils), and after facebookresearch/MobileLLM's modeling_llama, modeling_openelm, vLLM's jais, modeling_internlm2, modeling_internlm3, modeling_exaone, modeling_minicpm, modeling_chatglm and modeling_baichuan beside their weights. Slow, and shares nothing with the code under test.

import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import { ropeReference, turnNeighboursReference, turnReference } from './rope-reference.ts';
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
    case 'biogpt':
    case 'xglm':
      return opt(config, sizes, weights, tokens);
    case 'gpt2':
    case 'jais':
    case 'openai-gpt':
      return gpt2(config, sizes, weights, tokens);
    case 'gpt_bigcode':
      return bigcode(config, sizes, weights, tokens);
    case 'falcon':
      return falcon(config, sizes, weights, tokens);
    case 'bloom':
      return bloom(config, sizes, weights, tokens);
    case 'mpt':
      return mpt(config, sizes, weights, tokens);
    case 'gpt_neo':
      return gptNeo(config, sizes, weights, tokens);
    case 'gptj':
    case 'codegen':
      return gptJ(config, sizes, weights, tokens);
    case 'olmo':
    case 'olmo2':
    case 'olmo3':
    case 'olmo_hybrid':
    case 'olmoe':
    case 'exaone4':
      return olmo(config, sizes, weights, tokens);
    case 'stablelm':
    case 'starcoder2':
    case 'nemotron':
      return stable(config, sizes, weights, tokens);
    case 'cohere':
    case 'cohere2':
      return cohere(config, sizes, weights, tokens);
    case 'lfm2':
    case 'lfm2_moe':
      return lfm2(config, sizes, weights, tokens);
    case 'qwen3_next':
    case 'qwen3_5_text':
    case 'qwen3_5_moe_text':
      return qwenHybrid(config, sizes, weights, tokens);
    case 'falcon_h1':
      return falconH1(config, sizes, weights, tokens);
    case 'nemotron_h':
    case 'mamba2':
      return nemotronH(config, sizes, weights, tokens);
    case 'llama4_text':
      return llama4(config, sizes, weights, tokens);
    case 'modernbert-decoder':
      return modernbertDecoder(config, sizes, weights, tokens);
    case 'nanochat':
      return nanochat(config, sizes, weights, tokens);
    case 'gpt_neox':
      return gptNeox(config, sizes, weights, tokens);
    case 'phi':
      return phi(config, sizes, weights, tokens);
    case 'gemma':
    case 'gemma2':
    case 'vaultgemma':
    case 'gemma3_text':
      return gemma(config, sizes, weights, tokens);
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
  const { at, last, output } = optNames(config);
  const before = config.do_layer_norm_before !== false;
  const affine = config.layer_norm_elementwise_affine !== false;
  const hidden = (config.hidden_size ?? config.d_model) as number;
  const dh = hidden / ((config.num_attention_heads ?? config.attention_heads) as number);
  const ln = (x: Rows, name: string) => layerNorm(x, affine ? weights : undefined, name, 1e-5);
  let x = tokens.map((token) => row(weights, `${at}.embed_tokens.weight`, token));
  if (weights.has(`${at}.project_in.weight`)) x = linear(x, weights, `${at}.project_in`);
  if (config.model_type !== 'opt') x = times(x, Math.sqrt(hidden));
  const half = hidden / 2;
  const wave = (p: number) =>
    Array.from({ length: hidden }, (_, c) => {
      const angle = p * Math.exp((-Math.log(10000) / (half - 1)) * (c % half));
      return c < half ? Math.sin(angle) : Math.cos(angle);
    });
  x = x.map((features, p) =>
    sum(
      features,
      config.model_type === 'xglm' ? wave(p + 2) : row(weights, `${at}.embed_positions.weight`, p + 2),
    ),
  );
  for (const [i, { heads }] of sizes.entries()) {
    const layer = `${at}.layers.${i}`;
    const h = before ? ln(x, `${layer}.self_attn_layer_norm`) : x;
    const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    const mixed = attention(q, k, v, { heads, kvHeads: heads, scale: 1 / Math.sqrt(dh) });
    x = add(x, linear(mixed, weights, `${layer}.self_attn.out_proj`));
    if (!before) x = ln(x, `${layer}.self_attn_layer_norm`);
    const g = before ? ln(x, `${layer}.final_layer_norm`) : x;
    const inner = activate(
      linear(g, weights, `${layer}.fc1`),
      (config.hidden_act ?? config.activation_function) as string,
    );
    x = add(x, linear(inner, weights, `${layer}.fc2`));
    if (!before) x = ln(x, `${layer}.final_layer_norm`);
  }
  if (before && !config._remove_final_layer_norm) x = ln(x, `${at}.${last}`);
  if (weights.has(`${at}.project_out.weight`)) x = linear(x, weights, `${at}.project_out`);
  return linear(x, weights, config.tie_word_embeddings === false ? output : `${at}.embed_tokens`);
}

/** What OPT's relatives call their parts. */
export function optNames({ model_type: type }: Config) {
  if (type === 'biogpt') return { at: 'biogpt', last: 'layer_norm', output: 'output_projection' };
  if (type === 'xglm') return { at: 'model', last: 'layer_norm', output: 'lm_head' };
  return { at: 'model.decoder', last: 'final_layer_norm', output: 'lm_head' };
}

/** What Llama's relatives call their parts. */
export function llamaNames({ model_type: type }: Config) {
  const qkv = (labels: string[], name: (label: string) => string) => labels.map(name);
  const usual = {
    tokens: 'model.embed_tokens',
    layers: 'model.layers',
    norms: ['input_layernorm', 'post_attention_layernorm'],
    qkv: qkv(['q', 'k', 'v'], (label) => `self_attn.${label}_proj`),
    headNorms: ['self_attn.q_norm', 'self_attn.k_norm'],
    out: 'self_attn.o_proj',
    mlp: ['mlp.gate_proj', 'mlp.up_proj', 'mlp.down_proj'],
    last: 'model.norm',
    output: 'lm_head',
  };
  if (type === 'phi3') return { ...usual, qkv: ['self_attn.qkv_proj'] };
  if (type === 'vaultgemma') return { ...usual, norms: ['input_layernorm', 'pre_feedforward_layernorm'] };
  if (type === 'afmoe') return { ...usual, norms: ['input_layernorm', 'pre_mlp_layernorm'] };
  if (type === 'openelm')
    return {
      tokens: 'transformer.token_embeddings',
      layers: 'transformer.layers',
      norms: ['attn_norm', 'ffn_norm'],
      qkv: ['attn.qkv_proj'],
      headNorms: ['attn.q_norm', 'attn.k_norm'],
      out: 'attn.out_proj',
      mlp: ['ffn.proj_1', 'ffn.proj_2'],
      last: 'transformer.norm',
      output: 'lm_head',
    };
  if (type === 'granitemoehybrid')
    return { ...usual, mlp: ['shared_mlp.input_linear', 'shared_mlp.output_linear'] };
  if (type === 'falcon_h1' || type === 'bamba')
    return {
      ...usual,
      norms: ['input_layernorm', 'pre_ff_layernorm'],
      mlp: ['feed_forward.gate_proj', 'feed_forward.up_proj', 'feed_forward.down_proj'],
      last: 'model.final_layernorm',
    };
  if (type === 'hunyuan_v1_dense')
    return { ...usual, headNorms: ['self_attn.query_layernorm', 'self_attn.key_layernorm'] };
  if (type === 'internlm2')
    return {
      ...usual,
      tokens: 'model.tok_embeddings',
      norms: ['attention_norm', 'ffn_norm'],
      qkv: ['attention.wqkv'],
      out: 'attention.wo',
      mlp: ['feed_forward.w1', 'feed_forward.w3', 'feed_forward.w2'],
      output: 'output',
    };
  if (type === 'apertus') return { ...usual, norms: ['attention_layernorm', 'feedforward_layernorm'] };
  if (type === 'baichuan') return { ...usual, qkv: ['self_attn.W_pack'] };
  if (type === 'chatglm')
    return {
      ...usual,
      tokens: 'transformer.embedding.word_embeddings',
      layers: 'transformer.encoder.layers',
      qkv: ['self_attention.query_key_value'],
      out: 'self_attention.dense',
      mlp: ['mlp.dense_h_to_4h', 'mlp.dense_4h_to_h'],
      last: 'transformer.encoder.final_layernorm',
      output: 'transformer.output_layer',
    };
  if (type !== 'exaone') return usual;
  return {
    ...usual,
    tokens: 'transformer.wte',
    layers: 'transformer.h',
    norms: ['ln_1', 'ln_2'],
    qkv: qkv(['q', 'k', 'v'], (label) => `attn.attention.${label}_proj`),
    out: 'attn.attention.out_proj',
    mlp: ['mlp.c_fc_0', 'mlp.c_fc_1', 'mlp.c_proj'],
    last: 'transformer.ln_f',
  };
}

const MINISTRAL = {
  rope_type: 'yarn',
  rope_theta: 1e6,
  factor: 16,
  original_max_position_embeddings: 16384,
  mscale: 1,
  mscale_all_dim: 1,
  llama_4_scaling_beta: 0.1,
};

const MISTRAL4 = {
  ...MINISTRAL,
  rope_theta: 10000,
  factor: 128,
  original_max_position_embeddings: 8192,
};

function llama(
  given: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const normed = given.model_type === 'phimoe' ? layerNorm : rmsNorm;
  const stretched = ({ ministral3: MINISTRAL, mistral4: MISTRAL4 } as Record<string, object>)[
    String(given.model_type)
  ];
  const config = stretched ? { rope_parameters: stretched, ...given } : usualFields(given);
  const dh = (config.head_dim ??
    (config.hidden_size as number) / (config.num_attention_heads as number)) as number;
  const eps = (config.rms_norm_eps ?? config.layer_norm_epsilon) as number;
  const type = String(config.model_type);
  const names = llamaNames(config);
  const isGlm = ['glm', 'glm4', 'chatglm'].includes(type);
  const portion = (config.partial_rotary_factor ??
    (isGlm || type === 'glm4_moe' || type === 'bamba' ? 0.5 : 1)) as number;
  const isLatent = hasLatent(config);
  const isOss = type === 'gpt_oss';
  const turned = isLatent ? (config.qk_rope_head_dim as number) : dh;
  const rope = ropeReference(
    type === 'phimoe' && config.rope_scaling
      ? { ...config, rope_scaling: { ...config.rope_scaling, attention_factor: 1.2 } }
      : isOss
        ? { rope_parameters: OSS_ROPE, ...config }
        : config,
    turned,
    portion,
    tokens.length,
  );
  const turn =
    isGlm || type.startsWith('ernie4_5') || type === 'helium' ? turnNeighboursReference : turnReference;
  const multiplier = (name: string) => (config[name] ?? 1) as number; // granite, and below MiniCPM
  const added =
    multiplier('residual_multiplier') *
    (multiplier('scale_depth') / Math.sqrt(type === 'minicpm' ? sizes.length : 1));
  const scale = (config.attention_multiplier ?? dh ** -0.5) as number;
  const isFused = ['phi3', 'chatglm', 'baichuan', 'openelm'].includes(type);
  const hasSlopes = type === 'baichuan' && given.max_position_embeddings === undefined;
  let x = tokens.map((token) => row(weights, `${names.tokens}.weight`, token));
  x = times(x, multiplier('embedding_multiplier') * multiplier('scale_emb'));
  if (config.mup_enabled === true) x = times(x, (config.hidden_size as number) ** 0.5);
  for (const [i, size] of sizes.entries()) {
    const { heads, kvHeads, ffn, experts } = size;
    const layer = `${names.layers}.${i}`;
    const h = normed(x, weights, `${layer}.${names.norms[0]}`, eps);
    const isSpace = weights.has(`${layer}.mamba.A_log`);
    const maps = isLatent || isSpace ? [] : names.qkv.map((name) => linear(h, weights, `${layer}.${name}`));
    let [q, k, v] =
      type === 'internlm2'
        ? byHeads(maps[0], size, dh)
        : isFused
          ? slices(maps[0], widthsOf(size, dh))
          : maps;
    const normedHeads = (y: Rows, name: string) =>
      perHead(y, dh, (head) => rmsNorm([head], weights, `${layer}.${name}`, eps)[0]);
    const normHeads = () => {
      [q, k] = [q, k].map((y, at) => normedHeads(y, names.headNorms[at]));
    };
    if (isSpace) [q, k, v] = [h, h, h];
    if (
      /^(afmoe|apertus|dots1|qwen3)/.test(type) ||
      config.use_qk_norm === true ||
      config.normalize_qk_projections === true
    )
      normHeads();
    const isPlaced =
      type === 'granitemoehybrid'
        ? config.position_embedding_type === 'rope'
        : type === 'afmoe'
          ? window(config, i) !== undefined
          : type !== 'smollm3' || smolTurns(config, i);
    if (isLatent) [q, k, v] = latent(h, config, size, weights, `${layer}.self_attn`, rope);
    else if (isPlaced && !hasSlopes && !isSpace) {
      q = perHead(q, dh, (head, p) => turn(head, p, rope));
      k = perHead(k, dh, (head, p) => turn(head, p, rope));
    }
    if (type === 'hunyuan_v1_dense') normHeads();
    if (stretched) {
      const { llama_4_scaling_beta: beta, original_max_position_embeddings: original } =
        config.rope_parameters as Record<string, number>;
      q = q.map((y, p) => y.map((value) => value * (1 + beta * Math.log(1 + Math.floor(p / original)))));
    }
    const seesAll = config.is_causal === false;
    const sinks = isOss ? weights.get(`${layer}.self_attn.sinks`)!.data : undefined;
    const open = (rows: Rows) =>
      type === 'afmoe' ? opened(rows, linear(h, weights, `${layer}.self_attn.gate_proj`)) : rows;
    const attend = () =>
      attention(q, k, v, {
        ...{ heads, kvHeads, seesAll, sinks },
        bias: hasSlopes
          ? (head, j) =>
              (weights.get(`${layer}.self_attn.slopes`)?.data ??
                bloomSlopes(config.num_attention_heads as number))[head] * j
          : undefined,
        window: window(config, i),
        scale: isLatent ? latentScale(config) : scale,
      });
    let attended = isSpace
      ? stateSpace(h, config, size, weights, `${layer}.mamba`)
      : linear(open(attend()), weights, `${layer}.${names.out}`);
    if (type === 'glm4') attended = rmsNorm(attended, weights, `${layer}.post_self_attn_layernorm`, eps);
    if (type === 'afmoe') attended = rmsNorm(attended, weights, `${layer}.post_attention_layernorm`, eps);
    x = add(x, times(attended, added));
    const behind = (rows: Rows) =>
      type === 'afmoe' ? rmsNorm(rows, weights, `${layer}.post_mlp_layernorm`, eps) : rows;
    const g = normed(x, weights, `${layer}.${names.norms[1]}`, eps);
    if (experts) {
      x = add(x, times(behind(mixture(g, config, weights, layer, size)), added));
      continue;
    }
    if (type === 'apertus') {
      const inner = linear(g, weights, `${layer}.mlp.up_proj`).map((features) =>
        features.map((value) => xielu(value, weights, `${layer}.mlp.act_fn`)),
      );
      x = add(x, linear(inner, weights, `${layer}.mlp.down_proj`));
      continue;
    }
    if (type === 'arcee') {
      const inner = activate(linear(g, weights, `${layer}.mlp.up_proj`), 'relu2');
      x = add(x, linear(inner, weights, `${layer}.mlp.down_proj`));
      continue;
    }
    const [gate, up] =
      (isFused && type !== 'baichuan') || isGlm || type === 'granitemoehybrid'
        ? slices(
            linear(g, weights, `${layer}.${names.mlp.length === 2 ? names.mlp[0] : 'mlp.gate_up_proj'}`),
            [ffn, ffn],
          )
        : names.mlp.slice(0, 2).map((name) => linear(g, weights, `${layer}.${name}`));
    const inner = product(activate(gate, (config.hidden_act ?? config.activation_function) as string), up);
    let thought = linear(inner, weights, `${layer}.${names.mlp.at(-1)}`);
    if (type === 'glm4') thought = rmsNorm(thought, weights, `${layer}.post_mlp_layernorm`, eps);
    x = add(x, times(behind(thought), added));
  }
  x = normed(x, weights, names.last, eps);
  if (config.is_causal === false) return x;
  const isTied = config.share_embedding ?? config.tie_word_embeddings ?? type.startsWith('ernie4_5');
  const output = isTied ? names.tokens : names.output;
  const made = linear(x, weights, output);
  const logits =
    config.z_loss_weight === undefined
      ? made
      : made.map((row) => row.map((value, c) => value / lengthOf(weights, output, c)));
  const shrunk = type === 'minicpm' ? (config.dim_model_base as number) / x[0].length : 1;
  return times(logits, shrunk / multiplier('logits_scaling'));
}

/** Each feature times the sigmoid of the gate's. */
const opened = (x: Rows, gate: Rows) =>
  product(
    x,
    gate.map((features) => features.map((value) => 1 / (1 + Math.exp(-value)))),
  );

/** Whether queries, keys and values are made of fewer features. */
export const hasLatent = ({ kv_lora_rank: rank }: Config) => rank !== undefined;

/** ChatGLM's and OpenELM's fields as others call them. */
function usualFields(config: Config): Config {
  if (config.model_type === 'openelm')
    return {
      ...config,
      rms_norm_eps: 1e-6,
      hidden_act: config.activation_fn_name,
      rope_theta: config.rope_freq_constant,
      tie_word_embeddings: config.share_input_output_layers,
    };
  if (config.model_type !== 'chatglm') return config;
  return {
    ...config,
    head_dim: config.kv_channels,
    rms_norm_eps: config.layernorm_epsilon,
    hidden_act: 'silu',
    rope_theta: 10000 * (config.rope_ratio as number),
  };
}

const softplus = (x: number) => Math.log(1 + Math.exp(x));

/** As torch has it, with the bound below 0. */
function xielu(x: number, weights: Weights, at: string): number {
  const [p, n] = ['alpha_p', 'alpha_n'].map((name) => softplus(weights.get(`${at}.${name}`)!.data[0]));
  return x > 0 ? p * x * x + 0.5 * x : (Math.expm1(Math.min(x, -1e-6)) - x) * (0.5 + n) + 0.5 * x;
}

/** Of a row of a matrix. */
const lengthOf = (weights: Weights, name: string, at: number) =>
  Math.hypot(...row(weights, `${name}.weight`, at));

const OSS_ROPE = {
  rope_type: 'yarn',
  factor: 32,
  beta_fast: 32,
  beta_slow: 1,
  truncate: false,
  original_max_position_embeddings: 4096,
};

/** DeepSeek's queries, keys and values; of each head the last features are turned, which all keys have in common. */
function latent(
  x: Rows,
  config: Config,
  { heads }: BlockSizes,
  weights: Weights,
  at: string,
  rope: ReturnType<typeof ropeReference>,
): [q: Rows, k: Rows, v: Rows] {
  const turn = config.rope_interleave === false ? turnReference : turnNeighboursReference;
  const rank = config.kv_lora_rank as number;
  const own = config.qk_nope_head_dim as number;
  const normed = (y: Rows, name: string) => rmsNorm(y, weights, `${at}.${name}`, 1e-6);
  const queries =
    config.q_lora_rank === null
      ? linear(x, weights, `${at}.q_proj`)
      : linear(normed(linear(x, weights, `${at}.q_a_proj`), 'q_a_layernorm'), weights, `${at}.q_b_proj`);
  const q = perHead(queries, queries[0].length / heads, (head, p) => [
    ...head.slice(0, own),
    ...turn(head.slice(own), p, rope),
  ]);
  const both = linear(x, weights, `${at}.kv_a_proj_with_mqa`);
  const few = normed(
    both.map((features) => features.slice(0, rank)),
    'kv_a_layernorm',
  );
  const made = linear(few, weights, `${at}.kv_b_proj`);
  const width = made[0].length / heads;
  const k = perHead(made, width, (head, p) => [...head.slice(0, own), ...turn(both[p].slice(rank), p, rope)]);
  return [q, k, perHead(made, width, (head) => head.slice(own))];
}

function latentScale(config: Config): number {
  const { factor, mscale_all_dim: scale } = (config.rope_scaling ?? {}) as Record<string, number>;
  const magnitude =
    scale && !/^(deepseek_v2|mistral4)$/.test(String(config.model_type))
      ? 0.1 * scale * Math.log(factor) + 1
      : 1;
  const features = (config.qk_nope_head_dim as number) + (config.qk_rope_head_dim as number);
  return magnitude ** 2 / Math.sqrt(features);
}

/** Of a tensor of several maps, one. */
function oneOf(
  weights: Weights,
  tensor: string,
  at: number,
): { shape: readonly number[]; data: Float32Array } {
  const { shape, data } = weights.get(tensor)!;
  const [, ...own] = shape;
  const size = own.reduce((a, b) => a * b);
  return { shape: own, data: data.subarray(at * size, (at + 1) * size) };
}

/** What one token gets of an expert of Granite or of GPT-OSS, or as transformers 5 stacks them. */
function stackedExpert(
  token: number[],
  config: Config,
  weights: Weights,
  module: string,
  e: number,
): number[] {
  if (config.model_type !== 'gpt_oss') {
    const isGranite = String(config.model_type).startsWith('granite');
    const [wide, down] = isGranite ? ['input_linear', 'output_linear'] : ['gate_up_proj', 'down_proj'];
    const all = (name: string) => (isGranite ? `${name}.weight` : `experts.${name}`);
    const one = (name: string) => {
      const own = `${module}.experts.${e}.${name}`; // of experts of different sizes
      return new Map([
        ['m.weight', weights.get(`${own}.weight`) ?? oneOf(weights, `${module}.${all(name)}`, e)],
      ]);
    };
    const isTurned = /^(qwen3_vl_moe|llama4)_text$/.test(String(config.model_type));
    const through = (x: number[], name: string) => {
      if (!isTurned) return linear([x], one(name), 'm')[0];
      const { shape, data } = one(name).get('m.weight')!;
      const [rows, columns] = shape;
      return Array.from({ length: columns }, (_, c) =>
        x.slice(0, rows).reduce((total, value, r) => total + value * data[r * columns + c], 0),
      );
    };
    const both = through(token, wide);
    const [gate, up] = slices([both], [both.length / 2, both.length / 2]);
    return through(product(activate(gate, config.hidden_act as string), up)[0], down);
  }
  const one = (name: string, kind: string) =>
    weights.get(`${module}.experts.${e}.${name}.${kind || 'weight'}`) ??
    oneOf(weights, `${module}.experts.${name}${kind && `_${kind}`}`, e);
  const through = (x: number[], name: string) => {
    const [m, b] = [one(name, ''), one(name, 'bias')];
    return Array.from({ length: m.shape[1] }, (_, c) =>
      x.reduce((total, value, r) => total + value * m.data[r * m.shape[1] + c], b.data[c]),
    );
  };
  const limit = (config.swiglu_limit ?? 7) as number;
  const both = through(token, 'gate_up_proj');
  const inner = Array.from({ length: both.length / 2 }, (_, n) => {
    const gate = Math.min(both[2 * n], limit);
    const up = Math.max(-limit, Math.min(both[2 * n + 1], limit));
    return (gate / (1 + Math.exp(-1.702 * gate))) * (up + 1);
  });
  return through(inner, 'down_proj');
}

/** Which experts a token passes, and the share of each. */
function routed(
  logits: number[],
  config: Config,
  corrections: ArrayLike<number> | undefined,
): Map<number, number> {
  const type = String(config.model_type);
  if (type === 'phimoe') return sparsemixer(logits, config.router_jitter_noise as number);
  const hasSigmoids = /^(afmoe|deepseek_v3|glm4_moe(_lite)?|dots1|lfm2_moe|nemotron_h|solar_open)$/.test(
    type,
  );
  const all = logits.reduce((total, logit) => total + Math.exp(logit), 0);
  const shares = logits.map((logit) => (hasSigmoids ? 1 / (1 + Math.exp(-logit)) : Math.exp(logit) / all));
  let asked = shares.map((share, e) => share + (corrections?.[e] ?? 0));
  const best = (values: number[], count: number) =>
    values
      .map((_, at) => at)
      .sort((a, b) => values[b] - values[a])
      .slice(0, count);
  const groups = config.topk_method === 'greedy' ? 1 : ((config.n_group ?? 1) as number);
  if (groups > 1) {
    const size = asked.length / groups;
    const scores = Array.from({ length: groups }, (_, g) => {
      const own = asked.slice(g * size, (g + 1) * size);
      const two = best(own, type === 'deepseek_v2' ? 1 : 2);
      return two.reduce((total, at) => total + own[at], 0);
    });
    const open = best(scores, config.topk_group as number);
    asked = asked.map((value, e) => (open.includes(Math.floor(e / size)) ? value : 0));
  }
  const chosen = best(asked, (config.num_experts_per_tok ?? config.moe_k) as number);
  const isWhole =
    /^(afmoe|mixtral|granite|gpt_oss|ernie|qwen3_(vl|5))/.test(type) ||
    (config.norm_topk_prob ?? type === 'qwen3_next') === true;
  const least = type === 'lfm2_moe' ? 1e-6 : 0;
  const whole = isWhole ? chosen.reduce((total, e) => total + shares[e], least) : 1;
  const scale = (config.routed_scaling_factor ?? config.route_scale ?? 1) as number;
  return new Map(chosen.map((e) => [e, (scale * shares[e]) / whole]));
}

/** What Phi-3.5-MoE does in the place of a softmax of the best two. */
function sparsemixer(scores: number[], jitter: number): Map<number, number> {
  const shares = new Map<number, number>();
  for (let turn = 0; turn < 2; turn++) {
    const open = scores.map((score, e) => (shares.has(e) ? Number.NEGATIVE_INFINITY : score));
    const best = Math.max(...open);
    let total = 0;
    for (const [e, score] of open.entries()) {
      const factor = Math.max(Math.abs(scores[e]), best);
      if ((best - scores[e]) / factor <= 2 * jitter) total += Math.exp(score - best);
    }
    shares.set(open.indexOf(best), 1 / total);
  }
  return shares;
}

/** Experts, token by token. */
function mixture(x: Rows, config: Config, weights: Weights, layer: string, { ffn }: BlockSizes): Rows {
  const type = String(config.model_type);
  const isMixtral = type === 'mixtral' || type === 'phimoe';
  const isGranite = type.startsWith('granite');
  const isStacked = [...weights.keys()].some((name) => /\.experts\.(\d+\.)?gate_up_proj/.test(name));
  const isOwn = isGranite || (isMixtral && !isStacked);
  const isLiquid = type === 'lfm2_moe';
  const module = `${layer}.${isLiquid ? 'feed_forward' : isOwn ? 'block_sparse_moe' : 'mlp'}`;
  const parts = isMixtral || isLiquid ? ['w1', 'w3', 'w2'] : ['gate_proj', 'up_proj', 'down_proj'];
  const mlp = (token: number[], name: string) => {
    const [gate, up] = parts.slice(0, 2).map((part) => linear([token], weights, `${name}.${part}`));
    return linear(
      product(activate(gate, config.hidden_act as string), up),
      weights,
      `${name}.${parts[2]}`,
    )[0];
  };
  return x.map((token) => {
    const router = `${module}.${type === 'afmoe' ? 'router.gate' : isGranite ? 'router.layer' : type === 'gpt_oss' || (type === 'phimoe' && isStacked) ? 'router' : 'gate'}`;
    const corrections =
      weights.get(`${module}.gate.e_score_correction_bias`) ??
      weights.get(`${module}.expert_bias`) ??
      weights.get(`${module}.moe_statics.e_score_correction_bias`) ??
      weights.get(`${module}.gate.moe_statics.e_score_correction_bias`);
    let y = token.map(() => 0);
    const give = (given: number[], share: number) => {
      y = sum(
        y,
        given.map((value) => share * value),
      );
    };
    for (const [e, share] of routed(linear([token], weights, router)[0], config, corrections?.data)) {
      give(
        isGranite || isStacked
          ? stackedExpert(token, config, weights, module, e)
          : mlp(token, `${module}.experts.${e}`),
        share,
      );
    }
    if (/^qwen(2_moe|3_next|3_5_moe)/.test(type)) {
      const [[gate]] = linear([token], weights, `${module}.shared_expert_gate`);
      give(mlp(token, `${module}.shared_expert`), 1 / (1 + Math.exp(-gate)));
    } else if (type === 'granitemoeshared' || type === 'granitemoehybrid') {
      const [gate, up] = slices(linear([token], weights, `${layer}.shared_mlp.input_linear`), [ffn, ffn]);
      const inner = product(activate(gate, config.hidden_act as string), up);
      give(linear(inner, weights, `${layer}.shared_mlp.output_linear`)[0], 1);
    } else if (ffn > 0) give(mlp(token, `${module}.shared_experts`), 1);
    return y;
  });
}

/** Which blocks of SmolLM3 have rotary positions. */
function smolTurns(config: Config, i: number): boolean {
  const told = config.no_rope_layers as number[] | undefined;
  return told ? told[i] === 1 : (i + 1) % (config.no_rope_layer_interval as number) !== 0;
}

/** Blocks with positions see pieces of a text, those without have other scores far on; experts read their share of a token. */
function llama4(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = config.head_dim as number;
  const eps = config.rms_norm_eps as number;
  const bare = (head: number[]) => {
    const square = head.reduce((a, b) => a + b * b, 0) / head.length;
    return head.map((value) => value / Math.sqrt(square + eps));
  };
  const turnsOf = config.no_rope_layers as number[];
  const rope = ropeReference(config, dh, 1, tokens.length);
  const far = (p: number) =>
    Math.log1p(Math.floor((p + 1) / (config.floor_scale as number))) * (config.attn_scale as number) + 1;
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, { heads, kvHeads, experts }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const turns = turnsOf[i] === 1;
    const h = rmsNorm(x, weights, `${layer}.input_layernorm`, eps);
    let [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    if (turns) {
      const normed = (head: number[]) => (config.use_qk_norm === false ? head : bare(head));
      const turned = (head: number[], p: number) => normed(turnNeighboursReference(head, p, rope));
      [q, k] = [perHead(q, dh, turned), perHead(k, dh, turned)];
    } else if (config.attn_temperature_tuning !== false)
      q = q.map((features, p) => features.map((value) => far(p) * value));
    const types = config.layer_types as string[] | undefined;
    const isChunked = types ? types[i] === 'chunked_attention' : turns;
    const chunk = isChunked ? (config.attention_chunk_size as number) : undefined;
    const mixed = attention(q, k, v, { heads, kvHeads, scale: dh ** -0.5, chunk });
    x = add(x, linear(mixed, weights, `${layer}.self_attn.o_proj`));
    const g = rmsNorm(x, weights, `${layer}.post_attention_layernorm`, eps);
    const mlp = (rows: Rows, name: string) => {
      const [gate, up] = ['gate', 'up'].map((part) => linear(rows, weights, `${name}.${part}_proj`));
      return linear(product(activate(gate, 'silu'), up), weights, `${name}.down_proj`);
    };
    const module = `${layer}.feed_forward`;
    if (!experts) {
      x = add(x, mlp(g, module));
      continue;
    }
    const routed = g.map((token) => {
      const [logits] = linear([token], weights, `${module}.router`);
      const best = logits.map((_, e) => e).sort((a, b) => logits[b] - logits[a]);
      return best.slice(0, config.num_experts_per_tok as number).reduce(
        (sums, e) => {
          const share = 1 / (1 + Math.exp(-logits[e]));
          const read = token.map((value) => share * value);
          return sum(sums, stackedExpert(read, config, weights, module, e));
        },
        token.map(() => 0),
      );
    });
    x = add(x, add(mlp(g, `${module}.shared_expert`), routed));
  }
  const output = config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head';
  return linear(rmsNorm(x, weights, 'model.norm', eps), weights, output);
}

/** ModernBERT whose tokens see those before them, and a map, a norm and biases before the scores. */
function modernbertDecoder(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.hidden_size as number) / (config.num_attention_heads as number);
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, config.norm_eps as number);
  let x = tokens.map((token) => row(weights, 'model.embeddings.tok_embeddings.weight', token));
  x = ln(x, 'model.embeddings.norm');
  for (const [i, { heads, ffn }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const slides = (config.layer_types as string[])[i] === 'sliding_attention';
    const theta = slides ? config.local_rope_theta : config.global_rope_theta;
    const rope = ropeReference({ rope_theta: theta }, dh, 1, tokens.length);
    const h = i === 0 ? x : ln(x, `${layer}.attn_norm`);
    const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.attn.${part}_proj`));
    const [turnedQ, turnedK] = [q, k].map((rows) =>
      perHead(rows, dh, (head, p) => turnReference(head, p, rope)),
    );
    const window = slides ? Math.floor((config.local_attention as number) / 2) : undefined;
    const mixed = attention(turnedQ, turnedK, v, { heads, kvHeads: heads, scale: dh ** -0.5, window });
    x = add(x, linear(mixed, weights, `${layer}.attn.Wo`));
    const both = linear(ln(x, `${layer}.mlp_norm`), weights, `${layer}.mlp.Wi`);
    const [input, gate] = slices(both, [ffn, ffn]);
    x = add(x, linear(product(activate(input, 'gelu'), gate), weights, `${layer}.mlp.Wo`));
  }
  const features = linear(ln(x, 'model.final_norm'), weights, 'lm_head.dense');
  const read = ln(activate(features, (config.classifier_activation ?? 'gelu') as string), 'lm_head.norm');
  const output = config.tie_word_embeddings === false ? 'decoder' : 'model.embeddings.tok_embeddings';
  const logits = linear(read, new Map([['m.weight', weights.get(`${output}.weight`)!]]), 'm');
  const bias = weights.get('decoder.bias')?.data;
  return logits.map((row) => row.map((score, c) => score + (bias?.[c] ?? 0)));
}

/** Norms have no weights, keys and queries are turned the other way, and normed behind that. */
function nanochat(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.head_dim ??
    (config.hidden_size as number) / (config.num_attention_heads as number)) as number;
  const rms = (x: Rows) =>
    x.map((features) => {
      const square = features.reduce((a, b) => a + b * b, 0) / features.length;
      return features.map((value) => value / Math.sqrt(square + (config.rms_norm_eps as number)));
    });
  const { inverse } = ropeReference(config, dh, 1, tokens.length);
  const turn = (head: number[], p: number) =>
    head.map((value, c) => {
      const half = dh / 2;
      const angle = p * inverse[c % half];
      return value * Math.cos(angle) + (c < half ? head[c + half] : -head[c - half]) * Math.sin(angle);
    });
  let x = rms(tokens.map((token) => row(weights, 'model.embed_tokens.weight', token)));
  for (const [i, { heads, kvHeads }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const h = rms(x);
    const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    const [turnedQ, turnedK] = [q, k].map((rows) => perHead(rows, dh, (head, p) => rms([turn(head, p)])[0]));
    const mixed = attention(turnedQ, turnedK, v, { heads, kvHeads, scale: dh ** -0.5 });
    x = add(x, linear(mixed, weights, `${layer}.self_attn.o_proj`));
    const inner = activate(linear(rms(x), weights, `${layer}.mlp.fc1`), 'relu2');
    x = add(x, linear(inner, weights, `${layer}.mlp.fc2`));
  }
  const cap = config.final_logit_softcapping;
  const logits = linear(rms(x), weights, config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head');
  if (cap === null) return logits;
  const bound = (cap ?? 15) as number;
  return logits.map((scores) => scores.map((score) => bound * Math.tanh(score / bound)));
}

// Gemma 1 to 3: norms scale by 1 + weight.
function gemma(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = config.head_dim as number;
  const type = config.model_type;
  const encodes = config.use_bidirectional_attention === true; // EmbeddingGemma
  const norm = (x: Rows, name: string) =>
    rmsNorm(x, weights, name, config.rms_norm_eps as number, (weight) => 1 + weight);
  const scale = type === 'gemma' ? dh ** -0.5 : (config.query_pre_attn_scalar as number) ** -0.5;
  const cap = (value: number, bound: unknown) =>
    typeof bound === 'number' ? bound * Math.tanh(value / bound) : value;
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  x = times(x, Math.sqrt(config.hidden_size as number));
  for (const [i, { heads, kvHeads }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const slides = slidesGemma(config, i);
    const rope = ropeReference(ropeOfGemma(config, slides), dh, 1, tokens.length);
    const h = norm(x, `${layer}.input_layernorm`);
    let [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    if (type === 'gemma3_text') {
      q = perHead(q, dh, (head) => norm([head], `${layer}.self_attn.q_norm`)[0]);
      k = perHead(k, dh, (head) => norm([head], `${layer}.self_attn.k_norm`)[0]);
    }
    q = perHead(q, dh, (head, p) => turnReference(head, p, rope));
    k = perHead(k, dh, (head, p) => turnReference(head, p, rope));
    const width = config.sliding_window as number;
    const window = slides ? (encodes ? Math.floor(width / 2) + 1 : width) : undefined;
    const bound = (score: number) => cap(score, config.attn_logit_softcapping);
    const mixed = attention(q, k, v, { heads, kvHeads, scale, window, bound, seesAll: encodes });
    let attended = linear(mixed, weights, `${layer}.self_attn.o_proj`);
    const hasBehind = type === 'gemma2' || type === 'gemma3_text';
    if (hasBehind) attended = norm(attended, `${layer}.post_attention_layernorm`);
    x = add(x, attended);
    const g = norm(x, `${layer}.${type === 'gemma' ? 'post_attention' : 'pre_feedforward'}_layernorm`);
    const [gate, up] = ['gate', 'up'].map((part) => linear(g, weights, `${layer}.mlp.${part}_proj`));
    let inner = linear(product(activate(gate, 'gelu_pytorch_tanh'), up), weights, `${layer}.mlp.down_proj`);
    if (hasBehind) inner = norm(inner, `${layer}.post_feedforward_layernorm`);
    x = add(x, inner);
  }
  x = norm(x, 'model.norm');
  if (encodes) return x;
  const logits = linear(x, weights, 'model.embed_tokens');
  return logits.map((scores) => scores.map((score) => cap(score, config.final_logit_softcapping)));
}

function slidesGemma(config: Config, i: number): boolean {
  if (config.layer_types) return (config.layer_types as string[])[i] === 'sliding_attention';
  const every: Record<string, number> = {
    gemma2: 2,
    vaultgemma: 2,
    gemma3_text: config.sliding_window_pattern as number,
  };
  const pattern = every[config.model_type as string];
  return pattern !== undefined && (i + 1) % pattern !== 0;
}

/** What Gemma 3 has for its windows in the place of the other settings. */
function ropeOfGemma({ rope_scaling, ...config }: Config, slides: boolean): Config {
  const own = config.rope_parameters as Record<string, object> | undefined;
  if (own) return { ...config, rope_parameters: own[slides ? 'sliding_attention' : 'full_attention'] };
  if (config.model_type !== 'gemma3_text' || !slides) return { ...config, rope_scaling };
  return { ...config, rope_theta: config.rope_local_base_freq };
}

function phi(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.hidden_size as number) / (config.num_attention_heads as number);
  const eps = config.layer_norm_eps as number;
  const rope = ropeReference(config, dh, config.partial_rotary_factor as number, tokens.length);
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, { heads, kvHeads }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const h = layerNorm(x, weights, `${layer}.input_layernorm`, eps);
    const [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    const [turnedQ, turnedK] = [q, k].map((rows) =>
      perHead(rows, dh, (head, p) => turnReference(head, p, rope)),
    );
    const mixed = attention(turnedQ, turnedK, v, { heads, kvHeads, scale: dh ** -0.5 });
    const inner = activate(linear(h, weights, `${layer}.mlp.fc1`), config.hidden_act as string);
    const attended = linear(mixed, weights, `${layer}.self_attn.dense`);
    x = add(add(x, attended), linear(inner, weights, `${layer}.mlp.fc2`));
  }
  return scores(layerNorm(x, weights, 'model.final_layernorm', eps), weights, 'model.embed_tokens');
}

function window(config: Config, i: number): number | undefined {
  if (config.model_type === 'afmoe') {
    const types = config.layer_types as string[] | undefined;
    const every = config.global_attn_every_n_layers as number;
    const slides = types ? types[i] === 'sliding_attention' : (i + 1) % every !== 0;
    return slides ? (config.sliding_window as number) : undefined;
  }
  if (config.model_type === 'gpt_oss') return i % 2 === 0 ? (config.sliding_window as number) : undefined;
  const slides =
    ['mistral', 'mixtral', 'phi3', 'phimoe'].includes(config.model_type as string) ||
    ((config.use_sliding_window || /^(dots1|ministral)$/.test(String(config.model_type))) &&
      (config.layer_types
        ? (config.layer_types as string[])[i] === 'sliding_attention'
        : config.model_type === 'smollm3'
          ? !smolTurns(config, i)
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
  const isFirst = config.model_type === 'openai-gpt';
  const isJais = config.model_type === 'jais';
  const factor = (name: string) => (config[name] ?? 1) as number;
  const slopes = bloomSlopes(config.n_head as number);
  const [wte, wpe] = (isFirst ? ['tokens_embed', 'positions_embed'] : ['wte', 'wpe']).map(
    (it) => `transformer.${it}`,
  );
  let x = tokens.map((token, p) => {
    const own = row(weights, `${wte}.weight`, token);
    return isJais ? own : sum(own, row(weights, `${wpe}.weight`, p));
  });
  if (isJais) x = times(x, factor('embeddings_scale') * factor('mup_embeddings_scale'));
  for (const [i, size] of sizes.entries()) {
    const { heads } = size;
    const layer = `transformer.h.${i}`;
    const fused = conv1d(isFirst ? x : ln(x, `${layer}.ln_1`), weights, `${layer}.attn.c_attn`);
    const [q, k, v] = slices(fused, widthsOf(size, dh));
    let scale = config.scale_attn_weights === false ? 1 : 1 / Math.sqrt(dh);
    if (config.mup_scale_qk_dot_by_d ?? config.scale_qk_dot_by_d) scale = 1 / dh;
    if (config.scale_attn_by_inverse_layer_idx) scale /= i + 1;
    const own = weights.get(`${layer}.attn.slopes`)?.data ?? slopes;
    const bias = isJais ? (head: number, j: number, i: number) => own[head] * (j - i) : undefined;
    const mixed = attention(q, k, v, { heads, kvHeads: heads, scale, bias });
    x = add(x, conv1d(mixed, weights, `${layer}.attn.c_proj`));
    if (isFirst) x = ln(x, `${layer}.ln_1`);
    const g = isFirst ? x : ln(x, `${layer}.ln_2`);
    const inner = conv1d(g, weights, `${layer}.mlp.c_fc`);
    const name = isFirst ? 'gelu_new' : (config.activation_function as string); // ACT_FNS
    const bent =
      name === 'swiglu'
        ? product(inner, activate(conv1d(g, weights, `${layer}.mlp.c_fc2`), 'silu'))
        : activate(inner, name);
    x = add(x, conv1d(bent, weights, `${layer}.mlp.c_proj`));
    if (isFirst) x = ln(x, `${layer}.ln_2`);
  }
  const logits = linear(isFirst ? x : ln(x, 'transformer.ln_f'), weights, wte);
  return times(logits, factor('width_scale') * factor('mup_output_alpha') * factor('mup_width_scale'));
}

function gptNeo(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, config.layer_norm_epsilon as number);
  const types = config.attention_types as [string[], number][];
  const expanded = types.flatMap(([kinds, times]) => new Array<string[]>(times).fill(kinds).flat());
  const kinds = (config.attention_layers as string[] | undefined) ?? expanded;
  let x = tokens.map((token, p) =>
    sum(row(weights, 'transformer.wte.weight', token), row(weights, 'transformer.wpe.weight', p)),
  );
  for (const [i, { heads }] of sizes.entries()) {
    const layer = `transformer.h.${i}`;
    const h = ln(x, `${layer}.ln_1`);
    const [q, k, v] = ['q', 'k', 'v'].map((part) =>
      linear(h, weights, `${layer}.attn.attention.${part}_proj`),
    );
    const window = kinds[i] === 'local' ? (config.window_size as number) : undefined;
    const mixed = attention(q, k, v, { heads, kvHeads: heads, scale: 1, window });
    x = add(x, linear(mixed, weights, `${layer}.attn.attention.out_proj`));
    const inner = linear(ln(x, `${layer}.ln_2`), weights, `${layer}.mlp.c_fc`);
    x = add(x, linear(activate(inner, config.activation_function as string), weights, `${layer}.mlp.c_proj`));
  }
  const output = config.tie_word_embeddings === false ? 'lm_head' : 'transformer.wte';
  return linear(ln(x, 'transformer.ln_f'), weights, output);
}

function gptJ(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.n_embd as number) / (config.n_head as number);
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, config.layer_norm_epsilon as number);
  const rope = ropeReference({ rope_theta: 10_000 }, config.rotary_dim as number, 1, tokens.length);
  let x = tokens.map((token) => row(weights, 'transformer.wte.weight', token));
  for (const [i, { heads }] of sizes.entries()) {
    const layer = `transformer.h.${i}`;
    const h = ln(x, `${layer}.ln_1`);
    const [q, k, v] =
      config.model_type === 'codegen'
        ? byProcessors(linear(h, weights, `${layer}.attn.qkv_proj`), heads % 4 === 0 ? 4 : 1)
        : ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.attn.${part}_proj`));
    const [turnedQ, turnedK] = [q, k].map((rows) =>
      perHead(rows, dh, (head, p) => turnNeighboursReference(head, p, rope)),
    );
    const mixed = attention(turnedQ, turnedK, v, { heads, kvHeads: heads, scale: 1 / Math.sqrt(dh) });
    const attended = linear(mixed, weights, `${layer}.attn.out_proj`);
    const inner = activate(
      linear(h, weights, `${layer}.mlp.fc_in`),
      (config.activation_function ?? 'gelu_new') as string,
    );
    x = add(add(attended, linear(inner, weights, `${layer}.mlp.fc_out`)), x);
  }
  return scores(ln(x, 'transformer.ln_f'), weights, 'transformer.wte');
}

/** q, k and v of what is reshaped to mp_num parts, each of which is split into queries, values and keys. */
function byProcessors(fused: Rows, processors: number): Rows[] {
  const local = fused[0].length / processors / 3;
  const [q, v, k] = [0, 1, 2].map((at) =>
    fused.map((features) =>
      Array.from({ length: processors }, (_, n) =>
        features.slice((3 * n + at) * local, (3 * n + at + 1) * local),
      ).flat(),
    ),
  );
  return [q, k, v];
}

// OLMo: norms without weights before each half. OLMo 2: norms behind each half, and of all queries and all keys. OLMoE: these, norms
// before each half, and experts.
function olmo(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.head_dim ??
    (config.hidden_size as number) / (config.num_attention_heads as number)) as number;
  const isExaone = config.model_type === 'exaone4';
  const isThird = config.model_type === 'olmo3';
  const isHybrid = config.model_type === 'olmo_hybrid';
  const isSecond = config.model_type === 'olmo2' || isThird || isExaone || isHybrid;
  const slides = (i: number) => {
    if (!(isThird || isExaone) || config.sliding_window === null) return false;
    const types = config.layer_types as string[] | undefined;
    return types
      ? types[i] === 'sliding_attention'
      : (i + 1) % (isThird ? 4 : (config.sliding_window_pattern as number)) !== 0;
  };
  const rms = (x: Rows, name: string) => rmsNorm(x, weights, name, (config.rms_norm_eps ?? 1e-5) as number);
  const hasExperts = config.model_type === 'olmoe';
  const before = (x: Rows, name: string) =>
    isSecond ? x : hasExperts ? rms(x, name) : layerNorm(x, undefined, '', 1e-5);
  const behind = (x: Rows, name: string) => (isSecond ? rms(x, name) : x);
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, { heads, kvHeads, experts }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    if (weights.has(`${layer}.linear_attn.A_log`)) {
      const y = rms(x, `${layer}.attention_layer_norm`);
      x = add(x, deltaRule(y, config, sizes[i], weights, `${layer}.linear_attn`));
      x = add(x, gated(rms(x, `${layer}.feedforward_layer_norm`), config, weights, layer));
      continue;
    }
    const { rope_scaling, ...unscaled } = config;
    const rope = ropeReference(isThird && slides(i) ? unscaled : config, dh, 1, tokens.length);
    const h = before(x, `${layer}.input_layernorm`);
    let [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    if (isExaone)
      [q, k] = [q, k].map((rows, at) =>
        perHead(rows, dh, (head) => rms([head], `${layer}.self_attn.${'qk'[at]}_norm`)[0]),
      );
    else if (isSecond || hasExperts)
      [q, k] = [rms(q, `${layer}.self_attn.q_norm`), rms(k, `${layer}.self_attn.k_norm`)];
    const bound = isSecond ? undefined : (config.clip_qkv as number | undefined);
    if (bound)
      [q, k, v] = [q, k, v].map((rows) =>
        rows.map((features) => features.map((value) => Math.min(Math.max(value, -bound), bound))),
      );
    const isPlaced = (config.rope_parameters as Config | undefined)?.rope_theta !== null;
    if (isPlaced && (!isExaone || config.sliding_window === null || slides(i))) {
      q = perHead(q, dh, (head, p) => turnReference(head, p, rope));
      k = perHead(k, dh, (head, p) => turnReference(head, p, rope));
    }
    const window = slides(i) ? (config.sliding_window as number) : undefined;
    const mixed = attention(q, k, v, { heads, kvHeads, scale: dh ** -0.5, window });
    const attended = linear(mixed, weights, `${layer}.self_attn.o_proj`);
    x = add(x, behind(attended, `${layer}.post_attention_layernorm`));
    const g = before(x, `${layer}.post_attention_layernorm`);
    const inner = experts ? mixture(g, config, weights, layer, sizes[i]) : gated(g, config, weights, layer);
    x = add(x, behind(inner, `${layer}.post_feedforward_layernorm`));
  }
  const last = isSecond || hasExperts ? rms(x, 'model.norm') : before(x, '');
  return linear(last, weights, config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head');
}

/** down(activation(gate(x)) · up(x)) */
function gated(x: Rows, config: Config, weights: Weights, layer: string): Rows {
  const [gate, up] = ['gate', 'up'].map((part) => linear(x, weights, `${layer}.mlp.${part}_proj`));
  const inner = product(activate(gate, config.hidden_act as string), up);
  return linear(inner, weights, `${layer}.mlp.down_proj`);
}

// StableLM, and StarCoder2 and Nemotron, whose MLPs have no gate. Nemotron's norms scale by 1 + weight.
function stable(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.head_dim ??
    (config.hidden_size as number) / (config.num_attention_heads as number)) as number;
  const isGated = config.model_type === 'stablelm';
  const isNemotron = config.model_type === 'nemotron';
  const eps = (config.layer_norm_eps ?? config.norm_epsilon ?? config.norm_eps) as number;
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, eps, isNemotron ? 1 : 0);
  const portion = (config.partial_rotary_factor ?? (isGated ? 0.25 : isNemotron ? 0.5 : 1)) as number;
  const rope = ropeReference(config, dh, portion, tokens.length);
  const window =
    isGated || isNemotron ? undefined : ((config.sliding_window ?? undefined) as number | undefined);
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, { heads, kvHeads }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const h = ln(x, `${layer}.input_layernorm`);
    let [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    if (config.qk_layernorm === true) {
      const norms = (y: Rows, name: string) =>
        y.map((features) =>
          Array.from({ length: features.length / dh }, (_, at) => {
            const head = features.slice(at * dh, (at + 1) * dh);
            return ln([head], `${layer}.self_attn.${name}.norms.${at}`)[0];
          }).flat(),
        );
      [q, k] = [norms(q, 'q_layernorm'), norms(k, 'k_layernorm')];
    }
    q = perHead(q, dh, (head, p) => turnReference(head, p, rope));
    k = perHead(k, dh, (head, p) => turnReference(head, p, rope));
    const mixed = attention(q, k, v, { heads, kvHeads, scale: dh ** -0.5, window });
    const attended = linear(mixed, weights, `${layer}.self_attn.o_proj`);
    const think = (y: Rows) => {
      if (isGated) return gated(y, config, weights, layer);
      if (isNemotron) {
        const inner = activate(linear(y, weights, `${layer}.mlp.up_proj`), 'relu2');
        return linear(inner, weights, `${layer}.mlp.down_proj`);
      }
      const inner = activate(linear(y, weights, `${layer}.mlp.c_fc`), 'gelu_pytorch_tanh');
      return linear(inner, weights, `${layer}.mlp.c_proj`);
    };
    if (config.use_parallel_residual) x = add(add(x, attended), think(h));
    else {
      x = add(x, attended);
      x = add(x, think(ln(x, `${layer}.post_attention_layernorm`)));
    }
  }
  const isTied = config.tie_word_embeddings ?? config.model_type === 'starcoder2';
  return linear(ln(x, 'model.norm'), weights, isTied ? 'model.embed_tokens' : 'lm_head');
}

function cohere(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = ((config.model_type === 'cohere' && config.head_dim) ||
    (config.hidden_size as number) / (config.num_attention_heads as number)) as number;
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, config.layer_norm_eps as number);
  const rope = ropeReference(config, dh, 1, tokens.length);
  const windowOf = (i: number) => {
    const types = config.layer_types as string[] | undefined;
    const slides = types
      ? types[i] === 'sliding_attention'
      : (i + 1) % (config.sliding_window_pattern as number) !== 0;
    return slides && config.sliding_window !== null ? (config.sliding_window as number) : undefined;
  };
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, { heads, kvHeads }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const window = config.model_type === 'cohere2' ? windowOf(i) : undefined;
    const h = ln(x, `${layer}.input_layernorm`);
    let [q, k, v] = ['q', 'k', 'v'].map((part) => linear(h, weights, `${layer}.self_attn.${part}_proj`));
    if (config.use_qk_norm) {
      const byHead = (x: Rows, name: string) => {
        const { data } = weights.get(`${layer}.self_attn.${name}.weight`)!;
        return x.map((row) =>
          row.map((value, c) => {
            const head = row.slice(c - (c % dh), c - (c % dh) + dh);
            const mean = head.reduce((a, b) => a + b) / dh;
            const variance = head.reduce((total, it) => total + (it - mean) ** 2, 0) / dh;
            return ((value - mean) / Math.sqrt(variance + (config.layer_norm_eps as number))) * data[c];
          }),
        );
      };
      [q, k] = [byHead(q, 'q_norm'), byHead(k, 'k_norm')];
    }
    if (config.model_type === 'cohere' || window !== undefined) {
      q = perHead(q, dh, (head, p) => turnNeighboursReference(head, p, rope));
      k = perHead(k, dh, (head, p) => turnNeighboursReference(head, p, rope));
    }
    const mixed = attention(q, k, v, { heads, kvHeads, scale: dh ** -0.5, window });
    const attended = linear(mixed, weights, `${layer}.self_attn.o_proj`);
    x = add(add(x, attended), gated(h, config, weights, layer));
  }
  const output = config.tie_word_embeddings === false ? 'lm_head' : 'model.embed_tokens';
  return times(linear(ln(x, 'model.norm'), weights, output), (config.logit_scale ?? 0.0625) as number);
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
  for (const [i, size] of sizes.entries()) {
    const { heads } = size;
    const layer = `gpt_neox.layers.${i}`;
    const fused = linear(ln(x, `${layer}.input_layernorm`), weights, `${layer}.attention.query_key_value`);
    // viewed as heads × 3·dh, then split within each head
    let [q, k, v] = byHeads(fused, size, dh);
    q = perHead(q, dh, (head, p) => turnReference(head, p, rope));
    k = perHead(k, dh, (head, p) => turnReference(head, p, rope));
    const mixed = attention(q, k, v, { heads, kvHeads: heads, scale: dh ** -0.5 });
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

function falconH1(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = config.head_dim as number;
  const multiplier = (name: string) => config[`${name}_multiplier`] as number;
  const [gated, down] = config.mlp_multipliers as [number, number];
  const names = llamaNames(config);
  const norm = (x: Rows, name: string) => rmsNorm(x, weights, name, config.rms_norm_eps as number);
  const rope = ropeReference(config, dh, 1, tokens.length);
  const turned = (y: Rows) => perHead(y, dh, (head, p) => turnReference(head, p, rope));
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  x = times(x, multiplier('embedding'));
  for (const [i, { heads, kvHeads, space }] of sizes.entries()) {
    const layer = `model.layers.${i}`;
    const h = norm(x, `${layer}.input_layernorm`);
    const kept = times(stateSpace(h, config, space!, weights, `${layer}.mamba`), multiplier('ssm_out'));
    const [q, k, v] = names.qkv.map((name) =>
      linear(times(h, multiplier('attention_in')), weights, `${layer}.${name}`),
    );
    const mixed = attention(turned(q), turned(times(k, multiplier('key'))), v, {
      ...{ heads, kvHeads, scale: dh ** -0.5 },
    });
    const attended = times(linear(mixed, weights, `${layer}.self_attn.o_proj`), multiplier('attention_out'));
    x = add(x, add(kept, attended));
    const g = norm(x, `${layer}.pre_ff_layernorm`);
    const [gate, up] = names.mlp.slice(0, 2).map((name) => linear(g, weights, `${layer}.${name}`));
    const inner = product(activate(times(gate, gated), config.hidden_act as string), up);
    x = add(x, times(linear(inner, weights, `${layer}.${names.mlp[2]}`), down));
  }
  x = norm(x, 'model.final_layernorm');
  const logits = linear(x, weights, config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head');
  return times(logits, multiplier('lm_head'));
}

/** Each block has a single half, which its tensors tell. */
function nemotronH(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const norm = (x: Rows, name: string) => rmsNorm(x, weights, name, config.layer_norm_epsilon as number);
  const act = (x: Rows) => activate(x, (config.mlp_hidden_act ?? 'relu2') as string);
  const isPure = config.model_type === 'mamba2';
  const count = (isPure ? config.num_heads : config.mamba_num_heads) as number;
  const space: Config = {
    model_type: config.model_type,
    mamba_d_state: isPure ? config.state_size : config.ssm_state_size,
    mamba_d_ssm: count * ((isPure ? config.head_dim : config.mamba_head_dim) as number),
    mamba_n_heads: count,
    time_step_limit: config.time_step_limit,
    rms_norm_eps: config.layer_norm_epsilon,
  };
  let x = tokens.map((token) => row(weights, 'backbone.embeddings.weight', token));
  for (const [i, size] of sizes.entries()) {
    const { heads, kvHeads } = size;
    const at = `backbone.layers.${i}.mixer`;
    const has = (name: string) => weights.has(`${at}.${name}`);
    const h = norm(x, `backbone.layers.${i}.norm`);
    const map = (name: string, y = h) => linear(y, weights, `${at}.${name}`);
    const mlp = (y: Rows, module = '') => map(`${module}down_proj`, act(map(`${module}up_proj`, y)));
    const routed = (token: number[]) => {
      let sum = mlp([token], 'shared_experts.');
      for (const [e, share] of routedExperts(map('gate', [token])[0], config, weights, at)) {
        const own = (name: string) =>
          new Map([
            [
              'm.weight',
              weights.get(`${at}.experts.${e}.${name}.weight`) ?? oneOf(weights, `${at}.experts.${name}`, e),
            ],
          ]);
        const inner = act(linear([token], own('up_proj'), 'm'));
        sum = add(sum, times(linear(inner, own('down_proj'), 'm'), share));
      }
      return sum[0];
    };
    const attended = () => {
      // Of narrow heads the factor stays that of the dense ones.
      const [q, k, v] = ['q', 'k', 'v'].map((label) => map(`${label}_proj`));
      const scale = ((config.head_dim ?? config.attention_head_dim) as number) ** -0.5;
      return map('o_proj', attention(q, k, v, { heads, kvHeads, scale }));
    };
    if (has('A_log')) x = add(x, stateSpace(h, space, size, weights, at));
    else if (has('q_proj.weight')) x = add(x, attended());
    else x = add(x, has('gate.weight') ? h.map(routed) : mlp(h));
  }
  x = norm(x, 'backbone.norm_f');
  return linear(x, weights, config.tie_word_embeddings ? 'backbone.embeddings' : 'lm_head');
}

function routedExperts(logits: number[], config: Config, weights: Weights, at: string): Map<number, number> {
  const whole = { norm_topk_prob: true, ...config };
  return routed(logits, whole, weights.get(`${at}.gate.e_score_correction_bias`)!.data);
}

/** Token by token, as the step with a cache of GraniteMoeHybridMambaLayer, FalconH1Mixer, NemotronHMamba2Mixer, or Mamba2Mixer. */
function stateSpace(
  x: Rows,
  config: Config,
  { heads, kvHeads: groups }: Omit<BlockSizes, 'ffn'>,
  weights: Weights,
  at: string,
): Rows {
  const all = (config.mamba_d_ssm ?? 32 * ((config.mamba_expand ?? 2) as number)) as number;
  const [dk, dv] = [config.mamba_d_state as number, all / (config.mamba_n_heads as number)];
  const [keys, values] = [groups * dk, heads * dv];
  const taken = times(x, (config.ssm_in_multiplier ?? 1) as number);
  const factors = ((config.ssm_multipliers ?? [1, 1, 1, 1, 1]) as number[]).flatMap((factor, part) =>
    new Array<number>([values, values, keys, keys, heads][part]).fill(factor),
  );
  const wide = linear(taken, weights, `${at}.in_proj`).map((features) =>
    features.map((value, f) => value * factors[f]),
  );
  const [z, given, steps] = slices(wide, [values, values + 2 * keys, heads]);
  const numbers = (name: string) => weights.get(`${at}.${name}`)!.data;
  const convolved = causalConv(given, weights, `${at}.conv1d`).map((features) => features.map(silu));
  const [v, b, c] = slices(convolved, [values, keys, keys]);
  const [low, high] = (config.time_step_limit ?? [0, Number.POSITIVE_INFINITY]) as [number, number];
  const state = Array.from({ length: heads }, () =>
    Array.from({ length: dv }, () => new Array<number>(dk).fill(0)),
  );
  const found = x.map((_, p) =>
    state.flatMap((s, head) => {
      const dt = Math.min(high, Math.max(low, softplus(steps[p][head] + numbers('dt_bias')[head])));
      const fading = Math.exp(-dt * Math.exp(numbers('A_log')[head]));
      const group = Math.floor((head * groups) / heads) * dk;
      return s.map((line, f) => {
        const own = v[p][head * dv + f];
        let given = numbers('D')[head] * own;
        for (let n = 0; n < dk; n++) {
          line[n] = line[n] * fading + dt * b[p][group + n] * own;
          given += line[n] * c[p][group + n];
        }
        return given;
      });
    }),
  );
  const gates = z.map((features) => features.map(silu));
  const isFalcon = config.model_type === 'falcon_h1';
  const eps = config.rms_norm_eps as number;
  const weight = weights.get(`${at}.norm.weight`)?.data;
  const isByGroup = isFalcon || config.model_type === 'nemotron_h';
  const each = values / (isByGroup ? groups : 1);
  const normed = (y: Rows) =>
    weight === undefined
      ? y
      : perHead(y, each, (own) => {
          const squares = own.reduce((total, value) => total + value * value, 0);
          return own.map((value) => value / Math.sqrt(squares / each + eps));
        }).map((features) => features.map((value, f) => value * weight[f]));
  const isFirst = isFalcon && config.mamba_norm_before_gate !== false;
  const open = isFirst ? product(normed(found), gates) : normed(product(found, gates));
  return linear(open, weights, `${at}.out_proj`);
}

function qwenHybrid(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = config.head_dim as number;
  const norm = (x: Rows, name: string) =>
    rmsNorm(x, weights, name, config.rms_norm_eps as number, (weight) => 1 + weight);
  const rope = ropeReference(config, dh, config.partial_rotary_factor as number, tokens.length);
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, size] of sizes.entries()) {
    const { heads, kvHeads, experts } = size;
    const layer = `model.layers.${i}`;
    const h = norm(x, `${layer}.input_layernorm`);
    const attended = () => {
      const at = `${layer}.self_attn`;
      const wide = linear(h, weights, `${at}.q_proj`);
      const each = (from: number, to: number) => perHead(wide, 2 * dh, (head) => head.slice(from, to));
      const turned = (y: Rows, name: string) =>
        perHead(y, dh, (head, p) => turnReference(norm([head], `${at}.${name}`)[0], p, rope));
      const mixed = attention(
        turned(each(0, dh), 'q_norm'),
        turned(linear(h, weights, `${at}.k_proj`), 'k_norm'),
        linear(h, weights, `${at}.v_proj`),
        { heads, kvHeads, scale: dh ** -0.5 },
      );
      const open = each(dh, 2 * dh).map((features) => features.map(sigmoid));
      return linear(product(mixed, open), weights, `${at}.o_proj`);
    };
    const at = `${layer}.linear_attn`;
    x = add(x, weights.has(`${at}.A_log`) ? deltaRule(h, config, size, weights, at) : attended());
    const y = norm(x, `${layer}.post_attention_layernorm`);
    if (experts) {
      x = add(x, mixture(y, config, weights, layer, size));
      continue;
    }
    const [gate, up] = ['gate', 'up'].map((part) => linear(y, weights, `${layer}.mlp.${part}_proj`));
    x = add(x, linear(product(activate(gate, 'silu'), up), weights, `${layer}.mlp.down_proj`));
  }
  x = norm(x, 'model.norm');
  return linear(x, weights, config.tie_word_embeddings ? 'model.embed_tokens' : 'lm_head');
}

const sigmoid = (value: number) => 1 / (1 + Math.exp(-value));
const silu = (value: number) => value * sigmoid(value);

/** Of each feature, over its token and those before. */
function causalConv(x: Rows, weights: Weights, name: string): Rows {
  const { data, shape } = weights.get(`${name}.weight`)!;
  const bias = weights.get(`${name}.bias`)?.data;
  const kernel = shape[2];
  return x.map((features, p) =>
    features.map((_, f) => {
      let value = bias?.[f] ?? 0;
      for (let ago = 0; ago < kernel && ago <= p; ago++)
        value += data[f * kernel + kernel - 1 - ago] * x[p - ago][f];
      return value;
    }),
  );
}

/** Token by token, as torch_recurrent_gated_delta_rule. */
function deltaRule(
  x: Rows,
  config: Config,
  { heads, kvHeads: keyHeads }: BlockSizes,
  weights: Weights,
  at: string,
): Rows {
  const of = (name: string, otherwise: number) => (config[`linear_${name}`] ?? otherwise) as number;
  const [dk, dv] = [of('key_head_dim', 6), of('value_head_dim', 12)]; // as many of 32 features and 4 heads
  const isOlmo = config.model_type === 'olmo_hybrid';
  const each = heads / keyHeads;
  const [keys, values] = [keyHeads * dk, heads * dv];
  const map = (name: string) => linear(x, weights, `${at}.in_proj_${name}`);
  const maps = () => {
    if (config.model_type !== 'qwen3_next') return [map('qkv'), map('z'), map('b'), map('a')];
    // Of each key head the queries, keys, values and gates; then b and a of these.
    const parts = (all: Rows, widths: number[]) => {
      const width = widths.reduce((a, b) => a + b);
      return widths.map((own, part) => {
        const from = widths.slice(0, part).reduce((a, b) => a + b, 0);
        return perHead(all, width, (head) => head.slice(from, from + own));
      });
    };
    const [q, k, v, z] = parts(map('qkvz'), [dk, dk, each * dv, each * dv]);
    return [q.map((y, p) => [...y, ...k[p], ...v[p]]), z, ...parts(map('ba'), [each, each])];
  };
  const opened = (y: Rows, conv: string) =>
    causalConv(y, weights, `${at}.${conv}`).map((features) => features.map(silu));
  const together = () => {
    const [given, ...others] = maps();
    return [...slices(opened(given, 'conv1d'), [keys, keys, values]), ...others];
  };
  const apart = () => {
    const own = (name: string) => linear(x, weights, `${at}.${name}_proj`);
    return [
      ...['q', 'k', 'v'].map((name) => opened(own(name), `${name}_conv1d`)),
      own('g'),
      own('b'),
      own('a'),
    ];
  };
  const [q, k, v, z, b, a] = isOlmo ? apart() : together();
  const most = isOlmo && config.linear_allow_neg_eigval !== false ? 2 : 1;
  const numbers = (name: string) => weights.get(`${at}.${name}`)!.data;
  const unit = (y: number[]) => {
    const length = Math.sqrt(y.reduce((total, value) => total + value * value, 1e-6));
    return y.map((value) => value / length);
  };
  const state = Array.from({ length: heads }, () =>
    Array.from({ length: dk }, () => new Array<number>(dv).fill(0)),
  );
  const mixed = x.map((_, p) =>
    state.flatMap((s, head) => {
      const own = (y: Rows, at: number, width: number) => y[p].slice(at * width, (at + 1) * width);
      const [query, key] = [q, k].map((y) => unit(own(y, Math.floor(head / each), dk)));
      const fading = Math.exp(
        -Math.exp(numbers('A_log')[head]) * softplus(a[p][head] + numbers('dt_bias')[head]),
      );
      const share = most * sigmoid(b[p][head]);
      for (const line of s) for (let c = 0; c < dv; c++) line[c] *= fading;
      const had = s[0].map((_, c) => key.reduce((total, value, r) => total + value * s[r][c], 0));
      const put = own(v, head, dv).map((value, c) => share * (value - had[c]));
      for (const [r, line] of s.entries()) for (let c = 0; c < dv; c++) line[c] += key[r] * put[c];
      const found = put.map((_, c) =>
        query.reduce((total, value, r) => total + (value * s[r][c]) / Math.sqrt(dk), 0),
      );
      const [normal] = isOlmo
        ? rmsNorm([found], weights, `${at}.o_norm`, 1e-5)
        : rmsNorm([found], weights, `${at}.norm`, config.rms_norm_eps as number);
      const gate = own(z, head, dv);
      return normal.map((value, c) => value * silu(gate[c]));
    }),
  );
  return linear(mixed, weights, `${at}.${isOlmo ? 'o_proj' : 'out_proj'}`);
}

function lfm2(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const hidden = config.hidden_size as number;
  const dh = hidden / (config.num_attention_heads as number);
  const norm = (x: Rows, name: string) => rmsNorm(x, weights, name, config.norm_eps as number);
  const rope = ropeReference(config, dh, 1, tokens.length);
  let x = tokens.map((token) => row(weights, 'model.embed_tokens.weight', token));
  for (const [i, size] of sizes.entries()) {
    const { heads, kvHeads, experts } = size;
    const layer = `model.layers.${i}`;
    const h = norm(x, `${layer}.operator_norm`);
    const attended = () => {
      const [q, k] = ['q', 'k'].map((part) =>
        perHead(linear(h, weights, `${layer}.self_attn.${part}_proj`), dh, (head, p) =>
          turnReference(norm([head], `${layer}.self_attn.${part}_layernorm`)[0], p, rope),
        ),
      );
      const v = linear(h, weights, `${layer}.self_attn.v_proj`);
      const mixed = attention(q, k, v, { heads, kvHeads, scale: dh ** -0.5 });
      return linear(mixed, weights, `${layer}.self_attn.out_proj`);
    };
    const convolved = () => {
      const [b, c, own] = slices(linear(h, weights, `${layer}.conv.in_proj`), [hidden, hidden, hidden]);
      const y = causalConv(product(b, own), weights, `${layer}.conv.conv`);
      return linear(product(c, y), weights, `${layer}.conv.out_proj`);
    };
    x = add(x, heads === 0 ? convolved() : attended());
    const g = norm(x, `${layer}.ffn_norm`);
    if (experts) {
      x = add(x, mixture(g, config, weights, layer, size));
      continue;
    }
    const [gate, up] = ['w1', 'w3'].map((part) => linear(g, weights, `${layer}.feed_forward.${part}`));
    x = add(x, linear(product(activate(gate, 'silu'), up), weights, `${layer}.feed_forward.w2`));
  }
  const isTied = config.tie_embedding ?? config.tie_word_embeddings ?? true;
  const output = isTied ? 'model.embed_tokens' : 'lm_head';
  return linear(norm(x, 'model.embedding_norm'), weights, output);
}

/** GPT-2's blocks with maps out × in, and one head of keys and values for all queries. */
function bigcode(
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
  for (const [i, size] of sizes.entries()) {
    const { heads, kvHeads } = size;
    const layer = `transformer.h.${i}`;
    const fused = linear(ln(x, `${layer}.ln_1`), weights, `${layer}.attn.c_attn`);
    const [q, k, v] =
      config.multi_query === false ? byHeads(fused, size, dh) : slices(fused, widthsOf(size, dh));
    const mixed = attention(q, k, v, { heads, kvHeads, scale: dh ** -0.5 });
    x = add(x, linear(mixed, weights, `${layer}.attn.c_proj`));
    const inner = linear(ln(x, `${layer}.ln_2`), weights, `${layer}.mlp.c_fc`);
    x = add(x, linear(activate(inner, 'gelu_pytorch_tanh'), weights, `${layer}.mlp.c_proj`));
  }
  const output = config.tie_word_embeddings === false ? 'lm_head' : 'transformer.wte';
  return linear(ln(x, 'transformer.ln_f'), weights, output);
}

/** Columns of all queries, keys and values. */
export function widthsOf(
  { heads, kvHeads, keyDim, valueDim }: BlockSizes,
  dh: number,
): [q: number, k: number, v: number] {
  return [heads * (keyDim ?? dh), kvHeads * (keyDim ?? dh), kvHeads * (valueDim ?? dh)];
}

/** q, k and v of a tensor that has, for each of the groups, its query heads, then one of keys and one of values. */
function byHeads(fused: Rows, size: BlockSizes, dh: number): Rows[] {
  const widths = widthsOf(size, dh).map((all) => all / size.kvHeads);
  const width = widths.reduce((a, b) => a + b);
  return widths.map((own, part) => {
    const from = widths.slice(0, part).reduce((a, b) => a + b, 0);
    return fused.map((features) =>
      Array.from({ length: size.kvHeads }, (_, g) =>
        features.slice(g * width + from, g * width + from + own),
      ).flat(),
    );
  });
}

function falcon(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const dh = (config.hidden_size as number) / (config.num_attention_heads as number);
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, 1e-5);
  const rope = ropeReference(config, dh, 1, tokens.length);
  const isGrouped = config.new_decoder_architecture === true;
  const slopes = bloomSlopes(config.num_attention_heads as number);
  let x = tokens.map((token) => row(weights, 'transformer.word_embeddings.weight', token));
  for (const [i, size] of sizes.entries()) {
    const { heads, kvHeads } = size;
    const layer = `transformer.h.${i}`;
    const hasTwo = isGrouped && config.num_ln_in_parallel_attn !== 1;
    const h = ln(x, `${layer}.${hasTwo ? 'ln_attn' : 'input_layernorm'}`);
    const fused = linear(h, weights, `${layer}.self_attention.query_key_value`);
    const isShared = !isGrouped && config.multi_query !== false;
    let [q, k, v] = isShared ? slices(fused, widthsOf(size, dh)) : byHeads(fused, size, dh);
    if (config.alibi !== true) {
      q = perHead(q, dh, (head, p) => turnReference(head, p, rope));
      k = perHead(k, dh, (head, p) => turnReference(head, p, rope));
    }
    const own = weights.get(`${layer}.self_attention.slopes`)?.data ?? slopes;
    const mixed = attention(q, k, v, {
      ...{ heads, kvHeads, scale: dh ** -0.5 },
      bias: (head, j) =>
        config.alibi === true ? bfloat16(bfloat16(own[head]) * bfloat16(j)) / Math.sqrt(dh) : 0,
    });
    const attended = linear(mixed, weights, `${layer}.self_attention.dense`);
    const mlp = (y: Rows) => {
      const inner = activate(linear(y, weights, `${layer}.mlp.dense_h_to_4h`), 'gelu');
      return linear(inner, weights, `${layer}.mlp.dense_4h_to_h`);
    };
    if (config.parallel_attn === false) {
      x = add(x, attended);
      x = add(x, mlp(ln(x, `${layer}.post_attention_layernorm`)));
    } else x = add(add(x, attended), mlp(hasTwo ? ln(x, `${layer}.ln_mlp`) : h));
  }
  const output = config.tie_word_embeddings === false ? 'lm_head' : 'transformer.word_embeddings';
  return linear(ln(x, 'transformer.ln_f'), weights, output);
}

/** The nearest number of eight significant bits, of two the even one. */
function bfloat16(value: number): number {
  if (value === 0) return 0;
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(value))) - 7);
  const units = value / unit;
  const floor = Math.floor(units);
  const isUp = units - floor > 0.5 || (units - floor === 0.5 && floor % 2 !== 0);
  return (floor + Number(isUp)) * unit;
}

/** build_alibi_tensor */
function bloomSlopes(all: number): number[] {
  const closest = 2 ** Math.floor(Math.log2(all));
  const slopes = Array.from(
    { length: closest },
    (_, i) => (2 ** -(2 ** -(Math.log2(closest) - 3))) ** (i + 1),
  );
  const extra = 2 ** -(2 ** -(Math.log2(2 * closest) - 3));
  for (let power = 1; slopes.length < all; power += 2) slopes.push(extra ** power);
  return slopes;
}

function bloom(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const all = config.n_head as number;
  const dh = ((config.n_embed ?? config.hidden_size) as number) / all;
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, 1e-5);
  const slopes = bloomSlopes(all);
  let x = tokens.map((token) => row(weights, 'transformer.word_embeddings.weight', token));
  x = ln(x, 'transformer.word_embeddings_layernorm');
  for (const [i, size] of sizes.entries()) {
    const { heads } = size;
    const layer = `transformer.h.${i}`;
    const h = ln(x, `${layer}.input_layernorm`);
    const fused = linear(h, weights, `${layer}.self_attention.query_key_value`);
    const [q, k, v] = byHeads(fused, size, dh);
    const own = weights.get(`${layer}.self_attention.slopes`)?.data ?? slopes;
    const mixed = attention(q, k, v, {
      ...{ heads, kvHeads: heads, scale: dh ** -0.5 },
      bias: (head, j) => own[head] * j,
    });
    x = add(x, linear(mixed, weights, `${layer}.self_attention.dense`));
    const g = ln(x, `${layer}.post_attention_layernorm`);
    const inner = activate(linear(g, weights, `${layer}.mlp.dense_h_to_4h`), 'gelu_pytorch_tanh');
    x = add(x, linear(inner, weights, `${layer}.mlp.dense_4h_to_h`));
  }
  const output = config.tie_word_embeddings === false ? 'lm_head' : 'transformer.word_embeddings';
  return linear(ln(x, 'transformer.ln_f'), weights, output);
}

function mpt(
  config: Config,
  sizes: readonly BlockSizes[],
  weights: Weights,
  tokens: readonly number[],
): Rows {
  const all = config.n_heads as number;
  const dh = (config.d_model as number) / all;
  const own = (config.attn_config ?? {}) as Record<string, number | undefined>;
  const ln = (x: Rows, name: string) => layerNorm(x, weights, name, 1e-5);
  // gen_slopes
  const power = 2 ** Math.ceil(Math.log2(all));
  let slopes = Array.from(
    { length: power },
    (_, i) => 1 / 2 ** ((i + 1) * ((own.alibi_bias_max ?? 8) / power)),
  );
  if (power !== all)
    slopes = [...slopes.filter((_, i) => i % 2 === 1), ...slopes.filter((_, i) => i % 2 === 0)].slice(0, all);
  const bound = own.clip_qkv ?? Number.POSITIVE_INFINITY;
  const last = tokens.length - 1;
  let x = tokens.map((token) => row(weights, 'transformer.wte.weight', token));
  for (const [i, size] of sizes.entries()) {
    const { heads } = size;
    const block = `transformer.blocks.${i}`;
    const fused = linear(ln(x, `${block}.norm_1`), weights, `${block}.attn.Wqkv`);
    const bounded = fused.map((features) =>
      features.map((value) => Math.min(Math.max(value, -bound), bound)),
    );
    const [q, k, v] = slices(bounded, widthsOf(size, dh));
    const factors = weights.get(`${block}.attn.slopes`)?.data ?? slopes;
    const mixed = attention(q, k, v, {
      ...{ heads, kvHeads: heads, scale: own.softmax_scale ?? dh ** -0.5 },
      bias: (head, j) => factors[head] * (j - last),
    });
    x = add(x, linear(mixed, weights, `${block}.attn.out_proj`));
    const inner = activate(linear(ln(x, `${block}.norm_2`), weights, `${block}.ffn.up_proj`), 'gelu');
    x = add(x, linear(inner, weights, `${block}.ffn.down_proj`));
  }
  return linear(ln(x, 'transformer.norm_f'), weights, 'transformer.wte');
}

interface Heads {
  heads: number;
  kvHeads: number;
  scale: number;
  window?: number;
  /** Tokens of the pieces that a text is in. */
  chunk?: number;
  /** What is added to the score of key j and query i in a head. */
  bias?: (head: number, j: number, i: number) => number;
  /** What becomes of a score. */
  bound?: (score: number) => number;
  /** Whether tokens see those behind them. */
  seesAll?: boolean;
  /** Of each head, the score of nothing. */
  sinks?: ArrayLike<number>;
}

export function attention(
  q: Rows,
  k: Rows,
  v: Rows,
  {
    heads,
    kvHeads,
    scale,
    window,
    chunk = Number.POSITIVE_INFINITY,
    bias = () => 0,
    bound = (score) => score,
    seesAll = false,
    sinks,
  }: Heads,
): Rows {
  const [dk, dv] = [k, v].map(([features]) => features.length / kvHeads);
  return q.map((query, i) => {
    const out = new Array<number>(heads * dv).fill(0);
    for (let h = 0; h < heads; h++) {
      const kv = Math.floor(h / (heads / kvHeads));
      const seen = k
        .map((_, j) => j)
        .filter((j) => (seesAll || j <= i) && Math.abs(i - j) < (window ?? Number.POSITIVE_INFINITY))
        .filter((j) => Math.floor(i / chunk) === Math.floor(j / chunk));
      const scores = seen.map((j) => {
        let score = 0;
        for (let c = 0; c < dk; c++) score += query[h * dk + c] * k[j][kv * dk + c];
        return bound(score * scale) + bias(h, j, i);
      });
      const nothing = sinks ? sinks[h] : Number.NEGATIVE_INFINITY;
      const top = Math.max(...scores, nothing);
      const exponentials = scores.map((score) => Math.exp(score - top));
      const total = exponentials.reduce((a, b) => a + b) + Math.exp(nothing - top);
      for (const [at, j] of seen.entries()) {
        for (let c = 0; c < dv; c++) out[h * dv + c] += (exponentials[at] / total) * v[j][kv * dv + c];
      }
    }
    return out;
  });
}

/** nn.Linear: weight out × in. */
/** By weights of their own or by the embeddings; the biases are the output's own in either case. */
function scores(x: Rows, weights: Weights, embeddings: string): Rows {
  const output = weights.has('lm_head.weight') ? 'lm_head.weight' : `${embeddings}.weight`;
  const own = ['weight', 'bias'].map(
    (kind) => [`output.${kind}`, weights.get(kind === 'bias' ? 'lm_head.bias' : output)!] as const,
  );
  return linear(x, new Map(own), 'output');
}

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
export function conv1d(x: Rows, weights: Weights, name: string): Rows {
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

/** @param centre  what the weight is the difference from */
export function layerNorm(
  x: Rows,
  weights: Weights | undefined,
  name: string,
  eps: number,
  centre = 0,
): Rows {
  const weight = weights?.get(`${name}.weight`)?.data;
  const bias = weights?.get(`${name}.bias`)?.data;
  return x.map((features) => {
    const mean = features.reduce((a, b) => a + b) / features.length;
    const variance = features.reduce((a, b) => a + (b - mean) ** 2, 0) / features.length;
    return features.map(
      (value, c) =>
        ((value - mean) / Math.sqrt(variance + eps)) * (centre + (weight?.[c] ?? 1)) + (bias?.[c] ?? 0),
    );
  });
}

export function rmsNorm(
  x: Rows,
  weights: Weights,
  name: string,
  eps: number,
  factor = (weight: number) => weight,
): Rows {
  const weight = weights.get(`${name}.weight`)!.data;
  return x.map((features) => {
    const square = features.reduce((a, b) => a + b * b, 0) / features.length;
    return features.map((value, c) => (value / Math.sqrt(square + eps)) * factor(weight[c]));
  });
}

/** A convolution over rows without padding; the weights are out × in × kernel. */
export function convolve(x: Rows, weights: Weights, name: string, stride: number): Rows {
  const { data, shape } = weights.get(`${name}.weight`)!;
  const [width, before, kernel] = shape;
  const bias = weights.get(`${name}.bias`)?.data;
  const length = Math.floor((x.length - kernel) / stride) + 1;
  return Array.from({ length }, (_, t) =>
    Array.from({ length: width }, (_, o) => {
      let total = bias?.[o] ?? 0;
      for (let k = 0; k < kernel; k++)
        for (let c = 0; c < before; c++) total += data[(o * before + c) * kernel + k] * x[t * stride + k][c];
      return total;
    }),
  );
}

export function activate(x: Rows, name: string): Rows {
  const f = ACTIVATIONS[name];
  return x.map((features) => features.map(f));
}

const tanhGelu = (x: number) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));

const ACTIVATIONS: Record<string, (x: number) => number> = {
  relu: (x) => Math.max(x, 0),
  relu2: (x) => Math.max(x, 0) ** 2,
  tanh: Math.tanh,
  silu: (x) => x / (1 + Math.exp(-x)),
  swish: (x) => x / (1 + Math.exp(-x)),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_new: tanhGelu,
  gelu_pytorch_tanh: tanhGelu,
  quick_gelu: (x) => x / (1 + Math.exp(-1.702 * x)),
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

export function perHead(x: Rows, dh: number, f: (head: number[], position: number) => number[]): Rows {
  return x.map((features, p) =>
    Array.from({ length: features.length / dh }, (_, h) => f(features.slice(h * dh, (h + 1) * dh), p)).flat(),
  );
}

export function row(weights: Weights, name: string, index: number): number[] {
  const { shape, data } = weights.get(name)!;
  return Array.from(data.subarray(index * shape[1], (index + 1) * shape[1]));
}

const times = (rows: Rows, factor: number) => rows.map((features) => features.map((value) => factor * value));
export const product = (a: Rows, b: Rows) =>
  a.map((features, p) => features.map((value, c) => value * b[p][c]));

/** The columns of maps that one matrix holds. */
export function slices(x: Rows, widths: readonly number[]): Rows[] {
  const ends = widths.map((_, at) => widths.slice(0, at + 1).reduce((a, b) => a + b));
  return ends.map((end, at) => x.map((features) => features.slice(end - widths[at], end)));
}

export const sum = (a: readonly number[], b: readonly number[]) => a.map((value, c) => value + b[c]);
export const add = (a: Rows, b: Rows) => a.map((features, p) => sum(features, b[p]));
