// The folder of a language model or an encoder in Hugging Face's layout for the pipeline: embedding, blocks and head.

import { describe, type LanguageModel, type SizesRecord } from '../../checkpoint/architectures/index.ts';
import {
  type Checkpoint,
  CheckpointWriter,
  expectFolder,
  type Folder,
  hasWeights,
  type OutputFolder,
  openCheckpoint,
  planSafetensors,
  readChunks,
  readConfig,
  readJson,
  sideFilesOf,
} from '../../checkpoint/index.ts';
import type { Engine } from '../../engine/index.ts';
import { InputError, UnsupportedModelError } from '../../errors.ts';
import { expectObject, hasMethods, said } from '../../expect.ts';
import {
  elements,
  HEADS,
  isFitted,
  type Model,
  type Packed,
  type Structure,
  storedAs,
  sum,
  type Tensor,
  type Term,
  toFloat32,
} from '../../graph/index.ts';
import { checkJsonBytes } from '../../json.ts';
import { limits } from '../../limits.ts';
import { COUNT, expectOptions, oneOf } from '../../options.ts';
import type { SizeKind } from '../budget.ts';
import type { Chain, Part } from '../chain.ts';
import { LARGEST_BATCH, wholeBatch } from '../data/batches.ts';
import type { Dataset } from '../data/index.ts';
import type { Named, Sizes } from '../keep.ts';
import { isTokenMask, type ModelInput } from '../open/inputs.ts';
import { declaredInput, forSizes, type OpenedModel, openParsed } from '../open/open.ts';
import { expectIds } from '../open/vocabulary.ts';
import { type PrunedPart, shrunk } from '../pass/pruned.ts';
import type { Recipe } from '../recipe.ts';
import type { Hashable } from '../store/hash.ts';
import {
  NARROW_HEADS,
  PRUNING,
  provenanceText,
  type Round,
  type Shipment,
  type Subject,
  type Writer,
} from '../subject.ts';
import { allSizesAfter, describedSubject, languageTerms, namesIn, valuesIn, widestOf } from './described.ts';
import { loadableRecipe } from './loadable.ts';
import type { FileOptions } from './onnx.ts';
import {
  ONNX_FOLDER,
  type OnnxLayout,
  type OpenedLanguageModel,
  type RoundedWeights,
  transformersJsConfig,
  writeTwins,
} from './twin.ts';

/** Of language models' folders. */
export interface FolderOptions extends Pick<FileOptions, 'metadata' | 'weights'> {
  /** Bytes of a safetensors file before the next is begun. Default 5 GB. */
  readonly maxShardBytes?: number;
  /** Where a language model's pruned folder goes. Committed once it is verified, aborted where anything fails. */
  readonly output?: OutputFolder;
  /**
   * Whether the whole model is written as ONNX too, of language models with key-value caches as inputs and outputs: `beside` as `model.onnx`,
   * or as transformers.js reads it: `onnx/model.onnx` and `onnx/model_fp16.onnx`, and with weights of int8 or q8 `onnx/model_quantized.onnx`, of
   * int4 or q4 `onnx/model_q4.onnx`. Of a decoder behind an encoder `model` is `decoder_model_merged`, of that `encoder_model`.
   */
  readonly onnx?: OnnxLayout;
  /** Whether sizes are such that config.json can say them: stock loaders then read the folder. */
  readonly loadable?: boolean;
}

/** Beside config.json: the sizes of every block, where config.json cannot say them. */
const SIZES_FILE = 'osscar.json';
/** transformers.js does not do without; others take the tokenizer for such a one. */
const TOKENIZER_CONFIG = 'tokenizer_config.json';
/** In config.json. */
const JS_CONFIG = 'transformers.js_config';
/** How far outputs may be off, by the type that weights are written in. */
const TOLERANCE: Record<string, number> = { float32: 1e-3, float16: 2e-2, bfloat16: 1e-1 };
/** Values of a block's largest activation in a batch: scores of all heads are the largest where windows are long. */
const VALUES_PER_BATCH = 2 ** 22;

