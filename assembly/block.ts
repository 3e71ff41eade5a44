// Small b × b blocks in f64, ld = b: one group's pivot, where plain loops beat packing.
import { S, dot, scaleRow, subtractRows } from './rows';
import { at } from './simd';
import { put, value } from './solve/array';

/** Cholesky of a small n × n block, lower, in place, ld = n. @returns 0, or the 1-based failing pivot */
export function smallPotrf(n: i32, A: usize): i32 {
  for (let i = 0; i < n; i++) {
    const ri = A + <usize>(i * n) * S;
    for (let j = 0; j < i; j++) {
      const rj = A + <usize>(j * n) * S;
      put(ri, j, (value(ri, j) - dot<f64>(j, ri, rj)) / value(rj, j));
    }
    const d = value(ri, i) - dot<f64>(i, ri, ri);
    if (!(d > 0)) return i + 1;
    put(ri, i, sqrt(d));
  }
  return 0;
}

/** X ← L⁻¹·X for a small b × b lower L (ld = b) and a b × n X (ldx bytes). */
export function smallTrsm<T>(b: i32, n: i32, L: usize, X: usize, ldx: usize): void {
  for (let r = 0; r < b; r++) {
    const row = X + <usize>r * ldx;
    const lr = at<T>(L, b, r, 0);
    subtractRows<T>(r, n, lr, sizeof<T>(), X, ldx, row);
    scaleRow<T>(n, <T>1 / load<T>(lr + <usize>r * sizeof<T>()), row);
  }
}

/**
 * M ← L⁻¹·M·L⁻ᵀ, lower triangle only on return; M symmetric b × b, both triangles given.
 * @returns its trace
 */
export function whiten(b: i32, L: usize, M: usize): f64 {
  smallTrsm<f64>(b, b, L, M, <usize>b * S);
  let trace: f64 = 0;
  for (let r = 0; r < b; r++) {
    const row = M + <usize>(r * b) * S;
    for (let s = 0; s <= r; s++) {
      const ls = L + <usize>(s * b) * S;
      put(row, s, (value(row, s) - dot<f64>(s, row, ls)) / value(ls, s));
    }
    trace += value(row, r);
  }
  return trace;
}

/** M ← ½L⁻¹·M·L⁻ᵀ, as `whiten`, both triangles on return. */
export function halfWhiten(b: i32, L: usize, M: usize): void {
  whiten(b, L, M);
  mirror(b, M);
  scaleRow<f64>(b * b, 0.5, M);
}

/** Mirrors the lower triangle of a b × b block. */
export function mirror(b: i32, M: usize): void {
  for (let r = 0; r < b; r++) {
    for (let s = 0; s < r; s++) put(M, s * b + r, value(M, r * b + s));
  }
}

/** B ← the n-th diagonal block of a symmetric matrix of which the lower triangle is stored; lda in bytes. */
export function diagonalBlock<T>(b: i32, n: i32, A: usize, lda: usize, B: usize): void {
  for (let r = 0; r < b; r++) {
    for (let s = 0; s < b; s++) {
      const i = n * b + max(r, s);
      const j = n * b + min(r, s);
      put(B, r * b + s, <f64>load<T>(A + <usize>i * lda + <usize>j * sizeof<T>()));
    }
  }
}

/**
 * ½ tr(E·D⁻¹) for symmetric b × b blocks: the cost of removing a group, or the gain of adding one.
 * @param work  2·b·b doubles
 * @returns `otherwise` where D is not positive definite; never below 0, which rounding of E could give
 */
export function quadraticCost(b: i32, D: usize, E: usize, otherwise: f64, work: usize): f64 {
  if (b == 1) {
    const d = load<f64>(D);
    return d > 0 ? max<f64>(0, 0.5 * load<f64>(E) / d) : otherwise;
  }
  const bytes = <usize>(b * b) * S;
  memory.copy(work, D, bytes);
  if (smallPotrf(b, work) != 0) return otherwise;
  memory.copy(work + bytes, E, bytes);
  return max<f64>(0, 0.5 * whiten(b, work, work + bytes));
}
