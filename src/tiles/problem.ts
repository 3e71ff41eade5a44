// The layer problem in tiles: H in the place of XᵀX, G in that of XᵀY, as `formProblem` (assembly/solve/problem.ts) forms them.

import { InputError, ShapeError } from '../errors.ts';
import { nonFiniteAt } from '../finite.ts';
import type { Kernels } from '../kernel/index.ts';
import { CHUNK_ROWS, DEAD_DAMPING, VARIANCE_ROUNDING } from '../solve/constants';
import { DEFAULT_DAMPING, expectRows, type ProblemOptions } from '../solve/problem.ts';
import type { LayerProblem } from '../solve/workspace.ts';
import { multiply } from './factor.ts';
import type { TiledStatistics } from './statistics.ts';
import {
  type Block,
  type Floats,
  given,
  inMemory,
  type Place,
  RowBlocks,
  recycled,
  SymmetricTiles,
} from './storage.ts';

/** As `LayerProblem` of solve/problem.ts, in tiles. */
export interface TiledProblem extends Pick<LayerProblem, 'p' | 'm' | 'groupSize' | 'groups' | 'means'> {
  readonly edge: number;
  readonly H: SymmetricTiles<'f64'>;
  readonly G: RowBlocks<'f64'>;
  /** Dense weights, p × m. */
  readonly W0: Float32Array | Float64Array;
  readonly rho: Float64Array;
  /** Whether H⁻¹G is W0. */
  readonly isOwn: boolean;
}

/** As `ProblemOptions` of solve/problem.ts; in tiles there is osscar alone, to which dead inputs are dead. */
export type TiledProblemOptions = Omit<ProblemOptions, 'H' | 'dampDead'>;

/** @param statistics  overwritten: their arrays are the problem's */
export function tiledProblem(
  kernels: Kernels,
  statistics: TiledStatistics,
  W0: Float32Array | Float64Array,
  options: TiledProblemOptions,
): TiledProblem {
  const { p, n, edge, tiles, sumX, target } = statistics;
  const m = W0.length / p;
  const { groupSize, bias, blend = target ? 1 : 0, damping = DEFAULT_DAMPING } = options;
  if (!Number.isInteger(m) || p % groupSize !== 0) {
    throw new ShapeError(
      `problem: expected ${p} rows of weights in groups of ${groupSize}, got ${W0.length} values`,
    );
  }
  if (nonFiniteAt(W0) >= 0)
    throw new InputError('layerProblem: the dense weights hold NaN or infinite values');
  expectRows([statistics], blend);
  const H = new SymmetricTiles(p, 'f64', edge, given(tiles));
  const x = bias ? sumX.map((sum) => sum / n) : new Float64Array(p);
  const rounding = VARIANCE_ROUNDING * Math.min(n, CHUNK_ROWS);
  const isDead = new Uint8Array(p);
  let trace = 0;
  H.diagonal().forEach((squares, i) => {
    const variance = squares - x[i] * sumX[i];
    if (variance - rounding * squares <= 0) isDead[i] = 1;
    else trace += variance;
  });
  if (!Number.isFinite(trace)) {
    throw new InputError('layerProblem: the calibration inputs hold NaN or infinite values');
  }
  const whole = trace > 0 ? (damping * trace) / p : 1;
  const rho = Float64Array.from(isDead, (dead) => (dead ? DEAD_DAMPING * whole : whole));
  form(H, x, sumX, isDead, rho);
  const G = new RowBlocks(p, m, 'f64', edge, target ? given(target.blocks) : inMemory);
  if (blend > 0) {
    G.each(true, (values, first, rows) => {
      for (let r = 0; r < rows; r++) {
        const i = first + r;
        for (let j = 0; j < m; j++) {
          const outside = values[r * m + j] - x[i] * target!.sumY[j];
          values[r * m + j] = blend * ((isDead[i] ? 0 : 1) * outside + rho[i] * W0[i * m + j]);
        }
      }
    });
    if (blend < 1) multiply(kernels, H, W0, G, (own, outside) => (1 - blend) * own + outside);
  } else multiply(kernels, H, W0, G);
  G.each(false, (values) => {
    if (nonFiniteAt(values) >= 0)
      throw new InputError('layerProblem: the calibration targets hold NaN or infinite values');
  });
  const own = bias && outputOf(W0, x, bias);
  const y = blend > 0 ? own?.map((value, j) => (1 - blend) * value + (blend * target!.sumY[j]) / n) : own;
  const groups = p / groupSize;
  const problem = { p, m, groupSize, groups, edge, H, G, W0, rho };
  return { ...problem, isOwn: blend === 0, ...(y && { means: { x, y } }) };
}

/** Moves H and G elsewhere. @returns the problem with both in their new place, and a place for other blocks where they were */
export function moved(
  problem: TiledProblem,
  place: Place,
): { readonly problem: TiledProblem; readonly freed: Place } {
  const { p, m, edge } = problem;
  const H = new SymmetricTiles(p, 'f64', edge, place);
  const G = new RowBlocks(p, m, 'f64', edge, place);
  const freed: Floats[] = [];
  const move = (from: Block, to: Block) => {
    to.save(from.data!);
    freed.push(from.data!);
  };
  for (let i = 0; i < H.count; i++) for (let j = 0; j <= i; j++) move(problem.H.tile(i, j), H.tile(i, j));
  for (let i = 0; i < G.count; i++) move(problem.G.block(i), G.block(i));
  return { problem: { ...problem, H, G }, freed: recycled(freed) };
}

/** H ← XᵀX − x̄(Σx)ᵀ + diag ρ; of rows and columns of dead inputs nothing but ρ. */
function form(
  H: SymmetricTiles<'f64'>,
  x: Float64Array,
  sumX: Float64Array,
  isDead: Uint8Array,
  rho: Float64Array,
): void {
  for (let i = 0; i < H.count; i++) {
    for (let j = 0; j <= i; j++) {
      const [row, column, rows, cols] = [H.starts[i], H.starts[j], H.rows(i), H.rows(j)];
      H.change(i, j, (tile) => {
        for (let r = 0; r < rows; r++) {
          const shift = x[row + r];
          for (let c = 0; c < cols; c++) {
            const isZero = isDead[row + r] || isDead[column + c];
            tile[r * cols + c] = isZero ? 0 : tile[r * cols + c] - shift * sumX[column + c];
          }
          if (i === j) tile[r * (cols + 1)] += rho[row + r];
        }
      });
    }
  }
}

/** W0ᵀx + b. */
function outputOf(W0: Floats, x: Float64Array, bias: Floats): Float64Array {
  const [m, y] = [bias.length, Float64Array.from(bias)];
  for (let i = 0; i < x.length; i++) for (let j = 0; j < m; j++) y[j] += W0[i * m + j] * x[i];
  return y;
}
