// What config.json may say, and what is refused.

import { describe, expect, test } from 'vitest';
import type { Config } from '../../src/checkpoint/architectures/index.ts';
import { InputError, UnsupportedModelError } from '../../src/errors.ts';
import { describe as describeModel } from '../support/describe.ts';
import { emptyPast } from './generate.ts';
import { ids, maxDifference, open, runOnce, sourceOf, type Weights } from './source.ts';
import {
  AFMOE,
  BLOOM,
  COHERE,
  FALCON,
  FALCON_H1,
  GEMMA2,
  GPT_NEO,
  GPT2,
  GPTJ,
  JAIS,
  LFM2,
  LLAMA,
  LLAMA4,
  MIXTRAL,
  MOBILELLM,
  MODERNBERT_DECODER,
  MPT,
  NEMOTRON_H,
  NEOX,
  OLMO_HYBRID,
  OPENELM,
  OPT,
  PHI,
  PHI3,
  QWEN2_MOE,
  QWEN3_5,
  tinyWeights,
  VARIANTS,
} from './tiny.ts';

const OPT_125M: Config = {
  model_type: 'opt',
  hidden_size: 768,
  ffn_dim: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  vocab_size: 50272,
  max_position_embeddings: 2048,
  word_embed_proj_dim: 768,
  activation_function: 'relu',
};

function published(
  model_type: string,
  hidden_size: number,
  intermediate_size: number,
  num_hidden_layers: number,
  num_attention_heads: number,
  vocab_size: number,
  more: Config,
): Config {
  const sizes = { hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, vocab_size };
  return { model_type, ...sizes, max_position_embeddings: 4096, ...more };
}

const SMOLLM3 = { ...LLAMA, model_type: 'smollm3', no_rope_layer_interval: 2 };
const EXAONE4 = { ...LLAMA, model_type: 'exaone4', sliding_window_pattern: 2 };
const QWEN3 = { ...LLAMA, model_type: 'qwen3', head_dim: 8 };

const LONG_PHIMOE = VARIANTS['phimoe, longrope, no biases'].config;

