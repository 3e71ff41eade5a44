// GPT-Neo and TinyStories (arXiv 2305.07759): GPT-2 with nn.Linear, scores that are not scaled, and a window in every other block.

import { InputError } from '../../errors.ts';
import { common, integer, layerNorm, linear, positive } from './config.ts';
import type { Architecture, Config } from './types.ts';

/** So many times the kinds of blocks in a row. */
type Repeated = readonly [kinds: readonly string[], times: number];

const TYPES: readonly Repeated[] = [[['global', 'local'], 12]]; // where config.json leaves them out

export const gptNeo: Architecture = {
  modelTypes: ['gpt_neo'],
  describe(config, modelType) {
    const { base, activation, tied } = common(config, modelType, {
      names: { heads: 'num_heads', blocks: 'num_layers', activation: 'activation_function' },
      activation: 'gelu_new',
      tied: true,
      widening: 4,
    });
    const epsilon = positive(config, 'layer_norm_epsilon', 1e-5);
    const width = integer(config, 'window_size', 256);
    const kind = kindsOf(config, base.blocks);
    const norm = (name: string) => layerNorm(name, epsilon);
    return {
      ...base,
      prefixes: ['transformer.', ''],
      embedding: { tokens: 'wte', width: base.hidden, positions: { name: 'wpe', offset: 0 } },
      block: (i) => ({
        order: 'pre',
        attentionNorm: norm(`h.${i}.ln_1`),
        attention: {
          qkv: (label) => linear(`h.${i}.attn.attention.${label}_proj`, false),
          out: linear(`h.${i}.attn.attention.out_proj`, true),
          scale: 1,
          window: kind(i) === 'local' ? width : undefined,
        },
        mlpNorm: norm(`h.${i}.ln_2`),
        mlp: { up: linear(`h.${i}.mlp.c_fc`, true), down: linear(`h.${i}.mlp.c_proj`, true), activation },
      }),
      head: { norm: norm('ln_f'), output: tied ? undefined : 'lm_head' },
      ignored: /\.attn\.attention\.(bias|masked_bias)$/,
    };
  },
};

/** "global" or "local", by `attention_layers`, which has one for each block, or `attention_types`, which repeats some. */
function kindsOf(config: Config, blocks: number): (i: number) => string {
  const { attention_layers: layers, attention_types: given = TYPES } = config;
  const types = layers == null ? given : [[layers, 1]];
  if (!Array.isArray(types) || !types.every(isRepeated) || count(types) !== blocks) {
    const key = layers == null ? 'attention_types' : 'attention_layers';
    const got = JSON.stringify(config[key])?.slice(0, 200);
    throw new InputError(
      `config.json: "${key}" expected "global" or "local" for each of ${blocks} blocks, got ${got}`,
    );
  }
  return (i) => {
    let at = i;
    const [kinds] = types.find(([kinds, times]) => {
      if (at < kinds.length * times) return true;
      at -= kinds.length * times;
      return false;
    }) as Repeated;
    return kinds[at % kinds.length];
  };
}

function isRepeated(entry: unknown): entry is Repeated {
  if (!Array.isArray(entry)) return false;
  const [kinds, times] = entry;
  const areKinds = Array.isArray(kinds) && kinds.every((kind) => kind === 'global' || kind === 'local');
  return areKinds && Number.isInteger(times) && times > 0;
}

const count = (types: readonly Repeated[]) =>
  types.reduce((total, [kinds, times]) => total + kinds.length * times, 0);
