// Inverse of a positive definite matrix from its Cholesky factor (LAPACK `potri`, lower), in place:
// W = L⁻¹, then A⁻¹ = WᵀW, both by halving.
import { Triangle, gemm, product } from './gemm';
import { at } from './simd';
import { Kernel, membersFor, shareStrips } from './share';
import { syrk } from './syrk';
import { NB, TB, blockBytes, blockLd, copyTriangle, half, invertBlock, pasteTriangle } from './triangle';
import { trsm } from './trsm';

/** @param A  n × n, L on entry and the lower triangle of (L·Lᵀ)⁻¹ on return; strict upper triangle untouched */
export function potri<T>(n: i32, A: usize, lda: i32, work: usize): void {
  trtri<T>(n, A, lda, work);
  lauum<T>(n, A, lda, work);
}

/** L ← L⁻¹ (LAPACK `trtri`). */
export function trtri<T>(n: i32, L: usize, ldl: i32, work: usize): void {
  if (n <= NB) {
    invertBlock<T>(n, L, ldl, work, NB);
    pasteTriangle<T>(n, work, NB, L, ldl);
    return;
  }
  const n1 = half(n);
  const n2 = n - n1;
  const L21 = at<T>(L, ldl, n1, 0);
  const L22 = at<T>(L, ldl, n1, n1);
  trsm<T>(false, false, n2, n1, <T>-1, L22, ldl, L21, ldl, work);
  trsm<T>(true, false, n2, n1, <T>1, L, ldl, L21, ldl, work);
  trtri<T>(n1, L, ldl, work);
  trtri<T>(n2, L22, ldl, work);
}

/** Lower triangle of W ← WᵀW (LAPACK `lauum`, lower). */
export function lauum<T>(n: i32, W: usize, ldw: i32, work: usize): void {
  if (n <= NB) {
    copyTriangle<T>(n, W, ldw, work, NB);
    const rest = work + blockBytes<T>(n);
    product<T, T>(
      Triangle.UpperA, true, false, true, false, n, n, n, <T>1, work, NB, work, NB, W, ldw, rest,
    );
    return;
  }
  const n1 = half(n);
  const n2 = n - n1;
  const W21 = at<T>(W, ldw, n1, 0);
  const W22 = at<T>(W, ldw, n1, n1);
  lauum<T>(n1, W, ldw, work);
  syrk<T>(true, n1, n2, <T>1, W21, ldw, <T>1, W, ldw, work);
  trmm<T>(n2, n1, W22, ldw, W21, ldw, work);
  lauum<T>(n2, W22, ldw, work);
}

/** B ← LᵀB (BLAS `trmm`); L lower n × n, B n × w. */
export function trmm<T>(n: i32, w: i32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize): void {
  const members = membersFor<T>(<f64>n * n * w);
  if (members > 1) return shareStrips<T>(Kernel.Trmm, members, false, false, n, w, <T>1, L, ldl, B, ldb, work);
  if (n <= TB) {
    const ld = blockLd(n);
    copyTriangle<T>(n, L, ldl, work, ld);
    const rest = work + blockBytes<T>(n);
    product<T, T>(Triangle.UpperA, false, false, true, false, n, w, n, <T>1, work, ld, B, ldb, B, ldb, rest);
    return;
  }
  const n1 = half(n);
  const n2 = n - n1;
  const B2 = at<T>(B, ldb, n1, 0);
  trmm<T>(n1, w, L, ldl, B, ldb, work);
  gemm<T>(true, false, n1, w, n2, <T>1, at<T>(L, ldl, n1, 0), ldl, B2, ldb, <T>1, B, ldb, work);
  trmm<T>(n2, w, at<T>(L, ldl, n1, n1), ldl, B2, ldb, work);
}
