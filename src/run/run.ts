// One call for each thing to be done with a model: it finds the model and its data, opens what runs and solves them, and
// closes all of it again. The `osscar` command is these functions and what a terminal shows of them.

import type { LanguageModel } from '../checkpoint/architectures/index.ts';
import type { Folder } from '../checkpoint/index.ts';
import { InputError } from '../errors.ts';
import type { Structure } from '../graph/index.ts';
import { openKernels } from '../kernel/index.ts';
import {
  analyze as analyzeModel,
  compareMethods,
  type Dataset,
  describeFolder,
  doubtOf,
  evaluate as evaluateModel,
  type FolderOptions,
  type LatencyTable,
  type Machines,
  type MachinesPlan,
  type Metric,
  measureLatency,
  measureRates,
  memoryLimit,
  type OpenedModel,
  type Pinned,
  type Plan,
  type ProgressStep,
  type PruneReport,
  parseRecipe,
  pinnedOf,
  planMachines,
  plan as planModel,
  prune as pruneModel,
  type SavedReport,
  type Share,
  type Shares,
  type SizeKind,
  sharesOf,
  sharing,
  type TradeoffReport,
} from '../pipeline/index.ts';
import { openSession } from '../pool/index.ts';
import { platform } from '../pool/platform.ts';
import { modelFile } from './beside.ts';
import { modelCard } from './card.ts';
import { checkOptions } from './check.ts';
import { closing, type Opened } from './closing.ts';
import { doubtText, type Made, warningHandler } from './doubt.ts';
import { engineFor } from './engine.ts';
import { host } from './host.ts';
import { DEFAULT_IMAGES, lengthFor, type ModelInPlace, openInPlace, openModelFile } from './open.ts';
import type { Kind, ModelOptions, PruneSettings, RunSettings, SampleOptions } from './options.ts';
import { heldFolder, keptOutput, type Output } from './output.ts';
import { baseName, isFile, isFolder, MODEL_NAME, type Place, placeOf, type Source } from './place.ts';
import { DEFAULT_WINDOWS } from './text.ts';
import { type Better, betterPreprocessing, betterText } from './usual.ts';

/** A smaller model, and what became of it. */
export interface Pruned {
  readonly report: SavedReport;
  /** The model by file names, where no `output` was named: an ONNX file, or a whole folder. */
  readonly files: ReadonlyMap<string, Blob>;
}

/**
 * Writes a physically smaller model: finds the data, chooses what stays of every structure, refits the rest, writes,
 * and proves what was written by running it (OSSCAR, arXiv 2403.12983).
 *
 * @param model  an ONNX file, or the folder of a Hugging Face language model
 * @throws {InputError} for options, files or data that cannot work, or where the dense model answers by chance
 * @throws {UnsupportedModelError} where nothing is prunable
 *
 * @example
 * await prune('model.onnx', { calibration: 'photos/', macs: 0.5, output: 'smaller.onnx' });
 *
 * @example
 * // In a page, with files that were picked there
 * const { files, report } = await prune(modelInput.files[0], {
 *   calibration: imagesInput.files, keep: 0.5, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225],
 * });
 */
export async function prune(model: Source, settings: PruneSettings): Promise<Pruned> {
  // Both say what is wrong before anything is opened.
  checkOptions(settings);
  const recipe = parseRecipe(settings);
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  return closing(async (opened) => {
    // First of all, so that an output that cannot be is found at once.
    const output = opened(await outputFor(place, settings));
    const { found, drawn, ...run } = await openRun(place, settings, opened);
    const { latencyTable, compare } = settings;
    const options = { ...run, ...recipe, latencyTable };
    const progressOf = sharing(recipe, compare?.length ?? 0, run.onProgress);
    const result = await pruneModel(found.model as OpenedModel, {
      ...options,
      onProgress: progressOf(0),
      ...output,
      metadata: found.metadata,
      onnx: onnxOf(settings.format),
      loadable: isLoadable(settings),
    });
    const report = {
      version: 1 as const,
      ...result.report,
      ...found.inputs,
      calibration: { ...drawn, samples: result.report.samples },
      settings: { model: place.path, ...plainOf(settings) },
    };
    const card = await modelCard(place, report, loaderOf(report, settings));
    const written = await output.save(result, (file) => found.files?.has(file) ?? false, card);
    const comparison = compare && (await compareMethods(found.model, report, compare, options, progressOf));
    return { report: { ...report, model: written, comparison }, files: output.files?.() ?? new Map() };
  });
}

