// Greedy backward elimination as a blocked, pivoted Cholesky factorisation of T = H⁻¹.
//
// Removing group B from the support changes T ← T − T_:B T_BB⁻¹ T_B: and W ← W − T_:B T_BB⁻¹ W_B.
// With T_BB = L·Lᵀ, V = L⁻¹ T_B: and U = L⁻¹ W_B this is T ← T − VᵀV and W ← W − VᵀU, and the cost of
// the removal is ½‖U‖². Only the columns of removed groups are ever needed, so T is not updated: the
// factorisation is left-looking. Columns of groups that look like the next to go are staged, some dozen at a time,
// and everything that the removals before this panel owe them is subtracted by one product; what those within the
// panel owe is subtracted when a group goes. Diagonal blocks, which the costs need, are kept current all the time.
//
// The costs need W only through K = W·Wᵀ, kept in one of three ways (`Path`). By columns, with
// R = L⁻¹K_B: − ½(L⁻¹K_BB L⁻ᵀ)V it is K ← K − VᵀR − RᵀV, and a removal costs the same however many columns W has.
//
// With H and G in the place of T and W the same recursion is forward selection: the "cost" is then the gain
// ½ tr(G_jᵀ H_jj⁻¹ G_j) of adding the group, and the caller takes the largest.
//
// A removed group is first swapped behind the live ones, the staged ones being the last of these, so that all parts are
// contiguous; its rows of V then take the place of its own in T, which nobody needs any more. Choosing the group and
// the products are the host's business (src/kernel/elimination.ts, assembly/plugin/elimination.ts).
// f64 only: costs are differences of nearly equal numbers.
import { diagonalBlock, mirror, quadraticCost, smallPotrf, smallTrsm, whiten } from './block';
import { S, dot, dswapColumns, dswapRows, dswapSymmetric, subtractRows, swapRows } from './rows';

/** How the costs are kept exact. */
export const enum Path {
  /** W is updated at every removal. */
  Rows,
  /** W is updated once a panel; staged columns of K are products of its rows. */
  Columns,
  /** W is left alone; staged columns of K are those of its product, less what all removals owe, for which R is kept. */
  Gram,
}

/** The state of an elimination, laid out by its host. Positions and counts are in groups, `capacity` and `panel` in rows. */
// @ts-ignore: decorator
@unmanaged
export class Elimination {
  /** The cost of a group whose block has lost its definiteness: the worst for the host. */
  otherwise: f64;
  path: Path;
  p: i32;
  m: i32;
  /** Rows per group; p = groups·b. */
  b: i32;
  /** Groups not yet removed: at positions 0 … live − 1. */
  live: i32;
  /** Those of them when the panel began. */
  begin: i32;
  /** The last of the live ones, whose columns are staged. */
  staged: i32;
  /** Rows of C and K, and rows of the panel. */
  capacity: i32;
  panel: i32;
  /** p × p: the lower triangle of H⁻¹ where both groups live, V in the rows of removed groups. */
  T: usize;
  /** p × m: H⁻¹G on the full support, then as the path has it. In rows removed by `Columns`, U. */
  W: usize;
  /** capacity × p: columns of T, and of K (not `Rows`), as rows, as of the panel's beginning; the last ones first. */
  C: usize;
  K: usize;
  /** R, of the panel (`Columns`, panel × p) or of all removals (`Gram`, p × p, by position). */
  R: usize;
  /** groups × b × b: the diagonal blocks of T, and of K (not `Rows`), by position. */
  D: usize;
  E: usize;
  /** By position, ½ tr(K_jj T_jj⁻¹): what removing the group costs. */
  cost: usize;
  /** Group by position (i32). */
  order: usize;
  /** 4·b·b doubles. */
  work: usize;
}

/** The row of C and K that belongs to the group at a position. */
// @ts-ignore: decorator
@inline
function stagedRow(s: Elimination, position: i32): i32 {
  return s.capacity - (s.begin - position) * s.b;
}

// @ts-ignore: decorator
@inline
function rowOfR(s: Elimination, position: i32): usize {
  const row = s.path == Path.Gram ? position * s.b : s.panel - (s.begin - position) * s.b;
  return s.R + <usize>row * <usize>s.p * S;
}

/** Fills order, the diagonal blocks and the costs, from T and W on the full support. */
export function deliminateStart(s: Elimination): void {
  const b = s.b;
  const lt = <usize>s.p * S;
  s.live = s.begin = s.p / b;
  s.staged = 0;
  if (s.path != Path.Rows) gramBlocks(s);
  for (let g = 0; g < s.live; g++) {
    store<i32>(s.order + (<usize>g << 2), g);
    const block = s.D + <usize>(g * b * b) * S;
    diagonalBlock(b, g, s.T, lt, block);
    updateCost(s, g);
  }
}

