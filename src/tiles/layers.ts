// From the statistics of a layer in tiles to its new weights: as solve/layers.ts does it of layers that are whole.

import { InputError } from '../errors.ts';
import type { Kernels } from '../kernel/index.ts';
import type { Layer, LayerRecipe, SolvedLayers } from '../solve/layers.ts';
import { DEFAULT_DAMPING, type LayerStatistics } from '../solve/problem.ts';
import { groupRows, refitBias } from '../solve/refit.ts';
import { rowsLeft } from '../solve/rows.ts';
import { expectFits, tiledPlan } from './memory.ts';
import { moved, type TiledProblem, tiledProblem } from './problem.ts';
import { pruneTiles, refitTiles } from './prune.ts';
import { inFile, type ScratchFile } from './scratch.ts';
import type { TiledStatistics } from './statistics.ts';
import type { Place, RowBlocks } from './storage.ts';

/** A layer whose sums lie in tiles. */
export interface TiledLayer extends Omit<Layer, 'fit' | 'heldOut'> {
  /** Of all samples. */
  readonly fit: TiledStatistics;
  readonly heldOut?: undefined;
}

export function isTiled(fit: LayerStatistics | TiledStatistics): fit is TiledStatistics {
  return 'tiles' in fit;
}

export function isTiledLayer(layer: Layer | TiledLayer): layer is TiledLayer {
  return isTiled(layer.fit);
}

/** What a layer in tiles may take. */
export interface TiledLimits {
  /** Bytes in all: wasm memory, sums, search and weights. Default: no bound. */
  readonly memory?: number;
  /** Opens where H and G go when they do not fit: with a bound there has to be one. */
  readonly scratch?: () => Promise<ScratchFile & { close(): void }>;
}

/**
 * Solves one layer by greedy elimination and refit, as `solveLayers` with `search: 'greedy'`. Its damping is the given one, or the
 * published: there are no held-out sums to choose it by.
 *
 * @param layer  its sums are overwritten
 * @throws {InputError} where it does not fit the memory, with the numbers, or is told what tiles have not
 * @throws {NotPositiveDefiniteError} where H is not positive definite
 */
export async function solveTiled(
  kernels: Kernels,
  layer: TiledLayer,
  recipe: LayerRecipe,
  keep?: number,
  { memory = Number.POSITIVE_INFINITY, scratch }: TiledLimits = {},
): Promise<SolvedLayers> {
  const { W: W0, fit, bias, groupSize, free, gone } = layer;
  const { method = 'osscar', blend, groupsPerStep, wholeCurve, support, steps } = recipe;
  const { damping = recipe.damping ?? DEFAULT_DAMPING } = layer;
  if (keep !== undefined && method !== 'osscar') {
    throw new InputError(
      `${method}: a layer of ${fit.p} inputs does not fit one memory, and in tiles there is osscar alone`,
    );
  }
  if (steps !== undefined)
    throw new InputError(`a layer of ${fit.p} inputs in tiles cannot be put on steps; leave out "steps"`);
  if (free) throw new InputError(`a layer of ${fit.p} inputs in tiles has to be free as a whole`);
  const { p, edge } = fit;
  const m = W0.length / p;
  const shape = { p, m, groupSize, keep, wholeCurve, edge };
  const planFor = (size: number, bound: number) => {
    const found = tiledPlan(shape, kernels.maximumBytes, bound, size);
    expectFits(shape, found, memory);
    return found;
  };
  const { spilled } = planFor(4, memory);
  const file = spilled > 0 ? await scratch!() : undefined;
  try {
    let problem = tiledProblem(kernels, fit, W0, {
      ...{ groupSize, bias, damping },
      blend: fit.target ? blend : 0,
    });
    let place: Place | undefined;
    if (file) ({ problem, freed: place } = moved(problem, inFile(file)));
    if (keep === undefined) {
      const all = [...Array(problem.groups).keys()];
      const rows = rowsLeft(p, { groupSize, gone }, all);
      const W = whole(refitTiles(kernels, problem, rows, place).W, rows, problem);
      return { kept: all, layers: [{ W, bias: refitBias(problem, W), damping }] };
    }
    const found = pruneTiles(kernels, problem, {
      ...{ keep, groupsPerStep, wholeCurve, support, place },
      // What is not in the file by then does not go there any more.
      onF64: () => planFor(8, file ? memory : Number.POSITIVE_INFINITY),
    });
    const W = whole(found.W, groupRows(found.kept, groupSize), problem);
    const { relativeError, curve } = found;
    return { kept: found.kept, layers: [{ W, bias: refitBias(problem, W), damping }], relativeError, curve };
  } finally {
    file?.close();
  }
}

/** p × m, zeros where nothing is kept. */
function whole(W: RowBlocks<'f64'>, rows: Int32Array, { p, m }: TiledProblem): Float64Array {
  const all = new Float64Array(p * m);
  W.each(false, (values, first, count) => {
    for (let r = 0; r < count; r++) all.set(values.subarray(r * m, (r + 1) * m), rows[first + r] * m);
  });
  return all;
}
