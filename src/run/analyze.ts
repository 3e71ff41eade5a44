// What sizes a model can be cut to.

import { analyze as analyzeModel, recipeOf, type SizeKind, type TradeoffReport } from '../pipeline/index.ts';
import { modelFile } from './beside.ts';
import { ownOptions } from './check.ts';
import { closing } from './closing.ts';
import type { AnalyzeSettings } from './options.ts';
import { openRun } from './run.ts';
import { MODEL_NAME, placeOf, type Source } from './source.ts';

/**
 * What sizes a model can be cut to, and what that is expected to cost. With `work`, budgets of `prune` begin with it.
 *
 * @param settings  `of` says which size is counted: by default macs of a file, params of a folder
 *
 * @example
 * const { points } = await analyze('model.onnx', { calibration: 'photos/', work: 'run/' });
 */
export async function analyze(model: Source, settings: AnalyzeSettings): Promise<TradeoffReport> {
  settings = ownOptions('analyze', settings);
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  const of: SizeKind = settings.of ?? ((await modelFile(place)) === undefined ? 'params' : 'macs');
  const recipe = recipeOf({ ...settings, of: undefined, [of]: 1 });
  return closing(async (opened) => {
    const { found, options } = await openRun('analyze', place, settings, opened, recipe);
    return analyzeModel(found.model, options);
  });
}
