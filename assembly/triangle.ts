// Lower triangular blocks small enough for plain loops, and how larger ones are halved to get there.
import { TILE, lastTile } from '../src/solve/constants';
import { LANES, at, fnma, whole } from './simd';

/**
 * Order at and below which the recursions stop, a multiple of the chunks below. With 64, Cholesky in f32 falls from
 * 0.63 to 0.53 of the GEMM rate at n = 333 and gains 0.01 at 1024.
 */
export const NB: i32 = 32;

/**
 * Largest order of a triangle by which, or by whose inverse, a matrix is multiplied as a whole: every halving is one
 * pass more over half of that matrix. With 32, solves from the right take 3 % longer at n = 1024, Cholesky 1 % at 2048.
 */
export const TB: i32 = 128;

/** Leading dimension of a block of order n that stands alone. */
@inline
export function blockLd(n: i32): i32 {
  return whole(n, NB);
}

/** Bytes of the largest block that stands alone, of a triangle of order n. */
@inline
export function blockBytes<T>(n: i32): usize {
  const ld = <usize>blockLd(min(n, TB));
  return ld * ld * sizeof<T>();
}

/** Where to halve a triangle of order n > NB: a multiple of NB. One of several tiles loses its last one. */
export function half(n: i32): i32 {
  const last = lastTile(n, TILE);
  return last > 0 ? last : whole(n / 2, NB);
}

/** D ← lower triangle of L, zeros above; n × n, rows of D ldd ≥ blockLd(n) apart. */
export function copyTriangle<T>(n: i32, L: usize, ldl: i32, D: usize, ldd: i32): void {
  for (let i = 0; i < n; i++) {
    zeroRow<T>(n, at<T>(D, ldd, i, 0));
    copyRow<T>(i + 1, at<T>(L, ldl, i, 0), at<T>(D, ldd, i, 0));
  }
}

/** Lower triangle of L ← D; n × n. */
export function pasteTriangle<T>(n: i32, D: usize, ldd: i32, L: usize, ldl: i32): void {
  for (let i = 0; i < n; i++) copyRow<T>(i + 1, at<T>(D, ldd, i, 0), at<T>(L, ldl, i, 0));
}

/** D ← L⁻¹, zeros above the diagonal; n × n, n ≤ NB, rows of D ldd ≥ blockLd(n) apart. */
export function invertBlock<T>(n: i32, L: usize, ldl: i32, D: usize, ldd: i32): void {
  for (let i = 0; i < n; i++) {
    // Row i of L⁻¹ is (eᵢ − Σ Lᵢₚ (row p of L⁻¹)) / Lᵢᵢ over p < i.
    const d = at<T>(D, ldd, i, 0);
    zeroRow<T>(n, d);
    store<T>(at<T>(d, 0, 0, i), <T>1);
    const inverse: T = <T>(<T>1 / load<T>(at<T>(L, ldl, i, i)));
    for (let q = 0; q <= i; q += CHUNK<T>()) {
      const lq = at<T>(L, ldl, i, q);
      reduceChunk<T>(i - q, lq, sizeof<T>(), at<T>(D, ldd, q, q), ldd, at<T>(d, 0, 0, q), inverse);
    }
  }
}

/**
 * Cholesky factorisation of a block, in place, n ≤ NB. It works on U = Lᵀ, whose rows are vectors.
 * @returns  0, or the 1-based failing pivot, its reduced value then on the diagonal
 */
export function factorBlock<T>(n: i32, A: usize, lda: i32, U: usize): i32 {
  let info = 0;
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) store<T>(at<T>(U, NB, j, i), load<T>(at<T>(A, lda, i, j)));
  }
  for (let i = 0; i < n; i++) {
    // Row i of U is (row i of A − Σ Uₚᵢ (row p of U)) / Uᵢᵢ over p < i. What is left of the diagonal is whatever
    // was there: no result depends on it.
    const first = i / CHUNK<T>() * CHUNK<T>();
    const column = at<T>(U, NB, 0, i);
    const step = NB * sizeof<T>();
    const uii = at<T>(U, NB, i, i);
    reduceChunk<T>(i, column, step, at<T>(U, NB, 0, first), NB, at<T>(U, NB, i, first), <T>1);
    const pivot = load<T>(uii);
    if (!(pivot > <T>0)) {
      info = i + 1;
      break;
    }
    const root = sqrt<T>(pivot);
    const inverse: T = <T>(<T>1 / root);
    reduceChunk<T>(0, column, step, U, NB, at<T>(U, NB, i, first), inverse);
    for (let q = first + CHUNK<T>(); q < n; q += CHUNK<T>()) {
      reduceChunk<T>(i, column, step, at<T>(U, NB, 0, q), NB, at<T>(U, NB, i, q), inverse);
    }
    store<T>(uii, root);
  }
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) store<T>(at<T>(A, lda, i, j), load<T>(at<T>(U, NB, j, i)));
  }
  return info;
}

/** Columns that are kept in registers together: four vectors. */
@inline
function CHUNK<T>(): i32 {
  return 4 * LANES<T>();
}

/** c ← (c − Σ_{p<k} a_p·(row p of B))·scale for one chunk of columns; `step` in bytes. */
function reduceChunk<T>(k: i32, a: usize, step: usize, B: usize, ldb: i32, c: usize, scale: T): void {
  let c0 = v128.load(c);
  let c1 = v128.load(c, 16);
  let c2 = v128.load(c, 32);
  let c3 = v128.load(c, 48);
  for (let p = 0; p < k; p++) {
    const s = v128.load_splat<T>(a);
    c0 = fnma<T>(s, v128.load(B), c0);
    c1 = fnma<T>(s, v128.load(B, 16), c1);
    c2 = fnma<T>(s, v128.load(B, 32), c2);
    c3 = fnma<T>(s, v128.load(B, 48), c3);
    a += step;
    B += <usize>ldb * sizeof<T>();
  }
  const s = v128.splat<T>(scale);
  v128.store(c, v128.mul<T>(c0, s));
  v128.store(c, v128.mul<T>(c1, s), 16);
  v128.store(c, v128.mul<T>(c2, s), 32);
  v128.store(c, v128.mul<T>(c3, s), 48);
}

// Loops, since memory.fill and memory.copy leave wasm, which costs more than rows as short as these.
function zeroRow<T>(n: i32, row: usize): void {
  const end = blockLd(n);
  for (let q = 0; q < end; q += LANES<T>()) v128.store(at<T>(row, 0, 0, q), v128.splat<T>(<T>0));
}

function copyRow<T>(n: i32, from: usize, to: usize): void {
  for (let q = 0; q < n; q++) store<T>(at<T>(to, 0, 0, q), load<T>(at<T>(from, 0, 0, q)));
}
