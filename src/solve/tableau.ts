// The tableau of the local search: every removal, addition and swap can be read off, and any move is one pivot.
// The mathematics is in assembly/tableau.ts; this file keeps the order of the groups, the objective and the drift.

import { InputError, NotPositiveDefiniteError } from '../errors.ts';
import type { Kernels, Matrix } from '../kernel/index.ts';
import { PIVOTS } from './constants';
import type { LayerProblem } from './problem.ts';
import { copyRows, groupRows } from './refit.ts';
import { schurComplement } from './schur.ts';

export interface Swap {
  readonly out: number;
  readonly in: number;
  /** Of the objective; negative is better. */
  readonly change: number;
}

/** Rows of one pivot where many groups move: enough for its products to run near GEMM speed; more gain nothing (measured). */
const PIVOT_ROWS = 32;

/** Groups that `move` takes in one pivot. */
function groupsPerPivot(groupSize: number): number {
  return Math.max(1, Math.floor(PIVOT_ROWS / groupSize));
}

/**
 * Bytes of wasm memory of a tableau, without the GEMM's packing buffers.
 * @param moves  groups that `move` is given at once
 */
export function tableauWasmBytes(p: number, m: number, groupSize: number, moves = 1): number {
  const w = groupSize * Math.max(2, Math.min(moves, p / groupSize, groupsPerPivot(groupSize)));
  const results = 2 * p * groupSize + (3 * p) / groupSize + 8 * groupSize ** 2;
  return 8 * (2 * p * p + Math.max(p * m, 4 * w * p + 3 * w * w) + results);
}

/**
 * H swept on a support, moves in both directions. Lives on the kernels' stack until `dispose`.
 * 8·2p² bytes and 8pm during a factorisation; k³ + k²(p − k) + k(p − k)² + p²m flops for one.
 */
export class Tableau {
  readonly #kernels: Kernels;
  readonly #problem: LayerProblem;
  readonly #mark: number;
  readonly #T: Matrix<'f64'>;
  readonly #K: Matrix<'f64'>;
  readonly #D: Matrix<'f64'>;
  readonly #E: Matrix<'f64'>;
  /** Rows of results: costs by position, one removed group's changes, minima of the scan. */
  readonly #rows: Matrix<'f64'>;
  readonly #small: Matrix<'f64'>;
  /** Groups by position: kept ones first. */
  readonly #order: Int32Array;
  readonly #position: Int32Array;
  /** By group, 1 where no swap may take it out. */
  readonly isProtected: Uint8Array;
  #kept = 0;
  #objective = 0;
  #pivots = 0;

  /** @param protect  groups that no swap may take out */
  constructor(
    kernels: Kernels,
    problem: LayerProblem,
    kept: readonly number[],
    protect: readonly number[] = [],
  ) {
    const { p, groups, groupSize: b } = problem;
    this.#kernels = kernels;
    this.#problem = problem;
    this.#mark = kernels.mark();
    this.#order = new Int32Array(groups);
    this.#position = new Int32Array(groups);
    this.isProtected = flags(groups, protect);
    this.#T = kernels.matrix(p, p, 'f64');
    this.#K = kernels.matrix(p, p, 'f64');
    this.#D = kernels.matrix(groups, b * b, 'f64');
    this.#E = kernels.matrix(groups, b * b, 'f64');
    this.#rows = kernels.matrix(3, groups, 'f64');
    this.#small = kernels.matrix(8, b * b, 'f64');
    this.factorise(kept);
  }

  dispose(): void {
    this.#kernels.release(this.#mark);
  }

  /** f on the support, tracked over moves. */
  get objective(): number {
    return this.#objective;
  }

