// Sums over calibration rows: f32 rows in, f64 sums out. Products over at most KC = 512 rows are summed
// in f32 at full speed, those sums are added up in f64 (1.2e-7 relative error on whole Gram matrices); of flat rows
// all is summed in f64.
import { CHUNK_ROWS, WIDE_ROWS } from '../src/solve/constants';
import { Triangle, multiply, product, workBytes } from './gemm';
import { dot, widen } from './rows';
import { LANES, at } from './simd';

/** Scratch of `gram`: columns in f64, m of B where it is not A, and that of products. */
export function gramBytes(n: i32, m: i32): f64 {
  return 8 * <f64>WIDE_ROWS * (<f64>n + m) + workBytes(max(n, m), CHUNK_ROWS);
}

/**
 * C ← C + AᵀB, A rows × n and B rows × m in f32, C n × m in f64; where B is A, its lower triangle only.
 * Every element is a sum over the same rows in the same order, of whichever columns A and B consist.
 *
 * @param isFlat  of all columns of the inputs: sums are formed in f64
 * @param scratch  `gramBytes`
 */
export function gram(
  isFlat: bool, rows: i32, n: i32, m: i32, A: usize, lda: i32, B: usize, ldb: i32, C: usize, ldc: i32, scratch: usize,
): void {
  const lower = A == B;
  if (!isFlat) {
    return product<f32, f64>(Triangle.None, lower, true, true, false, n, m, rows, 1, A, lda, B, ldb, C, ldc, scratch);
  }
  const a = scratch;
  const b = at<f64>(a, n, WIDE_ROWS, 0);
  const work = lower ? b : at<f64>(b, m, WIDE_ROWS, 0);
  for (let row = 0; row < rows; row += WIDE_ROWS) {
    const k = min(rows - row, WIDE_ROWS);
    widen(k, n, at<f32>(A, lda, row, 0), lda, a, n);
    if (!lower) widen(k, m, at<f32>(B, ldb, row, 0), ldb, b, m);
    multiply<f64>(lower, true, false, n, m, k, 1, a, n, lower ? a : b, m, 1, C, ldc, work);
  }
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

/** The same of images, count × channels × n, with n ones. */
export function isFlatImages(count: i32, channels: i32, n: i32, images: usize, ones: usize): bool {
  let squares: f64 = 0;
  let means: f64 = 0;
  for (let c = 0; c < channels; c++) {
    let sum: f64 = 0;
    for (let image = 0; image < count; image++) {
      const x = at<f32>(images, n, image * channels + c, 0);
      sum += dot<f32>(n, x, ones);
      squares += dot<f32>(n, x, x);
    }
    means += sum * sum;
  }
  return squares * (1 - FLAT) < means / (<f64>count * n);
}

@inline
function total(v: v128): f64 {
  return <f64>f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3);
}
