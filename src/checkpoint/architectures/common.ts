// What every config.json says, under whatever name, and the forms that weights have in most models.

import { InputError } from '../../errors.ts';
import { activationOf } from './activation.ts';
import { flag, integer, text } from './config.ts';
import type { Config, Description, Linear, Norm } from './types.ts';

/** The usual names. */
const NAMES = {
  hidden: 'hidden_size',
  heads: 'num_attention_heads',
  blocks: 'num_hidden_layers',
  positions: 'max_position_embeddings',
  ffn: 'intermediate_size',
  activation: 'hidden_act',
};

/** What is particular to an architecture; defaults are those of transformers. */
export interface Conventions {
  readonly names?: Partial<typeof NAMES>;
  readonly activation: string;
  readonly tied: boolean;
  /** Neurons per feature, where config.json may leave their number out. */
  readonly widening?: number;
  /** Where it is not hidden / heads. */
  readonly headDim?: number;
}

/** The part of a description that says sizes; `tied`: the output weights are the token embeddings. */
export function common(config: Config, modelType: string, conventions: Conventions) {
  const { headDim, widening } = conventions;
  const names = { ...NAMES, ...conventions.names };
  const hidden = integer(config, names.hidden);
  const heads = integer(config, names.heads);
  if (headDim === undefined && hidden % heads !== 0) {
    const keys = `${names.hidden} and ${names.heads}`;
    throw new InputError(`config.json: ${keys}: ${hidden} features cannot be shared out to ${heads} heads`);
  }
  const base = {
    modelType,
    hidden,
    vocabulary: integer(config, 'vocab_size'),
    maxPositions: integer(config, names.positions),
    headDim: headDim ?? hidden / heads,
    blocks: integer(config, names.blocks),
    sizes: { heads, kvHeads: heads, ffn: integer(config, names.ffn, widening && widening * hidden) },
    fields: { ffn: names.ffn },
  } satisfies Partial<Description>;
  const activation = activationOf(text(config, names.activation, conventions.activation), modelType);
  return { base, activation, tied: flag(config, 'tie_word_embeddings', conventions.tied) };
}

export function linear(name: string, bias: boolean): Linear {
  return { name, bias, stored: 'out-in' };
}

export function layerNorm(name: string, epsilon: number, affine = true): Norm {
  return { kind: 'layer', name, epsilon, affine };
}
