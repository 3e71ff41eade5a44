// Llama (arXiv 2307.09288) to Llama 4, and what shares its form: Mistral, Ministral, Ministral 3, Mistral Small 4 and Mixtral, Qwen2 to 3.5 with and without experts, Qwen3-Next, SmolLM3, Granite, Phi-3,
// 3.5-MoE and 4, Bamba, Falcon-H1, Nemotron-H, Mamba 2, LFM2 with and without experts, GLM-4, 4.5 and 4.7 Flash, ERNIE 4.5, DeepSeek V2 and V3, dots.llm1, GPT-OSS, Helium, Arcee, Seed-OSS, MiniCPM, Hunyuan, NanoChat, MobileLLM, OpenELM, Youtu, Solar Open, Trinity, InternLM 2 and 3, EXAONE 3, ChatGLM 2 and 3, Baichuan, Apertus, and EuroBERT, whose tokens see all. SmolLM, SmolLM2 and Falcon 3 call themselves
// llama.

import { InputError } from '../../errors.ts';
import { xielu } from './activation.ts';
import { slopesBelow } from './alibi.ts';
import {
  activationOf,
  type Conventions,
  capOf,
  common,
  DELTA_HEADS,
  deltaHeadsIn,
  flag,
  givenHeadDim,
  integer,
  integers,
  layerNorm,
  layerType,
  linear,
  numbers,
  positive,
  rmsNorm,
  text,
  unsupported,
} from './config.ts';
import { isDelta } from './facts.ts';
import { BEFORE, FREQUENCIES, type GatedBlocks, gatedModel, HEAD_FIELDS } from './gated.ts';
import { type LatentSizes, latentAttention } from './latent.ts';
import { blocksMixed, mixturesOf } from './mixture.ts';
import { unlistedInJs } from './releases.ts';
import { ropeOf, ropeSettings, turnedBack, wholeRopeOf } from './rope.ts';
import {
  bambaConfig,
  falconActivation,
  falconFactors,
  falconHeads,
  falconSpace,
  hybridSpace,
  listedInJs,
  mambaConfig,
  mambaHeads,
  mambaSpace,
  nemotronConfig,
  nemotronHeads,
  nemotronLacks,
  nemotronSpace,
  spaceHeads,
} from './space.ts';
import type {
  Architecture,
  Block,
  BlockSizes,
  Config,
  DeltaLabel,
  DeltaRule,
  Description,
  Mlp,
  OwnActivation,
  ShortConv,
  Stretch,
} from './types.ts';
import { givenWindow, isSliding, slidingWindow, windowOf } from './window.ts';

/** What the relatives do differently. */
interface Kind
  extends Pick<
      GatedBlocks,
      'names' | 'fused' | 'isPlain' | 'norms' | 'areNormsBehind' | 'areNormsBare' | 'sinks' | 'opens'
    >,
    Pick<Description['fields'], 'beside'> {
  /** config.json as others say the same. @throws {UnsupportedModelError} where they cannot */
  readonly config?: (config: Config) => Config;
  /** Names of fields of config.json, where these are others, and that of what norms add. */
  readonly fields?: Conventions['names'];
  readonly epsilonField?: string;
  /** Biases of q, k and v; of the attention's output; of the MLP. */
  readonly qkvBias: (config: Config) => boolean;
  readonly outBias: (config: Config) => boolean;
  readonly mlpBias: (config: Config) => boolean;
  /** Norms are of that kind, with biases. */
  readonly hasLayerNorms?: true;
  /** Whether scores have biases. */
  readonly outputBias?: (config: Config) => boolean;
  /** Normalises queries and keys over each head's features. */
  readonly headNorm?: boolean | ((config: Config) => boolean);
  /** Embeddings, scores, what is added and logits have factors of their own. */
  readonly multipliers?: (
    config: Config,
    base: Pick<Description, 'hidden' | 'blocks' | 'headDim'>,
  ) => Multipliers;
  /** Experts stand in the place of the MLP. */
  readonly hasExperts?: boolean | ((config: Config) => boolean);
  /** Stands in the place of attention in some blocks. */
  readonly instead?: (config: Config, i: number, named: (name: string) => string) => Block['instead'];
  /** Which half block i has not. */
  readonly lacks?: (config: Config, i: number) => Block['lacks'];
  /** What the names of tensors may start with. */
  readonly prefixes?: readonly string[];
  /** What transformers.js does with it, by config.json as it is. */
  readonly inJs?: (config: Config) => string | undefined;
  /** Stands beside it in all of them. */
  readonly space?: (config: Config, named: (name: string) => string) => Block['beside'];
  readonly deltaHeads?: (config: Config) => Description['fields']['deltaHeads'];
  /** Norms scale by 1 + weight, or by none. */
  readonly centre?: 1;
  readonly hasBareNorms?: true;
  /** Sizes of block i, where config.json has them by block, and no field for others. */
  readonly sizesOf?: (config: Config) => (i: number) => BlockSizes;
  /** There is such a norm before the blocks, too. */
  readonly normsTokens?: true;
  /** Bounds of scores, where config.json leaves them out. */
  readonly cap?: number;
  /** Tensors that hold nothing. */
  readonly ignored?: RegExp;
  /** Blocks have one more behind them, of which transformers makes nothing. */
  readonly hasMore?: true;
  /** Queries, keys and values are made of fewer features: of so many where config.json leaves them out. */
  readonly latent?: LatentSizes;
  /** Factors of where keys are, in the place of rotary positions, by config.json as it is. */
  readonly slopes?: (config: Config, heads: number) => (() => Float32Array) | undefined;
  /** Whether output weights are made of length 1. */
  readonly isNormalised?: (config: Config) => boolean;
  readonly ownActivation?: (config: Config) => GatedBlocks['ownActivation'];
  /** Gated MLPs with bounds, of a function of their own. */
  readonly does?: (config: Config) => Pick<Mlp, 'activation' | 'raised'>;
  /** It has no field for the features of a head, or transformers makes what they become as wide as the stream. */
  readonly dividesHidden?: true;
  /** Part of a head's features that is turned, where config.json does not say it. Absent where all are. */
  readonly portion?: number;
  readonly pairsNeighbours?: true;
  readonly turnsBack?: true;
  /** config.json with what it says of them as others say it. */
  readonly rope?: (config: Config, headDim: number) => Config;
  /** Of such a config.json, for block i. */
  readonly stretch?: (config: Config, i: number) => Stretch | undefined;
  /** Whether block i has rotary positions, and its window, where it slides. */
  readonly turns?: (config: Config, i: number) => boolean;
  readonly window?: (config: Config, i: number) => number | undefined;
  readonly chunk?: (config: Config, i: number) => number | undefined;
  /** Of these blocks alone queries and keys have norms. */
  readonly normsTurned?: true;
  /** Where config.json leaves them out. */
  readonly kvHeads?: number;
  readonly headDim?: number;
  readonly epsilon?: number;
  readonly base?: number;
  readonly tied?: true;
  readonly activation?: string;
  /** transformers 5 wants heads that divide `hidden_size`. */
  readonly mustDivide?: true;
  readonly countsPositions?: true;
}

