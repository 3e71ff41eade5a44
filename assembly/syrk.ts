// Products of a matrix with its transpose, of which the lower triangle alone is wanted (BLAS `syrk`).
import { multiply } from './gemm';

/**
 * C ← β·C + α·AᵀA, or α·AAᵀ, lower triangle only.
 *
 * @param trans  true: A is k × n; false: A is n × k
 * @param C      n × n; strict upper triangle neither read nor written
 */
export function syrk<T>(
  trans: bool, n: i32, k: i32, alpha: T, A: usize, lda: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  multiply<T>(true, trans, !trans, n, n, k, alpha, A, lda, A, lda, beta, C, ldc, work);
}
