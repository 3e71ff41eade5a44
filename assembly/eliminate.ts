// Greedy backward elimination as a blocked, pivoted Cholesky factorisation of T = H⁻¹.
//
// Removing group B from the support changes T ← T − T_:B T_BB⁻¹ T_B: and W ← W − T_:B T_BB⁻¹ W_B.
// With T_BB = L·Lᵀ, V = L⁻¹ T_B: and U = L⁻¹ W_B this is T ← T − VᵀV and W ← W − VᵀU, and the cost of
// the removal is ½‖U‖². As in LAPACK's pstrf, the update of T is deferred: the rows of V are collected
// in a panel, and only the diagonal blocks of T (which the costs need) are kept current. The caller
// applies the panel with one syrk when it is full, so the O(p³) work runs at GEMM speed.
//
// The costs need W only through K = W·Wᵀ. `deliminateStep` streams W itself, which is best for few columns;
// `deliminateGramStep` never touches W: with R = L⁻¹K_B: − ½(L⁻¹K_BB L⁻ᵀ)V it is K ← K − VᵀR − RᵀV, deferred
// over the same panel, so that a step costs the same however many columns W has.
//
// With H and G in the place of T and W the same recursion is forward selection: the "cost" is then the gain
// ½ tr(G_jᵀ H_jj⁻¹ G_j) of adding the group, and the caller takes the largest.
//
// A removed group is first swapped behind the live ones, so live rows are always the leading ones and
// the pivot's rows of T are contiguous. Choosing the group and the schedule is the caller's business.
// f64 only: costs are differences of nearly equal numbers.
import { diagonalBlock, mirror, quadraticCost, smallPotrf, smallTrsm, whiten } from './block';
import { S, dot, dswapRows, dswapSymmetric, dswapColumns, subtractRows, swapRows } from './rows';

/**
 * cost_j = ½ tr(W_jᵀ T_jj⁻¹ W_j) of one group from its current diagonal block.
 * @param D  b × b, T_jj; read only
 * @param work  3·b·b doubles
 * @returns otherwise where T_jj is not positive definite
 */
function rowsCost(b: i32, m: i32, D: usize, W: usize, ldw: usize, otherwise: f64, work: usize): f64 {
  // tr(WᵀT⁻¹W) = tr(T⁻¹ K) with K = W·Wᵀ: b·b dots instead of a solve with m columns.
  for (let r = 0; r < b; r++) {
    for (let s = 0; s <= r; s++) {
      const q = dot(m, W + <usize>r * ldw, W + <usize>s * ldw);
      store<f64>(work + <usize>(r * b + s) * S, q);
      store<f64>(work + <usize>(s * b + r) * S, q);
    }
  }
  return quadraticCost(b, D, work, otherwise, work + <usize>(b * b) * S);
}

/**
 * Fills the diagonal blocks and the removal costs of all `groups` groups of b rows.
 * @param T  p × p, lower triangle of H⁻¹, p = groups·b
 * @param W  p × m, the solution on the full support
 * @param D  groups × b × b out; @param cost  groups out; @param work  3·b·b doubles
 * @param otherwise  the cost of a group whose block is not positive definite: the worst for the caller
 */
export function deliminateStart(
  groups: i32, b: i32, m: i32,
  T: usize, ldt: i32, W: usize, ldw: i32, D: usize, cost: usize, otherwise: f64, work: usize,
): void {
  const lt = <usize>ldt * S;
  const lw = <usize>ldw * S;
  for (let g = 0; g < groups; g++) {
    const block = D + <usize>(g * b * b) * S;
    diagonalBlock(b, g, T, lt, block);
    store<f64>(cost + <usize>g * S, rowsCost(b, m, block, W + <usize>(g * b) * lw, lw, otherwise, work));
  }
}

/**
 * Removes the group at position `at` of the `live` groups: it is swapped to position live − 1, its b
 * new rows of V are appended to the panel, and W, D and the costs of the others are brought up to date.
 *
 * @param used  rows of V already in the panel (not yet applied to T)
 * @param V  panel, rows × p with leading dimension ldv: the new rows go to used … used + b − 1
 * @param order  live group numbers (i32), permuted along
 * @param work  4·b·b doubles
 * @returns 0, or the 1-based pivot at which T_BB was not positive definite (then nothing but the swap is done)
 */
