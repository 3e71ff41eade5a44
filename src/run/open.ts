// A model wherever it lies, whichever kind it is, and the samples that go with it.

import type { LanguageModel, ModelPart } from '../checkpoint/architectures/index.ts';
import type { Folder } from '../checkpoint/index.ts';
import type { Engine } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { isStraight, type Model, readModel } from '../graph/index.ts';
import { openGuard } from '../guard/index.ts';
import {
  type Dataset,
  declaredInput,
  decodeNpy,
  describeFolder,
  Embedder,
  feedsDataset,
  hasOpenSides,
  type ImageExtents,
  type InputDims,
  inputOf,
  isOpen,
  isWaveform,
  likelyDims,
  likelyWindow,
  type ModelInput,
  type OpenedLanguageModel,
  type OpenedModel,
  openEmbedding,
  openLanguageModel,
  openModel,
  type Preprocessing,
  preprocessingMetadata,
  preprocessingOf,
  storedPreprocessing,
  takesEmbeddings,
  takesTokens,
} from '../pipeline/index.ts';
import { arrayFeeds, extremeDims, type Feeds, refuseLabels } from './arrays.ts';
import {
  embeddingBeside,
  modelFile,
  readBeside,
  readConfig,
  readSideFiles,
  type SideFiles,
} from './beside.ts';
import type { Opened } from './closing.ts';
import { decoderFeeds, type PairSettings } from './decoder.ts';
import { engineFor, guardOptions, relieving, webThreads } from './engine.ts';
import { extentsOfAudio, extentsOfImages, openDataset } from './images.ts';
import type { Drawn, ModelOptions, PartSettings, SampleOptions } from './options.ts';
import { areOfBoth, pairsPlace, sourceFeeds } from './pairs.ts';
import { baseName, isFile, type Place } from './place.ts';
import { placeOf } from './source.ts';
import { DEFAULT_WINDOWS, sentenceSamples, textSamples } from './text.ts';

/** A model, and how places become its samples. */
export interface ModelInPlace<M = OpenedModel | OpenedLanguageModel> {
  readonly model: M;
  readonly engine: Engine;
  /** Tokens per window, of a language model. */
  readonly seqlen?: number;
  /** Of a model of images, or of audio. */
  readonly preprocessing?: Preprocessing;
  readonly isAudio?: boolean;
  /** Whether the model's file says the same of it, as one that was pruned here does. */
  readonly isRemembered?: boolean;
  /** What a smaller model remembers of how its inputs were made. */
  readonly metadata?: Readonly<Record<string, string>>;
  /** The same for reports. */
  readonly inputs?: object;
  /** Real paths of files beside the model that were read for it. */
  readonly files?: ReadonlySet<string>;
  /** Samples to calibrate with. */
  calibration(place: Place, drawn: Drawn): Promise<Dataset>;
  /** Samples to measure on. */
  evaluation(place: Place, drawn: Drawn): Promise<Dataset>;
}

/** How a model is opened; data that are named say how large open dimensions are. */
interface OpenSettings
  extends ModelOptions,
    Pick<SampleOptions, 'labelOffset' | 'samples' | 'seed'>,
    Pick<PairSettings, 'encoder'>,
    PartSettings {
  readonly data?: Place;
}

/** Key of the written model's metadata, by which it needs to be told nothing again. */
const LABEL_OFFSET = 'osscar.label-offset';
/** Calibration images unless `samples` says otherwise. */
export const DEFAULT_IMAGES = 512;
/** Tokens per window, unless the model has fewer positions. */
const DEFAULT_LENGTH = 512;

