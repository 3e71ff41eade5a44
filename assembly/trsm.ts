// Triangular solve with many right-hand sides (BLAS `trsm`, lower, non-unit), by halving the triangle.
import { TILE, lastTile } from '../src/solve/constants';
import { Triangle, gemm, product } from './gemm';
import { scale } from './rows';
import { Kernel, membersFor, shareStrips } from './share';
import { at } from './simd';
import { NB, TB, blockBytes, blockLd, half, invertBlock } from './triangle';

/**
 * B ← α·op(L)⁻¹·B, or B ← α·B·op(L)⁻¹ if right; op(L) = Lᵀ if trans.
 *
 * @param L  lower triangular, m × m, or n × n if right; strict upper triangle not read
 * @param B  m × n
 */
export function trsm<T>(
  right: bool, trans: bool, m: i32, n: i32, alpha: T, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  const order = right ? n : m;
  const members = membersFor<T>(<f64>order * m * n);
  if (members > 1) return shareStrips<T>(Kernel.Trsm, members, right, trans, m, n, alpha, L, ldl, B, ldb, work);
  scale<T>(false, m, n, alpha, B, ldb);
  solve<T>(0, right, trans, order, right ? m : n, L, ldl, B, ldb, work);
}

/** As trsm with α = 1; L is n × n, halved down to order `whole`, of each tile its own; B has w columns, or w rows if right. */
function solve<T>(
  whole: i32, right: bool, trans: bool, n: i32, w: i32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  // Below, the larger inverses cost what they save. Decided by L alone: threads that share out B then do the same
  // arithmetic as one.
  if (whole == 0 && lastTile(n, TILE) == 0) whole = n < 8 * TB ? NB : TB;
  if (n <= whole) return solveWhole<T>(right, trans, n, w, L, ldl, B, ldb, work);
  const n1 = half(n);
  const L21 = at<T>(L, ldl, n1, 0);
  const L22 = at<T>(L, ldl, n1, n1);
  const B2 = right ? at<T>(B, ldb, 0, n1) : at<T>(B, ldb, n1, 0);
  // One half of B is found by its own triangle, then taken from the other, which is next.
  const downwards = right == trans;
  const found = downwards ? n1 : n - n1;
  const X = downwards ? B : B2;
  const Y = downwards ? B2 : B;
  solve<T>(whole, right, trans, found, w, downwards ? L : L22, ldl, X, ldb, work);
  if (right) gemm<T>(false, trans, w, n - found, found, <T>-1, X, ldb, L21, ldl, <T>1, Y, ldb, work);
  else gemm<T>(trans, false, n - found, w, found, <T>-1, L21, ldl, X, ldb, <T>1, Y, ldb, work);
  solve<T>(whole, right, trans, n - found, w, downwards ? L22 : L, ldl, Y, ldb, work);
}

/** The bottom of the recursion: inverts the triangle, so that the solve is one product, in place. */
function solveWhole<T>(
  right: bool, trans: bool, n: i32, w: i32, L: usize, ldl: i32, B: usize, ldb: i32, work: usize,
): void {
  const rest = work + blockBytes<T>(n);
  const ld = blockLd(n);
  invertTriangle<T>(n, L, ldl, work, ld, rest);
  if (right) {
    const side = trans ? Triangle.UpperB : Triangle.LowerB;
    product<T, T>(side, false, false, false, trans, w, n, n, <T>1, B, ldb, work, ld, B, ldb, rest);
  } else {
    const side = trans ? Triangle.UpperA : Triangle.LowerA;
    product<T, T>(side, false, false, trans, false, n, w, n, <T>1, work, ld, B, ldb, B, ldb, rest);
  }
}

/** D ← L⁻¹, zeros above the diagonal; n × n, n ≤ TB, rows of D ldd ≥ blockLd(n) apart. */
function invertTriangle<T>(n: i32, L: usize, ldl: i32, D: usize, ldd: i32, work: usize): void {
  if (n <= NB) return invertBlock<T>(n, L, ldl, D, ldd);
  const n1 = half(n);
  const n2 = n - n1;
  const D21 = at<T>(D, ldd, n1, 0);
  const D22 = at<T>(D, ldd, n1, n1);
  invertTriangle<T>(n1, L, ldl, D, ldd, work);
  invertTriangle<T>(n2, at<T>(L, ldl, n1, n1), ldl, D22, ldd, work);
  // D₂₁ = −D₂₂·L₂₁·D₁₁
  const L21 = at<T>(L, ldl, n1, 0);
  product<T, T>(Triangle.LowerA, false, false, false, false, n2, n1, n2, <T>-1, D22, ldd, L21, ldl, D21, ldd, work);
  product<T, T>(Triangle.LowerB, false, false, false, false, n2, n1, n1, <T>1, D21, ldd, D, ldd, D21, ldd, work);
  scale<T>(false, n1, n2, <T>0, at<T>(D, ldd, 0, n1), ldd);
}
