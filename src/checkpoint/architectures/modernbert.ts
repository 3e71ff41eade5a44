// ModernBERT (arXiv 2412.13663): rotary positions, gated MLPs, norms and maps without biases; two blocks in three see a window. So it is of the decoder (Ettin, 2507.11412), whose tokens
// see those before them, and whose queries, keys and values have tensors of their own.

import {
  activationOf,
  classifies,
  classifiesTokens,
  commonOfText,
  flag,
  integer,
  linear,
  positive,
  scores,
  text,
  unsupported,
} from './config.ts';
import type { Architecture, Config, Label, Norm, Readout } from './types.ts';
import { isSliding, ropesByWindow } from './window.ts';

const BASES = {
  full: { theta: 'global_rope_theta', base: 160_000 },
  sliding: { theta: 'local_rope_theta', base: 10_000 },
};

const DECODER = 'modernbert-decoder';

export const modernbert: Architecture = {
  modelTypes: ['modernbert', DECODER],
  describe(config, modelType) {
    const decodes = modelType === DECODER;
    const { base, activation } = commonOfText(config, modelType, {
      names: { activation: 'hidden_activation' },
      activation: 'gelu',
    });
    const { hidden, headDim, maxPositions } = base;
    const epsilon = positive(config, 'norm_eps', 1e-5);
    const withoutBias = !flag(config, 'norm_bias', false);
    const norm = (name: string): Norm => ({ kind: 'layer', name, epsilon, affine: true, withoutBias });
    const [attentionBias, mlpBias] = ['attention_bias', 'mlp_bias'].map((key) => flag(config, key, false));
    const every = integer(config, 'global_attn_every_n_layers', 3);
    const side = Math.floor(integer(config, 'local_attention', 128) / 2); // tokens on either side
    if (decodes && config.layer_types == null)
      throw unsupported(
        modelType,
        'windows without layer_types, of which releases of transformers have others',
      );
    // A decoder's has the token itself in it.
    const width = decodes ? side : side + 1;
    const window = (i: number) => (isSliding(config, i, () => i % every !== 0) ? width : undefined);
    const rope = ropesByWindow(config, { modelType, headDim, maxPositions }, BASES, window);
    const dense = (name: string) => denseIn(config, modelType, hidden, name, norm(`${name}.norm`));
    const maps =
      classifies(config) || classifiesTokens(config) ? [dense('head'), scores(config, 'classifier')] : [];
    return {
      ...base,
      prefixes: ['model.', ''],
      embedding: { tokens: 'embeddings.tok_embeddings', width: hidden, norm: norm('embeddings.norm') },
      block: (i) => {
        const layer = `layers.${i}`;
        return {
          order: 'pre',
          attentionNorm: i === 0 ? undefined : norm(`${layer}.attn_norm`),
          attention: {
            qkv: (label: Label) =>
              decodes
                ? linear(`${layer}.attn.${label}_proj`, attentionBias)
                : linear(`${layer}.attn.Wqkv`, attentionBias, { label }),
            out: linear(`${layer}.attn.Wo`, attentionBias),
            rope: rope(i),
            scale: headDim ** -0.5,
            window: window(i),
          },
          mlpNorm: norm(`${layer}.mlp_norm`),
          mlp: {
            gate: linear(`${layer}.mlp.Wi`, mlpBias, { label: 'gate' }),
            up: linear(`${layer}.mlp.Wi`, mlpBias, { label: 'up' }),
            down: linear(`${layer}.mlp.Wo`, mlpBias),
            activation,
          },
        };
      },
      head: decodes
        ? {
            norm: norm('final_norm'),
            maps: [dense('lm_head')],
            output: flag(config, 'tie_word_embeddings', true) ? undefined : 'decoder',
            bias: flag(config, 'decoder_bias', true) ? 'decoder.bias' : undefined,
          }
        : {
            norm: norm('final_norm'),
            readouts: classifies(config) ? [readout(config, modelType, maps)] : [],
            each: classifiesTokens(config) ? maps : undefined,
          },
    };
  },
};

function readout(config: Config, modelType: string, maps: Readout['maps']): Readout {
  const pooling = text(config, 'classifier_pooling', 'cls');
  if (pooling !== 'cls' && pooling !== 'mean')
    throw unsupported(modelType, `classifier_pooling ${JSON.stringify(pooling)}`);
  return { of: pooling === 'mean' ? [[0]] : undefined, maps };
}

/** Before scores of classes or of the vocabulary. */
function denseIn(
  config: Config,
  modelType: string,
  hidden: number,
  name: string,
  norm: Norm,
): Readout['maps'][number] {
  return {
    map: { ...linear(`${name}.dense`, flag(config, 'classifier_bias', false)), isFullName: true },
    columns: hidden,
    activation: activationOf(config, modelType, 'classifier_activation', 'gelu'),
    norm: { ...norm, isFullName: true },
  };
}