/**
 * @param options.image  side of images, of a DINOv2: its positions follow. Default: what config.json says
 * @param options.heads  whether attention loses heads (`fewer`, the default), or all heads stay and have fewer features each (`narrow`)
 * @param options.part  `decoder` for what is behind an encoder: its samples are token ids, and what that gives (`encoder_hidden_states`)
 * @throws {InputError} if a file is missing, or config.json contradicts the tensors
 * @throws {FormatError} naming the malformed file
 * @throws {UnsupportedModelError} naming the model type, or the part of it that is not supported
 *
 * @example
 * const language = await openLanguageModel(folder);
 * await prune(language, { engine, calibration, keep: 0.7, output: memoryOutput() });
 */
export async function openLanguageModel(
  folder: Folder,
  options: Pick<OpenedLanguageModel, 'heads' | 'image' | 'part'> = {},
): Promise<OpenedLanguageModel> {
  expectOptions('openLanguageModel', options, { heads: oneOf(...HEADS), image: COUNT, part: PART });
  const { heads, image, part } = options;
  const checkpoint = await openCheckpoint(folder);
  const language = await describe(checkpoint.config, await sizesIn(folder), image, checkpoint, part);
  language.check(checkpoint);
  return { folder, checkpoint, language, heads, image, part };
}

const PART = oneOf('encoder', 'decoder');

/**
 * The model that a folder describes, from its config.json alone; there need be no weights. Where they are there, their shapes are
 * those that it says.
 *
 * @param options.image, options.part  as of `openLanguageModel`
 * @throws {InputError} if config.json or osscar.json contradicts the tensors
 *
 * @example
 * const { architecture, blocks } = await describeFolder(folder);
 */
export async function describeFolder(
  folder: Folder,
  options: Pick<OpenedLanguageModel, 'image' | 'part'> = {},
): Promise<LanguageModel> {
  expectFolder('describeFolder', folder);
  if (await hasWeights(folder)) return (await openLanguageModel(folder, options)).language;
  expectOptions('describeFolder', options, { image: COUNT, part: PART });
  const { image, part } = options;
  return describe(await readConfig(folder), await sizesIn(folder), image, undefined, part);
}

async function sizesIn(folder: Folder): Promise<SizesRecord | undefined> {
  if (!(await folder.list()).includes(SIZES_FILE)) return undefined;
  return (await readJson(folder, SIZES_FILE, limits.jsonBytes)) as unknown as SizesRecord; // describe checks it
}

export function folderSubject(opened: OpenedLanguageModel, options: FolderOptions = {}): Subject {
  const { folder, checkpoint, language, heads } = opened;
  const tensors = [...checkpoint.tensors.values()];
  const stored = storedAs(options.weights);
  return {
    name: folder.name,
    parameters: valuesIn(tensors),
    bytes: bytesOf(checkpoint),
    heads,
    ...describedSubject(opened),
    pinned: [],
    notPrunable: [],
    hasShortcuts: true,
    tolerance: Math.max(...[...new Set(tensors.map(({ dtype }) => dtype))].map((it) => TOLERANCE[it] ?? 0)),
    loadable: options.loadable
      ? (recipe, sample) =>
          loadableRecipe(language, recipe, (of) => termsOf(opened, of, language.tokensOf(sample)))
      : undefined,
    chain: (engine, samples) => chainOf(opened, engine, samples),
    check: async (samples) => {
      expectWritten(folder.name, language, options);
      expectBoth(opened, options);
      if (options.loadable && becomesNarrow(opened))
        throw new InputError(
          `${folder.name}: config.json has no field for narrower heads; \`loadable: false\` takes sizes that it cannot say`,
        );
      await checkWindows(samples, language);
      if (options.output) await checkSideFiles(folder);
    },
    terms: (of, sample) => termsOf(opened, of, language.tokensOf(sample)),
    contents: () => contentsOf(opened),
    shipment: () => shipmentOf(opened),
    stored,
    writer: (recipe, sizes, engine) => folderWriter(opened, recipe, sizes, engine, { ...options, stored }),
  };
}

