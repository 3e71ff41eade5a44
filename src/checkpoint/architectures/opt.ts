// OPT (arXiv 2205.01068): learned positions, biases, layer norms before or (350m) after each half of a block.

import { activationOf } from './activation.ts';
import { evenHeads, flag, integer, text } from './config.ts';
import type { Architecture, Config, Linear, Norm } from './types.ts';

const POSITION_OFFSET = 2; // rows 0 and 1 are left over from padding
const EPSILON = 1e-5; // torch's default; the config has no field

export const opt: Architecture = {
  modelTypes: ['opt'],
  describe(config: Config, modelType: string) {
    const hidden = integer(config, 'hidden_size');
    const heads = integer(config, 'num_attention_heads');
    const headDim = evenHeads(hidden, heads, 'hidden_size and num_attention_heads');
    const maxPositions = integer(config, 'max_position_embeddings');
    const width = integer(config, 'word_embed_proj_dim', hidden);
    const bias = flag(config, 'enable_bias', true);
    const affine = flag(config, 'layer_norm_elementwise_affine', true);
    const before = flag(config, 'do_layer_norm_before', true);
    const tied = flag(config, 'tie_word_embeddings', true);
    const activation = activationOf(text(config, 'activation_function', 'relu'), modelType);
    const linear = (name: string): Linear => ({ name, bias, stored: 'out-in' });
    const projection = (name: string): Linear | undefined =>
      width === hidden ? undefined : { name, bias: false, stored: 'out-in' };
    const norm = (name: string): Norm => ({ kind: 'layer', name, epsilon: EPSILON, affine });
    return {
      modelType,
      hidden,
      vocabulary: integer(config, 'vocab_size'),
      maxPositions,
      headDim,
      blocks: integer(config, 'num_hidden_layers'),
      sizes: { heads, kvHeads: heads, ffn: integer(config, 'ffn_dim') },
      prefixes: ['model.decoder.', 'decoder.'],
      embedding: {
        tokens: 'embed_tokens',
        width,
        positions: { name: 'embed_positions', offset: POSITION_OFFSET },
        project: projection('project_in'),
      },
      block: (i) => ({
        order: before ? 'pre' : 'post',
        attentionNorm: norm(`layers.${i}.self_attn_layer_norm`),
        attention: {
          q: linear(`layers.${i}.self_attn.q_proj`),
          k: linear(`layers.${i}.self_attn.k_proj`),
          v: linear(`layers.${i}.self_attn.v_proj`),
          out: linear(`layers.${i}.self_attn.out_proj`),
          scale: headDim ** -0.5,
        },
        mlpNorm: norm(`layers.${i}.final_layer_norm`),
        mlp: { up: linear(`layers.${i}.fc1`), down: linear(`layers.${i}.fc2`), activation },
      }),
      head: {
        norm:
          before && !flag(config, '_remove_final_layer_norm', false) ? norm('final_layer_norm') : undefined,
        project: projection('project_out'),
        output: tied ? undefined : 'lm_head',
      },
      ignored: /^$/,
      fields: { ffn: 'ffn_dim' },
    };
  },
};
