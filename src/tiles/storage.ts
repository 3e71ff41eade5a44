// Matrices in blocks: symmetric ones as the square tiles of their lower triangle, others as blocks of rows. They lie outside wasm memory,
// and who needs a block brings it in; or inside, where there is room for all.

import { type ElementType, elementBytes, type Kernels, type Matrix } from '../kernel/index.ts';
import { lastTile } from '../solve/constants';

export type Floats = Float32Array | Float64Array;

/** Elements in memory, where they can be had without a copy, or elsewhere. */
export interface Block {
  /** Dies, of those in wasm memory, where that grows. */
  readonly data?: Floats;
  /** Of those in wasm memory. */
  readonly address?: number;
  /** Copies all elements to `to`. */
  load(to: Floats): void;
  /** Takes all elements from `from`. */
  save(from: Floats): void;
}

/** Makes blocks, of zeros but for those in wasm memory. */
export type Place = (type: ElementType, length: number) => Block;

export const inMemory: Place = (type, length) => blockOf(arrayOf(type, length));

/** Takes arrays that are there, in the order in which blocks are made. */
export function given(arrays: readonly Floats[]): Place {
  let next = 0;
  return () => blockOf(arrays[next++]);
}

/** Makes blocks of what other arrays lay in, as far as it goes: when the collector would give that back is its own business. */
export function recycled(arrays: readonly Floats[]): Place {
  const rest = arrays.map(({ buffer, byteOffset: at, byteLength }) => ({ buffer, at, end: at + byteLength }));
  return (type, length) => {
    const bytes = length * elementBytes(type);
    const found = rest.find(({ at, end }) => at + bytes <= end);
    if (!found) return inMemory(type, length);
    const data = viewOf(type, found.buffer, found.at, length).fill(0);
    found.at += 8 * Math.ceil(bytes / 8);
    return blockOf(data);
  };
}

function blockOf(data: Floats): Block {
  return { data, load: (to) => to.set(data), save: (from) => data.set(from) };
}

/** On the kernels' stack, where they work in place. */
export function inWasm(kernels: Kernels): Place {
  return (type, length) => {
    const m = kernels.matrix(1, length, type);
    return {
      address: m.ptr,
      get data() {
        return kernels.view(m);
      },
      load: (to) => to.set(kernels.view(m)),
      save: (from) => kernels.view(m).set(from),
    };
  };
}

/** Where the tiles of n rows begin, and n. */
export function tileStarts(n: number, edge: number): number[] {
  const starts = [n];
  for (let end = n; end > 0; end = starts[0]) starts.unshift(lastTile(end, edge));
  return starts;
}

/** n rows in blocks, the last one of another height. */
export class Blocks {
  /** Where they begin, and n. */
  readonly starts: readonly number[];

  constructor(n: number, edge: number) {
    this.starts = tileStarts(n, edge);
  }

  get count(): number {
    return this.starts.length - 1;
  }

  rows(i: number): number {
    return this.starts[i + 1] - this.starts[i];
  }

  /** The block that row g is in. */
  blockOf(g: number): number {
    let i = 0;
    while (this.starts[i + 1] <= g) i++;
    return i;
  }
}

/** A symmetric matrix: tiles (i, j), j ≤ i, row-major. Of those on the diagonal the lower triangle counts. */
export class SymmetricTiles<T extends ElementType = ElementType> extends Blocks {
  readonly n: number;
  readonly type: T;
  readonly #tiles: Block[][];
  /** Both halves, by rows. */
  #mirrored?: Floats[][];
  readonly #stage = new Stage();

