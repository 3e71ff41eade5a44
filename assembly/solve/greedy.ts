// Supports by greedy elimination, from all groups, and by forward selection, from none: which precision is good enough, what
// is needed beforehand, and the error on the way.
import { CONFIRMED, NEGLIGIBLE, WELL_CONDITIONED } from '../../src/solve/constants';
import { potrf } from '../potrf';
import { potri } from '../potri';
import { narrow } from '../rows';
import { at } from '../simd';
import { trsm } from '../trsm';
import { entry, put, value } from './array';
import { Elimination, createElimination, eliminate, eliminateGroup, eliminateStart, nextPanel } from './elimination';
import { Problem, addUp, dampingOf, diagonalOfH, rowOfH } from './problem';
import { factorKept } from './refit';
import { Report } from './report';

/**
 * From all groups of a problem, or of those that share a support from it on, removes the cheapest `groupsPerStep` at a time (`eliminate`) until `keep` are left. Protected groups stay.
 * @param single  whether f32 may do, which `isSingle` then says; what `factorKept` leaves is there then
 * @param wholeCurve  goes on below `keep`, one group at a time, for the rest of the curve
 * @returns 0, or the pivot at which H is not positive definite
 *
 * `eliminationBytes` of workspace. p³ flops for H⁻¹, 2p²m for the solution (none where it is known), up to p³/6 for columns
 * of H⁻¹ and about twice as much for those of the costs; in f32, k³/3 + k²m in f64 for the refit.
 */
export function greedy(s: Problem, keep: i32, groupsPerStep: i32, single: bool, wholeCurve: bool): i32 {
  s.isSingle = single && isGoodEnough(s, keep, groupsPerStep, wholeCurve);
  if (s.isSingle) return 0;
  const info = fullSupports(s, false);
  return info ? info : removeGroups(s, keep, groupsPerStep, wholeCurve);
}

/**
 * Eliminates in f32.
 * @returns whether H is well enough conditioned for that, and f64 confirms what the removals cost; else there is nothing to be found
 */
function isGoodEnough(s: Problem, keep: i32, groupsPerStep: i32, wholeCurve: bool): bool {
  if (keep == s.groups) return false;
  if (fullSupports(s, true) != 0) return false;
  let isKnown = true;
  for (let t: Problem | null = s; t; t = t.next) {
    if (!(varianceInflation<f32>(t) <= WELL_CONDITIONED)) return false;
    isKnown = isKnown && t.own;
  }
  if (removeGroups(s, keep, groupsPerStep, wholeCurve) != 0) return false;
  const report = s.report;
  const found = report.objective;
  const lost = found - report.dense;
  if (factorKept(s) != 0) return false;
  if (!(abs(found - report.objective) <= CONFIRMED * lost - NEGLIGIBLE * report.objective)) return false;
  // What was lost is known better than f on all groups, unless the solution there was given.
  if (!isKnown) report.dense = report.objective - lost;
  return true;
}

/** The elimination that was begun last. */
@inline
export function eliminationOf(s: Problem): Elimination {
  return changetype<Elimination>(s.workspace);
}

/** The weights that the updates of `greedy` in f64 led to, p × m, those of kept groups first as in `order`. */
export function eliminated(s: Problem): usize {
  const e = eliminationOf(s);
  nextPanel<f64>(e);
  return e.W;
}

/** `fullSupport` of all that share the support, and the sums of what it says. */
function fullSupports(s: Problem, single: bool): i32 {
  for (let t: Problem | null = s; t; t = t.next) {
    const info = single ? fullSupport<f32>(t) : fullSupport<f64>(t);
    if (info) return info;
  }
  addUp(s, offsetof<Report>('dense'));
  addUp(s, offsetof<Report>('denseDamping'));
  return 0;
}

/** An elimination with H⁻¹ and the solution; the objective on all groups and its damping. @returns 0, or the pivot that is not positive */
function fullSupport<T>(s: Problem): i32 {
  const e = createElimination(s, sizeof<T>() == 4, false);
  const p = s.p;
  const m = s.m;
  loadH<T>(s, e.T);
  narrow<T>(p * m, s.own ? s.W0 : s.G, e.W);
  const info = potrf<T>(p, e.T, p, s.products);
  if (info) return info;
  if (!s.own) {
    trsm<T>(false, false, p, m, <T>1, e.T, p, e.W, m, s.products);
    trsm<T>(false, true, p, m, <T>1, e.T, p, e.W, m, s.products);
  }
  potri<T>(p, e.T, p, s.products);
  s.report.dense = -0.5 * (s.own ? innerProduct<f64>(s, s.W0) : innerProduct<T>(s, e.W));
  s.report.denseDamping = s.own ? dampingOf<f64>(s, 0, p, s.W0) : dampingOf<T>(s, 0, p, e.W);
  return 0;
}