interface Multipliers {
  readonly embedding: number;
  readonly scores?: number;
  readonly added?: number;
  readonly logits: number;
  readonly halves?: GatedBlocks['factors'];
}

const no = () => false;
const attentionBias = (config: Config) => flag(config, 'attention_bias', false);
const mlpBias = (config: Config) => flag(config, 'mlp_bias', false);
const useBias = (config: Config) => flag(config, 'use_bias', false);

const FUSED_MLP = { gate: 'mlp.gate_up_proj', up: 'mlp.gate_up_proj' };

const GLM: Kind = {
  qkvBias: (config) => flag(config, 'attention_bias', true),
  outBias: no,
  mlpBias: no,
  names: FUSED_MLP,
  fused: { mlp: true },
  portion: 0.5,
  pairsNeighbours: true,
  kvHeads: 2,
  headDim: 128,
  epsilon: 1.5625e-7,
};

const ERNIE: Kind = {
  qkvBias: useBias,
  outBias: useBias,
  mlpBias: useBias,
  pairsNeighbours: true,
  epsilon: 1e-5,
  base: 5e5,
  tied: true,
};

const GRANITE: Kind = {
  qkvBias: attentionBias,
  outBias: attentionBias,
  mlpBias,
  multipliers: (config) => ({
    embedding: positive(config, 'embedding_multiplier', 1),
    scores: positive(config, 'attention_multiplier', 1),
    added: positive(config, 'residual_multiplier', 1),
    logits: 1 / positive(config, 'logits_scaling', 1),
  }),
};
const GRANITE_MIXTURE: Kind = { ...GRANITE, mlpBias: no, hasExperts: true, dividesHidden: true };

const YOUTU: Kind = {
  qkvBias: no,
  outBias: attentionBias,
  mlpBias: no,
  latent: { own: 128, turned: 64, values: 128, keys: 512, queries: 1536 },
  tied: true,
};
const DEEPSEEK: Kind = { ...YOUTU, hasExperts: true, hasMore: true, tied: undefined };
const LITE: LatentSizes = { own: 192, turned: 64, values: 256, keys: 512, queries: 768 };

/** What counts where config.json says nothing of rotary positions. */
const ropeElse =
  (rope_parameters: Config) =>
  (config: Config): Config =>
    Object.keys(ropeSettings(config)).length > 0 ? config : { ...config, rope_parameters };

const MINISTRAL_ROPE = {
  rope_type: 'yarn',
  rope_theta: 1e6,
  factor: 16,
  original_max_position_embeddings: 16_384,
  mscale: 1,
  mscale_all_dim: 1,
  llama_4_scaling_beta: 0.1,
};

const SMALL_ROPE = {
  ...MINISTRAL_ROPE,
  rope_theta: 1e4,
  factor: 128,
  original_max_position_embeddings: 8192,
};

const OSS_ROPE = {
  rope_type: 'yarn',
  factor: 32,
  beta_fast: 32,
  beta_slow: 1,
  truncate: false,
  original_max_position_embeddings: 4096,
};

const APERTUS_ROPE = {
  rope_type: 'llama3',
  rope_theta: 12e6,
  factor: 8,
  original_max_position_embeddings: 8192,
  low_freq_factor: 1,
  high_freq_factor: 4,
};

const LIQUID: Kind = {
  config: liquidConfig,
  qkvBias: no,
  outBias: no,
  mlpBias: no,
  names: {
    out: 'self_attn.out_proj',
    qNorm: 'self_attn.q_layernorm',
    kNorm: 'self_attn.k_layernorm',
    gate: 'feed_forward.w1',
    up: 'feed_forward.w3',
    down: 'feed_forward.w2',
    last: 'embedding_norm',
  },
  norms: { before: { attention: 'operator_norm', mlp: 'ffn_norm' } },
  headNorm: true,
  instead: liquidShort,
  inJs: (config) => unlistedInJs(config, LIQUID_TYPES),
  dividesHidden: true,
  epsilonField: 'norm_eps',
  epsilon: 1e-5,
  kvHeads: 8,
  base: 1e6,
  tied: true,
};

