// Cholesky factorisation A = L·Lᵀ in place (LAPACK `potrf`, lower), by halving.
import { at } from './simd';
import { syrk } from './syrk';
import { NB, factorBlock, half } from './triangle';
import { trsm } from './trsm';

/**
 * @param A  n × n, lower triangle read and overwritten by L; strict upper triangle neither read nor written
 * @returns  0, or the 1-based pivot that is not positive (or NaN); its reduced value is then on the diagonal
 */
export function potrf<T>(n: i32, A: usize, lda: i32, work: usize): i32 {
  if (n <= NB) return factorBlock<T>(n, A, lda, work);
  const n1 = half(n);
  const n2 = n - n1;
  const A21 = at<T>(A, lda, n1, 0);
  const A22 = at<T>(A, lda, n1, n1);
  let info = potrf<T>(n1, A, lda, work);
  if (info) return info;
  trsm<T>(true, true, n2, n1, <T>1, A, lda, A21, lda, work);
  syrk<T>(false, n2, n1, <T>-1, A21, lda, <T>1, A22, lda, work);
  info = potrf<T>(n2, A22, lda, work);
  return info ? n1 + info : 0;
}
