// Triangular solve with many right-hand sides (BLAS `trsm`, lower, non-unit), by halving the triangle.
import { Triangle, gemm, gemmWorkBytes, product } from './gemm';
import { scale } from './scale';
import { at } from './simd';
import { NB, blockBytes, half, invertTriangle } from './triangle';

export function trsmWorkBytes<T>(m: i32, n: i32): usize {
  return blockBytes<T>() + gemmWorkBytes<T>(m, n, max(m, n));
}

/**
 * B ← α·op(L)⁻¹·B, or B ← α·B·op(L)⁻¹ if right; op(L) = Lᵀ if trans.
 *
 * @param L  lower triangular, m × m, or n × n if right; strict upper triangle not read
 * @param B  m × n
 */
export function trsm<T>(
  right: bool, trans: bool, m: i32, n: i32, alpha: T, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  scale<T>(false, m, n, alpha, B, ldb);
  if (right) solve<T>(right, trans, n, m, L, ldl, B, ldb, work);
  else solve<T>(right, trans, m, n, L, ldl, B, ldb, work);
}

/** As trsm with α = 1; L is n × n, B has w columns, or w rows if right. */
function solve<T>(
  right: bool, trans: bool, n: i32, w: i32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  if (n <= NB) return solveBlock<T>(right, trans, n, w, L, ldl, B, ldb, work);
  const n1 = half(n);
  const n2 = n - n1;
  const L21 = at<T>(L, ldl, n1, 0);
  const L22 = at<T>(L, ldl, n1, n1);
  const B2 = right ? at<T>(B, ldb, 0, n1) : at<T>(B, ldb, n1, 0);
  const minus: T = <T>-1;
  const one: T = <T>1;
  if (right == trans) {
    solve<T>(right, trans, n1, w, L, ldl, B, ldb, work);
    if (right) gemm<T>(false, true, w, n2, n1, minus, B, ldb, L21, ldl, one, B2, ldb, work);
    else gemm<T>(false, false, n2, w, n1, minus, L21, ldl, B, ldb, one, B2, ldb, work);
    solve<T>(right, trans, n2, w, L22, ldl, B2, ldb, work);
  } else {
    solve<T>(right, trans, n2, w, L22, ldl, B2, ldb, work);
    if (right) gemm<T>(false, false, w, n1, n2, minus, B2, ldb, L21, ldl, one, B, ldb, work);
    else gemm<T>(true, false, n1, w, n2, minus, L21, ldl, B2, ldb, one, B, ldb, work);
    solve<T>(right, trans, n1, w, L, ldl, B, ldb, work);
  }
}

/** The bottom of the recursion: inverts the block, so that the solve is one product, in place. */
function solveBlock<T>(
  right: bool, trans: bool, n: i32, w: i32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  const rest = work + blockBytes<T>();
  invertTriangle<T>(n, L, ldl, work);
  const one: T = <T>1;
  if (right) {
    const side = trans ? Triangle.UpperB : Triangle.LowerB;
    product<T, T>(side, false, false, false, trans, w, n, n, one, B, ldb, work, NB, B, ldb, rest);
  } else {
    const side = trans ? Triangle.UpperA : Triangle.LowerA;
    product<T, T>(side, false, false, trans, false, n, w, n, one, work, NB, B, ldb, B, ldb, rest);
  }
}
