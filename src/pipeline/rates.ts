// How fast this machine is, for the estimate of a run's time.

import type { Engine } from '../engine/index.ts';
import { GraphBuilder, writeModel } from '../graph/index.ts';
import type { Kernels } from '../kernel/index.ts';
import type { Rates } from './plan.ts';

/** Rows and columns of the products: enough to leave the overheads behind. */
const SIZE = 512;
const SECONDS = 0.3;

/**
 * Times products of matrices for about half a second.
 *
 * @example
 * const rates = await measureRates(engine, await openKernels());
 * const { flops } = plan(model, { keep: 0.5, samples: 512 });
 * const seconds = flops.engine / rates.engine + flops.kernels / rates.kernels;
 */
export async function measureRates(engine: Engine, kernels: Kernels): Promise<Rates> {
  const graph = new GraphBuilder();
  const x = graph.input('x', 'float32', [SIZE, SIZE]);
  const w = graph.floats('w', new Float32Array(SIZE * SIZE).fill(1), [SIZE, SIZE]);
  graph.output(graph.node('MatMul', [x, w]), 'y', 'float32', [SIZE, SIZE]);
  const session = await engine.load(writeModel(graph.build('rates')).model);
  const feeds = { x: { dims: [SIZE, SIZE], data: new Float32Array(SIZE * SIZE).fill(1) } };
  const mark = kernels.mark();
  try {
    const [A, B, C] = [0, 1, 2].map(() => kernels.matrix(SIZE, SIZE, 'f64'));
    for (const matrix of [A, B]) kernels.view(matrix).fill(1);
    return {
      engine: await rate(() => session.run(feeds)),
      kernels: await rate(async () => kernels.gemm(false, false, 1, A, B, 0, C)),
    };
  } finally {
    kernels.release(mark);
    await session.release();
  }
}

/** Operations per second of the fastest of as many runs as fit. */
async function rate(run: () => Promise<unknown>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  const start = performance.now();
  while (performance.now() - start < 1000 * SECONDS) {
    const before = performance.now();
    await run();
    best = Math.min(best, performance.now() - before);
  }
  return (2 * SIZE ** 3 * 1000) / best;
}
