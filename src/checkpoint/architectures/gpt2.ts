// GPT-2: learned positions, weights stored in × out (Conv1D), q, k and v in one tensor. GPT has its norms behind each half of a block. StarCoder and SantaCoder (gpt_bigcode, arXiv
// 2305.06161) store them out × in, and have one head of keys and values for all queries. Jais (2308.16149) has ALiBi, a gate in its MLPs, and factors of embeddings and scores.

import { slopesBelow } from './alibi.ts';
import { type Conventions, common, flag, layerNorm, positive, unsupported } from './config.ts';
import type { Architecture, Config, Linear } from './types.ts';

/** What config.json says, of GPT-J too. */
export const GPT2_CONVENTIONS = {
  names: {
    hidden: 'n_embd',
    heads: 'n_head',
    blocks: 'n_layer',
    positions: 'n_positions',
    ffn: 'n_inner',
    activation: 'activation_function',
  },
  activation: 'gelu_new',
  widening: 4,
} satisfies Conventions;

const BIGCODE = 'gpt_bigcode';
const FIRST = 'openai-gpt';
const JAIS = 'jais';
/** It has no field for its neurons. */
const FIRST_NAMES = { ...GPT2_CONVENTIONS.names, ffn: 'n_inner', activation: 'afn' };

export const gpt2: Architecture = {
  modelTypes: ['gpt2', BIGCODE, FIRST, JAIS],
  describe(given, modelType) {
    const isFirst = modelType === FIRST;
    const isJais = modelType === JAIS;
    const config = isFirst ? firstConfig(given) : isJais ? jaisConfig(given) : given;
    if (flag(config, 'add_cross_attention', false)) throw unsupported(modelType, 'cross attention');
    const isBigcode = modelType === BIGCODE;
    const { base, activation, tied } = common(config, modelType, {
      ...GPT2_CONVENTIONS,
      ...(isFirst && { names: FIRST_NAMES }),
      activation: isBigcode ? 'gelu_pytorch_tanh' : GPT2_CONVENTIONS.activation,
      tied: true,
    });
    const { hidden, headDim, sizes } = base;
    const kvHeads = isBigcode && flag(config, 'multi_query', true) ? 1 : sizes.heads;
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const isByFeatures = isJais && flag(config, 'mup_scale_qk_dot_by_d', false);
    const scale = flag(config, 'scale_attn_weights', true) ? headDim ** (isByFeatures ? -1 : -0.5) : 1;
    const byLayer = !isBigcode && flag(config, 'scale_attn_by_inverse_layer_idx', false);
    const map = (name: string): Linear => ({ name, bias: true, transposed: isBigcode });
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      sizes: { ...sizes, kvHeads },
      prefixes: ['transformer.', ''],
      fields: isFirst ? { blocks: base.fields.blocks } : base.fields,
      embedding: {
        tokens: isFirst ? 'tokens_embed' : 'wte',
        width: hidden,
        scale: isJais ? positive(config, 'mup_embeddings_scale', 1) : undefined,
        positions: isJais ? undefined : { name: isFirst ? 'positions_embed' : 'wpe', offset: 0 },
      },
      block: (i) => ({
        order: isFirst ? 'post' : 'pre',
        attentionNorm: norm(`h.${i}.ln_1`),
        attention: {
          qkv: (label) => ({ ...map(`h.${i}.attn.c_attn`), part: { label, byHeads: isBigcode } }),
          out: map(`h.${i}.attn.c_proj`),
          scale: byLayer ? scale / (i + 1) : scale,
          slopes: isJais ? { name: `h.${i}.attn.slopes`, values: () => slopesBelow(sizes.heads) } : undefined,
        },
        mlpNorm: norm(`h.${i}.ln_2`),
        mlp: {
          up: map(`h.${i}.mlp.c_fc`),
          gate: isJais ? map(`h.${i}.mlp.c_fc2`) : undefined,
          down: map(`h.${i}.mlp.c_proj`),
          activation,
        },
      }),
      head: {
        norm: isFirst ? undefined : norm('ln_f'),
        output: tied ? undefined : 'lm_head',
        scale: isJais
          ? positive(config, 'mup_output_alpha', 1) * positive(config, 'mup_width_scale', 1)
          : undefined,
      },
      ignored: /\.attn\.(bias|masked_bias)$|\brelative_pe\./,
    };
  },
};

/** What it calls gelu is the approximation of it. */
function firstConfig(config: Config): Config {
  return config.afn === 'gelu' ? { ...config, afn: 'gelu_new' } : config;
}

/** With what the first ones call otherwise, and of a gate what there is beside it. */
function jaisConfig(config: Config): Config {
  const { activation_function: activation, position_embedding_type: type, width_scale: width } = config;
  if (activation !== 'swiglu') throw unsupported(JAIS, `activation_function ${JSON.stringify(activation)}`);
  if (type !== 'alibi') throw unsupported(JAIS, `position_embedding_type ${JSON.stringify(type)}`);
  if (config.alibi_scaling != null) throw unsupported(JAIS, 'alibi_scaling');
  return {
    ...config,
    activation_function: 'silu',
    mup_embeddings_scale: config.embeddings_scale ?? config.mup_embeddings_scale,
    mup_scale_qk_dot_by_d: config.scale_qk_dot_by_d ?? config.mup_scale_qk_dot_by_d,
    ...(width != null && { mup_output_alpha: 1, mup_width_scale: width }),
  };
}
