// Sums over a layer's calibration rows, in tiles: the same sums as StatisticsAccumulator forms, of any number of inputs. Some rows of
// tiles alone, where threads share the work.

import { ShapeError } from '../errors.ts';
import type { ConvGeometry, Kernels, Matrix } from '../kernel/index.ts';
import { CHUNK_ROWS, TILE, WIDE_ROWS } from '../solve/constants';
import { type Image, unfolding } from '../solve/statistics.ts';
import { BATCH_ROWS } from './memory.ts';
import { tileStarts } from './storage.ts';

/** As `LayerStatistics` of solve/problem.ts, in tiles: plain data, whose arrays are handed over and not copied. */
export interface TiledStatistics {
  readonly p: number;
  readonly m: number;
  /** Rows seen. */
  readonly n: number;
  /** Rows and columns of a tile. */
  readonly edge: number;
  /** XᵀX: the tiles (0, 0), (1, 0), (1, 1) … of its lower triangle. */
  readonly tiles: readonly Float64Array[];
  /** Σx, p. */
  readonly sumX: Float64Array;
  readonly target?: {
    /** XᵀY, by the same rows. */
    readonly blocks: readonly Float64Array[];
    /** Σy, m. */
    readonly sumY: Float64Array;
  };
}

/** How sums are cut into tiles. */
export interface TilingOptions {
  /** Rows and columns of a tile. Default 2048. */
  readonly edge?: number;
  /** The rows of tiles that are summed, ascending. Default all. */
  readonly rows?: readonly number[];
}

/** Rows of tiles for each of `count` threads, of about as much work: with rows i come i + 1 tiles, and m columns of the target. */
export function sharesOf(p: number, m: number, edge: number, count: number): number[][] {
  const starts = tileStarts(p, edge);
  const shares = Array.from({ length: count }, () => ({ rows: [] as number[], work: 0 }));
  for (let i = starts.length - 2; i >= 0; i--) {
    const least = shares.reduce((a, b) => (b.work < a.work ? b : a));
    least.rows.unshift(i);
    least.work += (starts[i + 1] - starts[i]) * (starts[i + 1] + 2 * m);
  }
  return shares.map(({ rows }) => rows);
}