function loadH<T>(s: Problem, T: usize): void {
  for (let i = 0; i < s.p; i++) narrow<T>(i + 1, rowOfH(s, i), at<T>(T, s.p, i, 0));
}

/** tr(WᵀG). */
function innerProduct<T>(s: Problem, W: usize): f64 {
  let sum: f64 = 0;
  for (let i = 0, e = s.p * s.m; i < e; i++) sum += <f64>load<T>(W + <usize>i * sizeof<T>()) * value(s.G, i);
  return sum;
}

/** max H_jj·T_jj; NaN where one is. */
function varianceInflation<T>(s: Problem): f64 {
  const inverse = eliminationOf(s).T;
  let largest: f64 = 0;
  for (let i = 0; i < s.p; i++) {
    const factor = diagonalOfH(s, i) * <f64>load<T>(at<T>(inverse, s.p, i, i));
    if (!(factor <= largest)) largest = factor;
  }
  return largest;
}

/** `greedy` from its elimination and `report.dense` on. @returns 0, or the pivot that is not positive */
export function removeGroups(s: Problem, keep: i32, groupsPerStep: i32, wholeCurve: bool): i32 {
  const e = eliminationOf(s);
  const groups = s.groups;
  const dense = s.report.dense;
  eliminateStart(e);
  const info = eliminate(e, groups - keep, groupsPerStep);
  if (info) return info;
  for (let t: Problem | null = s; t; t = t.next) memory.copy(t.order, eliminationOf(t).order, <usize>groups * 4);
  keepOnly(s, e.order, keep);
  if (wholeCurve) {
    let mustStay = 0;
    for (let g = 0; g < groups; g++) mustStay += load<u8>(s.isProtected + g);
    eliminate(e, keep - mustStay, 1); // what only describes ends where rounding takes it no further
  }
  for (let k = 0; k <= groups; k++) put(s.curve, k, k == groups ? 0 : NaN);
  const signal = -dense - s.settled;
  let lost: f64 = 0;
  for (let k = groups - 1; k >= e.live; k--) {
    lost += value(e.cost, k);
    put(s.curve, k, signal > 0 ? lost / signal : 0);
    if (k == keep) s.report.objective = dense + lost;
  }
  if (keep == groups) s.report.objective = dense;
  return 0;
}

function keepOnly(s: Problem, groups: usize, count: i32): void {
  memory.fill(s.kept, 0, s.groups);
  for (let i = 0; i < count; i++) store<u8>(s.kept + entry(groups, i), 1);
}

/**
 * From nothing, adds the group with the largest gain until `keep` are in, the protected ones before all others. The
 * elimination's recursion with H and G in the place of H⁻¹ and H⁻¹G: no inverse is needed.
 * @param single  in f32
 * @returns 0, or the pivot at which H is not positive definite
 */
export function select(s: Problem, keep: i32, single: bool): i32 {
  const groups = s.groups;
  for (let t: Problem | null = s; t; t = t.next) {
    const e = createElimination(t, single, true);
    if (single) loadHG<f32>(e);
    else loadHG<f64>(e);
  }
  const e = eliminationOf(s);
  eliminateStart(e);
  for (let g = 0; g < groups; g++) {
    if (!load<u8>(s.isProtected + g)) continue;
    const info = eliminateGroup(e, g);
    if (info) return info;
  }
  const info = eliminate(e, e.live + keep - groups, 1);
  if (info) return info;
  let objective: f64 = 0;
  for (let at = groups - 1; at >= groups - keep; at--) objective -= value(e.cost, at);
  s.report.objective = objective;
  keepOnly(s, e.order + (<usize>(groups - keep) << 2), keep);
  return 0;
}

/** H in the place of H⁻¹, and G in that of the solution. */
function loadHG<T>(s: Elimination): void {
  loadH<T>(s.problem, s.T);
  narrow<T>(s.p * s.m, s.problem.G, s.W);
}