/** E ← the diagonal blocks of W·Wᵀ of the live groups. */
function gramBlocks(s: Elimination): void {
  const b = s.b;
  const lw = <usize>s.m * S;
  let block = s.E;
  for (let g = 0; g < s.live; g++) {
    gramBlock(b, s.m, s.W + <usize>(g * b) * lw, lw, block);
    block += <usize>(b * b) * S;
  }
}

function gramBlock(b: i32, m: i32, W: usize, lw: usize, block: usize): void {
  for (let r = 0; r < b; r++) {
    const row = W + <usize>r * lw;
    for (let q = 0; q <= r; q++) store<f64>(block + <usize>(r * b + q) * S, dot(m, row, W + <usize>q * lw));
  }
  mirror(b, block);
}

/** From the group's current diagonal blocks. */
function updateCost(s: Elimination, g: i32): void {
  const b = s.b;
  const block = <usize>(g * b * b) * S;
  let e = s.E + block;
  let work = s.work;
  if (s.path == Path.Rows) {
    // tr(WᵀT⁻¹W) = tr(T⁻¹ WWᵀ): b·b dots instead of a solve with m columns.
    e = work;
    work += <usize>(b * b) * S;
    gramBlock(b, s.m, s.W + <usize>(g * b) * <usize>s.m * S, <usize>s.m * S, e);
  }
  store<f64>(s.cost + <usize>g * S, quadraticCost(b, s.D + block, e, s.otherwise, work));
}

/**
 * Stages `count` more groups: the one at position `at`, and those that would now go first. They come to the end of the
 * groups that are not staged, and C gets their columns of T as they were on the full support.
 */
export function deliminateStage(s: Elimination, at: i32, count: i32): void {
  const b = s.b;
  const lt = <usize>s.p * S;
  let end = s.live - s.staged;
  for (let i = 0; i < count; i++) {
    end--;
    swap(s, i == 0 ? at : nextToGo(s, end + 1), end);
  }
  s.staged += count;
  const live = s.live * b;
  let c = s.C + <usize>stagedRow(s, end) * lt;
  for (let i = end * b; i < (end + count) * b; i++) {
    memory.copy(c, s.T + <usize>i * lt, <usize>(i + 1) * S);
    let below = s.T + <usize>i * lt + <usize>i * S;
    for (let j = i + 1; j < live; j++) {
      below += lt;
      store<f64>(c + <usize>j * S, load<f64>(below));
    }
    c += lt;
  }
}

/** The first of positions 0 … n − 1 whose cost is the best for the host. */
function nextToGo(s: Elimination, n: i32): i32 {
  const dearest = s.otherwise < 0;
  let best = 0;
  let least = load<f64>(s.cost);
  for (let i = 1; i < n; i++) {
    const cost = load<f64>(s.cost + <usize>i * S);
    if (dearest ? cost > least : cost < least) {
      best = i;
      least = cost;
    }
  }
  return best;
}

/** Exchanges two live groups, both staged or both not. */
function swap(s: Elimination, a: i32, z: i32): void {
  if (a == z) return;
  const p = s.p;
  const b = s.b;
  const lt = <usize>p * S;
  const bb = <usize>(b * b) * S;
  const live = s.live;
  const first = live - s.staged;
  dswapSymmetric(p, b, a, z, s.T, p); // below the live rows these are the columns of V
  dswapRows(s.m, b, a, z, s.W, s.m);
  swapRows(b * b, s.D + <usize>a * bb, s.D + <usize>z * bb);
  dswapColumns(s.staged * b, b, a, z, s.C + <usize>stagedRow(s, first) * lt, p);
  if (a >= first) dswapRows(live * b, b, stagedRow(s, a) / b, stagedRow(s, z) / b, s.C, p);
  if (s.path != Path.Rows) {
    const removed = (s.path == Path.Gram ? p / b : s.begin) - live;
    dswapColumns(removed * b, b, a, z, rowOfR(s, live), p);
    dswapColumns(s.staged * b, b, a, z, s.K + <usize>stagedRow(s, first) * lt, p);
    if (a >= first) dswapRows(live * b, b, stagedRow(s, a) / b, stagedRow(s, z) / b, s.K, p);
    swapRows(b * b, s.E + <usize>a * bb, s.E + <usize>z * bb);
  }
  swapRows(1, s.cost + <usize>a * S, s.cost + <usize>z * S);
  const group = load<i32>(s.order + (<usize>a << 2));
  store<i32>(s.order + (<usize>a << 2), load<i32>(s.order + (<usize>z << 2)));
  store<i32>(s.order + (<usize>z << 2), group);
}

/**
 * Removes the group at a position, which is staged: its rows of V (and of R and U) are formed, and the diagonal blocks
 * and costs of the others are brought up to date.
 * @returns 0, or the 1-based pivot at which T_BB was not positive definite (then nothing but a swap is done)
 */
