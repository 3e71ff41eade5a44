// What happens to an image between the file and the model's input: colour, size, value range, layout.
//
// The steps are those of torchvision on PIL images, with 8-bit pixels until the last step, so that a model sees
// here what it saw in training. No augmentation, and no guessing of mean and std. What is said of audio stands beside it.

import { FormatError, InputError } from '../../../errors.ts';
import { expectDims, expectObject, isObject, said } from '../../../expect.ts';
import { parseJson } from '../../../json.ts';
import { checkValues } from '../../../limits.ts';
import { expectNames, type Options, oneOf, SWITCH, wholeFrom } from '../../../options.ts';
import { counted } from '../../../printable.ts';
import { formatShape } from '../npy.ts';
import type { DecodedImage } from './frame.ts';
import { cropped, resizeImage } from './resample.ts';

const RESIZES = ['none', 'fit', 'crop', 'cover'] as const;
const LAYOUTS = ['nchw', 'nhwc'] as const;
const COLORS = ['rgb', 'bgr', 'gray'] as const;

/** How an image gets the size of the model input; {@link Preprocessing} says how each does it. */
export type Resize = (typeof RESIZES)[number];
/** Of the model input. */
export type Layout = (typeof LAYOUTS)[number];
/** Order of the channels. */
export type Color = (typeof COLORS)[number];

/** input = (pixel / scale − mean) / std, pixel in 0…255. */
export interface Preprocessing {
  /** Height and width, or both at once; of audio, samples of a window. Absent: those of the model's input. */
  size?: [number, number] | number;
  /**
   * none: the image must have the size already. fit: straight to the size, whatever the aspect ratio.
   * crop: until it covers size / 0.875, then the centre, as torchvision's `Resize(256)`, `CenterCrop(224)`.
   * cover: until it covers the size, then the centre, as `Resize(224)`, `CenterCrop(224)`.
   */
  resize: Resize;
  /** Where images keep their own sizes: what height and width are multiples of, the nearest. Default 32. */
  multiple?: number;
  scale: number;
  /** One value for all channels or one per channel, in the order that the model sees them. */
  mean: number[];
  std: number[];
  layout: Layout;
  /**
   * Absent: the model's channel count decides (1 gray, 3 RGB), and an image of another count is refused.
   * Given: images are converted, RGB → gray by luma, gray → RGB by repetition.
   */
  color?: Color;
  /** Of audio, samples a second that the model takes. Default 16000. */
  samplingRate?: number;
  /** Whether each waveform gets a mean of 0 and a variance of 1, as Wav2Vec2FeatureExtractor does. Default no. */
  normalize?: boolean;
  /** Of audio, where the model takes no waveforms but log-mel spectrograms, as WhisperFeatureExtractor makes them, or ASTFeatureExtractor. */
  spectrogram?: Spectrogram;
}

/** How a log-mel spectrogram is made of a waveform. */
export interface Spectrogram {
  /** Frequencies, on the mel scale. */
  melBins: number;
  /** Samples of a frame, or what zeros behind it make of these: even, of prime factors up to 13. */
  fftSize: number;
  /** Samples from one frame to the next. */
  hopLength: number;
  /** Of a window, where the model leaves its frames open. */
  seconds: number;
  /** Filter banks as Kaldi makes them, frames × bins, of frames of so many samples: less this mean, over twice this deviation. */
  kaldi?: { frameLength: number; mean: number; std: number };
}

/** Pixels in 0…1, as they are. */
export const DEFAULT_PREPROCESSING: Readonly<Preprocessing> = {
  resize: 'none',
  scale: 255,
  mean: [0],
  std: [1],
  layout: 'nchw',
};

/** The same to be given: what is absent gets its default, one number stands for all channels. */
export interface PreprocessingOptions extends Partial<Omit<Preprocessing, 'mean' | 'std'>> {
  mean?: number | readonly number[];
  std?: number | readonly number[];
}

/** Of a JPEG, at most. */
const LONGEST_SIDE = 65535;
/** Of audio at 16,000 Hz, 17 minutes. */
const LONGEST_WINDOW = 2 ** 24;
const isSide = (n: unknown): n is number =>
  Number.isInteger(n) && (n as number) > 0 && (n as number) <= LONGEST_WINDOW;
const isSize = (size: unknown) => Array.isArray(size) && size.length === 2 && size.every(isSide);
const isAbove0 = (n: unknown) => Number.isFinite(n) && (n as number) > 0;
const listed = (values: unknown) => (typeof values === 'number' ? [values] : values);
const isChannels = (given: unknown) => {
  const values = listed(given);
  return Array.isArray(values) && [1, 3].includes(values.length) && values.every(Number.isFinite);
};
const areAbove0 = (given: unknown) => isChannels(given) && (listed(given) as number[]).every(isAbove0);

