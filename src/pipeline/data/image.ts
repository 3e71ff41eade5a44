// PNG and JPEG files → 8-bit pixels, gray or RGB, as calibration images need them.
//
// No colour management: embedded profiles and gamma are ignored, alpha is dropped and not blended, as
// `PIL.Image.convert` does. Photographs are turned as their EXIF orientation says.

import { convertIndexedToRgb, type DecodedPng, decode as decodePng } from 'fast-png';
import { decode as decodeJpeg } from 'jpeg-js';
import { FormatError } from '../../errors.ts';
import { limits } from '../../limits.ts';
import { exifOrientation, turned } from './orientation.ts';
import { essentialPng, PNG_SIGNATURE, pngHeader } from './png.ts';
import { resampleAxis } from './resample.ts';

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

/** Keeps the first `keep` of every `channels` values; 16-bit values lose their low byte. */
function keepChannels(image: Omit<DecodedPng, 'text'>, keep: 1 | 3): Uint8Array {
  const { data, channels } = image;
  const pixels = image.width * image.height;
  const shift = image.depth === 16 ? 8 : 0;
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
  /** Horizontal and vertical sampling factors of each component. */
  sampling: [number, number][];
  /** Offset of the transform code in an Adobe marker: 0 RGB or CMYK, 1 YCbCr, 2 YCCK. */
  adobeAt?: number;
  /** EXIF's, 1 to 8. */
  orientation: number;
}

/** Passes that a progressive file needs by far: libjpeg's own scripts have 10. */
const MOST_SCANS = 100;

function readJpegFrame(bytes: Uint8Array): JpegFrame {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sampling: JpegFrame['sampling'] = [];
  let [width, height, scans] = [0, 0, 0];
  let adobeAt: number | undefined;
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
    if (marker >= 0xc0 && marker <= 0xc2 && scans === 0) {
      if (sampling.length > 0) throw new Error('it has two frames');
      [height, width] = [view.getUint16(at + 5), view.getUint16(at + 7)];
      for (let i = 0; i < bytes[at + 9]; i++) {
        const factors = bytes[at + 11 + 3 * i];
        sampling.push([factors >> 4, factors & 15]);
      }
    }
    if (marker === 0xee && String.fromCharCode(...bytes.subarray(at + 4, at + 9)) === 'Adobe' && scans === 0)
      adobeAt = at + 15;
    if (marker === 0xe1 && orientation === 1 && scans === 0)
      orientation = exifOrientation(bytes.subarray(at + 4, at + 2 + view.getUint16(at + 2)));
    if (marker === 0xda) scans++;
    at += 2 + view.getUint16(at + 2);
  }
  return { width, height, scans, sampling, adobeAt, orientation };
}

/** @throws {Error} where a few bytes would take the decoder minutes */
function checkWork({ width, height, scans }: JpegFrame, bytes: number): void {
  checkSize(width, height);
  if (scans > MOST_SCANS) throw new Error(`it has ${scans} scans, more than ${MOST_SCANS}`);
  // Every block of 64 pixels takes a bit at least, for its mean.
  if (8 * bytes < (width * height) / 64)
    throw new Error(`${bytes} bytes cannot hold ${width}×${height} pixels`);
}

type Pixels = Pick<DecodedImage, 'data' | 'width' | 'height'>;

/** Samples of one component as a plane, interpolated linearly where jpeg-js repeated them fx × fy times. */
function smoothPlane({ data, width, height }: Pixels, c: number, fx: number, fy: number): Uint8Array {
  const w = Math.ceil(width / fx);
  const h = Math.ceil(height / fy);
  const small = new Uint8Array(w * h);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) small[y * w + x] = data[3 * (y * fy * width + x * fx) + c];
  }
  return resampleAxis(resampleAxis(small, h, w, w * fx, 1), 1, h, h * fy, w * fx);
}

/**
 * YCbCr with repeated chroma → RGB, in place, as JFIF has it. Chroma is interpolated, which is libjpeg's "fancy
 * upsampling" up to rounding: on 250 ImageNet files the mean difference to libjpeg is 0.33 grey levels (at most 5)
 * instead of 1.12 (68), and MobileNet V1 answers 2 of them differently instead of 11.
 */
function toRgb(image: Pixels, sampling: JpegFrame['sampling']): void {
  const { data, width, height } = image;
  const fx = Math.max(...sampling.map(([h]) => h)) / sampling[1][0];
  const fy = Math.max(...sampling.map(([, v]) => v)) / sampling[1][1];
  // Both chroma components halved, or quartered, alike; anything stranger stays as jpeg-js repeats it.
  const usual = Number.isInteger(fx) && Number.isInteger(fy) && String(sampling[1]) === String(sampling[2]);
  const [sx, sy] = usual ? [fx, fy] : [1, 1];
  const cb = smoothPlane(image, 1, sx, sy);
  const cr = smoothPlane(image, 2, sx, sy);
  const stride = Math.ceil(width / sx) * sx;
  const clamped = new Uint8ClampedArray(data.buffer, data.byteOffset, data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = 3 * (y * width + x);
      const luma = data[at];
      const blue = cb[y * stride + x] - 128;
      const red = cr[y * stride + x] - 128;
      clamped[at] = luma + 1.402 * red;
      clamped[at + 1] = luma - 0.344136 * blue - 0.714136 * red;
      clamped[at + 2] = luma + 1.772 * blue;
    }
  }
}

function readJpeg(bytes: Uint8Array, name: string): DecodedImage {
  const frame = readJpegFrame(bytes);
  checkWork(frame, bytes.length);
  const { sampling, adobeAt, orientation } = frame;
  const isRgb = adobeAt !== undefined && bytes[adobeAt] === 0;
  const colors = sampling.length;
  let source = bytes;
  if (colors === 3 && adobeAt !== undefined) {
    // jpeg-js obeys this code before `colorTransform`, and converts RGB files as if they were YCbCr.
    source = new Uint8Array(bytes);
    source[adobeAt] = 0;
  }
  const image = decodeJpeg(source, {
    useTArray: true,
    formatAsRGBA: false,
    tolerantDecoding: false,
    ...(colors === 3 && { colorTransform: false }),
    maxResolutionInMP: limits.imagePixels / 1e6,
    maxMemoryUsageInMB: limits.jpegMegabytes,
  });
  const { width, height, data } = image;
  if (width !== frame.width || height !== frame.height) throw new Error('it has two sizes');
  if (colors === 3 && !isRgb) toRgb(image, sampling);
  const size = { name, width, height };
  if (colors !== 1) return turned({ ...size, channels: 3, data }, orientation);
  const gray = keepChannels({ width, height, depth: 8, channels: 3, data }, 1);
  return turned({ ...size, channels: 1, data: gray }, orientation);
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
 */
export function decodeImage(bytes: Uint8Array, name: string): DecodedImage {
  const png = isPng(bytes);
  if (!png && !isJpeg(bytes)) {
    throw new FormatError(
      `"${name}": expected a PNG or JPEG image, got ${bytes.length ? 'something else' : 'an empty file'}`,
    );
  }
  try {
    return png ? readPng(bytes, name) : readJpeg(bytes, name);
  } catch (cause) {
    // A decoder that trips over missing tables and rows has nothing to say to the user.
    const isSaid = cause instanceof Error && !(cause instanceof TypeError) && !(cause instanceof RangeError);
    const reason = isSaid ? cause.message : 'it is damaged';
    throw new FormatError(`"${name}": cannot decode the ${png ? 'PNG' : 'JPEG'} image: ${reason}`, {
      cause,
    });
  }
}