describe('describe', () => {
  test('gives the sizes of the model', () => {
    const { architecture, blocks, hidden, vocabulary, maxPositions, headDim, sizes } = describeModel(LLAMA);
    expect({ architecture, blocks, hidden, vocabulary, maxPositions, headDim }).toEqual({
      architecture: 'llama',
      blocks: 2,
      hidden: 32,
      vocabulary: 40,
      maxPositions: 32,
      headDim: 8,
    });
    expect(sizes[1]).toEqual({ heads: 4, kvHeads: 2, ffn: 20 });
  });

  test('knows the defaults of each model type', () => {
    expect(describeModel({ ...QWEN3, head_dim: null }).headDim).toBe(128);
    expect(describeModel({ ...LLAMA, num_key_value_heads: null }).sizes[0].kvHeads).toBe(4);
    const mistral = {
      ...LLAMA,
      model_type: 'mistral',
      num_attention_heads: 16,
      num_key_value_heads: undefined,
    };
    expect(describeModel(mistral).sizes[0].kvHeads).toBe(8);
    expect(describeModel({ ...GPT2, n_inner: undefined }).sizes[0].ffn).toBe(128);
    const many = { ...LLAMA, hidden_size: 256, num_attention_heads: 32, num_key_value_heads: undefined };
    expect(describeModel({ ...many, model_type: 'stablelm' }).sizes[0].kvHeads).toBe(32);
    expect(describeModel({ ...many, model_type: 'starcoder2' }).sizes[0].kvHeads).toBe(2);
    expect(describeModel({ ...many, model_type: 'olmo2' }).sizes[0].kvHeads).toBe(32);
    expect(describeModel({ ...many, model_type: 'glm' }).sizes[0].kvHeads).toBe(2);
    expect(describeModel({ ...many, model_type: 'seed_oss' }).headDim).toBe(128);
    expect(describeModel(FALCON).sizes[0].kvHeads).toBe(1);
    expect(describeModel({ ...FALCON, new_decoder_architecture: true }).sizes[0].kvHeads).toBe(4);
    const { hidden_size, num_attention_heads, num_hidden_layers, ...falcon } = FALCON;
    const former = { ...falcon, n_embed: 32, n_head: 4, n_layer: 2 };
    expect(describeModel(former)).toMatchObject({ hidden: 32, headDim: 8, blocks: 2, maxPositions: 2048 });
  });

  test.each<[string, Config, string]>([
    [
      'a model type',
      { ...LLAMA, model_type: 'rwkv' },
      'model_type "rwkv" is not supported (docs/language-models.md of this package says which are; if it is one of these by another name, "model_type" has to say so); as an ONNX file',
    ],
    [
      'a slip in a model type',
      { ...LLAMA, model_type: 'qwen-2' },
      'model_type "qwen-2" is not supported (is "qwen2" meant?); as an ONNX file',
    ],
    [
      'a model type as long as the file',
      { ...LLAMA, model_type: 'o'.repeat(1_000_000) },
      ' is not supported (docs/language-models.md of this package says which are',
    ],
    [
      'an architecture as long as the file',
      { ...LLAMA, model_type: 'rwkv', architectures: [`${'ForA'.repeat(250_000)}!`] },
      'model_type "rwkv" is not supported (docs/language-models.md of this package says which are',
    ],
    [
      'a network of convolutions',
      { ...LLAMA, model_type: 'resnet' },
      'model_type "resnet" is not supported (there are no networks of convolutions, nor of stages that become smaller); as an ONNX file it is pruned as any graph: optimum-cli export onnx --model FOLDER exported/, and prune the .onnx file in exported/',
    ],
    [
      'an encoder of images beside a decoder',
      { model_type: 'vision-encoder-decoder', encoder: { model_type: 'donut-swin' } },
      '"vision-encoder-decoder": an encoder of model_type "donut-swin"',
    ],
    [
      'a name of its own for a model with Llama\u2019s code',
      { ...LLAMA, model_type: 'house', architectures: ['LlamaForCausalLM'] },
      'model_type "house" is not supported (if it is a "llama", as "LlamaForCausalLM" says, "model_type" has to say so); as an',
    ],
    [
      'a name of its own for a model with GPT-NeoX\u2019s code',
      { ...NEOX, model_type: 'house', architectures: ['GPTNeoXForCausalLM'] },
      '(if it is a "gpt_neox", as "GPTNeoXForCausalLM" says,',
    ],
    [
      'what has keys and values of other blocks',
      { ...LLAMA, model_type: 'gemma4' },
      'model_type "gemma4" is not supported (there are no embeddings in each block, nor keys and values that blocks share); as an ONNX file',
    ],
    [
      'what is called nearly as another',
      { ...LLAMA, model_type: 'gemma3n_text' },
      'model_type "gemma3n_text" is not supported (there are no several streams of features (AltUp), and embeddings in each block); as an',
    ],
    [
      'a name that objects have',
      { ...LLAMA, model_type: 'constructor' },
      'model_type "constructor" is not supported (docs/language-models.md of this',
    ],
    [
      'state spaces',
      { ...LLAMA, model_type: 'mamba' },
      'model_type "mamba" is not supported (there are no state spaces of Mamba 1',
    ],
    [
      'what timm writes',
      { architecture: 'vit_base_patch16_224', pretrained_cfg: {} },
      'models of timm ("vit_base_patch16_224") are not supported as folders; as an ONNX file',
    ],
    [
      'what diffusers writes',
      { _class_name: 'UNet2DConditionModel' },
      'models of diffusers ("UNet2DConditionModel") are not supported as folders; as an ONNX file',
    ],
    [
      'an activation',
      { ...OPT, activation_function: 'mish' },
      '"opt": the activation "mish" is not supported',
    ],
    ['a scaling', { ...LLAMA, rope_scaling: { type: 'mrope' } }, 'rope_type "mrope" is not supported'],
    ['a list of scalings', { ...LLAMA, rope_scaling: { type: ['linear'] } }, 'rope_type ["linear"] is not'],
    [
      'positions of their own for some layers',
      { ...QWEN3, rope_parameters: { full_attention: { rope_theta: 100 } } },
      'rope settings for layers of type "full_attention"',
    ],
    [
      'attention to what comes later',
      { ...GEMMA2, use_bidirectional_attention: true },
      '"gemma2": tokens that see those behind them (use_bidirectional_attention)',
    ],
    [
      'attention to what comes later, within a window',
      { ...LLAMA, model_type: 'mistral', is_causal: false },
      '"mistral": is_causal false beside windows',
    ],
    [
      'convolutions of what comes later',
      { ...LFM2, is_causal: false },
      '"lfm2": is_causal false beside short convolutions',
    ],
    [
      'convolutions alone',
      { ...LFM2, layer_types: ['conv', 'conv'] },
      '"lfm2": layer_types other than a list of full_attention and conv',
    ],
    [
      'delta rules of what comes later',
      { ...QWEN3_5, is_causal: false },
      '"qwen3_5_text": is_causal false beside delta rules',
    ],
    [
      'blocks of another kind beside delta rules',
      { ...QWEN3_5, layer_types: ['linear_attention', 'sliding_attention'] },
      '"qwen3_5_text": layer_types other than a list of full_attention and linear_attention',
    ],
    ['slopes on both sides', { ...BLOOM, is_causal: false }, '"bloom": is_causal false beside ALiBi'],
    [
      'features behind a projection',
      { ...OPT, word_embed_proj_dim: 12, is_causal: false },
      '"opt": is_causal false beside a projection behind the blocks',
    ],
    ['norms of queries', { ...PHI, qk_layernorm: true }, '"phi": qk_layernorm'],
    [
      'mamba',
      { ...VARIANTS['granitemoehybrid without positions'].config, layer_types: ['attention', 'conv'] },
      '"granitemoehybrid": layer_types other than a list of attention and mamba',
    ],
    [
      'gates of another activation',
      { ...VARIANTS['granitemoehybrid, state spaces'].config, hidden_act: 'gelu' },
      '"granitemoehybrid": hidden_act other than "silu"',
    ],
    [
      'gates of another activation',
      { ...FALCON_H1, hidden_act: 'gelu' },
      '"falcon_h1": hidden_act other than "silu"',
    ],
    [
      'state spaces of what comes later',
      { ...FALCON_H1, is_causal: false },
      '"falcon_h1": is_causal false beside delta rules',
    ],
    ...(
      [
        [{ attention_bias: true }, 'attention_bias'],
        [{ mamba_hidden_act: 'relu' }, 'mamba_hidden_act other than "silu"'],
        [{ layers_block_type: ['mamba', 'conv'] }, 'blocks other than mamba, attention, mlp, moe by'],
        [{ layers_block_type: undefined }, 'blocks other than mamba, attention, mlp, moe by'],
        [{ layers_block_type: ['moe', 'mlp'], moe_latent_size: 8 }, 'moe_latent_size'],
        [{ layers_block_type: ['moe', 'mlp'], mlp_bias: true }, 'mlp_bias beside experts'],
      ] as const
    ).map(([fields, message]): [string, Config, string] => [
      `of Nemotron-H ${JSON.stringify(fields)}`,
      { ...NEMOTRON_H, ...fields },
      `"nemotron_h": ${message}`,
    ]),
    ...(
      [
        [{ rope_parameters: null }, 'rope_parameters without a rope_theta, or one that is null'],
        [{ rope_parameters: undefined }, 'rope_parameters without a rope_theta, or one that is null'],
        [{ layer_types: ['linear_attention', 'mamba'] }, 'layer_types other than a list of full_attention'],
        [{ hidden_act: 'gelu' }, 'hidden_act other than "silu"'],
        [{ is_causal: false }, 'is_causal false beside delta rules'],
      ] as const
    ).map(([fields, message]): [string, Config, string] => [
      `of OLMo Hybrid ${JSON.stringify(fields)}`,
      { ...OLMO_HYBRID, ...fields },
      `"olmo_hybrid": ${message}`,
    ]),
    [
      'three experts, one after the other',
      { ...VARIANTS.phimoe.config, num_experts_per_tok: 3 },
      '"phimoe": num_experts_per_tok other than 2',
    ],
    [
      'another factor of positions in long texts',
      { ...LONG_PHIMOE, rope_scaling: { ...(LONG_PHIMOE.rope_scaling as object), long_mscale: 1.3 } },
      '"phimoe": short_mscale 1.2 beside long_mscale 1.3',
    ],
    [
      'shares that transformers leaves as they are',
      { ...VARIANTS['deepseek_v2, one map of queries'].config, norm_topk_prob: true },
      '"deepseek_v2": norm_topk_prob',
    ],
    [
      'groups of latent heads',
      { ...VARIANTS.deepseek_v3.config, num_key_value_heads: 2 },
      '"deepseek_v3": num_key_value_heads other than the 4 heads',
    ],
    [
      'groups of latent heads beside an MLP',
      { ...VARIANTS.youtu.config, num_key_value_heads: 2 },
      '"youtu": num_key_value_heads other than the 4 heads',
    ],
    ['shares of a softmax', { ...AFMOE, score_func: 'softmax' }, '"afmoe": score_func "softmax"'],
    ['shares as they are', { ...AFMOE, route_norm: false }, '"afmoe": route_norm false'],
    [
      'blocks that are passed twice',
      { ...MOBILELLM, layer_sharing: true },
      '"mobilellm": blocks that are passed twice (layer_sharing)',
    ],
    [
      'blocks of another kind beside pieces',
      { ...LLAMA4, layer_types: ['sliding_attention', 'full_attention'] },
      '"llama4_text": layer_types other than a list of full_attention and chunked_attention',
    ],
    [
      'pieces of what comes later',
      { ...LLAMA4, is_causal: false },
      '"llama4_text": is_causal false beside windows',
    ],
    ['MLPs without a gate', { ...OPENELM, ffn_with_glu: false }, '"openelm": ffn_with_glu false'],
    ['another activation', { ...JAIS, activation_function: 'gelu' }, '"jais": activation_function "gelu"'],
    [
      'learned positions',
      { ...JAIS, position_embedding_type: 'learned' },
      '"jais": position_embedding_type "learned"',
    ],
    [
      'slopes that are scaled',
      { ...JAIS, alibi_scaling: { type: 'linear', factor: 2 } },
      '"jais": alibi_scaling',
    ],
    [
      'windows of which releases differ',
      { ...MODERNBERT_DECODER, layer_types: null },
      '"modernbert-decoder": windows without layer_types',
    ],
    [
      'classes behind maps of their own',
      { ...MODERNBERT_DECODER, architectures: ['ModernBertDecoderForSequenceClassification'] },
      '"modernbert-decoder": "ModernBertDecoderForSequenceClassification" with maps behind the blocks',
    ],
    ['the first ChatGLM', { ...LLAMA, model_type: 'chatglm' }, '"chatglm": the first ChatGLM-6B'],
    ['norms of each head', { ...COHERE, model_type: 'cohere2', use_qk_norm: true }, '"cohere2": use_qk_norm'],
    ['rotation of what is no head', { ...GPTJ, rotary_dim: null }, '"gptj": rotary_dim null'],
    ['more rotation than a head has', { ...GPTJ, rotary_dim: 10 }, 'rotary positions over 10 of 8 features'],
    [
      'partial rotation',
      { ...LLAMA, rope_parameters: { partial_rotary_factor: 0.5 } },
      '4 of 8 features are rotary',
    ],
    [
      'partial rotation',
      { ...COHERE, rope_parameters: { partial_rotary_factor: 0.5 } },
      '"cohere": partial_rotary_factor: 4 of 8 features are rotary',
    ],
    ['odd rotations', { ...NEOX, rotary_pct: 0.4 }, 'rotary positions over 3 of 8 features'],
    ['cross attention', { ...GPT2, add_cross_attention: true }, '"gpt2": cross attention'],
    [
      'a shortcut behind the norm',
      { ...BLOOM, apply_residual_connection_post_layernorm: true },
      '"bloom": apply_residual_connection_post_layernorm',
    ],
    [
      'learned positions',
      { ...MPT, attn_config: { alibi: false } },
      '"mpt": learned positions (alibi false)',
    ],
    [
      'attention of one head of keys',
      { ...MPT, attn_config: { attn_type: 'multiquery_attention' } },
      '"mpt": attn_type "multiquery_attention"',
    ],
    ['norms of queries', { ...MPT, attn_config: { qk_ln: true } }, '"mpt": qk_ln'],
    ['biases', { ...MPT, no_bias: false }, '"mpt": biases (no_bias false)'],
    [
      'quantised weights',
      { ...OPT, quantization_config: { bits: 4 } },
      'quantised checkpoints are not supported: give the folder of floats that this one was made of; quantise what',
    ],
    [
      'quantised weights that transformers can make floats of',
      { ...VARIANTS.gpt_oss.config, quantization_config: { quant_method: 'mxfp4' } },
      'not supported ("mxfp4"): give the folder of floats that this one was made of, or where there is none what transformers saves (save_pretrained): it loads it with quantization_config=Mxfp4Config(dequantize=True); quantise',
    ],
    [
      'weights that MLX has quantised',
      { ...LLAMA, quantization: { bits: 4, group_size: 64 } },
      'quantised checkpoints are not supported: give the folder of floats',
    ],
    [
      'windows of which releases differ',
      { ...QWEN2_MOE, use_sliding_window: true },
      'model_type "qwen2_moe": use_sliding_window without layer_types',
    ],
  ])('refuses %s that is not supported, by name', (_, config, message) => {
    expect(() => describeModel(config)).toThrow(UnsupportedModelError);
    expect(() => describeModel(config)).toThrow(message);
  });

  test.each<[string, Config, string]>([
    ['no model type', {}, '"model_type" is missing; add it as what the model is, such as "llama"'],
    [
      'a missing size',
      { ...OPT, ffn_dim: undefined },
      '"ffn_dim" is missing: expected an integer of at least 1',
    ],
    ['a size that is none', { ...LLAMA, hidden_size: 2 ** 53 }, '"hidden_size" expected an integer'],
    [
      'a size beyond all numbers, as 1e400 in JSON is read',
      { ...LLAMA, hidden_size: Infinity },
      '"hidden_size" expected an integer of at most 2147483647, got Infinity',
    ],
    [
      'a size that is no primitive value',
      { ...LLAMA, hidden_size: { toString: 1 } },
      '"hidden_size" expected an integer of at least 1, got {"toString":1}',
    ],
    [
      'attention of a kind that is not known',
      { ...GEMMA2, layer_types: ['linear_attention', 'full_attention'] },
      '"layer_types" expected "full_attention" or "sliding_attention" for each block, got "linear_attention" for block 0',
    ],
    ['kinds of attention for some blocks', { ...GEMMA2, layer_types: [] }, 'got none for block 0'],
    ['kinds of attention that are no list', { ...GEMMA2, layer_types: {} }, 'got {} for block 0'],
    [
      'a string for a number',
      { ...GPT2, n_head: '4' },
      '"n_head" expected an integer of at least 1, got "4"',
    ],
    ['a number for a flag', { ...OPT, enable_bias: 1 }, '"enable_bias" expected true or false, got 1'],
    ['a list for an object', { ...LLAMA, rope_scaling: [] }, '"rope_scaling" expected an object, got []'],
    [
      'a missing factor',
      { ...LLAMA, rope_scaling: { type: 'linear' } },
      '"factor" is missing: expected a positive number',
    ],
    [
      'factors of other pairs',
      { ...PHI3, rope_scaling: { type: 'longrope', short_factor: [1, 2], long_factor: [1, 2] } },
      '"short_factor" expected a list of 4 positive numbers, got [1,2]',
    ],
    [
      'heads that do not divide',
      { ...OPT, num_attention_heads: 5 },
      '32 features cannot be shared out to 5 heads',
    ],
    [
      'groups that do not divide',
      { ...LLAMA, num_key_value_heads: 3 },
      '4 heads cannot share 3 key-value heads',
    ],
    [
      'kinds of other blocks',
      { ...GPT_NEO, attention_types: [[['global', 'local'], 2]] },
      '"attention_types" expected "global" or "local" for each of 2 blocks, got [[["global","local"],2]]',
    ],
    [
      'kinds of blocks left out',
      { ...GPT_NEO, attention_types: undefined },
      '"attention_types" expected "global" or "local" for each of 2 blocks, got undefined',
    ],
    [
      'a kind of block that is none',
      { ...GPT_NEO, attention_layers: ['global', 'near'] },
      '"attention_layers" expected "global" or "local" for each of 2 blocks, got ["global","near"]',
    ],
    [
      'more experts for a token than there are',
      { ...MIXTRAL, num_experts_per_tok: 5 },
      '"num_experts_per_tok" expected at most the 4 experts, got 5',
    ],
    [
      'groups that experts are not shared out to',
      { ...VARIANTS.deepseek_v3.config, n_group: 4 },
      '"n_group" expected to divide the 6 experts into at least topk_group, 2, got 4',
    ],
    [
      'absurdly many experts',
      { ...MIXTRAL, num_local_experts: 2 ** 31 - 1 },
      'at most 100000 experts expected in all blocks',
    ],
    [
      'a missing size of experts',
      { ...QWEN2_MOE, moe_intermediate_size: undefined },
      '"moe_intermediate_size" is missing',
    ],
    [
      'blocks without experts that are none',
      { ...QWEN2_MOE, mlp_only_layers: [0, 2] },
      '"mlp_only_layers" expected numbers of blocks below 2, got [0,2]',
    ],
    ['absurdly many blocks', { ...OPT, num_hidden_layers: 1001 }, 'at most 1000 blocks expected'],
  ])('says what is wrong: %s', (_, config, message) => {
    expect(() => describeModel(config)).toThrow(InputError);
    expect(() => describeModel(config)).toThrow(message);
  });

  test.each<[string, Config, number, boolean, boolean]>([
    ['opt', OPT, 0, true, true],
    ['rotary positions', LLAMA, 0, false, true],
    ['rotary positions on a part of a head', NEOX, 0, false, true],
    ['a block without positions', SMOLLM3, 1, true, true],
    ['norms of all queries', { ...LLAMA, model_type: 'olmo2' }, 0, false, true],
    ['norms of queries without positions', { ...EXAONE4, sliding_window: 4 }, 1, false, true],
    ['bounds', { ...MPT, attn_config: { clip_qkv: 2 } }, 0, false, false],
  ])('knows which features of heads can be fewer: %s', (_, config, i, keys, values) => {
    const model = describeModel(config);
    expect([model.keysCanNarrow(i), model.valuesCanNarrow(i)]).toEqual([keys, values]);
    for (const [key, can] of Object.entries({ keyDim: keys, valueDim: values })) {
      const blocks = model.sizes.map((size, at) => (at === i ? { ...size, [key]: 7 } : size));
      const open = () => describeModel(config, { blocks });
      if (can) expect(open().sizes[i]).toEqual(blocks[i]);
      else expect(open).toThrow(new RegExp(`^osscar.json: block ${i}: "${key}" expected 8, as .*, got 7$`));
    }
  });

  test('takes any number of heads that share the last key-value head, as what is pruned again has', () => {
    const [block] = describeModel(LLAMA).sizes;
    const blocks = [{ ...block, heads: 1, kvHeads: 1 }, block];
    expect(describeModel(LLAMA, { blocks }).sizes).toEqual(blocks);
    const uneven = { blocks: [block, { ...block, heads: 2 }] };
    expect(() => describeModel(LLAMA, uneven)).toThrow('2 heads cannot share 2 key-value heads');
  });

  test('takes no features of heads that cannot be', () => {
    const open = (size: object) => () =>
      describeModel(OPT, {
        blocks: [{ heads: 4, kvHeads: 4, ffn: 3, ...size }, describeModel(OPT).sizes[1]],
      });
    for (const key of ['keyDim', 'valueDim']) {
      const where = `osscar.json: block 0: "${key}" expected`;
      expect(open({ [key]: 0 })).toThrow(`${where} a positive integer, got 0`);
      expect(open({ [key]: 2.5 })).toThrow(`${where} a positive integer, got 2.5`);
      expect(open({ [key]: null })).toThrow(`${where} a positive integer, got null`);
      expect(open({ [key]: 9 })).toThrow(`${where} at most 8, as in config.json, got 9`);
    }
  });

  test('checks osscar.json', () => {
    const block = { heads: 4, kvHeads: 4, ffn: 3 };
    expect(() => describeModel(OPT, { blocks: [block] })).toThrow(
      'osscar.json: "blocks" expected the sizes of 2',
    );
    expect(() => describeModel(OPT, {} as never)).toThrow('osscar.json: "blocks" expected the sizes of 2');
    expect(() => describeModel(OPT, { blocks: [block, null] } as never)).toThrow('block 1: "heads" expected');
    expect(() => describeModel(OPT, { blocks: [block, { ...block, ffn: 2 ** 31 }] })).toThrow(
      /^osscar.json: block 1: "ffn" expected at most \d+, as in config.json, got 2147483648$/,
    );
    expect(() => describeModel(NEOX, { blocks: [block, { ...block, kvHeads: 2 }] })).toThrow(
      'osscar.json: block 1: 4 heads cannot share 2 key-value heads',
    );
  });
});

