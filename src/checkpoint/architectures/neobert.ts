// NeoBERT (arXiv 2502.19587), in the form that it has with its own code: norms before each half, rotary pairs of neighbours, gated MLPs of two thirds of the
// neurons that config.json says, q, k and v of each head side by side in one tensor.

import { tanh } from './activation.ts';
import {
  classifies,
  classifiesTokens,
  commonOfText,
  flag,
  integer,
  linear,
  positive,
  rmsNorm,
  scores,
  text,
  unsupported,
} from './config.ts';
import { ropeOf } from './rope.ts';
import type { Architecture } from './types.ts';

export const neobert: Architecture = {
  modelTypes: ['neobert'],
  describe(config, modelType) {
    for (const [key, expected] of [
      ['rope', true],
      ['rms_norm', true],
      ['ngpt', false],
    ] as const)
      if (flag(config, key, expected) !== expected) throw unsupported(modelType, `${key} ${!expected}`);
    const given = text(config, 'hidden_act', 'SwiGLU');
    if (given.toLowerCase() !== 'swiglu') throw unsupported(modelType, `hidden_act ${JSON.stringify(given)}`);
    if (classifiesTokens(config)) throw unsupported(modelType, 'classes of tokens');
    const wide = integer(config, 'intermediate_size', 3072);
    const { base, activation } = commonOfText({ ...config, hidden_act: 'silu' }, modelType, {
      names: { positions: 'max_length' },
      activation: 'silu',
      positions: 1024,
      ffn: 8 * Math.ceil(Math.floor((2 * wide) / 3) / 8),
    });
    const { hidden, headDim, maxPositions } = base;
    const epsilon = positive(config, 'norm_eps', 1e-6);
    const norm = (name: string) => rmsNorm(name, epsilon);
    const options = { modelType, headDim, maxPositions, theta: 'rope_theta', pairsNeighbours: true };
    const rope = ropeOf({}, options); // it reads no other base
    return {
      ...base,
      prefixes: ['model.', ''],
      embedding: { tokens: 'encoder', width: hidden },
      block: (i) => {
        const layer = `transformer_encoder.${i}`;
        return {
          order: 'pre',
          attentionNorm: norm(`${layer}.attention_norm`),
          attention: {
            qkv: (label) => linear(`${layer}.qkv`, false, { label, byHeads: true }),
            out: linear(`${layer}.wo`, false),
            rope,
            scale: headDim ** -0.5,
          },
          mlpNorm: norm(`${layer}.ffn_norm`),
          mlp: {
            gate: linear(`${layer}.ffn.w12`, false, { label: 'gate' }),
            up: linear(`${layer}.ffn.w12`, false, { label: 'up' }),
            down: linear(`${layer}.ffn.w3`, false),
            activation,
          },
        };
      },
      head: {
        norm: norm('layer_norm'),
        readouts: classifies(config)
          ? [
              {
                maps: [
                  { map: { ...linear('dense', true), isFullName: true }, columns: hidden, activation: tanh },
                  scores(config, 'classifier'),
                ],
              },
            ]
          : [],
      },
      fields: {
        ...base.fields,
        ffnOf: (neurons) => (neurons % 8 === 0 ? (neurons / 2) * 3 : undefined),
      },
      ignored: /freqs_(cis|cos|sin)$/,
    };
  },
};
