// Layers in tiles: p = 3072 in tiles and whole, and with --large fc2 of OPT-30B, p = 28,672 and m = 7,168, to half, with a known answer:
//   npm run bench -- tiles [--large | --rows=8192] [--memory=GiB] [--quick] [--json]

import { availableParallelism } from 'node:os';
import { openKernels } from '../src/kernel/index.ts';
import { openSession } from '../src/pool/index.ts';
import { TILE } from '../src/solve/constants';
import { type LayerProblem, pruneLayer } from '../src/solve/index.ts';
import { tiledPlan, tiledSummingBytes } from '../src/tiles/memory.ts';
import type { TiledProblem } from '../src/tiles/problem.ts';
import { pruneTiles } from '../src/tiles/prune.ts';
import type { TiledStatistics } from '../src/tiles/statistics.ts';
import { random } from '../test/support/random.ts';
import { matricesOf, rowBlocks, symmetricTiles } from '../test/support/tiles.ts';
import { type Bench, bench, pair, round } from './support/bench.ts';
import { layerProblems, SHAPES } from './support/layer.ts';
import { list } from './support/table.ts';

/** Rows of calibration data of the large layer, through the real sums: the correlations between its inputs. */
const SAMPLES = 2048;
/** Variance of the noise by which the second input of a pair differs from the first. */
const NOISE = 0.09;

await bench('tiles', async (b) => {
  const p = Number(flagOf('rows') ?? (process.argv.includes('--large') ? 28_672 : 0));
  if (p > 0) await large(b.emit, p, p / 4, Number(flagOf('memory')) || undefined);
  else await beside(b);
});

/** Of --NAME=VALUE. */
function flagOf(name: string): string | undefined {
  return process.argv.find((arg) => arg.startsWith(`--${name}=`))?.split('=')[1];
}

/** The same layer in tiles and whole, bit by bit before it is timed. */
async function beside({ quick, time, emit }: Bench): Promise<void> {
  const kernels = await openKernels();
  const edge = quick ? 64 : TILE;
  const { own, outside } = await layerProblems(quick ? { groups: 96, groupSize: 1, m: 24 } : SHAPES[1]);
  const rows = [];
  for (const [target, problem] of Object.entries({ own, outside })) {
    const tiles = inTiles(problem, edge);
    const keep = problem.groups >> 1;
    const whole = () => pruneLayer(kernels, problem, { keep, search: 'greedy' });
    const tiled = () => pruneTiles(kernels, tiles, { keep });
    const [expected, found] = [whole(), tiled()];
    let differing = found.kept.join() === expected.kept.join() ? 0 : 1;
    found.W.each(false, (values, first) => {
      values.forEach((value, at) => {
        const row = expected.kept[first + Math.floor(at / problem.m)];
        if (!Object.is(value, expected.W[row * problem.m + (at % problem.m)])) differing++;
      });
    });
    if (differing > 0 && !quick) throw new Error(`tiles: ${differing} values differ`);
    const timings = await time(
      { whole: { run: whole }, tiled: { run: tiled } },
      { warmUp: 1, budgetMs: 8000 },
    );
    const { whole: one, tiled: other } = timings;
    rows.push({
      ...{ target, p: problem.p, m: problem.m, edge, differing },
      ...{ wholeMs: one.min, tiledMs: other.min, wholeMedianMs: one.median, tiledMedianMs: other.median },
    });
  }
  emit({
    name: 'beside',
    title: `Greedy elimination to half and refit, whole and in tiles: ms, fastest run / median, ${kernels.simd} SIMD, one thread`,
    rows,
    grid: list(rows, {
      target: (row) => row.target,
      'p, m': (row) => `${row.p}, ${row.m}`,
      'values that differ': (row) => row.differing,
      whole: (row) => pair(row.wholeMs, row.wholeMedianMs),
      'in tiles': (row) => pair(row.tiledMs, row.tiledMedianMs),
      ratio: (row) => pair(row.tiledMs / row.wholeMs, row.tiledMedianMs / row.wholeMedianMs),
    }),
  });
}

function inTiles(
  { p, m, groupSize, groups, H, G, W0, rho, solution }: LayerProblem,
  edge: number,
): TiledProblem {
  const tiles = symmetricTiles(H, p, edge);
  const right = rowBlocks(G, p, m, edge);
  const isOwn = solution !== undefined;
  return { p, m, groupSize, groups, edge, H: tiles, G: right, W0, rho: rho!, isOwn };
}

/**
 * Inputs in pairs, a and d = a + noise, all of them correlated by SAMPLES real rows of low rank beside; the target gives d three tenths of
 * the weights of a. Within every pair d costs less, and a costs two hundred times as much when d has gone: elimination to half keeps
 * every a and no d. Of weights or variances nothing tells them apart: which of the two comes first is drawn.
 */
