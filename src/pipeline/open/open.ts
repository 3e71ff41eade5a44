// Opening a model: read, fold, learn the shapes, analyse.

import { type Engine, expectEngine, isOfEngine } from '../../engine/index.ts';
import {
  InputError,
  type OsscarError,
  OutOfMemoryError,
  TimeLimitError,
  UnsupportedModelError,
} from '../../errors.ts';
import { expectObjects, isObject, said } from '../../expect.ts';
import {
  type Analysis,
  type AnalysisOptions,
  analyse,
  channelCounts,
  concat,
  countMacs,
  countParameters,
  declareOutputs,
  describeValue,
  elements,
  floatWeights,
  foldBatchNormalization,
  foldConstants,
  foldScales,
  HEADS,
  ifsOf,
  isStorable,
  type Merged,
  type Model,
  onlyOutputs,
  quantizedLayers,
  quantizedText,
  type ReadExternal,
  type ReadOptions,
  readModel,
  type Shapes,
  type StoredType,
  type Structure,
  separateExperts,
  separateGroups,
  separateProjections,
  separateShapes,
  shrink,
  storedType,
  sum,
  takenOnce,
  turnProducts,
  unfuse,
  unmerged,
  unreachedValues,
  unrollLoops,
  unselectedValues,
  type ValueInfo,
  type WrittenModel,
  withoutCasts,
  withoutListAxis,
  withoutRounding,
  withoutUnread,
  withSampleAxis,
} from '../../graph/index.ts';
import {
  expectOptions,
  FUNCTION,
  type Kind,
  LATER,
  NAMES,
  OBJECT,
  type Options,
  oneOf,
  SWITCH,
  TEXT,
} from '../../options.ts';
import { heldInput, SEVERAL } from './batch.ts';
import { type Branch, takeKnownBranches, undecidedTexts } from './branches.ts';
import { computeConstants } from './constants.ts';
import {
  cachesOf,
  type InputDims,
  type InputValues,
  type ModelInput,
  modelInput,
  statesOf,
  takesTokens,
  takesWindows,
  withoutBatch,
} from './inputs.ts';
import { probe, probed, zeros } from './probe.ts';
import { needsPlaces, samplePlaces } from './shapes.ts';
import { sizedInput } from './size.ts';
import { hasVocabulary } from './vocabulary.ts';

/** What the file alone does not say. */
export interface OpenOptions extends ReadOptions, AnalysisOptions {
  readonly engine: Engine;
  /** For dimensions that the model leaves open: height and width, the tokens of a window, or extents in their order. */
  readonly size?: readonly number[];
  /** The same of the smallest samples, where they have several sizes: Ifs stay that these decide otherwise. */
  readonly smallest?: readonly number[];
  /** What inputs are for all samples, as a sample rate; by name. */
  readonly inputs?: InputValues;
  /** Dims of a sample of inputs that go along, by name, where the model leaves them open. */
  readonly dims?: InputDims;
  /** Outputs that it goes on giving, or values of its nodes; what leads to others alone is gone. Default: all outputs. */
  readonly outputNames?: readonly string[];
}

const LIST: Kind = [Array.isArray, 'a list'];
const OPTIONS: Options<OpenOptions> = {
  engine: LATER,
  name: TEXT,
  external: FUNCTION,
  operators: LIST,
  residual: SWITCH,
  heads: oneOf(...HEADS),
  size: LIST,
  smallest: LIST,
  inputs: OBJECT,
  dims: OBJECT,
  outputNames: NAMES,
};

/** What an opened model remembers of these, by which it can be opened again. */
export type Reopening = Pick<OpenOptions, 'size' | 'smallest' | 'inputs' | 'dims' | 'residual' | 'heads'>;

/** What there is of a model. */
export interface ModelSize {
  readonly parameters: number;
  /** Of the files, external data among them. */
  readonly bytes: number;
  /** Multiply-adds for one sample, where they are known. */
  readonly macs?: number;
}

