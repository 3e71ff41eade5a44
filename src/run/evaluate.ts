// How good a model is.

import { InputError } from '../errors.ts';
import { type Dataset, doubtOf, evaluate as evaluateModel, type Metric } from '../pipeline/index.ts';
import { modelFiles } from './beside.ts';
import { ownOptions } from './check.ts';
import { closing } from './closing.ts';
import { doubtText, madeOf } from './doubt.ts';
import { type ModelInPlace, openInPlace } from './open.ts';
import type { EvaluateSettings } from './options.ts';
import { scratchFor } from './run.ts';
import { labelsOf, samplesPlace } from './samples.ts';
import { MODEL_NAME, placeOf, type Source } from './source.ts';
import { betterText, lookAtUnits } from './usual.ts';

/** How good a model is, and what speaks against the data. */
export interface Evaluated extends Metric {
  /** Tokens of a window, of a language model. */
  readonly seqlen?: number;
}

/** Why there is nothing to say of a model by itself. */
function unmeasured({ model }: ModelInPlace, samples: Dataset): string {
  const isOfFeatures = 'language' in model && !model.language.givesScores;
  const where = /\.np[yz]$/i.test(samples.name ?? '')
    ? 'give an array of them as "labels" beside the inputs (numpy.savez)'
    : 'use sub-folders per class or `labels`, a .csv';
  return isOfFeatures
    ? `the ${model.language.architecture} gives features, which labels say nothing of; reports of pruning say how near they stay`
    : `"${samples.name}": no labels; ${where}`;
}

/**
 * Top-1 accuracy on labelled samples, or perplexity on text.
 *
 * @throws {InputError} where samples carry no labels
 *
 * @example
 * const { name, value } = await evaluate('smaller.onnx', 'test/');
 */
export async function evaluate(
  model: Source,
  data: Source | Dataset,
  settings: EvaluateSettings = {},
): Promise<Evaluated> {
  settings = ownOptions('evaluate', settings);
  if (data === undefined) throw new InputError('evaluate: "data" is missing: samples to measure on');
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  const dataPlace = await samplesPlace(data, 'data', settings.signal);
  const labels = await labelsOf(settings.labels, settings.signal);
  return closing(async (opened) => {
    const { file = place, encoder } = (await modelFiles(place)) ?? {};
    const found = await openInPlace(
      file,
      { ...settings, encoder: settings.encoder ?? encoder, data: dataPlace },
      opened,
    );
    const { scratch, signal } = settings;
    const samples = dataPlace
      ? await found.evaluation(dataPlace, { ...settings, labels })
      : (data as Dataset);
    const metric = await evaluateModel(found.model, samples, {
      engine: found.engine,
      scratch: await scratchFor(opened, scratch),
      signal,
    });
    if (!metric) throw new InputError(unmeasured(found, samples));
    const better = await lookAtUnits(found, dataPlace, samples, signal);
    const doubt = doubtOf(metric);
    if (doubt !== undefined)
      settings.onNote?.(`warning: ${doubtText(doubt, await madeOf(found, dataPlace), better)}`);
    else if (better) settings.onNote?.(`warning: ${betterText(better)}`);
    return { ...metric, seqlen: found.seqlen };
  });
}
