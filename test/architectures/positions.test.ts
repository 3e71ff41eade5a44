// Learned positions for images of other sizes, beside what torch gives.

import { describe, expect, test } from 'vitest';
import { resampled } from '../../src/checkpoint/architectures/positions.ts';
import { describe as describeModel } from '../support/describe.ts';
import { DINOV2, encoderReference, encoderWeights, VIT } from './encoders.ts';
import { maxDifference, runOnce, sourceOf, type Weights } from './source.ts';

/** Of sin(1.7 i) on from × from squares: interpolate(…, mode='bicubic', align_corners=False, antialias=…) in float64. */
const TORCH: readonly [from: number, to: number, isAntialiased: boolean, values: readonly number[]][] = [
  [5, 3, false, [0.42348, -0.459577, 0.280326, -0.769464, 0.999793, -0.761642, 0.295293, -0.474351, 0.43114]],
  [5, 3, true, [0.313251, -0.24015, 0.190587, -0.190722, 0.179897, -0.186705, 0.200563, -0.244501, 0.312403]],
  [
    2,
    3,
    false,
    [-0.076423, 0.590148, 1.256718, -0.14172, -0.047423, 0.046874, -0.207017, -0.684993, -1.162969],
  ],
  [
    2,
    3,
    true,
    [-0.055622, 0.567313, 1.190249, -0.138343, -0.047423, 0.043497, -0.221063, -0.662159, -1.103255],
  ],
];

test.each(TORCH)('from %i to %i squares on a side, antialiased: %s', (from, to, isAntialiased, values) => {
  // Two features, the second one the first's double, behind a position of no square.
  const squares = Array.from({ length: from * from }, (_, i) => [Math.sin(1.7 * i), 2 * Math.sin(1.7 * i)]);
  const data = Float32Array.from([[7, 8], ...squares].flat());
  const result = resampled(data, 2, { from, to, before: 1, isAntialiased });
  expect(maxDifference(result, [7, 8, ...values.flatMap((value) => [value, 2 * value])])).toBeLessThan(2e-6);
});

describe('images of another size than a DINOv2 has positions for', () => {
  const learned = { ...DINOV2, image_size: 27 }; // 6 × 6 squares
  const weights = encoderWeights(learned);
  const source = sourceOf(weights);

  test('have positions that follow, and the checkpoint keeps its own', async () => {
    const model = describeModel(learned, undefined, 15);
    model.check(source);
    expect(model.tokensOf([2, 15, 15])).toBe(10);
    const name = 'embeddings.position_embeddings';
    expect(model.tensors(source).get(name)!.shape).toEqual([1, 37, 32]);
    const image = Float32Array.from({ length: 2 * 15 * 15 }, (_, i) => Math.sin(i));
    const outputs = await runOnce(await model.whole(source), {
      pixel_values: { dims: [1, 2, 15, 15], data: image },
    });
    const data = resampled(weights.get(name)!.data, 32, { from: 6, to: 3, before: 1, isAntialiased: false });
    const small: Weights = new Map(weights).set(name, { shape: [1, 10, 32], data });
    const expected = encoderReference({ ...learned, image_size: 15 }, model.sizes, small, { image });
    expect(maxDifference(outputs.last_hidden_state.data, expected)).toBeLessThan(1e-4);
  });

  test('are refused where they hold no square, and by models whose positions do not follow', () => {
    expect(() => describeModel(learned, undefined, 3)).toThrow(
      'dinov2: images of at least 4 pixels expected, one square, got 3',
    );
    expect(() => describeModel(VIT, undefined, 28)).toThrow('"vit" takes images of 15 pixels, got 28');
  });
});
