// OLMo (arXiv 2402.00838): gated blocks with layer norms without weights, and bounds of queries, keys and values. OLMo 2 (2501.00656) has
// RMS norms behind attention and MLP instead, and norms of queries and keys over all heads together. OLMoE (2409.02060) has these and the
// bounds, RMS norms before both, and experts. In OLMo 3 three blocks in four see a window. EXAONE 4 (2507.11407) is such a model with norms of
// each head's queries and keys, and without positions where a block sees everything. OLMo Hybrid has gated delta rules (2412.06464) in three blocks of four, behind norms.

import {
  activationOf,
  common,
  DELTA_HEADS,
  deltaHeadsIn,
  flag,
  givenHeadDim,
  integer,
  layerNorm,
  layerType,
  linear,
  positive,
  rmsNorm,
  text,
  unsupported,
} from './config.ts';
import { AFTER, gatedModel, HEAD_FIELDS } from './gated.ts';
import { mixturesOf } from './mixture.ts';
import { unlistedInJs } from './releases.ts';
import { ropeSettings, wholeRopeOf } from './rope.ts';
import type { Architecture, Config, DeltaLabel, DeltaRule, Description, HeadSizes, Rope } from './types.ts';
import { ropesByWindow, slidingWindow } from './window.ts';

const EPSILON = 1e-5; // the config of the first has no field

export const olmo: Architecture = {
  modelTypes: ['olmo', 'olmo2', 'olmo3', 'olmoe', 'olmo_hybrid', 'exaone4'],
  describe(config, modelType, names) {
    const [isFirst, hasExperts, isExaone] = ['olmo', 'olmoe', 'exaone4'].map((type) => type === modelType);
    const isSecond = !isFirst && !hasExperts;
    const isHybrid = modelType === 'olmo_hybrid';
    const dividesHidden = hasExperts || isHybrid;
    const { base, activation, tied } = common(config, modelType, {
      activation: 'silu',
      tied: false,
      headDim: dividesHidden ? undefined : givenHeadDim(config),
    });
    const { headDim, maxPositions, sizes } = base;
    const window = WINDOWS[modelType] ?? (() => undefined);
    const rope = ropesOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' }, (i) =>
      window(config, i),
    );
    const epsilon = positive(config, 'rms_norm_eps', isHybrid ? 1e-6 : EPSILON);
    const norm = (name: string) => (isFirst ? layerNorm(name, EPSILON, false) : rmsNorm(name, epsilon));
    const kvHeads = integer(config, 'num_key_value_heads', sizes.heads);
    const experts = hasExperts
      ? mixturesOf(config, { ...base, sizes: { ...sizes, kvHeads } }, { activation }, false, names)
      : undefined;
    const hasBias = !isExaone && flag(config, 'attention_bias', false);
    const parts = {
      norm,
      biases: { qkv: hasBias, out: hasBias, mlp: false },
      norms: isHybrid
        ? (i: number) => (attends(config, i) ? AFTER : BEFORE_DELTA)
        : isSecond
          ? AFTER
          : undefined,
      headNorms: isFirst ? undefined : isExaone ? ('each' as const) : ('together' as const),
      clip: isSecond || config.clip_qkv == null ? undefined : positive(config, 'clip_qkv'),
      scale: headDim ** -0.5,
      rope,
      window: (i: number) => window(config, i),
      activation,
      mixture: experts?.mixture,
      instead: isHybrid
        ? (i: number, named: (name: string) => string) => deltaIn(config, i, named)
        : undefined,
    };
    const model = gatedModel(base, kvHeads, tied, parts);
    return {
      ...model,
      sizesOf: isHybrid
        ? (i) => ({ ...model.sizes, ...(attends(config, i) ? {} : deltaSizes(config)) })
        : experts?.sizesOf,
      transformersJs: isHybrid ? unlistedInJs(config, HYBRID_TYPES) : undefined,
      since: experts?.since,
      fields: {
        ...base.fields,
        ...experts?.fields,
        heads: dividesHidden ? undefined : HEAD_FIELDS,
        deltaHeads: isHybrid ? deltaHeads(config) : undefined,
      },
    };
  },
};