/** What Mamba 2 and Nemotron-H, whose blocks have one half alone, call their parts. */
const MIXER_NAMES: Pick<Kind, 'prefixes' | 'names' | 'norms'> = {
  prefixes: ['backbone.', 'model.', ''],
  names: {
    qkv: (label) => `mixer.${label}_proj`,
    out: 'mixer.o_proj',
    up: 'mixer.up_proj',
    down: 'mixer.down_proj',
    tokens: 'embeddings',
    last: 'norm_f',
  },
  norms: { before: { attention: 'norm', mlp: 'norm' } },
};

/** What Bamba and Falcon-H1 call their parts. */
const JAMBA_NAMES: Pick<Kind, 'names' | 'norms'> = {
  names: {
    gate: 'feed_forward.gate_proj',
    up: 'feed_forward.up_proj',
    down: 'feed_forward.down_proj',
    last: 'final_layernorm',
  },
  norms: { before: { attention: 'input_layernorm', mlp: 'pre_ff_layernorm' } },
};

/** Three blocks in four have the gated delta rule in the place of attention. */
const QWEN_HYBRID: Kind = {
  qkvBias: attentionBias,
  outBias: attentionBias,
  mlpBias: no,
  centre: 1,
  headNorm: true,
  opens: 'queries',
  instead: qwenDelta,
  deltaHeads: () => DELTA_HEADS,
  hasExperts: true,
  portion: 0.25,
  kvHeads: 2,
  headDim: 256,
};

