// A layer by the default method, as src/solve/prune.ts: the best of three starts, single swaps, refit.
import { SEARCHABLE_ROWS, eliminationPath, swapsAtMost } from '../../src/solve/constants';
import { eliminationBytes, lines, refitBytes, tableauBytes } from '../../src/solve/memory';
import { eliminateInDouble, eliminateInSingle, select } from '../solve/greedy';
import { Problem } from '../solve/problem';
import { factorKept, keepLargest, solve } from '../solve/refit';
import { build, createTableau, search as swapWhileBetter } from '../solve/tableau';

/** The workspace of an elimination and of a selection in f64; in f32 they, and a refit, take less. */
export function eliminateBytes(p: i32, m: i32, b: i32): f64 {
  return eliminationBytes(p, m, b, eliminationPath(p, m), 8, p);
}

/** The workspace of `prune`. */
export function pruneBytes(p: i32, m: i32, b: i32): f64 {
  const largest = max(eliminateBytes(p, m, b), refitBytes(p, m));
  return lines(p / b) + (p <= SEARCHABLE_ROWS ? max(largest, tableauBytes(p, m, b)) : largest);
}

/** @returns 0, or the pivot at which H is not positive definite */
export function eliminate(s: Problem, keep: i32, groupsPerStep: i32): i32 {
  const path = eliminationPath(s.p, s.m);
  if (eliminateInSingle(s, keep, groupsPerStep, path, false)) return 0;
  return eliminateInDouble(s, keep, groupsPerStep, path, false);
}

/** The best single swap of kept groups again and again, at most `maxSwaps` times. @returns as `eliminate` */
export function search(s: Problem, maxSwaps: i32): i32 {
  const t = createTableau(s.workspace, s.products, s);
  memory.copy(t.isKept, s.kept, s.groups);
  const info = build(t);
  if (info) return info;
  const steps = swapWhileBetter(t, maxSwaps);
  if (steps != steps) return 1;
  memory.copy(s.kept, t.isKept, s.groups);
  s.report.objective = t.objective;
  s.report.swaps = steps;
  s.report.optimal = t.isOptimal ? 1 : 0;
  s.report.remaining = t.change;
  return 0;
}

/** The weights are in the workspace then, as `solve` leaves them. @returns as `eliminate` */
export function prune(s: Problem, keep: i32): i32 {
  const groups = s.groups;
  const best = s.workspace; // behind it everything else
  s.workspace += <usize>lines(groups);
  const report = s.report;
  const path = eliminationPath(s.p, s.m);
  const single = eliminateInSingle(s, keep, 1, path, false);
  let info = single ? 0 : eliminateInDouble(s, keep, 1, path, false);
  if (info) return info;
  const dense = report.dense;
  const denseDamping = report.denseDamping;
  let start = 0;
  if (keep > 0 && keep < groups) {
    memory.copy(best, s.kept, groups);
    let least = report.objective;
    for (let other = 1; other <= (2 * keep <= groups ? 2 : 1); other++) {
      if (other == 1) keepLargest(s, keep);
      else info = single ? select<f32>(s, keep) : select<f64>(s, keep);
      if (info == 0) info = factorKept(s);
      if (info) return info;
      if (!(report.objective < least)) continue;
      least = report.objective;
      start = other;
      memory.copy(best, s.kept, groups);
    }
    memory.copy(s.kept, best, groups);
    report.swaps = 0;
    report.optimal = 0;
    if (s.p <= SEARCHABLE_ROWS) {
      info = search(s, <i32>swapsAtMost(groups, s.b));
      if (info) return info;
    }
  }
  report.dense = dense;
  report.denseDamping = denseDamping;
  report.start = start;
  return refit(s, keep);
}

/** The best weights on the groups that are kept. @returns as `eliminate` */
export function refit(s: Problem, keep: i32): i32 {
  const info = factorKept(s);
  if (info == 0) solve(s, keep * s.b);
  return info;
}
