// OPT (arXiv 2205.01068): learned positions, biases, layer norms before or (350m) after each half of a block. BioGPT (2210.10341) and XGLM
// (2112.10668) scale their embeddings, and XGLM's positions are sines.

import { type Conventions, common, flag, integer, layerNorm, linear } from './config.ts';
import { waves } from './positions.ts';
import type { Architecture } from './types.ts';

const POSITION_OFFSET = 2; // rows 0 and 1 are left over from padding
const EPSILON = 1e-5; // torch's default; the config has no field

/** What the kinds do differently. */
interface Kind extends Conventions {
  readonly prefixes: readonly string[];
  readonly last: string;
  readonly output: string;
  /** Whether embeddings are scaled, where config.json does not say it. */
  readonly isScaled?: true;
  /** The table of positions, where files need not have it. */
  readonly values?: (rows: number, width: number) => Float32Array;
}

const KINDS: Readonly<Record<string, Kind>> = {
  opt: {
    names: { ffn: 'ffn_dim', activation: 'activation_function' },
    activation: 'relu',
    prefixes: ['model.decoder.', 'decoder.'],
    last: 'final_layer_norm',
    output: 'lm_head',
  },
  biogpt: {
    activation: 'gelu',
    positions: 1024,
    prefixes: ['biogpt.', ''],
    last: 'layer_norm',
    output: 'output_projection',
    isScaled: true,
  },
  xglm: {
    names: {
      hidden: 'd_model',
      heads: 'attention_heads',
      blocks: 'num_layers',
      ffn: 'ffn_dim',
      activation: 'activation_function',
    },
    activation: 'gelu',
    positions: 2048,
    prefixes: ['model.', ''],
    last: 'layer_norm',
    output: 'lm_head',
    isScaled: true,
    values: waves((c, half) => c / (half - 1)),
  },
};

export const opt: Architecture = {
  modelTypes: Object.keys(KINDS),
  describe(config, modelType) {
    const { prefixes, last: lastNorm, output, isScaled = false, values, ...conventions } = KINDS[modelType];
    const { base, activation, tied } = common(config, modelType, { ...conventions, tied: true });
    const { hidden, headDim } = base;
    const width = integer(config, 'word_embed_proj_dim', hidden);
    const bias = flag(config, 'enable_bias', true);
    const affine = flag(config, 'layer_norm_elementwise_affine', true);
    const before = flag(config, 'do_layer_norm_before', true);
    const last = before && !flag(config, '_remove_final_layer_norm', false);
    const projection = (name: string) => (width === hidden ? undefined : linear(name, false));
    const norm = (name: string) => layerNorm(name, EPSILON, affine);
    return {
      ...base,
      prefixes,
      embedding: {
        tokens: 'embed_tokens',
        width,
        scale: flag(config, 'scale_embedding', isScaled) ? Math.sqrt(hidden) : undefined,
        positions: { name: 'embed_positions', offset: POSITION_OFFSET, values },
        project: projection('project_in'),
      },
      block: (i) => ({
        order: before ? 'pre' : 'post',
        attentionNorm: norm(`layers.${i}.self_attn_layer_norm`),
        attention: {
          qkv: (label) => linear(`layers.${i}.self_attn.${label}_proj`, bias),
          out: linear(`layers.${i}.self_attn.out_proj`, bias),
          scale: headDim ** -0.5,
        },
        mlpNorm: norm(`layers.${i}.final_layer_norm`),
        mlp: { up: linear(`layers.${i}.fc1`, bias), down: linear(`layers.${i}.fc2`, bias), activation },
      }),
      head: {
        norm: last ? norm(lastNorm) : undefined,
        project: projection('project_out'),
        output: tied ? undefined : output,
      },
    };
  },
};
