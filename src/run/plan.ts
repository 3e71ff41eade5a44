// What pruning a model will take.

import { openKernels } from '../kernel/index.ts';
import {
  describeFolder,
  expectBound,
  expectWritten,
  type MachinesPlan,
  measureRates,
  memoryLimit,
  type Plan,
  planMachines,
  plan as planModel,
  recipeOf,
} from '../pipeline/index.ts';
import { platform } from '../pool/platform.ts';
import { modelFile, modelFiles } from './beside.ts';
import { bothIn, checkBoth, type Half, settingsFor } from './both.ts';
import { ownOptions } from './check.ts';
import { closing, type Opened } from './closing.ts';
import { engineFor } from './engine.ts';
import { DEFAULT_IMAGES, describeInPlace, openModelFile } from './open.ts';
import { isLoadable, onnxOf, type PartSettings, type PlanSettings, type RunSettings } from './options.ts';
import { baseName, type Place } from './place.ts';
import { outputFor } from './prune.ts';
import { calibrationOf, labelsOf, samplesPlace } from './samples.ts';
import { MODEL_NAME, placeOf, type Source } from './source.ts';
import { DEFAULT_WINDOWS } from './text.ts';

/** Bytes a second to files and back: an ordinary solid-state disk. */
const FILE_RATE = 500e6;

/** What pruning will take. */
export interface Planned extends Plan {
  /** What runs models, with its version. */
  readonly engine: string;
  readonly seconds: number;
  /** Of these, what goes to files and back takes at 500 MB a second. */
  readonly fileSeconds: number;
  /** Bytes of WebAssembly memory that a thread can have. */
  readonly wasmLimit: number;
  /** Whether the largest step fits into that, and the whole into `memory`. */
  readonly fits: boolean;
  /** On several machines like this one, where they were asked for. */
  readonly onMachines?: MachinesPlan;
  /** Of a folder with an encoder and a decoder, of which this is the latter: that of the encoder, which comes first. */
  readonly encoder?: Planned;
}

/**
 * What pruning will take, as `prune` would be called. Of a folder only config.json is read, and the shapes of weights that are there;
 * of an ONNX file's calibration, where it is given, how many samples there are, and how large.
 *
 * @example
 * const { bytes, seconds } = await plan('opt-125m/', { keep: 0.7 });
 */
export async function plan(model: Source, settings: PlanSettings): Promise<Planned> {
  settings = ownOptions('plan', settings);
  expectBound(recipeOf(settings).spend);
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  const files = await modelFiles(place);
  return closing(async (opened) => {
    // Refused as by `prune`; a folder that is handed over is not ended.
    if (typeof settings.output === 'string') opened(await outputFor(place, files, settings));
    const both = await bothIn(place, files, settings);
    if (!both) return planOf({ place }, settings);
    await checkBoth(place, both, settings);
    const encoder = await planOf(both.encoder, settingsFor('encoder', settings));
    const decoder = await planOf(both.decoder, settingsFor('decoder', settings));
    if (!both.decoder.part) return { ...decoder, encoder };
    const statement = await statementOfBoth(place, encoder, decoder);
    return { ...decoder, statement, encoder: { ...encoder, statement: undefined } };
  });
}

/** Of a folder with both parts, which either alone would not be left with. */
function statementOfBoth(place: Place, encoder: Planned, decoder: Planned): Promise<string> {
  return closing(async (opened) => {
    const language = await describeFolder(opened(await place.openFolder()), { part: 'decoder' });
    return language.behind(encoder.sizes!.after).configOf(decoder.sizes!.after).statement;
  });
}

function planOf({ place, part }: Half, settings: PlanSettings): Promise<Planned> {
  const recipe = recipeOf(settings);
  return closing(async (opened) => {
    const file = await modelFile(place);
    const { model, seqlen, engine, given } =
      file === undefined
        ? await describedFolder(place, { ...settings, part }, opened)
        : await openWithSamples(file, settings, opened);
    const { samples = seqlen === undefined ? DEFAULT_IMAGES : DEFAULT_WINDOWS, augment = 1 } = settings;
    const { threads = platform().concurrency } = settings;
    const sample = seqlen === undefined ? [] : [seqlen];
    const options = {
      ...recipe,
      loadable: isLoadable(settings),
      heads: settings.heads,
      weights: settings.weights,
      memory: settings.memory,
      threads,
      samples: given ?? samples * augment,
      sample,
    };
    const kernels = await openKernels({ simd: settings.simd });
    const { maximumBytes } = kernels;
    const planned = planModel(model, { ...options, maximumBytes });
    const measured = await measureRates(engine, kernels, model, sample);
    // The engine was timed on all threads, the kernels on one.
    const rates = { engine: measured.engine, kernels: measured.kernels * threads };
    const { flops, bytes, files } = planned;
    const fileSeconds = files.traffic / FILE_RATE;
    const { machines, shards, storeRate } = settings;
    return {
      ...planned,
      engine: engine.name,
      seconds: flops.engine / rates.engine + flops.kernels / rates.kernels + fileSeconds,
      fileSeconds,
      wasmLimit: maximumBytes,
      fits: bytes.wasm <= maximumBytes && bytes.total <= memoryLimit(settings),
      ...(machines !== undefined && {
        onMachines: planMachines(model, options, rates, { machines, shards, storeRate }),
      }),
    };
  });
}

async function describedFolder(place: Place, options: PlanSettings & PartSettings, opened: Opened) {
  await samplesPlace(options.calibration, 'calibration', options.signal);
  const { language: model, length: seqlen } = await describeInPlace(place, options, opened);
  expectWritten(baseName(place), model, { weights: options.weights, onnx: onnxOf(options.format) });
  return { model, seqlen, engine: await engineFor(options), given: undefined };
}

/** @returns beside the model, how many samples there are to calibrate with, where these are named */
async function openWithSamples(file: Place, settings: Partial<RunSettings>, opened: Opened) {
  const { calibration, signal } = settings;
  const data = await samplesPlace(calibration, 'calibration', signal);
  const labels = await labelsOf(settings.labels, signal);
  const found = await openModelFile(file, { ...settings, data }, opened);
  const samples = calibration === undefined ? undefined : await calibrationOf(found, data, labels, settings);
  return { ...found, given: samples?.size };
}
