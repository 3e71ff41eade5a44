// The best weights on a support, W_S = H_SS⁻¹ G_S, and the choice by magnitude: src/solve/refit.ts and magnitude.ts.
import { potrf } from '../potrf';
import { trsm } from '../trsm';
import { enter, entry, put, value } from '../solve/array';
import { rank } from '../solve/rank';
import { workBytes } from '../solve/work';
import { mark, push, pushBytes, release } from './memory';
import { Problem } from './problem';
import { Report } from './report';
import { rowsOf } from './support';

/** Scratch of `refit` for k kept rows. */
export function refitBytes(k: i32, m: i32): f64 {
  return pushBytes(8 * <f64>k * k) + pushBytes(8 * <f64>k * m) + pushBytes(4 * <f64>k) + pushBytes(workBytes(k, m));
}

/** Scratch of `magnitude`. */
export function magnitudeBytes(groups: i32): f64 {
  return pushBytes(8 * <f64>groups) + 2 * pushBytes(4 * <f64>groups) + pushBytes(groups);
}

/**
 * @param flags  the kept groups; @param k  their rows
 * @param W  out, p × m, removed rows zero, or 0
 * @param bias  out, m: ȳ − Wᵀx̄, or 0
 * @returns 0, or the pivot at which H is not positive definite on the support
 */
export function refit(layer: Problem, flags: usize, k: i32, W: usize, bias: usize, report: Report): i32 {
  const p = layer.p;
  const m = layer.m;
  const from = mark();
  const rows = push(4 * k);
  rowsOf(layer.groups, layer.b, flags, rows);
  const L = push(<usize>k * <usize>k * 8);
  const B = push(<usize>k * <usize>m * 8);
  const work = push(<usize>workBytes(k, m));
  const line = <usize>m * 8;
  for (let i = 0; i < k; i++) {
    const source = layer.H + <usize>entry(rows, i) * <usize>p * 8;
    for (let j = 0; j <= i; j++) put(L, i * k + j, value(source, entry(rows, j)));
    memory.copy(B + <usize>i * line, layer.G + <usize>entry(rows, i) * line, line);
  }
  const info = potrf<f64>(k, L, k, work);
  if (info) return info;
  trsm<f64>(false, false, k, m, 1, L, k, B, m, work);
  trsm<f64>(false, true, k, m, 1, L, k, B, m, work);

  let f: f64 = 0;
  let damping: f64 = 0;
  for (let i = 0; i < k; i++) {
    const row = entry(rows, i);
    const G = layer.G + <usize>row * line;
    const W0 = layer.W0 + <usize>row * line;
    const rho = value(layer.rho, row);
    for (let j = 0; j < m; j++) {
      const w = value(B, i * m + j);
      f -= 0.5 * w * value(G, j);
      damping += rho * w * (w - 2 * value(W0, j));
    }
  }
  report.objective = f;
  report.damping = 0.5 * damping;
  if (W) {
    memory.fill(W, 0, <usize>p * line);
    for (let i = 0; i < k; i++) memory.copy(W + <usize>entry(rows, i) * line, B + <usize>i * line, line);
  }
  if (bias) {
    memory.copy(bias, layer.y, line);
    for (let i = 0; i < k; i++) {
      const x = value(layer.x, entry(rows, i));
      for (let j = 0; j < m; j++) put(bias, j, value(bias, j) - value(B, i * m + j) * x);
    }
  }
  release(from);
  return 0;
}

/** The `keep` groups with the largest Σ|w| over their rows of W0; ties keep the lower number. @param flags  out */
export function magnitude(layer: Problem, keep: i32, flags: usize): void {
  const groups = layer.groups;
  const from = mark();
  const norms = push(8 * groups);
  const order = push(4 * groups);
  const ranked = push(4 * groups);
  const taken = push(groups);
  const size = layer.b * layer.m;
  for (let g = 0; g < groups; g++) {
    let norm: f64 = 0;
    for (let i = g * size; i < (g + 1) * size; i++) norm += abs(value(layer.W0, i));
    put(norms, g, norm);
    enter(order, g, g);
  }
  memory.fill(taken, 0, groups);
  rank(groups, norms, order, keep, -1, taken, ranked);
  memory.fill(flags, 0, groups);
  for (let i = 0; i < keep; i++) store<u8>(flags + entry(ranked, i), 1);
  release(from);
}
