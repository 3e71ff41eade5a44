// PNG and JPEG files → 8-bit pixels, gray or RGB, as calibration images need them.
//
// No colour management: embedded profiles and gamma are ignored, alpha is dropped and not blended, as
// `PIL.Image.convert` does. Photographs are turned as their EXIF orientation says.

import { convertIndexedToRgb, type DecodedPng, decode as decodePng } from 'fast-png';
import { FormatError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { exifOrientation, turned } from './orientation.ts';
import { essentialPng, PNG_SIGNATURE, pngHeader } from './png.ts';

/** Pixels row by row, channels interleaved. */
export interface DecodedImage {
  /** For messages: the file's name. */
  name: string;
  width: number;
  height: number;
  channels: 1 | 3;
  data: Uint8Array;
}

const JPEG_SIGNATURE = [0xff, 0xd8, 0xff];
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

function readPng(bytes: Uint8Array, name: string): DecodedImage {
  const header = pngHeader(bytes);
  const { depth, color } = header;
  checkSize(header.width, header.height);
  // fast-png reads the seven passes as if every pixel had whole bytes.
  if (header.isInterlaced && depth < 8) throw new Error('interlaced with fewer than 8 bits per pixel');

  const png = decodePng(essentialPng(bytes, header), { checkCrc: true });
  const { width, height } = png;
  if (color === PNG_COLOR.palette) {
    // With transparency the palette has four entries per colour.
    const channels = png.palette?.[0]?.length ?? 3;
    const data = keepChannels({ ...png, depth: 8, channels, data: convertIndexedToRgb(png) }, 3);
    return { name, width, height, channels: 3, data };
  }
  if (color === PNG_COLOR.gray && depth < 8)
    return { name, width, height, channels: 1, data: unpackGray(png) };
  const channels = color === PNG_COLOR.gray || color === PNG_COLOR.grayAlpha ? 1 : 3;
  return { name, width, height, channels, data: keepChannels(png, channels) };
}

/** What the markers say, up to the last scan. */
interface JpegFrame {
  readonly width: number;
  readonly height: number;
  /** Passes over the image. */
  readonly scans: number;
  /** 1 of gray, 3 of colours, 4 of inks. */
  readonly components: number;
  /** EXIF's, 1 to 8. */
  readonly orientation: number;
}

/** Passes that a progressive file needs by far: libjpeg's own scripts have 10. */
const MOST_SCANS = 100;

function readJpegFrame(bytes: Uint8Array): JpegFrame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [width, height, components, scans] = [0, 0, 0, 0];
  let orientation = 1;
  for (let at = 2; at + 9 < bytes.length; ) {
    const marker = bytes[at] === 0xff ? bytes[at + 1] : 0;
    if (marker < 0xc0 || marker === 0xff || (marker >= 0xd0 && marker <= 0xd8)) {
      // Entropy-coded data, which has no markers but restarts, or fill bytes.
      const next = bytes.indexOf(0xff, at + 1);
      if (next < 0) break;
      at = next;
      continue;
    }
    if (marker === 0xd9) break;
    if (isFrame(marker) && scans === 0) {
      if (components > 0) throw new Error('it has two frames');
      [height, width, components] = [view.getUint16(at + 5), view.getUint16(at + 7), bytes[at + 9]];
    }
    if (marker === 0xe1 && orientation === 1 && scans === 0)
      orientation = exifOrientation(bytes.subarray(at + 4, at + 2 + view.getUint16(at + 2)));
    if (marker === 0xda) scans++;
    at += 2 + view.getUint16(at + 2);
  }
  return { width, height, scans, components, orientation };
}

/** Of any coding; the three others of these markers are of tables. */
const isFrame = (marker: number) =>
  marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;

/** @throws {Error} where a few bytes would take the decoder minutes */
function checkWork({ width, height, scans }: JpegFrame, bytes: number): void {
  checkSize(width, height);
  if (scans > MOST_SCANS) throw new Error(`it has ${scans} scans, more than ${MOST_SCANS}`);
  // Every block of 64 pixels takes a bit at least, for its mean.
  if (8 * bytes < (width * height) / 64)
    throw new Error(`${bytes} bytes cannot hold ${width}×${height} pixels`);
}

async function readJpeg(bytes: Uint8Array, name: string): Promise<DecodedImage> {
  const frame = readJpegFrame(bytes);
  checkWork(frame, bytes.length);
  if (frame.components !== 1 && frame.components !== 3)
    throw new Error(`it has ${frame.components} components, as of CMYK; convert it to RGB`);
  const { decodeJpeg } = await import('./jpeg.ts');
  const { width, height, data } = await decodeJpeg(bytes);
  if (width !== frame.width || height !== frame.height) throw new Error('it has two sizes');
  const channels = frame.components;
  const pixels = keepChannels({ data, width, height, channels: 4, depth: 8 }, channels);
  return turned({ name, width, height, channels, data: pixels }, frame.orientation);
}

function checkSize(width: number, height: number): void {
  if (width === 0 || height === 0) throw new Error(`it is ${width}×${height}`);
  if (width * height > limits.imagePixels)
    throw new Error(`${width}×${height} is above the limit of ${limits.imagePixels / 1e6} Mpx`);
}

/**
 * Height and width, from the header alone.
 *
 * @throws {FormatError} naming the file, if it is neither PNG nor JPEG
 *
 * @example
 * const { width, height } = imageSize(bytes, 'photo.jpg');
 */
export function imageSize(bytes: Uint8Array, name: string): Pick<DecodedImage, 'height' | 'width'> {
  if (isPng(bytes) && bytes.length >= 24) {
    const header = new DataView(bytes.buffer, bytes.byteOffset + 16, 8);
    return { width: header.getUint32(0), height: header.getUint32(4) };
  }
  if (!isJpeg(bytes)) throw new FormatError(`"${name}": expected a PNG or JPEG image`);
  return readJpegFrame(bytes);
}

const isPng = (bytes: Uint8Array) => PNG_SIGNATURE.every((byte, i) => bytes[i] === byte);
const isJpeg = (bytes: Uint8Array) => JPEG_SIGNATURE.every((byte, i) => bytes[i] === byte);

/**
 * PNG or JPEG, told apart by their first bytes. Palettes are expanded, alpha is dropped, 16 bits become 8.
 *
 * @throws {FormatError} naming the file, if it is neither or is damaged
 *
 * @example
 * const { width, height, channels, data } = await decodeImage(bytes, 'photo.jpg');
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<DecodedImage> {
  const png = isPng(bytes);
  if (!png && !isJpeg(bytes)) {
    throw new FormatError(
      `"${name}": expected a PNG or JPEG image, got ${bytes.length ? 'something else' : 'an empty file'}`,
    );
  }
  try {
    return png ? readPng(bytes, name) : await readJpeg(bytes, name);
  } catch (cause) {
    // A decoder that trips over missing tables and rows has nothing to say to the user.
    const isSaid = cause instanceof Error && !(cause instanceof TypeError) && !(cause instanceof RangeError);
    const reason = isSaid ? cause.message : 'it is damaged';
    throw new FormatError(`"${name}": cannot decode the ${png ? 'PNG' : 'JPEG'} image: ${reason}`, {
      cause,
    });
  }
}
