// The state of a greedy elimination, as src/kernel/elimination.ts, to the bit. The mathematics is in
// assembly/eliminate.ts.
import {
  deliminateGramStart, deliminateGramStep, deliminateGramSwap, deliminateRows, deliminateStart, deliminateStep,
  gramBlocks,
} from '../eliminate';
import { gemm } from '../gemm';
import { dgemv, dswapColumns, dswapRows, dswapSymmetric } from '../rows';
import { syr2k } from '../syr2k';
import { syrk } from '../syrk';
import { enter, entry, value } from './array';
import { push, pushBytes, pushMatrix } from './memory';
import { Problem, workBytes } from './problem';
import { rank } from './support';

/** How K = WWᵀ is kept for the costs: W updated at each step, all of K updated, or K's columns a panel at a time. */
const ROWS: i32 = 0;
const GRAM: i32 = 1;
const COLUMNS: i32 = 2;

/** Provenance of both: src/kernel/elimination.ts. */
const PANEL_ROWS: f64 = 64;
const CANDIDATES: f64 = 1.25;

function pathOf(p: i32, m: i32, b: i32): i32 {
  const panel = <f64>panelRows(b);
  const rows = 5.0 * 2.0 * m * (b > 1 ? 1.5 : 1.0);
  const gram = 1.7 * p + 1.5 * m + 12.0 * panel;
  const columns = 2 * (1 + CANDIDATES) * m + 12.0 * panel + CANDIDATES * panel;
  if (rows <= min(gram, columns)) return ROWS;
  return gram <= columns ? GRAM : COLUMNS;
}

function panelRows(b: i32): i32 {
  return b * max(1, <i32>floor(PANEL_ROWS / b + 0.5));
}

function candidateRows(rows: i32, b: i32): i32 {
  return b * <i32>ceil((CANDIDATES * rows) / b);
}

// @ts-ignore: decorator
@unmanaged
export class Elimination {
  path: i32;
  p: i32;
  m: i32;
  b: i32;
  live: i32;
  /** Rows of the panel that are taken, of how many. */
  used: i32;
  panel: i32;
  /** Rows of K for candidates (`COLUMNS`). */
  candidates: i32;
  /** The cost of a group whose block has lost its definiteness: never chosen. */
  otherwise: f64;
  T: usize;
  W: usize;
  V: usize;
  R: usize;
  U: usize;
  K: usize;
  packed: usize;
  D: usize;
  E: usize;
  cost: usize;
  small: usize;
  /** Group by position (i32), and a group's first row in K, or −1. */
  order: usize;
  slots: usize;
  /** For rankings: J bytes, J positions, J groups. */
  taken: usize;
  ranked: usize;
  chosen: usize;
  /** The cost of the last removal. */
  paid: f64;
  work: usize;
}

/** Scratch of `eliminate` and of `select`. */
export function eliminationBytes(p: i32, m: i32, b: i32): f64 {
  const groups = p / b;
  const path = pathOf(p, m, b);
  const panel = <f64>panelRows(b);
  const spare = <f64>candidateRows(panelRows(b), b);
  let bytes: f64 = pushBytes(offsetof<Elimination>()) + matrixBytes(p, p) + matrixBytes(p, m) + matrixBytes(panel, p);
  if (path != ROWS) bytes += matrixBytes(panel, p) + matrixBytes(groups, <f64>b * b);
  if (path == GRAM) bytes += matrixBytes(p, p);
  if (path == COLUMNS) bytes += matrixBytes(panel, m) + matrixBytes(spare + b, p) + matrixBytes(spare, m);
  bytes += matrixBytes(groups, <f64>b * b) + matrixBytes(groups, 1) + matrixBytes(4, <f64>b * b);
  return bytes + 4 * pushBytes(4 * <f64>groups) + pushBytes(groups) + pushBytes(workBytes(p, m));
}

function matrixBytes(rows: f64, cols: f64): f64 {
  return pushBytes(8 * rows * cols);
}

/** T and W are the caller's to fill; `start` does the rest. */
export function create(layer: Problem, dearest: bool): Elimination {
  const p = layer.p;
  const m = layer.m;
  const b = layer.b;
  const groups = layer.groups;
  const state = changetype<Elimination>(push(offsetof<Elimination>()));
  const path = pathOf(p, m, b);
  const panel = panelRows(b);
  const candidates = candidateRows(panel, b);
  state.path = path;
  state.p = p;
  state.m = m;
  state.b = b;
  state.live = groups;
  state.used = 0;
  state.panel = panel;
  state.candidates = candidates;
  state.otherwise = dearest ? -Infinity : Infinity;
  state.T = pushMatrix(p, p);
  state.W = pushMatrix(p, m);
  state.V = pushMatrix(panel, p);
  if (path != ROWS) {
    state.R = pushMatrix(panel, p);
    state.E = pushMatrix(groups, b * b);
  }
  if (path == GRAM) state.K = pushMatrix(p, p);
  if (path == COLUMNS) {
    state.U = pushMatrix(panel, m);
    state.K = pushMatrix(candidates + b, p);
    state.packed = pushMatrix(candidates, m);
  }
  state.D = pushMatrix(groups, b * b);
  state.cost = pushMatrix(groups, 1);
  state.small = pushMatrix(4, b * b);
  state.order = push(4 * groups);
  state.slots = push(4 * groups);
  state.ranked = push(4 * groups);
  state.chosen = push(4 * groups);
  state.taken = push(groups);
  state.work = push(<usize>workBytes(p, m));
  return state;
}

