// A model on disk, whichever kind it is, and the samples that go with it.

import { basename } from 'node:path';
import type { Engine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { isStraight, type Model, readModel } from '../graph/index.ts';
import { type GuardOptions, openGuard } from '../guard/index.ts';
import {
  type Dataset,
  declaredInput,
  decodeNpy,
  feedsDataset,
  type ModelInput,
  type OpenedLanguageModel,
  type OpenedModel,
  openLanguageModel,
  openModel,
  type Preprocessing,
  parsePreprocessing,
  parsePreprocessingJson,
  takesTokens,
} from '../pipeline/index.ts';
import { openCliEngine } from './engine.ts';
import { drawFeeds, largestDims, readFeeds, refuseLabels } from './feeds.ts';
import { externalReader, isFile, largestImage, openDataset, readFileBytes } from './files.ts';
import { openFolder } from './folder.ts';
import type { ModelFlags, RunFlags } from './options.ts';
import { say } from './say.ts';
import { DEFAULT_WINDOWS, sentenceSamples, textSamples } from './text.ts';
import { modelFile, readSideFiles, type SideFiles } from './transformers.ts';

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
  flags: FileFlags,
  opened: Opened,
  signal?: AbortSignal,
): Promise<ModelOnDisk> {
  const file = await modelFile(path);
  if (file !== undefined) return openModelFile(file, flags, opened, signal);
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

/**
 * What the file says of its own preprocessing counts where no flag says otherwise. What it leaves open is as large as
 * the samples, unless a flag says a size.
 */
export async function openModelFile(
  path: string,
  flags: FileFlags,
  opened: Opened,
  signal?: AbortSignal,
): Promise<ModelOnDisk<OpenedModel>> {
  const bytes = await readFileBytes(path);
  const name = basename(path);
  const files = new Set<string>();
  const external = externalReader(path, (file) => files.add(file));
  // The metadata may hold the image size that the graph leaves open, so it is read first.
  const source = await readModel(bytes, { name, external });
  const stored = source.metadata(METADATA.preprocessing);
  const side = await readSideFiles(path, stored === undefined);
  const defaults = stored ? parsePreprocessingJson(stored) : side.preprocessing;
  const preprocessing = parsePreprocessing(flags, defaults);
  const declared = declaredInput(source, flags.input);
  const data = await dataFor(declared, preprocessing, flags);
  const guarding = guardOptions(flags, signal);
  const guard = opened(openGuard(guarding));
  const guarded = await guard.engine(flags);
  const length = takesTokens(declared) && declared.open[0] ? lengthOfText(side, flags) : undefined;
  const size = sizeFor(preprocessing, flags) ?? data.size ?? length;
  const { residual, input: inputs } = flags;
  const model = await openModel(bytes, { name, external, engine: guarded, size, residual, inputs });
  let engine = guarded;
  if (isStraight(model.source)) {
    // What one sample takes is known, and any other takes the same: here it needs no copies, and can be timed.
    await guard.close();
    engine = await openCliEngine(flags);
  }
  const { input } = model;
  if (takesTokens(input)) {
    const tokenizer = flags.tokenizer ?? side.tokenizer;
    const {
      predictsTokens,
      input: {
        shape: [seqlen],
      },
    } = model;
    const text = predictsTokens
      ? textSamples(tokenizer, seqlen, guarding)
      : sentenceSamples(tokenizer, input, guarding);
    return {
      model,
      engine,
      files,
      seqlen: predictsTokens ? seqlen : undefined,
      ...orFeeds(input, DEFAULT_WINDOWS, text),
    };
  }
  const labelOffset = flags.labelOffset ?? storedOffset(model.source, name);
  const images = imageSamples(input, { ...data, preprocessing, labelOffset });
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
    ...orFeeds(input, DEFAULT_IMAGES, images),
  };
}

/** Flags of a model's file; data that are named say how large open dimensions are. */
type FileFlags = ModelFlags & Partial<Pick<RunFlags, 'calibrate'>> & { readonly data?: string };

function sizeFor({ size: image }: Preprocessing, { seqlen }: ModelFlags): readonly number[] | undefined {
  if (seqlen !== undefined) return [seqlen];
  return typeof image === 'number' ? [image, image] : image;
}

/** Tokens of a sample, where the files beside the model say how many it has room for. */
function lengthOfText({ positions }: SideFiles, flags: ModelFlags): number[] | undefined {
  return positions === undefined ? undefined : [lengthFor(positions, flags)];
}

/** What the data say of a model's open dimensions. */
interface DataSize {
  readonly size?: readonly number[];
  /** Where images keep their own sizes. */
  readonly largest?: [number, number];
}

async function dataFor(input: ModelInput, preprocessing: Preprocessing, flags: FileFlags): Promise<DataSize> {
  const path = flags.calibrate ?? flags.data;
  const isSaid = sizeFor(preprocessing, flags) !== undefined;
  if (path === undefined || isSaid || !input.open.some(Boolean)) return {};
  const size = await arraySize(path, input);
  if (size) return { size };
  const largest = input.shape.length === 3 ? await largestImage(path, preprocessing) : undefined;
  return { size: largest, largest };
}

/** The largest extents of samples in files of arrays. */
async function arraySize(path: string, input: ModelInput): Promise<number[] | undefined> {
  if (/\.npy$/i.test(path) && (await isFile(path))) {
    const { shape } = decodeNpy(await readFileBytes(path), path);
    return shape.length === input.shape.length + 1 ? shape.slice(1) : undefined;
  }
  const feeds = await readFeeds(path, input);
  return feeds && largestDims(feeds, input);
}

type Samples = Pick<ModelOnDisk, 'calibration' | 'evaluation'>;

interface ImageData extends Pick<DataSize, 'largest'> {
  readonly preprocessing: Preprocessing;
  readonly labelOffset: number;
}

function imageSamples(
  { shape, open }: ModelInput,
  { preprocessing, labelOffset, largest }: ImageData,
): Samples {
  const inputShape = largest ? shape.map((dim, axis) => (open[axis] && dim !== 3 ? 0 : dim)) : shape;
  const dataset = (path: string, drawn: EvaluationFlags) =>
    openDataset(path, { ...drawn, preprocessing, labelOffset, inputShape, largest, onNote: say });
  return {
    calibration: (path, drawn) => dataset(path, { ...drawn, samples: drawn.samples ?? DEFAULT_IMAGES }),
    evaluation: dataset,
  };
}

/**
 * Samples by the names of inputs where a path holds such, else what `others` make of it.
 * @param count  calibration samples of the former, unless a flag says otherwise
 */
function orFeeds(input: ModelInput, count: number, others: Samples): Samples {
  async function dataset(path: string, drawn: EvaluationFlags): Promise<Dataset | undefined> {
    const feeds = await readFeeds(path, input);
    if (!feeds) return undefined;
    refuseLabels(path, drawn.labels);
    return feedsDataset(drawFeeds(feeds, drawn.samples, drawn.seed), input, { name: path });
  }
  return {
    calibration: async (path, flags) =>
      (await dataset(path, { ...flags, samples: flags.samples ?? count })) ?? others.calibration(path, flags),
    evaluation: async (path, flags) => (await dataset(path, flags)) ?? others.evaluation(path, flags),
  };
}

function storedOffset(model: Model, name: string): number {
  const stored = Number(model.metadata(METADATA.labelOffset) ?? 0);
  if (Number.isInteger(stored)) return stored;
  throw new InputError(`${name}: metadata "${METADATA.labelOffset}" is not a whole number`);
}
