// The best weights on given rows, W_S = H_SS⁻¹ G_S, and the choice by magnitude.
import { UNPACKED_ROWS } from '../../src/solve/memory';
import { gemm } from '../gemm';
import { S, dot, subtractRows } from '../rows';
import { at } from '../simd';
import { trsm } from '../trsm';
import { after, enter, put, value, entry } from './array';
import { Problem, dampingOf, gather, rowOfH } from './problem';
import { rank } from './rank';
import { Report } from './report';
import { schurComplement } from './schur';

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
  const objective = changetype<usize>(s.report) + offsetof<Report>('objective');
  const W = refitted(s, k);
  gather(s, s.rows, k, s.workspace, k, W);
  return schurComplement(k, s.m, k, 0, 1, s.workspace, W, objective, s.products);
}

/** The weights after `factor`, to `refitted`, and what of the objective is damping. k²m flops. */
export function solve(s: Problem, k: i32): void {
  const W = refitted(s, k);
  trsm<f64>(false, true, k, s.m, 1, s.workspace, k, W, s.m, s.products);
  s.report.damping = dampingOf<f64>(s, s.rows, k, W);
}

/** Rows that are rounded between two products. */
const ROUNDED_ROWS: i32 = 32;
/** Scales that are tried, from the one on at which the largest weight of an output is the largest step. */
const SCALES: i32 = 3;
/** By how much of that they are apart. */
const SMALLER: f64 = 0.15;

/**
 * As `solve`, with weights that are whole multiples, `steps` at most, of a scale for each output. Back substitution goes from the last of
 * `rows` to the first; each is rounded before those above it are solved for, which so make up for what rounding has changed (Babai's
 * nearest plane: GPTQ, arXiv 2210.17323, from the last row on). An output has the scale that adds least to the objective.
 *
 * `refitBytes` of workspace, and five lines of m; G is lost; 5k²m flops.
 */
export function solveRounded(s: Problem, k: i32, steps: f64): void {
  const m = s.m;
  const line = <usize>m * S;
  const W = refitted(s, k);
  const largest = after<f64>(W, k, m);
  const scales = after<f64>(largest, m, 1);
  const losses = after<f64>(scales, m, 1);
  const best = after<f64>(losses, m, 1);
  const chosen = after<f64>(best, m, 1);
  memory.copy(s.G, W, <usize>k * line); // L⁻¹G_S, which every round begins with
  solve(s, k);
  memory.fill(largest, 0, line);
  for (let i = 0; i < k; i++) {
    const row = at<f64>(W, m, i, 0);
    for (let j = 0; j < m; j++) put(largest, j, max(value(largest, j), abs(value(row, j))));
  }
  for (let j = 0; j < m; j++) put(best, j, Infinity);
  for (let i = 0; i < SCALES; i++) {
    const part = (1 - i * SMALLER) / steps;
    for (let j = 0; j < m; j++) put(scales, j, part * value(largest, j));
    round(s, k, steps, scales, losses);
    for (let j = 0; j < m; j++) {
      if (!(value(losses, j) < value(best, j))) continue;
      put(best, j, value(losses, j));
      put(chosen, j, value(scales, j));
    }
  }
  round(s, k, steps, chosen, losses);
  s.report.damping = dampingOf<f64>(s, s.rows, k, W);
}

/** Weights on whole multiples of these scales, from L⁻¹G_S in the place of G to `refitted`, and twice what each output adds so to the objective. */
function round(s: Problem, k: i32, steps: f64, scales: usize, losses: usize): void {
  const m = s.m;
  const line = <usize>m * S;
  const L = s.workspace;
  const W = refitted(s, k);
  memory.copy(W, s.G, <usize>k * line);
  memory.fill(losses, 0, line);
  for (let end = k; end > 0; end -= ROUNDED_ROWS) {
    const first = max(0, end - ROUNDED_ROWS);
    const known = at<f64>(W, m, end, 0);
    gemm<f64>(
      true, false, end - first, m, k - end, -1, at<f64>(L, k, end, first), k, known, m, 1, at<f64>(W, m, first, 0), m, s.products,
    );
    for (let i = end - 1; i >= first; i--) {
      const row = at<f64>(W, m, i, 0);
      subtractRows<f64>(end - 1 - i, m, at<f64>(L, k, i + 1, i), <usize>k * S, row + line, line, row);
      const diagonal = value(at<f64>(L, k, i, i), 0);
      for (let j = 0; j < m; j++) {
        const scale = diagonal * value(scales, j);
        const wanted = value(row, j);
        // An output of zeros has a scale of 0.
        const step = scale > 0 ? min(steps, max(-steps, nearest(wanted / scale))) : 0;
        const off = wanted - step * scale;
        put(losses, j, value(losses, j) + off * off);
        put(row, j, step * value(scales, j));
      }
    }
  }
}

/** `factor` and `solve` of the groups that are `kept`, of k rows. @returns as `factor` */
export function refit(s: Problem, k: i32): i32 {
  const info = factorKept(s);
  if (info == 0) solve(s, k);
  return info;
}

/**
 * ½ tr(WᵀHW) − tr(WᵀG) of any weights on the first k of `rows`, ascending, k × m in the workspace: the former is ½ΣH_ij(WWᵀ)_ij, of which
 * the lower half is enough. `objectiveBytes`; k²m flops.
 */
export function objectiveOf(s: Problem, k: i32): f64 {
  const m = s.m;
  const W = s.workspace;
  const block = min(k, <i32>UNPACKED_ROWS);
  const K = after<f64>(W, k, m);
  let f: f64 = 0;
  for (let first = 0; first < k; first += block) {
    const end = min(k, first + block);
    gemm<f64>(false, true, end - first, end, m, 1, at<f64>(W, m, first, 0), m, W, m, 0, K, k, s.products);
    for (let i = first; i < end; i++) {
      const row = entry(s.rows, i);
      const h = rowOfH(s, row);
      const products = at<f64>(K, k, i - first, 0);
      f += 0.5 * value(h, row) * value(products, i);
      for (let j = 0; j < i; j++) f += value(h, entry(s.rows, j)) * value(products, j);
      f -= dot<f64>(m, at<f64>(W, m, i, 0), at<f64>(s.G, m, row, 0));
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
  let k = 0;
  for (let g = 0; g < s.groups; g++) {
    if (!load<u8>(s.kept + g)) continue;
    for (let r = 0; r < s.b; r++) enter(s.rows, k++, g * s.b + r);
  }
  return k;
}

/** Keeps the `keep` groups with the largest Σ|w| over their rows of W0; ties keep the lower number, protected ones come first. */
export function keepLargest(s: Problem, keep: i32): void {
  const norms = s.norms;
  const size = s.b * s.m;
  for (let g = 0; g < s.groups; g++) {
    let norm: f64 = 0;
    for (let i = g * size; i < (g + 1) * size; i++) norm += abs(value(s.W0, i));
    put(norms, g, load<u8>(s.isProtected + g) ? Infinity : norm);
    enter(s.order, g, g);
  }
  memory.fill(s.kept, 0, s.groups); // ranking marks what it has taken
  rank(s.groups, norms, s.order, keep, -1, s.kept, s.rows);
}
