// What a layer in tiles takes, stated before it starts: of wasm memory, and outside.

import { InputError } from '../errors.ts';
import { type ElementType, elementBytes } from '../kernel/index.ts';
import {
  BYTES,
  COUNT,
  expectOptions,
  type Kind,
  type Options,
  required,
  SWITCH,
  wholeFrom,
} from '../options.ts';
import { CHUNK_ROWS, multipleOf, panelRows, STAGED_ROWS, TILE, WIDE_ROWS } from '../solve/constants';
import { eliminationBytes, LINE, PACKING_BYTES, tiledProblemBytes } from '../solve/memory';

/** Rows that pass over the tiles together: of one chunk alone, tiles would come and go as long as they are worked on. */
export const BATCH_ROWS = 4 * CHUNK_ROWS;
/** Inputs up to which H⁻¹ is there whole: reading its columns is 8 % of all at 3072 (measured), and less and less beyond. */
export const MIRRORED_ROWS = 8192;
/** Elements between gathered rows, so that they do not fall into the same sets of a cache. */
export const PADDING = 16;
/** Of a panel of columns that a solve or a product has in wasm memory: wide enough for products at full speed. */
const PANEL_BYTES = 2 ** 28;
/** What a kernel's scratch for all threads, the runtime and its heap take beside arrays. */
const RUNTIME_BYTES = 256 * 2 ** 20;

/** Columns of a matrix with n rows and m columns that are worked on at a time. */
export function panelColumns(n: number, m: number, type: ElementType): number {
  return Math.min(m, Math.max(64, Math.floor(PANEL_BYTES / (n * elementBytes(type) * 64)) * 64));
}

/** Elements of the tiles of a symmetric matrix. */
export function tileElements(n: number, edge: number): number {
  const whole = wholeTiles(n, edge);
  return (edge * edge * whole * (whole + 1)) / 2 + (n - whole * edge) * n;
}

/** Tiles along an edge before the last one, as `tileStarts` has them, of any n: plans are arithmetic alone. */
function wholeTiles(n: number, edge: number): number {
  return n > edge ? Math.floor((n - 1) / edge) : 0;
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

/** A layer that is pruned, or refitted with all of its inputs. */
export interface TiledJob extends Omit<TiledShape, 'keep'> {
  /** Groups to keep; left out, all. */
  readonly keep?: number;
}

const JOB: Options<TiledJob> = {
  p: required(COUNT),
  m: required(COUNT),
  groupSize: required(COUNT),
  keep: wholeFrom(0),
  wholeCurve: SWITCH,
  edge: COUNT,
};
/** What is left of a bound may be less than nothing. */
const LEFT: Kind = [(value) => typeof value === 'number' && !Number.isNaN(value), 'bytes, a number'];
const BOUNDS = { wasmBytes: required(BYTES), memory: required(LEFT) };

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
  const rows = Math.max(1, Math.floor(edge / groupSize)) * groupSize;
  const whole = wholeTiles(p, rows);
  // Blocks that see all removals, and those that go before them.
  const all = Math.min(whole, Math.floor((p - removed) / rows) + 1);
  const some = whole - all;
  const last = p - whole * rows;
  const V =
    rows * (all * removed + some * p - (rows * some * (all + whole - 1)) / 2) +
    last * ownColumns(removed, p, whole * rows);
  return size * (p * m + V) + 2 * LINE * (whole + 1);
}

/** Wasm memory of an elimination without what it keeps by position, and with room for a block of it at a time. */
export function eliminationWasmBytes(shape: TiledShape, size: number): number {
  const { p, m, groupSize: b, keep, wholeCurve, edge = TILE } = shape;
  const removed = wholeCurve ? p : p - keep * b;
  const panel = eliminationBytes(p, m, b, size, 0);
  const widest = Math.max(m, removed);
  const block = size * (edge + b) * widest;
  const staged = 2 * size * panelRows(b) * widest;
  return tiledProblemBytes(p, m, b) + panel + block + staged + 2 * PACKING_BYTES; // one of them the host's
}

/** Wasm memory of a thread while the same rows are added to the sums of several layers. */
export function tiledSummingBytes(jobs: readonly Pick<TiledJob, 'p' | 'm' | 'edge'>[]): number {
  const batches = jobs.map(({ p, m }) => 4 * BATCH_ROWS * (p + m + 1));
  const sums = jobs.map(({ p, m, edge = TILE }) => {
    const rows = Math.min(p, edge);
    return 8 * (rows + WIDE_ROWS) * (2 * rows + m);
  });
  return PACKING_BYTES + batches.reduce((sum, bytes) => sum + bytes) + Math.max(...sums);
}

/** What factorisation and solves take of wasm memory: three tiles, and of `columns` wide parts of other matrices so much. */
function factorBytes(edge: number, columns: number): number {
  return 3 * 8 * edge ** 2 + columns + PACKING_BYTES;
}

/** Of n rows, so many columns as are worked on at a time. */
function panelBytes(n: number, m: number, type: ElementType): number {
  return n * panelColumns(n, m, type) * elementBytes(type);
}

/** Bytes of H⁻¹ that lie in wasm memory: all, where there is room for what the search works on besides, or none. */
export function inverseInside(shape: TiledShape, wasmBytes: number, size: number): number {
  const { p, m, edge = TILE } = shape;
  const inverse = size * tileElements(p, edge);
  const elimination = eliminationWasmBytes(shape, size) + positionBytes(shape, size);
  const factor = factorBytes(edge, panelBytes(p, m, size === 4 ? 'f32' : 'f64'));
  return inverse + Math.max(elimination, factor) <= wasmBytes ? inverse : 0;
}