export async function openInPlace(
  place: Place,
  options: OpenSettings,
  opened: Opened,
): Promise<ModelInPlace> {
  const file = await modelFile(place);
  if (file !== undefined) return openModelFile(file, options, opened);
  refuseOfFiles(options);
  const { heads } = options;
  const folder = opened(await place.openFolder());
  if ((await partIn(folder, options)) === 'decoder') return openDecoder(place, folder, options);
  const model = await openLanguageModel(folder, { heads, part: options.part });
  tellKind(model.language, options);
  const { isEncoder, vocabulary, maxPositions } = model.language;
  const engine = await engineFor(options);
  if (vocabulary === 0) {
    const preprocessing = await preprocessingOfFolder(place, options);
    const image = otherSide(model.language, preprocessing);
    const sized = image === undefined ? model : await openLanguageModel(folder, { heads, image });
    const input = inputOf(sized);
    // Waveforms are as long as the data has them, or as windows of them that a size is given for.
    const data = input.open.includes(true)
      ? await dataFor(input, preprocessing, { ...options, seqlen: undefined })
      : {};
    const said = input.open.includes(true)
      ? sizeFor(preprocessing, {})?.slice(0, input.shape.length)
      : undefined;
    const shape = said ?? data.size ?? input.shape;
    const read: Read = async (at, of) => (await ownFeeds(at, of)) ?? arrayFeeds(at, of);
    return { model: sized, engine, ...imagesFor({ ...input, shape }, preprocessing, options, data, read) };
  }
  const length = lengthFor(maxPositions, options);
  const tokenizer = await tokenizerFor({ tokenizer: place }, options);
  const guarding = guardOptions(options);
  if (!isEncoder) return { model, engine, ...textSamples(tokenizer, length, guarding) };
  const input = { ...inputOf(model), shape: [length] };
  const sentences = sentenceSamples(tokenizer, input, guarding);
  return { model, engine, ...orFeeds(input, DEFAULT_WINDOWS, sentences) };
}

/** The part of a folder that a call is about: behind an encoder is what is said of pairs. */
export async function partIn(
  folder: Folder,
  { part, data }: Pick<OpenSettings, 'part' | 'data'>,
): Promise<ModelPart> {
  if (part !== undefined) return part;
  const pairs = data && (await pairsPlace(data));
  // Texts of others are long, and are read once.
  if (pairs === undefined || !(await describeFolder(folder)).hasDecoder) return 'encoder';
  return (await areOfBoth(pairs)) ? 'decoder' : 'encoder';
}

/** The decoder in a folder, whose samples go through the encoder in it. */
async function openDecoder(
  place: Place,
  folder: Folder,
  options: OpenSettings,
): Promise<ModelInPlace<OpenedLanguageModel>> {
  const model = await openLanguageModel(folder, { heads: options.heads, part: 'decoder' });
  tellKind(model.language, options);
  const beside = place.at('config.json');
  const { decoding } = await readConfig(place);
  const tokenizer = await tokenizerFor({ tokenizer: place }, options);
  const inFolder = {
    beside,
    read: async () => {
      const { language, checkpoint } = await openLanguageModel(folder);
      return language.whole(checkpoint);
    },
  };
  const { maxPositions: positions } = model.language;
  const input = inputOf(model);
  const settings = { ...options, decoder: beside, decoding, tokenizer, inFolder };
  const read = reading(place.path, input, { positions }, settings);
  const refuse = async (data: Place) => {
    throw expectPairs(data, statesOf(input)!);
  };
  const samples = orFeeds(input, DEFAULT_WINDOWS, { calibration: refuse, evaluation: refuse }, read);
  return { model, engine: await engineFor(options), ...samples };
}

function refuseOfFiles(options: OpenSettings): void {
  const foreign = (['residual', 'outputNames', 'inputs', 'encoder'] as const).find((name) => options[name]);
  if (foreign)
    throw new InputError(`\`${foreign}\` is of ONNX files only; leave it out of a folder of safetensors`);
}

/** What config.json says of a folder of safetensors, and how long its samples are where they have a length. */
export async function describeInPlace(place: Place, options: OpenSettings, opened: Opened) {
  refuseOfFiles(options);
  const folder = opened(await place.openFolder());
  const { part } = options;
  const found = await describeFolder(folder, { part });
  tellKind(found, options);
  const image = found.image && otherSide(found, await preprocessingOfFolder(place, options));
  const language = image === undefined ? found : await describeFolder(folder, { image, part });
  return { language, length: language.lengthOf(lengthFor(language.maxPositions, options)) };
}