const KINDS: Readonly<Record<string, Kind>> = {
  llama: { qkvBias: attentionBias, outBias: attentionBias, mlpBias, mustDivide: true },
  llama4_text: {
    config: fourthConfig,
    fields: { ffn: 'intermediate_size_mlp' },
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    names: {
      gate: 'feed_forward.gate_proj',
      up: 'feed_forward.up_proj',
      down: 'feed_forward.down_proj',
    },
    headNorm: (config) => flag(config, 'use_qk_norm', true),
    areNormsBehind: true,
    areNormsBare: true,
    normsTurned: true,
    hasExperts: (config) => blocksMixed(config, integer(config, 'num_hidden_layers')).length > 0,
    turns: smolTurns,
    chunk: fourthChunk,
    stretch: fourthStretch,
    pairsNeighbours: true,
    kvHeads: 8,
    headDim: 128,
    epsilon: 1e-5,
    base: 5e5,
  },
  eurobert: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias,
    epsilon: 1e-5,
    base: 250_000,
    mustDivide: true,
  },
  mistral: { qkvBias: no, outBias: no, mlpBias: no, kvHeads: 8, window: windowOf },
  ministral: { qkvBias: no, outBias: no, mlpBias: no, kvHeads: 8, window: ministralWindow },
  ministral3: {
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    rope: ropeElse(MINISTRAL_ROPE),
    stretch: ministralStretch,
    window: givenWindow,
    kvHeads: 8,
    headDim: 128,
    epsilon: 1e-5,
    base: 1e6,
  },
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
  qwen3_vl_moe_text: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    headNorm: true,
    hasExperts: true,
    kvHeads: 16,
    base: 5e6,
  },
  qwen3_next: QWEN_HYBRID,
  qwen3_5_text: { ...QWEN_HYBRID, hasExperts: undefined, kvHeads: 4, countsPositions: true },
  qwen3_5_moe_text: { ...QWEN_HYBRID, config: withoutDense, countsPositions: true },
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
  granite: GRANITE,
  granitemoe: GRANITE_MIXTURE,
  granitemoeshared: GRANITE_MIXTURE,
  granitemoehybrid: {
    ...GRANITE,
    hasExperts: (config) => Number(config.num_local_experts ?? 8) > 0,
    mlpBias: no,
    fields: { ffn: 'shared_intermediate_size' },
    names: {
      gate: 'shared_mlp.input_linear',
      up: 'shared_mlp.input_linear',
      down: 'shared_mlp.output_linear',
    },
    fused: { mlp: true },
    turns: (config) => config.position_embedding_type === 'rope',
    instead: hybridSpace,
    deltaHeads: spaceHeads,
    inJs: listedInJs,
    dividesHidden: true,
  },
  bamba: {
    config: bambaConfig,
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    ...JAMBA_NAMES,
    portion: 0.5,
    instead: (config, i, named) => hybridSpace(config, i, named, { epsilon: 1e-5 }),
    deltaHeads: spaceHeads,
    kvHeads: 8,
    epsilon: 1e-5,
  },
  falcon_h1: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias,
    ...JAMBA_NAMES,
    multipliers: falconFactors,
    ownActivation: falconActivation,
    space: falconSpace,
    deltaHeads: falconHeads,
    kvHeads: 8,
    epsilon: 1e-5,
    base: 1e5,
  },
  mamba2: {
    config: mambaConfig,
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    ...MIXER_NAMES,
    lacks: () => 'mlp',
    turns: no,
    instead: mambaSpace,
    deltaHeads: mambaHeads,
    dividesHidden: true,
    epsilon: 1e-5,
  },
  nemotron_h: {
    config: nemotronConfig,
    qkvBias: no,
    outBias: no,
    mlpBias,
    ...MIXER_NAMES,
    isPlain: true,
    lacks: nemotronLacks,
    hasExperts: ({ layer_types: types }) => (types as readonly string[]).includes('moe'),
    turns: no,
    instead: nemotronSpace,
    deltaHeads: nemotronHeads,
    inJs: listedInJs,
    activation: 'relu2',
    kvHeads: 8,
    headDim: 128,
    epsilon: 1e-5,
  },
  deepseek_v2: DEEPSEEK,
  deepseek_v3: DEEPSEEK,
  glm4_moe_lite: { ...DEEPSEEK, latent: LITE, epsilon: 1e-5 },
  mistral4: {
    ...YOUTU,
    hasExperts: true,
    latent: { own: 64, turned: 64, values: 128, keys: 256, queries: 1024 },
    rope: ropeElse(SMALL_ROPE),
    stretch: ministralStretch,
    tied: undefined,
  },
  youtu: YOUTU,
  dots1: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    headNorm: true,
    hasExperts: true,
    window: dotsWindow,
  },
  glm4_moe: {
    qkvBias: attentionBias,
    outBias: no,
    mlpBias: no,
    headNorm: (config) => flag(config, 'use_qk_norm', false),
    hasExperts: true,
    hasMore: true,
    portion: 0.5,
    kvHeads: 8,
    epsilon: 1e-5,
  },
  solar_open: {
    config: (config) => ({ ...config, intermediate_size: config.moe_intermediate_size ?? 1280 }),
    qkvBias: attentionBias,
    outBias: no,
    mlpBias: no,
    hasExperts: true,
    portion: 1,
    kvHeads: 8,
    headDim: 128,
    epsilon: 1e-5,
    base: 1e6,
  },
  afmoe: {
    config: trinityConfig,
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    norms: {
      before: { attention: 'input_layernorm', mlp: 'pre_mlp_layernorm' },
      after: { attention: 'post_attention_layernorm', mlp: 'post_mlp_layernorm' },
    },
    headNorm: true,
    opens: 'self_attn.gate_proj',
    multipliers: (config, { hidden }) => ({
      embedding: flag(config, 'mup_enabled', false) ? Math.sqrt(hidden) : 1,
      added: 1,
      logits: 1,
    }),
    hasExperts: true,
    turns: trinitySlides,
    window: (config, i) => (trinitySlides(config, i) ? integer(config, 'sliding_window', 1024) : undefined),
    headDim: 128,
    epsilon: 1e-5,
  },
  gpt_oss: {
    qkvBias: (config) => flag(config, 'attention_bias', true),
    outBias: (config) => flag(config, 'attention_bias', true),
    mlpBias: no,
    hasExperts: true,
    does: bounded,
    sinks: 'self_attn.sinks',
    rope: ropeElse(OSS_ROPE),
    window: ossWindow,
    kvHeads: 8,
    headDim: 64,
    epsilon: 1e-5,
    base: 150_000,
  },
  minicpm: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    multipliers: (config, { hidden, blocks }) => ({
      embedding: positive(config, 'scale_emb', 1),
      added: positive(config, 'scale_depth', 1) / Math.sqrt(blocks),
      logits: positive(config, 'dim_model_base', 1) / hidden,
    }),
    dividesHidden: true,
    tied: true,
  },
  mobilellm: {
    config: mobileConfig,
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias,
    dividesHidden: true,
  },
  nanochat: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    names: { up: 'mlp.fc1', down: 'mlp.fc2' },
    isPlain: true,
    activation: 'relu2',
    hasBareNorms: true,
    normsTokens: true,
    headNorm: true,
    areNormsBehind: true,
    turnsBack: true,
    cap: 15,
  },
  lfm2: {
    ...LIQUID,
    config: (config) => liquidConfig({ ...config, intermediate_size: liquidNeurons(config) }),
    beside: (neurons) => ({ block_ff_dim: neurons, block_auto_adjust_ff_dim: false }),
  },
  lfm2_moe: { ...LIQUID, hasExperts: true },
  hunyuan_v1_dense: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    names: { qNorm: 'self_attn.query_layernorm', kNorm: 'self_attn.key_layernorm' },
    headNorm: true,
    areNormsBehind: true,
    rope: hunyuanRope,
    epsilon: 1e-5,
  },
  internlm2: {
    qkvBias: (config) => flag(config, 'bias', true),
    outBias: (config) => flag(config, 'bias', true),
    mlpBias: no,
    names: {
      qkv: () => 'attention.wqkv',
      out: 'attention.wo',
      gate: 'feed_forward.w1',
      up: 'feed_forward.w3',
      down: 'feed_forward.w2',
      tokens: 'tok_embeddings',
      output: 'output',
    },
    fused: { qkv: 'byHeads' },
    norms: { before: { attention: 'attention_norm', mlp: 'ffn_norm' } },
    dividesHidden: true,
  },
  internlm3: {
    qkvBias: (config) => flag(config, 'qkv_bias', false),
    outBias: (config) => flag(config, 'bias', false),
    mlpBias: (config) => flag(config, 'bias', false),
  },
  exaone: {
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    fields: { blocks: 'num_layers', activation: 'activation_function' },
    epsilonField: 'layer_norm_epsilon',
    names: {
      prefix: 'transformer.',
      blocks: 'h',
      qkv: (label) => `attn.attention.${label}_proj`,
      out: 'attn.attention.out_proj',
      gate: 'mlp.c_fc_0',
      up: 'mlp.c_fc_1',
      down: 'mlp.c_proj',
      tokens: 'wte',
      last: 'ln_f',
    },
    norms: { before: { attention: 'ln_1', mlp: 'ln_2' } },
    dividesHidden: true,
    epsilon: 1e-5,
    tied: true,
  },
  openelm: {
    config: elmConfig,
    fields: {
      hidden: 'model_dim',
      blocks: 'num_transformer_layers',
      positions: 'max_context_length',
      activation: 'activation_fn_name',
    },
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    names: {
      prefix: 'transformer.',
      qkv: () => 'attn.qkv_proj',
      out: 'attn.out_proj',
      qNorm: 'attn.q_norm',
      kNorm: 'attn.k_norm',
      gate: 'ffn.proj_1',
      up: 'ffn.proj_1',
      down: 'ffn.proj_2',
      tokens: 'token_embeddings',
    },
    fused: { qkv: 'whole', mlp: true },
    norms: { before: { attention: 'attn_norm', mlp: 'ffn_norm' } },
    headNorm: (config) => flag(config, 'normalize_qk_projections', false),
    sizesOf: elmSizes,
    ignored: /\bclassifier\.weight$/, // beside the lm_head that is read
    dividesHidden: true,
    headDim: 128,
  },
  phi3: {
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    names: { ...FUSED_MLP, qkv: () => 'self_attn.qkv_proj' },
    fused: { qkv: 'whole', mlp: true },
    portion: 1,
    window: givenWindow,
    epsilon: 1e-5,
  },
  phimoe: {
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    hasLayerNorms: true,
    outputBias: (config) => flag(config, 'lm_head_bias', false),
    hasExperts: true,
    rope: phiRope,
    window: givenWindow,
    dividesHidden: true,
    kvHeads: 8,
    epsilon: 1e-5,
    base: 1e6,
  },
  glm: { ...GLM, dividesHidden: true },
  chatglm: {
    config: chatConfig,
    fields: { blocks: 'num_layers', positions: 'seq_length', ffn: 'ffn_hidden_size' },
    qkvBias: (config) => flag(config, 'add_qkv_bias', false) || flag(config, 'add_bias_linear', true),
    outBias: (config) => flag(config, 'add_bias_linear', true),
    mlpBias: (config) => flag(config, 'add_bias_linear', true),
    names: {
      prefix: 'transformer.',
      blocks: 'encoder.layers',
      qkv: () => 'self_attention.query_key_value',
      out: 'self_attention.dense',
      gate: 'mlp.dense_h_to_4h',
      up: 'mlp.dense_h_to_4h',
      down: 'mlp.dense_4h_to_h',
      tokens: 'embedding.word_embeddings',
      last: 'encoder.final_layernorm',
      output: 'transformer.output_layer',
    },
    fused: { qkv: 'whole', mlp: true },
    epsilonField: 'layernorm_epsilon',
    epsilon: 1e-5,
    portion: 0.5,
    pairsNeighbours: true,
    dividesHidden: true,
  },
  baichuan: {
    config: baichuanConfig,
    qkvBias: no,
    outBias: no,
    mlpBias: no,
    names: { qkv: () => 'self_attn.W_pack' },
    fused: { qkv: 'whole' },
    slopes: baichuanSlopes,
    isNormalised: (config) => config.z_loss_weight !== undefined,
    dividesHidden: true,
  },
  apertus: {
    config: (config) => ({ ...config, hidden_act: isXielu(config) ? undefined : config.hidden_act }),
    qkvBias: attentionBias,
    outBias: attentionBias,
    mlpBias: no,
    isPlain: true,
    norms: { before: { attention: 'attention_layernorm', mlp: 'feedforward_layernorm' } },
    headNorm: true,
    ownActivation: (config) => (isXielu(config) ? xieluIn : undefined),
    ignored: /rotary_emb\.inv_freq$|act_fn\.(beta|eps)$/,
    rope: ropeElse(APERTUS_ROPE),
    epsilon: 1e-5,
    base: 12e6,
  },
  glm4: {
    ...GLM,
    norms: { ...BEFORE, after: { attention: 'post_self_attn_layernorm', mlp: 'post_mlp_layernorm' } },
  },
  ernie4_5: { ...ERNIE, kvHeads: 2, headDim: 128 },
  ernie4_5_moe: { ...ERNIE, hasExperts: true, kvHeads: 4 },
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
  describe(given, modelType, names) {
    const kind = KINDS[modelType];
    const config = kind.config?.(given) ?? given;
    const hasExperts = typeof kind.hasExperts === 'function' ? kind.hasExperts(config) : kind.hasExperts;
    if (!hasExperts && Number(config.num_experts ?? 0) > 0) throw unsupported(modelType, 'num_experts');
    const { turns, window, mustDivide, dividesHidden, portion, pairsNeighbours } = kind;
    const headNorm = typeof kind.headNorm === 'function' ? kind.headNorm(config) : kind.headNorm;
    const { base, activation, tied } = common(config, modelType, {
      names: kind.fields,
      activation: kind.activation ?? 'silu',
      tied: kind.tied ?? false,
      headDim: kind.latent
        ? integer(config, 'v_head_dim', kind.latent.values)
        : (givenHeadDim(config) ?? kind.headDim),
    });
    const { headDim, maxPositions, sizes } = base;
    const theta = { theta: 'rope_theta', base: kind.base };
    const rotary = { modelType, headDim, maxPositions, ...theta, pairsNeighbours };
    const ropes = kind.rope?.(config, headDim) ?? config;
    const latent = kind.latent && latentAttention(ropes, { modelType, maxPositions, ...theta }, kind.latent);
    const forth = latent
      ? latent.rope
      : portion === undefined
        ? wholeRopeOf(ropes, rotary)
        : ropeOf(ropes, { ...rotary, portion: positive(config, 'partial_rotary_factor', portion) });
    const rope = kind.turnsBack ? turnedBack(forth) : forth;
    const epsilon = positive(config, kind.epsilonField ?? 'rms_norm_eps', kind.epsilon ?? 1e-6);
    const factors = kind.multipliers?.(config, base);
    const kvHeads = integer(config, 'num_key_value_heads', kind.kvHeads ?? sizes.heads);
    const slopes = kind.slopes?.(given, sizes.heads);
    const does = kind.does?.(config) ?? { activation };
    const experts =
      hasExperts &&
      mixturesOf(config, { ...base, sizes: { ...sizes, kvHeads } }, does, kind.mlpBias(config), names);
    const instead =
      kind.instead && ((i: number, named: (name: string) => string) => kind.instead!(config, i, named));
    const parts = {
      norm: (name: string) =>
        kind.hasLayerNorms
          ? layerNorm(name, epsilon)
          : { ...rmsNorm(name, epsilon, kind.centre), affine: !kind.hasBareNorms },
      biases: { qkv: kind.qkvBias(config), out: kind.outBias(config), mlp: kind.mlpBias(config) },
      names: kind.names,
      fused: kind.fused,
      isPlain: kind.isPlain,
      norms: kind.norms,
      headNorms: headNorm ? ('each' as const) : undefined,
      areNormsBehind: kind.areNormsBehind,
      gain: factors?.added,
      sinks: kind.sinks,
      latent: latent ? latent.parts : undefined,
      factors: factors?.halves,
      scale: latent ? latent.scale : (factors?.scores ?? headDim ** -0.5),
      stretch: (i: number) => kind.stretch?.(ropes, i),
      rope: (i: number) => (slopes || turns?.(config, i) === false ? undefined : rope),
      window: (i: number) => window?.(config, i),
      chunk: (i: number) => kind.chunk?.(config, i),
      areNormsBare: kind.areNormsBare,
      isNormed: kind.normsTurned ? (i: number) => turns?.(config, i) !== false : undefined,
      activation,
      ownActivation: kind.ownActivation?.(config),
      slopes,
      mixture: experts ? experts.mixture : undefined,
      instead,
      lacks: kind.lacks && ((i: number) => kind.lacks!(config, i)),
      beside: kind.space && ((named: (name: string) => string) => kind.space!(config, named)),
      opens: kind.opens,
    };
    const model = gatedModel(base, kvHeads, tied, parts);
    return {
      ...model,
      prefixes: kind.prefixes ?? model.prefixes,
      transformersJs: kind.inJs?.(given),
      keyDim: latent ? latent.keyDim : undefined,
      sizesOf:
        experts || instead || kind.space || kind.lacks
          ? (i) => sizesWith(experts ? experts.sizesOf(i) : model.sizes, model.block(i))
          : kind.sizesOf?.(config),
      since: experts ? experts.since : undefined,
      countsPositions: kind.countsPositions,
      ignored: kind.hasMore ? behind(base.blocks) : (kind.ignored ?? model.ignored),
      embedding: {
        ...model.embedding,
        scale: factors?.embedding,
        norm: kind.normsTokens ? parts.norm('embed_tokens.norm') : undefined,
      },
      head: {
        ...model.head,
        bias: kind.outputBias?.(config) ? 'lm_head.bias' : undefined,
        scale: factors?.logits,
        cap: kind.cap && capOf(config, 'final_logit_softcapping', kind.cap),
        isNormalised: kind.isNormalised?.(config),
      },
      // transformers checks the number of longrope's factors by hidden_size / num_attention_heads.
      fields: {
        ...(kind.sizesOf ? {} : base.fields),
        ...(experts ? experts.fields : {}),
        beside: kind.beside,
        heads:
          rope.long || dividesHidden
            ? undefined
            : { ...HEAD_FIELDS, headDim: latent ? undefined : HEAD_FIELDS.headDim, mustDivide },
        deltaHeads: kind.deltaHeads?.(config),
      },
    };
  },
};