/**
 * @throws {InputError} where weights are to be stored otherwise, and no file is written that has them so
 * @throws {UnsupportedModelError} where transformers.js is to load what it cannot
 */
export function expectWritten(
  name: string,
  { transformersJs, architecture }: LanguageModel,
  { weights, onnx }: FolderOptions,
): void {
  if (onnx === 'transformers.js' && transformersJs)
    throw new UnsupportedModelError(
      `${name}: transformers.js ${transformersJs} (${architecture}); the format "onnx" is for other loaders`,
    );
  if (storedAs(weights) && !onnx)
    throw new InputError(
      `${name}: \`weights\` is of ONNX files, and safetensors are written; \`format: 'onnx'\` adds one`,
    );
}

/** @throws {InputError} where the encoder alone is to be pruned, and what is written is of the decoder too */
function expectBoth({ folder, language, part }: OpenedLanguageModel, options: FolderOptions): void {
  if (part !== undefined || !language.hasDecoder) return;
  const why =
    (options.onnx === 'transformers.js' && 'transformers.js runs the decoder too') ||
    (options.loadable &&
      language.saysOfBoth &&
      `config.json has one field for both, "${language.saysOfBoth}"`);
  if (why)
    throw new InputError(
      `${folder.name}: ${why}; calibrate by pairs of what the encoder reads and what is said of it (.tsv), by which the decoder is pruned with it`,
    );
}

/** Whether heads have fewer features than config.json says, or are about to lose some. */
function becomesNarrow({ language, heads }: OpenedLanguageModel): boolean {
  return heads === 'narrow' || language.areNarrow(language.sizes);
}

/**
 * What samples are to the model.
 *
 * @example
 * const { shape } = inputOf(language); // of images; token ids are a window
 */
export function inputOf(opened: OpenedLanguageModel): ModelInput {
  return inputFor(opened);
}

/** @param beside  of the samples */
function inputFor(opened: OpenedLanguageModel, beside?: Dataset['beside']): ModelInput {
  expectObject('inputOf', 'model', opened);
  const { checkpoint, language } = opened;
  if (!hasMethods(language, 'outline'))
    throw new InputError(`inputOf: "model" expected one of openLanguageModel(folder), got ${said(opened)}`);
  if (language.isEncoder || language.states)
    return declaredInput(language.outline(checkpoint).model, {}, beside);
  return { name: 'input_ids', type: 'int64', shape: [0], open: [true], fixedBatch: 0, others: [] };
}

/**
 * Samples for each input of a layer, where the last block of a classifier is fitted by the tokens alone that its scores are made of:
 * one of each sample. Where they are fewer, by all tokens.
 */
const SAMPLES_FOR_INPUT = 2;

function chainOf(
  opened: OpenedLanguageModel,
  engine: Engine,
  { shape, smallest, beside, size }: Dataset,
): Chain {
  const { folder, checkpoint, language, heads } = opened;
  const { blocks, hidden, isEncoder, states } = language;
  const length = language.tokensOf(shape);
  const dims = states && beside;
  const widest = widestOf(language.sizes[blocks - 1], language);
  const outside = { batch: 1, named: (structure: Named) => structure };
  return {
    name: folder.name,
    engine,
    input: { ...inputFor(opened, dims), shape, outputs: length * hidden },
    predictsTokens: !isEncoder,
    takesLabels: language.givesScores,
    parts: blocks + 2,
    along: states && [states.name],
    between: [length, hidden],
    async open(part): Promise<Part> {
      if (part === 0) return { ...outside, read: () => language.embedding(checkpoint, { length }) };
      // One window at a time: scores over the vocabulary outnumber everything else.
      if (part === blocks + 1)
        return { ...outside, read: () => language.head(checkpoint), gain: language.headGain(checkpoint) };
      const isFirst = part === blocks && language.readsFirst && size >= SAMPLES_FOR_INPUT * widest;
      const source = await language.block(checkpoint, part - 1, { length, isFirst });
      const name = `${folder.name}: block ${part - 1}`;
      const extents = isEncoder || states ? [length] : undefined;
      const named = namesIn(language, part - 1);
      const block = withKnown(
        await openParsed(source, {
          engine,
          name,
          size: extents,
          dims,
          isBuilt: true,
          heads,
        }),
        (structure) => named(structure).name !== undefined,
      );
      return {
        read: async () => source,
        opened: smallest ? await forSizes(block, engine, [language.tokensOf(smallest), hidden]) : block,
        batch: blockBatch(block),
        named,
      };
    },
  };
}

