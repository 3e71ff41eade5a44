// The mathematics of the tableau: H swept on a support. Groups of b rows are moved in and out by pivots.
//
// Support first, removed groups behind, lower triangles stored. With S the support and P the rest
//   T_SS = H_SS⁻¹   T_SP = H_SS⁻¹H_SP   T_PP = −(H_PP − H_PS H_SS⁻¹ H_SP)
//   R_S  = W_S      R_P  = −(G_P − H_PS W_S)
// and of R only K = R·Rᵀ is kept: costs, gains and the change of a swap need no more, so that nothing here
// depends on the number of outputs. A pivot on the rows B, with Π = T_BB⁻¹, t = ΠT_B: and q = K_B: − ½K_BB·t:
//   T ← T − T_B:ᵀ t     K ← K − tᵀq − qᵀt                                  (all other rows and columns)
//   T_B: ← σt           K_B: ← σΠ(K_B: − K_BB t)     T_BB ← −σΠσ     K_BB ← σΠK_BBΠσ
// σ = −1 for rows that leave, +1 for rows that enter. B may hold both: one pass then does a swap.
import { diagonalBlock, halfWhiten, mirror, smallPotrf, smallTrsm, whiten } from '../block';
import { gemm, multiply } from '../gemm';
import { S, dot, scaleRow, subtractRows } from '../rows';
import { put, value } from './array';

/**
 * Pivots on rows at … at + w − 1.
 *
 * @param T, K  p × p, lower triangles
 * @param work  `pivotBytes`; @param products  scratch of the products
 * @param leaving  how many of the rows, the first ones, leave the support; the others enter it
 * @returns the change of the objective, ½ tr(ΠK_BB); NaN if a pivot has the wrong sign (then nothing is done)
 */
export function tableauPivot(
  p: i32, at: i32, w: i32, leaving: i32, T: usize, K: usize, work: usize, products: usize,
): f64 {
  const row = <usize>p * S;
  const ww = <usize>(w * w) * S;
  const X = work;
  const t = X + <usize>w * row;
  const Q = t + <usize>w * row;
  const again = Q + <usize>w * row; // t once more
  const N = again + <usize>w * row;
  const Pi = N + <usize>w * row;
  const KB = Pi + ww;
  const small = KB + ww;

  diagonalBlock<f64>(w, 0, T + <usize>at * (row + S), row, Pi);
  diagonalBlock<f64>(w, 0, K + <usize>at * (row + S), row, KB);
  if (!invertSigned(w, leaving, Pi)) return NaN;
  const change = 0.5 * dot<f64>(w * w, Pi, KB);

  gather(p, at, w, T, X);
  gather(p, at, w, K, Q);
  gemm<f64>(false, false, w, p, w, 1, Pi, w, X, p, 0, t, p, products);
  gemm<f64>(false, false, w, p, w, -1, KB, w, t, p, 0, N, p, products);
  for (let i = 0; i < w * p; i++) {
    const k = value(Q, i);
    const n = value(N, i);
    put(Q, i, k + 0.5 * n); // q = K_B: − ½K_BB·t
    put(N, i, k + n); // K_B: − K_BB·t
  }
  memory.copy(again, t, <usize>w * row);
  multiply<f64>(true, true, false, p, p, w, -1, X, p, t, p, 1, T, p, products);
  multiply<f64>(true, true, false, p, p, 2 * w, -1, t, p, Q, p, 1, K, p, products); // of t above q, and q above t

  // The pivot's own rows: σt, and σΠN in the place of X.
  gemm<f64>(false, false, w, p, w, 1, Pi, w, N, p, 0, X, p, products);
  for (let r = 0; r < leaving; r++) {
    scaleRow<f64>(p, -1, t + <usize>r * row);
    scaleRow<f64>(p, -1, X + <usize>r * row);
  }
  scatter(p, at, w, t, T);
  scatter(p, at, w, X, K);
  gemm<f64>(false, false, w, w, w, 1, Pi, w, KB, w, 0, small, w, products);
  gemm<f64>(false, false, w, w, w, 1, small, w, Pi, w, 0, KB, w, products);
  for (let r = 0; r < w; r++) {
    for (let s = 0; s <= r; s++) {
      const sign: f64 = (r < leaving) == (s < leaving) ? 1 : -1;
      const to = <usize>(at + r) * row + <usize>(at + s) * S;
      store<f64>(K + to, sign * value(KB, r * w + s)); // σΠK_BBΠσ
      store<f64>(T + to, -sign * value(Pi, r * w + s));
    }
  }
  return change;
}

