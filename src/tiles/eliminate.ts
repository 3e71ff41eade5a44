// The host of an elimination in tiles (assembly/solve/tiles.ts): T stays as it is, outside; W and V lie in blocks of rows by position, in
// wasm memory as far as there is room, and come in for every product where there is none.

import { type ElementType, elementBytes, type Kernels, prefixOf } from '../kernel/index.ts';
import { multipleOf, panelRows, STAGED_ROWS, TILE } from '../solve/constants';
import type { Elimination } from '../solve/eliminate.ts';
import { eliminationBytes, lines } from '../solve/memory';
import { Workspace } from '../solve/workspace.ts';
import { MIRRORED_ROWS, ownColumns, PADDING, type TiledShape } from './memory.ts';
import {
  arrayOf,
  Blocks,
  type Floats,
  type RowBlocks,
  type SymmetricTiles,
  tileStarts,
  viewOf,
} from './storage.ts';

/** As assembly/solve/tiles.ts has them. */
const [SWAP, STAGE, REMOVE, PANEL] = [0, 1, 2, 3];

export interface TiledSearch extends TiledShape {
  readonly groupsPerStep?: number;
  readonly protect?: readonly number[];
}

/** What an elimination finds. */
export type TiledSupport = Pick<Elimination, 'kept' | 'removed' | 'curve' | 'objective'>;

/**
 * Greedy elimination by columns.
 *
 * @param T  H⁻¹, in memory
 * @param W  H⁻¹G
 * @param dense  f on all groups
 * @returns the support, or the pivot at which H was not positive definite
 */
export function eliminateTiles<T extends ElementType>(
  kernels: Kernels,
  T: SymmetricTiles<T>,
  W: RowBlocks<T>,
  search: TiledSearch,
  dense: number,
): TiledSupport | number {
  const { p, m, groupSize: b, keep, groupsPerStep = 1, protect, wholeCurve = false } = search;
  const { abi } = kernels;
  const { type } = T;
  const groups = p / b;
  return kernels.scoped(() => {
    const space = new Workspace(kernels, { p, m, groupSize: b }, true);
    space.protect(protect);
    return space.working(eliminationBytes(p, m, b, elementBytes(type), 0), () => {
      abi.createTiled(space.state, type === 'f32');
      const host = new Host(kernels, space, T, W, search);
      host.begin();
      space.matrix(abi.problemReport(space.state), 8, 1)[1] = dense;
      abi.host.tiles = (...event) => host.answer(...event);
      try {
        const step = Math.min(groupsPerStep, groups);
        const info = abi.eliminateTiled(space.state, keep, step, wholeCurve);
        if (info) return info;
        const removed = Array.from(space.order.subarray(keep)).reverse();
        const { objective } = space.report;
        return { kept: space.kept, removed, curve: space.curve.slice(), objective };
      } finally {
        abi.host.tiles = undefined;
      }
    });
  });
}

/** Rows by position, as far as groups live; of each block the last `columns`. */
class Positions extends Blocks {
  readonly #kernels: Kernels;
  readonly #type: ElementType;
  readonly #columns: readonly number[];
  /** An address where a block is in wasm memory. */
  readonly #places: (number | Floats)[];
  readonly #views: Floats[] = [];
  /** Where the others come in. */
  readonly #room: number;
  /** A row on its way. */
  readonly #swapped: Floats;