/** A model that is ready to be inspected, pruned or evaluated. */
export interface OpenedModel extends Required<ModelSize>, Reopening {
  /** For messages: the file's name, or `model`. */
  readonly name: string;
  /** As in the file, with the outputs that were named and what leads to them. */
  readonly source: Model;
  /** Fused nodes taken apart, constants computed, BatchNormalization and LayerScale folded into the layers before them: what is analysed and pruned. */
  readonly model: Model;
  readonly input: ModelInput;
  /** Shapes and types of every value in a run of one sample (or of the fixed batch). */
  readonly info: ValueInfo;
  /** Shapes that the analysis went by: of several samples, where that can be. */
  readonly told: Shapes;
  readonly analysis: Analysis;
  /** Layers whose weights are quantised: prune the float model, and quantise what comes of it. */
  readonly quantized: readonly string[];
  /** Whether weights or values were whole numbers in the file: what is pruned is the network of floats that it stands for. */
  readonly dequantized: boolean;
  /** What most of its weights are stored as, where that is not what the network computes with; and so they are again when it is written. */
  readonly stored?: StoredType;
  /** Values that the model is measured and compared by, where it selects among these; default: its outputs. */
  readonly measured?: readonly string[];
  /** Ifs that no sample decides: a pruned model has only the branches that are taken. */
  readonly branches: readonly Branch[];
  /** What makes a merged decoder of it again. */
  readonly merged?: Merged;
  /** Whether the first output has a score of every token of the vocabulary for every position. */
  readonly predictsTokens: boolean;
  /** Whether it was read with operators of one's own. */
  readonly isCustom?: boolean;
}

/**
 * @param bytes  of the file; the opened model keeps them, and what external data is read to, so leave those alone while it is used
 * @throws {FormatError} where the bytes are not a valid ONNX model
 * @throws {UnsupportedModelError} where the engine refuses the model
 * @throws {InputError} where input dimensions are open and no size is given, or one is given that the model does not take
 *
 * @example
 * const model = await openModel(await readFile('model.onnx'), { engine, size: [224, 224] });
 * console.log(model.parameters, model.analysis.structures.length);
 */
export async function openModel(bytes: Uint8Array, options: OpenOptions): Promise<OpenedModel> {
  expectOptions('openModel', options, OPTIONS);
  expectEngine('openModel', options.engine);
  const { name = 'model' } = options;
  let externalBytes = 0;
  const external: ReadExternal | undefined =
    options.external &&
    (async (location, offset, length) => {
      externalBytes += length;
      return (options.external as ReadExternal)(location, offset, length);
    });
  const source = await readModel(bytes, { name, external, operators: options.operators });
  return openParsed(source, { ...options, bytes: () => bytes.byteLength + externalBytes });
}

/** Of a graph that is read. */
interface ParsedOptions extends OpenOptions {
  /** Whether the graph was built here, and its weights are read back by their names. */
  readonly isBuilt?: boolean;
  /** Of the file or files, once the weights are read. Default: of the weights as they are written. */
  bytes?(): number;
}