/** out ← rows at … at + w − 1 of a symmetric matrix, whole: w × p. */
function gather(p: i32, at: i32, w: i32, A: usize, out: usize): void {
  const row = <usize>p * S;
  for (let r = 0; r < w; r++) {
    const end = at + r + 1;
    memory.copy(out + <usize>r * row, A + <usize>(at + r) * row, <usize>end * S);
  }
  for (let i = at; i < p; i++) {
    const a = A + <usize>i * row + <usize>at * S;
    for (let r = 0, n = min(w, i - at); r < n; r++) put(out + <usize>r * row, i, value(a, r));
  }
}

/** Rows and columns at … at + w − 1 of a symmetric matrix ← w × p rows, but for the block on the diagonal. */
function scatter(p: i32, at: i32, w: i32, rows: usize, A: usize): void {
  const row = <usize>p * S;
  for (let r = 0; r < w; r++) {
    memory.copy(A + <usize>(at + r) * row, rows + <usize>r * row, <usize>at * S);
  }
  for (let i = at + w; i < p; i++) {
    const a = A + <usize>i * row + <usize>at * S;
    for (let r = 0; r < w; r++) put(a, r, value(rows + <usize>r * row, i));
  }
}

/**
 * A ← A⁻¹ by sweeps, for a symmetric w × w block whose first pivots are positive and whose others are negative.
 * Such a matrix is quasidefinite: elimination in any order is stable without exchanges.
 * @returns whether every pivot had its sign
 */
function invertSigned(w: i32, positive: i32, A: usize): bool {
  for (let k = 0; k < w; k++) {
    const rk = A + <usize>(k * w) * S;
    const d = value(rk, k);
    if (!(k < positive ? d > 0 : d < 0)) return false;
    const inverse = 1 / d;
    for (let i = 0; i < w; i++) {
      if (i == k) continue;
      const ri = A + <usize>(i * w) * S;
      const f = value(ri, k) * inverse;
      for (let j = 0; j < w; j++) if (j != k) put(ri, j, value(ri, j) - f * value(rk, j));
      put(ri, k, -f);
    }
    for (let j = 0; j < w; j++) put(rk, j, value(rk, j) * inverse);
    put(rk, k, inverse);
  }
  return true;
}

/**
 * out_i = the change of the objective by swapping kept group i for the removed group j, for all i < kept.
 * Exact: the quadratic form on the joint 2b × 2b pivot.
 *
 * @param D, E  kept × b × b; for b = 1 the diagonals of T and K, else what `tableauPrepare` left there
 * @param out  kept values, and room for one more; @param work  8·b·b doubles
 */
export function tableauChanges(
  j: i32, kept: i32, b: i32, p: i32, T: usize, K: usize, D: usize, E: usize, out: usize, work: usize,
): void {
  const row = <usize>p * S;
  const trow = T + <usize>(j * b) * row;
  const krow = K + <usize>(j * b) * row;
  if (b == 1) scalarChanges(kept, value(trow, j), value(krow, j), trow, krow, D, E, out);
  else blockChanges(j, kept, b, row, trow, krow, D, E, out, work);
}

/**
 * ½(K_ii T_jj + K_jj T_ii − 2K_ij T_ij) / (T_ii T_jj − T_ij²); the denominator is a sum of two negative terms. By pairs: of an odd n
 * one more is written, which says nothing.
 */
function scalarChanges(n: i32, tj: f64, kj: f64, t: usize, k: usize, D: usize, E: usize, out: usize): void {
  const tjv = f64x2.splat(tj);
  const kjv = f64x2.splat(kj);
  const half = f64x2.splat(0.5);
  for (let i = 0; i < n; i += 2) {
    const tij = v128.load(t);
    const d = v128.load(D);
    const cross = f64x2.mul(v128.load(k), tij);
    const above = f64x2.sub(
      f64x2.mul(half, f64x2.add(f64x2.mul(v128.load(E), tjv), f64x2.mul(kjv, d))), cross,
    );
    const below = f64x2.sub(f64x2.mul(d, tjv), f64x2.mul(tij, tij));
    v128.store(out, f64x2.div(above, below));
    t += 16;
    k += 16;
    D += 16;
    E += 16;
    out += 16;
  }
}

