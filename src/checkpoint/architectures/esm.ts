// ESM-2 (doi 10.1126/science.ade2574), of proteins: BERT's tensors with rotary positions and norms before each half of a block. Masked tokens are
// left out where a text begins, and the others count as much more.

import { tanh } from './activation.ts';
import {
  classifies,
  commonOfText,
  denseAndScores,
  flag,
  integer,
  layerNorm,
  linear,
  positive,
  text,
  unsupported,
} from './config.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture } from './types.ts';

/** Of the tokens that were masked in training; the config has no field. */
const MASKED = 0.15 * 0.8;

export const esm: Architecture = {
  modelTypes: ['esm'],
  describe(config, modelType) {
    const positions = text(config, 'position_embedding_type', 'absolute');
    if (positions !== 'rotary') throw unsupported(modelType, `position_embedding_type "${positions}"`);
    for (const key of ['is_folding_model', 'is_decoder', 'add_cross_attention'])
      if (flag(config, key, false)) throw unsupported(modelType, key);
    // transformers has this one, whatever config.json says.
    const { base, activation } = commonOfText({ ...config, hidden_act: 'gelu' }, modelType, {
      activation: 'gelu',
    });
    const { hidden, headDim, maxPositions } = base;
    const rope = wholeRopeOf({}, { modelType, headDim, maxPositions, theta: 'rope_theta' }); // the config has no field
    const norm = (name: string) => layerNorm(name, positive(config, 'layer_norm_eps', 1e-12));
    return {
      ...base,
      prefixes: ['esm.', ''],
      embedding: {
        tokens: 'embeddings.word_embeddings',
        width: hidden,
        masked: flag(config, 'token_dropout', false)
          ? { token: integer(config, 'mask_token_id', undefined, 0), share: MASKED }
          : undefined,
        norm: flag(config, 'emb_layer_norm_before', false) ? norm('embeddings.layer_norm') : undefined,
      },
      block: (i) => {
        const layer = `encoder.layer.${i}`;
        const names = { q: 'query', k: 'key', v: 'value' };
        return {
          order: 'pre',
          attentionNorm: norm(`${layer}.attention.LayerNorm`),
          attention: {
            qkv: (label) => linear(`${layer}.attention.self.${names[label]}`, true),
            out: linear(`${layer}.attention.output.dense`, true),
            rope,
            scale: headDim ** -0.5,
          },
          mlpNorm: norm(`${layer}.LayerNorm`),
          mlp: {
            up: linear(`${layer}.intermediate.dense`, true),
            down: linear(`${layer}.output.dense`, true),
            activation,
          },
        };
      },
      head: {
        norm: norm('encoder.emb_layer_norm_after'),
        readouts: classifies(config)
          ? [{ maps: denseAndScores(config, hidden, 'classifier.dense', tanh, 'classifier.out_proj') }]
          : [],
      },
      ignored: /rotary_embeddings\.inv_freq$/,
    };
  },
};
