// A model in two files: an encoder, and the decoder behind it. Each is a run of its own, and what they are told together is decided here.

import { InputError } from '../errors.ts';
import { doubtOf, evaluate, type Metric, type Progress, recipeOf } from '../pipeline/index.ts';
import type { ModelFiles } from './beside.ts';
import { closing } from './closing.ts';
import { madeOf, warningHandler } from './doubt.ts';
import { openInPlace } from './open.ts';
import type { PlanSettings, PruneSettings } from './options.ts';
import { baseName, type Place } from './place.ts';
import { scratchFor } from './run.ts';
import { calibrationOf, isDataset, samplesPlace } from './samples.ts';

/** The two files of a folder. */
export type Both = Required<Pick<ModelFiles, 'file' | 'encoder'>>;

/** What is of one file alone, or would be of either in a way of its own. */
const ALONE = [
  'encoder',
  'labels',
  'evaluationLabels',
  'queue',
  'latencyTable',
  'maxLoss',
  'latency',
] as const;

/** @throws {InputError} where they cannot be pruned in one run */
export function checkBoth(place: Place, { file, encoder }: Both, settings: PlanSettings): void {
  const { work, spend } = { ...settings, ...recipeOf(settings) };
  const amount = spend && !spend.isFraction ? spend.of : undefined;
  const name =
    ALONE.find((it) => settings[it] !== undefined) ??
    (['calibration', 'evaluation'] as const).find((it) => isDataset(settings[it])) ??
    (typeof (work ?? '') === 'string' ? amount : 'work');
  if (name === undefined) return;
  const instead = name === amount && amount !== 'latency' ? 'give a fraction, as 0.5' : 'leave it out';
  throw new InputError(
    `\`${name}\`: is of one file, and in "${place.path}" are two, ${baseName(encoder)} and ${baseName(file)}; ${instead}, or prune one after the other`,
  );
}

/**
 * How good they are together, on what they are measured on, before either is smaller.
 *
 * @throws {InputError} where they answer by chance, unless `force`
 */
export function metricOfBoth({ file, encoder }: Both, settings: PruneSettings): Promise<Metric | undefined> {
  const { calibration, evaluation, seed, scratch, force, signal } = settings;
  return closing(async (opened) => {
    const data = await samplesPlace(evaluation ?? calibration, 'calibration', signal);
    if (data === undefined) return undefined;
    const told = settingsFor('decoder', { ...settings, onNote: undefined });
    const found = await openInPlace(file, { ...told, encoder, data }, opened);
    const samples =
      evaluation === undefined
        ? await calibrationOf(found, data, undefined, settings)
        : await found.evaluation(data, { seed });
    const metric = await evaluate(found.model, samples, {
      engine: found.engine,
      scratch: await scratchFor(opened, scratch),
      signal,
    });
    const doubt = metric && doubtOf(metric);
    // Where it is forced, the run on the decoder says it.
    const refuse = warningHandler(await madeOf(found, data), { force });
    if (doubt !== undefined) refuse({ kind: 'implausible', text: `dense ${doubt}` });
    return metric;
  });
}

/** What the run on one of them is told. */
export function settingsFor<S extends Partial<PruneSettings>>(of: 'encoder' | 'decoder', settings: S): S {
  const { work, onProgress } = settings;
  const done = of === 'encoder' ? 0 : 1;
  return {
    ...settings,
    // Flags of images are told to the one, those of text to the other.
    onKind: undefined,
    ...(work !== undefined && { work: `${work}/${of}` }),
    ...(of === 'encoder' && { inputs: undefined, outputNames: undefined, output: undefined }),
    ...(onProgress && {
      onProgress: (step: Progress) =>
        onProgress({ ...step, label: `${of}, ${step.label}`, overall: (done + step.overall) / 2 }),
    }),
  };
}
