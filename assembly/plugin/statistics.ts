// Sums over calibration rows: one array of doubles in the host's hands,
//   n, rows with a target, Σx (p), XᵀX (p × p, lower triangle), Σy (m), XᵀY (p × m),
// the last two only where m > 0. Arrays of separate runs add up element by element.
import { CHUNK_ROWS } from '../../src/solve/constants';
import { gram, gramBytes, isFlat } from '../gram';
import { at } from '../simd';
import { put, value } from '../solve/array';

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

/** Scratch of `accumulate`: a column of ones, and that of `gram`. */
export function accumulateBytes(p: i32, m: i32): f64 {
  return 4 * CHUNK_ROWS + gramBytes(p, max(m, 1));
}

/** Adds n rows. @param scratch  `accumulateBytes` */
export function accumulate(array: usize, p: i32, m: i32, n: i32, X: usize, Y: usize, scratch: usize): void {
  const ones = scratch;
  const work = ones + 4 * CHUNK_ROWS;
  for (let i = 0; i < CHUNK_ROWS; i++) store<f32>(at<f32>(ones, 0, 0, i), 1);
  for (let row = 0; row < n; row += CHUNK_ROWS) {
    const rows = min(n - row, CHUNK_ROWS);
    const x = at<f32>(X, p, row, 0);
    const y = at<f32>(Y, m, row, 0);
    const flat = isFlat(rows, p, x, p);
    gram(flat, rows, p, p, x, p, x, p, XtXOf(array, p), p, work);
    gram(flat, rows, p, 1, x, p, ones, 1, sumXOf(array), 1, work);
    if (m == 0) continue;
    gram(flat, rows, p, m, x, p, y, m, XtYOf(array, p, m), m, work);
    gram(flat, rows, m, 1, y, m, ones, 1, sumYOf(array, p), 1, work);
  }
  put(array, 0, value(array, 0) + n);
  if (Y) put(array, 1, value(array, 1) + n);
}
