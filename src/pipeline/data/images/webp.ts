// The header of a WebP file.
//
// https://developers.google.com/speed/webp/docs/riff_container, RFC 6386 (lossy), RFC 9649

import { checkSize, type Frame, nameAt, viewOf } from './frame.ts';
import { exifOrientation } from './orientation.ts';

export const isWebp = (bytes: Uint8Array) => nameAt(bytes, 0) === 'RIFF' && nameAt(bytes, 8) === 'WEBP';

const ANIMATION = 2;
/** Of the sizes, whose upper bits are hints for scaling. */
const SIDE_BITS = 0x3fff;
/** What lossless data begin with, and the key frames of lossy data behind three bytes. */
const LOSSLESS = 0x2f;
const KEY_FRAME = 0x9d012a;
/** Bytes of the header that say the size, in the three kinds of chunks that have one. */
const HEADER_BYTES: Readonly<Record<string, number>> = { VP8X: 10, 'VP8 ': 10, VP8L: 5 };

function* chunksOf(bytes: Uint8Array): Generator<{ type: string; data: Uint8Array }> {
  const view = viewOf(bytes);
  for (let at = 12; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    yield { type: nameAt(bytes, at), data: bytes.subarray(at + 8, at + 8 + length) };
    at += 8 + length + (length & 1);
  }
}

/** @throws {Error} where it is no single image */
export function webpFrame(bytes: Uint8Array): Frame {
  let size: Pick<Frame, 'width' | 'height'> | undefined;
  let orientation = 1;
  for (const { type, data } of chunksOf(bytes)) {
    if (type === 'VP8X' && (data[0] & ANIMATION) !== 0)
      throw new Error('it is an animation; take its frames apart');
    // The canvas comes first, and libwebp refuses an image of another size.
    size ??= sizeIn(type, data);
    if (type === 'EXIF') orientation = exifOrientation(data);
  }
  if (!size) throw new Error('it holds no image');
  checkSize(size);
  return { ...size, channels: 3, orientation };
}

function sizeIn(type: string, data: Uint8Array): Pick<Frame, 'width' | 'height'> | undefined {
  if (!Object.hasOwn(HEADER_BYTES, type)) return undefined;
  if (data.length < HEADER_BYTES[type]) throw new Error('truncated in its header');
  const view = viewOf(data);
  if (type === 'VP8X') {
    // 24 bits each, from the fifth byte on.
    const [width, height] = [view.getUint32(3, true) >>> 8, view.getUint32(6, true) >>> 8];
    return { width: width + 1, height: height + 1 };
  }
  if (type === 'VP8L') {
    if (data[0] !== LOSSLESS) throw new Error('it is damaged');
    const bits = view.getUint32(1, true);
    return { width: (bits & SIDE_BITS) + 1, height: ((bits >>> 14) & SIDE_BITS) + 1 };
  }
  if (view.getUint32(2) % 2 ** 24 !== KEY_FRAME) throw new Error('it is damaged');
  return { width: view.getUint16(6, true) & SIDE_BITS, height: view.getUint16(8, true) & SIDE_BITS };
}
