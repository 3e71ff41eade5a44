// C ← β·C + α·AᵀA or α·AAᵀ, lower triangle only (BLAS `syrk`).
import { Triangle, product } from './gemm';
import { subtractRows } from './rows';
import { scale } from './scale';
import { membersFor, shareSyrk } from './share';
import { at } from './simd';

/**
 * Terms up to which C is streamed, row by row, instead of packing A. One term then takes 0.5 of the time at n = 500
 * and 0.8 at 2000, two in f64 0.8 and 0.95; from three on packing is as fast, and faster where C is large.
 */
const STREAMED: i32 = 2;

/**
 * @param trans  true: C ← β·C + α·AᵀA with A k × n; false: C ← β·C + α·AAᵀ with A n × k
 * @param C      n × n; strict upper triangle neither read nor written
 */
export function syrk<T>(
  trans: bool, n: i32, k: i32, alpha: T, A: usize, lda: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  if (k <= STREAMED) return stream<T>(trans, n, k, alpha, A, lda, beta, C, ldc, work);
  const members = membersFor<T>(<f64>k * n * n);
  if (members > 1) return shareSyrk<T>(members, trans, n, k, alpha, A, lda, beta, C, ldc, work);
  const add = beta != <T>0 || alpha == <T>0;
  if (add) scale<T>(true, n, n, beta, C, ldc);
  product<T, T>(Triangle.None, true, add, trans, !trans, n, n, k, alpha, A, lda, A, lda, C, ldc, work);
}

/** Row i of C gets Σ_q αA_qi·(row q of A): for k terms, which are rows of A or copied into rows. */
function stream<T>(
  trans: bool, n: i32, k: i32, alpha: T, A: usize, lda: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  const terms = alpha == <T>0 ? 0 : k;
  const factors = work;
  let rows = A;
  let ld = lda;
  if (!trans) {
    rows = at<T>(work, 0, 0, k);
    ld = n;
    for (let i = 0; i < n; i++) {
      for (let q = 0; q < terms; q++) store<T>(at<T>(rows, ld, q, i), load<T>(at<T>(A, lda, i, q)));
    }
  }
  for (let i = 0; i < n; i++) {
    const c = at<T>(C, ldc, i, 0);
    scale<T>(false, 1, i + 1, beta, c, ldc);
    for (let q = 0; q < terms; q++) {
      store<T>(at<T>(factors, 0, 0, q), <T>(-alpha * load<T>(at<T>(rows, ld, q, i))));
    }
    subtractRows<T>(terms, i + 1, factors, sizeof<T>(), rows, <usize>ld * sizeof<T>(), c);
  }
}
