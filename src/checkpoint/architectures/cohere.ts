// Command R, R+ and R7B: gated blocks with both halves side by side behind one layer norm without a bias, rotary positions of features that
// are neighbours; in R+ queries and keys have norms by head; in R7B (cohere2) three blocks in four see a window, and only they have positions.

import { common, flag, givenHeadDim, integer, positive, unsupported } from './config.ts';
import { gatedModel, HEAD_FIELDS } from './gated.ts';
import { wholeRopeOf } from './rope.ts';
import type { Architecture, Norm } from './types.ts';
import { slidingWindow } from './window.ts';

export const cohere: Architecture = {
  modelTypes: ['cohere', 'cohere2'],
  describe(config, modelType) {
    const isFirst = modelType === 'cohere';
    const { base, activation, tied } = common(config, modelType, {
      activation: 'silu',
      tied: true,
      // The second is given hidden / heads whatever its config.json says.
      headDim: isFirst ? givenHeadDim(config) : undefined,
    });
    const hasHeadNorms = flag(config, 'use_qk_norm', false);
    if (hasHeadNorms && !isFirst) throw unsupported(modelType, 'use_qk_norm');
    const { headDim, maxPositions, sizes } = base;
    const rope = wholeRopeOf(config, {
      modelType,
      headDim,
      maxPositions,
      theta: 'rope_theta',
      pairsNeighbours: true,
    });
    const epsilon = positive(config, 'layer_norm_eps', 1e-5);
    const norm = (name: string): Norm => ({ kind: 'layer', name, epsilon, affine: true, withoutBias: true });
    const hasBias = flag(config, 'attention_bias', false);
    const every = integer(config, 'sliding_window_pattern', 4);
    const window = (i: number) =>
      isFirst ? undefined : slidingWindow(config, i, () => (i + 1) % every !== 0);
    const parts = {
      norm,
      biases: { qkv: hasBias, out: hasBias, mlp: false },
      isParallel: true,
      headNorms: hasHeadNorms ? ('own' as const) : undefined,
      scale: headDim ** -0.5,
      rope: (i: number) => (isFirst || window(i) !== undefined ? rope : undefined),
      window,
      activation,
    };
    const model = gatedModel(base, integer(config, 'num_key_value_heads', sizes.heads), tied, parts);
    return {
      ...model,
      head: { ...model.head, scale: positive(config, 'logit_scale', 0.0625) },
      fields: { ...base.fields, heads: isFirst ? HEAD_FIELDS : undefined },
    };
  },
};