/**
 * What sizes a model can be cut to, and what that is expected to cost. With `work`, budgets of `prune` begin with it.
 *
 * @param settings  `of` says which size is counted: by default macs of a file, params of a folder
 *
 * @example
 * const { points } = await analyze('model.onnx', { calibration: 'photos/', work: 'run/' });
 */
export async function analyze(model: Source, settings: RunSettings): Promise<TradeoffReport> {
  checkOptions(settings);
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  const of: SizeKind = settings.of ?? ((await modelFile(place)) === undefined ? 'params' : 'macs');
  const recipe = parseRecipe({ ...settings, keep: undefined, of: undefined, [of]: 1 });
  return closing(async (opened) => {
    const { found, drawn: _, ...run } = await openRun(place, settings, opened);
    return analyzeModel(found.model, { ...run, ...recipe });
  });
}

/** How good a model is, and what speaks against the data. */
export interface Evaluated extends Metric {
  /** Tokens of a window, of a language model. */
  readonly seqlen?: number;
}

/**
 * Top-1 accuracy on labelled samples, or perplexity on text.
 *
 * @throws {InputError} where samples carry no labels
 *
 * @example
 * const { name, value } = await evaluate('smaller.onnx', 'test/');
 */
export async function evaluate(
  model: Source,
  data: Source | Dataset,
  settings: ModelOptions & SampleOptions & Pick<RunSettings, 'scratch'> = {},
): Promise<Evaluated> {
  checkOptions(settings);
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  const dataPlace = await samplesPlace(data, 'data', settings.signal);
  const labels = await labelsOf(settings.labels, settings.signal);
  return closing(async (opened) => {
    const found = await openInPlace(place, { ...settings, data: dataPlace }, opened);
    settings.onKind?.(kindOf(found));
    const { scratch, signal } = settings;
    const samples = dataPlace
      ? await found.evaluation(dataPlace, { ...settings, labels })
      : (data as Dataset);
    const metric = await evaluateModel(found.model, samples, {
      engine: found.engine,
      scratch: await scratchFor(opened, scratch),
      signal,
    });
    if (!metric)
      throw new InputError(`"${samples.name}": no labels; use sub-folders per class or \`labels\`, a .csv`);
    const better = await lookAtUnits(found, dataPlace, samples, signal);
    const doubt = doubtOf(metric);
    if (doubt !== undefined)
      settings.onNote?.(`warning: ${doubtText(doubt, await madeOf(found, dataPlace), better)}`);
    else if (better) settings.onNote?.(`warning: ${betterText(better)}`);
    return { ...metric, seqlen: found.seqlen };
  });
}

/** A structure, and what of the model hangs on it. */
export interface InspectedStructure
  extends Pick<Structure, 'name' | 'layer' | 'groups' | 'groupSize' | 'prunable' | 'reason'>,
    Partial<Share> {}

/** What can be pruned of a model, and what share of it each kind of structure is. */
export interface Inspected extends Share {
  readonly name: string;
  readonly kinds: Readonly<Record<string, Share>>;
  /** Of an ONNX file. */
  readonly file?: Pick<OpenedModel, 'bytes' | 'input' | 'quantized' | 'branches'> & {
    readonly structures: readonly InspectedStructure[];
    /** What stays, by kind. */
    readonly pinned: readonly Pinned[];
  };
  /** Of a language model's folder. */
  readonly folder?: Pick<
    LanguageModel,
    'architecture' | 'blocks' | 'hidden' | 'vocabulary' | 'maxPositions' | 'headDim' | 'sizes'
  > & { readonly structures: Shares['structures'] };
}

