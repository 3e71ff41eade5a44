// The state of a greedy elimination in wasm memory; the mathematics is in assembly/eliminate.ts.

import { InputError, NotPositiveDefiniteError } from '../errors.ts';
import type { Kernels } from './kernels.ts';
import { expectShape, expectType, type Matrix } from './matrix.ts';

/**
 * How the costs, which need K = WWᵀ, are kept exact:
 * - `rows`: W itself is updated at every removal; m values per live row and step
 * - `gram`: K is stored (p × p) and updated as T is; nothing depends on m after K = WWᵀ
 * - `columns`: columns of K are formed from W a panel's worth at a time, for the groups likely to go next;
 *   W is updated once a panel. Least work where m is below p
 */
export type EliminationPath = 'rows' | 'gram' | 'columns';

export interface EliminationStateOptions {
  /** Rows of V that are collected before T is updated. Default `panelRows`. */
  readonly panelRows?: number;
  readonly path?: EliminationPath;
  /** Take the dearest first, as forward selection does, instead of the cheapest. */
  readonly dearest?: boolean;
}

/** Deferred rows: wide enough for syrk to run at GEMM speed, few enough for the panel to stay in L2 (measured). */
const PANEL_ROWS = 64;
/** Columns of K formed per row of the panel; at 1.25 three removals in ten still need one more (measured). */
const CANDIDATES = 1.25;

/** The path with the least work: flops at GEMM speed, streamed ones (`rows`) counted as 5 (measured). */
export function eliminationPath(p: number, m: number, b: number): EliminationPath {
  const rows = 5 * 2 * m * (b > 1 ? 1.5 : 1);
  const gram = 1.7 * p + 1.5 * m + 12 * panelRows(b);
  const columns = 2 * (1 + CANDIDATES) * m + 12 * panelRows(b) + CANDIDATES * panelRows(b);
  if (rows <= Math.min(gram, columns)) return 'rows';
  return gram <= columns ? 'gram' : 'columns';
}

/** Rows of the panel for groups of b rows: a multiple of b. */
export function panelRows(b: number): number {
  return b * Math.max(1, Math.round(PANEL_ROWS / b));
}

/** Bytes of wasm memory that a state needs beside T and W. */
export function eliminationBytes(p: number, m: number, b: number): number {
  const rows = panelRows(b);
  const path = eliminationPath(p, m, b);
  const blocks = 8 * (2 * p * b + (2 * p) / b + 4 * b * b);
  if (path === 'rows') return 8 * rows * p + blocks;
  if (path === 'gram') return 8 * (p * p + 2 * rows * p) + blocks;
  const candidates = candidateRows(rows, b);
  return 8 * (2 * rows * p + (candidates + b) * p + (rows + candidates) * m) + blocks;
}

function candidateRows(rows: number, b: number): number {
  return b * Math.ceil((CANDIDATES * rows) / b);
}

/**
 * Removes groups one at a time from a full support and keeps the cost of removing each other group exact.
 * Allocates on the kernels' stack; the caller releases it together with T and W.
 */
export class EliminationState {
  readonly path: EliminationPath;
  readonly #kernels: Kernels;
  readonly #T: Matrix<'f64'>;
  readonly #W: Matrix<'f64'>;
  readonly #b: number;
  /** Deferred rows of the update T ← T − VᵀV. */
  readonly #V: Matrix<'f64'>;
  /** Deferred rows of K ← K − VᵀR − RᵀV. */
  readonly #R: Matrix<'f64'>;
  /** Deferred rows of W ← W − VᵀU (`columns`). */
  readonly #U: Matrix<'f64'>;
  /** All of K (`gram`), or the rows of the candidate groups and behind them those of one more (`columns`). */
  readonly #K: Matrix<'f64'>;
  /** The candidates' rows of W (`columns`). */
  readonly #packed: Matrix<'f64'>;
  readonly #D: Matrix<'f64'>;
  readonly #E: Matrix<'f64'>;
  readonly #cost: Matrix<'f64'>;
  readonly #order: number;
  readonly #work: Matrix<'f64'>;
  /** The cost of a group whose block has lost its definiteness: never chosen. */
  readonly #otherwise: number;
  /** Where in K the rows of a candidate group begin. */
  readonly #slots = new Map<number, number>();
  #used = 0;
  #live: number;

