// The language model in models of texts and images, or sounds: as it is alone, under other names.

import { describe, expect, test } from 'vitest';
import type { Config } from '../../src/checkpoint/architectures/index.ts';
import { UnsupportedModelError } from '../../src/errors.ts';
import { describe as describeModel } from '../support/describe.ts';
import { referenceLogits } from './reference.ts';
import { ids, maxDifference, runOnce, sourceOf, type Weights } from './source.ts';
import { LLAMA, QWEN3_5, tinyWeights, uniformSizes, VARIANTS } from './tiny.ts';

const TOLERANCE = 1e-4; // of logits around 1
const tokens = Array.from({ length: 9 }, (_, i) => (7 * i) % 40);

const QWEN2 = { ...LLAMA, model_type: 'qwen2' };
const QWEN3 = { ...LLAMA, model_type: 'qwen3', head_dim: 10, tie_word_embeddings: true };
const GEMMA3 = VARIANTS.gemma3.config;
const VL_MOE = VARIANTS.qwen3_vl_moe_text.config;
const QWEN3_5_MOE = { ...VARIANTS.qwen3_next.config, model_type: 'qwen3_5_moe_text' };
const LFM2 = VARIANTS.lfm2.config;
const COHERE2 = VARIANTS.cohere2.config;
const GLM4 = VARIANTS.glm4.config;
const MISTRAL4 = VARIANTS.mistral4.config;
const LLAMA4 = VARIANTS['llama4_text without experts, both norms'].config;
const MROPE = { type: 'mrope', mrope_section: [1, 1, 2] };
/** Fields of a language model where they are in an object of their own. */
const inside = ({ tie_word_embeddings: _, ...config }: Config, more: Config = {}) => ({ ...config, ...more });
/** Where it does not say which it is. */
const unnamed = ({ model_type: _, ...config }: Config) => config;