/** Those of a block. */
function sizesWith(given: BlockSizes, { instead, beside, lacks }: Block): BlockSizes {
  const sizes = lacks === 'mlp' ? { ...given, ffn: 0 } : given;
  if (lacks === 'attention') return { ...sizes, heads: 0, kvHeads: 0 };
  if (beside) return { ...sizes, space: beside.sizes };
  if (!instead) return sizes;
  return { ...sizes, ...(isDelta(instead) ? instead.sizes : { heads: 0, kvHeads: 0 }) };
}

/** With the neurons of MLPs where it leaves these out, and without an empty list of which blocks have positions. */
function fourthConfig(config: Config): Config {
  const { no_rope_layers: turns, intermediate_size_mlp: neurons } = config;
  return {
    ...config,
    intermediate_size_mlp: neurons ?? 16_384,
    no_rope_layers: Array.isArray(turns) && turns.length === 0 ? undefined : turns,
  };
}

/** Blocks with rotary positions see their own piece of a text, if no list says it. */
function fourthChunk(config: Config, i: number): number | undefined {
  const known = ['full_attention', 'chunked_attention'];
  const type = layerType(config, i, 'llama4_text', known);
  const isChunked = type === undefined ? smolTurns(config, i) : type === known[1];
  return isChunked ? integer(config, 'attention_chunk_size', 8192) : undefined;
}