  constructor(n: number, type: T, edge: number, place: Place = inMemory) {
    super(n, edge);
    this.n = n;
    this.type = type;
    this.#tiles = Array.from({ length: this.count }, (_, i) =>
      Array.from({ length: i + 1 }, (_, j) => place(type, this.rows(i) * this.rows(j))),
    );
  }

  tile(i: number, j: number): Block {
    return this.#tiles[i][j];
  }

  /** Has a tile read. */
  read(i: number, j: number, run: (tile: Floats) => void): void {
    this.#stage.use(this.tile(i, j), this.type, this.rows(i) * this.rows(j), false, run);
  }

  /** Has a tile changed. */
  change(i: number, j: number, run: (tile: Floats) => void): void {
    this.#stage.use(this.tile(i, j), this.type, this.rows(i) * this.rows(j), true, run);
  }

  /** A tile in wasm memory: itself, or copied to the kernels' stack, from where `keep` takes back what has become of it. */
  bring(kernels: Kernels, i: number, j: number): Matrix<T> {
    const [rows, cols] = [this.rows(i), this.rows(j)];
    const { address } = this.tile(i, j);
    if (address !== undefined) return { type: this.type, ptr: address, rows, cols, ld: cols };
    const m = kernels.matrix(rows, cols, this.type);
    this.tile(i, j).load(kernels.view(m));
    return m;
  }

  keep(kernels: Kernels, m: Matrix<T>, i: number, j: number): void {
    if (this.tile(i, j).address === undefined) this.tile(i, j).save(kernels.view(m));
  }

  /** Element (g, h), of tiles in memory. */
  element(g: number, h: number): number {
    const [row, column] = [Math.max(g, h), Math.min(g, h)];
    const [i, j] = [this.blockOf(row), this.blockOf(column)];
    return this.#data(i, j)[(row - this.starts[i]) * this.rows(j) + column - this.starts[j]];
  }

  /** Has columns read as rows from now on, for as much memory again: of tiles in memory that do not change any more. */
  mirror(): void {
    this.#mirrored = this.#tiles.map((_, i) =>
      Array.from({ length: this.count }, (_, k) => {
        if (k < i) return this.#data(i, k);
        return transposed(this.#data(k, i), this.rows(k), this.rows(i), k === i);
      }),
    );
  }

  /**
   * Rows g, whole, of tiles in memory, `pitch` apart. What lies in columns is read for all of them together, row by row: a column by
   * itself is a miss for every element.
   */
  gather(gs: Int32Array, to: Floats, pitch = this.n): void {
    const byTile = this.#byTile(gs);
    for (const [i, members] of byTile) {
      const [first, cols] = [this.starts[i], this.rows(i)];
      const columns = Int32Array.from(members, (at) => gs[at] - first);
      const targets = Int32Array.from(members, (at) => at * pitch);
      const end = this.#mirrored ? this.count - 1 : i;
      for (let j = 0; j <= end; j++) {
        const tile = this.#mirrored?.[i][j] ?? this.#data(i, j);
        const width = this.rows(j);
        columns.forEach((r, at) => {
          const count = j === i && !this.#mirrored ? r + 1 : width;
          to.set(tile.subarray(r * width, r * width + count), targets[at] + this.starts[j]);
        });
      }
      for (let k = i; k < this.count && !this.#mirrored; k++) {
        const [tile, below] = [this.#data(k, i), this.starts[k]];
        const rows = this.rows(k);
        for (let q = 0; q < rows; q++) {
          const [from, into] = [q * cols, below + q];
          for (let at = 0; at < columns.length; at++) {
            const r = columns[at];
            if (k > i || q > r) to[targets[at] + into] = tile[from + r];
          }
        }
      }
    }
  }

  /** Which of them lie in which row of tiles. */
  #byTile(gs: Int32Array): Map<number, number[]> {
    const found = new Map<number, number[]>();
    gs.forEach((g, at) => {
      const i = this.blockOf(g);
      found.set(i, [...(found.get(i) ?? []), at]);
    });
    return found;
  }

  #data(i: number, j: number): Floats {
    const { data } = this.tile(i, j);
    if (!data) throw new Error('expected tiles in memory');
    return data;
  }

  diagonal(): Float64Array {
    const diagonal = new Float64Array(this.n);
    for (let i = 0; i < this.count; i++) {
      this.read(i, i, (tile) => {
        for (let r = 0; r < this.rows(i); r++) diagonal[this.starts[i] + r] = tile[r * (this.rows(i) + 1)];
      });
    }
    return diagonal;
  }
}

/** An n × m matrix in blocks of rows. */
export class RowBlocks<T extends ElementType = ElementType> extends Blocks {
  readonly n: number;
  readonly m: number;
  readonly type: T;
  readonly #blocks: Block[];
  readonly #stage = new Stage();

  constructor(n: number, m: number, type: T, edge: number, place: Place = inMemory) {
    super(n, edge);
    this.n = n;
    this.m = m;
    this.type = type;
    this.#blocks = Array.from({ length: this.count }, (_, i) => place(type, this.rows(i) * m));
  }

  block(i: number): Block {
    return this.#blocks[i];
  }

  /** The block that begins with a row. */
  read(first: number, run: (values: Floats) => void): void {
    const i = this.starts.indexOf(first);
    this.#stage.use(this.block(i), this.type, this.rows(i) * this.m, false, run);
  }

  /** A row of a matrix in memory, in place. */
  row(row: number): Floats {
    const i = this.blockOf(row);
    const at = (row - this.starts[i]) * this.m;
    return this.block(i).data!.subarray(at, at + this.m);
  }

  /** Runs over the blocks in order. @param isChanged  whether they are written to */
  each(isChanged: boolean, run: (values: Floats, first: number, rows: number) => void): void {
    for (let i = 0; i < this.count; i++) {
      this.#stage.use(this.block(i), this.type, this.rows(i) * this.m, isChanged, (values) =>
        run(values, this.starts[i], this.rows(i)),
      );
    }
  }
}

/** Where the blocks of one matrix come to be read that are not in memory: one after the other, in the same place. */
class Stage {
  #array?: Floats;

  use(block: Block, type: ElementType, length: number, isChanged: boolean, run: (values: Floats) => void) {
    if (block.data) {
      run(block.data);
      return;
    }
    if (!this.#array || this.#array.length < length) this.#array = arrayOf(type, length);
    const values = this.#array.subarray(0, length);
    block.load(values);
    run(values);
    if (isChanged) block.save(values);
  }
}

/** Aᵀ of A m × n, in squares of a cache line; of one whose lower triangle alone is there, both. */
function transposed(A: Floats, m: number, n: number, isTriangle: boolean): Floats {
  const B = isTriangle ? A : arrayOf(A instanceof Float32Array ? 'f32' : 'f64', m * n);
  const edge = 16;
  for (let i0 = 0; i0 < m; i0 += edge) {
    for (let j0 = 0; j0 < (isTriangle ? i0 + 1 : n); j0 += edge) {
      const iEnd = Math.min(i0 + edge, m);
      for (let j = j0; j < Math.min(j0 + edge, n); j++) {
        for (let i = isTriangle ? Math.max(i0, j + 1) : i0; i < iEnd; i++) B[j * m + i] = A[i * n + j];
      }
    }
  }
  return B;
}

export function viewOf(type: ElementType, buffer: ArrayBufferLike, at: number, length: number): Floats {
  return type === 'f32' ? new Float32Array(buffer, at, length) : new Float64Array(buffer, at, length);
}

export function arrayOf(type: ElementType, length: number): Floats {
  return type === 'f32' ? new Float32Array(length) : new Float64Array(length);
}
