import { describe, expect, test } from 'vitest';
import { openKernels } from '../../src/kernel/index.ts';
import {
  layerProblem,
  pruneLayer,
  refit,
  refitBias,
  StatisticsAccumulator,
  unpacked,
} from '../../src/solve/index.ts';
import { activations, naiveStatistics, normals } from '../support/problems.ts';

const kernels = await openKernels();
const p = 12;
const m = 5;
const X = activations(900, p, 1);
const W0 = normals(p * m, 2);
const bias = normals(m, 3);

/** Mean square of Y − XW − b over all rows. */
function outputError(Y: Float32Array, W: ArrayLike<number>, b: ArrayLike<number>): number {
  const n = X.length / p;
  let error = 0;
  for (let r = 0; r < n; r++) {
    for (let j = 0; j < m; j++) {
      let value = b[j];
      for (let i = 0; i < p; i++) value += X[r * p + i] * W[i * m + j];
      error += (Y[r * m + j] - value) ** 2;
    }
  }
  return error / (n * m);
}

/** X·W0 + b + a linear and a constant disturbance, as a network pruned before this layer causes. */
function targets(): Float32Array {
  const shift = normals(p * m, 5);
  return Float32Array.from({ length: (X.length / p) * m }, (_, at) => {
    const [r, j] = [Math.floor(at / m), at % m];
    let value = bias[j] + 0.7;
    for (let i = 0; i < p; i++) value += X[r * p + i] * (W0[i * m + j] + 0.2 * shift[i * m + j]);
    return value;
  });
}

