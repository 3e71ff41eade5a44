// Greedy backward elimination and forward selection of a problem, as src/solve/eliminate.ts.
import { CONFIRMED, NEGLIGIBLE, WELL_CONDITIONED, eliminationPath } from '../../src/solve/constants';
import { eliminationBytes, lines } from '../../src/solve/memory';
import { potrf } from '../potrf';
import { potri } from '../potri';
import { at } from '../simd';
import { entry, put, value } from '../solve/array';
import { createElimination, eliminate as removeCheapest } from '../solve/eliminate';
import { Elimination, eliminateStart } from '../solve/elimination';
import { workBytes } from '../solve/work';
import { trsm } from '../trsm';
import { mark, push, release } from './memory';
import { Problem } from './problem';
import { refit } from './refit';
import { REPORT_BYTES, Report, blank } from './report';

/** Scratch of `eliminate` and of `select`, in f64; in f32 they, and a refit, take less. */
export function eliminateBytes(p: i32, m: i32, b: i32): f64 {
  return eliminationBytes(p, m, b, eliminationPath(p, m, b), 8) + lines(workBytes(p, m));
}

function create<T>(layer: Problem, dearest: bool): Elimination {
  const p = layer.p;
  const m = layer.m;
  const b = layer.b;
  const path = eliminationPath(p, m, b);
  const products = push(<usize>workBytes(p, m));
  return createElimination<T>(push(<usize>eliminationBytes(p, m, b, path, sizeof<T>())), products, p, m, b, path, dearest);
}

/**
 * From all groups, removes the cheapest `groupsPerStep` at a time until `keep` are left; the schedule of n removals is
 * the published one: s = max(1, ⌊n / t⌋) steps of ⌊n / s⌋ groups, the first n mod s of them one larger. In f32 where
 * that is good enough, else in f64.
 *
 * @param flags  out, the kept groups; @param curve  out, J + 1 relative errors by groups kept, or 0
 * @returns 0, or the pivot at which H is not positive definite
 */
export function eliminate(
  layer: Problem, keep: i32, groupsPerStep: i32, flags: usize, curve: usize, report: Report,
): i32 {
  if (eliminateInSingle(layer, keep, groupsPerStep, flags, curve, report)) return 0;
  return eliminateInDouble(layer, keep, groupsPerStep, flags, curve, report);
}

/** @returns whether H is well enough conditioned for f32, and f64 confirms what the removals cost */
export function eliminateInSingle(
  layer: Problem, keep: i32, groupsPerStep: i32, flags: usize, curve: usize, report: Report,
): bool {
  if (keep == layer.groups) return false;
  const from = mark();
  const s = create<f32>(layer, false);
  let done = fullSupport<f32>(layer, s, report) == 0
    && varianceInflation<f32>(layer, s.T) <= WELL_CONDITIONED
    && removeGroups<f32>(layer, s, keep, groupsPerStep, flags, curve, report) == 0;
  release(from);
  if (!done) return false;
  const refitted = blank(push(REPORT_BYTES));
  const lost = report.objective - report.dense;
  done = refit(layer, flags, keep * layer.b, 0, 0, refitted) == 0
    && abs(report.objective - refitted.objective) <= CONFIRMED * lost - NEGLIGIBLE * refitted.objective;
  report.objective = refitted.objective;
  // What was lost is known better than f on all groups, unless the solution there was given.
  if (!layer.own) report.dense = report.objective - lost;
  release(from);
  return done;
}

export function eliminateInDouble(
  layer: Problem, keep: i32, groupsPerStep: i32, flags: usize, curve: usize, report: Report,
): i32 {
  const from = mark();
  const s = create<f64>(layer, false);
  let info = fullSupport<f64>(layer, s, report);
  if (info == 0) info = removeGroups<f64>(layer, s, keep, groupsPerStep, flags, curve, report);
  release(from);
  return info;
}

