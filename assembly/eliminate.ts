// Greedy backward elimination as a blocked, pivoted Cholesky factorisation of T = H⁻¹.
//
// Removing group B from the support changes T ← T − T_:B T_BB⁻¹ T_B: and W ← W − T_:B T_BB⁻¹ W_B.
// With T_BB = L·Lᵀ, V = L⁻¹ T_B: and U = L⁻¹ W_B this is T ← T − VᵀV and W ← W − VᵀU, and the cost of
// the removal is ½‖U‖². As in LAPACK's pstrf, the update of T is deferred: the rows of V are collected
// in a panel, and only the diagonal blocks of T (which the costs need) are kept current. The caller
// applies the panel with one syrk when it is full, so the O(p³) work runs at GEMM speed.
//
// A removed group is first swapped behind the live ones, so live rows are always the leading ones and
// the pivot's rows of T are contiguous. Choosing the group and the schedule is the caller's business.
// f64 only: costs are differences of nearly equal numbers.

const S: usize = 8;

/** Σ x_i·y_i. */
export function dot(n: i32, x: usize, y: usize): f64 {
  let s0 = f64x2.splat(0);
  let s1 = f64x2.splat(0);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    s0 = f64x2.add(s0, f64x2.mul(v128.load(x), v128.load(y)));
    s1 = f64x2.add(s1, f64x2.mul(v128.load(x, 16), v128.load(y, 16)));
    x += 32;
    y += 32;
  }
  s0 = f64x2.add(s0, s1);
  let sum = f64x2.extract_lane(s0, 0) + f64x2.extract_lane(s0, 1);
  for (; i < n; i++) {
    sum += load<f64>(x) * load<f64>(y);
    x += S;
    y += S;
  }
  return sum;
}

/** y ← y − a·x. */
function subtractScaled(n: i32, a: f64, x: usize, y: usize): void {
  const av = f64x2.splat(a);
  let i = 0;
  for (; i + 4 <= n; i += 4) {
    v128.store(y, f64x2.sub(v128.load(y), f64x2.mul(av, v128.load(x))));
    v128.store(y, f64x2.sub(v128.load(y, 16), f64x2.mul(av, v128.load(x, 16))), 16);
    x += 32;
    y += 32;
  }
  for (; i < n; i++) {
    store<f64>(y, load<f64>(y) - a * load<f64>(x));
    x += S;
    y += S;
  }
}

/** y ← y − a0·x0 − a1·x1 − a2·x2 − a3·x3: one pass over y for four rows. */
function subtractScaled4(n: i32, a: usize, lda: usize, x: usize, ldx: usize, y: usize): void {
  const a0 = load<f64>(a);
  const a1 = load<f64>(a + lda);
  const a2 = load<f64>(a + 2 * lda);
  const a3 = load<f64>(a + 3 * lda);
  const v0 = f64x2.splat(a0);
  const v1 = f64x2.splat(a1);
  const v2 = f64x2.splat(a2);
  const v3 = f64x2.splat(a3);
  let x1 = x + ldx;
  let x2 = x1 + ldx;
  let x3 = x2 + ldx;
  let i = 0;
  for (; i + 2 <= n; i += 2) {
    let t = v128.load(y);
    t = f64x2.sub(t, f64x2.mul(v0, v128.load(x)));
    t = f64x2.sub(t, f64x2.mul(v1, v128.load(x1)));
    t = f64x2.sub(t, f64x2.mul(v2, v128.load(x2)));
    t = f64x2.sub(t, f64x2.mul(v3, v128.load(x3)));
    v128.store(y, t);
    x += 16;
    x1 += 16;
    x2 += 16;
    x3 += 16;
    y += 16;
  }
  if (i < n) {
    store<f64>(
      y,
      load<f64>(y) - a0 * load<f64>(x) - a1 * load<f64>(x1) - a2 * load<f64>(x2) - a3 * load<f64>(x3),
    );
  }
}

/** y ← y − Σ_q a_q·x_q over k rows; a strided by lda bytes, x by ldx bytes. */
function subtractRows(k: i32, n: i32, a: usize, lda: usize, x: usize, ldx: usize, y: usize): void {
  let q = 0;
  for (; q + 4 <= k; q += 4) {
    subtractScaled4(n, a, lda, x, ldx, y);
    a += 4 * lda;
    x += 4 * ldx;
  }
  for (; q < k; q++) {
    subtractScaled(n, load<f64>(a), x, y);
    a += lda;
    x += ldx;
  }
}

