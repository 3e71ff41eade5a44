// Sums over calibration rows: one array of doubles in the host's hands,
//   n, rows with a target, Σx (p), XᵀX (p × p, lower triangle), Σy (m), XᵀY (p × m),
// the last two only where m > 0. Arrays of separate runs add up element by element.
import { CHUNK_ROWS } from '../../src/solve/constants';
import { put, value } from '../solve/array';
import { addRows } from '../solve/statistics';

export function statisticsBytes(p: i32, m: i32): f64 {
  return 8 * (2 + <f64>p + <f64>p * p + <f64>m + <f64>p * m);
}

// Where in the array its parts are.

export function sumXOf(array: usize): usize {
  return array + 16;
}
export function XtXOf(array: usize, p: i32): usize {
  return sumXOf(array) + <usize>p * 8;
}
export function sumYOf(array: usize, p: i32): usize {
  return XtXOf(array, p) + <usize>p * <usize>p * 8;
}
export function XtYOf(array: usize, p: i32, m: i32): usize {
  return sumYOf(array, p) + <usize>m * 8;
}

/** Adds n rows. @param scratch  `addRowsBytes` */
export function accumulate(array: usize, p: i32, m: i32, n: i32, X: usize, Y: usize, scratch: usize): void {
  for (let row = 0; row < n; row += CHUNK_ROWS) {
    const x = X + <usize>row * <usize>p * 4;
    const y = Y + <usize>row * <usize>m * 4;
    addRows(
      min(n - row, CHUNK_ROWS), p, m, 0, p, x, y,
      XtXOf(array, p), sumXOf(array), XtYOf(array, p, m), sumYOf(array, p), scratch,
    );
  }
  put(array, 0, value(array, 0) + n);
  if (Y) put(array, 1, value(array, 1) + n);
}
