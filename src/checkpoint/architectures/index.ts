// Language models and encoders by their config.json. To add an architecture, see docs/language-models.md.

import { unloaded } from '../../unloaded.ts';
import { type LanguageModel, modelOf, type SizesRecord } from './model.ts';
import type { Config, ModelPart, TensorNames } from './types.ts';

export { featuresOf, type HeadDims, headGroups, headsOf, isNarrow, mapNeurons } from './facts.ts';
export type { LanguageModel, PrunedConfig, SizesRecord } from './model.ts';
export type { AttentionSizes, BlockSizes, Config, ModelPart, TensorSource } from './types.ts';

/**
 * The model that a config.json describes.
 *
 * @param record  the osscar.json beside it, where blocks differ in size
 * @param image  side of images, where positions follow these
 * @param source  where there are weights: experts may be stored in several ways
 * @param part  of an encoder with a decoder behind it. Default: the encoder
 * @throws {InputError} if a field is missing, of the wrong kind or contradicts another
 * @throws {UnsupportedModelError} naming the model type or the part of it that is not supported
 *
 * @example
 * const { architecture, blocks, hidden } = await describe(JSON.parse(await readFile('opt-125m/config.json', 'utf8')));
 */
export async function describe(
  config: Config,
  record?: SizesRecord,
  image?: number,
  source?: TensorNames,
  part?: ModelPart,
): Promise<LanguageModel> {
  // Who has ONNX files alone does not wait for all kinds of folders.
  return modelOf(
    await import('./kinds.ts').catch(unloaded('what is known of folders')),
    config,
    record,
    image,
    source,
    part,
  );
}
