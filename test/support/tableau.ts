// The steps of assembly/solve/ that no function of the library makes by themselves: a tableau and its searches, and forward selection.

import { type ElementType, elementBytes, type Kernels, type Matrix } from '../../src/kernel/index.ts';
import type { LayerProblem } from '../../src/solve/index.ts';
import { eliminationBytes, tableauBytes } from '../../src/solve/memory';
import { expectDefinite, Workspace } from '../../src/solve/workspace.ts';

/** H swept on a support, moves in both directions. Lives on the kernels' stack until `dispose`. */
export class Tableau {
  readonly #kernels: Kernels;
  readonly #problem: LayerProblem;
  readonly #mark: number;
  readonly #space: Workspace;
  readonly #state: number;

  /** @param protect  groups that no search may take out */
  constructor(
    kernels: Kernels,
    problem: LayerProblem,
    kept: readonly number[],
    protect: readonly number[] = [],
  ) {
    const { p, m, groupSize } = problem;
    const { abi } = kernels;
    this.#kernels = kernels;
    this.#problem = problem;
    this.#mark = kernels.mark();
    const space = Workspace.of(kernels, problem);
    space.protect(protect);
    const products = kernels.allocate(abi.workBytes(p, m));
    abi.workIn(space.state, products, kernels.allocate(tableauBytes(p, m, groupSize)));
    this.#space = space;
    this.#state = abi.createTableau(space.state);
    this.factorise(kept);
  }

  dispose(): void {
    this.#kernels.release(this.#mark);
  }

  /** Builds the tableau from H and G. @throws {NotPositiveDefiniteError} */
  factorise(kept: readonly number[] = this.kept()): void {
    const isKept = this.#isKept.fill(0);
    for (const group of kept) isKept[group] = 1;
    expectDefinite('tableau', this.#kernels.abi.tableauBuild(this.#state));
  }

  /** p × p, lower triangles, kept groups first. */
  get matrices(): { readonly T: Matrix<'f64'>; readonly K: Matrix<'f64'> } {
    const { p } = this.#problem;
    const { abi } = this.#kernels;
    abi.tableauComplete(this.#state);
    const at = (ptr: number) => ({ type: 'f64', ptr: ptr >>> 0, rows: p, cols: p, ld: p }) as const;
    return { T: at(abi.tableauT(this.#state)), K: at(abi.tableauK(this.#state)) };
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

  /** Removes kept groups, or adds removed ones. @returns the change of the objective */
  move(...groups: number[]): number {
    const { abi } = this.#kernels;
    new Int32Array(abi.memory.buffer, abi.tableauList(this.#state) >>> 0, groups.length).set(groups);
    return abi.tableauMove(this.#state, groups.length, this.has(groups[0]));
  }

  /** @returns the change of the objective */
  swap(out: number, into: number): number {
    return this.#kernels.abi.tableauSwap(this.#state, out, into);
  }

  /** The best of all swaps of one kept group for one removed; undefined where there is none to try. */
  bestSwap(): { readonly out: number; readonly in: number; readonly change: number } | undefined {
    const { abi } = this.#kernels;
    const state = this.#state;
    if (!abi.tableauBestSwap(state)) return undefined;
    return { out: abi.tableauOut(state), in: abi.tableauInto(state), change: abi.tableauChange(state) };
  }

  swapWhileBetter(maxSwaps = Number.POSITIVE_INFINITY) {
    const { abi } = this.#kernels;
    const steps = abi.swapWhileBetter(this.#state, maxSwaps);
    const swapOptimal = abi.tableauIsOptimal(this.#state) === 1;
    return { steps, swapOptimal, bestRemaining: abi.tableauChange(this.#state) };
  }

  exchangeWhileBetter(t: number, halves: boolean): number {
    return this.#kernels.abi.exchangeWhileBetter(this.#state, t, halves);
  }

  /** By group, 1 where it is kept. A view. */
  get #isKept(): Uint8Array {
    const { abi } = this.#kernels;
    return new Uint8Array(abi.memory.buffer, abi.problemKept(this.#space.state) >>> 0, this.#problem.groups);
  }
}

/** Forward selection: the kept groups, ascending, and f of their refit. */
export function select(
  kernels: Kernels,
  problem: LayerProblem,
  keep: number,
  { protect = [], precision = 'f64' }: { protect?: readonly number[]; precision?: ElementType } = {},
) {
  const { p, m, groupSize } = problem;
  return kernels.scoped(() => {
    const space = Workspace.of(kernels, problem);
    space.protect(protect);
    const bytes = eliminationBytes(p, m, groupSize, elementBytes(precision), p);
    return space.working(bytes, () => {
      expectDefinite('select', kernels.abi.select(space.state, keep, precision === 'f32'));
      return { kept: space.kept, objective: space.report.objective };
    });
  });
}
