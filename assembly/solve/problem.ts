// The layer problem: minimise ½ tr(WᵀHW) − tr(WᵀG), with H = XᵀX + ρI and G = XᵀY + ρW0 from the statistics of calibration
// data. Here it lies with what searches are told and what they find, and with the room that they work in.
import { CHUNK_ROWS, DEAD_DAMPING, VARIANCE_ROUNDING } from '../../src/solve/constants';
import { HEAD_BYTES, UNPACKED_ROWS, lines, problemBytes, triangle } from '../../src/solve/memory';
import { gemm } from '../gemm';
import { Layout, after, entry, put, value } from './array';
import { REPORT_BYTES, Report, blank } from './report';

@unmanaged
export class Problem extends Layout {
  /** The objective of rows that are not part of the problem, as they stay: at most 0. Of the first of several, that of all. */
  settled: f64;
  /** What its objective counts for, beside those of others on the same support. */
  weight: f64;
  p: i32;
  m: i32;
  /** Rows per group. */
  b: i32;
  groups: i32;
  /** Whether the layer is its own target: then H⁻¹G is W0. */
  own: bool;
  /** Whether the bias is refitted, from the means x (p) and y (m). */
  centred: bool;
  /** Whether H, G and W0 are the host's, and an elimination's matrices lie in tiles (tiles.ts). */
  tiled: bool;
  /** Whether f32 was good enough for the elimination. */
  isSingle: bool;
  /** The lower triangle, row behind row: `rowOfH`. */
  H: usize;
  /** p × m, as W0. */
  G: usize;
  W0: usize;
  x: usize;
  y: usize;
  /** The damping on the diagonal of H, p. */
  rho: usize;
  report: Report;
  /** By group (bytes): those that are kept, and those that must be. */
  kept: usize;
  isProtected: usize;
  /** Groups (i32) as an elimination left them: kept ones, then removed ones, the first of them last. */
  order: usize;
  /** groups + 1 relative errors, by groups kept. */
  curve: usize;
  /** By group, for a ranking. */
  norms: usize;
  /** Groups that each of three starts of a search keeps, and the best that was found from one (bytes). */
  starts: usize;
  /** Numbers of rows (i32), p: those that a refit is of, or an elimination or a tableau gathers. */
  rows: usize;
  /** Scratch of the products, and where eliminations, refits and tableaux are laid out. */
  products: usize;
  workspace: usize;
  /** Of problems that share a support, the first, which has what is chosen and found, and the one behind this one. */
  first: Problem;
  next: Problem | null;
}

/** What works on a problem, which has its sizes. */
@unmanaged
export class OnProblem extends Layout {
  problem: Problem;
  @inline get p(): i32 { return this.problem.p; }
  @inline get m(): i32 { return this.problem.m; }
  @inline get b(): i32 { return this.problem.b; }
  @inline get groups(): i32 { return this.problem.groups; }
}

/**
 * Lays a problem out over `problemBytes`, with no group protected. H, G, W0, rho and the means are the caller's to fill.
 * @param tiled  without H, G and W0, which the host has: `tiledProblemBytes`
 */
export function createProblem(
  address: usize, p: i32, m: i32, b: i32, own: bool, settled: f64, tiled: bool,
): Problem {
  const s = changetype<Problem>(address);
  s.settled = settled;
  s.weight = 1;
  s.first = s;
  s.next = null;
  s.p = p;
  s.m = m;
  s.b = b;
  s.groups = p / b;
  s.own = own;
  s.centred = false;
  s.tiled = tiled;
  s.end = address + <usize>HEAD_BYTES;
  if (!tiled) {
    s.H = s.end;
    s.end += <usize>lines(8 * triangle(p));
    s.G = s.take(p, m);
    s.W0 = s.take(p, m);
  }
  s.x = s.take(p, 1);
  s.y = s.take(m, 1);
  s.rho = s.take(p, 1);
  s.curve = s.take(s.groups + 1, 1);
  s.norms = s.take(s.groups, 1);
  s.report = blank(s.take(<i32>REPORT_BYTES, 1, 1));
  s.order = s.take(s.groups, 1, 4);
  s.rows = s.take(p, 1, 4);
  s.kept = s.take(s.groups, 1, 1);
  s.isProtected = s.take(s.groups, 1, 1);
  s.starts = s.take(4, s.groups, 1);
  if (<f64>(s.end - address) > problemBytes(p, m, b)) unreachable();
  memory.fill(s.isProtected, 0, s.groups);
  return s;
}

