// Several views of one image, where images are few: the layers of a network for photographs see other values in each of them.

import type { DecodedImage } from './image.ts';
import { turned } from './orientation.ts';
import { resizeImage } from './resample.ts';
import { mulberry32 } from './sample.ts';

/** Of an image's pixels, what a crop has at least. */
const LEAST_AREA = 0.6;
/** As EXIF counts. */
const MIRRORED = 2;

/**
 * The image itself, its mirror image, and from the third view on random crops of it, every other one mirrored: torchvision's
 * `RandomResizedCrop` and `RandomHorizontalFlip`, with the size and the aspect of the image.
 *
 * @param seed  for where the crop lies
 */
export function augmented(image: DecodedImage, view: number, seed: number): DecodedImage {
  const part = view < 2 ? image : cropped(image, mulberry32(seed));
  return view % 2 === 1 ? turned(part, MIRRORED) : part;
}

function cropped(image: DecodedImage, random: () => number): DecodedImage {
  const { width, height, channels, data } = image;
  const side = Math.sqrt(LEAST_AREA + (1 - LEAST_AREA) * random());
  const [w, h] = [width, height].map((extent) => Math.max(1, Math.round(side * extent)));
  const [left, top] = [width - w, height - h].map((room) => Math.floor(random() * (room + 1)));
  const crop = new Uint8Array(w * h * channels);
  for (let y = 0; y < h; y++) {
    const from = ((top + y) * width + left) * channels;
    crop.set(data.subarray(from, from + w * channels), y * w * channels);
  }
  return resizeImage({ ...image, width: w, height: h, data: crop }, height, width);
}
