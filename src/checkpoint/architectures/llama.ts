// Llama (arXiv 2307.09288) and what shares its form: Mistral and Mixtral, Qwen2 and 3 with and without experts, SmolLM3, Granite, Phi-3
// and 4, GLM-4, ERNIE 4.5, Helium, Arcee, Seed-OSS. SmolLM, SmolLM2 and Falcon 3 call themselves llama.

import { common, flag, givenHeadDim, integer, positive, rmsNorm, unsupported } from './config.ts';
import { BEFORE, type GatedBlocks, gatedModel, HEAD_FIELDS } from './gated.ts';
import { mixturesOf } from './mixture.ts';
import { ropeOf, wholeRopeOf } from './rope.ts';
import type { Architecture, Config } from './types.ts';
import { givenWindow, slidingWindow, windowOf } from './window.ts';

/** What the relatives do differently. */
interface Kind extends Pick<GatedBlocks, 'fused' | 'isPlain' | 'norms'> {
  /** Biases of q, k and v; of the attention's output; of the MLP. */
  readonly qkvBias: (config: Config) => boolean;
  readonly outBias: (config: Config) => boolean;
  readonly mlpBias: (config: Config) => boolean;
  /** Normalises queries and keys over each head's features. */
  readonly headNorm?: true;
  /** Embeddings, scores, what is added and logits have factors of their own. */
  readonly multipliers?: true;
  /** Experts stand in the place of the MLP. */
  readonly hasExperts?: true;
  /** It has no field for the features of a head, or transformers makes what they become as wide as the stream. */
  readonly dividesHidden?: true;
  /** Part of a head's features that is turned, where config.json does not say it. Absent where all are. */
  readonly portion?: number;
  readonly pairsNeighbours?: true;
  /** Whether block i has rotary positions, and its window, where it slides. */
  readonly turns?: (config: Config, i: number) => boolean;
  readonly window?: (config: Config, i: number) => number | undefined;
  /** Where config.json leaves them out. */
  readonly kvHeads?: number;
  readonly headDim?: number;
  readonly epsilon?: number;
  readonly base?: number;
  readonly tied?: true;
  readonly activation?: string;
  /** transformers 5 wants heads that divide `hidden_size`. */
  readonly mustDivide?: true;
}

const no = () => false;
const attentionBias = (config: Config) => flag(config, 'attention_bias', false);
const mlpBias = (config: Config) => flag(config, 'mlp_bias', false);
const useBias = (config: Config) => flag(config, 'use_bias', false);

const GLM: Kind = {
  qkvBias: (config) => flag(config, 'attention_bias', true),
  outBias: no,
  mlpBias: no,
  fused: 'mlp',
  portion: 0.5,
  pairsNeighbours: true,
  kvHeads: 2,
  headDim: 128,
  epsilon: 1.5625e-7,
};

const KINDS: Readonly<Record<string, Kind>> = {
  llama: { qkvBias: attentionBias, outBias: attentionBias, mlpBias, mustDivide: true },
  mistral: { qkvBias: no, outBias: no, mlpBias: no, kvHeads: 8, window: windowOf },
  qwen2: { qkvBias: () => true, outBias: no, mlpBias: no, window: qwenWindow },
  qwen3: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    headNorm: true,
    headDim: 128,
    window: qwenWindow,
  },
  mixtral: {
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    hasExperts: true,
    kvHeads: 8,
    epsilon: 1e-5,
    base: 1e6,
    window: givenWindow,
  },
  qwen2_moe: {
    qkvBias: (config) => flag(config, 'qkv_bias', true),
    outBias: no,
    mlpBias: no,
    hasExperts: true,
    dividesHidden: true,
    window: qwenMixtureWindow,
  },
  qwen3_moe: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    headNorm: true,
    hasExperts: true,
    kvHeads: 4,
    window: (config) => (flag(config, 'use_sliding_window', false) ? givenWindow(config) : undefined),
  },
  smollm3: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias,
    turns: smolTurns,
    window: smolWindow,
    kvHeads: 4,
    base: 2e6,
    tied: true,
  },
  granite: { qkvBias: attentionBias, outBias: attentionBias, mlpBias, multipliers: true },
  phi3: {
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    fused: 'all',
    portion: 1,
    window: givenWindow,
    epsilon: 1e-5,
  },
  glm: { ...GLM, dividesHidden: true },
  glm4: {
    ...GLM,
    norms: { ...BEFORE, after: { attention: 'post_self_attn_layernorm', mlp: 'post_mlp_layernorm' } },
  },
  ernie4_5: {
    qkvBias: useBias,
    outBias: useBias,
    mlpBias: useBias,
    pairsNeighbours: true,
    kvHeads: 2,
    headDim: 128,
    epsilon: 1e-5,
    base: 5e5,
    tied: true,
  },
  helium: {
    qkvBias: attentionBias,
    outBias: no,
    mlpBias,
    pairsNeighbours: true,
    dividesHidden: true,
    kvHeads: 20,
    headDim: 128,
    epsilon: 1e-8,
    base: 1e5,
  },
  arcee: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias,
    isPlain: true,
    activation: 'relu2',
    epsilon: 1e-5,
    mustDivide: true,
  },
  seed_oss: {
    qkvBias: (config) => flag(config, 'attention_bias', true),
    outBias: (config) => flag(config, 'attention_out_bias', false),
    mlpBias,
    kvHeads: 8,
    headDim: 128,
  },
};

