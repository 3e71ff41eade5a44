// CLIP (arXiv 2103.00020), MetaCLIP 2 (2507.22062), which has its form, and SigLIP (2303.15343): the tower of images, a ViT with other names, alone or beside that of texts, and that of texts
// alone, as diffusion models have it. What both give has the same width as before, so the tensors of the other one stay as they are.

import {
  classifies,
  commonOfImages,
  commonOfText,
  flag,
  integer,
  layerNorm,
  linear,
  positive,
  scores,
  section,
  withDefaults,
} from './config.ts';
import { nameOf } from './facts.ts';
import type { Architecture, AttentionPool, Block, Config, Description, EncoderHead, Mlp } from './types.ts';

/** Of transformers' configurations, which leave out what says the same. */
const COMMON = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  num_channels: 3,
  image_size: 224,
};
const DEFAULTS: Readonly<Record<string, Config>> = {
  clip: { ...COMMON, patch_size: 32, hidden_act: 'quick_gelu', layer_norm_eps: 1e-5 },
  metaclip_2: { ...COMMON, patch_size: 32, hidden_act: 'quick_gelu', layer_norm_eps: 1e-5 },
  siglip: { ...COMMON, patch_size: 16, hidden_act: 'gelu_pytorch_tanh', layer_norm_eps: 1e-6 },
};
/** Of the towers of texts. */
const OF_TEXTS: Readonly<Record<string, Config>> = {
  clip: {
    vocab_size: 49_408,
    hidden_size: 512,
    intermediate_size: 2048,
    num_hidden_layers: 12,
    num_attention_heads: 8,
    max_position_embeddings: 77,
    hidden_act: 'quick_gelu',
    layer_norm_eps: 1e-5,
  },
  siglip: {
    vocab_size: 32_000,
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    max_position_embeddings: 64,
    hidden_act: 'gelu_pytorch_tanh',
    layer_norm_eps: 1e-6,
  },
};
const ALONE = '_vision_model';
const TEXTS_ALONE = '_text_model';
const SECTION = 'vision_config';
/** What old files of CLIP have beside it, and what counts where they do. */
const FORMER = 'vision_config_dict';

export const clip: Architecture = {
  modelTypes: [
    'clip',
    `clip${ALONE}`,
    `clip${TEXTS_ALONE}`,
    'metaclip_2',
    'siglip',
    `siglip${ALONE}`,
    `siglip${TEXTS_ALONE}`,
  ],
  describe(config, modelType) {
    if (modelType.endsWith(TEXTS_ALONE)) return textTower(config, modelType);
    const isAlone = modelType.endsWith(ALONE);
    const family = isAlone ? modelType.slice(0, -ALONE.length) : modelType;
    const defaults = DEFAULTS[family];
    const isClip = family !== 'siglip';
    const content = isAlone ? config : contentOf(config, defaults);
    const sizes = withDefaults(content, defaults, isAlone ? undefined : SECTION);
    const { base, activation } = commonOfImages(
      sizes,
      modelType,
      { activation: String(defaults.hidden_act) },
      {
        patches: 'embeddings.patch_embedding',
        withoutBias: isClip,
        firstTokens: isClip ? ['embeddings.class_embedding'] : [],
        positions: 'embeddings.position_embedding.weight',
        isFlat: true,
        norm: isClip ? layerNorm('pre_layrnorm', positive(sizes, 'layer_norm_eps')) : undefined,
      },
    );
    const epsilon = positive(sizes, 'layer_norm_eps');
    const scale = base.headDim ** -0.5;
    const pool: AttentionPool = {
      probe: 'head.probe',
      attention: {
        qkv: (label) => ({ ...linear('head.attention.in_proj', true, { label }), isJoined: true }),
        out: linear('head.attention.out_proj', true),
        scale,
      },
      norm: layerNorm('head.layernorm', epsilon),
      mlp: mlpIn('head.mlp', activation),
    };
    const hasPool = !isClip && flag(sizes, 'vision_use_head', true);
    const last = layerNorm('post_layernorm', epsilon);
    return {
      ...base,
      prefixes: ['vision_model.', ''],
      block: (i) => blockOf(i, { scale, epsilon, activation }),
      head: isClip ? clipHead(config, isAlone, last) : siglipHead(config, last, hasPool ? pool : undefined),
      onnxName: 'vision_model',
      // The attention that pools has as many neurons by the same field.
      fields: {
        ...(!hasPool && base.fields),
        section: isAlone ? undefined : { name: SECTION, content, former: FORMER },
      },
    };
  },
};

