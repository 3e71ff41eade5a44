// Tiny random checkpoints of every variant, with the names and shapes that Hugging Face gives their tensors.

import type { BlockSizes, Config } from '../../src/checkpoint/architectures/index.ts';
import { hasLatent, llamaNames, optNames, widthsOf } from './reference.ts';
import { type Weights, weightMaker } from './source.ts';

const HIDDEN = 32;
const HEADS = 4;
const FFN = 20;
const VOCABULARY = 40;
const BLOCKS = 2;
const POSITIONS = 32;

export const OPT: Config = {
  model_type: 'opt',
  hidden_size: HIDDEN,
  word_embed_proj_dim: HIDDEN,
  ffn_dim: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
  activation_function: 'relu',
  do_layer_norm_before: true,
  enable_bias: true,
  layer_norm_elementwise_affine: true,
};

const BIOGPT: Config = {
  model_type: 'biogpt',
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  hidden_act: 'gelu',
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
};
const XGLM: Config = {
  model_type: 'xglm',
  d_model: HIDDEN,
  ffn_dim: FFN,
  num_layers: BLOCKS,
  attention_heads: HEADS,
  activation_function: 'gelu',
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
};

export const LLAMA: Config = {
  model_type: 'llama',
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  num_key_value_heads: 2,
  hidden_act: 'silu',
  max_position_embeddings: POSITIONS,
  rms_norm_eps: 1e-5,
  rope_theta: 100, // low, so that all pairs of a head turn within a tiny text
  vocab_size: VOCABULARY,
  tie_word_embeddings: false,
};

export const GPT2: Config = {
  model_type: 'gpt2',
  n_embd: HIDDEN,
  n_head: HEADS,
  n_layer: BLOCKS,
  n_inner: FFN,
  n_positions: POSITIONS,
  vocab_size: VOCABULARY,
  activation_function: 'gelu_new',
  layer_norm_epsilon: 1e-5,
};

export const NEOX: Config = {
  model_type: 'gpt_neox',
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  hidden_act: 'gelu',
  max_position_embeddings: POSITIONS,
  rotary_pct: 0.5,
  rotary_emb_base: 100,
  layer_norm_eps: 1e-5,
  use_parallel_residual: true,
  vocab_size: VOCABULARY,
  tie_word_embeddings: false,
};

export const PHI: Config = {
  model_type: 'phi',
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  hidden_act: 'gelu_new',
  max_position_embeddings: POSITIONS,
  partial_rotary_factor: 0.5,
  rope_theta: 100,
  layer_norm_eps: 1e-5,
  vocab_size: VOCABULARY,
  tie_word_embeddings: false,
};

export const GPT_NEO: Config = {
  model_type: 'gpt_neo',
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_layers: BLOCKS,
  num_heads: HEADS,
  attention_types: [[['global', 'local'], 1]],
  window_size: 4,
  activation_function: 'gelu_new',
  max_position_embeddings: POSITIONS,
  layer_norm_epsilon: 1e-5,
  vocab_size: VOCABULARY,
};

export const BIGCODE: Config = { ...GPT2, model_type: 'gpt_bigcode', activation_function: undefined };

export const FALCON: Config = {
  model_type: 'falcon',
  hidden_size: HIDDEN,
  num_attention_heads: HEADS,
  num_hidden_layers: BLOCKS,
  ffn_hidden_size: FFN,
  rope_theta: 100,
  vocab_size: VOCABULARY,
};
const FALCON_RW: Config = {
  ...FALCON,
  num_attention_heads: 16, // of which every second one has a factor that is no bfloat16
  alibi: true,
  bias: true,
  multi_query: false,
  parallel_attn: false,
};
const FALCON_GROUPS: Config = { ...FALCON, new_decoder_architecture: true, num_kv_heads: 2 };

export const BLOOM: Config = {
  model_type: 'bloom',
  hidden_size: HIDDEN,
  n_head: HEADS,
  n_layer: BLOCKS,
  vocab_size: VOCABULARY,
};

export const MPT: Config = {
  model_type: 'mpt',
  d_model: HIDDEN,
  n_heads: HEADS,
  n_layers: BLOCKS,
  max_seq_len: POSITIONS,
  vocab_size: VOCABULARY,
};

export const GPTJ: Config = {
  model_type: 'gptj',
  n_embd: HIDDEN,
  n_head: HEADS,
  n_layer: BLOCKS,
  n_inner: FFN,
  n_positions: POSITIONS,
  rotary_dim: 4,
  layer_norm_epsilon: 1e-5,
  vocab_size: VOCABULARY,
};

const CODEGEN: Config = { ...GPTJ, model_type: 'codegen', n_head: 8, rotary_dim: 2 };

const { hidden_act: _, ...WITHOUT_ACTIVATION } = LLAMA;
const GEMMA: Config = { ...WITHOUT_ACTIVATION, head_dim: 6, tie_word_embeddings: true };
export const GEMMA2: Config = {
  ...GEMMA,
  model_type: 'gemma2',
  query_pre_attn_scalar: 12,
  attn_logit_softcapping: 1.5,
  final_logit_softcapping: 2,
  sliding_window: 4,
};
const GEMMA3: Config = {
  ...GEMMA,
  model_type: 'gemma3_text',
  query_pre_attn_scalar: 7,
  sliding_window: 4,
  sliding_window_pattern: 2,
  rope_local_base_freq: 10,
};
export const OLMO: Config = { ...LLAMA, model_type: 'olmo' };
const OLMO2: Config = { ...LLAMA, model_type: 'olmo2' };
/** Two key heads of three features, each for two value heads of five; the norm behind them adds another number than others. */
export const OLMO_HYBRID: Config = {
  ...LLAMA,
  model_type: 'olmo_hybrid',
  rms_norm_eps: 1e-4,
  rope_theta: undefined,
  rope_parameters: { rope_theta: null },
  layer_types: ['linear_attention', 'full_attention'],
  linear_num_key_heads: 2,
  linear_num_value_heads: 4,
  linear_key_head_dim: 3,
  linear_value_head_dim: 5,
};
const OLMO3: Config = { ...LLAMA, model_type: 'olmo3', sliding_window: 4, num_hidden_layers: BLOCKS };
const EXAONE4: Config = {
  ...LLAMA,
  model_type: 'exaone4',
  sliding_window: 4,
  sliding_window_pattern: 2,
};
const EXAONE: Config = {
  ...WITHOUT_ACTIVATION,
  model_type: 'exaone',
  activation_function: 'silu',
  num_hidden_layers: undefined,
  num_layers: BLOCKS,
  rms_norm_eps: undefined,
  layer_norm_epsilon: 1e-5,
};
const HUNYUAN: Config = { ...LLAMA, model_type: 'hunyuan_v1_dense', head_dim: 6 };
const GLM: Config = { ...LLAMA, model_type: 'glm', head_dim: 8 };
const NEMOTRON: Config = { ...WITHOUT_ACTIVATION, model_type: 'nemotron', norm_eps: 1e-5 };
/** What the tensors of tiny models go by. */
export const STACKED = { transformers_version: '5.0.0' };
const EXPERTS = { num_experts: 4, num_experts_per_tok: 2 };
export const MIXTRAL: Config = {
  ...LLAMA,
  model_type: 'mixtral',
  intermediate_size: 6,
  num_local_experts: 4,
  num_experts_per_tok: 2,
};
const OLMOE: Config = { ...LLAMA, ...EXPERTS, model_type: 'olmoe', intermediate_size: 6 };
export const QWEN2_MOE: Config = {
  ...LLAMA,
  ...EXPERTS,
  model_type: 'qwen2_moe',
  moe_intermediate_size: 6,
  shared_expert_intermediate_size: 10,
};
const QWEN3_MOE: Config = {
  ...LLAMA,
  ...EXPERTS,
  model_type: 'qwen3_moe',
  head_dim: 10,
  moe_intermediate_size: 6,
};
const QWEN3_VL_MOE: Config = { ...QWEN3_MOE, model_type: 'qwen3_vl_moe_text' };
/** For texts four times as long as those that it was trained on first. */
const YARN = {
  type: 'yarn',
  factor: 4,
  beta_fast: 4,
  mscale: 0.7,
  mscale_all_dim: 0.9,
  original_max_position_embeddings: 32,
};
const DEEPSEEK: Config = {
  ...LLAMA,
  model_type: 'deepseek_v3',
  num_key_value_heads: HEADS,
  q_lora_rank: 12,
  kv_lora_rank: 10,
  qk_nope_head_dim: 6,
  qk_rope_head_dim: 4,
  v_head_dim: 5,
  n_routed_experts: 6,
  num_experts_per_tok: 2,
  n_shared_experts: 2,
  moe_intermediate_size: 6,
  first_k_dense_replace: 1,
  n_group: 3,
  topk_group: 2,
  routed_scaling_factor: 1.5,
  norm_topk_prob: true,
};
const GLM4_MOE: Config = {
  ...LLAMA,
  model_type: 'glm4_moe',
  head_dim: 8,
  n_routed_experts: 4,
  num_experts_per_tok: 2,
  n_shared_experts: 1,
  moe_intermediate_size: 6,
  first_k_dense_replace: 1,
  routed_scaling_factor: 2,
  norm_topk_prob: true,
};
const DOTS: Config = { ...GLM4_MOE, model_type: 'dots1', head_dim: undefined };
const YOUTU: Config = {
  ...LLAMA,
  model_type: 'youtu',
  num_key_value_heads: HEADS,
  q_lora_rank: 12,
  kv_lora_rank: 10,
  qk_nope_head_dim: 6,
  qk_rope_head_dim: 4,
  v_head_dim: 5,
};
/** Its config has no field for neurons of others than experts. */
const SOLAR_OPEN: Config = {
  ...GLM4_MOE,
  model_type: 'solar_open',
  intermediate_size: undefined,
  first_k_dense_replace: undefined,
};
export const AFMOE: Config = {
  ...LLAMA,
  ...EXPERTS,
  model_type: 'afmoe',
  head_dim: 6,
  mup_enabled: true,
  global_attn_every_n_layers: 2,
  sliding_window: 4,
  num_dense_layers: 1,
  num_shared_experts: 2,
  moe_intermediate_size: 6,
  route_scale: 1.5,
};
const NANOCHAT: Config = { ...WITHOUT_ACTIVATION, model_type: 'nanochat' };
export const MOBILELLM: Config = { ...LLAMA, model_type: 'mobilellm', share_embedding: true };
export const LLAMA4: Config = {
  ...LLAMA,
  model_type: 'llama4_text',
  head_dim: 6,
  intermediate_size: 6,
  intermediate_size_mlp: FFN,
  num_local_experts: 4,
  num_experts_per_tok: 1,
  moe_layers: [1],
  no_rope_layers: [1, 0],
  attention_chunk_size: 5,
  floor_scale: 4,
  attn_scale: 0.5,
};
const MISTRAL4: Config = {
  ...DEEPSEEK,
  model_type: 'mistral4',
  n_group: undefined,
  topk_group: undefined,
  rope_theta: undefined,
  first_k_dense_replace: 0,
};
/** Of 8 and of 28 neurons: no fewer than nine tenths of 5.44, and next to 28.8. */
export const OPENELM: Config = {
  model_type: 'openelm',
  model_dim: HIDDEN,
  num_transformer_layers: BLOCKS,
  max_context_length: POSITIONS,
  vocab_size: VOCABULARY,
  head_dim: 6,
  num_query_heads: [4, 6],
  num_kv_heads: [2, 3],
  ffn_multipliers: [0.17, 0.9],
  ffn_dim_divisor: 4,
  activation_fn_name: 'swish',
  normalize_qk_projections: true,
  share_input_output_layers: true,
  rope_freq_constant: 100,
};
export const JAIS: Config = {
  ...GPT2,
  model_type: 'jais',
  activation_function: 'swiglu',
  position_embedding_type: 'alibi',
  mup_embeddings_scale: 3,
  mup_output_alpha: 2,
  mup_width_scale: 0.4,
  mup_scale_qk_dot_by_d: true,
};
export const MODERNBERT_DECODER: Config = {
  model_type: 'modernbert-decoder',
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  num_hidden_layers: BLOCKS,
  num_attention_heads: HEADS,
  max_position_embeddings: POSITIONS,
  vocab_size: VOCABULARY,
  norm_eps: 1e-5,
  local_attention: 7,
  layer_types: ['full_attention', 'sliding_attention'],
  global_rope_theta: 1000,
  local_rope_theta: 100,
};
const ERNIE_MOE: Config = {
  ...LLAMA,
  model_type: 'ernie4_5_moe',
  tie_word_embeddings: undefined,
  moe_num_experts: 4,
  moe_k: 2,
  moe_num_shared_experts: 2,
  moe_intermediate_size: 6,
};
const PHIMOE: Config = {
  ...MIXTRAL,
  model_type: 'phimoe',
  attention_bias: true,
  lm_head_bias: true,
  router_jitter_noise: 0.2, // so that some experts are near to the best, and others are not
};
const GRANITE_FACTORS = {
  embedding_multiplier: 3,
  attention_multiplier: 0.2,
  residual_multiplier: 0.4,
  logits_scaling: 2,
};
const GRANITE_MOE: Config = {
  ...LLAMA,
  ...GRANITE_FACTORS,
  model_type: 'granitemoe',
  intermediate_size: 6,
  num_local_experts: 4,
  num_experts_per_tok: 2,
};
const GRANITE_HYBRID: Config = {
  ...GRANITE_MOE,
  model_type: 'granitemoehybrid',
  num_local_experts: 0,
  shared_intermediate_size: FFN,
  layer_types: ['attention', 'attention'],
};
/** Eight heads of eight features, which share keys and queries of three. */
const SPACE: Config = {
  mamba_n_heads: 8,
  mamba_n_groups: 1,
  mamba_d_state: 3,
  mamba_d_head: 8,
  mamba_expand: 2,
  mamba_d_conv: 4,
};
export const GRANITE_SPACE: Config = { ...GRANITE_HYBRID, ...SPACE, layer_types: ['mamba', 'attention'] };
const BAMBA: Config = { ...LLAMA, ...SPACE, model_type: 'bamba', attn_layer_indices: [1] };
/** Beside attention four heads of ten features, which share keys and queries of three. */
export const FALCON_H1: Config = {
  ...LLAMA,
  model_type: 'falcon_h1',
  head_dim: 6,
  mamba_d_ssm: 40,
  mamba_n_heads: 4,
  mamba_n_groups: 1,
  mamba_d_head: 10,
  mamba_d_state: 3,
  embedding_multiplier: 1.5,
  lm_head_multiplier: 0.7,
  key_multiplier: 0.6,
  attention_in_multiplier: 0.9,
  attention_out_multiplier: 0.8,
  ssm_in_multiplier: 1.3,
  ssm_out_multiplier: 1.2,
  ssm_multipliers: [0.7, 1.4, 0.8, 1.1, 0.5],
  mlp_multipliers: [0.6, 1.6],
};
const FALCON_H1_NORMED: Config = {
  ...FALCON_H1,
  mamba_rms_norm: true,
  mamba_norm_before_gate: false,
  mamba_n_groups: 2,
};
/** A state space of eight heads of five features, in two groups, and attention behind it. */
export const NEMOTRON_H: Config = {
  model_type: 'nemotron_h',
  hidden_size: HIDDEN,
  intermediate_size: FFN,
  vocab_size: VOCABULARY,
  max_position_embeddings: POSITIONS,
  num_attention_heads: HEADS,
  num_key_value_heads: 2,
  head_dim: 8,
  layers_block_type: ['mamba', 'attention'],
  layer_norm_epsilon: 1e-4,
  mamba_num_heads: 8,
  mamba_head_dim: 5,
  n_groups: 2,
  ssm_state_size: 3,
  n_routed_experts: 4,
  num_experts_per_tok: 2,
  moe_intermediate_size: 6,
  moe_shared_expert_intermediate_size: 10,
  routed_scaling_factor: 1.5,
};
/** Eight heads of eight features, in two groups. */
export const MAMBA2: Config = {
  model_type: 'mamba2',
  hidden_size: HIDDEN,
  num_hidden_layers: BLOCKS,
  vocab_size: VOCABULARY,
  layer_norm_epsilon: 1e-4,
  num_heads: 8,
  head_dim: 8,
  n_groups: 2,
  state_size: 3,
  expand: 2,
};
const GPT_OSS: Config = {
  ...LLAMA,
  model_type: 'gpt_oss',
  head_dim: 6,
  intermediate_size: 6,
  num_local_experts: 4,
  num_experts_per_tok: 2,
  sliding_window: 4,
  swiglu_limit: 0.8, // low, so that much is beyond it
};
export const LFM2: Config = {
  ...LLAMA,
  model_type: 'lfm2',
  intermediate_size: undefined,
  block_ff_dim: 26, // of which two thirds are 17, the next multiple of 4 is 20
  block_multiple_of: 4,
  norm_eps: 1e-5,
  conv_L_cache: 3,
  full_attn_idxs: [1],
  tie_word_embeddings: undefined,
};
const LFM2_MOE: Config = {
  ...LLAMA,
  ...EXPERTS,
  model_type: 'lfm2_moe',
  norm_eps: 1e-5,
  conv_L_cache: 3,
  layer_types: ['full_attention', 'conv'],
  num_dense_layers: 1,
  moe_intermediate_size: 6,
  routed_scaling_factor: 1.5,
  norm_topk_prob: true,
};
/** Two key heads of three features, each for two value heads of five. */
const QWEN_DELTA: Config = {
  ...LLAMA,
  head_dim: 8,
  partial_rotary_factor: 0.5,
  layer_types: ['linear_attention', 'full_attention'],
  linear_num_key_heads: 2,
  linear_num_value_heads: 4,
  linear_key_head_dim: 3,
  linear_value_head_dim: 5,
  linear_conv_kernel_dim: 4,
};
export const QWEN3_5: Config = { ...QWEN_DELTA, model_type: 'qwen3_5_text' };
const QWEN3_NEXT: Config = {
  ...QWEN_DELTA,
  ...EXPERTS,
  model_type: 'qwen3_next',
  moe_intermediate_size: 6,
  shared_expert_intermediate_size: 8,
};
const CHATGLM: Config = {
  model_type: 'chatglm',
  hidden_size: HIDDEN,
  ffn_hidden_size: FFN,
  num_layers: BLOCKS,
  num_attention_heads: HEADS,
  kv_channels: 8,
  multi_query_attention: true,
  multi_query_group_num: 2,
  seq_length: POSITIONS,
  padded_vocab_size: VOCABULARY,
  layernorm_epsilon: 1e-5,
  rope_ratio: 0.01, // low, so that all pairs of a head turn within a tiny text
  add_bias_linear: false,
  add_qkv_bias: true,
};
const BAICHUAN: Config = { ...LLAMA, model_type: 'baichuan', num_key_value_heads: undefined };
const APERTUS: Config = {
  ...WITHOUT_ACTIVATION,
  model_type: 'apertus',
  rope_scaling: {
    rope_type: 'llama3',
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 32,
  },
};
export const STABLELM: Config = {
  ...LLAMA,
  model_type: 'stablelm',
  layer_norm_eps: 1e-5,
  partial_rotary_factor: 0.5,
};
const STARCODER2: Config = { ...WITHOUT_ACTIVATION, model_type: 'starcoder2', norm_epsilon: 1e-5 };
export const COHERE: Config = {
  ...LLAMA,
  model_type: 'cohere',
  layer_norm_eps: 1e-5,
  tie_word_embeddings: undefined,
};
const COHERE2: Config = {
  ...COHERE,
  model_type: 'cohere2',
  sliding_window: 4,
  sliding_window_pattern: 2,
};
export const PHI3: Config = { ...LLAMA, model_type: 'phi3' };
const LONGROPE = {
  type: 'longrope',
  short_factor: [1, 1.5, 2],
  long_factor: [1, 3, 6],
};