// What config.json of published models says, and how many parameters their model cards and weights have.
test.each<[string, number, Config]>([
  ['opt-125m', 125_239_296, OPT_125M],
  [
    'SmolLM3-3B',
    3_075_098_624,
    published('smollm3', 2048, 11008, 36, 16, 128256, { num_key_value_heads: 4 }),
  ],
  [
    'granite-3.1-2b',
    2_533_531_648,
    published('granite', 2048, 8192, 40, 32, 49155, { num_key_value_heads: 8, tie_word_embeddings: true }),
  ],
  [
    'Phi-4-mini',
    3_836_021_760,
    published('phi3', 3072, 8192, 32, 24, 200064, { num_key_value_heads: 8, tie_word_embeddings: true }),
  ],
  [
    'LFM2-1.2B',
    1_170_340_608,
    published('lfm2', 2048, 12288, 16, 32, 65536, {
      num_key_value_heads: 8,
      full_attn_idxs: [2, 5, 8, 10, 12, 14],
    }),
  ],
  [
    'LFM2-8B-A1B', // with 704 corrections, which are no parameters in PyTorch
    8_339_929_856 + 704,
    published('lfm2_moe', 2048, 7168, 24, 32, 65536, {
      num_key_value_heads: 8,
      moe_intermediate_size: 1792,
      layer_types: Array.from({ length: 24 }, (_, i) =>
        [2, 6, 10, 14, 18, 21].includes(i) ? 'full_attention' : 'conv',
      ),
    }),
  ],
  ['phi-2', 2_779_683_840, published('phi', 2560, 10240, 32, 32, 51200, {})],
  [
    'gemma-2-2b',
    2_614_341_888,
    published('gemma2', 2304, 9216, 26, 8, 256000, { num_key_value_heads: 4, head_dim: 256 }),
  ],
  [
    'gemma-3-1b',
    999_885_952,
    published('gemma3_text', 1152, 6912, 26, 4, 262144, { num_key_value_heads: 1, head_dim: 256 }),
  ],
  [
    'gpt-neo-125m',
    125_198_592,
    published('gpt_neo', 768, 3072, 12, 12, 50257, {
      num_heads: 12,
      num_layers: 12,
      max_position_embeddings: 2048,
      attention_types: [[['global', 'local'], 6]],
    }),
  ],
  [
    'falcon-rw-1b',
    1_311_625_216,
    published('falcon', 2048, 8192, 24, 32, 50304, {
      ...{ alibi: true, bias: true, multi_query: false, parallel_attn: false },
    }),
  ],
  [
    'codegen-350M-mono',
    356_712_448,
    {
      ...{ model_type: 'codegen', n_embd: 1024, n_head: 16, n_layer: 20, n_positions: 2048 },
      ...{ rotary_dim: 32, vocab_size: 51200 },
    },
  ],
  ['OLMo-1B', 1_176_764_416, published('olmo', 2048, 8192, 16, 16, 50304, { tie_word_embeddings: true })],
  ['OLMo-2-0425-1B', 1_484_916_736, published('olmo2', 2048, 8192, 16, 16, 100352, {})],
  [
    'stablelm-2-1_6b',
    1_644_515_328,
    published('stablelm', 2048, 5632, 24, 32, 100352, { use_qkv_bias: true }),
  ],
  ['starcoder2-3b', 3_030_371_328, published('starcoder2', 3072, 12288, 30, 24, 49152, {})],
  [
    'gpt-j-6B',
    6_050_882_784,
    {
      model_type: 'gptj',
      n_embd: 4096,
      n_head: 16,
      n_layer: 28,
      n_positions: 2048,
      rotary_dim: 64,
      vocab_size: 50400,
    },
  ],
  [
    'c4ai-command-r7b-12-2024',
    8_028_033_024,
    published('cohere2', 4096, 14336, 32, 32, 256000, { num_key_value_heads: 8 }),
  ],
  [
    'DeepSeek-V2-Lite',
    15_706_484_224,
    published('deepseek_v2', 2048, 10944, 27, 16, 102400, {
      q_lora_rank: null,
      moe_intermediate_size: 1408,
      first_k_dense_replace: 1,
    }),
  ],
  [
    'gpt-oss-20b',
    20_914_757_184,
    published('gpt_oss', 2880, 2880, 24, 64, 201088, { num_local_experts: 32 }),
  ],
  [
    'Phi-3.5-MoE',
    41_873_153_344,
    published('phimoe', 4096, 6400, 32, 32, 32064, {
      num_key_value_heads: 8,
      attention_bias: true,
      lm_head_bias: true,
    }),
  ],
  [
    'ERNIE-4.5-21B-A3B',
    21_825_437_888,
    published('ernie4_5_moe', 2560, 12288, 28, 20, 103424, { moe_intermediate_size: 1536 }),
  ],
  [
    'granite-3.1-3b-a800m',
    3_298_793_472,
    published('granitemoe', 1536, 512, 32, 24, 49155, {
      num_key_value_heads: 8,
      num_local_experts: 40,
      num_experts_per_tok: 8,
      tie_word_embeddings: true,
    }),
  ],
  [
    'chatglm3-6b',
    6_243_584_000,
    {
      ...{ model_type: 'chatglm', hidden_size: 4096, ffn_hidden_size: 13696, num_layers: 28 },
      ...{ num_attention_heads: 32, kv_channels: 128, seq_length: 8192, padded_vocab_size: 65024 },
      ...{
        multi_query_attention: true,
        multi_query_group_num: 2,
        add_bias_linear: false,
        add_qkv_bias: true,
      },
    },
  ],
  ['Baichuan2-7B', 7_505_973_248, published('baichuan', 4096, 11008, 32, 32, 125696, { z_loss_weight: 0 })],
  [
    'Apertus-8B',
    8_053_338_176,
    published('apertus', 4096, 21504, 32, 32, 131072, { num_key_value_heads: 8 }),
  ],
  [
    'albert-base-v2, without its pooler',
    11_683_584 - 768 * 769,
    published('albert', 768, 3072, 12, 12, 30000, { max_position_embeddings: 512 }),
  ],
  ['ModernBERT-base', 149_014_272, published('modernbert', 768, 1152, 22, 12, 50368, {})],
])('%s has %i parameters', (_, parameters, config) => {
  const shapes = [...describeModel(config).tensors({ tensors: new Map() }).values()].map(
    ({ shape }) => shape,
  );
  expect(shapes.map((shape) => shape.reduce((a, b) => a * b)).reduce((a, b) => a + b)).toBe(parameters);
});