export function deliminateStep(
  at: i32, live: i32, b: i32, m: i32, used: i32,
  T: usize, ldt: i32, W: usize, ldw: i32, V: usize, ldv: i32,
  D: usize, cost: usize, order: usize, otherwise: f64, work: usize,
): i32 {
  const lt = <usize>ldt * S;
  const lw = <usize>ldw * S;
  const lv = <usize>ldv * S;
  const bb = <usize>(b * b) * S;
  const last = live - 1;
  const base = last * b;

  if (at != last) {
    dswapSymmetric(base + b, b, at, last, T, ldt);
    dswapRows(m, b, at, last, W, ldw);
    dswapColumns(used, b, at, last, V, ldv);
    swapRows(b * b, D + <usize>at * bb, D + <usize>last * bb);
    swapEntries(at, last, cost, order);
  }

  const L = work + 3 * bb;
  memory.copy(L, D + <usize>last * bb, bb);
  const info = smallPotrf(b, L);
  if (info != 0) return info;

  // V = L⁻¹ T_B: on the live columns, from the stored rows minus what the panel still owes them.
  const Vb = V + <usize>used * lv;
  for (let r = 0; r < b; r++) {
    const row = Vb + <usize>r * lv;
    memory.copy(row, T + <usize>(base + r) * lt, <usize>base * S);
    subtractRows<f64>(used, base, V + <usize>(base + r) * S, lv, V, lv, row);
  }
  smallTrsm(b, base, L, Vb, lv);

  const U = W + <usize>base * lw;
  smallTrsm(b, m, L, U, lw);

  for (let g = 0; g < last; g++) {
    const column = Vb + <usize>(g * b) * S;
    const block = D + <usize>g * bb;
    const rows = W + <usize>(g * b) * lw;
    for (let r = 0; r < b; r++) {
      subtractRows<f64>(b, m, column + <usize>r * S, lv, U, lw, rows + <usize>r * lw);
      for (let s = 0; s < b; s++) {
        let v = load<f64>(block + <usize>(r * b + s) * S);
        for (let q = 0; q < b; q++) {
          const vq = column + <usize>q * lv;
          v -= load<f64>(vq + <usize>r * S) * load<f64>(vq + <usize>s * S);
        }
        store<f64>(block + <usize>(r * b + s) * S, v);
      }
    }
    store<f64>(cost + <usize>g * S, rowsCost(b, m, block, rows, lw, otherwise, work));
  }
  return 0;
}

/** As `deliminateStart`, for steps on K = W·Wᵀ. @param E  groups × b × b out: the diagonal blocks of K */
export function deliminateGramStart(
  groups: i32, b: i32, m: i32, T: usize, ldt: i32, W: usize, ldw: i32,
  D: usize, E: usize, cost: usize, otherwise: f64, work: usize,
): void {
  gramBlocks(groups, b, m, W, ldw, E);
  for (let g = 0; g < groups; g++) {
    const at = <usize>(g * b * b) * S;
    diagonalBlock(b, g, T, <usize>ldt * S, D + at);
    store<f64>(cost + <usize>g * S, quadraticCost(b, D + at, E + at, otherwise, work));
  }
}

/** E ← the diagonal blocks of W·Wᵀ, groups × b × b: afresh, once a panel, where W is at hand. */
export function gramBlocks(groups: i32, b: i32, m: i32, W: usize, ldw: i32, E: usize): void {
  const lw = <usize>ldw * S;
  for (let g = 0; g < groups; g++) {
    for (let r = 0; r < b; r++) {
      const row = W + <usize>(g * b + r) * lw;
      for (let s = 0; s <= r; s++) {
        store<f64>(E + <usize>(r * b + s) * S, dot(m, row, W + <usize>(g * b + s) * lw));
      }
    }
    mirror(b, E);
    E += <usize>(b * b) * S;
  }
}

/** Exchanges two groups in what a step on K keeps per group: T, the panel, the blocks, costs and order. */
export function deliminateGramSwap(
  at: i32, last: i32, b: i32, used: i32,
  T: usize, ldt: i32, V: usize, R: usize, ldv: i32, D: usize, E: usize, cost: usize, order: usize,
): void {
  const bb = <usize>(b * b) * S;
  dswapSymmetric((last + 1) * b, b, at, last, T, ldt);
  dswapColumns(used, b, at, last, V, ldv);
  dswapColumns(used, b, at, last, R, ldv);
  swapRows(b * b, D + <usize>at * bb, D + <usize>last * bb);
  swapRows(b * b, E + <usize>at * bb, E + <usize>last * bb);
  swapEntries(at, last, cost, order);
}

/**
 * Removes the last live group, given the rows of K that are its own: appends b rows to V and R and brings
 * D, E (the diagonal blocks of K) and the costs of the others up to date.
 *
 * @param last  position of the group: the groups before it stay
 * @param K  the group's b rows of W·Wᵀ as of the start of the panel, ldk elements apart; read only
 * @param V, R  panels, rows × p with leading dimension ldv
 * @param work  4·b·b doubles; on return the last b·b hold L
 * @returns 0, or the 1-based pivot at which T_BB was not positive definite (then nothing is done)
 */
