// The language model in models of texts and images, or sounds: Llama 4, Gemma 3, Qwen-VL 2 to 3 and Qwen3.5 (with experts too), LLaVA, Mistral Small 3 and 4, Ministral 3, InternVL,
// SmolVLM, LFM2-VL, GLM-4.1V, Aya Vision, Voxtral, Qwen2-Audio and others. Of a text without images it gives what the whole does. What sees images gives features of the same width as before, so its tensors stay as they are.

import { isObject } from '../../expect.ts';
import { cohere } from './cohere.ts';
import { section, text, unsupported, withDefaults } from './config.ts';
import { gemma } from './gemma.ts';
import { llama } from './llama.ts';
import type { Architecture, Config } from './types.ts';

/** Which language model there is where config.json does not say it. */
const KINDS: Readonly<Record<string, string>> = {
  aya_vision: 'cohere2',
  cohere2_vision: 'cohere2',
  deepseek_vl: 'llama',
  gemma3: 'gemma3_text',
  glm4v: 'glm4v_text',
  got_ocr2: 'qwen2',
  granite_speech: 'granite',
  qwen2_vl: 'qwen2',
  qwen2_5_vl: 'qwen2',
  qwen3_vl: 'qwen3',
  qwen3_vl_moe: 'qwen3_vl_moe_text',
  qwen3_5: 'qwen3_5_text',
  qwen3_5_moe: 'qwen3_5_moe_text',
  idefics2: 'mistral',
  idefics3: 'llama',
  internvl: 'qwen2',
  internvl_chat: 'llama',
  janus: 'llama',
  kimi_vl: 'deepseek_v3',
  lfm2_vl: 'lfm2',
  llama4: 'llama4_text',
  llava: 'llama',
  llava_next: 'llama',
  llava_next_video: 'llama',
  llava_onevision: 'qwen2',
  mistral3: 'mistral',
  phi3_v: 'phi3',
  smolvlm: 'llama',
  video_llava: 'llama',
  vipllava: 'llama',
  voxtral: 'llama',
  qwen2_audio: 'qwen2',
};
/** Other names of language models there. */
const SAME: ReadonlyMap<string, string> = new Map([
  ['glm4v_text', 'glm4'],
  ['qwen2_vl_text', 'qwen2'],
  ['qwen2_5_vl_text', 'qwen2'],
  ['qwen3_vl_text', 'qwen3'],
]);
/** Whose heads transformers makes as wide as the stream, so that config.json cannot say fewer. */
const DIVIDING = /^(qwen2.*_vl|glm4v)$/;

/** The object that says the language model's sizes, and what some call it. */
const SECTION = 'text_config';
const SECTIONS: Readonly<Record<string, string>> = { internvl_chat: 'llm_config' };

/** Of transformers' configurations: such an object leaves out what says the same. */
const LLAMA: Config = {
  vocab_size: 32_000,
  hidden_size: 4096,
  intermediate_size: 11_008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 2048,
};
const QWEN: Config = {
  ...LLAMA,
  vocab_size: 151_936,
  intermediate_size: 22_016,
  num_key_value_heads: 32,
  max_position_embeddings: 32_768,
};
const QWEN_HYBRID: Config = {
  vocab_size: 248_320,
  hidden_size: 4096,
  intermediate_size: 12_288,
  num_hidden_layers: 32,
  num_attention_heads: 16,
  max_position_embeddings: 32_768,
};
const DEFAULTS: Readonly<Record<string, Config>> = {
  llama: LLAMA,
  mistral: { ...LLAMA, intermediate_size: 14_336, max_position_embeddings: 131_072 },
  ministral3: {
    ...LLAMA,
    vocab_size: 131_072,
    intermediate_size: 14_336,
    num_hidden_layers: 34,
    max_position_embeddings: 262_144,
  },
  llama4_text: {
    vocab_size: 202_048,
    hidden_size: 5120,
    intermediate_size: 8192,
    num_hidden_layers: 48,
    num_attention_heads: 40,
    max_position_embeddings: 131_072,
  },
  mistral4: {
    vocab_size: 131_072,
    hidden_size: 4096,
    intermediate_size: 12_288,
    num_hidden_layers: 36,
    num_attention_heads: 32,
    max_position_embeddings: 1_048_576,
  },
  cohere2: {
    vocab_size: 256_000,
    hidden_size: 8192,
    intermediate_size: 22_528,
    num_hidden_layers: 40,
    num_attention_heads: 64,
    max_position_embeddings: 8192,
  },
  lfm2: {
    vocab_size: 65_536,
    hidden_size: 2560,
    intermediate_size: 12_288,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    max_position_embeddings: 128_000,
  },
  qwen2: QWEN,
  qwen3: QWEN,
  qwen3_5_text: QWEN_HYBRID,
  qwen3_5_moe_text: { ...QWEN_HYBRID, hidden_size: 2048, num_hidden_layers: 40 },
  gemma3_text: {
    vocab_size: 262_208,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    max_position_embeddings: 131_072,
  },
  voxtral: {
    vocab_size: 131_072,
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 30,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    head_dim: 128,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-5,
    rope_theta: 1e8,
  },
};

export const multimodal: Architecture = {
  modelTypes: Object.keys(KINDS),
  describe(config, modelType, names) {
    const name = SECTIONS[modelType] ?? SECTION;
    const isFlat = config[name] == null; // as the first files of Qwen2-VL and 2.5-VL, and Phi-3-vision
    const content = isFlat ? config : section(config, name);
    const given = isFlat ? KINDS[modelType] : text(content, 'model_type', KINDS[modelType]);
    const type = SAME.get(given) ?? given;
    const known = [llama, gemma, cohere].find(({ modelTypes }) => modelTypes.includes(type));
    if (!known) throw unsupported(modelType, `${name} of model_type "${type}"`);
    const tied = [config, content].flatMap(({ tie_word_embeddings: it }) => it ?? []);
    if (new Set(tied).size > 1)
      throw unsupported(modelType, `tie_word_embeddings ${tied[0]}, and ${tied[1]} in ${name}`);
    const own = { ...content, tie_word_embeddings: tied[0], ...plainRopes(content) };
    const sizes = withDefaults(own, DEFAULTS[modelType] ?? DEFAULTS[type] ?? {}, isFlat ? undefined : name);
    const description = known.describe(sizes, type, names);
    const { heads, ...fields } = description.fields;
    return {
      ...description,
      modelType,
      prefixes: ['model.language_model.', 'language_model.model.', 'model.text_model.', 'model.'],
      transformersJs: 'takes apart what is of texts and images into several files',
      fields: {
        ...fields,
        heads: DIVIDING.test(modelType) ? undefined : heads,
        section: isFlat ? undefined : { name, content },
      },
    };
  },
};

/** A token of text is at one place in time, height and width of what these models read, so that its rotations are the usual ones. */
function plainRopes(config: Config): Config {
  const all = ['rope_scaling', 'rope_parameters'].map((key) => [key, config[key]] as const);
  const own = all.filter(([, it]) => isObject(it) && (it.rope_type ?? it.type) === 'mrope');
  return Object.fromEntries(own.map(([key, it]) => [key, { ...(it as Config), rope_type: 'default' }]));
}
