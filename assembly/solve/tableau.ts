// The tableau of the local search (search.ts), of the groups that its problem keeps: T and K = RRᵀ in their order, the objective and the drift.
// Problems that share a support have one each, in the same order, and move together; what is chosen, and the sums, the first has.
// The mathematics of a pivot is in pivot.ts. After many pivots, or one that failed, it is made anew from H and G.
import { PIVOTS, groupsPerPivot } from '../../src/solve/constants';
import { HEAD_BYTES, lines, pivotBytes, tableauBytes } from '../../src/solve/memory';
import { diagonalBlock, quadraticCost } from '../block';
import { gemm, workBytes } from '../gemm';
import { potri } from '../potri';
import { S, scaleRow, subtractScaled, swapSymmetricGroups } from '../rows';
import { OPERATION_BYTES, membersFor, shareScan } from '../share';
import { at } from '../simd';
import { transpose } from '../transpose';
import { trsm } from '../trsm';
import { enter, entry, put, value } from './array';
import { OnProblem, Problem, gather } from './problem';
import { minimum, tableauChanges, tableauPivot, tableauPrepare } from './pivot';
import { least } from './rank';
import { schurComplement } from './schur';
import { square } from './square';

@unmanaged
export class Tableau extends OnProblem {
  objective: f64;
  /** Of the objective, by the swap that `bestSwap` has found; NaN where there was none to try. */
  change: f64;
  out: i32;
  into: i32;
  kept: i32;
  /** Since the last factorisation. */
  pivots: i32;
  /** Pivots that failed one after the other: where two have, H is not positive definite. */
  failures: i32;
  /** Whether it is certain that no swap improves. */
  isOptimal: bool;
  /** Whether T and K are there as a whole: without a swap, of what is kept and of what is removed the diagonal blocks are enough. */
  isWhole: bool;
  T: usize;
  K: usize;
  /** p × m while the tableau is factorised; afterwards the memory of pivots. */
  R: usize;
  D: usize;
  E: usize;
  row: usize;
  /** A row of this problem alone, where several share the support. */
  part: usize;
  minima: usize;
  small: usize;
  /** Groups by position, kept ones first, and back. */
  order: usize;
  position: usize;
  /** Groups that are to move. */
  list: usize;
  /** For exchanges, by group (bytes): which were kept before, and which do not come into question. */
  wasKept: usize;
  taken: usize;
}

/** The tableau that was created last. */
@inline
export function tableauOf(s: Problem): Tableau {
  return changetype<Tableau>(s.workspace);
}

/** That of the next problem that shares the support. */
@inline
function nextOf(s: Tableau): Tableau | null {
  const next = s.problem.next;
  return next ? tableauOf(next) : null;
}

/** Tableaux of a problem and of all that share its support, to be built. */
export function createTableau(problem: Problem): Tableau {
  for (let s: Problem | null = problem; s; s = s.next) layOut(s);
  return tableauOf(problem);
}

/** Lays a tableau out over the problem's workspace, `tableauBytes`. */
function layOut(problem: Problem): void {
  const s = tableauOf(problem);
  s.problem = problem;
  const p = problem.p;
  const b = problem.b;
  s.failures = 0;
  s.end = problem.workspace + <usize>HEAD_BYTES;
  s.T = s.take(p, p);
  s.K = s.take(p, p);
  s.R = s.end;
  s.end += <usize>lines(max(8 * <f64>p * s.m, pivotBytes(p, b)));
  s.D = s.take(s.groups, b * b);
  s.E = s.take(s.groups, b * b);
  s.row = s.take(s.groups, 1);
  s.part = s.take(s.groups, 1);
  s.minima = s.take(s.groups, 1);
  s.small = s.take(8, b * b);
  s.order = s.take(s.groups, 1, 4);
  s.position = s.take(s.groups, 1, 4);
  s.list = s.take(s.groups, 1, 4);
  s.wasKept = s.take(s.groups, 1, 1);
  s.taken = s.take(s.groups, 1, 1);
  if (<f64>(s.end - problem.workspace) > tableauBytes(p, s.m, b)) unreachable();
  const first = tableauOf(problem.first);
  s.order = first.order;
  s.position = first.position;
}

/** Makes the tableaux of the groups that are `kept`. @returns 0, or the pivot at which H is not positive definite on them */
export function build(first: Tableau): i32 {
  arrange(first);
  let objective: f64 = 0;
  for (let s: Tableau | null = first; s; s = nextOf(s)) {
    s.kept = first.kept;
    const info = buildOne(s);
    if (info) return info;
    objective += s.problem.weight * s.objective;
  }
  first.objective = objective;
  first.pivots = 0;
  return 0;
}