/** The same of the factor of a refit. */
export function factorInside(k: number, m: number, edge: number, wasmBytes: number): number {
  const factor = 8 * tileElements(k, edge);
  return factor + factorBytes(edge, panelBytes(k, m, 'f64')) <= wasmBytes ? factor : 0;
}

/** What a layer in tiles takes at its peak, in bytes. */
export interface TiledMemory {
  /** The linear memory. */
  readonly wasm: number;
  /** Sums that become H and G, in f64, and the dense weights, in f32. */
  readonly problem: number;
  /** H⁻¹ and the weights of the search, V and W, as far as they do not lie in wasm memory. */
  readonly search: number;
  /** The factor of the refit, where it does not, and its weights, in f64, and these once more among the rows that go. */
  readonly refit: number;
  readonly total: number;
}

/**
 * Peak bytes of a layer in tiles whose search is in elements of `size` bytes, on a linear memory of at most `wasmBytes`. Nothing is taken
 * to be freed between the search and the refit: when buffers go is the collector's business.
 * @param isSpilled  H and G go to a file, and H⁻¹ and the factor where they were instead of into wasm memory
 */
export function tiledMemory(job: TiledJob, wasmBytes: number, size = 4, isSpilled = false): TiledMemory {
  const { p, m, groupSize, keep } = job;
  const edge = Math.min(job.edge ?? TILE, p);
  const shape = { ...job, edge };
  const k = keep === undefined ? p : keep * groupSize;
  const searched = keep === undefined ? undefined : { ...shape, keep };
  const byPosition = searched ? positionBytes(searched, size) : 0;
  const least = searched ? eliminationWasmBytes(searched, size) : 0;
  const inverse = searched && !isSpilled ? inverseInside(searched, wasmBytes, size) : 0;
  const factor = isSpilled ? 0 : factorInside(k, m, edge, wasmBytes);
  // Where the inverse lies inside there is room for all of it.
  const resident = Math.min(byPosition, Math.max(0, wasmBytes - least));
  const wasm = Math.max(
    inverse + least + resident,
    inverse + factorBytes(edge, panelBytes(p, m, size === 4 ? 'f32' : 'f64')),
    factor + factorBytes(edge, panelBytes(k, m, 'f64')),
    factorBytes(edge, 2 * panelBytes(p, m, 'f64')),
    tiledSummingBytes([shape]),
  );
  const problem = 8 * (tileElements(p, edge) + p * m) + 4 * p * m;
  const mirrored = p <= MIRRORED_ROWS ? size * p * p : 0;
  const gathered = mirrored + size * multipleOf(groupSize, STAGED_ROWS) * (p + PADDING);
  const outside = size * (tileElements(p, edge) + p * m) - inverse + gathered + (byPosition - resident);
  const search = searched ? outside : 0;
  const refit = 8 * (tileElements(k, edge) + k * m + p * m) - factor;
  return { wasm, problem, search, refit, total: wasm + problem + search + refit + RUNTIME_BYTES };
}

/** What a layer takes, and where it goes. */
export interface TiledPlan {
  readonly memory: TiledMemory;
  /** Bytes of H and G that lie in the scratch file while the search goes on. */
  readonly spilled: number;
  /** Bytes that are written to it and read from it. */
  readonly traffic: number;
}

/** How often what is spilled passes: written once, read for the inverse, the weights and their worth, and for the refit. */
const PASSES = 4;

/** Bytes of a layer's sums. */
export function tiledSumBytes({ p, m, edge = TILE }: Pick<TiledJob, 'p' | 'm' | 'edge'>): number {
  return 8 * (tileElements(p, edge) + p * m);
}

/**
 * What a layer takes within a bound: all of it in memory, or else H and G in a file, whether that fits the bound or not.
 * @param wasmBytes  of a linear memory, at most
 * @param memory  bytes that the layer may take in all; Infinity where there is no bound
 * @param size  bytes of the search's elements
 * @throws {InputError} naming what is no number of bytes, rows or groups
 *
 * @example
 * const { memory, spilled } = tiledPlan({ p: 28672, m: 7168, groupSize: 1, keep: 14336 }, 2 ** 32, 12e9);
 * console.log(`${memory.total} bytes, and ${spilled} in a file`);
 */
export function tiledPlan(job: TiledJob, wasmBytes: number, memory: number, size = 4): TiledPlan {
  expectOptions('tiledPlan', job, JOB);
  expectOptions('tiledPlan', { wasmBytes, memory }, BOUNDS);
  const { p, m, groupSize, keep, edge = TILE } = job;
  const whole = tiledMemory(job, Math.min(wasmBytes, memory), size);
  if (whole.total <= memory) return { memory: whole, spilled: 0, traffic: 0 };
  const inFile = tiledMemory(job, Math.min(wasmBytes, memory), size, true);
  const spilled = tiledSumBytes(job);
  const k = keep === undefined ? p : keep * groupSize;
  // The search and the refit lie where H and G were; one block at a time comes back.
  const search = keep === undefined ? 0 : size * (tileElements(p, edge) + p * m);
  const refit = 8 * (tileElements(k, edge) + k * m);
  const saved = Math.min(spilled, search + refit) - 8 * edge * (edge + m);
  const rest = { ...inFile, problem: inFile.problem - saved, total: inFile.total - saved };
  return { memory: rest, spilled, traffic: PASSES * spilled };
}

/** @throws {InputError} with the numbers, where a layer does not fit the memory */
export function expectFits({ p, m }: TiledJob, { memory: { total } }: TiledPlan, memory: number): void {
  if (total <= memory) return;
  const gigabytes = (bytes: number) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  throw new InputError(
    `tiles: ${p} inputs and ${m} outputs take ${gigabytes(total)} with their sums in a file; "memory" is ${gigabytes(memory)}`,
  );
}
