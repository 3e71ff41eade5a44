import { describe, expect, test } from 'vitest';
import { type Kernels, openKernels } from '../../src/kernel/index.ts';
import {
  ConvolutionAccumulator,
  type Image,
  isCorrelation,
  type LayerStatistics,
  type Panel,
  packed,
  statisticsWasmBytes,
} from '../../src/solve/index.ts';
import { randomArray } from '../support/random.ts';

const SAME = {
  kernel: [3, 3],
  strides: [1, 1],
  dilations: [1, 1],
  pads: [1, 1, 1, 1],
} as const;

interface Sample {
  readonly height: number;
  readonly width: number;
  readonly x: Image;
  readonly y?: Image;
}

/** Images of c channels and targets of m, none where m is 0. @param level  what is added to every pixel */
function samplesOf(c: number, m: number, sizes: readonly (readonly [number, number])[], level = 0): Sample[] {
  return sizes.map(([height, width], i) => {
    const image = (channels: number, seed: number, level: number) => {
      const data = Float32Array.from(
        randomArray(channels * height * width, seed),
        (value) => value + 0.3 + level,
      );
      return { channels, data };
    };
    return {
      height,
      width,
      x: image(c, 2 * i + 1, level),
      ...(m > 0 && { y: image(m, 2 * i + 2, 0) }),
    };
  });
}

function accumulate(kernels: Kernels, samples: readonly Sample[], panel?: Panel): LayerStatistics {
  const [{ x, y }] = samples;
  const sums = new ConvolutionAccumulator(kernels, 9 * x.channels, y?.channels ?? 0, y !== undefined, panel);
  for (const { height, width, x, y } of samples) {
    sums.addImage({ ...SAME, height, width, outHeight: height, outWidth: width }, x, y);
    x.data.fill(Number.NaN); // what was added is not read any more
    y?.data.fill(Number.NaN);
  }
  return sums.finish();
}

/** By the definition, in f64: of unfolded patches, and of their magnitudes. */
function defined(samples: readonly Sample[], of: (value: number) => number = (value) => value) {
  const [{ x, y }] = samples;
  const [p, m] = [9 * x.channels, y?.channels ?? 0];
  const XtX = new Float64Array(p * p);
  const [XtY, sumX, sumY] = [p * m, p, m].map((length) => new Float64Array(length));
  for (const { height, width, x, y } of samples) {
    for (let at = 0; at < height * width; at++) {
      const [top, left] = [Math.floor(at / width), at % width];
      const row = Float64Array.from({ length: p }, (_, i) => {
        const [v, u] = [top + Math.floor((i % 9) / 3) - 1, left + (i % 3) - 1];
        const isInside = v >= 0 && v < height && u >= 0 && u < width;
        return isInside ? of(x.data[(Math.floor(i / 9) * height + v) * width + u]) : 0;
      });
      const target = Float64Array.from({ length: m }, (_, j) => of(y!.data[j * height * width + at]));
      row.forEach((value, i) => {
        sumX[i] += value;
        for (let j = 0; j <= i; j++) XtX[i * p + j] += value * row[j];
        for (let j = 0; j < m; j++) XtY[i * m + j] += value * target[j];
      });
      target.forEach((value, j) => {
        sumY[j] += value;
      });
    }
  }
  return { XtX: packed(XtX, p), XtY, sumX, sumY };
}

const flat = ({ XtX, sumX, target }: LayerStatistics) => ({
  XtX,
  sumX,
  XtY: target?.XtY ?? new Float64Array(),
  sumY: target?.sumY ?? new Float64Array(),
});

/** @param error  relative to the sum of magnitudes */
function expectDefined(actual: LayerStatistics, samples: readonly Sample[], error: number): void {
  const expected = defined(samples);
  const magnitude = defined(samples, Math.abs);
  for (const [name, values] of Object.entries(flat(actual)) as [keyof typeof expected, Float64Array][]) {
    expect(values.length, name).toBe(expected[name].length);
    // What an edge has too much is taken away again, and was rounded with the rest.
    const largest = Math.max(...magnitude[name]);
    const wrong = values.findIndex((value, i) => !(Math.abs(value - expected[name][i]) <= error * largest));
    expect(wrong, `${name}: ${values[wrong]} for ${expected[name][wrong]}`).toBe(-1);
  }
}

const copied = (samples: readonly Sample[]): Sample[] => structuredClone(samples) as Sample[];

