// Attention of DeepSeek V2 (arXiv 2405.04434) and V3, of GLM-4.7 Flash and Mistral Small 4: queries, keys and values are made of fewer features, and rotary positions are of a part of each
// head, which keys have in common.

import { flag, integer, linear, positive, rmsNorm, unsupported } from './config.ts';
import { type RopeOptions, ropeOf, ropeSettings, yarnMagnitude } from './rope.ts';
import type { Block, Config, Label, Rope } from './types.ts';

/** Of the norms, whatever config.json says of others. */
const EPSILON = 1e-6;

/** Whose scores have no factor of positions that are scaled. */
const UNSCALED: readonly string[] = ['deepseek_v2', 'mistral4'];

export interface LatentAttention {
  readonly keyDim: number;
  readonly rope: Rope;
  readonly scale: number;
  /** @param named  names of a block's modules */
  readonly parts: (named: (name: string) => string) => Pick<Block['attention'], 'qkv' | 'latent'>;
}

/** Where config.json leaves them out: features of each query that are not turned, of those that are, of values, and of what keys and queries are made of. */
export interface LatentSizes {
  readonly own: number;
  readonly turned: number;
  readonly values: number;
  readonly keys: number;
  readonly queries: number;
}

/** @param options  of rotary positions, without what heads have */
export function latentAttention(
  config: Config,
  options: Omit<RopeOptions, 'headDim' | 'dims'>,
  otherwise: LatentSizes,
): LatentAttention {
  const { modelType } = options;
  const own = integer(config, 'qk_nope_head_dim', otherwise.own);
  const turned = integer(config, 'qk_rope_head_dim', otherwise.turned);
  const width = integer(config, 'kv_lora_rank', otherwise.keys);
  const ofQueries =
    config.q_lora_rank === null ? undefined : integer(config, 'q_lora_rank', otherwise.queries);
  const heads = integer(config, 'num_attention_heads');
  if (integer(config, 'num_key_value_heads', heads) !== heads)
    throw unsupported(modelType, `num_key_value_heads other than the ${heads} heads`);
  const bias = flag(config, 'attention_bias', false);
  const pairsNeighbours = flag(config, 'rope_interleave', true);
  const settings = ropeSettings(config);
  const magnitude =
    !UNSCALED.includes(modelType) && settings.mscale_all_dim
      ? yarnMagnitude(positive(settings, 'factor'), positive(settings, 'mscale_all_dim'))
      : 1;
  // What config.json says of a part of heads that is turned is not of these.
  const rope = ropeOf(config, { ...options, headDim: turned, dims: turned, pairsNeighbours });
  const norm = (name: string) => rmsNorm(name, EPSILON);
  return {
    keyDim: own + turned,
    rope,
    scale: (own + turned) ** -0.5 * magnitude ** 2,
    parts: (named) => {
      const at = (name: string) => named(`self_attn.${name}`);
      const queries = ofQueries === undefined ? 'q_proj' : 'q_b_proj';
      return {
        qkv: (label: Label) =>
          label === 'q'
            ? linear(at(queries), false)
            : linear(at('kv_b_proj'), false, { label, byHeads: true }),
        latent: {
          query:
            ofQueries === undefined
              ? undefined
              : {
                  map: linear(at('q_a_proj'), bias),
                  norm: norm(at('q_a_layernorm')),
                  width: ofQueries,
                },
          keys: { map: linear(at('kv_a_proj_with_mqa'), bias), norm: norm(at('kv_a_layernorm')), width },
        },
      };
    },
  };
}
