// C ← β·C, all of it or its lower triangle. β = 0 writes zeros, over NaN too.
import { scaleRow } from './rows';
import { at } from './simd';

export function scale<T>(lower: bool, m: i32, n: i32, beta: T, C: usize, ldc: i32): void {
  if (beta == <T>1) return;
  for (let i = 0; i < m; i++) {
    const width = lower ? min(i + 1, n) : n;
    const row = at<T>(C, ldc, i, 0);
    if (beta == <T>0) memory.fill(row, 0, <usize>width * sizeof<T>());
    else scaleRow<T>(width, beta, row);
  }
}
