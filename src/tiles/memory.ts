// What a layer in tiles takes, stated before it starts: of wasm memory, and outside.

import { InputError } from '../errors.ts';
import { type ElementType, elementBytes } from '../kernel/index.ts';
import { CHUNK_ROWS, COLUMNS, multipleOf, panelRows, STAGED_ROWS, TILE, WIDE_ROWS } from '../solve/constants';
import { eliminationBytes, lines, tiledProblemBytes } from '../solve/memory';
import { tileStarts } from './storage.ts';

/** Rows that pass over the tiles together: of one chunk alone, tiles would come and go as long as they are worked on. */
export const BATCH_ROWS = 4 * CHUNK_ROWS;
/** Inputs up to which H⁻¹ is there whole: reading its columns is 8 % of all at 3072 (measured), and less and less beyond. */
export const MIRRORED_ROWS = 8192;
/** Elements between gathered rows, so that they do not fall into the same sets of a cache. */
export const PADDING = 16;
/** Of a panel of columns that a solve or a product has in wasm memory: wide enough for products at full speed. */
const PANEL_BYTES = 2 ** 28;
/** The packing buffers of the products, and what the module itself holds. */
const PACKING_BYTES = 6 * 2 ** 20;
/** What a kernel's scratch for all threads, the runtime and its heap take beside arrays. */
const RUNTIME_BYTES = 256 * 2 ** 20;

/** Columns of a matrix with n rows and m columns that are worked on at a time. */
export function panelColumns(n: number, m: number, type: ElementType): number {
  return Math.min(m, Math.max(64, Math.floor(PANEL_BYTES / (n * elementBytes(type) * 64)) * 64));
}

/** Elements of the tiles of a symmetric matrix. */
export function tileElements(n: number, edge: number): number {
  const starts = tileStarts(n, edge);
  const rows = starts.slice(1).map((end, i) => end - starts[i]);
  return rows.reduce((sum, r, i) => sum + r * starts[i + 1], 0);
}

/** A layer in tiles. */
export interface TiledShape {
  readonly p: number;
  readonly m: number;
  readonly groupSize: number;
  /** Groups to keep. */
  readonly keep: number;
  /** Goes on below `keep` for the whole curve. */
  readonly wholeCurve?: boolean;
  /** Rows and columns of a tile. */
  readonly edge?: number;
}

/** Columns of V that the block of positions from `first` on needs: it is removed when so many have gone. */
export function ownColumns(removed: number, p: number, first: number): number {
  return Math.min(removed, p - first);
}

/** What an elimination keeps by position: W, and V of all removals. */
export function positionBytes(
  { p, m, groupSize, keep, wholeCurve, edge = TILE }: TiledShape,
  size: number,
): number {
  const removed = wholeCurve ? p : p - keep * groupSize;
  const starts = tileStarts(p, Math.max(1, Math.floor(edge / groupSize)) * groupSize);
  const rows = starts.slice(1).map((end, i) => end - starts[i]);
  return rows.reduce(
    (sum, r, i) => sum + lines(size * r * m) + lines(size * r * ownColumns(removed, p, starts[i])),
    0,
  );
}

/** Wasm memory of an elimination without what it keeps by position, and with room for a block of it at a time. */
export function eliminationWasmBytes(shape: TiledShape, size: number): number {
  const { p, m, groupSize: b, keep, wholeCurve, edge = TILE } = shape;
  const removed = wholeCurve ? p : p - keep * b;
  const panel = eliminationBytes(p, m, b, COLUMNS, size, panelRows(b));
  const widest = Math.max(m, removed);
  const block = size * (edge + b) * widest;
  const staged = 2 * size * panelRows(b) * widest;
  return tiledProblemBytes(p, m, b) + panel + block + staged + 2 * PACKING_BYTES; // one of them the host's
}

