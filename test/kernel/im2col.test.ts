import { expect, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import type { ConvGeometry } from '../../src/kernel/index.ts';
import { randomIntegers } from '../support/random.ts';
import { multiply } from './oracle.ts';
import { guarded, matrixOf, onEveryBinary } from './support.ts';

/** Convolution by its definition (ONNX `Conv`, one image): outputs × positions. */
function convolve(
  channels: number,
  outputs: number,
  g: ConvGeometry,
  image: Float64Array,
  weights: Float64Array,
) {
  const [kh, kw] = g.kernel;
  const result: number[] = [];
  for (let o = 0; o < outputs; o++) {
    for (let oy = 0; oy < g.outHeight; oy++) {
      for (let ox = 0; ox < g.outWidth; ox++) {
        let sum = 0;
        for (let c = 0; c < channels; c++) {
          for (let ky = 0; ky < kh; ky++) {
            for (let kx = 0; kx < kw; kx++) {
              const y = oy * g.strides[0] + ky * g.dilations[0] - g.pads[0];
              const x = ox * g.strides[1] + kx * g.dilations[1] - g.pads[1];
              if (y < 0 || y >= g.height || x < 0 || x >= g.width) continue;
              const weight = weights[((o * channels + c) * kh + ky) * kw + kx];
              sum += weight * image[(c * g.height + y) * g.width + x];
            }
          }
        }
        result.push(sum);
      }
    }
  }
  return result;
}

type Attributes = Pick<ConvGeometry, 'height' | 'width' | 'kernel'> &
  Partial<Pick<ConvGeometry, 'strides' | 'dilations'>> & { pads?: [number, number, number, number] };

function geometry(attributes: Attributes): ConvGeometry {
  const { height, width, kernel, strides = [1, 1], dilations = [1, 1], pads = [0, 0, 0, 0] } = attributes;
  const outHeight =
    Math.floor((height + pads[0] + pads[2] - dilations[0] * (kernel[0] - 1) - 1) / strides[0]) + 1;
  const outWidth =
    Math.floor((width + pads[1] + pads[3] - dilations[1] * (kernel[1] - 1) - 1) / strides[1]) + 1;
  return { height, width, kernel, strides, dilations, pads, outHeight, outWidth };
}

const geometries: [string, Attributes][] = [
  ['2×2', { height: 3, width: 3, kernel: [2, 2] }],
  ['3×3, padded', { height: 7, width: 9, kernel: [3, 3], pads: [1, 1, 1, 1] }],
  [
    '3×3, stride 2, asymmetric pads',
    { height: 8, width: 8, kernel: [3, 3], strides: [2, 2], pads: [0, 0, 1, 1] },
  ],
  [
    'uneven in everything',
    { height: 11, width: 6, kernel: [2, 5], strides: [3, 1], dilations: [2, 1], pads: [2, 3, 1, 0] },
  ],
  ['dilated', { height: 9, width: 9, kernel: [3, 3], dilations: [3, 2], pads: [3, 2, 3, 2] }],
  ['all padding around one pixel', { height: 1, width: 1, kernel: [3, 3], pads: [2, 2, 2, 2] }],
  ['7×7, wider than the blocks of positions', { height: 10, width: 37, kernel: [7, 7], pads: [3, 3, 3, 3] }],
  ['pointwise', { height: 5, width: 7, kernel: [1, 1] }],
  ['pointwise, a multiple of 16', { height: 4, width: 8, kernel: [1, 1] }],
  ['pointwise, stride 2', { height: 5, width: 7, kernel: [1, 1], strides: [2, 2] }],
  ['pointwise, padded', { height: 3, width: 3, kernel: [1, 1], pads: [1, 0, 1, 0] }],
  ['pointwise, padded at the bottom', { height: 3, width: 3, kernel: [1, 1], pads: [0, 0, 2, 0] }],
  ['pointwise, cropped at the bottom', { height: 1, width: 5, kernel: [1, 1] }],
];

onEveryBinary('im2col', (kernels) => {
  test.each(geometries)('turns a convolution into a product: %s', (_, attributes) => {
    const g = geometry(attributes);
    const positions = g.outHeight * g.outWidth;
    const outputs = 2;
    for (const channels of [1, 3, 4, 16, 21]) {
      const columns = channels * g.kernel[0] * g.kernel[1];
      const image = randomIntegers(channels * g.height * g.width, 9, channels);
      const weights = randomIntegers(outputs * columns, 9, 1);
      const source = matrixOf(kernels, channels, g.height * g.width, 'f32', image);
      const out = guarded(kernels, positions, columns, 'f32');
      kernels.im2col(source, g, 0, out.matrix);
      out.expectIntact();
      const unfolded = kernels.read(out.matrix);
      const product = multiply(false, true, [outputs, positions, columns], weights, unfolded);
      expect(Array.from(product)).toEqual(convolve(channels, outputs, g, image, weights));
    }
  });

  test.each(geometries)('unfolds any range of positions alike: %s', (_, attributes) => {
    const g = geometry(attributes);
    const channels = 5;
    const pixels = g.height * g.width;
    const positions = g.outHeight * g.outWidth;
    const columns = channels * g.kernel[0] * g.kernel[1];
    const source = matrixOf(kernels, channels, pixels, 'f32', randomIntegers(channels * pixels, 9, 2));
    const whole = kernels.matrix(positions, columns, 'f32');
    const parts = kernels.matrix(positions, columns, 'f32');
    kernels.im2col(source, g, 0, whole);
    for (let first = 0, step = 1; first < positions; first += step, step += 2) {
      const count = Math.min(step, positions - first);
      kernels.im2col(source, g, first, kernels.submatrix(parts, first, 0, count, columns));
    }
    expect(kernels.read(parts)).toEqual(kernels.read(whole));
  });

  test('names what does not fit', () => {
    const g = geometry({ height: 4, width: 4, kernel: [3, 3] });
    const image = kernels.matrix(2, 16, 'f32');
    const out = kernels.matrix(4, 18, 'f32');
    const narrow = kernels.matrix(4, 9, 'f32');
    expect(() => kernels.im2col(image, g, 0, narrow)).toThrow(
      new ShapeError('im2col: "out" expected 4×18, got 4×9'),
    );
    expect(() => kernels.im2col(narrow, g, 0, out)).toThrow(
      new ShapeError('im2col: "image" expected 4×16, got 4×9'),
    );
    expect(() => kernels.im2col(image, g, 1, out)).toThrow(
      new ShapeError('im2col: "out" expected positions within 2×2, got 1 to 5'),
    );
    expect(() => kernels.im2col(image, { ...g, strides: [0, 1] }, 0, out)).toThrow(ShapeError);
    expect(() => kernels.im2col(image, { ...g, strides: [1, 2 ** 31] }, 0, out)).toThrow(ShapeError);
  });
});
