// C ← β·C, all of it or its lower triangle. β = 0 writes zeros, over NaN too.
import { LANES, at } from './simd';

export function scale<T>(lower: bool, m: i32, n: i32, beta: T, C: usize, ldc: i32): void {
  if (beta == <T>1) return;
  const factor = v128.splat<T>(beta);
  for (let i = 0; i < m; i++) {
    const width = lower ? min(i + 1, n) : n;
    let c = at<T>(C, ldc, i, 0);
    if (beta == <T>0) {
      memory.fill(c, 0, <usize>width * sizeof<T>());
      continue;
    }
    let j = LANES<T>();
    for (; j <= width; j += LANES<T>()) {
      v128.store(c, v128.mul<T>(v128.load(c), factor));
      c += 16;
    }
    for (j -= LANES<T>(); j < width; j++) {
      store<T>(c, <T>(load<T>(c) * beta));
      c += sizeof<T>();
    }
  }
}
