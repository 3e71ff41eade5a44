// Statistics of calibration data: f32 rows in, f64 sums out. Products over at most KC = 512 rows are summed
// in f32 at full speed, those sums are added up in f64 (1.2e-7 relative error on whole Gram matrices).
import { Triangle, product, gemmWorkBytes } from './gemm';

export function gramWorkBytes(p: i32, rows: i32): usize {
  return gemmWorkBytes<f32>(p, p, rows);
}

/** H ← H + XᵀX, lower triangle only; X rows × p in f32, H p × p in f64. */
export function gram(rows: i32, p: i32, X: usize, ldx: i32, H: usize, ldh: i32, work: usize): void {
  product<f32, f64>(Triangle.None, true, true, true, false, p, p, rows, 1, X, ldx, X, ldx, H, ldh, work);
}

export function crossWorkBytes(p: i32, m: i32, rows: i32): usize {
  return gemmWorkBytes<f32>(p, m, rows);
}

/** C ← C + XᵀY; X rows × p and Y rows × m in f32, C p × m in f64. */
export function cross(
  rows: i32, p: i32, m: i32, X: usize, ldx: i32, Y: usize, ldy: i32, C: usize, ldc: i32, work: usize,
): void {
  product<f32, f64>(Triangle.None, false, true, true, false, p, m, rows, 1, X, ldx, Y, ldy, C, ldc, work);
}
