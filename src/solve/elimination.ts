// A greedy elimination in wasm memory; the mathematics and the order of work are in assembly/solve/.

import { NotPositiveDefiniteError } from '../errors.ts';
import { type ElementType, elementBytes, type Kernels, type Matrix, prefixOf } from '../kernel/index.ts';
import { COLUMNS, eliminationPath, GRAM, ROWS } from './constants';
import { eliminationBytes } from './memory';
import type { LayerProblem } from './problem.ts';

const PATHS = { rows: ROWS, columns: COLUMNS, gram: GRAM };
/**
 * How the costs, which need K = WWᵀ, are kept exact:
 * - `rows`: W itself is updated at every removal; m values per live row and step
 * - `columns`: columns of K are formed from W for the groups likely to go next; W is updated once a panel
 * - `gram`: the same from the W of the full support, less what all removals since owe; W is not updated
 */
export type EliminationPath = keyof typeof PATHS;

interface EliminationStateOptions {
  readonly path?: EliminationPath;
  /** Take the dearest first, as forward selection does, instead of the cheapest. */
  readonly dearest?: boolean;
  /** Groups that `removeNext` leaves. */
  readonly protect?: readonly number[];
}

/** Removes groups one at a time and keeps the cost of removing each other group exact. Lives on the kernels' stack. */
export class EliminationState {
  /**
   * p × p, lower triangle, and p × m: H⁻¹ and H⁻¹G (of a forward selection, H and G), to be written before `start`.
   * f32 or f64; costs, always in f64, are as good as their type. Overwritten: on the path `rows`, W holds by position the
   * weights that updates alone give.
   */
  readonly T: Matrix;
  readonly W: Matrix;
  readonly #kernels: Kernels;
  readonly #prefix: 's' | 'd';
  readonly #state: number;
  readonly #groups: number;

  constructor(
    kernels: Kernels,
    { p, m, groupSize, groups }: LayerProblem,
    type: ElementType,
    { path, dearest = false, protect = [] }: EliminationStateOptions = {},
  ) {
    const { abi } = kernels;
    const way = path ? PATHS[path] : eliminationPath(p, m, groupSize);
    const state = kernels.allocate(eliminationBytes(p, m, groupSize, way, elementBytes(type)));
    const products = kernels.allocate(abi.workBytes(p, m));
    this.#prefix = prefixOf(type);
    abi[`${this.#prefix}createElimination` as const](state, products, p, m, groupSize, way, dearest);
    const isProtected = new Uint8Array(abi.memory.buffer, abi.eliminationProtected(state) >>> 0, groups);
    for (const group of protect) isProtected[group] = 1;
    this.T = { type, ptr: abi.eliminationT(state) >>> 0, rows: p, cols: p, ld: p };
    this.W = { type, ptr: abi.eliminationW(state) >>> 0, rows: p, cols: m, ld: m };
    this.#kernels = kernels;
    this.#state = state;
    this.#groups = groups;
  }

  /** From T and W on the full support. */
  start(): void {
    this.#kernels.abi[`${this.#prefix}eliminateStart` as const](this.#state);
  }

  /** Groups that are left. */
  get live(): number {
    return this.#kernels.abi.eliminationLive(this.#state);
  }

  /** Groups by position: the live ones, then the removed ones, the first of them last. A view: it changes with every removal. */
  order(): Int32Array {
    const { abi } = this.#kernels;
    return new Int32Array(abi.memory.buffer, abi.eliminationOrder(this.#state) >>> 0, this.#groups);
  }

  /** By position, ½ tr(W_jᵀ T_jj⁻¹ W_j): what the objective would rise by, or did. A view, as `order`. */
  costs(): Float64Array {
    const { abi } = this.#kernels;
    return new Float64Array(abi.memory.buffer, abi.eliminationCosts(this.#state) >>> 0, this.#groups);
  }

  /**
   * Removes those n that go first, as in the published schedule: over s = max(1, ⌊n / groupsPerStep⌋) rankings ⌊n / s⌋
   * each, after the first n mod s of them one more.
   * @throws {NotPositiveDefiniteError} where T has lost its definiteness to rounding
   */
  removeNext(n: number, groupsPerStep = 1): void {
    this.#expect(
      this.#kernels.abi[`${this.#prefix}eliminate` as const](this.#state, n, Math.min(n, groupsPerStep)),
    );
  }

  /** Removes a live group, protected or not. */
  remove(group: number): void {
    this.#expect(this.#kernels.abi[`${this.#prefix}eliminateGroup` as const](this.#state, group));
  }

  #expect(info: number): void {
    if (info === 0) return;
    const group = this.order()[this.live - 1];
    throw new NotPositiveDefiniteError(
      `eliminate: expected a positive definite block for group ${group}, pivot ${info} is not; raise the damping`,
      info,
    );
  }
}