async function large(emit: Bench['emit'], p: number, m: number, bound?: number): Promise<void> {
  const threads = availableParallelism();
  const workerUrl = new URL('../../dist/worker.js', import.meta.url);
  const session = await openSession({ threads, workerUrl });
  const next = random(p);
  const half = p / 2;
  const isFirst = Uint8Array.from({ length: half }, () => (next() < 0.5 ? 1 : 0));
  const a = (pair: number) => 2 * pair + (isFirst[pair] ? 0 : 1);
  const d = (pair: number) => 2 * pair + (isFirst[pair] ? 1 : 0);
  const times = new Map<string, number>();
  let began = performance.now();
  let phase = 'inputs';
  const enter = (what: string) => {
    const seconds = (performance.now() - began) / 1000;
    times.set(phase, (times.get(phase) ?? 0) + seconds);
    console.error(`${phase}: ${seconds.toFixed(1)} s, ${(process.memoryUsage.rss() / 1e9).toFixed(2)} GB`);
    [phase, began] = [what, performance.now()];
  };
  const memory = bound ? bound * 2 ** 30 : undefined;
  const job = { p, m, groupSize: 1, keep: half };
  const { memory: own, spilled } = tiledPlan(job, session.maximumBytes, memory ?? Number.POSITIVE_INFINITY);

  // B, the weights that the target is made of, in f32 as they meet the rows.
  const kernels = await openKernels();
  const [step, rank] = [512, 64];
  const [B, M] = [kernels.matrix(p, m, 'f32'), kernels.matrix(rank, p, 'f32')];
  const [X, Z, Y] = [p, rank, m].map((columns) => kernels.matrix(step, columns, 'f32'));
  kernels.scoped(() => kernels.allocate(kernels.abi.workBytes(p, p))); // so that it grows no more
  const W0 = new Float32Array(p * m);
  const weights = kernels.view(B);
  for (let pair = 0; pair < half; pair++) {
    for (let j = 0; j < m; j++) {
      const value = next() + next() - 1;
      weights[a(pair) * m + j] = value;
      weights[d(pair) * m + j] = 0.3 * value;
      W0[a(pair) * m + j] = next() - 0.5;
      W0[d(pair) * m + j] = next() - 0.5;
    }
  }
  // The layer, the part of its sums that the other threads have, and what this bench itself holds.
  const stated =
    own.total + (threads - 1) * tiledSummingBytes([job]) + kernels.bytes + 4 * p * m + 2 * 4 * step * (p + m);
  console.error(`stated: ${JSON.stringify({ ...own, spilled, stated })}`);
  const scale = Float64Array.from({ length: half }, () => 0.7 + 0.7 * next());
  const fill = (of: typeof M, value: () => number) => {
    const view = kernels.view(of);
    for (let at = 0; at < view.length; at++) view[at] = value();
  };
  fill(M, () => (2 * next() - 1) / Math.sqrt(rank));
  const statistics = session.tiledStatistics(p, m, true);
  for (let first = 0; first < SAMPLES; first += step) {
    enter('rows');
    fill(Z, () => 2 * next() - 1);
    fill(X, () => 0.1 * (next() - 0.5));
    kernels.gemm(false, false, 1, Z, M, 1, X);
    kernels.gemm(false, false, 1, X, B, 0, Y);
    const rows = [kernels.read(X), kernels.read(Y)] as const;
    enter('sums');
    await statistics.addRows(...rows);
  }
  const fit = await statistics.finish();
  enter('pairs');
  addPairs(fit, weights, scale, a, d);
  enter('problem, search and refit');
  const solved = await session.solveTiled({ W: W0, groupSize: 1, fit }, { damping: 1e-3 }, half, { memory });
  enter('end');
  const { kept, relativeError = 0 } = solved;
  const wrong = kept.filter((row) => row !== a(row >> 1)).length;
  const peak = process.resourceUsage().maxRSS * 1024;
  console.error({ wrong, relativeError, peak, stated });
  emit({
    name: 'large',
    title: `p = ${p}, m = ${m} to half in tiles, ${threads} threads, ${session.simd} SIMD`,
    rows: [
      {
        ...{ p, m, keep: half, threads, spilled, wrong, relativeError, peak, stated },
        ...Object.fromEntries(times),
      },
    ],
    grid: list(
      [...times].map(([what, seconds]) => ({ what, seconds })),
      {
        what: ({ what }) => what,
        seconds: ({ seconds }) => round(seconds),
      },
    ),
  });
  await session.close();
  if (wrong > 0 || peak > stated) throw new Error(`tiles: ${wrong} wrong, ${peak} bytes`);
}

/** What rows without number would add: the pairs, of the scales given, and what the target makes of them. */
function addPairs(
  sums: TiledStatistics,
  B: Float32Array,
  scale: Float64Array,
  a: (pair: number) => number,
  d: (pair: number) => number,
): void {
  const { m } = sums;
  const { XtX, XtY } = matricesOf(sums);
  const weight = (pair: number) => SAMPLES * scale[pair] ** 2;
  for (let i = 0; i < XtX.count; i++) {
    XtX.change(i, i, (tile) => {
      const [first, rows] = [XtX.starts[i], XtX.rows(i)];
      for (let pair = first >> 1; 2 * pair < first + rows; pair++) {
        for (const row of [a(pair), d(pair)]) {
          for (const column of [a(pair), d(pair)]) {
            const own = row === column && row === d(pair) ? 1 + NOISE : 1;
            if (column <= row) tile[(row - first) * rows + column - first] += weight(pair) * own;
          }
        }
      }
    });
  }
  XtY!.each(true, (values, first, rows) => {
    for (let r = 0; r < rows; r++) {
      const pair = (first + r) >> 1;
      const own = first + r === d(pair) ? 1 + NOISE : 1;
      for (let j = 0; j < m; j++) {
        const signal = B[a(pair) * m + j] + own * B[d(pair) * m + j];
        values[r * m + j] += weight(pair) * signal;
      }
    }
  });
}
