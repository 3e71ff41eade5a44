// A layer by OSSCAR (arXiv 2403.12983): greedy elimination, a search from its support or another one, the weights of what is kept.
import { GREEDY, HALVING, PUBLISHED, SWAP, THOROUGH, hasTableau } from '../../src/solve/constants';
import { put, value } from './array';
import { greedy, select } from './greedy';
import { Problem, addUp, dampingOf, rowsOfAll } from './problem';
import { factorKept, keepLargest, nameRows, refit, refitted, solveKept } from './refit';
import { Report } from './report';
import { exchangeWhileBetter, swapWhileBetter } from './search';
import { build, createTableau, tableauOf } from './tableau';

// Supports to search from, in their order in the report: that of the elimination, and these.
const MAGNITUDE: i32 = 1;
const FORWARD: i32 = 2;
const STARTS: i32 = 3;

/**
 * Keeps `keep` groups, of a problem or of those that share a support from it on, and leaves their weights as `solve` does.
 *
 * @param single, wholeCurve  as of `greedy`
 * @param search  what follows the elimination: GREEDY and so on
 * @param maxSwaps  of SWAP and THOROUGH; @param t  groups that HALVING and PUBLISHED exchange at once
 * @returns 0, or the pivot at which H is not positive definite
 *
 * `pruneBytes` of workspace.
 */
export function prune(
  s: Problem, keep: i32, groupsPerStep: i32, single: bool, wholeCurve: bool, search: i32, maxSwaps: f64, t: i32,
): i32 {
  const groups = s.groups;
  const report = s.report;
  let info = greedy(s, keep, groupsPerStep, single, wholeCurve);
  if (info) return info;
  report.start = 0;
  if (search == GREEDY || keep == 0 || keep == groups) {
    if (!s.isSingle) return refit(s);
    solveKept(s);
    return 0;
  }
  let count = 1;
  if (search == THOROUGH || (search == SWAP && 2 * keep <= groups)) count = STARTS;
  else if (search == SWAP) count = 2; // of more than half, removing is better than adding
  info = findStarts(s, keep, count);
  if (info) return info;
  if (search != THOROUGH) {
    memory.copy(s.kept, startAt(s, <i32>report.start), groups);
    return searchFrom(s, search, maxSwaps, t);
  }
  const best = startAt(s, STARTS);
  let least: f64 = Infinity;
  let swaps: f64 = 0;
  let optimal: f64 = 0;
  let remaining: f64 = NaN;
  for (let i = 0; i < count; i++) {
    if (isRepeated(s, i)) continue;
    memory.copy(s.kept, startAt(s, i), groups);
    info = searchFrom(s, search, maxSwaps, t);
    if (info) return info;
    if (!(report.objective < least)) continue;
    least = report.objective;
    report.start = i;
    swaps = report.swaps;
    optimal = report.optimal;
    remaining = report.remaining;
    memory.copy(best, s.kept, groups);
  }
  memory.copy(s.kept, best, groups);
  report.swaps = swaps;
  report.optimal = optimal;
  report.remaining = remaining;
  return refit(s);
}

/** The groups (bytes) that a start keeps; behind all starts there is room for as many. */
function startAt(s: Problem, i: i32): usize {
  return s.starts + <usize>i * <usize>s.groups;
}

/** Whether a start before it has the same groups. */
function isRepeated(s: Problem, i: i32): bool {
  for (let j = 0; j < i; j++) if (memory.compare(startAt(s, i), startAt(s, j), s.groups) == 0) return true;
  return false;
}

/** The first `count` starts, from the elimination's on, which is there, and which of them is the best. @returns as `prune` */
function findStarts(s: Problem, keep: i32, count: i32): i32 {
  const report = s.report;
  const objectives = changetype<usize>(report) + offsetof<Report>('greedy');
  for (let i = 0; i < count; i++) {
    let info = 0;
    if (i == MAGNITUDE) keepLargest(s, keep);
    else if (i == FORWARD) info = select(s, keep, s.isSingle);
    if (info) return info;
    memory.copy(startAt(s, i), s.kept, s.groups);
    const best = <i32>report.start;
    if (i == FORWARD && memory.compare(startAt(s, i), startAt(s, best), s.groups) == 0) {
      put(objectives, i, value(objectives, best));
      continue;
    }
    if (i > 0) info = factorKept(s);
    if (info) return info;
    put(objectives, i, report.objective);
    if (report.objective < value(objectives, best)) report.start = i;
  }
  return 0;
}

/** From the groups that are kept; leaves those that it comes to and the weights on their rows. @returns as `prune` */
export function searchFrom(s: Problem, search: i32, maxSwaps: f64, t: i32): i32 {
  const report = s.report;
  report.swaps = 0;
  report.optimal = 0;
  report.remaining = NaN;
  if (!hasTableau(search, rowsOfAll(s))) return refit(s);
  const tableau = createTableau(s);
  const info = build(tableau);
  if (info) return info;
  const isExchange = search == HALVING || search == PUBLISHED;
  const steps = isExchange ? exchangeWhileBetter(tableau, t, search == HALVING) : swapWhileBetter(tableau, maxSwaps);
  if (steps != steps) return 1;
  report.swaps = steps;
  report.optimal = tableau.isOptimal ? 1 : 0;
  report.remaining = tableau.change;
  if (tableau.pivots > 0) return refit(s);
  report.objective = tableau.objective; // nothing has moved: the weights are those that it was built with
  for (let t: Problem | null = s; t; t = t.next) {
    const k = nameRows(t);
    const W = refitted(t, k);
    memory.copy(W, tableauOf(t).R, <usize>k * <usize>t.m * 8);
    t.report.damping = dampingOf<f64>(t, t.rows, k, W);
  }
  addUp(s, offsetof<Report>('damping'));
  return 0;
}
