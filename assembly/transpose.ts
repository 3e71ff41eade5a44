// B ← Aᵀ in f32; A m × n, B n × m.
import { at } from './simd';

// Rows of A done together: their 4 × 4 squares fill whole cache lines of B.
const BLOCK: i32 = 16;

export function transpose(m: i32, n: i32, A: usize, lda: i32, B: usize, ldb: i32): void {
  for (let i0 = 0; i0 < m; i0 += BLOCK) {
    const iEnd = min(i0 + BLOCK, m);
    let j = 4;
    for (; j <= n; j += 4) {
      let i = i0 + 4;
      for (; i <= iEnd; i += 4) square(at<f32>(A, lda, i - 4, j - 4), lda, at<f32>(B, ldb, j - 4, i - 4), ldb);
      strip(i - 4, iEnd, j - 4, j, A, lda, B, ldb);
    }
    strip(i0, iEnd, j - 4, n, A, lda, B, ldb);
  }
}

// @ts-ignore: decorator
@inline
function square(a: usize, lda: i32, b: usize, ldb: i32): void {
  const r0 = v128.load(a);
  const r1 = v128.load(at<f32>(a, lda, 1, 0));
  const r2 = v128.load(at<f32>(a, lda, 2, 0));
  const r3 = v128.load(at<f32>(a, lda, 3, 0));
  const t0 = v128.shuffle<f32>(r0, r1, 0, 4, 1, 5);
  const t1 = v128.shuffle<f32>(r0, r1, 2, 6, 3, 7);
  const t2 = v128.shuffle<f32>(r2, r3, 0, 4, 1, 5);
  const t3 = v128.shuffle<f32>(r2, r3, 2, 6, 3, 7);
  v128.store(b, v128.shuffle<f64>(t0, t2, 0, 2));
  v128.store(at<f32>(b, ldb, 1, 0), v128.shuffle<f64>(t0, t2, 1, 3));
  v128.store(at<f32>(b, ldb, 2, 0), v128.shuffle<f64>(t1, t3, 0, 2));
  v128.store(at<f32>(b, ldb, 3, 0), v128.shuffle<f64>(t1, t3, 1, 3));
}

function strip(i0: i32, iEnd: i32, j0: i32, jEnd: i32, A: usize, lda: i32, B: usize, ldb: i32): void {
  for (let i = i0; i < iEnd; i++) {
    for (let j = j0; j < jEnd; j++) store<f32>(at<f32>(B, ldb, j, i), load<f32>(at<f32>(A, lda, i, j)));
  }
}