/** Where there are no positions. */
function fourthStretch(config: Config, i: number): Stretch | undefined {
  if (smolTurns(config, i) || !(config.attn_temperature_tuning ?? true)) return undefined;
  const positions = positive(config, 'floor_scale', 8192);
  return { beta: positive(config, 'attn_scale', 0.1), positions, offset: 1 };
}

/** transformers reads nothing of what else the shares of experts may be by the model's own code. */
function trinityConfig(config: Config): Config {
  const { score_func: func = 'sigmoid', route_norm: isNormalised = true } = config;
  if (func !== 'sigmoid') throw unsupported('afmoe', `score_func ${JSON.stringify(func)}`);
  if (isNormalised !== true) throw unsupported('afmoe', 'route_norm false');
  return config;
}

/** Blocks that see a window have rotary positions, the others none. */
function trinitySlides(config: Config, i: number): boolean {
  return isSliding(config, i, () => (i + 1) % integer(config, 'global_attn_every_n_layers', 4) !== 0);
}

function mobileConfig(config: Config): Config {
  if (flag(config, 'layer_sharing', false))
    throw unsupported('mobilellm', 'blocks that are passed twice (layer_sharing)');
  return {
    ...config,
    tie_word_embeddings: flag(config, 'share_embedding', false) || config.tie_word_embeddings,
  };
}

