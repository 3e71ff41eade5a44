// Sums over calibration rows: one array of doubles in the host's hands,
//   n, rows with a target, Σx (p), XᵀX (p × p, lower triangle), Σy (m), XᵀY (p × m),
// the last two only where m > 0. Arrays of separate runs add up element by element.
import { CHUNK_ROWS, WIDE_ROWS } from '../../src/solve/constants';
import { gemm } from '../gemm';
import { cross, gram, isFlat, widen } from '../gram';
import { syrk } from '../syrk';
import { workBytes } from './work';

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

/** Scratch of `accumulate`: a column of ones, and X, Y and it in f64. */
export function accumulateBytes(p: i32, m: i32): f64 {
  return 4 * CHUNK_ROWS + wideBytes(p, m) + workBytes(max(p, m), CHUNK_ROWS);
}

function wideBytes(p: i32, m: i32): f64 {
  return 8 * <f64>WIDE_ROWS * (<f64>p + m + 1);
}

/** @param scratch  `accumulateBytes` */
export function accumulate(
  array: usize, p: i32, m: i32, n: i32, X: usize, Y: usize, scratch: usize, sums: Statistics,
): void {
  open(array, p, m, sums);
  const ones = scratch;
  const wide = ones + 4 * CHUNK_ROWS;
  const work = wide + <usize>wideBytes(p, m);
  for (let i = 0; i < CHUNK_ROWS; i++) store<f32>(ones + (<usize>i << 2), 1);
  for (let row = 0; row < n; row += CHUNK_ROWS) {
    const take = min(n - row, CHUNK_ROWS);
    const x = X + <usize>row * <usize>p * 4;
    const y = Y ? Y + <usize>row * <usize>m * 4 : 0;
    if (isFlat(take, p, x, p)) addWide(take, p, m, x, y, ones, wide, work, sums);
    else add(take, p, m, x, y, ones, work, sums);
  }
  store<f64>(array, sums.n + n);
  if (Y) store<f64>(array, sums.targets + n, 8);
}

function add(
  rows: i32, p: i32, m: i32, x: usize, y: usize, ones: usize, work: usize, sums: Statistics,
): void {
  gram(rows, p, x, p, sums.XtX, p, work);
  cross(rows, p, 1, x, p, ones, 1, sums.sumX, 1, work);
  if (!y) return;
  cross(rows, p, m, x, p, y, m, sums.XtY, m, work);
  cross(rows, m, 1, y, m, ones, 1, sums.sumY, 1, work);
}

/** The same, summed in f64. */
function addWide(
  rows: i32, p: i32, m: i32, x: usize, y: usize, ones: usize, wide: usize, work: usize, sums: Statistics,
): void {
  const X = wide + 8 * WIDE_ROWS;
  const Y = X + 8 * <usize>WIDE_ROWS * <usize>p;
  widen(WIDE_ROWS, 1, ones, 1, wide, 1);
  for (let row = 0; row < rows; row += WIDE_ROWS) {
    const k = min(rows - row, WIDE_ROWS);
    widen(k, p, x + <usize>row * <usize>p * 4, p, X, p);
    syrk<f64>(true, p, k, 1, X, p, 1, sums.XtX, p, work);
    gemm<f64>(true, false, p, 1, k, 1, X, p, wide, 1, 1, sums.sumX, 1, work);
    if (!y) continue;
    widen(k, m, y + <usize>row * <usize>m * 4, m, Y, m);
    gemm<f64>(true, false, p, m, k, 1, X, p, Y, m, 1, sums.XtY, m, work);
    gemm<f64>(true, false, m, 1, k, 1, Y, m, wide, 1, 1, sums.sumY, 1, work);
  }
}
