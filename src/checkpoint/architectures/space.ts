// State spaces (Mamba 2, arXiv 2405.21060), as Granite 4, Bamba, Falcon-H1, Nemotron-H and Mamba 2 itself have them: what config.json says of them, mostly by fields that begin with `mamba_`.

import { InputError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import {
  activationOf,
  eitherName,
  flag,
  integer,
  linear,
  numbers,
  positive,
  rmsNorm,
  text,
  unsupported,
} from './config.ts';
import type { GatedBlocks } from './gated.ts';
import type { Config, DeltaLabel, DeltaRule, Description, StateSpace } from './types.ts';

/** Gates, values, keys and queries, and how much a token fades, in one tensor. */
const SPACE: readonly DeltaLabel[] = ['z', 'v', 'k', 'q', 'a'];

const HEADS = { heads: 'mamba_n_heads', kvHeads: 'mamba_n_groups' };

/** Features of all heads, where they are so many times those of the stream. */
function featuresIn(config: Config): number {
  return integer(config, 'hidden_size') * positive(config, 'mamba_expand', 2);
}

/** What model types do differently. */
interface Own extends Pick<StateSpace, 'normsFirst' | 'normsByGroup' | 'factors'> {
  /** Its name in a block, and the fields of its heads and of the activation behind the convolution. */
  readonly module: string;
  readonly heads: typeof HEADS;
  readonly activation: string;
  readonly features: { readonly count: number; readonly field: string };
  readonly outBias: boolean;
  readonly hasNorm: boolean;
  readonly epsilon: number;
}

/** The one of a block, whose tensors are called as `named` tells. */
function stateSpace(config: Config, named: (name: string) => string, own: Partial<Own> = {}): DeltaRule {
  const { module = 'mamba', heads: fields = HEADS, activation = 'hidden_act', features: given } = own;
  const { outBias, hasNorm = true, epsilon = 1e-6, normsFirst, normsByGroup, factors } = own;
  const modelType = text(config, 'model_type');
  // Gates have this one whatever the other activation is.
  if (text(config, activation, 'silu') !== 'silu')
    throw unsupported(modelType, `${activation} other than "silu"`);
  const heads = integer(config, fields.heads, 128);
  const kvHeads = integer(config, fields.kvHeads, 1);
  const { count, field } = given ?? { count: featuresIn(config), field: 'mamba_expand' };
  const valueDim = typeof config.mamba_d_head === 'number' ? integer(config, 'mamba_d_head') : count / heads;
  if (!Number.isInteger(valueDim) || heads * valueDim !== count || heads % kvHeads !== 0)
    throw new InputError(
      `config.json: "${fields.heads}" expected a multiple of the ${kvHeads} of ${fields.kvHeads} that shares out ${count} features (${field}), got ${heads}`,
    );
  const at = (name: string) => named(`${module}.${name}`);
  const bias = flag(config, 'mamba_proj_bias', false);
  const limits = config.time_step_limit == null ? undefined : boundsOf(config.time_step_limit);
  return {
    map: (label) => linear(at('in_proj'), bias, { label, place: SPACE.indexOf(label) }),
    tensors: [SPACE],
    order: ['v', 'k', 'q'],
    conv: at('conv1d'),
    bias: flag(config, 'mamba_conv_bias', true),
    kernel: integer(config, 'mamba_d_conv', 4),
    activation: activationOf(config, modelType, activation, 'silu'),
    decay: at('A_log'),
    shift: at('dt_bias'),
    norm: hasNorm ? rmsNorm(at('norm'), positive(config, 'rms_norm_eps', epsilon)) : undefined,
    out: linear(at('out_proj'), outBias ?? bias),
    space: { skip: at('D'), limits, normsFirst, normsByGroup, factors },
    sizes: { heads, kvHeads, keyDim: integer(config, 'mamba_d_state', 256), valueDim },
  };
}

/** Where there is none above, JSON has null, or what transformers 5 writes for infinity. */
function boundsOf(given: unknown): readonly [number, number] | undefined {
  const number = (it: unknown) => {
    if (it === null) return Number.POSITIVE_INFINITY;
    return Number(isObject(it) ? it.__float__ : it);
  };
  const [low, high] = Array.isArray(given) ? given.map(number) : [];
  if (!(low >= 0 && high > low))
    throw new InputError(
      `config.json: "time_step_limit" expected two numbers, the larger one last, got ${JSON.stringify(given)}`,
    );
  return low === 0 && high === Number.POSITIVE_INFINITY ? undefined : [low, high];
}

export function spaceHeads(config: Config): Description['fields']['deltaHeads'] {
  const beside = (heads: number) => expanded(config, heads, ['mamba_expand', 'mamba_d_head'], HEADS.heads);
  return { ...HEADS, beside };
}

/** Features of all heads are a multiple of those of the stream, by a field that takes integers. */
function expanded(
  config: Config,
  heads: number,
  [times, features]: readonly [string, string],
  field: string,
): Config | undefined {
  const valueDim = featuresIn(config) / integer(config, field, 128);
  const expand = (heads * valueDim) / integer(config, 'hidden_size');
  return Number.isInteger(expand) ? { [times]: expand, [features]: valueDim } : undefined;
}

/** The names of blocks before transformers 5, and those since then. */
const HYBRID_TYPES = { attention: 'full_attention', mamba: 'linear_attention' };

/** The one of block i, where that has no attention. */
export function hybridSpace(
  config: Config,
  i: number,
  named: (name: string) => string,
  own: Partial<Own> = {},
): DeltaRule | undefined {
  const types = config.layer_types ?? config.layers_block_type;
  const isType = (name: keyof typeof HYBRID_TYPES) =>
    Array.isArray(types) && [name, HYBRID_TYPES[name]].includes(types[i]);
  if (isType('attention')) return undefined;
  if (types != null && !isType('mamba'))
    throw unsupported(
      text(config, 'model_type'),
      `layer_types other than a list of ${Object.keys(HYBRID_TYPES).join(' and ')}`,
    );
  return stateSpace(config, named, own);
}

/** Bamba's attention is in blocks that a list of numbers names, and has rotary positions on half of each head. */
export function bambaConfig(config: Config): Config {
  const { attn_layer_indices: attending } = config;
  const types = Array.from({ length: integer(config, 'num_hidden_layers') }, (_, i) =>
    Array.isArray(attending) && attending.includes(i) ? 'attention' : 'mamba',
  );
  return { ...config, layer_types: config.layer_types ?? types, partial_rotary_factor: 0.5 };
}

/** Features of all heads of Falcon-H1, which has them as a number of their own. */
function falconFeatures(config: Config): number {
  return config.mamba_d_ssm === null ? featuresIn(config) : integer(config, 'mamba_d_ssm', 1024);
}

export function falconSpace(config: Config, named: (name: string) => string): DeltaRule {
  const factors = listed(config, 'ssm_multipliers', SPACE.length);
  return stateSpace(config, named, {
    features: { count: falconFeatures(config), field: 'mamba_d_ssm' },
    outBias: flag(config, 'projectors_bias', false),
    hasNorm: flag(config, 'mamba_rms_norm', false),
    epsilon: 1e-5,
    normsFirst: flag(config, 'mamba_norm_before_gate', true),
    normsByGroup: true,
    factors: {
      takes: positive(config, 'ssm_in_multiplier', 1),
      maps: Object.fromEntries(SPACE.map((label, at) => [label, factors[at]])),
      gives: positive(config, 'ssm_out_multiplier', 1),
    },
  });
}

/** Ones, where config.json leaves them out. */
function listed(config: Config, key: string, count: number): readonly number[] {
  return config[key] == null ? new Array<number>(count).fill(1) : numbers(config, key, count);
}

export function falconHeads(config: Config): Description['fields']['deltaHeads'] {
  const valueDim = falconFeatures(config) / integer(config, HEADS.heads, 128);
  return {
    ...HEADS,
    beside: (heads) => ({ mamba_d_ssm: heads * valueDim, mamba_d_head: valueDim }),
  };
}

export function falconFactors(config: Config, { headDim }: Pick<Description, 'headDim'>) {
  const [, mlp] = listed(config, 'mlp_multipliers', 2);
  return {
    embedding: positive(config, 'embedding_multiplier', 1),
    scores: headDim ** -0.5 * positive(config, 'key_multiplier', 1),
    logits: positive(config, 'lm_head_multiplier', 1),
    halves: {
      takes: positive(config, 'attention_in_multiplier', 1),
      gives: positive(config, 'attention_out_multiplier', 1),
      mlp,
    },
  };
}

/** Of what the gate gives times a factor. */
export function falconActivation(config: Config): GatedBlocks['ownActivation'] {
  const [gate] = listed(config, 'mlp_multipliers', 2);
  const activation = activationOf(config, 'falcon_h1', 'hidden_act', 'silu');
  return () => (g, x) => activation(g, g.node('Mul', [x, g.scalar(gate)]));
}

/** What a block of Nemotron-H is, by its sign and by the names that transformers has had for it. */
const NEMOTRON_TYPES: readonly (readonly [name: string, sign: string, later?: string])[] = [
  ['mamba', 'M', 'linear_attention'],
  ['attention', '*', 'full_attention'],
  ['mlp', '-'],
  ['moe', 'E'],
];

function nemotronTypes(config: Config): readonly string[] {
  const listed = config.layers_block_type ?? config.layer_types;
  const { hybrid_override_pattern: pattern } = config;
  const types = listed ?? (typeof pattern === 'string' ? [...pattern] : undefined);
  const names = (Array.isArray(types) ? types : []).map(
    (type) => NEMOTRON_TYPES.find((it) => it.includes(type))?.[0],
  );
  if (names.length > 0 && names.every((name) => name !== undefined)) return names;
  throw unsupported(
    NEMOTRON,
    `blocks other than ${NEMOTRON_TYPES.map(([name]) => name).join(', ')} by layers_block_type or hybrid_override_pattern`,
  );
}

const NEMOTRON = 'nemotron_h';

/** With the names that others have for its fields. */
export function nemotronConfig(config: Config): Config {
  const types = nemotronTypes(config);
  const hasExperts = types.includes('moe');
  if (flag(config, 'attention_bias', false)) throw unsupported(NEMOTRON, 'attention_bias');
  if (hasExperts && config.moe_latent_size != null) throw unsupported(NEMOTRON, 'moe_latent_size');
  if (hasExperts && flag(config, 'mlp_bias', false)) throw unsupported(NEMOTRON, 'mlp_bias beside experts');
  const { kvHeads } = nemotronFields(config);
  return {
    ...config,
    layer_types: types,
    num_hidden_layers: types.length,
    intermediate_size: config.intermediate_size ?? config.moe_intermediate_size,
    hidden_act: config.mlp_hidden_act,
    head_dim: config.head_dim ?? config.attention_head_dim,
    mamba_d_head: config.mamba_head_dim ?? 64,
    mamba_d_state: config.ssm_state_size ?? 128,
    mamba_d_conv: config.mamba_d_conv ?? config.conv_kernel,
    mamba_conv_bias: config.mamba_conv_bias ?? config.use_conv_bias,
    mamba_proj_bias: config.use_bias,
    [kvHeads]: config[kvHeads] ?? 8,
    time_step_limit: config.mamba_dt_limit ?? config.time_step_limit,
    rms_norm_eps: config.layer_norm_epsilon,
    // There are no positions.
    ...{ rope_parameters: undefined, rope_scaling: undefined, partial_rotary_factor: undefined },
  };
}

function nemotronFields(config: Config): typeof HEADS {
  return { heads: 'mamba_num_heads', kvHeads: eitherName(config, 'n_groups', HEADS.kvHeads) };
}

/** The half that block i has not: it has a single one. */
export function nemotronLacks({ layer_types: types }: Config, i: number): 'attention' | 'mlp' {
  return ['mlp', 'moe'].includes((types as readonly string[])[i]) ? 'attention' : 'mlp';
}

export function nemotronSpace(
  config: Config,
  i: number,
  named: (name: string) => string,
): DeltaRule | undefined {
  if ((config.layer_types as readonly string[])[i] !== 'mamba') return undefined;
  const heads = nemotronFields(config);
  const count = integer(config, heads.heads, 128) * integer(config, 'mamba_d_head');
  return stateSpace(config, named, {
    module: 'mixer',
    heads,
    activation: 'mamba_hidden_act',
    features: { count, field: 'mamba_head_dim' },
    epsilon: 1e-5,
    normsByGroup: true,
  });
}

export function nemotronHeads(config: Config): Description['fields']['deltaHeads'] {
  return {
    ...nemotronFields(config),
    beside: () => ({ mamba_head_dim: integer(config, 'mamba_d_head') }),
  };
}

const MAMBA_HEADS = { heads: 'num_heads', kvHeads: 'n_groups' };

/** A text of any length. */
const NO_END = 2 ** 20;

/** With the names that others have for its fields, and something for those of halves that it has not. */
export function mambaConfig(config: Config): Config {
  return {
    ...config,
    ...{ num_attention_heads: 1, num_key_value_heads: 1, intermediate_size: 1, head_dim: undefined },
    max_position_embeddings: config.max_position_embeddings ?? NO_END,
    mamba_d_head: config.head_dim ?? 64,
    mamba_d_state: config.state_size ?? 128,
    mamba_d_conv: config.conv_kernel,
    mamba_conv_bias: config.use_conv_bias,
    mamba_proj_bias: config.use_bias,
    mamba_expand: config.expand,
    n_groups: config.n_groups ?? 8,
    rms_norm_eps: config.layer_norm_epsilon,
  };
}

export function mambaSpace(config: Config, _: number, named: (name: string) => string): DeltaRule {
  const features = { count: featuresIn(config), field: 'expand' };
  return stateSpace(config, named, { module: 'mixer', heads: MAMBA_HEADS, features, epsilon: 1e-5 });
}

export function mambaHeads(config: Config): Description['fields']['deltaHeads'] {
  return {
    ...MAMBA_HEADS,
    beside: (heads) => expanded(config, heads, ['expand', 'head_dim'], MAMBA_HEADS.heads),
  };
}

/** It goes by a list of the names that transformers 4 has. */
export function listedInJs({ layer_types, layers_block_type }: Config): string | undefined {
  const types = layer_types ?? layers_block_type;
  const isKnown =
    Array.isArray(types) && types.every((type) => NEMOTRON_TYPES.some(([name]) => name === type));
  return isKnown
    ? undefined
    : 'reads from "layer_types" or "layers_block_type" what blocks there are, by other names than this config.json has';
}
