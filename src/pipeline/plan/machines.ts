// What a run takes on several machines that share a queue and a store, from the rates of one.

import { sum } from '../../graph/index.ts';
import { ADDRESS_SPACE_BYTES } from '../../kernel/index.ts';
import { COUNT, type Options, POSITIVE, required } from '../../options.ts';
import { isInTiles, type PlannedStep } from '../pass/steps.ts';
import type { Profile } from '../profile.ts';
import type { Recipe } from '../recipe.ts';
import { pairBytes } from '../store/activations.ts';
import { type PlanOptions, type Rates, stepFlops, workOf } from './plan.ts';

/** The machines, all alike, and what lies between them. */
export interface Machines {
  readonly machines: number;
  /** Parts of the samples. Default: as many as there are machines, at least 8. */
  readonly shards?: number;
  /** Bytes per second of the store that all of them share: what is written and read by one and all. Default: those of 10 Gbit/s. */
  readonly storeRate?: number;
}

export const MACHINES_OPTIONS: Options<Machines> = {
  machines: required(COUNT),
  shards: COUNT,
  storeRate: POSITIVE,
};

/** Of a whole run. Seconds one after the other: nothing of it is done meanwhile. */
export interface MachinesPlan {
  readonly machines: number;
  readonly shards: number;
  readonly seconds: {
    /** Both networks, shard by shard, on all machines. */
    readonly engine: number;
    /** Sums over their inputs, on all machines. */
    readonly statistics: number;
    /** The layers of a step, on one machine: the next step's inputs depend on it. */
    readonly solving: number;
    /** Through the store. */
    readonly network: number;
    /** The metric before and after, on one machine. */
    readonly measuring: number;
    readonly total: number;
  };
  /** Bytes through the store, both ways. */
  readonly networkBytes: number;
}

/** With a queue: what a few machines can share, at little to add up. */
export const DEFAULT_SHARDS = 8;
const STORE_RATE = 10e9 / 8;
/** Weights as most large models are published, float16 or bfloat16: each machine reads all of them in every pass. */
const WEIGHT_BYTES = 2;

export function planMachines(
  profile: Profile,
  recipe: Recipe,
  options: PlanOptions,
  rates: Rates,
  { machines, shards = Math.max(DEFAULT_SHARDS, machines), storeRate = STORE_RATE }: Machines,
): MachinesPlan {
  const { samples } = options;
  const { passes, parts, measured, refits } = workOf(profile, recipe, options);
  const solver = profile.steps.map((step) => stepFlops(step, recipe, options));
  // Shards are whole: with 8 of them, 5 machines take as long as 4.
  const share = Math.ceil(shards / machines) / shards;
  const workers = Math.min(machines, shards);
  const blocks = profile.sizes?.before.length ?? 1;
  // Every shard's sums are written once and read by who solves the layer; what comes out of a part is written for the next.
  const sums = 2 * shards * sum(profile.steps.map((step) => sumBytes(step, recipe, options)));
  const states = pairBytes(samples * profile.between) * blocks;
  const weights = WEIGHT_BYTES * profile.parameters.before * workers;
  const networkBytes = machines > 1 ? passes * (sums + states + weights) : 0;
  const seconds = {
    engine: (passes * parts * share) / rates.engine,
    statistics: (passes * share * sum(solver.map(({ statistics }) => statistics))) / rates.kernels,
    solving: (passes * sum(solver.map(({ solving }) => solving))) / rates.kernels + refits / rates.engine,
    network: networkBytes / storeRate,
    measuring: measured / rates.engine,
  };
  const total = sum(Object.values(seconds));
  return { machines, shards, seconds: { ...seconds, total }, networkBytes };
}

/** XᵀX (its lower triangle), XᵀY and the sums of both, of fitted and held-out samples; in tiles of all. */
function sumBytes(
  step: PlannedStep,
  recipe: Recipe,
  { maximumBytes = ADDRESS_SPACE_BYTES }: PlanOptions,
): number {
  const parts = isInTiles(step, recipe, maximumBytes) ? 1 : 2;
  return sum(step.maps.map(({ p, m }) => parts * 8 * ((p * (p + 1)) / 2 + p * m + p + m)));
}