  constructor(
    kernels: Kernels,
    type: ElementType,
    p: number,
    edge: number,
    columns: (first: number) => number,
    room: number,
    isResident: (bytes: number) => boolean,
  ) {
    super(p, edge);
    this.#kernels = kernels;
    this.#type = type;
    this.#room = room;
    this.#columns = this.starts.slice(0, -1).map(columns);
    this.#swapped = arrayOf(type, Math.max(...this.#columns));
    this.#places = this.#columns.map((cols, i) => {
      const length = this.rows(i) * cols;
      const bytes = lines(length * elementBytes(type));
      return isResident(bytes) ? kernels.allocate(bytes) : arrayOf(type, length);
    });
  }

  columns(i: number): number {
    return this.#columns[i];
  }

  /** Where a block is: an address, or outside wasm memory. */
  place(i: number): number | Floats {
    return this.#places[i];
  }

  /** Runs over the blocks of the first `live` rows, in wasm memory. @param isChanged  whether they are written to */
  each(live: number, isChanged: boolean, run: (i: number, rows: number, address: number) => void): void {
    for (let i = 0; i < this.#places.length && this.starts[i] < live; i++) {
      const place = this.#places[i];
      const rows = Math.min(this.rows(i), live - this.starts[i]);
      if (typeof place === 'number') {
        run(i, rows, place);
        continue;
      }
      this.#inside(i, this.#room).set(place);
      run(i, rows, this.#room);
      if (isChanged) place.set(this.#inside(i, this.#room));
    }
  }

  /** The last `count` elements of a row. */
  row(position: number, count: number): Floats {
    const i = this.blockOf(position);
    const end = (position - this.starts[i] + 1) * this.#columns[i];
    return this.#view(i).subarray(end - count, end);
  }

  swap(a: number, z: number, count: number): void {
    const [x, y] = [this.row(a, count), this.row(z, count)];
    const kept = this.#swapped.subarray(0, count);
    kept.set(x);
    x.set(y);
    y.set(kept);
  }

  /** A block wherever it is. From its first use on wasm memory must not grow. */
  #view(i: number): Floats {
    const place = this.#places[i];
    this.#views[i] ??= typeof place === 'number' ? this.#inside(i, place) : place;
    return this.#views[i];
  }

  #inside(i: number, address: number): Floats {
    const { buffer } = this.#kernels.abi.memory;
    return viewOf(this.#type, buffer, address >>> 0, this.rows(i) * this.#columns[i]);
  }
}

class Host {
  readonly #kernels: Kernels;
  readonly #space: Workspace;
  readonly #T: SymmetricTiles;
  readonly #search: TiledSearch;
  readonly #size: number;
  readonly #W: Positions;
  /** Vᵀ: row by position, the latest removal first, from the right end. */
  readonly #V: Positions;
  /** Rows of W or V that are staged, one behind the other. */
  readonly #staged: number;
  readonly #work: number;
  /** Rows of T that are staged, by group. */
  readonly #gathered: Floats;
  /** Group by position. */
  readonly #order: Int32Array;
  /** Rows that live, and those of V that panels before have found. */
  #live: number;
  #found = 0;

