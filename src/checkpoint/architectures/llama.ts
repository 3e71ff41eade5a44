// Llama (arXiv 2307.09288) and what shares its form: Mistral, Qwen2, Qwen3; SmolLM and SmolLM2 call themselves llama.

import { common, flag, integer, linear, positive, unsupported } from './config.ts';
import { ropeOf } from './rope.ts';
import type { Architecture, Config, Norm } from './types.ts';

/** What the relatives do differently. */
interface Kind {
  /** Biases of q, k and v; of the attention's output; of the MLP. */
  readonly qkvBias: (config: Config) => boolean;
  readonly outBias: (config: Config) => boolean;
  readonly mlpBias: (config: Config) => boolean;
  /** Normalises queries and keys over each head's features. */
  readonly headNorm?: true;
  /** Where config.json leaves them out. */
  readonly kvHeads?: number;
  readonly headDim?: number;
  /** The window of block i, where it slides. */
  readonly window?: (config: Config, i: number) => number | undefined;
}

const no = () => false;
const attentionBias = (config: Config) => flag(config, 'attention_bias', false);

const KINDS: Readonly<Record<string, Kind>> = {
  llama: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: (config) => flag(config, 'mlp_bias', false),
  },
  mistral: { qkvBias: no, outBias: no, mlpBias: no, kvHeads: 8, window: mistralWindow },
  qwen2: { qkvBias: () => true, outBias: no, mlpBias: no, window: qwenWindow },
  qwen3: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    headNorm: true,
    headDim: 128,
    window: qwenWindow,
  },
};

export const llama: Architecture = {
  modelTypes: Object.keys(KINDS),
  describe(config, modelType) {
    const kind = KINDS[modelType];
    const hasHeadDim = config.head_dim != null || kind.headDim !== undefined;
    const { base, activation, tied } = common(config, modelType, {
      activation: 'silu',
      tied: false,
      headDim: hasHeadDim ? integer(config, 'head_dim', kind.headDim) : undefined,
    });
    const { hidden, headDim, maxPositions, sizes } = base;
    const rope = ropeOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' });
    if (rope.dims !== headDim) {
      throw unsupported(modelType, `partial_rotary_factor: ${rope.dims} of ${headDim} features are rotary`);
    }
    const epsilon = positive(config, 'rms_norm_eps', 1e-6);
    const norm = (name: string): Norm => ({ kind: 'rms', name, epsilon, affine: true });
    const [qkvBias, outBias, mlpBias] = [kind.qkvBias(config), kind.outBias(config), kind.mlpBias(config)];
    return {
      ...base,
      sizes: { ...sizes, kvHeads: integer(config, 'num_key_value_heads', kind.kvHeads ?? sizes.heads) },
      prefixes: ['model.', ''],
      embedding: { tokens: 'embed_tokens', width: hidden },
      block: (i) => ({
        order: 'pre',
        attentionNorm: norm(`layers.${i}.input_layernorm`),
        attention: {
          qkv: (label) => linear(`layers.${i}.self_attn.${label}_proj`, qkvBias),
          out: linear(`layers.${i}.self_attn.o_proj`, outBias),
          qNorm: kind.headNorm ? norm(`layers.${i}.self_attn.q_norm`) : undefined,
          kNorm: kind.headNorm ? norm(`layers.${i}.self_attn.k_norm`) : undefined,
          rope,
          scale: headDim ** -0.5,
          window: kind.window?.(config, i),
        },
        mlpNorm: norm(`layers.${i}.post_attention_layernorm`),
        mlp: {
          up: linear(`layers.${i}.mlp.up_proj`, mlpBias),
          gate: linear(`layers.${i}.mlp.gate_proj`, mlpBias),
          down: linear(`layers.${i}.mlp.down_proj`, mlpBias),
          activation,
        },
      }),
      head: { norm: norm('norm'), output: tied ? undefined : 'lm_head' },
      ignored: /rotary_emb\.inv_freq$/,
      fields: {
        ...base.fields,
        heads: { heads: 'num_attention_heads', kvHeads: 'num_key_value_heads', headDim: 'head_dim' },
      },
    };
  },
};

// MistralConfig takes 4096 where the field is missing and none where it is null.
function mistralWindow(config: Config): number | undefined {
  return config.sliding_window === null ? undefined : integer(config, 'sliding_window', 4096);
}

function qwenWindow(config: Config, i: number): number | undefined {
  if (!flag(config, 'use_sliding_window', false) || config.sliding_window === null) return undefined;
  const types = config.layer_types;
  const slides = Array.isArray(types)
    ? types[i] === 'sliding_attention'
    : i >= integer(config, 'max_window_layers', 28, 0);
  return slides ? integer(config, 'sliding_window', 4096) : undefined;
}