describe.each(['baseline', 'relaxed'] as const)(
  'sums over the patches of 3×3 convolutions (%s)',
  async (simd) => {
    const kernels = await openKernels({ simd });

    test.each([
      [
        'of images smaller than the kernel',
        8,
        3,
        [
          [1, 1],
          [1, 4],
          [4, 1],
          [2, 2],
        ],
      ],
      ['of small images, many at a time', 13, 6, Array.from({ length: 100 }, () => [7, 6] as const)],
      [
        'of images of several bands',
        17,
        5,
        [
          [40, 30],
          [33, 62],
        ],
      ],
      ['of rows longer than a chunk', 9, 0, [[3, 1100]]],
      ['of more targets than channels', 8, 40, [[9, 9]]],
    ] as const)('are those of the definition, %s', (_, c, m, sizes) => {
      const samples = samplesOf(c, m, sizes);
      const actual = accumulate(kernels, copied(samples));
      expect(actual.n).toBe(sizes.reduce((sum, [height, width]) => sum + height * width, 0));
      expectDefined(actual, samples, 512 * 2 ** -24);
    });

    test('are formed in f64 where images hardly vary beside their size', () => {
      const samples = samplesOf(
        8,
        2,
        [
          [6, 5],
          [20, 30],
        ],
        1000,
      );
      expectDefined(accumulate(kernels, copied(samples)), samples, 1e-13);
    });

    test.each([
      ['vary', 0],
      ['do not', 1000],
    ])('have the same bits in panels, which may cut a channel, where the first channels %s', (_, level) => {
      const samples = samplesOf(20, 3, [
        [8, 8],
        [8, 8],
        [9, 70],
      ]);
      // All channels together vary, whatever the first do.
      for (const { x } of samples) {
        for (const [i, value] of x.data.entries())
          x.data[i] = i < x.data.length / 2 ? value + level : 2000 * value;
      }
      const whole = flat(accumulate(kernels, copied(samples)));
      const ends = [0, 31, 100, 180];
      const parts = ends
        .slice(1)
        .map((end, i) => flat(accumulate(kernels, copied(samples), { first: ends[i], end })));
      for (const name of ['XtX', 'XtY', 'sumX'] as const) {
        expect(parts.flatMap((part) => [...part[name]])).toEqual([...whole[name]]);
      }
      for (const { sumY } of parts) expect(sumY).toEqual(whole.sumY);
    });
  },
);

const kernels = await openKernels({ simd: 'baseline' });

test('take no more memory than other sums, and give it back', () => {
  const { abi } = kernels;
  for (const c of [8, 9, 16, 64, 100, 512]) {
    for (const m of [1, 16, 2 * c]) {
      const [p, mark] = [9 * c, kernels.mark()];
      const sums = new ConvolutionAccumulator(kernels, p, m, true);
      const read = 8 * ((p * (p + 1)) / 2 + p * m + p + m);
      expect(kernels.mark() - mark + read, `${c} channels, ${m} targets`).toBeLessThan(
        statisticsWasmBytes(p, m),
      );
      expect(abi.correlationBytes(c, m + 1)).toBeLessThanOrEqual(kernels.mark() - mark);
      sums.finish();
      expect(kernels.mark()).toBe(mark);
    }
  }
});

test('are of 3×3 kernels with stride 1 and a border of one zero', () => {
  expect(isCorrelation(72, SAME)).toBe(true);
  for (const p of [63, 80]) expect(isCorrelation(p, SAME)).toBe(false);
  for (const other of [
    { kernel: [3, 5] },
    { strides: [1, 2] },
    { dilations: [2, 2] },
    { pads: [1, 1, 1, 0] },
  ] as const) {
    expect(isCorrelation(72, { ...SAME, ...other })).toBe(false);
  }
  const sums = new ConvolutionAccumulator(kernels, 72, 2, true);
  const geometry = { ...SAME, height: 4, width: 4, outHeight: 4, outWidth: 4 };
  const image = (channels: number) => ({ channels, data: new Float32Array(16 * channels) });
  for (const other of [{ strides: [2, 2] as const }, { outHeight: 3 }, { outWidth: 5 }])
    expect(() => sums.addImage({ ...geometry, ...other }, image(8), image(2))).toThrow(
      'statistics: "geometry" expected the convolution that they were opened for',
    );
  expect(() => sums.addImage(geometry, image(8), image(3))).toThrow(
    'statistics: "y" expected 2×16, got 48 values',
  );
  expect(() => sums.addImage(geometry, image(7), image(2))).toThrow(
    'statistics: "x" expected 8×16, got 112 values',
  );
  expect(() => sums.addRows()).toThrow('statistics: opened for the images of a convolution');
  expect(sums.finish().n).toBe(0);
});