function buildOne(s: Tableau): i32 {
  const p = s.p;
  const m = s.m;
  const b = s.b;
  const rows = s.problem.rows;
  for (let i = 0; i < p; i++) enter(rows, i, entry(s.order, i / b) * b + i % b);
  gather(s.problem, rows, p, s.T, p, s.R);
  const k = s.kept * b;
  const q = p - k;
  const work = s.problem.products;
  const objective = changetype<usize>(s) + offsetof<Tableau>('objective');
  const info = schurComplement(p, m, k, b, -1, s.T, s.R, objective, work);
  if (info) return info;
  if (k > 0) {
    trsm<f64>(false, true, k, m, 1, s.T, p, s.R, m, work);
    const PS = at<f64>(s.T, p, k, 0);
    transpose<f64>(q, k, PS, p, at<f64>(s.T, p, 0, k), p); // for `complete`, in the triangle that nobody reads
    trsm<f64>(true, false, q, k, 1, s.T, p, PS, p, work);
    potri<f64>(k, s.T, p, work);
  }
  const RP = at<f64>(s.R, m, k, 0);
  gemm<f64>(false, true, q, k, m, 1, RP, m, s.R, m, 0, at<f64>(s.K, p, k, 0), p, work);
  square(true, false, b, k, m, 1, s.R, m, 0, s.K, p, work);
  square(true, false, b, q, m, 1, RP, m, 0, at<f64>(s.K, p, k, k), p, work);
  s.isWhole = false;
  return 0;
}

/** Puts the groups that are `kept` first, both kinds ascending. */
function arrange(s: Tableau): void {
  const isKept = s.problem.kept;
  let at = 0;
  for (let g = 0; g < s.groups; g++) if (load<u8>(isKept + g)) setPosition(s, at++, g);
  s.kept = at;
  for (let g = 0; g < s.groups; g++) if (!load<u8>(isKept + g)) setPosition(s, at++, g);
}

function setPosition(s: Tableau, at: i32, group: i32): void {
  enter(s.order, at, group);
  enter(s.position, group, at);
}

/** The rest of T and K, before the first pivot. */
export function complete(first: Tableau): void {
  for (let s: Tableau | null = first; s; s = nextOf(s)) if (!s.isWhole) completeOne(s);
}

function completeOne(s: Tableau): void {
  const p = s.p;
  const m = s.m;
  const b = s.b;
  const k = s.kept * b;
  const q = p - k;
  const work = s.problem.products;
  square(false, true, b, q, k, 1, at<f64>(s.T, p, 0, k), p, -1, at<f64>(s.T, p, k, k), p, work);
  square(false, false, b, k, m, 1, s.R, m, 0, s.K, p, work);
  square(false, false, b, q, m, 1, at<f64>(s.R, m, k, 0), m, 0, at<f64>(s.K, p, k, k), p, work);
  s.isWhole = true;
}

/** By group in `row`: the cost of removing a kept one, minus the gain of adding a removed one. */
export function costs(first: Tableau): void {
  for (let s: Tableau | null = first; s; s = nextOf(s)) {
    const b = s.b;
    const D = at<f64>(s.small, b, 2 * b, 0);
    const E = at<f64>(s.small, b, 3 * b, 0);
    for (let i = 0, groups = s.groups; i < groups; i++) {
      diagonalBlock<f64>(b, i, s.T, <usize>s.p * S, D);
      diagonalBlock<f64>(b, i, s.K, <usize>s.p * S, E);
      if (i >= s.kept) scaleRow<f64>(b * b, -1, D);
      const cost = s.problem.weight * quadraticCost(b, D, E, Infinity, s.small);
      const g = entry(s.order, i);
      const change = i < s.kept ? cost : cost == Infinity ? 0 : -cost;
      put(first.row, g, s == first ? change : value(first.row, g) + change);
    }
  }
}

/** Finds the best of all swaps of one kept group for one removed. @returns false where there is none to try */
export function bestSwap(s: Tableau): bool {
  const kept = s.kept;
  s.change = NaN;
  if (kept == 0 || kept == s.groups) return false;
  let flops: f64 = 0; // of a pair
  let widest = s;
  for (let t: Tableau | null = s; t; t = nextOf(t)) {
    prepare(t);
    const b = <f64>t.b;
    flops += b == 1 ? 10 : 9 * b * b * b;
    if (t.b > widest.b) widest = t;
  }
  const removed = s.groups - kept;
  const members = membersFor<f64>(<f64>kept * removed * flops);
  const bytes = <f64>rowBytes(s) * 2 + 64 * <f64>widest.b * widest.b; // of each member's scratch
  if (members > 1 && bytes + OPERATION_BYTES <= workBytes(s.p, s.m)) {
    shareScan(members, changetype<usize>(s), removed, s.problem.products);
  } else scan(s, 0, removed, s.row, s.part, widest.small);
  const j = least(removed, s.minima, s.order + (<usize>kept << 2));
  changes(s, kept + j, s.row, s.part, widest.small);
  const i = least(kept, s.row, s.order);
  const change = value(s.row, i);
  if (change - change != 0) return false;
  s.out = entry(s.order, i);
  s.into = entry(s.order, kept + j);
  s.change = change;
  return true;
}

