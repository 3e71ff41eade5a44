// Pairs as samples of a decoder, which reads the words that came before and what the encoder makes of the rest.

import type { FloatTensor } from '../engine/index.ts';
import { InputError } from '../errors.ts';
import { hasMethods } from '../expect.ts';
import type { Model } from '../graph/index.ts';
import { openGuard } from '../guard/index.ts';
import {
  declaredInput,
  encodedBy,
  type FeedSample,
  type ModelInput,
  preprocessingOf,
  storedPreprocessing,
  takesTokens,
} from '../pipeline/index.ts';
import { drawFeeds, type Feeds } from './arrays.ts';
import { type Decoding, encoderIn, modelFiles, readBeside, readConfig, readSideFiles } from './beside.ts';
import { guardOptions, webThreads } from './engine.ts';
import { filesDataset } from './images.ts';
import type { ModelOptions, SampleOptions } from './options.ts';
import { arraysIn, filesOf, type Pair, pairsPlace, readPairs } from './pairs.ts';
import { baseName, isFolder, type Place } from './place.ts';
import { placeOf } from './source.ts';
import { cutTo, DEFAULT_WINDOWS, tokensOf } from './text.ts';

/** What is before a decoder, and where what says how its inputs are made is beside it. */
export interface Encoder {
  readonly beside: Place;
  /** Reads it. */
  readonly read: () => Promise<Model>;
}

/** The decoder, and what is beside it. */
export interface PairSettings
  extends Omit<ModelOptions, 'tokenizer'>,
    Pick<SampleOptions, 'samples' | 'seed'> {
  readonly encoder?: SampleOptions['encoder'] | Place;
  /** In the place of a file: what is in the decoder's folder. */
  readonly inFolder?: Encoder;
  readonly decoder: Place;
  readonly decoding: Decoding;
  readonly tokenizer?: Place;
  /** Tokens of a sample, at most. */
  readonly length: number;
}

/** @param states  the input that takes what the encoder gives; @returns nothing where a path holds no pairs */
export async function decoderFeeds(
  data: Place,
  input: ModelInput,
  states: string,
  settings: PairSettings,
): Promise<Feeds | undefined> {
  const place = await pairsPlace(data);
  if (place === undefined) return undefined;
  const pairs = await readPairs(place, (first) => !Object.hasOwn(first, input.name));
  if (pairs.length === 0) return undefined;
  if (!takesTokens(input))
    throw new InputError(
      `"${place.path}": pairs are for decoders that read token ids, and "${input.name}" takes what an embedding makes of these; give arrays of all inputs (.npz)`,
    );
  const found = new Map<Pair, FeedSample>();
  const draw: Feeds['draw'] = async (count, seed) => {
    const drawn = drawFeeds<Pair & { label?: number }>(pairs, count, seed);
    const missing = drawn.filter((pair) => !found.has(pair));
    if (missing.length > 0) {
      const samples = await encoded(missing, place, input, states, settings);
      for (const [i, pair] of missing.entries()) found.set(pair, samples[i]);
    }
    return drawn.map((pair) => found.get(pair)!);
  };
  return { draw, known: () => draw(settings.samples ?? DEFAULT_WINDOWS, settings.seed ?? 0) };
}

async function encoded(
  pairs: readonly Pair[],
  place: Place,
  input: ModelInput,
  states: string,
  settings: PairSettings,
): Promise<FeedSample[]> {
  const { tokenizer, length, engine: own, threads } = settings;
  const encoder = await encoderOf(place, settings);
  const { first, ends } = await decodingOf(settings);
  const guarding = guardOptions(settings);
  const model = await encoder.read();
  const texts = takesTokens(declaredInput(model)) ? pairs.map(({ source }) => source) : [];
  // At once, as a thread is started for it.
  const ids = await tokensOf(
    [...texts, ...pairs.map(({ target }) => target)],
    place.path,
    tokenizer,
    guarding,
  );
  const targets = ids.slice(texts.length);
  const sources =
    texts.length > 0
      ? texts.map((_, i) => line(cutTo(ids[i], length)))
      : await sourcesOf(pairs, place, encoder, model, settings);
  const guard = openGuard(guarding);
  try {
    const engine = typeof own === 'object' ? own : await guard.engine(webThreads(threads));
    const given = await encodedBy(model, engine, sources);
    return pairs.map(({ name }, i) => {
      const ids = decoderIds(targets[i], first, ends).slice(0, length);
      return { name, inputs: { [input.name]: line(ids), [states]: given[i] } };
    });
  } finally {
    await guard.close();
  }
}