  constructor(kernels: Kernels, space: Workspace, T: SymmetricTiles, W: RowBlocks, search: TiledSearch) {
    const { p, m, groupSize: b, keep, wholeCurve, edge = TILE } = search;
    const { type } = T;
    this.#kernels = kernels;
    this.#space = space;
    this.#T = T;
    this.#search = search;
    this.#size = elementBytes(type);
    this.#live = p;
    this.#gathered = arrayOf(type, multipleOf(b, STAGED_ROWS) * (p + PADDING));
    this.#order = Int32Array.from({ length: p / b }, (_, group) => group);
    const removed = wholeCurve ? p : p - keep * b;
    const widest = Math.max(m, removed);
    const rows = Math.max(1, Math.floor(edge / b)) * b;
    const starts = tileStarts(p, rows);
    const most = Math.max(...starts.slice(1).map((end, i) => end - starts[i]));
    this.#work = kernels.allocate(kernels.abi.workBytes(p, m));
    this.#staged = kernels.allocate(this.#size * panelRows(b) * widest);
    const room = kernels.allocate(lines(this.#size * most * widest));
    let left = kernels.maximumBytes - kernels.mark();
    const isResident = (bytes: number) => {
      if (bytes > left) return false;
      left -= bytes;
      return true;
    };
    const positions = (columns: (first: number) => number) =>
      new Positions(kernels, type, p, rows, columns, room, isResident);
    this.#W = positions(() => m);
    this.#V = positions((first) => ownColumns(removed, p, first));
    let at = 0;
    W.each(false, (values, first, rows) => {
      for (let r = 0; r < rows; r++, at++) this.#W.row(first + r, m).set(values.subarray(r * m, (r + 1) * m));
    });
    if (at !== p) throw new Error('eliminate: W has other rows');
    // At last, since tiles in wasm memory are read where they are.
    if (p <= MIRRORED_ROWS) T.mirror();
  }

  /** The diagonal blocks of T and WWᵀ. */
  begin(): void {
    const { p, groupSize: b } = this.#search;
    const { abi } = this.#kernels;
    const D = this.#space.matrix(abi.tiledBlocks(this.#space.state), p, b);
    for (let g = 0; g < p; g++) {
      const first = g - (g % b);
      for (let h = first; h < first + b; h++) D[g * b + (h - first)] = this.#T.element(g, h);
    }
    this.#W.each(p, false, (i, rows, W) => {
      const first = this.#W.starts[i] / b;
      abi.tiledGramBlocks(this.#space.state, first, first + rows / b, W);
    });
  }

  answer(event: number, a: number, z: number, x: number, y: number): void {
    const { groupSize: b, m } = this.#search;
    if (event === SWAP) {
      const order = this.#order;
      [order[a], order[z]] = [order[z], order[a]];
      for (let r = 0; r < b; r++) {
        this.#W.swap(a * b + r, z * b + r, m);
        if (this.#found > 0) this.#V.swap(a * b + r, z * b + r, this.#found);
      }
    } else if (event === STAGE) this.#stage(a, z, x >>> 0, y >>> 0);
    else if (event === REMOVE) {
      for (let r = 0; r < z; r++) this.#floats(x + r * m * this.#size, m).set(this.#W.row(a + r, m));
      this.#live = a;
    } else if (event === PANEL) this.#take(z, x >>> 0, y >>> 0);
  }

  /** C ← T_s: − V_sᵀV and K ← W_sWᵀ for rows s from `first` on. */
  #stage(first: number, count: number, C: number, K: number): void {
    const { p, m } = this.#search;
    const [live, found, size] = [this.#live, this.#found, this.#size];
    const gemm = this.#kernels.abi[`${prefixOf(this.#T.type)}gemm`];
    const [order, b] = [this.#order, this.#search.groupSize];
    const rows = new Int32Array(live);
    for (let j = 0; j < live; j++) rows[j] = order[Math.floor(j / b)] * b + (j % b);
    this.#T.gather(rows.subarray(first, first + count), this.#gathered, p + PADDING);
    for (let r = 0; r < count; r++) {
      const from = this.#gathered.subarray(r * (p + PADDING), r * (p + PADDING) + p);
      const to = this.#floats(C + r * p * size, live);
      for (let j = 0; j < live; j++) to[j] = from[rows[j]];
    }
    if (found > 0) {
      this.#bring(this.#V, first, count, found);
      this.#V.each(live, false, (i, n, V) => {
        const columns = this.#V.columns(i);
        const to = C + this.#V.starts[i] * size;
        const from = V + (columns - found) * size;
        gemm(false, true, count, n, found, -1, this.#staged, found, from, columns, 1, to, p, this.#work);
      });
    }
    this.#bring(this.#W, first, count, m);
    this.#W.each(live, false, (i, n, W) => {
      gemm(
        ...([false, true, count, n, m, 1, this.#staged, m, W, m] as const),
        ...([0, K + this.#W.starts[i] * size, p, this.#work] as const),
      );
    });
  }

  /** W ← W − VᵀU of a panel's n removals, which join those before. */
  #take(n: number, V: number, U: number): void {
    const { p, m } = this.#search;
    const [live, size] = [this.#live, this.#size];
    const { abi } = this.#kernels;
    const prefix = prefixOf(this.#T.type);
    const [gemm, transpose] = [abi[`${prefix}gemm`], abi[`${prefix}transpose`]];
    this.#W.each(live, true, (i, rows, W) => {
      gemm(
        ...([true, false, rows, m, n, -1, V + this.#W.starts[i] * size, p, U, m] as const),
        ...([1, W, m, this.#work] as const),
      );
    });
    this.#found += n;
    const from = this.#floats(V, (n - 1) * p + live);
    for (let i = 0; i + 1 < this.#V.starts.length && this.#V.starts[i] < live; i++) {
      const [first, columns] = [this.#V.starts[i], this.#V.columns(i)];
      const rows = Math.min(this.#V.rows(i), live - first);
      const into = columns - this.#found;
      const place = this.#V.place(i);
      if (typeof place === 'number') {
        transpose(n, rows, V + first * size, p, place + into * size, columns);
        continue;
      }
      for (let j = 0; j < rows; j++) {
        for (let q = 0; q < n; q++) place[j * columns + into + q] = from[q * p + first + j];
      }
    }
  }

  #bring(from: Positions, first: number, count: number, width: number): void {
    const to = this.#floats(this.#staged, count * width);
    for (let r = 0; r < count; r++) to.set(from.row(first + r, width), r * width);
  }

  #floats(address: number, length: number): Floats {
    return viewOf(this.#T.type, this.#kernels.abi.memory.buffer, address >>> 0, length);
  }
}
