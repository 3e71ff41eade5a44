// PNG, JPEG, WebP and AVIF files → 8-bit pixels, gray or RGB, as calibration images need them.
//
// No colour management: embedded profiles and gamma are ignored, alpha is dropped and not blended, as
// `PIL.Image.convert` does. Photographs are turned as their EXIF orientation says, those of AVIF as its own boxes do.

import { FormatError } from '../../../errors.ts';
import { expectBytes } from '../../../expect.ts';
import { otherImage } from '../../../formats.ts';
import { unloaded } from '../../../unloaded.ts';
import { avifFrame, isAvif } from './avif.ts';
import type { Decode, Decoded } from './codec.ts';
import type { DecodedImage, Frame } from './frame.ts';
import { isJpeg, jpegFrame } from './jpeg.ts';
import { isTransposed, turned } from './orientation.ts';
import { isPng, pngCodec, pngFrame } from './png.ts';
import { isWebp, webpFrame } from './webp.ts';

/** Keeps the first `keep` of every `channels` values; 16-bit values lose their low byte. */
function keepChannels({ data, width, height, channels, depth }: Decoded, keep: 1 | 3): Uint8Array {
  const pixels = width * height;
  const shift = depth === 16 ? 8 : 0;
  const out = new Uint8Array(pixels * keep);
  for (let i = 0; i < pixels; i++) {
    for (let c = 0; c < keep; c++) out[i * keep + c] = data[i * channels + c] >> shift;
  }
  return out;
}

interface ImageFormat {
  readonly name: string;
  is(bytes: Uint8Array): boolean;
  frame(bytes: Uint8Array): Frame;
  /** What makes pixels of it, which the first such file loads. */
  codec(): Promise<{ default: Decode }>;
}

const FORMATS: readonly ImageFormat[] = [
  { name: 'PNG', is: isPng, frame: pngFrame, codec: pngCodec },
  { name: 'JPEG', is: isJpeg, frame: jpegFrame, codec: () => import('./codecs/jpeg.ts') },
  { name: 'WebP', is: isWebp, frame: webpFrame, codec: () => import('./codecs/webp.ts') },
  { name: 'AVIF', is: isAvif, frame: avifFrame, codec: () => import('./codecs/avif.ts') },
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
  const { default: decode } = await format.codec().catch(unloaded(`what decodes ${format.name}`));
  try {
    const { width, height, channels, orientation } = format.frame(bytes);
    const decoded = await decode(bytes, width * height);
    if (decoded.width !== width || decoded.height !== height) throw new Error('it has two sizes');
    return turned({ name, width, height, channels, data: keepChannels(decoded, channels) }, orientation);
  } catch (cause) {
    throw undecodable(name, format, cause);
  }
}
