// Rows and how they are combined: what the streamed update, elimination and tableau have in common below the
// level of GEMM. f64 where no type is named.
// Lengths count elements, leading dimensions bytes.
import { LANES, fma } from './simd';

export const S: usize = 8;

/** Σ x_i·y_i. */
export function dot(n: i32, x: usize, y: usize): f64 {
  let s0 = f64x2.splat(0);
  let s1 = f64x2.splat(0);
  let s2 = f64x2.splat(0);
  let s3 = f64x2.splat(0);
  let i = 0;
  for (; i + 8 <= n; i += 8) {
    s0 = fma<f64>(v128.load(x), v128.load(y), s0);
    s1 = fma<f64>(v128.load(x, 16), v128.load(y, 16), s1);
    s2 = fma<f64>(v128.load(x, 32), v128.load(y, 32), s2);
    s3 = fma<f64>(v128.load(x, 48), v128.load(y, 48), s3);
    x += 64;
    y += 64;
  }
  s0 = f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3));
  let sum = f64x2.extract_lane(s0, 0) + f64x2.extract_lane(s0, 1);
  for (; i < n; i++) {
    sum += load<f64>(x) * load<f64>(y);
    x += S;
    y += S;
  }
  return sum;
}

/** y ← y − a·x. */
function subtractScaled<T>(n: i32, a: T, x: usize, y: usize): void {
  const av = v128.neg<T>(v128.splat<T>(a));
  let i = 0;
  for (; i + 2 * LANES<T>() <= n; i += 2 * LANES<T>()) {
    v128.store(y, fma<T>(av, v128.load(x), v128.load(y)));
    v128.store(y, fma<T>(av, v128.load(x, 16), v128.load(y, 16)), 16);
    x += 32;
    y += 32;
  }
  for (; i < n; i++) {
    store<T>(y, <T>(load<T>(y) - a * load<T>(x)));
    x += sizeof<T>();
    y += sizeof<T>();
  }
}

/** y ← y − a0·x0 − a1·x1 − a2·x2 − a3·x3: one pass over y for four rows. */
function subtractScaled4<T>(n: i32, a: usize, lda: usize, x: usize, ldx: usize, y: usize): void {
  const a0 = load<T>(a);
  const a1 = load<T>(a + lda);
  const a2 = load<T>(a + 2 * lda);
  const a3 = load<T>(a + 3 * lda);
  const v0 = v128.neg<T>(v128.splat<T>(a0));
  const v1 = v128.neg<T>(v128.splat<T>(a1));
  const v2 = v128.neg<T>(v128.splat<T>(a2));
  const v3 = v128.neg<T>(v128.splat<T>(a3));
  let x1 = x + ldx;
  let x2 = x1 + ldx;
  let x3 = x2 + ldx;
  let i = 0;
  for (; i + 2 * LANES<T>() <= n; i += 2 * LANES<T>()) {
    let t = v128.load(y);
    let u = v128.load(y, 16);
    t = fma<T>(v0, v128.load(x), t);
    u = fma<T>(v0, v128.load(x, 16), u);
    t = fma<T>(v1, v128.load(x1), t);
    u = fma<T>(v1, v128.load(x1, 16), u);
    t = fma<T>(v2, v128.load(x2), t);
    u = fma<T>(v2, v128.load(x2, 16), u);
    t = fma<T>(v3, v128.load(x3), t);
    u = fma<T>(v3, v128.load(x3, 16), u);
    v128.store(y, t);
    v128.store(y, u, 16);
    x += 32;
    x1 += 32;
    x2 += 32;
    x3 += 32;
    y += 32;
  }
  for (; i < n; i++) {
    store<T>(
      y, <T>(load<T>(y) - a0 * load<T>(x) - a1 * load<T>(x1) - a2 * load<T>(x2) - a3 * load<T>(x3)),
    );
    x += sizeof<T>();
    x1 += sizeof<T>();
    x2 += sizeof<T>();
    x3 += sizeof<T>();
    y += sizeof<T>();
  }
}

/** y ← y − Σ_q a_q·x_q over k rows; a strided by lda bytes, x by ldx bytes. */
export function subtractRows<T>(k: i32, n: i32, a: usize, lda: usize, x: usize, ldx: usize, y: usize): void {
  let q = 0;
  for (; q + 4 <= k; q += 4) {
    subtractScaled4<T>(n, a, lda, x, ldx, y);
    a += 4 * lda;
    x += 4 * ldx;
  }
  for (; q < k; q++) {
    subtractScaled<T>(n, load<T>(a), x, y);
    a += lda;
    x += ldx;
  }
}

/** x ← a·x. */
export function scaleRow(n: i32, a: f64, x: usize): void {
  const av = f64x2.splat(a);
  let i = 0;
  for (; i + 2 <= n; i += 2) {
    v128.store(x, f64x2.mul(av, v128.load(x)));
    x += 16;
  }
  if (i < n) store<f64>(x, load<f64>(x) * a);
}

function swapScalars(a: usize, b: usize): void {
  const t = load<f64>(a);
  store<f64>(a, load<f64>(b));
  store<f64>(b, t);
}

export function swapRows(n: i32, a: usize, b: usize): void {
  for (let i = 0; i < n; i++) {
    swapScalars(a, b);
    a += S;
    b += S;
  }
}

/** Swaps rows and columns a < z of a symmetric n × n matrix of which the lower triangle is stored. */
export function swapSymmetric(n: i32, a: i32, z: i32, A: usize, ld: usize): void {
  const ra = A + <usize>a * ld;
  const rz = A + <usize>z * ld;
  swapRows(a, ra, rz);
  for (let i = a + 1; i < z; i++) swapScalars(A + <usize>i * ld + <usize>a * S, rz + <usize>i * S);
  swapScalars(ra + <usize>a * S, rz + <usize>z * S);
  for (let i = z + 1; i < n; i++) {
    const row = A + <usize>i * ld;
    swapScalars(row + <usize>a * S, row + <usize>z * S);
  }
}

/**
 * Swaps the rows and columns of groups a < z (b rows each) of a symmetric n × n matrix, lower triangle stored;
 * the rest of the matrix keeps its place.
 */
export function dswapSymmetric(n: i32, b: i32, a: i32, z: i32, A: usize, lda: i32): void {
  for (let r = 0; r < b; r++) swapSymmetric(n, a * b + r, z * b + r, A, <usize>lda * S);
}

/** Swaps rows a·b … and z·b … (b each) of a matrix with n columns. */
export function dswapRows(n: i32, b: i32, a: i32, z: i32, A: usize, lda: i32): void {
  for (let r = 0; r < b; r++) {
    swapRows(n, A + <usize>(a * b + r) * <usize>lda * S, A + <usize>(z * b + r) * <usize>lda * S);
  }
}

/** Swaps columns a·b … and z·b … (b each) of a matrix with k rows. */
export function dswapColumns(k: i32, b: i32, a: i32, z: i32, A: usize, lda: i32): void {
  for (let q = 0; q < k; q++) {
    const row = A + <usize>q * <usize>lda * S;
    swapRows(b, row + <usize>(a * b) * S, row + <usize>(z * b) * S);
  }
}
