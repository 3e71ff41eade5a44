// `describe`, for tests that know all kinds already.

import type {
  Config,
  LanguageModel,
  ModelPart,
  SizesRecord,
  TensorSource,
} from '../../src/checkpoint/architectures/index.ts';
import * as kinds from '../../src/checkpoint/architectures/kinds.ts';
import { modelOf } from '../../src/checkpoint/architectures/model.ts';

export const describe = (
  config: Config,
  record?: SizesRecord,
  image?: number,
  source?: Pick<TensorSource, 'tensors'>,
  part?: ModelPart,
): LanguageModel => modelOf(kinds, config, record, image, source, part);