export const llama: Architecture = {
  modelTypes: Object.keys(KINDS),
  describe(config, modelType) {
    const kind = KINDS[modelType];
    const { headNorm, turns, window, mustDivide, dividesHidden, portion, pairsNeighbours } = kind;
    const { base, activation, tied } = common(config, modelType, {
      activation: kind.activation ?? 'silu',
      tied: kind.tied ?? false,
      headDim: givenHeadDim(config) ?? kind.headDim,
    });
    const { headDim, maxPositions, sizes } = base;
    const theta = { theta: 'rope_theta', base: kind.base };
    const rotary = { modelType, headDim, maxPositions, ...theta, pairsNeighbours };
    const rope =
      portion === undefined
        ? wholeRopeOf(config, rotary)
        : ropeOf(config, { ...rotary, portion: positive(config, 'partial_rotary_factor', portion) });
    const epsilon = positive(config, 'rms_norm_eps', kind.epsilon ?? 1e-6);
    const factor = (name: string) => (kind.multipliers ? positive(config, name, 1) : undefined);
    const kvHeads = integer(config, 'num_key_value_heads', kind.kvHeads ?? sizes.heads);
    const experts =
      kind.hasExperts && mixturesOf(config, { ...base, sizes: { ...sizes, kvHeads } }, activation);
    const parts = {
      norm: (name: string) => rmsNorm(name, epsilon),
      biases: { qkv: kind.qkvBias(config), out: kind.outBias(config), mlp: kind.mlpBias(config) },
      fused: kind.fused,
      isPlain: kind.isPlain,
      norms: kind.norms,
      headNorms: headNorm ? ('each' as const) : undefined,
      gain: factor('residual_multiplier'),
      scale: factor('attention_multiplier') ?? headDim ** -0.5,
      rope: (i: number) => (turns?.(config, i) === false ? undefined : rope),
      window: (i: number) => window?.(config, i),
      activation,
      mixture: experts?.mixture,
    };
    const logits = factor('logits_scaling');
    const model = gatedModel(base, kvHeads, tied, parts);
    return {
      ...model,
      sizesOf: experts?.sizesOf,
      embedding: { ...model.embedding, scale: factor('embedding_multiplier') },
      head: { ...model.head, scale: logits && 1 / logits },
      // transformers checks the number of longrope's factors by hidden_size / num_attention_heads.
      fields: {
        ...base.fields,
        ...experts?.fields,
        heads: rope.long || dividesHidden ? undefined : { ...HEAD_FIELDS, mustDivide },
      },
    };
  },
};

function qwenWindow(config: Config, i: number): number | undefined {
  if (!flag(config, 'use_sliding_window', false)) return undefined;
  return slidingWindow(config, i, () => i >= integer(config, 'max_window_layers', 28, 0));
}

/** transformers' releases differ in which blocks see it. */
function qwenMixtureWindow(config: Config, i: number): number | undefined {
  if (!flag(config, 'use_sliding_window', false)) return undefined;
  if (config.layer_types == null) throw unsupported('qwen2_moe', 'use_sliding_window without layer_types');
  return slidingWindow(config, i, () => false);
}

function smolWindow(config: Config, i: number): number | undefined {
  if (!flag(config, 'use_sliding_window', false) || config.sliding_window == null) return undefined;
  return slidingWindow(config, i, () => !smolTurns(config, i));
}

/** Three blocks in four have rotary positions, the others none. */
function smolTurns(config: Config, i: number): boolean {
  const turns = config.no_rope_layers; // 1 where there are some, in spite of the name
  if (Array.isArray(turns)) return Boolean(turns[i]);
  return (i + 1) % integer(config, 'no_rope_layer_interval', 4) !== 0;
}
