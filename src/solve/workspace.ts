// A problem in wasm memory, where the mechanism of assembly/solve/ works on it: what that is told, and what it has found.

import { InputError, NotPositiveDefiniteError, ShapeError } from '../errors.ts';
import { expectMethods, said } from '../expect.ts';
import type { Abi, Kernels } from '../kernel/index.ts';
import { expectFields, type Fields } from '../options.ts';
import {
  formBytes,
  objectiveBytes,
  problemBytes,
  refitBytes,
  roundedBytes,
  tiledProblemBytes,
} from './memory';
import { triangle } from './triangle.ts';

/** A layer's quadratic problem. Matrices are row-major. */
export interface LayerProblem {
  readonly p: number;
  readonly m: number;
  readonly groupSize: number;
  readonly groups: number;
  /** p × p, symmetric positive definite: the lower triangle, row behind row (`packed`). */
  readonly H: Float64Array;
  /** p × m. */
  readonly G: Float64Array;
  /** Dense weights, p × m. */
  readonly W0: Float64Array;
  /** What H holds of damping on its diagonal, p; absent: nothing, or not to be told from the rest. */
  readonly rho?: Float64Array;
  /** H⁻¹G where it is known beforehand: the dense weights, of a layer that is its own target. */
  readonly solution?: Float64Array;
  /** The objective of rows that are not part of the problem, as they stay: at most 0. */
  readonly settled?: number;
  /** For the bias ȳ − Wᵀx̄ of refitted weights W; absent where the layer's bias is not refitted. */
  readonly means?: { readonly x: Float64Array; readonly y: Float64Array };
}

const PROBLEM: Fields<LayerProblem> = {
  p: true,
  m: true,
  groupSize: true,
  groups: true,
  H: true,
  G: true,
  W0: true,
  rho: true,
  solution: true,
  settled: true,
  means: true,
};

/** The best weights on a support, and their objective. */
export interface Refit {
  /** p × m; rows of removed groups are zero. */
  readonly W: Float64Array;
  /** f(S, W), lower is better; of the best weights −½ tr(W_SᵀG_S), at most 0. */
  readonly objective: number;
  /** What of that is damping. */
  readonly damping: number;
}

/** What weights can be put on: whole multiples of scales. */
export interface Steps {
  /** The largest multiple. */
  readonly most: number;
  /** Rows of W in order that share a scale for each output, 16 or more; default: all. */
  readonly block?: number;
}

/** What a problem is made of, beside what is written. */
type Shape = Pick<LayerProblem, 'p' | 'm' | 'groupSize' | 'solution' | 'settled'>;

type Part = keyof Abi extends infer Name ? (Name extends `problem${infer P}` ? P : never) : never;

/** Lives on the kernels' stack, until that is released. Views die where the memory grows. */
export class Workspace {
  readonly kernels: Kernels;
  readonly state: number;
  readonly #shape: Shape;

  /** Room for a problem, to be filled. `problemBytes`. @param tiled  without its matrices: `tiledProblemBytes` */
  constructor(kernels: Kernels, shape: Shape, tiled = false) {
    const { p, m, groupSize, solution, settled = 0 } = shape;
    this.kernels = kernels;
    this.state = kernels.allocate((tiled ? tiledProblemBytes : problemBytes)(p, m, groupSize));
    this.#shape = shape;
    kernels.abi.createProblem(this.state, p, m, groupSize, solution !== undefined, settled, tiled);
  }

  /**
   * Of a problem whose shape has been checked, or that was made here.
   *
   * @throws {InputError} where it holds NaN or infinite values
   */
  static of(kernels: Kernels, problem: LayerProblem): Workspace {
    const { rho } = problem;
    const space = new Workspace(kernels, problem);
    const { views } = space;
    for (const name of ['H', 'G', 'W0'] as const) {
      const [own, values] = [views[name], problem[name]];
      own.set(values);
      // Here and not before, as the kernels look at four times as many in the same time (measured).
      const at = kernels.abi.dnonFiniteAt(own.length, own.byteOffset);
      if (at >= 0)
        throw new InputError(`problem: "${name}" expected finite values, got ${values[at]} at ${at}`);
    }
    if (rho) views.rho.set(rho);
    else views.rho.fill(0);
    return space;
  }

