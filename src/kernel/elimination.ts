// The state of a greedy elimination in wasm memory; the mathematics is in assembly/eliminate.ts.

import { InputError, NotPositiveDefiniteError } from '../errors.ts';
import type { Kernels } from './kernels.ts';
import { type Matrix, prefixOf } from './matrix.ts';

/** In the order of `Path` in assembly/eliminate.ts. */
const PATHS = ['rows', 'columns', 'gram'] as const;
/**
 * How the costs, which need K = WWᵀ, are kept exact:
 * - `rows`: W itself is updated at every removal; m values per live row and step
 * - `columns`: columns of K are formed from W for the groups likely to go next; W is updated once a panel
 * - `gram`: the same from the W of the full support, less what all removals since owe; W is not updated
 */
export type EliminationPath = (typeof PATHS)[number];

interface EliminationStateOptions {
  readonly path?: EliminationPath;
  /** Take the dearest first, as forward selection does, instead of the cheapest. */
  readonly dearest?: boolean;
}

/** Removals that are deferred: enough for products at GEMM speed, few enough for their rows to stay in L2 (measured). */
const PANEL_ROWS = 80;
/** Rows staged at a time: more are better products, fewer are better foresight (measured). */
const STAGED_ROWS = 36;
/** Rows staged in a panel at most, per row of the panel. */
const CAPACITY = 2;

/**
 * The fastest path to half the groups (measured): keeping K pays above half as many outputs as inputs; below, streaming
 * W takes as long as products for groups of several rows, and twice as long for single rows.
 */
export function eliminationPath(p: number, m: number, b: number): EliminationPath {
  if (2 * m > p) return 'gram';
  return b === 1 ? 'columns' : 'rows';
}

/** Bytes of wasm memory that a state needs beside T and W, in f64; less in f32. */
export function eliminationBytes(p: number, m: number, b: number): number {
  const path = eliminationPath(p, m, b);
  const panel = multipleOf(b, PANEL_ROWS);
  const blocks = 8 * (2 * p * b + (2 * p) / b + 5 * b * b);
  const staged = CAPACITY * panel * (path === 'rows' ? 1 : 2);
  return 8 * p * (staged + rowsOfR(path, p, panel)) + blocks;
}

function rowsOfR(path: EliminationPath, p: number, panel: number): number {
  if (path === 'rows') return 0;
  return path === 'gram' ? p : panel;
}

/** About so many rows, in whole groups. */
function multipleOf(b: number, rows: number): number {
  return b * Math.max(1, Math.round(rows / b));
}

/**
 * An `Elimination` of assembly/eliminate.ts: a double, then 32-bit fields, here in the order that they have there.
 * @returns its address
 */
function writeState(kernels: Kernels, otherwise: number, fields: Readonly<Record<string, number>>): number {
  const values = Object.values(fields);
  const state = kernels.allocate(8 + 4 * values.length);
  const { buffer } = kernels.abi.memory;
  new Float64Array(buffer, state, 1)[0] = otherwise;
  new Int32Array(buffer, state + 8).set(values);
  return state;
}

/**
 * Removes groups one at a time from a full support and keeps the cost of removing each other group exact.
 * Allocates on the kernels' stack; the caller releases it together with T and W.
 */
export class EliminationState {
  readonly path: EliminationPath;
  readonly #kernels: Kernels;
  readonly #T: Matrix;
  readonly #W: Matrix;
  readonly #C: Matrix;
  readonly #K: Matrix;
  readonly #R: Matrix;
  readonly #prefix: 's' | 'd';
  readonly #cost: Matrix<'f64'>;
  readonly #order: number;
  /** Address of the state that the kernels share. */
  readonly #state: number;
  readonly #b: number;
  readonly #panel: number;
  /** Groups left now, and when the panel began; how many of them are staged. */
  #live: number;
  #begin: number;
  #staged = 0;

