// The language model in models of texts and images, or sounds: Gemma 3, Qwen-VL 2 to 3, LLaVA, Mistral Small 3, Ministral 3, InternVL 3, SmolVLM, Voxtral,
// Qwen2-Audio. Of a text without images it gives what the whole does. What sees images gives features of the same width as before, so its tensors stay as they are.

import { isObject } from '../../expect.ts';
import { section, text, unsupported, withDefaults } from './config.ts';
import { gemma } from './gemma.ts';
import { llama } from './llama.ts';
import type { Architecture, Config } from './types.ts';

/** Which language model there is where config.json does not say it. */
const KINDS: Readonly<Record<string, string>> = {
  gemma3: 'gemma3_text',
  qwen2_vl: 'qwen2',
  qwen2_5_vl: 'qwen2',
  qwen3_vl: 'qwen3',
  llava: 'llama',
  llava_next: 'llama',
  llava_onevision: 'qwen2',
  mistral3: 'mistral',
  internvl: 'qwen2',
  idefics3: 'llama',
  smolvlm: 'llama',
  voxtral: 'llama',
  qwen2_audio: 'qwen2',
};
/** Other names of language models there. */
const SAME: ReadonlyMap<string, string> = new Map([
  ['qwen2_vl_text', 'qwen2'],
  ['qwen2_5_vl_text', 'qwen2'],
  ['qwen3_vl_text', 'qwen3'],
]);

const SECTION = 'text_config';

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
  qwen2: QWEN,
  qwen3: QWEN,
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
    const isFlat = config[SECTION] == null; // as the first files of Qwen2-VL and 2.5-VL
    const content = isFlat ? config : section(config, SECTION);
    const given = isFlat ? KINDS[modelType] : text(content, 'model_type', KINDS[modelType]);
    const type = SAME.get(given) ?? given;
    const known = [llama, gemma].find(({ modelTypes }) => modelTypes.includes(type));
    if (!known) throw unsupported(modelType, `${SECTION} of model_type "${type}"`);
    const tied = [config, content].flatMap(({ tie_word_embeddings: it }) => it ?? []);
    if (new Set(tied).size > 1)
      throw unsupported(modelType, `tie_word_embeddings ${tied[0]}, and ${tied[1]} in ${SECTION}`);
    const own = { ...content, tie_word_embeddings: tied[0], ...plainRopes(content) };
    const sizes = withDefaults(
      own,
      DEFAULTS[modelType] ?? DEFAULTS[type] ?? {},
      isFlat ? undefined : SECTION,
    );
    const description = known.describe(sizes, type, names);
    // transformers makes heads of Qwen2-VL and 2.5-VL as wide as the stream.
    const { heads, ...fields } = description.fields;
    return {
      ...description,
      modelType,
      prefixes: ['model.language_model.', 'language_model.model.', 'model.text_model.', 'model.'],
      transformersJs: 'takes apart what is of texts and images into several files',
      fields: {
        ...fields,
        heads: /^qwen2.*_vl$/.test(modelType) ? undefined : heads,
        section: isFlat ? undefined : { name: SECTION, content },
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
