// What threads gain, in whatever runtime this runs: medians of interleaved runs; results of one thread and of several
// are compared bit by bit before they are timed.

import type * as Layer from '../../src/layer.ts';
import {
  type LayerProblem,
  layerProblem,
  openKernels,
  type Session,
  StatisticsAccumulator,
} from '../../src/layer.ts';
import { random, randomArray } from '../../test/support/random.ts';

const ROUNDS = 7;
/** Before the clock counts, so that V8's optimising tier has everything, on every thread. */
const WARM_UP = 3;

/** Rows of X, its columns and the order of the inverse, inputs of each of the layers. */
export interface Sizes {
  readonly n: number;
  readonly p: number;
  readonly inputs: number;
}
export const SIZES: Sizes = { n: 8192, p: 2048, inputs: 1024 };
export const QUICK: Sizes = { n: 600, p: 300, inputs: 80 };
export const LAYERS = 8;

export interface ThreadsRow {
  readonly what: string;
  readonly simd: string;
  /** Median milliseconds of one thread, and of several. */
  readonly oneMs: number;
  readonly severalMs: number;
}

/** @param openSession  of the built library, which knows where its worker is */
export async function measureThreads(
  openSession: typeof Layer.openSession,
  threads: number,
  sizes: Sizes,
): Promise<ThreadsRow[]> {
  const cases = await makeCases(sizes);
  const rows: ThreadsRow[] = [];
  for (const simd of ['baseline', 'relaxed'] as const) {
    const sessions = [await openSession({ threads: 1, simd }), await openSession({ threads, simd })];
    if (sessions[1].threads !== threads) throw new Error(`no ${threads} threads: ${sessions[1].reason}`);
    for (const [what, run] of Object.entries(cases)) {
      const [one, several] = [await run(sessions[0]), await run(sessions[1])];
      if (one.length !== several.length) throw new Error(`${what}: results differ in length`);
      for (let i = 0; i < one.length; i++) {
        if (!Object.is(one[i], several[i])) throw new Error(`${what}: element ${i} differs`);
      }
      const times: number[][] = [[], []];
      for (let round = -WARM_UP; round < ROUNDS; round++) {
        for (const [i, session] of sessions.entries()) {
          const start = performance.now();
          await run(session);
          if (round >= 0) times[i].push(performance.now() - start);
        }
      }
      const [oneMs, severalMs] = times.map((list) => list.sort((x, y) => x - y)[ROUNDS >> 1]);
      rows.push({ what, simd, oneMs, severalMs });
    }
    for (const session of sessions) await session.close();
  }
  return rows;
}

type Run = (session: Session) => Promise<ArrayLike<number>>;

async function makeCases({ n, p, inputs }: Sizes): Promise<Record<string, Run>> {
  const X = Float32Array.from(randomArray(n * p, 1));
  const A = definite(p);
  const large = await layer(p, 9);
  const layers = await Promise.all(Array.from({ length: LAYERS }, (_, i) => layer(inputs, 10 + i)));
  const flatten = (parts: readonly ArrayLike<number>[]) => parts.flatMap((part) => Array.from(part));
  return {
    Gram: async (session) => {
      const statistics = session.statistics(p, 0, false);
      await statistics.addRows(X);
      return (await statistics.finish()).XtX;
    },
    'SPD inverse': (session) => session.inverse(A, p),
    'a large layer': async (session) => {
      const { kept, W } = await session.pruneLayer(large, { keep: p / 2 });
      return flatten([kept, W.subarray(0, 4096)]);
    },
    [`${LAYERS} layers`]: async (session) => {
      const options = { keep: inputs / 2, search: 'greedy' } as const;
      const results = await Promise.all(layers.map((problem) => session.pruneLayer(problem, options)));
      return flatten(results.flatMap(({ kept, W }) => [kept, W.subarray(0, 4096)]));
    },
  };
}

/** Symmetric and diagonally dominant, n × n. */
function definite(n: number): Float64Array {
  const next = random(3);
  const A = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < i; j++) A[i * n + j] = A[j * n + i] = next() - 0.5;
    A[i * (n + 1)] = n;
  }
  return A;
}

/** p inputs, p / 4 outputs. */
async function layer(p: number, seed: number): Promise<LayerProblem> {
  const kernels = await openKernels({ simd: 'baseline' });
  const X = Float32Array.from(randomArray(2 * p * p, seed));
  const accumulator = new StatisticsAccumulator(kernels, p, p / 4, false);
  accumulator.addRows(X);
  const statistics = accumulator.finish();
  return layerProblem(kernels, statistics, randomArray((p * p) / 4, seed + 1), { groupSize: 1 });
}
