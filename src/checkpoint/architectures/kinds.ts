// The kinds of models that are known: loaded with the first folder, and free of what describes other things, so that who has ONNX files alone does without.
// To add one, see docs/language-models.md.

import { InputError, UnsupportedModelError } from '../../errors.ts';
import { isObject } from '../../expect.ts';
import { albert } from './albert.ts';
import { bart } from './bart.ts';
import { beit } from './beit.ts';
import { bert } from './bert.ts';
import { bloom } from './bloom.ts';
import { clip } from './clip.ts';
import { cohere } from './cohere.ts';
import { classifies, classifiesTokens, flag, scores, unsupported } from './config.ts';
import { deberta } from './deberta.ts';
import { dinov3 } from './dinov3.ts';
import { distilbert } from './distilbert.ts';
import { encoderDecoder } from './encoder-decoder.ts';
import { esm } from './esm.ts';
import { isDelta, isEncoder, nameOf } from './facts.ts';
import { falcon } from './falcon.ts';
import { gemma } from './gemma.ts';
import { gptJ } from './gpt-j.ts';
import { gptNeo } from './gpt-neo.ts';
import { gptNeox } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { gte } from './gte.ts';
import { llama } from './llama.ts';
import { modernbert } from './modernbert.ts';
import { moonshine } from './moonshine.ts';
import { mpnet } from './mpnet.ts';
import { mpt } from './mpt.ts';
import { multimodal } from './multimodal.ts';
import { nemotron } from './nemotron.ts';
import { neobert } from './neobert.ts';
import { nomicBert } from './nomic-bert.ts';
import { olmo } from './olmo.ts';
import { opt } from './opt.ts';
import { phi } from './phi.ts';
import { firstRelease, refusalOfJs } from './releases.ts';
import { stablelm } from './stablelm.ts';
import { starcoder2 } from './starcoder2.ts';
import { t5 } from './t5.ts';
import type { Architecture, Config, Description, ModelPart } from './types.ts';
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
  neobert,
  gte,
  esm,
  deberta,
  vit,
  encoderDecoder,
  beit,
  dinov3,
  clip,
  whisper,
  moonshine,
  wav2vec2,
];

const MODEL_TYPES: readonly string[] = ARCHITECTURES.flatMap(({ modelTypes }) => modelTypes);

const CONVOLUTIONS = 'networks of convolutions, nor of stages that become smaller';

/** What is not there for others that people have, some of which are called nearly as these. */
const MISSING: ReadonlyMap<string, string> = new Map([
  ...[
    ...['convnext', 'convnextv2', 'efficientnet', 'mobilenet_v1', 'mobilenet_v2', 'mobilevit', 'regnet'],
    ...['resnet', 'segformer', 'swin', 'swinv2'],
  ].map((type) => [type, CONVOLUTIONS] as const),
  ['falcon_mamba', 'state spaces of Mamba 1'],
  ['gemma3n', 'several streams of features (AltUp), and embeddings in each block'],
  ['gemma4', 'embeddings in each block, nor keys and values that blocks share'],
  ['jamba', 'state spaces of Mamba 1'],
  ['mamba', 'state spaces of Mamba 1'],
  ['siglip2', 'images of any sides (NaFlex); the SigLIP 2 of one size is "siglip"'],
  ['zamba2', 'blocks that share attention, each use with maps of its own (LoRA)'],
]);

type Nearest = (name: string, known: readonly string[]) => string | undefined;

/** A line has no room for them. */
const LISTED =
  'docs/language-models.md of this package says which are; if it is one of these by another name, "model_type" has to say so';
/** What can be done about others. */
const EXPORT =
  'as an ONNX file it is pruned as any graph: optimum-cli export onnx --model FOLDER exported/, and prune the .onnx file in exported/';

/**
 * What a config.json says.
 *
 * @param nearest  the name of some that another is nearest to: with an import of its own, what is loaded before this would be more
 * @param names  of the tensors
 * @param part  of a model that has two; a decoder alone is the one that it has
 */
export function descriptionIn(
  config: Config,
  nearest: Nearest,
  names?: Iterable<string>,
  part: ModelPart = 'encoder',
): Description {
  const { model_type: modelType } = config;
  const foreign = foreignIn(config);
  if (foreign)
    throw new UnsupportedModelError(`config.json: ${foreign} are not supported as folders; ${EXPORT}`);
  // Files of old have none, and transformers goes by the folder's name.
  if (modelType == null)
    throw new InputError(
      `config.json: "model_type" is missing; add it as what the model is, such as "llama"`,
    );
  if (typeof modelType !== 'string')
    throw new InputError(`config.json: "model_type" expected a string, got ${JSON.stringify(modelType)}`);
  const description = descriptionOf(config, modelType, names);
  if (description) return part === 'encoder' ? description : behind(description);
  const missing = MISSING.get(modelType.replace(/_text$/, ''));
  const why = missing ? `there are no ${missing}` : meantBy(config, modelType, nearest);
  throw new UnsupportedModelError(
    `config.json: model_type ${JSON.stringify(modelType)} is not supported (${why}); ${EXPORT}`,
  );
}

/** The decoder behind an encoder. @throws {UnsupportedModelError} where there is none */
function behind({ decoder, modelType, since }: Description): Description {
  if (!decoder) throw unsupported(modelType, 'there is no decoder behind it that is known');
  const own = decoder();
  return { ...own, since, transformersJs: own.transformersJs ?? refusalOfJs(modelType) };
}