/** Of images as they are prepared, where the model takes those of other sizes than config.json says. */
function otherSide({ image }: LanguageModel, { size }: Preprocessing): number | undefined {
  if (image === undefined || size === undefined) return undefined;
  const [height, width] = typeof size === 'number' ? [size, size] : size;
  return height === width && height !== image ? height : undefined;
}

function tellKind({ vocabulary }: Pick<LanguageModel, 'vocabulary'>, { onKind }: ModelOptions): void {
  onKind?.(vocabulary > 0 ? 'text' : 'images');
}

/** A folder of safetensors says itself how images are prepared. */
async function preprocessingOfFolder(place: Place, options: OpenSettings): Promise<Preprocessing> {
  refuseMultiple(options);
  const side = await readSideFiles(place.at('config.json'), true, options.onNote);
  return preprocessingOf(options, side.preprocessing);
}

/** Tokens per window, where nothing else is said. */
function lengthFor(positions: number, { seqlen }: Pick<ModelOptions, 'seqlen'>): number {
  return seqlen ?? Math.min(DEFAULT_LENGTH, positions);
}

/**
 * What the file says of its own preprocessing counts where nothing else is said. What it leaves open is as large as
 * the samples, unless a size is given.
 */
export async function openModelFile(
  place: Place,
  options: OpenSettings,
  opened: Opened,
): Promise<ModelInPlace<OpenedModel>> {
  const bytes = await place.read();
  const name = baseName(place);
  const files = new Set<string>();
  const external = place.externalReader((file) => files.add(file));
  // The metadata may hold the image size that the graph leaves open, so it is read first.
  const source = await readModel(bytes, { name, external }).catch((error) => {
    options.signal?.throwIfAborted(); // what is beside the model may have to be fetched
    throw error;
  });
  const stored = storedPreprocessing(source);
  const side = await readSideFiles(place, stored === undefined, options.onNote);
  const preprocessing = preprocessingOf(options, stored ?? side.preprocessing);
  const { residual, heads, inputs, outputNames } = options;
  const declared = declaredInput(source, inputs);
  const embedding = takesEmbeddings(declared)
    ? await embeddingFor(place, declared, options, opened)
    : undefined;
  const isText = takesTokens(declared) || embedding !== undefined;
  options.onKind?.(isText ? 'text' : 'images');
  const tokenizer = await tokenizerFor(side, options);
  const read = reading(name, declared, side, {
    ...options,
    decoder: place,
    decoding: side.decoding,
    tokenizer,
  });
  const data = await dataFor(declared, preprocessing, options, read, embedding !== undefined);
  const isWindow = isText && declared.open[0];
  const length = isWindow ? lengthOfText(side, options) : undefined;
  const extents = sizeFor(preprocessing, options) ?? data.size ?? length;
  const isFree = isWindow && extents === undefined;
  const features = embedding?.features;
  const said = features && extents?.length === 1 ? [...extents, ...features] : extents;
  const { smallest } = data;
  const { model, engine } = await openGuarded(options, opened, async (guarded) => {
    const size = isFree ? await likelyWindow(source, guarded, inputs, features) : said;
    const found = options.data ? data.dims : await likelyDims(source, guarded, { size, inputs });
    const dims = embedding && size ? { ...embedding.dimsOf(size[0]), ...found } : found;
    return openModel(bytes, {
      name,
      external,
      engine: guarded,
      size,
      smallest,
      residual,
      heads,
      inputs,
      dims,
      outputNames,
    });
  });
  // A perplexity is of windows of some length, and features of texts as long as they are.
  const predictsTokens = model.predictsTokens || (embedding !== undefined && givesLogits(model));
  if (isFree && options.data && predictsTokens)
    throw new InputError(`${name}: nothing says how many tokens windows of text have; give it (\`seqlen\`)`);
  const samples = isText
    ? tokensFor({ ...model, predictsTokens }, tokenizer, options, read, embedding)
    : imagesOfFile(model, preprocessing, options, data, read);
  return { model, engine, files, ...samples };
}

