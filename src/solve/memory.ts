// What the solver's parts take of linear memory, stated before they start. Compiled by asc too, as constants.ts is.

import { CAPACITY, groupsPerPivot, hasTableau, panelRows } from './constants';

/** A cache line, to which all parts are aligned. */
export const LINE: f64 = 64;

/** The packing buffers of the products in f64, at most 4.4 MiB, and what the module itself holds. */
export const PACKING_BYTES: f64 = 6291456;

/** For the description of a workspace, at its beginning. */
export const HEAD_BYTES: f64 = 192;

/** Bytes in whole lines. */
export function lines(bytes: f64): f64 {
  return Math.ceil(bytes / LINE) * LINE;
}

/** Elements of a lower triangle; as many lie before row n of a larger one. */
export function triangle(n: f64): f64 {
  return (n * (n + 1)) / 2;
}

/** Rows of H that are made whole at a time, for a product with it: enough for its full speed. */
export const UNPACKED_ROWS: f64 = 256;

/** A problem, laid out by `createProblem` (assembly/solve/problem.ts). */
export function problemBytes(p: f64, m: f64, b: f64): f64 {
  return tiledProblemBytes(p, m, b) + lines(8 * triangle(p)) + 2 * lines(8 * p * m);
}

/** A problem whose matrices lie in tiles outside. */
export function tiledProblemBytes(p: f64, m: f64, b: f64): f64 {
  const groups = p / b;
  const vectors = 2 * lines(8 * p) + lines(8 * m) + lines(8 * (groups + 1)) + lines(8 * groups) + 2 * LINE;
  return HEAD_BYTES + vectors + lines(4 * groups) + lines(4 * p) + 2 * lines(groups) + lines(4 * groups);
}

/** The workspace of `formProblem`: rows of H, whole, and H·W0. */
export function formBytes(p: f64, m: f64): f64 {
  return lines(8 * p * Math.min(p, UNPACKED_ROWS)) + lines(8 * p * m);
}

/** The workspace of a refit of k rows: the factor of H and the weights. */
export function refitBytes(k: f64, m: f64): f64 {
  return lines(8 * k * k) + lines(8 * k * m);
}

/** Outputs whose weights are put on steps at a time. */
export const ROUNDED_OUTPUTS: f64 = 256;

/** And of one whose weights are put on steps: four numbers of each of their scales, at a time. */
export function roundedBytes(k: f64, m: f64, blocks: f64): f64 {
  return refitBytes(k, m) + 4 * lines(8 * blocks * Math.min(m, ROUNDED_OUTPUTS));
}

/** What the objective of weights on k rows takes: these, and their products with each other by blocks. */
export function objectiveBytes(k: f64, m: f64): f64 {
  return lines(8 * k * m) + lines(8 * Math.min(k, UNPACKED_ROWS) * k);
}

/**
 * The workspace of an elimination, T and W and all, in elements of `size` bytes, without the scratch of the products.
 * What lies in it is laid out by `createElimination` (assembly/solve/elimination.ts).
 * @param rows  of T and W: p, or none where they are in tiles outside
 */
export function eliminationBytes(p: f64, m: f64, b: f64, size: f64, rows: f64): f64 {
  const groups = p / b;
  const panel = lines(size * panelRows(b) * p);
  const staged = lines(size * CAPACITY * panelRows(b) * p);
  const blocks = lines(8 * p * b);
  let bytes = HEAD_BYTES + (size === 4 ? 2 : 1) * lines(size * rows * p) + lines(size * rows * m);
  bytes += 2 * (panel + staged + blocks) + lines(size * panelRows(b) * m);
  return bytes + 2 * lines(8 * groups) + lines(40 * b * b) + 2 * lines(4 * groups) + lines(groups);
}

/** What a pivot takes, with as many rows as there are in one at most: a swap has those of two groups. */
export function pivotBytes(p: f64, b: f64): f64 {
  const rows = b * Math.max(2, Math.min(p / b, groupsPerPivot(b)));
  return 8 * rows * (5 * p + 3 * rows);
}

/** The workspace of a tableau, laid out by `createTableau` (assembly/solve/tableau.ts), without the scratch of the products. */
export function tableauBytes(p: f64, m: f64, b: f64): f64 {
  const groups = p / b;
  const bytes = HEAD_BYTES + 2 * lines(8 * p * p) + lines(Math.max(8 * p * m, pivotBytes(p, b)));
  const blocks = 2 * lines(8 * p * b) + lines(64 * b * b);
  return bytes + blocks + 3 * lines(8 * groups) + 3 * lines(4 * groups) + 2 * lines(groups);
}

/** The workspace of a layer's elimination, search and refit (assembly/solve/prune.ts), in f64; in f32 they take less. */
export function pruneBytes(p: f64, m: f64, b: f64, search: i32): f64 {
  const elimination = eliminationBytes(p, m, b, 8, p);
  return hasTableau(search, p) ? Math.max(elimination, tableauBytes(p, m, b)) : elimination; // a refit takes no more
}
