// The best weights on given rows, W_S = H_SS⁻¹ G_S, and the choice by magnitude.
import { potrf } from '../potrf';
import { trsm } from '../trsm';
import { after, enter, put, value, entry } from './array';
import { Problem, dampingOf, gather } from './problem';
import { rank } from './rank';

/** The weights of a refit of k rows, k × m, in the workspace. */
export function refitted(s: Problem, k: i32): usize {
  return after<f64>(s.workspace, k, k);
}

/**
 * The best weights on the first k of `rows`, to `refitted`, their objective and its damping.
 * @returns 0, or the pivot at which H is not positive definite on them: it is then on the diagonal of the workspace, k × k
 *
 * `refitBytes` of workspace; k³/3 + 2k²m flops.
 */
export function refit(s: Problem, k: i32): i32 {
  const m = s.m;
  const L = s.workspace;
  const W = refitted(s, k);
  gather(s, s.rows, k, L, k, W);
  const info = potrf<f64>(k, L, k, s.products);
  if (info) return info;
  trsm<f64>(false, false, k, m, 1, L, k, W, m, s.products);
  trsm<f64>(false, true, k, m, 1, L, k, W, m, s.products);
  let f: f64 = 0;
  for (let i = 0; i < k; i++) {
    const w = W + <usize>i * <usize>m * 8;
    const G = s.G + <usize>entry(s.rows, i) * <usize>m * 8;
    for (let j = 0; j < m; j++) f -= 0.5 * value(w, j) * value(G, j);
  }
  s.report.objective = f;
  s.report.damping = dampingOf<f64>(s, s.rows, k, W);
  return 0;
}

/** As `refit`, on the groups that are `kept`. */
export function refitKept(s: Problem): i32 {
  const b = s.b;
  let k = 0;
  for (let g = 0; g < s.groups; g++) {
    if (!load<u8>(s.kept + g)) continue;
    for (let r = 0; r < b; r++) enter(s.rows, k++, g * b + r);
  }
  return refit(s, k);
}

/** Keeps the `keep` groups with the largest Σ|w| over their rows of W0; ties keep the lower number, protected ones come first. */
export function keepLargest(s: Problem, keep: i32): void {
  const groups = s.groups;
  const norms = s.curve;
  const ranked = s.rows;
  const size = s.b * s.m;
  for (let g = 0; g < groups; g++) {
    let norm: f64 = 0;
    for (let i = g * size; i < (g + 1) * size; i++) norm += abs(value(s.W0, i));
    put(norms, g, load<u8>(s.isProtected + g) ? Infinity : norm);
    enter(s.order, g, g);
  }
  memory.fill(s.kept, 0, groups); // ranking marks what it has taken
  rank(groups, norms, s.order, keep, -1, s.kept, ranked);
}