/** What makes the inputs of a decoder out of token ids, where that lies beside it. */
async function embeddingFor(
  decoder: Place,
  input: ModelInput,
  options: OpenSettings,
  opened: Opened,
): Promise<Embedder | undefined> {
  const place = await embeddingBeside(decoder);
  if (place === undefined) return undefined;
  options.onNote?.(`embedding: "${place.path}"`);
  const source = await readBeside(place);
  const { model, engine } = await openGuarded(options, opened, (guarded) =>
    openEmbedding(source, guarded, input),
  );
  return opened(new Embedder(model, engine));
}

/** Whether what stands for tokens comes back as scores: of which tokens no table in the file says. */
function givesLogits({ source: { outputs }, info }: OpenedModel): boolean {
  const [{ name }] = outputs;
  return name === 'logits' && info.shapes.get(name)?.length === 3;
}

/** Opens a model on a thread that can be ended, and stays there where its graph has loops. */
export async function openGuarded<M extends { readonly source: Model }>(
  options: Pick<ModelOptions, 'threads' | 'engine' | 'timeout' | 'signal'>,
  opened: Opened,
  open: (engine: Engine) => Promise<M>,
): Promise<{ model: M; engine: Engine }> {
  if (typeof options.engine === 'object')
    return { model: await open(options.engine), engine: options.engine };
  const guard = opened(openGuard(guardOptions(options)));
  const guarded = await guard.engine(webThreads(options.threads));
  const model = await open(guarded);
  if (!isStraight(model.source)) return { model, engine: guarded };
  // What one sample takes is known, and any other takes the same: here it needs no copies, and can be timed.
  return { model, engine: relieving(guard, await engineFor(options)) };
}

const tokenizerFor = async (side: Pick<SideFiles, 'tokenizer'>, { tokenizer, signal }: ModelOptions) =>
  tokenizer === undefined ? side.tokenizer : placeOf(tokenizer, 'tokenizer', signal);

/** The input of a decoder that takes what an encoder gives. */
const statesOf = ({ others }: ModelInput) =>
  others.find(({ name, dims }) => /^encoder_(hidden_states|outputs?)$/.test(name) && dims.length === 3)?.name;

/** What reads samples by the names of inputs, of each place once. */
type Read = (place: Place, input: ModelInput) => Promise<Feeds | undefined>;

/** What pairs name for an encoder of anything but texts. */
const ownFeeds: Read = async (place, input) =>
  takesTokens(input) || takesEmbeddings(input) ? undefined : sourceFeeds(place, input);

/** @throws {InputError} for an encoder of a model that reads no states */
function reading(
  name: string,
  declared: ModelInput,
  { positions = Number.POSITIVE_INFINITY }: Pick<SideFiles, 'positions'>,
  settings: Omit<PairSettings, 'length'>,
): Read {
  const states = statesOf(declared);
  if (settings.encoder !== undefined && !states)
    throw new InputError(
      `${name}: it has no input for what an encoder gives (encoder_hidden_states); give each file by itself, without \`encoder\``,
    );
  const length = lengthFor(positions, settings);
  const found = new Map<Place, Promise<Feeds | undefined>>();
  return (place, input) => {
    const pairs = async () =>
      states ? decoderFeeds(place, input, states, { ...settings, length }) : ownFeeds(place, input);
    const feeds = found.get(place) ?? pairs().then((it) => it ?? arrayFeeds(place, input));
    found.set(place, feeds);
    return feeds;
  };
}