/** The others stay: the features between two maps, of which all blocks have the same number. */
function withKnown(block: OpenedModel, isKnown: (structure: Structure) => boolean): OpenedModel {
  const structures = block.analysis.structures.map((it) => ({
    ...it,
    prunable: it.prunable && isKnown(it),
  }));
  return { ...block, analysis: { ...block.analysis, structures } };
}

/** Windows that go through a block at a time. */
function blockBatch({ info }: OpenedModel): number {
  return wholeBatch(VALUES_PER_BATCH / Math.max(1, ...Array.from(info.shapes.values(), elements)));
}

/**
 * Of what the pruned folder takes along, before the long work.
 *
 * @throws {InputError} naming what cannot be read
 * @throws {FormatError} naming what is larger than any tokenizer
 */
async function checkSideFiles(folder: Folder): Promise<void> {
  for (const file of await sideFilesOf(folder)) {
    const most = MODULE_WEIGHTS.test(file) ? Number.POSITIVE_INFINITY : limits.tokenizerBytes;
    checkJsonBytes(await folder.size(file), most, `${folder.name}/${file}`);
  }
}
/** Of a map behind the model: copied in pieces, however large. */
const MODULE_WEIGHTS = /\/.*\.(safetensors|bin)$/;

/**
 * @throws {InputError} where windows are longer than the model's positions or hold ids outside its vocabulary, or waveforms are shorter than a
 * token
 */
async function checkWindows(windows: Dataset, language: LanguageModel): Promise<void> {
  const { maxPositions, vocabulary, architecture, isEncoder } = language;
  if (vocabulary === 0) {
    const dims = windows.smallest ?? windows.shape;
    if (language.tokensOf(dims) > 0) return; // others are made for the shape that it has
    throw new InputError(
      `waveforms of at least ${language.lengthOf(1)} samples expected for this ${architecture}, got [${dims}]`,
    );
  }
  const [length] = windows.shape;
  const least = isEncoder ? 1 : 2;
  if (windows.shape.length !== 1 || length < least || length > maxPositions) {
    throw new InputError(
      `windows of ${least} to ${maxPositions} tokens expected for this ${architecture}, got [${windows.shape}]; see \`seqlen\``,
    );
  }
  for await (const { inputs, others = {} } of windows.batches(LARGEST_BATCH)) {
    const mask = Object.keys(others).find(isTokenMask);
    if (mask !== undefined && others[mask].data.includes(0))
      throw new InputError(
        `"${mask}" hides tokens before the last one; of a folder, padding is at the end only`,
      );
    expectIds(inputs, vocabulary, 0, windows.name);
  }
}

function termsOf(opened: OpenedLanguageModel, of: SizeKind, length: number): Term[] {
  const terms = languageTerms(opened, of === 'bytes' ? 'params' : of, length);
  if (of !== 'bytes') return terms;
  const { checkpoint } = opened;
  const bytesPer = bytesOf(checkpoint) / valuesIn(checkpoint.tensors.values());
  return terms.map(({ value, of }) => ({ value: value * bytesPer, of }));
}

function bytesOf({ tensors }: Checkpoint): number {
  return sum(Array.from(tensors.values(), ({ bytes }) => bytes));
}

/**
 * The files that are the model: those that it is read from, and those that the pruned folder takes along. What else lies
 * there may be large, as the same weights in other formats.
 */
async function filesOf({ folder, checkpoint }: OpenedLanguageModel): Promise<string[]> {
  const own = new Set([...checkpoint.files, SIZES_FILE]);
  return [...(await folder.list()).filter((file) => own.has(file)), ...(await sideFilesOf(folder))].sort();
}

