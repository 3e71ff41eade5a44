// Sums over calibration rows: one array of doubles in the host's hands,
//   n, rows with a target, Σx (p), XᵀX (p × p, lower triangle), Σy (m), XᵀY (p × m),
// the last two only where m > 0. Arrays of separate runs add up element by element.
import { cross, gram } from '../gram';

/** Rows whose products are summed in f32 before they are added up in f64: KC of the f32 GEMM. */
export const CHUNK_ROWS: i32 = 512;

// @ts-ignore: decorator
@unmanaged
export class Statistics {
  n: f64;
  targets: f64;
  sumX: usize;
  XtX: usize;
  sumY: usize;
  XtY: usize;
}

export function statisticsBytes(p: i32, m: i32): f64 {
  return 8 * (2 + <f64>p + <f64>p * p + <f64>m + <f64>p * m);
}

/** Where in the array things are, and its first two numbers. */
export function open(array: usize, p: i32, m: i32, out: Statistics): void {
  out.n = load<f64>(array);
  out.targets = load<f64>(array, 8);
  out.sumX = array + 16;
  out.XtX = out.sumX + <usize>p * 8;
  out.sumY = out.XtX + <usize>p * <usize>p * 8;
  out.XtY = out.sumY + <usize>m * 8;
}

/** Bytes of the column of ones. */
export function onesBytes(): f64 {
  return 4 * CHUNK_ROWS;
}

/** @param ones  scratch, `onesBytes`; @param work  of the f32 GEMM */
export function accumulate(
  array: usize, p: i32, m: i32, n: i32, X: usize, Y: usize, ones: usize, work: usize, sums: Statistics,
): void {
  open(array, p, m, sums);
  for (let i = 0; i < CHUNK_ROWS; i++) store<f32>(ones + (<usize>i << 2), 1);
  for (let row = 0; row < n; row += CHUNK_ROWS) {
    const take = min(n - row, CHUNK_ROWS);
    const x = X + <usize>row * <usize>p * 4;
    gram(take, p, x, p, sums.XtX, p, work);
    cross(take, p, 1, x, p, ones, 1, sums.sumX, 1, work);
    if (!Y) continue;
    const y = Y + <usize>row * <usize>m * 4;
    cross(take, p, m, x, p, y, m, sums.XtY, m, work);
    cross(take, m, 1, y, m, ones, 1, sums.sumY, 1, work);
  }
  store<f64>(array, sums.n + n);
  if (Y) store<f64>(array, sums.targets + n, 8);
}
