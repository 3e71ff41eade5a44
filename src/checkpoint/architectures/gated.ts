// Blocks with the names that Llama has for their parts, or others for the same parts, mostly with a gated MLP: of Llama's relatives, Gemma, OLMo,
// EXAONE, InternLM, StableLM, Nemotron and Command R.

import type { Activation } from './activation.ts';
import { linear } from './config.ts';
import type { Block, Description, Label, Mixture, Mlp, Norm, OwnActivation, Rope, Stretch } from './types.ts';

export interface GatedBlocks {
  readonly norm: (name: string) => Norm;
  /** Whether q, k and v, the attention's output, and the MLP have biases. */
  readonly biases: { readonly qkv: boolean; readonly out: boolean; readonly mlp: boolean };
  /** Those that Llama has others for. */
  readonly names?: Partial<Names>;
  /** q, k and v are one tensor, of each key-value head side by side or of all; gate and up are another. */
  readonly fused?: { readonly qkv?: 'byHeads' | 'whole'; readonly mlp?: true };
  /** The MLP has no gate. */
  readonly isPlain?: boolean;
  /**
   * Normalises queries and keys over each head's features, by the same weights or by the head's own, which are rows of a tensor or `apart` in tensors, or
   * over those of all heads together.
   */
  readonly headNorms?: 'each' | 'own' | 'apart' | 'together';
  /** Whether these are behind the rotation, whether they are without weights where others have some, and whether block i has them. */
  readonly areNormsBehind?: boolean;
  readonly areNormsBare?: boolean;
  readonly isNormed?: (i: number) => boolean;
  /** Bounds of queries, keys and values. */
  readonly clip?: number;
  /** Both halves side by side, behind the norm before attention. */
  readonly isParallel?: boolean;
  /** Default: {@link BEFORE}. Of block i where these differ. */
  readonly norms?: Norms | ((i: number) => Norms);
  readonly gain?: number;
  /** Of what attention takes and gives, and of what MLPs give. */
  readonly factors?: { readonly takes: number; readonly gives: number; readonly mlp: number };
  readonly scale: number;
  readonly stretch?: (i: number) => Stretch | undefined;
  readonly cap?: number;
  /** Of block i. */
  readonly rope: (i: number) => Rope | undefined;
  readonly window: (i: number) => number | undefined;
  readonly chunk?: (i: number) => number | undefined;
  readonly activation: Activation;
  /** In its place, one that has weights in a block. */
  readonly ownActivation?: (named: (name: string) => string) => OwnActivation;
  /** Factors of where keys are, of all heads (ALiBi). */
  readonly slopes?: () => Float32Array;
  /** Of a block: the score of nothing. */
  readonly sinks?: string;
  /** What makes queries, keys and values, where they are made of fewer features. */
  readonly latent?: (named: (name: string) => string) => Pick<Block['attention'], 'qkv' | 'latent'>;
  /** What stands in the place of block i's attention. */
  readonly instead?: (i: number, named: (name: string) => string) => Block['instead'];
  /** Which half a block has not. */
  readonly lacks?: (i: number) => Block['lacks'];
  /** What stands beside it. */
  readonly beside?: (named: (name: string) => string) => Block['beside'];
  /** What heads give has a gate, whose features a tensor of this name has, or those of queries behind those of each head. */
  readonly opens?: string | 'queries';
  /** What stands in the place of block i's MLP, whose tensors are called as it tells. */
  readonly mixture?: (i: number, named: (name: string) => string) => Mixture | undefined;
}

/** Names of modules, those in a block without it. */
export interface Names {
  readonly prefix: string;
  readonly blocks: string;
  readonly qkv: (label: Label) => string;
  readonly out: string;
  readonly qNorm: string;
  readonly kNorm: string;
  readonly gate: string;
  readonly up: string;
  readonly down: string;
  readonly tokens: string;
  readonly last: string;
  readonly output: string;
}

const LLAMA: Names = {
  prefix: 'model.',
  blocks: 'layers',
  qkv: (label) => `self_attn.${label}_proj`,
  out: 'self_attn.o_proj',
  qNorm: 'self_attn.q_norm',
  kNorm: 'self_attn.k_norm',
  gate: 'mlp.gate_proj',
  up: 'mlp.up_proj',
  down: 'mlp.down_proj',
  tokens: 'embed_tokens',
  last: 'norm',
  output: 'lm_head',
};