/** What the swaps of a kept group have in common: D and E. */
function prepare(s: Tableau): void {
  const p = s.p;
  const b = s.b;
  const kept = s.kept;
  if (b == 1) {
    for (let i = 0; i < kept; i++) {
      put(s.D, i, value(s.T, i * (p + 1)));
      put(s.E, i, value(s.K, i * (p + 1)));
    }
  } else tableauPrepare(kept, b, p, s.T, s.K, s.D, s.E, s.small);
  for (let i = 0; i < kept; i++) if (load<u8>(s.problem.isProtected + entry(s.order, i))) put(s.E, i * b * b, Infinity);
}

/** Bytes of a row of changes. */
@inline
export function rowBytes(s: Tableau): usize {
  return <usize>(s.kept + 1) * 8;
}

/**
 * minima_j ← the least change by a swap for the removed group at position kept + j, for j from first to end − 1.
 * @param row, part  kept + 1 doubles; @param work  8·b·b of the largest b
 */
export function scan(s: Tableau, first: i32, end: i32, row: usize, part: usize, work: usize): void {
  for (let j = first; j < end; j++) {
    changes(s, s.kept + j, row, part, work);
    put(s.minima, j, minimum(s.kept, row));
  }
}

/** row ← the changes by swapping kept groups for the removed one at position j, of all problems. @param part, work  as of `scan` */
function changes(first: Tableau, j: i32, row: usize, part: usize, work: usize): void {
  const kept = first.kept;
  for (let s: Tableau | null = first; s; s = nextOf(s)) {
    const isFirst = s == first;
    tableauChanges(j, kept, s.b, s.p, s.T, s.K, s.D, s.E, isFirst ? row : part, work);
    if (!isFirst) subtractScaled<f64>(kept, -s.problem.weight, part, row);
    else if (s.problem.next) scaleRow<f64>(kept, s.problem.weight, row);
  }
}

/** Takes `out` from the support and `into` into it, in one pass. @returns the change of the objective; NaN where H is not positive definite */
export function swap(s: Tableau, out: i32, into: i32): f64 {
  enter(s.list, 0, out);
  enter(s.list, 1, into);
  return turn(s, s.list, 2, 1);
}

/** Removes the first `count` groups of `list`, all of them kept, or adds them; some 32 rows a pivot. @returns as `swap` */
export function move(s: Tableau, count: i32, isLeaving: bool): f64 {
  let most = count;
  for (let t: Tableau | null = s; t; t = nextOf(t)) most = min(most, <i32>groupsPerPivot(t.b));
  let change: f64 = 0;
  for (let first = 0; first < count; first += most) {
    const some = min(most, count - first);
    change += turn(s, s.list + (<usize>first << 2), some, isLeaving ? some : 0);
  }
  return change;
}

/** One pivot, of each problem: of `count` groups the first `leaving` leave, the others enter; where both do, as many of either. @returns as `swap` */
function turn(s: Tableau, list: usize, count: i32, leaving: i32): f64 {
  const entering = count - leaving;
  while (isReady(s)) {
    const at = s.kept - leaving;
    for (let i = 0; i < count; i++) exchange(s, entry(s.position, entry(list, i)), at + i);
    let change: f64 = 0;
    for (let t: Tableau | null = s; t && change == change; t = nextOf(t)) {
      change += t.problem.weight * tableauPivot(t.p, at * t.b, count * t.b, leaving * t.b, t.T, t.K, t.R, t.problem.products);
    }
    if (change != change) {
      s.pivots = PIVOTS;
      s.failures++;
      continue;
    }
    s.objective += change;
    s.pivots++;
    s.failures = 0;
    for (let i = 0; i < min(leaving, entering); i++) exchange(s, at + i, at + leaving + i);
    for (let t: Tableau | null = s; t; t = nextOf(t)) t.kept += entering - leaving;
    for (let i = 0; i < count; i++) store<u8>(s.problem.kept + entry(list, i), u8(i >= leaving));
    return change;
  }
  return NaN;
}

/** Builds the tableau anew where that is due. @returns whether it can take a pivot: false where H is not positive definite */
function isReady(s: Tableau): bool {
  if (s.pivots >= PIVOTS && (s.failures > 1 || build(s) != 0)) return false;
  complete(s);
  return true;
}

function exchange(s: Tableau, a: i32, z: i32): void {
  if (a == z) return;
  for (let t: Tableau | null = s; t; t = nextOf(t)) {
    swapSymmetricGroups<f64>(t.p, t.b, min(a, z), max(a, z), t.T, t.p);
    swapSymmetricGroups<f64>(t.p, t.b, min(a, z), max(a, z), t.K, t.p);
  }
  const first = entry(s.order, a);
  setPosition(s, a, entry(s.order, z));
  setPosition(s, z, first);
}