/** OpenELM's fields by the names that others have for them. */
function elmConfig(config: Config): Config {
  if (!flag(config, 'ffn_with_glu', true)) throw unsupported('openelm', 'ffn_with_glu false');
  const { heads, kvHeads, ffn } = elmSizes(config)(0);
  return {
    ...config,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    intermediate_size: ffn,
    rope_theta: config.rope_freq_constant,
    tie_word_embeddings: flag(config, 'share_input_output_layers', false),
  };
}

/** As its own code, which fills in config.json for all blocks what it makes of a range. */
function elmSizes(config: Config): (i: number) => BlockSizes {
  const blocks = integer(config, 'num_transformer_layers');
  const hidden = integer(config, 'model_dim');
  const heads = integers(config, 'num_query_heads', blocks);
  const kvHeads = integers(config, 'num_kv_heads', blocks);
  const wrong = heads.findIndex((count, i) => count % kvHeads[i] !== 0);
  if (wrong >= 0)
    throw new InputError(
      `config.json: "num_query_heads" expected a multiple of the ${kvHeads[wrong]} of num_kv_heads, got ${heads[wrong]} for block ${wrong}`,
    );
  const step = integer(config, 'ffn_dim_divisor', 256);
  const neurons = numbers(config, 'ffn_multipliers', blocks).map((factor) => {
    const near = Math.max(step, Math.floor(Math.floor(factor * hidden + step / 2) / step) * step);
    return near < 0.9 * factor * hidden ? near + step : near;
  });
  return (i) => ({ heads: heads[i], kvHeads: kvHeads[i], ffn: neurons[i] });
}

function qwenWindow(config: Config, i: number): number | undefined {
  if (!flag(config, 'use_sliding_window', false)) return undefined;
  return slidingWindow(config, i, () => i >= integer(config, 'max_window_layers', 28, 0));
}

/** All blocks see it where there is one. */
function ministralWindow(config: Config, i: number): number | undefined {
  return slidingWindow(config, i, () => config.sliding_window !== null);
}

function dotsWindow(config: Config, i: number): number | undefined {
  const first = integer(config, 'max_window_layers', 62, 0);
  return slidingWindow(config, i, () => config.sliding_window !== null && i >= first);
}

/** transformers' releases differ in which blocks see it. */
function qwenMixtureWindow(config: Config, i: number): number | undefined {
  if (!flag(config, 'use_sliding_window', false)) return undefined;
  if (config.layer_types == null) throw unsupported('qwen2_moe', 'use_sliding_window without layer_types');
  return slidingWindow(config, i, () => false);
}

function ministralStretch(config: Config): Stretch | undefined {
  const all = ropeSettings(config);
  if (all.llama_4_scaling_beta == null) return undefined;
  return {
    beta: positive(all, 'llama_4_scaling_beta'),
    positions: integer(all, 'original_max_position_embeddings'),
  };
}

/** Cosines and sines have a factor of their own, which is one for all lengths of a text. */
function phiRope(config: Config): Config {
  const all = ropeSettings(config);
  if ((all.rope_type ?? all.type ?? 'default') === 'default') return config;
  const [short, long] = ['short_mscale', 'long_mscale'].map((key) => positive(all, key));
  if (short !== long) throw unsupported('phimoe', `short_mscale ${short} beside long_mscale ${long}`);
  return { ...config, rope_parameters: { ...all, attention_factor: short } };
}

