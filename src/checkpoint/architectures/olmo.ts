// OLMo (arXiv 2402.00838): gated blocks with layer norms without weights, and bounds of queries, keys and values. OLMo 2 (2501.00656) has
// RMS norms behind attention and MLP instead, and norms of queries and keys over all heads together. OLMoE (2409.02060) has these and the
// bounds, RMS norms before both, and experts. In OLMo 3 three blocks in four see a window. EXAONE 4 (2507.11407) is such a model with norms of
// each head's queries and keys, and without positions where a block sees everything.

import { common, flag, givenHeadDim, integer, layerNorm, positive, rmsNorm } from './config.ts';
import { AFTER, gatedModel, HEAD_FIELDS } from './gated.ts';
import { mixturesOf } from './mixture.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture, Config, Rope } from './types.ts';
import { ropesByWindow, slidingWindow } from './window.ts';

const EPSILON = 1e-5; // the config of the first has no field

export const olmo: Architecture = {
  modelTypes: ['olmo', 'olmo2', 'olmo3', 'olmoe', 'exaone4'],
  describe(config, modelType, names) {
    const [isFirst, hasExperts, isExaone] = ['olmo', 'olmoe', 'exaone4'].map((type) => type === modelType);
    const isSecond = !isFirst && !hasExperts;
    const { base, activation, tied } = common(config, modelType, {
      activation: 'silu',
      tied: false,
      headDim: hasExperts ? undefined : givenHeadDim(config),
    });
    const { headDim, maxPositions, sizes } = base;
    const window = WINDOWS[modelType] ?? (() => undefined);
    const rope = ropesOf(config, { modelType, headDim, maxPositions, theta: 'rope_theta' }, (i) =>
      window(config, i),
    );
    const epsilon = positive(config, 'rms_norm_eps', EPSILON);
    const norm = (name: string) => (isFirst ? layerNorm(name, EPSILON, false) : rmsNorm(name, epsilon));
    const kvHeads = integer(config, 'num_key_value_heads', sizes.heads);
    const experts = hasExperts
      ? mixturesOf(config, { ...base, sizes: { ...sizes, kvHeads } }, { activation }, false, names)
      : undefined;
    const hasBias = !isExaone && flag(config, 'attention_bias', false);
    const parts = {
      norm,
      biases: { qkv: hasBias, out: hasBias, mlp: false },
      norms: isSecond ? AFTER : undefined,
      headNorms: isFirst ? undefined : isExaone ? ('each' as const) : ('together' as const),
      clip: isSecond || config.clip_qkv == null ? undefined : positive(config, 'clip_qkv'),
      scale: headDim ** -0.5,
      rope,
      window: (i: number) => window(config, i),
      activation,
      mixture: experts?.mixture,
    };
    return {
      ...gatedModel(base, kvHeads, tied, parts),
      sizesOf: experts?.sizesOf,
      since: experts?.since,
      fields: { ...base.fields, ...experts?.fields, heads: hasExperts ? undefined : HEAD_FIELDS },
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
  const rope = wholeRopeOf(config, options);
  const isEverywhere = modelType !== 'exaone4' || config.sliding_window === null;
  return (i) => (isEverywhere || window(i) !== undefined ? rope : undefined);
}
