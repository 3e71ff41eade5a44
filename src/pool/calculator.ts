// What one thread can be asked for: computations of the kernels on plain data, and the statistics that it is
// accumulating. A worker answers by name, a session of one thread calls.

import { InputError, ShapeError } from '../errors.ts';
import type { ConvGeometry, Kernels, Matrix } from '../kernel/index.ts';
import {
  type Convolution,
  ConvolutionAccumulator,
  type Image,
  isCorrelation,
  type LayerRecipe,
  type LayerStatistics,
  type Panel,
  pruneLayer,
  type Sized,
  type SolvedLayers,
  StatisticsAccumulator,
  solveLayers,
} from '../solve/index.ts';
import { solveTiled, type TiledLayer, type TiledLimits } from '../tiles/layers.ts';
import { TiledAccumulator, type TiledStatistics, type TilingOptions } from '../tiles/statistics.ts';
import { platform } from './platform.ts';

/** The arguments of a function after the kernels. */
type OnKernels<F> = F extends (kernels: Kernels, ...args: infer A) => unknown ? A : never;

export type Request = keyof Calculator;
export type Arguments<N extends Request> = Parameters<Calculator[N]>;
export type Result<N extends Request> = Awaited<ReturnType<Calculator[N]>>;

/** What a layer in tiles may take, for a thread that opens its own files. */
export interface TiledOptions extends Pick<TiledLimits, 'memory'> {
  /** Folder for what does not fit it. */
  readonly scratch?: string;
}

export class Calculator {
  readonly #kernels: Kernels;
  /**
   * Statistics lie on the kernels' stack, but may be closed in any order: what was closed early is freed when everything
   * above it is.
   */
  readonly #stack: { readonly id: number; readonly accumulator: Accumulator; open: boolean }[] = [];

  constructor(kernels: Kernels) {
    this.#kernels = kernels;
  }

  /** A⁻¹, both triangles; of A (n × n, symmetric positive definite) the lower triangle is read. n³ flops. */
  inverse(A: Float64Array, n: number): Float64Array {
    return this.#onMatrix('inverse', A, n, (T) => {
      this.#kernels.potrf(T);
      this.#kernels.potri(T);
      this.#kernels.symmetrize(T);
      return this.#kernels.read(T);
    });
  }

  /** A·B for B n × m; of A (n × n, symmetric) the lower triangle is read. 2n²m flops. */
  multiply(A: Float64Array, B: Float64Array, n: number): Float64Array {
    const kernels = this.#kernels;
    return this.#onMatrix('multiply', A, n, (T) => {
      const m = B?.length / n;
      if (!Number.isInteger(m)) {
        throw new ShapeError(`multiply: "B" expected ${n} rows, got ${B?.length} values`);
      }
      const C = kernels.matrix(n, m, 'f64');
      kernels.symmetrize(T);
      kernels.gemm(false, false, 1, T, kernels.matrix(n, m, 'f64', B), 0, C);
      return kernels.read(C);
    });
  }

  pruneLayer(...args: OnKernels<typeof pruneLayer>) {
    return pruneLayer(this.#kernels, ...args);
  }

  solveLayers(...args: OnKernels<typeof solveLayers>) {
    return solveLayers(this.#kernels, ...args);
  }

  solveTiled(
    layer: TiledLayer,
    recipe: LayerRecipe,
    keep?: number,
    { memory, scratch: folder }: TiledOptions = {},
  ): Promise<SolvedLayers> {
    const scratch = () => platform().scratch(folder);
    return solveTiled(this.#kernels, layer, recipe, keep, { memory, scratch });
  }

  /** @param part  of the sums: a panel of their rows, or some rows of their tiles */
  open(id: number, sized: Sized, part: Panel | TilingOptions, convolution?: Convolution): void {
    const { p, m, hasTarget } = sized;
    const shape = [this.#kernels, p, m, hasTarget] as const;
    const open = () => {
      if (!('first' in part)) return new TiledAccumulator(...shape, part);
      if (convolution && isCorrelation(p, convolution)) return new ConvolutionAccumulator(...shape, part);
      return new StatisticsAccumulator(...shape, part);
    };
    const accumulator = open();
    this.#stack.push({ id, accumulator, open: true });
  }

  addRows(id: number, X: Float32Array, Y?: Float32Array): void {
    this.#find(id).addRows(X, Y);
  }

  addImages(id: number, geometry: ConvGeometry, x: readonly Image[], y: readonly Image[] = []): void {
    const accumulator = this.#find(id);
    for (const [i, image] of x.entries()) accumulator.addImage(geometry, image, y[i]);
  }

  /** @param inPlace  XᵀX stays where it is: to be disposed of when it was read */
  sums(id: number, inPlace: boolean): LayerStatistics | TiledStatistics {
    return this.#find(id).read({ inPlace });
  }

  dispose(id: number): void {
    const stack = this.#stack;
    for (const entry of stack) if (entry.id === id) entry.open = false;
    while (stack.length > 0 && !stack[stack.length - 1].open) stack.pop()!.accumulator.dispose();
  }

  #find(id: number): Accumulator {
    const entry = this.#stack.find((entry) => entry.id === id && entry.open);
    if (!entry) throw new InputError('statistics: already finished or disposed');
    return entry.accumulator;
  }

  #onMatrix<R>(operation: string, A: Float64Array, n: number, run: (T: Matrix<'f64'>) => R): R {
    if (A?.length !== n * n) {
      throw new ShapeError(`${operation}: "A" expected ${n}×${n} = ${n * n} values, got ${A?.length}`);
    }
    return this.#kernels.scoped(() => run(this.#kernels.matrix(n, n, 'f64', A)));
  }
}

type Accumulator = StatisticsAccumulator | ConvolutionAccumulator | TiledAccumulator;

export async function answer<N extends Request>(
  calculator: Calculator,
  name: N,
  args: Arguments<N>,
): Promise<Result<N>> {
  const operation = calculator[name] as unknown as (...args: Arguments<N>) => Promise<Result<N>> | Result<N>;
  return operation.apply(calculator, args);
}