export class TiledAccumulator {
  readonly #kernels: Kernels;
  readonly #p: number;
  readonly #m: number;
  readonly #hasTarget: boolean;
  readonly #edge: number;
  readonly #starts: readonly number[];
  readonly #panels: readonly Panel[];
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
    { edge = TILE, rows }: TilingOptions = {},
  ) {
    this.#kernels = kernels;
    this.#p = p;
    this.#m = m;
    this.#hasTarget = hasTarget;
    this.#edge = edge;
    this.#starts = tileStarts(p, edge);
    const targets = hasTarget ? m : 0;
    const all = Array.from({ length: this.#starts.length - 1 }, (_, i) => i);
    this.#panels = (rows ?? all).map((i) => {
      const height = this.#height(i);
      const tiles = Array.from({ length: i + 1 }, (_, j) => new Float64Array(height * this.#height(j)));
      const XtY = hasTarget ? new Float64Array(height * m) : undefined;
      return { i, tiles, XtY, sumX: new Float64Array(height) };
    });
    this.#sumY = new Float64Array(targets);
    this.#X = new Float32Array(BATCH_ROWS * p);
    this.#Y = new Float32Array(BATCH_ROWS * targets);
  }

  #height(i: number): number {
    return this.#starts[i + 1] - this.#starts[i];
  }

  /** Adds rows: X n × p and, with a target, Y n × m. */
  addRows(X: Float32Array, Y?: Float32Array): void {
    const [p, m] = [this.#p, this.#m];
    const n = X.length / p;
    if (!Number.isInteger(n)) {
      throw new ShapeError(`statistics: "X" expected rows of ${p}, got ${X.length} values`);
    }
    if (this.#hasTarget && Y?.length !== n * m) {
      throw new ShapeError(`statistics: "Y" expected ${n}×${m}, got ${Y?.length ?? 0} values`);
    }
    for (let first = 0; first < n; ) {
      const take = Math.min(n - first, BATCH_ROWS - this.#filled);
      this.#X.set(X.subarray(first * p, (first + take) * p), this.#filled * p);
      if (this.#hasTarget) this.#Y.set(Y!.subarray(first * m, (first + take) * m), this.#filled * m);
      first += take;
      this.#filled += take;
      if (this.#filled === BATCH_ROWS) this.#flush();
    }
  }

  /** As of StatisticsAccumulator. */
  addImage(geometry: ConvGeometry, x: Image, y?: Image): void {
    const kernels = this.#kernels;
    const m = this.#sumY.length;
    unfolding(kernels, geometry, x, this.#hasTarget ? { m, image: y } : undefined, (positions, write) => {
      for (let first = 0; first < positions; first += CHUNK_ROWS) {
        const rows = Math.min(CHUNK_ROWS, positions - first);
        kernels.scoped(() => {
          const [X, Y] = [this.#p, m].map((columns) => kernels.matrix(rows, columns, 'f32'));
          write(first, X, Y);
          this.addRows(kernels.read(X), kernels.read(Y));
        });
      }
    });
  }

  /** The sums themselves, of these rows of tiles: nothing can be added afterwards. */
  read(): TiledStatistics {
    this.#flush();
    const panels = this.#panels;
    const sumX = new Float64Array(panels.reduce((sum, { i }) => sum + this.#height(i), 0));
    let at = 0;
    for (const panel of panels) {
      sumX.set(panel.sumX, at);
      at += panel.sumX.length;
    }
    const sums = {
      ...{ p: this.#p, m: this.#m, n: this.#rows, edge: this.#edge, sumX },
      tiles: panels.flatMap(({ tiles }) => tiles),
    };
    if (!this.#hasTarget) return sums;
    return { ...sums, target: { blocks: panels.map(({ XtY }) => XtY!), sumY: this.#sumY } };
  }

  /** Nothing of it is in the kernels' memory between two calls. */
  dispose(): void {}

  #flush(): void {
    const kernels = this.#kernels;
    const n = this.#filled;
    this.#filled = 0;
    this.#rows += n;
    if (n === 0) return;
    const m = this.#sumY.length;
    kernels.scoped(() => {
      const X = kernels.matrix(n, this.#p, 'f32', this.#X.subarray(0, n * this.#p));
      const Y = kernels.matrix(n, m, 'f32', this.#Y.subarray(0, n * m));
      const ones = kernels.matrix(n, 1, 'f32');
      kernels.view(ones).fill(1);
      const chunks = this.#chunks(X);
      /** C ← C + AᵀB, of these columns. */
      const add = (C: Float64Array, A: Matrix<'f32'>, a: Columns, B: Matrix<'f32'>, b: Columns) => {
        kernels.scoped(() => {
          const sum = kernels.matrix(a.count, b.count, 'f64', C);
          for (const chunk of chunks) {
            kernels.scoped(() => {
              const left = this.#part(A, a, chunk);
              if (A === B && a.first === b.first) kernels.gram(left, sum);
              else kernels.cross(left, this.#part(B, b, chunk), sum);
            });
          }
          C.set(kernels.view(sum));
        });
      };
      const columnsOf = (i: number) => ({ first: this.#starts[i], count: this.#height(i) });
      const one = { first: 0, count: 1 };
      const all = { first: 0, count: m };
      for (const { i, tiles, XtY, sumX } of this.#panels) {
        for (const [j, tile] of tiles.entries()) add(tile, X, columnsOf(i), X, columnsOf(j));
        add(sumX, X, columnsOf(i), ones, one);
        if (XtY) add(XtY, X, columnsOf(i), Y, all);
      }
      if (m > 0) add(this.#sumY, ones, one, Y, all);
    });
  }

  #chunks(X: Matrix<'f32'>): Chunk[] {
    const chunks: Chunk[] = [];
    for (let first = 0; first < X.rows; first += CHUNK_ROWS) {
      const rows = Math.min(CHUNK_ROWS, X.rows - first);
      const isFlat = this.#kernels.isFlat(this.#kernels.submatrix(X, first, 0, rows, this.#p));
      const step = isFlat ? WIDE_ROWS : rows;
      for (let at = 0; at < rows; at += step) {
        chunks.push({ first: first + at, rows: Math.min(step, rows - at), isFlat });
      }
    }
    return chunks;
  }

  #part(A: Matrix<'f32'>, { first, count }: Columns, { first: row, rows, isFlat }: Chunk): Matrix {
    const part = this.#kernels.submatrix(A, row, first, rows, count);
    return isFlat ? this.#kernels.widened(part) : part;
  }
}

/** A row of tiles. */
interface Panel {
  readonly i: number;
  readonly tiles: readonly Float64Array[];
  readonly XtY?: Float64Array;
  readonly sumX: Float64Array;
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

/** The same in arrays that can be handed over: views of a larger buffer are copied. */
export function withOwnArrays(sums: TiledStatistics): TiledStatistics {
  const own = (array: Float64Array) => (array.byteLength < array.buffer.byteLength ? array.slice() : array);
  const { tiles, target } = sums;
  return {
    ...sums,
    tiles: tiles.map(own),
    ...(target && { target: { ...target, blocks: target.blocks.map(own) } }),
  };
}

/** The whole of what threads have summed, each its rows of tiles: the arrays themselves, in order. */
export function assembleTiles(
  shares: readonly (readonly number[])[],
  parts: readonly TiledStatistics[],
): TiledStatistics {
  const { p, edge, target } = parts[0];
  const starts = tileStarts(p, edge);
  const sumX = new Float64Array(p);
  const tiles: (readonly Float64Array[])[] = [];
  const blocks: Float64Array[] = [];
  shares.forEach((rows, at) => {
    let [tile, x] = [0, 0];
    for (const [k, i] of rows.entries()) {
      const part = parts[at];
      tiles[i] = part.tiles.slice(tile, tile + i + 1);
      tile += i + 1;
      if (target) blocks[i] = part.target!.blocks[k];
      const height = starts[i + 1] - starts[i];
      sumX.set(part.sumX.subarray(x, x + height), starts[i]);
      x += height;
    }
  });
  const sums = { ...parts[0], tiles: tiles.flat(), sumX };
  return target ? { ...sums, target: { blocks, sumY: target.sumY } } : sums;
}