/** Cholesky of a small n × n block, lower, in place, ld = n. @returns 0, or the 1-based failing pivot */
function smallPotrf(n: i32, A: usize): i32 {
  for (let i = 0; i < n; i++) {
    const ri = A + <usize>(i * n) * S;
    for (let j = 0; j < i; j++) {
      const rj = A + <usize>(j * n) * S;
      const v = load<f64>(ri + <usize>j * S) - dot(j, ri, rj);
      store<f64>(ri + <usize>j * S, v / load<f64>(rj + <usize>j * S));
    }
    const d = load<f64>(ri + <usize>i * S) - dot(i, ri, ri);
    if (!(d > 0)) return i + 1;
    store<f64>(ri + <usize>i * S, sqrt(d));
  }
  return 0;
}

/** X ← L⁻¹·X for a small b × b lower L (ld = b) and a b × n X (ldx bytes). */
function smallTrsm(b: i32, n: i32, L: usize, X: usize, ldx: usize): void {
  for (let r = 0; r < b; r++) {
    const row = X + <usize>r * ldx;
    const lr = L + <usize>(r * b) * S;
    subtractRows(r, n, lr, S, X, ldx, row);
    const inverse = 1 / load<f64>(lr + <usize>r * S);
    const iv = f64x2.splat(inverse);
    let i = 0;
    let p = row;
    for (; i + 2 <= n; i += 2) {
      v128.store(p, f64x2.mul(iv, v128.load(p)));
      p += 16;
    }
    if (i < n) store<f64>(p, load<f64>(p) * inverse);
  }
}

function swapScalars(a: usize, b: usize): void {
  const t = load<f64>(a);
  store<f64>(a, load<f64>(b));
  store<f64>(b, t);
}

function swapRows(n: i32, a: usize, b: usize): void {
  for (let i = 0; i < n; i++) {
    swapScalars(a, b);
    a += S;
    b += S;
  }
}

