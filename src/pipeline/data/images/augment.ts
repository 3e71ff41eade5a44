// Several views of one image, where images are few: the layers of a network for photographs see other values in each of them.

import { mulberry32 } from '../sample.ts';
import type { DecodedImage } from './frame.ts';
import { turned } from './orientation.ts';
import { cropped, resizeImage } from './resample.ts';

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
  const part = view < 2 ? image : zoomed(image, mulberry32(seed));
  return view % 2 === 1 ? turned(part, MIRRORED) : part;
}

function zoomed(image: DecodedImage, random: () => number): DecodedImage {
  const sides = [image.width, image.height];
  const share = Math.sqrt(LEAST_AREA + (1 - LEAST_AREA) * random());
  const [width, height] = sides.map((side) => Math.max(1, Math.round(share * side)));
  const [left, top] = [image.width - width, image.height - height].map((room) =>
    Math.floor(random() * (room + 1)),
  );
  return resizeImage(cropped(image, { top, left, height, width }), image.height, image.width);
}