export function deliminateStep(s: Elimination, at: i32): i32 {
  const b = s.b;
  const lt = <usize>s.p * S;
  const bb = <usize>(b * b) * S;
  const last = s.live - 1;
  const base = last * b;
  swap(s, at, last);

  const L = s.work + 3 * bb;
  memory.copy(L, s.D + <usize>last * bb, bb);
  const info = smallPotrf(b, L);
  if (info != 0) return info;

  // The rows of V since the panel began lie behind those that are formed now.
  const owed = (s.begin - s.live) * b;
  const V = s.T + <usize>base * lt;
  const before = V + <usize>b * lt;
  const staged = <usize>stagedRow(s, last) * lt;
  for (let r = 0; r < b; r++) {
    const row = V + <usize>r * lt;
    memory.copy(row, s.C + staged + <usize>r * lt, <usize>base * S);
    subtractRows<f64>(owed, base, before + <usize>(base + r) * S, lt, before, lt, row);
  }
  smallTrsm(b, base, L, V, lt);

  if (s.path == Path.Rows) stepOnRows(s, last, V, L);
  else stepOnColumns(s, last, V, owed, L);
  s.live--;
  s.staged--;
  return 0;
}

function stepOnRows(s: Elimination, last: i32, V: usize, L: usize): void {
  const b = s.b;
  const m = s.m;
  const lt = <usize>s.p * S;
  const lw = <usize>m * S;
  const U = s.W + <usize>(last * b) * lw;
  smallTrsm(b, m, L, U, lw);
  let rows = s.W;
  for (let g = 0; g < last; g++) {
    const column = V + <usize>(g * b) * S;
    for (let r = 0; r < b; r++) {
      subtractRows<f64>(b, m, column + <usize>r * S, lt, U, lw, rows);
      rows += lw;
    }
    const block = s.D + <usize>(g * b * b) * S;
    for (let r = 0; r < b; r++) subtractRows<f64>(b, b, column + <usize>r * S, lt, column, lt, block + <usize>(r * b) * S);
    updateCost(s, g);
  }
}

function stepOnColumns(s: Elimination, last: i32, V: usize, owed: i32, L: usize): void {
  const b = s.b;
  const lt = <usize>s.p * S;
  const bb = <usize>(b * b) * S;
  const base = last * b;
  const before = V + <usize>b * lt;
  const R = rowOfR(s, last);
  const beforeR = R + <usize>b * lt;
  const staged = <usize>stagedRow(s, last) * lt;
  for (let r = 0; r < b; r++) {
    const row = R + <usize>r * lt;
    const column = <usize>(base + r) * S;
    memory.copy(row, s.K + staged + <usize>r * lt, <usize>base * S);
    subtractRows<f64>(owed, base, before + column, lt, beforeR, lt, row);
    subtractRows<f64>(owed, base, beforeR + column, lt, before, lt, row);
  }
  smallTrsm(b, base, L, R, lt);

  // ½ L⁻¹K_BB L⁻ᵀ, from the block that is kept current.
  const M = s.work;
  memory.copy(M, s.E + <usize>last * bb, bb);
  whiten(b, L, M);
  mirror(b, M);
  for (let i = 0; i < b * b; i++) store<f64>(M + <usize>i * S, 0.5 * load<f64>(M + <usize>i * S));
  for (let r = 0; r < b; r++) subtractRows<f64>(b, base, M + <usize>(r * b) * S, S, V, lt, R + <usize>r * lt);

  if (s.path == Path.Columns) {
    const lw = <usize>s.m * S;
    const U = s.W + <usize>base * lw;
    for (let r = 0; r < b; r++) {
      const column = before + <usize>(base + r) * S;
      subtractRows<f64>(owed, s.m, column, lt, U + <usize>b * lw, lw, U + <usize>r * lw);
    }
    smallTrsm(b, s.m, L, U, lw);
  }

  if (b == 1) {
    updateScalars(last, V, R, s.D, s.E, s.cost, s.otherwise);
    return;
  }
  for (let g = 0; g < last; g++) {
    const v = V + <usize>(g * b) * S;
    const q = R + <usize>(g * b) * S;
    let d = s.D + <usize>g * bb;
    let e = s.E + <usize>g * bb;
    for (let r = 0; r < b; r++) {
      subtractRows<f64>(b, b, v + <usize>r * S, lt, v, lt, d);
      subtractRows<f64>(b, b, v + <usize>r * S, lt, q, lt, e);
      subtractRows<f64>(b, b, q + <usize>r * S, lt, v, lt, e);
      d += <usize>b * S;
      e += <usize>b * S;
    }
    updateCost(s, g);
  }
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

/** Begins a panel, after the host has brought W up to date (`Columns`): nothing is staged any more. */
export function deliminateNextPanel(s: Elimination): void {
  s.begin = s.live;
  s.staged = 0;
  // Afresh where W is at hand, so that rounding does not add up.
  if (s.path == Path.Columns) gramBlocks(s);
}