describe('check', () => {
  const check = (config: Config, edit: (weights: Weights) => void) => {
    const model = describeModel(config);
    const weights = tinyWeights(config, model.sizes);
    edit(weights);
    return () => model.check(sourceOf(weights));
  };
  const zeros = (...shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });

  test('names a tensor of another shape, with both shapes', () => {
    const edit = (weights: Weights) => weights.set('model.layers.1.mlp.down_proj.weight', zeros(32, 21));
    expect(check(LLAMA, edit)).toThrow(InputError);
    expect(check(LLAMA, edit)).toThrow(
      'tensor "model.layers.1.mlp.down_proj.weight" expected [32,20], got [32,21]',
    );
  });

  test('names a missing tensor', () => {
    expect(check(GPT2, (weights) => weights.delete('transformer.ln_f.bias'))).toThrow(
      'tensor "transformer.ln_f.bias" expected [32], got none',
    );
    expect(check(GPT2, (weights) => weights.clear())).toThrow(
      '"transformer.wte.weight" expected [40,32], got none',
    );
  });

  test('names a language model that was made one that answers with parts of texts', () => {
    const name = 'GPT2ForQuestionAnswering';
    expect(check({ ...GPT2, architectures: [name] }, () => undefined)).toThrow(
      new UnsupportedModelError(
        `config.json: "${name}" gives other scores than those of the vocabulary; of gpt2 models with these are supported (…ForCausalLM)`,
      ),
    );
  });

  test('names a language model that is there without its scores', () => {
    const config = { ...LLAMA, architectures: ['LlamaModel'] };
    expect(check(config, (weights) => weights.delete('lm_head.weight'))).toThrow(
      new UnsupportedModelError(
        'config.json: "LlamaModel" gives features, and there is no "lm_head.weight"; of llama models with scores are supported (…ForCausalLM)',
      ),
    );
  });

  test('names weights that are no floating-point numbers', () => {
    const name = 'model.layers.1.mlp.up_proj.weight';
    const model = describeModel(LLAMA);
    const tensors = new Map(tinyWeights(LLAMA, model.sizes)).set(name, {
      ...zeros(20, 32),
      dtype: 'int8',
      file: 'model.safetensors',
    } as never);
    expect(() => model.check({ tensors })).toThrow(
      new UnsupportedModelError(
        `model.safetensors: tensor "${name}" has type int8; expected float32, float16 or bfloat16`,
      ),
    );
  });

  test('names weights that config.json knows nothing of', () => {
    const bias = 'model.layers.0.self_attn.q_proj.bias';
    expect(check(LLAMA, (weights) => weights.set(bias, zeros(32)))).toThrow(
      `tensor "${bias}" has no place in the model that config.json describes (llama, 2 blocks)`,
    );
    const third = 'gpt_neox.layers.2.input_layernorm.weight';
    expect(check(NEOX, (weights) => weights.set(third, zeros(32)))).toThrow(`tensor "${third}" has no place`);
  });

  test('passes over old masks and frequencies, and the copy of tied weights', () => {
    check(OPT, (weights) => weights.set('lm_head.weight', zeros(40, 32)))();
    check(LLAMA, (weights) => weights.set('model.layers.0.self_attn.rotary_emb.inv_freq', zeros(4)))();
    check(NEOX, (weights) => weights.set('gpt_neox.layers.0.attention.masked_bias', zeros(1)))();
  });

  test('is not needed for a tensor of the wrong shape to be refused', async () => {
    const weights = tinyWeights(OPT, describeModel(OPT).sizes);
    weights.set('model.decoder.layers.0.fc1.weight', zeros(20, 31));
    await expect(describeModel(OPT).block(sourceOf(weights), 0, { length: 2 })).rejects.toThrow(
      '"model.decoder.layers.0.fc1.weight" expected [20,32], got [20,31]',
    );
  });
});

