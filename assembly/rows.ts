// Rows and how they are combined: what elimination and tableau have in common below the level of GEMM. f64 where no
// type is named.
// Lengths count elements, leading dimensions bytes.
import { LANES, at, fma, fnma } from './simd';

export const S: usize = 8;

/** Σ x_i·y_i. */
export function dot<T>(n: i32, x: usize, y: usize): f64 {
  let s0 = v128.splat<T>(0);
  let s1 = v128.splat<T>(0);
  let s2 = v128.splat<T>(0);
  let s3 = v128.splat<T>(0);
  let i = 0;
  for (; i + 4 * LANES<T>() <= n; i += 4 * LANES<T>()) {
    s0 = fma<T>(v128.load(x), v128.load(y), s0);
    s1 = fma<T>(v128.load(x, 16), v128.load(y, 16), s1);
    s2 = fma<T>(v128.load(x, 32), v128.load(y, 32), s2);
    s3 = fma<T>(v128.load(x, 48), v128.load(y, 48), s3);
    x += 64;
    y += 64;
  }
  let sum = sumLanes<T>(v128.add<T>(v128.add<T>(s0, s1), v128.add<T>(s2, s3)));
  for (; i < n; i++) {
    sum += <f64>load<T>(x) * <f64>load<T>(y);
    x += sizeof<T>();
    y += sizeof<T>();
  }
  return sum;
}

@inline
function sumLanes<T>(v: v128): f64 {
  if (sizeof<T>() == 8) return f64x2.extract_lane(v, 0) + f64x2.extract_lane(v, 1);
  const low = f64x2.promote_low_f32x4(v);
  const high = f64x2.promote_low_f32x4(v128.shuffle<i64>(v, v, 1, 0));
  return sumLanes<f64>(f64x2.add(low, high));
}

/** y ← y − a·x. */
export function subtractScaled<T>(n: i32, a: T, x: usize, y: usize): void {
  const av = v128.splat<T>(a);
  let i = 0;
  for (; i + 2 * LANES<T>() <= n; i += 2 * LANES<T>()) {
    v128.store(y, fnma<T>(av, v128.load(x), v128.load(y)));
    v128.store(y, fnma<T>(av, v128.load(x, 16), v128.load(y, 16)), 16);
    x += 32;
    y += 32;
  }
  for (; i < n; i++) {
    store<T>(y, <T>(load<T>(y) - a * load<T>(x)));
    x += sizeof<T>();
    y += sizeof<T>();
  }
}

/** `subtractRows` for four rows, in one pass over y. */
function subtractScaled4<T>(n: i32, a: usize, lda: usize, x: usize, ldx: usize, y: usize): void {
  const v0 = v128.load_splat<T>(a);
  const v1 = v128.load_splat<T>(a + lda);
  const v2 = v128.load_splat<T>(a + 2 * lda);
  const v3 = v128.load_splat<T>(a + 3 * lda);
  let x1 = x + ldx;
  let x2 = x1 + ldx;
  let x3 = x2 + ldx;
  let i = 0;
  for (; i + 2 * LANES<T>() <= n; i += 2 * LANES<T>()) {
    let t = v128.load(y);
    let u = v128.load(y, 16);
    t = fnma<T>(v0, v128.load(x), t);
    u = fnma<T>(v0, v128.load(x, 16), u);
    t = fnma<T>(v1, v128.load(x1), t);
    u = fnma<T>(v1, v128.load(x1, 16), u);
    t = fnma<T>(v2, v128.load(x2), t);
    u = fnma<T>(v2, v128.load(x2, 16), u);
    t = fnma<T>(v3, v128.load(x3), t);
    u = fnma<T>(v3, v128.load(x3, 16), u);
    v128.store(y, t);
    v128.store(y, u, 16);
    x += 32;
    x1 += 32;
    x2 += 32;
    x3 += 32;
    y += 32;
  }
  subtractOneByOne<T>(4, n - i, a, lda, x, ldx, y);
}

