// The best weights on given rows, W_S = H_SS⁻¹ G_S, and the choice by magnitude.
import { UNPACKED_ROWS } from '../../src/solve/memory';
import { gemm } from '../gemm';
import { potrf } from '../potrf';
import { trsm } from '../trsm';
import { after, enter, put, value, entry } from './array';
import { Problem, dampingOf, gather, rowOfH } from './problem';
import { rank } from './rank';

/** The weights of a refit of k rows, k × m, in the workspace. */
export function refitted(s: Problem, k: i32): usize {
  return after<f64>(s.workspace, k, k);
}

/**
 * The objective of the best weights on the first k of `rows`, −½‖L⁻¹G_S‖², and what `solve` needs to find them.
 * @returns 0, or the pivot at which H is not positive definite on them
 *
 * `refitBytes` of workspace; k³/3 + k²m flops.
 */
export function factor(s: Problem, k: i32): i32 {
  const m = s.m;
  const L = s.workspace;
  const W = refitted(s, k);
  gather(s, s.rows, k, L, k, W);
  const info = potrf<f64>(k, L, k, s.products);
  if (info) return info;
  trsm<f64>(false, false, k, m, 1, L, k, W, m, s.products);
  let f: f64 = 0;
  for (let i = 0, e = k * m; i < e; i++) f -= 0.5 * value(W, i) * value(W, i);
  s.report.objective = f;
  return 0;
}

/** The weights after `factor`, to `refitted`, and what of the objective is damping. k²m flops. */
export function solve(s: Problem, k: i32): void {
  const W = refitted(s, k);
  trsm<f64>(false, true, k, s.m, 1, s.workspace, k, W, s.m, s.products);
  s.report.damping = dampingOf<f64>(s, s.rows, k, W);
}

/** `factor` and `solve` of the groups that are `kept`, of k rows. @returns as `factor` */
export function refit(s: Problem, k: i32): i32 {
  const info = factorKept(s);
  if (info == 0) solve(s, k);
  return info;
}

/** ½ tr(WᵀHW) − tr(WᵀG) of any weights on the first k of `rows`, k × m in the workspace. `objectiveBytes`; 2k²m flops. */
export function objectiveOf(s: Problem, k: i32): f64 {
  const m = s.m;
  const W = s.workspace;
  const block = min(k, <i32>UNPACKED_ROWS);
  const H = after<f64>(W, k, m);
  const P = after<f64>(H, block, k);
  let f: f64 = 0;
  for (let first = 0; first < k; first += block) {
    const count = min(block, k - first);
    for (let i = 0; i < count; i++) {
      const row = entry(s.rows, first + i);
      for (let j = 0; j < k; j++) {
        const column = entry(s.rows, j);
        put(H, i * k + j, value(rowOfH(s, max(row, column)), min(row, column)));
      }
    }
    gemm<f64>(false, false, count, m, k, 0.5, H, k, W, m, 0, P, m, s.products);
    for (let i = 0; i < count; i++) {
      const w = W + <usize>(first + i) * <usize>m * 8;
      const G = s.G + <usize>entry(s.rows, first + i) * <usize>m * 8;
      for (let j = 0; j < m; j++) f += value(w, j) * (value(P, i * m + j) - value(G, j));
    }
  }
  return f;
}

/** As `factor`, of the groups that are `kept`. */
export function factorKept(s: Problem): i32 {
  return factor(s, nameRows(s));
}

/** The rows of the groups that are `kept` become `rows`. @returns how many they are */
export function nameRows(s: Problem): i32 {
  const b = s.b;
  let k = 0;
  for (let g = 0; g < s.groups; g++) {
    if (!load<u8>(s.kept + g)) continue;
    for (let r = 0; r < b; r++) enter(s.rows, k++, g * b + r);
  }
  return k;
}

/** Keeps the `keep` groups with the largest Σ|w| over their rows of W0; ties keep the lower number, protected ones come first. */
export function keepLargest(s: Problem, keep: i32): void {
  const groups = s.groups;
  const norms = s.norms;
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