/** What a model may be that calls itself otherwise: its code has the name of one that is known, or it nearly has. */
function meantBy(config: Config, modelType: string, nearest: Nearest): string {
  const name = nameOf(config);
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, '');
  // Of a name of anything else than words the pattern would be sought for ever.
  const own = /^\w+$/.test(name) && plain(name.replace(/(For[A-Z]\w*|(LMHead)?Model)$/, ''));
  const same = own && MODEL_TYPES.find((it) => plain(it) === own);
  if (same) return `if it is a "${same}", as "${name}" says, "model_type" has to say so`;
  const meant = nearest(modelType, MODEL_TYPES);
  return meant ? `is "${meant}" meant?` : LISTED;
}

/** What another library has written for its own models. */
function foreignIn(config: Config): string | undefined {
  const { model_type: type, pretrained_cfg, architecture, _class_name: name } = config;
  if (type === 'timm_wrapper' || isObject(pretrained_cfg))
    return `models of timm (${JSON.stringify(architecture)})`;
  return type == null && name != null ? `models of diffusers (${JSON.stringify(name)})` : undefined;
}

/** The same, if its model type is one of these. */
function descriptionOf(config: Config, modelType: string, names?: Iterable<string>): Description | undefined {
  const architecture = ARCHITECTURES.find(({ modelTypes }) => modelTypes.includes(modelType));
  if (!architecture) return undefined;
  const quantised = config.quantization_config ?? config.quantization; // the second is MLX's
  if (quantised != null) throw unsupported(modelType, quantisedHint(quantised));
  const tensors = names && [...names];
  const own = architecture.describe(config, modelType, tensors);
  const seesAll = modelType === 'eurobert' || !flag(config, 'is_causal', true);
  const read = reading(seesAll ? seeingAll(own) : own, config, tensors);
  const { head, since, transformersJs, decoder } = read;
  return {
    ...read,
    decoder: saysText(config, tensors) ? decoder : undefined,
    since: firstRelease(config, read.modelType, since),
    transformersJs: transformersJs ?? (isEncoder(head) ? undefined : refusalOfJs(read.modelType)),
  };
}

/** What is no text that a decoder says. */
const OTHER_OUTPUTS = /EncoderModel$|For((Sequence|Token|Audio)Classification|QuestionAnswering)$/;

/** Whether there is a decoder behind an encoder, and its scores are those of the vocabulary. */
function saysText(config: Config, tensors?: readonly string[]): boolean {
  const isThere = !tensors || tensors.some((name) => /(^|\.)decoder\./.test(name));
  return isThere && !OTHER_OUTPUTS.test(nameOf(config));
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
  const named = typeof method === 'string' ? ` (${JSON.stringify(method)})` : '';
  const how = DEQUANTISING.get(method);
  return (
    `quantised checkpoints are not supported${named}: give the folder of floats that this one was made of` +
    `${how ? `, or where there is none what transformers saves (save_pretrained): it ${how}` : ''}; quantise what comes of it`
  );
}

/** What is made of a language model with other scores than those of the vocabulary, or without any: an encoder whose tokens see those before them. Of each token where it classifies these. */
function reading(description: Description, config: Config, tensors: readonly string[] = []): Description {
  const { head, modelType, fields, block, vocabulary } = description;
  const ofTokens = classifiesTokens(config);
  const scoring = tensors.includes('score.weight') ? 'score' : 'classifier';
  if (isEncoder(head)) {
    const isOpen = ofTokens && vocabulary > 0 && !head.each;
    return isOpen ? { ...description, head: { ...head, each: [scores(config, scoring)] } } : description;
  }
  if (fields.section) return description;
  const name = nameOf(config);
  const output = `${head.output ?? 'lm_head'}.weight`;
  const isBare = /(?<!Heads?)Model$/.test(name) && tensors.length > 0 && !tensors.includes(output);
  if (!isBare && !ofTokens && !classifies(config)) return description;
  if (head.project) throw unsupported(modelType, `"${name}" with a projection behind the blocks`);
  if (head.maps && !isBare) throw unsupported(modelType, `"${name}" with maps behind the blocks`);
  const readouts = classifies(config)
    ? [{ of: [[-1]] as const, maps: [scores(config, 'score', false)] }]
    : [];
  return {
    ...description,
    block: (i) => {
      const own = block(i);
      return { ...own, attention: { ...own.attention, isCausal: true } };
    },
    head: { norm: head.norm, readouts, each: ofTokens ? [scores(config, scoring)] : undefined },
    transformersJs: isBare ? undefined : 'has no class for a language model that gives scores of classes',
  };
}

/** What transformers makes of a decoder where `is_causal` is false, as embeddings are trained: tokens see those behind them, and it gives features. */
function seeingAll(description: Description): Description {
  const { head, modelType, blocks, block } = description;
  if (isEncoder(head)) return description;
  const all = Array.from({ length: blocks }, (_, i) => block(i));
  const attentions = all.map(({ attention }) => attention);
  const other =
    (head.project && 'a projection behind the blocks') ||
    (all.some(({ instead, beside }) => isDelta(beside ?? instead)) && 'delta rules') ||
    (all.some(({ instead }) => instead) && 'short convolutions') ||
    (attentions.some(({ slopes }) => slopes) && 'ALiBi') ||
    (attentions.some(({ window, chunk }) => (window ?? chunk) !== undefined) && 'windows');
  if (other) throw unsupported(modelType, `is_causal false beside ${other}`);
  return { ...description, head: { norm: head.norm, readouts: [] }, transformersJs: undefined };
}
