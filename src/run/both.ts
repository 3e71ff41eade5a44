// A model of two parts, in two files or in one folder: an encoder, and the decoder behind it. Each is a run of its own, and what they are told together is
// decided here.

import type { ModelPart } from '../checkpoint/architectures/index.ts';
import { InputError } from '../errors.ts';
import {
  describeFolder,
  doubtOf,
  evaluate,
  expectWritten,
  type Metric,
  type Progress,
  recipeOf,
} from '../pipeline/index.ts';
import type { ModelFiles } from './beside.ts';
import { closing } from './closing.ts';
import { madeOf, warningHandler } from './doubt.ts';
import { openInPlace, partIn } from './open.ts';
import { isLoadable, onnxOf, type PartSettings, type PlanSettings, type PruneSettings } from './options.ts';
import { baseName, type Place } from './place.ts';
import { scratchFor } from './run.ts';
import { calibrationOf, isDataset, samplesPlace } from './samples.ts';

/** Both, by where they are. */
export type Both = Readonly<Record<ModelPart, Half>>;

/** A file, or a part of a folder of safetensors. */
export interface Half extends PartSettings {
  readonly place: Place;
}

/** The parts of a model that has two, where a call is about both. */
export async function bothIn(
  place: Place,
  files: ModelFiles | undefined,
  { calibration, signal }: PlanSettings,
): Promise<Both | undefined> {
  if (files) return files.encoder && { encoder: { place: files.encoder }, decoder: { place: files.file } };
  const data = await samplesPlace(calibration, 'calibration', signal);
  const part = await closing(async (opened) => partIn(opened(await place.openFolder()), { data }));
  return part === 'encoder' ? undefined : { encoder: { place, part: 'encoder' }, decoder: { place, part } };
}

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

/**
 * @throws {InputError} where they cannot be pruned in one run
 * @throws {UnsupportedModelError} where what is to come of them cannot be written
 */
export async function checkBoth(
  place: Place,
  { encoder, decoder }: Both,
  settings: PlanSettings,
): Promise<void> {
  const { work, spend } = { ...settings, ...recipeOf(settings) };
  const amount = spend && !spend.isFraction ? spend.of : undefined;
  const name =
    ALONE.find((it) => settings[it] !== undefined) ??
    (['calibration', 'evaluation'] as const).find((it) => isDataset(settings[it])) ??
    (typeof (work ?? '') === 'string' ? amount : 'work');
  if (name === undefined) return decoder.part && checkDecoder(place, settings);
  const instead = name === amount && amount !== 'latency' ? 'give a fraction, as 0.5' : 'leave it out';
  if (decoder.part)
    throw new InputError(
      `\`${name}\`: is of one model, and "${place.path}" has an encoder and a decoder, which pairs are of; ${instead}`,
    );
  throw new InputError(
    `\`${name}\`: is of one file, and in "${place.path}" are two, ${baseName(encoder.place)} and ${baseName(decoder.place)}; ${instead}, or prune one after the other`,
  );
}

/** Before the encoder is pruned, which takes its time. */
function checkDecoder(place: Place, settings: PlanSettings): Promise<void> {
  const { weights, format } = settings;
  return closing(async (opened) => {
    const decoder = await describeFolder(opened(await place.openFolder()), { part: 'decoder' });
    expectWritten(baseName(place), decoder, { weights, onnx: onnxOf(format) });
    const { saysOfBoth } = decoder;
    if (saysOfBoth && isLoadable(settings) && recipeOf(settings).spend)
      throw new InputError(
        `${baseName(place)}: config.json says the neurons of both parts by "${saysOfBoth}", and a budget is divided in each of them; give \`keep\`, or \`loadable: false\``,
      );
  });
}

/**
 * How good they are together, on what they are measured on, before either is smaller.
 *
 * @throws {InputError} where they answer by chance, unless `force`
 */
export function metricOfBoth(
  { encoder, decoder: { place, part } }: Both,
  settings: PruneSettings,
): Promise<Metric | undefined> {
  const { calibration, evaluation, seed, scratch, signal } = settings;
  return closing(async (opened) => {
    const data = await samplesPlace(evaluation ?? calibration, 'calibration', signal);
    if (data === undefined) return undefined;
    const told = settingsFor('decoder', { ...settings, onNote: undefined });
    const beside = part ? undefined : encoder.place;
    const found = await openInPlace(place, { ...told, encoder: beside, part, data }, opened);
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
    const say = warningHandler(await madeOf(found, data), settings);
    if (doubt !== undefined) say({ kind: 'implausible', text: `dense ${doubt}` });
    return metric;
  });
}

/** What the run on one of them is told. */
export function settingsFor<S extends Partial<PruneSettings>>(of: ModelPart, settings: S): S {
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