test.each<[string, Config, string, string]>([
  ['opt', OPT, 'model.decoder.', 'decoder.'],
  ['gpt2', GPT2, 'transformer.', ''],
])('%s: checkpoints of the bare model have shorter names', async (_, config, long, short) => {
  const model = describeModel(config);
  const weights = tinyWeights(config, model.sizes);
  const renamed: Weights = new Map([...weights].map(([name, tensor]) => [name.replace(long, short), tensor]));
  model.check(sourceOf(renamed));
  const feeds = { input_ids: ids([[1, 2, 3]]) };
  const a = await runOnce(await model.whole(sourceOf(weights)), feeds);
  const b = await runOnce(await model.whole(sourceOf(renamed)), feeds);
  expect(maxDifference(a.logits.data, b.logits.data)).toBe(0);
  const block = await model.block(sourceOf(renamed), 1, { length: 3 });
  for (const { name, data } of model.tensorsOf(1, block)) expect(data).toEqual(renamed.get(name)!.data);
});

describe('windows', () => {
  const sourceFor = (config: Config) => sourceOf(tinyWeights(config, describeModel(config).sizes));

  test('are no longer than learned positions', async () => {
    await expect(describeModel(OPT).embedding(sourceFor(OPT), { length: 33 })).rejects.toThrow(
      'opt: windows of 1 to 32 tokens expected, got 33',
    );
    await expect(describeModel(OPT).block(sourceFor(OPT), 0, { length: 0 })).rejects.toThrow('got 0');
    await expect(describeModel(LLAMA).block(sourceFor(LLAMA), 0, { length: 33 })).resolves.toBeDefined();
  });

  test('belong to a block that there is', async () => {
    await expect(describeModel(OPT).block(sourceFor(OPT), 2, { length: 3 })).rejects.toThrow(
      'block 2 expected below 2',
    );
  });
});

describe('whole', () => {
  test('with past key values has the inputs and outputs of optimum’s decoders', async () => {
    const model = describeModel(LLAMA);
    const session = await open(await model.whole(sourceOf(tinyWeights(LLAMA, model.sizes)), { past: true }));
    const kept = Object.keys(emptyPast(model));
    expect(session.inputs).toEqual(['input_ids', 'attention_mask', 'position_ids', ...kept]);
    expect(session.outputs).toEqual([
      'logits',
      ...kept.map((name) => name.replace('past_key_values', 'present')),
    ]);
    await session.release();
  });

  test('keeps tied embeddings as one tensor', async () => {
    const model = describeModel(OPT);
    const whole = await model.whole(sourceOf(tinyWeights(OPT, model.sizes)));
    const large = [...whole.tensors.values()].filter(({ dims }) => String([...dims].sort()) === '32,40');
    expect(large.map(({ name }) => name)).toEqual(['model.decoder.embed_tokens.weight']);
  });
});