function tokensFor(
  { input, predictsTokens }: Pick<OpenedModel, 'input' | 'predictsTokens'>,
  tokenizer: Place | undefined,
  options: OpenSettings,
  read: Read,
  embedder?: Embedder,
) {
  const [seqlen] = input.shape;
  const guarding = guardOptions(options);
  const text =
    predictsTokens || embedder
      ? textSamples(tokenizer, seqlen, guarding)
      : sentenceSamples(tokenizer, input, guarding);
  const embedded = async (windows: Promise<Dataset>) => embedder!.of(await windows, predictsTokens);
  const samples = embedder
    ? {
        calibration: (place: Place, drawn: Drawn) => embedded(text.calibration(place, drawn)),
        evaluation: (place: Place, drawn: Drawn) => embedded(text.evaluation(place, drawn)),
      }
    : text;
  return { seqlen: predictsTokens ? seqlen : undefined, ...orFeeds(input, DEFAULT_WINDOWS, samples, read) };
}

function imagesOfFile(
  { input, source, name }: OpenedModel,
  preprocessing: Preprocessing,
  options: OpenSettings,
  data: DataSize,
  read: Read,
) {
  const { labelOffset = storedOffset(source, name) } = options;
  const made = preprocessingMetadata(preprocessing);
  return {
    isRemembered: Object.entries(made).every(([key, value]) => source.metadata(key) === value),
    metadata: { ...made, [LABEL_OFFSET]: String(labelOffset) },
    ...imagesFor(input, preprocessing, { ...options, labelOffset }, data, read),
  };
}

function sizeFor({ size: image }: Preprocessing, { seqlen }: ModelOptions): readonly number[] | undefined {
  if (seqlen !== undefined) return [seqlen];
  return typeof image === 'number' ? [image, image] : image;
}

/** Tokens of a sample, where the files beside the model say how many it has room for. */
function lengthOfText({ positions }: SideFiles, options: ModelOptions): number[] | undefined {
  return positions === undefined ? undefined : [lengthFor(positions, options)];
}

/** What the data say of a model's open dimensions. */
interface DataSize {
  readonly size?: readonly number[];
  readonly smallest?: readonly number[];
  /** Where images keep their own sizes. */
  readonly extents?: ImageExtents;
  /** Whether waveforms keep their own lengths. */
  readonly areWaveforms?: boolean;
  /** Of a sample of the inputs that go along. */
  readonly dims?: InputDims;
}

async function dataFor(
  input: ModelInput,
  preprocessing: Preprocessing,
  options: OpenSettings,
  read: Read = arrayFeeds,
  isEmbedded = false,
): Promise<DataSize> {
  const { data, resize } = options;
  const isSaid = sizeFor(preprocessing, options) !== undefined || !input.open.some(Boolean);
  if (isSaid) refuseMultiple(options);
  if (data === undefined) return {};
  // A convention holds where the data says nothing else.
  if (isSaid && !input.others.some(isOpen)) return {};
  if (/\.npy$/i.test(data.path) && (await isFile(data))) {
    const { shape } = decodeNpy(await data.read(), data.path);
    if (!isSaid && shape.length === input.shape.length + 1) return { size: shape.slice(1) };
  }
  const feeds = await (await read(data, input))?.known();
  if (feeds) {
    const dims: Record<string, readonly number[]> = {};
    for (const { name } of input.others) {
      const own = extremeDims(feeds, name, Math.max);
      if (own) dims[name] = own;
    }
    const [smallest, size] = [Math.min, Math.max].map((extreme) => extremeDims(feeds, input.name, extreme));
    return { dims, ...(!isSaid && size?.length === input.shape.length && { smallest, size }) };
  }
  const states = statesOf(input);
  if (states && !Object.hasOwn(options.inputs ?? {}, states)) throw expectPairs(data, states);
  if (takesTokens(input) || isEmbedded) return {};
  if (takesEmbeddings(input))
    throw new InputError(
      `"${data.path}": input "${input.name}" takes what an embedding makes of tokens; put its file (embed_tokens.onnx) beside the model, or give arrays of all inputs (.npz)`,
    );
  if (!isSaid && isWaveform(input.shape)) {
    const found = await extentsOfAudio(data, preprocessing, input.shape);
    return { ...found, areWaveforms: found !== undefined };
  }
  const isOwn = !isSaid && hasOpenSides(input);
  const extents = isOwn ? await extentsOfImages(data, preprocessing) : undefined;
  if (extents && resize !== undefined && resize !== 'none')
    throw new InputError(
      `\`resize: '${resize}'\` is to a size, and the model leaves it open, so that images keep their own; give \`size\``,
    );
  return { size: extents?.largest, smallest: extents?.smallest, extents };
}

