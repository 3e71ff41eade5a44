// A smaller model: cut, proved, and written whole or not at all.

import { InputError } from '../errors.ts';
import {
  compareMethods,
  expectBound,
  type OpenedModel,
  type PruneReport,
  prune as pruneModel,
  recipeOf,
  type SavedReport,
  sharing,
} from '../pipeline/index.ts';
import { named } from '../printable.ts';
import { type ModelFiles, modelFiles, ONNX } from './beside.ts';
import { type Both, bothIn, checkBoth, metricOfBoth, settingsFor } from './both.ts';
import { modelCard } from './card.ts';
import { ownOptions } from './check.ts';
import { closing } from './closing.ts';
import { behindSmaller } from './doubt.ts';
import { host } from './host.ts';
import { isLoadable, onnxOf, type PartSettings, type PruneSettings } from './options.ts';
import { heldFolder, keptOutput, type Output, type Replacing } from './output.ts';
import { baseName, isFile, type Place } from './place.ts';
import { openRun } from './run.ts';
import { FILE_ADDRESS, MODEL_NAME, placeOf, type Source } from './source.ts';

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
  // All say what is wrong before anything is opened.
  settings = ownOptions('prune', settings);
  expectBound(recipeOf(settings).spend);
  const place = await placeOf(model, MODEL_NAME, settings.signal);
  const files = await modelFiles(place);
  return closing(async (opened) => {
    // First of all, so that an output that cannot be is found at once.
    const output = opened(await outputFor(place, files, settings));
    const both = await bothIn(place, files, settings);
    return both ? pruneBoth(place, both, settings, output) : pruneTo(output, place, settings);
  });
}

/** The encoder first, so that the decoder is fitted to what it will read. */
async function pruneBoth(place: Place, both: Both, settings: PruneSettings, output: Output): Promise<Pruned> {
  await checkBoth(place, both, settings);
  const { encoder, decoder } = both;
  const { part } = decoder;
  const before = (await metricOfBoth(both, settings))?.value;
  const kept = keptOutput(baseName(encoder.place), part === undefined);
  const told = { ...settingsFor('encoder', settings), part: encoder.part };
  const first = await pruneTo(kept, encoder.place, told);
  const behind = { ...settingsFor('decoder', settings), part };
  const done = { place, before, ...first };
  if (part === undefined)
    return pruneTo(output, decoder.place, { ...behind, encoder: [...first.files] }, done);
  // The folder with the smaller encoder.
  return pruneTo(output, await placeOf([...first.files], baseName(place), settings.signal), behind, done);
}

/** @param first  of a model of two parts the folder, how good they were, and what has become of the other one */
function pruneTo(
  output: Output,
  place: Place,
  settings: PruneSettings & PartSettings,
  first?: Pruned & { place: Place; before?: number },
): Promise<Pruned> {
  const recipe = recipeOf(settings);
  return closing(async (opened) => {
    const { latencyTable, compare, weights, format } = settings;
    const { found, drawn, options } = await openRun('prune', place, settings, opened, {
      ...recipe,
      latencyTable,
      weights,
      onnx: onnxOf(format),
      loadable: isLoadable(settings),
      output: output.output,
    });
    const progressOf = sharing(recipe, compare?.length ?? 0, options.onProgress);
    const result = await pruneModel(found.model as OpenedModel, {
      ...options,
      ...(first && { onWarning: behindSmaller(options.onWarning, settings.onNote) }),
      onProgress: progressOf(0),
      externalName: output.externalName,
      metadata: found.metadata,
    });
    const { metric } = result.report;
    const report = {
      version: 1 as const,
      ...result.report,
      ...found.inputs,
      calibration: { ...drawn, samples: result.report.samples },
      settings: {
        model: (settings.part ? first?.place : undefined)?.path ?? place.path,
        ...plainOf(settings),
      },
      ...(first && { encoder: first.report }),
      ...(first && settings.part && ofBoth(result.report, first.report)),
      ...(metric && first?.before !== undefined && { metric: { ...metric, before: first.before } }),
    };
    const card = await modelCard(first?.place ?? place, report, loaderOf(report, settings), found.isAudio);
    const isRead = (file: string) => found.files?.has(file) ?? false;
    const written = await output.save(result, isRead, card, first?.files);
    const comparison = compare && (await compareMethods(found.model, report, compare, options, progressOf));
    return { report: { ...report, model: written, comparison }, files: output.files?.() ?? new Map() };
  });
}

/** A folder's sizes, before the encoder in it became smaller. What loads the folder is said of both. */
const ofBoth = ({ parameters, bytes }: PruneReport, encoder: SavedReport) => ({
  encoder: { ...encoder, statement: undefined, isLoadable: undefined },
  parameters: { ...parameters, before: encoder.parameters.before },
  bytes: { ...bytes, before: encoder.bytes.before },
});

/** Of the kind that the model is: a file, a folder with a model in it, a folder of safetensors. */
export async function outputFor(
  place: Place,
  { file, encoder, parts }: Partial<ModelFiles> = {},
  settings: Partial<PruneSettings>,
): Promise<Output> {
  const { output, overwrite, loadable, format } = settings;
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
  const replacing = { overwrite, ...readBy(place, settings) };
  if (file === undefined) return host.output(output, 'folder', replacing);
  // Of a folder the model alone, where a file is named.
  const isAlone = file.path === place.path || (ONNX.test(output) && encoder === undefined);
  if (!isAlone && FILE_NAME.test(output))
    throw new InputError(`"${output}": a folder like "${place.path}" is written; give it another name`);
  if (parts && !isAlone)
    settings.onNote?.(
      `${named(parts.map(baseName))} stay as they are; an encoder is pruned as a file of its own`,
    );
  return host.output(output, isAlone ? 'file' : { source: place, file, parts }, replacing);
}

/** What people call files of models, and what they pack folders into. */
const FILE_NAME = /\.(onnx|safetensors|bin|pt|pth|gguf|zip|tar|gz|tgz)$/i;

/** The library that a written folder is for. */
function loaderOf({ sizes, isLoadable }: PruneReport, { format }: PruneSettings): string {
  if (sizes === undefined || format === 'transformers.js') return 'transformers.js';
  return isLoadable ? 'transformers' : 'osscar-wasm';
}

/** Files and folders that a run reads. */
function readBy(place: Place, settings: Partial<PruneSettings>): Pick<Replacing, 'inputs' | 'sources'> {
  const { calibration, evaluation, labels, evaluationLabels, tokenizer, encoder, work, scratch } = settings;
  const isText = (it: unknown) => typeof it === 'string' || it instanceof URL; // bytes are never made text
  const pathOf = (it: string) => (FILE_ADDRESS.test(it) ? host.place(it).path : it);
  const pathsOf = (given: readonly unknown[]) => given.filter(isText).map(String).map(pathOf);
  const sources = [
    place.path,
    ...pathsOf([calibration, evaluation, labels, evaluationLabels, tokenizer, encoder]),
  ];
  return { inputs: [...sources, ...pathsOf([work, scratch])], sources };
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
