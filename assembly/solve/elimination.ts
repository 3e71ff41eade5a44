// Greedy elimination: of all groups, removes the cheapest again and again, as a blocked, pivoted Cholesky factorisation of T = H⁻¹.
//
// Removing group B from the support changes T ← T − T_:B T_BB⁻¹ T_B: and W ← W − T_:B T_BB⁻¹ W_B, and costs ½ tr(T_BB⁻¹ K_BB),
// with K = W·Wᵀ however many columns W has. With T_BB = L·Lᵀ, V = L⁻¹ T_B:, U = L⁻¹ W_B and R = L⁻¹K_B: − ½(L⁻¹K_BB L⁻ᵀ)V:
//   T ← T − VᵀV     W ← W − VᵀU     K ← K − VᵀR − RᵀV
// Only the columns of removed groups are ever needed, so T is not updated: the factorisation is left-looking. Columns of groups that
// look like the next to go are staged, as of the panel's beginning (docs/solver.md); what the removals within the panel owe them is
// subtracted when a group goes. Diagonal blocks, which the costs need, are kept current all the time.
//
// With H and G in the place of T and W the same recursion is forward selection: the "cost" is then the gain
// ½ tr(G_jᵀ H_jj⁻¹ G_j) of adding the group, and the caller takes the largest.
//
// A removed group is first swapped behind the live ones, the staged ones being the last of these, so that all parts are
// contiguous. T is not: it stays by group, and staged columns are gathered. Of panels before there is Vᵀ, a row for each position:
// an exchange is one of rows, where one of columns would miss the cache at every element.
//
// The matrices are f32 or f64, by the functions' type parameter; diagonal blocks and costs, which are differences of
// nearly equal numbers, are always f64.
import { CAPACITY, STAGED_ROWS, multipleOf, panelRows } from '../../src/solve/constants';
import { HEAD_BYTES, eliminationBytes } from '../../src/solve/memory';
import { diagonalBlock, halfWhiten, mirror, quadraticCost, smallPotrf, smallTrsm } from '../block';
import { gemm } from '../gemm';
import { S, dot, narrow, subtractRows, subtractRowsTwice, swapColumnGroups, swapRowGroups, widen } from '../rows';
import { at, loadWide } from '../simd';
import { symmetrize, transpose } from '../transpose';
import { enter, entry, put, value } from './array';
import { OnProblem, Problem } from './problem';
import { least, rank } from './rank';
import { Event, isTiled, tiles } from './tiles';

/** Columns that are gathered together from below the diagonal: several misses on their way at a time, few pages. Flat from 8 to 64. */
const GATHERED: i32 = 16;

/** The state of an elimination, at the beginning of its workspace. Positions and counts are in groups, `capacity` and `panel` in rows. */
@unmanaged
export class Elimination extends OnProblem {
  /** Whether its matrices are f32. */
  isSingle: bool;
  /** The cost of a group whose block has lost its definiteness: the worst there is. */
  otherwise: f64;
  /** Groups not yet removed: at positions 0 … live − 1. */
  live: i32;
  /** Those of them when the panel began. */
  begin: i32;
  /** The last of the live ones, whose columns are staged. */
  staged: i32;
  /** Rows of C and K, and rows of the panel. */
  capacity: i32;
  panel: i32;
  /** p × p: H⁻¹ by group, or of it the lower triangle. */
  T: usize;
  /** p × m, by position: H⁻¹G on the support as of the panel's beginning. */
  W: usize;
  /**
   * p × p, Vᵀ of panels before, by position; live rows have the columns from `begin` on. f64 has no room of its own for it: it
   * then lies in T above the triangle; T is whole otherwise.
   */
  Vt: usize;
  /** panel × p: V and R of the panel, by position, the latest removal first; and U, panel × m. */
  V: usize;
  R: usize;
  U: usize;
  /** capacity × p: columns of T, and of K, as rows, as of the panel's beginning; the last ones first. */
  C: usize;
  K: usize;
  /** groups × b × b: the diagonal blocks of T, and of K, by position. */
  D: usize;
  E: usize;
  /** By position, ½ tr(K_jj T_jj⁻¹): what removing the group costs here, or did, and what it costs with all that share the support. */
  own: usize;
  cost: usize;
  /** Group by position (i32): behind the live ones those that are removed, the first of them last. */
  order: usize;
  /** 5·b·b doubles. */
  work: usize;
  /** For rankings, by position: bytes, and positions (i32). */
  taken: usize;
  chosen: usize;
}