/**
 * What can be pruned, what share of the model that is, and why the rest cannot. Of a folder only config.json is read.
 *
 * @example
 * const { file, kinds } = await inspect('model.onnx');
 * for (const { name, prunable, reason } of file!.structures) console.log(name, prunable ? 'yes' : reason);
 */
export async function inspect(model: Source, options: ModelOptions = {}): Promise<Inspected> {
  checkOptions(options);
  const place = await placeOf(model, MODEL_NAME, options.signal);
  const file = await modelFile(place);
  return closing((opened) =>
    file === undefined ? inspectFolder(place, options, opened) : inspectFile(file, options, opened),
  );
}

async function inspectFile(file: Place, options: ModelOptions, opened: Opened): Promise<Inspected> {
  const found = await openModelFile(file, options, opened);
  options.onKind?.(kindOf(found));
  const { name, parameters, macs, bytes, input, quantized, branches, analysis } = found.model;
  const shares = sharesOf(found.model);
  const structures = analysis.structures.map(({ name, layer, groups, groupSize, prunable, reason }) => {
    return { name, layer, groups, groupSize, prunable, reason, ...shares.structures.get(name) };
  });
  const kinds = Object.fromEntries(shares.kinds);
  const pinned = pinnedOf(found.model);
  return { name, parameters, macs, kinds, file: { bytes, input, quantized, branches, structures, pinned } };
}

async function inspectFolder(place: Place, options: ModelOptions, opened: Opened): Promise<Inspected> {
  const language = await describeFolder(opened(await place.openFolder()));
  options.onKind?.(language.vocabulary > 0 ? 'text' : 'images');
  const { architecture, blocks, hidden, vocabulary, maxPositions, headDim, sizes } = language;
  const { all, kinds, structures } = sharesOf(
    language,
    language.tokensOf([lengthFor(maxPositions, options)]),
  );
  return {
    name: place.path,
    ...all,
    kinds: Object.fromEntries(kinds),
    folder: { architecture, blocks, hidden, vocabulary, maxPositions, headDim, sizes, structures },
  };
}

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
}

/**
 * What pruning will take, as `prune` would be called. Of a folder only config.json is read; of an ONNX file's calibration, where it is
 * given, how many samples there are, and how large.
 *
 * @example
 * const { bytes, seconds } = await plan('opt-125m/', { keep: 0.7 });
 */
