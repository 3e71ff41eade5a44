// Sums over a layer's calibration rows, in tiles: the same sums as StatisticsAccumulator forms, of any number of inputs. Some rows of
// tiles alone, where threads share the work.

import type { Kernels, Matrix } from '../kernel/index.ts';
import { TILE } from '../solve/constants';
import type { LayerStatistics } from '../solve/problem.ts';
import { RowAccumulator } from '../solve/statistics.ts';
import { BATCH_ROWS } from './memory.ts';
import { tileStarts } from './storage.ts';

/** As `LayerStatistics` of solve/problem.ts, in tiles: plain data, whose arrays are handed over and not copied. */
export interface TiledStatistics extends Pick<LayerStatistics, 'p' | 'm' | 'n' | 'sumX'> {
  /** Rows and columns of a tile. */
  readonly edge: number;
  /** XᵀX: the tiles (0, 0), (1, 0), (1, 1) … of its lower triangle. */
  readonly tiles: readonly Float64Array[];
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

/** Rows of tiles for each of `count` threads, of about as much work: with rows i come i + 1 tiles, and m columns of a target, if any. */
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

/** The sums of some rows of tiles, in arrays that come to wasm memory for BATCH_ROWS rows at a time. */
export class TiledAccumulator extends RowAccumulator<TiledStatistics> {
  readonly #edge: number;
  readonly #tiles: Float64Array[] = [];
  readonly #blocks: Float64Array[] = [];
  readonly #sumX: Float64Array;
  readonly #sumY: Float64Array;

  constructor(
    kernels: Kernels,
    p: number,
    m: number,
    hasTarget: boolean,
    { edge = TILE, rows }: TilingOptions = {},
  ) {
    super(kernels, p, m, hasTarget, BATCH_ROWS);
    const { Y, ones } = this;
    const starts = tileStarts(p, edge);
    const strips = starts.slice(1).map((end, i) => this.columns(starts[i], end));
    const mine = rows ?? [...strips.keys()];
    const sumOf = (
      A: Matrix<'f32'>,
      B: Matrix<'f32'>,
      C: Float64Array = new Float64Array(A.cols * B.cols),
    ) => {
      this.sum(A, B, C);
      return C;
    };
    this.#edge = edge;
    this.#sumX = new Float64Array(mine.reduce((sum, i) => sum + strips[i].cols, 0));
    let at = 0;
    for (const i of mine) {
      const strip = strips[i];
      for (const other of strips.slice(0, i + 1)) this.#tiles.push(sumOf(strip, other));
      sumOf(strip, ones, this.#sumX.subarray(at, at + strip.cols));
      if (hasTarget) this.#blocks.push(sumOf(strip, Y));
      at += strip.cols;
    }
    this.#sumY = sumOf(Y, ones);
  }

  /** The sums themselves: nothing can be added afterwards. */
  read(): TiledStatistics {
    const n = this.flush();
    const { p, m } = this;
    const sums = { p, m, n, edge: this.#edge, tiles: this.#tiles, sumX: this.#sumX };
    return this.hasTarget ? { ...sums, target: { blocks: this.#blocks, sumY: this.#sumY } } : sums;
  }
}

/**
 * The same in arrays that are gone where they were, so that nobody reads what is made of them. Views of a larger buffer are copied, and
 * memory that threads share stays.
 */
export function takenOver(sums: TiledStatistics): TiledStatistics {
  const buffers = new Set<ArrayBuffer>();
  const own = (array: Float64Array) => {
    const mine = array.byteLength < array.buffer.byteLength ? array.slice() : array;
    if (mine.buffer instanceof ArrayBuffer) buffers.add(mine.buffer);
    return mine;
  };
  const { tiles, sumX, target } = sums;
  const owned = {
    ...sums,
    tiles: tiles.map(own),
    sumX: own(sumX),
    ...(target && { target: { blocks: target.blocks.map(own), sumY: own(target.sumY) } }),
  };
  return structuredClone(owned, { transfer: [...buffers] });
}

/** The whole of what threads have summed, each its share of the rows of tiles: the arrays themselves, in order. */
export function assembleTiles(parts: readonly TiledStatistics[]): TiledStatistics {
  const { p, m, edge, target } = parts[0];
  const shares = sharesOf(p, target ? m : 0, edge, parts.length);
  const starts = tileStarts(p, edge);
  const sumX = new Float64Array(p);
  const tiles: Float64Array[] = [];
  const blocks: Float64Array[] = [];
  const rest = parts.map(({ tiles, sumX, target }) => {
    return { sumX, tiles: tiles.values(), blocks: target?.blocks.values() };
  });
  for (const [i, start] of starts.slice(0, -1).entries()) {
    const part = rest[shares.findIndex((rows) => rows.includes(i))];
    for (let j = 0; j <= i; j++) tiles.push(part.tiles.next().value!);
    if (target) blocks.push(part.blocks!.next().value!);
    const height = starts[i + 1] - start;
    sumX.set(part.sumX.subarray(0, height), start);
    part.sumX = part.sumX.subarray(height);
  }
  const sums = { ...parts[0], tiles, sumX };
  return target ? { ...sums, target: { blocks, sumY: target.sumY } } : sums;
}