async function shipmentOf(opened: OpenedLanguageModel): Promise<Shipment> {
  const { folder, heads, image, part } = opened;
  const files = (await filesOf(opened)).map(async (name) => {
    const read = (at: number, length: number) => folder.read(name, at, length);
    return { name, size: await folder.size(name), read };
  });
  return { kind: 'folder', name: folder.name, files: await Promise.all(files), heads, image, part };
}

async function* contentsOf(opened: OpenedLanguageModel): AsyncGenerator<Hashable> {
  if (opened.heads === 'narrow') yield NARROW_HEADS;
  if (opened.image !== undefined) yield `images of ${opened.image}`;
  if (opened.language.states) yield 'decoder';
  for (const file of await filesOf(opened)) {
    yield file;
    yield* readChunks(opened.folder, file);
  }
}

async function folderWriter(
  opened: OpenedLanguageModel,
  recipe: Recipe,
  kept: Sizes,
  engine: Engine,
  { output, maxShardBytes, onnx, metadata = {}, stored: weights }: FolderOptions & Pick<Subject, 'stored'>,
): Promise<Writer> {
  const { folder, checkpoint, language, image, part } = opened;
  if (!output) throw new InputError(`${folder.name}: expected an "output" folder for the pruned model`);
  const sizes = allSizesAfter(opened, kept);
  const { config, record, statement, left: blocks } = language.configOf(sizes);
  const [dense, shapes] = [language.tensors(checkpoint), language.tensors(checkpoint, sizes)];
  // Of experts that differ each has tensors of its own, in the place of those that all shared. Of heads and of halves that go there are none. What
  // blocks share lies outside of them, and stays.
  const isReplaced = (name: string) => {
    const { isSized = false, block } = dense.get(name) ?? {};
    return (isSized || block !== undefined) && !shapes.has(name);
  };
  const all = [...checkpoint.tensors.values()];
  /** What it is called there; undefined where it goes. */
  const nameOf = (name: string) => (blocks ? language.nameWith(blocks, name, checkpoint) : name);
  const left = all.flatMap((tensor) => {
    const name = isReplaced(tensor.name) ? undefined : nameOf(tensor.name);
    return name === undefined ? [] : [{ tensor, name }];
  });
  const stacked = all.find(({ name }) => isReplaced(name) && dense.get(name)!.isSized);
  const specs = [
    ...left.map(({ name, tensor: { name: own, dtype, shape } }) => {
      return { name, dtype, shape: shapes.get(own)?.shape ?? shape };
    }),
    // These, and what follows from all heads, of those that stay.
    ...[...shapes]
      .filter(([name]) => !checkpoint.tensors.has(name))
      .map(([name, { shape }]) => {
        return { name: nameOf(name)!, dtype: stacked?.dtype ?? ('float32' as const), shape };
      }),
  ];
  const writer = new CheckpointWriter(output, planSafetensors(specs, { maxShardBytes }));
  const written = new Set<string>();
  const json = (value: unknown) => new TextEncoder().encode(`${JSON.stringify(value, null, 2)}\n`);
  return {
    async part(index, pruned) {
      const tensors =
        index > language.blocks
          ? gainTensors(language, checkpoint, pruned.weighted)
          : language.tensorsOf(index - 1, shrunk(withoutGone(pruned)), sizes[index - 1]);
      for (const { name, data } of tensors) {
        written.add(name);
        await writer.write(nameOf(name)!, data);
      }
    },
    async finish(how, { round, prove }) {
      for (const { tensor, name } of left) {
        if (!written.has(tensor.name)) await copyTensor(checkpoint, writer, tensor.name, name);
      }
      const parameters = valuesIn(specs);
      const forJs = onnx === 'transformers.js' && {
        [JS_CONFIG]: transformersJsConfig(language, parameters, {
          weights,
          encoder: language.states && config[JS_CONFIG],
        }),
      };
      // Its releases before size them by config.json.
      const sizesCaches = forJs && record && !language.isEncoder;
      await writer.writeFile('config.json', json({ ...config, ...forJs }));
      if (record) await writer.writeFile(SIZES_FILE, json(record));
      await writer.copySideFiles(folder);
      if (language.states)
        for (const file of await encoderFilesIn(folder)) await writer.copyFile(folder, file);
      if (forJs && !(await folder.list()).includes(TOKENIZER_CONFIG))
        await writer.writeFile(TOKENIZER_CONFIG, json({ tokenizer_class: 'PreTrainedTokenizerFast' }));
      let proof: Awaited<ReturnType<typeof prove>>;
      await writer.finish(async () => {
        const written = await openLanguageModel(output, { image, part });
        const [before, after] = [checkpoint, written.checkpoint].map((it) => valuesIn(it.tensors.values()));
        const entries = {
          ...metadata,
          [PRUNING]: provenanceText(recipe, { before, after }, { ...how, weights }),
        };
        const subject = folderSubject(written);
        const rounded = isFitted(weights) ? await roundedWeights(written, subject, round) : undefined;
        const twins = await writeTwins(written, output, { layout: onnx, weights, rounded }, entries, engine);
        proof = await prove({
          subject,
          statement: sizesCaches ? `${statement} transformers.js loads that from 4.2 on.` : statement,
          sizes,
          isLoadable: record === undefined,
          ...twins,
        });
      });
      return proof!;
    },
    abort: () => writer.abort(),
  };
}

