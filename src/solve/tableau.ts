// The tableau of the local search in wasm memory: every removal, addition and swap can be read off, and any move is one
// pivot. The mathematics and the search by swaps are in assembly/solve/; this file checks.

import { InputError } from '../errors.ts';
import type { Kernels, Matrix } from '../kernel/index.ts';
import { groupsPerPivot } from './constants';
import { tableauBytes } from './memory';
import type { LayerProblem } from './problem.ts';
import { groupRows } from './refit.ts';
import { expectDefinite, spread, Workspace } from './workspace.ts';

export interface Swap {
  readonly out: number;
  readonly in: number;
  /** Of the objective; negative is better. */
  readonly change: number;
}

export interface LocalSearch {
  /** Steps that improved: single swaps, or exchanges of t groups. */
  readonly steps: number;
  /** Whether it is certain that no exchange of one kept for one removed group improves. */
  readonly swapOptimal: boolean;
  /** Change of the objective by the best single swap that remains; undefined where none was looked for. */
  readonly bestRemaining?: number;
}

/**
 * H swept on a support, moves in both directions. Lives on the kernels' stack until `dispose`.
 * `tableauBytes` of wasm memory; k³ + 2k²(p − k) + 2pkm + 2k(p − k)m flops for a factorisation, k(p − k)² + (k² + (p − k)²)m more before the
 * first move.
 */
export class Tableau {
  /** By group, 1 where no swap may take it out. */
  readonly isProtected: Uint8Array;
  readonly #kernels: Kernels;
  readonly #problem: LayerProblem;
  readonly #mark: number;
  readonly #state: number;

  /**
   * @param protect  groups that no swap may take out
   * @param space  the problem in wasm memory, if it is there
   */
  constructor(
    kernels: Kernels,
    problem: LayerProblem,
    kept: readonly number[],
    protect: readonly number[] = [],
    space?: Workspace,
  ) {
    const { p, m, groups, groupSize } = problem;
    const { abi } = kernels;
    this.#kernels = kernels;
    this.#problem = problem;
    this.#mark = kernels.mark();
    const source = space ?? Workspace.of(kernels, problem);
    source.protect(protect);
    const state = kernels.allocate(tableauBytes(p, m, groupSize));
    abi.createTableau(state, kernels.allocate(abi.workBytes(p, m)), source.state);
    this.#state = state;
    this.isProtected = new Uint8Array(groups);
    for (const group of protect) this.isProtected[group] = 1;
    this.factorise(kept);
  }

