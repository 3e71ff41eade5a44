// The public face of the pool: the same names and results with workers and without, in Node and in browsers.

import { InputError } from '../errors.ts';
import { expectObject } from '../expect.ts';
import {
  ADDRESS_SPACE_BYTES,
  chooseSimd,
  KERNEL_OPTIONS,
  type KernelOptions,
  openKernels,
  type Simd,
} from '../kernel/index.ts';
import { ADDRESS, BYTES, expectOptions, type Options, SIGNAL, TEXT, THREADS } from '../options.ts';
import { TILE } from '../solve/constants';
import {
  type Convolution,
  checkLayers,
  type Layer,
  type LayerOptions,
  type LayerProblem,
  type LayerRecipe,
  type LayerResult,
  type SolvedLayers,
} from '../solve/index.ts';
import { expectSizes } from '../solve/statistics.ts';
import type { TiledLayer } from '../tiles/layers.ts';
import { type TiledStatistics, takenOver } from '../tiles/statistics.ts';
import type { Arguments, Request, Result, TiledOptions } from './calculator.ts';
import { type Executor, localExecutor } from './executor.ts';
import { platform } from './platform.ts';
import { Pool, type PoolOptions } from './pool.ts';
import { byPanels, byTiles, SessionStatistics } from './statistics.ts';

/** Threads by default at most: beyond, copying and memory grow and nothing here was measured. */
const DEFAULT_THREADS = 8;
/** Inputs of a layer from which idle workers help with its factorisations. */
const LARGE = 512;

/** What `openSession` can be told; all of it can be left out. Memory is bounded for each thread. */
export interface SessionOptions extends KernelOptions {
  /** Workers; 1 computes on the calling thread and starts none. Default: as many as the machine has cores, up to 8. */
  readonly threads?: number;
  /**
   * Where dist/worker.js is, for hosts that do not keep it beside the module that starts it. It must be of the same
   * version.
   */
  readonly workerUrl?: string | URL;
  /** A folder for what does not fit the memory that a layer in tiles may take. Default: the temporary one; in browsers the origin's own. */
  readonly scratch?: string;
}

const SESSION_OPTIONS: Options<SessionOptions> = {
  ...KERNEL_OPTIONS,
  threads: THREADS,
  workerUrl: ADDRESS,
  scratch: TEXT,
};

/** What a session was opened with. */
type Opened = Pick<PoolOptions, 'simd' | 'maximumBytes'> & Pick<SessionOptions, 'scratch'>;

/** How a computation can be called off. */
export interface AbortOptions {
  /**
   * With workers, a computation is stopped where it is: its promise is rejected with the signal's reason at once, and
   * the worker is replaced. On one thread the signal is looked at before each computation, not during one.
   */
  readonly signal?: AbortSignal;
}

/** How a layer in tiles can be called off, and the bytes that it may take in all. */
type TiledSolving = AbortOptions & Pick<TiledOptions, 'memory'>;

const ABORT: Options<AbortOptions> = { signal: SIGNAL };
const TILED: Options<TiledSolving> = { ...ABORT, memory: BYTES };

/**
 * Starts the workers of a session. Where workers are refused (no such script, a security policy, an environment
 * without workers) the session works on the calling thread: `threads` is then 1 and `reason` says why.
 *
 * @throws {InputError} for impossible options, or an engine that cannot run the chosen binary
 *
 * @example
 * const session = await openSession({ threads: 4 });
 * const { kept, layers } = await session.solveLayers([layer], { method: 'osscar' }, 128);
 * await session.close();
 */
export async function openSession(options: SessionOptions = {}): Promise<Session> {
  expectOptions('openSession', options, SESSION_OPTIONS);
  const { simd: choice = 'auto', maximumBytes = ADDRESS_SPACE_BYTES, workerUrl } = options;
  const { threads = Math.min(platform().concurrency, DEFAULT_THREADS) } = options;
  const simd = await chooseSimd(choice);
  const opened = { simd, maximumBytes, scratch: options.scratch };
  let reason: string | undefined;
  if (threads > 1) {
    try {
      return new Session(await Pool.open({ threads, simd, maximumBytes, workerUrl }), opened);
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
    }
  }
  return new Session(localExecutor(await openKernels({ simd, maximumBytes })), opened, reason);
}

/**
 * Threads and what they can be asked for. Every result is the same, to the last bit, for any number of threads; from
 * the `baseline` binary also on any machine.
 *
 * Arrays that are given to a method must not change before its promise settles. A worker that dies is replaced and
 * what it was doing is tried once more; then the promise is rejected with a {@link WorkerLostError}. Statistics are not
 * tried again: what was added is lost with the worker.
 */
export class Session {
  /** The binary in use. */
  readonly simd: Simd;
  /** Linear memory of each thread never grows beyond this. */
  readonly maximumBytes: number;
  /** Why the session has one thread although more were asked for. */
  readonly reason?: string;
  readonly #executor: Executor;
  readonly #scratch?: string;

  /** @internal */
  constructor(executor: Executor, { simd, maximumBytes, scratch }: Opened, reason?: string) {
    this.#executor = executor;
    this.#scratch = scratch;
    this.simd = simd;
    this.maximumBytes = Math.min(maximumBytes, ADDRESS_SPACE_BYTES);
    this.reason = reason;
  }

  /** Threads that compute: workers, or 1 for the calling thread. */
  get threads(): number {
    return this.#executor.threads;
  }

