// The state of a backward elimination in wasm memory; the mathematics is in assembly/eliminate.ts.

import { InputError, NotPositiveDefiniteError } from '../errors.ts';
import type { Kernels } from './kernels.ts';
import { expectShape, expectType, type Matrix } from './matrix.ts';

/**
 * Removes groups one at a time from a full support and keeps the cost of removing each other group exact.
 * Allocates on the kernels' stack; the caller releases it together with T and W.
 */
export class EliminationState {
  readonly #kernels: Kernels;
  readonly #T: Matrix<'f64'>;
  readonly #W: Matrix<'f64'>;
  readonly #b: number;
  /** Deferred rows of the update T ← T − VᵀV. */
  readonly #V: Matrix<'f64'>;
  readonly #D: Matrix<'f64'>;
  readonly #cost: Matrix<'f64'>;
  readonly #order: number;
  readonly #work: Matrix<'f64'>;
  #used = 0;
  #live: number;

  /**
   * @param T  p × p, lower triangle of H⁻¹; overwritten
   * @param W  p × m, the solution on the full support; overwritten
   * @param b  rows per group; p = groups·b
   * @param panelRows  rows of V that are collected before T is updated, at least b
   */
  constructor(kernels: Kernels, T: Matrix<'f64'>, W: Matrix<'f64'>, b: number, panelRows: number) {
    const p = T.rows;
    expectType('eliminate', 'T', T, 'f64');
    expectType('eliminate', 'W', W, 'f64');
    expectShape('eliminate', 'T', T, p, p);
    expectShape('eliminate', 'W', W, p, W.cols);
    if (!(Number.isInteger(b) && b >= 1 && p % b === 0)) {
      throw new InputError(`eliminate: "b" expected a divisor of ${p}, got ${b}`);
    }
    this.#kernels = kernels;
    this.#T = T;
    this.#W = W;
    this.#b = b;
    this.#live = p / b;
    this.#V = kernels.matrix(Math.max(panelRows, b), p, 'f64');
    this.#D = kernels.matrix(p / b, b * b, 'f64');
    this.#cost = kernels.matrix(1, p / b, 'f64');
    this.#work = kernels.matrix(3, b * b, 'f64');
    this.#order = kernels.allocate(4 * this.#live);
    this.order().set(Array.from({ length: this.#live }, (_, group) => group));
    const { abi } = kernels;
    abi.deliminateStart(
      this.#live,
      b,
      W.cols,
      T.ptr,
      T.ld,
      W.ptr,
      W.ld,
      this.#D.ptr,
      this.#cost.ptr,
      this.#work.ptr,
    );
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
    const info = this.#kernels.abi.deliminateStep(
      at,
      this.#live,
      this.#b,
      this.#W.cols,
      this.#used,
      this.#T.ptr,
      this.#T.ld,
      this.#W.ptr,
      this.#W.ld,
      this.#V.ptr,
      this.#V.ld,
      this.#D.ptr,
      this.#cost.ptr,
      this.#order,
      this.#work.ptr,
    );
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

  /** T ← T − VᵀV on the live rows. */
  #applyPanel(): void {
    const kernels = this.#kernels;
    const rows = this.#live * this.#b;
    kernels.syrk(
      true,
      -1,
      kernels.submatrix(this.#V, 0, 0, this.#used, rows),
      1,
      kernels.submatrix(this.#T, 0, 0, rows, rows),
    );
    this.#used = 0;
  }
}
