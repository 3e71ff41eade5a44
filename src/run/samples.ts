// Where the samples of a call are, and how they are drawn.

import { InputError } from '../errors.ts';
import type { Dataset } from '../pipeline/index.ts';
import type { ModelInPlace } from './open.ts';
import type { RunSettings } from './options.ts';
import type { Place } from './place.ts';
import { placeOf, type Source } from './source.ts';

export const isDataset = (data: Source | Dataset | undefined): data is Dataset =>
  typeof Object(data).batches === 'function' && Array.isArray(Object(data).shape);

/** Before a model is opened, which may take its time. @throws {InputError} where there is nothing */
async function placeThere(source: Source, name: string, signal?: AbortSignal): Promise<Place> {
  const place = await placeOf(source, name, signal);
  if ((await place.kind()) === undefined) await place.read();
  return place;
}

/** Where samples are, unless they are open already. */
export async function samplesPlace(
  samples: Source | Dataset | undefined,
  name: string,
  signal?: AbortSignal,
): Promise<Place | undefined> {
  return samples === undefined || isDataset(samples) ? undefined : placeThere(samples, name, signal);
}

/** Where labels are said, where they are said. */
export const labelsOf = async (labels: Source | undefined, signal?: AbortSignal) =>
  labels === undefined ? undefined : placeThere(labels, 'labels.csv', signal);

/** How samples are drawn. */
export const drawnBy = ({ samples, seed = 0, sampling = 'even', augment }: Partial<RunSettings>) => ({
  samples,
  seed,
  sampling,
  augment,
});

/** @param data  where the samples are, unless they are open already */
export async function calibrationOf(
  found: ModelInPlace,
  data: Place | undefined,
  labels: Place | undefined,
  settings: Partial<RunSettings>,
): Promise<Dataset> {
  const drawn = drawnBy(settings);
  const samples = data
    ? await found.calibration(data, { ...drawn, labels })
    : (settings.calibration as Dataset);
  if (drawn.augment !== undefined && samples.views !== drawn.augment)
    throw new InputError('`augment` is for calibration with a folder of images; leave it out');
  return samples;
}