/** @param states  the input of a decoder that other data say nothing of */
const expectPairs = ({ path }: Place, states: string) =>
  new InputError(
    `"${path}": input "${states}" is what an encoder gives; expected pairs of what that reads and what is said of it (lines with a tab in between, .tsv, or with "source" and "target", .jsonl), or arrays of all inputs (.npz)`,
  );

/** @throws {InputError} where images have a size in common */
function refuseMultiple({ multiple }: OpenSettings): void {
  if (multiple !== undefined)
    throw new InputError(
      '`multiple` is for images that keep their own sizes, and here all have one; leave it out',
    );
}

type Samples = Pick<ModelInPlace, 'calibration' | 'evaluation'>;

/** What options say that is done to images and audio, and to no array. */
function ofImages(options: OpenSettings): string[] {
  const names = ['resize', 'multiple', 'scale', 'mean', 'std', 'color', 'samplingRate', 'normalize'] as const;
  return names.filter((name) => options[name] !== undefined);
}

/** Images, or waveforms. */
function imagesFor(
  input: ModelInput,
  preprocessing: Preprocessing,
  options: OpenSettings,
  { extents, areWaveforms }: DataSize,
  read: Read = arrayFeeds,
) {
  const { labelOffset = 0, onNote } = options;
  const { shape, open } = input;
  const inputShape =
    extents || areWaveforms ? shape.map((dim, axis) => (open[axis] && dim !== 3 ? 0 : dim)) : shape;
  const how = { preprocessing, given: ofImages(options), labelOffset, inputShape, extents, onNote };
  const dataset = (place: Place, drawn: Drawn) => openDataset(place, { ...drawn, ...how });
  const others = {
    calibration: (place: Place, drawn: Drawn) =>
      dataset(place, { ...drawn, samples: drawn.samples ?? DEFAULT_IMAGES }),
    evaluation: dataset,
  };
  const images = orFeeds(input, DEFAULT_IMAGES, others, read);
  return { preprocessing, isAudio: isWaveform(shape), inputs: { preprocessing, labelOffset }, ...images };
}

/**
 * Samples by the names of inputs where a path holds such, else what `others` make of it.
 * @param count  calibration samples of the former, unless it is said otherwise
 */
function orFeeds(input: ModelInput, count: number, others: Samples, read: Read = arrayFeeds): Samples {
  async function dataset(place: Place, drawn: Drawn): Promise<Dataset | undefined> {
    const feeds = await read(place, input);
    if (!feeds) return undefined;
    refuseLabels(place, drawn.labels);
    const samples = await feeds.draw(drawn.samples, drawn.seed ?? 0);
    return feedsDataset(samples, input, { name: place.path });
  }
  return {
    calibration: async (place, drawn) =>
      (await dataset(place, { ...drawn, samples: drawn.samples ?? count })) ??
      others.calibration(place, drawn),
    evaluation: async (place, drawn) => (await dataset(place, drawn)) ?? others.evaluation(place, drawn),
  };
}

function storedOffset(model: Model, name: string): number {
  const stored = Number(model.metadata(LABEL_OFFSET) ?? 0);
  if (Number.isInteger(stored)) return stored;
  throw new InputError(`${name}: metadata "${LABEL_OFFSET}" is not a whole number`);
}
