// C ← β·C + α·AᵀA or α·AAᵀ, lower triangle only (BLAS `syrk`).
import { Triangle, product } from './gemm';
import { scale } from './scale';
import { membersFor, shareSyrk } from './share';

/**
 * @param trans  true: C ← β·C + α·AᵀA with A k × n; false: C ← β·C + α·AAᵀ with A n × k
 * @param C      n × n; strict upper triangle neither read nor written
 */
export function syrk<T>(
  trans: bool, n: i32, k: i32, alpha: T, A: usize, lda: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  const members = membersFor<T>(<f64>k * n * n);
  if (members > 1) return shareSyrk<T>(members, trans, n, k, alpha, A, lda, beta, C, ldc, work);
  const add = beta != <T>0 || alpha == <T>0 || k == 0;
  if (add) scale<T>(true, n, n, beta, C, ldc);
  product<T, T>(Triangle.None, true, add, trans, !trans, n, n, k, alpha, A, lda, A, lda, C, ldc, work);
}
