// A model that is open as the pipeline's subject, whichever kind it is.

import { InputError } from '../../errors.ts';
import { isObject, said } from '../../expect.ts';
import type { OpenedModel } from '../open/open.ts';
import type { Subject } from '../subject.ts';
import { type FolderOptions, folderSubject } from './folder.ts';
import { type FileOptions, onnxSubject } from './onnx.ts';
import type { OpenedLanguageModel } from './twin.ts';

/** @throws {InputError} where it is none */
export function subjectOf(
  model: OpenedModel | OpenedLanguageModel,
  options: FileOptions & FolderOptions = {},
): Subject {
  const isOpened = isObject(model as unknown) && ('language' in model || 'analysis' in model);
  if (!isOpened)
    throw new InputError(
      `expected a model (of openModel(bytes, …) or openLanguageModel(folder)), got ${said(model)}`,
    );
  return 'language' in model ? folderSubject(model, options) : onnxSubject(model, options);
}