describe('layerProblem', () => {
  test('has the dense weights as its solution when they are their own target', () => {
    const problem = layerProblem(kernels, naiveStatistics(X, undefined, p, m), W0, { groupSize: 1, bias });
    const { W } = refit(kernels, problem, [...Array(p).keys()]);
    W.forEach((value, i) => {
      expect(value).toBeCloseTo(W0[i], 6);
    });
    refitBias(problem, W)!.forEach((value, j) => {
      expect(value).toBeCloseTo(bias[j], 6);
    });
  });

  test('is that of all rows where statistics come in parts, which all have targets', () => {
    const [Y, first] = [targets(), 300];
    const options = { groupSize: 1, bias, blend: 0.5 };
    const sums = (from: number, to: number, isAimed = true) => {
      const own = isAimed ? Y.subarray(from * m, to * m) : undefined;
      return naiveStatistics(X.subarray(from * p, to * p), own, p, m);
    };
    const whole = layerProblem(kernels, sums(0, 900), W0, options);
    const parts = [sums(0, first), sums(first, 600), sums(600, 900)];
    const { H, G, means } = layerProblem(kernels, parts, W0, options);
    const scale = Math.max(...whole.H);
    for (const [found, wanted] of [
      [H, whole.H],
      [G, whole.G],
      [means!.x, whole.means!.x],
      [means!.y, whole.means!.y],
    ])
      for (const [i, value] of found.entries())
        expect(Math.abs(value - wanted[i])).toBeLessThan(1e-9 * scale);
    expect(() => layerProblem(kernels, [parts[0], sums(first, 600, false)], W0, options)).toThrow(
      'a "blend" above 0 needs target statistics',
    );
  });

  test('reproduces an affine target with all groups kept and little damping', () => {
    const Y = targets();
    const problem = layerProblem(kernels, naiveStatistics(X, Y, p, m), W0, {
      groupSize: 1,
      bias,
      damping: 1e-9,
    });
    const { W } = refit(kernels, problem, [...Array(p).keys()]);
    expect(outputError(Y, W, refitBias(problem, W)!)).toBeLessThan(1e-9);
  });

  test('is never worse for refitting the bias', () => {
    const Y = targets();
    const statistics = naiveStatistics(X, Y, p, m);
    for (const keep of [3, 6, 9]) {
      const plain = layerProblem(kernels, statistics, W0, { groupSize: 1, damping: 1e-9 });
      const centred = layerProblem(kernels, statistics, W0, { groupSize: 1, damping: 1e-9, bias });
      const { kept, W } = pruneLayer(kernels, plain, { keep });
      const refitted = refit(kernels, centred, kept).W;
      expect(outputError(Y, refitted, refitBias(centred, refitted)!)).toBeLessThan(
        outputError(Y, W, new Float64Array(m)) + 1e-12,
      );
    }
  });

  test('blends the two targets linearly', () => {
    const statistics = naiveStatistics(X, targets(), p, m);
    const at = (blend: number) => layerProblem(kernels, statistics, W0, { groupSize: 1, bias, blend });
    const [own, half, full] = [at(0), at(0.5), at(1)];
    half.G.forEach((value, i) => {
      expect(value).toBeCloseTo((own.G[i] + full.G[i]) / 2, 6);
    });
    half.means!.y.forEach((value, j) => {
      expect(value).toBeCloseTo((own.means!.y[j] + full.means!.y[j]) / 2, 6);
    });
  });

  test('keeps the largest weights where all inputs are zero', () => {
    const problem = layerProblem(kernels, naiveStatistics(new Float32Array(50 * p), undefined, p, m), W0, {
      groupSize: 1,
    });
    const { kept } = pruneLayer(kernels, problem, { keep: 4 });
    const norms = [...Array(p).keys()].map((i) =>
      W0.subarray(i * m, (i + 1) * m).reduce((sum, w) => sum + w * w, 0),
    );
    const largest = [...Array(p).keys()].sort((a, b) => norms[b] - norms[a]).slice(0, 4);
    expect(kept).toEqual(largest.sort((a, b) => a - b));
  });

  test('names NaN and infinite calibration values', () => {
    const bad = X.slice();
    bad[7] = Number.NaN;
    expect(() => layerProblem(kernels, naiveStatistics(bad, undefined, p, m), W0, { groupSize: 1 })).toThrow(
      /NaN or infinite/,
    );
    const Y = targets();
    Y[3] = Number.POSITIVE_INFINITY;
    expect(() => layerProblem(kernels, naiveStatistics(X, Y, p, m), W0, { groupSize: 1 })).toThrow(
      /targets hold NaN or infinite/,
    );
  });

  test('refuses sizes that contradict each other', () => {
    const statistics = naiveStatistics(X, undefined, p, m);
    expect(() => layerProblem(kernels, statistics, W0.subarray(1), { groupSize: 1 })).toThrow(
      /"W0" expected 60 values, got 59/,
    );
    const square = { ...statistics, XtX: unpacked(statistics.XtX, p) };
    expect(() => layerProblem(kernels, square, W0, { groupSize: 1 })).toThrow(
      /"XtX" expected 78 values, got 144/,
    );
    const problem = layerProblem(kernels, statistics, W0, { groupSize: 1 });
    expect(() => refit(kernels, { ...problem, H: unpacked(problem.H, p) }, [0])).toThrow(
      /"H" expected 78 values, got 144/,
    );
    expect(() => layerProblem(kernels, statistics, W0, { groupSize: 5 })).toThrow(
      /12 rows are not a multiple of the group size 5/,
    );
    expect(() => layerProblem(kernels, statistics, W0, { groupSize: 1, blend: 1 })).toThrow(
      /needs target statistics/,
    );
  });
});