/** Names of the norms of what attention and MLP get, and of what they give before it is added. */
interface Norms {
  readonly before?: Readonly<Record<'attention' | 'mlp', string>>;
  readonly after?: Readonly<Record<'attention' | 'mlp', string>>;
}

export const BEFORE: Norms = { before: { attention: 'input_layernorm', mlp: 'post_attention_layernorm' } };
export const AFTER: Norms = {
  after: { attention: 'post_attention_layernorm', mlp: 'post_feedforward_layernorm' },
};

/** Queries in a tensor that has a gate, too. */
const GATED = { label: 'q', byHeads: true } as const;

function gatedBlock(i: number, parts: GatedBlocks): Block {
  const { biases, fused, isPlain, clip, isParallel, gain, scale, cap, activation } = parts;
  const headNorms = parts.isNormed?.(i) === false ? undefined : parts.headNorms;
  const { sinks, latent, opens, factors } = parts;
  const names = { ...LLAMA, ...parts.names };
  const { before, after } = (typeof parts.norms === 'function' ? parts.norms(i) : parts.norms) ?? BEFORE;
  const named = (name: string) => `${names.blocks}.${i}.${name}`;
  const norm = (name?: string) => (name === undefined ? undefined : parts.norm(named(name)));
  const headNorm = (name: string) =>
    headNorms && {
      ...parts.norm(named(name)),
      ...(parts.areNormsBare && { affine: false }),
      isByHead: headNorms === 'own' || headNorms === 'apart',
      modules: headNorms === 'apart' ? 'norms' : undefined,
    };
  const wide = (label: 'gate' | 'up') => linear(named(names[label]), biases.mlp, fused?.mlp && { label });
  const open = () => {
    if (opens === 'queries') return linear(named(names.qkv('q')), biases.qkv, { ...GATED, label: 'open' });
    return opens === undefined ? undefined : linear(named(opens), false);
  };
  const mlp = (): Mlp => ({
    up: wide('up'),
    gate: isPlain ? undefined : wide('gate'),
    down: linear(named(names.down), biases.mlp),
    factor: factors?.mlp,
    activation: parts.ownActivation?.(named) ?? activation,
  });
  return {
    order: isParallel ? 'parallel' : 'pre',
    lacks: parts.lacks?.(i),
    gain,
    attentionNorm: norm(before?.attention),
    attention: {
      qkv: (label: Label) => {
        const isWide = opens === 'queries' && label === 'q';
        const part = isWide ? GATED : fused?.qkv && { label, byHeads: fused.qkv === 'byHeads' };
        return linear(named(names.qkv(label)), biases.qkv, part);
      },
      out: linear(named(names.out), biases.out),
      gate: open(),
      qNorm: headNorm(names.qNorm),
      kNorm: headNorm(names.kNorm),
      areNormsBehind: parts.areNormsBehind,
      normsTogether: headNorms === 'together',
      clip,
      rope: parts.rope(i),
      takes: factors?.takes,
      gives: factors?.gives,
      scale,
      stretch: parts.stretch?.(i),
      cap,
      slopes: parts.slopes && { name: named('self_attn.slopes'), values: parts.slopes },
      sinks: sinks && named(sinks),
      window: parts.window(i),
      chunk: parts.chunk?.(i),
      after: norm(after?.attention),
      ...latent?.(named),
    },
    instead: parts.instead?.(i, named),
    beside: parts.beside?.(named),
    mlpNorm: isParallel ? undefined : norm(before?.mlp),
    mlp: parts.mixture?.(i, named) ?? mlp(),
    mlpAfter: norm(after?.mlp),
  };
}

/** What such a model is beside what is particular to it. */
export function gatedModel<B extends Pick<Description, 'hidden' | 'sizes'>>(
  base: B,
  kvHeads: number,
  tied: boolean,
  parts: GatedBlocks,
) {
  const { prefix, tokens, last, output } = { ...LLAMA, ...parts.names };
  return {
    ...base,
    sizes: { ...base.sizes, kvHeads },
    prefixes: [prefix, ''],
    embedding: { tokens, width: base.hidden },
    block: (i: number) => gatedBlock(i, parts),
    head: { norm: parts.norm(last), output: tied ? undefined : output },
    ignored: FREQUENCIES,
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
