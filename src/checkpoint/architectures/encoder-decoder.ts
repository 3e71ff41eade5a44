// An encoder and a decoder that were models of their own, each with its object in config.json: what sees images before
// what writes (TrOCR, arXiv 2109.10282; captions by GPT-2; manga-ocr), and two of texts (arXiv 1907.12461).

import { ACTIVATIONS } from './activation.ts';
import { beit } from './beit.ts';
import { bert } from './bert.ts';
import {
  activationOf,
  commonOfText,
  crossing,
  DECODER_NAMES,
  flag,
  integer,
  layerNorm,
  layerOf,
  linear,
  section,
  text,
  unsupported,
  withCross,
  withDefaults,
} from './config.ts';
import { gpt2 } from './gpt2.ts';
import { waves } from './positions.ts';
import type {
  Architecture,
  Block,
  Config,
  Description,
  Linear,
  TokenEmbedding,
  VocabularyHead,
} from './types.ts';
import { vit } from './vit.ts';

/** Of transformers' configurations, of which an object may leave out what says the same. */
const SIZES: Config = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
};
const BERT_SIZES: Config = { ...SIZES, vocab_size: 30_522, max_position_embeddings: 512 };
const ROBERTA_SIZES: Config = { ...BERT_SIZES, vocab_size: 50_265 };
const GPT2_SIZES: Config = { vocab_size: 50_257, n_positions: 1024, n_embd: 768, n_layer: 12, n_head: 12 };
const TROCR_SIZES: Config = {
  vocab_size: 50_265,
  d_model: 1024,
  decoder_layers: 12,
  decoder_attention_heads: 16,
  decoder_ffn_dim: 4096,
};

const ENCODER = 'encoder';
const DECODER = 'decoder';

/** What reads, by what the whole calls itself. */
const READERS: ReadonlyMap<string, readonly Architecture[]> = new Map([
  ['vision-encoder-decoder', [vit, beit]],
  ['encoder-decoder', [bert]],
]);

export const encoderDecoder: Architecture = {
  modelTypes: [...READERS.keys()],
  describe(config, modelType, tensors) {
    const content = section(config, ENCODER);
    const type = text(content, 'model_type');
    const known = READERS.get(modelType)!.find(({ modelTypes }) => modelTypes.includes(type));
    if (!known) throw unsupported(modelType, `an encoder of model_type "${type}"`);
    const names = tensors && [...tensors];
    // Whatever it was before, it gives the features of all tokens.
    const sizes = withDefaults({ ...content, architectures: undefined }, sizesOf(type), ENCODER);
    const description = known.describe(sizes, type);
    return {
      ...description,
      modelType,
      prefixes: [`${ENCODER}.`],
      fields: { ...description.fields, section: { name: ENCODER, content } },
      decoder: () => decoderOf(config, modelType, description, names),
    };
  },
};

function sizesOf(type: string): Config {
  if (vit.modelTypes.includes(type) || beit.modelTypes.includes(type)) return SIZES;
  return ['roberta', 'camembert', 'xlm-roberta'].includes(type) ? ROBERTA_SIZES : BERT_SIZES;
}

/** A decoder as it is alone, with what it reads of an encoder. */
type Behind = Omit<Description, 'prefixes' | 'head' | 'states'> & {
  /** Before the names of its tensors, behind that of the module. */
  readonly prefix: string;
  readonly head: VocabularyHead;
  /** Whether the text alone is in its caches. */
  readonly isReadAgain?: true;
};

/** By `model_type`. */
const WRITERS: ReadonlyMap<string, (config: Config, names?: readonly string[]) => Behind> = new Map([
  ['trocr', trocr],
  ['gpt2', captions],
  ...['bert', 'roberta', 'camembert', 'xlm-roberta'].map((type) => [type, bertBehind] as const),
]);

function decoderOf(
  config: Config,
  modelType: string,
  { hidden: given, maxPositions: tokens, vocabulary, embedding }: Description,
  names?: readonly string[],
): Description {
  const content = withDefaults(section(config, DECODER), {}, DECODER);
  const type = text(content, 'model_type');
  const writer = WRITERS.get(type);
  if (!writer) throw unsupported(modelType, `a decoder of model_type "${type}"`);
  const { prefix, isReadAgain, ...own } = writer(content, names);
  if (integer(content, 'cross_attention_hidden_size', own.hidden) !== given)
    throw unsupported(modelType, `${given} features that a map between both makes others of`);
  const follows = 'follows' in embedding && embedding.follows !== undefined;
  return {
    ...withCross(own),
    modelType,
    prefixes: [`${DECODER}.${prefix}`],
    states: {
      width: given,
      tokens: vocabulary > 0 || follows ? undefined : tokens,
      areMasked: vocabulary > 0,
      isReadAgain,
    },
    fields: { ...own.fields, section: { name: DECODER, content } },
  };
}

/** The map to scores, where the file has one of its own: what config.json says of that other releases say otherwise. */
function outputIn(names: readonly string[] | undefined, name: string, isTied: boolean): string | undefined {
  const full = `${DECODER}.${name}`;
  return (names ? names.includes(`${full}.weight`) : !isTied) ? full : undefined;
}

