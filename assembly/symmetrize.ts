// Mirrors the lower triangle into the upper one.
import { at } from './simd';

// Squares of this order, so that reads down the columns stay in L1.
const BLOCK: i32 = 32;

export function symmetrize<T>(n: i32, A: usize, lda: i32): void {
  for (let i0 = 0; i0 < n; i0 += BLOCK) {
    for (let j0 = 0; j0 <= i0; j0 += BLOCK) {
      for (let i = i0, iEnd = min(i0 + BLOCK, n); i < iEnd; i++) {
        for (let j = j0, jEnd = min(j0 + BLOCK, i); j < jEnd; j++) {
          store<T>(at<T>(A, lda, j, i), load<T>(at<T>(A, lda, i, j)));
        }
      }
    }
  }
}
