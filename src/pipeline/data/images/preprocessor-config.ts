// preprocessor_config.json, in which Hugging Face models say how their images are prepared (transformers'
// BaseImageProcessor): pixel · rescale_factor, less image_mean, over image_std; resized or cropped before. Or their
// waveforms (SequenceFeatureExtractor): how many samples a second, whether each has a mean of 0 and a variance of 1, and what
// spectrograms are made of them.

import { FormatError } from '../../../errors.ts';
import { isObject } from '../../../expect.ts';
import { type JsonObject, parseJson } from '../../../json.ts';
import {
  CROP_FRACTION,
  checkedPreprocessing,
  DEFAULT_PREPROCESSING,
  type Preprocessing,
  type Spectrogram,
} from './preprocessing.ts';

/**
 * What it says, in our terms. Of sizes only what can be done here alike: straight to a size, or a centre crop of all of the
 * short side or the usual seven eighths; what is left out is for the caller to give.
 *
 * @param name  the file's, for messages
 * @throws {FormatError} naming the field, where it is not valid
 *
 * @example
 * const name = 'preprocessor_config.json';
 * const preprocessing = parsePreprocessing({}, parsePreprocessorConfig(await readFile(name, 'utf8'), name));
 */
export function parsePreprocessorConfig(json: string, name: string): Partial<Preprocessing> {
  const raw = parseJson(json, `"${name}"`);
  if (!isObject(raw)) throw new FormatError(`"${name}": expected a JSON object`);
  const positive = (field: string, value: unknown) => {
    if (typeof value === 'number' && value > 0 && Number.isFinite(value)) return value;
    throw new FormatError(`"${name}": "${field}" expected a number above 0, got ${JSON.stringify(value)}`);
  };
  for (const field of FLAGS) {
    const value = raw[field] ?? false;
    if (typeof value !== 'boolean')
      throw new FormatError(`"${name}": "${field}" expected true or false, got ${JSON.stringify(value)}`);
  }
  const { do_rescale = true, rescale_factor = 1 / DEFAULT_PREPROCESSING.scale, do_normalize } = raw;
  const found = {
    scale: do_rescale === false ? 1 : round(1 / positive('rescale_factor', rescale_factor)),
    ...(do_normalize !== false && channelsOf(raw, name, positive)),
    ...sizeOf(raw, name),
    ...(raw.do_convert_rgb === true && { color: 'rgb' as const }),
    ...(isOfAudio(raw) && audioOf(raw)),
  };
  checkedPreprocessing(found, `"${name}"`);
  return found;
}

const FLAGS = ['do_rescale', 'do_normalize', 'do_resize', 'do_center_crop', 'do_convert_rgb'];

const isOfAudio = (raw: JsonObject) => 'sampling_rate' in raw || 'feature_size' in raw;

/** The caller looks at the values. */
function audioOf(raw: JsonObject): Partial<Preprocessing> {
  const { sampling_rate, do_normalize, feature_extractor_type } = raw;
  const { feature_size = 80, n_fft = 400, hop_length = 160, chunk_length = 30 } = raw;
  const rate = sampling_rate !== undefined && { samplingRate: sampling_rate as number };
  if (feature_extractor_type === FILTER_BANKS)
    return { ...rate, normalize: false, spectrogram: filterBanksOf(raw) };
  return {
    ...rate,
    normalize: (do_normalize as boolean) ?? feature_extractor_type === WAVES,
    ...(feature_extractor_type === SPECTROGRAMS && {
      spectrogram: {
        melBins: feature_size,
        fftSize: n_fft,
        hopLength: hop_length,
        seconds: chunk_length,
      } as Spectrogram,
    }),
  };
}
/** It normalises unless it is told otherwise. */
const WAVES = 'Wav2Vec2FeatureExtractor';
const SPECTROGRAMS = 'WhisperFeatureExtractor';
const FILTER_BANKS = 'ASTFeatureExtractor';

