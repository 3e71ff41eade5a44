// What OPT-30B would take on 1 to 64 machines like this one, from the rates that are measured here and the plan's own
// arithmetic: where it stops scaling, and why.
//   npm run bench -- machines [config.json] [Gbit/s of the store] [--json]

import { readFileSync } from 'node:fs';
import { describe } from '../src/checkpoint/architectures/index.ts';
import { openEngine } from '../src/engine/index.ts';
import { openKernels } from '../src/kernel/index.ts';
import { measureRates, planMachines } from '../src/pipeline/index.ts';
import { OPT_30B_CONFIG } from '../test/support/opt-30b.ts';
import { bench, round } from './support/bench.ts';
import { list } from './support/table.ts';

/** As published: 128 windows of 2048 tokens. */
const OPTIONS = { keep: 0.5, target: 'residual', samples: 128, sample: [2048] } as const;
const MACHINES = [1, 2, 4, 8, 16, 32, 64];
const HOUR = 3600;

await bench('machines', async ({ emit }) => {
  const args = process.argv.slice(2).filter((arg) => !arg.startsWith('--'));
  const config = args.find((arg) => arg.endsWith('.json'));
  const gigabits = Number(args.find((arg) => Number(arg) > 0) ?? 10);
  const model = await describe(config ? JSON.parse(readFileSync(config, 'utf8')) : OPT_30B_CONFIG);
  const threads = 2;
  const kernels = await openKernels();
  const measured = await measureRates(await openEngine({ threads }), kernels);
  const rates = { engine: measured.engine, kernels: threads * measured.kernels };
  const rows = MACHINES.map((machines) => {
    const { seconds, shards, networkBytes } = planMachines(model, OPTIONS, rates, {
      machines,
      storeRate: (gigabits * 1e9) / 8,
    });
    return { machines, shards, networkBytes, ...seconds };
  });
  const hours = (name: keyof (typeof rows)[number]) => (row: (typeof rows)[number]) =>
    round(row[name] / HOUR);
  const [{ total: one }] = rows;
  const gflops = (rate: number) => (rate / 1e9).toFixed(0);
  emit({
    name: 'machines',
    title: `Hours of ${config ?? 'OPT-30B'} to half on machines of ${threads} threads (${gflops(rates.engine)} GFLOP/s in the engine, ${gflops(rates.kernels)} in f64 kernels), a store at ${gigabits} Gbit/s`,
    rows,
    grid: list(rows, {
      machines: (row) => row.machines,
      shards: (row) => row.shards,
      'running the model': hours('engine'),
      sums: hours('statistics'),
      'solving, on one': hours('solving'),
      'the store': hours('network'),
      measuring: hours('measuring'),
      all: hours('total'),
      'times as fast': (row) => (one / row.total).toFixed(1),
      'TB through the store': (row) => round(row.networkBytes / 1e12),
    }),
  });
});
