// C ← β·C + α·AAᵀ in two goes: what lies in groups, and the rest where it is wanted.
import { multipleOf } from '../../src/solve/constants';
import { gemm } from '../gemm';
import { at } from '../simd';
import { syrk } from '../syrk';

/** Rows of a tile. */
const TILE_ROWS: f64 = 64;

/**
 * The lower triangle of C, n × n: the tiles on its diagonal, which hold the diagonal blocks of b rows, or all that lies below them.
 * The bits are those of one product.
 *
 * @param A  n × k, or k × n if trans
 */
export function square(
  onDiagonal: bool, trans: bool, b: i32, n: i32, k: i32,
  alpha: f64, A: usize, lda: i32, beta: f64, C: usize, ldc: i32, work: usize,
): void {
  const rows = <i32>multipleOf(b, TILE_ROWS);
  for (let i = 0; i < n; i += rows) {
    const h = min(rows, n - i);
    const a = trans ? at<f64>(A, lda, 0, i) : at<f64>(A, lda, i, 0);
    if (onDiagonal) syrk<f64>(trans, h, k, alpha, a, lda, beta, at<f64>(C, ldc, i, i), ldc, work);
    else if (i > 0) gemm<f64>(trans, !trans, h, i, k, alpha, a, lda, A, lda, beta, at<f64>(C, ldc, i, 0), ldc, work);
  }
}
