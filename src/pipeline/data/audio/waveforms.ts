// What audio files are to a model that takes waveforms: windows of them, one channel, at the rate that it was trained with. Few
// models need it, so this and wav.ts are loaded with the first file, and import next to nothing: what they do stays in every bundle.
//
// Nothing is resampled, which every library does in its own way: a file of another rate is refused. Numbers are those of
// libsndfile, from -1 to 1, and normalised ones those of transformers' Wav2Vec2FeatureExtractor.

import { FormatError, InputError } from '../../../errors.ts';
import { counted } from '../../../printable.ts';
import type { ImageEntry, Loaded } from '../dataset.ts';
import type { Preprocessing, Spectrogram } from '../images/preprocessing.ts';
import { filterBanksOf, spectrogramOf } from './spectrogram.ts';
import { isWav, otherAudio, readWav, samplesOf, type Wav } from './wav.ts';

/** Of nearly all models of speech. */
const DEFAULT_RATE = 16000;
/** As Wav2Vec2FeatureExtractor. */
const EPSILON = 1e-7;

/** What is said of audio in a model's preprocessing. */
export type AudioPreprocessing = Pick<Preprocessing, 'samplingRate' | 'normalize' | 'spectrogram'>;

/** What becomes of files. */
export interface Waveforms {
  readonly samples: readonly { name: string; label?: number }[];
  /** Of the longest one, and of the shortest, where that is another. */
  readonly shape: number[];
  readonly smallest?: number[];
  /** Samples of the longest window, whatever is made of them. */
  readonly longest: number;
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

/** What the model takes of a window. */
interface Form {
  /** Samples of a window; nothing, where it may have any number. */
  readonly length?: number;
  dimsOf(length: number): number[];
  /** What becomes of the samples, which end where the file does. */
  made(samples: Float32Array, length: number): Float32Array;
}

/** Samples as they are: along one axis, where the other is of one channel, or open. */
function waves(inputShape: readonly number[]): Form {
  const axes = [...inputShape.keys()].filter((axis) => inputShape[axis] !== 1);
  if (axes.length === 2 && axes.some((axis) => inputShape[axis] > 0))
    throw new InputError(
      `the model's input ${shapeText(inputShape)} is no waveform but features of audio: of WhisperFeatureExtractor and ASTFeatureExtractor they are made by the preprocessor_config.json that comes with the model, beside it; of all others, where the model comes from, and saved with numpy.save`,
    );
  const axis = axes.at(-1) ?? inputShape.length - 1;
  return {
    length: inputShape[axis] > 0 ? inputShape[axis] : undefined,
    dimsOf: (length) => inputShape.map((_, i) => (i === axis ? length : 1)),
    made: (samples, length) => {
      const data = new Float32Array(length);
      data.set(samples);
      return data;
    },
  };
}

/** Bins × frames, or of Kaldi's frames × bins. */
function spectrograms(spectrogram: Spectrogram, samplingRate: number, inputShape: readonly number[]): Form {
  const { melBins, hopLength, seconds, kaldi } = spectrogram;
  const ordered = (dims: readonly number[]) => (kaldi ? dims.toReversed() : [...dims]);
  const [bins, frames] = ordered(inputShape);
  if (inputShape.length !== 2 || (bins > 0 && bins !== melBins))
    throw new InputError(
      `the model's input ${shapeText(inputShape)} takes no spectrograms of ${melBins} bins, as preprocessor_config.json says`,
    );
  const most = frames > 0 ? frames : Math.max(1, Math.floor((seconds * samplingRate) / hopLength));
  const dimsOf = () => ordered([melBins, most]);
  if (kaldi) {
    const made = filterBanksOf(spectrogram, kaldi, samplingRate);
    return { length: kaldi.frameLength + (most - 1) * hopLength, dimsOf, made: (it) => made(it, most) };
  }
  const length = most * hopLength;
  const made = spectrogramOf(spectrogram, samplingRate);
  const padded = waves([length]).made;
  return { length, dimsOf, made: (samples) => made(padded(samples, length)) };
}

const shapeText = (dims: readonly number[]) => `[${dims.map((dim) => (dim > 0 ? dim : '?')).join(', ')}]`;

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
  const { spectrogram, samplingRate = DEFAULT_RATE } = preprocessing;
  const form = spectrogram ? spectrograms(spectrogram, samplingRate, inputShape) : waves(inputShape);
  const { dimsOf } = form;
  const all: { file: ImageEntry; first: number; length: number }[] = [];
  let [mixed, cut, short] = [0, 0, 0];
  for (const file of files) {
    const { length, channels } = await wavOf(file, preprocessing);
    const own = form.length ?? length;
    if (all.length + length / own > limit)
      throw new InputError(
        `"${file.name}": windows of ${own} samples are more than ${limit} (limits.textLines); give fewer files, or longer windows (\`size\`)`,
      );
    for (let first = 0; first === 0 || first + own <= length; first += own)
      all.push({ file, first, length: own });
    if (channels > 1) mixed++;
    if (length > own) cut++;
    // A spectrogram has them behind nearly every recording.
    if (length < own && !spectrogram) short++;
  }
  const count = Math.min(most, all.length);
  const windows = Array.from({ length: count }, (_, i) => all[Math.floor((i * all.length) / count)]);
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
    longest,
    ...(isOwn && { smallest: dimsOf(least) }),
    async load(i) {
      const { file, first, length } = windows[i];
      if (last?.file !== file) last = { file, wav: await wavOf(file, preprocessing) };
      const samples = samplesOf(last.wav, first, length);
      if (preprocessing.normalize) normalize(samples);
      return { data: form.made(samples, length), ...(isOwn && { dims: dimsOf(length) }) };
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
