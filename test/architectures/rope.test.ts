// Rotary frequencies where config.json leaves out, or has, what few models do: as the reference has them.

import { describe, expect, test } from 'vitest';
import { frequenciesAt } from '../../src/checkpoint/architectures/facts.ts';
import type { Config } from '../../src/checkpoint/architectures/index.ts';
import { ropeOf } from '../../src/checkpoint/architectures/rope.ts';
import { ropeReference } from './rope-reference.ts';

const ropeIn = (config: Config, headDim = 16, layerType?: string) =>
  ropeOf(config, {
    modelType: 'llama',
    headDim,
    maxPositions: config.max_position_embeddings as number,
    theta: 'rope_theta',
    layerType,
  });

/** Of `scaling`, in a model of 64 positions and base 10,000. */
const scaled = (scaling: object, more: Config = {}): Config => ({
  rope_theta: 10_000,
  max_position_embeddings: 64,
  ...more,
  rope_scaling: scaling,
});

const YARN = { rope_type: 'yarn', factor: 4, original_max_position_embeddings: 32 };
const USUAL = { ...YARN, original_max_position_embeddings: 4096 };
const FACTORS = Array.from({ length: 8 }, (_, i) => 1 + i / 4);
const LONG = { type: 'longrope', short_factor: FACTORS, long_factor: FACTORS.map((factor) => 3 * factor) };
const DYNAMIC = { type: 'dynamic', factor: 2 };

describe('rotary frequencies', () => {
  test.each<[string, Config, length?: number, headDim?: number]>([
    [
      'yarn whose waves all are too short to be kept',
      scaled({ ...YARN, original_max_position_embeddings: 6 }),
    ],
    [
      'yarn whose last wave is not slowed down fully',
      scaled({ ...YARN, beta_fast: 1e6, original_max_position_embeddings: 1e6 }, { rope_theta: 10 }),
    ],
    ['yarn of a usual size', scaled(USUAL), 8, 128],
    ['yarn whose ramp begins and ends within pairs', scaled({ ...USUAL, truncate: false }), 8, 128],
    [
      'yarn with an attention factor',
      scaled({ ...YARN, attention_factor: 1.5, mscale: 2, mscale_all_dim: 3 }),
    ],
    ['yarn with both scales', scaled({ ...YARN, mscale: 2, mscale_all_dim: 3 })],
    ['yarn with one scale', scaled({ ...YARN, mscale: 2 })],
    ['yarn with the other scale', scaled({ ...YARN, mscale_all_dim: 2 })],
    ['yarn that shrinks', scaled({ ...YARN, factor: 0.5 })],
    ['yarn without a factor', scaled({ ...YARN, factor: undefined })],
    ['yarn without original positions', scaled({ ...YARN, original_max_position_embeddings: undefined })],
    ['longrope', scaled(LONG, { original_max_position_embeddings: 16 }), 16],
    ['longrope, a text that is longer', scaled(LONG, { original_max_position_embeddings: 16 }), 17],
    [
      'longrope with original positions beside the factors',
      scaled({ ...LONG, original_max_position_embeddings: 16 }),
      17,
    ],
    ['longrope with a factor', scaled({ ...LONG, factor: 4 })],
    [
      'longrope whose factor contradicts the positions',
      scaled({ ...LONG, factor: 2 }, { original_max_position_embeddings: 16 }),
    ],
    ['longrope with a factor below 1', scaled({ ...LONG, factor: 0.5 })],
    ['longrope without any', scaled(LONG)],
    ['longrope with an attention factor', scaled({ ...LONG, factor: 4, attention_factor: 1.5 })],
    ['dynamic, as long as the model has positions', scaled(DYNAMIC), 64],
    ['dynamic, a text that is longer', scaled(DYNAMIC), 65],
    ['dynamic, of a single pair', scaled(DYNAMIC), 65, 2],
    ['a base among the parameters', { ...scaled({}), rope_parameters: { rope_theta: 500 } }],
    [
      'parameters beside a scaling',
      { ...scaled(DYNAMIC), rope_parameters: { rope_type: 'linear', factor: 3 } },
      65,
    ],
  ])('%s', (_, config, length = 8, headDim = 16) => {
    const rope = ropeIn(config, headDim);
    const { inverse, factor } = ropeReference(config, headDim, 1, length);
    expect(rope.factor).toBeCloseTo(factor, 12);
    const found = [...frequenciesAt(rope, length)];
    expect(found).toHaveLength(headDim / 2);
    for (const [i, frequency] of found.entries()) expect(frequency / inverse[i], `${i}`).toBeCloseTo(1, 6);
  });

  test('are those of a type of layers, where there are some for each', () => {
    const config = scaled(
      {},
      { rope_parameters: { full_attention: { rope_theta: 500 }, other: { rope_theta: 7 } } },
    );
    const { inverse } = ropeReference({ ...config, rope_parameters: { rope_theta: 500 } }, 16, 1, 8);
    expect([...ropeIn(config, 16, 'full_attention').frequencies()]).toEqual([...Float32Array.from(inverse)]);
    expect(() => ropeIn(config)).toThrow('rope settings for layers of type "full_attention"');
  });
});
