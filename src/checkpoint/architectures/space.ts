// State spaces (Mamba 2, arXiv 2405.21060), as Granite 4 and Falcon-H1 have them: what config.json says of them by fields that begin with `mamba_`.

import { InputError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import {
  activationOf,
  flag,
  integer,
  linear,
  numbers,
  positive,
  rmsNorm,
  text,
  unsupported,
} from './config.ts';
import type { GatedBlocks } from './gated.ts';
import type { Config, DeltaLabel, DeltaRule, Description, StateSpace } from './types.ts';

/** Gates, values, keys and queries, and how much a token fades, in one tensor. */
const SPACE: readonly DeltaLabel[] = ['z', 'v', 'k', 'q', 'a'];

const HEADS = { heads: 'mamba_n_heads', kvHeads: 'mamba_n_groups' };

/** Features of all heads, where they are so many times those of the stream. */
function featuresIn(config: Config): number {
  return integer(config, 'hidden_size') * positive(config, 'mamba_expand', 2);
}

/** What model types do differently. */
interface Own extends Pick<StateSpace, 'normsFirst' | 'normsByGroup' | 'factors'> {
  readonly features: number;
  readonly outBias: boolean;
  readonly hasNorm: boolean;
  readonly epsilon: number;
}

/** The one of a block, whose tensors are called as `named` tells. */
export function stateSpace(
  config: Config,
  named: (name: string) => string,
  own: Partial<Own> = {},
): DeltaRule {
  const heads = integer(config, HEADS.heads, 128);
  const kvHeads = integer(config, HEADS.kvHeads, 1);
  const { features = featuresIn(config), outBias, hasNorm = true, epsilon = 1e-6, ...others } = own;
  const valueDim =
    typeof config.mamba_d_head === 'number' ? integer(config, 'mamba_d_head') : features / heads;
  if (!Number.isInteger(valueDim) || heads * valueDim !== features || heads % kvHeads !== 0)
    throw new InputError(
      `config.json: "${HEADS.heads}" expected a multiple of the ${kvHeads} of ${HEADS.kvHeads} that shares out ${features} features (${own.features === undefined ? 'mamba_expand' : 'mamba_d_ssm'}), got ${heads}`,
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
    norm: hasNorm ? rmsNorm(at('norm'), positive(config, 'rms_norm_eps', epsilon)) : undefined,
    out: linear(at('out_proj'), outBias ?? bias),
    space: { skip: at('D'), limits, ...others },
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

/** Features of all heads of Falcon-H1, which has them as a number of their own. */
function falconFeatures(config: Config): number {
  return config.mamba_d_ssm === null ? featuresIn(config) : integer(config, 'mamba_d_ssm', 1024);
}

export function falconSpace(config: Config, named: (name: string) => string): DeltaRule {
  // Gates have this one whatever other activations are.
  if (text(config, 'hidden_act', 'silu') !== 'silu')
    throw unsupported('falcon_h1', 'hidden_act other than "silu"');
  const factors = listed(config, 'ssm_multipliers', SPACE.length);
  return stateSpace(config, named, {
    features: falconFeatures(config),
    outBias: flag(config, 'projectors_bias', false),
    hasNorm: flag(config, 'mamba_rms_norm', false),
    epsilon: 1e-5,
    normsFirst: flag(config, 'mamba_norm_before_gate', true),
    normsByGroup: true,
    factors: {
      takes: positive(config, 'ssm_in_multiplier', 1),
      maps: Object.fromEntries(SPACE.map((label, at) => [label, factors[at]])),
      gives: positive(config, 'ssm_out_multiplier', 1),
    },
  });
}

/** Ones, where config.json leaves them out. */
function listed(config: Config, key: string, count: number): readonly number[] {
  return config[key] == null ? new Array<number>(count).fill(1) : numbers(config, key, count);
}

export function falconHeads(config: Config): Description['fields']['deltaHeads'] {
  const valueDim = falconFeatures(config) / integer(config, HEADS.heads, 128);
  return {
    ...HEADS,
    beside: (heads) => ({ mamba_d_ssm: heads * valueDim, mamba_d_head: valueDim }),
  };
}

export function falconFactors(config: Config, { headDim }: Pick<Description, 'headDim'>) {
  const [, mlp] = listed(config, 'mlp_multipliers', 2);
  return {
    embedding: positive(config, 'embedding_multiplier', 1),
    scores: headDim ** -0.5 * positive(config, 'key_multiplier', 1),
    logits: positive(config, 'lm_head_multiplier', 1),
    halves: {
      takes: positive(config, 'attention_in_multiplier', 1),
      gives: positive(config, 'attention_out_multiplier', 1),
      mlp,
    },
  };
}

/** Of what the gate gives times a factor. */
export function falconActivation(config: Config): GatedBlocks['ownActivation'] {
  const [gate] = listed(config, 'mlp_multipliers', 2);
  const activation = activationOf(config, 'falcon_h1', 'hidden_act', 'silu');
  return () => (g, x) => activation(g, g.node('Mul', [x, g.scalar(gate)]));
}
