// The tableau of the local search, as src/solve/tableau.ts, to the bit. The mathematics is in assembly/tableau.ts.
import { gemm } from '../gemm';
import { potrf } from '../potrf';
import { potri } from '../potri';
import { swapSymmetricGroups } from '../rows';
import { syrk } from '../syrk';
import { dtableauChanges, dtableauPivot, dtableauPrepare, dtableauScan } from '../tableau';
import { trsm } from '../trsm';
import { PIVOTS } from '../../src/solve/constants';
import { enter, entry, put, value } from '../solve/array';
import { workBytes } from '../solve/work';
import { push, pushBytes, pushMatrix } from './memory';
import { Problem } from './problem';

// @ts-ignore: decorator
@unmanaged
export class Tableau {
  layer: Problem;
  kept: i32;
  pivots: i32;
  objective: f64;
  /** Not 0 where H has turned out not to be positive definite: the pivot. */
  info: i32;
  /** The swap that `bestSwap` has found. */
  out: i32;
  into: i32;
  change: f64;
  T: usize;
  K: usize;
  R: usize;
  D: usize;
  E: usize;
  row: usize;
  minima: usize;
  small: usize;
  /** Groups by position, kept ones first, and back. */
  order: usize;
  position: usize;
  work: usize;
}

/** Scratch of a tableau. */
export function tableauBytes(p: i32, m: i32, b: i32): f64 {
  const groups = p / b;
  const matrices = 2 * pushBytes(8 * <f64>p * p) + pushBytes(8 * <f64>p * m);
  const blocks = 2 * pushBytes(8 * <f64>groups * b * b) + pushBytes(64 * <f64>b * b);
  const vectors = 2 * pushBytes(8 * <f64>groups) + 2 * pushBytes(4 * <f64>groups);
  return pushBytes(offsetof<Tableau>()) + matrices + blocks + vectors + pushBytes(pivotBytes(p, m, b));
}

/** Work of a pivot on 2b rows, and of all else. */
function pivotBytes(p: i32, m: i32, b: i32): f64 {
  const w = 2 * <f64>b;
  return 8 * w * (4 * <f64>p + 3 * w) + workBytes(p, m);
}

/** @param flags  the kept groups; @returns a tableau, `info` of which is not 0 where H is not positive definite */
export function createTableau(layer: Problem, flags: usize): Tableau {
  const p = layer.p;
  const b = layer.b;
  const groups = layer.groups;
  const s = changetype<Tableau>(push(offsetof<Tableau>()));
  s.layer = layer;
  s.T = pushMatrix<f64>(p, p);
  s.K = pushMatrix<f64>(p, p);
  s.R = pushMatrix<f64>(p, layer.m);
  s.D = pushMatrix<f64>(groups, b * b);
  s.E = pushMatrix<f64>(groups, b * b);
  s.small = pushMatrix<f64>(8, b * b);
  s.row = pushMatrix<f64>(1, groups);
  s.minima = pushMatrix<f64>(1, groups);
  s.order = push(4 * groups);
  s.position = push(4 * groups);
  s.work = push(<usize>pivotBytes(p, layer.m, b));
  factorise(s, flags);
  return s;
}

/** The kept groups. */
export function keptOf(s: Tableau, flags: usize): void {
  memory.fill(flags, 0, s.layer.groups);
  for (let i = 0; i < s.kept; i++) store<u8>(flags + entry(s.order, i), 1);
}

function setPosition(s: Tableau, at: i32, group: i32): void {
  enter(s.order, at, group);
  enter(s.position, group, at);
}