/**
 * Lays an elimination out over the problem's workspace, `eliminationBytes`. T (p × p, lower triangle) and W (p × m) are the caller's
 * to fill: with H⁻¹ and H⁻¹G, or for forward selection with H and G. They are overwritten; `eliminateStart` does the rest.
 *
 * @param single  whether they are f32; @param dearest  the dearest groups go first, as in forward selection, instead of the cheapest
 */
export function createElimination(problem: Problem, single: bool, dearest: bool): Elimination {
  const s = changetype<Elimination>(problem.workspace);
  s.problem = problem;
  const p = problem.p;
  const b = problem.b;
  s.isSingle = single;
  const size = single ? 4.0 : 8.0;
  s.otherwise = dearest ? -Infinity : Infinity;
  s.panel = <i32>panelRows(b);
  s.capacity = <i32>CAPACITY * s.panel;
  s.end = problem.workspace + <usize>HEAD_BYTES;
  const rows = isTiled(problem) ? 0 : p;
  s.T = s.take(rows, p, size);
  s.Vt = single ? s.take(rows, p, size) : s.T;
  s.W = s.take(rows, s.m, size);
  s.V = s.take(s.panel, p, size);
  s.C = s.take(s.capacity, p, size);
  s.R = s.take(s.panel, p, size);
  s.K = s.take(s.capacity, p, size);
  s.E = s.take(s.groups, b * b);
  s.U = s.take(s.panel, s.m, size);
  s.D = s.take(s.groups, b * b);
  s.cost = s.take(s.groups, 1);
  s.own = problem.first == problem && !problem.next ? s.cost : s.take(s.groups, 1);
  s.work = s.take(5, b * b);
  s.order = s.take(s.groups, 1, 4);
  s.chosen = s.take(s.groups, 1, 4);
  s.taken = s.take(s.groups, 1, 1);
  if (<f64>(s.end - problem.workspace) > eliminationBytes(p, s.m, b, size, rows)) unreachable();
  return s;
}

/** The row of C and K that belongs to the group at a position. */
@inline
function stagedRow(s: Elimination, position: i32): i32 {
  return s.capacity - (s.begin - position) * s.b;
}

/** The row of V, R and U that belongs to the group that was removed, or is, at a position. */
@inline
function panelRow(s: Elimination, position: i32): i32 {
  return s.panel - (s.begin - position) * s.b;
}

/** Rows removed in this panel. */
@inline
function used(s: Elimination): i32 {
  return (s.begin - s.live) * s.b;
}

/** What goes first: the least cost (1), or the greatest (−1). */
@inline
function direction(s: Elimination): f64 {
  return s.otherwise < 0 ? -1 : 1;
}

/** Fills order, the diagonal blocks and the costs of all that share a support, from T's triangle and W on all groups; the host of tiles fills blocks itself. */
export function eliminateStart(first: Elimination): void {
  for (let s: Elimination | null = first; s; s = nextOf(s)) {
    if (s.isSingle) startOne<f32>(s);
    else startOne<f64>(s);
  }
  addCosts(first);
}

function startOne<T>(s: Elimination): void {
  s.live = s.begin = s.groups;
  s.staged = 0;
  if (!isTiled(s.problem)) gramBlocks<T>(s, 0, s.live, s.W);
  if (s.Vt != s.T) symmetrize<T>(s.p, s.T, s.p);
  for (let g = 0; g < s.live; g++) {
    enter(s.order, g, g);
    if (!isTiled(s.problem)) diagonalBlock<T>(s.b, g, s.T, <usize>s.p * sizeof<T>(), s.D + <usize>(g * s.b * s.b) * S);
    updateCost(s, g);
  }
}

/** The elimination of the next problem that shares the support. */
@inline
function nextOf(s: Elimination): Elimination | null {
  const next = s.problem.next;
  return next ? changetype<Elimination>(next.workspace) : null;
}

