// Accumulates a layer's statistics over calibration data: rows of a linear map, or images whose
// convolution is unfolded a chunk at a time, never whole.

import { InputError, ShapeError } from '../errors.ts';
import { expectNumbers } from '../expect.ts';
import type { ConvGeometry, Kernels, Matrix } from '../kernel/index.ts';
import { COUNT, expectOptions, required, SWITCH, wholeFrom } from '../options.ts';
import { CHUNK_ROWS, WIDE_ROWS } from './constants';
import type { LayerStatistics } from './problem.ts';
import { packed } from './triangle.ts';
import { expectKernels } from './workspace.ts';

/** Bytes of wasm memory of one accumulator for p inputs and m outputs, without the GEMM's packing buffers. */
export function statisticsWasmBytes(p: number, m: number): number {
  return 8 * (p + 1) * (p + m + 1) + (4 * CHUNK_ROWS + 8 * WIDE_ROWS) * (p + m + 2);
}

/** One image of a batch, channel-major: data is channels × (height·width). */
export interface Image {
  readonly channels: number;
  readonly data: Float32Array;
}

/** The inputs first … end − 1 of a layer, whose rows of XᵀX, XᵀY and Σx one accumulator sums. */
export interface Panel {
  readonly first: number;
  readonly end: number;
}

/** C ← C + AᵀB of columns of every batch, of AᵀA the lower triangle; C comes to wasm memory where it is not there. */
interface Sum {
  readonly A: Matrix<'f32'>;
  readonly B: Matrix<'f32'>;
  readonly C: Matrix<'f64'> | Float64Array;
}

/**
 * Sums over samples. Every sum is over the same ones in the same order, so the bits do not depend on how sums are divided.
 * Lives on the kernels' scratch stack until `finish` or `dispose`: accumulators are closed in the reverse order of their opening.
 */
export abstract class Accumulator<S> {
  readonly #mark: number;

  constructor(
    protected readonly kernels: Kernels,
    protected readonly p: number,
    protected readonly m: number,
    protected readonly hasTarget: boolean,
  ) {
    expectKernels('statistics', kernels);
    expectSizes({ p, m, hasTarget });
    this.#mark = kernels.mark();
  }

  /** The sums; nothing can be added afterwards. Frees the memory. */
  finish(): S {
    const sums = this.read();
    this.dispose();
    return sums;
  }

  abstract read(): S;

  /** Frees the memory without a result. */
  dispose(): void {
    this.kernels.release(this.#mark);
  }
}

/** Adds up rows, batch by batch. */
export abstract class RowAccumulator<S> extends Accumulator<S> {
  readonly #sums: Sum[] = [];
  #sumY: Sum['C'] | undefined;
  #filled = 0;
  #rows = 0;
  /** The rows of a batch. Y has no columns without a target. */
  protected readonly X: Matrix<'f32'>;
  protected readonly Y: Matrix<'f32'>;
  protected readonly ones: Matrix<'f32'>;

  /** @param batch  rows that are added together, a multiple of CHUNK_ROWS */
  constructor(kernels: Kernels, p: number, m: number, hasTarget: boolean, batch: number) {
    super(kernels, p, m, hasTarget);
    this.X = kernels.matrix(batch, p, 'f32');
    this.Y = kernels.matrix(batch, hasTarget ? m : 0, 'f32');
    this.ones = kernels.matrix(batch, 1, 'f32');
    kernels.view(this.ones).fill(1);
  }

