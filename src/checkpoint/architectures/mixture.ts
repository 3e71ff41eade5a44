// Mixtures of experts as Mixtral (arXiv 2401.04088), OLMoE (2409.02060), Qwen2-MoE and Qwen3-MoE have them in the place of an MLP: each
// expert a gated MLP of its own.

import { InputError } from '../../errors.ts';
import type { Activation } from './activation.ts';
import { flag, integer, linear } from './config.ts';
import type { BlockSizes, Config, Description, Mixture } from './types.ts';

/** What the model types do differently; numbers are those of transformers where config.json leaves them out. */
interface Kind {
  /** Of the module in a block; experts' maps are called `gate`, `up` and `down` there. */
  readonly module: string;
  readonly maps: Readonly<Record<'gate' | 'up' | 'down', string>>;
  readonly experts: number;
  readonly chosen: number;
  /** Absent where shares always sum to 1. */
  readonly normalises?: 'norm_topk_prob';
  /** Field of an expert's neurons. */
  readonly field: string;
  /** That of what all tokens pass beside them. */
  readonly sharedField?: string;
  /** Some blocks may have an MLP for all tokens instead. */
  readonly isSparse?: true;
}

const MLP = {
  module: 'mlp',
  maps: { gate: 'gate_proj', up: 'up_proj', down: 'down_proj' },
  normalises: 'norm_topk_prob',
} as const;

const KINDS: Readonly<Record<string, Kind>> = {
  mixtral: {
    module: 'block_sparse_moe',
    maps: { gate: 'w1', up: 'w3', down: 'w2' },
    experts: 8,
    chosen: 2,
    field: 'intermediate_size',
  },
  olmoe: { ...MLP, experts: 64, chosen: 8, field: 'intermediate_size' },
  qwen2_moe: {
    ...MLP,
    experts: 60,
    chosen: 4,
    field: 'moe_intermediate_size',
    sharedField: 'shared_expert_intermediate_size',
    isSparse: true,
  },
  qwen3_moe: { ...MLP, experts: 128, chosen: 8, field: 'moe_intermediate_size', isSparse: true },
};

/** In all blocks; the largest models have some ten thousand. */
const MOST_EXPERTS = 100_000;

/** The experts of a model, by block. */
export interface Mixtures {
  /** Absent where block i has an MLP for all tokens. */
  readonly mixture: (i: number, named: (name: string) => string) => Mixture | undefined;
  readonly sizesOf: (i: number) => BlockSizes;
  /** Fields of config.json that say neurons. */
  readonly fields: Pick<Description['fields'], 'experts' | 'shared'>;
}

/** @param sizes  of a block with an MLP for all tokens */
export function mixturesOf(
  config: Config,
  { modelType, blocks, sizes }: Pick<Description, 'modelType' | 'blocks' | 'sizes'>,
  activation: Activation,
): Mixtures {
  const { module, maps, field, sharedField, normalises, isSparse, ...kind } = KINDS[modelType];
  const key = config.num_experts == null ? 'num_local_experts' : 'num_experts';
  const count = integer(config, key, kind.experts);
  const chosen = integer(config, 'num_experts_per_tok', kind.chosen);
  if (chosen > count)
    throw new InputError(
      `config.json: "num_experts_per_tok" expected at most the ${count} experts, got ${chosen}`,
    );
  if (count * blocks > MOST_EXPERTS)
    throw new InputError(
      `config.json: at most ${MOST_EXPERTS} experts expected in all blocks, got ${count * blocks}`,
    );
  const experts = new Array<number>(count).fill(integer(config, field));
  const shared = sharedField && integer(config, sharedField);
  const isNormalised = normalises === undefined || flag(config, normalises, false);
  const isDense = isSparse ? denseBlocks(config, blocks) : () => false;
  return {
    mixture: (i, named) => {
      if (isDense(i)) return undefined;
      const at = (name: string) => named(`${module}.${name}`);
      const mlp = (name: string) => ({
        gate: linear(at(`${name}.${maps.gate}`), false),
        up: linear(at(`${name}.${maps.up}`), false),
        down: linear(at(`${name}.${maps.down}`), false),
        activation,
      });
      return {
        router: linear(at('gate'), false),
        expert: (e) => mlp(`experts.${e}`),
        chosen,
        isNormalised,
        shared: sharedField
          ? { mlp: mlp('shared_expert'), gate: linear(at('shared_expert_gate'), false) }
          : undefined,
      };
    },
    sizesOf: (i) => (isDense(i) ? sizes : { ...sizes, ffn: shared || 0, experts }),
    fields: { experts: field, shared: sharedField },
  };
}

/** Which blocks have an MLP for all tokens: those that are named, and of the others those between every so many. */
function denseBlocks(config: Config, blocks: number): (i: number) => boolean {
  const named = config.mlp_only_layers ?? [];
  const isBlock = (i: unknown) => Number.isInteger(i) && Number(i) >= 0 && Number(i) < blocks;
  if (!Array.isArray(named) || !named.every(isBlock))
    throw new InputError(
      `config.json: "mlp_only_layers" expected numbers of blocks below ${blocks}, got ${JSON.stringify(named).slice(0, 200)}`,
    );
  const step = integer(config, 'decoder_sparse_step', 1);
  return (i) => named.includes(i) || (i + 1) % step !== 0;
}