/**
 * What the swaps of a kept group have in common, for b > 1, with T_ii = L·Lᵀ: D_i ← L⁻¹ (lower),
 * E_i ← ½L⁻¹K_ii L⁻ᵀ. @param D, E  kept × b × b
 */
export function tableauPrepare(
  kept: i32, b: i32, p: i32, T: usize, K: usize, D: usize, E: usize, work: usize,
): void {
  const bb = <usize>(b * b) * S;
  for (let g = 0; g < kept; g++) {
    diagonalBlock<f64>(b, g, T, <usize>p * S, work);
    diagonalBlock<f64>(b, g, K, <usize>p * S, E);
    memory.fill(D, 0, bb);
    for (let r = 0; r < b; r++) put(D, r * b + r, 1);
    if (smallPotrf(b, work) != 0) {
      // Not to be removed: its cost is infinite.
      memory.fill(E, 0, bb);
      store<f64>(E, Infinity);
    } else {
      smallTrsm<f64>(b, b, work, D, <usize>b * S);
      halfWhiten(b, work, E);
    }
    D += bb;
    E += bb;
  }
}

/**
 * Removing i turns C_j = −T_jj into C = C_j + XᵀX and the Gram matrix of the residual into
 * F = K_jj − XᵀP − PᵀX with X = L⁻¹T_ij, P = L⁻¹K_ij − ½L⁻¹K_ii L⁻ᵀX; the change is tr E_i − ½ tr(C⁻¹F).
 */
function blockChanges(
  j: i32, kept: i32, b: i32, row: usize, trow: usize, krow: usize, D: usize, E: usize, out: usize, work: usize,
): void {
  const bb = <usize>(b * b) * S;
  const line = <usize>b * S;
  const Xt = work; // Xᵀ = T_ji L⁻ᵀ, Pᵀ likewise: rows are dots
  const Pt = Xt + bb;
  const C = Pt + bb;
  const F = C + bb;
  const Tjj = F + bb;
  const Kjj = Tjj + bb;
  diagonalBlock<f64>(b, 0, trow + <usize>j * line, row, Tjj);
  diagonalBlock<f64>(b, 0, krow + <usize>j * line, row, Kjj);
  for (let i = 0; i < kept; i++) {
    let cost: f64 = 0;
    for (let r = 0; r < b; r++) cost += value(E, r * b + r);
    if (!(cost < Infinity)) {
      store<f64>(out, Infinity);
    } else {
      for (let r = 0; r < b; r++) {
        const tr = trow + <usize>r * row;
        const kr = krow + <usize>r * row;
        for (let s = 0; s < b; s++) {
          // L⁻¹ is lower: only its first s + 1 entries of row s count.
          const l = D + <usize>s * line;
          put(Xt, r * b + s, dot<f64>(s + 1, tr, l));
          put(Pt, r * b + s, dot<f64>(s + 1, kr, l));
        }
        subtractRows<f64>(b, b, Xt + <usize>r * line, S, E, line, Pt + <usize>r * line);
      }
      for (let r = 0; r < b; r++) {
        for (let s = 0; s <= r; s++) {
          const at = r * b + s;
          const xr = Xt + <usize>r * line;
          const xs = Xt + <usize>s * line;
          put(C, at, dot<f64>(b, xr, xs) - value(Tjj, at));
          put(F, at, value(Kjj, at) - dot<f64>(b, xr, Pt + <usize>s * line) - dot<f64>(b, xs, Pt + <usize>r * line));
        }
      }
      mirror(b, F);
      // A block that has lost its sign would give any value at all: no swap then.
      store<f64>(out, smallPotrf(b, C) != 0 ? Infinity : cost - 0.5 * whiten(b, C, F));
    }
    trow += line;
    krow += line;
    D += bb;
    E += bb;
    out += S;
  }
}

/** NaN is never the least. @param x  n values, and room for one more */
export function minimum(n: i32, x: usize): f64 {
  put(x, n, Infinity);
  let m = f64x2.splat(Infinity);
  for (let i = 0; i < n; i += 2) {
    m = f64x2.pmin(m, v128.load(x));
    x += 16;
  }
  return min<f64>(f64x2.extract_lane(m, 0), f64x2.extract_lane(m, 1));
}
