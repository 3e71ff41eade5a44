// Half of a layer's rows by the published algorithm's own arithmetic, on our kernels and (where it is installed) on numpy,
// beside what this library does for the same. One thread; f64, but for our search:
//   npm run bench -- published [--quick] [--json]

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Kernels, openKernels } from '../src/kernel/index.ts';
import { eliminate, type LayerProblem, pruneLayer, refit, unpacked } from '../src/solve/index.ts';
import { type Bench, bench, round } from './support/bench.ts';
import { layerProblems, QUICK, SHAPES } from './support/layer.ts';
import { publishedExchange, publishedGreedy } from './support/published.ts';
import { crosstab } from './support/table.ts';

const PER_STEP = 10;
const NUMPY_RUNS = 3;
const GREEDY = `greedy, ${PER_STEP} per step`;
const EXCHANGE = 'one exchange after it';

await bench('published', async (b) => {
  const kernels = await openKernels();
  const rows = [];
  for (const shape of b.quick ? QUICK : SHAPES) {
    if (shape.groupSize > 1) continue;
    rows.push(...(await timesOf(b, kernels, (await layerProblems(shape)).own)));
  }
  b.emit({
    name: 'times',
    title: 'ms, medians (times our default search), and the relative error × 10⁴ that is left',
    rows,
    grid: crosstab(
      rows,
      ['by', 'what'],
      ({ p, m }) => `p = ${p}, m = ${m}`,
      ({ ms, ofOurs, error }) => `${round(ms)} (${round(ofOurs)}), ${(1e4 * error).toFixed(2)}`,
    ),
  });
});

async function timesOf({ time }: Bench, kernels: Kernels, problem: LayerProblem) {
  const { p, m, groups } = problem;
  const whole = { ...problem, H: unpacked(problem.H, p) };
  const keep = p >> 1;
  const t = Math.ceil(keep / 10);
  const coarse = publishedGreedy(kernels, whole, keep, PER_STEP);
  const { kept } = eliminate(kernels, problem, { keep, groupsPerStep: PER_STEP, precision: 'f64' });
  expectSame('greedy', coarse.kept, kept);
  const exchanged = publishedExchange(kernels, whole, coarse, t);
  const [ours, fine] = (['swap', 'greedy'] as const).map((search) => {
    return { search, kept: pruneLayer(kernels, problem, { keep, search }).kept };
  });
  const timings = await time(
    {
      ours: { run: () => pruneLayer(kernels, problem, { keep }) },
      fine: { run: () => pruneLayer(kernels, problem, { keep, search: 'greedy' }) },
      greedy: { run: () => publishedGreedy(kernels, whole, keep, PER_STEP) },
      exchange: { run: () => publishedExchange(kernels, whole, coarse, t) },
    },
    { warmUp: 1, budgetMs: 2000 },
  );
  const found = [
    { by: 'ours', what: 'default search', kept: ours.kept, ms: timings.ours.median },
    { by: 'ours', what: 'greedy, 1 per step', kept: fine.kept, ms: timings.fine.median },
    { by: 'published, our kernels', what: GREEDY, kept: coarse.kept, ms: timings.greedy.median },
    { by: 'published, our kernels', what: EXCHANGE, kept: exchanged.kept, ms: timings.exchange.median },
  ];
  const numpy = onNumpy(whole, keep, t);
  if (numpy) {
    expectSame('greedy on numpy', numpy.greedy.kept, coarse.kept);
    expectSame('exchange on numpy', numpy.exchange.kept, exchanged.kept);
    const by = `published, numpy ${numpy.numpy}`;
    for (const [what, { kept, seconds }] of [
      [GREEDY, numpy.greedy],
      [EXCHANGE, numpy.exchange],
    ] as const) {
      const sorted = seconds.toSorted((x, y) => x - y);
      found.push({ by, what, kept, ms: 1000 * sorted[sorted.length >> 1] });
    }
  }
  const all = refit(kernels, problem, [...Array(groups).keys()]).objective;
  return found.map(({ by, what, kept, ms }) => {
    const error = (refit(kernels, problem, kept).objective - all) / -all;
    return { by, what, p, m, ms, ofOurs: ms / timings.ours.median, error };
  });
}

interface Timed {
  readonly seconds: readonly number[];
  readonly kept: readonly number[];
}

/** Nothing, where there is no numpy. */
function onNumpy({ p, m, H, G, W0 }: LayerProblem, keep: number, t: number) {
  const folder = mkdtempSync(join(tmpdir(), 'osscar-bench-'));
  try {
    for (const [name, values] of Object.entries({ H, G, W: W0 })) writeFileSync(join(folder, name), values);
    const args = [p, m, keep, PER_STEP, t, NUMPY_RUNS].map(String);
    const { status, stdout, stderr } = spawnSync('python3', ['bench/support/published.py', folder, ...args], {
      encoding: 'utf8',
      env: { ...process.env, OPENBLAS_NUM_THREADS: '1', OMP_NUM_THREADS: '1' },
    });
    if (status === 0) return JSON.parse(stdout) as { numpy: string; greedy: Timed; exchange: Timed };
    console.error(`without numpy: ${stderr?.trim().split('\n').at(-1) ?? 'there is no python3'}`);
    return undefined;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function expectSame(what: string, kept: readonly number[], expected: readonly number[]): void {
  if (kept.join() !== expected.join()) throw new Error(`published: ${what} keeps other rows`);
}