const line = (ids: ArrayLike<number>): FloatTensor => ({ dims: [ids.length], data: Float32Array.from(ids) });

const inFile = (place: Place): Encoder => ({ beside: place, read: () => readBeside(place) });

/** The encoder that is named, or that lies beside the decoder as Optimum calls it. */
async function encoderOf(
  data: Place,
  { decoder, encoder, inFolder, signal, onNote }: PairSettings,
): Promise<Encoder> {
  if (inFolder) return inFolder;
  if (encoder !== undefined) {
    const isPlace = (it: typeof encoder): it is Place => hasMethods(it, 'externalReader');
    const place = isPlace(encoder) ? encoder : await placeOf(encoder, 'encoder.onnx', signal);
    const files = await modelFiles(place);
    return inFile(files?.encoder ?? files?.file ?? place);
  }
  const folder = decoder.parent();
  const name = await encoderIn(
    folder,
    baseName(decoder).replace(/^decoder(_model)?(_merged|_with_past)?/, 'encoder$1'),
  );
  if (name === undefined)
    throw new InputError(
      `"${data.path}": what an encoder reads is in it, and there is no "encoder_model.onnx" beside the decoder; name its ONNX file (\`encoder\`)`,
    );
  const beside = folder.at(name);
  onNote?.(`encoder: "${beside.path}"`);
  return inFile(beside);
}

/** As the model's config.json says, beside the decoder or beside the tokenizer. */
async function decodingOf({
  decoding,
  decoder,
  tokenizer,
}: Pick<PairSettings, 'decoding' | 'decoder' | 'tokenizer'>): Promise<Required<Decoding>> {
  const isBeside = decoding.first === undefined && tokenizer !== undefined && (await isFolder(tokenizer));
  const { first, ends } = isBeside ? (await readConfig(tokenizer)).decoding : decoding;
  if (first !== undefined) return { first, ends };
  throw new InputError(
    `"${decoder.path}": no config.json beside it, or beside the tokenizer, says what it begins with ("decoder_start_token_id"); put that of the model there`,
  );
}

/** What the decoder reads: one token ahead of what it is to say, which ends where that does. */
function decoderIds(target: Int32Array, first: number, ends: readonly number[]): number[] {
  const ids = target[0] === first ? [...target] : [first, ...target];
  return ids.length > 1 && ends.includes(ids[ids.length - 1]) ? ids.slice(0, -1) : ids;
}

/** What an encoder of images or recordings reads: the files that the pairs name, as it is said beside it how they are prepared. */
async function sourcesOf(
  pairs: readonly Pair[],
  place: Place,
  { beside }: Encoder,
  model: Model,
  settings: PairSettings,
): Promise<FloatTensor[]> {
  const { shape } = declaredInput(model);
  const files = await filesOf(pairs, place);
  const arrays = await arraysIn(files);
  if (arrays) return arrays;
  const entries = files.map((file) => ({ name: file.path, read: () => file.read() }));
  const preprocessing =
    storedPreprocessing(model) ?? (await readSideFiles(beside, true, settings.onNote)).preprocessing;
  const described = { name: place.path };
  const dataset = await filesDataset(entries, preprocessingOf(settings, preprocessing), shape, described);
  if (dataset.size !== pairs.length)
    throw new InputError(
      `"${place.path}": the encoder reads windows of [${shape.join(', ')}], and files are longer; cut them, with what is said in each part`,
    );
  const tensors: FloatTensor[] = [];
  for await (const { dims = dataset.shape, inputs } of dataset.batches(1))
    tensors.push({ dims, data: inputs });
  return tensors;
}
