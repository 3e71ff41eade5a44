// Products of which the lower triangle alone is wanted: C ← β·C + α·op(A)·op(B) (BLAS `gemmt`), and with B = Aᵀ `syrk`.
import { Triangle, product } from './gemm';
import { scale } from './scale';
import { membersFor, shareGemmt } from './share';

/**
 * C ← β·C + α·AᵀA, or α·AAᵀ, lower triangle only.
 *
 * @param trans  true: A is k × n; false: A is n × k
 * @param C      n × n; strict upper triangle neither read nor written
 */
export function syrk<T>(
  trans: bool, n: i32, k: i32, alpha: T, A: usize, lda: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  gemmt<T>(trans, !trans, n, k, alpha, A, lda, A, lda, beta, C, ldc, work);
}

/** C ← β·C + α·op(A)·op(B), lower triangle only. @param A  n × k, or k × n if transA; @param B  k × n, or n × k if transB */
export function gemmt<T>(
  transA: bool, transB: bool, n: i32, k: i32,
  alpha: T, A: usize, lda: i32, B: usize, ldb: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  const members = membersFor<T>(<f64>k * n * n);
  if (members > 1) return shareGemmt<T>(members, transA, transB, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work);
  const add = beta != <T>0 || alpha == <T>0 || k == 0;
  if (add) scale<T>(true, n, n, beta, C, ldc);
  product<T, T>(Triangle.None, true, add, transA, transB, n, n, k, alpha, A, lda, B, ldb, C, ldc, work);
}
