// The kinds of models that are known: loaded with the first folder, and free of what describes other things, so that who has ONNX files alone does without.
// To add one, see docs/language-models.md.

import { isObject, said } from '../../expect.ts';
import { albert } from './albert.ts';
import { bart } from './bart.ts';
import { beit } from './beit.ts';
import { bert } from './bert.ts';
import { bloom } from './bloom.ts';
import { clip } from './clip.ts';
import { cohere } from './cohere.ts';
import { flag, unsupported } from './config.ts';
import { deberta } from './deberta.ts';
import { dinov3 } from './dinov3.ts';
import { distilbert } from './distilbert.ts';
import { esm } from './esm.ts';
import { isEncoder } from './facts.ts';
import { falcon } from './falcon.ts';
import { gemma } from './gemma.ts';
import { gptJ } from './gpt-j.ts';
import { gptNeo } from './gpt-neo.ts';
import { gptNeox } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { gte } from './gte.ts';
import { llama } from './llama.ts';
import { modernbert } from './modernbert.ts';
import { mpnet } from './mpnet.ts';
import { mpt } from './mpt.ts';
import { multimodal } from './multimodal.ts';
import { nemotron } from './nemotron.ts';
import { nomicBert } from './nomic-bert.ts';
import { olmo } from './olmo.ts';
import { opt } from './opt.ts';
import { phi } from './phi.ts';
import { stablelm } from './stablelm.ts';
import { starcoder2 } from './starcoder2.ts';
import { t5 } from './t5.ts';
import type { Architecture, Config, Description } from './types.ts';
import { vit } from './vit.ts';
import { wav2vec2 } from './wav2vec2.ts';
import { whisper } from './whisper.ts';

const ARCHITECTURES: readonly Architecture[] = [
  opt,
  llama,
  gemma,
  olmo,
  stablelm,
  starcoder2,
  cohere,
  gpt2,
  gptNeo,
  gptNeox,
  gptJ,
  phi,
  falcon,
  nemotron,
  bloom,
  mpt,
  multimodal,
  bert,
  albert,
  distilbert,
  mpnet,
  t5,
  bart,
  modernbert,
  nomicBert,
  gte,
  esm,
  deberta,
  vit,
  beit,
  dinov3,
  clip,
  whisper,
  wav2vec2,
];

export const MODEL_TYPES: readonly string[] = ARCHITECTURES.flatMap(({ modelTypes }) => modelTypes);

/** What is not there for others that people have, some of which are called nearly as these. */
export const MISSING: ReadonlyMap<string, string> = new Map([
  ['bamba', 'state spaces'],
  ['falcon_h1', 'state spaces'],
  ['falcon_mamba', 'state spaces'],
  ['gemma3n', 'several streams of features (AltUp), and embeddings in each block'],
  ['jamba', 'state spaces'],
  ['llama4', 'shares of what experts read, and attention within chunks'],
  ['mamba', 'state spaces'],
  ['mamba2', 'state spaces'],
  ['nemotron_h', 'state spaces'],
  ['qwen3_5', 'linear attention'],
  ['qwen3_5_moe', 'linear attention'],
  ['qwen3_next', 'linear attention'],
  ['zamba2', 'state spaces'],
]);

/** What a config.json says, if its model type is one of these. @param names  of the tensors */
export function descriptionOf(
  config: Config,
  modelType: string,
  names?: Iterable<string>,
): Description | undefined {
  const architecture = ARCHITECTURES.find(({ modelTypes }) => modelTypes.includes(modelType));
  if (!architecture) return undefined;
  const quantised = config.quantization_config ?? config.quantization; // the second is MLX's
  if (quantised != null) throw unsupported(modelType, quantisedHint(quantised));
  const own = architecture.describe(config, modelType, names);
  return flag(config, 'is_causal', true) ? own : seeingAll(own);
}

/** How transformers makes floats of what has them in another form, by `quant_method`. */
const DEQUANTISING: ReadonlyMap<unknown, string> = new Map([
  ['mxfp4', 'loads it with quantization_config=Mxfp4Config(dequantize=True)'],
  ['fp8', 'loads it with quantization_config=FineGrainedFP8Config(dequantize=True)'],
  ['bitsandbytes', 'has a method dequantize() of what it has loaded'],
]);

/** What to do about weights that are no floats. */
function quantisedHint(quantised: unknown): string {
  const { quant_method: method } = isObject(quantised) ? quantised : {};
  const named = typeof method === 'string' ? ` (${said(method)})` : '';
  const how = DEQUANTISING.get(method);
  return (
    `quantised checkpoints are not supported${named}: give the folder of floats that this one was made of` +
    `${how ? `, or where there is none what transformers saves (save_pretrained): it ${how}` : ''}; quantise what comes of it`
  );
}

/** What transformers makes of a decoder where `is_causal` is false, as embeddings are trained: tokens see those behind them, and it gives features. */
function seeingAll(description: Description): Description {
  const { head, modelType, blocks, block } = description;
  if (isEncoder(head)) return description;
  const all = Array.from({ length: blocks }, (_, i) => block(i));
  const attentions = all.map(({ attention }) => attention);
  const other =
    (head.project && 'a projection behind the blocks') ||
    (all.some(({ short }) => short) && 'short convolutions') ||
    (attentions.some(({ slopes }) => slopes) && 'ALiBi') ||
    (attentions.some(({ window }) => window !== undefined) && 'windows');
  if (other) throw unsupported(modelType, `is_causal false beside ${other}`);
  return { ...description, head: { norm: head.norm, readouts: [] }, transformersJs: undefined };
}
