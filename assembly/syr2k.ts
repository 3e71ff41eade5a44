// C ← C + α·(AᵀB + BᵀA), lower triangle only (BLAS `syr2k`).
import { Triangle, product, gemmWorkBytes } from './gemm';

export function syr2kWorkBytes<T>(n: i32, k: i32): usize {
  return gemmWorkBytes<T>(n, n, k);
}

/** @param A, B  k × n; @param C  n × n, strict upper triangle neither read nor written */
export function syr2k<T>(
  n: i32, k: i32, alpha: T, A: usize, lda: i32, B: usize, ldb: i32, C: usize, ldc: i32, work: usize,
): void {
  product<T, T>(Triangle.None, true, true, true, false, n, n, k, alpha, A, lda, B, ldb, C, ldc, work);
  product<T, T>(Triangle.None, true, true, true, false, n, n, k, alpha, B, ldb, A, lda, C, ldc, work);
}
