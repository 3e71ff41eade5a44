// Accumulates a layer's statistics over calibration data: rows of a linear map, or images whose
// convolution is unfolded a chunk at a time, never whole.

import { ShapeError } from '../errors.ts';
import type { ConvGeometry, Kernels, Matrix } from '../kernel/index.ts';
import { CHUNK_ROWS, WIDE_ROWS } from './constants';
import type { LayerStatistics } from './problem.ts';
import { packed } from './triangle.ts';

const ONE = [1, 1] as const;
/** Of what transposes a target's image. */
const POINTWISE = { kernel: ONE, strides: ONE, dilations: ONE, pads: [0, 0] } as const;

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

/**
 * Sums XᵀX, XᵀY, Σx and Σy, or one panel of their rows: sums over the same rows of X in the same order, so the bits
 * are the same however the inputs are divided. Lives on the kernels' scratch stack until `finish` or `dispose`: accumulators
 * are closed in the reverse order of their opening.
 * `statisticsWasmBytes` of wasm memory, and the GEMM's packing buffers during a flush.
 */
export class StatisticsAccumulator {
  readonly #kernels: Kernels;
  readonly #mark: number;
  readonly #p: number;
  readonly #m: number;
  readonly #panel: Panel;
  /** Columns of the target: m, or none. */
  readonly #targets: number;
  readonly #XtX: Matrix<'f64'>;
  readonly #XtY: Matrix<'f64'>;
  readonly #sumX: Matrix<'f64'>;
  readonly #sumY: Matrix<'f64'>;
  readonly #X: Matrix<'f32'>;
  readonly #Y: Matrix<'f32'>;
  #filled = 0;
  #rows = 0;

