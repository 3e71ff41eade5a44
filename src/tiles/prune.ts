// One layer in tiles, from its problem to its weights: greedy elimination and refit, as `pruneLayer` makes them with `search: 'greedy'`.

import { type ElementType, elementBytes, type Kernels } from '../kernel/index.ts';
import { CONFIRMED, NEGLIGIBLE, WELL_CONDITIONED } from '../solve/constants';
import { checkGroups, type Elimination, type EliminationOptions } from '../solve/eliminate.ts';
import { dampingOf, dataOf, innerProduct } from '../solve/problem.ts';
import type { LayerResult } from '../solve/prune.ts';
import { groupRows } from '../solve/refit.ts';
import { expectDefinite, notDefinite, type Refit } from '../solve/workspace.ts';
import { eliminateTiles, type TiledSupport } from './eliminate.ts';
import { potrf, potri, solve } from './factor.ts';
import { factorInside, inverseInside } from './memory.ts';
import type { TiledProblem } from './problem.ts';
import { inMemory, inWasm, type Place, RowBlocks, SymmetricTiles } from './storage.ts';

/** As `EliminationOptions` of solve/eliminate.ts. */
export interface TiledOptions extends Omit<EliminationOptions, 'weights'> {
  /** The groups that stay, where that is decided already. */
  readonly support?: readonly number[];
  /** Called before a search in f64 that follows one in f32; where it throws, there is none. */
  readonly onF64?: () => void;
  /** Where matrices go; left out, to wasm memory as far as there is room. */
  readonly place?: Place;
}

/** A pruned layer. */
export interface TiledResult
  extends TiledSupport,
    Pick<Elimination, 'precision'>,
    Pick<LayerResult, 'relativeError'>,
    Pick<Refit, 'damping'> {
  /** The weights of the kept rows, in their order. */
  readonly W: RowBlocks<'f64'>;
}

/** @throws {NotPositiveDefiniteError} where H is not positive definite */
export function pruneTiles(kernels: Kernels, problem: TiledProblem, options: TiledOptions): TiledResult {
  const { groups } = problem;
  const { keep, support, precision = 'f32' } = options;
  checkGroups('prune', problem, options);
  const refitOf = (kept: readonly number[]) =>
    refitTiles(kernels, problem, groupRows(kept, problem.groupSize), options.place);
  const result = (found: Found, refitted: Refitted, dense: number, type: ElementType) =>
    resultOf(
      support ? { ...found, kept: [...support] } : found,
      support ? refitOf(support) : refitted,
      dense,
      type,
    );
  if (precision === 'f32') {
    const found = kernels.scoped(() => search(kernels, problem, options, 'f32'));
    if (typeof found === 'object') {
      const refitted = refitOf(found.kept);
      const lost = found.objective - found.dense;
      const off = Math.abs(found.objective - refitted.objective);
      if (off <= CONFIRMED * lost - NEGLIGIBLE * refitted.objective) {
        const dense = problem.isOwn ? found.dense : refitted.objective - lost;
        return result(found, refitted, dense, 'f32');
      }
    }
  }
  if (precision === 'f32' && keep < groups) options.onF64?.();
  const found = kernels.scoped(() => search(kernels, problem, options, 'f64'));
  if (typeof found !== 'object') throw notDefinite('eliminate', found ?? 0);
  return result(found, refitOf(found.kept), found.dense, 'f64');
}

interface Found extends TiledSupport {
  readonly dense: number;
  readonly denseDamping: number;
}

interface Refitted extends Pick<TiledResult, 'objective' | 'damping' | 'W'> {}

function resultOf(found: Found, refitted: Refitted, dense: number, precision: ElementType): TiledResult {
  const { kept, removed, curve } = found;
  const denseData = dataOf(dense, found.denseDamping);
  const lost = dataOf(refitted.objective, refitted.damping) - denseData;
  const relativeError = -denseData > 0 ? lost / -denseData : 0;
  return { kept, removed, curve, ...refitted, relativeError, precision };
}

