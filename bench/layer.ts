// Whole layers by every method and search: the error that is left, and the time. Golden layers (statistics of real
// layers) where OSSCAR_SHARED or ../shared has them, and seeded ones:
//   npm run bench -- layer [--quick] [--json]

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { type Kernels, openKernels } from '../src/kernel/index.ts';
import {
  type LayerOptions,
  type LayerProblem,
  type LayerResult,
  layerProblem,
  packed,
  pruneLayer,
  refit,
} from '../src/solve/index.ts';
import { groupRows, objectiveOf } from '../src/solve/refit.ts';
import { readSafetensors } from '../test/support/safetensors.ts';
import { bench, round } from './support/bench.ts';
import { layerProblems } from './support/layer.ts';
import { crosstab } from './support/table.ts';

const METHODS: Readonly<Record<string, Omit<LayerOptions, 'keep'>>> = {
  magnitude: { method: 'magnitude' },
  'magnitude-refit': { method: 'magnitude-refit' },
  ziplm: { method: 'ziplm' },
  'greedy, 10 per step': { search: 'greedy', groupsPerStep: 10 },
  'published search, 10 per step': { search: 'published', groupsPerStep: 10, swapGroups: 10 },
  greedy: { search: 'greedy' },
  halving: { search: 'halving' },
  default: {},
  thorough: { search: 'thorough' },
};
/** Hundreds of swaps from each start: minutes at the largest size. */
const THOROUGH_ROWS = 2048;

await bench('layer', async (b) => {
  const kernels = await openKernels();
  const rows = [];
  for (const { layer, problem, keeps } of await layers(kernels, b.quick)) {
    const { p, m, groupSize, groups } = problem;
    const all = refit(kernels, problem, [...Array(groups).keys()]).objective;
    for (const keep of keeps) {
      for (const [method, options] of Object.entries(METHODS)) {
        if (options.search === 'thorough' && p > THOROUGH_ROWS) continue;
        let result: LayerResult | undefined;
        const run = () => {
          result = pruneLayer(kernels, problem, { ...options, keep });
        };
        const { timing } = await b.time({ timing: { run } }, { budgetMs: 100, warmUp: 1 });
        const { objective, search } = result!;
        expectObjective(kernels, problem, result!);
        rows.push({
          layer,
          p,
          m,
          b: groupSize,
          keep,
          method,
          simd: kernels.simd,
          objective,
          relativeError: (objective - all) / -all, // of f, which is what all methods but magnitude minimise
          minMs: timing.min,
          medianMs: timing.median,
          ...(search && { start: search.start, swaps: search.steps, swapOptimal: search.swapOptimal }),
        });
      }
    }
  }
  b.emit({
    name: 'layers',
    title: `Relative error × 10⁴ left at \`keep\` groups, and ms (fastest run), ${kernels.simd} SIMD; * a certified 1-swap optimum`,
    rows,
    grid: crosstab(
      rows,
      ['layer', 'keep'],
      (row) => row.method,
      (row) => {
        const certified = 'swapOptimal' in row && row.swapOptimal ? '*' : '';
        return `${(1e4 * row.relativeError).toFixed(2)}${certified} (${round(row.minMs)})`;
      },
    ),
  });
});

interface Layer {
  readonly layer: string;
  readonly problem: LayerProblem;
  readonly keeps: readonly number[];
}

async function layers(kernels: Kernels, quick: boolean): Promise<Layer[]> {
  const shapes = quick
    ? [{ groups: 48, groupSize: 2, m: 24 }]
    : [
        { groups: 1024, groupSize: 1, m: 256 },
        { groups: 128, groupSize: 9, m: 128 },
        { groups: 3072, groupSize: 1, m: 768 },
      ];
  const seeded = [];
  for (const shape of shapes) {
    const { own } = await layerProblems(shape);
    const layer = `seeded, p = ${own.p}, m = ${own.m}, b = ${own.groupSize}`;
    seeded.push({ layer, problem: own, keeps: [shape.groups >> 1] });
  }
  return [...(quick ? [] : golden(kernels)), ...seeded];
}

/** Each at the numbers of groups that the published code was run for. */
function golden(kernels: Kernels): Layer[] {
  const folder = `${process.env.OSSCAR_SHARED ?? '../shared'}/golden`;
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder).flatMap((file) => /^(.*)\.json$/.exec(file)?.[1] ?? []);
  return names.map((layer) => {
    const about = JSON.parse(readFileSync(`${folder}/${layer}.json`, 'utf8'));
    const tensors = readSafetensors(readFileSync(`${folder}/${layer}.safetensors`));
    const W0 = tensors.get('W')!;
    const [p, m] = W0.shape;
    const XtX = packed(Float64Array.from(tensors.get('XtX')!.data), p);
    const problem = layerProblem(kernels, { p, m, n: 1, XtX, sumX: new Float64Array(p) }, W0.data, {
      groupSize: about.group_size,
      damping: about.damping,
      dampDead: true,
    });
    return { layer, problem, keeps: about.cases.map(({ keep }: { keep: number }) => keep) };
  });
}

/** By the definition, from the weights that came out. */
function expectObjective(kernels: Kernels, problem: LayerProblem, { W, kept, objective }: LayerResult): void {
  const expected = objectiveOf(kernels, problem, W, groupRows(kept, problem.groupSize));
  if (!(Math.abs(objective - expected) <= 1e-9 * Math.abs(expected))) {
    throw new Error(`layer: objective expected ${expected}, got ${objective}`);
  }
}