/** `subtractRows` row by row. */
function subtractOneByOne<T>(k: i32, n: i32, a: usize, lda: usize, x: usize, ldx: usize, y: usize): void {
  for (let q = 0; q < k; q++) {
    subtractScaled<T>(n, load<T>(a), x, y);
    a += lda;
    x += ldx;
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
  subtractOneByOne<T>(k - q, n, a, lda, x, ldx, y);
}

/** `subtractRows` from two rows in one pass over x: y ← y − Σ_q a_q·x_q, z ← z − Σ_q b_q·x_q; b strided as a. */
export function subtractRowsTwice<T>(
  k: i32, n: i32, a: usize, b: usize, lda: usize, x: usize, ldx: usize, y: usize, z: usize,
): void {
  const whole = k & ~3;
  for (let q = 0; q < whole; q += 4) {
    subtractTwice4<T>(n, a, b, lda, x, ldx, y, z);
    a += 4 * lda;
    b += 4 * lda;
    x += 4 * ldx;
  }
  subtractOneByOne<T>(k - whole, n, a, lda, x, ldx, y);
  subtractOneByOne<T>(k - whole, n, b, lda, x, ldx, z);
}

/** `subtractRowsTwice` for four rows; what does not fill vectors as `subtractScaled4` does it. */
function subtractTwice4<T>(n: i32, a: usize, b: usize, lda: usize, x: usize, ldx: usize, y: usize, z: usize): void {
  const a0 = v128.load_splat<T>(a);
  const a1 = v128.load_splat<T>(a + lda);
  const a2 = v128.load_splat<T>(a + 2 * lda);
  const a3 = v128.load_splat<T>(a + 3 * lda);
  const b0 = v128.load_splat<T>(b);
  const b1 = v128.load_splat<T>(b + lda);
  const b2 = v128.load_splat<T>(b + 2 * lda);
  const b3 = v128.load_splat<T>(b + 3 * lda);
  let x1 = x + ldx;
  let x2 = x1 + ldx;
  let x3 = x2 + ldx;
  const whole = n & ~(2 * LANES<T>() - 1);
  for (let i = 0; i < whole; i += LANES<T>()) {
    let t = v128.load(y);
    let u = v128.load(z);
    let v = v128.load(x);
    t = fnma<T>(a0, v, t);
    u = fnma<T>(b0, v, u);
    v = v128.load(x1);
    t = fnma<T>(a1, v, t);
    u = fnma<T>(b1, v, u);
    v = v128.load(x2);
    t = fnma<T>(a2, v, t);
    u = fnma<T>(b2, v, u);
    v = v128.load(x3);
    t = fnma<T>(a3, v, t);
    u = fnma<T>(b3, v, u);
    v128.store(y, t);
    v128.store(z, u);
    x += 16;
    x1 += 16;
    x2 += 16;
    x3 += 16;
    y += 16;
    z += 16;
  }
  subtractScaled4<T>(n - whole, a, lda, x, ldx, y);
  subtractScaled4<T>(n - whole, b, lda, x, ldx, z);
}

/** x ← a·x. */
export function scaleRow<T>(n: i32, a: T, x: usize): void {
  const av = v128.splat<T>(a);
  let i = 0;
  for (; i + LANES<T>() <= n; i += LANES<T>()) {
    v128.store(x, v128.mul<T>(av, v128.load(x)));
    x += 16;
  }
  for (; i < n; i++) {
    store<T>(x, <T>(load<T>(x) * a));
    x += sizeof<T>();
  }
}

/** C ← β·C, m × n, ld in elements, or its lower triangle. β = 0 writes zeros, over NaN too. */
export function scale<T>(lower: bool, m: i32, n: i32, beta: T, C: usize, ldc: i32): void {
  if (beta == <T>1) return;
  for (let i = 0; i < m; i++) {
    const width = lower ? min(i + 1, n) : n;
    const row = at<T>(C, ldc, i, 0);
    if (beta == <T>0) memory.fill(row, 0, <usize>width * sizeof<T>());
    else scaleRow<T>(width, beta, row);
  }
}

/** y ← x, doubles as values of type T. */
export function narrow<T>(n: i32, x: usize, y: usize): void {
  let i = 0;
  if (sizeof<T>() == 4) {
    for (; i + 4 <= n; i += 4) {
      const low = f32x4.demote_f64x2_zero(v128.load(x));
      const high = f32x4.demote_f64x2_zero(v128.load(x, 16));
      v128.store(y, v128.shuffle<i64>(low, high, 0, 2));
      x += 32;
      y += 16;
    }
  }
  for (; i < n; i++) {
    store<T>(y, <T>load<f64>(x));
    x += S;
    y += sizeof<T>();
  }
}

/** B ← A, f32 as f64; both rows × columns, ld in elements. */
export function widen(rows: i32, columns: i32, A: usize, lda: i32, B: usize, ldb: i32): void {
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) store<f64>(at<f64>(B, ldb, i, j), load<f32>(at<f32>(A, lda, i, j)));
  }
}

