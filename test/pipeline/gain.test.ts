import { describe, expect, test } from 'vitest';
import { depthwise, type Gain, readModel, toFloat32 } from '../../src/graph/index.ts';
import { LineSums, writeGain } from '../../src/pipeline/pass/gain.ts';
import { random } from '../support/random.ts';
import { fashion, fixtureBytes, prune } from './fixtures.ts';

const GAIN: Gain = { node: 'scale', output: 'y', axis: 1, weight: 'w', bias: 'b' };

/** Batches × channels × positions in [−1, 1). */
function noise(dims: number[], seed: number) {
  const next = random(seed);
  return {
    dims,
    data: Float32Array.from({ length: dims.reduce((a, b) => a * b) }, () => 2 * next() - 1),
  };
}

describe('lines', () => {
  const z = noise([4, 3, 5, 2], 1);
  const channel = (at: number) => Math.floor(at / 10) % 3;
  const [slopes, shifts] = [
    [2, -0.5, 1],
    [0.25, 3, 0],
  ];
  const lineOf = (shift: readonly number[]) => ({
    ...z,
    data: z.data.map((value, at) => slopes[channel(at)] * value + shift[channel(at)]),
  });

  test('are those that outputs lie on, over all batches', () => {
    const sums = new LineSums(GAIN);
    sums.add(z, lineOf(shifts));
    const more = noise([4, 3, 5, 2], 2);
    sums.add(more, {
      ...more,
      data: more.data.map((value, at) => slopes[channel(at)] * value + shifts[channel(at)]),
    });
    const { slope, shift } = sums.lines();
    slopes.forEach((expected, j) => {
      expect(slope[j]).toBeCloseTo(expected, 5);
      expect(shift[j]).toBeCloseTo(shifts[j], 5);
    });
  });

  test('go through 0 where there is no bias to move', () => {
    const sums = new LineSums({ ...GAIN, bias: undefined });
    sums.add(z, lineOf([0, 0, 0]));
    expect(Array.from(sums.lines().slope, (it) => Math.round(it * 1e4) / 1e4)).toEqual(slopes);
  });

  test('do not see padding, and leave constant channels as they are', () => {
    const sums = new LineSums(GAIN);
    const padded = { ...z, data: Float32Array.from(z.data, (value, at) => (at >= 60 ? 1e6 : value)) };
    padded.data.fill(7, 0, 10).fill(7, 30, 40); // channel 0 of the two samples that count
    sums.add(padded, lineOf(shifts), 2);
    const { slope, shift } = sums.lines();
    expect(slope[0]).toBe(1);
    expect(slope[1]).toBeCloseTo(slopes[1], 5);
    expect(shift[2]).toBeCloseTo(shifts[2], 5);
  });

  test('change a channel’s weights as one, and its bias', async () => {
    const model = await readModel(fixtureBytes('fashion-mobilenet'));
    const [gain] = depthwise(model);
    const read = (name: string) => Array.from(toFloat32(model.tensors.get(name)!));
    const [weights, bias] = [read(gain.weight), read(gain.bias!)];
    const slope = Float64Array.from(bias, (_, j) => 1 + j);
    writeGain(model, gain, { slope, shift: slope.map(() => 0.5) });
    const row = weights.length / bias.length;
    expect(read(gain.weight)).toEqual(
      weights.map((value, at) => Math.fround(value * slope[Math.floor(at / row)])),
    );
    expect(read(gain.bias!)).toEqual(bias.map((value, j) => Math.fround(value * slope[j] + 0.5)));
  });

  test('change what a weight is the difference from with it', async () => {
    const model = await readModel(fixtureBytes('fashion-mobilenet'));
    const { bias: _, ...gain } = depthwise(model)[0];
    const read = () => Array.from(toFloat32(model.tensors.get(gain.weight)!));
    const before = read();
    writeGain(model, { ...gain, centre: 1 }, { slope: Float64Array.of(3), shift: Float64Array.of(0) });
    expect(read()).toEqual(before.map((value) => Math.fround(3 * (1 + value) - 1)));
  });
});

test('depthwise convolutions behind pruned layers are scaled, where layers are corrected', async () => {
  const bytes = fixtureBytes('fashion-mobilenet');
  const calibration = await fashion('calib', 48);
  /** Factors that every stored weight of a depthwise convolution was multiplied with, by layer. */
  const factors = async (options: Parameters<typeof prune>[2]) => {
    const { opened, written } = await prune(bytes, calibration, { keep: 0.5, search: 'greedy', ...options });
    const small = await readModel(written.model);
    return depthwise(small).map(({ node, weight }) => {
      const before = depthwise(opened.model).find((it) => it.node === node)!;
      const [a, b] = [opened.model.tensors.get(before.weight)!, small.tensors.get(weight)!].map((it) => ({
        values: toFloat32(it),
        row: it.dims[2] * it.dims[3],
      }));
      const rows = ({ values, row }: typeof a) =>
        Array.from({ length: values.length / row }, (_, j) => values.subarray(j * row, (j + 1) * row));
      // Channels that stay are in order: each is a multiple of the next that it can be one of.
      let at = 0;
      return rows(b).map((after) => {
        for (;;) {
          const dense = rows(a)[at++];
          const largest = dense.reduce(
            (best, value, k) => (Math.abs(value) > Math.abs(dense[best]) ? k : best),
            0,
          );
          const factor = after[largest] / dense[largest];
          if (after.every((value, k) => Math.abs(value - factor * dense[k]) < 1e-5)) return factor;
        }
      });
    });
  };
  const corrected = await factors({ target: 'residual' });
  expect(corrected.length).toBeGreaterThan(2);
  // The first stands before anything that is pruned.
  expect(corrected.slice(1).every((layer) => layer.some((factor) => Math.abs(factor - 1) > 1e-3))).toBe(true);
  for (const options of [{ target: 'self' }, { target: 'residual', correct: false }] as const)
    expect((await factors(options)).flat().every((factor) => Math.abs(factor - 1) < 1e-6)).toBe(true);
});
