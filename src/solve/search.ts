// Local search on the tableau: exchanges of kept for removed groups that lower the objective. Every search ends
// no higher than it starts: a step that does not improve is taken back.

import { IMPROVEMENT } from './constants';
import type { LocalSearch, Tableau } from './tableau.ts';

/** The published search gives up after so many steps. */
const PUBLISHED_STEPS = 30;

/**
 * The published local search: drops the t cheapest groups, adds the t best of all that are then out, and stops at
 * the first step that does not improve, or after 30.
 */
export function publishedSearch(tableau: Tableau, t: number): LocalSearch {
  let steps = 0;
  while (steps < PUBLISHED_STEPS && exchange(tableau, t)) steps++;
  return { steps, swapOptimal: false };
}

/** As the published search, but a step that does not improve halves t; ends at t = 0 (OSSCAR, arXiv 2403.12983). */
export function halvingSearch(tableau: Tableau, t: number): LocalSearch {
  let steps = 0;
  for (let size = t; size >= 1; ) {
    if (exchange(tableau, size)) steps++;
    else size = Math.floor(size / 2);
  }
  return { steps, swapOptimal: false };
}

/** Drops the t cheapest, adds the t best. @returns whether that improved; if not, it is taken back */
function exchange(tableau: Tableau, t: number): boolean {
  const before = tableau.kept();
  const groups = Int32Array.from(tableau.isProtected.keys());
  const mayLeave = groups.filter((group) => tableau.has(group) && !tableau.isProtected[group]);
  const count = Math.min(t, mayLeave.length, groups.length - before.length);
  if (count === 0) return false;
  const start = tableau.objective;
  const allowed = threshold(tableau);
  tableau.move(...cheapest(tableau, mayLeave, count));
  tableau.move(
    ...cheapest(
      tableau,
      groups.filter((group) => !tableau.has(group)),
      count,
    ),
  );
  if (tableau.objective < start - allowed) return true;
  const was = new Set(before);
  tableau.move(...tableau.kept().filter((group) => !was.has(group)));
  tableau.move(...before.filter((group) => !tableau.has(group)));
  return false;
}

/** Cheapest to remove, or best to add, whose "cost" is minus the gain. Equal ones go by group number. */
function cheapest(tableau: Tableau, candidates: Int32Array, count: number): number[] {
  const costs = tableau.costs();
  return Array.from(candidates)
    .sort((i, j) => costs[i] - costs[j] || i - j)
    .slice(0, count);
}

function threshold(tableau: Tableau): number {
  return IMPROVEMENT * Math.abs(tableau.objective);
}