/** Swaps rows and columns a < z of a symmetric n × n matrix of which the lower triangle is stored. */
function swapSymmetric(n: i32, a: i32, z: i32, A: usize, ld: usize): void {
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
 * cost_j = ½ tr(W_jᵀ T_jj⁻¹ W_j) of one group from its current diagonal block.
 * @param D  b × b, the lower triangle of T_jj; read only
 * @param work  2·b·b doubles
 * @returns Infinity where T_jj is not positive definite: such a group is never the cheapest
 */
function removalCost(b: i32, m: i32, D: usize, W: usize, ldw: usize, work: usize): f64 {
  if (b == 1) {
    const d = load<f64>(D);
    return d > 0 ? (0.5 * dot(m, W, W)) / d : Infinity;
  }
  const L = work;
  const Q = work + <usize>(b * b) * S;
  memory.copy(L, D, <usize>(b * b) * S);
  if (smallPotrf(b, L) != 0) return Infinity;
  // tr(WᵀT⁻¹W) = tr(L⁻¹ Q L⁻ᵀ) with Q = W·Wᵀ: b·b dots instead of a solve with m columns.
  for (let r = 0; r < b; r++) {
    for (let s = 0; s <= r; s++) {
      const q = dot(m, W + <usize>r * ldw, W + <usize>s * ldw);
      store<f64>(Q + <usize>(r * b + s) * S, q);
      store<f64>(Q + <usize>(s * b + r) * S, q);
    }
  }
  smallTrsm(b, b, L, Q, <usize>b * S);
  // Row r of L⁻¹Q, then the diagonal of (L⁻¹Q)·L⁻ᵀ by forward substitution over its columns.
  let trace: f64 = 0;
  for (let r = 0; r < b; r++) {
    const row = Q + <usize>(r * b) * S;
    for (let s = 0; s <= r; s++) {
      const ls = L + <usize>(s * b) * S;
      const v = (load<f64>(row + <usize>s * S) - dot(s, row, ls)) / load<f64>(ls + <usize>s * S);
      store<f64>(row + <usize>s * S, v);
    }
    trace += load<f64>(row + <usize>r * S);
  }
  return 0.5 * trace;
}

/**
 * Fills the diagonal blocks and the removal costs of all `groups` groups of b rows.
 * @param T  p × p, lower triangle of H⁻¹, p = groups·b
 * @param W  p × m, the solution on the full support
 * @param D  groups × b × b out; @param cost  groups out; @param work  2·b·b doubles
 */
export function deliminateStart(
  groups: i32, b: i32, m: i32,
  T: usize, ldt: i32, W: usize, ldw: i32, D: usize, cost: usize, work: usize,
): void {
  const lt = <usize>ldt * S;
  const lw = <usize>ldw * S;
  for (let g = 0; g < groups; g++) {
    const block = D + <usize>(g * b * b) * S;
    for (let r = 0; r < b; r++) {
      for (let s = 0; s < b; s++) {
        const i = g * b + max(r, s);
        const j = g * b + min(r, s);
        store<f64>(block + <usize>(r * b + s) * S, load<f64>(T + <usize>i * lt + <usize>j * S));
      }
    }
    store<f64>(cost + <usize>g * S, removalCost(b, m, block, W + <usize>(g * b) * lw, lw, work));
  }
}

/**
 * Removes the group at position `at` of the `live` groups: it is swapped to position live − 1, its b
 * new rows of V are appended to the panel, and W, D and the costs of the others are brought up to date.
 *
 * @param used  rows of V already in the panel (not yet applied to T)
 * @param V  panel, rows × p with leading dimension ldv: the new rows go to used … used + b − 1
 * @param order  live group numbers (i32), permuted along
 * @param work  3·b·b doubles
 * @returns 0, or the 1-based pivot at which T_BB was not positive definite (then nothing but the swap is done)
 */
export function deliminateStep(
  at: i32, live: i32, b: i32, m: i32, used: i32,
  T: usize, ldt: i32, W: usize, ldw: i32, V: usize, ldv: i32,
  D: usize, cost: usize, order: usize, work: usize,
): i32 {
  const lt = <usize>ldt * S;
  const lw = <usize>ldw * S;
  const lv = <usize>ldv * S;
  const bb = <usize>(b * b) * S;
  const last = live - 1;
  const base = last * b;

  if (at != last) {
    for (let r = 0; r < b; r++) {
      const a = at * b + r;
      const z = base + r;
      swapSymmetric(base + b, a, z, T, lt);
      swapRows(m, W + <usize>a * lw, W + <usize>z * lw);
      for (let q = 0; q < used; q++) swapScalars(V + <usize>q * lv + <usize>a * S, V + <usize>q * lv + <usize>z * S);
    }
    swapRows(b * b, D + <usize>at * bb, D + <usize>last * bb);
    swapScalars(cost + <usize>at * S, cost + <usize>last * S);
    const t = load<i32>(order + (<usize>at << 2));
    store<i32>(order + (<usize>at << 2), load<i32>(order + (<usize>last << 2)));
    store<i32>(order + (<usize>last << 2), t);
  }

  const L = work + 2 * bb;
  memory.copy(L, D + <usize>last * bb, bb);
  const info = smallPotrf(b, L);
  if (info != 0) return info;

  // V = L⁻¹ T_B: on the live columns, from the stored rows minus what the panel still owes them.
  const Vb = V + <usize>used * lv;
  for (let r = 0; r < b; r++) {
    const row = Vb + <usize>r * lv;
    memory.copy(row, T + <usize>(base + r) * lt, <usize>base * S);
    subtractRows(used, base, V + <usize>(base + r) * S, lv, V, lv, row);
  }
  smallTrsm(b, base, L, Vb, lv);

  const U = W + <usize>base * lw;
  smallTrsm(b, m, L, U, lw);

  for (let g = 0; g < last; g++) {
    const column = Vb + <usize>(g * b) * S;
    const block = D + <usize>g * bb;
    const rows = W + <usize>(g * b) * lw;
    for (let r = 0; r < b; r++) {
      subtractRows(b, m, column + <usize>r * S, lv, U, lw, rows + <usize>r * lw);
      for (let s = 0; s < b; s++) {
        let v = load<f64>(block + <usize>(r * b + s) * S);
        for (let q = 0; q < b; q++) {
          const vq = column + <usize>q * lv;
          v -= load<f64>(vq + <usize>r * S) * load<f64>(vq + <usize>s * S);
        }
        store<f64>(block + <usize>(r * b + s) * S, v);
      }
    }
    store<f64>(cost + <usize>g * S, removalCost(b, m, block, rows, lw, work));
  }
  return 0;
}
