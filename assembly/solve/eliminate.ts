// Greedy elimination: of all groups, removes the cheapest again and again. Costs are exact after each removal
// (elimination.ts); here they are ranked, what goes next is staged, and full panels are applied.
import { CAPACITY, STAGED_ROWS, multipleOf, panelRows } from '../../src/solve/constants';
import { HEAD_BYTES, eliminationBytes } from '../../src/solve/memory';
import { gemm } from '../gemm';
import { at } from '../simd';
import { transpose } from '../transpose';
import { after, enter, entry } from './array';
import {
  Elimination, direction, eliminateNextPanel, eliminateStage, eliminateStep, panelRow, used,
} from './elimination';
import { Problem } from './problem';
import { rank } from './rank';
import { Event, isTiled, tiles } from './tiles';

/**
 * Lays an elimination out over the problem's workspace, `eliminationBytes`. T (p × p, lower triangle) and W (p × m) are the caller's
 * to fill: with H⁻¹ and H⁻¹G, or for forward selection with H and G. They are overwritten; `eliminateStart` does the rest.
 *
 * @param dearest  the dearest groups go first, as in forward selection, instead of the cheapest
 */
export function createElimination<T>(problem: Problem, dearest: bool): Elimination {
  const s = changetype<Elimination>(problem.workspace);
  const p = problem.p;
  const m = problem.m;
  const b = problem.b;
  const groups = problem.groups;
  const bb = b * b;
  s.problem = problem;
  s.otherwise = dearest ? -Infinity : Infinity;
  s.panel = <i32>panelRows(b);
  s.capacity = <i32>CAPACITY * s.panel;
  let next = problem.workspace + <usize>HEAD_BYTES;
  const rows = isTiled(problem) ? 0 : p;
  s.T = next;
  next = after<T>(next, rows, p);
  s.Vt = s.T;
  if (sizeof<T>() == 4) {
    s.Vt = next;
    next = after<T>(next, rows, p);
  }
  s.W = next;
  s.V = next = after<T>(next, rows, m);
  s.C = next = after<T>(next, s.panel, p);
  next = after<T>(next, s.capacity, p);
  s.R = next;
  s.K = next = after<T>(next, s.panel, p);
  s.E = next = after<T>(next, s.capacity, p);
  next = after<f64>(next, groups, bb);
  s.U = next;
  s.D = next = after<T>(next, s.panel, m);
  s.cost = next = after<f64>(next, groups, bb);
  s.work = next = after<f64>(next, groups, 1);
  s.order = next = after<f64>(next, 5, bb);
  s.rows = next = after<i32>(next, groups, 1);
  s.chosen = next = after<i32>(next, p, 1);
  s.taken = next = after<i32>(next, groups, 1);
  next = after<u8>(next, groups, 1);
  if (<f64>(next - problem.workspace) > eliminationBytes(p, m, b, sizeof<T>(), rows)) unreachable();
  return s;
}

/**
 * Removes n groups, `groupsPerStep` between two rankings as in the published schedule: s = max(1, ⌊n / groupsPerStep⌋)
 * steps of ⌊n / s⌋ groups, the first n mod s of them one larger.
 * @returns 0, or the 1-based pivot at which the block of a group, now the last live one, was not positive definite
 */
export function eliminate<T>(s: Elimination, n: i32, groupsPerStep: i32): i32 {
  if (n == 0) return 0;
  const steps = max(1, n / groupsPerStep);
  for (let step = 0; step < steps; step++) {
    const count = n / steps + i32(step < n % steps);
    choose(s, count);
    for (let i = 0; i < count; i++) {
      const info = eliminateGroup<T>(s, entry(s.chosen, i));
      if (info) return info;
    }
  }
  return 0;
}

/** The `count` live groups that go first. */
function choose(s: Elimination, count: i32): void {
  const isProtected = s.problem.isProtected;
  for (let i = 0; i < s.live; i++) store<u8>(s.taken + i, load<u8>(isProtected + entry(s.order, i)));
  rank(s.live, s.cost, s.order, count, direction(s), s.taken, s.chosen);
  for (let i = 0; i < count; i++) enter(s.chosen, i, entry(s.order, entry(s.chosen, i)));
}

/** Removes a live group, protected or not. @returns as `eliminate` */
export function eliminateGroup<T>(s: Elimination, group: i32): i32 {
  let at = 0;
  while (entry(s.order, at) != group) at++;
  if (used(s) >= s.panel) nextPanel<T>(s);
  if (at < s.live - s.staged) at = stage<T>(s, at);
  return eliminateStep<T>(s, at);
}

/** Stages the group and those likely to go next. @returns where the group is then */
function stage<T>(s: Elimination, position: i32): i32 {
  const p = s.problem.p;
  const b = s.problem.b;
  const wanted = <i32>multipleOf(b, STAGED_ROWS) / b;
  if (s.staged * b >= s.panel) s.staged = 0; // none of them has come to be the next: what groups cost has changed
  if (2 * room(s) < wanted) nextPanel<T>(s);
  const end = s.live - s.staged;
  const count = min(min(wanted, room(s)), end);
  eliminateStage<T>(s, position, count);

  const first = (end - count) * b;
  const row = s.capacity - s.begin * b + first;
  const C = at<T>(s.C, p, row, 0);
  const K = at<T>(s.K, p, row, 0);
  if (isTiled(s.problem)) {
    tiles(Event.Stage, first, count * b, C, K);
    return end - 1;
  }
  subtract<T>(s, s.Vt, s.Vt, C, first, count * b);
  const m = s.problem.m;
  gemm<T>(
    false, true, count * b, s.live * b, m, <T>1, at<T>(s.W, m, first, 0), m, s.W, m, <T>0, K, p, s.problem.products,
  );
  return end - 1;
}

/** C ← C − ABᵀ over the columns that panels before have found, for rows first … first + rows − 1 of A. */
function subtract<T>(s: Elimination, A: usize, B: usize, C: usize, first: i32, rows: i32): void {
  const p = s.problem.p;
  const before = s.begin * s.problem.b;
  const part = at<T>(A, p, first, before);
  gemm<T>(
    false, true, rows, s.live * s.problem.b, p - before, <T>-1, part, p, at<T>(B, p, 0, before), p, <T>1, C, p,
    s.problem.products,
  );
}

/** Groups that can still be staged in it. */
function room(s: Elimination): i32 {
  return s.capacity / s.problem.b - (s.begin - s.live) - s.staged;
}

/** Brings what is outside the panel up to date, and begins another. */
export function nextPanel<T>(s: Elimination): void {
  const p = s.problem.p;
  const m = s.problem.m;
  const live = s.live * s.problem.b;
  const found = used(s);
  const row = panelRow(s, s.live);
  const V = at<T>(s.V, p, row, 0);
  const U = at<T>(s.U, m, row, 0);
  if (isTiled(s.problem)) tiles(Event.Panel, live, found, V, U);
  else {
    gemm<T>(true, false, live, m, found, <T>-1, V, p, U, m, <T>1, s.W, m, s.problem.products);
    transpose<T>(found, live, V, p, at<T>(s.Vt, p, 0, live), p);
  }
  eliminateNextPanel<T>(s);
}