export async function openParsed(file: Model, options: ParsedOptions): Promise<OpenedModel> {
  const { outputNames, name = file.name } = options;
  // An engine takes the square of the time for thousands of nodes that read one value.
  const read = withoutUnread(outputNames ? onlyOutputs(file, outputNames) : file);
  if (read.nodes.some(({ domain }) => domain === 'com.microsoft.nchwc')) {
    throw new UnsupportedModelError(
      `${name}: onnxruntime has laid its convolutions out for the processor that it was optimised on (com.microsoft.nchwc); save it with the optimisation level "extended", not "all"`,
    );
  }
  if (read.outputs.length === 0)
    throw new InputError(`${name}: the graph has no outputs: there is nothing that it could go on giving`);
  const parted = asUnmerged(read, options);
  const plain = parted?.model ?? read;
  const { single = [], lists, name: taken, shape } = declaredInput(plain, options.inputs, options.dims);
  const source = lists ? withoutListAxis(plain, lists.names) : withSampleAxis(plain, single);
  if (!source) throw named(name, withoutBatch(taken, shape));
  let branches: readonly Branch[] = [];
  let floats = source;
  try {
    const decided = await withoutIfs(options.engine, source, options);
    branches = decided.branches;
    const stored = storedType(decided.model);
    const unrounded = withoutRounding(decided.model);
    floats = floatWeights(unrounded);
    const { model, input, info, told, analysis } = await analysed(
      foldConstants(unfuse(floats)),
      decided.model,
      options,
    );
    declareOutputs(model, info);
    const batch = input.fixedBatch || 1;
    const outputs = model.outputs.map((output) => elements(info.shapes.get(output.name) ?? []) / batch);
    return {
      name,
      source,
      model,
      input: { ...input, outputs: Math.max(...outputs), single, lists },
      info,
      told,
      analysis,
      predictsTokens: takesTokens(input) && hasVocabulary(model, input, info.shapes),
      bytes: options.bytes?.() ?? sum(Array.from(source.tensors.values(), ({ bytes }) => bytes.byteLength)),
      branches,
      merged: parted?.merged,
      measured: measuredValues(model, source, info),
      size: options.size,
      smallest: options.smallest,
      inputs: options.inputs,
      dims: options.dims,
      residual: options.residual,
      heads: options.heads,
      isCustom: options.operators !== undefined,
      parameters: countParameters(floats),
      macs: countMacs(model, info.shapes),
      quantized: quantizedLayers(floats),
      dequantized: unrounded !== decided.model,
      stored: stored && isStorable(model, stored) ? stored : undefined,
    };
  } catch (error) {
    const quantized = quantizedText(quantizedLayers(floats));
    const causes = [...(quantized ? [`it has ${quantized}`] : []), ...undecidedTexts(branches)];
    throw named(name, explained(error, read, causes), source);
  }
}

/** Both decoders of a merged one, where nothing is said of what decides between them, and of caches. */
function asUnmerged(model: Model, { inputs = {}, dims }: ParsedOptions) {
  const [ins, outs] = [model.inputs, model.outputs].map((list) => list.map(describeValue));
  const caches = cachesOf(ins, outs);
  const isSaid = (name: string) => Object.hasOwn(inputs, name);
  if (caches.size === 0 || [...caches.keys()].some(isSaid)) return undefined;
  const parted = unmerged(model, declaredInput(model, inputs, dims).name, caches);
  return parted && isSaid(parted.merged.condition) ? undefined : parted;
}

/** Domains of onnxruntime-extensions, which decode images or take texts apart; engines have them where they are registered. */
const EXTENSIONS = new Set(['com.microsoft.extensions', 'ai.onnx.contrib']);

/** What onnxruntime says of an operator that it has not: which one, or of what domain. */
const UNKNOWN =
  /No Op registered for (\w+)|:(\w+)\(-?\d+\) is not a registered|No opset import for domain '([^']+)'/;

/** The error with what it most likely comes of. */
function explained(error: unknown, model: Model, causes: readonly string[] = []): unknown {
  if (!(error instanceof UnsupportedModelError)) return error;
  const [, standard, own = standard, foreign] = UNKNOWN.exec(error.message) ?? [];
  for (const cause of causes) error.message += `; ${cause}`;
  const added = model.nodes.find(({ domain }) => EXTENSIONS.has(domain));
  const unknown = model.nodes.filter(({ opType, domain }) => opType === own || domain === foreign);
  const read = [...new Set(unknown.flatMap(({ input }) => input))].filter((value) => model.producer(value));
  if (added)
    error.message += `; ${added.opType} is of onnxruntime-extensions: prune the model without what was added before and behind it`;
  else if (read.length > 0)
    error.message += `; what leads to ${unknown[0].opType} can be pruned without it: \`outputNames\` ${read.map((value) => `"${value}"`).join(' ')}`;
  return error;
}