  /** Ascending. */
  kept(): number[] {
    return Array.from(this.#order.subarray(0, this.#kept)).sort((a, c) => a - c);
  }

  has(group: number): boolean {
    return this.#position[group] < this.#kept;
  }

  /**
   * Builds the tableau from H and G.
   * @throws {NotPositiveDefiniteError} where H is not positive definite on the support
   */
  factorise(kept: readonly number[] = this.kept()): void {
    const kernels = this.#kernels;
    const { p, m, groupSize: b, groups } = this.#problem;
    const isKept = flags(groups, kept);
    const all = Array.from({ length: groups }, (_, group) => group);
    this.#order.set([...all.filter((g) => isKept[g]), ...all.filter((g) => !isKept[g])]);
    this.#order.forEach((group, at) => {
      this.#position[group] = at;
    });
    this.#kept = isKept.reduce((sum, flag) => sum + flag, 0);
    const k = this.#kept * b;
    const [T, K] = [this.#T, this.#K];

    const mark = kernels.mark();
    try {
      const R = kernels.matrix(p, m, 'f64');
      copyRows(this.#problem, groupRows(this.#order, b), kernels.view(T), kernels.view(R));
      const objective = schurComplement(kernels, T, R, k, -1);
      const SS = kernels.submatrix(T, 0, 0, k, k);
      const PS = kernels.submatrix(T, k, 0, p - k, k);
      const RS = kernels.submatrix(R, 0, 0, k, m);
      if (k > 0) {
        kernels.trsm('left', true, 1, SS, RS);
        kernels.trsm('right', false, 1, SS, PS);
        kernels.potri(SS);
      }
      kernels.syrk(false, 1, R, 0, K);
      this.#objective = objective;
      this.#pivots = 0;
    } finally {
      kernels.release(mark);
    }
  }

  /** By group: the cost of removing a kept one, minus the gain of adding a removed one. */
  costs(): Float64Array {
    const { groups, groupSize: b } = this.#problem;
    const { abi } = this.#kernels;
    const [T, K] = [this.#T, this.#K];
    const out = this.#row(0, groups);
    abi.dtableauCosts(groups, this.#kept, b, T.ptr, T.ld, K.ptr, K.ld, out.ptr, this.#small.ptr);
    const byPosition = this.#kernels.view(out);
    return Float64Array.from({ length: groups }, (_, group) => byPosition[this.#position[group]]);
  }

  /**
   * Removes kept groups, or adds removed ones; some 32 rows a pivot.
   * @returns the change of the objective
   */
  move(...groups: number[]): number {
    for (const group of groups) this.#expectGroup('move', group);
    const leaving = groups.length > 0 && this.has(groups[0]);
    if (new Set(groups).size < groups.length || groups.some((group) => this.has(group) !== leaving)) {
      throw new InputError(`move: expected different groups, all kept or all removed, got ${groups}`);
    }
    const most = groupsPerPivot(this.#problem.groupSize);
    let change = 0;
    for (let i = 0; i < groups.length; i += most)
      change += this.#moveAtOnce(groups.slice(i, i + most), leaving);
    return change;
  }

  #moveAtOnce(groups: readonly number[], leaving: boolean): number {
    const { length } = groups;
    return this.#moving(() => {
      const at = leaving ? this.#kept - length : this.#kept;
      groups.forEach((group, i) => void this.#exchange(this.#position[group], at + i));
      const change = this.#pivot(at, length, leaving ? length : 0);
      if (!Number.isNaN(change)) this.#kept += leaving ? -length : length;
      return change;
    });
  }

  /** Takes `out` from the support and `in` into it, in one pass. @returns the change of the objective */
  swap(out: number, into: number): number {
    for (const group of [out, into]) this.#expectGroup('swap', group);
    if (!this.has(out) || this.has(into)) {
      throw new InputError(`swap: expected a kept and a removed group, got ${out} and ${into}`);
    }
    return this.#moving(() => {
      const at = this.#kept - 1;
      this.#exchange(this.#position[out], at);
      this.#exchange(this.#position[into], at + 1);
      const change = this.#pivot(at, 2, 1);
      if (!Number.isNaN(change)) this.#exchange(at, at + 1);
      return change;
    });
  }

  /** The best of all swaps of one kept group for one removed; undefined where there is none to try. */
  bestSwap(): Swap | undefined {
    const { groups, groupSize: b } = this.#problem;
    const { abi } = this.#kernels;
    const kept = this.#kept;
    if (kept === 0 || kept === groups) return undefined;
    const [T, K, D, E] = [this.#T, this.#K, this.#D, this.#E];
    const matrices = [T.ptr, T.ld, K.ptr, K.ld] as const;
    if (b === 1) {
      const [t, k] = [T, K].map((A) => this.#kernels.view(A));
      const [d, e] = [D, E].map((A) => this.#kernels.view(A));
      for (let i = 0; i < kept; i++) {
        d[i] = t[i * (groups + 1)];
        e[i] = k[i * (groups + 1)];
      }
    } else abi.dtableauPrepare(kept, b, ...matrices, D.ptr, E.ptr, this.#small.ptr);
    const e = this.#kernels.view(E);
    for (let i = 0; i < kept; i++) {
      if (this.isProtected[this.#order[i]]) e[i * b * b] = Number.POSITIVE_INFINITY;
    }
    const row = this.#row(1, kept);
    const minima = this.#row(2, groups - kept);
    const tail = [D.ptr, E.ptr, row.ptr] as const;
    abi.dtableauScan(groups, kept, b, ...matrices, ...tail, minima.ptr, this.#small.ptr);
    const removed = this.#order.subarray(kept);
    const j = least(this.#kernels.view(minima), removed);
    abi.dtableauChanges(kept + j, kept, b, ...matrices, ...tail, this.#small.ptr);
    const changes = this.#kernels.view(row);
    const i = least(changes, this.#order);
    return Number.isFinite(changes[i])
      ? { out: this.#order[i], in: removed[j], change: changes[i] }
      : undefined;
  }

  /** Factorises anew where many pivots have gone before, or where one fails. */
  #moving(pivot: () => number): number {
    if (this.#pivots >= PIVOTS) this.factorise();
    let change = pivot();
    if (Number.isNaN(change)) {
      this.factorise();
      change = pivot();
    }
    if (Number.isNaN(change)) {
      throw new NotPositiveDefiniteError('tableau: expected a definite block, got one that is not', 1);
    }
    this.#objective += change;
    this.#pivots++;
    return change;
  }

  /** @param count  groups from position `at` on, the first `leaving` of them kept ones, the others removed */
  #pivot(at: number, count: number, leaving: number): number {
    const kernels = this.#kernels;
    const { p, groupSize: b } = this.#problem;
    const [T, K] = [this.#T, this.#K];
    const [first, rows, leavingRows] = [at * b, count * b, leaving * b];
    return kernels.scoped(() => {
      const work = kernels.allocate(kernels.abi.tableauWorkBytes(p, rows) >>> 0);
      return kernels.abi.dtableauPivot(p, first, rows, leavingRows, T.ptr, T.ld, K.ptr, K.ld, work);
    });
  }

  #exchange(a: number, z: number): void {
    if (a === z) return;
    const { p, groupSize: b } = this.#problem;
    for (const A of [this.#T, this.#K]) {
      this.#kernels.abi.dswapSymmetric(p, b, Math.min(a, z), Math.max(a, z), A.ptr, A.ld);
    }
    const order = this.#order;
    [order[a], order[z]] = [order[z], order[a]];
    this.#position[order[a]] = a;
    this.#position[order[z]] = z;
  }

  #row(index: number, length: number): Matrix<'f64'> {
    return this.#kernels.submatrix(this.#rows, index, 0, 1, length);
  }

  #expectGroup(operation: string, group: number): void {
    const { groups } = this.#problem;
    if (!(Number.isInteger(group) && group >= 0 && group < groups)) {
      throw new InputError(`${operation}: expected a group from 0 to ${groups - 1}, got ${group}`);
    }
  }
}

/** Index of the least value; equal ones go by group number. */
function least(values: Float64Array, order: Int32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if (values[i] < values[best] || (values[i] === values[best] && order[i] < order[best])) best = i;
  }
  return best;
}

function flags(groups: number, set: readonly number[]): Uint8Array {
  const result = new Uint8Array(groups);
  for (const group of set) result[group] = 1;
  return result;
}