export async function plan(
  model: Source,
  settings: Partial<RunSettings> & Pick<PruneSettings, 'format' | 'loadable'> & Partial<Machines>,
): Promise<Planned> {
  checkOptions(settings);
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  const file = await modelFile(place);
  return closing(async (opened) => {
    const { model, seqlen, engine, given } =
      file === undefined
        ? await describeInPlace(place, settings, opened)
        : await openWithSamples(file, settings, opened);
    const { samples = seqlen === undefined ? DEFAULT_IMAGES : DEFAULT_WINDOWS, augment = 1 } = settings;
    const { threads = platform().concurrency } = settings;
    const sample = seqlen === undefined ? [] : [seqlen];
    const options = {
      ...settings,
      loadable: isLoadable(settings),
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
    const { machines } = settings;
    return {
      ...planned,
      engine: engine.name,
      seconds: flops.engine / rates.engine + flops.kernels / rates.kernels + fileSeconds,
      fileSeconds,
      wasmLimit: maximumBytes,
      fits: bytes.wasm <= maximumBytes && bytes.total <= memoryLimit(settings),
      ...(machines !== undefined && {
        onMachines: planMachines(model, options, rates, { ...settings, machines }),
      }),
    };
  });
}

async function describeInPlace(place: Place, options: Partial<RunSettings>, opened: Opened) {
  await samplesPlace(options.calibration, 'calibration', options.signal);
  const model = await describeFolder(opened(await place.openFolder()));
  const seqlen = lengthFor(model.maxPositions, options);
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

/** Before a model is opened, which may take its time. @throws {InputError} where there is nothing */
async function placeThere(source: Source, name: string, signal?: AbortSignal): Promise<Place> {
  const place = await placeOf(source, name, signal);
  if ((await place.kind()) === undefined) await place.read();
  return place;
}

/** Where samples are, unless they are open already. */
async function samplesPlace(
  samples: Source | Dataset | undefined,
  name: string,
  signal?: AbortSignal,
): Promise<Place | undefined> {
  return samples === undefined || isDataset(samples) ? undefined : placeThere(samples, name, signal);
}

/** How samples are drawn. */
const drawnBy = ({ samples, seed = 0, sampling = 'even', augment }: Partial<RunSettings>) => ({
  samples,
  seed,
  sampling,
  augment,
});

/** @param data  where the samples are, unless they are open already */
async function calibrationOf(
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

/**
 * The time that an ONNX model takes on this machine, as a function of what its structures keep.
 *
 * @throws {InputError} for a folder
 *
 * @example
 * const latencyTable = await latency('model.onnx', { threads: 1 });
 * await prune('model.onnx', { calibration: 'photos/', latency: 0.6, latencyTable, output: 'faster.onnx' });
 */
export async function latency(
  model: Source,
  options: ModelOptions & { readonly onProgress?: (step: ProgressStep) => void } = {},
): Promise<LatencyTable> {
  checkOptions(options);
  const place = await placeOf(model, MODEL_NAME, options.signal);
  const file = await modelFile(place);
  if (file === undefined)
    throw new InputError(`"${place.path}": latency is measured of ONNX files, not of folders`);
  return closing(async (opened) => {
    const { model, engine } = await openModelFile(file, options, opened);
    return measureLatency(model, { engine, signal: options.signal, onProgress: options.onProgress });
  });
}

/**
 * A folder for the pieces of `osscar-wasm/model`: a path, a folder or files that were picked in a page, or names and what
 * they hold. Files stay open until it is closed.
 *
 * @throws {InputError} where it is no folder
 *
 * @example
 * import { openLanguageModel } from 'osscar-wasm/model';
 *
 * const model = await openLanguageModel(await openFolder('opt-125m/'));
 */
export async function openFolder(source: Source): Promise<Folder> {
  return (await placeOf(source, 'model')).openFolder();
}

const isDataset = (data: Source | Dataset): data is Dataset =>
  typeof Object(data).batches === 'function' && Array.isArray(Object(data).shape);

const kindOf = ({ preprocessing }: Pick<ModelInPlace, 'preprocessing'>): Kind =>
  preprocessing ? 'images' : 'text';

const labelsOf = async (labels: Source | undefined, signal?: AbortSignal) =>
  labels === undefined ? undefined : placeThere(labels, 'labels.csv', signal);

async function scratchFor(opened: Opened, scratch: RunSettings['scratch']) {
  return typeof scratch === 'function' ? scratch : host.scratch?.(opened, scratch);
}

/** What a run on a model takes. */
async function openRun(place: Place, settings: PruneSettings, opened: Opened) {
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
  settings.onKind?.(kindOf(found));
  const samples = await calibrationOf(found, data, labels, settings);
  const measured = measuredOn
    ? await found.evaluation(measuredOn, { labels: measuredBy, seed })
    : (evaluation as Dataset | undefined);
  const better = settings.force ? undefined : await lookAtUnits(found, data, samples, signal);
  // Where the model answers by chance its doubt says so.
  if (better && doubtOf(better.given) === undefined) settings.onNote?.(`warning: ${betterText(better)}`);
  const folder = typeof settings.scratch === 'string' ? settings.scratch : undefined;
  const { threads, simd } = settings;
  const session = opened(await openSession({ threads, simd, scratch: folder }));
  signal?.throwIfAborted();
  const windows = found.seqlen === undefined ? {} : { seqlen: found.seqlen, sampling };
  return {
    found,
    drawn: {
      path: data?.path ?? samples.name ?? 'calibration',
      seed,
      ...windows,
      ...(augment && { augment }),
    },
    engine: found.engine,
    session,
    calibration: samples,
    evaluation: measured,
    store,
    queue,
    shards: settings.shards,
    scratch,
    memory: settings.memory,
    signal,
    onProgress: settings.onProgress,
    onWarning: warningHandler(await madeOf(found, data), settings, better),
  };
}

async function queueAt(url: string, { onNote }: RunSettings) {
  if (!host.queue) throw new InputError('`queue`: cannot be an address here');
  return host.queue(url, { onNote });
}

async function madeOf({ preprocessing, isRemembered }: ModelInPlace, data: Place | undefined): Promise<Made> {
  return { preprocessing, isRemembered, array: data && (await isFile(data)) ? data.path : undefined };
}

/** Whether folders of images would be answered better in other units. */
async function lookAtUnits(
  found: ModelInPlace,
  data: Place | undefined,
  samples: Dataset,
  signal?: AbortSignal,
): Promise<Better | undefined> {
  // Arrays are inputs as they are.
  return data && (await isFolder(data)) ? betterPreprocessing(found, samples, signal) : undefined;
}

/** Of the kind that the model is: a file, a folder with a model in it, a folder of safetensors. */
async function outputFor(place: Place, settings: PruneSettings): Promise<Output> {
  const { output, overwrite, loadable } = settings;
  const file = await modelFile(place);
  const { format } = settings;
  const isOfFolders = format !== undefined && format !== 'onnx';
  const foreign = loadable ? '`loadable: true`' : isOfFolders && `\`format: '${format}'\``;
  if (file !== undefined && foreign)
    throw new InputError(`${foreign} is of folders of safetensors; leave it out of an ONNX model`);
  if (output === undefined) return keptOutput(baseName(file ?? place), file !== undefined);
  if (typeof output === 'object') return heldFolder(output);
  // What is no model at all says so when it is opened.
  if (file === undefined && FILE_NAME.test(output) && (await isFile(place.at('config.json'))))
    throw new InputError(
      `"${output}": a folder is written; give it another name (\`format: 'onnx'\` adds model.onnx to it)`,
    );
  const kind = file === undefined ? 'folder' : file.path === place.path ? 'file' : { source: place, file };
  return host.output(output, kind, { overwrite, inputs: inputsOf(place, settings) });
}

/** What people call files of models, and what they pack folders into. */
const FILE_NAME = /\.(onnx|safetensors|bin|pt|pth|gguf|zip|tar|gz|tgz)$/i;

const onnxOf = (format: PruneSettings['format']): FolderOptions['onnx'] =>
  format === 'onnx' ? 'beside' : format === 'transformers.js' ? format : undefined;

/** transformers.js sizes the caches of all blocks by config.json. */
const isLoadable = ({ loadable, format }: Pick<PruneSettings, 'format' | 'loadable'>) =>
  loadable || format === 'transformers.js';

/** The library that a written folder is for. */
function loaderOf({ sizes, isLoadable }: PruneReport, { format }: PruneSettings): string {
  if (sizes === undefined || format === 'transformers.js') return 'transformers.js';
  return isLoadable ? 'transformers' : 'osscar-wasm';
}

/** Files and folders that a run reads. */
function inputsOf(place: Place, settings: PruneSettings): string[] {
  const { calibration, evaluation, labels, evaluationLabels, tokenizer, work, scratch } = settings;
  const given = [calibration, evaluation, labels, evaluationLabels, tokenizer, work, scratch];
  const isFile = (it: unknown): it is URL => it instanceof URL && it.protocol === 'file:';
  const paths = given.map((it) => (isFile(it) ? host.place(it).path : it));
  return [place.path, ...paths.filter((it) => typeof it === 'string')];
}

/** What of the settings can be written down. */
function plainOf(settings: object): Record<string, unknown> {
  const isPlain = (value: unknown): boolean =>
    ['string', 'number', 'boolean'].includes(typeof value) ||
    (Array.isArray(value) && value.every(isPlain)) ||
    (Object.getPrototypeOf(value ?? 0) === Object.prototype && Object.values(value as object).every(isPlain));
  // An address may have a password in it, and changes nothing.
  const { queue: _, ...told } = settings as { readonly queue?: unknown };
  return Object.fromEntries(Object.entries(told).filter(([, value]) => isPlain(value)));
}