/** What it gives of all tokens, whichever of them others read. */
function textTower(config: Config, modelType: string): Description {
  const family = modelType.slice(0, -TEXTS_ALONE.length);
  const sizes = withDefaults(config, OF_TEXTS[family]);
  const { base, activation } = commonOfText(sizes, modelType, { activation: 'gelu' });
  const epsilon = positive(sizes, 'layer_norm_eps');
  const block = { scale: base.headDim ** -0.5, epsilon, activation, isCausal: family === 'clip' };
  return {
    ...base,
    prefixes: ['text_model.', ''],
    embedding: {
      tokens: 'embeddings.token_embedding',
      width: base.hidden,
      positions: { name: 'embeddings.position_embedding', offset: 0 },
    },
    block: (i) => blockOf(i, block),
    head: { norm: layerNorm('final_layer_norm', epsilon), readouts: [] },
    onnxName: 'text_model',
  };
}

interface Blocks extends Pick<Block['attention'], 'scale' | 'isCausal'>, Pick<Mlp, 'activation'> {
  readonly epsilon: number;
}

function blockOf(i: number, { scale, isCausal, epsilon, activation }: Blocks): Block {
  const layer = `encoder.layers.${i}`;
  return {
    order: 'pre',
    attentionNorm: layerNorm(`${layer}.layer_norm1`, epsilon),
    attention: {
      qkv: (label) => linear(`${layer}.self_attn.${label}_proj`, true),
      out: linear(`${layer}.self_attn.out_proj`, true),
      scale,
      isCausal,
    },
    mlpNorm: layerNorm(`${layer}.layer_norm2`, epsilon),
    mlp: mlpIn(`${layer}.mlp`, activation),
  };
}

function mlpIn(module: string, activation: Mlp['activation']): Mlp {
  return { up: linear(`${module}.fc1`, true), down: linear(`${module}.fc2`, true), activation };
}

/** As transformers reads it: where the old object is there all of its fields count, those too that it leaves out. */
function contentOf(config: Config, defaults: Config): Config {
  const content = section(config, SECTION);
  return config[FORMER] == null ? content : { ...content, ...defaults, ...section(config, FORMER) };
}

/** Classifiers read the squares before the last norm, embeddings are made of the first token behind it; else there are features without it. */
function clipHead(config: Config, isAlone: boolean, last: EncoderHead['norm']): EncoderHead {
  if (classifies(config)) return { readouts: [{ of: [[1]], maps: [scores(config, 'classifier')] }] };
  if (isAlone && !/WithProjection$/.test(nameOf(config))) return { readouts: [] };
  const map = { ...linear('visual_projection', false), isFullName: true };
  const columns = integer(config, 'projection_dim', 512);
  return { norm: last, readouts: [{ maps: [{ map, columns }] }], embeds: 'image_embeds' };
}

function siglipHead(config: Config, norm: EncoderHead['norm'], pool?: AttentionPool): EncoderHead {
  if (classifies(config)) return { norm, readouts: [{ of: [[0]], maps: [scores(config, 'classifier')] }] };
  return pool ? { norm, readouts: [{ pool, maps: [] }], embeds: 'pooler_output' } : { norm, readouts: [] };
}