/** The whole's config.json, the language model's, and what its tensors are called. */
const MODELS: Readonly<Record<string, [Config, Config, prefix: string, output: string]>> = {
  'gemma3, as it is published': [
    { model_type: 'gemma3', text_config: inside(GEMMA3) },
    GEMMA3,
    'language_model.model.',
    '',
  ],
  'gemma3, as transformers writes it': [
    { model_type: 'gemma3', text_config: GEMMA3 },
    GEMMA3,
    'model.language_model.',
    '',
  ],
  'qwen2_5_vl, as it is published': [
    { ...QWEN2, model_type: 'qwen2_5_vl', rope_scaling: MROPE, vision_config: {} },
    QWEN2,
    'model.',
    'lm_head',
  ],
  'qwen2_vl, as transformers writes it': [
    {
      model_type: 'qwen2_vl',
      text_config: inside(QWEN2, {
        model_type: 'qwen2_vl_text',
        rope_parameters: { mrope_section: MROPE.mrope_section, rope_type: 'mrope', rope_theta: 100 },
      }),
    },
    QWEN2,
    'model.language_model.',
    'lm_head',
  ],
  qwen3_vl: [
    {
      model_type: 'qwen3_vl',
      tie_word_embeddings: true,
      text_config: inside(QWEN3, {
        model_type: 'qwen3_vl_text',
        rope_theta: undefined,
        rope_parameters: { ...MROPE, type: undefined, rope_type: 'default', rope_theta: 100 },
      }),
    },
    QWEN3,
    'model.language_model.',
    '',
  ],
  qwen3_vl_moe: [
    { model_type: 'qwen3_vl_moe', tie_word_embeddings: false, text_config: inside(VL_MOE) },
    VL_MOE,
    'model.language_model.',
    'lm_head',
  ],
  qwen3_5: [
    {
      model_type: 'qwen3_5',
      tie_word_embeddings: false,
      text_config: inside(QWEN3_5, {
        rope_theta: undefined,
        rope_parameters: { mrope_section: [1, 1], rope_type: 'default', rope_theta: 100 },
      }),
    },
    QWEN3_5,
    'model.language_model.',
    'lm_head',
  ],
  qwen3_5_moe: [
    { model_type: 'qwen3_5_moe', tie_word_embeddings: false, text_config: inside(QWEN3_5_MOE) },
    QWEN3_5_MOE,
    'model.language_model.',
    'lm_head',
  ],
  lfm2_vl: [{ model_type: 'lfm2_vl', text_config: LFM2 }, LFM2, 'model.language_model.', ''],
  aya_vision: [{ model_type: 'aya_vision', text_config: COHERE2 }, COHERE2, 'language_model.model.', ''],
  glm4v: [
    {
      model_type: 'glm4v',
      text_config: inside(GLM4, {
        model_type: 'glm4v_text',
        tie_word_embeddings: true,
        rope_scaling: { rope_type: 'default', mrope_section: [1, 1, 2] },
      }),
    },
    GLM4,
    'model.language_model.',
    '',
  ],
  'internvl_chat, with its own code': [
    { model_type: 'internvl_chat', llm_config: QWEN2, vision_config: {} },
    QWEN2,
    'language_model.model.',
    'language_model.lm_head',
  ],
  'phi3_v, with its own code': [
    { ...VARIANTS['phi3, window'].config, model_type: 'phi3_v', img_processor: {} },
    VARIANTS['phi3, window'].config,
    'model.',
    'lm_head',
  ],
  llama4: [
    { model_type: 'llama4', text_config: inside(LLAMA4), vision_config: {} },
    LLAMA4,
    'language_model.model.',
    'language_model.lm_head',
  ],
  'mistral3 of the fourth Mistral Small': [
    { model_type: 'mistral3', tie_word_embeddings: false, text_config: inside(MISTRAL4) },
    MISTRAL4,
    'model.language_model.',
    'lm_head',
  ],
  'mistral3, with an output in the language model': [
    { model_type: 'mistral3', text_config: { ...LLAMA, model_type: 'mistral', sliding_window: null } },
    { ...LLAMA, model_type: 'mistral', sliding_window: null },
    'language_model.model.',
    'language_model.lm_head',
  ],
  voxtral: [
    { model_type: 'voxtral', audio_config: {}, text_config: unnamed({ ...LLAMA, head_dim: 8 }) },
    LLAMA,
    'language_model.model.',
    'language_model.lm_head',
  ],
  qwen2_audio: [
    { model_type: 'qwen2_audio', audio_config: {}, text_config: unnamed(QWEN2) },
    QWEN2,
    'language_model.model.',
    'language_model.lm_head',
  ],
  smolvlm: [
    { model_type: 'smolvlm', tie_word_embeddings: false, text_config: inside(LLAMA) },
    LLAMA,
    'model.text_model.',
    'lm_head',
  ],
};

function renamed(weights: Weights, prefix: string, output: string): Weights {
  const name = (it: string) => it.replace(/^model\./, prefix).replace(/^lm_head/, output);
  return new Map([...weights].map(([it, tensor]) => [name(it), tensor]));
}