  /**
   * Problems of as many groups that share a support, of which the first has what is chosen and found.
   * @param weights  what the objective of each counts for
   */
  static together(
    kernels: Kernels,
    problems: readonly LayerProblem[],
    weights: readonly number[],
  ): [Workspace, ...Workspace[]] {
    const spaces = problems.map((problem) => Workspace.of(kernels, problem));
    const [first, ...others] = spaces;
    for (const [i, { state }] of spaces.entries()) kernels.abi.join(first.state, state, weights[i]);
    return [first, ...others];
  }

  /** Runs with room for what a call takes of problems that share a support, and for its products. */
  static working<R>(spaces: readonly Workspace[], bytes: readonly number[], run: () => R): R {
    const [{ kernels }] = spaces;
    const most = (size: (shape: Shape) => number) => Math.max(...spaces.map((space) => size(space.#shape)));
    return kernels.scoped(() => {
      const products = kernels.allocate(
        kernels.abi.workBytes(
          most(({ p }) => p),
          most(({ m }) => m),
        ),
      );
      spaces.forEach(({ state }, i) => {
        kernels.abi.workIn(state, products, kernels.allocate(bytes[i]));
      });
      return run();
    });
  }

  get groups(): number {
    return this.#shape.p / this.#shape.groupSize;
  }

  /** As in `LayerProblem`, with the means of the inputs and the outputs. */
  get views() {
    const { p, m } = this.#shape;
    const of = (part: Part, n: number) => this.#part(part, Float64Array, n);
    const means = { x: of('X', p), y: of('Y', m) };
    return { H: of('H', triangle(p)), G: of('G', p * m), W0: of('W0', p * m), rho: of('Rho', p), means };
  }

  get curve(): Float64Array {
    return this.#part('Curve', Float64Array, this.groups + 1);
  }

  get order(): Int32Array {
    return this.#part('Order', Int32Array, this.groups);
  }

  /** As assembly/solve/report.ts has it. */
  get report() {
    const [objective, dense, swaps, optimal, remaining, start, damping, denseDamping, ...starts] = this.#part(
      'Report',
      Float64Array,
      11,
    );
    return { objective, dense, swaps, optimal, remaining, start, damping, denseDamping, starts };
  }

  /** Ascending. */
  get kept(): number[] {
    const flags = this.#part('Kept', Uint8Array, this.groups);
    return Array.from(flags.keys()).filter((group) => flags[group] === 1);
  }

  /** Those that searches leave, from now on. */
  protect(groups: readonly number[] = []): void {
    const flags = this.#part('IsProtected', Uint8Array, this.groups).fill(0);
    for (const group of groups) flags[group] = 1;
  }

  /** Runs with room for what a call takes, and for its products. */
  working<R>(bytes: number, run: () => R): R {
    return Workspace.working([this], [bytes], run);
  }

  /** H·W0, in the place of G: what a layer that is its own target has there. */
  aimAtItself(): Float64Array {
    const { p, m } = this.#shape;
    const { abi } = this.kernels;
    this.working(formBytes(p, m), () => {
      abi.multiplyByH(this.state, abi.problemW0(this.state), abi.problemG(this.state));
    });
    return this.views.G.slice();
  }

  /**
   * The best weights on some rows, solved in f64.
   *
   * @param steps  those that are whole multiples of scales; the last row is rounded first. The objective is that of the best ones all
   * the same
   * @throws {NotPositiveDefiniteError}
   */
  refit(rows: Int32Array, steps?: Steps): Refit {
    const { abi } = this.kernels;
    const { p, m } = this.#shape;
    const k = rows.length;
    const block = steps?.block ?? p;
    const bytes = steps ? roundedBytes(k, m, Math.ceil(p / block)) : refitBytes(k, m);
    return this.working(bytes, () => {
      this.#part('Rows', Int32Array, k).set(rows);
      expectDefinite('refit', abi.factor(this.state, k));
      if (steps) abi.solveRounded(this.state, k, steps.most, block);
      else abi.solve(this.state, k);
      return this.refitted(k);
    });
  }

  /** What a refit of k rows has found. */
  refitted(k: number): Refit {
    const { p, m } = this.#shape;
    const { objective, damping } = this.report;
    const found = this.matrix(this.kernels.abi.refitted(this.state, k), k, m);
    return { W: spread(found, this.#part('Rows', Int32Array, k), p, m), objective, damping };
  }

  /** f(S, W) of any weights W, p × m, that vanish outside these rows. */
  objectiveOf(rows: Int32Array, W: Float64Array): number {
    const { m } = this.#shape;
    const k = rows.length;
    return this.working(objectiveBytes(k, m), () => {
      this.#part('Rows', Int32Array, k).set(rows);
      rowsOf(W, rows, m, this.matrix(this.kernels.abi.problemWorkspace(this.state), k, m));
      return this.kernels.abi.objectiveOf(this.state, k);
    });
  }

  /** rows × cols doubles at an address. */
  matrix(at: number, rows: number, cols: number): Float64Array {
    return new Float64Array(this.kernels.abi.memory.buffer, at >>> 0, rows * cols);
  }

  /** n elements of what the problem has there. */
  #part<A>(part: Part, array: new (buffer: ArrayBuffer, at: number, n: number) => A, n: number): A {
    const { abi } = this.kernels;
    return new array(abi.memory.buffer, abi[`problem${part}`](this.state) >>> 0, n);
  }
}

/** Some rows of a matrix of m columns, one behind the other. */
export function rowsOf(
  W: Float64Array,
  rows: Int32Array,
  m: number,
  to: Float64Array = new Float64Array(rows.length * m),
): Float64Array {
  rows.forEach((row, i) => {
    to.set(W.subarray(row * m, (row + 1) * m), i * m);
  });
  return to;
}

/** Back to their places in a matrix p × m, zeros elsewhere. @param values  as `rowsOf` gives them */
export function spread(values: Float64Array, rows: Int32Array, p: number, m: number): Float64Array {
  const W = new Float64Array(p * m);
  rows.forEach((row, i) => {
    W.set(values.subarray(i * m, (i + 1) * m), row * m);
  });
  return W;
}

/** The dense weights of these rows, zeros elsewhere. */
export function denseOn({ W0, p, m }: LayerProblem, rows: Int32Array): Float64Array {
  return spread(rowsOf(W0, rows, m), rows, p, m);
}

/** @throws {InputError} where it is something else that is called with kernels */
export function expectKernels(operation: string, kernels: unknown): void {
  expectMethods(operation, 'kernels', kernels, 'kernels (await openKernels())', 'scoped', 'allocate');
}

/**
 * Of a problem that comes from outside.
 *
 * @throws {ShapeError} where sizes contradict each other
 * @throws {InputError} where it is none
 */
export function expectProblem(operation: string, problem: LayerProblem): void {
  expectFields(operation, 'problem', problem, PROBLEM);
  const { p, m, groupSize, groups, H, G, W0, rho } = problem;
  requireGroups(p, groupSize);
  requireLength('H', H, triangle(p));
  requireLength('G', G, p * m);
  requireLength('W0', W0, p * m);
  if (rho) requireLength('rho', rho, p);
  if (groups !== p / groupSize)
    throw new ShapeError(
      `${operation}: "groups" expected p / groupSize = ${p / groupSize}, got ${said(groups)}`,
    );
}

/** @throws {ShapeError} where an array has another length */
export function requireLength(
  name: string,
  values: { readonly length: number } | undefined,
  expected: number,
): void {
  if (values?.length !== expected) {
    throw new ShapeError(`problem: "${name}" expected ${expected} values, got ${values?.length ?? values}`);
  }
}

/** @throws {ShapeError} where groups of so many rows do not make up all */
export function requireGroups(rows: number, groupSize: number): void {
  if (!(Number.isInteger(groupSize) && groupSize >= 1 && rows % groupSize === 0))
    throw new ShapeError(`problem: ${rows} rows are not a multiple of the group size ${groupSize}`);
}

/** @param pivot  what a kernel returns: 0, or the pivot at which H was not positive definite */
export function expectDefinite(operation: string, pivot: number): void {
  if (pivot !== 0) throw notDefinite(operation, pivot);
}

export function notDefinite(operation: string, pivot: number): NotPositiveDefiniteError {
  const message = `${operation}: expected a positive definite H, pivot ${pivot} is not positive; raise the damping`;
  return new NotPositiveDefiniteError(message, pivot);
}
