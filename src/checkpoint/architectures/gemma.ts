// Gemma 1 to 3 (arXiv 2403.08295, 2408.00118, 2503.19786): norms scale by 1 + weight, embeddings by √hidden; since Gemma 2 there are norms
// behind attention and MLP, too, and most blocks see a window. VaultGemma (2510.15001) is a Gemma 2 without these norms. EmbeddingGemma is a Gemma 3 whose tokens see those behind them.

import { capOf, common, flag, integer, positive, rmsNorm, unsupported } from './config.ts';
import { AFTER, gatedModel, HEAD_FIELDS } from './gated.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';
import { ropesByWindow, slidingWindow } from './window.ts';

/** What the generations do differently. */
interface Kind {
  readonly kvHeads: number;
  /** Scores are scaled by `query_pre_attn_scalar`. */
  readonly isSecond?: true;
  /** There are norms behind attention and MLP. */
  readonly hasNormsBehind?: true;
  readonly headNorm?: true;
  /** Bounds of scores and logits, where config.json leaves them out. */
  readonly caps?: readonly [number, number];
  /** One block in so many sees everything, the others a window. */
  readonly pattern?: number;
  /** Of rotary positions, where a block sees everything, and where it sees a window. */
  readonly bases?: Parameters<typeof ropesByWindow>[2];
  /** transformers 5 wants heads that divide `hidden_size`. */
  readonly mustDivide?: true;
}

const SECOND: Kind = { kvHeads: 4, isSecond: true, caps: [50, 30], pattern: 2, mustDivide: true };

const KINDS: Readonly<Record<string, Kind>> = {
  gemma: { kvHeads: 16 },
  gemma2: { ...SECOND, hasNormsBehind: true },
  vaultgemma: SECOND,
  gemma3_text: {
    kvHeads: 4,
    isSecond: true,
    hasNormsBehind: true,
    headNorm: true,
    pattern: 6,
    bases: {
      full: { theta: 'rope_theta', base: 1e6 },
      sliding: { theta: 'rope_local_base_freq', base: 1e4 },
    },
  },
};

export const gemma: Architecture = {
  modelTypes: Object.keys(KINDS),
  describe(config, modelType) {
    const kind = KINDS[modelType];
    const { isSecond, hasNormsBehind, headNorm, caps, pattern, bases, mustDivide } = kind;
    const { base, activation, tied } = common(config, modelType, {
      names: { activation: 'hidden_activation' }, // hidden_act of the first Gemma says gelu, and means this
      activation: 'gelu_pytorch_tanh',
      tied: true,
      headDim: integer(config, 'head_dim', 256),
    });
    const encodes = flag(config, 'use_bidirectional_attention', false);
    if (encodes && !bases)
      throw unsupported(modelType, 'tokens that see those behind them (use_bidirectional_attention)');
    const { hidden, headDim, maxPositions } = base;
    const epsilon = positive(config, 'rms_norm_eps', 1e-6);
    const hasBias = flag(config, 'attention_bias', false);
    const window = (i: number) => {
      const every = pattern && integer(config, 'sliding_window_pattern', pattern);
      const window = every ? slidingWindow(config, i, () => (i + 1) % every !== 0) : undefined;
      return window !== undefined && encodes ? Math.floor(window / 2) + 1 : window;
    };
    const options = { modelType, headDim, maxPositions };
    const rope = bases ? undefined : ropeOf(config, { ...options, theta: 'rope_theta' });
    const parts = {
      norm: (name: string) => rmsNorm(name, epsilon, 1),
      biases: { qkv: hasBias, out: hasBias, mlp: false },
      headNorms: headNorm ? ('each' as const) : undefined,
      norms: isSecond
        ? {
            before: { attention: 'input_layernorm', mlp: 'pre_feedforward_layernorm' },
            ...(hasNormsBehind ? AFTER : undefined),
          }
        : undefined,
      scale: (isSecond ? positive(config, 'query_pre_attn_scalar', 256) : headDim) ** -0.5,
      cap: capOf(config, 'attn_logit_softcapping', caps?.[0]),
      rope: bases ? ropesByWindow(config, options, bases, window) : () => rope,
      window,
      activation,
    };
    const model = gatedModel(base, integer(config, 'num_key_value_heads', kind.kvHeads), tied, parts);
    return {
      ...model,
      embedding: { ...model.embedding, scale: Math.sqrt(hidden) },
      head: encodes
        ? { norm: model.head.norm, readouts: [] }
        : { ...model.head, cap: capOf(config, 'final_logit_softcapping', caps?.[1]) },
      fields: { ...base.fields, heads: { ...HEAD_FIELDS, mustDivide } },
    };
  },
};
