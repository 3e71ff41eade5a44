// Seeded layer problems of any size.

import { openKernels } from '../../src/kernel/index.ts';
import { type LayerProblem, layerProblem, StatisticsAccumulator } from '../../src/solve/index.ts';
import { random } from '../../test/support/random.ts';

export interface LayerShape {
  readonly groups: number;
  readonly groupSize: number;
  readonly m: number;
}

/** The first is small enough for plain loops; the second is fc2 of OPT-125m; the third a 3 × 3 convolution. */
export const SHAPES: readonly LayerShape[] = [
  { groups: 1024, groupSize: 1, m: 256 },
  { groups: 3072, groupSize: 1, m: 768 },
  { groups: 128, groupSize: 9, m: 128 },
];
export const QUICK: readonly LayerShape[] = [
  { groups: 96, groupSize: 1, m: 24 },
  { groups: 12, groupSize: 9, m: 16 },
];

/**
 * Inputs as after a ReLU: p/4 factors mixed, noise, columns of uneven size, rectified; 2p rows. Towards the layer's own
 * output, and towards one that a disturbance of the inputs has moved. @param seed  of layers of one shape, to tell them apart
 */
export async function layerProblems(
  { groups, groupSize, m }: LayerShape,
  seed = 0,
): Promise<{
  own: LayerProblem;
  outside: LayerProblem;
}> {
  const p = groups * groupSize;
  const [rows, factors] = [2 * p, Math.max(2, p >> 2)];
  const kernels = await openKernels({ simd: 'baseline' }); // the same problem everywhere
  const next = random(p + m + seed);
  const uniform = (length: number, width: number) =>
    Float32Array.from({ length }, () => width * (2 * next() - 1));
  const product = (k: number, n: number, a: Float32Array, b: Float32Array) => {
    const mark = kernels.mark();
    const [A, B, C] = [
      kernels.matrix(rows, k, 'f32'),
      kernels.matrix(k, n, 'f32'),
      kernels.matrix(rows, n, 'f32'),
    ];
    kernels.write(A, a);
    kernels.write(B, b);
    kernels.gemm(false, false, 1, A, B, 0, C);
    const result = kernels.read(C);
    kernels.release(mark);
    return result;
  };

  const scales = Float32Array.from({ length: p }, () => 0.25 + 2 * next() ** 2);
  const X = product(factors, p, uniform(rows * factors, 3 / Math.sqrt(factors)), uniform(factors * p, 1));
  for (let at = 0; at < X.length; at++) {
    X[at] = scales[at % p] * Math.max(0, X[at] + 0.5 * (2 * next() - 1) + 0.2);
  }
  const W0 = uniform(p * m, 1 / Math.sqrt(p));
  const moved = uniform(p * m, 0.3 / Math.sqrt(p));
  const Y = product(
    p,
    m,
    X,
    W0.map((w, at) => w + moved[at]),
  );
  const accumulator = new StatisticsAccumulator(kernels, p, m, true);
  accumulator.addRows(X, Y);
  const statistics = accumulator.finish();
  const [own, outside] = [0, 1].map((blend) => layerProblem(kernels, statistics, W0, { groupSize, blend }));
  return { own, outside };
}