function trocr(content: Config, names?: readonly string[]): Behind {
  const config = withDefaults(content, TROCR_SIZES, DECODER);
  const { base, activation } = commonOfText(config, 'trocr', {
    names: DECODER_NAMES,
    activation: 'gelu',
    positions: 512,
  });
  const { hidden, headDim } = base;
  const epsilon = 1e-5; // the config has no field
  const isLearned = flag(config, 'use_learned_position_embeddings', true);
  return {
    ...base,
    prefix: 'model.decoder.',
    embedding: {
      tokens: 'embed_tokens',
      width: hidden,
      scale: flag(config, 'scale_embedding', false) ? Math.sqrt(hidden) : undefined,
      positions: {
        name: 'embed_positions',
        offset: isLearned ? 2 : integer(config, 'pad_token_id', 1, 0) + 1,
        values: isLearned ? undefined : waves((c, half) => c / (half - 1)),
      },
      norm: flag(config, 'layernorm_embedding', true) ? layerNorm('layernorm_embedding', epsilon) : undefined,
    },
    block: (i) => {
      const layer = `layers.${i}`;
      return crossing(
        layerOf(layer, { order: 'post', activation, headDim, epsilon }),
        layer,
        headDim,
        epsilon,
      );
    },
    head: { output: outputIn(names, 'output_projection', flag(config, 'tie_word_embeddings', true)) },
  };
}

/** GPT-2, as what images show is written. */
function captions(content: Config, names?: readonly string[]): Behind {
  const config = withDefaults({ ...content, add_cross_attention: false }, GPT2_SIZES, DECODER);
  const own = gpt2.describe(config, 'gpt2');
  return {
    ...own,
    prefix: 'transformer.',
    block: (i) => {
      const { attentionNorm, attention, ...others } = own.block(i);
      const module = `h.${i}.crossattention`;
      const qkv = (label: 'q' | 'k' | 'v'): Linear =>
        label === 'q' ? conv1d(`${module}.q_attn`) : { ...conv1d(`${module}.c_attn`), part: { label } };
      return {
        ...others,
        attentionNorm,
        attention: { ...attention, isCausal: true },
        cross: {
          norm: { ...attentionNorm!, name: `h.${i}.ln_cross_attn` },
          attention: { qkv, out: conv1d(`${module}.c_proj`), scale: attention.scale },
        },
      };
    },
    head: {
      ...(own.head as VocabularyHead),
      output: outputIn(names, 'lm_head', flag(config, 'tie_word_embeddings', true)),
    },
    isReadAgain: true,
    ignored: /attn\.(bias|masked_bias)$|attention\.(bias|masked_bias)$/,
  };
}

const conv1d = (name: string): Linear => ({ ...linear(name, true), transposed: false });

/** BERT or RoBERTa, whose tokens see those before them alone. */
function bertBehind(content: Config, names?: readonly string[]): Behind {
  const type = text(content, 'model_type');
  const isBert = type === 'bert';
  const asReader = { architectures: undefined, is_decoder: false, add_cross_attention: false };
  const config = withDefaults({ ...content, ...asReader }, sizesOf(type), DECODER);
  const own = bert.describe(config, type);
  const { types, ...embedding } = own.embedding as TokenEmbedding;
  const [dense, norm, output] = isBert
    ? ['cls.predictions.transform.dense', 'cls.predictions.transform.LayerNorm', 'cls.predictions.decoder']
    : ['lm_head.dense', 'lm_head.layer_norm', 'lm_head.decoder'];
  const of = (name: string): Linear => ({ ...linear(`${DECODER}.${name}`, true), isFullName: true });
  const { attentionNorm: like } = own.block(0);
  return {
    ...own,
    prefix: `${isBert ? 'bert' : 'roberta'}.`,
    embedding: { ...embedding, tasks: types }, // a decoder is given none
    block: (i): Block => {
      const { attention, ...others } = own.block(i);
      const module = `encoder.layer.${i}.crossattention`;
      const names = { q: 'query', k: 'key', v: 'value' };
      return {
        ...others,
        attention: { ...attention, isCausal: true },
        cross: {
          norm: { ...others.attentionNorm!, name: `${module}.output.LayerNorm` },
          attention: {
            qkv: (label) => linear(`${module}.self.${names[label]}`, true),
            out: linear(`${module}.output.dense`, true),
            scale: attention.scale,
          },
        },
      };
    },
    head: {
      maps: [
        {
          map: of(dense),
          columns: own.hidden,
          activation: isBert ? activationOf(config, type, 'hidden_act', 'gelu') : ACTIVATIONS.get('gelu'),
          norm: { ...like!, name: `${DECODER}.${norm}`, isFullName: true },
        },
      ],
      output: outputIn(names, output, flag(config, 'tie_word_embeddings', true)),
      bias: `${DECODER}.${isBert ? 'cls.predictions' : 'lm_head'}.bias`,
    },
    transformersJs: 'keeps no caches of what it says',
  };
}
