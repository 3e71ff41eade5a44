// Cholesky factorisation A = L·Lᵀ in place (LAPACK `potrf`, lower), by halving.
import { LANES, at, fma } from './simd';
import { syrk, syrkWorkBytes } from './syrk';
import { NB, blockBytes, copyTriangle, half, pasteTriangle } from './triangle';
import { trsm, trsmWorkBytes } from './trsm';

export function potrfWorkBytes<T>(n: i32): usize {
  return max(trsmWorkBytes<T>(n, n), syrkWorkBytes<T>(n, n));
}

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

/** Right-looking, on a copy in rows of NB so that vectors may run past the diagonal. */
function factorBlock<T>(n: i32, A: usize, lda: i32, work: usize): i32 {
  const column = work + blockBytes<T>();
  copyTriangle<T>(n, A, lda, work);
  let info = 0;
  for (let j = 0; j < n; j++) {
    const ajj = at<T>(work, NB, j, j);
    const pivot = load<T>(ajj);
    if (!(pivot > <T>0)) {
      info = j + 1;
      break;
    }
    const root = sqrt<T>(pivot);
    store<T>(ajj, root);
    // The vector that holds element j + 1 may begin before it: zeros keep finished columns as they are.
    const start = (j + 1) / LANES<T>() * LANES<T>();
    for (let i = start; i <= j; i++) store<T>(at<T>(column, 0, 0, i), <T>0);
    for (let i = j + 1; i < n; i++) {
      const aij = at<T>(work, NB, i, j);
      const lij: T = <T>(load<T>(aij) / root);
      store<T>(aij, lij);
      store<T>(at<T>(column, 0, 0, i), <T>-lij);
    }
    for (let i = j + 1; i < n; i++) {
      const factor = v128.load_splat<T>(at<T>(work, NB, i, j));
      for (let q = start; q <= i; q += LANES<T>()) {
        const aiq = at<T>(work, NB, i, q);
        v128.store(aiq, fma<T>(factor, v128.load(at<T>(column, 0, 0, q)), v128.load(aiq)));
      }
    }
  }
  pasteTriangle<T>(n, work, A, lda);
  return info;
}