/** Of a frame: a second at 16,000 Hz, and no more work than is done for ten times as many of other factors. */
const LONGEST_FRAME = 2 ** 14;
const isSpectrogram = (it: unknown) => {
  if (!isObject(it)) return false;
  const { melBins, fftSize, hopLength, seconds, kaldi } = it;
  const isWhole = (n: unknown, most: number) => Number.isInteger(n) && isAbove0(n) && (n as number) <= most;
  const isFrame =
    isWhole(fftSize, LONGEST_FRAME) && (fftSize as number) % 2 === 0 && isSmooth(fftSize as number);
  const isWindow = isWhole(hopLength, LONGEST_FRAME) && isAbove0(seconds) && (seconds as number) <= 3600;
  if (!(isFrame && isWhole(melBins, 1024) && isWindow)) return false;
  if (kaldi === undefined) return true;
  const { frameLength, mean, std } = Object(kaldi);
  return isWhole(frameLength, fftSize as number) && Number.isFinite(mean) && isAbove0(std);
};

/** Whether it is a product of small numbers, as its Fourier transform is made of small ones. */
function isSmooth(n: number): boolean {
  for (let p = 2; p <= 13; p++) while (n % p === 0) n /= p;
  return n === 1;
}

const CHANNELS = 'one number or one per channel, as 0.485, 0.456, 0.406';
export const PREPROCESSING_OPTIONS: Options<PreprocessingOptions> = {
  size: [
    (size) => isSide(size) || isSize(size),
    `pixels up to ${LONGEST_WINDOW}, as 224, or height and width, as 192, 256`,
  ],
  multiple: wholeFrom(1, LONGEST_SIDE),
  resize: oneOf(...RESIZES),
  scale: [isAbove0, 'a number above 0'],
  mean: [isChannels, CHANNELS],
  std: [areAbove0, `${CHANNELS}, above 0`],
  layout: oneOf(...LAYOUTS),
  color: oneOf(...COLORS),
  samplingRate: wholeFrom(1, 2 ** 32),
  normalize: SWITCH,
  spectrogram: [
    isSpectrogram,
    `whole numbers as "melBins" (up to 1024), "fftSize" (even, up to ${LONGEST_FRAME}, of factors up to 13), "hopLength", and "seconds" (up to 3600); of Kaldi's "kaldi", with "frameLength" (up to "fftSize"), "mean" and "std"`,
  ],
};

/**
 * What is given, checked, over the defaults.
 *
 * @param defaults  over those of `DEFAULT_PREPROCESSING`
 * @throws {InputError} naming the option, where it is of another kind or there is none of that name
 *
 * @example
 * parsePreprocessing({ mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], resize: 'crop' });
 */
export function parsePreprocessing(
  options: PreprocessingOptions,
  defaults: Partial<Preprocessing> = {},
): Preprocessing {
  expectNames('parsePreprocessing', options, PREPROCESSING_OPTIONS);
  expectNames('parsePreprocessing', defaults, PREPROCESSING_OPTIONS);
  return preprocessingOf(options, defaults);
}

/** The same of options that say more than that, and were looked at before. */
export function preprocessingOf(
  options: PreprocessingOptions,
  defaults: Partial<Preprocessing> = {},
): Preprocessing {
  const all: Record<string, unknown> = { ...DEFAULT_PREPROCESSING, ...defaults };
  const parsed: Record<string, unknown> = {};
  for (const [field, [fits, expected]] of Object.entries(PREPROCESSING_OPTIONS)) {
    const own = options[field as keyof Preprocessing];
    const given = own === undefined ? all[field] : own;
    if (given === undefined) continue;
    if (!fits(given)) throw new InputError(`\`${field}\`: expected ${expected}, got ${said(given)}`);
    parsed[field] = field === 'mean' || field === 'std' ? listed(given) : given;
  }
  checkRange(parsed as unknown as Preprocessing);
  return parsed as unknown as Preprocessing;
}

/** What pixels of 0…255 become, of one of three channels. */
function inputsOf({ scale, mean, std }: Preprocessing, c: number): Float32Array {
  const [middle, width] = [mean, std].map((values) => ofChannel(values, c));
  return Float32Array.from({ length: 256 }, (_, pixel) => (pixel / scale - middle) / width);
}