/** Frames of 25 ms, every 10 ms. */
function filterBanksOf({ num_mel_bins = 128, max_length = 1024, sampling_rate = 16000, ...raw }: JsonObject) {
  const { do_normalize = true, mean = -4.2677393, std = 4.5689974 } = raw;
  const [hopLength, frameLength] = [0.01, 0.025].map((s) => Math.round(s * (sampling_rate as number)));
  const least = Math.max(1, Math.ceil(Math.log2(frameLength)));
  return {
    melBins: num_mel_bins,
    fftSize: 2 ** least,
    hopLength,
    seconds: (max_length as number) / 100,
    kaldi: { frameLength, ...(do_normalize ? { mean, std } : { mean: 0, std: 0.5 }) },
  } as Spectrogram;
}

/** 1 / 0.00392156862745098 is 255 but for a rounding. */
const round = (value: number) => Number(value.toPrecision(12));

function channelsOf(raw: JsonObject, name: string, positive: (field: string, value: unknown) => number) {
  const { image_mean: mean, image_std: std } = raw;
  if (mean === undefined || std === undefined) return {};
  for (const [field, values] of Object.entries({ image_mean: mean, image_std: std })) {
    const fits = Array.isArray(values) && [1, 3].includes(values.length) && values.every(Number.isFinite);
    if (!fits) {
      throw new FormatError(
        `"${name}": "${field}" expected 1 or 3 numbers, got ${JSON.stringify(values)?.slice(0, 80)}`,
      );
    }
  }
  for (const value of std as number[]) positive('image_std', value);
  return { mean: mean as number[], std: std as number[] };
}

const TYPE = 'image_processor_type';
/** Of these a number alone is the shorter side; of others both sides. */
const BY_SHORTEST = /^CLIP/;

function sizeOf(raw: JsonObject, name: string): Partial<Preprocessing> {
  const { do_resize, do_center_crop, size, max_image_size: tiles, feature_extractor_type } = raw;
  const [target, crop] = ['size', 'crop_size'].map((field) => sidesOf(raw[field], `"${name}": "${field}"`));
  if (do_center_crop === true && crop && typeof crop !== 'number') {
    // Cut out of the image as it is, of another share of it, or of what has lost its aspect is nothing that is done here.
    const isNumber =
      typeof size === 'number' && BY_SHORTEST.test(String(raw[TYPE] ?? feature_extractor_type));
    const edge = do_resize === false ? undefined : isNumber ? size : target;
    const least = Math.min(...crop);
    if (edge === Math.floor(least / CROP_FRACTION)) return { size: crop, resize: 'crop' };
    return edge === least ? { size: crop, resize: 'cover' } : {};
  }
  // Of an image in tiles (Idefics 3, SmolVLM) there is one of the whole, too.
  const edge = isObject(tiles) ? sidesOf(tiles.longest_edge, `"${name}": "max_image_size"`) : undefined;
  if (do_resize !== false && edge !== undefined && typeof edge !== 'number')
    return { size: edge, resize: 'fit' };
  if (do_resize === false || target === undefined || typeof target === 'number') return {};
  return { size: target, resize: 'fit' };
}

/** Height and width, or the shorter side alone; nothing where sizes are said in other ways. */
function sidesOf(sides: unknown, field: string): [number, number] | number | undefined {
  const side = (value: unknown): number | undefined => {
    if (value === undefined || value === null) return undefined;
    if (Number.isInteger(value) && (value as number) > 0) return value as number;
    throw new FormatError(`${field} expected whole numbers above 0, got ${JSON.stringify(value)}`);
  };
  const given = Array.isArray(sides) ? { height: sides[0], width: sides[1] } : sides;
  if (!isObject(given)) {
    const both = side(given);
    return both && [both, both];
  }
  const [height, width, shortest] = [given.height, given.width, given.shortest_edge].map(side);
  return height && width ? [height, width] : shortest;
}
