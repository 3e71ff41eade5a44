// The header of a JPEG file.
//
// https://www.w3.org/Graphics/JPEG/itu-t81.pdf, annex B

import { beginsWith, checkSize, type Frame, viewOf } from './frame.ts';
import { exifOrientation } from './orientation.ts';

const SIGNATURE = [0xff, 0xd8, 0xff];
/** Passes that a progressive file needs by far: libjpeg's own scripts have 10. */
const MOST_SCANS = 100;

export const isJpeg = (bytes: Uint8Array) => beginsWith(bytes, SIGNATURE);

/** What the markers say, up to the last scan. */
interface JpegFrame extends Omit<Frame, 'channels'> {
  /** Passes over the image. */
  readonly scans: number;
  /** 1 of gray, 3 of colours, 4 of inks. */
  readonly components: number;
}

function readFrame(bytes: Uint8Array): JpegFrame {
  const view = viewOf(bytes);
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

/** @throws {Error} where it is of inks, or a few bytes would take the decoder minutes */
export function jpegFrame(bytes: Uint8Array): Frame {
  const { components, scans, ...frame } = readFrame(bytes);
  const { width, height } = frame;
  checkSize(frame);
  if (scans > MOST_SCANS) throw new Error(`it has ${scans} scans, more than ${MOST_SCANS}`);
  // Every block of 64 pixels takes a bit at least, for its mean.
  if (8 * bytes.length < (width * height) / 64)
    throw new Error(`${bytes.length} bytes cannot hold ${width}×${height} pixels`);
  if (components !== 1 && components !== 3)
    throw new Error(`it has ${components} components, as of CMYK; convert it to RGB`);
  return { ...frame, channels: components };
}
