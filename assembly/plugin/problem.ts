// The layer problem, as src/solve/problem.ts: H = XᵀX + ρI and G = XᵀY + ρW0 from the statistics of calibration data.
import { CHUNK_ROWS, DEAD_DAMPING, VARIANCE_ROUNDING } from '../../src/solve/constants';
import { gemm } from '../gemm';
import { put, value } from '../solve/array';
import { Statistics } from './statistics';

// @ts-ignore: decorator
@unmanaged
export class Problem {
  p: i32;
  m: i32;
  /** Rows per group. */
  b: i32;
  groups: i32;
  /** Whether the layer is its own target: then H⁻¹G is W0. */
  own: bool;
  /** Whether the bias is refitted, from the means x (p) and y (m). */
  centred: bool;
  /** p × p, both triangles. */
  H: usize;
  /** p × m, as W0. */
  G: usize;
  W0: usize;
  x: usize;
  y: usize;
  /** The damping on the diagonal of H, p. */
  rho: usize;
}

const HEAD: usize = 64;

/** Bytes of the block that holds a problem. */
export function problemBytes(p: i32, m: i32): f64 {
  return HEAD + 8 * (<f64>p * p + 2 * <f64>p * m + 2 * <f64>p + m);
}

/** Lays a problem out over its block. */
export function layOut(problem: Problem, p: i32, m: i32, b: i32): void {
  problem.p = p;
  problem.m = m;
  problem.b = b;
  problem.groups = p / b;
  problem.H = changetype<usize>(problem) + HEAD;
  problem.G = problem.H + <usize>p * <usize>p * 8;
  problem.W0 = problem.G + <usize>p * <usize>m * 8;
  problem.x = problem.W0 + <usize>p * <usize>m * 8;
  problem.y = problem.x + <usize>p * 8;
  problem.rho = problem.y + <usize>m * 8;
}

/**
 * Fills a problem that is laid out. Dead inputs, zero or with a bias constant, are hardly damped: they go first.
 * @param W0  p × m in f32; @param bias  m in f32, or 0: no centring
 * @returns trace of the centred XᵀX
 */
export function fill(
  problem: Problem, sums: Statistics, W0: usize, bias: usize, damping: f64, blend: f64, work: usize,
): f64 {
  const p = problem.p;
  const m = problem.m;
  const H = problem.H;
  const n = sums.n;
  const rho = problem.rho;
  const rounding = VARIANCE_ROUNDING * min(n, <f64>CHUNK_ROWS);
  problem.own = blend == 0;
  problem.centred = bias != 0;
  let trace: f64 = 0;
  for (let i = 0; i < p; i++) {
    const shift = bias ? value(sums.sumX, i) / n : 0;
    for (let j = 0; j <= i; j++) {
      const h = value(sums.XtX, i * p + j) - shift * value(sums.sumX, j);
      put(H, i * p + j, h);
      put(H, j * p + i, h);
    }
    const variance = value(H, i * p + i);
    const isDead = variance - rounding * value(sums.XtX, i * p + i) <= 0;
    put(rho, i, isDead ? DEAD_DAMPING : 1); // as a part of the whole, which the trace decides
    if (!isDead) trace += variance;
  }
  // Inputs that are all zero leave nothing to reconstruct: damping alone then keeps the largest weights.
  const whole = trace > 0 ? (damping * trace) / p : 1;
  for (let i = 0; i < p; i++) {
    if (value(rho, i) < 1) {
      for (let j = 0; j < p; j++) {
        put(H, i * p + j, 0);
        put(H, j * p + i, 0);
      }
    }
    put(rho, i, value(rho, i) * whole);
    put(H, i * p + i, value(H, i * p + i) + value(rho, i));
  }

  const G = problem.G;
  const dense = problem.W0;
  for (let i = 0, e = p * m; i < e; i++) put(dense, i, load<f32>(W0 + (<usize>i << 2)));
  if (blend < 1) gemm<f64>(false, false, p, m, p, 1, H, p, dense, m, 0, G, m, work);
  else memory.fill(G, 0, <usize>p * <usize>m * 8);
  if (blend > 0) {
    for (let i = 0; i < p; i++) {
      const shift = bias ? value(sums.sumX, i) / n : 0;
      const share: f64 = value(rho, i) == whole ? 1 : 0; // of a dead input the product is rounding
      for (let j = 0; j < m; j++) {
        const at = i * m + j;
        const product = value(sums.XtY, at) - shift * value(sums.sumY, j);
        put(G, at, (1 - blend) * value(G, at) + blend * (share * product + value(rho, i) * value(dense, at)));
      }
    }
  }
  if (!bias) return trace;
  for (let i = 0; i < p; i++) put(problem.x, i, value(sums.sumX, i) / n);
  for (let j = 0; j < m; j++) {
    let own: f64 = load<f32>(bias + (<usize>j << 2));
    for (let i = 0; i < p; i++) own += value(dense, i * m + j) * value(problem.x, i);
    put(problem.y, j, blend > 0 ? (1 - blend) * own + (blend * value(sums.sumY, j)) / n : own);
  }
  return trace;
}