/** Frequencies of a base that is larger by `alpha`, whatever the length of a text. */
function hunyuanRope(config: Config, headDim: number): Config {
  const all = ropeSettings(config);
  if ((all.rope_type ?? all.type) !== 'dynamic' || !all.alpha) return config;
  const base = positive(all, 'rope_theta', positive(config, 'rope_theta', 10_000));
  const rope_theta = base * positive(all, 'alpha') ** (headDim / (headDim - 2));
  return { ...config, rope_scaling: undefined, rope_parameters: undefined, rope_theta };
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

/** Old frequencies, and what is behind so many blocks. */
function behind(blocks: number): RegExp {
  return new RegExp(`${FREQUENCIES.source}|\\blayers\\.${blocks}\\.`);
}

const LIQUID_TYPES = ['full_attention', 'conv'];

/** With what old files call otherwise. */
function liquidConfig(config: Config): Config {
  const { full_attn_idxs: attending, layer_types } = config;
  const types = Array.isArray(attending)
    ? Array.from({ length: integer(config, 'num_hidden_layers') }, (_, i) =>
        attending.includes(i) ? 'full_attention' : 'conv',
      )
    : undefined;
  return {
    ...config,
    layer_types: layer_types ?? types,
    rope_theta: config.theta ?? config.rope_theta,
    tie_word_embeddings: config.tie_embedding ?? config.tie_word_embeddings,
  };
}

/** Those that there are, which it may have in other numbers. */
function liquidNeurons(config: Config): number {
  const given = config.block_ff_dim === undefined ? 'intermediate_size' : 'block_ff_dim';
  return adjusted(config, integer(config, given));
}

function adjusted(config: Config, neurons: number): number {
  if (!flag(config, 'block_auto_adjust_ff_dim', true)) return neurons;
  const fewer = Math.floor((2 * neurons) / 3);
  if (config.block_ffn_dim_multiplier === null) return fewer;
  const step = integer(config, 'block_multiple_of', 256);
  return Math.ceil(Math.floor(positive(config, 'block_ffn_dim_multiplier', 1) * fewer) / step) * step;
}

function liquidShort(config: Config, i: number, named: (name: string) => string): ShortConv | undefined {
  const { layer_types: types } = config;
  if (types == null) return undefined;
  if (!Array.isArray(types) || !LIQUID_TYPES.includes(types[i]) || !types.includes(LIQUID_TYPES[0]))
    throw unsupported(
      text(config, 'model_type', 'lfm2'),
      `layer_types other than a list of ${LIQUID_TYPES.join(' and ')}`,
    );
  if (types[i] === LIQUID_TYPES[0]) return undefined;
  const bias = flag(config, 'conv_bias', false);
  const at = (name: string) => named(`conv.${name}`);
  return {
    wide: linear(at('in_proj'), bias),
    conv: at('conv'),
    bias,
    kernel: integer(config, 'conv_L_cache', 3),
    out: linear(at('out_proj'), bias),
  };
}

const QWEN_TYPES = ['full_attention', 'linear_attention'];

/** The delta rule of block i, whose maps the model types have in tensors of different kinds. */
function qwenDelta(config: Config, i: number, named: (name: string) => string): DeltaRule | undefined {
  const modelType = text(config, 'model_type');
  const type = layerType(config, i, modelType, QWEN_TYPES);
  const every = integer(config, 'full_attention_interval', 4);
  if (type ? type === QWEN_TYPES[0] : (i + 1) % every === 0) return undefined;
  const { heads, kvHeads } = deltaHeadsIn(config, { heads: 32, kvHeads: 16 });
  const at = (name: string) => named(`linear_attn.${name}`);
  const byHeads = modelType === 'qwen3_next';
  const tensors = byHeads ? BY_HEADS : SIDE_BY_SIDE;
  return {
    map: (label) => {
      const all = tensors.find((it) => it.includes(label))!;
      const part = all.length > 1 ? { label, byHeads } : undefined;
      return linear(at(`in_proj_${all.join('')}`), false, part);
    },
    tensors,
    order: ['q', 'k', 'v'],
    conv: at('conv1d'),
    kernel: integer(config, 'linear_conv_kernel_dim', 4),
    activation: activationOf(config, modelType, 'hidden_act', 'silu'),
    decay: at('A_log'),
    shift: at('dt_bias'),
    norm: rmsNorm(at('norm'), positive(config, 'rms_norm_eps', 1e-6)),
    out: linear(at('out_proj'), false),
    sizes: {
      heads,
      kvHeads,
      keyDim: integer(config, 'linear_key_head_dim', 128),
      valueDim: integer(config, 'linear_value_head_dim', 128),
    },
  };
}

/** Maps that are one tensor: of each key head and those of values that it serves, or of all heads. */
const BY_HEADS: readonly (readonly DeltaLabel[])[] = [
  ['q', 'k', 'v', 'z'],
  ['b', 'a'],
];
const SIDE_BY_SIDE: readonly (readonly DeltaLabel[])[] = [['q', 'k', 'v'], ['z'], ['b'], ['a']];

/** Without an MLP for all tokens, whose neurons it does not say. */
function withoutDense(config: Config): Config {
  return { ...config, intermediate_size: config.shared_expert_intermediate_size ?? 512 };
}

/** Every second block sees everything. */
function ossWindow(config: Config, i: number): number | undefined {
  const sliding_window = config.sliding_window ?? 128;
  return slidingWindow({ ...config, sliding_window }, i, () => i % 2 === 0);
}

/** g·σ(αg)·(u + 1), where g is at most as large as a limit, and u between both. */
function bounded(config: Config): Pick<Mlp, 'activation' | 'raised'> {
  const [alpha, limit] = [positive(config, 'swiglu_alpha', 1.702), positive(config, 'swiglu_limit', 7)];
  return {
    activation: (g, x) => {
      const gate = g.node('Min', [x, g.scalar(limit)]);
      return g.node('Mul', [gate, g.node('Sigmoid', [g.node('Mul', [gate, g.scalar(alpha)])])]);
    },
    raised: (g, x) => {
      const up = g.node('Clip', [x, g.scalar(-limit), g.scalar(limit)]);
      return g.node('Add', [up, g.scalar(1)]);
    },
  };
}

const isXielu = ({ hidden_act: name }: Config) => name == null || name === 'xielu';

/** Of a block, with the two factors that it has learned. */
function xieluIn(named: (name: string) => string): OwnActivation {
  const [above, below] = ['alpha_p', 'alpha_n'].map((name) => named(`mlp.act_fn.${name}`));
  return (g, x) => xielu(g, x, g.weight(g.prefix + above, [1]), g.weight(g.prefix + below, [1]));
}

/** ChatGLM's fields by the names that others have for them. */
function chatConfig(config: Config): Config {
  if (config.padded_vocab_size == null) throw unsupported('chatglm', 'the first ChatGLM-6B');
  if (!flag(config, 'rmsnorm', true)) throw unsupported('chatglm', 'rmsnorm false');
  if (!flag(config, 'post_layer_norm', true)) throw unsupported('chatglm', 'post_layer_norm false');
  if (flag(config, 'apply_residual_connection_post_layernorm', false))
    throw unsupported('chatglm', 'apply_residual_connection_post_layernorm');
  const isShared = flag(config, 'multi_query_attention', false);
  return {
    ...config,
    vocab_size: config.padded_vocab_size,
    head_dim: config.kv_channels,
    num_key_value_heads: isShared ? integer(config, 'multi_query_group_num', 1) : undefined,
    rope_theta: 10_000 * positive(config, 'rope_ratio', 1),
  };
}

function baichuanConfig(config: Config): Config {
  return { ...config, max_position_embeddings: config.max_position_embeddings ?? config.model_max_length };
}

/** The larger ones have no number of positions, but ALiBi. */
function baichuanSlopes({ max_position_embeddings: positions }: Config, heads: number) {
  return positions == null ? () => slopesBelow(heads) : undefined;
}