/** A network of floats in the form in which its layers can be cut, with the shapes of its values and what can be pruned. */
async function analysed(plain: Model, file: Model, options: ParsedOptions) {
  const { engine, size, inputs, dims, isBuilt } = options;
  // Weights of a graph that was built here go back to where they came from: they stay as they are.
  const fold = (it: Model) => (isBuilt ? foldBatchNormalization(it) : foldScales(foldBatchNormalization(it)));
  let model = fold(isBuilt ? plain : separateGroups(await computeConstants(engine, plain)));
  const sized = sizedInput(declaredInput(model, inputs, dims), model, size);
  const input = isBuilt ? sized : await heldInput(engine, file, model, sized);
  let { info, told } = await shapesOf(engine, model, input);
  const counted = await withoutCounts(engine, model, { shapes: told, types: info.types });
  const known = separateProjections(separateExperts(turnProducts(counted, told), told), told);
  if (known !== model) {
    model = fold(known);
    ({ info, told } = await shapesOf(engine, model, input));
  }
  const analysisOf = () => analyse(model, told, { ...options, states: statesOf(input), sample: info.shapes });
  let analysis = analysisOf();
  if (analysis.shared) {
    model = separateShapes(model, analysis.shared);
    ({ info, told } = await shapesOf(engine, model, input));
    analysis = analysisOf();
  }
  return { model, input, info, told, analysis };
}

/**
 * The input that samples go to, as the model declares it, and those that go along.
 *
 * @throws {InputError} where a value is of an input that there is not
 * @throws {UnsupportedModelError} where no input has a leading batch dimension
 *
 * @example
 * const { name, shape } = declaredInput(await readModel(bytes)); // before anything is run
 */
export function declaredInput(model: Model, values?: InputValues, dims?: InputDims): ModelInput {
  expectObjects('declaredInput', 'model.inputs', Object(model).inputs);
  const { name, inputs, outputs } = model;
  try {
    return modelInput(inputs.map(describeValue), outputs.map(describeValue), values, dims);
  } catch (error) {
    throw named(name, explained(error, model));
  }
}

/** A copy with the weights that numbers of channels take out of others, or the same where there are none. */
async function withoutCounts(engine: Engine, model: Model, info: ValueInfo): Promise<Model> {
  const plain = withoutCasts(model, info.types);
  const counts = channelCounts(plain, info);
  if (counts.length === 0 && plain === model) return model;
  // a FusedMatMul by such weights is a layer from then on
  return unfuse(await computeConstants(engine, takenOnce(plain, counts), counts));
}

/** Windows and tokens of a run that no other extent of a model is likely to have. */
const DISTINCT = [SEVERAL, 11];
const distinctOf = ({ shape: [, ...features] }: ModelInput) => [...DISTINCT, ...features];

/** What is known of all values, for one sample; and their shapes where extents that mean different things differ. */
async function shapesOf(
  engine: Engine,
  model: Model,
  input: ModelInput,
): Promise<{ info: ValueInfo; told: Shapes }> {
  const batch = input.fixedBatch || 1;
  const shown = await probe(engine, model, input, [batch, ...input.shape]);
  const isFree = hasFreeTokens(input);
  const several = SEVERAL * batch;
  const alike = [several, ...input.shape];
  // A batch of one hides what mixes it with other axes. Traced networks may take one length alone, whatever they declare.
  const distinct = isFree ? await probed(engine, model, input, distinctOf(input)) : undefined;
  const told = distinct ?? (isFree ? await probe(engine, model, input, alike) : shown);
  const isSingle = input.fixedBatch === 1;
  const isAsked = needsPlaces(model) && !isSingle;
  // Of as many tokens: rows that are merged of samples and tokens are told by no other.
  const more = isAsked ? await probed(engine, model, input, alike) : undefined;
  const counts = [batch, several] as const;
  const info: ValueInfo = {
    ...shown,
    fixed: heldInputs(input),
    unreached: unreachedValues(model),
    isSingle,
    ...(more && { samples: samplePlaces(model, shown.shapes, more.shapes, counts) }),
  };
  return { info, told: told.shapes };
}

/**
 * What is known of the values of a model that is not looked at otherwise.
 *
 * @param smallest  where samples have several sizes: extents of one, `input` having the largest ones
 */
export async function infoOf(
  engine: Engine,
  model: Model,
  input: ModelInput,
  smallest?: readonly number[],
): Promise<ValueInfo> {
  const { info } = await shapesOf(engine, model, input);
  return smallest ? varying({ model, input, info }, engine, smallest) : info;
}