const scaled = (rope_scaling: object): Config => ({ ...LLAMA, rope_scaling });
const window = { sliding_window: 4 };

/** Name to config, and where blocks differ in size, to these sizes. */
export const VARIANTS: Readonly<Record<string, { config: Config; sizes?: readonly BlockSizes[] }>> = {
  opt: { config: OPT },
  'opt like 350m: post-norm, projected embeddings': {
    config: { ...OPT, do_layer_norm_before: false, word_embed_proj_dim: 12 },
  },
  'opt, gelu, untied, no final norm': {
    config: {
      ...OPT,
      activation_function: 'gelu',
      tie_word_embeddings: false,
      _remove_final_layer_norm: true,
    },
  },
  'opt without biases, norms without weights': {
    config: { ...OPT, enable_bias: false, layer_norm_elementwise_affine: false },
  },
  'opt, pruned': { config: OPT, sizes: blocks([3, 3, 11], [2, 2, 17]) },
  biogpt: { config: BIOGPT },
  'biogpt, untied': { config: { ...BIOGPT, tie_word_embeddings: false } },
  xglm: { config: XGLM },
  'openai-gpt': {
    config: {
      ...GPT2,
      model_type: 'openai-gpt',
      n_inner: 4 * HIDDEN,
      activation_function: undefined,
      afn: 'gelu',
    },
  },
  'opt, narrow heads': { config: OPT, sizes: narrow([4, 4, 20, 5, 5], [3, 3, 11, 8, 3]) },
  llama: { config: LLAMA },
  'llama without groups, tied': {
    config: { ...LLAMA, num_key_value_heads: undefined, tie_word_embeddings: true },
  },
  'llama of one key-value head': { config: { ...LLAMA, num_key_value_heads: 1 } },
  'llama with biases and its own head_dim': {
    config: { ...LLAMA, attention_bias: true, mlp_bias: true, head_dim: 6 },
  },
  'llama, linear scaling': { config: scaled({ type: 'linear', factor: 4 }) },
  'llama, dynamic scaling': {
    config: { ...scaled({ type: 'dynamic', factor: 2 }), max_position_embeddings: 8 },
  },
  'llama 3': {
    config: scaled({
      rope_type: 'llama3',
      factor: 8,
      low_freq_factor: 1,
      high_freq_factor: 4,
      original_max_position_embeddings: 32,
    }),
  },
  'llama, yarn': {
    config: scaled({ rope_type: 'yarn', factor: 4, beta_fast: 4, original_max_position_embeddings: 32 }),
  },
  'llama, yarn as transformers 5 writes it': {
    config: {
      ...LLAMA,
      rope_theta: undefined,
      rope_parameters: {
        rope_theta: 100,
        rope_type: 'yarn',
        factor: 4,
        beta_fast: 4,
        mscale: 2,
        mscale_all_dim: 1,
        truncate: false,
        original_max_position_embeddings: 32,
      },
    },
  },
  'llama, pruned': { config: LLAMA, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  'llama, narrow values': { config: LLAMA, sizes: narrow([4, 2, 20, 8, 5], [2, 1, 9, 8, 1]) },
  'mistral, sliding window': { config: { ...LLAMA, model_type: 'mistral', ...window } },
  'mistral, whose layer_types say nothing': {
    config: {
      ...LLAMA,
      model_type: 'mistral',
      ...window,
      layer_types: ['full_attention', 'sliding_attention'],
    },
  },
  'mistral, full attention': { config: { ...LLAMA, model_type: 'mistral', sliding_window: null } },
  'ministral3, which says nothing of its positions': {
    config: { ...LLAMA, model_type: 'ministral3', head_dim: 8, rope_theta: undefined },
  },
  ministral3: {
    config: {
      ...LLAMA,
      model_type: 'ministral3',
      head_dim: 8,
      rope_theta: undefined,
      rope_parameters: {
        rope_type: 'yarn',
        rope_theta: 100,
        factor: 4,
        beta_fast: 4,
        mscale: 1,
        mscale_all_dim: 1,
        original_max_position_embeddings: 5, // so that a tiny text has three rounds of them
        llama_4_scaling_beta: 0.7,
      },
    },
  },
  qwen2: { config: { ...LLAMA, model_type: 'qwen2', ...window, use_sliding_window: false } },
  'qwen2, one block with a sliding window': {
    config: { ...LLAMA, model_type: 'qwen2', ...window, use_sliding_window: true, max_window_layers: 1 },
  },
  qwen3: { config: { ...LLAMA, model_type: 'qwen3', head_dim: 10 } },
  mixtral: { config: MIXTRAL },
  'mixtral, window, one expert for a token': {
    config: { ...MIXTRAL, ...window, num_experts_per_tok: 1, head_dim: 6 },
  },
  'mixtral, pruned': {
    config: MIXTRAL,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 0, experts: [3, 6, 1, 4] },
      { heads: 4, kvHeads: 2, ffn: 0, experts: [5, 2, 6, 6] },
    ],
  },
  phimoe: { config: PHIMOE },
  'phimoe, pruned': {
    config: PHIMOE,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 0, experts: [3, 6, 1, 4] },
      { heads: 4, kvHeads: 2, ffn: 0, experts: [5, 5, 5, 5] },
    ],
  },
  'phimoe, longrope, no biases': {
    config: {
      ...PHIMOE,
      attention_bias: false,
      lm_head_bias: false,
      rope_scaling: {
        type: 'longrope',
        short_factor: [1, 1.1, 1.3, 2],
        long_factor: [1, 2, 3, 4],
        short_mscale: 1.2,
        long_mscale: 1.2,
        original_max_position_embeddings: 8,
      },
    },
  },
  olmoe: { config: OLMOE },
  'olmoe, bounds of queries, keys and values, shares that sum to 1': {
    config: { ...OLMOE, clip_qkv: 0.5, norm_topk_prob: true, tie_word_embeddings: true },
  },
  qwen2_moe: { config: QWEN2_MOE },
  'qwen2_moe, an MLP for all tokens in the first block, no biases': {
    config: { ...QWEN2_MOE, mlp_only_layers: [0], norm_topk_prob: true, qkv_bias: false },
  },
  'qwen2_moe, pruned': {
    config: QWEN2_MOE,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 7, experts: [3, 6, 1, 4] },
      { heads: 4, kvHeads: 2, ffn: 10, experts: [5, 2, 6, 6] },
    ],
  },
  qwen3_moe: { config: QWEN3_MOE },
  'qwen3_moe, experts in every second block': {
    config: { ...QWEN3_MOE, decoder_sparse_step: 2, norm_topk_prob: true },
  },
  qwen3_vl_moe_text: { config: QWEN3_VL_MOE },
  'qwen3_vl_moe_text, pruned: experts of different sizes have tensors of their own': {
    config: QWEN3_VL_MOE,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 0, experts: [3, 3, 3, 3] },
      { heads: 4, kvHeads: 2, ffn: 0, experts: [5, 2, 6, 6] },
    ],
  },
  lfm2: { config: LFM2 },
  'lfm2, biases, all neurons, attention first': {
    config: {
      ...LFM2,
      block_auto_adjust_ff_dim: false,
      block_ff_dim: FFN,
      conv_bias: true,
      conv_L_cache: 4,
      full_attn_idxs: undefined,
      layer_types: ['full_attention', 'conv'],
      tie_embedding: false,
    },
  },
  'lfm2, pruned': { config: LFM2, sizes: blocks([0, 0, 11], [2, 1, 17]) },
  'lfm2, narrow values': {
    config: { ...LFM2, full_attn_idxs: [0] },
    sizes: narrow([4, 2, 20, 8, 5], [0, 0, 20, 8, 8]),
  },
  qwen3_5_text: { config: QWEN3_5 },
  'qwen3_5_text, attention alone, biases': {
    config: {
      ...QWEN3_5,
      layer_types: undefined,
      full_attention_interval: 1,
      attention_bias: true,
      tie_word_embeddings: true,
    },
  },
  'qwen3_5_text, a value head for each of keys, attention first': {
    config: {
      ...QWEN3_5,
      layer_types: ['full_attention', 'linear_attention'],
      linear_num_key_heads: 3,
      linear_num_value_heads: 3,
    },
  },
  'qwen3_5_text, pruned': { config: QWEN3_5, sizes: narrow([2, 1, 11, 3, 5], [2, 1, 17, 8, 8]) },
  qwen3_next: { config: QWEN3_NEXT },
  'qwen3_next, shares as they come, an MLP for all tokens in the first block': {
    config: { ...QWEN3_NEXT, norm_topk_prob: false, mlp_only_layers: [0] },
  },
  'qwen3_next, pruned': {
    config: QWEN3_NEXT,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 7, experts: [2, 6, 3, 4], keyDim: 3, valueDim: 5 },
      { heads: 2, kvHeads: 1, ffn: 8, experts: [5, 2, 6, 6] },
    ],
  },
  qwen3_5_moe_text: {
    config: { ...QWEN3_NEXT, model_type: 'qwen3_5_moe_text', intermediate_size: undefined, ...STACKED },
  },
  lfm2_moe: { config: LFM2_MOE },
  'lfm2_moe, shares as they come, no corrections, attention beside experts': {
    config: {
      ...LFM2_MOE,
      norm_topk_prob: false,
      use_expert_bias: false,
      layer_types: ['conv', 'full_attention'],
      tie_word_embeddings: true,
    },
  },
  'lfm2_moe, pruned': {
    config: LFM2_MOE,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 9 },
      { heads: 0, kvHeads: 0, ffn: 0, experts: [3, 6, 1, 4] },
    ],
  },
  chatglm: { config: CHATGLM },
  'chatglm, biases': { config: { ...CHATGLM, add_bias_linear: true, multi_query_attention: false } },
  baichuan: { config: BAICHUAN },
  'baichuan, 13B of the second: ALiBi, scores by directions': {
    config: {
      ...BAICHUAN,
      max_position_embeddings: undefined,
      model_max_length: POSITIONS,
      z_loss_weight: 0,
    },
  },
  apertus: { config: APERTUS },
  'apertus, pruned': { config: APERTUS, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  deepseek_v3: { config: DEEPSEEK },
  'deepseek_v3 as it was trained for long texts, one map of queries, biases, no groups': {
    config: {
      ...DEEPSEEK,
      q_lora_rank: null,
      attention_bias: true,
      n_group: 1,
      topk_group: 1,
      rope_interleave: false,
      rope_scaling: YARN,
    },
  },
  ...stacked({
    mixtral: MIXTRAL,
    phimoe: PHIMOE,
    olmoe: OLMOE,
    qwen2_moe: { ...QWEN2_MOE, mlp_only_layers: [0] },
    qwen3_moe: QWEN3_MOE,
    deepseek_v2: { ...DEEPSEEK, model_type: 'deepseek_v2', norm_topk_prob: false, topk_method: 'greedy' },
    deepseek_v3: DEEPSEEK,
    glm4_moe: GLM4_MOE,
    afmoe: AFMOE,
    mistral4: MISTRAL4,
    lfm2_moe: LFM2_MOE,
    ernie4_5_moe: ERNIE_MOE,
  }),
  'mixtral, stacked, pruned: experts alike stay in one tensor': {
    config: { ...MIXTRAL, ...STACKED },
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 0, experts: [3, 3, 3, 3] },
      { heads: 4, kvHeads: 2, ffn: 0, experts: [5, 2, 6, 6] },
    ],
  },
  'qwen2_moe, stacked, pruned': {
    config: { ...QWEN2_MOE, ...STACKED },
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 7, experts: [3, 6, 1, 4] },
      { heads: 4, kvHeads: 2, ffn: 10, experts: [5, 5, 5, 5] },
    ],
  },
  'deepseek_v3, pruned': {
    config: DEEPSEEK,
    sizes: [
      { heads: 2, kvHeads: 2, ffn: 7 },
      { heads: 3, kvHeads: 3, ffn: 9, experts: [5, 2, 6, 6, 1, 3] },
    ],
  },
  'deepseek_v2, experts in groups': {
    config: {
      ...DEEPSEEK,
      model_type: 'deepseek_v2',
      norm_topk_prob: false,
      topk_method: 'group_limited_greedy',
    },
  },
  'deepseek_v2, one map of queries': {
    config: {
      ...DEEPSEEK,
      model_type: 'deepseek_v2',
      norm_topk_prob: false,
      topk_method: 'greedy',
      q_lora_rank: null,
    },
  },
  'glm4_moe_lite, experts in groups, for long texts': {
    config: {
      ...DEEPSEEK,
      model_type: 'glm4_moe_lite',
      rope_scaling: YARN,
    },
  },
  'glm4_moe_lite, blocks by a list, shares that are not normalised': {
    config: {
      ...DEEPSEEK,
      model_type: 'glm4_moe_lite',
      first_k_dense_replace: undefined,
      mlp_layer_types: ['sparse', 'dense'],
      mlp_only_layers: [1],
      norm_topk_prob: false,
      n_group: 1,
      topk_group: 1,
    },
  },
  dots1: { config: DOTS },
  'dots1, a window in the second block, biases, shares that are not normalised': {
    config: {
      ...DOTS,
      sliding_window: 4,
      max_window_layers: 1,
      attention_bias: true,
      norm_topk_prob: undefined,
    },
  },
  'ministral, a window in one block': {
    config: {
      ...LLAMA,
      model_type: 'ministral',
      sliding_window: 4,
      layer_types: ['full_attention', 'sliding_attention'],
    },
  },
  glm4_moe: { config: GLM4_MOE },
  'glm4_moe, norms of queries and keys, biases, experts in groups': {
    config: { ...GLM4_MOE, use_qk_norm: true, attention_bias: true, n_group: 2, topk_group: 1 },
  },
  youtu: { config: YOUTU },
  'youtu, one map of queries, biases, halves as pairs, scaled, tied': {
    config: {
      ...YOUTU,
      q_lora_rank: null,
      attention_bias: true,
      rope_interleave: false,
      rope_scaling: YARN,
      tie_word_embeddings: true,
    },
  },
  'youtu, pruned': { config: YOUTU, sizes: blocks([2, 2, 7], [3, 3, 20]) },
  llama4_text: { config: LLAMA4 },
  'llama4_text, experts in all blocks, pieces by list, scores and norms as they are, biases, tied': {
    config: {
      ...LLAMA4,
      ...{ moe_layers: undefined, interleave_moe_layer_step: 1, num_experts_per_tok: 2 },
      ...{ no_rope_layers: [0, 1], layer_types: ['chunked_attention', 'full_attention'] },
      ...{ use_qk_norm: false, attn_temperature_tuning: false },
      ...{ attention_bias: true, tie_word_embeddings: true },
    },
  },
  'llama4_text without experts, both norms': {
    config: { ...LLAMA4, num_local_experts: 0, moe_layers: [], no_rope_layers: [1, 1] },
  },
  'llama4_text, pruned': {
    config: LLAMA4,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 7 },
      { heads: 4, kvHeads: 2, ffn: 5, experts: [3, 6, 1, 4] },
    ],
  },
  mistral4: { config: MISTRAL4 },
  'mistral4, scores of far tokens, experts in groups, a block without them, biases': {
    config: {
      ...MISTRAL4,
      ...{ n_group: 3, topk_group: 2, first_k_dense_replace: 1, norm_topk_prob: false, attention_bias: true },
      q_lora_rank: null,
      rope_parameters: {
        ...YARN,
        rope_theta: 100,
        original_max_position_embeddings: 5,
        llama_4_scaling_beta: 0.5,
      },
    },
  },
  'mistral4, pruned': {
    config: MISTRAL4,
    sizes: [
      { heads: 2, kvHeads: 2, ffn: 7, experts: [3, 6, 1, 4, 2, 2] },
      { heads: 3, kvHeads: 3, ffn: 12, experts: [5, 5, 5, 5, 5, 5] },
    ],
  },
  openelm: { config: OPENELM },
  'openelm, scores by weights of their own, without norms of queries and keys': {
    config: { ...OPENELM, share_input_output_layers: false, normalize_qk_projections: false },
  },
  'openelm, pruned': { config: OPENELM, sizes: blocks([2, 1, 7], [4, 2, 20]) },
  jais: { config: JAIS },
  'jais as the first ones say it, six heads': {
    config: {
      ...JAIS,
      ...{ n_embd: 48, n_head: 6, scale_attn_by_inverse_layer_idx: true },
      mup_embeddings_scale: undefined,
      mup_output_alpha: undefined,
      mup_width_scale: undefined,
      mup_scale_qk_dot_by_d: undefined,
      embeddings_scale: 3,
      width_scale: 0.7,
      scale_qk_dot_by_d: true,
    },
  },
  'jais, pruned': { config: JAIS, sizes: blocks([3, 3, 16], [1, 1, 5]) },
  'modernbert-decoder': { config: MODERNBERT_DECODER },
  'modernbert-decoder, biases, scores by weights of their own': {
    config: {
      ...MODERNBERT_DECODER,
      ...{
        attention_bias: true,
        mlp_bias: true,
        norm_bias: true,
        classifier_bias: true,
        decoder_bias: false,
      },
      ...{ classifier_activation: 'relu', tie_word_embeddings: false },
    },
  },
  'modernbert-decoder, pruned': { config: MODERNBERT_DECODER, sizes: blocks([3, 3, 16], [1, 1, 5]) },
  solar_open: { config: SOLAR_OPEN },
  'solar_open, biases, experts in groups, partly rotary': {
    config: { ...SOLAR_OPEN, attention_bias: true, n_group: 2, topk_group: 1, partial_rotary_factor: 0.5 },
  },
  'solar_open, pruned': {
    config: SOLAR_OPEN,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 4, experts: [3, 6, 1, 4] },
      { heads: 4, kvHeads: 2, ffn: 6, experts: [5, 5, 5, 5] },
    ],
  },
  afmoe: { config: AFMOE },
  'afmoe, biases, windows by list, embeddings as they are, tied': {
    config: {
      ...AFMOE,
      attention_bias: true,
      layer_types: ['full_attention', 'sliding_attention'],
      mup_enabled: undefined,
      tie_word_embeddings: true,
    },
  },
  'afmoe, pruned': {
    config: AFMOE,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 7 },
      { heads: 4, kvHeads: 2, ffn: 5, experts: [3, 6, 1, 4] },
    ],
  },
  nanochat: { config: NANOCHAT },
  'nanochat, biases, no bound of scores, tied': {
    config: {
      ...NANOCHAT,
      attention_bias: true,
      final_logit_softcapping: null,
      tie_word_embeddings: true,
      rope_scaling: {
        ...LONGROPE,
        short_factor: [1, 1.5, 2, 3],
        long_factor: [1, 3, 6, 9],
        original_max_position_embeddings: 8,
      },
    },
  },
  'nanochat, pruned': { config: NANOCHAT, sizes: blocks([2, 1, 7], [4, 2, 20]) },
  mobilellm: { config: MOBILELLM },
  'mobilellm, scores by weights of their own, biases': {
    config: { ...MOBILELLM, share_embedding: false, attention_bias: true, mlp_bias: true },
  },
  'mobilellm, pruned': { config: MOBILELLM, sizes: blocks([2, 1, 7], [4, 2, 20]) },
  ernie4_5_moe: { config: ERNIE_MOE },
  granitemoe: { config: GRANITE_MOE },
  'granitemoe, pruned: experts alike stay in one tensor': {
    config: GRANITE_MOE,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 0, experts: [3, 3, 3, 3] },
      { heads: 4, kvHeads: 2, ffn: 0, experts: [5, 2, 6, 6] },
    ],
  },
  granitemoeshared: {
    config: { ...GRANITE_MOE, model_type: 'granitemoeshared', shared_intermediate_size: 10 },
  },
  'granitemoehybrid of attention alone': { config: { ...GRANITE_HYBRID, position_embedding_type: 'rope' } },
  'granitemoehybrid without positions': { config: GRANITE_HYBRID },
  'granitemoehybrid, state spaces': { config: GRANITE_SPACE },
  'granitemoehybrid, state spaces behind attention, groups, biases, bounds': {
    config: {
      ...GRANITE_SPACE,
      layer_types: ['attention', 'mamba'],
      mamba_n_groups: 2,
      mamba_d_head: 'auto',
      mamba_conv_bias: false,
      mamba_proj_bias: true,
      time_step_limit: [0.1, 1],
    },
  },
  'granitemoehybrid, state spaces behind attention': {
    config: { ...GRANITE_SPACE, layer_types: ['attention', 'mamba'] },
  },
  'granitemoehybrid, state spaces and experts': {
    config: { ...GRANITE_SPACE, num_local_experts: 4, layer_types: ['attention', 'mamba'] },
  },
  'granitemoehybrid, state spaces, pruned': {
    config: GRANITE_SPACE,
    sizes: narrow([4, 1, 11, 3, 8], [2, 1, 17, 8, 8]).map((size, i) =>
      i === 0 ? { ...size, valueDim: 8 } : size,
    ),
  },
  bamba: { config: BAMBA },
  'bamba, attention first, groups, biases, bounds, tied': {
    config: {
      ...BAMBA,
      attn_layer_indices: [0],
      mamba_n_groups: 2,
      mamba_conv_bias: false,
      mamba_proj_bias: true,
      time_step_limit: [0.1, 1],
      tie_word_embeddings: true,
    },
  },
  'bamba, pruned': {
    config: BAMBA,
    sizes: [
      { heads: 4, kvHeads: 1, ffn: 11, keyDim: 3, valueDim: 8 },
      { heads: 2, kvHeads: 1, ffn: 17, valueDim: 5 },
    ],
  },
  falcon_h1: { config: FALCON_H1 },
  'falcon_h1, norms of groups before gates, biases, bounds': {
    config: {
      ...FALCON_H1_NORMED,
      mamba_norm_before_gate: undefined,
      mamba_d_ssm: null,
      mamba_d_head: 'auto',
      mamba_conv_bias: false,
      mamba_proj_bias: true,
      projectors_bias: true,
      attention_bias: true,
      mlp_bias: true,
      time_step_limit: [0.1, 1],
      tie_word_embeddings: true,
    },
  },
  'falcon_h1, norms of groups behind gates': { config: FALCON_H1_NORMED },
  'falcon_h1, pruned, values narrow': {
    config: {
      ...FALCON_H1_NORMED,
      mamba_n_groups: 4,
      mamba_n_heads: 8,
      mamba_d_head: 5,
      ssm_multipliers: undefined,
    },
    sizes: [
      { heads: 4, kvHeads: 2, ffn: 11, valueDim: 4, space: { heads: 4, kvHeads: 2, keyDim: 3, valueDim: 5 } },
      { heads: 2, kvHeads: 1, ffn: 20, space: { heads: 2, kvHeads: 1, keyDim: 3, valueDim: 5 } },
    ],
  },
  mamba2: { config: MAMBA2 },
  'mamba2, pruned, biases, bounds, tied': {
    config: {
      ...MAMBA2,
      use_bias: true,
      use_conv_bias: false,
      conv_kernel: 3,
      time_step_limit: [0.1, 1],
      tie_word_embeddings: true,
    },
    sizes: narrow([4, 1, 0, 3, 5], [8, 2, 0, 3, 5]).map((size) => ({ ...size, valueDim: 8 })),
  },
  nemotron_h: { config: NEMOTRON_H },
  'nemotron_h, an MLP alone, biases, bounds, one group, other names': {
    config: {
      ...NEMOTRON_H,
      layers_block_type: undefined,
      hybrid_override_pattern: '-M',
      head_dim: undefined,
      attention_head_dim: 8,
      mlp_bias: true,
      use_bias: true,
      use_conv_bias: false,
      mamba_n_groups: 1,
      n_groups: undefined,
      conv_kernel: 3,
      time_step_limit: [0.1, 1],
      mlp_hidden_act: 'relu',
      tie_word_embeddings: true,
    },
  },
  'nemotron_h, experts, shares as they come, in groups': {
    config: {
      ...NEMOTRON_H,
      layers_block_type: ['moe', 'full_attention'],
      norm_topk_prob: false,
      n_group: 2,
      topk_group: 1,
    },
  },
  'nemotron_h, experts in one tensor': {
    config: { ...NEMOTRON_H, layers_block_type: ['linear_attention', 'moe'], ...STACKED },
  },
  'nemotron_h, pruned, narrow': {
    config: { ...NEMOTRON_H, n_groups: 4 },
    sizes: [
      { heads: 4, kvHeads: 2, ffn: 0, keyDim: 3, valueDim: 5 },
      { heads: 2, kvHeads: 1, ffn: 0, keyDim: 4, valueDim: 6 },
    ],
  },
  'nemotron_h, pruned: experts of different sizes': {
    config: { ...NEMOTRON_H, layers_block_type: ['moe', 'mlp'] },
    sizes: [
      { heads: 0, kvHeads: 0, ffn: 7, experts: [3, 6, 1, 4] },
      { heads: 0, kvHeads: 0, ffn: 11 },
    ],
  },
  gpt_oss: { config: GPT_OSS },
  'gpt_oss, pruned': {
    config: GPT_OSS,
    sizes: [
      { heads: 2, kvHeads: 1, ffn: 0, experts: [3, 6, 1, 4] },
      { heads: 4, kvHeads: 2, ffn: 0, experts: [5, 5, 5, 5] },
    ],
  },
  'qwen3, layer_types': {
    config: {
      ...LLAMA,
      model_type: 'qwen3',
      head_dim: 8,
      ...window,
      use_sliding_window: true,
      layer_types: ['sliding_attention', 'full_attention'],
    },
  },
  'qwen3, pruned': {
    config: { ...LLAMA, model_type: 'qwen3', head_dim: 10 },
    sizes: blocks([4, 2, 3], [2, 1, 20]),
  },
  smollm3: {
    config: { ...LLAMA, model_type: 'smollm3', no_rope_layer_interval: 2, tie_word_embeddings: true },
  },
  'smollm3, told which blocks turn': {
    config: {
      ...LLAMA,
      model_type: 'smollm3',
      no_rope_layers: [0, 1],
      ...window,
      use_sliding_window: true,
      attention_bias: true,
    },
  },
  'smollm3, narrow where blocks have no positions': {
    config: { ...LLAMA, model_type: 'smollm3', no_rope_layer_interval: 2 },
    sizes: narrow([4, 2, 20, 8, 6], [4, 2, 20, 3, 5]),
  },
  granite: {
    config: {
      ...LLAMA,
      model_type: 'granite',
      embedding_multiplier: 3,
      attention_multiplier: 0.2,
      residual_multiplier: 0.4,
      logits_scaling: 2,
    },
  },
  'minicpm, tied': {
    config: {
      ...LLAMA,
      model_type: 'minicpm',
      scale_emb: 3,
      scale_depth: 0.7,
      dim_model_base: 16,
      tie_word_embeddings: true,
    },
  },
  hunyuan: { config: HUNYUAN },
  'hunyuan, larger base': {
    config: { ...HUNYUAN, rope_scaling: { type: 'dynamic', alpha: 5, factor: 1 }, attention_bias: true },
  },
  internlm2: { config: { ...LLAMA, model_type: 'internlm2', bias: false } },
  'internlm2 with biases, pruned': {
    config: { ...LLAMA, model_type: 'internlm2' },
    sizes: blocks([2, 1, 9], [4, 2, 13]),
  },
  internlm3: { config: { ...LLAMA, model_type: 'internlm3', qkv_bias: true, bias: true } },
  exaone: { config: EXAONE },
  'exaone, tied, pruned': {
    config: { ...EXAONE, tie_word_embeddings: true },
    sizes: blocks([2, 1, 9], [4, 2, 13]),
  },
  'phi3, window': { config: { ...PHI3, sliding_window: 5 } },
  'phi3, partly rotary, longrope, short': {
    config: {
      ...PHI3,
      partial_rotary_factor: 0.75,
      rope_scaling: LONGROPE,
      max_position_embeddings: 64,
      original_max_position_embeddings: 16,
    },
  },
  'phi3, longrope, long, tied': {
    config: {
      ...PHI3,
      partial_rotary_factor: 0.75,
      rope_scaling: { ...LONGROPE, attention_factor: 1.3 },
      original_max_position_embeddings: 8,
      tie_word_embeddings: true,
    },
  },
  'phi3, pruned': { config: { ...PHI3, head_dim: 8 }, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  'phi3, narrow values': { config: PHI3, sizes: narrow([4, 2, 20, 8, 3], [4, 2, 20, 8, 7]) },
  gemma: { config: { ...GEMMA, model_type: 'gemma', num_key_value_heads: 1 } },
  gemma2: { config: GEMMA2 },
  'gemma2, uncapped': {
    config: { ...GEMMA2, attn_logit_softcapping: null, final_logit_softcapping: null, head_dim: 8 },
  },
  'vaultgemma, windows by list': {
    config: {
      ...GEMMA2,
      model_type: 'vaultgemma',
      layer_types: ['full_attention', 'sliding_attention'],
      attn_logit_softcapping: null,
    },
  },
  'vaultgemma, pruned': {
    config: { ...GEMMA2, model_type: 'vaultgemma' },
    sizes: blocks([2, 1, 9], [4, 2, 13]),
  },
  'gemma2, pruned': { config: GEMMA2, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  gemma3: { config: GEMMA3 },
  'gemma3 as transformers 5 writes it': {
    config: {
      ...GEMMA3,
      layer_types: ['full_attention', 'sliding_attention'],
      rope_theta: undefined,
      rope_parameters: {
        full_attention: { rope_type: 'linear', factor: 4, rope_theta: 100 },
        sliding_attention: { rope_type: 'default', rope_theta: 20 },
      },
    },
  },
  phi: { config: PHI },
  'phi, tied': { config: { ...PHI, tie_word_embeddings: true } },
  'phi, groups, pruned': {
    config: { ...PHI, num_key_value_heads: 2 },
    sizes: blocks([2, 1, 9], [4, 2, 13]),
  },
  olmo: { config: { ...OLMO, head_dim: 6 } },
  'olmo, bounds of queries, keys and values, biases, tied': {
    config: { ...OLMO, clip_qkv: 0.5, attention_bias: true, tie_word_embeddings: true },
  },
  'olmo, pruned': { config: OLMO, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  olmo2: { config: OLMO2 },
  'olmo2 with biases': { config: { ...OLMO2, attention_bias: true, head_dim: 6 } },
  'olmo2, pruned': { config: OLMO2, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  olmo_hybrid: { config: OLMO_HYBRID },
  'olmo_hybrid, positions, attention first, biases, sizes that follow, shares of at most 1': {
    config: {
      ...OLMO_HYBRID,
      layer_types: ['full_attention', 'linear_attention'],
      rope_parameters: { rope_theta: 100 },
      attention_bias: true,
      linear_num_key_heads: undefined,
      linear_num_value_heads: undefined,
      linear_key_head_dim: undefined,
      linear_value_head_dim: undefined,
      linear_allow_neg_eigval: false,
    },
  },
  'olmo_hybrid, pruned': { config: OLMO_HYBRID, sizes: narrow([2, 1, 11, 3, 5], [2, 1, 17, 8, 8]) },
  olmo3: { config: OLMO3 },
  'olmo3, told which blocks see a window, yarn': {
    config: {
      ...OLMO3,
      layer_types: ['full_attention', 'sliding_attention'],
      rope_scaling: { rope_type: 'yarn', factor: 4, beta_fast: 4, original_max_position_embeddings: 32 },
    },
  },
  exaone4: { config: EXAONE4 },
  'exaone4 without a window': { config: { ...EXAONE4, sliding_window: null, head_dim: 6 } },
  glm: { config: GLM },
  'glm, default biases, pruned': {
    config: { ...GLM, attention_bias: undefined },
    sizes: blocks([2, 1, 9], [4, 2, 13]),
  },
  glm4: { config: { ...GLM, model_type: 'glm4', attention_bias: true, tie_word_embeddings: true } },
  ernie4_5: { config: { ...LLAMA, model_type: 'ernie4_5', head_dim: 6, tie_word_embeddings: undefined } },
  'ernie4_5 with biases': { config: { ...LLAMA, model_type: 'ernie4_5', head_dim: 8, use_bias: true } },
  helium: { config: { ...LLAMA, model_type: 'helium', head_dim: 8, attention_bias: true } },
  arcee: { config: { ...LLAMA, model_type: 'arcee', hidden_act: undefined, mlp_bias: true } },
  seed_oss: { config: { ...LLAMA, model_type: 'seed_oss', head_dim: 6 } },
  'seed_oss, biases of what heads become': {
    config: {
      ...LLAMA,
      model_type: 'seed_oss',
      head_dim: 6,
      attention_bias: false,
      attention_out_bias: true,
    },
  },
  nemotron: { config: NEMOTRON },
  'nemotron, biases, all rotary, its own head_dim': {
    config: { ...NEMOTRON, attention_bias: true, mlp_bias: true, partial_rotary_factor: 1, head_dim: 6 },
  },
  'nemotron, pruned': { config: NEMOTRON, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  stablelm: { config: STABLELM },
  'stablelm, parallel, biases, default rotation': {
    config: {
      ...STABLELM,
      use_parallel_residual: true,
      use_qkv_bias: true,
      partial_rotary_factor: undefined,
    },
  },
  'stablelm, norms of each head': {
    config: { ...STABLELM, qk_layernorm: true, use_parallel_residual: true },
  },
  'stablelm, norms of each head, pruned': {
    config: { ...STABLELM, qk_layernorm: true },
    sizes: blocks([2, 1, 9], [4, 2, 13]),
  },
  'stablelm, pruned': { config: STABLELM, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  'starcoder2, window': { config: { ...STARCODER2, sliding_window: 5 } },
  'starcoder2 without biases, tied': {
    config: { ...STARCODER2, use_bias: false, tie_word_embeddings: undefined, head_dim: 6 },
  },
  'starcoder2, pruned': { config: STARCODER2, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  cohere: { config: COHERE },
  'cohere, biases, untied': {
    config: {
      ...COHERE,
      attention_bias: true,
      tie_word_embeddings: false,
      logit_scale: 0.5,
      head_dim: 6,
    },
  },
  'cohere, pruned': { config: COHERE, sizes: blocks([2, 1, 9], [4, 2, 13]) },
  'cohere, norms of queries and keys': { config: { ...COHERE, use_qk_norm: true } },
  'cohere, norms of queries and keys, pruned': {
    config: { ...COHERE, use_qk_norm: true },
    sizes: blocks([2, 1, 9], [4, 2, 13]),
  },
  cohere2: { config: COHERE2 },
  'cohere2, told which blocks see a window': {
    config: { ...COHERE2, layer_types: ['full_attention', 'sliding_attention'] },
  },
  'cohere2 without a window': { config: { ...COHERE2, sliding_window: null } },
  gpt2: { config: GPT2 },
  'gpt2, scores scaled by layer, default n_inner': {
    config: { ...GPT2, n_inner: null, scale_attn_by_inverse_layer_idx: true },
  },
  'gpt2, unscaled scores': { config: { ...GPT2, scale_attn_weights: false } },
  'gpt2, pruned': { config: GPT2, sizes: blocks([1, 1, 20], [3, 3, 7]) },
  'gpt2, narrow heads': { config: GPT2, sizes: narrow([4, 4, 20, 3, 3], [4, 4, 20, 2, 7]) },
  gpt_neo: { config: GPT_NEO },
  'gpt_neo, told of every block, untied, default intermediate_size': {
    config: {
      ...GPT_NEO,
      attention_layers: ['local', 'local'],
      intermediate_size: null,
      tie_word_embeddings: false,
    },
  },
  gpt_bigcode: { config: BIGCODE },
  'gpt_bigcode without sharing': { config: { ...BIGCODE, multi_query: false, tie_word_embeddings: false } },
  'gpt_bigcode, pruned': { config: BIGCODE, sizes: blocks([1, 1, 20], [3, 1, 7]) },
  'gpt_bigcode, narrow heads': { config: BIGCODE, sizes: narrow([4, 1, 20, 3, 5], [3, 1, 20, 6, 6]) },
  'gpt_bigcode without sharing, narrow heads': {
    config: { ...BIGCODE, multi_query: false },
    sizes: narrow([4, 4, 20, 3, 5], [4, 4, 20, 6, 6]),
  },
  falcon: { config: FALCON },
  'falcon, groups': { config: FALCON_GROUPS },
  'falcon, groups, one norm, biases': {
    config: { ...FALCON_GROUPS, num_ln_in_parallel_attn: 1, bias: true, tie_word_embeddings: false },
  },
  'falcon, one after the other, without sharing, default ffn_hidden_size': {
    config: { ...FALCON, ffn_hidden_size: undefined, multi_query: false, parallel_attn: false },
  },
  'falcon, ALiBi as falcon-rw has it': { config: FALCON_RW },
  'falcon, ALiBi, pruned': { config: FALCON_RW, sizes: blocks([1, 1, 20], [3, 3, 7]) },
  'falcon, pruned': { config: FALCON, sizes: blocks([1, 1, 20], [3, 1, 7]) },
  'falcon, groups, pruned': { config: FALCON_GROUPS, sizes: blocks([2, 1, 20], [4, 2, 7]) },
  'falcon, groups, narrow values': {
    config: FALCON_GROUPS,
    sizes: narrow([4, 2, 20, 8, 3], [2, 1, 20, 8, 5]),
  },
  bloom: { config: BLOOM },
  'bloom of six heads, untied': {
    config: { ...BLOOM, hidden_size: undefined, n_embed: 48, n_head: 6, tie_word_embeddings: false },
  },
  'bloom, pruned': { config: BLOOM, sizes: blocks([1, 1, 20], [3, 3, 7]) },
  'bloom, narrow heads': { config: BLOOM, sizes: narrow([4, 4, 20, 3, 3], [3, 3, 7, 5, 2]) },
  mpt: { config: MPT },
  'mpt of six heads, bounds, a scale of its own, narrow': {
    config: {
      ...MPT,
      d_model: 48,
      n_heads: 6,
      expansion_ratio: 2,
      attn_config: { alibi: true, alibi_bias_max: 4, clip_qkv: 0.5, softmax_scale: 0.7 },
    },
  },
  'mpt, pruned': { config: MPT, sizes: blocks([1, 1, 20], [3, 3, 7]) },
  'mpt, narrow heads': { config: MPT, sizes: narrow([4, 4, 20, 3, 3], [4, 4, 7, 8, 2]) },
  'gpt_neo, pruned': { config: GPT_NEO, sizes: blocks([1, 1, 20], [3, 3, 7]) },
  gptj: { config: GPTJ },
  'gptj, tied': { config: { ...GPTJ, tie_word_embeddings: true } },
  'gptj, all rotary, relu': { config: { ...GPTJ, rotary_dim: 8, activation_function: 'relu' } },
  'gptj, pruned': { config: GPTJ, sizes: blocks([1, 1, 20], [3, 3, 7]) },
  codegen: { config: CODEGEN },
  'codegen, pruned': { config: CODEGEN, sizes: blocks([4, 4, 20], [3, 3, 7]) },
  'gpt-neox': { config: NEOX },
  'gpt-neox, one after the other, tied, all rotary': {
    config: { ...NEOX, use_parallel_residual: false, tie_word_embeddings: true, rotary_pct: 1 },
  },
  'gpt-neox without attention biases, linear scaling': {
    config: { ...NEOX, attention_bias: false, rope_scaling: { type: 'linear', factor: 2 } },
  },
  'gpt-neox, pruned': { config: NEOX, sizes: blocks([3, 3, 16], [1, 1, 5]) },
  'gpt-neox, narrow values': { config: NEOX, sizes: narrow([4, 4, 20, 8, 3], [3, 3, 16, 8, 6]) },
};

/** As transformers 5 has experts, which it writes so where it is told to leave out the original format. */
function stacked(configs: Record<string, Config>): Record<string, { config: Config }> {
  return Object.fromEntries(
    Object.entries(configs).map(([name, config]) => [
      `${name}, stacked`,
      { config: { ...config, ...STACKED } },
    ]),
  );
}

/** Whether the experts of a tiny model have two tensors for all. */
export const areStacked = ({ transformers_version: version }: Config) =>
  version === STACKED.transformers_version;

function blocks(...sizes: [heads: number, kvHeads: number, ffn: number][]): BlockSizes[] {
  return sizes.map(([heads, kvHeads, ffn]) => ({ heads, kvHeads, ffn }));
}

/** Of heads of 8 features, with others of queries and keys, and of values. */
function narrow(
  ...sizes: [heads: number, kvHeads: number, ffn: number, keys: number, values: number][]
): BlockSizes[] {
  const own = (features: number) => (features === 8 ? undefined : features);
  return sizes.map(([heads, kvHeads, ffn, keys, values]) => {
    return { heads, kvHeads, ffn, keyDim: own(keys), valueDim: own(values) };
  });
}

/** Features of the stream. */
export function hiddenOf(config: Config): number {
  return (config.n_embed ?? config.d_model ?? HIDDEN) as number;
}

/** Whether each block has a single half. */
const isOfHalves = ({ model_type: type }: Config) => type === 'nemotron_h' || type === 'mamba2';

/** What block i of a tiny Nemotron-H is. */
export function nemotronType(config: Config, i: number): 'mamba' | 'attention' | 'mlp' | 'moe' {
  const pattern = config.hybrid_override_pattern as string | undefined;
  if (config.model_type === 'mamba2') return 'mamba';
  if (pattern) return ({ M: 'mamba', '*': 'attention', '-': 'mlp', E: 'moe' } as const)[pattern[i] as 'M'];
  const type = (config.layers_block_type as string[])[i];
  if (type === 'linear_attention') return 'mamba';
  return type === 'full_attention' ? 'attention' : (type as 'mlp');
}

/** Of its state spaces, or those of Mamba 2. */
function nemotronSpace(config: Config) {
  const isPure = config.model_type === 'mamba2';
  return {
    heads: (config.mamba_num_heads ?? config.num_heads) as number,
    kvHeads: (config.mamba_n_groups ?? config.n_groups) as number,
    keyDim: (config.ssm_state_size ?? config.state_size) as number,
    valueDim: (isPure ? config.head_dim : config.mamba_head_dim) as number,
  };
}

/** The sizes that a config gives every block. */
export function uniformSizes(config: Config): BlockSizes[] {
  if (isOfHalves(config)) {
    const none = { heads: 0, kvHeads: 0, ffn: 0 };
    const kinds: Record<string, BlockSizes> = {
      mamba: { ...none, ...nemotronSpace(config) },
      attention: { ...none, heads: HEADS, kvHeads: 2 },
      mlp: { ...none, ffn: FFN },
      moe: { ...none, ffn: 10, experts: [6, 6, 6, 6] },
    };
    return [0, 1].map((i) => kinds[nemotronType(config, i)]);
  }
  if (config.model_type === 'openelm') {
    const of = (name: string, i: number) => (config[name] as number[])[i];
    return [8, 28].map((ffn, i) => ({
      heads: of('num_query_heads', i),
      kvHeads: of('num_kv_heads', i),
      ffn,
    }));
  }
  const heads = (config.num_attention_heads ??
    config.n_head ??
    config.num_heads ??
    config.n_heads ??
    config.attention_heads) as number;
  const isShared = config.multi_query ?? ['gpt_bigcode', 'falcon'].includes(String(config.model_type));
  const groups = config.multi_query_attention ? config.multi_query_group_num : undefined; // ChatGLM
  const kvHeads = (config.num_key_value_heads ??
    groups ??
    config.num_kv_heads ??
    (isShared ? 1 : heads)) as number;
  const ffn = (config.ffn_dim ??
    config.intermediate_size_mlp ??
    (config.model_type === 'granitemoehybrid' ? config.shared_intermediate_size : undefined) ??
    (config.model_type === 'lfm2' ? FFN : undefined) ??
    config.intermediate_size ??
    config.n_inner ??
    config.ffn_hidden_size ??
    ((config.expansion_ratio ?? 4) as number) * hiddenOf(config)) as number;
  return blocks(...Array.from({ length: BLOCKS }, (): [number, number, number] => [heads, kvHeads, ffn])).map(
    (size, i) => {
      const isHybrid = /^(lfm2|qwen3_(next|5)|granitemoehybrid|bamba|olmo_hybrid)/.test(
        String(config.model_type),
      );
      if (config.model_type === 'falcon_h1') return { ...size, space: deltaSizes(config) };
      const none = isHybrid && !attends(config, i) ? (deltaSizes(config) ?? { heads: 0, kvHeads: 0 }) : {};
      if (!hasExperts(config, i)) return { ...size, ...none };
      const neurons = (config.moe_intermediate_size ?? config.intermediate_size) as number;
      const experts = new Array<number>(expertsIn(config)).fill(neurons);
      const times = (config.n_shared_experts ??
        config.moe_num_shared_experts ??
        config.num_shared_experts ??
        0) as number;
      const isFourth = config.model_type === 'llama4_text';
      const shared =
        config.shared_expert_intermediate_size ??
        config.shared_intermediate_size ??
        (isFourth ? config.intermediate_size : undefined);
      return { ...size, ...none, ffn: (shared ?? times * neurons) as number, experts };
    },
  );
}

/** Whether block i of a tiny LFM2 or Qwen3.5 has heads. */
const attends = (
  { layer_types: types, full_attn_idxs, attn_layer_indices, full_attention_interval }: Config,
  i: number,
) =>
  types
    ? /attention$/.test((types as string[])[i]) && (types as string[])[i] !== 'linear_attention'
    : full_attention_interval === 1 || ((full_attn_idxs ?? attn_layer_indices) as number[]).includes(i);

/** Of a tiny delta rule. */
function deltaSizes(config: Config): BlockSizes['space'] {
  if (config.mamba_n_heads !== undefined) {
    const [heads, kvHeads, keyDim] = ['n_heads', 'n_groups', 'd_state'].map(
      (it) => config[`mamba_${it}`] as number,
    );
    const { mamba_d_head: own } = config;
    return { heads, kvHeads, keyDim, valueDim: typeof own === 'number' ? own : (2 * HIDDEN) / heads };
  }
  if (config.model_type === 'olmo_hybrid' && config.linear_num_key_heads === undefined)
    return { heads: HEADS, kvHeads: HEADS, keyDim: 6, valueDim: 12 };
  if (config.linear_num_key_heads === undefined) return undefined;
  const of = (name: string) => config[`linear_${name}`] as number;
  return {
    heads: of('num_value_heads'),
    kvHeads: of('num_key_heads'),
    keyDim: of('key_head_dim'),
    valueDim: of('value_head_dim'),
  };
}

/** Whether it is what block i has in the place of attention. */
export const isDelta = (config: Config, i: number) =>
  config.model_type !== 'falcon_h1' && deltaSizes(config) !== undefined && !attends(config, i);

/** What block i keeps of earlier tokens in the place of keys and values, or beside them. */
export function statesOf(config: Config, i: number, size: BlockSizes): Record<string, number[]> | undefined {
  const { heads, kvHeads, keyDim = 0, valueDim = 0 } = size.space ?? size;
  if (isOfHalves(config)) {
    if (nemotronType(config, i) === 'attention') return undefined;
    if (nemotronType(config, i) !== 'mamba') return {};
    const kernel = (config.conv_kernel ?? 4) as number;
    return { conv: [2 * kvHeads * keyDim + heads * valueDim, kernel], ssm: [heads, valueDim, keyDim] };
  }
  if (size.space ?? isDelta(config, i)) {
    const channels = 2 * kvHeads * keyDim + heads * valueDim;
    const kernel = (config.linear_conv_kernel_dim ?? config.mamba_d_conv ?? 4) as number;
    if (config.mamba_n_heads !== undefined)
      return { conv: [channels, kernel], ssm: [heads, valueDim, keyDim] };
    const keys = [kvHeads * keyDim, kernel];
    if (config.model_type === 'olmo_hybrid')
      return {
        ...{ 'conv.query': keys, 'conv.key': keys, 'conv.value': [heads * valueDim, kernel] },
        recurrent: [heads, keyDim, valueDim],
      };
    return { conv: [channels, kernel], recurrent: [heads, keyDim, valueDim] };
  }
  return heads === 0 ? { conv: [HIDDEN, config.conv_L_cache as number] } : undefined;
}

const expertsIn = (config: Config) =>
  (config.num_experts ??
    config.num_local_experts ??
    config.n_routed_experts ??
    config.moe_num_experts ??
    0) as number;

/** Whether block i of a tiny model has experts. */
export function hasExperts(config: Config, i: number): boolean {
  if (expertsIn(config) === 0) return false;
  if (config.model_type === 'ernie4_5_moe') return i >= 1;
  if (config.moe_layers !== undefined) return (config.moe_layers as number[]).includes(i);
  if (config.num_dense_layers !== undefined) return i >= (config.num_dense_layers as number);
  if (config.first_k_dense_replace !== undefined) return i >= (config.first_k_dense_replace as number);
  const dense = (config.mlp_only_layers ?? []) as number[];
  return !dense.includes(i) && (i + 1) % ((config.decoder_sparse_step ?? 1) as number) === 0;
}

/** Columns of the maps before attention, one by one and all together, and of what comes out of it. */
function mapWidths(size: BlockSizes, dh: number) {
  const [q, k, v] = widthsOf(size, dh);
  return { q, k, v, fused: q + k + v, mixed: size.heads * (size.valueDim ?? dh) };
}

/** What DeepSeek's queries, keys and values are made by. */
function latentMaps(
  at: string,
  { heads }: BlockSizes,
  config: Config,
  { linear, norm }: { linear: MakeLinear; norm: (name: string, width: number, bias: boolean) => void },
): void {
  const size = (key: string) => config[`${key}`] as number;
  const [own, turned, values] = ['qk_nope_head_dim', 'qk_rope_head_dim', 'v_head_dim'].map(size);
  const bias = config.attention_bias === true;
  if (config.q_lora_rank === null) linear(`${at}.q_proj`, heads * (own + turned), HIDDEN, false);
  else {
    linear(`${at}.q_a_proj`, size('q_lora_rank'), HIDDEN, bias);
    norm(`${at}.q_a_layernorm`, size('q_lora_rank'), false);
    linear(`${at}.q_b_proj`, heads * (own + turned), size('q_lora_rank'), false);
  }
  linear(`${at}.kv_a_proj_with_mqa`, size('kv_lora_rank') + turned, HIDDEN, bias);
  norm(`${at}.kv_a_layernorm`, size('kv_lora_rank'), false);
  linear(`${at}.kv_b_proj`, heads * (own + values), size('kv_lora_rank'), false);
}

type MakeTensor = (name: string, shape: number[], deviation: number, mean?: number) => void;
type MakeLinear = (name: string, m: number, p: number, bias?: boolean) => void;

/** Gated MLPs of a block, those of experts among them. */
function gatedMlps(
  layer: string,
  { ffn, experts }: BlockSizes,
  config: Config,
  { linear, tensor }: { readonly linear: MakeLinear; readonly tensor: MakeTensor },
  bias = false,
): void {
  const mlp = (name: string, neurons: number, [gate, up, down] = ['gate_proj', 'up_proj', 'down_proj']) => {
    linear(`${name}.${gate}`, neurons, HIDDEN, bias);
    linear(`${name}.${up}`, neurons, HIDDEN, bias);
    linear(`${name}.${down}`, HIDDEN, neurons, bias);
  };
  const ofGranite = (name: string, neurons: number) => {
    linear(`${name}.input_linear`, 2 * neurons, HIDDEN, false);
    linear(`${name}.output_linear`, HIDDEN, neurons, false);
  };
  const type = String(config.model_type);
  if (!experts) {
    if (type === 'granitemoehybrid') ofGranite(`${layer}.shared_mlp`, ffn);
    else if (type === 'llama4_text') mlp(`${layer}.feed_forward`, ffn);
    else mlp(`${layer}.mlp`, ffn);
    return;
  }
  // Of experts of one size there is one tensor for all.
  const [neurons] = experts;
  const areAlike = experts.every((own) => own === neurons);
  if (type.startsWith('granite')) {
    const module = `${layer}.block_sparse_moe`;
    linear(`${module}.router.layer`, experts.length, HIDDEN, false);
    if (areAlike) {
      tensor(`${module}.input_linear.weight`, [experts.length, 2 * neurons, HIDDEN], HIDDEN ** -0.5);
      tensor(`${module}.output_linear.weight`, [experts.length, HIDDEN, neurons], neurons ** -0.5);
    } else for (const [e, own] of experts.entries()) ofGranite(`${module}.experts.${e}`, own);
    if (ffn > 0) ofGranite(`${layer}.shared_mlp`, ffn);
    return;
  }
  if (type === 'gpt_oss') {
    const module = `${layer}.mlp`;
    linear(`${module}.router`, experts.length, HIDDEN, false);
    tensor(`${module}.router.bias`, [experts.length], 2); // of few tokens rounded weights choose other experts
    const both = (
      name: (kind: 'weight' | 'bias') => string,
      before: number[],
      rows: number,
      columns: number,
    ) => {
      tensor(name('weight'), [...before, rows, columns], rows ** -0.5);
      tensor(name('bias'), [...before, columns], 0.3);
    };
    const maps = (neurons: number) =>
      [
        ['gate_up_proj', HIDDEN, 2 * neurons],
        ['down_proj', neurons, HIDDEN],
      ] as const;
    if (areAlike)
      for (const [map, rows, columns] of maps(neurons))
        both(
          (kind) => `${module}.experts.${map}${kind === 'bias' ? '_bias' : ''}`,
          [experts.length],
          rows,
          columns,
        );
    else
      for (const [e, own] of experts.entries())
        for (const [map, rows, columns] of maps(own))
          both((kind) => `${module}.experts.${e}.${map}.${kind}`, [], rows, columns);
    return;
  }
  const isFourth = type === 'llama4_text';
  const isTurned = type === 'qwen3_vl_moe_text' || isFourth;
  const isStacked = areStacked(config) || isTurned;
  const isMixtral = type === 'mixtral' || type === 'phimoe';
  const isLiquid = type === 'lfm2_moe';
  const module = `${layer}.${isLiquid || isFourth ? 'feed_forward' : isMixtral && !isStacked ? 'block_sparse_moe' : 'mlp'}`;
  const router =
    type === 'afmoe' ? 'router.gate' : isFourth || (isStacked && type === 'phimoe') ? 'router' : 'gate';
  linear(`${module}.${router}`, experts.length, HIDDEN, false);
  const turned = (rows: number, columns: number) => (isTurned ? [columns, rows] : [rows, columns]);
  const stack = (name: string, rows: number, columns: number) =>
    tensor(`${module}.experts.${name}`, [experts.length, ...turned(rows, columns)], columns ** -0.5);
  if (isStacked && areAlike) {
    stack('gate_up_proj', 2 * neurons, HIDDEN);
    stack('down_proj', HIDDEN, neurons);
  } else if (isStacked)
    for (const [e, own] of experts.entries()) {
      const apart = (name: string, rows: number, columns: number) =>
        tensor(`${module}.experts.${e}.${name}.weight`, turned(rows, columns), columns ** -0.5);
      apart('gate_up_proj', 2 * own, HIDDEN);
      apart('down_proj', HIDDEN, own);
    }
  else
    for (const [e, neurons] of experts.entries())
      mlp(`${module}.experts.${e}`, neurons, isMixtral || isLiquid ? ['w1', 'w3', 'w2'] : undefined);
  if (type === 'afmoe' || (isLiquid && config.use_expert_bias !== false))
    tensor(`${module}.expert_bias`, [experts.length], 0.3);
  if (/^(deepseek_v3|glm4_moe(_lite)?|dots1|solar_open)$/.test(type))
    tensor(`${module}.gate.e_score_correction_bias`, [experts.length], 0.3);
  if (type === 'ernie4_5_moe')
    tensor(
      `${module}.${isStacked ? 'gate.' : ''}moe_statics.e_score_correction_bias`,
      [1, experts.length],
      0.1,
    );
  if (/^qwen(2_moe|3_next|3_5_moe)/.test(type)) {
    mlp(`${module}.shared_expert`, ffn);
    linear(`${module}.shared_expert_gate`, 1, HIDDEN, false);
  } else if (isFourth) mlp(`${module}.shared_expert`, ffn);
  else if (ffn > 0) mlp(`${module}.shared_experts`, ffn);
}

/** Gates, values, keys, queries, and numbers of each head. */
function stateSpace(
  at: string,
  config: Config,
  { heads, kvHeads, keyDim = 0, valueDim = 0 }: Omit<BlockSizes, 'ffn'>,
  { linear, tensor }: Pick<ReturnType<typeof weightMaker>, 'linear' | 'tensor'>,
): void {
  const [keys, values] = [kvHeads * keyDim, heads * valueDim];
  const [channels, kernel] = [values + 2 * keys, (config.mamba_d_conv ?? 4) as number];
  const bias = config.mamba_proj_bias === true;
  linear(`${at}.in_proj`, values + channels + heads, HIDDEN, bias);
  tensor(`${at}.conv1d.weight`, [channels, 1, kernel], kernel ** -0.5);
  if (config.mamba_conv_bias !== false) tensor(`${at}.conv1d.bias`, [channels], 0.3);
  tensor(`${at}.A_log`, [heads], 1);
  tensor(`${at}.D`, [heads], 0.5, 1);
  tensor(`${at}.dt_bias`, [heads], 0.5, -1);
  const isFalcon = config.model_type === 'falcon_h1';
  if (!isFalcon || config.mamba_rms_norm === true) tensor(`${at}.norm.weight`, [values], 0.3, 1);
  linear(`${at}.out_proj`, HIDDEN, values, isFalcon ? config.projectors_bias === true : bias);
}

/** Queries, keys, values, gates, and numbers of each head. */
function deltaRule(
  at: string,
  config: Config,
  { heads, kvHeads, keyDim = 0, valueDim = 0 }: BlockSizes,
  { linear, tensor }: Pick<ReturnType<typeof weightMaker>, 'linear' | 'tensor'>,
): void {
  const [keys, values] = [kvHeads * keyDim, heads * valueDim];
  const maps: Record<string, number> =
    config.model_type === 'qwen3_next'
      ? { qkvz: 2 * keys + 2 * values, ba: 2 * heads }
      : { qkv: 2 * keys + values, z: values, b: heads, a: heads };
  for (const [name, width] of Object.entries(maps)) linear(`${at}.in_proj_${name}`, width, HIDDEN, false);
  const kernel = config.linear_conv_kernel_dim as number;
  tensor(`${at}.conv1d.weight`, [2 * keys + values, 1, kernel], kernel ** -0.5);
  tensor(`${at}.A_log`, [heads], 1);
  tensor(`${at}.dt_bias`, [heads], 0.5, -1);
  tensor(`${at}.norm.weight`, [valueDim], 0.3, 1);
  linear(`${at}.out_proj`, HIDDEN, values, false);
}

export function tinyWeights(config: Config, sizes: readonly BlockSizes[], seed = 1): Weights {
  const { weights, tensor, linear } = weightMaker(seed);
  const conv1d = (name: string, p: number, m: number) => {
    tensor(`${name}.weight`, [p, m], p ** -0.5);
    tensor(`${name}.bias`, [m], 0.3);
  };
  const around = /^(gemma|vaultgemma|nemotron$|qwen3_(next|5))/.test(String(config.model_type)) ? 0 : 1; // there 1 is added
  const norm = (name: string, width: number, bias: boolean) => {
    tensor(`${name}.weight`, [width], 0.3, around);
    if (bias) tensor(`${name}.bias`, [width], 0.3);
  };
  /** Biased, beside tied weights too. */
  const output = () => {
    if (config.tie_word_embeddings) tensor('lm_head.bias', [VOCABULARY], 0.5);
    else linear('lm_head', VOCABULARY, HIDDEN);
  };
  const type = config.model_type;
  const dh = (config.v_head_dim ?? config.head_dim ?? HIDDEN / HEADS) as number;
  const widths = (size: BlockSizes) => mapWidths(size, dh);
  if (type === 'opt' || type === 'biogpt' || type === 'xglm') {
    const { at, last, output } = optNames(config);
    const bias = config.enable_bias !== false;
    const width = (config.word_embed_proj_dim ?? HIDDEN) as number;
    const maybeNorm = (name: string) =>
      config.layer_norm_elementwise_affine !== false && norm(name, HIDDEN, true);
    tensor(`${at}.embed_tokens.weight`, [VOCABULARY, width], 1);
    if (type !== 'xglm') tensor(`${at}.embed_positions.weight`, [POSITIONS + 2, HIDDEN], 0.5);
    if (width !== HIDDEN) {
      linear(`${at}.project_in`, HIDDEN, width, false);
      linear(`${at}.project_out`, width, HIDDEN, false);
    }
    for (const [i, size] of sizes.entries()) {
      const { ffn } = size;
      const { q, k, v, mixed } = widths(size);
      const layer = `${at}.layers.${i}`;
      for (const [part, width] of Object.entries({ q, k, v }))
        linear(`${layer}.self_attn.${part}_proj`, width, HIDDEN, bias);
      linear(`${layer}.self_attn.out_proj`, HIDDEN, mixed, bias);
      maybeNorm(`${layer}.self_attn_layer_norm`);
      linear(`${layer}.fc1`, ffn, HIDDEN, bias);
      linear(`${layer}.fc2`, HIDDEN, ffn, bias);
      maybeNorm(`${layer}.final_layer_norm`);
    }
    if (config.do_layer_norm_before !== false && !config._remove_final_layer_norm) maybeNorm(`${at}.${last}`);
    if (config.tie_word_embeddings === false) linear(output, VOCABULARY, width, false);
  } else if (type === 'modernbert-decoder') {
    const bias = (kind: string) => config[`${kind}_bias`] === true;
    const scales = (name: string) => norm(name, HIDDEN, bias('norm'));
    tensor('model.embeddings.tok_embeddings.weight', [VOCABULARY, HIDDEN], 1);
    scales('model.embeddings.norm');
    for (const [i, { heads, ffn }] of sizes.entries()) {
      const layer = `model.layers.${i}`;
      if (i > 0) scales(`${layer}.attn_norm`);
      for (const part of ['q', 'k', 'v'])
        linear(`${layer}.attn.${part}_proj`, heads * dh, HIDDEN, bias('attention'));
      linear(`${layer}.attn.Wo`, HIDDEN, heads * dh, bias('attention'));
      scales(`${layer}.mlp_norm`);
      linear(`${layer}.mlp.Wi`, 2 * ffn, HIDDEN, bias('mlp'));
      linear(`${layer}.mlp.Wo`, HIDDEN, ffn, bias('mlp'));
    }
    scales('model.final_norm');
    linear('lm_head.dense', HIDDEN, HIDDEN, bias('classifier'));
    scales('lm_head.norm');
    if (config.tie_word_embeddings === false) linear('decoder', VOCABULARY, HIDDEN, false);
    if (config.decoder_bias !== false) tensor('decoder.bias', [VOCABULARY], 0.5);
  } else if (type === 'jais') {
    const hidden = config.n_embd as number;
    tensor('transformer.wte.weight', [VOCABULARY, hidden], 1);
    for (const [i, size] of sizes.entries()) {
      const { heads, ffn } = size;
      const { fused, mixed } = mapWidths(size, hidden / (config.n_head as number));
      const layer = `transformer.h.${i}`;
      norm(`${layer}.ln_1`, hidden, true);
      conv1d(`${layer}.attn.c_attn`, hidden, fused);
      conv1d(`${layer}.attn.c_proj`, mixed, hidden);
      norm(`${layer}.ln_2`, hidden, true);
      conv1d(`${layer}.mlp.c_fc`, hidden, ffn);
      conv1d(`${layer}.mlp.c_fc2`, hidden, ffn);
      conv1d(`${layer}.mlp.c_proj`, ffn, hidden);
      if (heads !== config.n_head) tensor(`${layer}.attn.slopes`, [heads, 1, 1], 0.3);
    }
    norm('transformer.ln_f', hidden, true);
    tensor('transformer.relative_pe.slopes', [config.n_head as number, 1], 1); // what code makes anew
  } else if (type === 'gpt2' || type === 'openai-gpt') {
    const isFirst = type === 'openai-gpt';
    tensor(`transformer.${isFirst ? 'tokens_embed' : 'wte'}.weight`, [VOCABULARY, HIDDEN], 1);
    tensor(`transformer.${isFirst ? 'positions_embed' : 'wpe'}.weight`, [POSITIONS, HIDDEN], 0.5);
    for (const [i, size] of sizes.entries()) {
      const { ffn } = size;
      const { fused, mixed } = widths(size);
      const layer = `transformer.h.${i}`;
      norm(`${layer}.ln_1`, HIDDEN, true);
      conv1d(`${layer}.attn.c_attn`, HIDDEN, fused);
      conv1d(`${layer}.attn.c_proj`, mixed, HIDDEN);
      norm(`${layer}.ln_2`, HIDDEN, true);
      conv1d(`${layer}.mlp.c_fc`, HIDDEN, ffn);
      conv1d(`${layer}.mlp.c_proj`, ffn, HIDDEN);
      tensor(`${layer}.attn.bias`, [1, 1, POSITIONS, POSITIONS], 1); // the mask that old checkpoints hold
    }
    if (!isFirst) norm('transformer.ln_f', HIDDEN, true);
  } else if (type === 'gpt_bigcode') {
    tensor('transformer.wte.weight', [VOCABULARY, HIDDEN], 1);
    tensor('transformer.wpe.weight', [POSITIONS, HIDDEN], 0.5);
    for (const [i, size] of sizes.entries()) {
      const { ffn } = size;
      const { fused, mixed } = widths(size);
      const layer = `transformer.h.${i}`;
      norm(`${layer}.ln_1`, HIDDEN, true);
      linear(`${layer}.attn.c_attn`, fused, HIDDEN);
      linear(`${layer}.attn.c_proj`, HIDDEN, mixed);
      norm(`${layer}.ln_2`, HIDDEN, true);
      linear(`${layer}.mlp.c_fc`, ffn, HIDDEN);
      linear(`${layer}.mlp.c_proj`, HIDDEN, ffn);
    }
    norm('transformer.ln_f', HIDDEN, true);
    if (config.tie_word_embeddings === false) linear('lm_head', VOCABULARY, HIDDEN, false);
  } else if (type === 'falcon' || type === 'bloom') {
    falconOrBloom(config, sizes, { tensor, linear, norm });
  } else if (type === 'mpt') {
    const hidden = hiddenOf(config);
    const own = hidden / (config.n_heads as number);
    tensor('transformer.wte.weight', [VOCABULARY, hidden], 1);
    for (const [i, size] of sizes.entries()) {
      const { heads, ffn } = size;
      const { fused, mixed } = mapWidths(size, own);
      const block = `transformer.blocks.${i}`;
      norm(`${block}.norm_1`, hidden, false);
      linear(`${block}.attn.Wqkv`, fused, hidden, false);
      linear(`${block}.attn.out_proj`, hidden, mixed, false);
      norm(`${block}.norm_2`, hidden, false);
      linear(`${block}.ffn.up_proj`, ffn, hidden, false);
      linear(`${block}.ffn.down_proj`, hidden, ffn, false);
      if (heads !== config.n_heads) tensor(`${block}.attn.slopes`, [heads, 1, 1], 0.3);
    }
    norm('transformer.norm_f', hidden, false);
  } else if (type === 'gpt_neo') {
    tensor('transformer.wte.weight', [VOCABULARY, HIDDEN], 1);
    tensor('transformer.wpe.weight', [POSITIONS, HIDDEN], 0.5);
    for (const [i, { heads, ffn }] of sizes.entries()) {
      const layer = `transformer.h.${i}`;
      const attention = `${layer}.attn.attention`;
      norm(`${layer}.ln_1`, HIDDEN, true);
      for (const part of ['q', 'k', 'v']) linear(`${attention}.${part}_proj`, heads * dh, HIDDEN, false);
      linear(`${attention}.out_proj`, HIDDEN, heads * dh);
      norm(`${layer}.ln_2`, HIDDEN, true);
      linear(`${layer}.mlp.c_fc`, ffn, HIDDEN);
      linear(`${layer}.mlp.c_proj`, HIDDEN, ffn);
      tensor(`${attention}.bias`, [1, 1, POSITIONS, POSITIONS], 1); // the mask that old checkpoints hold
    }
    norm('transformer.ln_f', HIDDEN, true);
    if (config.tie_word_embeddings === false) linear('lm_head', VOCABULARY, HIDDEN, false);
  } else if (type === 'gptj' || type === 'codegen') {
    const own = HIDDEN / (config.n_head as number);
    tensor('transformer.wte.weight', [VOCABULARY, HIDDEN], 1);
    for (const [i, { heads, ffn }] of sizes.entries()) {
      const layer = `transformer.h.${i}`;
      norm(`${layer}.ln_1`, HIDDEN, true);
      if (type === 'codegen') linear(`${layer}.attn.qkv_proj`, 3 * heads * own, HIDDEN, false);
      else
        for (const part of ['q', 'k', 'v']) linear(`${layer}.attn.${part}_proj`, heads * own, HIDDEN, false);
      linear(`${layer}.attn.out_proj`, HIDDEN, heads * own, false);
      linear(`${layer}.mlp.fc_in`, ffn, HIDDEN);
      linear(`${layer}.mlp.fc_out`, HIDDEN, ffn);
      const mask = type === 'codegen' ? 'causal_mask' : 'bias';
      tensor(`${layer}.attn.${mask}`, [1, 1, POSITIONS, POSITIONS], 1);
    }
    norm('transformer.ln_f', HIDDEN, true);
    output();
  } else if (/^qwen3_(next|5)/.test(String(type))) {
    tensor('model.embed_tokens.weight', [VOCABULARY, HIDDEN], 1);
    for (const [i, size] of sizes.entries()) {
      const layer = `model.layers.${i}`;
      norm(`${layer}.input_layernorm`, HIDDEN, false);
      if (isDelta(config, i)) deltaRule(`${layer}.linear_attn`, config, size, { linear, tensor });
      else {
        const { q, k, v, mixed } = widths(size);
        const bias = config.attention_bias === true;
        for (const [part, width] of Object.entries({ q: q + mixed, k, v }))
          linear(`${layer}.self_attn.${part}_proj`, width, HIDDEN, bias);
        for (const part of ['q', 'k']) norm(`${layer}.self_attn.${part}_norm`, dh, false);
        linear(`${layer}.self_attn.o_proj`, HIDDEN, mixed, bias);
      }
      norm(`${layer}.post_attention_layernorm`, HIDDEN, false);
      if (size.experts) gatedMlps(layer, size, config, { linear, tensor });
      else {
        for (const part of ['gate', 'up']) linear(`${layer}.mlp.${part}_proj`, size.ffn, HIDDEN, false);
        linear(`${layer}.mlp.down_proj`, HIDDEN, size.ffn, false);
      }
    }
    norm('model.norm', HIDDEN, false);
    if (config.tie_word_embeddings !== true) linear('lm_head', VOCABULARY, HIDDEN, false);
  } else if (type === 'lfm2' || type === 'lfm2_moe') {
    const bias = config.conv_bias === true;
    const kernel = config.conv_L_cache as number;
    tensor('model.embed_tokens.weight', [VOCABULARY, HIDDEN], 1);
    for (const [i, size] of sizes.entries()) {
      const { heads, ffn, experts } = size;
      const { q, k, v, mixed } = widths(size);
      const layer = `model.layers.${i}`;
      norm(`${layer}.operator_norm`, HIDDEN, false);
      if (heads === 0) {
        linear(`${layer}.conv.in_proj`, 3 * HIDDEN, HIDDEN, bias);
        tensor(`${layer}.conv.conv.weight`, [HIDDEN, 1, kernel], kernel ** -0.5);
        if (bias) tensor(`${layer}.conv.conv.bias`, [HIDDEN], 0.3);
        linear(`${layer}.conv.out_proj`, HIDDEN, HIDDEN, bias);
      } else {
        for (const [part, width] of Object.entries({ q, k, v }))
          linear(`${layer}.self_attn.${part}_proj`, width, HIDDEN, false);
        for (const part of ['q', 'k']) norm(`${layer}.self_attn.${part}_layernorm`, dh, false);
        linear(`${layer}.self_attn.out_proj`, HIDDEN, mixed, false);
      }
      norm(`${layer}.ffn_norm`, HIDDEN, false);
      if (experts) {
        gatedMlps(layer, size, config, { linear, tensor });
        continue;
      }
      for (const part of ['w1', 'w3']) linear(`${layer}.feed_forward.${part}`, ffn, HIDDEN, false);
      linear(`${layer}.feed_forward.w2`, HIDDEN, ffn, false);
    }
    norm('model.embedding_norm', HIDDEN, false);
    if ((config.tie_embedding ?? config.tie_word_embeddings) === false)
      linear('lm_head', VOCABULARY, HIDDEN, false);
  } else if (/^(olmo|stablelm|starcoder|cohere|exaone4|nemotron$)/.test(String(type))) {
    relatives(config, sizes, { tensor, linear, norm });
  } else if (isOfHalves(config)) {
    tensor('backbone.embeddings.weight', [VOCABULARY, HIDDEN], 1);
    for (const [i, size] of sizes.entries()) {
      const { ffn, experts } = size;
      const mixer = `backbone.layers.${i}.mixer`;
      norm(`backbone.layers.${i}.norm`, HIDDEN, false);
      const plain = (name: string, neurons: number) => {
        linear(`${name}.up_proj`, neurons, HIDDEN, config.mlp_bias === true);
        linear(`${name}.down_proj`, HIDDEN, neurons, config.mlp_bias === true);
      };
      switch (nemotronType(config, i)) {
        case 'mamba': {
          const bias = { mamba_proj_bias: config.use_bias, mamba_conv_bias: config.use_conv_bias };
          stateSpace(mixer, { mamba_d_conv: config.conv_kernel, ...bias }, size, { linear, tensor });
          break;
        }
        case 'attention': {
          const { q, k, v, mixed } = widths(size);
          for (const [part, width] of Object.entries({ q, k, v }))
            linear(`${mixer}.${part}_proj`, width, HIDDEN, false);
          linear(`${mixer}.o_proj`, HIDDEN, mixed, false);
          break;
        }
        case 'mlp':
          plain(mixer, ffn);
          break;
        case 'moe':
          linear(`${mixer}.gate`, experts!.length, HIDDEN, false);
          // Of few tokens rounded weights choose other experts.
          tensor(`${mixer}.gate.e_score_correction_bias`, [experts!.length], 1);
          if (areStacked(config)) {
            tensor(`${mixer}.experts.up_proj`, [experts!.length, experts![0], HIDDEN], HIDDEN ** -0.5);
            tensor(`${mixer}.experts.down_proj`, [experts!.length, HIDDEN, experts![0]], experts![0] ** -0.5);
          } else for (const [e, own] of experts!.entries()) plain(`${mixer}.experts.${e}`, own);
          plain(`${mixer}.shared_experts`, ffn);
      }
    }
    norm('backbone.norm_f', HIDDEN, false);
    if (!config.tie_word_embeddings) linear('lm_head', VOCABULARY, HIDDEN, false);
  } else if (type === 'gpt_neox') {
    const bias = config.attention_bias !== false;
    tensor('gpt_neox.embed_in.weight', [VOCABULARY, HIDDEN], 1);
    for (const [i, size] of sizes.entries()) {
      const { ffn } = size;
      const { fused, mixed } = widths(size);
      const layer = `gpt_neox.layers.${i}`;
      norm(`${layer}.input_layernorm`, HIDDEN, true);
      norm(`${layer}.post_attention_layernorm`, HIDDEN, true);
      linear(`${layer}.attention.query_key_value`, fused, HIDDEN, bias);
      linear(`${layer}.attention.dense`, HIDDEN, mixed, bias);
      linear(`${layer}.mlp.dense_h_to_4h`, ffn, HIDDEN, true);
      linear(`${layer}.mlp.dense_4h_to_h`, HIDDEN, ffn, true);
      tensor(`${layer}.attention.rotary_emb.inv_freq`, [dh / 4], 1);
    }
    norm('gpt_neox.final_layer_norm', HIDDEN, true);
    if (!config.tie_word_embeddings) linear('embed_out', VOCABULARY, HIDDEN, false);
  } else if (type === 'phi') {
    tensor('model.embed_tokens.weight', [VOCABULARY, HIDDEN], 1);
    for (const [i, { heads, kvHeads, ffn }] of sizes.entries()) {
      const layer = `model.layers.${i}`;
      norm(`${layer}.input_layernorm`, HIDDEN, true);
      linear(`${layer}.self_attn.q_proj`, heads * dh, HIDDEN);
      linear(`${layer}.self_attn.k_proj`, kvHeads * dh, HIDDEN);
      linear(`${layer}.self_attn.v_proj`, kvHeads * dh, HIDDEN);
      linear(`${layer}.self_attn.dense`, HIDDEN, heads * dh);
      linear(`${layer}.mlp.fc1`, ffn, HIDDEN);
      linear(`${layer}.mlp.fc2`, HIDDEN, ffn);
    }
    norm('model.final_layernorm', HIDDEN, true);
    output();
  } else {
    const hasBias = config.use_bias === true || config.bias === true || config.add_bias_linear === true;
    const names = llamaNames(config);
    const isInternLM2 = type === 'internlm2';
    const attentionBias = hasBias || config.attention_bias === true || (isInternLM2 && config.bias !== false);
    const mlpBias = hasBias || config.mlp_bias === true;
    const outBias =
      config.attention_out_bias === true ||
      (attentionBias && !/^(glm|helium|seed|solar_open)/.test(String(type))) ||
      type === 'gpt_oss';
    const isBiased =
      ['glm', 'glm4', 'seed_oss', 'gpt_oss'].includes(String(type)) && config.attention_bias === undefined;
    const isFused = type === 'phi3';
    const hasLayerNorms = type === 'phimoe';
    const isLatent = hasLatent(config);
    const isBare = type === 'nanochat'; // its norms have no weights
    tensor(`${names.tokens}.weight`, [VOCABULARY, HIDDEN], 1);
    for (const [i, size] of sizes.entries()) {
      const { ffn } = size;
      const { q, k, v, fused, mixed } = widths(size);
      const layer = `${names.layers}.${i}`;
      const qkvBias =
        attentionBias ||
        isBiased ||
        config.qkv_bias === true ||
        config.add_qkv_bias === true ||
        type === 'qwen2' ||
        (type === 'qwen2_moe' && config.qkv_bias !== false);
      if (!isBare) norm(`${layer}.${names.norms[0]}`, HIDDEN, hasLayerNorms);
      if (config.mamba_n_heads !== undefined && isDelta(config, i)) {
        stateSpace(`${layer}.mamba`, config, size, { linear, tensor });
        if (type === 'bamba') {
          for (const name of names.mlp.slice(0, 2)) linear(`${layer}.${name}`, ffn, HIDDEN, false);
          linear(`${layer}.${names.mlp[2]}`, HIDDEN, ffn, false);
        } else gatedMlps(layer, size, config, { linear, tensor });
        norm(`${layer}.${names.norms[1]}`, HIDDEN, false);
        continue;
      }
      if (size.space) stateSpace(`${layer}.mamba`, config, size.space, { linear, tensor });
      if (isFused) {
        linear(`${layer}.self_attn.qkv_proj`, fused, HIDDEN, false);
        linear(`${layer}.mlp.gate_up_proj`, 2 * ffn, HIDDEN, false);
        linear(`${layer}.mlp.down_proj`, HIDDEN, ffn, false);
      } else {
        const columns = names.qkv.length === 1 ? [fused] : [q, k, v];
        if (isLatent) latentMaps(`${layer}.self_attn`, size, config, { linear, norm });
        for (const [at, name] of isLatent ? [] : names.qkv.entries())
          linear(`${layer}.${name}`, columns[at], HIDDEN, qkvBias);
        if (type === 'chatglm' || type === 'openelm') {
          linear(`${layer}.${names.mlp[0]}`, 2 * ffn, HIDDEN, mlpBias);
          linear(`${layer}.${names.mlp[1]}`, HIDDEN, ffn, mlpBias);
        } else if (type === 'glm' || type === 'glm4') {
          linear(`${layer}.mlp.gate_up_proj`, 2 * ffn, HIDDEN, false);
          linear(`${layer}.mlp.down_proj`, HIDDEN, ffn, false);
        } else if (isBare) {
          linear(`${layer}.mlp.fc1`, ffn, HIDDEN, false);
          linear(`${layer}.mlp.fc2`, HIDDEN, ffn, false);
        } else if (type === 'arcee' || type === 'apertus') {
          if (type === 'apertus')
            for (const name of ['alpha_p', 'alpha_n']) tensor(`${layer}.mlp.act_fn.${name}`, [1], 0.5);
          linear(`${layer}.mlp.up_proj`, ffn, HIDDEN, mlpBias);
          linear(`${layer}.mlp.down_proj`, HIDDEN, ffn, mlpBias);
        } else if (isInternLM2 || ['exaone', 'bamba', 'falcon_h1'].includes(String(type))) {
          const bias = type === 'falcon_h1' && mlpBias;
          for (const name of names.mlp.slice(0, 2)) linear(`${layer}.${name}`, ffn, HIDDEN, bias);
          linear(`${layer}.${names.mlp[2]}`, HIDDEN, ffn, bias);
        } else gatedMlps(layer, size, config, { linear, tensor }, mlpBias);
      }
      if (type === 'gpt_oss') tensor(`${layer}.self_attn.sinks`, [size.heads], 1);
      linear(`${layer}.${names.out}`, HIDDEN, mixed, outBias);
      if (type === 'glm4') {
        norm(`${layer}.post_self_attn_layernorm`, HIDDEN, false);
        norm(`${layer}.post_mlp_layernorm`, HIDDEN, false);
      }
      if (
        /^(qwen3|gemma3_text|hunyuan|afmoe|apertus|dots1)/.test(String(type)) ||
        config.use_qk_norm === true ||
        config.normalize_qk_projections === true
      )
        for (const name of names.headNorms) norm(`${layer}.${name}`, dh, false);
      if (!isBare) norm(`${layer}.${names.norms[1]}`, HIDDEN, hasLayerNorms);
      if (type === 'gemma2' || type === 'gemma3_text') {
        norm(`${layer}.pre_feedforward_layernorm`, HIDDEN, false);
        norm(`${layer}.post_feedforward_layernorm`, HIDDEN, false);
      }
      if (type === 'afmoe') {
        linear(`${layer}.self_attn.gate_proj`, mixed, HIDDEN, false);
        norm(`${layer}.post_attention_layernorm`, HIDDEN, false);
        norm(`${layer}.post_mlp_layernorm`, HIDDEN, false);
      }
    }
    if (!isBare) norm(names.last, HIDDEN, hasLayerNorms);
    const isTied =
      config.share_embedding ??
      config.share_input_output_layers ??
      config.tie_word_embeddings ??
      String(type).startsWith('ernie4_5');
    if (!isTied) linear(names.output, VOCABULARY, HIDDEN, config.lm_head_bias === true);
    if (!isTied && type === 'openelm') linear('transformer.classifier', VOCABULARY, HIDDEN, false);
  }
  return weights;
}

function falconOrBloom(
  config: Config,
  sizes: readonly BlockSizes[],
  {
    tensor,
    linear,
    norm,
  }: {
    tensor: (name: string, shape: number[], scale: number) => void;
    linear: MakeLinear;
    norm: (name: string, width: number, bias: boolean) => void;
  },
): void {
  const isBloom = config.model_type === 'bloom';
  const hidden = hiddenOf(config);
  const all = (config.n_head ?? config.num_attention_heads) as number;
  const bias = isBloom || config.bias === true;
  const hasTwo = config.new_decoder_architecture === true && config.num_ln_in_parallel_attn !== 1;
  const isSequential = isBloom || config.parallel_attn === false;
  const norms = hasTwo
    ? ['ln_attn', 'ln_mlp']
    : ['input_layernorm', ...(isSequential ? ['post_attention_layernorm'] : [])];
  tensor('transformer.word_embeddings.weight', [VOCABULARY, hidden], 1);
  if (isBloom) norm('transformer.word_embeddings_layernorm', hidden, true);
  for (const [i, size] of sizes.entries()) {
    const { heads, ffn } = size;
    const { fused, mixed } = mapWidths(size, hidden / all);
    const layer = `transformer.h.${i}`;
    for (const name of norms) norm(`${layer}.${name}`, hidden, true);
    linear(`${layer}.self_attention.query_key_value`, fused, hidden, bias);
    linear(`${layer}.self_attention.dense`, hidden, mixed, bias);
    linear(`${layer}.mlp.dense_h_to_4h`, ffn, hidden, bias);
    linear(`${layer}.mlp.dense_4h_to_h`, hidden, ffn, bias);
    if ((isBloom || config.alibi === true) && heads !== all)
      tensor(`${layer}.self_attention.slopes`, [heads, 1, 1], 0.3);
  }
  norm('transformer.ln_f', hidden, true);
  if (config.tie_word_embeddings === false) linear('lm_head', VOCABULARY, hidden, false);
}

/** Queries, keys, values, gates, and numbers of each head, all apart. */
function separateRule(
  at: string,
  { heads, kvHeads, keyDim = 0, valueDim = 0 }: BlockSizes,
  { linear, tensor }: Pick<ReturnType<typeof weightMaker>, 'linear' | 'tensor'>,
): void {
  const [keys, values] = [kvHeads * keyDim, heads * valueDim];
  const maps = { q: keys, k: keys, v: values, g: values, b: heads, a: heads };
  for (const [name, width] of Object.entries(maps)) linear(`${at}.${name}_proj`, width, HIDDEN, false);
  for (const name of ['q', 'k', 'v'] as const) tensor(`${at}.${name}_conv1d.weight`, [maps[name], 1, 4], 0.5);
  tensor(`${at}.A_log`, [heads], 1);
  tensor(`${at}.dt_bias`, [heads], 0.5, -1);
  tensor(`${at}.o_norm.weight`, [valueDim], 0.3, 1);
  linear(`${at}.o_proj`, HIDDEN, values, false);
}

/** Models that have Llama's names for their parts, and other norms or another MLP. */
function relatives(
  config: Config,
  sizes: readonly BlockSizes[],
  {
    tensor,
    linear,
    norm,
  }: {
    tensor: MakeTensor;
    linear: MakeLinear;
    norm: (name: string, width: number, bias: boolean) => void;
  },
): void {
  const type = config.model_type as string;
  const isCohere = type.startsWith('cohere');
  const isPlain = type === 'starcoder2';
  const hasBias = config.attention_bias === true || (isPlain && config.use_bias !== false);
  const dh = (config.head_dim ?? HIDDEN / HEADS) as number;
  const norms: Record<string, string[]> = {
    olmo: [],
    olmo2: ['post_attention_layernorm', 'post_feedforward_layernorm'],
    olmo3: ['post_attention_layernorm', 'post_feedforward_layernorm'],
    olmo_hybrid: ['post_attention_layernorm', 'post_feedforward_layernorm'],
    exaone4: ['post_attention_layernorm', 'post_feedforward_layernorm'],
    cohere: ['input_layernorm'],
    cohere2: ['input_layernorm'],
  };
  const usual = ['input_layernorm', ...(config.use_parallel_residual ? [] : ['post_attention_layernorm'])];
  const scales = (name: string, width: number) => norm(name, width, /^(st|nemotron)/.test(type));
  linear('model.embed_tokens', VOCABULARY, HIDDEN, false);
  for (const [i, size] of sizes.entries()) {
    const { heads, kvHeads, ffn } = size;
    const layer = `model.layers.${i}`;
    if (type === 'olmo_hybrid' && isDelta(config, i)) {
      for (const name of ['attention_layer_norm', 'feedforward_layer_norm'])
        scales(`${layer}.${name}`, HIDDEN);
      separateRule(`${layer}.linear_attn`, size, { linear, tensor });
      gatedMlps(layer, size, config, { linear, tensor });
      continue;
    }
    for (const name of norms[type] ?? usual) scales(`${layer}.${name}`, HIDDEN);
    for (const [part, count] of [
      ['q', heads],
      ['k', kvHeads],
      ['v', kvHeads],
    ] as const) {
      const isBiased = hasBias || config.use_qkv_bias === true;
      linear(`${layer}.self_attn.${part}_proj`, count * dh, HIDDEN, isBiased);
      if (/^olmo(2|3|e|_hybrid)$/.test(type) && part !== 'v')
        scales(`${layer}.self_attn.${part}_norm`, count * dh);
      if (type === 'exaone4' && part !== 'v') scales(`${layer}.self_attn.${part}_norm`, dh);
      if (config.qk_layernorm && part !== 'v')
        for (let head = 0; head < count; head++)
          norm(`${layer}.self_attn.${part}_layernorm.norms.${head}`, dh, false);
      if (config.use_qk_norm && part !== 'v')
        tensor(`${layer}.self_attn.${part}_norm.weight`, [count, dh], 0.3, 1);
    }
    linear(`${layer}.self_attn.o_proj`, HIDDEN, heads * dh, hasBias);
    if (type === 'nemotron') {
      linear(`${layer}.mlp.up_proj`, ffn, HIDDEN, config.mlp_bias === true);
      linear(`${layer}.mlp.down_proj`, HIDDEN, ffn, config.mlp_bias === true);
    } else if (isPlain) {
      linear(`${layer}.mlp.c_fc`, ffn, HIDDEN, hasBias);
      linear(`${layer}.mlp.c_proj`, HIDDEN, ffn, hasBias);
    } else gatedMlps(layer, size, config, { linear, tensor });
  }
  if (type !== 'olmo') scales('model.norm', HIDDEN);
  const isTied = config.tie_word_embeddings ?? (isPlain || isCohere);
  if (!isTied) linear('lm_head', VOCABULARY, HIDDEN, false);
}