  /**
   * Adds rows: X n × p and, with a target, Y n × m. Rows of X that are zero, as an expert's are for the tokens that do not pass it, have no
   * products to sum.
   */
  addRows(X: Float32Array, Y?: Float32Array): void {
    const { kernels, p, m, hasTarget } = this;
    const n = countRows({ p, m, hasTarget }, X, Y);
    let start = 0;
    for (let row = 0; row <= n; row++) {
      if (row < n && !isZero(X, row * p, (row + 1) * p)) continue;
      this.#fill(row - start, (at, toX, toY) => {
        const first = start + at;
        const end = first + toX.rows;
        kernels.write(toX, X.subarray(first * p, end * p));
        if (Y && hasTarget) kernels.write(toY, Y.subarray(first * m, end * m));
      });
      if (row < n) this.#addTarget(Y?.subarray(row * m, (row + 1) * m));
      start = row + 1;
    }
  }

  /** Of a row whose X is zero. */
  #addTarget(y: Float32Array | undefined): void {
    this.#rows++;
    if (!y || !this.#sumY) return;
    const to = this.#sumY instanceof Float64Array ? this.#sumY : this.kernels.view(this.#sumY);
    for (let j = 0; j < y.length; j++) to[j] += y[j];
  }

  /**
   * Adds every output position of a convolution over one image.
   * @param geometry  of the convolution on x; p = channels·kh·kw
   * @param y  the target's image, m × positions
   */
  addImage(geometry: ConvGeometry, x: Image, y?: Image): void {
    const { kernels, m, hasTarget } = this;
    const { abi } = kernels;
    const positions = geometry.outHeight * geometry.outWidth;
    if (hasTarget) expectImage('y', m, positions, y);
    kernels.scoped(() => {
      const source = kernels.matrix(x.channels, x.data.length / x.channels, 'f32', x.data);
      const target = hasTarget && kernels.matrix(m, positions, 'f32', y!.data);
      this.#fill(positions, (first, toX, toY) => {
        kernels.im2col(source, geometry, first, toX);
        if (target) abi.stranspose(m, toY.rows, target.ptr + 4 * first, positions, toY.ptr, toY.ld);
      });
    });
  }

  /** Has C ← C + AᵀB with every batch, where there are such columns. */
  protected sum(A: Matrix<'f32'>, B: Matrix<'f32'>, C: Sum['C']): void {
    if (A.cols === 0 || B.cols === 0) return;
    this.#sums.push({ A, B, C });
    if (A === this.Y) this.#sumY = C;
  }

  /** Columns of X. */
  protected columns(first: number, end: number): Matrix<'f32'> {
    return this.kernels.submatrix(this.X, 0, first, this.X.rows, end - first);
  }

  /** Adds what has not been added yet. @returns rows seen */
  protected flush(): number {
    const { kernels, X } = this;
    const { abi } = kernels;
    // Products of a chunk are summed in f32, or in f64 where its rows are flat.
    const chunks = Array.from({ length: Math.ceil(this.#filled / CHUNK_ROWS) }, (_, i) => {
      const first = i * CHUNK_ROWS;
      const rows = Math.min(CHUNK_ROWS, this.#filled - first);
      return { first, rows, isFlat: abi.isFlat(rows, X.cols, addressOf(X, first), X.ld) !== 0 };
    });
    const add = ({ A, B, C }: Sum) => {
      const [n, m] = [A.cols, B.cols];
      const sum = C instanceof Float64Array ? kernels.matrix(n, m, 'f64', C) : C;
      const scratch = kernels.allocate(abi.gramBytes(n, A === B ? 0 : m));
      for (const { first, rows, isFlat } of chunks) {
        const [a, b] = [addressOf(A, first), addressOf(B, first)];
        abi.gram(isFlat, rows, n, m, a, A.ld, b, B.ld, sum.ptr, sum.ld, scratch);
      }
      if (C instanceof Float64Array) C.set(kernels.view(sum));
    };
    if (this.#filled > 0) for (const sum of this.#sums) kernels.scoped(() => add(sum));
    this.#filled = 0;
    return this.#rows;
  }

  /** Has n rows filled in, as many at a time as there is room for. @param fill  given the number of the first */
  #fill(n: number, fill: (first: number, toX: Matrix<'f32'>, toY: Matrix<'f32'>) => void): void {
    for (let first = 0; first < n; ) {
      const take = Math.min(n - first, this.X.rows - this.#filled);
      const room = (of: Matrix<'f32'>) => this.kernels.submatrix(of, this.#filled, 0, take, of.cols);
      fill(first, room(this.X), room(this.Y));
      first += take;
      this.#filled += take;
      this.#rows += take;
      if (this.#filled === this.X.rows) this.flush();
    }
  }
}

/** Of the layer whose inputs and outputs are summed. */
export interface Sized {
  readonly p: number;
  readonly m: number;
  /** Whether rows come with a target. */
  readonly hasTarget: boolean;
}

/** @throws {InputError} naming what is of another kind than it should be */
export function expectSizes({ p, m, hasTarget }: Sized): void {
  // Of inputs alone there are no outputs.
  const outputs = wholeFrom(hasTarget ? 1 : 0);
  const kinds = { p: required(COUNT), m: required(outputs), hasTarget: required(SWITCH) };
  expectOptions('statistics', { p, m, hasTarget }, kinds);
}

/** @throws {InputError} where there are targets that would not be summed */
export function expectTargets(name: string, hasTarget: boolean, targets: unknown): void {
  if (!hasTarget && targets !== undefined && targets !== null)
    throw new InputError(
      `statistics: "${name}" is a target, and they were opened without one (\`hasTarget\`)`,
    );
}

/** @throws {ShapeError} where an image has another size */
export function expectImage(name: string, channels: number, positions: number, image?: Image): void {
  const values = image?.data.length ?? 0;
  if (values !== channels * positions) {
    throw new ShapeError(`statistics: "${name}" expected ${channels}×${positions}, got ${values} values`);
  }
}

/**
 * Rows of X, n × p, and of Y, n × m, where there is one.
 * @throws {ShapeError} where sizes contradict each other
 * @throws {InputError} where one is no typed array of numbers
 */
export function countRows({ p, m, hasTarget }: Sized, X: ArrayLike<number>, Y?: ArrayLike<number>): number {
  expectNumbers('statistics', 'X', X);
  const n = X.length / p;
  if (!Number.isInteger(n))
    throw new ShapeError(`statistics: "X" expected rows of ${p}, got ${X.length} values`);
  expectTargets('Y', hasTarget, Y);
  if (hasTarget && Y) expectNumbers('statistics', 'Y', Y);
  if (hasTarget && Y?.length !== n * m)
    throw new ShapeError(`statistics: "Y" expected ${n}×${m}, got ${Y?.length ?? 0} values`);
  return n;
}

function isZero(values: Float32Array, from: number, end: number): boolean {
  let i = from;
  while (i < end && values[i] === 0) i++;
  return i === end;
}

function addressOf({ ptr, ld }: Matrix<'f32'>, row: number): number {
  return ptr + 4 * row * ld;
}

/**
 * Sums XᵀX, XᵀY, Σx and Σy, or one panel of their rows, in wasm memory: `statisticsWasmBytes`, and the GEMM's packing
 * buffers while rows are added.
 */
export class StatisticsAccumulator extends RowAccumulator<LayerStatistics> {
  readonly #XtX: Matrix<'f64'>;
  readonly #XtY: Matrix<'f64'>;
  readonly #sumX: Matrix<'f64'>;
  readonly #sumY: Matrix<'f64'>;

  /**
   * @param p  inputs of the layer, columns of X
   * @param m  outputs of the layer, columns of the target Y
   * @param hasTarget  whether rows come with a target
   * @param panel  the inputs to sum for; by default all
   */
  constructor(kernels: Kernels, p: number, m: number, hasTarget: boolean, panel = { first: 0, end: p }) {
    expectSizes({ p, m, hasTarget }); // before the panel, which is one of p inputs
    const { first, end } = panel;
    const rows = end - first;
    if (!(first >= 0 && rows >= 0 && end <= p)) {
      throw new ShapeError(`statistics: "panel" expected inputs of ${p}, got ${first} to ${end}`);
    }
    super(kernels, p, m, hasTarget, CHUNK_ROWS);
    const { Y, ones } = this;
    const zeros = (n: number, cols: number) => {
      const sum = kernels.matrix(n, cols, 'f64');
      kernels.zero(sum);
      return sum;
    };
    this.#XtX = zeros(rows, end);
    this.#XtY = zeros(rows, Y.cols);
    this.#sumX = zeros(rows, 1);
    this.#sumY = zeros(Y.cols, 1);
    const X = this.columns(first, end);
    this.sum(X, this.columns(0, first), kernels.submatrix(this.#XtX, 0, 0, rows, first));
    this.sum(X, X, kernels.submatrix(this.#XtX, 0, first, rows, rows));
    this.sum(X, ones, this.#sumX);
    this.sum(X, Y, this.#XtY);
    this.sum(Y, ones, this.#sumY);
  }

  /**
   * Copies the sums out; of a panel, its rows of them.
   * @param inPlace  XᵀX is packed where it is, and nothing can be added any more: it dies with the accumulator
   */
  read({ inPlace = false } = {}): LayerStatistics {
    const n = this.flush();
    const { p, m, kernels } = this;
    const { rows, cols } = this.#XtX;
    const from = kernels.view(this.#XtX);
    const XtX = packed(from, cols, rows, inPlace ? from : undefined);
    const sums = { p, m, n, XtX, sumX: kernels.read(this.#sumX) };
    if (!this.hasTarget) return sums;
    return { ...sums, target: { XtY: kernels.read(this.#XtY), sumY: kernels.read(this.#sumY) } };
  }
}
