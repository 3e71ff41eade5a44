// What every kernel shares: addresses in row-major matrices, vectors, whole blocks, fused or plain multiply-add.

/** Address of element (i, j) of a row-major matrix; ld in elements. */
@inline
export function at<T>(A: usize, ld: i32, i: i32, j: i32): usize {
  return A + (<usize>i * <usize>ld + <usize>j) * sizeof<T>();
}

/** Elements in one vector: 4 (f32) or 2 (f64). */
@inline
export function LANES<T>(): i32 {
  return 16 / <i32>sizeof<T>();
}

/** The least multiple of W from n on. */
@inline
export function whole(n: i32, W: i32): i32 {
  return (n + W - 1) / W * W;
}

/** c + a·b. Relaxed: whatever the machine does best, mostly one rounding. Baseline: two roundings everywhere. */
@inline
export function fma<T>(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return v128.relaxed_madd<T>(a, b, c);
  else return v128.add<T>(c, v128.mul<T>(a, b));
}

/** c − a·b, rounded as `fma`. */
@inline
export function fnma<T>(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return v128.relaxed_nmadd<T>(a, b, c);
  else return v128.sub<T>(c, v128.mul<T>(a, b));
}

/** Two elements of type T, as doubles. */
@inline
export function loadWide<T>(x: usize): v128 {
  return sizeof<T>() == 8 ? v128.load(x) : f64x2.promote_low_f32x4(v128.load64_zero(x));
}