/** @throws {InputError} naming the option that takes them out of float32 */
function checkRange(p: Preprocessing): void {
  if ([0, 1, 2].every((c) => inputsOf(p, c).every(Number.isFinite))) return;
  const isBeyond = (value: number) => !Number.isFinite(Math.fround(value));
  const field = isBeyond(255 / p.scale) ? 'scale' : p.mean.some(isBeyond) ? 'mean' : 'std';
  throw new InputError(
    `\`${field}\`: (pixel / scale − mean) / std of pixels up to 255 is beyond what float32 holds, got ${p[field]}`,
  );
}

/**
 * @throws {FormatError} if it is not the JSON of a `Preprocessing`
 *
 * @example
 * const preprocessing = parsePreprocessingJson('{ "mean": [0.286], "std": [0.353] }');
 */
export function parsePreprocessingJson(json: string, where = 'preprocessing'): Preprocessing {
  const raw = parseJson(json, where);
  if (!isObject(raw)) throw new FormatError(`${where}: expected an object`);
  return checkedPreprocessing(raw as PreprocessingOptions, where);
}

/** Where it comes from a file. @throws {FormatError} naming that, and the field */
export function checkedPreprocessing(options: PreprocessingOptions, where: string): Preprocessing {
  try {
    return parsePreprocessing(options);
  } catch (cause) {
    throw new FormatError(`${where}: ${(cause as Error).message.replaceAll('`', '"')}`, { cause });
  }
}

/** The stride of most networks for images. */
const DEFAULT_MULTIPLE = 32;

/**
 * The height and width of an image, to the nearest multiples.
 *
 * @example
 * const [height, width] = ownSize({ height: 470, width: 640 }, { multiple: 32 }); // [480, 640]
 */
export function ownSize(
  image: Pick<DecodedImage, 'height' | 'width'>,
  preprocessing: Pick<Preprocessing, 'multiple'>,
): [number, number] {
  expectObject('ownSize', 'image', image);
  expectObject('ownSize', 'preprocessing', preprocessing);
  const { multiple = DEFAULT_MULTIPLE } = preprocessing;
  const nearest = (side: number) => Math.max(1, Math.round(side / multiple)) * multiple;
  return [nearest(image.height), nearest(image.width)];
}

/** What one input of the model has to be. */
function target(
  p: Preprocessing,
  inputShape: readonly number[],
): Pick<DecodedImage, 'channels' | 'height' | 'width'> {
  const { layout, mean, std } = Object(p) as Partial<Preprocessing>;
  if (!(LAYOUTS.includes(layout as Layout) && Array.isArray(mean) && Array.isArray(std)))
    throw new InputError(`"preprocessing" expected what parsePreprocessing(…) gives, got ${said(p)}`);
  expectDims('images', 'inputShape', inputShape);
  if (inputShape.length !== 3) {
    throw new InputError(
      `images expected a model input of 3 dimensions and the batch, got ${formatShape(inputShape)}`,
    );
  }
  const [open, h, w] = p.layout === 'nchw' ? inputShape : [inputShape[2], inputShape[0], inputShape[1]];
  const c = open > 0 ? open : p.color === 'gray' ? 1 : 3;
  if (c !== 1 && c !== 3) {
    const other = p.layout === 'nchw' ? inputShape[2] : inputShape[0];
    const fitting = p.layout === 'nchw' ? 'nhwc' : 'nchw';
    const hint = other === 1 || other === 3 ? ` (is \`layout: '${fitting}'\` meant?)` : '';
    throw new InputError(
      `images have 1 or 3 channels, the model's input ${formatShape(inputShape)} has ${c}${hint}`,
    );
  }
  if (p.color !== undefined && (p.color === 'gray') !== (c === 1)) {
    throw new InputError(`\`color: '${p.color}'\`: the model expected ${counted(c, 'channel')}`);
  }
  for (const what of ['mean', 'std'] as const) {
    const { length } = p[what];
    if (length !== 1 && length !== c) {
      throw new InputError(
        `\`${what}\`: expected one value${c === 3 ? ' or 3' : ''} for the model's ${counted(c, 'channel')}, got ${length}`,
      );
    }
  }
  const [height, width] = typeof p.size === 'number' ? [p.size, p.size] : (p.size ?? [h, w]);
  if (!(height > 0 && width > 0)) {
    throw new InputError(
      `the model's input ${formatShape(inputShape)} leaves the image size open; give it with \`size\``,
    );
  }
  if ((h > 0 && h !== height) || (w > 0 && w !== width)) {
    throw new InputError(`\`size\`: the model expected ${h}×${w}, got ${height}×${width}`);
  }
  checkValues([c, height, width], 'an image of');
  return { channels: c, height, width };
}

/**
 * The shape of one preprocessed image in the layout, without the batch.
 *
 * @param inputShape  the model's, without the batch; dimensions that it leaves open are ≤ 0
 * @throws {InputError} if they do not go together
 *
 * @example
 * const [channels, height, width] = imageShape(parsePreprocessing({ size: 224, resize: 'crop' }), [3, 0, 0]);
 */
export function imageShape(p: Preprocessing, inputShape: readonly number[]): number[] {
  const { channels, height, width } = target(p, inputShape);
  return p.layout === 'nchw' ? [channels, height, width] : [height, width, channels];
}

function toChannels(image: DecodedImage, want: 1 | 3, color: Color | undefined): DecodedImage {
  if (image.channels === want) return image;
  const { width, height, data } = image;
  if (color === undefined) {
    const convert = want === 1 ? 'gray' : 'rgb';
    throw new InputError(
      `"${image.name}": the image has ${counted(image.channels, 'channel')}, the model expected ${want} (\`color: '${convert}'\` converts)`,
    );
  }
  const pixels = width * height;
  const out = new Uint8Array(pixels * want);
  for (let i = 0; i < pixels; i++) {
    if (want === 3) out.fill(data[i], 3 * i, 3 * i + 3);
    // ITU-R 601 luma in 16-bit fixed point, with the constants of PIL's `L`.
    else out[i] = (data[3 * i] * 19595 + data[3 * i + 1] * 38470 + data[3 * i + 2] * 7471 + 0x8000) >> 16;
  }
  return { ...image, channels: want, data: out };
}

/** Python's `round`, which torchvision places the crop with. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor & 1) : Math.round(x);
}

// 224 / 256: how much of the short side the centre crop keeps in the usual ImageNet evaluation.
export const CROP_FRACTION = 0.875;

/** @param fraction  how much of the short side it keeps */
function cropImage(image: DecodedImage, height: number, width: number, fraction: number): DecodedImage {
  const coverH = Math.floor(height / fraction);
  const coverW = Math.floor(width / fraction);
  // The side that needs the larger factor gets its exact length, the other is cut to whole pixels.
  const byHeight = coverH / image.height >= coverW / image.width;
  const fullH = byHeight ? coverH : Math.floor((coverW * image.height) / image.width);
  const fullW = byHeight ? Math.floor((coverH * image.width) / image.height) : coverW;
  const top = roundHalfEven((fullH - height) / 2);
  const left = roundHalfEven((fullW - width) / 2);
  return cropped(resizeImage(image, fullH, fullW), { top, left, height, width });
}

function toSize(image: DecodedImage, height: number, width: number, resize: Resize): DecodedImage {
  if (resize === 'fit') return resizeImage(image, height, width);
  if (resize === 'crop') return cropImage(image, height, width, CROP_FRACTION);
  if (resize === 'cover') return cropImage(image, height, width, 1);
  if (image.height !== height || image.width !== width) {
    throw new InputError(
      `"${image.name}": the image is ${image.height}×${image.width}, the model expected ${height}×${width} (\`resize: 'fit'\` or \`resize: 'crop'\` resizes)`,
    );
  }
  return image;
}

/** One number is of all channels. */
export const ofChannel = (values: readonly number[], c: number): number =>
  values[values.length === 1 ? 0 : c];

/**
 * (pixel / scale − mean) / std per channel, after colour and size.
 *
 * @param inputShape  the model's, without the batch; dimensions that it leaves open are ≤ 0
 * @returns values in the layout, of shape `imageShape(p, inputShape)`
 * @throws {InputError} naming the image, if it has another size or channel count and `p` does not convert
 *
 * @example
 * const image = await decodeImage(bytes, 'photo.jpg');
 * const data = preprocess(image, parsePreprocessing({ resize: 'fit' }), model.input.shape);
 */
export function preprocess(
  image: DecodedImage,
  p: Preprocessing,
  inputShape: readonly number[],
): Float32Array {
  expectObject('preprocess', 'image', image);
  const { channels, height, width } = target(p, inputShape);
  const { data } = toSize(toChannels(image, channels, p.color), height, width, p.resize);
  const pixels = height * width;
  const out = new Float32Array(pixels * channels);
  for (let c = 0; c < channels; c++) {
    const values = inputsOf(p, c);
    const source = p.color === 'bgr' ? 2 - c : c;
    const [offset, stride] = p.layout === 'nchw' ? [c * pixels, 1] : [c, channels];
    for (let i = 0; i < pixels; i++) out[offset + i * stride] = values[data[i * channels + source]];
  }
  return out;
}