/** What live groups cost, from the first of the eliminations that share a support on: the sum, by each one's positions. */
function addCosts(first: Elimination): void {
  if (first.own == first.cost) return;
  const total = first.problem.norms; // by group
  const live = first.live;
  for (let s: Elimination | null = first; s; s = nextOf(s)) {
    const weight = s.problem.weight;
    for (let i = 0; i < live; i++) {
      const g = entry(s.order, i);
      const cost = weight * value(s.own, i);
      put(total, g, s == first ? cost : value(total, g) + cost);
    }
  }
  for (let s: Elimination | null = first; s; s = nextOf(s)) {
    for (let i = 0; i < live; i++) put(s.cost, i, value(total, entry(s.order, i)));
  }
}

/** E ← the diagonal blocks of W·Wᵀ of groups first … end − 1. @param W  the rows of these */
export function gramBlocks<T>(s: Elimination, first: i32, end: i32, W: usize): void {
  const b = s.b;
  const m = s.m;
  for (let g = first; g < end; g++) {
    const block = at<f64>(s.E, b, g * b, 0);
    for (let r = 0; r < b; r++) {
      const row = at<T>(W, m, (g - first) * b + r, 0);
      for (let q = 0; q <= r; q++) put(block, r * b + q, dot<T>(m, row, at<T>(row, m, q - r, 0)));
    }
    mirror(b, block);
  }
}

/**
 * Removes n groups of all that share the support, `groupsPerStep` between two rankings as in the published schedule: s = max(1, ⌊n / groupsPerStep⌋)
 * steps of ⌊n / s⌋ groups, the first n mod s of them one larger.
 * @returns 0, or the 1-based pivot at which the block of a group, now the last live one, was not positive definite
 */
export function eliminate(s: Elimination, n: i32, groupsPerStep: i32): i32 {
  if (n == 0) return 0;
  const steps = max(1, n / groupsPerStep);
  for (let step = 0; step < steps; step++) {
    const count = n / steps + i32(step < n % steps);
    choose(s, count);
    for (let i = 0; i < count; i++) {
      const info = eliminateGroup(s, entry(s.chosen, i));
      if (info) return info;
    }
  }
  return 0;
}

/** Removes a live group, protected or not, from the first of the eliminations that share a support on. @returns as `eliminate` */
export function eliminateGroup(first: Elimination, group: i32): i32 {
  for (let s: Elimination | null = first; s; s = nextOf(s)) {
    const info = s.isSingle ? removeGroup<f32>(s, group) : removeGroup<f64>(s, group);
    if (info) return info;
  }
  addCosts(first);
  return 0;
}

/** The `count` live groups that go first. */
function choose(s: Elimination, count: i32): void {
  for (let i = 0; i < s.live; i++) store<u8>(s.taken + i, load<u8>(s.problem.isProtected + entry(s.order, i)));
  rank(s.live, s.cost, s.order, count, direction(s), s.taken, s.chosen);
  for (let i = 0; i < count; i++) enter(s.chosen, i, entry(s.order, entry(s.chosen, i)));
}

/**
 * Removes a live group here: its rows of V (and of R and U) are formed, and the diagonal blocks and costs of
 * the others are brought up to date.
 * @returns 0, or the 1-based pivot at which T_BB was not positive definite (then nothing but staging and a swap is done)
 */
function removeGroup<T>(s: Elimination, group: i32): i32 {
  let position = 0;
  while (entry(s.order, position) != group) position++;
  if (used(s) >= s.panel) nextPanel<T>(s);
  if (position < s.live - s.staged) position = stage<T>(s, position);

  const b = s.b;
  const p = s.p;
  const lt = <usize>p * sizeof<T>();
  const bb = <usize>(b * b) * S;
  const last = s.live - 1;
  const base = last * b;
  swap<T>(s, position, last);

  const L = s.work + 3 * bb;
  memory.copy(L, s.D + <usize>last * bb, bb);
  const info = smallPotrf(b, L);
  if (info != 0) return info;

  const V = at<T>(s.V, p, panelRow(s, last), 0);
  const R = at<T>(s.R, p, panelRow(s, last), 0);
  formRows<T>(s, last, L, V, R);
  if (b == 1) updateScalars<T>(last, V, R, s.D, s.E, s.own, s.otherwise);
  else updateBlocks<T>(s, last, V, R);
  s.live--;
  s.staged--;
  return 0;
}

