// NomicBERT (arXiv 2402.01613), which nomic-embed-text is made of: BERT's order of norms with rotary positions and gated MLPs.

import { commonOfText, flag, integer, layerNorm, linear, positive, text, unsupported } from './config.ts';
import { FREQUENCIES } from './gated.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture } from './types.ts';

/** What its code can do besides, and no embedding of theirs but that with experts does. */
const FLAGS = [
  'prenorm',
  'use_rms_norm',
  'parallel_block',
  'causal',
  'rotary_emb_interleaved',
  'norm_mlp',
  'layer_scale',
];
const OTHERS = ['rotary_scaling_factor', 'rotary_emb_scale_base', 'num_experts'];

export const nomicBert: Architecture = {
  modelTypes: ['nomic_bert'],
  describe(config, modelType) {
    for (const key of FLAGS) if (flag(config, key, false)) throw unsupported(modelType, key);
    for (const key of OTHERS) if (config[key] != null && config[key] !== 0) throw unsupported(modelType, key);
    if (positive(config, 'rotary_emb_fraction', 1) !== 1)
      throw unsupported(modelType, 'rotary positions on a part of the head (rotary_emb_fraction)');
    const given = text(config, 'activation_function', 'swiglu');
    if (given !== 'swiglu') throw unsupported(modelType, `activation_function ${JSON.stringify(given)}`);
    const { base, activation } = commonOfText({ ...config, activation_function: 'silu' }, modelType, {
      names: {
        hidden: 'n_embd',
        heads: 'n_head',
        blocks: 'n_layer',
        ffn: 'n_inner',
        positions: 'n_positions',
        activation: 'activation_function',
      },
      activation: 'silu',
    });
    const { hidden, headDim, maxPositions } = base;
    const rope = wholeRopeOf(config, { modelType, headDim, maxPositions, theta: 'rotary_emb_base' });
    const norm = (name: string) => layerNorm(name, positive(config, 'layer_norm_epsilon', 1e-5));
    const [qkvBias, innerBias, outerBias] = ['qkv_proj_bias', 'mlp_fc1_bias', 'mlp_fc2_bias'].map((key) =>
      flag(config, key, true),
    );
    return {
      ...base,
      prefixes: ['bert.', ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width: hidden,
        types: { name: 'embeddings.token_type_embeddings', count: integer(config, 'type_vocab_size', 2) },
        norm: norm('emb_ln'),
      },
      block: (i) => {
        const layer = `encoder.layers.${i}`;
        return {
          order: 'post',
          attentionNorm: norm(`${layer}.norm1`),
          attention: {
            qkv: (label) => linear(`${layer}.attn.Wqkv`, qkvBias, { label }),
            out: linear(`${layer}.attn.out_proj`, qkvBias),
            rope,
            scale: headDim ** -0.5,
          },
          mlpNorm: norm(`${layer}.norm2`),
          mlp: {
            up: linear(`${layer}.mlp.fc11`, innerBias),
            gate: linear(`${layer}.mlp.fc12`, innerBias),
            down: linear(`${layer}.mlp.fc2`, outerBias),
            activation,
          },
        };
      },
      head: { readouts: [] },
      ignored: FREQUENCIES,
    };
  },
};