  /** p × p, lower triangles, kept groups first. */
  get matrices(): { readonly T: Matrix<'f64'>; readonly K: Matrix<'f64'> } {
    const { p } = this.#problem;
    const { abi } = this.#kernels;
    abi.tableauComplete(this.#state);
    const at = (ptr: number) => ({ type: 'f64', ptr: ptr >>> 0, rows: p, cols: p, ld: p }) as const;
    return { T: at(abi.tableauT(this.#state)), K: at(abi.tableauK(this.#state)) };
  }

  dispose(): void {
    this.#kernels.release(this.#mark);
  }

  /** f on the support, tracked over moves. */
  get objective(): number {
    return this.#kernels.abi.tableauObjective(this.#state);
  }

  /** Ascending. */
  kept(): number[] {
    const isKept = this.#isKept;
    return Array.from(isKept.keys()).filter((group) => isKept[group] === 1);
  }

  has(group: number): boolean {
    return this.#isKept[group] === 1;
  }

  /** The best weights on the support, p × m, as long as it is the one that was factorised. */
  weights(): Float64Array | undefined {
    const { p, m, groupSize } = this.#problem;
    const { abi } = this.#kernels;
    const at = abi.tableauWeights(this.#state) >>> 0;
    if (at === 0) return undefined;
    const rows = groupRows(this.kept(), groupSize);
    return spread(new Float64Array(abi.memory.buffer, at, rows.length * m), rows, p, m);
  }

  /**
   * Builds the tableau from H and G.
   * @throws {NotPositiveDefiniteError} where H is not positive definite on the support
   */
  factorise(kept: readonly number[] = this.kept()): void {
    const isKept = this.#isKept.fill(0);
    for (const group of kept) isKept[group] = 1;
    expectDefinite('tableau', this.#kernels.abi.tableauBuild(this.#state));
  }

  /** By group: the cost of removing a kept one, minus the gain of adding a removed one. */
  costs(): Float64Array {
    const { abi } = this.#kernels;
    abi.tableauCosts(this.#state);
    return new Float64Array(
      abi.memory.buffer,
      abi.tableauRow(this.#state) >>> 0,
      this.#problem.groups,
    ).slice();
  }

  /**
   * Removes kept groups, or adds removed ones; some 32 rows a pivot.
   * @returns the change of the objective
   */
  move(...groups: number[]): number {
    for (const group of groups) this.#expectGroup('move', group);
    const isLeaving = groups.length > 0 && this.has(groups[0]);
    if (new Set(groups).size < groups.length || groups.some((group) => this.has(group) !== isLeaving)) {
      throw new InputError(`move: expected different groups, all kept or all removed, got ${groups}`);
    }
    const { abi } = this.#kernels;
    const most = groupsPerPivot(this.#problem.groupSize);
    let change = 0;
    for (let i = 0; i < groups.length; i += most) {
      const some = groups.slice(i, i + most);
      new Int32Array(abi.memory.buffer, abi.tableauList(this.#state) >>> 0, some.length).set(some);
      change += expectChange(abi.tableauMove(this.#state, some.length, isLeaving));
    }
    return change;
  }

  /** Takes `out` from the support and `into` into it, in one pass. @returns the change of the objective */
  swap(out: number, into: number): number {
    for (const group of [out, into]) this.#expectGroup('swap', group);
    if (!this.has(out) || this.has(into)) {
      throw new InputError(`swap: expected a kept and a removed group, got ${out} and ${into}`);
    }
    return expectChange(this.#kernels.abi.tableauSwap(this.#state, out, into));
  }

  /** The best of all swaps of one kept group for one removed; undefined where there is none to try. */
  bestSwap(): Swap | undefined {
    const { abi } = this.#kernels;
    const state = this.#state;
    if (!abi.tableauBestSwap(state)) return undefined;
    return { out: abi.tableauOut(state), in: abi.tableauInto(state), change: abi.tableauChange(state) };
  }

  /**
   * The best single swap, again and again, until no swap improves: then the support is 1-swap optimal, and that is
   * certified. Stops early after `maxSteps` swaps.
   *
   * One scan of all pairs and one pivot on 2b rows a step: 5·k(J − k) flops and 6p² for b = 1,
   * 9b³·k(J − k) and 12bp² beyond.
   */
  swapWhileBetter(maxSteps = Number.POSITIVE_INFINITY): LocalSearch {
    const { abi } = this.#kernels;
    const steps = expectChange(abi.tableauSearch(this.#state, maxSteps));
    const swapOptimal = abi.tableauIsOptimal(this.#state) === 1;
    const change = abi.tableauChange(this.#state);
    return Number.isNaN(change) ? { steps, swapOptimal } : { steps, swapOptimal, bestRemaining: change };
  }

  /** By group, 1 where it is kept. A view. */
  get #isKept(): Uint8Array {
    const { abi } = this.#kernels;
    return new Uint8Array(abi.memory.buffer, abi.tableauIsKept(this.#state) >>> 0, this.#problem.groups);
  }

  #expectGroup(operation: string, group: number): void {
    const { groups } = this.#problem;
    if (!(Number.isInteger(group) && group >= 0 && group < groups)) {
      throw new InputError(`${operation}: expected a group from 0 to ${groups - 1}, got ${group}`);
    }
  }
}

/** What a pivot gives, which is NaN where H is not positive definite. */
function expectChange(change: number): number {
  if (Number.isNaN(change)) expectDefinite('tableau', 1);
  return change;
}
