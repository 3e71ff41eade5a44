// Statistics of calibration data: f32 rows in, f64 sums out. Products over at most KC = 512 rows are summed
// in f32 at full speed, those sums are added up in f64 (1.2e-7 relative error on whole Gram matrices).
import { Triangle, product } from './gemm';
import { LANES, at } from './simd';

/** H ← H + XᵀX, lower triangle only; X rows × p in f32, H p × p in f64. */
export function gram(rows: i32, p: i32, X: usize, ldx: i32, H: usize, ldh: i32, work: usize): void {
  product<f32, f64>(Triangle.None, true, true, true, false, p, p, rows, 1, X, ldx, X, ldx, H, ldh, work);
}

/** C ← C + XᵀY; X rows × p and Y rows × m in f32, C p × m in f64. */
export function cross(
  rows: i32, p: i32, m: i32, X: usize, ldx: i32, Y: usize, ldy: i32, C: usize, ldc: i32, work: usize,
): void {
  product<f32, f64>(Triangle.None, false, true, true, false, p, m, rows, 1, X, ldx, Y, ldy, C, ldc, work);
}

/**
 * Rows whose columns hardly vary beside their size are flat. Their sums in f32 are off by more than damping makes up for, so
 * they are formed in f64: of what attention gives for noise, 192 inputs with a share of 1e-3, the centred XᵀX had a
 * negative eigenvalue of more than 1e-2 of its mean diagonal.
 */
const FLAT: f64 = 1.0 / 32;

/** Whether Σ(x − x̄)² is a small share of Σx², both over all columns of X rows × p. */
export function isFlat(rows: i32, p: i32, X: usize, ldx: i32): bool {
  let squares: f64 = 0;
  let means: f64 = 0; // n·Σx̄²
  const lanes = LANES<f32>();
  let j = 0;
  for (; j + lanes <= p; j += lanes) {
    let s = f32x4.splat(0);
    let q = f32x4.splat(0);
    for (let i = 0; i < rows; i++) {
      const x = v128.load(at<f32>(X, ldx, i, j));
      s = f32x4.add(s, x);
      q = f32x4.add(q, f32x4.mul(x, x));
    }
    means += total(f32x4.mul(s, s));
    squares += total(q);
  }
  for (; j < p; j++) {
    let s: f32 = 0;
    for (let i = 0; i < rows; i++) {
      const x = load<f32>(at<f32>(X, ldx, i, j));
      s += x;
      squares += x * x;
    }
    means += s * s;
  }
  return squares * (1 - FLAT) < means / rows;
}

// @ts-ignore: decorator
@inline
function total(v: v128): f64 {
  return <f64>f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3);
}

/** B ← A, as f64; both rows × columns. */
export function widen(rows: i32, columns: i32, A: usize, lda: i32, B: usize, ldb: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) store<f64>(at<f64>(B, ldb, i, j), load<f32>(at<f32>(A, lda, i, j)));
  }
}