function swapScalars<T>(a: usize, b: usize): void {
  const t = load<T>(a);
  store<T>(a, load<T>(b));
  store<T>(b, t);
}

export function swapRows<T>(n: i32, a: usize, b: usize): void {
  let i = 0;
  for (; i + LANES<T>() <= n; i += LANES<T>()) {
    const t = v128.load(a);
    v128.store(a, v128.load(b));
    v128.store(b, t);
    a += 16;
    b += 16;
  }
  for (; i < n; i++) {
    swapScalars<T>(a, b);
    a += sizeof<T>();
    b += sizeof<T>();
  }
}

/** Swaps rows and columns a < z of a symmetric n × n matrix of which the lower triangle is stored; ld in bytes. */
function swapSymmetric<T>(n: i32, a: i32, z: i32, A: usize, ld: usize): void {
  const ra = A + <usize>a * ld;
  const rz = A + <usize>z * ld;
  const ca = <usize>a * sizeof<T>();
  const cz = <usize>z * sizeof<T>();
  swapRows<T>(a, ra, rz);
  for (let i = a + 1; i < z; i++) swapScalars<T>(A + <usize>i * ld + ca, rz + <usize>i * sizeof<T>());
  swapScalars<T>(ra + ca, rz + cz);
  for (let i = z + 1; i < n; i++) {
    const row = A + <usize>i * ld;
    swapScalars<T>(row + ca, row + cz);
  }
}

/**
 * Swaps the rows and columns of groups a < z (b rows each) of a symmetric n × n matrix, lower triangle stored;
 * the rest of the matrix keeps its place.
 */
export function swapSymmetricGroups<T>(n: i32, b: i32, a: i32, z: i32, A: usize, lda: i32): void {
  for (let r = 0; r < b; r++) swapSymmetric<T>(n, a * b + r, z * b + r, A, <usize>lda * sizeof<T>());
}

/** Where the first of n numbers is that is NaN or infinite; −1 where all are finite. */
export function nonFiniteAt<T>(n: i32, x: usize): i32 {
  let a = v128.splat<T>(0); // NaN of what is not finite
  let b = a;
  let c = a;
  let d = a;
  const end = x + <usize>n * sizeof<T>();
  let to = x;
  // By what is left, not by `to + 64`, which overflows where no numbers are given, at whatever address.
  for (; end - to >= 64; to += 64) {
    a = v128.add<T>(a, excess<T>(to));
    b = v128.add<T>(b, excess<T>(to + 16));
    c = v128.add<T>(c, excess<T>(to + 32));
    d = v128.add<T>(d, excess<T>(to + 48));
  }
  const sum = v128.add<T>(v128.add<T>(a, b), v128.add<T>(c, d));
  if (v128.any_true(v128.ne<T>(sum, sum))) to = x;
  for (; to < end; to += sizeof<T>()) {
    const value = load<T>(to);
    if (value - value != <T>0) return <i32>((to - x) / sizeof<T>());
  }
  return -1;
}

/** Of a vector: 0 where it is finite, else NaN. */
@inline
function excess<T>(x: usize): v128 {
  const v = v128.load(x);
  return v128.sub<T>(v, v);
}

/** Swaps rows a·b … and z·b … (b each) of a matrix with n columns. */
export function swapRowGroups<T>(n: i32, b: i32, a: i32, z: i32, A: usize, lda: i32): void {
  for (let r = 0; r < b; r++) swapRows<T>(n, at<T>(A, lda, a * b + r, 0), at<T>(A, lda, z * b + r, 0));
}

/** Swaps columns a·b … and z·b … (b each) of a matrix with k rows. */
export function swapColumnGroups<T>(k: i32, b: i32, a: i32, z: i32, A: usize, lda: i32): void {
  for (let q = 0; q < k; q++) swapRows<T>(b, at<T>(A, lda, q, a * b), at<T>(A, lda, q, z * b));
}
