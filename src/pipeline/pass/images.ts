// Images as the sums of a convolution take them: in the plane, zeros between their values where it is a transposed one.

import { type DepthGeometry, type LinearMap, padsFor, type ValueInfo } from '../../graph/index.ts';
import type { Image } from '../../solve/index.ts';

/** The channels of a layer that is one of several side by side. */
export function partOf(image: Image, { part }: LinearMap): Image {
  if (!part) return image;
  const [channels, size] = [image.channels / part.count, image.data.length / part.count];
  return { channels, data: image.data.subarray(part.index * size, (part.index + 1) * size) };
}

/** The size that images of these dims (n, c, …, h, w) or (n, c, w) have with zeros between their values, and what makes them so. */
export function dilated(dims: readonly number[], [down, across]: readonly [number, number]) {
  // A 1-D convolution is one over images of height 1.
  const [rows, columns] = planeOf(dims.slice(2));
  const [height, width] = [(rows - 1) * down + 1, (columns - 1) * across + 1];
  const of = (image: Image): Image => {
    if (down === 1 && across === 1) return image;
    const data = new Float32Array(image.channels * height * width);
    for (let at = 0; at < image.data.length; at++) {
      const [line, column] = [Math.floor(at / columns), at % columns];
      data[(Math.floor(line / rows) * height + (line % rows) * down) * width + column * across] =
        image.data[at];
    }
    return { ...image, data };
  };
  return { height, width, of };
}

/** Height and width; a 1-D convolution has a height of 1. */
export const planeOf = (extents: readonly number[]) => [extents.at(-2) ?? 1, extents.at(-1)!];

/**
 * For each plane of the output those of a 3-D image (c, d, h, w) that the kernel takes, as channels (c, kernel) of one plane;
 * zeros beyond both ends.
 */
export function stacks(
  { channels, data }: Image,
  depth: number,
  { kernel, stride, pads: [front], dilation, inputDilation }: DepthGeometry,
  count: number,
): Image[] {
  const size = data.length / channels / depth;
  return Array.from({ length: count }, (_, plane) => {
    const stack = new Float32Array(channels * kernel * size);
    for (let k = 0; k < kernel; k++) {
      const from = (plane * stride + k * dilation - front) / inputDilation;
      if (!Number.isInteger(from) || from < 0 || from >= depth) continue;
      for (let c = 0; c < channels; c++) {
        const start = (c * depth + from) * size;
        stack.set(data.subarray(start, start + size), (c * kernel + k) * size);
      }
    }
    return { channels: channels * kernel, data: stack };
  });
}

const AS_THEY_ARE: DepthGeometry = { kernel: 1, stride: 1, pads: [0, 0], dilation: 1, inputDilation: 1 };

/** The planes of a 3-D image, each with all channels; an image of one is its own. */
export function planes(image: Image, depth: number): Image[] {
  return depth === 1 ? [image] : stacks(image, depth, AS_THEY_ARE, depth);
}

/** The extents that a convolution gives for images of these. */
export function outputOf(
  info: ValueInfo,
  { output, conv }: LinearMap,
  extents: readonly number[],
): readonly number[] {
  if (!info.varies) return info.shapes.get(output)!.slice(2);
  const { kernel, strides, pads, dilations, inputDilations = [1, 1], depth } = padsFor(conv!, extents);
  const given = planeOf(extents).map((side, axis) => {
    const reach = (side - 1) * inputDilations[axis] + pads[axis] + pads[axis + 2];
    return Math.floor((reach - dilations[axis] * (kernel[axis] - 1)) / strides[axis]) + 1;
  });
  if (!depth) return given;
  const reach = (extents[0] - 1) * depth.inputDilation + depth.pads[0] + depth.pads[1];
  return [Math.floor((reach - depth.dilation * (depth.kernel - 1)) / depth.stride) + 1, ...given];
}

/** Every `stride`-th row and column of the images of all channels. */
export function onGrid(data: Float32Array, height: number, width: number, stride: number): Float32Array {
  if (stride === 1) return data;
  const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
  const channels = data.length / (height * width);
  const result = new Float32Array(channels * rows * columns);
  let at = 0;
  for (let c = 0; c < channels; c++) {
    for (let y = 0; y < height; y += stride) {
      for (let x = 0; x < width; x += stride) result[at++] = data[(c * height + y) * width + x];
    }
  }
  return result;
}