/**
 * Puts a problem of as many groups behind the last of those that share a support with `first`: the sum of their objectives is what is
 * minimised, each `weight` times. `first` itself is told its weight so too, before the others.
 */
export function join(first: Problem, s: Problem, weight: f64): void {
  s.weight = weight;
  if (s == first) {
    s.settled *= weight;
    return;
  }
  let last = first;
  for (let t: Problem | null = first; t; t = t.next) last = t;
  last.next = s;
  first.settled += weight * s.settled;
  s.first = first;
  s.kept = first.kept;
  s.isProtected = first.isProtected;
}

/** What a report says of each of these problems becomes, in that of the first, their sum. @param field  its offset */
export function addUp(first: Problem, field: usize): void {
  let sum: f64 = 0;
  for (let s: Problem | null = first; s; s = s.next) sum += s.weight * load<f64>(changetype<usize>(s.report) + field);
  store<f64>(changetype<usize>(first.report) + field, sum);
}

/** Rows of the one problem whose matrices take as much as those of all that share a support. */
export function rowsOfAll(first: Problem): f64 {
  let squares: f64 = 0;
  for (let s: Problem | null = first; s; s = s.next) squares += <f64>s.p * s.p;
  return sqrt(squares);
}

/** Where to work: `workBytes` of the largest problem for the products, and what a call takes. */
export function workIn(s: Problem, products: usize, workspace: usize): void {
  s.products = products;
  s.workspace = workspace;
}

/** Row i of the lower triangle. */
@inline
export function rowOfH(s: Problem, i: i32): usize {
  return s.H + (<usize>i * (<usize>i + 1) << 2);
}

@inline
export function diagonalOfH(s: Problem, i: i32): f64 {
  return value(rowOfH(s, i), i);
}

/** The given rows and columns of H (lower triangle, k × k, rows ld apart) and rows of G (k × m), in the order of `rows`. */
export function gather(s: Problem, rows: usize, k: i32, toH: usize, ld: i32, toG: usize): void {
  const line = <usize>s.m * 8;
  for (let i = 0; i < k; i++) {
    const row = entry(rows, i);
    const h = rowOfH(s, row);
    const to = toH + <usize>i * <usize>ld * 8;
    for (let j = 0; j <= i; j++) {
      const column = entry(rows, j);
      put(to, j, column <= row ? value(h, column) : value(rowOfH(s, column), row));
    }
    memory.copy(toG + <usize>i * line, s.G + <usize>row * line, line);
  }
}

/**
 * Makes H of XᵀX and G of XᵀY, in their place, in a problem whose W0 is there, and y, where the bias is refitted, with the
 * dense one. Rows of dead inputs, zero or with a bias constant, hold 2⁻⁴⁰ρ on the diagonal of H and that times W0 in G,
 * and nothing else: they go first.
 *
 * @param n  rows that were summed
 * @param sumX  Σx, p
 * @param sumY  Σy, m, where the blend is above 0; then G holds XᵀY
 * @param dampDead  treats dead inputs as all others
 * @param blend  a in G = (1 − a)·H·W0 + a·(XᵀY + ρW0)
 * @returns trace of XᵀX, centred where a bias is refitted
 *
 * `formBytes` of workspace; 2p²m flops where the own output is part of the target.
 */
