// The host's side of a greedy elimination, as src/kernel/elimination.ts, to the bit. The mathematics is in
// assembly/eliminate.ts.
import {
  Elimination, Path, eliminateNextPanel, eliminateStage, eliminateStep,
} from '../eliminate';
import { gemm } from '../gemm';
import { at } from '../simd';
import { enter, entry, value } from './array';
import { push, pushBytes, pushMatrix } from './memory';
import { Problem, workBytes } from './problem';
import { rank } from './support';

// Provenance: src/kernel/elimination.ts.
const PANEL_ROWS: f64 = 80;
const STAGED_ROWS: f64 = 36;
const CAPACITY: i32 = 2;

function pathOf(p: i32, m: i32, b: i32): Path {
  if (2 * <i64>m > p) return Path.Gram;
  return b == 1 ? Path.Columns : Path.Rows;
}

function rowsOfR(path: Path, p: i32, panel: i32): i32 {
  if (path == Path.Rows) return 0;
  return path == Path.Gram ? p : panel;
}

/** About so many rows, in whole groups. */
function multipleOf(b: i32, rows: f64): i32 {
  return b * max(1, <i32>floor(rows / b + 0.5));
}

/** An elimination and what a host needs beside it. */
// @ts-ignore: decorator
@unmanaged
export class Eliminator {
  state: Elimination;
  /** For rankings: J bytes, J positions. */
  taken: usize;
  chosen: usize;
  /** The cost of the last removal. */
  paid: f64;
  work: usize;
}

/** Scratch of `eliminate` and of `select`, in f64; in f32 they, and a refit, take less. */
export function eliminationBytes(p: i32, m: i32, b: i32): f64 {
  const groups = p / b;
  const path = pathOf(p, m, b);
  const panel = multipleOf(b, PANEL_ROWS);
  const staged = matrixBytes(<f64>CAPACITY * panel, p);
  let bytes = pushBytes(offsetof<Eliminator>()) + pushBytes(offsetof<Elimination>());
  bytes += matrixBytes(p, p) + matrixBytes(p, m) + staged + matrixBytes(rowsOfR(path, p, panel), p);
  if (path != Path.Rows) bytes += staged + matrixBytes(groups, <f64>b * b);
  bytes += matrixBytes(groups, <f64>b * b) + matrixBytes(groups, 1) + matrixBytes(5, <f64>b * b);
  return bytes + 2 * pushBytes(4 * <f64>groups) + pushBytes(groups) + pushBytes(workBytes(p, m));
}

function matrixBytes(rows: f64, cols: f64): f64 {
  return pushBytes(8 * rows * cols);
}

/** T and W, of type T, are the caller's to fill; `eliminateStart` does the rest. */
export function create<T>(layer: Problem, dearest: bool): Eliminator {
  const p = layer.p;
  const b = layer.b;
  const groups = layer.groups;
  const path = pathOf(p, layer.m, b);
  const panel = multipleOf(b, PANEL_ROWS);
  const host = changetype<Eliminator>(push(offsetof<Eliminator>()));
  const s = changetype<Elimination>(push(offsetof<Elimination>()));
  host.state = s;
  s.otherwise = dearest ? -Infinity : Infinity;
  s.path = path;
  s.p = p;
  s.m = layer.m;
  s.b = b;
  s.capacity = CAPACITY * panel;
  s.panel = panel;
  s.T = pushMatrix<T>(p, p);
  s.W = pushMatrix<T>(p, layer.m);
  s.C = pushMatrix<T>(s.capacity, p);
  s.R = pushMatrix<T>(rowsOfR(path, p, panel), p);
  if (path != Path.Rows) {
    s.K = pushMatrix<T>(s.capacity, p);
    s.E = pushMatrix<f64>(groups, b * b);
  }
  s.D = pushMatrix<f64>(groups, b * b);
  s.cost = pushMatrix<f64>(groups, 1);
  s.work = pushMatrix<f64>(5, b * b);
  s.order = push(4 * groups);
  host.chosen = push(4 * groups);
  host.taken = push(groups);
  host.work = push(<usize>workBytes(p, layer.m));
  return host;
}

/** The `count` cheapest (sign 1) or dearest (−1) live groups. */
export function choose(host: Eliminator, count: i32, sign: f64): void {
  const s = host.state;
  rank(s.live, s.cost, s.order, count, sign, host.taken, host.chosen);
  for (let i = 0; i < count; i++) enter(host.chosen, i, entry(s.order, entry(host.chosen, i)));
}

/** Removes a live group. @returns 0, or the pivot at which its block was not positive definite */
export function remove<T>(host: Eliminator, group: i32): i32 {
  const s = host.state;
  let at = 0;
  while (entry(s.order, at) != group) at++;
  if (used(s) >= s.panel) nextPanel<T>(host);
  if (at < s.live - s.staged) at = stage<T>(host, at);
  host.paid = value(s.cost, at);
  return eliminateStep<T>(s, at);
}

/** Stages the group and those likely to go next. @returns where the group is then */
function stage<T>(host: Eliminator, position: i32): i32 {
  const s = host.state;
  const b = s.b;
  if (room(s) == 0 || used(s) + STAGED_ROWS / 2 > s.panel) nextPanel<T>(host);
  const end = s.live - s.staged;
  const count = min(min(multipleOf(b, STAGED_ROWS) / b, room(s)), end);
  eliminateStage<T>(s, position, count);

  const first = (end - count) * b;
  const row = s.capacity - s.begin * b + first;
  const C = at<T>(s.C, s.p, row, 0);
  subtract<T>(host, s.T, s.T, C, first, count * b);
  if (s.path != Path.Rows) {
    const m = s.m;
    const part = at<T>(s.W, m, first, 0);
    const K = at<T>(s.K, s.p, row, 0);
    gemm<T>(false, true, count * b, s.live * b, m, <T>1, part, m, s.W, m, <T>0, K, s.p, host.work);
    if (s.path == Path.Gram) {
      subtract<T>(host, s.T, s.R, K, first, count * b);
      subtract<T>(host, s.R, s.T, K, first, count * b);
    }
  }
  return end - 1;
}

/** C ← C − AᵀB over the rows of V that this panel found, for columns first … first + rows − 1 of A. */
function subtract<T>(host: Eliminator, A: usize, B: usize, C: usize, first: i32, rows: i32): void {
  const s = host.state;
  const p = s.p;
  const before = s.begin * s.b;
  const part = at<T>(A, p, before, first);
  gemm<T>(
    true, false, rows, s.live * s.b, p - before, <T>-1, part, p, at<T>(B, p, before, 0), p, <T>1, C, p, host.work,
  );
}

/** Rows removed in this panel. */
function used(s: Elimination): i32 {
  return (s.begin - s.live) * s.b;
}

/** Groups that can still be staged in it. */
function room(s: Elimination): i32 {
  return s.capacity / s.b - (s.begin - s.live) - s.staged;
}

function nextPanel<T>(host: Eliminator): void {
  const s = host.state;
  if (s.path == Path.Columns) {
    const m = s.m;
    const live = s.live * s.b;
    const V = at<T>(s.T, s.p, live, 0);
    gemm<T>(true, false, live, m, used(s), <T>-1, V, s.p, at<T>(s.W, m, live, 0), m, <T>1, s.W, m, host.work);
  }
  eliminateNextPanel<T>(s);
}