/** What a layer in tiles takes at its peak, in bytes. */
export interface TiledMemory {
  /** The linear memory. */
  readonly wasm: number;
  /** Sums that become H and G, in f64, rows on their way to them, and the dense weights, in f32. */
  readonly problem: number;
  /** H⁻¹ and the weights of the search, and what does not lie in wasm memory of V and W. */
  readonly search: number;
  /** The factor of the refit and its weights, in f64. */
  readonly refit: number;
  readonly total: number;
}

/**
 * Peak bytes of a layer in tiles whose search is in elements of `size` bytes, on a linear memory of at most `wasmBytes`. Nothing is taken
 * to be freed between the search and the refit: when buffers go is the collector's business.
 */
export function tiledMemory(shape: TiledShape, wasmBytes: number, size = 4): TiledMemory {
  const { p, m, groupSize, keep, edge = TILE } = shape;
  const k = keep * groupSize;
  const byPosition = positionBytes(shape, size);
  const least = eliminationWasmBytes(shape, size);
  const resident = Math.min(byPosition, Math.max(0, wasmBytes - least));
  const tiles = 3 * 8 * (edge + 2) ** 2;
  const sums = 4 * BATCH_ROWS * (p + m + 1) + 8 * (edge + 2 + WIDE_ROWS) * (2 * edge + 4 + m);
  const columns = (n: number, type: ElementType) => n * panelColumns(n, m, type) * elementBytes(type);
  const panels = Math.max(columns(p, 'f32'), 2 * columns(p, 'f64'), columns(k, 'f64'));
  const wasm = Math.min(
    wasmBytes,
    Math.max(least + resident, tiles + panels + PACKING_BYTES, sums + PACKING_BYTES),
  );
  const problem = 8 * (tileElements(p, edge) + p * m) + 4 * p * m + 4 * BATCH_ROWS * (p + m);
  const mirrored = p <= MIRRORED_ROWS ? size * p * p : 0;
  const gathered = mirrored + size * multipleOf(groupSize, STAGED_ROWS) * (p + PADDING);
  const search = size * (tileElements(p, edge) + p * m) + gathered + (byPosition - resident);
  const refit = 8 * (tileElements(k, edge) + k * m);
  return { wasm, problem, search, refit, total: wasm + problem + search + refit + RUNTIME_BYTES };
}

/** What a layer takes, and where it goes. */
export interface TiledPlan {
  readonly memory: TiledMemory;
  /** Bytes of the sums, and so of H and G, that lie in the scratch file. */
  readonly spilled: number;
  /** Bytes that pass between memory and file, for every 2048 rows that are added. */
  readonly traffic: number;
  /** The same for the problem and the search. */
  readonly searchTraffic: number;
}

/**
 * @param memory  bytes that it may take in all
 * @param size  bytes of the search's elements
 * @throws {InputError} with the numbers, where it does not fit
 */
export function plan(
  shape: TiledShape,
  wasmBytes: number,
  memory: number,
  hasScratch: boolean,
  size = 4,
): TiledPlan {
  const { p, m, edge = TILE } = shape;
  const whole = tiledMemory(shape, Math.min(wasmBytes, memory), size);
  if (whole.total <= memory) return { memory: whole, spilled: 0, traffic: 0, searchTraffic: 0 };
  const spilled = 8 * (tileElements(p, edge) + p * m);
  // One block of each at a time passes through memory.
  const passing = 8 * ((edge + 2) ** 2 + (edge + 2) * m);
  const problem = whole.problem - spilled + passing;
  const rest = { ...whole, problem, total: whole.total - spilled + passing };
  if (hasScratch && rest.total <= memory) {
    return { memory: rest, spilled, traffic: 2 * spilled, searchTraffic: 6 * spilled };
  }
  const gigabytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  const search = size === 8 ? ' with a search in f64, H being too ill-conditioned for f32' : '';
  const inFile = hasScratch
    ? `${gigabytes(rest.total)} with its sums in the scratch file`
    : `${gigabytes(rest.total)} with a scratch file for its sums`;
  throw new InputError(
    `tiles: ${p} inputs and ${m} outputs take ${gigabytes(whole.total)}${search}, ${inFile}; "memory" is ${gigabytes(memory)}`,
  );
}
