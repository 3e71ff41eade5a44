// Seeded layer problems and naive oracles for the solver.

import { type LayerProblem, type LayerStatistics, triangle, unpacked } from '../../src/solve/index.ts';
import { random } from './random.ts';

export function normals(n: number, seed: number): Float32Array {
  const next = random(seed);
  return Float32Array.from(
    { length: n },
    () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** Correlated non-negative inputs with a mean, as after a ReLU: n × p. */
export function activations(n: number, p: number, seed: number): Float32Array {
  const factors = Math.max(2, p >> 1);
  const latent = normals(n * factors, seed);
  const mixing = normals(factors * p, seed + 1);
  const noise = normals(n * p, seed + 2);
  return Float32Array.from({ length: n * p }, (_, at) => {
    const [i, j] = [Math.floor(at / p), at % p];
    let value = 0.3 * noise[at] + 0.2;
    for (let f = 0; f < factors; f++)
      value += (latent[i * factors + f] * mixing[f * p + j]) / Math.sqrt(factors);
    return Math.max(0, value);
  });
}

/** Sums by the definition, in f64. */
export function naiveStatistics(
  X: Float32Array,
  Y: Float32Array | undefined,
  p: number,
  m: number,
): LayerStatistics {
  const n = X.length / p;
  const XtX = new Float64Array(triangle(p));
  const XtY = new Float64Array(p * m);
  const sumX = new Float64Array(p);
  const sumY = new Float64Array(m);
  for (let r = 0; r < n; r++) {
    for (let i = 0; i < p; i++) {
      sumX[i] += X[r * p + i];
      for (let j = 0; j <= i; j++) XtX[triangle(i) + j] += X[r * p + i] * X[r * p + j];
      if (Y) for (let j = 0; j < m; j++) XtY[i * m + j] += X[r * p + i] * Y[r * m + j];
    }
    if (Y) for (let j = 0; j < m; j++) sumY[j] += Y[r * m + j];
  }
  return { p, m, n, XtX, sumX, ...(Y && { target: { XtY, sumY } }) };
}

/** min over W supported on the groups of ½tr(WᵀHW) − tr(WᵀG), by Gauss–Jordan elimination with pivoting. */
export function naiveObjective(
  { p, m, groupSize, ...layer }: LayerProblem,
  groups: readonly number[],
): number {
  const [H, G] = [unpacked(layer.H, p), layer.G];
  const rows = groups.flatMap((group) => Array.from({ length: groupSize }, (_, r) => group * groupSize + r));
  const k = rows.length;
  const A = rows.map((i) => [
    ...rows.map((j) => H[i * p + j]),
    ...Array.from(G.subarray(i * m, (i + 1) * m)),
  ]);
  for (let c = 0; c < k; c++) {
    const pivot = A.slice(c).reduce(
      (best, row, i) => (Math.abs(row[c]) > Math.abs(A[best][c]) ? c + i : best),
      c,
    );
    [A[c], A[pivot]] = [A[pivot], A[c]];
    for (let i = 0; i < k; i++) {
      if (i === c) continue;
      const factor = A[i][c] / A[c][c];
      for (let j = c; j < k + m; j++) A[i][j] -= factor * A[c][j];
    }
  }
  let objective = 0;
  rows.forEach((row, i) => {
    for (let j = 0; j < m; j++) objective -= (0.5 * A[i][k + j] * G[row * m + j]) / A[i][i];
  });
  return objective;
}

export function* subsets(n: number, k: number, from = 0): Generator<number[]> {
  if (k === 0) yield [];
  else for (let i = from; i <= n - k; i++) for (const rest of subsets(n, k - 1, i + 1)) yield [i, ...rest];
}

/** Sums over the samples of both. */
export function addStatistics(a: LayerStatistics, b: LayerStatistics): LayerStatistics {
  const add = (x: Float64Array, y: Float64Array) => x.map((value, i) => value + y[i]);
  const target = a.target &&
    b.target && { XtY: add(a.target.XtY, b.target.XtY), sumY: add(a.target.sumY, b.target.sumY) };
  return { ...a, n: a.n + b.n, XtX: add(a.XtX, b.XtX), sumX: add(a.sumX, b.sumX), ...(target && { target }) };
}

/** tr(W0ᵀG): what a layer towards its own outputs gives in all. */
export function signalOf({ G, W0 }: LayerProblem): number {
  return G.reduce((sum, g, i) => sum + g * W0[i], 0);
}

/** Layers that share a support as one problem of all their rows, whose H holds nothing between them: what `pruneLayers` solves. */
export function jointProblem(problems: readonly LayerProblem[]): LayerProblem {
  const [{ groups }] = problems;
  const groupSize = problems.reduce((sum, { groupSize: b }) => sum + b, 0);
  const m = Math.max(...problems.map((problem) => problem.m));
  const p = groups * groupSize;
  const [H, G, W0, rho] = [triangle(p), p * m, p * m, p].map((length) => new Float64Array(length));
  let first = 0;
  for (const problem of problems) {
    const { groupSize: b } = problem;
    const scale = 1 / signalOf(problem);
    const row = (i: number) => Math.floor(i / b) * groupSize + first + (i % b);
    for (let i = 0; i < problem.p; i++) {
      rho[row(i)] = scale * problem.rho![i];
      for (let j = 0; j <= i; j++) H[triangle(row(i)) + row(j)] = scale * problem.H[triangle(i) + j];
      for (let j = 0; j < problem.m; j++) {
        G[row(i) * m + j] = scale * problem.G[i * problem.m + j];
        W0[row(i) * m + j] = problem.W0[i * problem.m + j];
      }
    }
    first += b;
  }
  const solved = problems.every(({ solution }) => solution) && { solution: W0 };
  return { p, m, groupSize, groups, H, G, W0, rho, ...solved };
}