describe.each(Object.entries(MODELS))('%s', (_, [config, own, prefix, output]) => {
  const sizes = uniformSizes(own);
  const weights = tinyWeights(own, sizes);
  const source = sourceOf(renamed(weights, prefix, output));
  const model = describeModel(config);

  test('gives the logits of the language model', async () => {
    model.check(source);
    expect(model.architecture).toBe(config.model_type);
    const { logits } = await runOnce(await model.whole(source), { input_ids: ids([tokens]) });
    const expected = referenceLogits(own, sizes, weights, tokens).flat();
    expect(maxDifference(logits.data, expected)).toBeLessThan(TOLERANCE);
  });

  test('says its sizes where they were', async () => {
    const block = await model.block(source, 1, { length: 4 });
    expect(model.tensorsOf(1, block)[0].name.startsWith(`${prefix}layers.1.`)).toBe(true);
    const { config: written, record } = model.configOf(
      sizes.map(({ experts, ...size }) => ({
        ...size,
        ...(experts ? { experts: experts.map(() => 4) } : { ffn: 8 }),
        ...(own.n_shared_experts !== undefined && { ffn: 4 * Number(own.n_shared_experts) }),
      })),
    );
    expect(record).toBeUndefined();
    const inner = (it: Config) => (it.text_config ?? it.llm_config ?? it) as Config;
    const field = own.model_type === 'llama4_text' ? 'intermediate_size_mlp' : 'intermediate_size';
    const said = sizes[0].experts ? { moe_intermediate_size: 4 } : { [field]: 8 };
    const liquid = { block_ff_dim: 8, block_auto_adjust_ff_dim: false };
    const beside = own.model_type === 'lfm2' ? liquid : {};
    expect(inner(written)).toEqual({ ...inner(config), ...said, ...beside });
    const [{ ffn, experts }] = describeModel(written).sizes;
    expect(experts ?? ffn).toEqual(sizes[0].experts?.map(() => 4) ?? 8);
  });
});

test('sizes that text_config leaves out are those of transformers', () => {
  const { sizes, blocks, hidden, vocabulary, headDim } = describeModel({
    model_type: 'gemma3',
    text_config: {
      model_type: 'gemma3_text',
      hidden_size: 2560,
      intermediate_size: 10240,
      num_hidden_layers: 34,
    },
  });
  expect({ ...sizes[0], blocks, hidden, vocabulary, headDim }).toEqual({
    heads: 8,
    kvHeads: 4,
    ffn: 10240,
    blocks: 34,
    hidden: 2560,
    vocabulary: 262208,
    headDim: 256,
  });
  const llava = describeModel({
    model_type: 'llava',
    text_config: { model_type: 'llama', vocab_size: 32064 },
  });
  const hybrid = describeModel({
    model_type: 'qwen3_5',
    text_config: { model_type: 'qwen3_5_text', hidden_size: 1024, layer_types: undefined },
  });
  expect([hybrid.blocks, hybrid.vocabulary, hybrid.headDim, hybrid.sizes[3], hybrid.sizes[4]]).toEqual([
    ...[32, 248320, 256],
    { heads: 16, kvHeads: 4, ffn: 12288 },
    { heads: 32, kvHeads: 16, ffn: 12288, keyDim: 128, valueDim: 128 },
  ]);
  const { rope_theta: _, ...voxtral } = LLAMA;
  expect(describeModel({ model_type: 'voxtral', text_config: voxtral }).headDim).toBe(128);
  expect([llava.hidden, llava.blocks, llava.sizes[0].ffn, llava.vocabulary]).toEqual([
    4096, 32, 11008, 32064,
  ]);
});

test('heads of Qwen2-VL and GLM-4.1V cannot be said, others can', () => {
  const fewer = (model_type: string, own: Config) => {
    const model = describeModel({ model_type, text_config: own });
    return model.configOf(model.sizes.map((size) => ({ ...size, heads: 2, kvHeads: 1 }))).record;
  };
  expect(fewer('qwen2_vl', QWEN2)).toBeDefined();
  expect(fewer('glm4v', { ...GLM4, model_type: 'glm4v_text' })).toBeDefined();
  expect(fewer('qwen3_vl', QWEN3)).toBeUndefined();
  expect(fewer('qwen2_audio', QWEN2)).toBeUndefined();
});

test.each<[Config, string]>([
  [{ model_type: 'llava', text_config: { model_type: 'opt' } }, '"llava": text_config of model_type "opt"'],
  [
    { model_type: 'smolvlm', tie_word_embeddings: true, text_config: LLAMA },
    '"smolvlm": tie_word_embeddings true, and false in text_config',
  ],
])('%#: what is not known is refused: %s', (config, message) => {
  expect(() => describeModel(config)).toThrow(UnsupportedModelError);
  expect(() => describeModel(config)).toThrow(message);
});
