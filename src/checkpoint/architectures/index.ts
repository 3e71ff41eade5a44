// Language models and encoders by their config.json. To add an architecture, see docs/language-models.md.

import { InputError, UnsupportedModelError } from '../../errors.ts';
import { expectObject, isObject, said } from '../../expect.ts';
import { nearest } from '../../options.ts';
import { albert } from './albert.ts';
import { bart } from './bart.ts';
import { beit } from './beit.ts';
import { bert } from './bert.ts';
import { bloom } from './bloom.ts';
import { clip } from './clip.ts';
import { cohere } from './cohere.ts';
import { flag, text, unsupported } from './config.ts';
import { deberta } from './deberta.ts';
import { dinov3 } from './dinov3.ts';
import { distilbert } from './distilbert.ts';
import { esm } from './esm.ts';
import { falcon } from './falcon.ts';
import { gemma } from './gemma.ts';
import { gptJ } from './gpt-j.ts';
import { gptNeo } from './gpt-neo.ts';
import { gptNeox } from './gpt-neox.ts';
import { gpt2 } from './gpt2.ts';
import { forImages, isEncoder } from './graphs.ts';
import { gte } from './gte.ts';
import { llama } from './llama.ts';
import { checkSizes, LanguageModel, type SizesRecord, sizesOf } from './model.ts';
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

export { featuresOf, type HeadDims } from './layers.ts';
export {
  headGroups,
  headsOf,
  isNarrow,
  type LanguageModel,
  mapNeurons,
  type PrunedConfig,
  type SizesRecord,
} from './model.ts';
export type { BlockSizes, Config, TensorSource } from './types.ts';

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
/** A line has no room for them. */
const KINDS = 'docs/language-models.md of this package says which are';
/** What can be done about others. */
const EXPORT = 'as an ONNX file (optimum-cli export onnx) it is pruned as any graph';
const MOST_BLOCKS = 1000; // the deepest models have about a hundred, and a graph of so many takes two seconds

/**
 * The model that a config.json describes.
 *
 * @param record  the osscar.json beside it, where blocks differ in size
 * @param image  side of images, where positions follow these
 * @throws {InputError} if a field is missing, of the wrong kind or contradicts another
 * @throws {UnsupportedModelError} naming the model type or the part of it that is not supported
 *
 * @example
 * const { architecture, blocks, hidden } = describe(JSON.parse(await readFile('opt-125m/config.json', 'utf8')));
 */
export function describe(config: Config, record?: SizesRecord, image?: number): LanguageModel {
  expectObject('describe', 'config', config);
  // What timm writes for the hub.
  if (config.model_type === 'timm_wrapper' || isObject(config.pretrained_cfg))
    throw new UnsupportedModelError(
      `config.json: models of timm (${said(config.architecture)}) are not supported as folders; ${EXPORT}`,
    );
  // Files of old have none, and transformers goes by the folder's name.
  if (config.model_type == null)
    throw new InputError(
      `config.json: "model_type" is missing; add it as what the model is, such as "llama"`,
    );
  const modelType = text(config, 'model_type');
  const architecture = ARCHITECTURES.find(({ modelTypes }) => modelTypes.includes(modelType));
  if (!architecture) {
    const meant = nearest(
      modelType,
      ARCHITECTURES.flatMap(({ modelTypes }) => modelTypes),
    );
    throw new UnsupportedModelError(
      `config.json: model_type ${JSON.stringify(modelType)} is not supported (${meant ? `is "${meant}" meant?` : KINDS}); ${EXPORT}`,
    );
  }
  if (config.quantization_config != null)
    throw unsupported(modelType, 'quantised checkpoints are not supported');
  const own = architecture.describe(config, modelType);
  const described = flag(config, 'is_causal', true) ? own : seeingAll(own);
  const description = image === undefined ? described : forImages(described, image);
  const { blocks } = description;
  if (blocks > MOST_BLOCKS)
    throw new InputError(`config.json: at most ${MOST_BLOCKS} blocks expected, got ${blocks}`);
  for (let i = 0; i < blocks; i++) description.block(i); // reads what it says of this one
  checkSizes(sizesOf(description, 0), description, 0, 'config.json');
  const sizes = record ? record.blocks : Array.from({ length: blocks }, (_, i) => sizesOf(description, i));
  if (!Array.isArray(sizes) || sizes.length !== blocks) {
    throw new InputError(`osscar.json: "blocks" expected the sizes of ${blocks} blocks`);
  }
  for (const [i, size] of sizes.entries()) checkSizes(size ?? {}, description, i, `osscar.json: block ${i}`);
  return new LanguageModel(config, description, sizes, record !== undefined);
}

/** What transformers makes of a decoder where `is_causal` is false, as embeddings are trained: tokens see those behind them, and it gives features. */
function seeingAll(description: Description): Description {
  const { head, modelType, blocks, block } = description;
  if (isEncoder(head)) return description;
  const attentions = Array.from({ length: blocks }, (_, i) => block(i).attention);
  const other =
    (head.project && 'a projection behind the blocks') ||
    (attentions.some(({ slopes }) => slopes) && 'ALiBi') ||
    (attentions.some(({ window }) => window !== undefined) && 'windows');
  if (other) throw unsupported(modelType, `is_causal false beside ${other}`);
  return { ...description, head: { norm: head.norm, readouts: [] }, transformersJs: undefined };
}
