// What the page has the library do: opens a model, analyses it, prunes it, and runs both models on images. Lives in a
// worker, so that the page never waits.

import {
  analyze,
  type Dataset,
  type Effort,
  type Engine,
  imageDataset,
  memoryStore,
  type OpenedModel,
  openEngine,
  openModel,
  openSession,
  type Preprocessing,
  type PreprocessingOptions,
  type Progress,
  parsePreprocessing,
  parsePreprocessorConfig,
  preprocessingMetadata,
  prune,
  readModel,
  type SavedReport,
  type Session,
  type SizeKind,
  sharesOf,
  storedPreprocessing,
  type TradeoffReport,
} from 'osscar-wasm/model';
import { compareModels, type Pair } from './answers.ts';
import { type ChosenFile, divide, imagesOf, SEED } from './images.ts';
import { engineOptions } from './threads.ts';

/** What there is to say of a model before anything is done to it. */
export interface Facts extends Pick<OpenedModel, 'parameters' | 'macs' | 'bytes'> {
  /** Of one sample. */
  readonly input: readonly number[];
  readonly structures: readonly StructureFacts[];
  /** Structures that stay whole. */
  readonly notPrunable: number;
  readonly engine: string;
  readonly threads: number;
}

export interface StructureFacts {
  readonly name: string;
  readonly groups: number;
  /** Parts of the model's that go with it. */
  readonly parameters: number;
  readonly macs: number;
}

/** What sizes are counted in, and how many images a run calibrates with at most. */
export interface Counting {
  readonly of: SizeKind;
  readonly most: number;
}

export interface Analysis {
  readonly tradeoff: TradeoffReport;
  readonly calibrated: number;
  /** Of the images that are left, where there are classes: for the accuracy. */
  readonly evaluated: number;
  /** Files that are no images. */
  readonly ignored: number;
  /** What speaks against the data. */
  readonly warnings: readonly string[];
}

/** Of the dense model, by `Counting.of`. */
export interface Budget {
  readonly fraction: number;
  readonly effort: Effort;
}

export interface Outcome {
  readonly model: Uint8Array;
  readonly report: SavedReport;
}

export interface Comparison {
  readonly pairs: readonly Pair[];
  readonly classes?: readonly string[];
}

export type OnProgress = (progress: Progress) => void;

interface Opened {
  readonly model: OpenedModel;
  readonly bytes: Uint8Array;
  readonly preprocessing: Preprocessing;
}

/** Samples, and what an analysis found with them, for the runs after it. */
interface Calibrated extends Counting {
  readonly options: Parameters<typeof analyze>[1];
  readonly classes?: string[];
  /** Best not calibrated with. */
  readonly shown: Dataset;
}

/** Images that are shown side by side. */
const SHOWN = 24;

export class Workbench {
  #tools?: { readonly engine: Engine; readonly session: Session };
  #opened?: Opened;
  #calibrated?: Calibrated;
  #pruned?: Uint8Array;
  #stop = new AbortController();

  /** How a model's inputs are made, where it says so itself, or a preprocessor_config.json that came with it. */
  async preprocessingOf(name: string, file: Blob, config?: ChosenFile): Promise<PreprocessingOptions> {
    const source = await readModel(new Uint8Array(await file.arrayBuffer()), { name });
    const stored = storedPreprocessing(source);
    if (stored) return stored;
    return config ? parsePreprocessorConfig(await config.file.text(), config.path) : {};
  }

  async open(name: string, file: Blob, options: PreprocessingOptions): Promise<Facts> {
    const { engine, session } = await this.#openTools();
    const preprocessing = parsePreprocessing(options);
    const { size } = preprocessing;
    const bytes = new Uint8Array(await file.arrayBuffer());
    const open = { engine, name, size: typeof size === 'number' ? [size, size] : size };
    const model = await openModel(bytes, open);
    this.#opened = { model, bytes, preprocessing };
    this.#calibrated = undefined;
    return factsOf(model, engine.name, session.threads);
  }

  /** The curve of size against expected loss. */
  async analyse(files: readonly ChosenFile[], counting: Counting, onProgress: OnProgress): Promise<Analysis> {
    const { entries, classes, ignored } = imagesOf(files);
    const { drawn, others } = divide(entries, counting.most);
    const dataset = this.#datasets(classes);
    const calibration = dataset(drawn);
    const evaluation = classes && others.length > 0 ? dataset(others) : undefined;
    const shown = dataset(divide(others.length > 0 ? others : drawn, SHOWN).drawn);
    const options = { ...(await this.#openTools()), calibration, evaluation, store: memoryStore() };
    const { of } = counting;
    const warnings: string[] = [];
    const tradeoff = await analyze(this.#opened!.model, {
      ...options,
      ...this.#running(onProgress),
      [of]: 1,
      onWarning: ({ kind, text }) =>
        warnings.push(
          kind === 'implausible' ? `${text}: are mean, deviation and the order of classes right?` : text,
        ),
    });
    this.#calibrated = { ...counting, options, classes, shown };
    return { tradeoff, calibrated: calibration.size, evaluated: evaluation?.size ?? 0, ignored, warnings };
  }

  async prune({ fraction, effort }: Budget, onProgress: OnProgress): Promise<Outcome> {
    const { model, preprocessing } = this.#opened!;
    const { options, of } = this.#calibrated!;
    const { written, report } = await prune(model, {
      ...options,
      ...this.#running(onProgress),
      [of]: fraction,
      effort,
      metadata: preprocessingMetadata(preprocessing),
    });
    this.#pruned = written.model;
    const { size: samples } = options.calibration;
    return {
      model: written.model,
      report: {
        version: 1,
        ...report,
        calibration: { path: 'images', samples, seed: SEED },
        settings: {
          model: model.name,
          calibrate: 'images',
          samples,
          [of]: fraction,
          effort,
          ...preprocessing,
        },
        model: { path: smallerName(model.name), sha256: await sha256(written.model) },
      },
    };
  }

  /** Both models on the images given, or on some that the model was not calibrated with, where there are such. */
  async compare(files?: readonly ChosenFile[]): Promise<Comparison> {
    const { model, bytes } = this.#opened!;
    const { shown, options, classes } = this.#calibrated!;
    const samples = files ? this.#datasets()(imagesOf(files).entries) : shown;
    return { pairs: await compareModels(model, [bytes, this.#pruned!], samples, options.engine), classes };
  }

  /** Ends what is running. */
  cancel(): void {
    this.#stop.abort(new Error('Cancelled.'));
  }

  async #openTools() {
    this.#tools ??= { engine: await openEngine(engineOptions()), session: await openSession() };
    return this.#tools;
  }

  #running(onProgress: OnProgress) {
    this.#stop = new AbortController();
    return { onProgress, signal: this.#stop.signal };
  }

  #datasets(classes?: string[]) {
    const { model, preprocessing } = this.#opened!;
    return (entries: Parameters<typeof imageDataset>[0]) =>
      imageDataset(entries, preprocessing, model.input.shape, { classes });
  }
}

function factsOf(model: OpenedModel, engine: string, threads: number): Facts {
  const { parameters, macs, bytes, input, analysis } = model;
  const shares = sharesOf(model);
  const prunable = analysis.structures.filter((it) => it.prunable);
  return {
    parameters,
    macs,
    bytes,
    input: input.shape,
    structures: prunable.map(({ name, groups }) => ({ name, groups, ...shares.structures.get(name)! })),
    notPrunable: analysis.structures.length - prunable.length,
    engine,
    threads,
  };
}

export const smallerName = (name: string) => `${name.replace(/\.onnx$/i, '')}-smaller.onnx`;

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
