// Which transformers and transformers.js read a model, for the user.

import { isObject } from '../../expect.ts';
import type { Config } from './types.ts';

/** Of model types that the oldest release looked at (4.48) does not have: the first that does. */
const SINCE: Readonly<Record<string, string>> = {
  afmoe: '5',
  apertus: '4.56',
  arcee: '4.53',
  aya_vision: '4.50',
  cohere2_vision: '4.55',
  deepseek_v2: '4.54',
  deepseek_v3: '4.51',
  deepseek_vl: '4.54',
  dinov3_vit: '4.56',
  dots1: '4.53',
  ernie4_5: '4.54',
  ernie4_5_moe: '4.54',
  exaone4: '4.54',
  falcon_h1: '4.53',
  gemma3: '4.50',
  gemma3_text: '4.50',
  glm4: '4.51.3',
  glm4_moe: '4.54',
  glm4_moe_lite: '5',
  glm4v: '4.53',
  got_ocr2: '4.49',
  gpt_oss: '4.55',
  granite_speech: '4.52',
  granitemoehybrid: '4.53',
  granitemoeshared: '4.49',
  helium: '4.49',
  hunyuan_v1_dense: '4.56',
  internvl: '4.52',
  janus: '4.52',
  lfm2: '4.54',
  lfm2_moe: '4.57',
  lfm2_vl: '4.57',
  llama4: '4.51',
  llama4_text: '4.51',
  metaclip_2: '4.56',
  ministral: '4.57',
  ministral3: '5',
  mistral3: '4.50',
  mistral4: '5.4',
  'modernbert-decoder': '4.54',
  nanochat: '5',
  nemotron_h: '5.3',
  olmo3: '4.57',
  olmo_hybrid: '5.3',
  qwen2_5_vl: '4.49',
  qwen3: '4.51',
  qwen3_5: '5.2',
  qwen3_5_moe: '5.2',
  qwen3_5_moe_text: '5.2',
  qwen3_5_text: '5.2',
  qwen3_moe: '4.51',
  qwen3_next: '4.57',
  qwen3_vl: '4.57',
  qwen3_vl_moe: '4.57',
  seed_oss: '4.56',
  smollm3: '4.53',
  smolvlm: '4.50',
  solar_open: '5',
  vaultgemma: '4.57',
  voxtral: '4.54',
  youtu: '5.1',
};
const OLDEST = '4.48';

/** Those that come with code of their own. */
const WITH_CODE: readonly string[] = [
  'baichuan',
  'chatglm',
  'eurobert',
  'exaone',
  'gte',
  'internlm2',
  'internlm3',
  'internvl_chat',
  'jais',
  'kimi_vl',
  'minicpm',
  'mobilellm',
  'neobert',
  'new',
  'nomic_bert',
  'openelm',
  'phi3_v',
];

/** Decoders that transformers.js (4.3) has no class for. */
const UNKNOWN_IN_JS: readonly string[] = [
  'baichuan',
  'bamba',
  'biogpt',
  'chatglm',
  'deepseek_v2',
  'dots1',
  'encoder-decoder',
  'ernie4_5_moe',
  'exaone4',
  'glm4',
  'glm4_moe',
  'glm4_moe_lite',
  'granitemoe',
  'granitemoeshared',
  'internlm2',
  'internlm3',
  'mamba2',
  'minicpm',
  'mixtral',
  'nemotron',
  'olmoe',
  'openai-gpt',
  'pegasus',
  'phimoe',
  'plbart',
  'qwen3_5_moe_text',
  'qwen3_vl_moe_text',
  'seed_oss',
  'umt5',
  'xglm',
];

/** What it does where config.json does not list what blocks there are, which transformers can do without. @param known  what they are called */
export function unlistedInJs({ layer_types }: Config, known: readonly string[]): string | undefined {
  if (Array.isArray(layer_types)) return undefined;
  const names = known.map((type) => `"${type}"`).join(' and ');
  return `reads from "layer_types" what blocks there are, which this config.json has not: write it there, a list of ${names}`;
}

/** What transformers.js does with such a decoder, where it runs none. */
export function refusalOfJs(modelType: string): string | undefined {
  return UNKNOWN_IN_JS.includes(modelType) ? 'has no class for this model type' : undefined;
}

/** Undefined where it is the model's own code that reads it. @param since  what else is in it asks for */
export function firstRelease(config: Config, modelType: string, since = OLDEST): string | undefined {
  if (WITH_CODE.includes(modelType) || config.position_embedding_type === 'alibi') return undefined;
  if (config.is_causal === false) return '5';
  if (config.use_bidirectional_attention === true) return '4.57'; // EmbeddingGemma
  const { model_type: inner } = isObject(config.text_config) ? config.text_config : {};
  const all = [SINCE[modelType] ?? OLDEST, SINCE[String(inner)] ?? OLDEST, since];
  return all.sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
}