/** @returns the support; the pivot at which H is not positive definite; nothing where H is too ill-conditioned for f32 */
function search<T extends ElementType>(
  kernels: Kernels,
  problem: TiledProblem,
  options: TiledOptions,
  type: T,
): Found | number | undefined {
  const { p, m, groupSize, edge, H, G, W0, isOwn } = problem;
  const { keep, groupsPerStep, protect, wholeCurve, place } = options;
  if (type === 'f32' && keep === problem.groups) return undefined;
  const shape = { p, m, groupSize, keep, edge, groupsPerStep, protect, wholeCurve };
  const inverse = inverseInside(shape, kernels.maximumBytes - kernels.mark(), elementBytes(type));
  const T = new SymmetricTiles(p, type, edge, place ?? (inverse > 0 ? inWasm(kernels) : inMemory));
  for (let i = 0; i < H.count; i++) {
    for (let j = 0; j <= i; j++) H.read(i, j, (tile) => T.tile(i, j).save(tile));
  }
  const W = new RowBlocks(p, m, type, edge, place);
  W.each(true, (values, first, rows) => {
    if (isOwn) values.set(W0.subarray(first * m, (first + rows) * m));
    else G.read(first, (right) => values.set(right));
  });
  const info = potrf(kernels, T);
  if (info) return type === 'f32' ? undefined : info;
  if (!isOwn) {
    solve(kernels, false, T, W);
    solve(kernels, true, T, W);
  }
  potri(kernels, T);
  const { inner, damping: denseDamping } = worthOf(problem, W);
  const dense = -0.5 * inner;
  if (type === 'f32') {
    const inverse = T.diagonal();
    let largest = 0;
    H.diagonal().forEach((value, i) => {
      const factor = value * inverse[i];
      if (!(factor <= largest)) largest = factor;
    });
    if (!(largest <= WELL_CONDITIONED)) return undefined;
  }
  const found = eliminateTiles(kernels, T, W, shape, dense);
  if (typeof found === 'number') return type === 'f32' ? undefined : found;
  return { ...found, dense, denseDamping };
}

/** tr(WᵀG) of the best weights on all inputs, and what of f is damping. */
function worthOf({ m, G, W0, rho, isOwn }: TiledProblem, W: RowBlocks) {
  let inner = 0;
  let damping = 0;
  W.each(false, (values, first, rows) => {
    const dense = W0.subarray(first * m, (first + rows) * m);
    const weights = isOwn ? dense : values;
    G.read(first, (right) => {
      inner = innerProduct(weights, right, inner);
    });
    damping = dampingOf({ m, W0: dense, rho: rho.subarray(first, first + rows) }, weights, damping);
  });
  return { inner, damping };
}

/** The given rows and columns of H, ascending. */
function gather(
  H: SymmetricTiles<'f64'>,
  rows: Int32Array,
  edge: number,
  place: Place,
): SymmetricTiles<'f64'> {
  const L = new SymmetricTiles(rows.length, 'f64', edge, place);
  const first = H.starts.map((start) => {
    const at = rows.findIndex((row) => row >= start);
    return at < 0 ? rows.length : at;
  });
  for (let a = 0; a < H.count; a++) {
    for (let b = 0; b <= a; b++) {
      if (first[a] === first[a + 1] || first[b] === first[b + 1]) continue;
      H.read(a, b, (tile) => {
        const cols = H.rows(b);
        for (let r = first[a]; r < first[a + 1]; r++) {
          const i = L.blockOf(r);
          const from = (rows[r] - H.starts[a]) * cols - H.starts[b];
          for (let j = L.blockOf(first[b]); j <= i && L.starts[j] < first[b + 1]; j++) {
            const to = L.tile(i, j).data!;
            const at = (r - L.starts[i]) * L.rows(j) - L.starts[j];
            const end = Math.min(first[b + 1], L.starts[j + 1], r + 1);
            for (let c = Math.max(first[b], L.starts[j]); c < end; c++) to[at + c] = tile[from + rows[c]];
          }
        }
      });
    }
  }
  return L;
}

/** The best weights on these rows, ascending, solved in f64. @throws {NotPositiveDefiniteError} */
export function refitTiles(
  kernels: Kernels,
  { m, edge, H, G, W0, rho }: TiledProblem,
  rows: Int32Array,
  place?: Place,
): Refitted {
  return kernels.scoped(() => {
    const k = rows.length;
    const factor = factorInside(k, m, edge, kernels.maximumBytes - kernels.mark());
    const L = gather(H, rows, edge, place ?? (factor > 0 ? inWasm(kernels) : inMemory));
    const W = new RowBlocks(k, m, 'f64', edge, place);
    let at = 0;
    G.each(false, (values, first, count) => {
      for (; at < k && rows[at] < first + count; at++) {
        const row = rows[at] - first;
        W.row(at).set(values.subarray(row * m, (row + 1) * m));
      }
    });
    expectDefinite('refit', potrf(kernels, L));
    solve(kernels, false, L, W);
    let square = 0;
    W.each(false, (values) => {
      square = innerProduct(values, values, square);
    });
    solve(kernels, true, L, W);
    let damping = 0;
    W.each(false, (values, first, count) => {
      for (let r = 0; r < count; r++) {
        const row = rows[first + r];
        const dense = { m, W0: W0.subarray(row * m, (row + 1) * m), rho: rho.subarray(row, row + 1) };
        damping = dampingOf(dense, values.subarray(r * m, (r + 1) * m), damping);
      }
    });
    return { objective: -0.5 * square, damping, W };
  });
}
