// A model on disk, whichever kind it is, and the samples that go with it.

import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Engine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { isStraight, type Model, readModel } from '../graph/index.ts';
import { type GuardOptions, openGuard } from '../guard/index.ts';
import {
  type Dataset,
  type OpenedLanguageModel,
  type OpenedModel,
  openLanguageModel,
  openModel,
  type Preprocessing,
  parsePreprocessing,
  parsePreprocessingJson,
  parsePreprocessorConfig,
  takesTokens,
} from '../pipeline/index.ts';
import { openCliEngine } from './engine.ts';
import { externalReader, isFolder, openDataset, readFileBytes } from './files.ts';
import { openFolder } from './folder.ts';
import type { ModelFlags, RunFlags } from './options.ts';
import { say } from './say.ts';
import { textSamples } from './text.ts';

export interface ModelOnDisk<M = OpenedModel | OpenedLanguageModel> {
  readonly model: M;
  readonly engine: Engine;
  /** Tokens per window, of a language model. */
  readonly seqlen?: number;
  /** Of a model of images. */
  readonly preprocessing?: Preprocessing;
  /** What a smaller model remembers of how its inputs were made. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The same for reports. */
  readonly inputs?: object;
  /** Real paths of files beside the model that were read for it. */
  readonly files?: ReadonlySet<string>;
  /** Samples to calibrate with. */
  calibration(path: string, flags: RunFlags): Promise<Dataset>;
  /** Samples to measure on. */
  evaluation(path: string, flags: EvaluationFlags): Promise<Dataset>;
}

/** Takes what is to be closed in the end. */
export type Opened = <T extends { close(): unknown }>(it: T) => T;

type EvaluationFlags = Pick<ModelFlags, 'labels' | 'samples' | 'seed'>;

/** Keys of the written model's metadata, by which `eval` needs no flags again. */
const METADATA = { preprocessing: 'osscar.preprocessing', labelOffset: 'osscar.label-offset' };
/** Calibration images unless --samples says otherwise. */
export const DEFAULT_IMAGES = 512;
/** Tokens per window, unless the model has fewer positions. */
const DEFAULT_LENGTH = 512;

/** @param signal  ends what the files ask to be run */
export async function openOnDisk(
  path: string,
  flags: ModelFlags,
  opened: Opened,
  signal?: AbortSignal,
): Promise<ModelOnDisk> {
  if (!(await isFolder(path))) return openModelFile(path, flags, opened, signal);
  const model = await openLanguageModel(opened(await openFolder(path)));
  const length = lengthFor(model.language.maxPositions, flags);
  const samples = textSamples(flags.tokenizer ?? path, length, guardOptions(flags, signal));
  return { model, engine: await openCliEngine(flags), ...samples };
}

/** Tokens per window, where nothing else is said. */
export function lengthFor(positions: number, { seqlen }: ModelFlags): number {
  return seqlen ?? Math.min(DEFAULT_LENGTH, positions);
}

function guardOptions({ timeout: seconds }: ModelFlags, signal?: AbortSignal): GuardOptions {
  return { seconds, signal };
}

/** What the file says of its own preprocessing counts where no flag says otherwise. */
export async function openModelFile(
  path: string,
  flags: ModelFlags,
  opened: Opened,
  signal?: AbortSignal,
): Promise<ModelOnDisk<OpenedModel>> {
  const bytes = await readFileBytes(path);
  const name = basename(path);
  const files = new Set<string>();
  const external = externalReader(path, (file) => files.add(file));
  // The metadata may hold the image size that the graph leaves open, so it is read first.
  const stored = (await readModel(bytes, { name, external })).metadata(METADATA.preprocessing);
  const preprocessing = parsePreprocessing(
    flags,
    stored ? parsePreprocessingJson(stored) : await preprocessingBeside(path),
  );
  const { size: image } = preprocessing;
  const size =
    flags.seqlen === undefined ? (typeof image === 'number' ? [image, image] : image) : [flags.seqlen];
  const guarding = guardOptions(flags, signal);
  const guard = opened(openGuard(guarding));
  const guarded = await guard.engine(flags);
  const { residual } = flags;
  const model = await openModel(bytes, { name, external, engine: guarded, size, residual });
  let engine = guarded;
  if (isStraight(model.source)) {
    // What one sample takes is known, and any other takes the same: here it needs no copies, and can be timed.
    await guard.close();
    engine = await openCliEngine(flags);
  }
  const { shape } = model.input;
  if (takesTokens(model.input))
    return { model, engine, files, ...textSamples(flags.tokenizer, shape[0], guarding) };
  const labelOffset = flags.labelOffset ?? storedOffset(model.source, name);
  const dataset = (data: string, drawn: EvaluationFlags) =>
    openDataset(data, { ...drawn, preprocessing, labelOffset, inputShape: shape, onNote: say });
  return {
    model,
    engine,
    files,
    preprocessing,
    metadata: {
      [METADATA.preprocessing]: JSON.stringify(preprocessing),
      [METADATA.labelOffset]: String(labelOffset),
    },
    inputs: { preprocessing, labelOffset },
    calibration: (data, drawn) => dataset(data, { ...drawn, samples: drawn.samples ?? DEFAULT_IMAGES }),
    evaluation: dataset,
  };
}

/** Where Hugging Face models say how their images are prepared: beside the file, or above its folder `onnx`. */
const PREPROCESSOR = 'preprocessor_config.json';

async function preprocessingBeside(path: string): Promise<Partial<Preprocessing>> {
  const folder = dirname(resolve(path));
  const folders = basename(folder) === 'onnx' ? [folder, dirname(folder)] : [folder];
  for (const file of folders.map((it) => join(it, PREPROCESSOR))) {
    if (!(await stat(file).catch(() => undefined))?.isFile()) continue;
    const found = parsePreprocessorConfig(new TextDecoder().decode(await readFileBytes(file)), file);
    say(`preprocessing from "${file}", where no flag says otherwise`);
    return found;
  }
  return {};
}

function storedOffset(model: Model, name: string): number {
  const stored = Number(model.metadata(METADATA.labelOffset) ?? 0);
  if (Number.isInteger(stored)) return stored;
  throw new InputError(`${name}: metadata "${METADATA.labelOffset}" is not a whole number`);
}