export function deliminateGramStep(
  last: i32, b: i32, used: i32, T: usize, ldt: i32, K: usize, ldk: i32, V: usize, R: usize, ldv: i32,
  D: usize, E: usize, cost: usize, otherwise: f64, work: usize,
): i32 {
  const lt = <usize>ldt * S;
  const lv = <usize>ldv * S;
  const lk = <usize>ldk * S;
  const bb = <usize>(b * b) * S;
  const base = last * b;

  const L = work + 3 * bb;
  memory.copy(L, D + <usize>last * bb, bb);
  const info = smallPotrf(b, L);
  if (info != 0) return info;

  const Vb = V + <usize>used * lv;
  const Rb = R + <usize>used * lv;
  const width = <usize>base * S;
  for (let r = 0; r < b; r++) {
    const v = Vb + <usize>r * lv;
    const q = Rb + <usize>r * lv;
    const column = <usize>(base + r) * S;
    memory.copy(v, T + <usize>(base + r) * lt, width);
    memory.copy(q, K + <usize>r * lk, width);
    subtractRows<f64>(used, base, V + column, lv, V, lv, v);
    subtractRows<f64>(used, base, V + column, lv, R, lv, q);
    subtractRows<f64>(used, base, R + column, lv, V, lv, q);
  }
  smallTrsm(b, base, L, Vb, lv);
  smallTrsm(b, base, L, Rb, lv);

  // ½ L⁻¹K_BB L⁻ᵀ, from the block that is kept current.
  const M = work;
  memory.copy(M, E + <usize>last * bb, bb);
  whiten(b, L, M);
  mirror(b, M);
  for (let i = 0; i < b * b; i++) store<f64>(M + <usize>i * S, 0.5 * load<f64>(M + <usize>i * S));
  for (let r = 0; r < b; r++) subtractRows<f64>(b, base, M + <usize>(r * b) * S, S, Vb, lv, Rb + <usize>r * lv);

  if (b == 1) {
    updateScalars(last, Vb, Rb, D, E, cost, otherwise);
    return 0;
  }
  for (let g = 0; g < last; g++) {
    const d = D + <usize>g * bb;
    const e = E + <usize>g * bb;
    const column = <usize>(g * b) * S;
    for (let r = 0; r < b; r++) {
      const to = <usize>(r * b) * S;
      subtractRows<f64>(b, b, Vb + column + <usize>r * S, lv, Vb + column, lv, d + to);
      subtractRows<f64>(b, b, Vb + column + <usize>r * S, lv, Rb + column, lv, e + to);
      subtractRows<f64>(b, b, Rb + column + <usize>r * S, lv, Vb + column, lv, e + to);
    }
    store<f64>(cost + <usize>g * S, quadraticCost(b, d, e, otherwise, work));
  }
  return 0;
}

/** For b = 1: D ← D − v², E ← E − 2vr, cost = ½E/D. */
function updateScalars(n: i32, v: usize, r: usize, D: usize, E: usize, cost: usize, otherwise: f64): void {
  for (let i = 0; i < n; i++) {
    const vi = load<f64>(v);
    const d = load<f64>(D) - vi * vi;
    const e = load<f64>(E) - 2 * vi * load<f64>(r);
    store<f64>(D, d);
    store<f64>(E, e);
    store<f64>(cost, d > 0 ? max<f64>(0, 0.5 * e / d) : otherwise);
    v += S;
    r += S;
    D += S;
    E += S;
    cost += S;
  }
}

/**
 * The removed group's rows of U = L⁻¹W_B for a panel that W still waits for: row(s) `used` … of U from the
 * rows of W at `last`, less what the panel owes them.
 * @param L  as `deliminateGramStep` left it at the end of its work
 */
export function deliminateRows(
  last: i32, b: i32, m: i32, used: i32, W: usize, ldw: i32, V: usize, ldv: i32, U: usize, ldu: i32, L: usize,
): void {
  const lu = <usize>ldu * S;
  const Ub = U + <usize>used * lu;
  for (let r = 0; r < b; r++) {
    const row = Ub + <usize>r * lu;
    memory.copy(row, W + <usize>(last * b + r) * <usize>ldw * S, <usize>m * S);
    subtractRows<f64>(used, m, V + <usize>(last * b + r) * S, <usize>ldv * S, U, lu, row);
  }
  smallTrsm(b, m, L, Ub, lu);
}

function swapEntries(a: i32, z: i32, cost: usize, order: usize): void {
  swapRows(1, cost + <usize>a * S, cost + <usize>z * S);
  const t = load<i32>(order + (<usize>a << 2));
  store<i32>(order + (<usize>a << 2), load<i32>(order + (<usize>z << 2)));
  store<i32>(order + (<usize>z << 2), t);
}
