// Blocks of RMS norms and a gated MLP, with the names that Llama has for them: of Llama's relatives and of Gemma.

import type { Activation } from './activation.ts';
import { linear } from './config.ts';
import type { Rope } from './rope.ts';
import type { Block, Label, Norm } from './types.ts';

export interface GatedBlocks {
  readonly norm: (name: string) => Norm;
  /** Whether q, k and v, the attention's output, and the MLP have biases. */
  readonly biases: { readonly qkv: boolean; readonly out: boolean; readonly mlp: boolean };
  /** q, k and v are one tensor, gate and up another. */
  readonly isFused?: boolean;
  /** Normalises queries and keys over each head's features. */
  readonly hasHeadNorms?: boolean;
  /** What attention and MLP give has a norm before it is added. */
  readonly normsAfter?: boolean;
  readonly gain?: number;
  readonly scale: number;
  readonly cap?: number;
  /** Of block i. */
  readonly rope: (i: number) => Rope | undefined;
  readonly window: (i: number) => number | undefined;
  readonly activation: Activation;
}

export function gatedBlock(i: number, parts: GatedBlocks): Block {
  const { biases, isFused, hasHeadNorms, normsAfter, gain, scale, cap, activation } = parts;
  const named = (name: string) => `layers.${i}.${name}`;
  const norm = (name: string) => parts.norm(named(name));
  const wide = (label: 'gate' | 'up') =>
    isFused
      ? linear(named('mlp.gate_up_proj'), biases.mlp, { label })
      : linear(named(`mlp.${label}_proj`), biases.mlp);
  return {
    order: 'pre',
    gain,
    attentionNorm: norm('input_layernorm'),
    attention: {
      qkv: (label: Label) =>
        isFused
          ? linear(named('self_attn.qkv_proj'), biases.qkv, { label })
          : linear(named(`self_attn.${label}_proj`), biases.qkv),
      out: linear(named('self_attn.o_proj'), biases.out),
      qNorm: hasHeadNorms ? norm('self_attn.q_norm') : undefined,
      kNorm: hasHeadNorms ? norm('self_attn.k_norm') : undefined,
      rope: parts.rope(i),
      scale,
      cap,
      window: parts.window(i),
      after: normsAfter ? norm('post_attention_layernorm') : undefined,
    },
    mlpNorm: norm(normsAfter ? 'pre_feedforward_layernorm' : 'post_attention_layernorm'),
    mlp: {
      up: wide('up'),
      gate: wide('gate'),
      down: linear(named('mlp.down_proj'), biases.mlp),
      activation,
      after: normsAfter ? norm('post_feedforward_layernorm') : undefined,
    },
  };
}

/** Fields of config.json that say a block's heads. */
export const HEAD_FIELDS = {
  heads: 'num_attention_heads',
  kvHeads: 'num_key_value_heads',
  headDim: 'head_dim',
};

/** Old checkpoints have them beside the weights. */
export const FREQUENCIES = /rotary_emb\.inv_freq$/;