/** The same for samples of several sizes. @param smallest  extents of a sample; `model` was opened with the largest ones */
export async function forSizes(
  opened: OpenedModel,
  engine: Engine,
  smallest: readonly number[],
): Promise<OpenedModel> {
  return { ...opened, info: await varying(opened, engine, smallest) };
}

async function varying(
  { model, input, info }: Pick<OpenedModel, 'model' | 'input' | 'info'>,
  engine: Engine,
  smallest: readonly number[],
): Promise<ValueInfo> {
  const least = await probed(engine, model, input, [input.fixedBatch || 1, ...smallest]);
  return { ...info, varies: true, smallest: least?.shapes };
}

/** Only those that the model has as it was read too. */
function measuredValues(model: Model, source: Model, info: ValueInfo): readonly string[] | undefined {
  const values = unselectedValues(model, info);
  return values?.every((value) => source.producer(value)) ? values : undefined;
}

/** Whether windows may have any number of tokens. */
function hasFreeTokens(input: ModelInput): boolean {
  return takesWindows(input) && !input.fixedBatch && input.open[0];
}

async function withoutIfs(engine: Engine, file: Model, options: OpenOptions) {
  const source = unrollLoops(file);
  if (ifsOf(source).length === 0) return { model: source, branches: [] };
  const { size, smallest, inputs, dims } = options;
  const declared = declaredInput(source, inputs, dims);
  const input = sizedInput(declared, source, size);
  const batch = input.fixedBatch || 1;
  const probes = [[batch, ...input.shape]];
  if (!input.fixedBatch) probes.push(hasFreeTokens(input) ? distinctOf(input) : [SEVERAL, ...input.shape]);
  if (smallest) probes.push([batch, ...sizedInput(declared, source, smallest).shape]);
  return takeKnownBranches(
    engine,
    source,
    probes.map((extents) => zeros(source, input, extents)),
    inputs,
  );
}

/** Inputs whose first axis does not count samples. */
function heldInputs({ others }: ModelInput): Set<string> {
  return new Set(others.filter(({ batchAxis }) => batchAxis !== 0).map(({ name }) => name));
}

/**
 * The same error with the model's name in front, where the message does not have it yet.
 *
 * @param source  whose nodes and values the engine is to name, whatever the graph is that it was given
 */
export function named(name: string, error: unknown, source?: Model): unknown {
  const aboutModel = [InputError, UnsupportedModelError, TimeLimitError, OutOfMemoryError];
  if (aboutModel.some((kind) => error instanceof kind)) {
    const problem = error as OsscarError;
    if (source && isOfEngine(error))
      problem.message = problem.message.replace(IN_MARKS, (marked) => source.origin(marked));
    if (!problem.message.startsWith(name)) problem.message = `${name}: ${problem.message}`;
  }
  return error;
}
/** Names in messages of onnxruntime: `node with name 'a'`, `in node (a)`. */
const IN_MARKS = /(?<=['"(])[^'"()]+(?=['")])/g;

export function prunableOf({ analysis }: Pick<OpenedModel, 'analysis'>): Structure[] {
  return analysis.structures.filter(({ prunable }) => prunable);
}

/** The model at these sizes, of weights that are as good as any: the first groups stay. */
export function shrunkTo(opened: OpenedModel, sizes: ReadonlyMap<string, number>): Model {
  const kept = prunableOf(opened).map((it) => [it, [...Array(sizes.get(it.name)!).keys()]] as const);
  return shrink(opened.model, new Map(kept));
}

/** Reads from the external data of a model that is still in memory. */
export function externalReader({ external = [] }: Pick<WrittenModel, 'external'>): ReadExternal {
  const data = concat(external);
  return (_, offset, length) => data.subarray(offset, offset + length);
}

/** @throws {InputError} where it is none */
export function expectOpened(operation: string, model: unknown): void {
  if (!(isObject(model) && 'analysis' in model && 'input' in model))
    throw new InputError(`${operation}: "model" expected one of openModel(bytes, …), got ${said(model)}`);
}
