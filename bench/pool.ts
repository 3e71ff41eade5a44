// What threads gain: `npm run bench -- pool [threads]` (2). Run it on a quiet machine after `npm run build`.
// Medians of interleaved runs; results of one thread and of several are compared bit by bit before they are timed.

import { cpus } from 'node:os';
import type * as Layer from '../src/layer.ts';
import { type LayerProblem, layerProblem, openKernels, type Session } from '../src/layer.ts';
import { random, randomArray } from '../test/support/random.ts';

const ROUNDS = 7;

const threads = Number(process.argv[2] ?? 2);
const { openSession }: typeof Layer = await import(new URL('../../dist/layer.js', import.meta.url).href);

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
  const A = kernels.matrix(2 * p, p, 'f32');
  const H = kernels.matrix(p, p, 'f64');
  kernels.write(A, X);
  kernels.zero(H);
  kernels.gram(A, H);
  const statistics = { p, m: p / 4, n: 2 * p, XtX: kernels.read(H), sumX: new Float64Array(p) };
  return layerProblem(kernels, statistics, randomArray((p * p) / 4, seed + 1), { groupSize: 1 });
}

const [n, p] = [8192, 2048];
const X = Float32Array.from(randomArray(n * p, 1));
const A = definite(p);
const layers = await Promise.all(Array.from({ length: 8 }, (_, i) => layer(1024, 10 + i)));
const flatten = (parts: readonly ArrayLike<number>[]) => parts.flatMap((part) => Array.from(part));
const cases: Record<string, (session: Session) => Promise<ArrayLike<number>>> = {
  [`Gram, n = ${n}, p = ${p}`]: (session) => session.gram(X, p),
  [`SPD inverse, n = ${p}`]: (session) => session.inverse(A, p),
  '8 layers, p = 1024, half kept': async (session) => {
    const jobs = layers.map((problem) => ({ problem, options: { keep: 512, search: 'greedy' } as const }));
    const results = await session.pruneLayers(jobs);
    return flatten(results.flatMap(({ kept, W }) => [kept, W.subarray(0, 4096)]));
  },
};

console.log(`${cpus()[0].model}, Node ${process.version}; medians of ${ROUNDS} in ms\n`);
for (const simd of ['baseline', 'relaxed'] as const) {
  const sessions = [await openSession({ threads: 1, simd }), await openSession({ threads, simd })];
  for (const [name, run] of Object.entries(cases)) {
    const [one, several] = [await run(sessions[0]), await run(sessions[1])];
    if (one.length !== several.length) throw new Error(`${name}: results differ in length`);
    for (let i = 0; i < one.length; i++) {
      if (!Object.is(one[i], several[i])) throw new Error(`${name}: element ${i} differs`);
    }
    const times: number[][] = [[], []];
    for (let round = 0; round < ROUNDS; round++) {
      for (const [i, session] of sessions.entries()) {
        const start = performance.now();
        await run(session);
        times[i].push(performance.now() - start);
      }
    }
    const [a, b] = times.map((list) => list.sort((x, y) => x - y)[ROUNDS >> 1]);
    const columns = [`${simd} ${name}`.padEnd(42), a.toFixed(0).padStart(7), b.toFixed(0).padStart(7)];
    console.log(`${columns.join(' ')}   ${(a / b).toFixed(2)}× with ${threads} threads`);
  }
  for (const session of sessions) await session.close();
}
