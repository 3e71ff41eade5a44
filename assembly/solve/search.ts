// Local search on a tableau: exchanges of kept for removed groups that lower the objective. Every search ends no higher than it
// starts: a step that does not improve is taken back. Each returns how many steps improved; NaN where H is not positive definite.
import { IMPROVEMENT } from '../../src/solve/constants';
import { enter } from './array';
import { rank } from './rank';
import { Tableau, bestSwap, costs, move, swap } from './tableau';

/** The published search gives up after so many steps. */
const PUBLISHED_STEPS: f64 = 30;

/**
 * The best single swap, again and again, until no swap improves: then the support is 1-swap optimal, and that is certified. Ends
 * before that after `maxSwaps` swaps.
 *
 * One scan of all pairs and one pivot on 2b rows a step: 5·k(J − k) flops and 6p² for b = 1, 9b³·k(J − k) and 12bp² beyond.
 */
export function swapWhileBetter(s: Tableau, maxSwaps: f64): f64 {
  for (let steps: f64 = 0; ; steps++) {
    s.isOptimal = !bestSwap(s) || !(s.change < -IMPROVEMENT * abs(s.objective));
    if (s.isOptimal || steps >= maxSwaps) return steps;
    const made = swap(s, s.out, s.into);
    if (made < 0) continue;
    if (made != made) return NaN;
    // Only what the pivot itself confirms is kept: rounding may have promised more.
    const back = swap(s, s.into, s.out);
    s.isOptimal = true;
    return back == back ? steps : NaN;
  }
}

/**
 * Drops the t cheapest groups and adds the t best of all that are then out, again and again. A step that does not improve halves t
 * until that is 0 (OSSCAR, arXiv 2403.12983), or ends the search as in the published code, where 30 steps do too.
 */
export function exchangeWhileBetter(s: Tableau, t: i32, halves: bool): f64 {
  s.isOptimal = false;
  s.change = NaN;
  let steps: f64 = 0;
  while (t >= 1 && (halves || steps < PUBLISHED_STEPS)) {
    const change = exchange(s, t);
    if (change != change) return NaN;
    if (change < 0) steps++;
    else t = halves ? t >> 1 : 0;
  }
  return steps;
}

/** @returns the change of the objective where it improves; else 0, and the step is taken back */
function exchange(s: Tableau, t: i32): f64 {
  const isKept = s.problem.kept;
  const start = s.objective;
  let mayLeave = 0;
  for (let g = 0; g < s.groups; g++) mayLeave += load<u8>(isKept + g) & ~load<u8>(s.problem.isProtected + g);
  const count = min(t, min(mayLeave, s.groups - s.kept));
  if (count == 0) return 0;
  memory.copy(s.wasKept, isKept, s.groups);
  const made = moveCheapest(s, count, true) + moveCheapest(s, count, false);
  if (made != made) return NaN;
  if (s.objective < start - IMPROVEMENT * abs(start)) return s.objective - start;
  const back = moveBack(s, true) + moveBack(s, false);
  return back == back ? 0 : NaN;
}

/** The cheapest to remove, or the best to add, whose "cost" is minus the gain. @returns as `move` */
function moveCheapest(s: Tableau, count: i32, isLeaving: bool): f64 {
  costs(s);
  for (let g = 0; g < s.groups; g++) {
    const stays = isLeaving ? load<u8>(s.problem.isProtected + g) : 0;
    store<u8>(s.taken + g, u8(load<u8>(s.problem.kept + g) != u8(isLeaving)) | stays);
  }
  rank(s.groups, s.row, 0, count, 1, s.taken, s.list);
  return move(s, count, isLeaving);
}

/** Groups that have come go again, or those that have gone come back. @returns as `move` */
function moveBack(s: Tableau, isLeaving: bool): f64 {
  let count = 0;
  for (let g = 0; g < s.groups; g++) {
    const isKept = load<u8>(s.problem.kept + g);
    if (isKept != load<u8>(s.wasKept + g) && isKept == u8(isLeaving)) enter(s.list, count++, g);
  }
  return move(s, count, isLeaving);
}
