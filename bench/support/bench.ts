// What every bench has in common: --quick and --json, the line about the machine, tables as they come.

import { availableParallelism, cpus } from 'node:os';
import { collectGarbage } from '../../src/cli/collect.ts';
import type { ElementType, Simd } from '../../src/kernel/index.ts';
import { cycles, loopRates, multiplyAdds, perNanosecond } from './clock.ts';
import { type Table, toText } from './table.ts';
import { type Contestant, type Timing, timeAll } from './time.ts';

export const SIMDS = ['relaxed', 'baseline'] as const satisfies Simd[];
export const TYPES = ['f32', 'f64'] as const satisfies ElementType[];

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  /** Measured. */
  readonly gigahertz: number;
  /** Multiply-adds on 128 bits per cycle at most: in one instruction, and in two. Measured. */
  readonly fused: number;
  readonly unfused: number;
  readonly node: string;
  readonly v8: string;
  /** ISO 8601. */
  readonly date: string;
}

/** All that a bench prints; `--json` writes it as it is. */
export interface Report {
  readonly bench: string;
  readonly machine: Machine;
  readonly tables: readonly Table[];
}

export interface Bench {
  /** Small sizes and few runs: shows that the bench works, measures nothing. */
  readonly quick: boolean;
  time<Name extends string>(
    contestants: Readonly<Record<Name, Contestant>>,
    options?: { readonly warmUp?: number; readonly budgetMs?: number },
  ): Promise<Record<Name, Timing>>;
  /**
   * Share of what two multiply-adds on 128 bits per cycle would do, the cycles being those of the last call of `time`, where
   * the chain that counts them took its turns like everybody.
   */
  ofPeak(type: ElementType, rate: Rate): { readonly ofPeak: number; readonly medianOfPeak: number };
  emit(table: Table): void;
}

/** The name of the contestant that counts cycles. */
const CLOCK = 'clock';

const BUDGET_MS = 600;
const QUICK_BUDGET_MS = 1;

export async function bench(name: string, run: (bench: Bench) => Promise<void>): Promise<void> {
  const [quick, json] = ['--quick', '--json'].map((flag) => process.argv.includes(flag));
  const chain = cycles();
  const [clock, fused, unfused] = loopRates([chain, multiplyAdds(true), multiplyAdds(false)]);
  const machine: Machine = {
    cpu: cpus()[0].model,
    cores: availableParallelism(),
    gigahertz: clock,
    fused: fused / clock,
    unfused: unfused / clock,
    node: process.version,
    v8: process.versions.v8,
    date: new Date().toISOString().slice(0, 10),
  };
  if (!json) console.log(`${describeMachine(machine)}\n`);
  const tables: Table[] = [];
  let beside: Timing;
  await run({
    quick,
    async time(contestants, options) {
      const limits = { budgetMs: BUDGET_MS, ...options, ...(quick && { budgetMs: QUICK_BUDGET_MS }) };
      const { [CLOCK]: clock, ...timings } = await timeAll({ ...contestants, [CLOCK]: chain }, limits);
      beside = clock;
      return timings as Record<keyof typeof contestants, Timing>;
    },
    ofPeak(type, { gflops, medianGflops }) {
      const flops = 2 * 2 * (type === 'f32' ? 4 : 2);
      return {
        ofPeak: gflops / (flops * perNanosecond(beside.min)),
        medianOfPeak: medianGflops / (flops * perNanosecond(beside.median)),
      };
    },
    emit(table) {
      tables.push(table);
      if (!json) console.log(toText(table));
    },
  });
  if (json) console.log(JSON.stringify({ bench: name, machine, tables } satisfies Report));
  collectGarbage();
}

export function describeMachine(machine: Machine): string {
  const { cpu, cores, gigahertz, fused, unfused, node, v8, date } = machine;
  const perCycle = `${fused.toFixed(2)} fused or ${unfused.toFixed(2)} unfused multiply-adds a cycle`;
  return `${cpu}, ${cores} cores, ${gigahertz.toFixed(2)} GHz, ${perCycle}; Node ${node.slice(1)}, V8 ${v8}; ${date}`;
}

export interface Rate {
  readonly gflops: number;
  readonly medianGflops: number;
}

/** GFLOP/s from the fastest run and from the median one. */
export function rates(flops: number, { min, median }: Timing) {
  return { minMs: min, medianMs: median, gflops: flops / min / 1e6, medianGflops: flops / median / 1e6 };
}

/** To three digits. */
export function round(value: number): string {
  if (value === 0) return '0';
  return value.toFixed(Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value)))));
}

export function pair(fastest: number, median: number): string {
  return `${round(fastest)} / ${round(median)}`;
}

export function percent(share: number): string {
  return (100 * share).toFixed(0);
}