/** Builds T, K and the objective from H and G; kept groups first, both kinds ascending. */
function factorise(s: Tableau, flags: usize): void {
  const layer = s.layer;
  const p = layer.p;
  const m = layer.m;
  const b = layer.b;
  let at = 0;
  for (let g = 0; g < layer.groups; g++) if (load<u8>(flags + g)) setPosition(s, at++, g);
  s.kept = at;
  for (let g = 0; g < layer.groups; g++) if (!load<u8>(flags + g)) setPosition(s, at++, g);

  const T = s.T;
  const R = s.R;
  const work = s.work;
  const line = <usize>m * 8;
  for (let i = 0; i < p; i++) {
    const source = entry(s.order, i / b) * b + i % b;
    const h = layer.H + <usize>source * <usize>p * 8;
    for (let j = 0; j <= i; j++) put(T, i * p + j, value(h, entry(s.order, j / b) * b + j % b));
    memory.copy(R + <usize>i * line, layer.G + <usize>source * line, line);
  }
  const k = s.kept * b;
  const q = p - k;
  const PS = T + <usize>k * <usize>p * 8;
  const PP = PS + <usize>k * 8;
  const RP = R + <usize>k * line;
  let objective: f64 = 0;
  // With H_SS = L·Lᵀ, Y = L⁻¹G_S and Z = H_PS L⁻ᵀ: R_P = ZY − G_P and T_PP = ZZᵀ − H_PP.
  if (k > 0) {
    s.info = potrf<f64>(k, T, p, work);
    if (s.info) return;
    trsm<f64>(false, false, k, m, 1, T, p, R, m, work);
    for (let i = 0, e = k * m; i < e; i++) objective -= 0.5 * value(R, i) * value(R, i);
    trsm<f64>(true, true, q, k, 1, T, p, PS, p, work);
  }
  syrk<f64>(false, q, k, 1, PS, p, -1, PP, p, work);
  gemm<f64>(false, false, q, m, k, 1, PS, p, R, m, -1, RP, m, work);
  if (k > 0) {
    trsm<f64>(false, true, k, m, 1, T, p, R, m, work);
    trsm<f64>(true, false, q, k, 1, T, p, PS, p, work);
    potri<f64>(k, T, p, work);
  }
  syrk<f64>(false, p, m, 1, R, m, 0, s.K, p, work);
  s.info = 0;
  s.objective = objective;
  s.pivots = 0;
}

/** Finds the best of all swaps of one kept group for one removed. @returns false where there is none to try */
export function bestSwap(s: Tableau): bool {
  const layer = s.layer;
  const p = layer.p;
  const b = layer.b;
  const kept = s.kept;
  if (kept == 0 || kept == layer.groups) return false;
  if (b == 1) {
    for (let i = 0; i < kept; i++) {
      put(s.D, i, value(s.T, i * (p + 1)));
      put(s.E, i, value(s.K, i * (p + 1)));
    }
  } else dtableauPrepare(kept, b, s.T, p, s.K, p, s.D, s.E, s.small);
  dtableauScan(layer.groups, kept, b, s.T, p, s.K, p, s.D, s.E, s.row, s.minima, s.small);
  const j = least(layer.groups - kept, s.minima, s.order + (<usize>kept << 2));
  dtableauChanges(kept + j, kept, b, s.T, p, s.K, p, s.D, s.E, s.row, s.small);
  const i = least(kept, s.row, s.order);
  s.out = entry(s.order, i);
  s.into = entry(s.order, kept + j);
  s.change = value(s.row, i);
  return s.change - s.change == 0;
}

/** Index of the least value; equal ones go by group number. */
function least(n: i32, values: usize, order: usize): i32 {
  let best = 0;
  for (let i = 1; i < n; i++) {
    const lead = value(values, i) - value(values, best);
    if (lead < 0 || (value(values, i) == value(values, best) && entry(order, i) < entry(order, best))) best = i;
  }
  return best;
}

/** Takes `out` from the support and `into` into it. @returns the change of the objective; NaN where H has failed */
export function swap(s: Tableau, out: i32, into: i32): f64 {
  if (s.pivots >= PIVOTS) refactorise(s);
  let change = pivot(s, out, into);
  if (change != change && s.info == 0) {
    refactorise(s);
    change = pivot(s, out, into);
    if (change != change && s.info == 0) s.info = 1;
  }
  if (change != change) return NaN;
  s.objective += change;
  s.pivots++;
  return change;
}

/** From H again, on the support of now. */
function refactorise(s: Tableau): void {
  const flags = s.row; // groups doubles: room for as many bytes
  keptOf(s, flags);
  factorise(s, flags);
}

function pivot(s: Tableau, out: i32, into: i32): f64 {
  if (s.info) return NaN;
  const b = s.layer.b;
  const p = s.layer.p;
  const at = s.kept - 1;
  exchange(s, entry(s.position, out), at);
  exchange(s, entry(s.position, into), at + 1);
  const change = dtableauPivot(p, at * b, 2 * b, b, s.T, p, s.K, p, s.work);
  if (change == change) exchange(s, at, at + 1);
  return change;
}

function exchange(s: Tableau, a: i32, z: i32): void {
  if (a == z) return;
  const p = s.layer.p;
  swapSymmetricGroups<f64>(p, s.layer.b, min(a, z), max(a, z), s.T, p);
  swapSymmetricGroups<f64>(p, s.layer.b, min(a, z), max(a, z), s.K, p);
  const first = entry(s.order, a);
  setPosition(s, a, entry(s.order, z));
  setPosition(s, z, first);
}
