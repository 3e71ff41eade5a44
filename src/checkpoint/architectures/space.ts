// State spaces (Mamba 2, arXiv 2405.21060), as Granite 4 has them: what config.json says of them by fields that begin with `mamba_`.

import { InputError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import { activationOf, flag, integer, linear, positive, rmsNorm, text } from './config.ts';
import type { Config, DeltaLabel, DeltaRule, Description } from './types.ts';

/** Gates, values, keys and queries, and how much a token fades, in one tensor. */
const SPACE: readonly DeltaLabel[] = ['z', 'v', 'k', 'q', 'a'];

const HEADS = { heads: 'mamba_n_heads', kvHeads: 'mamba_n_groups' };

/** Features of all heads. */
function featuresIn(config: Config): number {
  return integer(config, 'hidden_size') * positive(config, 'mamba_expand', 2);
}

/** The one of a block, whose tensors are called as `named` tells. */
export function stateSpace(config: Config, named: (name: string) => string): DeltaRule {
  const heads = integer(config, HEADS.heads, 128);
  const kvHeads = integer(config, HEADS.kvHeads, 1);
  const features = featuresIn(config);
  const valueDim =
    typeof config.mamba_d_head === 'number' ? integer(config, 'mamba_d_head') : features / heads;
  if (!Number.isInteger(valueDim) || heads * valueDim !== features || heads % kvHeads !== 0)
    throw new InputError(
      `config.json: "${HEADS.heads}" expected a multiple of the ${kvHeads} of ${HEADS.kvHeads} that shares out ${features} features (mamba_expand), got ${heads}`,
    );
  const at = (name: string) => named(`mamba.${name}`);
  const bias = flag(config, 'mamba_proj_bias', false);
  const limits = config.time_step_limit == null ? undefined : boundsOf(config.time_step_limit);
  return {
    map: (label) => linear(at('in_proj'), bias, { label, place: SPACE.indexOf(label) }),
    tensors: [SPACE],
    order: ['v', 'k', 'q'],
    conv: at('conv1d'),
    bias: flag(config, 'mamba_conv_bias', true),
    kernel: integer(config, 'mamba_d_conv', 4),
    activation: activationOf(config, text(config, 'model_type'), 'hidden_act', 'silu'),
    decay: at('A_log'),
    shift: at('dt_bias'),
    norm: rmsNorm(at('norm'), positive(config, 'rms_norm_eps', 1e-6)),
    out: linear(at('out_proj'), bias),
    space: { skip: at('D'), limits },
    sizes: { heads, kvHeads, keyDim: integer(config, 'mamba_d_state', 256), valueDim },
  };
}

/** Where there is none above, JSON has null, or what transformers 5 writes for infinity. */
function boundsOf(given: unknown): readonly [number, number] | undefined {
  const number = (it: unknown) => {
    if (it === null) return Number.POSITIVE_INFINITY;
    return Number(isObject(it) ? it.__float__ : it);
  };
  const [low, high] = Array.isArray(given) ? given.map(number) : [];
  if (!(low >= 0 && high > low))
    throw new InputError(
      `config.json: "time_step_limit" expected two numbers, the larger one last, got ${JSON.stringify(given)}`,
    );
  return low === 0 && high === Number.POSITIVE_INFINITY ? undefined : [low, high];
}

/** Features of all heads are a multiple of those of the stream, by a field that takes integers. */
export function spaceHeads(config: Config): Description['fields']['deltaHeads'] {
  return {
    ...HEADS,
    beside: (heads) => {
      const hidden = integer(config, 'hidden_size');
      const valueDim = featuresIn(config) / integer(config, HEADS.heads, 128);
      const mamba_expand = (heads * valueDim) / hidden;
      return Number.isInteger(mamba_expand) ? { mamba_expand, mamba_d_head: valueDim } : undefined;
    },
  };
}
