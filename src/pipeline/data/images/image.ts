// PNG, JPEG, WebP and AVIF files → 8-bit pixels, gray or RGB, as calibration images need them.
//
// No colour management: embedded profiles and gamma are ignored, alpha is dropped and not blended, as
// `PIL.Image.convert` does. Photographs are turned as their EXIF orientation says, those of AVIF as its own boxes do.

import { convertIndexedToRgb, type DecodedPng, decode as decodePng } from 'fast-png';
import { FormatError } from '../../../errors.ts';
import { expectBytes } from '../../../expect.ts';
import { otherImage } from '../../../formats.ts';
import { avifFrame, isAvif } from './avif.ts';
import type { Decode } from './codec.ts';
import { checkSize, type DecodedImage, type Frame } from './frame.ts';
import { isJpeg, jpegFrame } from './jpeg.ts';
import { isTransposed, turned } from './orientation.ts';
import { essentialPng, isPng, pngHeader, pngOrientation } from './png.ts';
import { isWebp, webpFrame } from './webp.ts';

const PNG_COLOR = { gray: 0, rgb: 2, palette: 3, grayAlpha: 4, rgba: 6 };

interface Channels extends Pick<DecodedPng, 'width' | 'height' | 'channels' | 'depth'> {
  readonly data: ArrayLike<number>;
}

/** Keeps the first `keep` of every `channels` values; 16-bit values lose their low byte. */
function keepChannels({ data, width, height, channels, depth }: Channels, keep: 1 | 3): Uint8Array {
  const pixels = width * height;
  const shift = depth === 16 ? 8 : 0;
  const out = new Uint8Array(pixels * keep);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < keep; c++) out[i * keep + c] = data[i * channels + c] >> shift;
  }
  return out;
}

/** 1, 2 or 4 bits per gray pixel, rows padded to a byte → 0…255. */
function unpackGray({ data, width, height, depth }: DecodedPng): Uint8Array {
  const out = new Uint8Array(width * height);
  const rowBytes = Math.ceil((width * depth) / 8);
  const white = (1 << depth) - 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const bit = x * depth;
      const value = (data[y * rowBytes + (bit >> 3)] >> (8 - depth - (bit & 7))) & white;
      out[y * width + x] = (value * 255) / white;
    }
  }
  return out;
}

function readPng(bytes: Uint8Array, name: string, { channels }: Frame): DecodedImage {
  const header = pngHeader(bytes);
  const { depth, color } = header;
  // fast-png reads the seven passes as if every pixel had whole bytes.
  if (header.isInterlaced && depth < 8) throw new Error('interlaced with fewer than 8 bits per pixel');

  const png = decodePng(essentialPng(bytes, header), { checkCrc: true });
  const { width, height } = png;
  if (color === PNG_COLOR.palette) {
    // With transparency the palette has four entries per colour.
    const entries = png.palette?.[0]?.length ?? 3;
    const colours = convertIndexedToRgb(png);
    const data = keepChannels({ width, height, depth: 8, channels: entries, data: colours }, channels);
    return { name, width, height, channels, data };
  }
  if (color === PNG_COLOR.gray && depth < 8) return { name, width, height, channels, data: unpackGray(png) };
  return { name, width, height, channels, data: keepChannels(png, channels) };
}

/** Of a palette the colours. */
function pngFrame(bytes: Uint8Array): Frame {
  const { width, height, color } = pngHeader(bytes);
  checkSize({ width, height });
  const channels = color === PNG_COLOR.gray || color === PNG_COLOR.grayAlpha ? 1 : 3;
  return { width, height, channels, orientation: pngOrientation(bytes) };
}

/** A format whose pixels compiled code makes, which the first such file loads. */
const compiled =
  (load: () => Promise<{ default: Decode }>) =>
  async (bytes: Uint8Array, name: string, frame: Frame): Promise<DecodedImage> => {
    const { default: decode } = await load();
    const { width, height, data } = await decode(bytes, frame.width * frame.height);
    if (width !== frame.width || height !== frame.height) throw new Error('it has two sizes');
    const { channels } = frame;
    const pixels = keepChannels({ data, width, height, channels: 4, depth: 8 }, channels);
    return { name, width, height, channels, data: pixels };
  };

interface ImageFormat {
  readonly name: string;
  is(bytes: Uint8Array): boolean;
  frame(bytes: Uint8Array): Frame;
  decode(bytes: Uint8Array, name: string, frame: Frame): DecodedImage | Promise<DecodedImage>;
}

const FORMATS: readonly ImageFormat[] = [
  { name: 'PNG', is: isPng, frame: pngFrame, decode: readPng },
  { name: 'JPEG', is: isJpeg, frame: jpegFrame, decode: compiled(() => import('./codecs/jpeg.ts')) },
  { name: 'WebP', is: isWebp, frame: webpFrame, decode: compiled(() => import('./codecs/webp.ts')) },
  { name: 'AVIF', is: isAvif, frame: avifFrame, decode: compiled(() => import('./codecs/avif.ts')) },
];
/** For messages. */
export const IMAGE_FORMATS = 'PNG, JPEG, WebP or AVIF';

function formatOf(bytes: Uint8Array, name: string): ImageFormat {
  const format = FORMATS.find((it) => it.is(bytes));
  if (format) return format;
  const what = otherImage(bytes) ?? 'something else';
  throw new FormatError(`"${name}": expected a ${IMAGE_FORMATS} image, got ${what}`);
}

/** A decoder that trips over missing tables and rows has nothing to say to the user. */
function undecodable(name: string, format: ImageFormat, cause: unknown): FormatError {
  const isSaid = cause instanceof Error && !(cause instanceof TypeError) && !(cause instanceof RangeError);
  const reason = isSaid ? cause.message : 'it is damaged';
  return new FormatError(`"${name}": cannot decode the ${format.name} image: ${reason}`, { cause });
}

/**
 * Height and width of the upright image, from the header alone.
 *
 * @throws {FormatError} naming the file, if it is in none of the formats that are read
 *
 * @example
 * const { width, height } = imageSize(bytes, 'photo.jpg');
 */
export function imageSize(bytes: Uint8Array, name: string): Pick<DecodedImage, 'height' | 'width'> {
  expectBytes('imageSize', bytes);
  const format = formatOf(bytes, name);
  try {
    const { width, height, orientation } = format.frame(bytes);
    return isTransposed(orientation) ? { width: height, height: width } : { width, height };
  } catch (cause) {
    throw undecodable(name, format, cause);
  }
}

/**
 * PNG, JPEG, WebP or AVIF, told apart by their first bytes. Palettes are expanded, alpha is dropped, more bits become 8.
 *
 * @throws {FormatError} naming the file, if it is none of them or is damaged
 *
 * @example
 * const { width, height, channels, data } = await decodeImage(bytes, 'photo.jpg');
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<DecodedImage> {
  expectBytes('decodeImage', bytes);
  const format = formatOf(bytes, name);
  try {
    const frame = format.frame(bytes);
    return turned(await format.decode(bytes, name, frame), frame.orientation);
  } catch (cause) {
    throw undecodable(name, format, cause);
  }
}
