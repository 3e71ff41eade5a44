// The public face of layers in tiles: threads, memory and a plan; then a layer's rows, and its weights.

import { InputError } from '../errors.ts';
import {
  ADDRESS_SPACE_BYTES,
  chooseSimd,
  type KernelOptions,
  type Kernels,
  type Simd,
} from '../kernel/index.ts';
import { platform } from '../pool/platform.ts';
import { type CrewedKernels, openCrew } from './crew.ts';
import { plan, type TiledPlan, type TiledShape } from './memory.ts';
import { type TiledProblemOptions, tiledProblem } from './problem.ts';
import { pruneTiles, type TiledOptions, type TiledResult } from './prune.ts';
import { inFile, type ScratchFile } from './scratch.ts';
import { TiledAccumulator } from './statistics.ts';
import { inMemory } from './storage.ts';

/** What `openTiles` can be told. */
export interface TilesOptions extends KernelOptions {
  /** Threads that compute, this one among them. Default: as many as the machine has cores, up to 8. */
  readonly threads?: number;
  /** Bytes that a layer may take at its peak, wasm memory and all. Default: no bound. */
  readonly memory?: number;
  /** Where sums go that do not fit. */
  readonly scratch?: ScratchFile;
  /** As of a session. */
  readonly workerUrl?: string | URL;
}

/**
 * Opens threads for layers of any number of inputs. All runs on the calling thread, which waits for the others: in a browser it is to be a
 * worker.
 *
 * @example
 * const tiles = await openTiles({ memory: 8 * 2 ** 30, scratch });
 * const layer = tiles.layer({ p: 28672, m: 7168, groupSize: 1, keep: 14336 }, true);
 * layer.addRows(X, Y);
 * const { kept, W } = layer.prune(W0);
 */
export async function openTiles(options: TilesOptions = {}): Promise<Tiles> {
  const { simd: choice = 'auto', maximumBytes = ADDRESS_SPACE_BYTES, workerUrl } = options;
  const { threads = Math.min(platform().concurrency, 8), memory = Number.POSITIVE_INFINITY } = options;
  if (!(Number.isInteger(threads) && threads >= 1)) {
    throw new InputError(`openTiles: "threads" expected a whole number of at least 1, got ${threads}`);
  }
  if (!(memory > 0)) throw new InputError(`openTiles: "memory" expected a positive number, got ${memory}`);
  const simd = await chooseSimd(choice);
  const crew = await openCrew({ threads, simd, maximumBytes, workerUrl });
  return new Tiles(crew, memory, options.scratch);
}

/** Threads, and the memory that a layer may take. */
export class Tiles {
  readonly memory: number;
  readonly #crew: CrewedKernels;
  readonly #scratch?: ScratchFile;

  /** @internal */
  constructor(crew: CrewedKernels, memory: number, scratch: ScratchFile | undefined) {
    this.memory = memory;
    this.#crew = crew;
    this.#scratch = scratch;
  }

  get threads(): number {
    return this.#crew.threads;
  }

  get simd(): Simd {
    return this.#crew.kernels.simd;
  }

  /**
   * What a layer takes, and whether its sums go to the scratch file.
   * @throws {InputError} with the numbers, where it does not fit the memory
   */
  plan(shape: TiledShape): TiledPlan {
    return plan(shape, this.#crew.kernels.maximumBytes, this.memory, this.#scratch !== undefined);
  }

  /**
   * A layer whose rows are to come; one at a time.
   * @param hasTarget  whether rows come with a target
   * @throws {InputError} as `plan`
   */
  layer(shape: TiledShape, hasTarget: boolean): TiledLayer {
    const found = this.plan(shape);
    return new TiledLayer(this.#crew.kernels, shape, hasTarget, found, this.memory, this.#scratch);
  }

  /** Ends the other threads. */
  close(): Promise<void> {
    return this.#crew.close();
  }
}

/** One layer, from its rows to its weights. */
export class TiledLayer {
  readonly plan: TiledPlan;
  readonly #kernels: Kernels;
  readonly #shape: TiledShape;
  readonly #memory: number;
  readonly #place;
  readonly #sums: TiledAccumulator;

  /** @internal */
  constructor(
    kernels: Kernels,
    shape: TiledShape,
    hasTarget: boolean,
    plan: TiledPlan,
    memory: number,
    scratch: ScratchFile | undefined,
  ) {
    this.plan = plan;
    this.#kernels = kernels;
    this.#shape = shape;
    this.#memory = memory;
    this.#place = plan.spilled > 0 ? inFile(scratch!) : inMemory;
    this.#sums = new TiledAccumulator(kernels, shape.p, shape.m, hasTarget, shape.edge, this.#place);
  }

  /** Adds rows: X n × p and, with a target, Y n × m. */
  addRows(X: Float32Array, Y?: Float32Array): void {
    this.#sums.addRows(X, Y);
  }

  /**
   * Greedy elimination and refit, as `pruneLayer` with `search: 'greedy'`, and for groups of several rows by the path `columns`.
   *
   * @param W0  dense weights, p × m
   * @throws {InputError} where H is too ill-conditioned for a search in f32 and one in f64 does not fit the memory
   * @throws {NotPositiveDefiniteError} where H is not positive definite
   */
  prune(
    W0: Float32Array | Float64Array,
    options: Omit<TiledProblemOptions, 'groupSize' | 'edge' | 'place'> &
      Omit<TiledOptions, 'keep' | 'place' | 'onF64'> = {},
  ): TiledResult {
    const { keep } = this.#shape;
    const given = { ...this.#shape, ...options, place: this.#place };
    const problem = tiledProblem(this.#kernels, this.#sums.finish(), W0, given);
    const onF64 = () => {
      plan(this.#shape, this.#kernels.maximumBytes, this.#memory, this.plan.spilled > 0, 8);
    };
    return pruneTiles(this.#kernels, problem, { ...options, keep, onF64 });
  }
}
