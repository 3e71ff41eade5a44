// The same model at the same sizes by other methods.

import { memoryOutput } from '../checkpoint/index.ts';
import { InputError } from '../errors.ts';
import { expectObject, expectObjects, said } from '../expect.ts';
import { METHODS, type Method } from '../solve/index.ts';
import type { OpenedLanguageModel } from './models/twin.ts';
import type { OpenedModel } from './open/open.ts';
import type { PruneOptions } from './options.ts';
import { prune } from './prune.ts';
import type { MethodReport, PruneReport } from './report.ts';

/**
 * Prunes again by other methods, to the sizes and towards the targets of a report: what differs is which groups go and what
 * becomes of the weights. Of a folder, each result is held in memory until it is measured.
 *
 * @param options  those that the report came of
 * @param progressOf  who is told of the progress of each of the methods, counted from 1. Default: as the options have it
 *
 * @example
 * const { report } = await prune(model, options);
 * const comparison = await compareMethods(model, report, ['magnitude', 'ziplm'], options);
 */
export async function compareMethods(
  model: OpenedModel | OpenedLanguageModel,
  report: Pick<PruneReport, 'layers' | 'target'>,
  methods: readonly Method[],
  options: PruneOptions,
  progressOf: (run: number) => PruneOptions['onProgress'] = () => options.onProgress,
): Promise<MethodReport[]> {
  expectObject('compareMethods', 'report', report);
  expectObjects('compareMethods', 'report.layers', report.layers);
  if (!Array.isArray(methods))
    throw new InputError(
      `compareMethods: "methods" expected a list of ${METHODS.join(', ')}, got ${said(methods)}`,
    );
  expectObject('compareMethods', 'options', options);
  const { layers, target } = report;
  const { macs, params, bytes, latency, maxLoss, of, spend, latencyTable, onnx, loadable, ...others } =
    options;
  // A folder is measured by its safetensors, and none of its other files is needed.
  const weights = 'language' in model ? undefined : options.weights;
  const keep = { layers: Object.fromEntries(layers.map((it) => [it.name, it.kept.length / it.groups])) };
  const reports: MethodReport[] = [];
  for (const [i, method] of methods.entries()) {
    const again = { ...others, keep, method, target: target.chosen, output: memoryOutput(), weights };
    const told = { ...again, onProgress: progressOf(i + 1) };
    const { report } = await prune(model as OpenedLanguageModel, told);
    const { metric, quality, seconds } = report;
    reports.push({ method, metric, quality, seconds });
  }
  return reports;
}