/** ONNX files of the encoder that a decoder is behind. */
async function encoderFilesIn(folder: Folder): Promise<string[]> {
  const inside = (await folder.list(ONNX_FOLDER)).map((file) => `${ONNX_FOLDER}/${file}`);
  return [...(await folder.list()), ...inside].filter((file) => ENCODER_FILE.test(file));
}

const ENCODER_FILE = /^(onnx\/)?encoder_model(_\w+)?\.onnx(_data)?$/;

/** What rounding makes of the weights of a folder, block by block. */
async function roundedWeights(
  { checkpoint, language }: OpenedLanguageModel,
  subject: Subject,
  round: Round,
): Promise<RoundedWeights> {
  const [onSteps, others] = [new Map<string, Packed>(), new Map<string, Tensor>()];
  await round(subject, async (index, { weighted, onSteps: own = new Map() }) => {
    const { weight, bias } = language.headGain(checkpoint) ?? {};
    const changed = index > language.blocks ? [weight, bias] : weighted.tensors.keys();
    for (const [name, packed] of own) onSteps.set(name, packed);
    for (const name of changed)
      if (name !== undefined && !own.has(name)) others.set(name, weighted.tensors.get(name)!);
  });
  return { onSteps, others };
}

/** Nobody asks for the weights of what goes whole, and not of all models the graph says that it can. */
function withoutGone({ layers, ...pruned }: PrunedPart): PrunedPart {
  return { ...pruned, layers: layers.filter(({ kept }) => kept.length > 0) };
}

/** What pruning changes in a head. */
function gainTensors(language: LanguageModel, checkpoint: Checkpoint, head: Model) {
  const { weight, bias } = language.headGain(checkpoint)!;
  return [weight, bias]
    .filter((name) => name !== undefined)
    .map((name) => ({ name, data: toFloat32(head.tensors.get(name)!) }));
}

/** Bytes of a tensor that are held while it is copied. */
const COPY_BYTES = 2 ** 25;

async function copyTensor(
  checkpoint: Checkpoint,
  writer: CheckpointWriter,
  name: string,
  to: string,
): Promise<void> {
  const { shape, bytes } = checkpoint.tensors.get(name)!;
  const rows = shape[0] ?? 1;
  const step = Math.max(1, Math.floor(COPY_BYTES / (bytes / rows || 1)));
  if (rows <= step) return writer.writeRaw(to, await checkpoint.readRaw(name));
  for (let row = 0; row < rows; row += step) {
    await writer.writeRaw(to, await checkpoint.readRaw(name, row, Math.min(rows, row + step)), row);
  }
}
