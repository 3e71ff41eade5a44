// The best weights on given rows, W_S = H_SS⁻¹ G_S, and the choice by magnitude.
import { ROUNDED_OUTPUTS, UNPACKED_ROWS } from '../../src/solve/memory';
import { gemm } from '../gemm';
import { S, dot, subtractRows } from '../rows';
import { at } from '../simd';
import { trsm } from '../trsm';
import { after, enter, put, value, entry } from './array';
import { Problem, addUp, dampingOf, gather, rowOfH } from './problem';
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
/** Scales that are tried, from the one on at which the largest weight is the largest step. */
const SCALES: i32 = 3;
/** By how much of that they are apart. */
const SMALLER: f64 = 0.15;

/**
 * As `solve`, with weights that are whole multiples, `steps` at most, of a scale, which every `block` rows of W in order have for each
 * output. Back substitution goes from the last of `rows` to the first; each is rounded before those above it are solved for, which so
 * make up for what rounding has changed (Babai's nearest plane: GPTQ, arXiv 2210.17323, from the last row on). Scales are those that add
 * least to the objective.
 *
 * `roundedBytes` of workspace; G is lost; 5k²m flops.
 */
export function solveRounded(s: Problem, k: i32, steps: f64, block: i32): void {
  const m = s.m;
  const W = refitted(s, k);
  memory.copy(s.G, W, <usize>k * m * S); // L⁻¹G_S, which every round begins with
  solve(s, k);
  for (let first = 0; first < m; first += <i32>ROUNDED_OUTPUTS) {
    roundOutputs(s, k, steps, block, first, min(m - first, <i32>ROUNDED_OUTPUTS));
  }
  s.report.damping = dampingOf<f64>(s, s.rows, k, W);
}

/** The same of `width` outputs from `first` on. */
function roundOutputs(s: Problem, k: i32, steps: f64, block: i32, first: i32, width: i32): void {
  const W = refitted(s, k);
  const blocks = (s.p + block - 1) / block;
  const n = blocks * width;
  const largest = after<f64>(W, k, s.m);
  const losses = after<f64>(largest, blocks, width);
  const best = after<f64>(losses, blocks, width);
  const scales = after<f64>(best, blocks, width);
  memory.fill(largest, 0, <usize>n * S);
  for (let i = 0; i < k; i++) {
    const row = at<f64>(W, s.m, i, first);
    const own = at<f64>(largest, width, entry(s.rows, i) / block, 0);
    for (let j = 0; j < width; j++) put(own, j, max(value(own, j), abs(value(row, j))));
  }
  for (let j = 0; j < n; j++) put(best, j, Infinity);
  for (let i = 0; i < SCALES; i++) {
    const part = (1 - i * SMALLER) / steps;
    round(s, k, steps, block, first, width, largest, part, losses);
    for (let j = 0; j < n; j++) {
      if (!(value(losses, j) < value(best, j))) continue;
      put(best, j, value(losses, j));
      put(scales, j, part * value(largest, j));
    }
  }
  round(s, k, steps, block, first, width, scales, 1, losses);
}

/** Weights on whole multiples of a part of these scales, from L⁻¹G_S in the place of G to `refitted`, and twice what each block adds so to the objective. */
function round(
  s: Problem, k: i32, steps: f64, block: i32, first: i32, width: i32, scales: usize, part: f64, losses: usize,
): void {
  const m = s.m;
  const line = <usize>m * S;
  const L = s.workspace;
  const W = refitted(s, k);
  for (let i = 0; i < k; i++) memory.copy(at<f64>(W, m, i, first), at<f64>(s.G, m, i, first), <usize>width * S);
  memory.fill(losses, 0, <usize>((s.p + block - 1) / block) * width * S);
  for (let end = k; end > 0; end -= ROUNDED_ROWS) {
    const top = max(0, end - ROUNDED_ROWS);
    const known = at<f64>(W, m, end, first);
    gemm<f64>(
      true, false, end - top, width, k - end, -1, at<f64>(L, k, end, top), k, known, m, 1, at<f64>(W, m, top, first), m, s.products,
    );
    for (let i = end - 1; i >= top; i--) {
      const row = at<f64>(W, m, i, first);
      subtractRows<f64>(end - 1 - i, width, at<f64>(L, k, i + 1, i), <usize>k * S, row + line, line, row);
      const diagonal = value(at<f64>(L, k, i, i), 0);
      const own = entry(s.rows, i) / block;
      const ownScales = at<f64>(scales, width, own, 0);
      const ownLosses = at<f64>(losses, width, own, 0);
      for (let j = 0; j < width; j++) {
        const unit = part * value(ownScales, j);
        const scale = diagonal * unit;
        const wanted = value(row, j);
        // Of zeros the scale is 0.
        const step = scale > 0 ? min(steps, max(-steps, nearest(wanted / scale))) : 0;
        const off = wanted - step * scale;
        put(ownLosses, j, value(ownLosses, j) + off * off);
        put(row, j, step * unit);
      }
    }
  }
}

/** `factor` and `solve` of the groups that are `kept`, of all that share them. @returns as `factor` */
export function refit(s: Problem): i32 {
  const info = factorKept(s);
  if (info == 0) solveKept(s);
  return info;
}

/** The weights after `factorKept`. */
export function solveKept(s: Problem): void {
  for (let t: Problem | null = s; t; t = t.next) solve(t, nameRows(t));
  addUp(s, offsetof<Report>('damping'));
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

/** As `factor`, of the groups that are `kept`, and of all that share them. */
export function factorKept(s: Problem): i32 {
  for (let t: Problem | null = s; t; t = t.next) {
    const info = factor(t, nameRows(t));
    if (info) return info;
  }
  addUp(s, offsetof<Report>('objective'));
  return 0;
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

/** Keeps the `keep` groups with the largest Σ|w| over their rows of W0, of all that share them; ties keep the lower number, protected ones come first. */
export function keepLargest(s: Problem, keep: i32): void {
  const norms = s.norms;
  for (let g = 0; g < s.groups; g++) {
    let norm: f64 = 0;
    for (let t: Problem | null = s; t; t = t.next) {
      const size = t.b * t.m;
      for (let i = g * size; i < (g + 1) * size; i++) norm += abs(value(t.W0, i));
    }
    put(norms, g, load<u8>(s.isProtected + g) ? Infinity : norm);
  }
  memory.fill(s.kept, 0, s.groups); // ranking marks what it has taken
  rank(s.groups, norms, 0, keep, -1, s.kept, s.rows);
}