export function start(s: Elimination): void {
  const p = s.p;
  const m = s.m;
  for (let g = 0; g < s.live; g++) enter(s.order, g, g);
  if (s.path == ROWS) {
    deliminateStart(s.live, s.b, m, s.T, p, s.W, m, s.D, s.cost, s.otherwise, s.small);
    return;
  }
  if (s.path == GRAM) syrk<f64>(false, p, m, 1, s.W, m, 0, s.K, p, s.work);
  deliminateGramStart(s.live, s.b, m, s.T, p, s.W, m, s.D, s.E, s.cost, s.otherwise, s.small);
}

/** The `count` cheapest (sign 1) or dearest (−1) live groups. */
export function choose(s: Elimination, count: i32, sign: f64): void {
  rank(s.live, s.cost, s.order, count, sign, s.taken, s.chosen);
  for (let i = 0; i < count; i++) enter(s.chosen, i, entry(s.order, entry(s.chosen, i)));
}

/** Removes a live group. @returns 0, or the pivot at which its block was not positive definite */
export function remove(s: Elimination, group: i32): i32 {
  let at = 0;
  while (entry(s.order, at) != group) at++;
  if (s.used + s.b > s.panel) applyPanel(s);
  s.paid = value(s.cost, at);
  const info = s.path == ROWS
    ? deliminateStep(
        at, s.live, s.b, s.m, s.used, s.T, s.p, s.W, s.m, s.V, s.p, s.D, s.cost, s.order, s.otherwise, s.small,
      )
    : stepOnGram(s, at, group);
  s.live--;
  s.used += s.b;
  return info;
}

function stepOnGram(s: Elimination, at: i32, group: i32): i32 {
  const p = s.p;
  const m = s.m;
  const b = s.b;
  const last = s.live - 1;
  const columns = s.path == COLUMNS;
  if (columns && s.used == 0) formCandidates(s);
  if (at != last) {
    deliminateGramSwap(at, last, b, s.used, s.T, p, s.V, s.R, p, s.D, s.E, s.cost, s.order);
    if (columns) {
      dswapRows(m, b, at, last, s.W, m);
      dswapColumns(s.candidates, b, at, last, s.K, p);
    } else dswapSymmetric(s.live * b, b, at, last, s.K, p);
  }
  const row = <usize>(columns ? candidate(s, group, last) : last * b) * <usize>p * 8;
  const info = deliminateGramStep(
    last, b, s.used, s.T, p, s.K + row, p, s.V, s.R, p, s.D, s.E, s.cost, s.otherwise, s.small,
  );
  if (columns && info == 0) {
    deliminateRows(last, b, m, s.used, s.W, m, s.V, p, s.U, m, s.small + 3 * 8 * <usize>(b * b));
  }
  return info;
}

/** K ← W_C·Wᵀ for the groups C that now look like the next to go. */
function formCandidates(s: Elimination): void {
  const m = s.m;
  const b = s.b;
  const sign: f64 = s.otherwise > 0 ? 1 : -1;
  const count = min(s.candidates / b, s.live);
  rank(s.live, s.cost, s.order, count, sign, s.taken, s.ranked);
  const limit = sign * value(s.cost, entry(s.ranked, count - 1));
  memory.fill(s.slots, 0xff, 4 * (s.p / b));
  const bytes = <usize>b * <usize>m * 8;
  let found = 0;
  for (let at = 0; at < s.live && found < count; at++) {
    if (!(sign * value(s.cost, at) <= limit)) continue;
    memory.copy(s.packed + <usize>found * bytes, s.W + <usize>at * bytes, bytes);
    enter(s.slots, entry(s.order, at), found++ * b);
  }
  gemm<f64>(false, true, found * b, s.live * b, m, 1, s.packed, m, s.W, m, 0, s.K, s.p, s.work);
}

/** The first of the group's rows in K; of a group that was no candidate they are formed now. */
function candidate(s: Elimination, group: i32, last: i32): i32 {
  const slot = entry(s.slots, group);
  if (slot >= 0) return slot;
  const b = s.b;
  for (let r = 0; r < b; r++) {
    const x = s.W + <usize>(last * b + r) * <usize>s.m * 8;
    dgemv(last * b, s.m, s.W, s.m, x, s.K + <usize>(s.candidates + r) * <usize>s.p * 8);
  }
  return s.candidates;
}

/** T ← T − VᵀV on the live rows; K or W likewise. */
function applyPanel(s: Elimination): void {
  const p = s.p;
  const m = s.m;
  const rows = s.live * s.b;
  syrk<f64>(true, rows, s.used, -1, s.V, p, 1, s.T, p, s.work);
  if (s.path == GRAM) syr2k<f64>(rows, s.used, -1, s.V, p, s.R, p, s.K, p, s.work);
  if (s.path == COLUMNS) {
    gemm<f64>(true, false, rows, m, s.used, -1, s.V, p, s.U, m, 1, s.W, m, s.work);
    gramBlocks(s.live, s.b, m, s.W, m, s.E);
  }
  s.used = 0;
}