  /**
   * @param T  p × p, contiguous, lower triangle of H⁻¹; overwritten. f32 or f64: costs, always in f64, are as good as its type
   * @param W  p × m, contiguous, of T's type: the solution on the full support; overwritten. For `rows`, the rows of live groups are
   *           on return the weights that updates alone give
   * @param b  rows per group; p = groups·b
   */
  constructor(kernels: Kernels, T: Matrix, W: Matrix, b: number, options: EliminationStateOptions = {}) {
    const { rows: p, cols: m } = W;
    if (!(Number.isInteger(b) && b >= 1 && p % b === 0)) {
      throw new InputError(`eliminate: "b" expected a divisor of ${p}, got ${b}`);
    }
    const { path = eliminationPath(p, m, b), dearest = false } = options;
    const groups = p / b;
    const panel = multipleOf(b, PANEL_ROWS);
    const capacity = CAPACITY * panel;
    const withK = path !== 'rows';
    this.path = path;
    this.#kernels = kernels;
    this.#T = T;
    this.#W = W;
    this.#b = b;
    this.#panel = panel;
    this.#live = this.#begin = groups;
    this.#C = kernels.matrix(capacity, p, T.type);
    this.#K = kernels.matrix(withK ? capacity : 0, p, T.type);
    this.#R = kernels.matrix(rowsOfR(path, p, panel), p, T.type);
    this.#cost = kernels.matrix(1, groups, 'f64');
    this.#order = kernels.allocate(4 * groups);
    this.#state = writeState(kernels, dearest ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY, {
      path: PATHS.indexOf(path),
      p,
      m,
      b,
      live: groups,
      begin: groups,
      staged: 0,
      capacity,
      panel,
      T: T.ptr,
      W: W.ptr,
      C: this.#C.ptr,
      K: this.#K.ptr,
      R: this.#R.ptr,
      D: kernels.matrix(groups, b * b, 'f64').ptr,
      E: kernels.matrix(withK ? groups : 0, b * b, 'f64').ptr,
      cost: this.#cost.ptr,
      order: this.#order,
      work: kernels.matrix(5, b * b, 'f64').ptr,
    });
    this.#prefix = prefixOf(T);
    kernels.abi[`${this.#prefix}eliminateStart` as const](this.#state);
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
    let at = this.order().indexOf(group);
    if (at < 0) throw new InputError(`eliminate: "group" expected a live group, got ${group}`);
    if (this.#used() >= this.#panel) this.#nextPanel();
    if (at < this.#live - this.#staged) at = this.#stage(at);
    const cost = this.costs()[at];
    const info = this.#kernels.abi[`${this.#prefix}eliminateStep` as const](this.#state, at);
    if (info !== 0) {
      throw new NotPositiveDefiniteError(
        `eliminate: expected a positive definite block for group ${group}, pivot ${info} is not; raise the damping`,
        info,
      );
    }
    this.#live--;
    this.#staged--;
    return cost;
  }

  /** Stages the group and those likely to go next. @returns where the group is then */
  #stage(at: number): number {
    const kernels = this.#kernels;
    const b = this.#b;
    if (this.#room() === 0 || this.#used() + STAGED_ROWS / 2 > this.#panel) this.#nextPanel();
    const end = this.#live - this.#staged;
    const count = Math.min(multipleOf(b, STAGED_ROWS) / b, this.#room(), end);
    kernels.abi[`${this.#prefix}eliminateStage` as const](this.#state, at, count);
    this.#staged += count;

    const [first, rows, live] = [(end - count) * b, count * b, this.#live * b];
    const before = this.#begin * b; // where the rows of V begin that this panel found
    const removed = this.#T.rows - before;
    const staged = (of: Matrix) => kernels.submatrix(of, this.#C.rows - before + first, 0, rows, live);
    const subtract = (A: Matrix, B: Matrix, C: Matrix) => {
      const part = kernels.submatrix(A, before, first, removed, rows);
      kernels.gemm(true, false, -1, part, kernels.submatrix(B, before, 0, removed, live), 1, C);
    };
    subtract(this.#T, this.#T, staged(this.#C));
    if (this.path !== 'rows') {
      const { cols: m } = this.#W;
      const part = kernels.submatrix(this.#W, first, 0, rows, m);
      kernels.gemm(false, true, 1, part, kernels.submatrix(this.#W, 0, 0, live, m), 0, staged(this.#K));
    }
    if (this.path === 'gram') {
      subtract(this.#T, this.#R, staged(this.#K));
      subtract(this.#R, this.#T, staged(this.#K));
    }
    return end - 1;
  }

  /** Rows removed in this panel. */
  #used(): number {
    return (this.#begin - this.#live) * this.#b;
  }

  /** Groups that can still be staged in it. */
  #room(): number {
    return this.#C.rows / this.#b - (this.#begin - this.#live) - this.#staged;
  }

  #nextPanel(): void {
    const kernels = this.#kernels;
    if (this.path === 'columns') {
      const { cols: m } = this.#W;
      const live = this.#live * this.#b;
      const V = kernels.submatrix(this.#T, live, 0, this.#used(), live);
      const U = kernels.submatrix(this.#W, live, 0, this.#used(), m);
      kernels.gemm(true, false, -1, V, U, 1, kernels.submatrix(this.#W, 0, 0, live, m));
    }
    kernels.abi[`${this.#prefix}eliminateNextPanel` as const](this.#state);
    this.#begin = this.#live;
    this.#staged = 0;
  }
}
