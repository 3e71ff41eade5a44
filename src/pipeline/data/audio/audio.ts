// Audio files as samples of models that take waveforms.

import { FormatError } from '../../../errors.ts';
import { placeholder } from '../../../formats.ts';
import { checkValues, limits } from '../../../limits.ts';
import { unloaded } from '../../../unloaded.ts';
import {
  checkFinite,
  type Dataset,
  type Described,
  datasetOf,
  type ImageEntry,
  loadedOnce,
} from '../dataset.ts';
import type { AudioPreprocessing, Waveforms } from './waveforms.ts';

/** Whether audio can be samples of the input, without the batch. */
export const isWaveform = ({ length }: readonly number[]) => length === 1 || length === 2;

async function opened(
  entries: readonly ImageEntry[],
  preprocessing: AudioPreprocessing,
  inputShape: readonly number[],
  windows?: number,
): Promise<Waveforms> {
  const { waveformsOf } = await import('./waveforms.ts').catch(unloaded('what reads audio'));
  const files = entries.map((entry) => ({ ...entry, read: () => audioIn(entry) }));
  return waveformsOf(files, preprocessing, inputShape, limits.textLines, windows);
}

/** @throws {FormatError} naming the file, where something else stands in its place */
async function audioIn({ name, read }: ImageEntry): Promise<Uint8Array> {
  const bytes = await read();
  const what = placeholder(bytes);
  if (what === undefined) return bytes;
  throw new FormatError(`"${name}": expected a WAV file, got ${what}`);
}

/** The shapes of the shortest and of the longest waveform. */
export async function audioExtents(
  entries: readonly ImageEntry[],
  preprocessing: AudioPreprocessing,
  inputShape: readonly number[],
): Promise<{ smallest?: number[]; size: number[] }> {
  const { smallest, shape } = await opened(entries, preprocessing, inputShape);
  return { smallest, size: shape };
}

/**
 * Waveforms of audio files (WAV), which are read when they are first needed; channels are mixed to one. Where the input has a
 * fixed length files are cut into windows of it, one behind the other: what is left at the end is left out, and shorter files get
 * zeros behind them. Where it leaves the length open every file is a sample of its own length.
 *
 * @param entries  one file or more
 * @param inputShape  the model's, without the batch, as [16000] or [1, 16000]; dimensions that it leaves open are ≤ 0
 * @param windows  so many at most, evenly from all files
 * @param onNote  told of files that are cut, mixed or too short
 * @throws {InputError} if the input takes no waveforms, or a file has another rate
 * @throws {FormatError} naming a file that is none of audio
 */
export async function audioDataset(
  entries: readonly ImageEntry[],
  preprocessing: AudioPreprocessing,
  inputShape: readonly number[],
  described: Described,
  windows?: number,
  onNote?: (text: string) => void,
): Promise<Dataset> {
  const found = await opened(entries, preprocessing, inputShape, windows);
  const { samples, shape, smallest, longest, note, load } = found;
  checkValues([longest], 'a window of');
  checkValues(shape, 'a waveform of');
  if (note !== '') onNote?.(`"${described.name}": ${note}`);
  const checked = async (i: number) => {
    const loaded = await load(i);
    checkFinite(samples[i].name, loaded.data);
    return loaded;
  };
  const once = loadedOnce(checked, samples.length, shape);
  return datasetOf(samples, shape, once, { ...described, smallest });
}