  /**
   * @param p  inputs of the layer, columns of X
   * @param m  outputs of the layer, columns of the target Y
   * @param hasTarget  whether rows come with a target
   * @param panel  the inputs to sum for; by default all
   */
  constructor(
    kernels: Kernels,
    p: number,
    m: number,
    hasTarget: boolean,
    panel: Panel = { first: 0, end: p },
  ) {
    const rows = panel.end - panel.first;
    if (!(panel.first >= 0 && rows >= 0 && panel.end <= p)) {
      throw new ShapeError(`statistics: "panel" expected inputs of ${p}, got ${panel.first} to ${panel.end}`);
    }
    this.#kernels = kernels;
    this.#p = p;
    this.#m = m;
    this.#panel = panel;
    this.#targets = hasTarget ? m : 0;
    this.#mark = kernels.mark();
    this.#XtX = kernels.matrix(rows, panel.end, 'f64');
    this.#XtY = kernels.matrix(rows, this.#targets, 'f64');
    this.#sumX = kernels.matrix(1, rows, 'f64');
    this.#sumY = kernels.matrix(1, this.#targets, 'f64');
    this.#X = kernels.matrix(CHUNK_ROWS, p, 'f32');
    this.#Y = kernels.matrix(CHUNK_ROWS, this.#targets, 'f32');
    for (const sum of [this.#XtX, this.#XtY, this.#sumX, this.#sumY]) kernels.zero(sum);
  }

  /** Adds rows: X n × p and, with a target, Y n × m. */
  addRows(X: Float32Array, Y?: Float32Array): void {
    const n = X.length / this.#p;
    if (!Number.isInteger(n))
      throw new ShapeError(`statistics: "X" expected rows of ${this.#p}, got ${X.length} values`);
    if (this.#targets > 0 && Y?.length !== n * this.#m) {
      throw new ShapeError(`statistics: "Y" expected ${n}×${this.#m}, got ${Y?.length ?? 0} values`);
    }
    const [kernels, p, m] = [this.#kernels, this.#p, this.#m];
    this.#fill(n, (first, toX, toY) => {
      const end = first + toX.rows;
      kernels.write(toX, X.subarray(first * p, end * p));
      if (Y && this.#targets > 0) kernels.write(toY, Y.subarray(first * m, end * m));
    });
  }

  /**
   * Adds every output position of a convolution over one image.
   * @param geometry  of the convolution on x; p = channels·kh·kw
   * @param y  the target's image, m × positions
   */
  addImage(geometry: ConvGeometry, x: Image, y?: Image): void {
    const target = this.#targets > 0 ? { m: this.#m, image: y } : undefined;
    unfolding(this.#kernels, geometry, x, target, (positions, write) => this.#fill(positions, write));
  }

  /** Copies the sums out and frees the memory. */
  finish(): LayerStatistics {
    const sums = this.read();
    this.dispose();
    return sums;
  }

  /**
   * Copies the sums out; of a panel, its rows of them.
   * @param inPlace  XᵀX is packed where it is, and nothing can be added any more: it dies with the accumulator
   */
  read({ inPlace = false } = {}): LayerStatistics {
    this.#flush();
    const kernels = this.#kernels;
    const [p, m, n] = [this.#p, this.#m, this.#rows];
    const { rows, cols } = this.#XtX;
    const from = kernels.view(this.#XtX);
    const XtX = packed(from, cols, rows, inPlace ? from : undefined);
    const sums = { p, m, n, XtX, sumX: kernels.read(this.#sumX) };
    if (this.#targets === 0) return sums;
    return { ...sums, target: { XtY: kernels.read(this.#XtY), sumY: kernels.read(this.#sumY) } };
  }

  /** Frees the memory without a result. */
  dispose(): void {
    this.#kernels.release(this.#mark);
  }

  /** Has n rows filled in, as many at a time as there is room for. @param fill  given the number of the first */
  #fill(n: number, fill: (first: number, toX: Matrix<'f32'>, toY: Matrix<'f32'>) => void): void {
    for (let first = 0; first < n; ) {
      const take = Math.min(n - first, CHUNK_ROWS - this.#filled);
      const room = (of: Matrix<'f32'>, columns: number) =>
        this.#kernels.submatrix(of, this.#filled, 0, take, columns);
      fill(first, room(this.#X, this.#p), room(this.#Y, this.#targets));
      first += take;
      this.#filled += take;
      this.#rows += take;
      if (this.#filled === CHUNK_ROWS) this.#flush();
    }
  }

  #flush(): void {
    const { abi } = this.#kernels;
    const [n, p, m] = [this.#filled, this.#p, this.#targets];
    const { first, end } = this.#panel;
    this.#filled = 0;
    if (n === 0) return;
    const [X, Y] = [this.#X.ptr, this.#Y.ptr];
    const sums = [this.#XtX.ptr, this.#sumX.ptr, this.#XtY.ptr, this.#sumY.ptr] as const;
    this.#kernels.scoped(() => {
      abi.addRows(n, p, m, first, end, X, Y, ...sums, this.#kernels.allocate(abi.addRowsBytes(p, m)));
    });
  }
}

/**
 * Places an image, and its target's, where their rows can be written from.
 * @param target  m columns of rows come with a target's image, m × positions
 * @param run  given how many rows there are, and what writes those from `first` on
 */
export function unfolding(
  kernels: Kernels,
  geometry: ConvGeometry,
  x: Image,
  target: { readonly m: number; readonly image?: Image } | undefined,
  run: (positions: number, write: (first: number, toX: Matrix<'f32'>, toY: Matrix<'f32'>) => void) => void,
): void {
  const positions = geometry.outHeight * geometry.outWidth;
  const values = target?.image?.data.length ?? 0;
  if (target && values !== target.m * positions) {
    throw new ShapeError(`statistics: "y" expected ${target.m}×${positions}, got ${values} values`);
  }
  kernels.scoped(() => {
    const source = kernels.matrix(x.channels, x.data.length / x.channels, 'f32', x.data);
    const wanted = target && kernels.matrix(target.m, positions, 'f32', target.image?.data);
    const row = { ...POINTWISE, height: 1, width: positions, outHeight: 1, outWidth: positions };
    run(positions, (first, toX, toY) => {
      kernels.im2col(source, geometry, first, toX);
      if (wanted) kernels.im2col(wanted, row, first, toY);
    });
  });
}
