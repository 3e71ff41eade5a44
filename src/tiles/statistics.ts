// Sums over a layer's calibration rows, in tiles: the same sums as StatisticsAccumulator forms, of any number of inputs.

import { ShapeError } from '../errors.ts';
import type { Kernels, Matrix } from '../kernel/index.ts';
import { CHUNK_ROWS, TILE, WIDE_ROWS } from '../solve/constants';
import { BATCH_ROWS } from './memory.ts';
import { inMemory, type Place, RowBlocks, SymmetricTiles } from './storage.ts';

/** As `LayerStatistics` of solve/problem.ts, in tiles. */
export interface TiledStatistics {
  readonly p: number;
  readonly m: number;
  readonly n: number;
  readonly XtX: SymmetricTiles<'f64'>;
  readonly sumX: Float64Array;
  readonly target?: { readonly XtY: RowBlocks<'f64'>; readonly sumY: Float64Array };
}

export class TiledAccumulator {
  readonly #kernels: Kernels;
  readonly #p: number;
  readonly #m: number;
  readonly #XtX: SymmetricTiles<'f64'>;
  readonly #XtY?: RowBlocks<'f64'>;
  readonly #sumX: Float64Array;
  readonly #sumY: Float64Array;
  readonly #X: Float32Array;
  readonly #Y: Float32Array;
  #filled = 0;
  #rows = 0;

  constructor(
    kernels: Kernels,
    p: number,
    m: number,
    hasTarget: boolean,
    edge: number = TILE,
    place: Place = inMemory,
  ) {
    this.#kernels = kernels;
    this.#p = p;
    this.#m = hasTarget ? m : 0;
    this.#XtX = new SymmetricTiles(p, 'f64', edge, place);
    if (hasTarget) this.#XtY = new RowBlocks(p, m, 'f64', edge, place);
    this.#sumX = new Float64Array(p);
    this.#sumY = new Float64Array(m);
    this.#X = new Float32Array(BATCH_ROWS * p);
    this.#Y = new Float32Array(BATCH_ROWS * this.#m);
  }

  /** Adds rows: X n × p and, with a target, Y n × m. */
  addRows(X: Float32Array, Y?: Float32Array): void {
    const [p, m] = [this.#p, this.#m];
    const n = X.length / p;
    if (!Number.isInteger(n)) {
      throw new ShapeError(`statistics: "X" expected rows of ${p}, got ${X.length} values`);
    }
    if (m > 0 && Y?.length !== n * m) {
      throw new ShapeError(`statistics: "Y" expected ${n}×${m}, got ${Y?.length ?? 0} values`);
    }
    for (let first = 0; first < n; ) {
      const take = Math.min(n - first, BATCH_ROWS - this.#filled);
      this.#X.set(X.subarray(first * p, (first + take) * p), this.#filled * p);
      if (Y && m > 0) this.#Y.set(Y.subarray(first * m, (first + take) * m), this.#filled * m);
      first += take;
      this.#filled += take;
      if (this.#filled === BATCH_ROWS) this.#flush();
    }
  }

  finish(): TiledStatistics {
    this.#flush();
    const [XtX, XtY, sumX, sumY] = [this.#XtX, this.#XtY, this.#sumX, this.#sumY];
    const sums = { p: this.#p, m: this.#m, n: this.#rows, XtX, sumX };
    return XtY ? { ...sums, target: { XtY, sumY } } : sums;
  }

  #flush(): void {
    const kernels = this.#kernels;
    const n = this.#filled;
    this.#filled = 0;
    this.#rows += n;
    if (n === 0) return;
    kernels.scoped(() => {
      const X = kernels.matrix(n, this.#p, 'f32', this.#X.subarray(0, n * this.#p));
      const Y = kernels.matrix(n, this.#m, 'f32', this.#Y.subarray(0, n * this.#m));
      const ones = kernels.matrix(n, 1, 'f32');
      kernels.view(ones).fill(1);
      const chunks: Chunk[] = [];
      for (let first = 0; first < n; first += CHUNK_ROWS) {
        const rows = Math.min(CHUNK_ROWS, n - first);
        const isFlat = kernels.isFlat(kernels.submatrix(X, first, 0, rows, this.#p));
        const step = isFlat ? WIDE_ROWS : rows;
        for (let at = 0; at < rows; at += step) {
          chunks.push({ first: first + at, rows: Math.min(step, rows - at), isFlat });
        }
      }
      const XtX = this.#XtX;
      const add = (C: Matrix<'f64'>, A: Matrix<'f32'>, a: Columns, B: Matrix<'f32'>, b: Columns) => {
        for (const chunk of chunks) {
          kernels.scoped(() => {
            const left = this.#part(A, a, chunk);
            if (A === B && a.first === b.first) kernels.gram(left, C);
            else kernels.cross(left, this.#part(B, b, chunk), C);
          });
        }
      };
      const one = { first: 0, count: 1 };
      const all = { first: 0, count: this.#m };
      for (let i = 0; i < XtX.count; i++) {
        const panel = { first: XtX.starts[i], count: XtX.rows(i) };
        for (let j = 0; j <= i; j++) {
          kernels.scoped(() => {
            const C = XtX.bring(kernels, i, j);
            add(C, X, panel, X, { first: XtX.starts[j], count: XtX.rows(j) });
            XtX.keep(kernels, C, i, j);
          });
        }
        kernels.scoped(() => {
          const sum = kernels.matrix(panel.count, 1, 'f64');
          const values = this.#sumX.subarray(panel.first, panel.first + panel.count);
          kernels.view(sum).set(values);
          add(sum, X, panel, ones, one);
          values.set(kernels.view(sum));
        });
        const XtY = this.#XtY;
        if (!XtY) continue;
        kernels.scoped(() => {
          const C = kernels.matrix(panel.count, this.#m, 'f64');
          XtY.block(i).load(kernels.view(C));
          add(C, X, panel, Y, all);
          XtY.block(i).save(kernels.view(C));
        });
      }
      if (this.#m > 0) {
        kernels.scoped(() => {
          const sum = kernels.matrix(1, this.#m, 'f64');
          kernels.view(sum).set(this.#sumY);
          add(sum, ones, one, Y, all);
          this.#sumY.set(kernels.view(sum));
        });
      }
    });
  }

  #part(A: Matrix<'f32'>, { first, count }: Columns, { first: row, rows, isFlat }: Chunk): Matrix {
    const part = this.#kernels.submatrix(A, row, first, rows, count);
    return isFlat ? this.#kernels.widened(part) : part;
  }
}

interface Columns {
  readonly first: number;
  readonly count: number;
}

/** Rows whose sums are formed together: in f32, or in f64 where they are flat. */
interface Chunk {
  readonly first: number;
  readonly rows: number;
  readonly isFlat: boolean;
}