  /** Whether workers share memory, and so work on one large matrix together. */
  get shared(): boolean {
    return this.#executor.shared;
  }

  /**
   * Opens the sums XᵀX, XᵀY, Σx and Σy of a layer; the rows of XᵀX are divided among the threads.
   *
   * @param p  inputs of the layer, columns of X
   * @param m  outputs of the layer, columns of the target Y
   * @param hasTarget  whether rows come with a target
   * @param convolution  where only images are added, all under this one: of 3×3 kernels with stride 1 and a border of one zero
   * the sums take less than half of the time
   */
  statistics(p: number, m: number, hasTarget: boolean, convolution?: Convolution): SessionStatistics {
    const sized = { p, m, hasTarget };
    expectSizes(sized);
    return new SessionStatistics(this.#executor, sized, byPanels(sized), convolution);
  }

  /**
   * The same for a layer of any number of inputs, in tiles outside wasm memory: for `solveTiled`.
   * @param edge  rows and columns of a tile, for tests
   */
  tiledStatistics(
    p: number,
    m: number,
    hasTarget: boolean,
    edge: number = TILE,
  ): SessionStatistics<TiledStatistics> {
    const sized = { p, m, hasTarget };
    expectSizes(sized);
    return new SessionStatistics(this.#executor, sized, byTiles(sized, edge));
  }

  /**
   * A⁻¹, both triangles, for a symmetric positive definite A (n × n, row-major; its lower triangle is read). n³ flops.
   * @throws {NotPositiveDefiniteError}
   */
  inverse(A: Float64Array, n: number, options: AbortOptions = {}): Promise<Float64Array> {
    return this.#run('inverse', [A, n], n, options);
  }

  /** A·B for a symmetric A (n × n, row-major; its lower triangle is read) and B (n × m). 2n²m flops. */
  multiply(A: Float64Array, B: Float64Array, n: number, options: AbortOptions = {}): Promise<Float64Array> {
    return this.#run('multiply', [A, B, n], n, options);
  }

  /**
   * Layers that read the same channels, from their statistics to their weights, in one job: as the function `solveLayers`.
   * Statistics on shared memory go to it without a copy.
   */
  async solveLayers(
    layers: readonly Layer[],
    recipe: LayerRecipe,
    keep?: number,
    options: AbortOptions = {},
  ): Promise<SolvedLayers> {
    checkLayers('solveLayers', layers, recipe);
    const order = layers.reduce((rows, { fit }) => rows + fit.p, 0);
    return this.#run('solveLayers', [layers, recipe, keep], order, options);
  }

  /**
   * A layer whose inputs are too many for one wasm memory, from its sums in tiles to its weights: greedy elimination and refit, with the
   * bits of `solveLayers` with `search: 'greedy'` and the same damping, which is the published one unless it is given. The sums are
   * handed over where their arrays own their buffers, and gone then, so that a worker that is lost is not made up for.
   *
   * @param options  with `memory`, bytes that the layer may take in all, as `tiledPlan` states them; H and G go to a file in the
   * session's folder where they do not fit
   * @throws {InputError} where it does not fit the memory, with the numbers, or its sums are gone
   * @throws {NotPositiveDefiniteError} where H is not positive definite
   *
   * @example
   * const statistics = session.tiledStatistics(28672, 7168, true);
   * for (const { X, Y } of batches) await statistics.addRows(X, Y);
   * const layer = { W, groupSize: 1, fit: await statistics.finish() };
   * const { kept, layers } = await session.solveTiled(layer, {}, 14336, { memory: 16 * 2 ** 30 });
   */
  async solveTiled(
    layer: TiledLayer,
    recipe: LayerRecipe,
    keep?: number,
    options: TiledSolving = {},
  ): Promise<SolvedLayers> {
    checkLayers('solveTiled', [layer], recipe);
    expectOptions('solveTiled', options, TILED);
    const { signal, memory } = options;
    if (!Array.isArray(layer.fit.tiles))
      throw new InputError('solveTiled: "fit" expected sums in tiles, of `tiledStatistics`');
    if (layer.fit.sumX.length !== layer.fit.p)
      throw new InputError('solveTiled: the sums have been handed over before');
    const fit = takenOver(layer.fit);
    const limits = { memory, scratch: this.#scratch };
    return this.#run('solveTiled', [{ ...layer, fit }, recipe, keep, limits], fit.p, { signal }, fit);
  }

  /** Prunes one layer: as the function `pruneLayer`. */
  async pruneLayer(
    problem: LayerProblem,
    layer: LayerOptions,
    options: AbortOptions = {},
  ): Promise<LayerResult> {
    expectObject('pruneLayer', 'problem', problem);
    return this.#run('pruneLayer', [problem, layer], problem.p, options);
  }

  /**
   * Gives memory back, where workers have it: theirs never shrinks, so that new ones take the place of those that are idle.
   * Statistics must be finished.
   */
  renew(): Promise<void> {
    return this.#executor.renew();
  }

  /** Ends the workers. What is still running is rejected; nothing keeps the process alive afterwards. */
  close(): Promise<void> {
    return this.#executor.close();
  }

  /** As `close`: `await using session = await openSession()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run<N extends Request>(
    name: N,
    args: Arguments<N>,
    order: number,
    options: AbortOptions,
    given?: object,
  ): Promise<Result<N>> {
    expectOptions(name, options, ABORT);
    const { signal } = options;
    return this.#executor.run(name, args, { signal, large: order >= LARGE, given });
  }
}
