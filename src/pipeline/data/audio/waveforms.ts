// What audio files are to a model that takes waveforms: windows of them, one channel, at the rate that it was trained with. Few
// models need it, so this and wav.ts are loaded with the first file, and import next to nothing: what they do stays in every bundle.
//
// Nothing is resampled, which every library does in its own way: a file of another rate is refused. Numbers are those of
// libsndfile, from -1 to 1, and normalised ones those of transformers' Wav2Vec2FeatureExtractor.

import { FormatError, InputError } from '../../../errors.ts';
import { counted } from '../../../printable.ts';
import type { ImageEntry, Loaded } from '../dataset.ts';
import type { Preprocessing } from '../images/preprocessing.ts';
import { isWav, otherAudio, readWav, samplesOf, type Wav } from './wav.ts';

/** Of nearly all models of speech. */
const DEFAULT_RATE = 16000;
/** As Wav2Vec2FeatureExtractor. */
const EPSILON = 1e-7;

/** What is said of audio in a model's preprocessing. */
export type AudioPreprocessing = Pick<Preprocessing, 'samplingRate' | 'normalize'>;

/** What becomes of files. */
export interface Waveforms {
  readonly samples: readonly { name: string; label?: number }[];
  /** Of the longest one, and of the shortest, where that is another. */
  readonly shape: number[];
  readonly smallest?: number[];
  load(i: number): Promise<Loaded>;
  /** What is done to files; empty, where that is nothing. */
  readonly note: string;
}

/** @throws {FormatError} naming the file, where it is none that is read; {InputError}, where it has another rate */
async function wavOf(
  { name, read }: ImageEntry,
  { samplingRate = DEFAULT_RATE }: AudioPreprocessing,
): Promise<Wav> {
  const bytes = await read();
  if (!isWav(bytes)) throw new FormatError(`"${name}": expected a WAV file, got ${otherAudio(bytes)}`);
  let wav: Wav;
  try {
    wav = readWav(bytes);
  } catch (cause) {
    throw new FormatError(`"${name}": cannot read the WAV file: ${(cause as Error).message}`, { cause });
  }
  if (wav.rate === samplingRate) return wav;
  throw new InputError(
    `"${name}": it has ${wav.rate} samples a second, and the model takes ${samplingRate} (\`samplingRate\`); convert it: ffmpeg -i IN.wav -ar ${samplingRate} OUT.wav`,
  );
}

/**
 * The axis of the samples: the other one is of one channel, or open.
 *
 * @throws {InputError} where both are of several
 */
function timeAxis(inputShape: readonly number[]): number {
  const axes = [...inputShape.keys()].filter((axis) => inputShape[axis] !== 1);
  if (axes.length < 2 || axes.every((axis) => !(inputShape[axis] > 0)))
    return axes.at(-1) ?? inputShape.length - 1;
  const dims = inputShape.map((dim) => (dim > 0 ? dim : '?')).join(', ');
  throw new InputError(
    `the model's input [${dims}] is no waveform but features of audio, such as the spectrograms of WhisperFeatureExtractor; make them where the model comes from, and save them with numpy.save`,
  );
}

/**
 * @param limit  windows that there may be
 * @param most  windows that are taken, evenly from all of the files
 */
export async function waveformsOf(
  files: readonly ImageEntry[],
  preprocessing: AudioPreprocessing,
  inputShape: readonly number[],
  limit: number,
  most = limit,
): Promise<Waveforms> {
  const axis = timeAxis(inputShape);
  const all: { file: ImageEntry; first: number; length: number }[] = [];
  let [mixed, cut, short] = [0, 0, 0];
  for (const file of files) {
    const { length, channels } = await wavOf(file, preprocessing);
    const own = inputShape[axis] > 0 ? inputShape[axis] : length;
    if (all.length + length / own > limit)
      throw new InputError(
        `"${file.name}": windows of ${own} samples are more than ${limit} (limits.textLines); give fewer files, or longer windows (\`size\`)`,
      );
    for (let first = 0; first === 0 || first + own <= length; first += own)
      all.push({ file, first, length: own });
    if (channels > 1) mixed++;
    if (length > own) cut++;
    if (length < own) short++;
  }
  const count = Math.min(most, all.length);
  const windows = Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]);
  const dimsOf = (length: number) => inputShape.map((_, i) => (i === axis ? length : 1));
  const least = windows.reduce((found, { length }) => Math.min(found, length), Number.POSITIVE_INFINITY);
  const longest = windows.reduce((found, { length }) => Math.max(found, length), 0);
  const isOwn = least < longest;
  let last: { readonly file: ImageEntry; readonly wav: Wav } | undefined;
  return {
    samples: windows.map(({ file: { name, label }, first }) => ({
      name: first === 0 ? name : `${name} from sample ${first} on`,
      ...(label !== undefined && { label }),
    })),
    shape: dimsOf(longest),
    ...(isOwn && { smallest: dimsOf(least) }),
    async load(i) {
      const { file, first, length } = windows[i];
      if (last?.file !== file) last = { file, wav: await wavOf(file, preprocessing) };
      const samples = samplesOf(last.wav, first, length);
      if (preprocessing.normalize) normalize(samples);
      const data = new Float32Array(length);
      data.set(samples);
      return { data, ...(isOwn && { dims: dimsOf(length) }) };
    },
    note: [
      ...(mixed > 0 ? [`the channels of ${counted(mixed, 'file')} are mixed to one`] : []),
      ...(cut > 0 ? [`${counted(cut, 'file')} cut into windows of ${longest} samples`] : []),
      ...(short > 0 ? [`${counted(short, 'file')} shorter than ${longest} samples, with zeros behind`] : []),
    ].join('; '),
  };
}

/** Mean 0 and variance 1, in place. */
function normalize(values: Float32Array): void {
  const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
  const variance = values.reduce((sum, x) => sum + (x - mean) ** 2, 0) / values.length;
  const scale = 1 / Math.sqrt(variance + EPSILON);
  for (let i = 0; i < values.length; i++) values[i] = (values[i] - mean) * scale;
}
