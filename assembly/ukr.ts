// The microkernel: the one loop where the time goes.
import { fma } from './simd';

// Rows of a tile. V8 has 15 usable xmm registers: accumulators + 2 vectors of B + 1 splat of A, and one
// temporary more where multiply and add are two instructions. 6 and 5 are the most that do not spill.
export const MR: i32 = ASC_FEATURE_RELAXED_SIMD ? 6 : 5;

/** Columns of a tile: two vectors, 8 (f32) or 4 (f64). */
@inline
export function NR<T>(): i32 {
  return 32 / <i32>sizeof<T>();
}

/**
 * C ← A·B, or C + A·B if add, for one MR × NR tile. A·B is summed in T, C may be wider.
 *
 * @param a    kc × MR, packed: the tile's rows side by side; or its rows where they are, kc ≥ 1
 * @param row  0 where A is packed, else from one of its rows to the next, in bytes
 * @param b    kc × NR, packed
 * @param ldc  in bytes
 *
 * The form matters more than the instructions (24 against 57 GFLOP/s measured): do-while, no unrolling over
 * k, accumulators updated in reverse and stored forwards keep V8 from spilling. It must stay a function of
 * its own: inlined into a driver it would run the first big call in the baseline compiler. The loop is written
 * twice: pointers to all rows in either case cost packed ones 1 % in f32, and of one inlined source asc makes a single loop that asks
 * at every step, and spills.
 */
export function ukr<T, U>(add: bool, kc: i32, a: usize, row: usize, b: usize, c: usize, ldc: usize): void {
  let c00 = v128.splat<T>(<T>0);
  let c01 = v128.splat<T>(<T>0);
  let c10 = v128.splat<T>(<T>0);
  let c11 = v128.splat<T>(<T>0);
  let c20 = v128.splat<T>(<T>0);
  let c21 = v128.splat<T>(<T>0);
  let c30 = v128.splat<T>(<T>0);
  let c31 = v128.splat<T>(<T>0);
  let c40 = v128.splat<T>(<T>0);
  let c41 = v128.splat<T>(<T>0);
  let c50 = v128.splat<T>(<T>0);
  let c51 = v128.splat<T>(<T>0);
  let s: v128;

  if (row) {
    let a1 = a + row;
    let a2 = a1 + row;
    let a3 = a2 + row;
    let a4 = a3 + row;
    let a5 = a4 + row;
    do {
      const b0 = v128.load(b);
      const b1 = v128.load(b, 16);
      if (ASC_FEATURE_RELAXED_SIMD) {
        s = v128.load_splat<T>(a5);
        c51 = fma<T>(s, b1, c51);
        c50 = fma<T>(s, b0, c50);
      }
      s = v128.load_splat<T>(a4);
      c41 = fma<T>(s, b1, c41);
      c40 = fma<T>(s, b0, c40);
      s = v128.load_splat<T>(a3);
      c31 = fma<T>(s, b1, c31);
      c30 = fma<T>(s, b0, c30);
      s = v128.load_splat<T>(a2);
      c21 = fma<T>(s, b1, c21);
      c20 = fma<T>(s, b0, c20);
      s = v128.load_splat<T>(a1);
      c11 = fma<T>(s, b1, c11);
      c10 = fma<T>(s, b0, c10);
      s = v128.load_splat<T>(a);
      c01 = fma<T>(s, b1, c01);
      c00 = fma<T>(s, b0, c00);
      a += sizeof<T>();
      a1 += sizeof<T>();
      a2 += sizeof<T>();
      a3 += sizeof<T>();
      a4 += sizeof<T>();
      if (ASC_FEATURE_RELAXED_SIMD) a5 += sizeof<T>();
      b += 32;
    } while (--kc);
  } else if (kc > 0) {
    do {
      const b0 = v128.load(b);
      const b1 = v128.load(b, 16);
      if (ASC_FEATURE_RELAXED_SIMD) {
        s = v128.load_splat<T>(a, 5 * sizeof<T>());
        c51 = fma<T>(s, b1, c51);
        c50 = fma<T>(s, b0, c50);
      }
      s = v128.load_splat<T>(a, 4 * sizeof<T>());
      c41 = fma<T>(s, b1, c41);
      c40 = fma<T>(s, b0, c40);
      s = v128.load_splat<T>(a, 3 * sizeof<T>());
      c31 = fma<T>(s, b1, c31);
      c30 = fma<T>(s, b0, c30);
      s = v128.load_splat<T>(a, 2 * sizeof<T>());
      c21 = fma<T>(s, b1, c21);
      c20 = fma<T>(s, b0, c20);
      s = v128.load_splat<T>(a, sizeof<T>());
      c11 = fma<T>(s, b1, c11);
      c10 = fma<T>(s, b0, c10);
      s = v128.load_splat<T>(a);
      c01 = fma<T>(s, b1, c01);
      c00 = fma<T>(s, b0, c00);
      a += MR * sizeof<T>();
      b += 32;
    } while (--kc);
  }

  put<T, U>(add, c, c00, c01);
  c += ldc;
  put<T, U>(add, c, c10, c11);
  c += ldc;
  put<T, U>(add, c, c20, c21);
  c += ldc;
  put<T, U>(add, c, c30, c31);
  c += ldc;
  put<T, U>(add, c, c40, c41);
  if (ASC_FEATURE_RELAXED_SIMD) {
    c += ldc;
    put<T, U>(add, c, c50, c51);
  }
}

/** One row of the tile. */
@inline
function put<T, U>(add: bool, c: usize, left: v128, right: v128): void {
  if (sizeof<T>() == sizeof<U>()) {
    putVector<U>(add, c, left);
    putVector<U>(add, c + 16, right);
  } else {
    putVector<U>(add, c, f64x2.promote_low_f32x4(left));
    putVector<U>(add, c + 16, f64x2.promote_low_f32x4(v128.shuffle<f64>(left, left, 1, 1)));
    putVector<U>(add, c + 32, f64x2.promote_low_f32x4(right));
    putVector<U>(add, c + 48, f64x2.promote_low_f32x4(v128.shuffle<f64>(right, right, 1, 1)));
  }
}

@inline
function putVector<U>(add: bool, c: usize, values: v128): void {
  v128.store(c, add ? v128.add<U>(v128.load(c), values) : values);
}
