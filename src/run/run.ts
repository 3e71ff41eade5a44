// All that a run on a model takes, found and opened: what `prune` and `analyze` share.

import { InputError } from '../errors.ts';
import {
  checkRun,
  type Dataset,
  doubtOf,
  manifestIn,
  memoryLimit,
  type PruneOptions,
} from '../pipeline/index.ts';
import { openSession } from '../pool/index.ts';
import type { Opened } from './closing.ts';
import { madeOf, tellBetter, warningHandler } from './doubt.ts';
import { host } from './host.ts';
import { openInPlace } from './open.ts';
import type { PartSettings, PruneSettings, RunSettings } from './options.ts';
import type { Place } from './place.ts';
import { calibrationOf, drawnBy, labelsOf, samplesPlace } from './samples.ts';
import { lookAtUnits } from './usual.ts';

/**
 * What a run on a model takes.
 *
 * @param asked  what else it is told
 */
export async function openRun(
  call: 'prune' | 'analyze',
  place: Place,
  settings: PruneSettings & PartSettings,
  opened: Opened,
  asked: Omit<Partial<PruneOptions>, 'engine' | 'session' | 'calibration'>,
) {
  const { calibration, evaluation, evaluationLabels, work, signal } = settings;
  const { seed, sampling, augment } = drawnBy(settings);
  if (calibration === undefined) throw new InputError('calibration samples are missing: `calibration`');
  if (evaluationLabels !== undefined && evaluation === undefined)
    throw new InputError(
      '`evaluationLabels` are of `evaluation`, which is missing; those of `calibration` are `labels`',
    );
  memoryLimit(settings); // says what is wrong before anything is opened
  const isShared = settings.queue !== undefined;
  if (isShared && work === undefined)
    throw new InputError('`queue`: where the workers find the run is missing: `store`');
  const queue =
    typeof settings.queue === 'string' ? opened(await queueAt(settings.queue, settings)) : settings.queue;
  const store = typeof work === 'string' ? opened(await host.store(work, { isShared })) : work;
  if (store) await manifestIn(store); // says what is wrong before anything is opened
  const scratch = await scratchFor(opened, settings.scratch);
  const data = await samplesPlace(calibration, 'calibration', signal);
  const labels = await labelsOf(settings.labels, signal);
  const measuredOn = await samplesPlace(evaluation, 'evaluation', signal);
  if (measuredOn && measuredOn.path === data?.path)
    settings.onNote?.(
      'warning: `evaluation` is what `calibration` is: what is measured there says little of other data',
    );
  const measuredBy = await labelsOf(evaluationLabels, signal);
  const found = await openInPlace(place, { ...settings, data }, opened);
  if ('language' in found.model && found.model.language.hasDecoder && settings.part === undefined)
    settings.onNote?.(
      'the decoder stays as it is: pairs of what its encoder reads and what is said of it (.tsv) are of both',
    );
  const samples = await calibrationOf(found, data, labels, settings);
  const measured = measuredOn
    ? await found.evaluation(measuredOn, { labels: measuredBy, seed })
    : (evaluation as Dataset | undefined);
  const { threads, simd, shards, memory, onProgress } = settings;
  const folder = typeof settings.scratch === 'string' ? settings.scratch : undefined;
  const session = opened(await openSession({ threads, simd, scratch: folder }));
  if (session.reason !== undefined)
    settings.onNote?.(
      `warning: no workers could be started, and layers are solved on one thread: ${session.reason}`,
    );
  signal?.throwIfAborted();
  const { engine } = found;
  const shared = { ...asked, engine, session, calibration: samples, evaluation: measured, memory, signal };
  const options = { ...shared, store, queue, shards, scratch, onProgress };
  // What cannot be is said before the model runs for the first time.
  await checkRun(call, found.model, options);
  const better = settings.force ? undefined : await lookAtUnits(found, data, samples, signal);
  // Where the model answers by chance its doubt says so.
  if (better && doubtOf(better.given) === undefined) tellBetter(better, found, settings);
  const windows = found.seqlen === undefined ? {} : { seqlen: found.seqlen, sampling };
  return {
    found,
    drawn: {
      path: data?.path ?? samples.name ?? 'calibration',
      seed,
      ...windows,
      ...(augment && { augment }),
    },
    options: { ...options, onWarning: warningHandler(await madeOf(found, data), settings, better) },
  };
}

async function queueAt(url: string, { onNote }: RunSettings) {
  if (!host.queue) throw new InputError('`queue`: cannot be an address here');
  return host.queue(url, { onNote });
}

/** Where activations go that do not fit the memory. */
export async function scratchFor(opened: Opened, scratch: RunSettings['scratch']) {
  return typeof scratch === 'function' ? scratch : host.scratch?.(opened, scratch);
}