/**
 * Stages the group at a position and those likely to go next: they come to the end of the groups that are not staged, and C and K get
 * their columns.
 * @returns where the group is then
 */
function stage<T>(s: Elimination, position: i32): i32 {
  const p = s.p;
  const m = s.m;
  const b = s.b;
  const products = s.problem.products;
  const wanted = <i32>multipleOf(b, STAGED_ROWS) / b;
  if (s.staged * b >= s.panel) s.staged = 0; // none of them has come to be the next: what groups cost has changed
  if (2 * room(s) < wanted) nextPanel<T>(s);
  const end = s.live - s.staged;
  const count = min(min(wanted, room(s)), end);
  const begin = end - count;
  swap<T>(s, position, end - 1);
  for (let to = end - 2; to >= begin; to--) swap<T>(s, least(to + 1, s.cost, s.order, direction(s)), to);
  s.staged += count;

  const first = begin * b;
  const rows = count * b;
  const C = at<T>(s.C, p, stagedRow(s, begin), 0);
  const K = at<T>(s.K, p, stagedRow(s, begin), 0);
  if (isTiled(s.problem)) tiles(Event.Stage, first, rows, C, K);
  else {
    gather<T>(s, begin, count, C);
    const live = s.live * b;
    const before = s.begin * b;
    const V = at<T>(s.Vt, p, 0, before);
    gemm<T>(false, true, rows, live, p - before, <T>-1, at<T>(V, p, first, 0), p, V, p, <T>1, C, p, products);
    gemm<T>(false, true, rows, live, m, <T>1, at<T>(s.W, m, first, 0), m, s.W, m, <T>0, K, p, products);
  }
  return end - 1;
}

/** Groups that can still be staged in this panel. */
function room(s: Elimination): i32 {
  return s.capacity / s.b - (s.begin - s.live) - s.staged;
}

/** Brings what is outside the panel up to date, and begins another; what is staged comes with it. */
export function nextPanel<T>(s: Elimination): void {
  const p = s.p;
  const m = s.m;
  const live = s.live * s.b;
  const found = used(s);
  const row = panelRow(s, s.live);
  const V = at<T>(s.V, p, row, 0);
  const U = at<T>(s.U, m, row, 0);
  if (isTiled(s.problem)) tiles(Event.Panel, live, found, V, U);
  else {
    gemm<T>(true, false, live, m, found, <T>-1, V, p, U, m, <T>1, s.W, m, s.problem.products);
    transpose<T>(found, live, V, p, at<T>(s.Vt, p, 0, live), p);
  }
  if (s.staged) {
    const R = at<T>(s.R, p, row, 0);
    const first = stagedRow(s, s.live - s.staged);
    const C = at<T>(s.C, p, first, 0);
    const K = at<T>(s.K, p, first, 0);
    carry<T>(s, V, V, C);
    carry<T>(s, V, R, K);
    carry<T>(s, R, V, K);
    // To where the next panel, which ends with the last live group, has its staged rows.
    const bytes = <usize>(s.staged * s.b * p) * sizeof<T>();
    memory.copy(at<T>(C, p, found, 0), C, bytes);
    memory.copy(at<T>(K, p, found, 0), K, bytes);
  }
  s.begin = s.live;
}

/** C ← C − AᵀB for the staged rows of C, with A and B those of V and R that the panel has found: what it owes them. */
function carry<T>(s: Elimination, A: usize, B: usize, C: usize): void {
  const p = s.p;
  const rows = s.staged * s.b;
  const live = s.live * s.b;
  gemm<T>(
    true, false, rows, live, used(s), <T>-1, at<T>(A, p, 0, live - rows), p, B, p, <T>1, C, p, s.problem.products,
  );
}

/** C ← the rows of T of `count` groups from a position on, by position, as far as groups live. */
function gather<T>(s: Elimination, first: i32, count: i32, C: usize): void {
  const b = s.b;
  const p = s.p;
  const live = s.live * b;
  const rows = s.problem.rows;
  for (let j = 0; j < live; j++) enter(rows, j, entry(s.order, j / b) * b + j % b);
  const isHalf = sizeof<T>() == 8; // T lies below the diagonal only: see `Vt`
  const width = isHalf ? GATHERED : live;
  for (let begin = 0; begin < live; begin += width) {
    const end = min(live, begin + width);
    let c = C;
    for (let i = first * b; i < (first + count) * b; i++) {
      const g = entry(rows, i);
      const row = at<T>(s.T, p, g, 0);
      for (let j = begin; j < end; j++) {
        const h = entry(rows, j);
        if (isHalf) {
          const below = (g - h) & ((g - h) >> 31); // min(g − h, 0), without a branch that nobody can foresee
          store<T>(c + <usize>j * sizeof<T>(), load<T>(at<T>(s.T, p, g - below, h + below)));
        } else store<T>(c + <usize>j * sizeof<T>(), load<T>(row + <usize>h * sizeof<T>()));
      }
      c += <usize>p * sizeof<T>();
    }
  }
}

