// Sums over calibration rows, of all inputs of a layer or of a panel of them: over the same rows in the same order, so that
// their bits do not depend on how the inputs are divided.
import { CHUNK_ROWS, WIDE_ROWS } from '../../src/solve/constants';
import { gemm } from '../gemm';
import { cross, gram, isFlat, widen } from '../gram';
import { syrk } from '../syrk';
import { workBytes } from './work';

/** Scratch of `addRows`: a column of ones, and it, X and Y in f64. */
export function addRowsBytes(p: i32, m: i32): f64 {
  return 4 * CHUNK_ROWS + wideBytes(p, m) + workBytes(max(p, m), CHUNK_ROWS);
}

function wideBytes(p: i32, m: i32): f64 {
  return 8 * <f64>WIDE_ROWS * (<f64>p + m + 1);
}

/**
 * Adds XᵀX, Σx, XᵀY and Σy over CHUNK_ROWS rows at most, X rows × p and Y rows × m: summed in f32, or in f64 where they are
 * flat, and added up in f64.
 *
 * @param m  0 without a target
 * @param first, end  the inputs whose rows of the sums are wanted
 * @param XtX  (end − first) × end, of which the lower triangle counts
 * @param XtY  (end − first) × m
 * @param scratch  `addRowsBytes`
 */
export function addRows(
  rows: i32, p: i32, m: i32, first: i32, end: i32, X: usize, Y: usize,
  XtX: usize, sumX: usize, XtY: usize, sumY: usize, scratch: usize,
): void {
  const ones = scratch;
  const wide = ones + 4 * CHUNK_ROWS;
  const work = wide + <usize>wideBytes(p, m);
  for (let i = 0; i < CHUNK_ROWS; i++) store<f32>(ones + (<usize>i << 2), 1);
  if (!isFlat(rows, p, X, p)) return add<f32>(rows, p, m, first, end, X, Y, ones, XtX, sumX, XtY, sumY, work);
  const x = wide + 8 * WIDE_ROWS;
  const y = x + 8 * <usize>WIDE_ROWS * <usize>p;
  widen(WIDE_ROWS, 1, ones, 1, wide, 1);
  for (let row = 0; row < rows; row += WIDE_ROWS) {
    const k = min(rows - row, WIDE_ROWS);
    widen(k, p, X + <usize>row * <usize>p * 4, p, x, p);
    widen(k, m, Y + <usize>row * <usize>m * 4, m, y, m);
    add<f64>(k, p, m, first, end, x, y, wide, XtX, sumX, XtY, sumY, work);
  }
}

function add<T>(
  rows: i32, p: i32, m: i32, first: i32, end: i32, X: usize, Y: usize, ones: usize,
  XtX: usize, sumX: usize, XtY: usize, sumY: usize, work: usize,
): void {
  const n = end - first;
  const panel = X + <usize>first * sizeof<T>();
  // Only the lower triangle is wanted: before the diagonal block a rectangle, then the block itself.
  const block = XtX + <usize>first * 8;
  if (first > 0) product<T>(rows, n, first, panel, p, X, p, XtX, end, work);
  if (sizeof<T>() == 4) gram(rows, n, panel, p, block, end, work);
  else syrk<f64>(true, n, rows, 1, panel, p, 1, block, end, work);
  product<T>(rows, n, 1, panel, p, ones, 1, sumX, 1, work);
  if (m == 0) return;
  product<T>(rows, n, m, panel, p, Y, m, XtY, m, work);
  product<T>(rows, m, 1, Y, m, ones, 1, sumY, 1, work);
}

/** C ← C + AᵀB, A rows × n and B rows × m, C in f64. */
function product<T>(
  rows: i32, n: i32, m: i32, A: usize, lda: i32, B: usize, ldb: i32, C: usize, ldc: i32, work: usize,
): void {
  if (sizeof<T>() == 4) cross(rows, n, m, A, lda, B, ldb, C, ldc, work);
  else gemm<f64>(true, false, n, m, rows, 1, A, lda, B, ldb, 1, C, ldc, work);
}