/** Windows of block i, of those that have some. */
const WINDOWS: Readonly<Record<string, (config: Config, i: number) => number | undefined>> = {
  olmo3: (config, i) => slidingWindow(config, i, () => (i + 1) % 4 !== 0),
  exaone4: (config, i) =>
    config.sliding_window === null
      ? undefined
      : slidingWindow(config, i, () => (i + 1) % integer(config, 'sliding_window_pattern', 4) !== 0),
};

/** Of block i: with a window, OLMo 3 has those that are unscaled, and EXAONE 4 has some there alone. */
function ropesOf(
  config: Config,
  options: Parameters<typeof wholeRopeOf>[1],
  window: (i: number) => number | undefined,
): (i: number) => Rope | undefined {
  const { modelType, theta } = options;
  if (modelType === 'olmo3')
    return ropesByWindow(config, options, { full: { theta }, sliding: { theta } }, window);
  if (modelType === 'olmo_hybrid') {
    const { rope_theta: base = config.rope_theta } = ropeSettings(config);
    // Where it says nothing, releases of transformers differ in whether there are positions.
    if (base === undefined)
      throw unsupported(modelType, 'rope_parameters without a rope_theta, or one that is null');
    if (base === null) return () => undefined;
  }
  const rope = wholeRopeOf(config, options);
  const isEverywhere = modelType !== 'exaone4' || config.sliding_window === null;
  return (i) => (isEverywhere || window(i) !== undefined ? rope : undefined);
}

/** What blocks with delta rules have before these, and before MLPs. */
const BEFORE_DELTA = { before: { attention: 'attention_layer_norm', mlp: 'feedforward_layer_norm' } };
const HYBRID_TYPES = ['full_attention', 'linear_attention'];

/** Whether block i of OLMo Hybrid has attention: by a list, or every fourth, or the last of fewer. */
function attends(config: Config, i: number): boolean {
  const type = layerType(config, i, 'olmo_hybrid', HYBRID_TYPES);
  if (type !== undefined) return type === HYBRID_TYPES[0];
  const blocks = integer(config, 'num_hidden_layers');
  return i % 4 === 3 || (blocks < 4 && i === blocks - 1);
}

function deltaSizes(config: Config): HeadSizes {
  const all = integer(config, 'num_attention_heads');
  const { heads, kvHeads } = deltaHeadsIn(config, { heads: all, kvHeads: all });
  const usual = Math.floor((0.75 * integer(config, 'hidden_size')) / kvHeads);
  const keyDim = integer(config, 'linear_key_head_dim', usual);
  return { heads, kvHeads, keyDim, valueDim: integer(config, 'linear_value_head_dim', 2 * keyDim) };
}

function deltaHeads(config: Config): Description['fields']['deltaHeads'] {
  const { keyDim, valueDim } = deltaSizes(config);
  // Features of heads follow from their number where nothing says them.
  const beside = () => ({ linear_key_head_dim: keyDim, linear_value_head_dim: valueDim });
  return { ...DELTA_HEADS, beside };
}

const SEPARATE: readonly (readonly DeltaLabel[])[] = [['q'], ['k'], ['v'], ['z'], ['b'], ['a']];

function deltaIn(config: Config, i: number, named: (name: string) => string): DeltaRule | undefined {
  if (attends(config, i)) return undefined;
  // Gates have this one whatever the other activation is.
  if (text(config, 'hidden_act', 'silu') !== 'silu')
    throw unsupported('olmo_hybrid', 'hidden_act other than "silu"');
  const at = (name: string) => named(`linear_attn.${name}`);
  return {
    map: (label) => linear(at(`${label === 'z' ? 'g' : label}_proj`), false),
    tensors: SEPARATE,
    order: ['q', 'k', 'v'],
    conv: at('conv1d'),
    convs: { q: at('q_conv1d'), k: at('k_conv1d'), v: at('v_conv1d') },
    kernel: integer(config, 'linear_conv_kernel_dim', 4),
    activation: activationOf(config, 'olmo_hybrid', 'hidden_act', 'silu'),
    decay: at('A_log'),
    shift: at('dt_bias'),
    most: flag(config, 'linear_allow_neg_eigval', true) ? 2 : 1,
    norm: rmsNorm(at('o_norm'), EPSILON),
    out: linear(at('o_proj'), false),
    sizes: deltaSizes(config),
  };
}
