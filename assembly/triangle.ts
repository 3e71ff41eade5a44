// Lower triangular blocks small enough for plain loops, and how larger ones are halved to get there.
import { at, fma, LANES } from './simd';

/**
 * Order at and below which the recursions stop. Against 64, half as much is wasted on the zeros of the inverted
 * blocks: Cholesky of order 1024 in f64 went from 0.83 to 0.88 of the GEMM rate.
 */
export const NB: i32 = 32;

/** Bytes of one full NB × NB block. */
// @ts-ignore: decorator
@inline
export function blockBytes<T>(): usize {
  return <usize>(NB * NB) * sizeof<T>();
}

/** Where to halve a triangle of order n > NB: a multiple of NB. */
// @ts-ignore: decorator
@inline
export function half(n: i32): i32 {
  return (n / 2 + NB - 1) / NB * NB;
}

/** D ← lower triangle of L, zeros above; n × n in rows of NB. */
export function copyTriangle<T>(n: i32, L: usize, ldl: i32, D: usize): void {
  for (let i = 0; i < n; i++) {
    const d = at<T>(D, NB, i, 0);
    memory.fill(d, 0, <usize>n * sizeof<T>());
    memory.copy(d, at<T>(L, ldl, i, 0), <usize>(i + 1) * sizeof<T>());
  }
}

/** Lower triangle of L ← D; n × n, D in rows of NB. */
export function pasteTriangle<T>(n: i32, D: usize, L: usize, ldl: i32): void {
  for (let i = 0; i < n; i++) {
    memory.copy(at<T>(L, ldl, i, 0), at<T>(D, NB, i, 0), <usize>(i + 1) * sizeof<T>());
  }
}

/** D ← L⁻¹, zeros above the diagonal; n × n in rows of NB, n ≤ NB. */
export function invertTriangle<T>(n: i32, L: usize, ldl: i32, D: usize): void {
  for (let i = 0; i < n; i++) {
    const d = at<T>(D, NB, i, 0);
    memory.fill(d, 0, NB * sizeof<T>());
    // Row i of L⁻¹ is −(1/Lᵢᵢ) Σ Lᵢₚ (row p of L⁻¹) over p < i.
    const inverse: T = <T>(<T>1 / load<T>(at<T>(L, ldl, i, i)));
    for (let p = 0; p < i; p++) {
      const factor = v128.splat<T>(<T>(-load<T>(at<T>(L, ldl, i, p)) * inverse));
      const row = at<T>(D, NB, p, 0);
      for (let q = 0; q <= p; q += LANES<T>()) {
        const dq = at<T>(d, 0, 0, q);
        v128.store(dq, fma<T>(factor, v128.load(at<T>(row, 0, 0, q)), v128.load(dq)));
      }
    }
    store<T>(at<T>(D, NB, i, i), inverse);
  }
}
