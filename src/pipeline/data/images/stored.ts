// How the inputs of an ONNX model are made, in its metadata: a smaller model needs to be told nothing again.

import { expectMethods } from '../../../expect.ts';
import type { Model } from '../../../graph/index.ts';
import { type Preprocessing, parsePreprocessingJson } from './preprocessing.ts';

const KEY = 'osscar.preprocessing';

/**
 * What a model that was pruned here remembers of its preprocessing.
 *
 * @throws {FormatError} where somebody else wrote it
 *
 * @example
 * const preprocessing = storedPreprocessing(await readModel(bytes));
 */
export function storedPreprocessing(model: Pick<Model, 'metadata' | 'name'>): Preprocessing | undefined {
  expectMethods('storedPreprocessing', 'model', model, 'a model (readModel(bytes))', 'metadata');
  const stored = model.metadata(KEY);
  return stored ? parsePreprocessingJson(stored, `${model.name}: stored preprocessing`) : undefined;
}

/**
 * For the `metadata` of `prune`: what `storedPreprocessing` reads again.
 *
 * @example
 * const { written } = await prune(model, { ...options, metadata: preprocessingMetadata(preprocessing) });
 */
export function preprocessingMetadata(preprocessing: Preprocessing): Record<string, string> {
  return { [KEY]: JSON.stringify(preprocessing) };
}