export function formProblem(
  s: Problem, n: f64, sumX: usize, sumY: usize, centred: bool, damping: f64, blend: f64, dampDead: bool,
): f64 {
  const p = s.p;
  const m = s.m;
  const rho = s.rho;
  const rounding = VARIANCE_ROUNDING * min(n, <f64>CHUNK_ROWS);
  s.own = blend == 0;
  s.centred = centred;
  let trace: f64 = 0;
  for (let i = 0; i < p; i++) {
    const shift = centred ? value(sumX, i) / n : 0;
    put(s.x, i, shift);
    const h = rowOfH(s, i);
    const squares = value(h, i);
    for (let j = 0; j <= i; j++) put(h, j, value(h, j) - shift * value(sumX, j));
    const variance = value(h, i);
    const isDead = !dampDead && variance - rounding * squares <= 0;
    put(rho, i, isDead ? DEAD_DAMPING : 1); // as a part of the whole, which the trace decides
    if (!isDead) trace += variance;
  }
  // Inputs that are all zero leave nothing to reconstruct: damping alone then keeps the largest weights.
  const whole = trace > 0 ? (damping * trace) / p : 1;
  for (let i = 0; i < p; i++) {
    if (value(rho, i) < 1) {
      memory.fill(rowOfH(s, i), 0, <usize>(i + 1) * 8);
      for (let j = i + 1; j < p; j++) put(rowOfH(s, j), i, 0);
    }
    put(rowOfH(s, i), i, diagonalOfH(s, i) + value(rho, i) * whole);
  }
  const dense = blend > 0 ? after<f64>(s.workspace, min(p, <i32>UNPACKED_ROWS), p) : s.G;
  if (blend < 1) multiplyByH(s, s.W0, dense);
  for (let i = 0; i < p; i++) {
    const share: f64 = value(rho, i) < 1 ? 0 : 1; // of a dead input the product is rounding
    put(rho, i, value(rho, i) * whole);
    if (blend == 0) continue;
    const shift = value(s.x, i);
    for (let j = 0; j < m; j++) {
      const at = i * m + j;
      const product = value(s.G, at) - shift * value(sumY, j);
      const own: f64 = blend < 1 ? (1 - blend) * value(dense, at) : 0;
      put(s.G, at, own + blend * (share * product + value(rho, i) * value(s.W0, at)));
    }
  }
  if (!centred) return trace;
  for (let j = 0; j < m; j++) {
    let own = value(s.y, j);
    for (let i = 0; i < p; i++) own += value(s.W0, i * m + j) * value(s.x, i);
    put(s.y, j, blend > 0 ? (1 - blend) * own + (blend * value(sumY, j)) / n : own);
  }
  return trace;
}

/** C ← H·B, p × m, by blocks of rows of H, in the workspace. */
export function multiplyByH(s: Problem, B: usize, C: usize): void {
  const p = s.p;
  const m = s.m;
  const rows = <i32>UNPACKED_ROWS;
  const whole = s.workspace;
  for (let first = 0; first < p; first += rows) {
    const count = min(rows, p - first);
    unpack(s, first, count, whole);
    gemm<f64>(
      false, false, count, m, p, 1, whole, p, B, m, 0, C + <usize>first * <usize>m * 8, m, s.products,
    );
  }
}

/** Rows of H, whole: count × p. */
function unpack(s: Problem, first: i32, count: i32, to: usize): void {
  const p = s.p;
  const line = <usize>p * 8;
  for (let i = 0; i < count; i++) memory.copy(to + <usize>i * line, rowOfH(s, first + i), <usize>(first + i + 1) * 8);
  for (let j = first + 1; j < p; j++) {
    const column = rowOfH(s, j) + <usize>first * 8;
    for (let i = 0, end = min(count, j - first); i < end; i++) put(to + <usize>i * line, j, value(column, i));
  }
}

/** ½Σρᵢ(|Wᵢ − W0ᵢ|² − |W0ᵢ|²) over k rows, all where none are named: the damping in the objective of W, k × m. */
export function dampingOf<T>(s: Problem, rows: usize, k: i32, W: usize): f64 {
  const m = s.m;
  let sum: f64 = 0;
  for (let i = 0; i < k; i++) {
    const row = rows ? entry(rows, i) : i;
    const rho = value(s.rho, row);
    const dense = s.W0 + <usize>row * <usize>m * 8;
    for (let j = 0; j < m; j++) {
      const w = <f64>load<T>(W + <usize>j * sizeof<T>());
      sum += rho * w * (w - 2 * value(dense, j));
    }
    W += <usize>m * sizeof<T>();
  }
  return 0.5 * sum;
}