/** Exchanges two live groups, both staged or both not. */
function swap<T>(s: Elimination, a: i32, z: i32): void {
  if (a == z) return;
  const before = s.begin * s.b;
  if (isTiled(s.problem)) tiles(Event.Swap, a, z, 0, 0);
  else {
    swapRowGroups<T>(s.p - before, s.b, a, z, at<T>(s.Vt, s.p, 0, before), s.p);
    swapRowGroups<T>(s.m, s.b, a, z, s.W, s.m);
  }
  swapParts<T>(s, a, z, s.V, s.C, s.D);
  swapParts<T>(s, a, z, s.R, s.K, s.E);
  const cost = value(s.cost, a);
  const own = value(s.own, a);
  const group = entry(s.order, a);
  put(s.cost, a, value(s.cost, z));
  if (s.own != s.cost) put(s.own, a, value(s.own, z));
  enter(s.order, a, entry(s.order, z));
  put(s.cost, z, cost);
  put(s.own, z, own);
  enter(s.order, z, group);
}

/** Of the panel, of what is staged, and of the diagonal blocks: those that T has, or K. */
function swapParts<T>(s: Elimination, a: i32, z: i32, panel: usize, staged: usize, blocks: usize): void {
  const p = s.p;
  const b = s.b;
  const first = s.live - s.staged;
  swapColumnGroups<T>(used(s), b, a, z, at<T>(panel, p, panelRow(s, s.live), 0), p);
  swapColumnGroups<T>(s.staged * b, b, a, z, at<T>(staged, p, stagedRow(s, first), 0), p);
  if (a >= first) swapRowGroups<T>(s.live * b, b, stagedRow(s, a) / b, stagedRow(s, z) / b, staged, p);
  swapRowGroups<f64>(b, b, a, z, blocks, b);
}

/** Subtracts VᵀB from b rows of n of a removal: what those before it in the panel, whose rows lie behind its own, owe them. @param ld  in elements */
function subtractOwed<T>(s: Elimination, base: i32, V: usize, B: usize, n: i32, ld: i32): void {
  const b = s.b;
  const line = <usize>ld * sizeof<T>();
  const before = at<T>(B, ld, b, 0);
  for (let r = 0; r < b; r++) {
    subtractRows<T>(used(s), n, at<T>(V, s.p, b, base + r), <usize>s.p * sizeof<T>(), before, line, B + <usize>r * line);
  }
}

/** The rows of V, R and U that belong to a removal. @param L  the factor of its diagonal block */
function formRows<T>(s: Elimination, last: i32, L: usize, V: usize, R: usize): void {
  const p = s.p;
  const m = s.m;
  const b = s.b;
  const lt = <usize>p * sizeof<T>();
  const lw = <usize>m * sizeof<T>();
  const bb = <usize>(b * b) * S;
  const base = last * b;
  const factor = narrowed<T>(b * b, L, s.work + 4 * bb);

  const U = at<T>(s.U, m, panelRow(s, last), 0);
  if (isTiled(s.problem)) tiles(Event.Remove, base, b, U, 0);
  else memory.copy(U, at<T>(s.W, m, base, 0), <usize>b * lw);
  subtractOwed<T>(s, base, V, U, m, m);
  smallTrsm<T>(b, m, factor, U, lw);

  memory.copy(V, at<T>(s.C, p, stagedRow(s, last), 0), <usize>b * lt);
  memory.copy(R, at<T>(s.K, p, stagedRow(s, last), 0), <usize>b * lt);
  subtractOwed<T>(s, base, V, R, base, p);
  const before = at<T>(V, p, b, 0);
  for (let r = 0; r < b; r++) {
    const v = at<T>(before, p, 0, base + r);
    const w = at<T>(R, p, b, base + r);
    subtractRowsTwice<T>(used(s), base, v, w, lt, before, lt, at<T>(V, p, r, 0), at<T>(R, p, r, 0));
  }
  smallTrsm<T>(b, base, factor, V, lt);
  smallTrsm<T>(b, base, factor, R, lt);

  // ½ L⁻¹K_BB L⁻ᵀ, from the block that is kept current.
  const M = s.work;
  memory.copy(M, s.E + <usize>last * bb, bb);
  halfWhiten(b, L, M);
  const half = narrowed<T>(b * b, M, factor);
  for (let r = 0; r < b; r++) subtractRows<T>(b, base, at<T>(half, b, r, 0), sizeof<T>(), V, lt, R + <usize>r * lt);
}