  /**
   * @param T  p × p, lower triangle of H⁻¹; overwritten
   * @param W  p × m, the solution on the full support; overwritten, and for `rows` on return the weights that
   *           updates alone give. `gram` is done with it after construction
   * @param b  rows per group; p = groups·b
   */
  constructor(
    kernels: Kernels,
    T: Matrix<'f64'>,
    W: Matrix<'f64'>,
    b: number,
    options: EliminationStateOptions = {},
  ) {
    const p = T.rows;
    expectType('eliminate', 'T', T, 'f64');
    expectType('eliminate', 'W', W, 'f64');
    expectShape('eliminate', 'T', T, p, p);
    expectShape('eliminate', 'W', W, p, W.cols);
    if (!(Number.isInteger(b) && b >= 1 && p % b === 0)) {
      throw new InputError(`eliminate: "b" expected a divisor of ${p}, got ${b}`);
    }
    const { path = eliminationPath(p, W.cols, b), dearest = false } = options;
    const rows = Math.max(options.panelRows ?? panelRows(b), b);
    const groups = p / b;
    const m = W.cols;
    this.path = path;
    this.#kernels = kernels;
    this.#T = T;
    this.#W = W;
    this.#b = b;
    this.#live = groups;
    this.#otherwise = dearest ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
    const columns = path === 'columns';
    const candidates = candidateRows(rows, b);
    this.#V = kernels.matrix(rows, p, 'f64');
    this.#R = kernels.matrix(path === 'rows' ? 0 : rows, p, 'f64');
    this.#U = kernels.matrix(columns ? rows : 0, m, 'f64');
    this.#K = kernels.matrix(columns ? candidates + b : path === 'gram' ? p : 0, p, 'f64');
    this.#packed = kernels.matrix(columns ? candidates : 0, m, 'f64');
    this.#D = kernels.matrix(groups, b * b, 'f64');
    this.#E = kernels.matrix(path === 'rows' ? 0 : groups, b * b, 'f64');
    this.#cost = kernels.matrix(1, groups, 'f64');
    this.#work = kernels.matrix(4, b * b, 'f64');
    this.#order = kernels.allocate(4 * groups);
    this.order().set(Array.from({ length: groups }, (_, group) => group));
    const start = [groups, b, m, T.ptr, T.ld, W.ptr, W.ld, this.#D.ptr] as const;
    if (path === 'rows') {
      kernels.abi.deliminateStart(...start, this.#cost.ptr, this.#otherwise, this.#work.ptr);
    } else {
      if (path === 'gram') kernels.syrk(false, 1, W, 0, this.#K);
      kernels.abi.deliminateGramStart(...start, this.#E.ptr, this.#cost.ptr, this.#otherwise, this.#work.ptr);
    }
  }

  /** Live groups by position. A view: it changes with every removal. */
  order(): Int32Array {
    return new Int32Array(this.#kernels.abi.memory.buffer, this.#order, this.#live);
  }

  /** By position, ½ tr(W_jᵀ T_jj⁻¹ W_j): what the objective would rise by. A view, as `order`. */
  costs(): Float64Array {
    return this.#kernels.view(this.#cost).subarray(0, this.#live);
  }

  /**
   * Removes a group.
   * @returns its cost
   * @throws {NotPositiveDefiniteError} where T has lost its definiteness to rounding
   */
  remove(group: number): number {
    const at = this.order().indexOf(group);
    if (at < 0) throw new InputError(`eliminate: "group" expected a live group, got ${group}`);
    if (this.#used + this.#b > this.#V.rows) this.#applyPanel();
    const cost = this.costs()[at];
    const info = this.path === 'rows' ? this.#stepOnRows(at) : this.#stepOnGram(at, group);
    if (info !== 0) {
      throw new NotPositiveDefiniteError(
        `eliminate: expected a positive definite block for group ${group}, pivot ${info} is not; raise the damping`,
        info,
      );
    }
    this.#live--;
    this.#used += this.#b;
    return cost;
  }

  #stepOnRows(at: number): number {
    const { abi } = this.#kernels;
    const [T, W, V] = [this.#T, this.#W, this.#V];
    return abi.deliminateStep(
      ...([at, this.#live, this.#b, W.cols, this.#used, T.ptr, T.ld, W.ptr, W.ld, V.ptr, V.ld] as const),
      ...([this.#D.ptr, this.#cost.ptr, this.#order, this.#otherwise, this.#work.ptr] as const),
    );
  }

  #stepOnGram(at: number, group: number): number {
    const { abi } = this.#kernels;
    const b = this.#b;
    const [T, W, V, R, U, K] = [this.#T, this.#W, this.#V, this.#R, this.#U, this.#K];
    const [D, E, cost] = [this.#D.ptr, this.#E.ptr, this.#cost.ptr];
    const last = this.#live - 1;
    const columns = this.path === 'columns';
    if (columns && this.#used === 0) this.#formCandidates();
    if (at !== last) {
      abi.deliminateGramSwap(
        ...([at, last, b, this.#used, T.ptr, T.ld, V.ptr, R.ptr, V.ld, D, E, cost, this.#order] as const),
      );
      if (columns) {
        abi.dswapRows(W.cols, b, at, last, W.ptr, W.ld);
        abi.dswapColumns(K.rows - b, b, at, last, K.ptr, K.ld);
      } else abi.dswapSymmetric(this.#live * b, b, at, last, K.ptr, K.ld);
    }
    const row = 8 * (columns ? this.#candidate(group, last) : last * b) * K.ld;
    const info = abi.deliminateGramStep(
      ...([last, b, this.#used, T.ptr, T.ld, K.ptr + row, K.ld, V.ptr, R.ptr, V.ld] as const),
      ...([D, E, cost, this.#otherwise, this.#work.ptr] as const),
    );
    if (columns && info === 0) {
      const L = this.#work.ptr + 3 * 8 * b * b;
      abi.deliminateRows(last, b, W.cols, this.#used, W.ptr, W.ld, V.ptr, V.ld, U.ptr, U.ld, L);
    }
    return info;
  }

  /** K ← W_C·Wᵀ for the groups C that now look like the next to go. */
  #formCandidates(): void {
    const kernels = this.#kernels;
    const b = this.#b;
    const m = this.#W.cols;
    const costs = this.costs();
    const order = this.order();
    const sign = this.#otherwise > 0 ? 1 : -1;
    const count = Math.min((this.#K.rows - b) / b, this.#live);
    const limit = Float64Array.from(costs, (cost) => sign * cost).sort()[count - 1];
    this.#slots.clear();
    for (let at = 0; at < this.#live && this.#slots.size < count; at++) {
      if (!(sign * costs[at] <= limit)) continue;
      const slot = this.#slots.size * b;
      const rows = kernels.submatrix(this.#W, at * b, 0, b, m);
      kernels.write(kernels.submatrix(this.#packed, slot, 0, b, m), kernels.read(rows));
      this.#slots.set(order[at], slot);
    }
    const filled = this.#slots.size * b;
    kernels.gemm(
      ...([false, true, 1, kernels.submatrix(this.#packed, 0, 0, filled, m)] as const),
      kernels.submatrix(this.#W, 0, 0, this.#live * b, m),
      0,
      kernels.submatrix(this.#K, 0, 0, filled, this.#live * b),
    );
  }

  /** The first of the group's rows in K; of a group that was no candidate they are formed now. */
  #candidate(group: number, last: number): number {
    const slot = this.#slots.get(group);
    if (slot !== undefined) return slot;
    const b = this.#b;
    const [W, K] = [this.#W, this.#K];
    const spare = K.rows - b;
    for (let r = 0; r < b; r++) {
      const x = W.ptr + 8 * (last * b + r) * W.ld;
      this.#kernels.abi.dgemv(last * b, W.cols, W.ptr, W.ld, x, K.ptr + 8 * (spare + r) * K.ld);
    }
    return spare;
  }

  /** T ← T − VᵀV on the live rows; K or W likewise. */
  #applyPanel(): void {
    const kernels = this.#kernels;
    const rows = this.#live * this.#b;
    const panel = (m: Matrix<'f64'>) => kernels.submatrix(m, 0, 0, this.#used, rows);
    const live = (m: Matrix<'f64'>) => kernels.submatrix(m, 0, 0, rows, rows);
    kernels.syrk(true, -1, panel(this.#V), 1, live(this.#T));
    if (this.path === 'gram') kernels.syr2k(-1, panel(this.#V), panel(this.#R), live(this.#K));
    if (this.path === 'columns') {
      const { cols: m, ptr, ld } = this.#W;
      const U = kernels.submatrix(this.#U, 0, 0, this.#used, m);
      kernels.gemm(true, false, -1, panel(this.#V), U, 1, kernels.submatrix(this.#W, 0, 0, rows, m));
      kernels.abi.gramBlocks(this.#live, this.#b, m, ptr, ld, this.#E.ptr);
    }
    this.#used = 0;
  }
}