/** H⁻¹, the solution, the objective on all groups and its damping. @returns 0, or the pivot that is not positive */
function fullSupport<T>(layer: Problem, s: Elimination, report: Report): i32 {
  const p = layer.p;
  const m = layer.m;
  const work = s.products;
  convert<T>(p * p, layer.H, s.T);
  convert<T>(p * m, layer.own ? layer.W0 : layer.G, s.W);
  const info = potrf<T>(p, s.T, p, work);
  if (info) return info;
  if (!layer.own) {
    trsm<T>(false, false, p, m, <T>1, s.T, p, s.W, m, work);
    trsm<T>(false, true, p, m, <T>1, s.T, p, s.W, m, work);
  }
  potri<T>(p, s.T, p, work);
  report.dense = -0.5 * (layer.own ? innerProduct<f64>(layer, layer.W0) : innerProduct<T>(layer, s.W));
  report.denseDamping = layer.own ? dampingOf<f64>(layer, layer.W0) : dampingOf<T>(layer, s.W);
  return 0;
}

/** Doubles as values of type T. */
function convert<T>(n: i32, from: usize, to: usize): void {
  for (let i = 0; i < n; i++) store<T>(to + <usize>i * sizeof<T>(), <T>value(from, i));
}

/** tr(WᵀG). */
function innerProduct<T>(layer: Problem, W: usize): f64 {
  let sum: f64 = 0;
  for (let i = 0, e = layer.p * layer.m; i < e; i++) {
    sum += <f64>load<T>(W + <usize>i * sizeof<T>()) * value(layer.G, i);
  }
  return sum;
}

/** ½Σρᵢ(|Wᵢ − W0ᵢ|² − |W0ᵢ|²). */
function dampingOf<T>(layer: Problem, W: usize): f64 {
  const m = layer.m;
  let sum: f64 = 0;
  for (let i = 0; i < layer.p; i++) {
    for (let at = i * m, end = at + m; at < end; at++) {
      const w = <f64>load<T>(W + <usize>at * sizeof<T>());
      sum += value(layer.rho, i) * w * (w - 2 * value(layer.W0, at));
    }
  }
  return 0.5 * sum;
}

/** max H_jj·T_jj; NaN where one is. */
function varianceInflation<T>(layer: Problem, inverse: usize): f64 {
  const p = layer.p;
  let largest: f64 = 0;
  for (let i = 0; i < p; i++) {
    const factor = value(layer.H, i * p + i) * <f64>load<T>(at<T>(inverse, p, i, i));
    if (!(factor <= largest)) largest = factor;
  }
  return largest;
}

/** From `report.dense` on. @returns 0, or the pivot that is not positive */
function removeGroups<T>(
  layer: Problem, s: Elimination, keep: i32, groupsPerStep: i32, flags: usize, curve: usize, report: Report,
): i32 {
  const groups = layer.groups;
  const dense = report.dense;
  eliminateStart<T>(s);
  const info = removeCheapest<T>(s, groups - keep, groupsPerStep);
  if (info) return info;
  if (curve) for (let k = 0; k <= groups; k++) put(curve, k, k == groups ? 0 : NaN);
  let lost: f64 = 0;
  for (let k = groups - 1; k >= keep; k--) {
    lost += value(s.cost, k);
    if (curve) put(curve, k, dense < 0 ? lost / -dense : 0);
  }
  memory.fill(flags, 0, groups);
  for (let i = 0; i < keep; i++) store<u8>(flags + entry(s.order, i), 1);
  report.objective = dense + lost;
  return 0;
}

/** From nothing, adds the group with the largest gain until `keep` are in. As `eliminate`. */
export function select<T>(layer: Problem, keep: i32, flags: usize, report: Report): i32 {
  const groups = layer.groups;
  const from = mark();
  const s = create<T>(layer, true);
  convert<T>(layer.p * layer.p, layer.H, s.T);
  convert<T>(layer.p * layer.m, layer.G, s.W);
  eliminateStart<T>(s);
  const info = removeCheapest<T>(s, keep, 1);
  if (info) return info;
  memory.fill(flags, 0, groups);
  let objective: f64 = 0;
  for (let at = groups - 1; at >= groups - keep; at--) {
    objective -= value(s.cost, at);
    store<u8>(flags + entry(s.order, at), 1);
  }
  report.objective = objective;
  release(from);
  return 0;
}