/** For b > 1: D ← D − vᵀv, E ← E − vᵀr − rᵀv, and the costs. */
function updateBlocks<T>(s: Elimination, n: i32, V: usize, R: usize): void {
  const b = s.b;
  const bb = <usize>(b * b) * S;
  const wide = <usize>(sizeof<T>() == 8 ? s.p : b) * S;
  const cross = s.work + 2 * bb;
  for (let g = 0; g < n; g++) {
    const v = widened<T>(b, at<T>(V, 0, 0, g * b), s.p, s.work);
    const r = widened<T>(b, at<T>(R, 0, 0, g * b), s.p, s.work + bb);
    const e = s.E + <usize>g * bb;
    subtractProduct(b, v, v, wide, s.D + <usize>g * bb);
    memory.fill(cross, 0, bb);
    subtractProduct(b, v, r, wide, cross);
    for (let i = 0; i < b; i++) {
      for (let j = 0; j < b; j++) put(e, i * b + j, value(e, i * b + j) + value(cross, i * b + j) + value(cross, j * b + i));
    }
    updateCost(s, g);
  }
}

/** For b = 1: D ← D − v², E ← E − 2vr, cost = ½E/D. By pairs: of an odd n one more of D and E is written, that of what is removed. */
function updateScalars<T>(n: i32, v: usize, r: usize, D: usize, E: usize, cost: usize, otherwise: f64): void {
  const zero = f64x2.splat(0);
  const half = f64x2.splat(0.5);
  const end = cost + <usize>n * S;
  const removed = load<f64>(end);
  while (cost < end) {
    const vi = loadWide<T>(v);
    const d = f64x2.sub(v128.load(D), f64x2.mul(vi, vi));
    const cross = f64x2.mul(vi, loadWide<T>(r));
    const e = f64x2.sub(v128.load(E), f64x2.add(cross, cross));
    const own = f64x2.max(zero, f64x2.div(f64x2.mul(half, e), d));
    v128.store(D, d);
    v128.store(E, e);
    v128.store(cost, v128.bitselect(own, f64x2.splat(otherwise), f64x2.gt(d, zero)));
    v += 2 * sizeof<T>();
    r += 2 * sizeof<T>();
    D += 16;
    E += 16;
    cost += 16;
  }
  store<f64>(end, removed);
}

/** From the group's current diagonal blocks. */
function updateCost(s: Elimination, g: i32): void {
  const block = <usize>(g * s.b * s.b) * S;
  store<f64>(s.own + <usize>g * S, quadraticCost(s.b, s.D + block, s.E + block, s.otherwise, s.work));
}

/** n doubles as values of type T: in place, or copied. */
function narrowed<T>(n: i32, from: usize, to: usize): usize {
  if (sizeof<T>() == 8) return from;
  narrow<T>(n, from, to);
  return to;
}

/** A b × b part of a matrix as doubles: in place, or copied to ld = b. */
function widened<T>(b: i32, from: usize, ld: i32, to: usize): usize {
  if (sizeof<T>() == 8) return from;
  widen(b, b, from, ld, to, b);
  return to;
}

/** block ← block − AᵀB, all b × b doubles; ld of A and B in bytes. */
function subtractProduct(b: i32, A: usize, B: usize, ld: usize, block: usize): void {
  for (let r = 0; r < b; r++) subtractRows<f64>(b, b, A + <usize>r * S, ld, B, ld, at<f64>(block, b, r, 0));
}
