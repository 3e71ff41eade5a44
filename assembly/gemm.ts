// Matrix product in the manner of GotoBLAS/BLIS: blocks of op(A) and op(B) are packed into panels that fit
// the caches, and the microkernel walks over tiles of C.
import { packColumns, packRows } from './pack';
import { scale } from './rows';
import { OPERATION_BYTES, membersFor, shareGemm } from './share';
import { LANES, at, whole } from './simd';
import { transpose } from './transpose';
import { blockBytes } from './triangle';
import { MR, NR, ukr } from './ukr';

// A packed block of B, KC × NC, is 384 KiB and stays in L2; one of A, MC × KC, is 4 MiB, for L3, of which a panel is
// in L1 while it meets all of B's: so C is gone through along its rows, where hardware prefetches it. Down its columns,
// with the operands' parts exchanged, f64 falls from 0.92 to 0.84 of the peak at n = 2048 (Xeon of 2023). NC is flat
// from 128 to 512.
const MC: i32 = ASC_FEATURE_RELAXED_SIMD ? 342 * MR : 410 * MR;
const NC: i32 = 192;
// Products A·Bᵀ of so few rows read B where it is: to pack it would be 15 to 25 % of them (32 and 48 rows, measured). op(A) is
// packed as a whole then, up to a depth for which there is room.
const FEW: i32 = 48;
const DEEP: i32 = 8192;

/** Depth of a block: 512 (f32) or 256 (f64). */
@inline
export function KC<T>(): i32 {
  return 2048 / <i32>sizeof<T>();
}

/**
 * Which operand of a product is a triangle with zeros stored on its other side: the microkernel then runs only
 * over the depths at which a tile has anything to add. Its order must be at most NC and KC.
 */
export const enum Triangle {
  None,
  /** op(A) is lower: row i ends at depth i. */
  LowerA,
  UpperA,
  /** op(B) is lower: column j starts at depth j. */
  LowerB,
  UpperB,
}

/** One tile of any type, for tiles that must not be written whole, and its transpose, with rows of eight. */
const TILE_BYTES: usize = MR * 32 + 256;

@inline
function packedBytes<T>(k: i32, w: i32, W: i32): usize {
  return <usize>min(k, KC<T>()) * <usize>whole(w, W) * sizeof<T>();
}

/** Scratch of every product, solve and factorisation, in either type, of matrices none of whose sizes is beyond p and m. */
export function workBytes(p: i32, m: i32): f64 {
  const n = max(p, m);
  return <f64>max(scratchBytes<f64>(n), scratchBytes<f32>(n)) + 64;
}

function scratchBytes<T>(n: i32): usize {
  const packed = packedBytes<T>(n, min(n, NC), NR<T>()) + packedBytes<T>(n, min(n, MC), MR);
  return blockBytes<T>(n) + OPERATION_BYTES + TILE_BYTES + packed;
}

/**
 * C ← β·C + α·op(A)·op(B) (BLAS `gemm`).
 *
 * @param A  m × k, or k × m if transA
 * @param B  k × n, or n × k if transB
 * @param C  m × n, must not overlap A or B
 */
export function gemm<T>(
  transA: bool, transB: bool, m: i32, n: i32, k: i32,
  alpha: T, A: usize, lda: i32, B: usize, ldb: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  multiply<T>(false, transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work);
}

/** `gemm`, or with `lower` its lower triangle only (BLAS `gemmt`), of m = n rows: the rest is neither read nor written. */
export function multiply<T>(
  lower: bool, transA: bool, transB: bool, m: i32, n: i32, k: i32,
  alpha: T, A: usize, lda: i32, B: usize, ldb: i32, beta: T, C: usize, ldc: i32, work: usize,
): void {
  const members = membersFor<T>((lower ? 1 : 2) * <f64>m * n * k);
  if (members > 1) return shareGemm<T>(members, lower, transA, transB, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc, work);
  const add = beta != <T>0 || alpha == <T>0 || k == 0;
  if (add) scale<T>(lower, m, n, beta, C, ldc);
  product<T, T>(Triangle.None, lower, add, transA, transB, m, n, k, alpha, A, lda, B, ldb, C, ldc, work);
}

/**
 * C ← α·op(A)·op(B), or C + α·op(A)·op(B) if add; with `lower` only where column ≤ row.
 * C must not overlap A or B, except: where nothing is added it may be A where k ≤ KC, or with a triangle B where also m ≤ MC, since
 * all that a tile is made of is then packed before it is written.
 *
 * U is the type of C. Where it is wider than T, products over KC terms are summed in T and added up in U.
 */
export function product<T, U>(
  triangle: Triangle, lower: bool, add: bool, transA: bool, transB: bool, m: i32, n: i32, k: i32,
  alpha: T, A: usize, lda: i32, B: usize, ldb: i32, C: usize, ldc: i32, work: usize,
): void {
  if (alpha == <T>0) return;
  if (transB && m <= FEW && n >= MR && k <= DEEP && triangle == Triangle.None && !lower) {
    return fewRows<T, U>(add, transA, m, n, k, alpha, A, lda, B, ldb, C, ldc, work);
  }
  const tile = work;
  const packedB = tile + TILE_BYTES; // before A, whose size may be no multiple of a vector's
  const packedA = packedB + packedBytes<T>(k, min(n, NC), NR<T>());

  for (let i0 = 0; i0 < m; i0 += MC) {
    const mc = min(MC, m - i0);
    const end = lower ? min(n, i0 + mc) : n;
    for (let p0 = 0; p0 < k; p0 += KC<T>()) {
      const kc = min(KC<T>(), k - p0);
      if (transA) packColumns<T>(MR, mc, kc, alpha, at<T>(A, lda, p0, i0), lda, packedA);
      else packRows<T>(MR, mc, kc, alpha, at<T>(A, lda, i0, p0), lda, packedA);

      for (let j0 = 0; j0 < end; j0 += NC) {
        const nc = min(NC, end - j0);
        if (transB) packRows<T>(NR<T>(), nc, kc, <T>1, at<T>(B, ldb, j0, p0), ldb, packedB);
        else packColumns<T>(NR<T>(), nc, kc, <T>1, at<T>(B, ldb, p0, j0), ldb, packedB);
        const c = at<U>(C, ldc, i0, j0);
        tiles<T, U>(triangle, lower, add || p0 > 0, mc, nc, kc, i0 - j0, packedA, packedB, c, ldc, tile);
      }
    }
  }
}