describe('StatisticsAccumulator', () => {
  const Y = targets();

  test('gives the sums of the definition, however the rows are split', () => {
    const expected = naiveStatistics(X, Y, p, m);
    for (const rows of [1, 7, 512, 900]) {
      const accumulator = new StatisticsAccumulator(kernels, p, m, true);
      for (let r = 0; r < 900; r += rows) {
        accumulator.addRows(X.subarray(r * p, (r + rows) * p), Y.subarray(r * m, (r + rows) * m));
      }
      const { n, XtX, sumX, target } = accumulator.finish();
      expect(n).toBe(900);
      // f32 sums over chunks of 512: k·ε relative to the largest entry.
      const close = (a: Float64Array, b: Float64Array) => {
        const scale = Math.max(...b.map(Math.abs));
        a.forEach((value, i) => {
          expect(Math.abs(value - b[i])).toBeLessThan(512 * 2 ** -24 * scale);
        });
      };
      close(XtX, expected.XtX);
      close(sumX, expected.sumX);
      close(target!.XtY, expected.target!.XtY);
      close(target!.sumY, expected.target!.sumY);
    }
  });

  test('has no products of rows of zeros, and counts them and their targets', () => {
    const isZero = (row: number) => row % 3 !== 0 || (row > 300 && row < 390);
    const rows = (values: Float32Array, width: number) =>
      Float32Array.from(values.filter((_, i) => !isZero(Math.floor(i / width))));
    const sparse = X.map((value, i) => (isZero(Math.floor(i / p)) ? 0 : value));
    const sumsOf = (x: Float32Array, y: Float32Array) => {
      const accumulator = new StatisticsAccumulator(kernels, p, m, true);
      accumulator.addRows(x, y);
      return accumulator.finish();
    };
    const [all, some] = [sumsOf(sparse, Y), sumsOf(rows(X, p), rows(Y, m))];
    expect(all.n).toBe(900);
    for (const [a, b] of [
      [all.XtX, some.XtX],
      [all.sumX, some.sumX],
      [all.target!.XtY, some.target!.XtY],
    ])
      expect(a).toEqual(b);
    const { sumY } = naiveStatistics(sparse, Y, p, m).target!;
    for (const [j, value] of all.target!.sumY.entries()) expect(value).toBeCloseTo(sumY[j], 3);
  });

  test('unfolds convolutions as rows of patches', () => {
    const geometry = {
      ...{ height: 5, width: 4, outHeight: 3, outWidth: 2 },
      kernel: [3, 3] as const,
      strides: [2, 2] as const,
      pads: [1, 1] as const,
      dilations: [1, 1] as const,
    };
    const images = [normals(2 * 20, 1), normals(2 * 20, 2)];
    const outputs = [normals(3 * 6, 3), normals(3 * 6, 4)];
    const rows: number[] = [];
    const ys: number[] = [];
    images.forEach((image, n) => {
      for (let oy = 0; oy < 3; oy++) {
        for (let ox = 0; ox < 2; ox++) {
          for (let c = 0; c < 2; c++) {
            for (let ky = 0; ky < 3; ky++) {
              for (let kx = 0; kx < 3; kx++) {
                const [y, x] = [2 * oy + ky - 1, 2 * ox + kx - 1];
                rows.push(y >= 0 && y < 5 && x >= 0 && x < 4 ? image[c * 20 + y * 4 + x] : 0);
              }
            }
          }
          for (let j = 0; j < 3; j++) ys.push(outputs[n][j * 6 + oy * 2 + ox]);
        }
      }
    });
    const expected = naiveStatistics(Float32Array.from(rows), Float32Array.from(ys), 18, 3);
    const accumulator = new StatisticsAccumulator(kernels, 18, 3, true);
    for (const [n, data] of images.entries()) {
      accumulator.addImage(geometry, { channels: 2, data }, { channels: 3, data: outputs[n] });
    }
    const { n, XtX, target } = accumulator.finish();
    expect(n).toBe(12);
    XtX.forEach((value, i) => {
      expect(value).toBeCloseTo(expected.XtX[i], 4);
    });
    target!.XtY.forEach((value, i) => {
      expect(value).toBeCloseTo(expected.target!.XtY[i], 4);
    });
  });

  test('gives the memory back', () => {
    const mark = kernels.mark();
    new StatisticsAccumulator(kernels, 30, 4, false).finish();
    expect(kernels.mark()).toBe(mark);
  });
});

describe('pruneLayer', () => {
  const problem = layerProblem(kernels, naiveStatistics(X, undefined, p, m), W0, { groupSize: 1 });

  test.each(['osscar', 'magnitude', 'magnitude-refit'] as const)(
    'reports the objective of the weights it returns: %s',
    (method) => {
      const { kept, W, objective } = pruneLayer(kernels, problem, { keep: 5, method });
      const H = unpacked(problem.H, p);
      let value = 0;
      for (let i = 0; i < p; i++) {
        for (let j = 0; j < m; j++) {
          value -= W[i * m + j] * problem.G[i * m + j];
          for (let l = 0; l < p; l++) value += 0.5 * W[i * m + j] * H[i * p + l] * W[l * m + j];
        }
      }
      expect(objective).toBeCloseTo(value, 6);
      for (let i = 0; i < p; i++)
        if (!kept.includes(i)) expect(W.subarray(i * m, (i + 1) * m).every((w) => w === 0)).toBe(true);
    },
  );

  test('orders the methods: osscar, magnitude with refit, magnitude', () => {
    const [osscar, refitted, plain] = (['osscar', 'magnitude-refit', 'magnitude'] as const).map(
      (method) => pruneLayer(kernels, problem, { keep: 5, method }).relativeError,
    );
    expect(osscar).toBeLessThanOrEqual(refitted);
    expect(refitted).toBeLessThan(plain);
  });
});
