// Layers that share a support, each with an elimination and a search of its own, against one layer of all their rows whose H holds
// nothing between them: the default search to half the groups.
//   npm run bench -- shared [--quick] [--json]

import { openKernels } from '../src/kernel/index.ts';
import { type LayerProblem, pruneLayer, pruneLayers } from '../src/solve/index.ts';
import { jointProblem } from '../test/support/problems.ts';
import { bench, pair, round } from './support/bench.ts';
import { type LayerShape, layerProblems } from './support/layer.ts';
import { list } from './support/table.ts';

interface Shared {
  readonly what: string;
  readonly shape: LayerShape;
  readonly layers: number;
}

const SHARED: readonly Shared[] = [
  { what: 'a stream of 13 readers', shape: { groups: 128, groupSize: 1, m: 512 }, layers: 13 },
  { what: 'a stage of a residual network', shape: { groups: 256, groupSize: 1, m: 64 }, layers: 9 },
  { what: 'another', shape: { groups: 512, groupSize: 1, m: 512 }, layers: 3 },
  { what: '3 × 3 convolutions', shape: { groups: 64, groupSize: 9, m: 64 }, layers: 6 },
  { what: 'a dense block and its transition', shape: { groups: 256, groupSize: 1, m: 128 }, layers: 25 },
];
const QUICK: readonly Shared[] = [{ what: 'small', shape: { groups: 16, groupSize: 2, m: 8 }, layers: 3 }];

await bench('shared', async (b) => {
  const rows = [];
  for (const { what, shape, layers } of b.quick ? QUICK : SHARED) {
    const problems: LayerProblem[] = [];
    for (let seed = 0; seed < layers; seed++) problems.push((await layerProblems(shape, seed)).own);
    const whole = jointProblem(problems);
    const options = { keep: shape.groups >> 1 };
    const [each, one] = [await openKernels(), await openKernels()];
    const apart = pruneLayers(each, problems, options);
    const together = pruneLayer(one, whole, options);
    if (
      apart.kept.join() !== together.kept.join() ||
      !(Math.abs(apart.objective / together.objective - 1) < 1e-9)
    )
      throw new Error(`shared: ${what}: other groups, or another objective, than of one layer of all rows`);
    const timings = await b.time(
      {
        each: { run: () => pruneLayers(each, problems, options) },
        one: { run: () => pruneLayer(one, whole, options) },
      },
      { warmUp: 0 },
    );
    const times = (ratio: 'min' | 'median') => timings.one[ratio] / timings.each[ratio];
    rows.push({
      what,
      layers,
      ...shape,
      eachMs: timings.each.min,
      eachMedianMs: timings.each.median,
      oneMs: timings.one.min,
      oneMedianMs: timings.one.median,
      faster: times('min'),
      fasterMedian: times('median'),
      eachBytes: each.bytes,
      oneBytes: one.bytes,
    });
  }
  b.emit({
    name: 'shared',
    title: 'The default search to half the groups: ms, fastest run / median, and the peak of wasm memory, MB',
    rows,
    grid: list(rows, {
      what: (row) => row.what,
      'layers, J, b, m': (row) => `${row.layers}, ${row.groups}, ${row.groupSize}, ${row.m}`,
      'one layer of all rows': (row) => pair(row.oneMs, row.oneMedianMs),
      'one each': (row) => pair(row.eachMs, row.eachMedianMs),
      'faster by': (row) => pair(row.faster, row.fasterMedian),
      'MB, of all rows': (row) => round(row.oneBytes / 1e6),
      'MB, one each': (row) => round(row.eachBytes / 1e6),
    }),
  });
});