/** `product` with Bᵀ in tiles of Cᵀ, which take B as the operand that need not be packed: m ≤ FEW, n ≥ MR, k ≤ DEEP. The bits are the same. */
function fewRows<T, U>(
  add: bool, transA: bool, m: i32, n: i32, k: i32,
  alpha: T, A: usize, lda: i32, B: usize, ldb: i32, C: usize, ldc: i32, work: usize,
): void {
  const turned = work + MR * 32;
  const packed = work + TILE_BYTES;
  const width = whole(m, NR<T>());
  for (let p0 = 0; p0 < k; p0 += KC<T>()) {
    const kc = min(KC<T>(), k - p0);
    const block = at<T>(packed, width, p0, 0);
    if (transA) packColumns<T>(NR<T>(), m, kc, alpha, at<T>(A, lda, p0, 0), lda, block);
    else packRows<T>(NR<T>(), m, kc, alpha, at<T>(A, lda, 0, p0), lda, block);
  }
  for (let j = 0; j < n; j += MR) {
    const first = min(j, n - MR); // the last tile overlaps the one before
    const columns = min(MR, n - j);
    for (let p0 = 0; p0 < k; p0 += KC<T>()) {
      const kc = min(KC<T>(), k - p0);
      const block = at<T>(packed, width, p0, 0);
      for (let i = 0; i < m; i += NR<T>()) {
        ukr<T, T>(false, kc, at<T>(B, ldb, first, p0), <usize>ldb * sizeof<T>(), at<T>(block, kc, i, 0), work, 32);
        transpose<T>(MR, NR<T>(), work, NR<T>(), turned, 8);
        copyTile<T, U>(
          add || p0 > 0, min(NR<T>(), m - i), columns, columns, at<T>(turned, 0, 0, j - first), 8 * sizeof<T>(), at<U>(C, ldc, i, j),
          <usize>ldc * sizeof<U>(),
        );
      }
    }
  }
}

/** One block of C, mc × nc at C. `below` is how far its first row lies below its first column. */
function tiles<T, U>(
  triangle: Triangle, lower: bool, add: bool, mc: i32, nc: i32, kc: i32, below: i32,
  packedA: usize, packedB: usize, C: usize, ldc: i32, tile: usize,
): void {
  const ldcBytes = <usize>ldc * sizeof<U>();
  for (let i = lower && below < 0 ? -below / MR * MR : 0; i < mc; i += MR) {
    const rows = min(MR, mc - i);
    const width = lower ? min(nc, below + i + rows) : nc;
    for (let j = 0; j < width; j += NR<T>()) {
      const columns = min(NR<T>(), nc - j);
      let first = 0;
      let end = kc;
      if (triangle == Triangle.LowerA) end = min(kc, i + MR);
      else if (triangle == Triangle.UpperA) first = i;
      else if (triangle == Triangle.LowerB) first = j;
      else if (triangle == Triangle.UpperB) end = min(kc, j + NR<T>());
      const depth = end - first;
      const a = at<T>(packedA, kc, i, first * MR);
      const b = at<T>(packedB, kc, j, first * NR<T>());
      const c = at<U>(C, ldc, i, j);
      // The last column of row i that may be written; beyond the tile where it lies below the diagonal.
      const diagonal = lower ? below + i - j : NR<T>();
      if (rows == MR && columns == NR<T>() && diagonal >= NR<T>() - 1) {
        ukr<T, U>(add, depth, a, 0, b, c, ldcBytes);
      } else {
        ukr<T, T>(false, depth, a, 0, b, tile, 32);
        copyTile<T, U>(add, rows, columns, diagonal, tile, 32, c, ldcBytes);
      }
    }
  }
}

/** C ← tile, or C + tile if add; row i only up to column `diagonal` + i. Leading dimensions in bytes. */
function copyTile<T, U>(
  add: bool, rows: i32, columns: i32, diagonal: i32, tile: usize, ldt: usize, c: usize, ldc: usize,
): void {
  for (let i = 0; i < rows; i++) {
    const end = min(columns, diagonal + i + 1);
    let j = 0;
    if (sizeof<T>() == sizeof<U>()) {
      for (; j + LANES<T>() <= end; j += LANES<T>()) {
        const cj = at<T>(c, 0, 0, j);
        const values = v128.load(at<T>(tile, 0, 0, j));
        v128.store(cj, add ? v128.add<T>(v128.load(cj), values) : values);
      }
    } else {
      for (; j + 2 <= end; j += 2) {
        const cj = at<U>(c, 0, 0, j);
        const values = f64x2.promote_low_f32x4(v128.load64_zero(at<T>(tile, 0, 0, j)));
        v128.store(cj, add ? f64x2.add(v128.load(cj), values) : values);
      }
    }
    for (; j < end; j++) {
      const cj = at<U>(c, 0, 0, j);
      const value: U = <U>load<T>(at<T>(tile, 0, 0, j));
      store<U>(cj, add ? <U>(load<U>(cj) + value) : value);
    }
    tile += ldt;
    c += ldc;
  }
}
